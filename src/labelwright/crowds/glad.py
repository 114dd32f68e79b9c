"""Able annotators and hard items (GLAD, Whitehill et al. 2009)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labelwright.crowds import _coins, temper
from labelwright.crowds._candidates import Pairs, class_counts
from labelwright.crowds._skills import skills
from labelwright.crowds._starts import unsettled, usual_accuracy
from labelwright.crowds.fit import Fit
from labelwright.crowds.prepared import Prepared
from labelwright.errors import check_option, check_whole

MEAN = 1.0  # of the normal densities of ability and log easiness, both of variance 1, as in the paper
POINTS = 32  # quantiles of the easiness over which a confusion is averaged


def fit_glad(
    votes: Prepared,
    *,
    prior: str = "even",
    dependence: float | None = None,
    doubt: float = temper.DOUBT,
    max_iter: int = 500,
    tol: float = 1e-6,
    random_state: int = 0,
) -> Fit:
    """Abilities, difficulties and posteriors: a vote is right with probability sigmoid(ability_a * exp(easiness_i)), else it
    names any other class.

    Ability and easiness are the mode under N(1, 1) each, found by L-BFGS on the votes' own likelihood (the classes summed
    out). `Fit.difficulty` is -easiness.

    prior: "even", as in the paper, or "fitted" together with the rest; fitted it can run away to one class.
    dependence, doubt: see `temper`; with both 0 votes count in full.   tol: stop when the objective rises by less than this
    fraction.   random_state: draws the votes that choose the dependence, only where there are more than 10,000.

    Raises:
        OptionError: an unknown prior, or a dependence or doubt out of range.

    Source: Whitehill et al. 2009, eq. 1 to 3, with K classes and the easiness as exp of a normal variable.
    """
    from scipy.optimize import minimize

    check_whole("max_iter", max_iter, 1)
    check_option("prior", prior, _coins.PRIORS)
    temper.check(dependence, doubt)
    pairs, _, _, classes = _coins.begin(votes, prior)
    problem = _Problem(votes, pairs, prior == "fitted")
    start = np.concatenate([np.full(votes.n_annotators + votes.n_items, MEAN), np.log(classes)])
    trace = [-problem(start)[0]]

    def keep(intermediate_result: object) -> None:
        trace.append(-float(intermediate_result.fun))  # type: ignore[attr-defined]

    found = minimize(
        problem, start, jac=True, method="L-BFGS-B", callback=keep,
        options={"maxiter": max_iter, "ftol": tol, "gtol": 1e-8, "maxcor": 10},
    )  # fmt: skip
    ability, easiness, classes = problem.split(found.x)
    log_right, log_wrong = problem.logs(ability, easiness)
    chance = (np.exp(log_right), np.exp(log_wrong))
    settled = _coins.settle(votes, pairs, classes, log_right, log_wrong, chance, dependence, doubt, random_state)
    prob, rest, _ = _coins.posterior(votes, pairs, classes, log_right, log_wrong)

    def vote_prob(items: np.ndarray, annotators: np.ndarray) -> np.ndarray:
        q = settled.foretold()[np.asarray(items)].dense().astype(np.float64)
        q /= q.sum(1, keepdims=True)
        right = _sigmoid(ability[annotators] * np.exp(easiness[items]))[:, None]
        return q * right + (1 - q) * (1 - right) / max(votes.n_classes - 1, 1)

    skill, low, high = skills(votes, prob[pairs.own], usual_accuracy(votes))

    def confusion(annotator: int) -> np.ndarray:
        return _coins.even_confusion(float(_mean_right(ability[annotator], easiness)), votes.n_classes)

    notes = unsettled(trace, tol, max_iter) if found.nit >= max_iter else []
    return Fit(
        "glad", settled.labels, _coins.shares(pairs, prob, rest, classes), skill, low, high, confusion, vote_prob,
        -easiness, trace, notes, settled.details | {"ability": ability},
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Problem:
    """Minus the log posterior density of (ability, easiness, log prior) and its gradient."""

    votes: Prepared
    pairs: Pairs
    fitted: bool

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
        by_easiness = np.bincount(votes.item, slope * ease * ability[votes.annotator], len(easiness)) - (
            easiness - MEAN
        )
        count = class_counts(pairs, prob, rest, prior) if self.fitted else np.zeros(len(prior))
        value += float(np.log(prior).mean()) - 0.5 * float(
            ((ability - MEAN) ** 2).sum() + ((easiness - MEAN) ** 2).sum()
        )
        return -value, -np.concatenate([by_ability, by_easiness, count - count.sum() * prior])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -x))


def _mean_right(ability: np.ndarray | float, easiness: np.ndarray) -> np.ndarray:
    """Mean chance of a right vote over the items."""
    ease = np.exp(np.quantile(easiness, (np.arange(POINTS) + 0.5) / POINTS)) if len(easiness) else np.ones(1)
    return _sigmoid(np.multiply.outer(np.asarray(ability), ease)).mean(-1)
