"""A confusion matrix per annotator (Dawid & Skene 1979), its rows drawn around rows that all annotators share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from labelwright.crowds import temper
from labelwright.crowds._accelerate import State, climb, leapt
from labelwright.crowds._candidates import Pairs, class_counts
from labelwright.crowds._cells import Cells
from labelwright.crowds._row_prior import RowPrior
from labelwright.crowds._skills import skills
from labelwright.crowds._starts import share_posterior, unsettled, usual_accuracy
from labelwright.crowds.fit import Fit
from labelwright.crowds.prepared import Prepared
from labelwright.errors import OptionError, check_whole

COMPLETE = 16
"""Up to this many classes every item may have each of them; above, the classes somebody voted for, and a rest."""


@dataclass(eq=False)
class _Model:
    """What the votes look like, and where the fit stands."""

    votes: Prepared
    pairs: Pairs
    cells: Cells
    right: float  # accuracy to expect of an annotator
    wrong: np.ndarray  # (K,) log probability of a vote when the truth is no listed class
    rest_loglik: np.ndarray  # (N,) of the votes when the truth is no listed class
    prior: np.ndarray  # (K,)
    rows: RowPrior
    prob: np.ndarray  # (P,)
    rest: np.ndarray  # (N,)


def fit_dawid_skene(
    votes: Prepared,
    *,
    concentration: float | None = None,
    smoothing: float = 0.01,
    dependence: float | None = None,
    doubt: float = temper.DOUBT,
    max_iter: int = 200,
    tol: float = 1e-6,
    random_state: int = 0,
) -> Fit:
    """Confusion matrices and posteriors of the classes.

    Row k of annotator a is Dirichlet(around[k]). By default `around` is fitted to all annotators together (empirical Bayes,
    one Minka step per step of variational EM), so who voted little is judged like the crowd.

    concentration: a number instead: rows are the modes under concentration * pooled row + `smoothing`, pooled from the vote
        shares; 0 is the classic form.   dependence, doubt: see `temper`; with both 0 votes count in full.
    tol: stop when the objective rises by less than this fraction.   random_state: draws the votes that choose the dependence,
        only where there are more than 10,000.

    Up to 16 classes every class is possible for every item. Above, an item lists the classes that were voted for (and its
    gold); the others are one `rest` in which each vote is an error with the same probability for all annotators.

    Raises:
        OptionError: a concentration, smoothing, dependence or doubt out of range.

    Source: Dawid & Skene 1979; Kim & Ghahramani 2012 (Bayesian form); Minka 2000, "Estimating a Dirichlet distribution".
    """
    check_whole("max_iter", max_iter, 1)
    _check(concentration, smoothing)
    temper.check(dependence, doubt)
    model = _begin(votes, concentration, smoothing)
    found = climb(partial(_step, model), _state(model), partial(leap, model.rows), tol=tol, max_iter=max_iter)
    return _result(model, found.trace, unsettled(found.trace, tol, found.steps), dependence, doubt, random_state)


def _check(concentration: float | None, smoothing: float) -> None:
    for name, value, low in (("concentration", concentration, 0.0), ("smoothing", smoothing, 1e-12)):
        if value is not None and not (low <= value < np.inf):
            raise OptionError(found=f"{name}={value!r}", expected=f"a number from {low:g}", fix=f"pass {name}=0.01")


def _begin(votes: Prepared, concentration: float | None, smoothing: float) -> _Model:
    k = votes.n_classes
    pairs = Pairs.every(votes) if k <= COMPLETE else Pairs.voted(votes)
    cells = Cells.of(votes, pairs)
    prob, rest, share = share_posterior(votes, pairs)
    right = usual_accuracy(votes, pairs)
    wrong = wrong_votes(right, share)
    missed = np.zeros(votes.n_items)
    if not pairs.complete:
        missed += np.bincount(votes.item, votes.weight * wrong[votes.label], votes.n_items)
    if concentration is None:
        prior = RowPrior.fitted(cells, right, k)
    else:
        prior = RowPrior.around_pooled(cells, cells.scatter(prob), right, concentration, smoothing)
    return _Model(votes, pairs, cells, right, wrong, missed, share, prior, prob, rest)


def wrong_votes(right: float, share: np.ndarray) -> np.ndarray:
    """(K,) log probability of a vote for each class when the truth is no listed class."""
    return np.log((1 - right) * share) if len(share) > 1 else np.zeros(1)


def _state(model: _Model, left: np.ndarray | None = None) -> State:
    """What the posteriors tell: counts (C,) of the annotators, (K,) of the classes, and `around`.   left: see `class_counts`."""
    classes = class_counts(model.pairs, model.prob, model.rest, model.prior, left)
    return model.cells.scatter(model.prob), classes, model.rows.around


def _step(model: _Model, state: State) -> tuple[float, State]:
    """New annotators from the counts, new posteriors from the annotators; the objective that this reaches, and new counts.

    It is the log-likelihood of the votes, less the divergence of the rows from their Dirichlet (fitted) or with their log
    density (given), and the log density of `around` and of the prior.
    """
    count, classes, model.rows.around = state
    model.prior = classes / classes.sum()
    row = model.cells.rows(count)
    model.rows.refit(count, row)
    value, penalty = model.rows.expected_log(count, row)
    logit = model.pairs.plus(model.cells.gather(value), np.log(model.prior))
    left, rest = None, model.rest_loglik
    if not model.pairs.width:
        left = model.pairs.left_prior(model.prior)
        with np.errstate(divide="ignore"):
            rest = np.log(left) + rest
    model.prob, model.rest, norm = model.pairs.softmax(logit, rest)
    return float(norm.sum() + penalty + np.log(model.prior).mean()), _state(model, left)


def leap(rows: RowPrior, s0: State, s1: State, s2: State, length: float) -> State:
    """A leap of (counts, classes, around): counts and classes stay above 0 and keep their sums, `around` leaps in its logs."""
    count = np.maximum(leapt(s0[0], s1[0], s2[0], length), np.minimum(s2[0], 1e-9))  # what is next to nothing stays it
    classes = np.maximum(leapt(s0[1], s1[1], s2[1], length), 1e-9)
    said = rows.cells.said(s2[0]) / np.maximum(rows.cells.said(count), 1e-300)
    around = np.exp(np.clip(leapt(np.log(s0[2]), np.log(s1[2]), np.log(s2[2]), length), -20, 20))
    return rows.cells.per_said(count, said), classes * (s2[1].sum() / classes.sum()), around


def _left_out(
    model: _Model, learnt: tuple[np.ndarray, np.ndarray, np.ndarray], loglik: np.ndarray, seed: int
) -> temper.LeftOut:
    """Votes with what the others say; the vote is taken out of the counts of its annotator, too.   learnt: see
    `RowPrior.without`."""
    votes, pairs = model.votes, model.pairs
    chosen = temper.drawn(votes, seed)
    frame, entry, vote = temper.left_out(votes, pairs, chosen, model.prior, loglik, model.rest_loglik)
    said, chance = model.rows.without(votes, pairs, learnt, entry, vote, model.prob)
    wrong = model.wrong[votes.label[chosen]]
    return frame._replace(
        loglik=frame.loglik - said,
        chance=chance,
        rest_loglik=frame.rest_loglik - (0.0 if pairs.complete else votes.weight[chosen] * wrong),
        rest_chance=np.exp(wrong),
    )


def _result(
    model: _Model, trace: list[float], notes: list[str], dependence: float | None, doubt: float, seed: int
) -> Fit:
    votes, cells = model.votes, model.cells
    count = cells.scatter(model.prob)
    row = cells.rows(count)
    value, _ = model.rows.expected_log(count, row)
    loglik = cells.gather(value)
    fitted = temper.best_dependence(_left_out(model, (count, row, value), loglik, seed))
    done = temper.settle(votes, model.pairs, model.prior, loglik, model.rest_loglik, fitted, dependence, doubt)
    confusion = model.rows.confusions(count, votes.n_annotators)
    return Fit(
        "dawid_skene", done.labels, model.prior, *skills(votes, model.prob[model.pairs.own], model.right), confusion,
        temper.foretell(done.foretold, confusion), trace=trace, notes=notes,
        details=done.details | {"concentration": model.rows.total},
    )  # fmt: skip
