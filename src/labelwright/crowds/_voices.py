"""Which voters copy each other, and how many independent voices their votes are."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from labelwright.crowds._candidates import members, numbered
from labelwright.crowds._one_accuracy import Blocks, State, unvoted_mass
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
    fires: (A, K) votes per source and class.
    chance: (P,) items on which they would agree by their accuracies alone; NaN unless both know several classes.
    """

    a: np.ndarray
    b: np.ndarray
    both: np.ndarray
    agreed: np.ndarray
    fires: np.ndarray
    chance: np.ndarray


def overlaps(blocks: Blocks, fires: np.ndarray) -> Overlaps:
    """Count once what does not change while the model is fitted.   fires: (A, K) votes per source and class."""
    m, k = fires.shape
    several = (fires > 0).sum(1) > 1
    both, agreed = sp.csr_matrix((m, m)), sp.csr_matrix((m, m))
    for cells in blocks:
        ones = np.ones(len(cells.source), np.float32)
        by_item = replace(cells, start=np.append(cells.start[cells.first], len(ones)), item=cells.held)
        both = both + _together(by_item.matrix(ones))
        agreed = agreed + _together(cells.matrix(ones))
    a, b = sp.triu(both, 1).nonzero()
    share, same = (np.asarray(found[a, b], np.float64).ravel() if len(a) else np.zeros(0) for found in (both, agreed))
    use = several[a] & several[b]
    chance = np.full(len(a), np.nan)
    if use.any():
        chance[use] = _chance(a[use], b[use], share[use], same[use], m, k)
    return Overlaps(a, b, share, same, fires, chance)


def _claims(cells: Cells) -> np.ndarray:
    """(V,) source * K + class of each vote."""
    claim = np.repeat(cells.label.astype(np.int64), np.diff(cells.start))
    claim += cells.source * np.int64(cells.n_classes)
    return claim


def _together(rows: Any) -> Any:
    """(A, A) sparse: the rows of a sparse matrix of ones that two columns have in common. A dense product is the faster one where
    a tenth of the matrix is full."""
    if rows.shape[0] * rows.shape[1] <= 10 * rows.nnz:
        full = rows.toarray()
        return sp.csr_matrix((full.T @ full).astype(np.float64))
    return (rows.T @ rows).astype(np.float64)


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
    t, twice, heavy = np.full(n, start), np.concatenate([seen, seen]), np.concatenate([weight, weight])
    faint, one = np.full(n, start), np.ones(n)
    for _ in range(steps):
        ratio = np.concatenate([twice / t[column], faint])
        share = np.concatenate([heavy * t[column], one])
        order = np.lexsort((ratio, row))
        below = np.cumsum(share[order])
        each = np.bincount(row, share, n)
        half = each.cumsum() - each / 2
        before, t = t, (t + np.clip(ratio[order][np.searchsorted(below, half - 1e-12)], 0.02, 1)) / 2
        if np.abs(t - before).max() < 1e-9:
            break
    return t


