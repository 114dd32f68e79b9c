"""Labels from counts of votes: shares, majority, and votes weighted by how well annotators agree with the rest."""

from __future__ import annotations

import numpy as np

from labelwright.crowds._candidates import Pairs, class_counts
from labelwright.crowds.fit import Fit
from labelwright.crowds.prepared import Prepared
from labelwright.errors import OptionError, check_whole

LEAST = 1e-6
"""Weight of an annotator who never agrees: above 0, so that no item is left without weight."""


def fit_vote_shares(votes: Prepared, *, pseudo_count: float | None = None, random_state: int = 0) -> Fit:
    """Shares of the votes of an item, with `pseudo_count` votes beside them that are spread evenly over the classes.

    pseudo_count: > 0; by default the one with which each vote is best foretold by the others on its item.
    The skill of an annotator is the mean share that the other votes on its items give its answers.

    Raises:
        OptionError: a pseudo_count that is not above 0.

    Source: the mean of a Dirichlet-multinomial; leave-one-out likelihood as in Minka 2000, section 1.4.
    """
    if pseudo_count is not None and not (0 < pseudo_count < np.inf):
        raise OptionError(
            found=f"pseudo_count={pseudo_count!r}", expected="a number above 0", fix="pass pseudo_count=1.0"
        )
    pairs, count, total = _counts(votes)
    own, others, k = count[pairs.own] - votes.weight, total[votes.item] - votes.weight, votes.n_classes
    spread = (
        _best_pseudo_count(votes.weight, np.maximum(own, 0), others, 1 / k) if pseudo_count is None else pseudo_count
    )
    prob = (count + spread / k) / (total + spread)[pairs.item]
    rest = spread * (1 - np.diff(pairs.start) / k) / (total + spread)
    prob, rest = clamp(pairs, prob, rest)
    prior = class_counts(pairs, prob, rest, np.full(k, 1 / k))
    labels = pairs.soft(votes, prob, rest, np.full(k, 1 / k))
    left_out = np.where(votes.gold[votes.item] >= 0, prob[pairs.own], (own + spread / k) / (others + spread))

    def vote_prob(items: np.ndarray, annotators: np.ndarray) -> np.ndarray:
        p = labels[np.asarray(items)].dense().astype(np.float64)
        return p / p.sum(1, keepdims=True)

    skill, details = voter_means(votes, left_out), {"pseudo_count": spread}
    return Fit("vote_shares", labels, prior / prior.sum(), skill, vote_prob=vote_prob, details=details)


def fit_majority(votes: Prepared, *, random_state: int = 0) -> Fit:
    """The class with most votes; classes that tie share evenly. The skill of an annotator is its agreement with that."""
    pairs, count, _ = _counts(votes)
    prob = _winners(pairs, count)
    return _plain("majority", votes, pairs, prob, voter_means(votes, prob[pairs.own]))


def fit_softmax_shares(votes: Prepared, *, random_state: int = 0) -> Fit:
    """exp(votes for a class), normalised over all K classes: the more votes, the surer. Skill as in `fit_majority`.

    Source: Uma et al. 2020, "A case for soft loss functions"; system 120.
    """
    pairs, count, _ = _counts(votes)
    unlisted = votes.n_classes - np.diff(pairs.start)
    with np.errstate(divide="ignore"):
        prob, rest, _ = pairs.softmax(count, np.log(unlisted))
    return _plain("softmax_shares", votes, pairs, prob, voter_means(votes, _winners(pairs, count)[pairs.own]), rest)


def fit_wawa(votes: Prepared, *, random_state: int = 0) -> Fit:
    """Worker agreement with aggregate: vote shares weighted by the agreement of each annotator with the majority.

    Ties share. Source: Appen's Wawa as in crowd-kit; system 120.
    """
    pairs, count, _ = _counts(votes)
    skill = voter_means(votes, _winners(pairs, count)[pairs.own])
    return _plain("wawa", votes, pairs, _weighted(votes, pairs, skill), skill)


