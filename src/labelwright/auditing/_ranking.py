"""Lowest values first, ties to the lower row: of all, of each group, and of a stream."""

from __future__ import annotations

import numpy as np


def lowest_first(values: np.ndarray) -> np.ndarray:
    """`np.argsort(values, kind="stable")` for (N,) floats without NaN, several times as fast.

    NumPy sorts with wide instructions only where it may swap equals; they are put back in their order here.

    >>> lowest_first(np.array([0.5, 0.1, 0.5, 0.1]))
    array([1, 3, 0, 2])
    """
    order = np.argsort(values)
    ordered = values[order]
    tied = np.zeros(len(order), bool)
    np.equal(ordered[1:], ordered[:-1], out=tied[1:])  # to the one before
    if tied.any():
        run = np.cumsum(~tied)
        tied[:-1] |= tied[1:]
        at = np.flatnonzero(tied)
        order[at] = np.sort(run[at] * len(order) + order[at]) % len(order)
    return order


def first_per_group(group: np.ndarray, key: np.ndarray, row: np.ndarray, quota: np.ndarray) -> np.ndarray:
    """(E,) bool: is this entry among the `quota[group]` lowest keys of its group? Ties go to the lower row.

    >>> first_per_group(np.array([0, 0, 1, 0]), np.array([0.5, 0.1, 0.9, 0.1]), np.arange(4), np.array([1, 1]))
    array([False,  True,  True, False])
    """
    chosen = np.zeros(len(group), bool)
    if len(group) == 0:
        return chosen
    order = np.argsort(row, kind="stable") if (row[1:] < row[:-1]).any() else np.arange(len(row))
    order = order[lowest_first(key[order])]
    narrow = group.astype(np.uint16) if len(quota) <= 2**16 else group  # 16 bits are sorted by counting
    order = order[np.argsort(narrow[order], kind="stable")]
    ordered = group[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    rank = np.arange(len(ordered))
    rank -= np.repeat(starts, np.diff(np.r_[starts, len(ordered)]))
    chosen[order] = rank < quota[ordered]
    return chosen


class Lowest:
    """Mergeable statistic: the rows of the `size` lowest values of a stream, lowest first, ties to the lower row.

    A chunk is `(rows, values)`, rows (n,) int; NaN is passed over. Holds at most 2 `size` + 65,536 values beside a chunk.
    """

    def __init__(self, size: int):
        self.size = size
        self._rows = np.zeros(0, np.int64)
        self._values = np.zeros(0)
        self._cutoff = np.inf  # values above can no longer be among the lowest

    def update(self, chunk: tuple[np.ndarray, np.ndarray]) -> None:
        rows, values = chunk
        low = np.flatnonzero(values <= self._cutoff)
        self._rows = np.concatenate([self._rows, rows[low]])
        self._values = np.concatenate([self._values, values[low]])
        if len(self._rows) > 2 * self.size + 2**16:
            self._compact()

    def _compact(self) -> None:
        if len(self._rows) > self.size:
            kth = np.partition(self._values, self.size - 1)[self.size - 1] if self.size else -np.inf
            self._cutoff = float(kth)
            low = np.flatnonzero(self._values <= kth)
            self._rows, self._values = self._rows[low], self._values[low]
        order = np.lexsort((self._rows, self._values))[: self.size]
        self._rows, self._values = self._rows[order], self._values[order]

    def merge(self, other: Lowest) -> None:
        self.update((other._rows, other._values))

    def result(self) -> np.ndarray:
        self._compact()
        return self._rows
