"""The classes that each item may have, as one flat list of (item, class) pairs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from labelwright.crowds.prepared import Prepared
from labelwright.labels import SoftLabels

SURE = 1e-6
"""No crowd is surer than this: the share of the prior that is mixed into each posterior, so that no rounding gives 1.0."""

ROWS = 1 << 13  # looked at in one go, so that passes over their columns find them in fast memory

LISTED = 64
"""Most classes that the label of one item lists; what they leave goes to the rest."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """P pairs, sorted by item, then class; those of item i are start[i]:start[i + 1].

    item, label: (P,) int32.   start: (N + 1,).   own: (V,) the pair a vote speaks for.   gold: (N,) the pair of the known
    class, -1 unknown.   complete: each item lists all K classes, so nothing is left for the rest.
    width: K where `every` made it so, else 0.
    """

    item: np.ndarray
    label: np.ndarray
    start: np.ndarray
    own: np.ndarray
    gold: np.ndarray
    complete: bool
    width: int = 0

    @classmethod
    def every(cls, votes: Prepared) -> Pairs:
        """All K classes for each item."""
        n, k = votes.n_items, votes.n_classes
        first = np.arange(n, dtype=np.int64) * k
        gold = np.where(votes.gold >= 0, first + votes.gold, -1)
        item = np.repeat(np.arange(n, dtype=np.int32), k)
        label = np.tile(np.arange(k, dtype=np.int32), n)
        return cls(item, label, np.arange(n + 1) * k, votes.item.astype(np.int64) * k + votes.label, gold, True, k)

    @classmethod
    def voted(cls, votes: Prepared) -> Pairs:
        """The classes that somebody voted for, and the known class."""
        n, k = votes.n_items, votes.n_classes
        known = np.flatnonzero(votes.gold >= 0)
        key = votes.item.astype(np.int64) * k + votes.label
        pairs, place = numbered(np.concatenate([key, known * k + votes.gold[known]]))
        gold = np.full(n, -1, np.int64)
        gold[known] = place[len(key) :]
        item = (pairs // k).astype(np.int32)
        start = np.searchsorted(item, np.arange(n + 1))
        return cls(item, (pairs % k).astype(np.int32), start, place[: len(key)], gold, bool(len(pairs) == n * k))

    def plus(self, values: np.ndarray, of_classes: np.ndarray) -> np.ndarray:
        """(P,) values and what each class, (K,), adds to them."""
        if not self.width:
            return values + of_classes[self.label]
        out, table = np.empty_like(values).reshape(-1, self.width), values.reshape(-1, self.width)
        for at in range(0, len(table), ROWS):
            part = slice(at, at + ROWS)
            for to, column, more in zip(out[part].T, table[part].T, of_classes):
                np.add(column, more, out=to)
        return out.ravel()

    def total(self, values: np.ndarray) -> np.ndarray:
        """(N,) sums of a (P,) array over the pairs of each item."""
        return np.bincount(self.item, values, len(self.start) - 1)

    def of_items(self, item: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pairs of these items, (M,), one after the other, and where each begins (M + 1,)."""
        if not self.width:
            return members(self.start, item)
        every = item.astype(np.int64)[:, None] * self.width + np.arange(self.width)
        return every.ravel(), np.arange(len(item) + 1) * self.width

    def softmax(self, logit: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Posterior (P,), the rest's share (N,) and the log of the normaliser (N,); known classes have all of it.

        logit: (P,), rest: (N,) log weight of all classes not listed, -inf where there are none.
        """
        if self.width:
            weight, left, norm = self._softmax_of_all(logit)
        else:
            weight, left, norm = self._softmax_of_some(logit, rest)
        known = np.flatnonzero(self.gold >= 0)
        if len(known):
            weight[self.gold[self.item] >= 0] = 0.0
            weight[self.gold[known]], left[known] = 1.0, 0.0
            norm[known] = logit[self.gold[known]]
        return weight, left, norm

    def _softmax_of_all(self, logit: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same where each item lists all classes: column by column, as NumPy is slow along short rows."""
        table = logit.reshape(-1, self.width)
        weight, norm = np.empty_like(table), np.empty(len(table))
        for at in range(0, len(table), ROWS):
            part = slice(at, at + ROWS)
            _softmax_of_rows(table[part], weight[part], norm[part])
        return weight.ravel(), np.zeros(len(table)), norm

    def _softmax_of_some(self, logit: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        top = rest.copy()
        some = np.flatnonzero(self.size)
        if len(some):
            top[some] = np.maximum(top[some], np.maximum.reduceat(logit, self.start[some]))
        weight, left = logit - np.repeat(top, self.size), np.exp(rest - top)
        np.exp(weight, out=weight)
        total = self.total(weight) + left
        norm = top + np.log(total)
        weight /= np.repeat(total, self.size)
        left /= total
        return weight, left, norm

    @cached_property
    def size(self) -> np.ndarray:
        """(N,) pairs of each item."""
        return np.diff(self.start)

    def left_prior(self, prior: np.ndarray) -> np.ndarray:
        """(N,) prior mass of the classes not listed; exactly 0 where all are listed."""
        if self.complete:
            return np.zeros(len(self.start) - 1)
        return np.where(self.size >= len(prior), 0.0, np.maximum(1 - self.total(prior[self.label]), 1e-300))

    def soft(
        self, votes: Prepared, prob: np.ndarray, rest: np.ndarray, prior: np.ndarray, sure: float = SURE
    ) -> SoftLabels:
        """As soft labels; classes not listed share the rest in proportion to the prior. Items without a vote are unknown."""
        n, k = votes.n_items, votes.n_classes
        open_ = (self.gold < 0) * sure
        prob = prob * (1 - open_[self.item]) + prior[self.label] * open_[self.item]
        known = (np.diff(votes.start) > 0) | (votes.gold >= 0)
        if self.width and k <= LISTED:
            table = prob.reshape(n, k)
            order = np.argsort(-table, axis=1, kind="stable")
            index, value = order, np.take_along_axis(table, order, 1)
            left = np.where(rest > 0, np.maximum(1 - np.ones(k) @ value.T, 0.0), 0.0)
        else:
            index, value = self._largest(prob)
            left = np.maximum(1 - value.sum(1), 0.0)
            if index.shape[1] >= k:
                left[self.size == k] = 0.0
        tail, whole = prior.astype(np.float32), np.where(known, left, 0.0).astype(np.float32)
        return SoftLabels(
            index.astype(np.int32), value.astype(np.float32), whole, tail / tail.sum(), known, votes.space
        )

    def _largest(self, prob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, k) classes, -1 pads, and probabilities of the at most `LISTED` likeliest pairs of each item."""
        n, most = len(self.size), int(self.size.max(initial=1))
        width = max(1, min(most, LISTED))
        if n * most <= 4 * len(prob):
            index, value = np.full((n, most), -1, np.int32), np.full((n, most), -1.0)
            listed = np.arange(most) < self.size[:, None]
            index[listed], value[listed] = self.label, prob
            order = np.argsort(-value, axis=1, kind="stable")[:, :width]
            return np.take_along_axis(index, order, 1), np.maximum(np.take_along_axis(value, order, 1), 0.0)
        order = np.lexsort((self.label, -prob, self.item))
        rank = np.arange(len(order)) - self.start[self.item[order]]
        kept = order[rank < width]
        index, value = np.full((n, width), -1, np.int32), np.zeros((n, width))
        place = (self.item[kept], rank[rank < width])
        index[place], value[place] = self.label[kept], prob[kept]
        return index, value


def _softmax_of_rows(table: np.ndarray, weight: np.ndarray, norm: np.ndarray) -> None:
    """Softmax of a table (n, K) into `weight`, and the logs (n,) of its normaliser."""
    top, total = table[:, 0].copy(), np.zeros(len(table))
    for column in table.T[1:]:
        np.maximum(top, column, out=top)
    for to, column in zip(weight.T, table.T):
        np.subtract(column, top, out=to)
    np.exp(weight, out=weight)
    for column in weight.T:
        total += column
    share = 1 / total
    for column in weight.T:
        column *= share
    np.add(top, np.log(total), out=norm)


def largest_first(index: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of classes (N, k), -1 pads, and probabilities, as `SoftLabels` wants them: int32 and float32, the largest first, ties
    by class, pads last.

    The bits of a float32 >= 0 sort as its value does, so that one integer holds both; sorting rows of those is fast.

    >>> [found.tolist() for found in largest_first(np.array([[0, 2, 1]]), np.array([[0.25, 0.5, 0.25]]))]
    [[[2, 0, 1]], [[0.5, 0.25, 0.25]]]
    """
    bits = value.astype(np.float32).view(np.int32).astype(np.int64)
    both = (np.where(index >= 0, -bits, 1) << 32) | (index.astype(np.int64) & 0xFFFFFFFF)
    both.sort(axis=1)
    first = (both & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
    return first, np.where(first >= 0, -(both >> 32), 0).astype(np.int32).view(np.float32)


def numbered(key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What `np.unique` gives of (M,) integers from 0 with `return_inverse`; faster, as plain sorting is faster than argsort.

    >>> [found.tolist() for found in numbered(np.array([7, 2, 7]))]
    [[2, 7], [1, 0, 1]]
    """
    top = int(key.max(initial=0))
    if top < 8 * len(key):
        seen = np.zeros(top + 1, dtype=bool)
        seen[key] = True
        keys = np.flatnonzero(seen)
        at = np.empty(top + 1, np.int64)
        at[keys] = np.arange(len(keys))
        return keys, at[key]
    bits = max(len(key) - 1, 1).bit_length()
    if top >> (63 - bits):
        keys, place = np.unique(key, return_inverse=True)
        return keys, place.reshape(-1)
    both = key.astype(np.int64) << bits
    both |= np.arange(len(key))
    both.sort()
    order = both & ((1 << bits) - 1)
    both >>= bits
    new = np.ones(len(key), dtype=bool)
    np.not_equal(both[1:], both[:-1], out=new[1:])
    place = np.empty(len(key), np.int64)
    place[order] = np.cumsum(new) - 1
    return both[new], place


def members(start: np.ndarray, of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All positions start[i]:start[i + 1] for each i in `of`, one after the other, and where each run begins (len(of) + 1).

    >>> members(np.array([0, 2, 5]), np.array([1, 0]))[0].tolist()
    [2, 3, 4, 0, 1]
    """
    size = start[of + 1] - start[of]
    begin = np.concatenate([[0], np.cumsum(size)])
    return np.arange(begin[-1]) - np.repeat(begin[:-1] - start[of], size), begin


def class_counts(
    pairs: Pairs, prob: np.ndarray, rest: np.ndarray, prior: np.ndarray, left: np.ndarray | None = None
) -> np.ndarray:
    """(K,) expected items per class, and one more item spread evenly; normalised, the prior that EM wants.

    The rest of an item is shared by its unlisted classes as the present prior says.   left: `Pairs.left_prior`, if known.
    """
    k = len(prior)
    count = np.ones(len(prob) // k) @ prob.reshape(-1, k) if pairs.width else np.bincount(pairs.label, prob, k)
    count = count + 1 / k
    if not pairs.complete:
        left = pairs.left_prior(prior) if left is None else left
        spread = np.where(left > 0, rest / np.where(left > 0, left, 1), 0.0)
        count += prior * np.maximum(spread.sum() - np.bincount(pairs.label, np.repeat(spread, pairs.size), k), 0.0)
    return count
