"""A confusion matrix per annotator (Dawid & Skene 1979), its rows drawn around rows that all annotators share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labelwright.crowds import temper
from labelwright.crowds._candidates import Pairs, class_counts
from labelwright.crowds._cells import Cells
from labelwright.crowds._skills import skills
from labelwright.crowds._starts import settled, share_posterior, unsettled, usual_accuracy
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

    @property
    def total(self) -> np.ndarray:
        """(K,) sums of the rows of `around`."""
        k = len(self.prior)
        return self.around.reshape(k, k).sum(1)

    @property
    def pull(self) -> float:
        """Weight of `base`."""
        return max(1.0, len(self.prior) / 10)


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
        only where there are more than 25,000.

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
    trace: list[float] = []
    for _ in range(max_iter):
        trace.append(_step(model))
        if settled(trace, tol):
            break
    return _result(model, trace, unsettled(trace, tol, max_iter), dependence, doubt, random_state)


def _check(concentration: float | None, smoothing: float) -> None:
    for name, value, low in (("concentration", concentration, 0.0), ("smoothing", smoothing, 1e-12)):
        if value is not None and not (low <= value < np.inf):
            raise OptionError(found=f"{name}={value!r}", expected=f"a number from {low:g}", fix=f"pass {name}=0.01")


def _begin(votes: Prepared, concentration: float | None, smoothing: float) -> _Model:
    k = votes.n_classes
    pairs = Pairs.every(votes) if k <= COMPLETE else Pairs.voted(votes)
    cells = Cells.of(votes, pairs)
    prob, rest, share = share_posterior(votes, pairs)
    right = usual_accuracy(votes)
    wrong = np.log((1 - right) * share) if k > 1 else np.zeros(1)
    even = np.full((k, k), (1 - right) / max(k - 1, 1))
    np.fill_diagonal(even, right if k > 1 else 1.0)
    if concentration is None:
        base = 2.0 * even.ravel()
        return _Model(votes, pairs, cells, wrong, share, base.copy(), base, prob, rest)
    pooled = (cells.pooled(cells.scatter(prob)) + even.ravel()).reshape(k, k)
    around = concentration * pooled / pooled.sum(1, keepdims=True) + smoothing
    return _Model(votes, pairs, cells, wrong, share, around.ravel(), None, prob, rest)


def _step(model: _Model) -> float:
    """New annotators from the posteriors, new posteriors from the annotators; the objective that this reaches.

    It is the log-likelihood of the votes, less the divergence of the rows from their Dirichlet (fitted) or with their log
    density (given), and the log density of `around` and of the prior.
    """
    model.prior = class_counts(model.pairs, model.prob, model.rest, model.prior)
    model.prior /= model.prior.sum()
    count = model.cells.scatter(model.prob)
    row = model.cells.rows(count)
    if model.base is not None:
        _refit(model, count, row)
    value, penalty = _log_rows(model, count, row)
    loglik, rest = _logliks(model, value)
    with np.errstate(divide="ignore"):
        left = np.log(model.pairs.left_prior(model.prior))
    model.prob, model.rest, norm = model.pairs.softmax(np.log(model.prior)[model.pairs.label] + loglik, left + rest)
    return float(norm.sum() + penalty + np.log(model.prior).mean())


def _refit(model: _Model, count: np.ndarray, row: np.ndarray) -> None:
    """One Minka step for `around`, which never lowers the Dirichlet-multinomial likelihood of the counts.

    `base` acts as Gamma densities, exp(pull * (base log x - x)): they keep every entry above 0 and say what one annotator
    would, with many classes more, as each row then has fewer votes.
    """
    from scipy.special import psi

    assert model.base is not None
    cells, total = model.cells, model.total
    seen = cells.pooled(psi(count + model.around[cells.table]) - psi(model.around)[cells.table])
    rows = np.bincount(cells.row_true, psi(row + total[cells.row_true]) - psi(total)[cells.row_true], len(total))
    model.around = (model.pull * model.base + model.around * seen) / (model.pull + np.repeat(rows, len(total)))


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
    return value, float(penalty + model.pull * (model.base * np.log(model.around) - model.around).sum())


def _logliks(model: _Model, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P,) of the listed classes and (N,) of the rest."""
    votes = model.votes
    if model.pairs.complete:
        return model.cells.gather(value), np.zeros(votes.n_items)
    return model.cells.gather(value), np.bincount(votes.item, votes.weight * model.wrong[votes.label], votes.n_items)


def _left_out(
    model: _Model,
    count: np.ndarray,
    row: np.ndarray,
    value: np.ndarray,
    loglik: np.ndarray,
    rest: np.ndarray,
    seed: int,
) -> temper.LeftOut:
    """Votes with what the others say; the vote is taken out of the counts of its annotator, too."""
    votes, cells, pairs = model.votes, model.cells, model.pairs
    chosen = temper.drawn(votes, seed)
    frame, entry, vote = temper.left_out(votes, pairs, chosen, model.prior, loglik, rest)
    cell = cells.find(votes.annotator[vote], votes.label[vote], pairs.label[entry])
    own = votes.weight[vote] * model.prob[entry]
    whole = np.maximum(row[cells.row[cell]] - own, 0) + model.total[pairs.label[entry]]
    wrong = model.wrong[votes.label[chosen]]
    return frame._replace(
        loglik=frame.loglik - votes.weight[vote] * value[cell],
        chance=(np.maximum(count[cell] - own, 0) + model.around[cells.table[cell]]) / whole,
        rest_loglik=frame.rest_loglik - (0.0 if pairs.complete else votes.weight[chosen] * wrong),
        rest_chance=np.exp(wrong),
    )


def _result(
    model: _Model, trace: list[float], notes: list[str], dependence: float | None, doubt: float, seed: int
) -> Fit:
    votes, cells, k = model.votes, model.cells, model.votes.n_classes
    count = cells.scatter(model.prob)
    row = cells.rows(count)
    value, _ = _log_rows(model, count, row)
    loglik, rest = _logliks(model, value)
    fitted = temper.best_dependence(_left_out(model, count, row, value, loglik, rest, seed))
    done = temper.settle(votes, model.pairs, model.prior, loglik, rest, fitted, dependence, doubt)
    around, border = model.around.reshape(k, k), cells.border(votes.n_annotators)

    def confusion(annotator: int) -> np.ndarray:
        part = slice(border[annotator], border[annotator + 1])
        out = around.copy()
        out.ravel()[cells.table[part]] += count[part]
        return out / out.sum(1, keepdims=True)

    return Fit(
        "dawid_skene", done.labels, model.prior, *skills(votes, model.prob[model.pairs.own], usual_accuracy(votes)), confusion,
        temper.foretell(done.foretold, confusion), trace=trace, notes=notes,
        details=done.details | {"concentration": model.total},
    )  # fmt: skip
