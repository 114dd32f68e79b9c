"""Which voters copy each other, and how many independent voices their votes are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from labelwright.crowds.prepared import Prepared

COPIED, INCLUDED = 0.1, 0.8
"""Least share of copied votes at which a pair counts: of sources of several classes, and of rules that know one. The second was
chosen on the train parts of weak_youtube and weak_trec, after one look at a run on their other parts."""


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


class Copies(NamedTuple):
    """Sources a (P,) and b (P,), and the share r (P,) of their agreeing votes that one has from the other."""

    a: np.ndarray
    b: np.ndarray
    r: np.ndarray


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


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Pairs of sources that vote on a common item.

    a, b: (P,) the sources.   both: (P,) their common items.   agreed: (P,) those on which they agree.
    fires: (A, K) votes per source and class.   claim: (V,) source * K + class of each vote.
    chance: (P,) items on which they would agree by their accuracies alone; NaN unless both know several classes.
    """

    a: np.ndarray
    b: np.ndarray
    both: np.ndarray
    agreed: np.ndarray
    fires: np.ndarray
    claim: np.ndarray
    chance: np.ndarray


def overlaps(votes: Prepared, cells: Cells) -> Overlaps:
    """Count once what does not change while the model is fitted."""
    import scipy.sparse as sp

    m, k = votes.n_annotators, votes.n_classes
    ones = np.ones(len(cells.source))
    in_cell = sp.csr_matrix((ones, cells.source, np.r_[cells.start, len(ones)]), shape=(len(cells.item), m))
    on_item = sp.csr_matrix(
        (ones, cells.source, np.r_[cells.start[cells.first], len(ones)]), shape=(len(cells.held), m)
    )
    pairs = sp.triu(on_item.T @ on_item, 1).tocoo()
    agree = (in_cell.T @ in_cell).tocsr()
    agreed = np.asarray(agree[pairs.row, pairs.col]).ravel() if pairs.nnz else np.zeros(0)
    claim = cells.source.astype(np.int64) * k + cells.label[cells.cell]
    fires = np.bincount(claim, minlength=m * k).reshape(m, k).astype(np.float64)
    several = (fires > 0).sum(1) > 1
    use = several[pairs.row] & several[pairs.col]
    chance = np.full(pairs.nnz, np.nan)
    if use.any():
        chance[use] = _chance(pairs.row[use], pairs.col[use], pairs.data[use], agreed[use], m, k)
    return Overlaps(pairs.row, pairs.col, pairs.data, agreed, fires, claim, chance)


def _chance(a: np.ndarray, b: np.ndarray, both: np.ndarray, agreed: np.ndarray, n_sources: int, k: int) -> np.ndarray:
    """Expected agreements of independent sources, fitted so that pairs that copy do not matter.

    Let t = (K accuracy - 1) / (K - 1). Independent sources agree, likewise rescaled, with t_a t_b: a matrix of rank one, to
    which copying adds at few places. So t minimises the sum of absolute, not squared, differences; then the pairs that stand
    out are left out, and t is fitted again. A posterior would not do here: it takes the agreement of copies for accuracy.
    """
    seen = (k * agreed / both - 1) / (k - 1)
    keep = np.ones(len(a), dtype=bool)
    expected = agreed
    for _ in range(2):
        t = _rank_one(a[keep], b[keep], seen[keep], np.sqrt(both[keep]), n_sources)
        expected = both * (1 + (k - 1) * t[a] * t[b]) / k
        keep = agreed - expected <= _sure(n_sources) * np.sqrt(expected * (1 - expected / both) + 0.25)
    return expected


