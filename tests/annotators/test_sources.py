"""Transfer scores against formulas written out, and against direct maximisation."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, spearmanr

from labelwright.annotators.sources import cka, leep, logme, parc, source_weights
from labelwright.errors import DataError, LabelwrightWarning, OptionError


def draw(seed: int, n: int = 120, d: int = 6, k: int = 3, signal: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    return signal * rng.normal(size=(k, d))[y] + rng.normal(size=(n, d)), y


def naive_parc(x: np.ndarray, y: np.ndarray) -> float:
    x = (x - x.mean(0)) / x.std(0)
    first, second = 1 - np.corrcoef(x), 1 - np.corrcoef(np.eye(y.max() + 1)[y])
    upper = np.triu_indices(len(x), 1)
    return float(spearmanr(first[upper], np.round(second[upper], 9)).statistic * 100)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_parc_is_the_formula(k: int) -> None:
    x, y = draw(k, k=k)
    assert parc(x, y, pca=None) == pytest.approx(naive_parc(x, y), abs=1e-6)
    u, s, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    assert parc(x, y, pca=3) == pytest.approx(naive_parc(u[:, :3] * s[:3], y), abs=1e-6)


def test_parc_drops_flat_rows_and_missing_labels() -> None:
    x, y = draw(0)
    labels = y.copy()
    labels[::10] = -1
    assert parc(x, labels, pca=None) == pytest.approx(parc(x[labels >= 0], y[labels >= 0], pca=None))
    # x with opposite copies has column means 0, so a row of zeros stays flat when it is standardised
    twice = np.concatenate([x, -x])
    flat = np.concatenate([twice, np.zeros((3, 6))])
    labels = np.concatenate([y, y, [0, 1, 2]])
    assert parc(flat, labels, pca=None) == pytest.approx(parc(twice, np.concatenate([y, y]), pca=None), abs=1e-9)
    constant = np.column_stack([x, np.ones(len(x))])
    assert np.isfinite(parc(constant, y)) and np.isfinite(parc(constant, y, pca=None))


def test_parc_ranks_sources_and_cuts_large_probes() -> None:
    good, weak, none = (draw(1, signal=s) for s in (2.0, 0.5, 0.0))
    assert parc(*good) > parc(*weak) > parc(*none) - 1e-9 and abs(parc(*none)) < 8
    x, y = draw(2, n=400)
    assert parc(x, y, max_items=150) == parc(x, y, max_items=150) != parc(x, y, max_items=150, random_state=1)
    with pytest.warns(LabelwrightWarning, match="Label more of the target"):
        parc(x[:50], y[:50])


def test_cka_both_ways() -> None:
    for n, d in ((120, 6), (30, 50)):
        x, y = draw(3, n=n, d=d)
        centre = np.eye(n) - 1 / n
        a, b = centre @ x @ x.T @ centre, centre @ np.eye(3)[y] @ np.eye(3)[y].T @ centre
        assert cka(x, y) == pytest.approx((a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b)))
    assert cka(x * 3 + 7, y) == pytest.approx(cka(x, y)) and cka(np.ones((4, 2)), np.array([0, 0, 1, 1])) == 0


def test_leep_by_loop() -> None:
    rng = np.random.default_rng(4)
    p, y = rng.dirichlet(np.ones(5), 60), rng.integers(0, 3, 60)
    total = 0.0
    for i in range(60):
        inner = 0.0
        for z in range(5):
            joint = sum(p[j, z] for j in range(60) if y[j] == y[i]) / 60
            inner += joint / (p[:, z].sum() / 60) * p[i, z]
        total += math.log(inner)
    assert leep(p, y) == pytest.approx(total / 60)
    even = np.full((60, 5), 0.2)  # says nothing: the entropy of the labels is left
    share = np.bincount(y) / 60
    assert leep(even, y) == pytest.approx(float((share * np.log(share)).sum()))


@pytest.mark.parametrize(("n", "d"), [(40, 5), (12, 20)])
def test_logme_is_the_largest_evidence(n: int, d: int) -> None:
    x, y = draw(5, n=n, d=d)
    best = []
    for column in np.eye(3)[y].T:

        def minus(v: np.ndarray, column: np.ndarray = column) -> float:
            cover = np.eye(n) / math.exp(v[1]) + x @ x.T / math.exp(v[0])
            return -float(multivariate_normal.logpdf(column, np.zeros(n), cover))

        best.append(-min(minimize(minus, start, method="Nelder-Mead").fun for start in ([0, 0], [3, 1])) / n)
    assert logme(x, y, max_iter=5000) == pytest.approx(np.mean(best), abs=1e-3)


def test_logme_prefers_useful_features() -> None:
    (x, y), (noise, _) = draw(6, signal=2.0), draw(7, signal=0.0)
    assert logme(x, y) > logme(noise, y)
    assert np.isfinite(logme(np.zeros((10, 2)), np.arange(10) % 2))


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=8), st.floats(0, 30))
def test_weights_are_a_distribution_in_the_order_of_the_scores(scores: list[float], power: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelwrightWarning)
        w = source_weights(scores, power=power)
    if max(scores) <= 0:
        assert w.tolist() == [0.0] * len(scores)
        return
    assert w.sum() == pytest.approx(1) and (w[np.array(scores) <= 0] == 0).all()
    order = np.argsort(scores)
    assert (np.diff(w[order]) >= -1e-15).all()


def test_weights_by_hand() -> None:
    assert source_weights([2.0, 1.0], power=2.0) == pytest.approx([0.8, 0.2])
    assert source_weights([2.0, 1.0, -1.0], power=0.0) == pytest.approx([0.5, 0.5, 0.0])
    assert source_weights([1.0, 3.0, 3.0], power=math.inf).tolist() == [0, 1, 0]
    assert source_weights([-3.0, -1.0, -2.0], power=1.0, scale="minmax") == pytest.approx([0, 2 / 3, 1 / 3])
    assert source_weights([-2.0, -2.0], scale="minmax") == pytest.approx([0.5, 0.5])


def test_errors() -> None:
    x, y = draw(0)
    with pytest.raises(DataError, match="label more of the target"):
        parc(x, np.zeros(len(x), int))
    with pytest.raises(DataError, match="label more of the target"):
        parc(x[:, :1], y)  # one column: no correlation between items
    with pytest.raises(OptionError, match="pca=2 or more"):
        parc(x, y, pca=1)
    with pytest.raises(DataError, match="could not be scored"):
        source_weights([1.0, np.nan])
    with pytest.raises(OptionError, match="power=8.0"):
        source_weights([1.0], power=-1)
    with pytest.raises(OptionError, match="did you mean 'clip'"):
        source_weights([1.0], scale="clp")
    with pytest.warns(LabelwrightWarning, match="Train on the labels alone"):
        source_weights([-1.0, 0.0])