def fit_zero_based_skill(votes: Prepared, *, n_iter: int = 100, random_state: int = 0) -> Fit:
    """Vote shares weighted by skills that begin near chance and move, ever slower, to the agreement with the weighted
    majority.

    n_iter: rounds; the step is 1 and halves every 20 rounds. Ties share. Source: crowd-kit's ZeroBasedSkill; system 120.
    """
    check_whole("n_iter", n_iter, 1)
    pairs, _, _ = _counts(votes)
    skill = np.full(votes.n_annotators, 1 / votes.n_classes + 1e-5)
    for step in range(n_iter):
        winners = _winners(pairs, _weighted(votes, pairs, skill))
        skill = skill + 0.5 ** (step // 20) * (voter_means(votes, winners[pairs.own], empty=0.0) - skill)
    prob = _weighted(votes, pairs, skill)
    skill = np.where(np.bincount(votes.annotator, minlength=len(skill)) > 0, skill, np.nan)
    return _plain("zero_based_skill", votes, pairs, prob, skill)


def _counts(votes: Prepared) -> tuple[Pairs, np.ndarray, np.ndarray]:
    """Pairs, votes for each (P,), and votes per item (N,)."""
    pairs = Pairs.voted(votes)
    count = np.bincount(pairs.own, votes.weight, len(pairs.item))
    return pairs, count, np.bincount(votes.item, votes.weight, votes.n_items)


def clamp(pairs: Pairs, prob: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Known classes have everything."""
    known = pairs.gold >= 0
    prob = np.where(known[pairs.item], 0.0, prob)
    prob[pairs.gold[known]] = 1.0
    return prob, np.where(known, 0.0, rest)


def _winners(pairs: Pairs, count: np.ndarray) -> np.ndarray:
    """(P,) the largest of each item share 1; equal within rounding is equal."""
    some = np.diff(pairs.start) > 0
    top = np.zeros(len(some))
    top[some] = np.maximum.reduceat(count, pairs.start[:-1][some]) if some.any() else 0.0
    first = (count >= top[pairs.item] * (1 - 1e-9)).astype(np.float64)
    return clamp(pairs, first / pairs.total(first)[pairs.item], np.zeros(len(some)))[0]


def _weighted(votes: Prepared, pairs: Pairs, skill: np.ndarray) -> np.ndarray:
    """(P,) vote shares with annotators weighted by skill."""
    weight = votes.weight * np.maximum(np.nan_to_num(skill), LEAST)[votes.annotator]
    count = np.bincount(pairs.own, weight, len(pairs.item))
    total = np.bincount(votes.item, weight, votes.n_items)
    return clamp(pairs, count / np.where(total > 0, total, 1)[pairs.item], np.zeros(votes.n_items))[0]


def voter_means(votes: Prepared, value: np.ndarray, empty: float = np.nan) -> np.ndarray:
    """(A,) weighted mean over the votes of each annotator."""
    total = np.bincount(votes.annotator, votes.weight, votes.n_annotators)
    summed = np.bincount(votes.annotator, votes.weight * value, votes.n_annotators)
    return np.where(total > 0, summed / np.where(total > 0, total, 1), empty)


def _plain(
    name: str, votes: Prepared, pairs: Pairs, prob: np.ndarray, skill: np.ndarray, rest: np.ndarray | None = None
) -> Fit:
    """A fit whose labels are as the formula gives them, zeros and ones included; the rest is spread evenly."""
    k = votes.n_classes
    prior = np.bincount(pairs.label, prob, k)
    even = np.full(k, 1 / k)
    rest = np.zeros(votes.n_items) if rest is None else rest
    prior = prior / prior.sum() if prior.sum() > 0 else even
    return Fit(name, pairs.soft(votes, prob, rest, even, sure=0.0), prior, skill)


def _best_pseudo_count(weight: np.ndarray, own: np.ndarray, others: np.ndarray, usual: float) -> float:
    """The pseudo-count in [0.01, 1000] under which the votes are likeliest given the other votes on their item."""
    company = others > 0
    if not company.any():
        return 1.0
    weight, own, others = weight[company], own[company], others[company]

    def loss(log_spread: float) -> float:
        spread = np.exp(log_spread)
        return -float((weight * np.log((own + spread * usual) / (others + spread))).sum() / weight.sum())

    from scipy.optimize import minimize_scalar

    found = minimize_scalar(loss, bounds=(np.log(0.01), np.log(1000.0)), method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x))
