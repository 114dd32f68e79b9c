"""Which voters copy each other, and how many independent voices their votes are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from labelwright.crowds.prepared import Prepared


@dataclass(frozen=True, eq=False)
class Cells:
    """Votes sorted by item and class; a cell is one class of one item that somebody voted for.

    source, cell, weight: (V,).   start: (G,) first vote of each cell.   item, label: (G,).   first: (I,) first cell of each item
    that has votes.   held: (I,) those items.   order: (V,) position of each vote in the Prepared votes.
    """

    source: np.ndarray
    cell: np.ndarray
    weight: np.ndarray
    start: np.ndarray
    item: np.ndarray
    label: np.ndarray
    first: np.ndarray
    held: np.ndarray
    order: np.ndarray


@dataclass(frozen=True, eq=False)
class State:
    """accuracy: (A,).   prior: (K,).   prob: (G,) posterior of each cell.   rest: (N,) mass of the classes nobody voted for."""

    accuracy: np.ndarray
    prior: np.ndarray
    prob: np.ndarray
    rest: np.ndarray
    trace: list[float]


def sort_cells(votes: Prepared) -> Cells:
    order = np.lexsort((votes.label, votes.item))
    item, label = votes.item[order], votes.label[order]
    new = np.ones(len(item), dtype=bool)
    new[1:] = (item[1:] != item[:-1]) | (label[1:] != label[:-1])
    start = np.flatnonzero(new)
    at, what = item[start], label[start]
    first = np.flatnonzero(np.r_[True, at[1:] != at[:-1]][: len(at)])
    return Cells(
        votes.annotator[order], np.cumsum(new) - 1, votes.weight[order], start, at, what, first, at[first], order
    )


def spread(votes: Prepared, cells: Cells, prior: np.ndarray, rest: np.ndarray, teaches: np.ndarray) -> np.ndarray:
    """(K,) mass of classes nobody voted for: the rest of each item, shared by the prior among the classes without a cell."""
    known = votes.gold >= 0
    share = np.ones(votes.n_items)
    share[cells.held] = 1 - np.add.reduceat(prior[cells.label], cells.first) if len(cells.item) else 1
    part = np.where(known | (rest <= 0), 0, teaches * rest / np.maximum(share, 1e-300))
    out = prior * (part.sum() - np.bincount(cells.label, part[cells.item], len(prior)))
    return np.maximum(out, 0) + np.bincount(votes.gold[known], rest[known], len(prior))


def copying(votes: Prepared, cells: Cells, state: State) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of sources that agree beyond what their accuracies explain: (P,), (P,) and the share r of agreeing votes that is
    copied.

    Given the class, independent sources agree on an expected number E of items; they do on O; they could on X. If one copies
    the other in a share c of the cases, O = E + c (X - E), and of the agreeing votes r = 1 - (1 - c) E / O are copies.
    Sources of several classes are compared where both vote (X); then E follows from the accuracies. Two rules that only know
    one class always agree where both vote, so what counts is how often they fire together.
    """
    import scipy.sparse as sp

    n, m, k = votes.n_items, votes.n_annotators, votes.n_classes
    ones = np.ones(len(cells.source))
    together = sp.csr_matrix((ones, (cells.cell, cells.source)), shape=(len(cells.item), m))
    both = sp.triu(together.T @ together, 1).tocoo()
    a, b, seen = both.row, both.col, both.data
    claim = cells.source.astype(np.int64) * k + cells.label[cells.cell]
    fires = np.bincount(claim, ones, m * k).reshape(m, k)
    own = np.bincount(claim, state.prob[cells.cell], m * k).reshape(m, k)
    mass = np.bincount(cells.label, state.prob, k) + spread(votes, cells, state.prior, state.rest, np.ones(n))
    mass = np.clip(mass, 1e-9, n - 1e-9)
    other = fires - own
    most = np.minimum(fires[a], fires[b]).sum(1)
    expected = (own[a] * own[b] / mass + other[a] * other[b] / (n - mass)).sum(1)
    several = (fires > 0).sum(1) > 1
    pick = several[a] & several[b]
    if pick.any():
        item = cells.item[cells.cell]
        voting = sp.csr_matrix((ones, (item, cells.source)), shape=(n, m))
        common = np.asarray((voting.T @ voting).tocsr()[a[pick], b[pick]]).ravel()
        p, q = state.accuracy[a[pick]], state.accuracy[b[pick]]
        most[pick] = common
        expected[pick] = common * (p * q + (1 - p) * (1 - q) / max(k - 1, 1))
    expected = np.minimum(expected, most)
    excess, room = seen - expected, np.maximum(most - expected, 1e-9)
    # so many standard errors that chance reaches them in about one pair of all
    sure = max(2.0, math.sqrt(2 * math.log(max(m * (m - 1) // 2, 1))))
    found = excess > sure * np.sqrt(expected * (1 - expected / np.maximum(most, 1)) + 0.25)
    copied = np.clip(1 - (1 - np.clip(excess / room, 0, 1)) * expected / np.maximum(seen, 1), 0, 1)
    return a[found], b[found], copied[found]


def voices(cells: Cells, pairs: tuple[np.ndarray, np.ndarray, np.ndarray], steps: int = 30) -> np.ndarray:
    """(V,) how many independent voices each vote is, in [0, 1].

    The agreeing votes of a cell have correlation R (1 on the diagonal, r for pairs that copy). The sum of votes that tells the
    class best has weights R w = 1: n copies get 1 / n each, and a third source does not notice that another was given twice.
    w <- w / (R w) descends to that point among w >= 0 and needs R at the few votes that have a partner only.
    """
    import scipy.sparse as sp

    w = np.ones(len(cells.source))
    if not len(pairs[0]):
        return w
    by_source = np.argsort(cells.source, kind="stable")
    ends = np.searchsorted(cells.source[by_source], np.arange(int(cells.source.max()) + 2))
    left, right, value = [], [], []
    for a, b, r in zip(*pairs):
        mine, theirs = by_source[ends[a] : ends[a + 1]], by_source[ends[b] : ends[b + 1]]
        _, i, j = np.intersect1d(cells.cell[mine], cells.cell[theirs], assume_unique=True, return_indices=True)
        left.append(mine[i])
        right.append(theirs[j])
        value.append(np.full(len(i), r))
    rows, columns, r = np.concatenate(left), np.concatenate(right), np.concatenate(value)
    touched = np.unique(np.r_[rows, columns])
    rows, columns = np.searchsorted(touched, rows), np.searchsorted(touched, columns)
    size = len(touched)
    near = sp.csr_matrix((np.r_[r, r], (np.r_[rows, columns], np.r_[columns, rows])), shape=(size, size))
    some = np.ones(size)
    for _ in range(steps):
        some = some / (some + near @ some)
    w[touched] = some
    return w
