"""Confident learning for items with several labels: every class is its own question, present or absent."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from labelwright.auditing.confident import calibrate
from labelwright.auditing.filters import FILTERS, PRUNE, find_issues, prune
from labelwright.auditing.thresholds import ClassThresholds, row_blocks
from labelwright.errors import LabelwrightWarning, OptionError, check_option

if TYPE_CHECKING:
    from typing import TypeAlias

    from scipy.sparse import sparray, spmatrix

    Labels: TypeAlias = np.ndarray | sparray | spmatrix

AGGREGATES = ("moving_average", "softmin", "min", "mean")
_SLACK = 1e-6


class MultilabelIssues(NamedTuple):
    """joints: (K, 2, 2) int64 [class, given, true], 1 = present; row sums are the known labels of the class.
    flags: (N, K) bool, labels called wrong (a present one to drop, or an absent one to add).   quality: (N, K)
    plausibility of each given label, NaN where unknown, float32 unless pred_probs are float64.   item_quality: (N,) NaN
    where nothing is known.   error_count: (K,) int64 estimated number of wrong labels per class, the off-diagonal of
    its joint.
    """

    joints: np.ndarray
    flags: np.ndarray
    quality: np.ndarray
    item_quality: np.ndarray
    error_count: np.ndarray


class BinaryThresholds:
    """Mergeable statistic: mean of P over present and of 1 - P over absent labels; a chunk is `(labels, pred_probs)`.

    Labels are dense (n, K) with 1, 0, -1 = unknown. Result: (K, 2), columns absent and present; 2 where there is no
    label.
    """

    def __init__(self, n_classes: int):
        self._sums = ClassThresholds(2 * n_classes)  # exact sums; "class" 2 k + 1 is "k is present"

    def update(self, chunk: tuple[np.ndarray, np.ndarray]) -> None:
        labels, pred_probs = chunk
        rows, columns = np.nonzero(labels >= 0)
        given = labels[rows, columns].astype(np.int64)
        p = pred_probs[rows, columns].astype(np.float64)
        self._sums.add(2 * columns + given, np.where(given == 1, p, 1 - p))

    def merge(self, other: BinaryThresholds) -> None:
        self._sums.merge(other._sums)

    def result(self) -> np.ndarray:
        return self._sums.result().reshape(-1, 2)


class BinaryJoints:
    """Mergeable statistic: a 2 x 2 confident joint per class, given `BinaryThresholds`; chunks and labels as there."""

    def __init__(self, thresholds: np.ndarray):
        self.thresholds = thresholds
        self.counts = np.zeros((len(thresholds), 2, 2), np.int64)  # [class, given, guessed]
        self.label_counts = np.zeros((len(thresholds), 2), np.int64)

    def update(self, chunk: tuple[np.ndarray, np.ndarray]) -> None:
        labels, pred_probs = chunk
        p = pred_probs.astype(np.float64)
        absent = 1 - p >= self.thresholds[:, 0] - _SLACK
        present = p >= self.thresholds[:, 1] - _SLACK
        both = absent & present
        guess = (present & ~both | both & (p > 1 - p), absent & ~both | both & (p <= 1 - p))
        for given in (0, 1):
            mine = labels == given
            self.label_counts[:, given] += mine.sum(0)
            self.counts[:, given, 1] += (mine & guess[0]).sum(0)
            self.counts[:, given, 0] += (mine & guess[1]).sum(0)

    def merge(self, other: BinaryJoints) -> None:
        self.counts += other.counts
        self.label_counts += other.label_counts

    def result(self) -> np.ndarray:
        joints = np.empty_like(self.counts)
        for k, counts in enumerate(self.counts.copy()):
            np.fill_diagonal(counts, np.maximum(counts.diagonal(), 1))
            joints[k] = calibrate(counts, self.label_counts[k])
        return joints


def _dense(labels: Any) -> np.ndarray:
    return np.asarray(labels.toarray() if hasattr(labels, "toarray") else labels)


def _row_chunks(labels: Labels, pred_probs: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    by_row: Any = labels.tocsr() if hasattr(labels, "tocsr") else labels
    for block in row_blocks(*pred_probs.shape):
        yield _dense(by_row[block]), pred_probs[block]


def multilabel_joints(labels: Labels, pred_probs: np.ndarray) -> np.ndarray:
    """Calibrated confident joints of all classes, (K, 2, 2) int64 [class, given, true]; two passes, see
    `multilabel_issues`.

    >>> multilabel_joints(np.array([[1], [1], [0], [0]]), np.array([[0.9], [0.1], [0.2], [0.1]]))
    array([[[2, 0],
            [1, 1]]])
    """
    thresholds = BinaryThresholds(pred_probs.shape[1])
    for chunk in _row_chunks(labels, pred_probs):
        thresholds.update(chunk)
    joints = BinaryJoints(thresholds.result())
    for chunk in _row_chunks(labels, pred_probs):
        joints.update(chunk)
    return joints.result()


def multilabel_issues(
    labels: Labels,
    pred_probs: np.ndarray,
    *,
    filter_by: str = "prune_by_noise_rate",
    aggregate: str = "moving_average",
    frac_noise: float = 1.0,
    min_examples_per_class: int = 1,
) -> MultilabelIssues:
    """Audit multi-labels one class against the rest.

    Args:
        labels: (N, K) dense or SciPy sparse int: 1 present, 0 (not stored) absent, -1 unknown (never flagged).
        pred_probs: (N, K) float16/32/64 marginal probabilities in [0, 1], out of sample; rows need not sum to 1.
        filter_by, frac_noise, min_examples_per_class: as in `find_issues`, per class on [1 - P, P].
        aggregate: how an item is scored from its labels, see `item_quality`.

    Returns:
        `MultilabelIssues`. pred_probs are read in row blocks (2 passes), then once in blocks of columns.

    Raises:
        OptionError: unknown options.

    Warns:
        LabelwrightWarning: classes with too few present or absent labels to audit that side.

    Source: Thyagarajan et al. 2022, "Identifying incorrect annotations in multi-label classification data".

    >>> y = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 1]])
    >>> p = np.array([[0.9, 0.2], [0.8, 0.1], [0.1, 0.9], [0.2, 0.8], [0.1, 0.9]])
    >>> multilabel_issues(y, p).flags[-1]
    array([ True, False])
    """
    check_option("filter_by", filter_by, FILTERS)
    check_option("aggregate", aggregate, AGGREGATES)
    if filter_by not in PRUNE and (frac_noise != 1.0 or min_examples_per_class != 1):
        raise OptionError(
            found=f"frac_noise or min_examples_per_class with filter_by={filter_by!r}",
            expected="them with a rule that prunes by counts only",
            fix=f"leave them out, or use filter_by {', '.join(map(repr, PRUNE))}",
        )
    joints = multilabel_joints(labels, pred_probs)
    flags = np.zeros(pred_probs.shape, bool)
    thin = []
    for k, given, pair in _columns(labels, pred_probs):
        if filter_by in PRUNE:
            flags[:, k], skipped = prune(given, pair, filter_by, joints[k], frac_noise, min_examples_per_class)
            thin += [k] * bool(len(skipped))
        else:
            flags[:, k] = find_issues(given, pair, filter_by=filter_by)
    if thin:
        warnings.warn(
            f"{len(thin)} classes have at most {min_examples_per_class} present or absent labels and were not audited "
            f"on that side: {thin[:10]}{'…' if len(thin) > 10 else ''}. Fix: label more of them",
            LabelwrightWarning,
            stacklevel=2,
        )
    quality = np.empty(pred_probs.shape, np.float64 if pred_probs.dtype == np.float64 else np.float32)
    items = np.empty(len(pred_probs))
    for block, (given, p) in zip(row_blocks(*pred_probs.shape), _row_chunks(labels, pred_probs)):
        own = np.where(given == 1, p.astype(np.float64), 1 - p.astype(np.float64))
        own[given < 0] = np.nan
        quality[block], items[block] = own, item_quality(own, aggregate=aggregate)
    return MultilabelIssues(joints, flags, quality, items, joints[:, 0, 1] + joints[:, 1, 0])


def _columns(labels: Labels, pred_probs: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Class number, its (N,) labels and its (N, 2) [1 - P, P]; reads about 2^22 probabilities at a time."""
    by_column: Any = labels.tocsc() if hasattr(labels, "tocsc") else labels
    n_items, n_classes = pred_probs.shape
    step = max(1, 2**22 // max(1, n_items))
    for start in range(0, n_classes, step):
        p = pred_probs[:, start : start + step].T.astype(np.float64)
        given = _dense(by_column[:, start : start + step]).T.astype(np.int64)
        for k, column in enumerate(p):
            yield start + k, given[k], np.stack([1 - column, column], axis=1)


def item_quality(
    quality: np.ndarray, *, aggregate: str = "moving_average", momentum: float = 0.8, temperature: float = 0.1
) -> np.ndarray:
    """One score per item from the scores of its labels, (N,) in [0, 1]; NaN where no label is known.

    Args:
        quality: (N, K) label scores, NaN = unknown (left out).
        aggregate: "moving_average" (default): exponential moving average over the scores from best to worst, so that
            the worst weighs `momentum`, the next worst `momentum` (1 - `momentum`), ...: an item is about as bad as its
            worst label, and two bad labels are worse than one, which "min" cannot say. "softmin": mean weighted by
            exp(-score / `temperature`). "min". "mean": washes out one wrong label among many classes.
        momentum: in (0, 1]; 1 is "min".
        temperature: > 0; towards 0 is "min", large is "mean".

    Source: Thyagarajan et al. 2022 (moving average, 0.8).

    >>> item_quality(np.array([[0.9, 0.5, 0.1], [1.0, np.nan, np.nan]]))
    array([0.196, 1.   ])
    """
    check_option("aggregate", aggregate, AGGREGATES)
    ordered = np.sort(quality, axis=1)  # worst first, NaN last
    known = ~np.isnan(ordered)
    size = known.sum(1)
    value = np.where(known, ordered, 0.0)
    if aggregate == "min":
        weight = np.zeros_like(value)
        weight[:, :1] = 1.0
    elif aggregate == "mean":
        weight = known.astype(np.float64)
    elif aggregate == "softmin":
        weight = np.where(known, np.exp(-(value - value[:, :1]) / temperature), 0.0)
    else:
        rank = np.arange(quality.shape[1])
        weight = np.broadcast_to(momentum * (1 - momentum) ** rank, value.shape) * known
        last = np.maximum(size - 1, 0)
        weight[np.arange(len(value)), last] = (1 - momentum) ** last  # the first of the average has no predecessor
    total = weight.sum(1)
    return np.where(size > 0, (weight * value).sum(1) / np.where(total > 0, total, 1.0), np.nan)
