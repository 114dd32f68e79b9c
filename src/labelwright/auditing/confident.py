"""How often each class is given in place of another: the confident joint, and the noise rates that follow from it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from labelwright.auditing._extremes import RowExtremes
from labelwright.auditing.thresholds import ClassThresholds, class_thresholds, row_blocks
from labelwright.errors import check_option
from labelwright.labels import PredProbs, as_matrix

_SLACK = 1e-6  # a probability this little under its threshold still counts as confident
PRIORS = ("cnt", "marginal", "marginal_ps", "eqn")


def confident_guess(pred_probs: PredProbs, thresholds: np.ndarray) -> np.ndarray:
    """The class each item is confidently a member of, -1 where there is none.

    A class counts when its probability reaches its threshold less 1e-6. One such class is the guess; where there are
    several, the guess is the arg max over *all* classes, as in the authors' code.

    Args:
        pred_probs: (N, K) float16/32/64, up-cast block by block, or top-k rows.
        thresholds: (K,) from `class_thresholds`.

    Returns:
        (N,) int64 in -1..K-1.

    >>> confident_guess(np.array([[0.8, 0.2], [0.5, 0.5], [0.1, 0.9]]), np.array([0.7, 0.6]))
    array([ 0, -1,  1])
    """
    matrix = as_matrix(pred_probs)
    guess = np.empty(len(matrix), np.int64)
    for block in row_blocks(*matrix.shape):
        p = matrix[block]
        p = p.astype(np.float32) if p.dtype == np.float16 else p
        top = p.argmax(1)
        best = p[np.arange(len(p)), top]
        guess[block] = guess_by_top(top, best, best, thresholds)
        look_closer(guess[block], p, thresholds)
    return guess


def guess_by_top(top: np.ndarray, best: np.ndarray, second: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The confident guess of items known by their top class only: that class, -1, or -2 where all classes must be seen.

    A confident top class is the guess, alone or not. Where it is not confident, no other class is if even the second
    largest probability is below all thresholds.

    Args:
        top: (N,) arg max.   best: (N,) its probability.   second: (N,) no less than any other probability.
        thresholds: (K,).
    """
    least = thresholds - _SLACK
    none = second.astype(np.float64) < least.min()
    return np.where(best.astype(np.float64) >= least[top], top, np.where(none, -1, -2))


def look_closer(guess: np.ndarray, pred_probs: np.ndarray, thresholds: np.ndarray) -> None:
    """Replace -2 in `guess` (N,) by the confident guess from all classes."""
    unsure = np.flatnonzero(guess == -2)
    for block in row_blocks(len(unsure), pred_probs.shape[1]):
        at = unsure[block]
        p = pred_probs[at].astype(np.float64)
        confident = p >= thresholds - _SLACK
        size = confident.sum(1)
        guess[at] = np.where(size > 1, p.argmax(1), np.where(size == 1, confident.argmax(1), -1))


def round_rows(matrix: np.ndarray) -> np.ndarray:
    """Round to integers so that every row keeps its (rounded) total: the largest remainders are rounded up.

    Of equal remainders, that of the higher column is rounded up.

    Args:
        matrix: (R, C) non-negative floats.

    Returns:
        (R, C) int64.

    >>> round_rows(np.array([[1.5, 1.5, 0.0], [0.2, 0.7, 2.1]]))
    array([[1, 2, 0],
           [0, 1, 2]])
    """
    rounded = np.zeros(matrix.shape, np.int64)
    for block in row_blocks(*matrix.shape):
        part = matrix[block]
        row, column = np.nonzero(part)  # few cells of a large joint
        cell = part[row, column]
        floor = np.floor(cell + 1e-9)  # 2.9999999999 is a 3 that lost a bit
        short = np.rint(part.sum(1)) - np.bincount(row, floor, len(part))
        remainder = np.round(cell - floor, 9)  # equal up to float noise means equal
        order = np.lexsort((-column, -remainder, row))
        rank = np.arange(len(row)) - np.searchsorted(row, row)  # in its row, as `order` sorts by row too
        floor[order] += rank < short[row]
        rounded[block][row, column] = floor
    return rounded


