"""Votes on an item are not independent given its class: n of them count as n / (1 + (n - 1) * dependence).

The dependence is the one with which votes are best foretold by the other votes on their item. No truth is needed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from labelwright.crowds._pairs import Pairs, members
from labelwright.crowds.prepared import Prepared
from labelwright.errors import OptionError

SCORED = 25_000
"""Most votes that are left out to choose the dependence; above, as many are drawn."""

GRID = (0.0, 0.003, 0.01, 0.03, 0.06, 0.1, 0.17, 0.27, 0.4, 0.6, 0.8, 1.0)


def power(count: np.ndarray, dependence: float) -> np.ndarray:
    """What each of `count` votes on an item is worth: 1 / (1 + (count - 1) * dependence), the design effect of Kish (1965).

    >>> power(np.array([1.0, 11.0]), 0.1).tolist()
    [1.0, 0.5]
    """
    return 1 / (1 + np.maximum(count - 1, 0) * dependence)


def check(dependence: float | None) -> None:
    """Raise `OptionError` unless it is None or within [0, 1]."""
    if dependence is not None and not 0 <= dependence <= 1:
        raise OptionError(
            found=f"dependence={dependence!r}",
            expected="a number from 0 (votes count in full) to 1 (all votes on an item count as one)",
            fix="pass dependence=None to choose it from the votes",
        )


class LeftOut(NamedTuple):
    """M votes, each with what the others on its item say. Entries of vote m are start[m]:start[m + 1], one per listed class.

    loglik: (E,) of the other votes; log_prior: (E,); chance: (E,) probability of the vote under the class.
    rest_*: (M,) the same for the classes not listed.   count: (M,) other votes.   weight: (M,).
    """

    start: np.ndarray
    loglik: np.ndarray
    log_prior: np.ndarray
    chance: np.ndarray
    rest_loglik: np.ndarray
    rest_log_prior: np.ndarray
    rest_chance: np.ndarray
    count: np.ndarray
    weight: np.ndarray


def score(left: LeftOut, dependence: float) -> float:
    """Mean log probability of the votes given the others, in nats."""
    worth = power(left.count, dependence)
    size = np.diff(left.start)
    logit = left.log_prior + left.loglik * np.repeat(worth, size)
    rest = left.rest_log_prior + left.rest_loglik * worth
    top = np.maximum(np.maximum.reduceat(logit, left.start[:-1]), rest)
    mass, other = np.exp(logit - np.repeat(top, size)), np.exp(rest - top)
    hit = np.add.reduceat(mass * left.chance, left.start[:-1]) + other * left.rest_chance
    total = np.add.reduceat(mass, left.start[:-1]) + other
    return float((left.weight * np.log(np.maximum(hit, 1e-300) / total)).sum() / left.weight.sum())


def best_dependence(left: LeftOut) -> float:
    """The dependence in [0, 1] with the best `score`: the best of a grid, then between its neighbours."""
    if len(left.count) == 0:
        return 0.0
    values = [score(left, d) for d in GRID]
    best = int(np.argmax(values))
    from scipy.optimize import minimize_scalar

    low, high = GRID[max(best - 1, 0)], GRID[min(best + 1, len(GRID) - 1)]
    found = minimize_scalar(lambda d: -score(left, d), bounds=(low, high), method="bounded", options={"maxiter": 8})
    return float(found.x) if -found.fun > values[best] else GRID[best]


def drawn(votes: Prepared, random_state: int) -> np.ndarray:
    """The votes to leave out: those with company on an item of unknown class, at most `SCORED`."""
    company = (np.diff(votes.start) > 1) & (votes.gold < 0)
    chosen = np.flatnonzero(company[votes.item])
    if len(chosen) > SCORED:
        chosen = np.sort(np.random.default_rng(random_state).choice(chosen, SCORED, replace=False))
    return chosen


def left_out(
    votes: Prepared, pairs: Pairs, chosen: np.ndarray, prior: np.ndarray, loglik: np.ndarray, rest: np.ndarray
) -> tuple[LeftOut, np.ndarray]:
    """The frame of a `LeftOut` and the pair of each entry; the model fills in what the vote itself says.

    loglik: (P,), rest: (N,) over all votes, the chosen ones still included.
    """
    item = votes.item[chosen]
    entry, begin = members(pairs.start, item)
    with np.errstate(divide="ignore"):
        left_prior = np.log(pairs.left_prior(prior))
    nothing = np.zeros(len(chosen))
    count = np.bincount(votes.item, votes.weight, votes.n_items)[item] - votes.weight[chosen]
    frame = LeftOut(
        begin, loglik[entry], np.log(prior[pairs.label[entry]]), np.zeros(len(entry)),
        rest[item], left_prior[item], nothing, count, votes.weight[chosen],
    )  # fmt: skip
    return frame, entry
