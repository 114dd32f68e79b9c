"""Scores from comparisons: Bradley-Terry with ties, judges of unequal reliability and the advantage of being shown first.

The compared objects are the classes of the comparisons' space, `a` being the one shown first. Judge j who sees a before b
answers with log-odds x = +-(score[a] - score[b]) + first[j]; the sign is + with probability reliability[j], - otherwise. Among
"a", "b" and "tie" the weights are exp(x / 2), exp(-x / 2) and exp(tie). Every unknown has a proper prior, so objects that
never lost, or were never compared with the rest, keep finite scores with wide standard errors.

Sources: Bradley and Terry 1952; Davidson 1970 (ties); Davidson and Beaver 1977 (order); Chen, Bennett, Collins-Thompson and
Horvitz 2013 (Crowd-BT); Louis 1982 (standard errors under EM).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labelwright.crowds._verdicts import Verdicts, better_annotation
from labelwright.errors import LabelError, LabelwrightWarning, OptionError, check_whole
from labelwright.labels import Comparisons, LabelSpace

__all__ = ["PairwiseFit", "Verdicts", "better_annotation", "fit_bradley_terry"]
FIRST_SD, OWN_SD, TIE_SD = 2.0, 0.5, 2.0  # prior spread, in nats: advantage of the first, of a judge alone, ties
RELIABLE, UNRELIABLE = 8.0, 1.0  # pseudo-answers for and against each judge: Beta(9, 2)
Sides = list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]  # see _Model.sides
DENSE = 1000  # unknowns up to which matrices are dense


@dataclass(frozen=True, eq=False)
class PairwiseFit:
    """What comparisons tell about K objects and A judges.

    score: (K,) in nats, mean 0; score[i] - score[j] are the log-odds that i is preferred to j.   se: (K,) standard errors.
    reliability: (A,) probability that a judge goes by the order of the scores; below 0.5 the judge turns it around; all 1 with
    judges=False.   first: (A,) log-odds advantage of what the judge is shown first; 0 where it is not estimated.
    tie: log-weight of a tie, -inf where there was none.   prior_sd: spread of the scores.   trace: log posterior per step,
    never falling.   notes: what could not be told.
    """

    score: np.ndarray
    se: np.ndarray
    reliability: np.ndarray
    first: np.ndarray
    tie: float
    prior_sd: float
    space: LabelSpace
    trace: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def probability(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Probability that class ids `a` are preferred to `b` by a reliable judge, order aside, where it is no tie."""
        return np.asarray(_sigmoid(self.score[a] - self.score[b]))

    def ranking(self) -> np.ndarray:
        """(K,) class ids, best first."""
        return np.argsort(-self.score, kind="stable")


