"""The classes that each item may have, as one flat list of (item, class) pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labelwright.crowds.prepared import Prepared
from labelwright.labels import SoftLabels

SURE = 1e-6
"""No crowd is surer than this: the share of the prior that is mixed into each posterior, so that no rounding gives 1.0."""

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
        pairs, place = np.unique(np.concatenate([key, known * k + votes.gold[known]]), return_inverse=True)
        gold = np.full(n, -1, np.int64)
        gold[known] = place[len(key) :]
        item = (pairs // k).astype(np.int32)
        start = np.searchsorted(item, np.arange(n + 1))
        return cls(item, (pairs % k).astype(np.int32), start, place[: len(key)], gold, bool(len(pairs) == n * k))

    def of_classes(self, values: np.ndarray) -> np.ndarray:
        """(P,) of a (K,) array."""
        return np.tile(values, len(self.start) - 1) if self.width else values[self.label]

    def total(self, values: np.ndarray) -> np.ndarray:
        """(N,) sums of a (P,) array over the pairs of each item."""
        return np.bincount(self.item, values, len(self.start) - 1)

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
        top = table[:, 0].copy()
        for column in table.T[1:]:
            np.maximum(top, column, out=top)
        weight = table - top[:, None]
        np.exp(weight, out=weight)
        total = weight[:, 0].copy()
        for column in weight.T[1:]:
            total += column
        weight /= total[:, None]
        return weight.ravel(), np.zeros(len(top)), top + np.log(total)

    def _softmax_of_some(self, logit: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        top = rest.copy()
        some = np.diff(self.start) > 0
        if some.any():
            top[some] = np.maximum(top[some], np.maximum.reduceat(logit, self.start[:-1][some]))
        weight, left = np.exp(logit - top[self.item]), np.exp(rest - top)
        total = self.total(weight) + left
        norm = top + np.log(total)
        weight /= total[self.item]
        left /= total
        return weight, left, norm

    def left_prior(self, prior: np.ndarray) -> np.ndarray:
        """(N,) prior mass of the classes not listed; exactly 0 where all are listed."""
        if self.complete:
            return np.zeros(len(self.start) - 1)
        full = np.diff(self.start) >= len(prior)
        return np.where(full, 0.0, np.maximum(1 - self.total(prior[self.label]), 1e-300))

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
            whole = np.where(known, np.maximum(1 - table.sum(1), 0.0) * (rest > 0), 0.0)
            value = np.take_along_axis(table, order, 1)
            return SoftLabels.from_topk(order, value, votes.space, rest=whole, tail=prior, known=known)
        width = max(1, min(int(np.diff(self.start).max(initial=1)), LISTED))
        order = np.lexsort((self.label, -prob, self.item))
        rank = np.arange(len(order)) - self.start[self.item[order]]
        kept = order[rank < width]
        index, value = np.full((n, width), -1, np.int32), np.zeros((n, width))
        place = (self.item[kept], rank[rank < width])
        index[place], value[place] = self.label[kept], prob[kept]
        left = np.maximum(1 - value.sum(1), 0.0)
        left[np.diff(self.start) == k if width >= k else np.zeros(n, bool)] = 0.0
        return SoftLabels.from_topk(index, value, votes.space, rest=np.where(known, left, 0.0), tail=prior, known=known)


def members(start: np.ndarray, of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All positions start[i]:start[i + 1] for each i in `of`, one after the other, and where each run begins (len(of) + 1).

    >>> members(np.array([0, 2, 5]), np.array([1, 0]))[0].tolist()
    [2, 3, 4, 0, 1]
    """
    size = start[of + 1] - start[of]
    begin = np.concatenate([[0], np.cumsum(size)])
    return np.arange(begin[-1]) - np.repeat(begin[:-1] - start[of], size), begin


def class_counts(pairs: Pairs, prob: np.ndarray, rest: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """(K,) expected items per class, and one more item spread evenly; normalised, the prior that EM wants.

    The rest of an item is shared by its unlisted classes as the present prior says.
    """
    k = len(prior)
    count = prob.reshape(-1, k).sum(0) if pairs.width else np.bincount(pairs.label, prob, k)
    count = count + 1 / k
    if not pairs.complete:
        left = pairs.left_prior(prior)
        spread = np.where(left > 0, rest / np.where(left > 0, left, 1), 0.0)
        count += prior * np.maximum(spread.sum() - np.bincount(pairs.label, spread[pairs.item], k), 0.0)
    return count
