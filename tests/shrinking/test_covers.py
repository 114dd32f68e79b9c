"""Covers of feature space against greedy loops, and their guarantees."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.errors import DataError, OptionError
from labelwright.shrinking import class_distance, covers, herding, k_center


def naive_k_center(x: np.ndarray, n: int, start: tuple[int, ...] = ()) -> list[int]:
    gap = [[float(((a - b) ** 2).sum()) for b in x] for a in x]
    chosen: list[int] = []
    if not start:
        mean = x.mean(0)
        chosen.append(min(range(len(x)), key=lambda i: (float(((x[i] - mean) ** 2).sum()), i)))
    while len(chosen) < n:
        held = [*start, *chosen]
        free = [i for i in range(len(x)) if i not in held]
        chosen.append(max(free, key=lambda i: (min(gap[i][j] for j in held), -i)))
    return chosen


def naive_herding(x: np.ndarray, n: int) -> list[int]:
    mean, chosen = x.mean(0), []  # type: ignore[var-annotated]
    for _ in range(n):
        free = [i for i in range(len(x)) if i not in chosen]
        chosen.append(min(free, key=lambda i: float(np.linalg.norm(mean - x[[*chosen, i]].mean(0)))))
    return chosen


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_greedy_loops(dtype: type) -> None:
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(dtype)
    assert k_center(x, 20).tolist() == naive_k_center(x.astype(np.float64), 20)
    assert k_center(x, 10, start=(5, 9)).tolist() == naive_k_center(x.astype(np.float64), 10, (5, 9))
    assert herding(x, 20).tolist() == naive_herding(x.astype(np.float64), 20)


def test_copies_come_last_and_all_can_be_taken() -> None:
    x = np.array([[0.0], [0.0], [3.0], [3.0], [9.0]])
    assert k_center(x, 5).tolist() == [2, 4, 0, 1, 3]  # the mean is 3; a second 0 and 3 only when all else is taken
    assert sorted(herding(x, 5)) == [0, 1, 2, 3, 4]


def test_block_size_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(1).normal(size=(500, 7)).astype(np.float32)
    y = np.arange(500) % 3
    before = k_center(x, 50), class_distance(x, y)
    monkeypatch.setattr(covers, "_BLOCK", 64)
    np.testing.assert_array_equal(k_center(x, 50), before[0])
    np.testing.assert_array_equal(class_distance(x, y), before[1])


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_radius_is_within_twice_the_best(seed: int, n: int) -> None:
    x = np.random.default_rng(seed).integers(0, 9, (9, 2)).astype(float)
    gap = np.linalg.norm(x[:, None] - x, axis=-1)
    best = min(gap[:, list(c)].min(1).max() for c in itertools.combinations(range(9), n))
    assert gap[:, k_center(x, n)].min(1).max() <= 2 * best + 1e-9


@given(st.integers(0, 10_000))
def test_order_of_items_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, order = rng.normal(size=(25, 3)), rng.permutation(25)
    assert sorted(order[k_center(x[order], 6)]) == sorted(k_center(x, 6))
    assert sorted(order[herding(x[order], 6)]) == sorted(herding(x, 6))


def test_herding_keeps_the_mean_better_than_chance() -> None:
    rng = np.random.default_rng(2)
    x = rng.exponential(size=(400, 5))
    chance = np.mean([np.linalg.norm(x[rng.choice(400, 20)].mean(0) - x.mean(0)) for _ in range(50)])
    assert np.linalg.norm(x[herding(x, 20)].mean(0) - x.mean(0)) < 0.2 * chance


def test_class_distance_by_loop() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(40, 3)), rng.integers(-1, 3, 40)
    found = class_distance(x, y)
    for i in range(40):
        if y[i] < 0:
            assert np.isnan(found[i])
        else:
            assert found[i] == pytest.approx(float(np.linalg.norm(x[i] - x[y == y[i]].mean(0))))


def test_errors() -> None:
    from scipy.sparse import csr_matrix

    x = np.eye(4)
    with pytest.raises(OptionError, match="pass n=4 or less"):
        k_center(x, 5)
    with pytest.raises(OptionError, match="pass n=3 or less"):
        k_center(x, 4, start=[0])
    with pytest.raises(OptionError, match="pass the numbers of items"):
        k_center(x, 1, start=[7])
    with pytest.raises(OptionError, match="n=1 or more"):
        herding(x, 0)
    with pytest.raises(DataError, match="TruncatedSVD"):
        herding(csr_matrix(x), 2)
    with pytest.raises(DataError, match="impute"):
        class_distance(x * np.nan, np.zeros(4, int))
