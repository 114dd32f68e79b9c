"""Votes on an item are not independent given its class: n of them count as n / (1 + (n - 1) * dependence).

The dependence is the one with which votes are best foretold by the other votes on their item, but at least `USUAL`; and
one part in four of each label is the vote shares (`DOUBT`). The votes alone fit the first. They cannot show errors that all
annotators share, so the two constants come from crowds whose truth is known.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from labelwright.crowds._candidates import Pairs
from labelwright.crowds._starts import share_posterior
from labelwright.crowds.prepared import Prepared
from labelwright.errors import OptionError
from labelwright.labels import SoftLabels

USUAL = 0.25
"""Least dependence of a label. Chosen on five crowds with known truth (product, dog, rte, trec, ducks) by the log loss of
their labels: what votes foretell of votes asks for 0.02 to 0.2 there, what they foretell of the truth for 0.25 to 0.8."""

DOUBT = 0.25
"""How far a label trusts the vote shares more than any model: chosen on the same five crowds. Of eleven crowds with one left
out, the other ten would choose 0.1 to 0.4, and 0 to 0.4 for `USUAL` (benchmarks/crowd_auto.py leave)."""

SCORED = 10_000
"""Most votes that are left out to choose the dependence; above, as many are drawn."""

GRID = (0.0, 0.003, 0.01, 0.03, 0.06, 0.1, 0.17, 0.27, 0.4, 0.6, 0.8, 1.0)


def power(count: np.ndarray, dependence: float) -> np.ndarray:
    """What each of `count` votes on an item is worth: 1 / (1 + (count - 1) * dependence), the design effect of Kish (1965).

    >>> power(np.array([1.0, 11.0]), 0.1).tolist()
    [1.0, 0.5]
    """
    return 1 / (1 + np.maximum(count - 1, 0) * dependence)


def check(dependence: float | None, doubt: float) -> None:
    """Raise `OptionError` unless both are within [0, 1]; a dependence may be None."""
    if not 0 <= doubt <= 1:
        raise OptionError(found=f"doubt={doubt!r}", expected="a fraction", fix="pass doubt=0 to trust the model alone")
    if dependence is not None and not 0 <= dependence <= 1:
        raise OptionError(
            found=f"dependence={dependence!r}",
            expected="a number from 0 (votes count in full) to 1 (all votes on an item count as one)",
            fix="pass dependence=None to choose it from the votes",
        )


class LeftOut(NamedTuple):
    """M votes, each with what the others on its item say. Entries of vote m are start[m]:start[m + 1], one per listed class.

    loglik: (E,) of the other votes; log_prior: (E,); chance: (E,) probability of the vote under the class.
    rest_*: (M,) the same for the classes not listed.   others: (M,) other votes.   weight: (M,).
    """

    start: np.ndarray
    loglik: np.ndarray
    log_prior: np.ndarray
    chance: np.ndarray
    rest_loglik: np.ndarray
    rest_log_prior: np.ndarray
    rest_chance: np.ndarray
    others: np.ndarray
    weight: np.ndarray


def score(left: LeftOut, dependence: float) -> float:
    """Mean log probability of the votes given the others, in nats."""
    return _scorer(left)(dependence)


def _scorer(left: LeftOut) -> Callable[[float], float]:
    """`score` of one set of votes, to be asked more than once."""
    size, share = np.diff(left.start), left.weight / left.weight.sum()
    tables = [_table(left, np.flatnonzero(size == k), int(k)) for k in np.flatnonzero(np.bincount(size))]

    def at(dependence: float) -> float:
        total, worth = 0.0, power(left.others, dependence)
        for votes, prior, loglik, chance in tables:
            mass = loglik * worth[votes]
            mass += prior
            mass -= mass.max(0)
            np.exp(mass, out=mass)
            hit = np.einsum("km,km->m", mass, chance)
            total += float(share[votes] @ np.log(np.maximum(hit, 1e-300) / mass.sum(0)))
        return total

    return at


def _table(left: LeftOut, votes: np.ndarray, k: int) -> tuple[np.ndarray, ...]:
    """Votes (m,) on items that list k classes; log prior, log-likelihood and chance (k + 1, m), the rest last: NumPy is fast
    along rows."""
    entries = left.start[votes] + np.arange(k)[:, None]

    def rows(listed: np.ndarray, rest: np.ndarray) -> np.ndarray:
        return np.vstack([listed[entries], rest[votes]])

    return (
        votes, rows(left.log_prior, left.rest_log_prior), rows(left.loglik, left.rest_loglik),
        rows(left.chance, left.rest_chance),
    )  # fmt: skip


def best_dependence(left: LeftOut) -> float:
    """The dependence in [0, 1] with the best `score`: the best of every other point of the grid (there can be two peaks), then
    between its neighbours, to a fortieth of their distance."""
    if len(left.others) == 0:
        return 0.0
    at, grid = _scorer(left), [*GRID[::2], GRID[-1]]
    values = [at(dependence) for dependence in grid]
    best = int(np.argmax(values))
    if best == 0 and at(GRID[1]) <= values[0]:
        return 0.0
    from scipy.optimize import minimize_scalar

    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(
        lambda d: -at(d), bounds=(low, high), method="bounded", options={"xatol": (high - low) / 40}
    )
    return float(found.x) if -found.fun > values[best] else grid[best]


def drawn(votes: Prepared, random_state: int) -> np.ndarray:
    """The votes to leave out: those with company on an item of unknown class, at most `SCORED`."""
    company = (np.diff(votes.start) > 1) & (votes.gold < 0)
    chosen = np.flatnonzero(company[votes.item])
    if len(chosen) > SCORED:
        chosen = np.sort(np.random.default_rng(random_state).choice(chosen, SCORED, replace=False))
    return chosen


def left_out(
    votes: Prepared, pairs: Pairs, chosen: np.ndarray, prior: np.ndarray, loglik: np.ndarray, rest: np.ndarray
) -> tuple[LeftOut, np.ndarray, np.ndarray]:
    """The frame of a `LeftOut`, the pair of each entry and its vote; the model fills in what the vote itself says.

    loglik: (P,), rest: (N,) over all votes, the chosen ones still included.
    """
    item = votes.item[chosen]
    entry, begin = pairs.of_items(item)
    with np.errstate(divide="ignore"):
        left_prior = np.log(pairs.left_prior(prior))
    count = votes_per_item(votes)[item] - votes.weight[chosen]
    frame = LeftOut(
        begin, loglik[entry], np.log(prior)[pairs.label[entry]], np.zeros(len(entry)),
        rest[item], left_prior[item], np.zeros(len(chosen)), count, votes.weight[chosen],
    )  # fmt: skip
    return frame, entry, np.repeat(chosen, np.diff(begin))


def votes_per_item(votes: Prepared) -> np.ndarray:
    """(N,) total weight."""
    return np.bincount(votes.item, votes.weight, votes.n_items)


class Settled(NamedTuple):
    """labels: what is believed of the truth.   foretold: what is believed when votes are to be foretold, made on demand.
    details: for `Fit.details`."""

    labels: SoftLabels
    foretold: Callable[[], SoftLabels]
    details: dict[str, Any]


def settle(
    votes: Prepared,
    pairs: Pairs,
    prior: np.ndarray,
    loglik: np.ndarray,
    rest: np.ndarray,
    fitted: float,
    dependence: float | None,
    doubt: float,
) -> Settled:
    """The labels that a model's log-likelihoods, (P,) of the pairs and (N,) of the rest, stand for.

    The whole posterior of an item is taken to the power of `power`, the prior too, so that its likeliest class stays what it
    is with votes that count in full (as a temperature does, Guo et al. 2017). Votes are foretold with the likelihood alone to
    that power, as the dependence was chosen.

    fitted: what `best_dependence` found.   dependence: used as it is, if given.   doubt: share of the vote shares.
    """
    with np.errstate(divide="ignore"):
        left = np.log(pairs.left_prior(prior))
    count, logs = votes_per_item(votes), np.log(prior)[pairs.label]

    used = max(fitted, USUAL) if dependence is None else dependence
    worth, unlisted = power(count, used), np.maximum(len(prior) - np.diff(pairs.start), 1)
    # each class that is not listed is tempered, not their sum
    prob, other, _ = pairs.softmax(
        worth[pairs.item] * (logs + loglik), worth * (left + rest) + (1 - worth) * np.log(unlisted)
    )
    share, unshared, _ = share_posterior(votes, pairs)
    labels = pairs.soft(votes, (1 - doubt) * prob + doubt * share, (1 - doubt) * other + doubt * unshared, prior)

    @cache
    def foretold() -> SoftLabels:
        worth = power(count, fitted)
        return pairs.soft(votes, *pairs.softmax(logs + worth[pairs.item] * loglik, left + worth * rest)[:2], prior)

    return Settled(labels, foretold, {"dependence": used, "dependence_of_votes": fitted, "doubt": doubt})


def foretell(
    foretold: Callable[[], SoftLabels], confusion: Callable[[int], np.ndarray]
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """`Fit.vote_prob` of a model with one confusion matrix per annotator."""

    def vote_prob(items: np.ndarray, annotators: np.ndarray) -> np.ndarray:
        items, annotators, labels = np.asarray(items), np.asarray(annotators), foretold()
        out = np.empty((len(items), len(labels.space)))
        for annotator in np.unique(annotators):
            mine = np.flatnonzero(annotators == annotator)
            out[mine] = labels[items[mine]].dense().astype(np.float64) @ confusion(int(annotator))
        return out / out.sum(1, keepdims=True)

    return vote_prob