def _sure(n_sources: int) -> float:
    """So many standard errors that chance reaches them in about one pair of all."""
    return max(2.0, math.sqrt(2 * math.log(max(n_sources * (n_sources - 1) // 2, 1))))


def copying(blocks: Blocks, pairs: Overlaps, state: State | None) -> Copies:
    """Pairs of sources that agree beyond what their accuracies explain, with the share r of their agreeing votes that is copied.

    Given the class, independent sources agree on an expected number E of items; they do on O; they could on X. If one copies
    the other in a share c of the cases, O = E + c (X - E), and of the agreeing votes r = 1 - (1 - c) E / O are copies.
    Sources of several classes are compared where both vote (X). Rules that know one class always agree where both vote, so what
    counts is how often they fire together, beside what the posteriors of the classes let expect. They may do so because some
    items say more than others, so they count as copies only where one hardly fires without the other.

    state: a fit; None where all pairs have a `chance`.
    """
    a, b, fires = pairs.a, pairs.b, pairs.fires
    compared, expected = ~np.isnan(pairs.chance), pairs.chance
    if state is not None and not compared.all():
        expected = np.where(compared, pairs.chance, _by_rate(blocks, pairs, state))
    most = np.where(compared, pairs.both, np.minimum(fires[a], fires[b]).sum(1))
    expected = np.minimum(expected, most)
    excess, room = pairs.agreed - expected, np.maximum(most - expected, 1e-9)
    found = excess > _sure(len(fires)) * np.sqrt(expected * (1 - expected / np.maximum(most, 1)) + 0.25)
    copied = np.clip(1 - (1 - np.clip(excess / room, 0, 1)) * expected / np.maximum(pairs.agreed, 1), 0, 1)
    found &= copied >= np.where(compared, COPIED, INCLUDED)
    return Copies(a[found], b[found], copied[found])


def _by_rate(blocks: Blocks, pairs: Overlaps, state: State) -> np.ndarray:
    """(P,) agreements that the posteriors of the classes let expect of sources that fire independently given the class."""
    a, b, fires = pairs.a, pairs.b, pairs.fires
    n, (m, k) = sum(len(cells.gold) for cells in blocks), fires.shape
    own, mass = np.zeros(m * k), np.zeros(k)
    for cells, prob, rest in zip(blocks, state.prob, state.rest):
        own += np.bincount(_claims(cells), prob[cells.cell], m * k)
        mass += np.bincount(cells.label, prob, k) + unvoted_mass(cells, state.prior, rest, np.ones(len(rest)))
    mass, own = np.clip(mass, 1e-9, max(n - 1e-9, 1e-9)), own.reshape(m, k)
    other = fires - own
    found: np.ndarray = (own[a] * own[b] / mass + other[a] * other[b] / np.maximum(n - mass, 1e-9)).sum(1)
    return found


def voices(cells: Cells, pairs: Copies, steps: int = 30) -> np.ndarray:
    """(V,) how many independent voices each vote is, in [0, 1].

    The agreeing votes of a cell have correlation R (1 on the diagonal, r for pairs that copy). The sum of votes that tells the
    class best has weights R w = 1: n copies get 1 / n each, and a third source does not notice that another was given twice.
    w <- w / (R w) descends to that point among w >= 0. It depends on which of the sources that have a partner voted, so it is
    found once for each such set, at the first cell that has it.
    """
    w = np.ones(len(cells.source))
    touched = np.union1d(pairs.a, pairs.b)
    if not len(touched):
        return w
    codes = _codes(len(touched))
    code = np.zeros(cells.n_sources, codes.dtype)
    code[touched] = codes
    said = code[cells.source]
    who = np.add.reduceat(said, cells.start[:-1], dtype=said.dtype) if len(said) else said
    some = np.flatnonzero(who)
    if not len(some):
        return w
    sets, of_set = numbered(who[some])
    one = np.empty(len(sets), np.int64)
    one[of_set] = some  # some cell of each set
    at, begin = members(cells.start, one)
    partnered = said > 0
    at, of = at[partnered[at]], np.repeat(np.arange(len(one)), np.diff(begin))[partnered[at]]
    found = _solved(cells.source[at], of, pairs, steps)
    w[partnered] = found[members(np.searchsorted(of, np.arange(len(one) + 1)), of_set)[0]]
    return w


def _codes(n: int) -> np.ndarray:
    """(n,) integers of which every subset has a sum of its own: powers of two, or, where they end, numbers drawn so widely that
    two of a million sums meet in one of a million cases."""
    if n <= 62:
        return (np.int64(1) << np.arange(n)).astype(np.uint8 if n <= 8 else np.int64)
    return np.random.default_rng(0).integers(1, 1 << 62, n)


def _solved(source: np.ndarray, of: np.ndarray, pairs: Copies, steps: int) -> np.ndarray:
    """(n,) weights of votes by sources (n,) in sets (n,), so that R w = 1 in each set."""
    rows, columns, r = _partners(source, of, pairs)
    one, other = np.r_[rows, columns], np.r_[columns, rows]
    near = sp.csr_matrix((np.r_[r, r], (one, other)), shape=(len(source), len(source)))
    some = np.ones(len(source))
    for _ in range(steps):
        before, some = some, some / (some + near @ some)
        if np.abs(some - before).max(initial=0) <= 1e-15:  # copies in pairs are there after one step
            break
    return some


def _partners(source: np.ndarray, of: np.ndarray, pairs: Copies) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Votes of pairs that copy in the same set, and the share of their pair."""
    own = {one: np.flatnonzero(source == one) for one in np.union1d(pairs.a, pairs.b).tolist()}
    vote_in = np.full(int(of.max(initial=-1)) + 1, -1)
    left, right, value = [], [], []
    for a, b, r in zip(pairs.a.tolist(), pairs.b.tolist(), pairs.r.tolist()):
        vote_in[of[own[a]]] = own[a]
        mine = vote_in[of[own[b]]]
        left.append(mine[mine >= 0])
        right.append(own[b][mine >= 0])
        value.append(np.full(len(left[-1]), r))
        vote_in[of[own[a]]] = -1
    return np.concatenate(left), np.concatenate(right), np.concatenate(value)
