"""Able annotators and hard items (GLAD, Whitehill et al. 2009)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labelwright.crowds import _coins, temper
from labelwright.crowds._candidates import Pairs, class_counts
from labelwright.crowds.fit import Fit
from labelwright.crowds.prepared import Prepared
from labelwright.errors import check_whole

MEAN = 1.0  # of the normal densities of ability and log easiness, both of variance 1, as in the paper
POINTS = 32  # quantiles of the easiness over which a skill is averaged


def fit_glad(
    votes: Prepared,
    *,
    dependence: float | None = None,
    doubt: float = temper.DOUBT,
    max_iter: int = 200,
    tol: float = 1e-6,
    random_state: int = 0,
) -> Fit:
    """Abilities, difficulties and posteriors: a vote is right with probability sigmoid(ability_a * exp(easiness_i)), else it
    names any other class.

    Ability and easiness are the mode under N(1, 1) each, found by L-BFGS on the votes' own likelihood (the classes summed
    out), together with the prior of the classes. `Fit.difficulty` is -easiness; the skill is averaged over the items.

    dependence, doubt: see `temper`; with both 0 votes count in full.   tol: stop when the objective rises by less than this
    fraction.   random_state: draws the votes that choose the dependence, only where there are more than 25,000.

    Source: Whitehill et al. 2009, eq. 1 to 3, with K classes; the paper keeps the classes equally likely.
    """
    from scipy.optimize import minimize

    check_whole("max_iter", max_iter, 1)
    temper.check(dependence, doubt)
    pairs, _, _, share = _coins.begin(votes)
    problem = _Problem(votes, pairs)
    start = np.concatenate([np.full(votes.n_annotators + votes.n_items, MEAN), np.log(share)])
    trace = [-problem(start)[0]]

    def keep(intermediate_result: object) -> None:
        trace.append(-float(intermediate_result.fun))  # type: ignore[attr-defined]

    found = minimize(
        problem, start, jac=True, method="L-BFGS-B", callback=keep,
        options={"maxiter": max_iter, "ftol": tol, "gtol": 1e-8, "maxcor": 10},
    )  # fmt: skip
    ability, easiness, prior = problem.split(found.x)
    log_right, log_wrong = problem.logs(ability, easiness)
    chance = (np.exp(log_right), np.exp(log_wrong))
    settled = _coins.settle(votes, pairs, prior, log_right, log_wrong, chance, dependence, doubt, random_state)

    def vote_prob(items: np.ndarray, annotators: np.ndarray) -> np.ndarray:
        q = settled.foretold()[np.asarray(items)].dense().astype(np.float64)
        q /= q.sum(1, keepdims=True)
        right = _sigmoid(ability[annotators] * np.exp(easiness[items]))[:, None]
        return q * right + (1 - q) * (1 - right) / max(votes.n_classes - 1, 1)

    skill, low, high = _skill(votes, ability, easiness)

    def confusion(annotator: int) -> np.ndarray:
        return _coins.even_confusion(float(np.nan_to_num(skill[annotator], nan=skill_of(MEAN, easiness))), votes.n_classes)

    return Fit(
        "glad", settled.labels, prior, skill, low, high, confusion, vote_prob, -easiness, trace,
        details=settled.details | {"ability": ability},
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Problem:
    """Minus the log posterior density of (ability, easiness, log prior) and its gradient."""

    votes: Prepared
    pairs: Pairs

    def split(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        a, n = self.votes.n_annotators, self.votes.n_items
        prior = np.exp(x[a + n :] - x[a + n :].max())
        return x[:a], x[a : a + n], np.maximum(prior / prior.sum(), 1e-300)

    def logs(self, ability: np.ndarray, easiness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(V,) log chance of each vote if right, and if wrong."""
        x = ability[self.votes.annotator] * np.exp(easiness)[self.votes.item]
        return -np.logaddexp(0, -x), -np.logaddexp(0, x) - np.log(max(self.votes.n_classes - 1, 1))

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        votes, pairs = self.votes, self.pairs
        ability, easiness, prior = self.split(x)
        log_right, log_wrong = self.logs(ability, easiness)
        prob, rest, value = _coins.posterior(votes, pairs, prior, log_right, log_wrong)
        slope = votes.weight * (prob[pairs.own] - np.exp(log_right))  # by ability * exp(easiness)
        ease = np.exp(easiness)[votes.item]
        by_ability = np.bincount(votes.annotator, slope * ease, len(ability)) - (ability - MEAN)
        by_easiness = np.bincount(votes.item, slope * ease * ability[votes.annotator], len(easiness)) - (easiness - MEAN)
        count = class_counts(pairs, prob, rest, prior)
        value += float(np.log(prior).mean()) - 0.5 * float(((ability - MEAN) ** 2).sum() + ((easiness - MEAN) ** 2).sum())
        return -value, -np.concatenate([by_ability, by_easiness, count - count.sum() * prior])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -x))


def skill_of(ability: np.ndarray | float, easiness: np.ndarray) -> np.ndarray:
    """Mean chance of a right vote over the items."""
    ease = np.exp(np.quantile(easiness, (np.arange(POINTS) + 0.5) / POINTS)) if len(easiness) else np.ones(1)
    return _sigmoid(np.multiply.outer(np.asarray(ability), ease)).mean(-1)


def _skill(votes: Prepared, ability: np.ndarray, easiness: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Skill and 90 % interval: the ability is normal about its mode, with the curvature that known classes would give."""
    ease = np.exp(easiness)[votes.item]
    right = _sigmoid(ability[votes.annotator] * ease)
    curve = 1 + np.bincount(votes.annotator, votes.weight * ease**2 * right * (1 - right), len(ability))
    voted = np.bincount(votes.annotator, minlength=len(ability)) > 0
    values = (skill_of(ability + z / np.sqrt(curve), easiness) for z in (0.0, -1.645, 1.645))
    mean, low, high = (np.where(voted, v, np.nan) for v in values)
    return mean, low, high