def fit_bradley_terry(
    comparisons: Comparisons,
    *,
    judges: bool = True,
    position: bool | None = None,
    prior_sd: float | None = None,
    max_iter: int = 200,
    tol: float = 1e-6,
) -> PairwiseFit:
    """Scores of the compared objects, by EM over whether a judge went by their order.

    Args:
        comparisons: who preferred what; `a` was shown first.
        judges: estimate each judge's reliability; False believes all alike, which is plain Bradley-Terry.
        position: estimate the advantage of the first; None does so if the objects were compared in both places, because
            otherwise it cannot be told from the scores.
        prior_sd: spread of the scores around their mean, in nats; None estimates it.
        max_iter, tol: stop after so many steps, or when the log posterior gains less than `tol` per comparison.

    Raises:
        LabelError: no comparisons.   OptionError: prior_sd not above 0, max_iter below 1.

    >>> c = Comparisons.from_columns([1, 2, 3], ["ann"] * 3, ["x", "y", "x"], ["y", "z", "z"], ["x", "y", "x"])
    >>> fit = fit_bradley_terry(c, judges=False)
    >>> [c.space.classes[i] for i in fit.ranking()]
    ['x', 'y', 'z']
    """
    check_whole("max_iter", max_iter, 1)
    if prior_sd is not None and not prior_sd > 0:
        raise OptionError(found=f"prior_sd={prior_sd!r}", expected="a number above 0", fix="pass prior_sd=1.0, or None")
    if not len(comparisons):
        raise LabelError(found="no comparisons", expected="at least one", fix="pass the comparisons of the judges")
    told = _order_told(comparisons)
    model = _Model(comparisons, judges, told >= 0.25 if position is None else position)
    state = model.start(prior_sd or 1.0)
    for _ in range(1 if prior_sd is not None else 20):
        state, trace = _climb(model, state, max_iter, tol * len(comparisons))
        variance = model.variance(state)
        total = float((state.x[: model.k] ** 2 + variance).sum())  # K - 1 free scores, and two pseudo-scores of 1
        spread = ((total + 2) / (model.k + 1)) ** 0.5
        if prior_sd is not None or abs(spread / state.sd - 1) < 0.02:
            break
        state = _State(state.x, state.reliability, spread)
    notes = []
    if told < 0.25:
        said = "is not estimated" if not model.position else "rests on its prior"
        notes.append(f"the advantage of the first {said}: too few objects were compared in both places")
    if model.size + model.n_judges > DENSE:
        notes.append("standard errors are estimated from random probes")
    score, first, tie = model.unpack(state.x)
    se = np.sqrt(variance)
    return PairwiseFit(score, se, state.reliability, first, tie, state.sd, comparisons.space, trace, notes)


def _climb(model: _Model, state: _State, max_iter: int, least: float) -> tuple[_State, list[float]]:
    """Steps until the gain is below `least`."""
    trace = [model.objective(state)]
    for _ in range(max_iter):
        state, value = model.step(state, trace[-1])
        trace.append(value)
        if trace[-1] - trace[-2] < least:
            return state, trace
    warnings.warn(
        f"Bradley-Terry stopped after {max_iter} steps, the last gained {trace[-1] - trace[-2]:.2g}; raise max_iter",
        LabelwrightWarning,
        stacklevel=3,
    )
    return state, trace


def _order_told(c: Comparisons) -> float:
    """How far the advantage of the first can be told from the scores, in [0, 1]: the share of a constant that no scores can
    reproduce as differences of the first and the second. 1 if all pairs are shown in both orders, 0 without any cycle."""
    from scipy.sparse import eye_array

    differences = _Model(c, judges=False, position=False).signed[0][:, : len(c.space)]
    ones, ridge = np.ones(len(c)), 1e-6 * eye_array(len(c.space))
    fitted = differences @ _solve((differences.T @ differences + ridge).tocsr(), differences.T @ ones)
    return float(((ones - fitted) ** 2).mean())


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(x / 2))


@dataclass(frozen=True, eq=False)
class _State:
    """x: (P,) scores, own position effects of the judges, common one, tie.   reliability: (A,).   sd: of the scores."""

    x: np.ndarray
    reliability: np.ndarray
    sd: float


