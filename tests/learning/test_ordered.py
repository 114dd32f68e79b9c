"""Figures of ordered classes against loops and scikit-learn, and their edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.errors import DataError, LabelError, OptionError
from labelwright.learning.ordered import ordered_figures


def naive(predicted, labels, ranks, weight):
    n = wrong = apart = severe = 0.0
    gaps = [b - a for a, b in zip(ranks, ranks[1:])]
    for p, y, w in zip(predicted, labels, weight):
        if y == -1:
            continue
        n += w
        d = abs(ranks[p] - ranks[y])
        apart += w * d
        if p != y:
            wrong += w
            if ranks[-1] - ranks[0] > min(gaps):
                severe += w * (d - min(gaps)) / (ranks[-1] - ranks[0] - min(gaps))
    return {"accuracy": 1 - wrong / n, "mae": apart / n, "severity": severe / wrong if wrong else 0.0}


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_agrees_with_a_loop(seed, k):
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(-1, k, 30), rng.integers(0, k, 30)
    labels[0] = 0
    ranks, weight = np.cumsum(rng.uniform(0.1, 3, k)).tolist(), rng.uniform(0.1, 1, 30)
    found = ordered_figures(predicted, labels, n_classes=k, ranks=ranks, weight=weight)
    for name, value in naive(predicted.tolist(), labels.tolist(), ranks, weight).items():
        assert found[name] == pytest.approx(value, abs=1e-9)
    assert -1e-9 <= found["severity"] <= 1 + 1e-9 and found["kappa"] <= 1


def test_kappa_is_that_of_scikit_learn():
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(1)
    labels = rng.integers(0, 5, 200)
    predicted = np.clip(labels + rng.integers(-1, 2, 200), 0, 4)
    expected = cohen_kappa_score(labels, predicted, weights="quadratic")
    assert ordered_figures(predicted, labels, n_classes=5)["kappa"] == pytest.approx(expected)


def test_reversing_the_order_changes_nothing():
    rng = np.random.default_rng(2)
    labels, predicted = rng.integers(0, 4, (2, 6, 7))
    one = ordered_figures(predicted, labels, n_classes=4)
    assert ordered_figures(3 - predicted, 3 - labels, n_classes=4) == pytest.approx(one)


def test_edges():
    nothing = ordered_figures([], [], n_classes=3)
    assert all(np.isnan(v) for v in nothing.values())
    assert ordered_figures([0], [-1], n_classes=1) == pytest.approx(nothing, nan_ok=True)
    right = ordered_figures([1, 1], [1, 1], n_classes=3)
    assert right == {"accuracy": 1.0, "mae": 0.0, "severity": 0.0, "kappa": 0.0}
    assert ordered_figures([0, 1], [1, 0], n_classes=2)["severity"] == 0  # two classes: every mistake is the nearest


def test_errors():
    with pytest.raises(OptionError, match="order the classes"):
        ordered_figures([0], [0], n_classes=2, ranks=[2, 1])
    with pytest.raises(DataError, match="argmax"):
        ordered_figures(np.zeros((3, 2)), [0, 1, 1], n_classes=2)
    with pytest.raises(LabelError, match="in their order"):
        ordered_figures([0, 2], [0, 1], n_classes=2)
    with pytest.raises(OptionError, match="n_classes"):
        ordered_figures([0], [0], n_classes=0)
