"""A confusion matrix per annotator (Dawid & Skene 1979), its rows drawn around rows that all annotators share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labelwright.crowds import temper
from labelwright.crowds._cells import Cells
from labelwright.crowds._pairs import Pairs, update_prior
from labelwright.crowds._intervals import beta_interval
from labelwright.crowds._starts import agreement, share_posterior
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
    wrong: np.ndarray  # (K,) log probability of a vote when the truth is no listed class
    prior: np.ndarray  # (K,)
    around: np.ndarray  # (K * K,) Dirichlet parameters of the rows, [true, given]
    base: (
        np.ndarray | None
    )  # (K * K,) what `around` is drawn to when it is fitted; None: `around` stays, rows are modes
    prob: np.ndarray  # (P,)
    rest: np.ndarray  # (N,)
    dependence: float = 0.0

    @property
    def total(self) -> np.ndarray:
        """(K,) sums of the rows of `around`."""
        k = len(self.prior)
        return self.around.reshape(k, k).sum(1)


def fit_dawid_skene(
    votes: Prepared,
    *,
    concentration: float | None = None,
    smoothing: float = 0.01,
    dependence: float | None = None,
    max_iter: int = 200,
    tol: float = 1e-6,
    random_state: int = 0,
) -> Fit:
    """Confusion matrices and posteriors of the classes.

    Row k of annotator a is Dirichlet(around[k]). By default `around` is fitted to all annotators together (empirical Bayes,
    one Minka step per step of variational EM), so who voted little is judged like the crowd.

    concentration: a number instead: rows are the modes under concentration * pooled row + `smoothing`, pooled from the vote
        shares; 0 is the classic form.   dependence: see `temper`; None: chosen from the votes, 0: votes count in full.
    tol: stop when the objective rises by less than this fraction.   random_state: draws the votes that choose the dependence,
        only where there are more than 25,000.

    Up to 16 classes every class is possible for every item. Above, an item lists the classes that were voted for (and its
    gold); the others are one `rest` in which each vote is an error with the same probability for all annotators.

    Raises:
        OptionError: a concentration, smoothing or dependence out of range.

    Source: Dawid & Skene 1979; Kim & Ghahramani 2012 (Bayesian form); Minka 2000, "Estimating a Dirichlet distribution".
    """
    check_whole("max_iter", max_iter, 1)
    _check(concentration, smoothing, dependence)
    model = _begin(votes, concentration, smoothing)
    trace = _climb(model, max_iter, tol)
    if dependence is None:
        for _ in range(3):
            before, model.dependence = model.dependence, temper.best_dependence(_leave_out(model, random_state))
            if abs(model.dependence - before) < 0.1 * before + 1e-3:
                break
            trace = _climb(model, max_iter, tol)
    elif dependence > 0:
        model.dependence = dependence
        trace = _climb(model, max_iter, tol)
    return _result(model, trace)


def _check(concentration: float | None, smoothing: float, dependence: float | None) -> None:
    for name, value, low in (("concentration", concentration, 0.0), ("smoothing", smoothing, 1e-12)):
        if value is not None and not (low <= value < np.inf):
            raise OptionError(found=f"{name}={value!r}", expected=f"a number from {low:g}", fix=f"pass {name}=0.01")
    temper.check(dependence)


def _begin(votes: Prepared, concentration: float | None, smoothing: float) -> _Model:
    k = votes.n_classes
    pairs = Pairs.every(votes) if k <= COMPLETE else Pairs.voted(votes)
    cells = Cells.of(votes, pairs)
    prob, rest, share = share_posterior(votes, pairs)
    right = agreement(votes)
    wrong = np.log((1 - right) * share) if k > 1 else np.zeros(1)
    even = np.full((k, k), (1 - right) / max(k - 1, 1))
    np.fill_diagonal(even, right if k > 1 else 1.0)
    if concentration is None:
        base = 2.0 * even.ravel()
        return _Model(votes, pairs, cells, wrong, share, base.copy(), base, prob, rest)
    pooled = (cells.pooled(cells.scatter(prob)) + even.ravel()).reshape(k, k)
    around = concentration * pooled / pooled.sum(1, keepdims=True) + smoothing
    return _Model(votes, pairs, cells, wrong, share, around.ravel(), None, prob, rest)


def _climb(model: _Model, max_iter: int, tol: float) -> list[float]:
    """Steps of (variational) EM until the objective stands still."""
    trace: list[float] = []
    for _ in range(max_iter):
        trace.append(_step(model))
        if len(trace) > 1 and trace[-1] - trace[-2] < tol * abs(trace[-2]):
            break
    return trace


def _step(model: _Model) -> float:
    """New annotators from the posteriors, new posteriors from the annotators; the objective that this reaches.

    It is sum_i 1/worth_i log sum_k prior_k exp(worth_i loglik_ik), less the divergence of the rows from their Dirichlet
    (fitted) or with their log density (given), and the log density of `around` and of the prior.
    """
    worth = temper.power(_count(model.votes), model.dependence)
    model.prior = update_prior(model.pairs, model.prob, model.rest, model.prior, 1 / worth)
    count = model.cells.scatter(model.prob)
    row = model.cells.rows(count)
    if model.base is not None:
        _refit(model, count, row)
    value, penalty = _log_rows(model, count, row)
    loglik, rest = _logliks(model, value)
    with np.errstate(divide="ignore"):
        left = np.log(model.pairs.left_prior(model.prior))
    logit = np.log(model.prior)[model.pairs.label] + worth[model.pairs.item] * loglik
    model.prob, model.rest, norm = model.pairs.softmax(logit, left + worth * rest)
    return float((norm / worth).sum() + penalty + np.log(model.prior).mean())


def _refit(model: _Model, count: np.ndarray, row: np.ndarray) -> None:
    """One Minka step for `around`, which never lowers the Dirichlet-multinomial likelihood of the counts.

    `base` acts as a Gamma density, exp(base log x - x): it keeps every entry above 0 and says what one annotator would.
    """
    from scipy.special import psi

    assert model.base is not None
    cells, total = model.cells, model.total
    seen = cells.pooled(psi(count + model.around[cells.table]) - psi(model.around)[cells.table])
    rows = np.bincount(cells.row_true, psi(row + total[cells.row_true]) - psi(total)[cells.row_true], len(total))
    model.around = (model.base + model.around * seen) / (1 + np.repeat(rows, len(total)))


def _log_rows(model: _Model, count: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, float]:
    """(C,) expected log of each kept cell, and what the annotators add to the objective."""
    from scipy.special import gammaln, psi

    cells, total = model.cells, model.total
    around, whole = model.around[cells.table], total[cells.row_true]
    if model.base is None:
        value = np.log(count + around)
        penalty = (around * (value - np.log(around))).sum() - (whole * np.log(row + whole)).sum()
        return value - np.log(row + whole)[cells.row], float(penalty)
    value = psi(count + around) - psi(row + whole)[cells.row]
    penalty = (gammaln(count + around) - gammaln(model.around)[cells.table] - count * value).sum()
    penalty += (gammaln(total)[cells.row_true] - gammaln(row + whole)).sum()
    return value, float(penalty + (model.base * np.log(model.around) - model.around).sum())


def _logliks(model: _Model, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P,) of the listed classes and (N,) of the rest."""
    votes = model.votes
    if model.pairs.complete:
        return model.cells.gather(value), np.zeros(votes.n_items)
    return model.cells.gather(value), np.bincount(votes.item, votes.weight * model.wrong[votes.label], votes.n_items)


