"""The k nearest neighbours of every item, exactly, in bounded memory.

One float32 matrix product per block of rows, then a cut that is cheaper than a partition: the columns are dealt into
groups, and the k-th largest group maximum can be no larger than the k-th largest similarity. The few columns above it
are measured again pair by pair in float64 (so that neither the block size nor the BLAS at hand changes the answer) and
sorted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from labelwright.errors import DataError, check_option
from labelwright.features.vectors import check_features

SCRATCH = 64 * 2**20  # bytes of the largest block of similarities with its mask
METRICS = ("cosine", "euclidean")


class Neighbours(NamedTuple):
    """The k nearest items of every item, nearest first, ties by row number."""

    index: np.ndarray  # type: ignore[assignment]  # (N, k) int64, row numbers (hides tuple.index)
    similarity: np.ndarray  # (N, k) float32: cosine, or 1 - Euclidean distance


def nearest_neighbours(
    x: Any, k: int = 20, *, metric: str = "cosine", block: int | None = None, queries: Any = None
) -> Neighbours:
    """The k nearest rows of `x` for every row of `x` (without itself, but with its duplicates), or of `queries`.

    Exact: float32 products find the candidates, float64 settles them. Time grows with N², scratch stays near 64 MiB.

    Args:
        x: (N, D) dense or SciPy sparse features. A row of zeros has cosine 0 to everything.
        k: neighbours per item, 1 <= k < N (k <= N with `queries`).
        metric: "cosine" or "euclidean"; `1 - similarity` is the distance in both. Euclidean works in float64
            throughout.
        block: rows per matrix product; None chooses. It changes memory and speed, never the result.
        queries: (M, D) rows to look up instead of the items themselves; nothing is left out then.

    Returns:
        Neighbours of shape (N, k), or (M, k) with `queries`.

    Raises:
        DataError: NaN or infinite features, a k that cannot be served, queries of another width.

    >>> nearest_neighbours(np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), k=1).index.ravel()
    array([1, 0, 1])
    """
    check_option("metric", metric, METRICS)
    items = _Rows(check_features(x), metric)
    asked = items if queries is None else _Rows(check_features(queries, name="queries"), metric)
    n, m = len(items.norm), len(asked.norm)
    _check_sizes(k, items, asked, n_others=n - (queries is None))
    if block is None:
        block = max(8, SCRATCH // (n * items.bytes_per_cell))
    index, nearness = np.empty((m, k), np.int64), np.empty((m, k), np.float32)
    for start in range(0, m, max(1, block)):
        rows = np.arange(start, min(start + max(1, block), m))
        index[rows], nearness[rows] = _block(items, asked, rows, k, own=queries is None)
    return Neighbours(index, nearness if items.cosine else 1 + nearness)


def _check_sizes(k: int, items: _Rows, asked: _Rows, n_others: int) -> None:
    if not 1 <= k <= n_others:
        raise DataError(
            found=f"k={k} neighbours wanted from {n_others} other items",
            expected=f"1 <= k <= {n_others}",
            fix=f"pass k={n_others} or less" if n_others else "pass at least two items",
        )
    if items.z.shape[1] != asked.z.shape[1]:
        raise DataError(
            found=f"queries with {asked.z.shape[1]} features for items with {items.z.shape[1]}",
            expected="the same features in the same order",
            fix="make both with one call, or one fitted encoder",
        )


class _Rows:
    """Rows ready for products: of unit length and float32 (cosine), or as they are and float64 (squares cancel)."""

    def __init__(self, x: Any, metric: str):
        self.sparse, self.cosine = not isinstance(x, np.ndarray), metric == "cosine"
        self.bytes_per_cell = (18 if self.sparse else 5) if self.cosine else (30 if self.sparse else 17)
        if self.cosine:
            length = _lengths(x)
            scale = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
            z = x.multiply(scale[:, None]).tocsr() if self.sparse else x * scale[:, None].astype(x.dtype)
            self.z = z.astype(np.float32, copy=False)
        else:
            self.z = x.astype(np.float64)
        self.norm = _lengths(self.z)
        self._first: np.ndarray | None = None

    def products(self, other: _Rows, rows: np.ndarray) -> np.ndarray:
        """(len(rows), N) scores, larger for nearer items; per row of `other` a constant is left out."""
        part = other.z[rows[0] : rows[-1] + 1]
        score = np.asarray((part @ self.z.T).toarray() if self.sparse else part @ self.z.T)
        if not self.cosine:
            score -= 0.5 * self.norm**2
        return score

    def rounding(self, other: _Rows) -> float:
        """Twice the worst rounding error of a score: candidates this close below the cut are kept."""
        terms = int(np.diff(self.z.indptr).max(initial=0)) if self.sparse else self.z.shape[1]
        unit = (terms + 8) * float(np.finfo(self.z.dtype).eps)
        return unit if self.cosine else unit * self.norm.max() * (self.norm.max() + other.norm.max())

    def nearness(self, other: _Rows, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(P,) float32 cosine, or minus the distance, of pairs, each computed alone in float64."""
        out = np.empty(len(rows))
        step = max(1, SCRATCH // (32 * max(1, self.z.shape[1]))) if not self.sparse else 65_536
        for s in range(0, len(rows), step):
            a, b = other.z[rows[s : s + step]], self.z[columns[s : s + step]]
            if self.cosine:
                out[s : s + step] = _dot(a, b)
            else:
                out[s : s + step] = _dot(a - b, a - b)
        if not self.cosine:
            return -np.sqrt(out).astype(np.float32)
        length = other.norm[rows] * self.norm[columns]
        out = np.divide(out, length, out=np.zeros_like(out), where=length > 0)
        return np.clip(out, -1.0, 1.0).astype(np.float32)

    def first(self) -> np.ndarray:
        """(N,) the first row with the same content: a thousand copies of one text are measured once."""
        if self._first is None:
            z = self.z
            if self.sparse:
                keys = [z.indices[a:b].tobytes() + z.data[a:b].tobytes() for a, b in zip(z.indptr[:-1], z.indptr[1:])]
            else:
                keys = [row.tobytes() for row in z]
            seen: dict[bytes, int] = {}
            self._first = np.array([seen.setdefault(key, i) for i, key in enumerate(keys)])
        return self._first


def _lengths(x: Any) -> np.ndarray:
    """(N,) Euclidean row lengths in float64, without a float64 copy of `x`."""
    if not isinstance(x, np.ndarray):
        square = x.copy()
        square.data = square.data.astype(np.float64) ** 2
        return np.asarray(np.sqrt(square.sum(1))).ravel()
    out = np.empty(len(x))
    for s in range(0, len(x), 4096):
        part = x[s : s + 4096].astype(np.float64)
        out[s : s + 4096] = np.sqrt(_dot(part, part))
    return out


def _dot(a: Any, b: Any) -> np.ndarray:
    """(P,) row-by-row products in float64."""
    if not isinstance(a, np.ndarray):
        return np.asarray(a.astype(np.float64).multiply(b.astype(np.float64)).sum(1)).ravel()
    return np.asarray(np.einsum("pd,pd->p", a.astype(np.float64, copy=False), b.astype(np.float64, copy=False)))


def _block(items: _Rows, asked: _Rows, rows: np.ndarray, k: int, own: bool) -> tuple[np.ndarray, np.ndarray]:
    """Indices and nearness (B, k) of a run of rows."""
    score = items.products(asked, rows)
    here, n = np.arange(len(rows)), score.shape[1]
    if own:
        score[here, rows] = -np.inf  # by number, not by distance: an item's copies are its neighbours
    near = score >= (_lower_bound(score, k) - items.rounding(asked))[:, None]
    crowded = np.flatnonzero(np.count_nonzero(near, axis=1) > 4 * k + 64)  # ties, mostly: many copies, or no overlap
    pairs = [_tied(items, asked, rows[r], np.flatnonzero(near[r]), score[r], k) for r in crowded]
    near[crowded] = False
    del score
    row, column = np.divmod(np.flatnonzero(near), n)
    value = items.nearness(asked, rows[row], column)
    row = np.concatenate([row, *(np.full(len(c), r) for r, (c, _) in zip(crowded, pairs))])
    column = np.concatenate([column, *(c for c, _ in pairs)])
    value = np.concatenate([value, *(v for _, v in pairs)])
    order = np.lexsort((column, -value, row))
    start = np.searchsorted(row[order], here)
    take = order[start[:, None] + np.arange(k)]
    return column[take], value[take]


def _lower_bound(score: np.ndarray, k: int) -> np.ndarray:
    """(B,) a value with at least k scores at or above it: the k-th largest maximum of groups of columns.

    Group g holds the columns g, g + G, g + 2G, …, so data sorted by class does not put all neighbours into one group.
    """
    n = score.shape[1]
    groups = min(n, max(4 * k, 256))
    whole = n - n % groups
    best = score[:, :whole].reshape(len(score), -1, groups).max(axis=1)
    rest = n - whole
    np.maximum(best[:, :rest], score[:, whole:], out=best[:, :rest])
    return np.asarray(np.partition(best, groups - k, axis=1)[:, groups - k])


def _tied(
    items: _Rows, asked: _Rows, row: int, columns: np.ndarray, score: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k best of very many candidates of one row, equal rows measured once."""
    cut = np.partition(score[columns], len(columns) - k)[len(columns) - k] - items.rounding(asked)
    columns = columns[score[columns] >= cut]
    if items.cosine and asked.norm[row] == 0:
        return columns[:k], np.zeros(k, np.float32)
    distinct, place = np.unique(items.first()[columns], return_inverse=True)
    value = items.nearness(asked, np.full(len(distinct), row), distinct)[place]
    best = np.lexsort((columns, -value))[:k]
    return columns[best], value[best]