def calibrate(counts: np.ndarray, label_counts: np.ndarray) -> np.ndarray:
    """Scale confident counts so that row k sums to the number of items given label k, and round.

    Args:
        counts: (K, K) [given, true], non-negative.
        label_counts: (K,) items per given label.

    Returns:
        (K, K) int64 [given, true]; row sums are `label_counts`.

    Source: Northcutt et al. 2021, eq. 3.

    >>> calibrate(np.array([[3, 1], [0, 1]]), np.array([8, 5]))
    array([[6, 2],
           [0, 5]])
    """
    scale = label_counts / np.maximum(counts.sum(1), 1e-100)
    scaled = counts * scale[:, None]
    total = scaled.sum()
    if total > 0:
        scaled *= label_counts.sum() / total
    return round_rows(scaled)


class ConfidentJoint:
    """Mergeable statistic behind `confident_joint`, given the thresholds; a chunk is `(labels, pred_probs)`.

    All sums are integers: any cut of the data gives the same bits. State: K x K + K integers.
    """

    def __init__(self, thresholds: np.ndarray, *, calibrated: bool = True):
        n_classes = len(thresholds)
        self.thresholds, self.calibrated = thresholds, calibrated
        self.counts = np.zeros((n_classes, n_classes), np.int64)  # [given, guessed], before any scaling
        self.label_counts = np.zeros(n_classes, np.int64)

    def update(self, chunk: tuple[np.ndarray, np.ndarray]) -> None:
        labels, pred_probs = chunk
        self.add(labels, confident_guess(pred_probs, self.thresholds))

    def add(self, labels: np.ndarray, guess: np.ndarray) -> None:
        """Items by the class they were given and the class guessed with confidence, (n,) int each, -1 for none."""
        n_classes = len(self.thresholds)
        for block in row_blocks(len(labels), 1):
            given, guessed = labels[block], guess[block]
            self.label_counts += np.bincount(given[given >= 0], minlength=n_classes)
            seen = np.flatnonzero((given >= 0) & (guessed >= 0))
            cell = given[seen].astype(np.int64) * n_classes + guessed[seen]
            np.add.at(self.counts.reshape(-1), cell, 1)

    def merge(self, other: ConfidentJoint) -> None:
        self.counts += other.counts
        self.label_counts += other.label_counts

    def raw(self) -> np.ndarray:
        """The counts, with at least 1 on the diagonal."""
        counts = self.counts.copy()
        np.fill_diagonal(counts, np.maximum(counts.diagonal(), 1))
        return counts

    def result(self) -> np.ndarray:
        return calibrate(self.raw(), self.label_counts) if self.calibrated else self.raw()

    def state(self) -> dict[str, np.ndarray]:
        cell = np.flatnonzero(self.counts)  # few: a part of the data fills a small share of K x K
        return {
            "thresholds": self.thresholds,
            "calibrated": np.array(self.calibrated),
            "cell": cell,
            "counts": self.counts.reshape(-1)[cell],
            "label_counts": self.label_counts,
        }

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray]) -> ConfidentJoint:
        self = cls(state["thresholds"], calibrated=bool(state["calibrated"]))
        self.counts.reshape(-1)[state["cell"]] = state["counts"]
        self.label_counts = state["label_counts"].copy()
        return self


def confident_joint(
    labels: np.ndarray, pred_probs: PredProbs, *, thresholds: np.ndarray | None = None, calibrated: bool = True
) -> np.ndarray:
    """Counts of items by given label and confidently guessed label. Two passes, one if `thresholds` are given.

    Args:
        labels: (N,) int, 0..K-1, -1 = missing (skipped).
        pred_probs: (N, K) float16/32/64 or top-k rows, which sum to 1, out of sample (in-sample ones make the answer diagonal).
        thresholds: (K,) from `class_thresholds`, computed when absent.
        calibrated: scale row k to the number of items given label k, so that the whole sums to N; else the raw counts.

    Returns:
        (K, K) int64 [given, true]. The diagonal of the raw counts is at least 1.

    Source: Northcutt et al. 2021, eq. 1-3.

    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8]])
    >>> confident_joint(np.array([0, 0, 0, 1]), p)
    array([[2, 1],
           [0, 1]])
    """
    if thresholds is None:
        thresholds = class_thresholds(labels, pred_probs)
    statistic = ConfidentJoint(thresholds, calibrated=calibrated)
    statistic.update((labels, as_matrix(pred_probs)))
    return statistic.result()


class Guesses(NamedTuple):
    """What `guesses` finds: thresholds (K,), guess (N,) in -1..K-1, and the confident joint of the two."""

    thresholds: np.ndarray
    guess: np.ndarray
    joint: ConfidentJoint


