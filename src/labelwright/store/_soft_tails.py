"""Where the mass outside the top k lies: evenly, by one shape for all rows, or by one shape per likeliest class."""

from __future__ import annotations

from typing import Any

import numpy as np

from labelwright.labels.space import LabelSpace
from labelwright.store._soft_rows import Chunk

LARGEST = 4096  # classes: a class tail needs K x K numbers, while writing and in the file


class TailStatistic:
    """Mean tails of rows seen one chunk at a time.

    The shape of a tail is the mass seen at each class divided by the rest of the rows in which that class was not
    listed: a class that is listed often must not look rare when it is left over. Each class's tail is drawn towards
    the shared one as if by one row, and the shared one towards the even one likewise, so every entry is positive.
    """

    def __init__(self, n_classes: int, by_class: bool):
        self.shape = (n_classes if by_class else 1, n_classes)
        self.mass = np.zeros(self.shape, dtype=np.float32 if by_class else np.float64)
        self.listed = np.zeros(self.shape, dtype=self.mass.dtype)  # rest of the rows that list the class
        self.rest, self.rows = np.zeros(self.shape[0]), np.zeros(self.shape[0])

    def update(self, chunk: Chunk, sign: int = 1) -> None:
        """Add the rows of a chunk whose full rows are known; with sign=-1 take them out again."""
        if chunk.full is None:
            return
        use = np.flatnonzero(chunk.known & (chunk.rest > 0))
        if not len(use):
            return
        listed, rest = chunk.index[use] >= 0, sign * chunk.rest[use]
        index = np.where(listed, chunk.index[use], np.maximum(chunk.index[use, :1], 0))  # a pad repeats the first
        top = index[:, 0] if self.shape[0] > 1 else np.zeros(len(use), dtype=np.int64)
        order = np.argsort(top, kind="stable")
        groups, starts = np.unique(top[order], return_index=True)
        mass = chunk.full[use[order]]
        np.put_along_axis(mass, index[order], 0, axis=1)
        self.mass[groups] += sign * np.add.reduceat(mass, starts, axis=0)
        np.add.at(self.listed, (top[:, None], index), rest[:, None] * listed)
        self.rest += np.bincount(top, rest, minlength=self.shape[0])
        self.rows += sign * np.bincount(top, minlength=self.shape[0])

    def shared(self) -> np.ndarray:
        """(K,) float64, positive, sums to 1."""
        tail = _shape(self.mass.sum(0, dtype=np.float64), self.rest.sum(), self.listed.sum(0, dtype=np.float64))
        n = self.rows.sum()
        return (n * tail + 1 / len(tail)) / (n + 1)

    def by_class(self) -> np.ndarray:
        """(K, K) float32, row = likeliest class, rows positive, sum to 1."""
        shared, out = self.shared(), np.empty(self.shape, dtype=np.float32)
        for c in range(len(out)):  # a row at a time: no third table of this size in float64
            tail = _shape(self.mass[c].astype(np.float64), self.rest[c], self.listed[c].astype(np.float64))
            out[c] = (self.rows[c] * tail + shared) / (self.rows[c] + 1)
        return out


def _shape(mass: np.ndarray, rest: float, listed: np.ndarray) -> np.ndarray:
    free = np.maximum(rest - listed, 1e-3 * rest)  # a class that is nearly always listed: little is known of it
    rate = np.where(mass > 0, mass / np.where(free > 0, free, 1), 0)
    total = rate.sum()
    return rate / total if total > 0 else np.full(len(rate), 1 / len(rate))


class Sample:
    """A uniform sample of rows seen one chunk at a time (algorithm R), on which the loss of the tail is measured."""

    def __init__(self, space: LabelSpace, k: int, size: int):
        self.space, self.size, self.seen = space, size, 0
        self.full = np.empty((size, len(space)), dtype=np.float32)
        self.index, self.prob = np.empty((size, k), dtype=np.int32), np.empty((size, k))
        self.rest = np.empty(size)
        self._rng = np.random.default_rng(0)

    def update(self, chunk: Chunk) -> None:
        """Add the known rows of a chunk whose full rows are known."""
        if chunk.full is None:
            return
        row = np.flatnonzero(chunk.known)
        number = self.seen + np.arange(len(row))
        slot = np.where(number < self.size, number, (self._rng.random(len(row)) * (number + 1)).astype(np.int64))
        kept = slot < self.size
        for own, new in zip(self._parts(), (chunk.index, chunk.prob, chunk.rest, chunk.full)):
            own[slot[kept]] = new[row[kept]]  # a slot hit twice keeps the later row
        self.seen += len(row)

    def taken(self, at_most: int | None = None) -> Chunk:
        """The sampled rows, all min(size, seen) or `at_most` of them at random."""
        n = min(self.size, self.seen)
        chosen: Any = slice(n)
        if at_most is not None and at_most < n:  # the first slots hold the first rows: not the first ones, then
            chosen = np.sort(np.random.default_rng(1).choice(n, at_most, replace=False))
        index, prob, rest, full = (part[chosen] for part in self._parts())
        return Chunk(index, prob, rest, np.ones(len(rest), dtype=bool), full, None, self.space)

    def _parts(self) -> tuple[np.ndarray, ...]:
        return self.index, self.prob, self.rest, self.full


def mean_kl(p: np.ndarray, q: np.ndarray) -> float:
    """Mean KL(p || q) in nats of rows; q is taken as at least 1e-12, so that a lost class costs much, not infinity."""
    p = p.astype(np.float64)
    terms = p * (np.log(np.maximum(p, 1e-300)) - np.log(np.maximum(q.astype(np.float64), 1e-12)))
    return float(np.where(p > 0, terms, 0).sum(1).mean()) if len(p) else 0.0
