"""Which voters copy each other, and how many independent voices their votes are."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from labelwright.crowds._one_accuracy import State, unvoted_mass
from labelwright.crowds._vote_cells import Cells

COPIED, INCLUDED = 0.1, 0.8
"""Least share of copied votes at which a pair counts: of sources of several classes, and of rules that know one. The second was
chosen on the train parts of weak_youtube and weak_trec, after one look at a run on their other parts."""


class Copies(NamedTuple):
    """Sources a (P,) and b (P,), and the share r (P,) of their agreeing votes that one has from the other."""

    a: np.ndarray
    b: np.ndarray
    r: np.ndarray


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


BLOCK = 1 << 14  # items looked at in one go


def overlaps(cells: Cells) -> Overlaps:
    """Count once what does not change while the model is fitted."""
    m, k = cells.n_sources, cells.n_classes
    ones = np.ones(len(cells.source), np.float32)
    by_item = replace(cells, start=np.append(cells.start[cells.first], len(ones)), item=cells.held)
    a, b, both = _together(by_item.matrix(ones))
    agreed = _together(cells.matrix(ones), a, b)[2]
    claim = np.repeat(cells.label.astype(np.int64), np.diff(cells.start))
    claim += cells.source * np.int64(k)
    fires = np.bincount(claim, minlength=m * k).reshape(m, k).astype(np.float64)
    several = (fires > 0).sum(1) > 1
    use = several[a] & several[b]
    chance = np.full(len(a), np.nan)
    if use.any():
        chance[use] = _chance(a[use], b[use], both[use], agreed[use], m, k)
    return Overlaps(a, b, both, agreed, fires, claim, chance)


def _together(
    rows: Any, a: np.ndarray | None = None, b: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of columns of a sparse matrix of ones, a < b, and the (P,) rows that have both; the pairs that have one, or the given
    ones. A dense product is the faster one where a tenth of the matrix is full."""
    import scipy.sparse as sp

    n, m = rows.shape
    if n * m <= 10 * rows.nnz:
        counts = np.zeros((m, m))
        for at in range(0, n, BLOCK):
            part = rows[at : at + BLOCK].toarray()
            counts += part.T @ part
        if a is None or b is None:
            a, b = np.nonzero(np.triu(counts, 1))
        return a, b, counts[a, b]
    found = sp.triu(rows.T.astype(np.float64) @ rows, 1).tocsr()
    if a is None or b is None:
        a, b = found.nonzero()
    return a, b, np.asarray(found[a, b], np.float64).ravel() if len(a) else np.zeros(0)


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


def copying(cells: Cells, pairs: Overlaps, state: State) -> Copies:
    """Pairs of sources that agree beyond what their accuracies explain, with the share r of their agreeing votes that is copied.

    Given the class, independent sources agree on an expected number E of items; they do on O; they could on X. If one copies
    the other in a share c of the cases, O = E + c (X - E), and of the agreeing votes r = 1 - (1 - c) E / O are copies.
    Sources of several classes are compared where both vote (X). Rules that know one class always agree where both vote, so what
    counts is how often they fire together, beside what the posteriors of the classes let expect. They may do so because some
    items say more than others, so they count as copies only where one hardly fires without the other.
    """
    a, b, fires = pairs.a, pairs.b, pairs.fires
    compared = ~np.isnan(pairs.chance)
    expected = pairs.chance if compared.all() else np.where(compared, pairs.chance, _by_rate(cells, pairs, state))
    most = np.where(compared, pairs.both, np.minimum(fires[a], fires[b]).sum(1))
    expected = np.minimum(expected, most)
    excess, room = pairs.agreed - expected, np.maximum(most - expected, 1e-9)
    found = excess > _sure(cells.n_sources) * np.sqrt(expected * (1 - expected / np.maximum(most, 1)) + 0.25)
    copied = np.clip(1 - (1 - np.clip(excess / room, 0, 1)) * expected / np.maximum(pairs.agreed, 1), 0, 1)
    found &= copied >= np.where(compared, COPIED, INCLUDED)
    return Copies(a[found], b[found], copied[found])


def _by_rate(cells: Cells, pairs: Overlaps, state: State) -> np.ndarray:
    """(P,) agreements that the posteriors of the classes let expect of sources that fire independently given the class."""
    n, m, k = len(cells.gold), cells.n_sources, cells.n_classes
    a, b, fires = pairs.a, pairs.b, pairs.fires
    own = np.bincount(pairs.claim, state.prob[cells.cell], m * k).reshape(m, k)
    mass = np.bincount(cells.label, state.prob, k) + unvoted_mass(cells, state.prior, state.rest, np.ones(n))
    mass = np.clip(mass, 1e-9, max(n - 1e-9, 1e-9))
    other = fires - own
    found: np.ndarray = (own[a] * own[b] / mass + other[a] * other[b] / np.maximum(n - mass, 1e-9)).sum(1)
    return found


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
    rows, columns, r = _partners(cells, pairs)
    partnered = np.zeros(len(w), dtype=bool)
    partnered[rows] = partnered[columns] = True
    touched = np.flatnonzero(partnered)
    place = np.empty(len(w), np.int64)
    place[touched] = np.arange(len(touched))
    rows, columns = place[rows], place[columns]
    near = sp.csr_matrix(
        (np.r_[r, r], (np.r_[rows, columns], np.r_[columns, rows])), shape=(len(touched), len(touched))
    )
    some = np.ones(len(touched))
    for _ in range(steps):
        before, some = some, some / (some + near @ some)
        if np.abs(some - before).max(initial=0) <= 1e-15:  # copies in pairs are there after one step
            break
    w[touched] = some
    return w


def _partners(cells: Cells, pairs: Copies) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Votes of pairs that copy on the same cell, and the share of their pair."""
    own = {source: np.flatnonzero(cells.source == source) for source in np.union1d(pairs.a, pairs.b).tolist()}
    vote_on = np.full(len(cells.item), -1)
    left, right, value = [], [], []
    for a, b, r in zip(pairs.a.tolist(), pairs.b.tolist(), pairs.r.tolist()):
        vote_on[cells.cell[own[a]]] = own[a]
        mine = vote_on[cells.cell[own[b]]]
        left.append(mine[mine >= 0])
        right.append(own[b][mine >= 0])
        value.append(np.full(len(left[-1]), r))
        vote_on[cells.cell[own[a]]] = -1
    return np.concatenate(left), np.concatenate(right), np.concatenate(value)
