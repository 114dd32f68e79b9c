"""How strongly two columns depend on each other, by the pair of their types, with p-values that know how many were asked.

Two categories: Cramer's V, bias-corrected (Bergsma 2013). Category and number: the correlation ratio eta^2. Two numbers:
Spearman's rank correlation, or distance correlation (Szekely, Rizzo & Bakirov 2007). Any pair: mutual information.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from labelwright.errors import DataError, OptionError, check_option, check_whole

if TYPE_CHECKING:
    from labelwright.auditing.profile import Column

MEASURES = ("auto", "cramers v", "eta squared", "rank correlation", "distance correlation", "mutual information")
LEAST = 8  # rows below which nothing is said of a pair
_CURVED = 0.15  # how much more distance correlation must see than ranks for a relation to be called curved
_DISTANCE_ROWS = 500  # distance correlation takes all pairs of rows
_BINS = 8  # of a number, for mutual information


class Dependence(NamedTuple):
    """measure: its name.   value: in its own scale.   strength: in [0, 1], comparable over type pairs: V, eta, |rho|, the
    root of the distance correlation's square, sqrt(1 - exp(-2 I)).   p_value: of independence.   n: rows it rests on."""

    measure: str
    value: float
    strength: float
    p_value: float
    n: int


# ------------------------------------------------------------------------------------------------------ the measures
def cramers_v(a: np.ndarray, b: np.ndarray) -> Dependence:
    """Bias-corrected Cramer's V of two code arrays (N,) >= 0, with the chi-square p-value; 0 where one is constant.

    Source: Bergsma 2013, "A bias-correction for Cramer's V and Tschuprow's T", eq. 7 to 9.

    >>> cramers_v(np.array([0, 1] * 50), np.array([0, 1] * 50)).value
    1.0
    """
    from scipy.special import chdtrc

    table = contingency(a, b)
    n, (r, c) = int(table.sum()), table.shape
    if n < 2 or min(r, c) < 2:
        return Dependence("cramers v", 0.0, 0.0, 1.0, n)
    expected = table.sum(1, keepdims=True) * table.sum(0) / n
    statistic = float(((table - expected) ** 2 / expected).sum())
    free = (r - 1) * (c - 1)
    phi2 = max(0.0, statistic / n - free / (n - 1))
    rows, columns = r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)
    least = min(rows, columns) - 1
    v = float(np.sqrt(min(1.0, phi2 / least))) if least > 0 else 0.0
    return Dependence("cramers v", v, v, float(chdtrc(free, statistic)), n)


