"""The best answer to each item, the answer it is confused with, and how often (TopTwo, Jeong & Chung 2023)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from labelwright.crowds._candidates import Pairs
from labelwright.crowds._skills import refit
from labelwright.crowds.fit import Fit
from labelwright.crowds.one_coin import fit_one_coin
from labelwright.crowds.prepared import Prepared

LEAST, MOST = 0.001, 0.999  # of the reliability of an annotator
GRID = np.array([0.51, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 0.995])  # of q, in (1/2, 1)
EVEN = 0.2  # items per item that are spread evenly over GRID, beside what the crowd says of q
ROUNDS = 100  # of the reliabilities, and of the shares of GRID
CLOSE = 1e-9  # relative: equal within rounding is equal


def fit_top_two(votes: Prepared, *, shrink: bool = True, random_state: int = 0) -> Fit:
    """Two answers per item: the best one g, the one it is confused with h, and q, the probability of g given g or h.

    An annotator answers with probability p_a from the top two, g with probability q_i and h else; otherwise any of the K
    classes evenly. Reliabilities come from how far annotators agree beyond chance, then from how often they answer within the
    top two; the pair of each item maximises the likelihood of its votes. Pairs that tie share.

    shrink: True takes the q of an item, and the p of an annotator, as posterior means around those of the crowd; False as
        the moments that the paper takes, which are wild for few votes.

    `Fit.labels` has q on g and 1 - q on h: how a reliable annotator would answer, not how sure the crowd is of g.
    `Fit.difficulty` is 1 - q. `details`: "best" and "second", (N,) int64 class ids (the lowest of those that tie; -1 where no
    vote tells one), "q" (N,), "reliability" (A,) p, NaN where it never voted.

    With two classes every vote lies in the top two, so skills and the best class are those of `fit_one_coin`.

    The agreement beyond chance of two annotators, summed over the items they share, has mean (items shared) p_a p_b times a
    constant: one rank, for whatever annotators answer however many items, and no class is treated unlike another. The paper
    instead averages singular vectors over cuts 1..k against k+1..K, which depend on the numbers of the classes and suppose
    that all annotators answer equally often.

    Source: Jeong & Chung 2023, "Recovering Top-Two Answers and Confusion Probability in Multi-Choice Crowdsourcing",
    sections 3 and 4.
    """
    k = votes.n_classes
    if k <= 2:
        return _of_two(votes, shrink, random_state)
    pairs = Pairs.voted(votes)
    agreement = agreements(votes, pairs)
    score = np.bincount(pairs.own, votes.weight * agreement[votes.annotator], len(pairs.item))
    member = _among_two(pairs, score)
    reliability = _reliability(votes, member[pairs.own], shrink)
    chosen = pick(votes, pairs, reliability, np.full(votes.n_items, 0.75))
    q = (
        _confusions(votes, pairs, reliability, chosen)
        if shrink
        else _moments(votes, pairs, agreement, reliability, score)
    )
    return _result(votes, pairs, reliability, pick(votes, pairs, reliability, q), q)


def agreements(votes: Prepared, pairs: Pairs) -> np.ndarray:
    """(A,) reliabilities up to a common factor, >= 0: the rank-one fit of the agreements beyond chance.

    Two votes on an item agree beyond chance by 1 - 1/K or by -1/K. G_ab sums this over the items that a and b share, N_ab of
    them. Sought is the x >= 0 of least sum over a != b of (G_ab - N_ab x_a x_b)^2 / N_ab, by alternating least squares; both
    sums are taken item by item, so that a step costs one pass over the votes. All 1 where nobody agrees with anybody.
    """
    item, annotator, weight = votes.item, votes.annotator, votes.weight
    x = np.ones(votes.n_annotators)
    for _ in range(ROUNDS):
        mine = weight * x[annotator]
        same = np.bincount(pairs.own, mine, len(pairs.item))[pairs.own] - mine
        other = np.bincount(item, mine, votes.n_items)[item] - mine
        square = weight * x[annotator] ** 2
        shared = np.bincount(item, square, votes.n_items)[item] - square
        up = np.bincount(annotator, weight * (same - other / votes.n_classes), len(x))
        down = np.bincount(annotator, weight * shared, len(x))
        alone = down <= 1e-12 * max(down.max(initial=0.0), 1e-300)
        new = np.where(alone, 0.0, np.maximum(up, 0) / np.where(alone, 1, down))
        if not (new > 0).any():
            return np.ones(len(x))
        new[alone] = new[~alone].mean()
        step, x = new - x, (x + new) / 2  # half a step: a full one would turn a scale c into 1 / c for ever
        if np.abs(step).max() < 1e-7:
            break
    return x


class Chosen(NamedTuple):
    """Who is first and second: (P,) shares of the listed classes, (N,) of all classes not listed together; 1 per item."""

    first: np.ndarray
    second: np.ndarray
    rest: np.ndarray


def pick(votes: Prepared, pairs: Pairs, reliability: np.ndarray, q: np.ndarray) -> Chosen:
    """The ordered pair of classes of greatest likelihood for each item; those that tie share. A known class is first.

    reliability: (A,) in (0, 1), NaN allowed where there is no vote.   q: (N,) in (1/2, 1).
    """
    k, known = votes.n_classes, pairs.gold >= 0
    with np.errstate(invalid="ignore"):
        odds = k * (reliability / (1 - reliability))[votes.annotator]
    one, two = (
        np.bincount(pairs.own, votes.weight * np.log1p(part[votes.item] * odds), len(pairs.item)).astype(np.float64)
        for part in (q, 1 - q)
    )
    barred = known[pairs.item]
    barred[pairs.gold[known]] = False
    one[barred] = -np.inf
    unlisted = k - np.diff(pairs.start)
    floor = np.where(unlisted > 0, 0.0, -np.inf)  # a class nobody voted for
    first = one + _best_other(pairs, two, floor)
    second = two + _best_other(pairs, one, np.where(known, -np.inf, floor))
    top, best = _largest(pairs, first), _largest(pairs, one)
    slack = CLOSE * np.maximum(np.abs(top), 1)
    leads, follows = first >= (top - slack)[pairs.item], second >= (top - slack)[pairs.item]
    none = np.where(best + floor >= top - slack, unlisted, 0)
    n_first = pairs.total(leads.astype(float))[pairs.item]
    n_second = pairs.total(follows.astype(float)) + none
    n_second = np.where(n_second > 0, n_second, 1)
    return Chosen(leads / np.where(n_first > 0, n_first, 1), follows / n_second[pairs.item], none / n_second)


def _among_two(pairs: Pairs, score: np.ndarray) -> np.ndarray:
    """(P,) 1 for the two classes of each item with the largest score, whereby classes that tie for a place share it. Known
    classes are always among them."""
    score = score.astype(np.float64)  # a copy; sums of no votes are whole numbers
    score[pairs.gold[pairs.gold >= 0]] = np.inf
    order = np.lexsort((-score, pairs.item))
    size = np.diff(pairs.start)
    edge = np.full(len(size), -np.inf)
    edge[size > 1] = score[order[pairs.start[:-1][size > 1] + 1]]
    slack = CLOSE * np.abs(np.where(np.isfinite(edge), edge, 0))
    above = score > (edge + slack)[pairs.item]
    tied = (score >= (edge - slack)[pairs.item]) & ~above
    places = np.maximum(2 - pairs.total(above.astype(float)), 0) / np.maximum(pairs.total(tied.astype(float)), 1)
    return np.where(above, 1.0, np.where(tied, places[pairs.item], 0.0))


def _reliability(votes: Prepared, within: np.ndarray, shrink: bool) -> np.ndarray:
    """(A,) p from (V,) whether a vote lies within the top two: its share is p + (1 - p) 2 / K."""
    chance = 2 / votes.n_classes
    total = np.bincount(votes.annotator, votes.weight, votes.n_annotators)
    inside = np.bincount(votes.annotator, votes.weight * within, votes.n_annotators)
    around = base = 2.0 * np.array([0.9, 0.1])
    for _ in range(50 if shrink else 0):
        around = refit(around, base, np.stack([inside, np.maximum(total - inside, 0)], 1))
    around = around if shrink else np.zeros(2)
    size = total + around.sum()
    share = (inside + around[0]) / np.where(size > 0, size, 1)
    return np.where(total > 0, np.clip((share - chance) / (1 - chance), LEAST, MOST), np.nan)


def _confusions(votes: Prepared, pairs: Pairs, reliability: np.ndarray, chosen: Chosen) -> np.ndarray:
    """(N,) posterior mean of q given the pair, but not which of the two is first, under shares of `GRID` fitted to all items
    together by EM. To take the order as known would make every even split look like a clear one."""
    with np.errstate(invalid="ignore"):
        odds = votes.n_classes * (reliability / (1 - reliability))[votes.annotator]
    first, second = votes.weight * chosen.first[pairs.own], votes.weight * chosen.second[pairs.own]
    loglik = np.empty((votes.n_items, len(GRID)))
    for j, q in enumerate(GRID):
        one, two = np.log1p(q * odds), np.log1p((1 - q) * odds)
        one, two = (
            np.bincount(votes.item, term, votes.n_items)
            for term in (first * one + second * two, first * two + second * one)
        )
        loglik[:, j] = np.logaddexp(one, two)
    likelihood = np.exp(loglik - loglik.max(1, keepdims=True))
    voted = np.diff(votes.start) > 0
    even = (EVEN * voted.sum() + 1) / len(GRID)
    share = np.full(len(GRID), 1 / len(GRID))
    for _ in range(ROUNDS):
        joint = likelihood[voted] * share
        share = (joint / joint.sum(1, keepdims=True)).sum(0) + even
        share /= share.sum()
    posterior = likelihood * share
    return np.asarray((posterior @ GRID) / posterior.sum(1))


def _moments(
    votes: Prepared, pairs: Pairs, agreement: np.ndarray, reliability: np.ndarray, score: np.ndarray
) -> np.ndarray:
    """(N,) the paper's q: what the votes, weighted by agreement, say of the best class, less chance and by the length of
    the reliabilities."""
    length = np.sqrt(np.nansum(reliability**2)) / max(float(np.linalg.norm(agreement[~np.isnan(reliability)])), 1e-300)
    weight = votes.weight * agreement[votes.annotator]
    total = np.bincount(votes.item, weight, votes.n_items)
    square = length * np.bincount(votes.item, weight * agreement[votes.annotator], votes.n_items)
    top = np.maximum(_largest(pairs, score), 0)
    best = (top - total / votes.n_classes) / np.where(square > 0, square, 1)
    return np.clip(1 / votes.n_classes + best, 0.501, MOST)


def _result(votes: Prepared, pairs: Pairs, reliability: np.ndarray, chosen: Chosen, q: np.ndarray) -> Fit:
    k, known = votes.n_classes, pairs.gold >= 0
    voted = np.diff(votes.start) > 0
    prob = q[pairs.item] * chosen.first + (1 - q)[pairs.item] * chosen.second
    rest = (1 - q) * chosen.rest
    sides = prob.copy()
    prob[known[pairs.item]] = 0.0
    prob[pairs.gold[known]] = 1.0
    even = np.full(k, 1 / k)
    labels = pairs.soft(votes, prob, np.where(known, 0.0, rest), even)
    foretold = pairs.soft(votes, sides, rest, even)
    prior = np.bincount(pairs.label, prob, k) + np.where(known, 0.0, rest).sum() / k + 1 / k
    usual = float(np.nanmean(reliability)) if voted.any() else 0.5

    def vote_prob(items: np.ndarray, annotators: np.ndarray) -> np.ndarray:
        p = np.nan_to_num(reliability[np.asarray(annotators)], nan=usual)[:, None]
        truth = foretold[np.asarray(items)].dense().astype(np.float64)
        return p * truth / truth.sum(1, keepdims=True) + (1 - p) / k

    total = np.bincount(votes.annotator, votes.weight, votes.n_annotators)
    mean_q = np.bincount(votes.annotator, votes.weight * q[votes.item], votes.n_annotators) / np.where(
        total > 0, total, 1
    )
    q = np.where(voted, q, np.nan)
    best, second = _ids(pairs, chosen, k)
    return Fit(
        "top_two", labels, prior / prior.sum(), reliability * mean_q + (1 - reliability) / k, vote_prob=vote_prob,
        difficulty=1 - q,
        details={
            "best": best, "second": second, "q": q, "reliability": reliability,
        },
    )  # fmt: skip


def _of_two(votes: Prepared, shrink: bool, random_state: int) -> Fit:
    """K = 2, or 1: every vote lies in the top two, so p is read from the accuracy (1 + p) / 2 of the one-coin model."""
    k = votes.n_classes
    coin = fit_one_coin(votes, dependence=0.0, doubt=0.0, random_state=random_state)
    pairs = Pairs.voted(votes)
    seen = np.bincount(votes.annotator, minlength=votes.n_annotators) > 0
    reliability = np.where(seen, np.clip(2 * coin.skill - 1, LEAST, MOST), np.nan)
    q = np.full(votes.n_items, 0.75)
    if k > 1:
        chosen = pick(votes, pairs, reliability, q)
        agreement = np.nan_to_num(reliability)
        score = np.bincount(pairs.own, votes.weight * agreement[votes.annotator], len(pairs.item))
        q = (
            _confusions(votes, pairs, reliability, chosen)
            if shrink
            else _moments(votes, pairs, agreement, reliability, score)
        )
    else:
        q = np.full(votes.n_items, MOST)
    fit = _result(votes, pairs, reliability, pick(votes, pairs, reliability, q), q)
    fit.notes.append("with two classes every vote is one of the top two: reliabilities are those of one_coin")
    return fit


def _largest(pairs: Pairs, value: np.ndarray) -> np.ndarray:
    """(N,) maximum over the listed classes, -inf where there is none."""
    out = np.full(len(pairs.start) - 1, -np.inf)
    some = np.diff(pairs.start) > 0
    if some.any():
        out[some] = np.maximum.reduceat(value, pairs.start[:-1][some])
    return out


def _best_other(pairs: Pairs, value: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """(P,) the largest value among the other classes of the item, at least floor (N,)."""
    order = np.lexsort((-value, pairs.item))
    size = np.diff(pairs.start)
    first, second = np.full(len(size), -np.inf), np.full(len(size), -np.inf)
    top = np.full(len(size), -1)
    top[size > 0] = order[pairs.start[:-1][size > 0]]
    first[size > 0] = value[top[size > 0]]
    second[size > 1] = value[order[pairs.start[:-1][size > 1] + 1]]
    other = np.where(np.arange(len(value)) == top[pairs.item], second[pairs.item], first[pairs.item])
    return np.maximum(other, floor[pairs.item])


def _ids(pairs: Pairs, chosen: Chosen, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(N,) best and second class, the lowest of those that tie; -1 where no vote tells one. The one class that is left of all
    is told by the others."""
    best, second = np.full((2, len(pairs.start) - 1), -1, np.int64)
    some = np.flatnonzero(chosen.first > 0)[::-1]
    best[pairs.item[some]] = pairs.label[some]
    some = np.flatnonzero((chosen.second > 0) & (pairs.label != best[pairs.item]))[::-1]
    second[pairs.item[some]] = pairs.label[some]
    left = k * (k - 1) // 2 - pairs.total(pairs.label.astype(float)).astype(np.int64)
    only = (chosen.rest > 0) & (np.diff(pairs.start) == k - 1) & (second < 0)
    return best, np.where(only, left, second)
