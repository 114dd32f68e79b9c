"""One accuracy per annotator, drawn from a beta distribution that all annotators share (one-coin Dawid-Skene)."""

from __future__ import annotations

from functools import partial

import numpy as np

from labelwright.crowds import _coins, temper
from labelwright.crowds._accelerate import State, climb, leapt
from labelwright.crowds._skills import refit, skills
from labelwright.crowds._starts import unsettled, usual_accuracy
from labelwright.crowds.fit import Fit
from labelwright.crowds.prepared import Prepared
from labelwright.errors import check_option, check_whole


def fit_one_coin(
    votes: Prepared,
    *,
    prior: str = "even",
    dependence: float | None = None,
    doubt: float = temper.DOUBT,
    max_iter: int = 200,
    tol: float = 1e-6,
    random_state: int = 0,
) -> Fit:
    """Accuracies and posteriors of the classes: annotator a is right with probability p_a, else names any other class.

    p_a is Beta(around); `around` is fitted to all annotators together, so who voted little is judged like the crowd.

    prior: "even" or "fitted" shares of the classes. With one number per annotator a fitted prior can run away to one class
        (on trec it does), so the classes are taken as equally likely.
    dependence, doubt: see `temper`; with both 0 votes count in full.   tol: stop when the objective rises by less than this
    fraction.   random_state: draws the votes that choose the dependence, only where there are more than 10,000.

    Raises:
        OptionError: an unknown prior, or a dependence or doubt out of range.

    Source: the one-coin model of Dawid & Skene 1979, as variational EM with a Minka step (2000) for the beta distribution.
    """
    check_whole("max_iter", max_iter, 1)
    check_option("prior", prior, _coins.PRIORS)
    temper.check(dependence, doubt)
    k, annotator = votes.n_classes, votes.annotator
    pairs, prob, rest, classes = _coins.begin(votes, prior)
    usual = usual_accuracy(votes)
    around = base = 2.0 * np.array([usual, 1 - usual])
    total = np.bincount(annotator, votes.weight, votes.n_annotators)

    def state() -> State:
        right = np.bincount(annotator, votes.weight * prob[pairs.own], votes.n_annotators)
        return right, _coins.shares(pairs, prob, rest, classes) if prior == "fitted" else classes, around

    count = log_right = log_wrong = np.zeros(0)

    def step(begin: State) -> tuple[float, State]:
        nonlocal prob, rest, classes, around, count, log_right, log_wrong
        right, classes, around = begin
        count = np.stack([right, np.maximum(total - right, 0)], 1)
        around = refit(around, base, count)
        value, penalty = expected_log(around, base, count)
        log_right, log_wrong = value[annotator, 0], value[annotator, 1] - np.log(max(k - 1, 1))
        prob, rest, likelihood = _coins.posterior(votes, pairs, classes, log_right, log_wrong)
        return likelihood + penalty + float(np.log(classes).mean()), state()

    found = climb(step, state(), partial(leap, total), tol=tol, max_iter=max_iter)
    trace = found.trace
    mean = (count[:, 0] + around[0]) / (total + around.sum())
    own = votes.weight * prob[pairs.own]
    without = (np.maximum(count[annotator, 0] - own, 0) + around[0]) / (
        np.maximum(total[annotator] - votes.weight, 0) + around.sum()
    )
    done = _coins.settle(
        votes, pairs, classes, log_right, log_wrong, (without, (1 - without) / max(k - 1, 1)), dependence, doubt, random_state,
    )  # fmt: skip

    def confusion(annotator: int) -> np.ndarray:
        return _coins.even_confusion(float(mean[annotator]), k)

    return Fit(
        "one_coin", done.labels, _coins.shares(pairs, prob, rest, classes),
        *skills(votes, prob[pairs.own], usual),
        confusion, temper.foretell(done.foretold, confusion), trace=trace,
        notes=unsettled(trace, tol, found.steps), details=done.details | {"around": around},
    )  # fmt: skip


def leap(total: np.ndarray, s0: State, s1: State, s2: State, length: float) -> State:
    """A leap of (right votes, shares of the classes, around): right votes stay between 0 and all of them, (A,) `total`."""
    right = np.clip(leapt(s0[0], s1[0], s2[0], length), 0, total)
    classes = np.maximum(leapt(s0[1], s1[1], s2[1], length), 1e-12)
    around = np.exp(np.clip(leapt(np.log(s0[2]), np.log(s1[2]), np.log(s2[2]), length), -20, 20))
    return right, classes / classes.sum(), around


def expected_log(around: np.ndarray, base: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, float]:
    """(A, 2) expected log probabilities, and what the annotators add to the objective."""
    from scipy.special import gammaln, psi

    whole, total = count.sum(1), around.sum()
    value = psi(count + around) - psi(whole + total)[:, None]
    penalty = (gammaln(count + around) - gammaln(around) - count * value).sum()
    penalty += (gammaln(total) - gammaln(whole + total)).sum() + (base * np.log(around) - around).sum()
    return value, float(penalty)