class _Model:
    """Likelihood and prior of `fit_bradley_terry`. Unknowns in one vector: K scores, then A own and one common advantage of the
    first (with position), then the log-weight of ties (if there are any)."""

    def __init__(self, c: Comparisons, judges: bool, position: bool):
        self.a, self.b, self.judge, self.space = c.a, c.b, c.annotator, c.space
        self.k, self.n_judges = len(c.space), len(c.annotators)
        self.judges, self.position, self.tied = judges, position, bool((c.preferred < 0).any())
        self.outcome = np.where(c.preferred == c.a, 0.5, np.where(c.preferred == c.b, -0.5, 0.0))
        self.is_tie = (c.preferred < 0).astype(np.float64)
        self.heard = np.bincount(c.annotator, minlength=self.n_judges)
        self.size = self.k + (self.n_judges + 1 if position else 0) + self.tied
        self.signed = [self._design(sign) for sign in (1.0, -1.0)]

    def start(self, sd: float) -> _State:
        best = (RELIABLE / (RELIABLE + UNRELIABLE)) if self.judges else 1.0
        return _State(np.zeros(self.size), np.full(self.n_judges, best), sd)

    def precision(self, sd: float) -> np.ndarray:
        """(P,) prior precision."""
        parts = [np.full(self.k, sd**-2)]
        if self.position:
            parts += [np.full(self.n_judges, OWN_SD**-2), np.full(1, FIRST_SD**-2)]
        return np.concatenate([*parts, np.full(int(self.tied), TIE_SD**-2)])

    def unpack(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """score (K,), first (A,), tie."""
        first = (
            x[self.k : self.k + self.n_judges] + x[self.k + self.n_judges] if self.position else np.zeros(self.n_judges)
        )
        return x[: self.k], first, float(x[-1]) if self.tied else -np.inf

    def sides(self, x: np.ndarray) -> Sides:
        """For both signs: log-likelihood, mean and variance of the outcome in {1/2, 0, -1/2}, probability of a tie; each (C,)."""
        score, first, tie = self.unpack(x)
        out = []
        for sign in (1, -1):
            z = sign * (score[self.a] - score[self.b]) + first[self.judge]
            half = np.abs(z) / 2
            log_sum = half + np.log(1 + np.exp(-2 * half) + np.exp(tie - half))
            p_a, p_b, p_tie = (np.exp(v - log_sum) for v in (z / 2, -z / 2, tie))
            mean = (p_a - p_b) / 2
            spent = self.is_tie * (tie if self.tied else 0.0)
            out.append((self.outcome * z + spent - log_sum, mean, (p_a + p_b) / 4 - mean**2, p_tie))
        return out

    def mixture(self, state: _State) -> tuple[np.ndarray, np.ndarray, Sides]:
        """log-likelihood (C,), responsibility of the + sign (C,), and `sides`."""
        sides = self.sides(state.x)
        if not self.judges:
            return sides[0][0], np.ones(len(self.a)), sides
        eta = state.reliability[self.judge]
        plus, minus = np.log(eta) + sides[0][0], np.log1p(-eta) + sides[1][0]
        both = np.logaddexp(plus, minus)
        return both, np.exp(plus - both), sides

    def objective(self, state: _State) -> float:
        """Log posterior, up to a constant."""
        prior = -0.5 * (self.precision(state.sd) * state.x**2).sum()
        eta = state.reliability
        quality = (RELIABLE * np.log(eta) + UNRELIABLE * np.log1p(-eta)).sum() if self.judges else 0.0
        return float(self.mixture(state)[0].sum() + prior + quality)

    def step(self, state: _State, before: float) -> tuple[_State, float]:
        """One EM step: reliability in closed form, then a Newton step for the rest, halved until it does not lose."""
        _, plus, sides = self.mixture(state)
        reliability = state.reliability
        if self.judges:
            right = np.bincount(self.judge, plus, minlength=self.n_judges)
            reliability = (right + RELIABLE) / (self.heard + RELIABLE + UNRELIABLE)
        gradient, hessian = self._curvature(state, plus, sides)
        move = _solve(hessian, gradient)
        for _ in range(30):
            new = _State(state.x + move, reliability, state.sd)
            value = self.objective(new)
            if value >= before:
                return new, value
            move = move / 2
        return state, before

    def variance(self, state: _State) -> np.ndarray:
        """(K,) posterior variances of the scores around their mean, the reliabilities among the unknowns: from the inverse of the
        observed information (Louis 1982)."""
        _, plus, sides = self.mixture(state)
        _, told = self._curvature(state, plus, sides)
        if self.judges:
            from scipy.sparse import block_array, diags_array

            eta = state.reliability
            worth = diags_array((self.heard + RELIABLE + UNRELIABLE) * eta * (1 - eta))
            apart, spread = self._scores(sides), diags_array(plus * (1 - plus))
            told = (block_array([[told, None], [None, worth]]) - apart.T @ spread @ apart).tocsr()
        return np.maximum(_centred_variance(told, self.k), 0)

    def _design(self, sign: float) -> Any:
        """(C, P) sparse: how each log-odds depends on the unknowns, for one sign."""
        from scipy.sparse import csr_array

        c = np.arange(len(self.a))
        rows, cols, values = [c, c], [self.a, self.b], [np.full(len(c), sign), np.full(len(c), -sign)]
        if self.position:
            rows, values = [*rows, c, c], [*values, np.ones(len(c)), np.ones(len(c))]
            cols += [self.k + self.judge, np.full(len(c), self.k + self.n_judges)]
        entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(cols)))
        return csr_array(entries, shape=(len(c), self.size))

    def _curvature(self, state: _State, plus: np.ndarray, sides: Sides) -> tuple[np.ndarray, Any]:
        """Gradient (P,) of the log posterior and (P, P) sparse negative Hessian of its expected complete form."""
        from scipy.sparse import coo_array, diags_array

        precision = self.precision(state.sd)
        gradient, hessian = -precision * state.x, diags_array(precision).tocsr()
        for weight, x, (_, mean, variance, p_tie) in zip((plus, 1 - plus), self.signed, sides, strict=True):
            gradient += x.T @ (weight * (self.outcome - mean))
            hessian = hessian + x.T @ diags_array(weight * variance) @ x
            if self.tied:
                gradient[-1] += (weight * (self.is_tie - p_tie)).sum()
                cross = -(x.T @ (weight * mean * p_tie))
                cross[-1] = (weight * p_tie * (1 - p_tie)).sum() / 2
                at, last = np.arange(self.size), np.full(self.size, self.size - 1)
                edge = coo_array((cross, (at, last)), shape=hessian.shape)
                hessian = hessian + edge + edge.T
        return gradient, hessian.tocsr()

    def _scores(self, sides: Sides) -> Any:
        """(C, P + A) sparse: score of each comparison under the + sign, less that under the - sign."""
        from scipy.sparse import csr_array, diags_array, hstack

        (_, mean, _, p_tie), (_, other, _, other_tie) = sides
        c = np.arange(len(self.a))
        x = diags_array(self.outcome - mean) @ self.signed[0] - diags_array(self.outcome - other) @ self.signed[1]
        if self.tied:
            x = x + csr_array((other_tie - p_tie, (c, np.full(len(c), self.size - 1))), shape=x.shape)
        return hstack([x, csr_array((np.ones(len(c)), (c, self.judge)), shape=(len(c), self.n_judges))])


