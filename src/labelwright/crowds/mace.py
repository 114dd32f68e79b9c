"""Annotators who either know the answer or answer from a habit of their own (MACE, Hovy et al. 2013)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labelwright.crowds import _coins, temper
from labelwright.crowds._candidates import Pairs
from labelwright.crowds._skills import skills
from labelwright.crowds._starts import settled, share_posterior, unsettled, usual_accuracy
from labelwright.crowds.fit import Fit
from labelwright.crowds.prepared import Prepared
from labelwright.errors import check_whole

KNOWS = 0.5  # Beta(0.5, 0.5) over knowing
HABIT = 10.0  # Dirichlet(10 for each class) over the answers of who does not know; both as the paper's code has them


@dataclass(eq=False)
class _Annotators:
    """knows, guesses: (A,) expected counts of votes of either kind.   habit: (C,) expected guesses of each cell
    (annotator, class), kept where there is a vote."""

    knows: np.ndarray
    guesses: np.ndarray
    habit: np.ndarray


def fit_mace(
    votes: Prepared,
    *,
    restarts: int = 4,
    dependence: float | None = None,
    doubt: float = temper.DOUBT,
    max_iter: int = 200,
    tol: float = 1e-6,
    random_state: int = 0,
) -> Fit:
    """Competence of annotators, their habits and posteriors: a vote names the true class if its annotator knows it, else
    whatever the annotator answers by habit.

    Variational EM, once from the vote shares and `restarts` times from random annotators; the best bound is kept.

    restarts: 0 makes the answer independent of `random_state` up to 10,000 votes.   dependence, doubt: see `temper`; with
    both 0 votes count in full.   tol: stop when the bound rises by less than this fraction.

    Source: Hovy et al. 2013, variational Bayes of section 3; the prior of the classes is fitted, the paper keeps it even.
    """
    check_whole("restarts", restarts, 0)
    check_whole("max_iter", max_iter, 1)
    temper.check(dependence, doubt)
    model = _Mace.of(votes)
    rng = np.random.default_rng(random_state)
    best = model.climb(model.from_shares(), max_iter, tol)
    for _ in range(restarts):
        other = model.climb(model.at_random(rng), max_iter, tol)
        if other.trace[-1] > best.trace[-1] + 1e-6 * abs(best.trace[-1]):
            best = other
    return model.result(best, unsettled(best.trace, tol, max_iter), dependence, doubt, random_state)


@dataclass(eq=False)
class _Climbed:
    annotators: _Annotators
    prior: np.ndarray
    trace: list[float]


@dataclass(frozen=True, eq=False)
class _Mace:
    """cell: (V,) number of the (annotator, class) of a vote.   cell_annotator, cell_label: (C,)."""

    votes: Prepared
    pairs: Pairs
    cell: np.ndarray
    cell_annotator: np.ndarray
    cell_label: np.ndarray
    total: np.ndarray

    @classmethod
    def of(cls, votes: Prepared) -> _Mace:
        k = votes.n_classes
        keys, cell = np.unique(votes.annotator * np.int64(k) + votes.label, return_inverse=True)
        total = np.bincount(votes.annotator, votes.weight, votes.n_annotators)
        return cls(votes, Pairs.voted(votes), cell, keys // k, keys % k, total)

    def from_shares(self) -> _Annotators:
        """Votes that the shares bear out are known."""
        prob, _, _ = share_posterior(self.votes, self.pairs)
        return self.count(prob[self.pairs.own])

    def at_random(self, rng: np.random.Generator) -> _Annotators:
        """Each annotator knows any share of its answers. The draws go by what the annotators did, not by their numbers."""
        prob, _, _ = share_posterior(self.votes, self.pairs)
        votes = self.votes
        agreed = np.bincount(votes.annotator, votes.weight * prob[self.pairs.own], votes.n_annotators)
        order = np.lexsort((agreed.round(6), self.total))
        share = np.empty(votes.n_annotators)
        share[order] = rng.uniform(0, 1, votes.n_annotators)
        return self.count(share[votes.annotator])

    def count(self, known: np.ndarray) -> _Annotators:
        """From (V,) the probability that a vote was known."""
        weight = self.votes.weight
        knows = np.bincount(self.votes.annotator, weight * known, self.votes.n_annotators)
        habit = np.bincount(self.cell, weight * (1 - known), len(self.cell_label))
        return _Annotators(knows, np.maximum(self.total - knows, 0), habit)

    def logs(self, now: _Annotators) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """(V,) log chance if right and if wrong, (V,) probability that a right vote was known, and what the annotators
        add to the bound."""
        from scipy.special import gammaln, psi

        k = self.votes.n_classes
        whole = psi(self.total + 2 * KNOWS)
        knows, guesses = psi(now.knows + KNOWS) - whole, psi(now.guesses + KNOWS) - whole
        habit = psi(now.habit + HABIT) - psi(now.guesses + k * HABIT)[self.cell_annotator]
        penalty = (gammaln(now.knows + KNOWS) + gammaln(now.guesses + KNOWS) - gammaln(self.total + 2 * KNOWS)).sum()
        penalty += (
            len(knows) * (gammaln(2 * KNOWS) - 2 * gammaln(KNOWS)) - (now.knows * knows + now.guesses * guesses).sum()
        )
        penalty += (gammaln(now.habit + HABIT) - gammaln(HABIT) - now.habit * habit).sum()
        penalty += (gammaln(k * HABIT) - gammaln(now.guesses + k * HABIT)).sum()
        annotator = self.votes.annotator
        log_wrong = (guesses[self.cell_annotator] + habit)[self.cell]
        log_right = np.logaddexp(knows[annotator], log_wrong)
        return log_right, log_wrong, np.exp(knows[annotator] - log_right), float(penalty)

    def climb(self, now: _Annotators, max_iter: int, tol: float) -> _Climbed:
        """Steps of variational EM until the bound stands still."""
        prior = np.full(self.votes.n_classes, 1 / self.votes.n_classes)
        trace: list[float] = []
        for _ in range(max_iter):
            log_right, log_wrong, known, penalty = self.logs(now)
            prob, rest, likelihood = _coins.posterior(self.votes, self.pairs, prior, log_right, log_wrong)
            trace.append(likelihood + penalty + float(np.log(prior).mean()))
            if settled(trace, tol):
                break
            now = self.count(prob[self.pairs.own] * known)
            prior = _coins.shares(self.pairs, prob, rest, prior)
        return _Climbed(now, prior, trace)

    def result(self, best: _Climbed, notes: list[str], dependence: float | None, doubt: float, seed: int) -> Fit:
        votes, k, now, prior = self.votes, self.votes.n_classes, best.annotators, best.prior
        log_right, log_wrong, _, _ = self.logs(now)
        size = self.total + 2 * KNOWS
        competence = (now.knows + KNOWS) / size
        chance_habit = (now.habit + HABIT) / (now.guesses + k * HABIT)[self.cell_annotator]
        wrong = ((1 - competence)[self.cell_annotator] * chance_habit)[self.cell]
        done = _coins.settle(
            votes, self.pairs, prior, log_right, log_wrong,
            (competence[votes.annotator] + wrong, wrong), dependence, doubt, seed,
        )  # fmt: skip
        border = np.searchsorted(self.cell_annotator, np.arange(votes.n_annotators + 1))

        def habit_of(annotator: int) -> np.ndarray:
            part = slice(border[annotator], border[annotator + 1])
            out = np.full(k, HABIT)
            out[self.cell_label[part]] += now.habit[part]
            return out / out.sum()

        def confusion(annotator: int) -> np.ndarray:
            return competence[annotator] * np.eye(k) + (1 - competence[annotator]) * habit_of(annotator)

        prob, _, _ = _coins.posterior(votes, self.pairs, prior, log_right, log_wrong)
        found = skills(votes, prob[self.pairs.own], usual_accuracy(votes))
        return Fit(
            "mace", done.labels, prior, *found, confusion,
            temper.foretell(done.foretold, confusion), trace=best.trace, notes=notes,
            details=done.details | {"competence": competence},
        )  # fmt: skip
