"""Which labels to call wrong: the seven rules of confident learning."""

from __future__ import annotations

import warnings

import numpy as np

from labelwright.auditing._extremes import RowExtremes, row_extremes
from labelwright.auditing._margins import LargestMargins
from labelwright.auditing._ranking import first_per_group, lowest_first
from labelwright.auditing.confident import Guesses, calibrate, guesses
from labelwright.auditing.scores import normalized_margin, self_confidence
from labelwright.auditing.thresholds import row_blocks
from labelwright.errors import LabelwrightWarning, OptionError, check_option
from labelwright.labels import PredProbs, as_matrix

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


def find_issues(
    labels: np.ndarray,
    pred_probs: PredProbs,
    *,
    filter_by: str = "prune_by_noise_rate",
    joint: np.ndarray | None = None,
    frac_noise: float = 1.0,
    min_examples_per_class: int = 1,
) -> np.ndarray:
    """Flag the labels that are probably wrong.

    Args:
        labels: (N,) int, 0..K-1, -1 = missing (never flagged).
        pred_probs: (N, K) float16/32/64 or top-k rows, which sum to 1, out of sample; one pass, then single rows and entries.
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
    labels, p = np.asarray(labels), as_matrix(pred_probs)
    if filter_by in PRUNE:
        flags, skipped = prune(labels, p, filter_by, joint, frac_noise, min_examples_per_class)
        warn_of_skipped(skipped, min_examples_per_class, stacklevel=3)
        return flags
    return flag_rows(labels, p, row_extremes(labels, p), filter_by)


def warn_of_skipped(skipped: np.ndarray, min_examples_per_class: int, *, stacklevel: int) -> None:
    """Say which classes a pruning rule left alone."""
    if len(skipped):
        warnings.warn(
            f"{len(skipped)} classes have at most {min_examples_per_class} items and were not audited: "
            f"{skipped[:10].tolist()}{'…' if len(skipped) > 10 else ''}. Fix: label more of them, or merge them",
            LabelwrightWarning,
            stacklevel=stacklevel,
        )


def flag_rows(
    labels: np.ndarray, pred_probs: np.ndarray, extremes: RowExtremes, filter_by: str, found: Guesses | None = None
) -> np.ndarray:
    """The rules of `find_issues` that do not prune by counts, (N,) bool."""
    flags = contradicted(labels, extremes)
    if filter_by != "predicted_neq_given":
        guess = (found or guesses(labels, pred_probs, extremes)).guess
        flags &= (guess >= 0) & (guess != labels)
    if filter_by.startswith("low_"):
        seen = np.flatnonzero(labels >= 0)
        score = normalized_margin(extremes) if filter_by.endswith("margin") else self_confidence(extremes)
        lowest = seen[lowest_first(score[seen])[: flags.sum()]]
        flags[:] = False
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
    extremes = row_extremes(labels, pred_probs)
    size = np.bincount(labels[labels >= 0], minlength=pred_probs.shape[1])
    if joint is None:
        joint = guesses(labels, pred_probs, extremes).joint.result()
    elif not np.array_equal(joint.sum(1), size):
        joint = calibrate(joint, size)
    counts = prune_counts(joint, frac_noise=frac_noise, min_examples_per_class=min_examples_per_class)
    allowed = size > min_examples_per_class
    flags = prune_rows(labels, pred_probs, extremes, filter_by, counts, allowed)
    return flags, np.flatnonzero(~allowed & (size > 0))


def prune_rows(
    labels: np.ndarray,
    pred_probs: np.ndarray,
    extremes: RowExtremes,
    filter_by: str,
    counts: np.ndarray,
    allowed: np.ndarray,
) -> np.ndarray:
    """The rules that prune by counts, (N,) bool.   counts: (K, K) [true, given].   allowed: (K,) classes to prune."""
    flags = contradicted(labels, extremes)
    if filter_by in ("prune_by_class", "both"):
        suspects = np.flatnonzero(flags)
        size = np.bincount(labels[labels >= 0], minlength=len(counts))
        quota = np.where(allowed, size - counts.diagonal(), 0)
        flags[suspects] = _lowest_own(labels, extremes.own, suspects, quota)
    if filter_by in ("prune_by_noise_rate", "both"):
        suspects = np.flatnonzero(contradicted(labels, extremes))
        chosen = _largest_margin(labels, pred_probs, extremes, suspects, counts.T * allowed[:, None])
        flags[suspects] &= chosen
    return flags


def contradicted(labels: np.ndarray, extremes: RowExtremes) -> np.ndarray:
    """(N,) bool: another class beats the given one by more than 1e-6. Missing labels are never contradicted."""
    flags = np.zeros(len(labels), bool)
    for block in row_blocks(len(labels), 1):
        own, other = extremes.own[block].astype(np.float64) + _BONUS, extremes.other[block]
        flags[block] = (other > own) | ((other == own) & (extremes.top[block] < labels[block]))  # the first of equals
    return flags


def _lowest_own(labels: np.ndarray, own: np.ndarray, suspects: np.ndarray, quota: np.ndarray) -> np.ndarray:
    """Of the rows `suspects`, those among the `quota` (K,) lowest own probabilities of their class, bool."""
    highest = np.full(len(quota), -np.inf)
    np.maximum.at(highest, labels[suspects], own[suspects].astype(np.float64))
    rows = np.flatnonzero((labels >= 0) & (own <= highest[labels]))  # no other comes before a suspect
    chosen = np.zeros(len(labels), bool)
    chosen[rows] = first_per_group(labels[rows], own[rows], rows, quota)
    return chosen[suspects]


def _largest_margin(
    labels: np.ndarray, pred_probs: np.ndarray, extremes: RowExtremes, suspects: np.ndarray, quota: np.ndarray
) -> np.ndarray:
    """Of the rows `suspects`, those among the `quota[given, other]` largest margins of a pair of classes, bool.

    All other rows matter only where they come before a suspect, and few have so large a margin to any class: only
    these, and only their columns with a quota, are read.
    """
    largest = LargestMargins(quota)
    largest.update_at(suspects, labels, pred_probs)
    least = largest.settle()
    rival = np.zeros(len(labels), bool)
    for block in row_blocks(len(labels), 1):
        margin = extremes.other[block] - extremes.own[block].astype(np.float64)
        rival[block] = (labels[block] >= 0) & (margin >= least[labels[block]])
    rival[suspects] = False
    largest.update_at(np.flatnonzero(rival), labels, pred_probs)
    chosen = np.zeros(len(labels), bool)
    chosen[largest.result()] = True
    return chosen[suspects]


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