def _solve(matrix: Any, right: np.ndarray) -> np.ndarray:
    """matrix^-1 right, for a sparse positive definite matrix."""
    if matrix.shape[0] <= DENSE:
        return np.linalg.solve(matrix.toarray(), right)
    from scipy.sparse import diags_array
    from scipy.sparse.linalg import cg

    return cg(matrix, right, rtol=1e-8, M=diags_array(1 / matrix.diagonal()))[0]


def _centred_variance(matrix: Any, k: int, probes: int = 100) -> np.ndarray:
    """(k,) diagonal of the inverse's first block, taken around its mean; of large matrices an estimate from random signs (Bekas,
    Kokiopoulou and Saad 2007)."""
    if matrix.shape[0] <= DENSE:
        block = np.linalg.inv(matrix.toarray())[:k, :k]
        return np.diag(block - block.mean(0) - block.mean(1)[:, None] + block.mean())
    rng, total = np.random.default_rng(0), np.zeros(k)
    for _ in range(probes):
        sign = np.zeros(matrix.shape[0])
        sign[:k] = rng.choice([-1.0, 1.0], k)
        told = _solve(matrix, np.append(sign[:k] - sign[:k].mean(), sign[k:]))[:k]
        total += sign[:k] * (told - told.mean())
    return total / probes
