"""The model of given numbers: which are wrong, and how likely that is.

For every item there is a prediction f that never saw its value, combined from models and neighbours. Three readings of the
given value y compete, in units of the spread of all values:

- *good*: y = f + noise. The noise has heavy tails (Student t), may reach further to one side than to the other, and its scale
  s differs from item to item: log s is a linear function of how large residuals are at this level of f, among the nearest
  items, and of how far the models disagree (Harvey 1976), each without the item itself.
- *bad*: y has nothing to do with the item, so it is a draw from all values; or it was moved from where it belongs. The first
  is a t around their median, wider than they are by BROADER, as a wrong value may lie beyond all right ones; the second a
  Cauchy around f. Likelihood cannot tell the two apart, and either alone ranks the other's faults badly; but a value from
  elsewhere is far from f because f is high where it is low, a moved one wherever f is (`_unrelated`).
- *unit*: y is a right value times a constant factor. A factor is taken up only where the likelihood asks for it.

The shares and the noise are fitted by EM; quality = p(good | y). Residuals hardly tell a few bad values from the tail of the
noise, so the share of bad values has a prior of mean PRIOR_BAD that weighs as much as PRIOR_WEIGHT of the data: the
order is what to trust; measured, the expected number of bad values is between 0.3 and 1.9 times the true one. With
predictions made here, values that are probably bad leave the training, and all are predicted a second time.
BROADER, RIDGE and the priors were chosen on planted faults (benchmarks/audit_values.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

BROADER = 1.5  # spread of the wrong values over the spread of all
WIDE = 2.0  # scale of the Cauchy of moved values, in spreads
FARTHEST = 0.02  # share of the items, by residual over scale, that tell how values went wrong; at least ten items
TAILS = (4.0, 8.0, 30.0)  # degrees of freedom of the noise; the likeliest is taken
PRIOR_BAD, PRIOR_WEIGHT = 0.05, 1.0
RIDGE = 100.0  # pseudo-observations that hold the scale to a constant
FACTORS = (10.0, 100.0, 1000.0, 0.1, 0.01, 0.001, 2.54, 1 / 2.54, -1.0)


class ValueFit(NamedTuple):
    """prediction (N,); good (N,) P(the value is right), NaN = missing; scale (N,) of the noise, NaN = missing; skew: the two
    factors of the scale below and above the prediction; tail: degrees of freedom; bad_share; loglik (N,) of the values."""

    prediction: np.ndarray
    good: np.ndarray
    scale: np.ndarray
    skew: np.ndarray
    tail: float
    bad_share: float
    loglik: np.ndarray


def fit_values(
    z: np.ndarray, predicted: np.ndarray, neighbours: np.ndarray | None = None, *, rounds: int = 3
) -> ValueFit:
    """The model of the head of this file.

    z: (N,) values less their median, over their robust standard deviation; NaN = missing.   predicted: (N, M) in the same
    units.   neighbours: (N, k) row numbers, -1 = none.   rounds: of prediction, scale and shares.
    """
    known = ~np.isnan(z)
    good, y = known.astype(float), z[known]
    for _ in range(rounds):
        f = _combined(z, predicted, neighbours, good)
        s = _scale(z - f, f, predicted, neighbours, good)[known]
        unrelated = _unrelated(y, y - f[known], s)
        fits = [_mixture(y, y - f[known], s, tail, unrelated) for tail in TAILS]
        best = max(fits, key=lambda fit: fit[0])
        good[known] = best[1]
    quality, scale, loglik = (np.full(len(z), np.nan) for _ in range(3))
    quality[known], scale[known], loglik[known] = best[1], s, best[4]
    return ValueFit(f, quality, scale, best[2], TAILS[fits.index(best)], best[3], loglik)


def _shrunk_fit(
    a: np.ndarray, y: np.ndarray, weight: np.ndarray, prior: np.ndarray, strength: np.ndarray
) -> np.ndarray:
    """(P,) coefficients of y on the columns of a (n, P): Huber's loss by reweighting, each held to its prior by `strength`
    pseudo-observations."""
    b = prior.copy()
    for _ in range(30):
        r = np.abs(y - a @ b)
        bend = 1.345 * 1.4826 * np.median(r)
        w = weight * np.minimum(1, bend / np.maximum(r, 1e-12)) if bend > 0 else weight
        new = np.linalg.solve((a * w[:, None]).T @ a + np.diag(strength), a.T @ (w * y) + strength * prior)
        moved, b = np.abs(new - b).max(), new
        if moved < 1e-9:
            break
    return b


def _combined(z: np.ndarray, predicted: np.ndarray, neighbours: np.ndarray | None, good: np.ndarray) -> np.ndarray:
    """(N,) one prediction from the models and the median of the neighbours that are believed; near the mean of the models
    while there is little data."""
    known, m = ~np.isnan(z), predicted.shape[1]
    predicted = predicted - np.median(predicted[known] - z[known, None], axis=0)  # an offset is nobody's prior
    columns, prior = [np.ones(len(z)), *predicted.T], [0.0, *[1 / m] * m]
    if neighbours is not None:
        columns.append(_near_median(np.where(good >= 0.5, z, np.nan), neighbours, predicted.mean(1)))
        prior.append(0.0)
    a, strength = np.stack(columns, 1), np.array([2.0] + [20.0] * (len(columns) - 1))
    return a @ _shrunk_fit(a[known], z[known], good[known], np.array(prior), strength)


def _near_median(v: np.ndarray, neighbours: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """(N,) the median of v over the neighbours, those that are NaN or -1 left out; `otherwise` where none is left."""
    near = np.where(neighbours >= 0, v[neighbours], np.nan)
    none = np.isnan(near).all(1)
    near[none, 0] = otherwise[none]
    return np.asarray(np.nanmedian(near, axis=1))


def _scale(
    r: np.ndarray, f: np.ndarray, predicted: np.ndarray, neighbours: np.ndarray | None, good: np.ndarray
) -> np.ndarray:
    """(N,) how large the noise of an item is beside that of the others (geometric mean 1), NaN = missing."""
    known = np.flatnonzero(~np.isnan(r))
    size, trust = np.abs(r[known]), good[known]
    size = np.minimum(size, 5 * np.median(size))
    floor = 0.01
    columns = [np.log(_running_mean(f[known], size, trust, max(60, 4 * int(len(known) ** 0.5))) + floor)]
    if neighbours is not None:
        here = np.full(len(r), np.nan)
        here[known] = np.where(trust >= 0.5, size, np.nan)
        typical = np.full(len(r), float(np.median(size)))
        columns.append(np.log(_near_median(here, neighbours, typical)[known] + floor))
    if predicted.shape[1] > 1:
        columns.append(np.log(predicted[known].std(axis=1) + floor))
    a = np.stack([c - c.mean() for c in columns], 1)
    a = np.column_stack([np.ones(len(known)), a])
    target, strength = np.log(size + floor), np.array([0.0] + [RIDGE] * len(columns))
    b = _shrunk_fit(a, target, trust + 1e-9, np.array([target.mean()] + [0.0] * len(columns)), strength)
    out = np.full(len(r), np.nan)
    out[known] = np.exp(a[:, 1:] @ b[1:])
    return out


def _running_mean(order_by: np.ndarray, v: np.ndarray, weight: np.ndarray, width: int) -> np.ndarray:
    """(n,) weighted mean of v over about `width` items around each in the order of `order_by`, the item itself left out."""
    n, order = len(v), np.argsort(order_by, kind="stable")
    half = min(width, n - 1) // 2
    w = weight[order] + 1e-9
    total, mass = (np.concatenate([[0.0], np.cumsum(c)]) for c in (w * v[order], w))
    first = np.clip(np.arange(n) - half, 0, n - 1 - 2 * half)
    last = first + 2 * half + 1
    out = np.empty(n)
    out[order] = (total[last] - total[first] - w * v[order]) / (mass[last] - mass[first] - w)
    return np.maximum(out, 0.0)


def _log_t(x: np.ndarray, tail: float, scale: Any) -> np.ndarray:
    """Log density of Student's t with `tail` degrees of freedom."""
    from scipy.special import gammaln

    constant = gammaln((tail + 1) / 2) - gammaln(tail / 2) - 0.5 * np.log(tail * np.pi)
    return np.asarray(constant - np.log(scale) - (tail + 1) / 2 * np.log1p((x / scale) ** 2 / tail))


