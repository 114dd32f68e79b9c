"""Which labels to call wrong: the seven rules of confident learning."""

from __future__ import annotations

import warnings

import numpy as np

from labelwright.auditing.confident import calibrate, confident_guess, confident_joint
from labelwright.auditing.scores import label_quality
from labelwright.auditing.thresholds import class_thresholds, row_blocks
from labelwright.errors import LabelwrightWarning, OptionError, check_option

PRUNE = ("prune_by_class", "prune_by_noise_rate", "both")
FILTERS = (
    *PRUNE,
    "confident_learning",
    "predicted_neq_given",
    "low_normalized_margin",
    "low_self_confidence",
)
_BONUS = 1e-6  # an item is only flagged if another class beats the given one by more than this


def prune_counts(joint: np.ndarray, *, frac_noise: float = 1.0, min_examples_per_class: int = 1) -> np.ndarray:
    """How many items of each given class to prune towards each true class: (K, K) int64 [true, given].

    The diagonal is raised to `min_examples_per_class`; what it gains is taken evenly from the non-zero off-diagonals of
    its column, which are then scaled by `frac_noise` with the difference given back to the diagonal. Fractions of an
    item are dropped, so no pair is pruned beyond its share.

    >>> prune_counts(np.array([[6, 3], [0, 4]]), frac_noise=0.5)
    array([[7, 0],
           [1, 4]])
    """
    pruned = np.empty(joint.shape, np.int64)  # [given, true] until the end
    for block in row_blocks(*joint.shape):
        off = joint[block].astype(np.float64)
        at = np.arange(len(off)), np.arange(block.start, block.stop)
        diagonal = np.maximum(off[at], min_examples_per_class)
        added = diagonal - off[at]
        off[at] = 0.0
        sources = np.maximum((off > 0).sum(1), 1)
        off = np.maximum(off - (added / sources)[:, None], 0.0)
        kept = off * frac_noise
        kept[at] = diagonal + (off - kept).sum(1)
        pruned[block] = np.floor(kept + 1e-9)
    return pruned.T


