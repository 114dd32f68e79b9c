"""Dependence of two columns: against naive loops, SciPy and hand-worked cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from labelwright.auditing.dependence import (
    Dependence,
    adjust,
    all_pairs,
    centred_distances,
    cramers_v,
    dependence,
    distance_correlation,
    eta_squared,
    linear_correlation,
    mutual_information,
    rank_correlation,
    ranks,
)
from labelwright.auditing.profile import Column, read_columns
from labelwright.errors import DataError, OptionError

RNG = np.random.default_rng(0)
A, B = RNG.integers(0, 3, 80), RNG.integers(0, 4, 80)
X = RNG.normal(size=80)
Y = X**2 + 0.2 * RNG.normal(size=80)


def columns(**values: object) -> list[Column]:
    return read_columns(values)


def test_cramers_v_by_loop_and_scipy() -> None:
    n, table = 80, np.zeros((3, 4))
    for a, b in zip(A, B):
        table[a, b] += 1
    chi2, p, free, _ = stats.chi2_contingency(table, correction=False)
    phi2 = max(0.0, chi2 / n - free / (n - 1))
    v = np.sqrt(phi2 / min(3 - 4 / (n - 1) - 1, 4 - 9 / (n - 1) - 1))
    found = cramers_v(A, B)
    assert found.value == pytest.approx(v) and found.p_value == pytest.approx(p) and found.n == n
    assert cramers_v(A, A).value == pytest.approx(1.0)
    assert cramers_v(A, np.zeros(80, int)).strength == 0


def test_eta_squared_by_loop_and_scipy() -> None:
    groups = [X[g == A] for g in range(3)]
    within = sum(((g - g.mean()) ** 2).sum() for g in groups) / (80 - 3)
    found = eta_squared(A, X)
    assert found.value == pytest.approx(max(0, 1 - within / X.var(ddof=1)))
    assert found.p_value == pytest.approx(stats.f_oneway(*groups).pvalue)
    assert eta_squared(A, A.astype(float)) == Dependence("eta squared", 1.0, 1.0, 0.0, 80)


def test_correlations_by_scipy() -> None:
    ties = np.round(X, 1)
    assert rank_correlation(ties, Y)[1::2] == pytest.approx((stats.spearmanr(ties, Y)[0], stats.spearmanr(ties, Y)[1]))
    assert linear_correlation(X, Y)[1::2] == pytest.approx((stats.pearsonr(X, Y)[0], stats.pearsonr(X, Y)[1]))
    np.testing.assert_allclose(ranks(ties), stats.rankdata(ties) - 1)
    assert rank_correlation(X, np.ones(80)).p_value == 1


def test_distance_correlation_by_loop() -> None:
    n = 20
    x, y = X[:n], Y[:n]

    def centred(v: np.ndarray) -> np.ndarray:
        d = np.array([[abs(a - b) for b in v] for a in v])
        out = np.zeros((n, n))
        for i in range(n):
            for j in range(n):
                if i != j:
                    out[i, j] = d[i, j] - d[i].sum() / (n - 2) - d[j].sum() / (n - 2) + d.sum() / ((n - 1) * (n - 2))
        return out

    a, b = centred(x), centred(y)
    np.testing.assert_allclose(centred_distances(x), a, atol=1e-12)
    found = distance_correlation(x, y)
    assert found.value == pytest.approx((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))
    assert distance_correlation(X, X).value == pytest.approx(1.0)


def test_a_bent_relation_is_seen() -> None:
    x, y = columns(x=X, y=Y)
    assert dependence(x, y, measure="rank correlation").strength < 0.3
    found = dependence(x, y)
    assert found.measure == "distance correlation" and found.strength > 0.4 and found.p_value < 1e-3


def test_mutual_information_by_loop() -> None:
    raw = 0.0
    for a in range(3):
        for b in range(4):
            p = np.mean((a == A) & (b == B))
            if p > 0:
                raw += p * np.log(p / (np.mean(a == A) * np.mean(b == B)))
    assert mutual_information(A, B).value == pytest.approx(max(0, raw - 6 / 160))
    assert mutual_information(A, A).strength > 0.9


def test_measures_by_type_pair_and_missing_rows() -> None:
    x, c, d = columns(x=np.where(np.arange(80) < 9, np.nan, X), c=[f"c{v}" for v in A], d=[f"d{v}" for v in B])
    assert (dependence(x, c).measure, dependence(x, c).n) == ("eta squared", 71)
    assert dependence(c, d).measure == "cramers v"
    assert dependence(x, d, measure="mutual information").measure == "mutual information"
    assert dependence(*columns(x=[1.5, 2, 3], y=[1.5, 2, 4]))[2:] == (0.0, 1.0, 3)  # below 8 rows nothing is said


def test_permuted_p_values_agree_with_the_analytic_ones() -> None:
    x, y, c = columns(x=X, y=X + 3 * RNG.normal(size=80), c=[f"c{v}" for v in A])
    for a, b in ((x, y), (x, c)):
        analytic, permuted = dependence(a, b), dependence(a, b, permutations=400, random_state=1)
        assert permuted.strength == analytic.strength and abs(permuted.p_value - analytic.p_value) < 0.15
    assert dependence(x, x, permutations=99).p_value == 0.01


def test_p_values_are_uniform_under_independence() -> None:
    rng = np.random.default_rng(1)
    p = [dependence(*columns(x=rng.normal(size=60), y=rng.normal(size=60))).p_value for _ in range(200)]
    assert np.mean(np.array(p) < 0.05) <= 0.08


def test_all_pairs_is_pair_by_pair() -> None:
    table = columns(
        x=X, y=Y, c=[f"c{v}" for v in A], d=[f"d{v}" for v in B], text=[f"many words in row {i}" for i in range(80)]
    )
    found = all_pairs(table)
    assert len(found) == 6 and [d.strength for _, _, d in found] == sorted(
        [d.strength for _, _, d in found], reverse=True
    )
    for i, j, d in found:
        assert d == pytest.approx(dependence(table[i], table[j])) or d.measure == dependence(table[i], table[j]).measure
        assert d.strength == pytest.approx(dependence(table[i], table[j]).strength)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_adjusted_p_values(p: list[float]) -> None:
    holm, bh = adjust(p), adjust(p, "bh")
    assert (holm >= np.array(p) - 1e-12).all() and (bh <= holm + 1e-12).all() and (holm <= 1).all()
    m, order = len(p), np.argsort(p, kind="stable")
    naive, running = np.empty(m), 0.0
    for k, i in enumerate(order):
        running = max(running, min(1.0, p[i] * (m - k)))
        naive[i] = running
    np.testing.assert_allclose(holm, naive)
    np.testing.assert_allclose(bh, stats.false_discovery_control(p), atol=1e-12)


def test_what_is_refused() -> None:
    x, c, t = columns(x=X, c=[f"c{v}" for v in A], t=[f"many words in row {i}" for i in range(80)])
    with pytest.raises(OptionError, match="did you mean 'rank correlation'"):
        dependence(x, x, measure="rank")
    with pytest.raises(OptionError, match="pass measure='auto'"):
        dependence(x, c, measure="rank correlation")
    with pytest.raises(OptionError, match="leave them out"):
        dependence(x, t)
    with pytest.raises(OptionError, match="pass permutations=0 or more"):
        dependence(x, c, permutations=-1)
    with pytest.raises(DataError, match="columns of one table"):
        dependence(x, columns(y=[1.5])[0])
    with pytest.raises(DataError, match="pass p-values of tests"):
        adjust([1.2])
    with pytest.raises(OptionError, match="did you mean 'holm'"):
        adjust([0.1], "hol")