def _log_noise(r: np.ndarray, s: np.ndarray, skew: np.ndarray, tail: float) -> np.ndarray:
    """Log density of the noise: a t with scale s * skew[0] below zero and s * skew[1] above, continuous at zero."""
    side = np.where(r > 0, skew[1], skew[0])
    return _log_t(r, tail, s * side) + np.log(side / skew.mean())


def _unrelated(y: np.ndarray, r: np.ndarray, s: np.ndarray) -> float:
    """Share of the bad values that have nothing to do with their items, the others being moved.

    Among the farthest residuals the slope of f on r is 0 for moved values, and -var f / (var f + var y) for draws from
    elsewhere, as then r = y - f is made of two independent parts. Drawn towards 1/2 by a normal prior of deviation 1/2.
    """
    f, spread = y - r, 1.4826 * float(np.median(np.abs(y - np.median(y))))
    far = np.argsort(-np.abs(r) / s, kind="stable")[: max(10, round(FARTHEST * len(y)))]
    expected, size = float(f.var()) / max(float(f.var()) + spread**2, 1e-12), float((r[far] ** 2).sum())
    if expected < 1e-6 or size == 0:
        return 0.5
    share = -float(((f[far] - np.median(f)) * r[far]).sum()) / size / expected
    precision = expected**2 * size / float(f.var())
    return float(np.clip((share * precision + 0.5 * 4) / (precision + 4), 0.02, 0.98))