def first_per_group(group: np.ndarray, key: np.ndarray, row: np.ndarray, quota: np.ndarray) -> np.ndarray:
    """(E,) bool: is this entry among the `quota[group]` lowest keys of its group? Ties go to the lower row.

    >>> first_per_group(np.array([0, 0, 1, 0]), np.array([0.5, 0.1, 0.9, 0.1]), np.arange(4), np.array([1, 1]))
    array([False,  True,  True, False])
    """
    order = np.lexsort((row, key, group))
    ordered = group[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else np.zeros(0, np.int64)
    rank = np.arange(len(ordered)) - np.repeat(starts, np.diff(np.r_[starts, len(ordered)]))
    chosen = np.empty(len(ordered), bool)
    chosen[order] = rank < quota[ordered]
    return chosen


class LargestMargins:
    """The `quota[given, other]` items of each given class with the largest P[other] - P[given], in one pass.

    A mergeable statistic; a chunk is `(rows, labels, pred_probs)`, `rows` being the item numbers. Ties go to the lower
    row. Keeps at most about twice as many candidates as can be flagged, beside one block.
    """

    def __init__(self, quota: np.ndarray):
        self.quota = quota.copy()  # (K, K) [given, other]
        np.fill_diagonal(self.quota, 0)
        self._cutoff = np.where(self.quota > 0, -np.inf, np.inf)  # margins below this can no longer be chosen
        self._limit = 2 * int(self.quota.sum()) + 2**15
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # cell, -margin, row
        self._held = 0

    def update(self, chunk: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        rows, labels, pred_probs = chunk
        n_classes, wanted = len(self.quota), np.asarray(self.quota.any(axis=1))
        for block in row_blocks(*pred_probs.shape):
            keep = np.flatnonzero((labels[block] >= 0) & wanted[labels[block]])
            given = labels[block][keep].astype(np.int64)
            p = pred_probs[block][keep].astype(np.float64)
            margin = p - p[np.arange(len(keep)), given][:, None]
            i, other = np.nonzero(margin >= self._cutoff[given])
            self._add(given[i] * n_classes + other, -margin[i, other], rows[block][keep][i])

    def _add(self, cell: np.ndarray, key: np.ndarray, row: np.ndarray) -> None:
        self._parts.append((cell, key, row))
        self._held += len(cell)
        if self._held > self._limit:
            self._compact()

    def _compact(self) -> None:
        if not self._parts:
            return
        cell, key, row = (np.concatenate(column) for column in zip(*self._parts))
        quota = self.quota.ravel()
        chosen = first_per_group(cell, key, row, quota)
        cell, key, row = cell[chosen], key[chosen], row[chosen]
        cells, place, size = np.unique(cell, return_inverse=True, return_counts=True)
        worst = np.full(len(cells), -np.inf)
        np.maximum.at(worst, place, key)
        full = size >= quota[cells]
        self._cutoff.ravel()[cells[full]] = -worst[full]
        self._parts, self._held = [(cell, key, row)], len(cell)

    def merge(self, other: LargestMargins) -> None:
        for part in other._parts:
            self._add(*part)

    def result(self) -> np.ndarray:
        """Rows chosen for at least one pair of classes, ascending."""
        self._compact()
        return np.unique(self._parts[0][2]) if self._parts else np.zeros(0, np.int64)


def own_probability(labels: np.ndarray, pred_probs: np.ndarray) -> np.ndarray:
    """(N,) float64 probability of the given label, NaN where the label is missing (-1)."""
    own = np.full(len(labels), np.nan)
    seen = np.flatnonzero(labels >= 0)
    own[seen] = pred_probs[seen, labels[seen]]
    return own


def contradicted(labels: np.ndarray, pred_probs: np.ndarray) -> np.ndarray:
    """(N,) bool: another class beats the given one by more than 1e-6. Missing labels are never contradicted."""
    flags = np.zeros(len(labels), bool)
    for block in row_blocks(*pred_probs.shape):
        p = pred_probs[block].astype(np.float64)
        rows = np.arange(len(p))
        given = np.maximum(labels[block], 0)
        p[rows, given] += _BONUS
        flags[block] = (p.argmax(1) != given) & (labels[block] >= 0)
    return flags


def _prune(
    labels: np.ndarray, pred_probs: np.ndarray, filter_by: str, counts: np.ndarray, allowed: np.ndarray
) -> np.ndarray:
    """The count-driven rules before the last un-flagging; counts: [true, given]; allowed: (K,) classes to prune."""
    flags = np.ones(len(labels), bool)
    size = np.bincount(labels[labels >= 0], minlength=len(counts))
    if filter_by in ("prune_by_class", "both"):
        seen = np.flatnonzero(labels >= 0)
        quota = np.where(allowed, size - counts.diagonal(), 0)
        own = own_probability(labels, pred_probs)[seen]
        flags[:] = False
        flags[seen] = first_per_group(labels[seen], own, seen, quota)
    if filter_by in ("prune_by_noise_rate", "both"):
        largest = LargestMargins(counts.T * allowed[:, None])
        largest.update((np.arange(len(labels)), labels, pred_probs))
        chosen = np.zeros(len(labels), bool)
        chosen[largest.result()] = True
        flags &= chosen
    return flags


def _off_diagonal(labels: np.ndarray, pred_probs: np.ndarray) -> np.ndarray:
    """Items counted off the diagonal of the uncalibrated confident joint."""
    guess = confident_guess(pred_probs, class_thresholds(labels, pred_probs))
    return (labels >= 0) & (guess >= 0) & (guess != labels)


def find_issues(
    labels: np.ndarray,
    pred_probs: np.ndarray,
    *,
    filter_by: str = "prune_by_noise_rate",
    joint: np.ndarray | None = None,
    frac_noise: float = 1.0,
    min_examples_per_class: int = 1,
) -> np.ndarray:
    """Flag the labels that are probably wrong.

    Args:
        labels: (N,) int, 0..K-1, -1 = missing (never flagged).
        pred_probs: (N, K) float16/32/64, rows sum to 1, out of sample; read block by block, up to 4 passes.
        filter_by:
            "prune_by_noise_rate": for each pair of classes, as many items as the joint counts, largest margin
            P[other] - P[given] first. "prune_by_class": for each given class, as many as are off its diagonal, lowest
            P[given] first. "both": flagged by both. "confident_learning": the off-diagonal items of the raw joint.
            "predicted_neq_given": the arg max is another class. "low_normalized_margin", "low_self_confidence": the
            lowest scores, as many as "confident_learning" flags.
        joint: (K, K) counts [given, true] to prune by; default the calibrated `confident_joint` of these data. Another
            total than the number of labels (raw counts, or a joint of other data) is calibrated to these labels first.
        frac_noise: share of the off-diagonal counts to prune, in (0, 1].
        min_examples_per_class: keep at least so many of each class; classes with no more than that are left alone.

    Returns:
        (N,) bool. All rules but the two "low_" ones flag only items whose arg max (the given class gets a bonus of
        1e-6) is another class than the given one. Equal margins and scores are taken in row order.

    Raises:
        OptionError: an unknown rule, or `joint`, `frac_noise`, `min_examples_per_class` with a rule that does not
            prune.

    Warns:
        LabelwrightWarning: classes skipped for want of examples.

    Source: Northcutt et al. 2021, "Confident Learning"; Northcutt et al. 2021, "Pervasive Label Errors".

    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.1, 0.9]])
    >>> find_issues(np.array([0, 0, 0, 1, 1]), p)
    array([False, False,  True, False, False])
    """
    check_option("filter_by", filter_by, FILTERS)
    _check_pruning(filter_by, joint, frac_noise, min_examples_per_class)
    if filter_by in PRUNE:
        flags, skipped = prune(labels, pred_probs, filter_by, joint, frac_noise, min_examples_per_class)
        if len(skipped):
            warnings.warn(
                f"{len(skipped)} classes have at most {min_examples_per_class} items and were not audited: "
                f"{skipped[:10].tolist()}{'…' if len(skipped) > 10 else ''}. Fix: label more of them, or merge them",
                LabelwrightWarning,
                stacklevel=2,
            )
        return flags
    flags = contradicted(labels, pred_probs)
    if filter_by != "predicted_neq_given":
        flags &= _off_diagonal(labels, pred_probs)
    if filter_by.startswith("low_"):
        seen = np.flatnonzero(labels >= 0)
        score = label_quality(labels, pred_probs, score=filter_by.removeprefix("low_"))[seen]
        lowest = seen[np.argsort(score, kind="stable")[: flags.sum()]]
        flags = np.zeros(len(labels), bool)
        flags[lowest] = True
    return flags


def prune(
    labels: np.ndarray,
    pred_probs: np.ndarray,
    filter_by: str,
    joint: np.ndarray | None = None,
    frac_noise: float = 1.0,
    min_examples_per_class: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """The pruning rules of `find_issues` without its warning: (N,) flags and the classes present but skipped."""
    size = np.bincount(labels[labels >= 0], minlength=pred_probs.shape[1])
    if joint is None:
        joint = confident_joint(labels, pred_probs)
    elif not np.array_equal(joint.sum(1), size):
        joint = calibrate(joint, size)
    counts = prune_counts(joint, frac_noise=frac_noise, min_examples_per_class=min_examples_per_class)
    allowed = size > min_examples_per_class
    flags = _prune(labels, pred_probs, filter_by, counts, allowed)
    return flags & contradicted(labels, pred_probs), np.flatnonzero(~allowed & (size > 0))


def _check_pruning(filter_by: str, joint: np.ndarray | None, frac_noise: float, min_examples_per_class: int) -> None:
    if not 0 < frac_noise <= 1:
        raise OptionError(
            found=f"frac_noise={frac_noise!r}",
            expected="a share in (0, 1]",
            fix="pass 1.0 to prune all that is counted",
        )
    if min_examples_per_class < 0:
        raise OptionError(
            found=f"min_examples_per_class={min_examples_per_class}", expected="a count >= 0", fix="pass 1, the default"
        )
    if filter_by not in PRUNE and (joint is not None or frac_noise != 1.0 or min_examples_per_class != 1):
        raise OptionError(
            found=f"joint, frac_noise or min_examples_per_class with filter_by={filter_by!r}",
            expected="them with a rule that prunes by counts only",
            fix=f"leave them out, or use filter_by {', '.join(map(repr, PRUNE))}",
        )
