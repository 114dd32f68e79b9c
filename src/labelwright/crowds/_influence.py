"""Agreement statistics of many annotators, with the derivative of each by the weight of every item.

Sources: Krippendorff 2011, section D (alpha from counts); Fleiss 1971; Gwet 2008, 2014 section 2.4 (unequal numbers of votes).
"""

from __future__ import annotations

import numpy as np

from labelwright.crowds._distances import Cells, distance
from labelwright.crowds._intervals import Influence
from labelwright.labels import LabelSpace


def observed(cells: Cells) -> Influence:
    """Share of agreeing pairs, averaged over the items with two votes or more."""
    share = _share(cells.paired())
    return Influence(_mean(share), (share - _mean(share)) / max(len(share), 1), least=0.0)


def fleiss(cells: Cells) -> Influence:
    """(p - e) / (1 - e) with e the sum of squared class shares."""
    every, pi = _class_shares(cells)
    e, slope = float((pi**2).sum()), 2 * every.per_item(pi[every.label]) / every.votes
    return _corrected(cells, e, (slope - 2 * e) / max(len(every.votes), 1))


def gwet(cells: Cells) -> Influence:
    """(p - e) / (1 - e) with e the mean of pi (1 - pi) over K - 1."""
    every, pi = _class_shares(cells)
    rest = max(cells.n_classes - 1, 1)
    slope = every.per_item(1 - 2 * pi[every.label]) / every.votes - (pi * (1 - 2 * pi)).sum()
    return _corrected(cells, float((pi * (1 - pi)).sum()) / rest, slope / rest / max(len(every.votes), 1))


def alpha(cells: Cells, space: LabelSpace, metric: str) -> Influence:
    """1 - (n - 1) * seen / expected, n the votes on items with two or more."""
    cells = cells.paired()
    pool, m = cells.per_class(), cells.votes
    far, n = distance(space, metric, pool), float(m.sum())
    seen_by = far.within(cells) / np.maximum(m - 1, 1)
    to_pool = far.to_pool(pool)
    seen, expected = float(seen_by.sum()), float(to_pool @ pool)
    if n == 0 or (pool > 0).sum() < 2 or expected <= 0:
        return Influence(float("nan"), np.zeros(len(m)))
    expected_by = 2 * cells.per_item(to_pool[cells.label])
    if metric == "ordinal":  # the ranks move with the answers too
        v = far.values
        assert v is not None
        around = cells.per_item(v[cells.label])[cells.item] - v[cells.label]
        met = cells.per_class(around / (m[cells.item] - 1))
        for_seen, for_expected = 4 * (pool * v - met), 4 * pool * (n * v - pool @ v)
        seen_by = seen_by + cells.per_item(_by_count(for_seen)[cells.label])
        expected_by = expected_by + cells.per_item(_by_count(for_expected)[cells.label])
    slope = (seen * m + n * seen_by - n * seen * expected_by / expected) / expected
    value, different = 1 - (n - 1) * seen / expected, 1 - float((pool**2).sum()) / n**2
    return Influence(value, -(n - 1) / n * (slope - slope.mean()), different)


def _by_count(by_rank: np.ndarray) -> np.ndarray:
    """(K,) derivative by the number of answers in each class, from that by the middle rank of each class."""
    return by_rank.sum() - np.cumsum(by_rank) + by_rank / 2


def _corrected(cells: Cells, e: float, e_slope: np.ndarray) -> Influence:
    """Chance-corrected observed agreement. The observed uses items with two votes, the chance those with one as well."""
    voted = cells.votes > 0
    p_slope = np.zeros(int(voted.sum()))
    share = _share(cells.paired())
    p = _mean(share)
    p_slope[cells.votes[voted] >= 2] = (share - p) / max(len(share), 1)
    if not len(share) or e >= 1 - 1e-12:
        return Influence(float("nan"), p_slope)
    return Influence((p - e) / (1 - e), p_slope / (1 - e) - e_slope * (1 - p) / (1 - e) ** 2, 1 - e)


def _share(cells: Cells) -> np.ndarray:
    """(N,) share of the pairs of votes that agree."""
    m = cells.votes
    return (cells.per_item(cells.count) - m) / np.maximum(m * (m - 1), 1)


def _class_shares(cells: Cells) -> tuple[Cells, np.ndarray]:
    """The items with a vote, renumbered, and (K,) class shares averaged over them."""
    voted = cells.votes > 0
    every = Cells((np.cumsum(voted) - 1)[cells.item], cells.label, cells.count, cells.votes[voted], cells.n_classes)
    return every, every.per_class(1 / every.votes[every.item]) / max(len(every.votes), 1)


def _mean(x: np.ndarray) -> float:
    return float(x.mean()) if len(x) else float("nan")