def _mixture(
    y: np.ndarray, r: np.ndarray, s: np.ndarray, tail: float, unrelated: float
) -> tuple[float, np.ndarray, np.ndarray, float, np.ndarray]:
    """EM for the share of bad values and the skewed scale of the noise: penalised log-likelihood, P(good) (n,), skew (2,),
    share, log-likelihood of each value (n,). M step of the scales: s_k^3 = (s_0 + s_1) / n * sum of weighted squares."""
    n, above = len(y), r > 0
    bad = np.logaddexp(
        np.log(unrelated) + _log_t(y, 4.0, BROADER), np.log1p(-unrelated) + _log_t(r, 1.0, WIDE)
    )  # fmt: skip
    few = PRIOR_WEIGHT * n * np.array([PRIOR_BAD, 1 - PRIOR_BAD])
    share, skew = PRIOR_BAD, np.full(2, max(1.4826 * float(np.median(np.abs(r / s))), 1e-3))
    for _ in range(500):
        noise = np.log1p(-share) + _log_noise(r, s, skew, tail)
        each = np.logaddexp(noise, np.log(share) + bad)
        good = np.exp(noise - each)
        z = r / (s * np.where(above, skew[1], skew[0]))
        square = good * (tail + 1) / (tail + z**2) * (r / s) ** 2
        both = 5 * (skew**2).mean()  # five typical residuals on either side, so that few items make no skew
        root = np.cbrt(np.array([square[~above].sum(), square[above].sum()]) + both)
        new = np.maximum(root * np.sqrt(root.sum() / (good.sum() + 10)), 1e-3)
        new_share = ((1 - good).sum() + few[0]) / (n + few.sum())
        moved = max(float(np.abs(new / skew - 1).max()), abs(new_share / share - 1))
        skew, share = new, float(new_share)
        if moved < 1e-6:
            break
    return float(each.sum() + few @ np.log([share, 1 - share])), good, skew, share, each


def judge(
    y: np.ndarray, units: tuple[float, float], predicted: np.ndarray, neighbours: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, ValueFit]:
    """P(good) (N,), factor (N,) of likely unit mistakes, else NaN, and the fit, in which those stand corrected."""
    centre, scale = units
    fit = fit_values((y - centre) / scale, predicted, neighbours)
    good, factor = _units(y, centre, scale, fit)
    unit = ~np.isnan(factor)
    if unit.any():
        fit = fit_values((np.where(unit, y / factor, y) - centre) / scale, predicted, neighbours)
        good = np.where(unit, good, fit.good)
    return good, factor, fit


def _units(y: np.ndarray, centre: float, scale: float, fit: ValueFit) -> tuple[np.ndarray, np.ndarray]:
    """P(good) (N,) beside unit mistakes, and the factor (N,) of each value that most probably is one, else NaN.

    A factor joins while it raises the log-likelihood by more than log N + 5, and by 2 more than the same factor times or over
    1.25 would (a long tail of the noise likes any factor; a unit is exact), for at least three values; at most two.
    """
    known = np.flatnonzero(~np.isnan(y))
    v, f, s, each = y[known], fit.prediction[known], fit.scale[known], fit.loglik[known]
    good, factor, likeliest = fit.good.copy(), np.full(len(y), np.nan), np.full(len(known), 0.5)

    def gain(c: float) -> tuple[float, np.ndarray, np.ndarray]:
        """Rise of the log-likelihood, P(value is a right one times c), new log-likelihood of each value."""
        unit, share = _log_noise((v / c - centre) / scale - f, s, fit.skew, fit.tail) - np.log(abs(c)), 0.02
        for _ in range(50):
            new = np.logaddexp(np.log1p(-share) + each, np.log(share) + unit)
            p = np.exp(np.log(share) + unit - new)
            share = max(float(p.mean()), 1e-9)
        return float((new - each).sum()), p, new

    for _ in range(2):
        best = max(FACTORS, key=lambda c: gain(c)[0])
        rise, p, new = gain(best)
        needed = max(np.log(len(v)) + 5, 2 + gain(best * 1.25)[0], 2 + gain(best / 1.25)[0])
        if rise < needed or (p > 0.5).sum() < 3:
            break
        good[known] *= 1 - p
        factor[known[p > likeliest]] = best
        likeliest, each = np.maximum(likeliest, p), new
    return good, factor
