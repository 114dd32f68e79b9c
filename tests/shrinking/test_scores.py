"""Scores of items against plain loops, and the gradient of the last layer against finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest

from labelwright.errors import DataError, LabelError, ProbabilityError
from labelwright.shrinking import el2n, forgetting, grand_last_layer, margin


def draw(seed: int, n: int = 30, k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    y[3] = -1
    return rng.dirichlet(np.ones(k), n), y


def naive_el2n(p: np.ndarray, y: np.ndarray) -> list[float]:
    return [
        math.nan if c < 0 else math.sqrt(sum((float(v) - (j == c)) ** 2 for j, v in enumerate(row)))
        for row, c in zip(p, y)
    ]


def naive_margin(p: np.ndarray, y: np.ndarray) -> list[float]:
    return [
        math.nan if c < 0 else max(float(v) for j, v in enumerate(row) if j != c) - float(row[c])
        for row, c in zip(p, y)
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_plain_loops(dtype: type) -> None:
    p, y = draw(0)
    p = p.astype(dtype)
    np.testing.assert_allclose(el2n(p, y), naive_el2n(p, y), rtol=1e-12)
    np.testing.assert_allclose(margin(p, y), naive_margin(p, y), rtol=1e-12)


def test_sure_items_do_not_cancel() -> None:
    p = np.array([[1 - 1e-9, 1e-9]])
    assert el2n(p, np.array([0]))[0] == pytest.approx(math.sqrt(2) * 1e-9, rel=1e-6)


def test_runs_are_averaged() -> None:
    (a, y), (b, _) = draw(1), draw(2)
    np.testing.assert_allclose(el2n([a, b], y), (el2n(a, y) + el2n(b, y)) / 2)
    np.testing.assert_allclose(margin(iter([a, b]), y), (margin(a, y) + margin(b, y)) / 2)
    np.testing.assert_allclose(el2n(np.stack([a, b]), y), el2n([a, b], y))
    x = np.random.default_rng(3).normal(size=(2, 30, 5))
    both = (grand_last_layer(a, y, x[0]) + grand_last_layer(b, y, x[1])) / 2
    np.testing.assert_allclose(grand_last_layer([a, b], y, x), both)


@pytest.mark.parametrize("bias", [True, False])
def test_grand_is_the_gradient_length(bias: bool) -> None:
    rng = np.random.default_rng(4)
    x, y, w, b = rng.normal(size=(6, 3)), rng.integers(0, 4, 6), rng.normal(size=(4, 3)), rng.normal(size=4)

    def loss(w: np.ndarray, b: np.ndarray, i: int) -> float:
        z = w @ x[i] + b
        return math.log(np.exp(z).sum()) - z[y[i]]

    z = x @ w.T + b
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    for i, found in enumerate(grand_last_layer(p, y, x, bias=bias)):
        square, eps = 0.0, 1e-6
        for index in np.ndindex(w.shape):
            step = np.zeros_like(w)
            step[index] = eps
            square += ((loss(w + step, b, i) - loss(w - step, b, i)) / (2 * eps)) ** 2
        for j in range(4 if bias else 0):
            step = np.eye(4)[j] * eps
            square += ((loss(w, b + step, i) - loss(w, b - step, i)) / (2 * eps)) ** 2
        assert found == pytest.approx(math.sqrt(square), rel=1e-6)


def test_forgetting_by_hand_and_by_loop() -> None:
    # never right: 3; right, wrong, right: 1; always right: 0; learned late: 0
    table = np.array([[0, 1, 1, 0], [0, 0, 1, 0], [0, 1, 1, 1]], bool)
    assert forgetting(table).tolist() == [3, 1, 0, 0]
    table = np.random.default_rng(5).random((7, 40)) < 0.4
    for i, found in enumerate(forgetting(table)):
        events = sum(bool(table[e, i]) and not table[e + 1, i] for e in range(6))
        assert found == (events if table[:, i].any() else 7)


def test_one_class() -> None:
    assert el2n(np.ones((2, 1)), np.array([0, 0])).tolist() == [0, 0]
    assert margin(np.ones((2, 1)), np.array([0, -1]))[0] == -1


def test_errors() -> None:
    p, y = draw(0)
    with pytest.raises(DataError, match="stack one row per epoch"):
        forgetting(np.ones((2, 3)))
    with pytest.raises(DataError, match="last layer saw in each run"):
        grand_last_layer([p, p], y, np.ones((30, 2)))
    with pytest.raises(DataError, match="all items, in one order"):
        el2n([], y)
    with pytest.raises(LabelError, match="labels of the same rows"):
        el2n(p, y[:5])
    with pytest.raises(ProbabilityError, match="softmax"):
        margin(p * 7 - 3, y)
