"""Lowest values first, ties to the lower row, of all and of each group (of a stream: `stream.Lowest`); largest entries."""

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


def largest(p: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids (n, k) and values (n, k) of the k largest entries of each row, largest first, ties by id.

    >>> largest(np.array([[0.2, 0.5, 0.1, 0.2]]), 2)
    (array([[1, 0]]), array([[0.5, 0.2]]))
    """
    n_classes = p.shape[1]
    if k >= n_classes:
        index = np.argsort(-p, axis=1, kind="stable")
    else:
        index = np.sort(np.argpartition(-p, k - 1, axis=1)[:, :k], axis=1)
        lowest = np.take_along_axis(p, index, 1).min(1)
        tied = np.flatnonzero((p >= lowest[:, None]).sum(1) > k)  # the partition picks any of equals
        index[tied] = np.sort(np.argsort(-p[tied], axis=1, kind="stable")[:, :k], axis=1)
        order = np.argsort(-np.take_along_axis(p, index, 1), axis=1, kind="stable")
        index = np.take_along_axis(index, order, 1)
    return index, np.take_along_axis(p, index, 1)
