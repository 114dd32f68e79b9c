"""Class thresholds: against a double loop, and the same bits for every cut of the data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.auditing.thresholds import ClassThresholds, class_thresholds
from labelwright.errors import ProbabilityError
from labelwright.stream.statistic import Statistic


def random_case(seed: int, n: int = 60, k: int = 4, dtype: type = np.float64) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(-1, k, n), rng.dirichlet(np.full(k, 0.4), n).astype(dtype)


def naive(labels: np.ndarray, p: np.ndarray) -> list[float]:
    out = []
    for k in range(p.shape[1]):
        own = [float(p[i, k]) for i in range(len(labels)) if labels[i] == k]
        out.append(max(sum(own) / len(own), 2e-6) if own else 2.0)
    return out


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_agrees_with_a_double_loop(dtype):
    labels, p = random_case(0, dtype=dtype)
    np.testing.assert_allclose(class_thresholds(labels, p), naive(labels, p), atol=1e-12)


def test_absent_class_is_2_and_tiny_means_are_clipped():
    p = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    np.testing.assert_array_equal(class_thresholds(np.array([0, 1]), p), [1.0, 2e-6, 2.0])


def test_all_labels_missing_and_no_rows():
    np.testing.assert_array_equal(class_thresholds(np.array([-1, -1]), np.full((2, 2), 0.5)), [2.0, 2.0])
    np.testing.assert_array_equal(class_thresholds(np.zeros(0, int), np.zeros((0, 3))), [2.0, 2.0, 2.0])


@given(st.integers(0, 10_000), st.lists(st.integers(0, 60), max_size=5), st.randoms())
def test_any_cut_any_order_any_merge_gives_the_same_bits(seed, cuts, random):
    labels, p = random_case(seed)
    edges = [0, *sorted(cuts), len(labels)]
    parts = []
    for a, b in zip(edges, edges[1:]):
        part = ClassThresholds(p.shape[1])
        assert isinstance(part, Statistic)
        part.update((labels[a:b], p[a:b]))
        parts.append(part)
    random.shuffle(parts)
    for other in parts[1:]:
        parts[0].merge(other)
    np.testing.assert_array_equal(parts[0].result(), class_thresholds(labels, p))


def test_permuting_classes_permutes_the_answer():
    labels, p = random_case(3)
    new = np.array([2, 0, 3, 1])  # class k becomes new[k]
    moved = np.empty_like(p)
    moved[:, new] = p
    np.testing.assert_array_equal(
        class_thresholds(np.where(labels < 0, -1, new[labels]), moved)[new], class_thresholds(labels, p)
    )


def test_precision_is_that_of_float64_means_on_many_rows():
    rng = np.random.default_rng(0)
    own = rng.random(300_000)
    p = np.stack([own, 1 - own], axis=1)
    assert class_thresholds(np.zeros(len(own), int), p)[0] == pytest.approx(own.mean(), abs=1e-14)


def test_nan_is_refused() -> None:
    p = np.full((4, 2), 0.5)
    p[2, 1] = np.nan
    with pytest.raises(ProbabilityError, match="predict these rows again"):
        class_thresholds(np.array([0, 1, 1, -1]), p)
    assert class_thresholds(np.array([0, 1, 0, -1]), p)[1] == 0.5  # only the entry of the given label is read