def _count(votes: Prepared) -> np.ndarray:
    """(N,) votes per item."""
    return np.bincount(votes.item, votes.weight, votes.n_items)


def _leave_out(model: _Model, random_state: int) -> temper.LeftOut:
    """Votes with what the others say; the vote is taken out of the counts of its annotator, too."""
    votes, cells = model.votes, model.cells
    count = cells.scatter(model.prob)
    row = cells.rows(count)
    value, _ = _log_rows(model, count, row)
    loglik, rest = _logliks(model, value)
    chosen = temper.drawn(votes, random_state)
    frame, entry = temper.left_out(votes, model.pairs, chosen, model.prior, loglik, rest)
    vote = np.repeat(chosen, np.diff(frame.start))
    cell = cells.find(votes.annotator[vote], votes.label[vote], model.pairs.label[entry])
    own = votes.weight[vote] * model.prob[entry]
    whole = row[cells.row[cell]] - own + model.total[model.pairs.label[entry]]
    wrong = model.wrong[votes.label[chosen]]
    return frame._replace(
        loglik=frame.loglik - votes.weight[vote] * value[cell],
        chance=np.maximum(count[cell] - own + model.around[cells.table[cell]], 1e-12) / whole,
        rest_loglik=frame.rest_loglik - (0 if model.pairs.complete else votes.weight[chosen] * wrong),
        rest_chance=np.exp(wrong),
    )


def _result(model: _Model, trace: list[float]) -> Fit:
    votes, cells, k = model.votes, model.cells, model.votes.n_classes
    count = cells.scatter(model.prob)
    row = cells.rows(count)
    labels = model.pairs.soft(votes, model.prob, model.rest, model.prior)
    around, total, prior = model.around.reshape(k, k), model.total, model.prior
    border = np.searchsorted(
        np.arange(votes.n_annotators * k * k) if cells.key is None else cells.key,
        np.arange(votes.n_annotators + 1) * k * k,
    )

    def confusion(annotator: int) -> np.ndarray:
        part = slice(border[annotator], border[annotator + 1])
        out = around.copy()
        out.ravel()[cells.table[part]] += count[part]
        return out / out.sum(1, keepdims=True)

    def vote_prob(items: np.ndarray, annotators: np.ndarray) -> np.ndarray:
        out = np.empty((len(items), k))
        for annotator in np.unique(annotators):
            mine = np.flatnonzero(annotators == annotator)
            out[mine] = labels[items[mine]].dense() @ confusion(int(annotator))
        return out

    skill, low, high = _skill(model, count, row)
    return Fit(
        "dawid_skene", labels, prior, skill, low, high, confusion, vote_prob, trace=trace,
        details={"dependence": model.dependence, "concentration": total},
    )  # fmt: skip


def _skill(model: _Model, count: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and 90 % interval of sum_k prior_k * confusion[k, k], whose beta has the mean and variance of that sum."""
    cells, prior, total, k = model.cells, model.prior, model.total, len(model.prior)
    own = model.around.reshape(k, k).diagonal()
    right = np.zeros(len(row))
    diagonal = np.flatnonzero(cells.table % (k + 1) == 0)
    right[cells.row[diagonal]] = count[diagonal]
    true = cells.row_true

    def moments(right: np.ndarray, row: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = (right + own[k]) / (row + total[k])
        return prior[k] * mean, prior[k] ** 2 * mean * (1 - mean) / (row + total[k] + 1)

    usual = moments(np.zeros(k), np.zeros(k), np.arange(k))  # of rows without a count
    found = moments(right, row, true)
    mean, variance = (
        u.sum() + np.bincount(cells.row_annotator, f - u[true], model.votes.n_annotators) for u, f in zip(usual, found)
    )
    return beta_interval(mean, variance, np.bincount(model.votes.annotator, minlength=model.votes.n_annotators) > 0)
