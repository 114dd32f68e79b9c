"""Training dynamics against loops over epochs and items, merging, and a model that is really trained."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.auditing.dynamics import EpochScores, training_dynamics
from labelwright.errors import DataError


def random_case(seed: int, epochs: int = 7, n: int = 30, k: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(-1, k, n), rng.normal(size=(epochs, n, k)) * 2


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_agrees_with_loops():
    labels, logits = random_case(0)
    p = softmax(logits)
    found = training_dynamics(labels, logits, from_logits=True)
    for i, s in enumerate(labels):
        if s < 0:
            assert np.isnan(
                [found.aum[i], found.confidence[i], found.variability[i], found.loss[i], found.quality[i]]
            ).all()
            assert not found.learned[i] and found.forgetting[i] == 0
            continue
        own = [p[e, i, s] for e in range(7)]
        margin = [logits[e, i, s] - max(logits[e, i, c] for c in range(3) if c != s) for e in range(7)]
        right = [p[e, i].argmax() == s for e in range(7)]
        assert found.aum[i] == pytest.approx(sum(margin) / 7)
        assert found.confidence[i] == pytest.approx(sum(own) / 7)
        assert found.variability[i] == pytest.approx(np.std(own))
        assert found.loss[i] == pytest.approx(-sum(math.log(v) for v in own) / 7)
        assert found.forgetting[i] == sum(right[e - 1] and not right[e] for e in range(1, 7))
        assert found.learned[i] == any(right)
        assert found.quality[i] == pytest.approx(1 / (1 + math.exp(-sum(margin) / 7)))


def test_probabilities_give_the_same_as_logits():
    labels, logits = random_case(1)
    for a, b in zip(training_dynamics(labels, softmax(logits)), training_dynamics(labels, logits, from_logits=True)):
        np.testing.assert_allclose(a, b, atol=1e-9)


@given(st.integers(0, 10_000), st.integers(0, 7), st.integers(0, 7))
def test_merging_halves_in_epoch_order_changes_nothing(seed, first, second):
    labels, logits = random_case(seed)
    edges = [0, *sorted((first, second)), 7]
    parts = []
    for a, b in zip(edges, edges[1:]):
        parts.append(EpochScores(labels, from_logits=True))
        for epoch in logits[a:b]:
            parts[-1].update(epoch)
    parts[1].merge(parts[2])
    parts[0].merge(parts[1])
    whole = training_dynamics(labels, iter(logits), from_logits=True)
    for name, a, b in zip(whole._fields, parts[0].result(), whole):
        np.testing.assert_allclose(a, b, atol=1e-9, err_msg=name)
    np.testing.assert_array_equal(parts[0].result().forgetting, whole.forgetting)


def test_forgetting_by_hand():
    right, wrong = [0.9, 0.1], [0.1, 0.9]
    p = np.array([[right, wrong, wrong], [wrong, wrong, right], [right, wrong, right], [wrong, wrong, right]])
    found = training_dynamics(np.zeros(3, int), p)
    assert found.forgetting.tolist() == [2, 0, 0]
    assert found.learned.tolist() == [True, False, True]


def test_zeros_huge_logits_and_narrow_floats_stay_finite():
    labels = np.array([0, 1])
    sure = training_dynamics(labels, np.array([[[1.0, 0.0], [1.0, 0.0]]], np.float16))
    assert np.isfinite(sure.aum).all() and sure.quality[0] > 0.999 and sure.quality[1] < 0.001
    huge = training_dynamics(labels, np.array([[[1e4, -1e4], [1e4, -1e4]]]), from_logits=True)
    np.testing.assert_allclose(huge.aum, [2e4, -2e4])
    np.testing.assert_array_equal(huge.quality, [1.0, 0.0])


def test_errors_tell_the_fix():
    with pytest.raises(DataError, match="call update once per epoch"):
        training_dynamics(np.zeros(2, int), [])
    with pytest.raises(DataError, match="sort each epoch's outputs by item number"):
        training_dynamics(np.zeros(2, int), np.ones((1, 3, 2)))


def test_ranks_planted_noise_on_digits():
    """Softmax regression trained by gradient descent; the area under the margin beats the last epoch."""
    from sklearn.datasets import load_digits
    from sklearn.metrics import roc_auc_score

    from labelwright.auditing.noise import asymmetric

    x, y = load_digits(return_X_y=True)
    x = np.c_[x / 16, np.ones(len(x))]
    noisy, flipped = asymmetric(y, 0.3, n_classes=10, random_state=0)
    weights, epochs = np.zeros((x.shape[1], 10)), []
    for _ in range(60):
        p = softmax(x @ weights)
        epochs.append(p)
        weights -= 2.0 * x.T @ (p - np.eye(10)[noisy]) / len(x)
    found = training_dynamics(noisy, epochs[1:])
    last = epochs[-1][np.arange(len(y)), noisy]
    assert roc_auc_score(flipped, -found.quality) > 0.9
    assert roc_auc_score(flipped, -found.quality) > roc_auc_score(flipped, -last)
