"""Of each pair of classes, the items whose given class loses most clearly to the other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from labelwright.auditing._ranking import first_per_group
from labelwright.auditing.thresholds import row_blocks

_ENTRIES = 2**14  # probabilities looked up at a time


class LargestMargins:
    """The `quota[given, other]` items of each given class with the largest P[other] - P[given], in one pass.

    A mergeable statistic; a chunk is `(rows, labels, pred_probs)`, `rows` being the item numbers. Ties go to the lower
    row. Looks up pairs with a quota only. Keeps at most about twice as many candidates as can be flagged.
    """

    def __init__(self, quota: np.ndarray):
        given, other = np.nonzero(quota > 0)  # (K, K) [given, other]
        apart = given != other
        given, self._other = given[apart], other[apart]
        self._quota = quota[given, self._other]  # of the pairs, by given class
        self._start = np.searchsorted(given, np.arange(len(quota) + 1))  # pairs of class k: start[k] to start[k + 1]
        self._cutoff = np.full(len(given), -np.inf)  # margins below this can no longer be chosen
        self._limit = 2 * int(self._quota.sum()) + 2**14
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # pair, -margin, row
        self._held = 0

    def update(self, chunk: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        rows, labels, pred_probs = chunk
        self._look_up(rows, np.arange(len(labels)), labels, pred_probs)

    def update_at(self, rows: np.ndarray, labels: np.ndarray, pred_probs: np.ndarray) -> None:
        """The same for chosen rows, (n,) ascending, of all labels (N,) and all pred_probs (N, K)."""
        self._look_up(rows, rows, labels, pred_probs)

    def _look_up(self, rows: np.ndarray, at: np.ndarray, labels: np.ndarray, pred_probs: np.ndarray) -> None:
        pairs = np.diff(self._start)
        for block in row_blocks(len(at), 1):  # positions in pred_probs, of items whose class has a pair
            keep = np.flatnonzero(labels[at[block]] >= 0)
            keep = keep[pairs[labels[at[block][keep]]] > 0]
            wanted, given = at[block][keep], labels[at[block][keep]].astype(np.int64)
            own = pred_probs[wanted, given].astype(np.float64)
            for part in _cut(pairs[given]):
                size = pairs[given[part]]
                i = np.repeat(np.arange(part.start, part.stop), size)
                first = self._start[given[part]] - (np.cumsum(size) - size)
                pair = np.arange(len(i)) + np.repeat(first, size)
                margin = pred_probs[wanted[i], self._other[pair]].astype(np.float64) - own[i]
                good = np.flatnonzero(margin >= self._cutoff[pair])
                self._add(pair[good], -margin[good], rows[block][keep][i[good]])

    def _add(self, pair: np.ndarray, key: np.ndarray, row: np.ndarray) -> None:
        self._parts.append((pair, key, row))
        self._held += len(pair)
        if self._held > self._limit:
            self._compact()

    def _compact(self) -> None:
        if not self._parts:
            return
        pair, key, row = (np.concatenate(column) for column in zip(*self._parts))
        chosen = first_per_group(pair, key, row, self._quota)
        pair, key, row = pair[chosen], key[chosen], row[chosen]
        full = np.bincount(pair, minlength=len(self._quota)) >= self._quota
        self._cutoff[full] = self._lowest(pair, key)[full]
        self._parts, self._held = [(pair, key, row)], len(pair)

    def _lowest(self, pair: np.ndarray, key: np.ndarray) -> np.ndarray:
        """Lowest margin held of each pair, infinite where none is."""
        worst = np.full(len(self._quota), -np.inf)
        np.maximum.at(worst, pair, key)
        return -worst

    def settle(self) -> np.ndarray:
        """From now on only items matter that would come before one now held. (K,): the lowest such margin of each class."""
        self._compact()
        if self._parts:
            self._cutoff = self._lowest(*self._parts[0][:2])
        else:
            self._cutoff[:] = np.inf
        least = np.full(len(self._start) - 1, np.inf)
        np.minimum.at(least, np.repeat(np.arange(len(least)), np.diff(self._start)), self._cutoff)
        return least

    def merge(self, other: LargestMargins) -> None:
        for part in other._parts:
            self._add(*part)

    def result(self) -> np.ndarray:
        """Rows chosen for at least one pair of classes, ascending."""
        self._compact()
        rows = np.sort(self._parts[0][2]) if self._parts else np.zeros(0, np.int64)
        return rows[np.r_[True, rows[1:] != rows[:-1]]] if len(rows) else rows


def _cut(sizes: np.ndarray) -> Iterator[slice]:
    """Slices of the items, each with about `_ENTRIES` entries and at least one item."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _ENTRIES, side="right")))
        yield slice(start, stop)
        start = stop
