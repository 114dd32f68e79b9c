"""Rows of the k largest probabilities made dense: the rest is spread over the classes that a row does not list.

This is the reference in NumPy; _soft_kernel.py has the same as one compiled loop, and gives the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

THIN = 1e-3
"""Share of a shape that must lie on the classes a row does not list; below, the row is spread in float64, one by one."""
_BLOCK = 1 << 16  # numbers written in one go: they are scaled while the cache of one core still has them


@dataclass(frozen=True, eq=False)
class Tail:
    """Where the mass that is not listed lies; not divided by its sum, so that a stored table is used as it is.

    table: (1, K) float32, one shape for all rows; or (K, K) uint16, one per likeliest class; >= 0.
    total: (1,) or (K,) float64, their sums.
    """

    table: np.ndarray
    total: np.ndarray

    @classmethod
    def of(cls, shapes: np.ndarray) -> Tail:
        """Of one shape (K,) float, or of one per likeliest class (K, K) uint16."""
        table = np.atleast_2d(np.ascontiguousarray(shapes, dtype=np.float32 if shapes.ndim == 1 else np.uint16))
        return cls(table, table.sum(1, dtype=np.float64))

    @property
    def by_class(self) -> bool:
        """Whether the shape depends on the likeliest class."""
        return self.table.dtype == np.uint16


def spread(
    index: np.ndarray, prob: np.ndarray, rest: np.ndarray, known: np.ndarray, tail: Tail | None, n_classes: int
) -> np.ndarray:
    """(n, K) float32 rows of top-k labels whose rest is spread over the classes not listed.

    Args:
        index, prob: (n, k), -1 pads.   rest: (n,).   known: (n,) bool; the other rows become uniform.
        tail: None: evenly.
    """
    at, listed = index, None
    if index.size and index.min() < 0:
        listed = index >= 0
        at = np.where(listed, index, 0)
    out = np.empty((len(at), n_classes), dtype=np.float32)
    _spread_rest(out, at, listed, rest, tail)
    place = at + np.arange(0, out.size, n_classes)[:, None]
    if listed is None:
        out.reshape(-1)[place] = prob
    else:
        out.reshape(-1)[place[listed]] = prob[listed]
        out[~known] = 1 / n_classes
    if index.shape[1] >= n_classes:  # no class may be left open for the rest
        total = out.sum(1, keepdims=True)
        out /= np.where(total > 0, total, 1)
    return out


def _spread_rest(
    out: np.ndarray, at: np.ndarray, listed: np.ndarray | None, rest: np.ndarray, tail: Tail | None
) -> None:
    """Fill `out` with the rest of each row, spread as if no class were listed but scaled so that the open ones sum to
    it; what stands at the listed classes is overwritten later. listed: None where all are."""
    n_classes = out.shape[1]
    if tail is None:
        n_open = n_classes - (at.shape[1] if listed is None else listed.sum(1))
        out[...] = np.divide(rest, np.maximum(n_open, 1), dtype=np.float32)[:, None]
        return
    shape, total, taken = None, tail.total, at
    if tail.by_class:
        shape = at[:, 0].astype(np.int64)
        total, taken = total[shape], at + (shape * n_classes)[:, None]
    taken = tail.table.take(taken)
    if listed is not None:
        taken *= listed
    free = total - taken.cumsum(1, dtype=np.float64)[:, -1]  # cumsum: one after the other, as the compiled loop adds
    thin = free <= THIN * total
    scale = np.divide(rest, np.where(thin, 1, free), dtype=np.float32)[:, None]
    if shape is None:
        np.dot(scale, tail.table, out=out)
    else:
        step = max(1, _BLOCK // n_classes)
        for start in range(0, len(out), step):
            part = out[start : start + step]
            part[...] = tail.table.take(shape[start : start + step], axis=0)
            part *= scale[start : start + step]
    if thin.any():
        for i in np.flatnonzero(thin & (rest > 0)):
            own = tail.table[0 if shape is None else shape[i]]
            _respread(out[i], at[i] if listed is None else at[i][listed[i]], rest[i], own)


def _respread(out: np.ndarray, listed: np.ndarray, rest: float, shape: np.ndarray) -> None:
    """Mend a row that lists nearly all of its shape: there a sum minus a sum is rounding. Where none is left: evenly."""
    is_open = np.ones(len(out), dtype=bool)
    is_open[listed] = False
    shape = np.where(is_open, shape, 0).astype(np.float64)
    shape = shape if shape.sum() > 0 else is_open.astype(np.float64)
    out[:] = rest * shape / max(shape.sum(), 1e-300)
