"""How sure a model is of each class where that class was given: the yardstick of confident learning, in one pass."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from labelwright.errors import ProbabilityError
from labelwright.labels import PredProbs, as_matrix
from labelwright.stream.statistic import chunks

ABSENT = 2.0  # threshold of a class that nobody was given: above every probability, so never confident
_FLOOR = 2e-6  # keeps thresholds positive after the slack of 1e-6 that `confident_guess` grants
_BLOCK = 2**16  # entries up-cast to float64 at a time: 512 KiB, which stays in cache
_SCALE = 2.0**30  # fixed point with two limbs of 30 bits


def row_blocks(n_rows: int, n_columns: int) -> Iterator[slice]:
    """Slices of the rows, each small enough to up-cast to float64."""
    return chunks(n_rows, n_columns, entries=_BLOCK)


class ClassThresholds:
    """Mergeable statistic behind `class_thresholds`; a chunk is `(labels, pred_probs)`.

    Sums are kept as integers (60 bits behind the point), so the result is the same bit by bit however the rows are cut
    or ordered. State: 3 K integers.
    """

    def __init__(self, n_classes: int):
        self.count = np.zeros(n_classes, np.int64)
        self._high = np.zeros(n_classes, np.int64)
        self._low = np.zeros(n_classes, np.int64)

    def update(self, chunk: tuple[np.ndarray, np.ndarray]) -> None:
        labels, pred_probs = chunk
        for block in row_blocks(len(labels), 1):
            rows = np.flatnonzero(labels[block] >= 0)
            given = labels[block][rows]
            self.add(given, pred_probs[block.start + rows, given])

    def add(self, given: np.ndarray, own: np.ndarray) -> None:
        """Items by the class they were given, (n,) int without -1, and the probability of that class, (n,)."""
        refuse_nan(own)
        n_classes = len(self.count)
        for block in row_blocks(len(given), 1):  # short enough that sums of 30 bits are exact in float64
            at = given[block]
            scaled = own[block].astype(np.float64) * _SCALE
            high = np.rint(scaled)
            low = np.rint((scaled - high) * _SCALE)
            self.count += np.bincount(at, minlength=n_classes)
            self._high += np.bincount(at, high, n_classes).astype(np.int64)
            self._low += np.bincount(at, low, n_classes).astype(np.int64)

    def merge(self, other: ClassThresholds) -> None:
        self.count += other.count
        self._high += other._high
        self._low += other._low

    def result(self) -> np.ndarray:
        mean = (self._high + self._low / _SCALE) / _SCALE / np.maximum(self.count, 1)
        return np.where(self.count > 0, np.maximum(mean, _FLOOR), ABSENT)

    def state(self) -> dict[str, np.ndarray]:
        return {"count": self.count, "high": self._high, "low": self._low}

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray]) -> ClassThresholds:
        self = cls(len(state["count"]))
        self.count, self._high, self._low = (state[name].copy() for name in ("count", "high", "low"))
        return self


def refuse_nan(values: np.ndarray) -> None:
    """Raise `ProbabilityError` where a value made of probabilities is NaN or infinite."""
    if not np.isfinite(values).all():
        bad = np.flatnonzero(~np.isfinite(values))
        raise ProbabilityError(
            found=f"pred_probs with NaN or infinite entries in {len(bad)} labelled rows",
            expected="finite probabilities",
            fix="find them with np.flatnonzero(~np.isfinite(pred_probs).all(1)); predict these rows again or drop them",
        )


def class_thresholds(labels: np.ndarray, pred_probs: PredProbs) -> np.ndarray:
    """Mean predicted probability of each class over the items that were given it. One pass over N values.

    Args:
        labels: (N,) int, 0..K-1, -1 = missing (skipped).
        pred_probs: (N, K) float16/32/64 or top-k rows, out of sample; only the entry of the given label is read.

    Returns:
        (K,) float64, at least 2e-6; 2 for a class that no item was given.

    Raises:
        ProbabilityError: NaN or infinite entries among those read.

    Source: Northcutt et al. 2021, "Confident Learning", eq. 2.

    >>> class_thresholds(np.array([0, 0, 1]), np.array([[0.9, 0.1, 0], [0.5, 0.5, 0], [0.2, 0.8, 0]]))
    array([0.7, 0.8, 2. ])
    """
    p = as_matrix(pred_probs)
    statistic = ClassThresholds(p.shape[1])
    statistic.update((labels, p))
    return statistic.result()
