"""Numbers given by several people: the value of each item, and the bias, scale and noise of each annotator.

    score = bias[j] + scale[j] * value[i] + noise[j] * spread * e,   e standard normal

Values and biases are normal around common means, noise levels inverse-gamma around a common one, scales Student's t around 1; how
far all of them vary is learnt (empirical Bayes). Who answers at random gets a large noise, who always answers the same a scale
near 0; neither moves the values, and the heavy tails of the scales' prior keep such people from shifting the scale of the others.
The spread is 1, or unknown, with 1 / spread^2 gamma around 1: one per item (people disagree more about some items than about
others) or one per score (gross errors). Fitted by variational EM, every step of which raises one lower bound of the
log-likelihood.

Sources: Raykar et al. 2010, section 5 (numeric scores: annotators with a precision); Lange, Little and Taylor 1989 (Student's t
by EM); Bishop 2006, chapter 10 (mean-field bounds).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.errors import DataError, LabelwrightWarning, OptionError, check_option, check_whole, rows
from labelwright.labels.votes import _codes

if TYPE_CHECKING:
    import pyarrow as pa

DEGREES = (1.0, 2.0, 3.0, 4.0, 6.0, 10.0, 30.0, 1e6)  # of freedom of the spread, to choose from; the last makes it 1
TAILS = 2.0  # degrees of freedom of the scales' prior
DENSE = 2000  # annotators up to which what is not known of them together widens the values' sd
SHAPE = 2.0  # of the inverse-gamma of noise variances: their prior is worth 4 scores


@dataclass(frozen=True, eq=False)
class ScoreFit:
    """What N items are worth, in the units of the scores.

    items: (N,) keys in first-seen order.   value: (N,) posterior means.   sd: (N,) standard deviations of the values, biases and
    scales being unknown too.   freedom: (N,) degrees of freedom of the intervals.
    annotators: a row per annotator: annotator, scores, bias, scale, noise, share (of the variance of its scores that follows the
    values; near 0 for a spammer).   degrees: of freedom of the spread.   trace: lower bound per step, never falling.
    """

    items: np.ndarray
    value: np.ndarray
    sd: np.ndarray
    freedom: np.ndarray
    annotators: pa.Table
    degrees: float
    trace: list[float] = field(default_factory=list)

    def interval(self, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """(low, high) (N,) that hold the value with probability `level`."""
        from scipy.special import stdtrit

        if not 0 < level < 1:
            raise OptionError(found=f"level={level!r}", expected="a number between 0 and 1", fix="pass level=0.9")
        reach = stdtrit(self.freedom, (1 + level) / 2) * self.sd
        return self.value - reach, self.value + reach


def fit_scores(
    item: Any,
    annotator: Any,
    score: Any,
    *,
    spread: str | None = None,
    degrees: float | None = None,
    max_iter: int = 500,
    tol: float = 1e-6,
) -> ScoreFit:
    """Values of the items from scores (V,) of `annotator` (V,) on `item` (V,).

    Args:
        item, annotator: keys, strings or integers.
        score: finite numbers, in any unit.
        spread: None, if scores are equally far off everywhere; "item", if disagreement differs from item to item; "score", if
            single scores are gross errors. Where scores pile up at one end of their scale (many 0 of 100) keep None: a spread
            believes the pile too much, and a score far from it is often no error.
        degrees: of freedom of the spread, > 0; None chooses.
        max_iter, tol: stop after so many steps, or when the bound gains less than `tol` per score (of 100 at least).

    Raises:
        DataError: no scores, columns of different lengths, a score that is no finite number.   OptionError: an unknown spread,
        degrees not above 0, max_iter below 1.

    >>> fit = fit_scores([1, 1, 2, 2, 3, 3], ["ann", "bob"] * 3, [10, 12, 50, 49, 90, 95])
    >>> fit.value.argsort().tolist()
    [0, 1, 2]
    """
    if spread is not None:
        check_option("spread", spread, ["item", "score"])
    check_whole("max_iter", max_iter, 1)
    if degrees is not None and not degrees > 0:
        raise OptionError(found=f"degrees={degrees!r}", expected="a number above 0", fix="pass degrees=4.0, or None")
    (i, items), (j, names), y = _codes(item, "item"), _codes(annotator, "annotator"), _numbers(score)
    if not len(y) or not len(i) == len(j) == len(y):
        raise DataError(
            found=f"{len(i)} items, {len(j)} annotators, {len(y)} scores",
            expected="one entry per score in each column, and at least one",
            fix="take the columns from one table",
        )
    middle, unit = float(y.mean()), float(y.std()) or 1.0
    grid = DEGREES[-1:] if spread is None else DEGREES if degrees is None else (float(degrees),)
    group = np.arange(len(y)) if spread == "score" else i
    model = _Model(i, j, (y - middle) / unit, group, len(items), len(names), grid)
    state, trace = _climb(model, max_iter, tol * max(len(y), 100))
    table = _annotators(model, state, names, middle, unit)
    freedom = state.degrees + np.bincount(i) if spread == "item" else np.full(len(items), DEGREES[-1])
    sd = unit * np.sqrt(model.variance(state))
    return ScoreFit(items, middle + unit * state.m, sd, freedom, table, state.degrees, trace)


@dataclass(frozen=True, eq=False)
class _State:
    """m, s2: (N,) mean and variance of the values.   ab: (A, 2) mean of (scale, bias), cov: (A, 2, 2).   rate: (A,) 1 / noise^2.
    mu, tau2: of the values.   a2, b2: variances of scales and biases.   noise2: common noise variance.   degrees: of freedom."""

    m: np.ndarray
    s2: np.ndarray
    ab: np.ndarray
    cov: np.ndarray
    rate: np.ndarray
    mu: float = 0.0
    tau2: float = 0.5
    a2: float = 0.1
    b2: float = 0.1
    noise2: float = 0.5
    degrees: float = 4.0


@dataclass(frozen=True, eq=False)
class _Model:
    """V standardised scores y of annotators j on items i; those of one group share a spread."""

    i: np.ndarray
    j: np.ndarray
    y: np.ndarray
    group: np.ndarray
    n: int
    n_annotators: int
    grid: tuple[float, ...]

    def start(self) -> _State:
        a = self.n_annotators
        count = np.bincount(self.i, minlength=self.n)
        mean = np.bincount(self.i, self.y, minlength=self.n) / (count + 1)
        degrees = self.grid[min(2, len(self.grid) - 1)]
        ab, cov = np.tile([1.0, 0.0], (a, 1)), np.tile(0.01 * np.eye(2), (a, 1, 1))
        return _State(mean, 0.5 / (count + 1), ab, cov, np.full(a, 2.0), degrees=degrees)

    def square(self, s: _State) -> np.ndarray:
        """(V,) expected squared noise."""
        m, s2, ab, cov = s.m[self.i], s.s2[self.i], s.ab[self.j], s.cov[self.j]
        spread = cov[:, 1, 1] + 2 * m * cov[:, 0, 1] + m**2 * cov[:, 0, 0] + s2 * (ab[:, 0] ** 2 + cov[:, 0, 0])
        return (self.y - ab[:, 1] - ab[:, 0] * m) ** 2 + spread

    def weight(self, s: _State) -> np.ndarray:
        """(V,) expected precision of each score: where the spread is large, scores count less."""
        strain, size = self.strain(s)
        return s.rate[self.j] * ((s.degrees + size) / (s.degrees + strain))[self.group]

    def strain(self, s: _State) -> tuple[np.ndarray, np.ndarray]:
        """Of each group: sum of squares in units of the annotators' noise, and its number of scores."""
        return np.bincount(self.group, s.rate[self.j] * self.square(s)), np.bincount(self.group)

    def step(self, s: _State) -> _State:
        """One round of coordinate ascent; no part of it lowers `bound`."""
        w, (a, b), cov = self.weight(s), s.ab[self.j].T, s.cov[self.j]
        precision = 1 / s.tau2 + np.bincount(self.i, w * (a**2 + cov[:, 0, 0]), minlength=self.n)
        pull = s.mu / s.tau2 + np.bincount(self.i, w * (a * (self.y - b) - cov[:, 0, 1]), minlength=self.n)
        s = replace(s, m=pull / precision, s2=1 / precision)
        s = replace(s, mu=float(s.m.mean()), tau2=max(float((s.s2 + (s.m - s.m.mean()) ** 2).mean()), 1e-8))
        s = self._annotators(s)
        w = self.weight(s)
        heard = np.bincount(self.j, minlength=self.n_annotators)
        squares = np.bincount(self.j, w / s.rate[self.j] * self.square(s), minlength=self.n_annotators)
        s = replace(s, rate=(heard / 2 + SHAPE) / (squares / 2 + SHAPE * s.noise2))
        s = replace(s, noise2=max(float(1 / s.rate.mean()), 1e-8))
        return max((replace(s, degrees=d) for d in {*self.grid, s.degrees}), key=self._likelihood)

    def _annotators(self, s: _State) -> _State:
        """Scales and biases, then their spreads."""
        w, m = self.weight(s), s.m[self.i]
        sums = {
            name: np.bincount(self.j, w * x, minlength=self.n_annotators)
            for name, x in {"1": 1.0, "m": m, "mm": m**2 + s.s2[self.i], "y": self.y, "my": m * self.y}.items()
        }
        precision = np.empty((self.n_annotators, 2, 2))
        near = self.nearness(s)
        precision[:, 0, 0], precision[:, 1, 1] = sums["mm"] + near, sums["1"] + 1 / s.b2
        precision[:, 0, 1] = precision[:, 1, 0] = sums["m"]
        cov = np.linalg.inv(precision)
        ab = np.einsum("axy,ay->ax", cov, np.stack([sums["my"] + near, sums["y"]], axis=1))
        s = replace(s, ab=ab, cov=cov)
        far = (ab[:, 0] - 1) ** 2 + cov[:, 0, 0]
        a2 = max(float((self.nearness(s) * s.a2 * far).mean()), 1e-6)
        b2 = max(float((ab[:, 1] ** 2 + cov[:, 1, 1]).mean()), 1e-6)
        return replace(s, a2=a2, b2=b2)

    def nearness(self, s: _State) -> np.ndarray:
        """(A,) expected prior precision of the scales: low for those far from 1."""
        far = (s.ab[:, 0] - 1) ** 2 + s.cov[:, 0, 0]
        return (TAILS + 1) / (TAILS * s.a2 + far)

    def _likelihood(self, s: _State) -> float:
        """Bound of the scores' log-likelihood given the rest: each group's multivariate t at the expected squares."""
        from scipy.special import gammaln

        d, (strain, size) = s.degrees, self.strain(s)
        const = gammaln((d + size) / 2) - gammaln(d / 2) - size / 2 * np.log(np.pi * d)
        terms = const - (d + size) / 2 * np.log1p(strain / d)
        return float(terms.sum() + 0.5 * np.log(s.rate[self.j]).sum())

    def bound(self, s: _State) -> float:
        """Lower bound of the log-likelihood, with the prior of the noise levels."""
        values = 0.5 * (np.log(s.s2 / s.tau2) + 1 - (s.s2 + (s.m - s.mu) ** 2) / s.tau2).sum()
        far = (s.ab[:, 0] - 1) ** 2 + s.cov[:, 0, 0]
        scales = -(TAILS + 1) / 2 * np.log1p(far / (TAILS * s.a2)) - 0.5 * np.log(s.a2)
        biases = -0.5 * ((s.ab[:, 1] ** 2 + s.cov[:, 1, 1]) / s.b2 + np.log(s.b2))
        people = (0.5 * np.linalg.slogdet(s.cov)[1] + scales + biases).sum()
        noise = SHAPE * (np.log(s.noise2 * s.rate) - s.noise2 * s.rate).sum()
        return float(self._likelihood(s) + values + people + noise)

    def variance(self, s: _State) -> np.ndarray:
        """(N,) variances of the values, all scales and biases and the mean and spread of the values being unknown: the block of
        the inverse of the joint (Gauss-Newton) information, by its Schur complement. With more than DENSE annotators, those of
        the mean field."""
        if self.n_annotators > DENSE:
            return s.s2
        from scipy.sparse import csr_array, diags_array, hstack

        w, m, a, k = self.weight(s), s.m[self.i], s.ab[self.j, 0], self.n_annotators
        entries = (np.concatenate([w * a * m, w * a]), (np.tile(self.i, 2), np.concatenate([self.j, self.j + k])))
        far = s.m - s.mu
        common = -np.stack([np.ones(self.n), far], axis=1) / s.tau2  # mean of the values, log of their spread
        cross = hstack([csr_array(entries, shape=(self.n, 2 * k)), csr_array(common)]).tocsr()
        values = 1 / s.tau2 + np.bincount(self.i, w * a**2, minlength=self.n)
        rest = np.zeros((2 * k + 2, 2 * k + 2))
        at = np.arange(k)
        rest[at, at] = np.bincount(self.j, w * m**2, minlength=k) + self.nearness(s)
        rest[at + k, at + k] = np.bincount(self.j, w, minlength=k) + 1 / s.b2
        rest[at, at + k] = rest[at + k, at] = np.bincount(self.j, w * m, minlength=k)
        rest[-2, -2], rest[-1, -1] = self.n / s.tau2, max((far**2).sum() / s.tau2, 1e-8)
        unknown = np.linalg.inv(rest - (cross.T @ diags_array(1 / values) @ cross).toarray())
        out, step = np.empty(self.n), max((1 << 22) // len(unknown), 1)
        for start in range(0, self.n, step):
            block = cross[start : start + step]
            out[start : start + step] = block.multiply(block @ unknown).sum(1)
        return 1 / values + out / values**2


def _climb(model: _Model, max_iter: int, least: float) -> tuple[_State, list[float]]:
    state = model.start()
    trace = [model.bound(state)]
    for _ in range(max_iter):
        state = model.step(state)
        trace.append(model.bound(state))
        if trace[-1] - trace[-2] < least:
            return state, trace
    warnings.warn(
        f"scores stopped after {max_iter} steps, the last gained {trace[-1] - trace[-2]:.2g}; raise max_iter",
        LabelwrightWarning,
        stacklevel=3,
    )
    return state, trace


def _annotators(model: _Model, s: _State, names: np.ndarray, middle: float, unit: float) -> pa.Table:
    import pyarrow as pa

    scale, noise2 = s.ab[:, 0], 1 / s.rate
    explained = scale**2 * s.tau2
    columns = {
        "scores": np.bincount(model.j, minlength=model.n_annotators),
        "bias": unit * s.ab[:, 1] + middle * (1 - scale),
        "scale": scale,
        "noise": unit * np.sqrt(noise2),
        "share": explained / (explained + noise2),
    }
    return pa.table({"annotator": names.tolist(), **columns})


def _numbers(score: Any) -> np.ndarray:
    y = np.asarray(score.to_pylist() if hasattr(score, "to_pylist") else score, dtype=np.float64).reshape(-1)
    bad = np.flatnonzero(~np.isfinite(y))
    if len(bad):
        raise DataError(
            found=f"{len(bad)} scores that are no finite number ({rows(bad)})",
            expected="a number per row",
            fix="drop the rows without a score",
        )
    return y
