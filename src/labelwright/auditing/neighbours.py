"""Do the nearest items carry the same label? Credibility, suggestions and soft labels from neighbours alone.

Source: "Pre-trained Language Models as Re-Annotators", arXiv 2205.05368, part 1 and the kernel soft labels of part 2
(as reconstructed from its abstract: the equations are ours). Errors that lie together (one template, one mistake) look
consistent and are not seen.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from labelwright.errors import LabelwrightWarning, OptionError, check_option
from labelwright.features.neighbours import Neighbours
from labelwright.labels.check import check_class_ids

WEIGHTS = ("kernel", "rank")
DUPLICATE = 1 - 1e-6  # from this similarity on, a neighbour is the same item once more and no second opinion
CHUNK_CELLS = 1 << 21
ANY = 1 << 62  # as many classes as the labels name


class NeighbourIssues(NamedTuple):
    """What `neighbour_issues` finds."""

    credibility: np.ndarray  # (N,) float64 in [0, 1], NaN = no opinion
    is_issue: np.ndarray  # (N,) bool
    suggested: np.ndarray  # (N,) int64 class with the most neighbour weight, -1 = no opinion
    threshold: float  # flagged below this credibility
    agreement: float  # leave-one-out accuracy of `suggested` on the given labels, NaN if nothing can be compared


def credibility(
    labels: np.ndarray,
    neighbours: Neighbours,
    *,
    weights: str = "kernel",
    width: float = 0.1,
    class_balanced: bool = False,
    exclude_duplicates: bool = True,
) -> np.ndarray:
    """Share of the neighbours' weight that carries the item's own label; low = inconsistent.

    Args:
        labels: (N,) class ids, -1 = missing (such neighbours abstain).
        neighbours: index and similarity (N, k), the item itself left out.
        weights: "kernel" (exp(-(1 - similarity) / width)) or "rank" (1 / rank, for similarities of unknown scale).
        width: of the kernel, in distance.
        class_balanced: divide each neighbour's weight by the size of its class, so that a large class does not win
            everywhere.
        exclude_duplicates: leave out neighbours of similarity >= 1 - 1e-6.

    Returns:
        (N,) float64 in [0, 1]; NaN where the item, or all its neighbours, have no label.

    Raises:
        LabelError, OptionError. Warns about classes with a single item: nothing can confirm it.

    Source: arXiv 2205.05368 (card's step 3): s_i = sum_j w_ij [y_j = y_i] / sum_j w_ij.

    >>> near = Neighbours(np.array([[1, 2], [0, 2], [3, 0], [2, 1]]), np.full((4, 2), 0.5, np.float32))
    >>> credibility(np.array([0, 0, 1, 1]), near)
    array([0.5, 0.5, 0.5, 0.5])
    """
    labels = check_class_ids(labels, ANY, n_items=len(neighbours.index))
    _warn_of_single_items(labels)
    out = np.full(len(labels), np.nan)
    for rows, near, w in _weighted(labels, neighbours, weights, width, class_balanced, exclude_duplicates):
        total = w.sum(axis=1)
        own = np.where(near == labels[rows, None], w, 0.0).sum(axis=1)
        out[rows] = np.divide(own, total, out=np.full(len(own), np.nan), where=(total > 0) & (labels[rows] >= 0))
    return np.clip(out, 0.0, 1.0)


def suggest(
    labels: np.ndarray,
    neighbours: Neighbours,
    *,
    weights: str = "kernel",
    width: float = 0.1,
    class_balanced: bool = False,
    exclude_duplicates: bool = True,
) -> np.ndarray:
    """(N,) the class with the most neighbour weight, the smaller id at ties, -1 without a labelled neighbour.

    Arguments as in `credibility`. Memory does not grow with the number of classes.
    """
    labels = check_class_ids(labels, ANY, n_items=len(neighbours.index))
    out = np.full(len(labels), -1)
    for rows, near, w in _weighted(labels, neighbours, weights, width, class_balanced, exclude_duplicates):
        for_class = np.einsum("bj,bij->bi", w, near[:, :, None] == near[:, None, :])  # weight behind each one's class
        for_class[w == 0] = -1.0
        best = for_class >= for_class.max(axis=1, keepdims=True) * (1 - 1e-12)
        choice = np.where(best, near, np.iinfo(np.int64).max).min(axis=1)
        out[rows] = np.where(w.any(axis=1), choice, -1)
    return out


def kernel_soft_labels(
    labels: np.ndarray,
    neighbours: Neighbours,
    n_classes: int,
    *,
    width: float = 0.1,
    mix: float = 0.5,
    class_balanced: bool = False,
    exclude_duplicates: bool = True,
) -> np.ndarray:
    """Given labels softened by the kernel density of their neighbours: q = (1 - mix) onehot(label) + mix p(neighbours).

    Args:
        labels: (N,) class ids, -1 = missing: q = p.
        neighbours, width, class_balanced, exclude_duplicates: as in `credibility`.
        n_classes: K.
        mix: share of the neighbours in [0, 1] (a in the card, which suggests .3 to .6); 1 = the neighbours alone.

    Returns:
        (N, K) float32, rows sum to 1. Without a labelled neighbour q is the given label, without both it is uniform.

    Raises:
        LabelError, OptionError.

    Source: arXiv 2205.05368 (card's step 6), the sum cut to the k nearest.
    """
    if not 0 <= mix <= 1:
        raise OptionError(found=f"mix={mix}", expected="a fraction in [0, 1]", fix="pass mix=0.5")
    labels = check_class_ids(labels, n_classes, n_items=len(neighbours.index))
    out = np.zeros((len(labels), n_classes), np.float32)
    known = np.flatnonzero(labels >= 0)
    out[known, labels[known]] = 1.0
    for rows, near, w in _weighted(labels, neighbours, "kernel", width, class_balanced, exclude_duplicates):
        cell = np.where(w > 0, near, 0) + np.arange(len(near))[:, None] * n_classes
        p = np.bincount(cell.ravel(), weights=w.ravel(), minlength=len(near) * n_classes).astype(np.float64)
        p = p.reshape(-1, n_classes)
        some = np.asarray(w.any(axis=1))
        p[some] /= p[some].sum(axis=1, keepdims=True)
        share = np.where(labels[rows] >= 0, np.where(some, mix, 0.0), 1.0)[:, None]
        out[rows] = (1 - share) * out[rows] + share * np.where(some[:, None], p, 1.0 / n_classes)
    return out


def neighbour_issues(
    labels: np.ndarray,
    neighbours: Neighbours,
    *,
    threshold: float | None = None,
    weights: str = "kernel",
    width: float = 0.1,
    class_balanced: bool = False,
    exclude_duplicates: bool = True,
) -> NeighbourIssues:
    """Flags and suggestions: credibility below `threshold` (None: Otsu's split of the credibilities).

    Warns with `LabelwrightWarning` if the neighbours hardly know the labels (agreement below twice chance, or, where
    that is more than can be asked, below half way from chance to 1): then the features say little about these classes.
    Other arguments as in `credibility`. An item without an opinion, or alone in its class, is not flagged.
    """
    options = {"weights": weights, "width": width, "class_balanced": class_balanced}
    score = credibility(labels, neighbours, exclude_duplicates=exclude_duplicates, **options)  # type: ignore[arg-type]
    best = suggest(labels, neighbours, exclude_duplicates=exclude_duplicates, **options)  # type: ignore[arg-type]
    labels = np.asarray(labels)
    judged = (labels >= 0) & (best >= 0)
    agreement = float((best == labels)[judged].mean()) if judged.any() else float("nan")
    size = np.bincount(labels[labels >= 0]) if (labels >= 0).any() else np.zeros(1, np.int64)
    chance = float(((size / max(1, size.sum())) ** 2).sum())
    needed = min(2 * chance, (1 + chance) / 2)
    if judged.any() and np.count_nonzero(size) > 1 and agreement < needed:
        warnings.warn(
            f"the nearest neighbours agree with the given labels in {agreement:.0%} of the items, by chance it is "
            f"{chance:.0%}: these features say little about these classes. Pass features of a better encoder.",
            LabelwrightWarning,
            stacklevel=2,
        )
    cut = otsu_threshold(score[judged]) if threshold is None else threshold
    with np.errstate(invalid="ignore"):
        flagged = judged & (score < cut) & (size[np.maximum(labels, 0)] > 1)
    return NeighbourIssues(score, flagged, best, float(cut), agreement)


def otsu_threshold(scores: np.ndarray) -> float:
    """The cut between two groups of scores with the largest variance between them; 0.5 if all scores are equal.

    Source: Otsu 1979, exact over all cuts instead of a histogram.

    >>> otsu_threshold(np.array([0.0, 0.1, 0.8, 0.9, 1.0])).__round__(2)
    0.45
    """
    x = np.sort(np.asarray(scores, np.float64))
    if len(x) < 2 or x[0] == x[-1]:
        return 0.5
    n = np.arange(1, len(x))
    below = np.cumsum(x)[:-1]
    mean_gap = below / n - (x.sum() - below) / (len(x) - n)
    between = np.where(x[1:] > x[:-1], n * (len(x) - n) * mean_gap**2, -1.0)  # a cut lies between different scores
    best = int(between.argmax())
    return float((x[best] + x[best + 1]) / 2)


def _warn_of_single_items(labels: np.ndarray) -> None:
    classes, size = np.unique(labels[labels >= 0], return_counts=True)
    single = classes[size < 2]
    if len(single):
        shown = ", ".join(map(str, single[:5])) + (", …" if len(single) > 5 else "")
        warnings.warn(
            f"{len(single)} classes have a single item (class {shown}): no neighbour can confirm it, its credibility "
            "is 0 and it is not flagged. Merge such classes, or judge those items by hand.",
            LabelwrightWarning,
            stacklevel=3,
        )


def _weighted(
    labels: np.ndarray, neighbours: Neighbours, weights: str, width: float, class_balanced: bool, exclude: bool
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Blocks of rows with their neighbours' labels and weights (B, k), float64, the abstaining ones 0."""
    check_option("weights", weights, WEIGHTS)
    if not width > 0:
        raise OptionError(found=f"width={width}", expected="a distance above 0", fix="pass width=0.1")
    inverse_size = 1.0 / np.maximum(np.bincount(labels[labels >= 0], minlength=1), 1)
    n, k = neighbours.index.shape
    step = max(1, CHUNK_CELLS // max(1, k * k))
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        near, similarity = labels[neighbours.index[rows]], neighbours.similarity[rows].astype(np.float64)
        speaks = near >= 0
        if exclude:
            speaks &= similarity < DUPLICATE
        if weights == "rank":
            w = 1.0 / np.maximum(np.cumsum(speaks, axis=1), 1)
        else:  # only ratios within a row count, so the nearest may weigh 1: no underflow far from everything
            nearest = np.where(speaks, similarity, -np.inf).max(axis=1, keepdims=True, initial=-1e30)
            w = np.exp(np.minimum(similarity - nearest, 0.0) / width)
        if class_balanced:
            w = w * inverse_size[np.maximum(near, 0)]
        yield rows, near, np.where(speaks, w, 0.0)