def contingency(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(R, C) counts of the codes that occur."""
    _, a = np.unique(a, return_inverse=True)
    _, b = np.unique(b, return_inverse=True)
    r, c = (int(x.max()) + 1 if len(x) else 0 for x in (a, b))
    return np.bincount(a * c + b, minlength=r * c).reshape(r, c).astype(np.float64)


def eta_squared(codes: np.ndarray, values: np.ndarray) -> Dependence:
    """Share of the variance of `values` (N,) between the groups `codes` (N,), bias-corrected, with the F test's p-value.

    The correction is that of epsilon^2 (Kelley 1935): 1 - (within / (n - g)) / (total / (n - 1)).
    """
    from scipy.special import fdtrc

    _, group = np.unique(codes, return_inverse=True)
    n, g = len(values), int(group.max()) + 1 if len(group) else 0
    x = values - values.mean() if n else values
    total = float((x**2).sum())
    if g < 2 or n <= g or total <= 0:
        return Dependence("eta squared", 0.0, 0.0, 1.0, n)
    sizes = np.bincount(group)
    between = float((np.bincount(group, x) ** 2 / sizes).sum())
    within = max(total - between, 0.0)
    value = min(1.0, max(0.0, 1 - (within / (n - g)) / (total / (n - 1))))
    p = 0.0 if within <= 1e-15 * total else float(fdtrc(g - 1, n - g, (between / (g - 1)) / (within / (n - g))))
    return Dependence("eta squared", value, float(np.sqrt(value)), p, n)


def rank_correlation(x: np.ndarray, y: np.ndarray) -> Dependence:
    """Spearman's rho of two number arrays (N,), ties shared, with Student's p-value."""
    return _correlation("rank correlation", ranks(x), ranks(y))


def linear_correlation(x: np.ndarray, y: np.ndarray) -> Dependence:
    """Pearson's r of two number arrays (N,), with Student's p-value."""
    return _correlation("linear correlation", x, y)


def _correlation(measure: str, x: np.ndarray, y: np.ndarray) -> Dependence:
    from scipy.special import stdtr

    n = len(x)
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    if n < 3 or scale <= 0:
        return Dependence(measure, 0.0, 0.0, 1.0, n)
    rho = float(np.clip(x @ y / scale, -1, 1))
    p = 0.0 if abs(rho) >= 1 else 2 * float(stdtr(n - 2, -abs(rho) * np.sqrt((n - 2) / (1 - rho**2))))
    return Dependence(measure, rho, abs(rho), p, n)


def ranks(x: np.ndarray) -> np.ndarray:
    """(N,) float64 ranks from 0, ties share their mean."""
    _, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[place]


def centred_distances(x: np.ndarray) -> np.ndarray:
    """(N, N) distances of the numbers x, U-centred (Szekely & Rizzo 2014), the diagonal zero."""
    n = len(x)
    d = np.abs(x[:, None] - x)
    side = d.sum(0) / (n - 2)
    d = d - side - side[:, None] + d.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(d, 0.0)
    return d


def distance_correlation(x: np.ndarray, y: np.ndarray) -> Dependence:
    """Bias-corrected squared distance correlation of two number arrays (N >= 4,), with the chi-square test's p-value.

    Sees any relation, also one that goes up and down again. O(N^2) in time and memory: pass at most some thousand rows.

    Source: Szekely & Rizzo 2014 (unbiased form); Shen, Panda & Vogelstein 2022 (p-value, valid for p < 0.086).
    """
    return _distance(centred_distances(x), centred_distances(y)) if len(x) >= 4 else _silent(len(x))


def _silent(n: int) -> Dependence:
    return Dependence("distance correlation", 0.0, 0.0, 1.0, n)


def _distance(a: np.ndarray, b: np.ndarray) -> Dependence:
    from scipy.special import chdtrc

    n, scale = len(a), float(np.sqrt(np.vdot(a, a) * np.vdot(b, b)))
    value = float(np.vdot(a, b)) / scale if scale > 0 else 0.0
    p = float(chdtrc(1, max(0.0, n * value + 1)))
    return Dependence("distance correlation", value, float(np.sqrt(max(0.0, min(1.0, value)))), p, n)


def mutual_information(a: np.ndarray, b: np.ndarray) -> Dependence:
    """Mutual information of two code arrays (N,) in nats, Miller-Madow corrected, with the G test's p-value."""
    from scipy.special import chdtrc

    table = contingency(a, b)
    n, (r, c) = int(table.sum()), table.shape
    if n < 2 or min(r, c) < 2:
        return Dependence("mutual information", 0.0, 0.0, 1.0, n)
    expected = table.sum(1, keepdims=True) * table.sum(0) / n
    filled = table > 0
    raw = float((table[filled] * np.log(table[filled] / expected[filled])).sum()) / n
    free = (r - 1) * (c - 1)
    value = max(0.0, raw - free / (2 * n))
    return Dependence(
        "mutual information",
        value,
        float(np.sqrt(1 - np.exp(-2 * value))),
        float(chdtrc(free, 2 * n * max(raw, 0.0))),
        n,
    )


# ------------------------------------------------------------------------------------------------------ two columns
def dependence(
    a: Column, b: Column, *, measure: str = "auto", permutations: int = 0, random_state: int = 0
) -> Dependence:
    """How strongly two columns depend on each other, on the rows where both are known.

    Args:
        a, b: nominal or numeric columns of equal length.
        measure: one of `MEASURES`; "auto" goes by the types. Of two numbers it takes the rank correlation, or the distance
            correlation where that sees more by 0.15 (a relation that bends); the p-value then counts both tests.
        permutations: 0 for the analytic p-value, else that of so many random orders of b, (1 + at least as strong) / (1 + all).
        random_state: seed of the permutations, and of the 500 rows that distance correlation takes.

    Returns:
        measure, value, strength in [0, 1], p_value, n; strength 0 and p 1 below 8 shared rows.

    Raises:
        OptionError: unknown measure, or one that does not fit the types.   DataError: unequal lengths.
    """
    check_option("measure", measure, MEASURES)
    check_whole("permutations", permutations, 0)
    if len(a) != len(b):
        raise DataError(
            found=f"columns of {len(a)} and {len(b)} rows", expected="one length", fix="pass columns of one table"
        )
    both = np.flatnonzero(a.known & b.known)
    measure = _fitting(measure, a, b)
    if len(both) < LEAST:
        return Dependence("rank correlation" if measure == "auto" else measure, 0.0, 0.0, 1.0, len(both))
    rng = np.random.default_rng(random_state)
    if measure == "distance correlation" and len(both) > _DISTANCE_ROWS:
        both = np.sort(rng.choice(both, _DISTANCE_ROWS, replace=False))
    a, b = a.take(both), b.take(both)
    found = _measured(measure, a, b, rng)
    if not permutations:
        return found
    used = found.measure
    again = (_measured(used, a, b.take(rng.permutation(len(b))), rng).strength for _ in range(permutations))
    as_strong = sum(s >= found.strength - 1e-12 for s in again)
    return found._replace(p_value=(1 + as_strong) / (1 + permutations))


def _fitting(measure: str, a: Column, b: Column) -> str:
    """The measure for this pair of types; "auto" stays only for two numbers."""
    for column in (a, b):
        if not (column.nominal or column.numeric):
            raise OptionError(
                found=f"column {column.name!r} of type {column.type!r}",
                expected="nominal or numeric columns",
                fix="text, identifiers, images and vectors have no measure here; leave them out",
            )
    natural = {2: "cramers v", 1: "eta squared", 0: "auto"}[a.nominal + b.nominal]
    if measure in ("auto", "mutual information"):
        return natural if measure == "auto" else measure
    if (measure in ("rank correlation", "distance correlation")) != (natural == "auto") or (
        natural != "auto" and measure != natural
    ):
        raise OptionError(
            found=f"measure={measure!r} for columns of type {a.type!r} and {b.type!r}",
            expected=repr(natural) if natural != "auto" else "'rank correlation' or 'distance correlation'",
            fix="pass measure='auto'",
        )
    return measure


def _measured(measure: str, a: Column, b: Column, rng: np.random.Generator) -> Dependence:
    if measure == "cramers v":
        return cramers_v(a.codes, b.codes)
    if measure == "eta squared":
        return eta_squared(a.codes, b.values) if a.nominal else eta_squared(b.codes, a.values)
    if measure == "mutual information":
        return mutual_information(_binned(a), _binned(b))
    if measure == "rank correlation":
        return rank_correlation(a.values, b.values)
    if measure == "distance correlation":
        return distance_correlation(ranks(a.values), ranks(b.values))
    few = np.sort(rng.choice(len(a), _DISTANCE_ROWS, replace=False)) if len(a) > _DISTANCE_ROWS else np.arange(len(a))
    curved = distance_correlation(ranks(a.values[few]), ranks(b.values[few]))
    return either(rank_correlation(a.values, b.values), curved)


def either(straight: Dependence, curved: Dependence) -> Dependence:
    """The rank correlation, unless the distance correlation sees clearly more; two tests were made, so p is doubled."""
    chosen = curved if curved.strength > straight.strength + _CURVED else straight
    return chosen._replace(p_value=min(1.0, 2 * min(straight.p_value, curved.p_value)))


def _binned(column: Column) -> np.ndarray:
    """Codes; numbers cut at their quantiles into at most 8 bins."""
    if column.nominal:
        return column.codes
    edges = np.unique(np.quantile(column.values, np.linspace(0, 1, _BINS + 1)[1:-1]))
    return np.searchsorted(edges, column.values, side="right")


# ------------------------------------------------------------------------------------------------------ many columns
def all_pairs(columns: Sequence[Column], *, random_state: int = 0) -> list[tuple[int, int, Dependence]]:
    """(i, j, dependence) of every pair of nominal or numeric columns, as `dependence` with its defaults, strongest first.

    Ranks and distances are made once per column where nothing is missing.
    """
    usable = [i for i, c in enumerate(columns) if c.numeric or c.nominal]
    n = len(columns[0]) if columns else 0
    few = np.sort(np.random.default_rng(random_state).choice(n, min(n, _DISTANCE_ROWS), replace=False))
    whole = {i for i in usable if columns[i].numeric and columns[i].known.all()} if n >= LEAST else set()
    ranked = {i: ranks(columns[i].values) for i in whole}
    distances = {i: centred_distances(ranks(columns[i].values[few])) for i in whole}
    out = []
    for i, j in combinations(usable, 2):
        if i in whole and j in whole:
            straight = _correlation("rank correlation", ranked[i], ranked[j])
            out.append((i, j, either(straight, _distance(distances[i], distances[j]))))
        else:
            out.append((i, j, dependence(columns[i], columns[j], random_state=random_state)))
    return sorted(out, key=lambda pair: (-pair[2].strength, pair[0], pair[1]))


def adjust(p_values: Iterable[float], method: str = "holm") -> np.ndarray:
    """p-values that may be read together: "holm" keeps the chance of any false finding, "bh" the share of false findings.

    Source: Holm 1979; Benjamini & Hochberg 1995.

    >>> adjust([0.01, 0.04, 0.03]), adjust([0.01, 0.04, 0.03], "bh")
    (array([0.03, 0.06, 0.06]), array([0.03, 0.04, 0.04]))
    """
    check_option("method", method, ("holm", "bh"))
    p = np.asarray(list(p_values), dtype=np.float64)
    if len(p) and not ((p >= 0) & (p <= 1)).all():
        raise DataError(found="p-values outside [0, 1]", expected="probabilities", fix="pass p-values of tests")
    order, m = np.argsort(p, kind="stable"), len(p)
    out = np.empty(m)
    if method == "holm":
        out[order] = np.maximum.accumulate(p[order] * (m - np.arange(m)))
    else:
        out[order] = np.minimum.accumulate((p[order] * m / np.arange(1, m + 1))[::-1])[::-1]
    return np.minimum(out, 1.0)