def guesses(
    labels: np.ndarray, pred_probs: np.ndarray, extremes: RowExtremes, thresholds: np.ndarray | None = None
) -> Guesses:
    """Thresholds, confident guesses and joint of items whose extremes are known. Reads only rows that these leave open.

    An item without a label has no guess here; otherwise the same as `class_thresholds`, `confident_guess` and
    `confident_joint`.
    """
    blocks = list(row_blocks(len(labels), 1))
    if thresholds is None:
        statistic = ClassThresholds(pred_probs.shape[1])
        for block in blocks:
            seen = np.flatnonzero(labels[block] >= 0)
            statistic.add(labels[block][seen], extremes.own[block][seen])
        thresholds = statistic.result()
    guess = np.empty_like(extremes.top)
    for block in blocks:
        own, other, top = extremes.own[block], extremes.other[block], extremes.top[block]
        best = np.maximum(own, other)
        second = np.where(top == labels[block], other, best)  # where the given class is not the top, any may be second
        guess[block] = np.where(top < 0, -1, guess_by_top(top, best, second, thresholds))
    look_closer(guess, pred_probs, thresholds)
    joint = ConfidentJoint(thresholds)
    joint.add(labels, guess)
    return Guesses(thresholds, guess, joint)


class NoiseRates(NamedTuple):
    """What a confident joint says about the noise.

    joint: (K, K) [given, true] p(given, true), sums to 1.
    transition: (K, K) [true, given] p(given | true), rows sum to 1.
    inverse: (K, K) [given, true] p(true | given), rows sum to 1.
    prior: (K,) p(true), sums to 1.
    rate: share of items whose given label is not the true one.
    """

    joint: np.ndarray
    transition: np.ndarray
    inverse: np.ndarray
    prior: np.ndarray
    rate: float


def _normalise_rows(matrix: np.ndarray) -> np.ndarray:
    total = matrix.sum(1, keepdims=True)
    return np.where(total > 0, matrix / np.maximum(total, 1e-100), np.eye(len(matrix)))


def class_prior(confident_joint: np.ndarray, label_counts: np.ndarray, *, method: str = "cnt") -> np.ndarray:
    """Shares of the true classes, (K,), clipped to [1e-6, 1] and summing to 1.

    Args:
        confident_joint: (K, K) [given, true], calibrated or raw.
        label_counts: (K,) items per given label; p(given) is their share.
        method: "cnt": p(true = k | given = k) / p(given = k | true = k) * p(given = k). "marginal": column sums of the
            joint. "marginal_ps": the inverse noise matrix times p(given). "eqn": solve p(given) = noise matrix times
            p(true), in least squares where it is singular.

    Raises:
        OptionError: an unknown method.

    >>> class_prior(np.array([[6, 2], [0, 4]]), np.array([8, 4]), method="marginal")
    array([0.5, 0.5])
    """
    check_option("method", method, PRIORS)
    joint = confident_joint / confident_joint.sum()
    given = label_counts / label_counts.sum()
    noise, inverse = _normalise_rows(joint.T).T, _normalise_rows(joint)  # noise[given, true]: columns sum to 1
    if method == "cnt":
        prior = inverse.diagonal() / np.maximum(noise.diagonal(), 1e-100) * given
    elif method == "marginal":
        prior = joint.sum(0)
    elif method == "marginal_ps":
        prior = inverse.T @ given
    else:
        prior = np.linalg.lstsq(noise, given, rcond=None)[0]
    prior = np.clip(prior, 1e-6, 1.0)
    return prior / prior.sum()


def noise_rates(
    confident_joint: np.ndarray, label_counts: np.ndarray | None = None, *, prior: str = "cnt"
) -> NoiseRates:
    """Noise rates in both directions, the joint distribution and the prior of the true classes.

    Args:
        confident_joint: (K, K) [given, true], from `confident_joint`.
        label_counts: (K,) items per given label; default the row sums, which is right for a calibrated joint.
        prior: "cnt", "marginal", "marginal_ps" or "eqn", see `class_prior`.

    Returns:
        `NoiseRates`. A class without any count keeps its own label: its row is that of the identity.

    >>> rates = noise_rates(np.array([[6, 2], [0, 4]]))
    >>> rates.transition                                       # of the true 1, a third was given as 0
    array([[1.        , 0.        ],
           [0.33333333, 0.66666667]])
    """
    joint = confident_joint / confident_joint.sum()
    counts = confident_joint.sum(1) if label_counts is None else label_counts
    return NoiseRates(
        joint=joint,
        transition=_normalise_rows(joint.T),
        inverse=_normalise_rows(joint),
        prior=class_prior(confident_joint, counts, method=prior),
        rate=float(1.0 - np.trace(joint)),
    )
