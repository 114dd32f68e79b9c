"""Noise generators: rates in expectation, seeds, where labels go."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.auditing.noise import asymmetric, from_transition, instance_dependent, scaled_to_mean, symmetric
from labelwright.errors import OptionError, ProbabilityError

N, K = 20_000, 4
TRUE = np.random.default_rng(0).integers(0, K, N)
PROBS = np.random.default_rng(1).dirichlet(np.ones(K), N) * 0.5 + 0.5 * np.eye(K)[TRUE]


def observed(noisy: np.ndarray) -> np.ndarray:
    return np.array([[np.mean(noisy[t == TRUE] == g) for g in range(K)] for t in range(K)])


def test_symmetric_flips_to_every_other_class_alike():
    noisy, flipped = symmetric(TRUE, 0.3, n_classes=K, random_state=0)
    np.testing.assert_allclose(observed(noisy), 0.7 * np.eye(K) + 0.1 * (1 - np.eye(K)), atol=0.02)
    np.testing.assert_array_equal(flipped, noisy != TRUE)
    assert flipped.mean() == pytest.approx(0.3, abs=0.01)


def test_pairwise_and_class_map():
    noisy, _ = asymmetric(TRUE, 0.2, n_classes=K, random_state=0)
    np.testing.assert_allclose(observed(noisy), 0.8 * np.eye(K) + 0.2 * np.roll(np.eye(K), 1, axis=1), atol=0.02)
    noisy, flipped = asymmetric(TRUE, 0.4, n_classes=K, class_map={1: 3}, random_state=0)
    assert set(TRUE[flipped]) == {1} and set(noisy[flipped]) == {3}
    assert flipped[TRUE == 1].mean() == pytest.approx(0.4, abs=0.02)


def test_transition_rows_are_true_columns_given():
    transition = np.array([[0.5, 0.5, 0, 0], [0, 1, 0, 0], [0.1, 0.2, 0.3, 0.4], [0, 0, 0, 1]])
    noisy, flipped = from_transition(TRUE, transition, random_state=3)
    np.testing.assert_allclose(observed(noisy), transition, atol=0.02)
    np.testing.assert_array_equal(flipped, noisy != TRUE)
    assert (observed(noisy)[transition == 0] == 0).all()


@pytest.mark.parametrize("form", ["margin", "self_confidence"])
def test_instance_dependent_has_the_rate_prefers_hard_items_and_flips_to_the_runner_up(form):
    rates = [instance_dependent(TRUE, PROBS, 0.25, form=form, random_state=s)[1].mean() for s in range(20)]
    assert np.mean(rates) == pytest.approx(0.25, abs=0.003)
    noisy, flipped = instance_dependent(TRUE, PROBS, 0.25, form=form, random_state=0)
    own = PROBS[np.arange(N), TRUE]
    assert own[flipped].mean() < own[~flipped].mean() - 0.01
    others = PROBS.copy()
    others[np.arange(N), TRUE] = -1
    np.testing.assert_array_equal(noisy, np.where(flipped, others.argmax(1), TRUE))


def test_self_confidence_form_is_the_proportional_rule_while_no_item_reaches_the_cap():
    weight = 1 - PROBS[np.arange(N), TRUE] + 1e-3
    chance = weight / weight.mean() * 0.05
    assert chance.max() < 0.9
    np.testing.assert_allclose(scaled_to_mean(weight, 0.05, 0.9), chance)


@given(st.lists(st.floats(0.001, 100), min_size=1, max_size=30), st.floats(0, 0.89))
def test_scaled_chances_have_the_mean_and_keep_the_cap(weight, mean):
    chance = scaled_to_mean(np.array(weight), mean, 0.9)
    assert chance.mean() == pytest.approx(mean, abs=1e-9)
    assert (chance <= 0.9).all() and (chance >= 0).all()
    assert (np.diff(chance[np.argsort(weight)]) >= -1e-12).all()


ALL = {
    "symmetric": lambda y, r, s: symmetric(y, r, n_classes=K, random_state=s),
    "asymmetric": lambda y, r, s: asymmetric(y, r, n_classes=K, random_state=s),
    "instance": lambda y, r, s: instance_dependent(y, PROBS[: len(y)], r, random_state=s),
}


@pytest.mark.parametrize("kind", ALL)
def test_seed_zero_rate_missing_labels_and_input(kind):
    labels = TRUE[:500].copy()
    labels[::7] = -1
    before = labels.copy()
    noisy, flipped = ALL[kind](labels, 0.4, 5)
    np.testing.assert_array_equal(labels, before)
    np.testing.assert_array_equal(noisy, ALL[kind](labels, 0.4, 5)[0])
    assert (noisy != ALL[kind](labels, 0.4, 6)[0]).any()
    assert (noisy[::7] == -1).all() and not flipped[::7].any() and noisy.dtype == np.int64
    assert not ALL[kind](labels, 0.0, 5)[1].any()


def test_errors_tell_the_fix():
    with pytest.raises(OptionError, match=r"pass 0\.2 for 20 %"):
        symmetric(TRUE, 20, n_classes=K)
    with pytest.raises(OptionError, match="pass the number of classes"):
        symmetric(TRUE, 0.2, n_classes=1)
    with pytest.raises(OptionError, match="map class numbers"):
        asymmetric(TRUE, 0.2, n_classes=K, class_map={1: 9})
    with pytest.raises(ProbabilityError, match=r"transition\.sum\(1, keepdims=True\)"):
        from_transition(TRUE, np.ones((K, K)))
    with pytest.raises(OptionError, match="lower the rate or raise cap"):
        instance_dependent(TRUE, PROBS, 0.95)
    with pytest.raises(OptionError, match="did you mean 'margin'"):
        instance_dependent(TRUE, PROBS, 0.2, form="margins")
