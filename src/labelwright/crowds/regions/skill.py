"""How well one labeller drew one image that an expert has drawn too.

Objects are the connected pieces of one class. Four scores in [0, 1]: area (pixels that agree), fragmentation (objects of the
expert that were found as one), edge (how much of their outlines lies where the expert's does) and categorical (classes of what
both call an object); and their weighted mean.

Source: Estes et al. 2024, A region-wide, multi-year set of crop field boundary labels for Africa, arXiv 2412.18483: Qscore. The
paper works on polygons; here rings are dilations less erosions, and polygons are connected pieces.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from labelwright.crowds.regions.drawn import NOTHING, UNSURE, answers
from labelwright.errors import LabelError, check_whole

WEIGHTS = {"area": 0.55, "fragmentation": 0.225, "edge": 0.10, "categorical": 0.125}  # the paper's


class TaskScore(NamedTuple):
    """Scores in [0, 1] of one mask against the expert's; `score` is their weighted mean."""

    area: float
    fragmentation: float
    edge: float
    categorical: float
    score: float


def task_score(
    expert: Any, drawn: Any, *, background: int = 0, width: int = 3, n_classes: int = 2, relative_edge: bool = True
) -> TaskScore:
    """The scores of a mask.

    Args:
        expert: (H, W) class ids, -1 where nothing was checked: such pixels count for nothing.
        drawn: (H, W) class ids of the labeller; -1 nothing said, 0.5 (floats) unsure: one part in `n_classes` right.
        background: the class that is no object.   width: half-width of the ring around an outline, in pixels.
        relative_edge: the edge score is relative to that of the expert's own outline, so that a perfect mask has 1. False
            gives the paper's, whose best value is about 1 / width because the labeller's ring is thinner than the expert's.

    Both empty: every score is 1. One empty: only the area counts.

    Raises:
        LabelError: masks of different sizes, values that are no answer.   OptionError: width or n_classes too small.

    >>> square = np.zeros((9, 9), int); square[2:7, 2:7] = 1
    >>> task_score(square, square), task_score(square, 0 * square).score.__round__(2)
    (TaskScore(area=1.0, fragmentation=1.0, edge=1.0, categorical=1.0, score=1.0), 0.38)
    """
    check_whole("width", width, 1)
    check_whole("n_classes", n_classes, 2)
    truth, said = answers(expert, "the expert mask"), answers(drawn)
    if truth.shape != said.shape or truth.ndim != 2:
        raise LabelError(
            found=f"masks of shapes {truth.shape} (expert) and {said.shape}",
            expected="two masks (H, W) of one size",
            fix="resize one to the other by nearest neighbour",
        )
    checked = truth != NOTHING
    said = np.where(checked, said, NOTHING)
    right = (truth == said)[checked].sum() + (said == UNSURE)[checked].sum() / n_classes
    area = float(right / max(checked.sum(), 1)) if checked.any() else 1.0
    mine, theirs = _objects(truth, background), _objects(said, background)
    if not mine.any() or not theirs.any():
        rest = float(not mine.any() and not theirs.any())
        return _weighted(area, rest, rest, rest)
    pairs = matched(mine, theirs)
    edges = [edge_score(mine == e, theirs == d, width=width, relative=relative_edge) for e, d in pairs]
    both = (mine > 0) & (theirs > 0)
    categorical = float((truth == said)[both].mean()) if both.any() else 0.0
    return _weighted(area, len(pairs) / int(mine.max()), float(np.mean(edges)) if edges else 0.0, categorical)


def matched(expert: np.ndarray, drawn: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of numbered objects, (H, W) ints with 0 = none, that share more than half of the pixels of each. No object is in
    two pairs: two others cannot both hold more than half of it."""
    n, m = int(expert.max()) + 1, int(drawn.max()) + 1
    shared = np.bincount(expert.ravel().astype(np.int64) * m + drawn.ravel(), minlength=n * m).reshape(n, m)
    fits = (2 * shared > shared.sum(1, keepdims=True)) & (2 * shared > shared.sum(0, keepdims=True))
    return [(int(e) + 1, int(d) + 1) for e, d in np.argwhere(fits[1:, 1:])]


def edge_score(expert: np.ndarray, drawn: np.ndarray, *, width: int = 3, relative: bool = True) -> float:
    """How much of the ring around the expert's outline the labeller's thin ring (one pixel each way) covers.

    expert, drawn: (H, W) bool of one object each.   width: half-width of the expert's ring.   relative: divided by what the
    expert's own thin ring covers, at most 1.
    """
    rows, columns = np.flatnonzero((expert | drawn).any(1)), np.flatnonzero((expert | drawn).any(0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    a, b = (np.pad(mask[box], width + 1) for mask in (expert, drawn))
    wide = ring(a, width)
    covered = float((wide & ring(b, 1)).sum())
    if relative:
        return min(covered / float((wide & ring(a, 1)).sum()), 1.0)
    return covered / float(wide.sum())


def ring(mask: np.ndarray, width: int) -> np.ndarray:
    """(H, W) bool: the pixels within `width` steps of the outline, on both sides."""
    from scipy.ndimage import binary_dilation, binary_erosion

    return np.asarray(binary_dilation(mask, iterations=width) & ~binary_erosion(mask, iterations=width))


def confusion_counts(expert: np.ndarray, drawn: np.ndarray, n_classes: int) -> np.ndarray:
    """(K, K + 1) int64 pixels by [true, given], the last column being "unsure"; pixels of which one says nothing are left out.

    expert, drawn: (H, W) from `answers`.

    >>> confusion_counts(np.array([[0, 1, 1]]), np.array([[0, 0, UNSURE]]), 2).tolist()
    [[1, 0, 0], [1, 0, 1]]
    """
    said = np.where(drawn == UNSURE, n_classes, drawn).astype(np.int64)
    both = (expert >= 0) & (said >= 0)
    code = expert[both].astype(np.int64) * (n_classes + 1) + said[both]
    return np.bincount(code, minlength=n_classes * (n_classes + 1)).reshape(n_classes, n_classes + 1)


def _objects(mask: np.ndarray, background: int) -> np.ndarray:
    """(H, W) int: the connected pieces of each class but the background, numbered from 1."""
    from scipy.ndimage import label

    out, total = np.zeros(mask.shape, np.int64), 0
    for k in np.unique(mask[mask >= 0]):
        if k != background:
            numbered, n = label(mask == k)
            out += np.where(numbered > 0, numbered + total, 0)
            total += n
    return out


def _weighted(area: float, fragmentation: float, edge: float, categorical: float) -> TaskScore:
    parts = {"area": area, "fragmentation": fragmentation, "edge": edge, "categorical": categorical}
    return TaskScore(**parts, score=float(sum(WEIGHTS[name] * value for name, value in parts.items())))