def _rank_one(
    a: np.ndarray, b: np.ndarray, seen: np.ndarray, weight: np.ndarray, n: int, steps: int = 40
) -> np.ndarray:
    """t (n,) in [0.02, 1] that minimises sum of weight |seen - t_a t_b|, each t in turn by a weighted median."""
    start = 0.6
    row, column = np.r_[a, b, np.arange(n)], np.r_[b, a]  # and, for every source, one faint answer of its own: `start`
    t = np.full(n, start)
    for _ in range(steps):
        ratio = np.r_[np.r_[seen, seen] / t[column], np.full(n, start)]
        share = np.r_[np.r_[weight, weight] * t[column], np.full(n, 1.0)]
        order = np.lexsort((ratio, row))
        below = np.cumsum(share[order])
        half = np.bincount(row, share, n).cumsum() - np.bincount(row, share, n) / 2
        t = (t + np.clip(ratio[order][np.searchsorted(below, half - 1e-12)], 0.02, 1)) / 2
    return t


def _sure(n_sources: int) -> float:
    """So many standard errors that chance reaches them in about one pair of all."""
    return max(2.0, math.sqrt(2 * math.log(max(n_sources * (n_sources - 1) // 2, 1))))


def copying(votes: Prepared, cells: Cells, pairs: Overlaps, state: State) -> Copies:
    """Pairs of sources that agree beyond what their accuracies explain, with the share r of their agreeing votes that is copied.

    Given the class, independent sources agree on an expected number E of items; they do on O; they could on X. If one copies
    the other in a share c of the cases, O = E + c (X - E), and of the agreeing votes r = 1 - (1 - c) E / O are copies.
    Sources of several classes are compared where both vote (X). Rules that know one class always agree where both vote, so what
    counts is how often they fire together, beside what the posteriors of the classes let expect. They may do so because some
    items say more than others, so they count as copies only where one hardly fires without the other.
    """
    n, m, k = votes.n_items, votes.n_annotators, votes.n_classes
    a, b, fires = pairs.a, pairs.b, pairs.fires
    own = np.bincount(pairs.claim, state.prob[cells.cell], m * k).reshape(m, k)
    mass = np.bincount(cells.label, state.prob, k) + spread(votes, cells, state.prior, state.rest, np.ones(n))
    mass = np.clip(mass, 1e-9, max(n - 1e-9, 1e-9))
    other = fires - own
    by_rate = (own[a] * own[b] / mass + other[a] * other[b] / np.maximum(n - mass, 1e-9)).sum(1)
    compared = ~np.isnan(pairs.chance)
    most = np.where(compared, pairs.both, np.minimum(fires[a], fires[b]).sum(1))
    expected = np.minimum(np.where(compared, pairs.chance, by_rate), most)
    excess, room = pairs.agreed - expected, np.maximum(most - expected, 1e-9)
    found = excess > _sure(m) * np.sqrt(expected * (1 - expected / np.maximum(most, 1)) + 0.25)
    copied = np.clip(1 - (1 - np.clip(excess / room, 0, 1)) * expected / np.maximum(pairs.agreed, 1), 0, 1)
    found &= copied >= np.where(compared, COPIED, INCLUDED)
    return Copies(a[found], b[found], copied[found])


def voices(cells: Cells, pairs: Copies, steps: int = 30) -> np.ndarray:
    """(V,) how many independent voices each vote is, in [0, 1].

    The agreeing votes of a cell have correlation R (1 on the diagonal, r for pairs that copy). The sum of votes that tells the
    class best has weights R w = 1: n copies get 1 / n each, and a third source does not notice that another was given twice.
    w <- w / (R w) descends to that point among w >= 0 and needs R at the few votes that have a partner only.
    """
    import scipy.sparse as sp

    w = np.ones(len(cells.source))
    if not len(pairs.a):
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
    partnered = np.zeros(len(w), dtype=bool)
    partnered[rows] = partnered[columns] = True
    touched = np.flatnonzero(partnered)
    place = np.cumsum(partnered) - 1
    rows, columns = place[rows], place[columns]
    size = len(touched)
    near = sp.csr_matrix((np.r_[r, r], (np.r_[rows, columns], np.r_[columns, rows])), shape=(size, size))
    some = np.ones(size)
    for _ in range(steps):
        some = some / (some + near @ some)
    w[touched] = some
    return w
