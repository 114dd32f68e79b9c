"""How scores are spread, overall and per class, in one pass."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from labelwright.errors import OptionError, check_whole

_BLOCK = 1 << 16


class Histogram(NamedTuple):
    """edges: (B + 1,).   counts: (B,) or (K, B) int64 values per bin.   below, above: values outside the edges, () or (K,).
    missing: NaN, () or (K,)."""

    edges: np.ndarray
    counts: np.ndarray
    below: np.ndarray
    above: np.ndarray
    missing: np.ndarray


class ScoreHistogram:
    """Mergeable statistic: counts of values in bins of equal width; a chunk is (n,) values, or `(labels, values)`.

    All counts are integers: any cut of the data gives the same bits. A bin holds its left edge; the last one holds both.

    Args:
        bins: how many.   low, high: range of the values.
        n_classes: K for a histogram per class; rows with label -1 are left out.

    >>> histogram = ScoreHistogram(bins=2)
    >>> histogram.update(np.array([0.1, 0.5, 1.0, np.nan]))
    >>> histogram.result().counts, histogram.result().missing
    (array([1, 2]), array(1))
    """

    def __init__(self, bins: int = 100, *, low: float = 0.0, high: float = 1.0, n_classes: int | None = None):
        check_whole("bins", bins, 1)
        if not low < high:
            raise OptionError(found=f"low={low}, high={high}", expected="low below high", fix="swap them")
        self.edges = np.linspace(low, high, bins + 1)
        self.n_classes = n_classes
        self._counts = np.zeros((n_classes or 1, bins + 3), np.int64)  # below, bins, above, NaN

    def update(self, chunk: Any) -> None:
        labels, values = (None, chunk) if self.n_classes is None else chunk
        bins = len(self.edges) - 1
        for start in range(0, len(values), _BLOCK):
            block = np.asarray(values[start : start + _BLOCK], np.float64)
            at = np.searchsorted(self.edges, block, side="right")  # 0 below, 1..B inside, B + 1 above
            at[block == self.edges[-1]] = bins
            at[np.isnan(block)] = bins + 2
            if labels is not None:
                given = np.asarray(labels[start : start + _BLOCK])
                at = (given * (bins + 3) + at)[given >= 0]
            self._counts += np.bincount(at, minlength=self._counts.size).reshape(self._counts.shape)

    def merge(self, other: ScoreHistogram) -> None:
        self._counts += other._counts

    def result(self) -> Histogram:
        counts = self._counts if self.n_classes is not None else self._counts[0]
        return Histogram(self.edges, counts[..., 1:-2], counts[..., 0], counts[..., -2], counts[..., -1])

    def state(self) -> dict[str, np.ndarray]:
        return {"edges": self.edges, "counts": self._counts, "per_class": np.array(self.n_classes is not None)}

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray]) -> ScoreHistogram:
        self = cls(len(state["edges"]) - 1, n_classes=len(state["counts"]) if state["per_class"] else None)
        self.edges, self._counts = state["edges"], state["counts"].copy()
        return self
