"""Defects that lie in some of the rows: a column in two units, and blocks of labels that belong to other rows.

Both ask what the other columns say of a cell, by ridge regression with exact leave-one-out predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from labelwright.auditing.profile import Column

_UNITS = (
    1.609344, 2.20462, 2.54, 3.28084, 4.184, 12, 16, 28.3495, 30.48, 60, 25.4, 39.3701, 18.0156, 38.67, 88.57, 1024, 3600,
    10, 100, 1000, 10_000, 100_000, 1e6, 1e9,
)  # fmt: skip
_ROWS, _UNIT_ROWS = 4000, 1500  # rows that exchanged labels and units are looked for in
_APART, _APART_BLOCK = 3.2, 1.5  # distance of the two parts in their own standard deviations; of two blocks of rows
_STEP_ERRORS = 8.0  # standard errors of a jump between blocks
_STEP_OWN = 0.2  # share of the step's variance that the other columns must leave
_ROUNDS = 4  # of explaining and clustering
_FALSE_ALARM = (
    1e-4  # so small because predictions are never quite calibrated, and blocks differ (other writers, other days)
)
_NATURAL = (
    6.0  # clusters of a column by itself are taken for units from this factor on: smaller ones are common in nature
)
_PRICES = (0.0, 0.1, 0.2, 0.4)  # nats per row
_MOST_FEATURES, _MOST_CATEGORIES = 120, 30


Smoother = Callable[[np.ndarray], np.ndarray]


def leave_one_out(x: np.ndarray, y: np.ndarray, use: np.ndarray | None = None) -> np.ndarray:
    """(N, T) predictions of the targets y (N, T) from x (N, D), each row by a ridge regression without it.

    The penalty is the one of 0.001, 0.01, 0.1 and 1 per row share with the smallest leave-one-out error.
    use: (N,) bool, rows to learn from; the others are predicted all the same.
    """
    return smoother(x, use)(y)


def smoother(x: np.ndarray, use: np.ndarray | None = None) -> Smoother:
    """`leave_one_out` for many targets of the same x."""
    learn = np.ones(len(x), bool) if use is None else use
    n, centre = int(learn.sum()), x[learn].mean(0)
    u, s, vt = np.linalg.svd(x[learn] - centre, full_matrices=False)
    s = np.maximum(s, 1e-9 * max(float(s[0]) if len(s) else 0.0, 1e-300))
    other = (x[~learn] - centre) @ vt.T / s

    def predict(y: np.ndarray) -> np.ndarray:
        mean = y[learn].mean(0)
        target = y[learn] - mean
        inside, best, out = u.T @ target, np.inf, np.zeros_like(y, dtype=np.float64)
        for penalty in (0.001, 0.01, 0.1, 1.0):
            kept = s**2 / (s**2 + penalty * n)
            fit = u @ (kept[:, None] * inside)
            leverage = np.minimum((u**2) @ kept + 1 / n, 0.99)
            without = target - (target - fit) / (1 - leverage)[:, None]
            error = float(((target - without) ** 2).mean())
            if error < best:
                best = error
                out[learn], out[~learn] = without, other @ (kept[:, None] * inside)
        return out + mean

    return predict


def normal_scores(x: np.ndarray) -> np.ndarray:
    """(N,) the numbers by rank, on the scale of a standard normal; missing ones 0."""
    from scipy.special import ndtri

    from labelwright.auditing.dependence import ranks

    out = np.zeros(len(x))
    known = ~np.isnan(x)
    out[known] = ndtri((ranks(x[known]) + 0.5) / max(int(known.sum()), 1))
    return out


# ---------------------------------------------------------------------------------------------------- two units
class _Clusters(NamedTuple):
    gap: float
    width: float
    upper: np.ndarray  # (N,) probability of being in the upper one


def unit_factor(column: Column, others: Sequence[Column]) -> tuple[float, float, bool] | None:
    """(factor, share of rows that are larger by it, whether these are one block of rows); None where nothing of the kind.

    log|x|, or what the other columns do not explain of it, falls into two clusters far apart, or jumps at one row and stays;
    the distance is large, or that of a known conversion factor.
    """
    x = column.values
    rows = np.flatnonzero(~np.isnan(x) & (x != 0))
    if len(rows) < max(40, 0.9 * column.known.sum()) or len(np.unique(x[rows])) < 10:
        return None  # what is often zero is a count or a score, and has no unit
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), _UNIT_ROWS)).astype(np.int64)]
    log = np.log(np.abs(x[rows]))
    found = _clusters(log)
    if found is not None and found.gap >= np.log(_NATURAL):
        factor = _verdict(found, log)
        if factor is not None:
            return factor
    known = _design([o.take(rows) for o in others])
    if not known.shape[1]:
        return None
    explain = smoother(known)
    return _spread(log, explain) or _jump(log, explain)


def _spread(log: np.ndarray, explain: Smoother) -> tuple[float, float, bool] | None:
    """Two clusters of what is unexplained; the shift between them is taken out before the others explain again."""
    rest, found = log - explain(log[:, None])[:, 0], None
    for _ in range(_ROUNDS):
        found = _clusters(rest)
        if found is None:
            return None
        rest = log - explain((log - found.upper * found.gap)[:, None])[:, 0]
    return None if found is None else _verdict(found, log)


def _verdict(found: _Clusters, log: np.ndarray) -> tuple[float, float, bool] | None:
    share = float(found.upper.mean())
    if not 0.2 <= share <= 0.8 or found.gap < _APART * found.width:
        return None
    factor = _factor(found.gap, found.width / np.sqrt(share * (1 - share) * len(log)))
    return None if factor is None else (factor, share, False)


def _clusters(r: np.ndarray) -> _Clusters | None:
    """Two normals of one width by EM, started at the 20th and 80th percentile."""
    low, high = np.quantile(r, [0.2, 0.8])
    share, width = 0.5, max((high - low) / 4, 1e-9)
    upper = np.zeros(len(r))
    for _ in range(60):
        gap = np.clip(((r - low) ** 2 - (r - high) ** 2) / (2 * width**2), -500, 500)
        upper = share / (share + (1 - share) * np.exp(-gap))
        size = float(upper.sum())
        if not 1 < size < len(r) - 1:
            return None
        low, high = float(((1 - upper) * r).sum() / (len(r) - size)), float((upper * r).sum() / size)
        before, width = width, float(np.sqrt(((1 - upper) * (r - low) ** 2 + upper * (r - high) ** 2).mean()))
        share, width = size / len(r), max(width, 1e-9)
        if abs(before - width) < 1e-4 * width:
            break
    return _Clusters(high - low, width, upper)


def _jump(log: np.ndarray, explain: Smoother) -> tuple[float, float, bool] | None:
    """The row from which on all are larger or smaller, what the others explain of log and of the step taken out of both."""
    n = len(log)
    cuts = np.unique(np.linspace(0.2 * n, 0.8 * n, 61).astype(np.int64))
    steps = (np.arange(n)[:, None] >= cuts).astype(np.float64)
    rest, free = log - explain(log[:, None])[:, 0], steps - explain(steps)
    size = (free**2).sum(0)
    coefficient = (free * rest[:, None]).sum(0) / np.maximum(size, 1e-12)
    own = size >= _STEP_OWN * cuts * (n - cuts) / n  # else the step is a class of a sorted table
    if not own.any():
        return None
    at = int(np.where(own, coefficient**2 * size, -1.0).argmax())
    jump = float(coefficient[at])
    width = max(float((rest - jump * free[:, at]).std()), 1e-9)
    error = width / np.sqrt(max(float(size[at]), 1e-12))
    if abs(jump) < max(_APART_BLOCK * width, _STEP_ERRORS * error):
        return None
    factor = _factor(abs(jump), error)
    return None if factor is None else (factor, float(cuts[at] / n if jump < 0 else 1 - cuts[at] / n), True)


def _factor(distance: float, error: float) -> float | None:
    """The conversion factor whose logarithm is `distance`, within 2 standard errors and 3 % (at most 10 %); a large one is
    told to two figures even if it is no known one."""
    logs = np.log(_UNITS)
    nearest = int(np.abs(logs - distance).argmin())
    if abs(logs[nearest] - distance) <= min(2 * error + 0.03, 0.1):
        return float(_UNITS[nearest])
    return float(f"{np.exp(min(distance, 50.0)):.2g}") if distance >= np.log(_NATURAL) else None


# ---------------------------------------------------------------------------------------------------- blocks of labels
def swapped_blocks(label: Column, features: Sequence[Column]) -> list[tuple[int, int, float, float]]:
    """(first row, last row, share of its labels that fit worse than a random one, share elsewhere) of at most two blocks.

    A block is the stretch of rows over which "these labels have nothing to do with the features" gains most over what the
    features say. It counts from log(N / 0.0001) nats on: were the features' predictions calibrated, sound labels would come
    so far in one table of 10,000 at most (Ville's inequality for each first row). Blocks come in pairs, so the rest is
    searched again.
    """
    rows = np.flatnonzero(label.known)
    if len(rows) > _ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, _ROWS).astype(np.int64)]
    x = _design([f.take(rows) for f in features])
    if len(rows) < 60 or x.shape[1] == 0:
        return []
    label = label.take(rows)
    against = _misfit(label, x)
    for _ in range(_ROUNDS):  # suspicious rows must not teach
        use = np.ones(len(rows), bool)
        for _, block in _blocks(against, 0.0):
            use[block] = False
        if use.all() or not _still_there(label, use):
            break
        against = _misfit(label, x, use)
    out = []
    found = _blocks(against, float(np.log(len(rows) / _FALSE_ALARM)))
    outside = np.setdiff1d(np.arange(len(rows)), np.concatenate([b for _, b in found])) if found else np.arange(0)
    for _, block in found:
        inside, elsewhere = (float((against[part] > 0).mean()) for part in (block, outside))
        out.append((int(rows[block[0]]), int(rows[block[-1]]), inside, elsewhere))
    return sorted(out)


def _blocks(against: np.ndarray, least: float) -> list[tuple[float, np.ndarray]]:
    """(evidence, rows) of the two strongest stretches of 2 % (at least 8) to 40 % of the rows above `least` nats."""
    out = []
    left = np.arange(len(against))
    for _ in range(2):
        for price in _PRICES:  # two blocks with little between them look like one: a price per row parts them
            start, stop = _stretch(against[left] - price)
            if stop - start <= 0.4 * len(against):
                break
        evidence = float(against[left[start:stop]].sum())
        if evidence <= least or not max(8, 0.02 * len(against)) <= stop - start <= 0.4 * len(against):
            break
        out.append((evidence, left[start:stop]))
        left = np.delete(left, slice(start, stop))
    return out


def _still_there(label: Column, use: np.ndarray) -> bool:
    """Whether every class keeps half of its rows: a sorted table must not lose one."""
    if label.numeric:
        return True
    codes = np.unique(label.codes, return_inverse=True)[1]
    return bool((2 * np.bincount(codes[use], minlength=int(codes.max()) + 1) >= np.bincount(codes)).all())


def _design(features: Sequence[Column]) -> np.ndarray:
    """(N, D): numbers by rank and their squares, an indicator per category."""
    blocks = []
    for f in features:
        if f.numeric and len(np.unique(f.values[f.known])) > 1:
            z = normal_scores(f.values)
            blocks += [z, z**2 - 1]
        elif f.nominal and 1 < len(f.names) <= _MOST_CATEGORIES:
            blocks += [(f.codes == k).astype(np.float64) for k in range(len(f.names))]
        if len(blocks) > _MOST_FEATURES:
            break
    return np.column_stack(blocks[:_MOST_FEATURES]) if blocks else np.zeros((len(features[0]) if features else 0, 0))


def _misfit(label: Column, x: np.ndarray, use: np.ndarray | None = None) -> np.ndarray:
    """(N,) nats by which a label drawn at random is likelier than what the features say, at most 3."""
    if label.numeric:
        y = normal_scores(label.values)
        y /= y.std() or 1.0
        error = (y - leave_one_out(x, y[:, None], use)[:, 0]) ** 2
        noise = min(float(error[use].mean() if use is not None else error.mean()), 1.0)
        return np.minimum(0.5 * (np.log(noise) + error / noise - y**2), 3.0)
    _, codes, counts = np.unique(label.codes, return_inverse=True, return_counts=True)
    score = leave_one_out(x, np.eye(len(counts))[codes], use)
    learn = np.ones(len(codes), bool) if use is None else use
    best = np.full(len(codes), -np.inf)
    for sharpness in (1.0, 2.0, 4.0, 8.0, 16.0):  # a ridge regression's shares are too even
        log_p = sharpness * (score - score.max(1, keepdims=True))
        log_p = (log_p - np.log(np.exp(log_p).sum(1, keepdims=True)))[np.arange(len(codes)), codes]
        best = log_p if log_p[learn].mean() > best[learn].mean() else best
    return np.minimum(np.log(counts[codes] / len(codes)) - best, 3.0)


def _stretch(z: np.ndarray) -> tuple[int, int]:
    """(start, stop) of the stretch with the greatest sum."""
    total = np.concatenate([[0.0], np.cumsum(z)])
    least = np.minimum.accumulate(total[:-1])
    stop = int((total[1:] - least).argmax()) + 1
    return int(total[:stop].argmin()), stop
