"""Confident joint and noise rates: orientation, a double loop, calibration, chunking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.auditing.confident import (
    PRIORS,
    ConfidentJoint,
    calibrate,
    class_prior,
    confident_guess,
    confident_joint,
    noise_rates,
    round_rows,
)
from labelwright.auditing.thresholds import class_thresholds
from labelwright.errors import OptionError


def random_case(seed: int, n: int = 80, k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(-1, k, n), rng.dirichlet(np.full(k, 0.4), n)


def noisy_case(transition: np.ndarray, n: int = 6000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True labels, given labels, and the probabilities of the given label that an ideal model outputs."""
    rng = np.random.default_rng(seed)
    k = len(transition)
    true = rng.integers(0, k, n)
    given_ = np.array([rng.choice(k, p=transition[t]) for t in true])
    return true, given_, transition[true]


def naive_joint(labels: np.ndarray, p: np.ndarray) -> np.ndarray:
    k = p.shape[1]
    t = class_thresholds(labels, p)
    counts = np.zeros((k, k), int)
    for i in range(len(labels)):
        confident = [c for c in range(k) if p[i, c] >= t[c] - 1e-6]
        if labels[i] < 0 or not confident:
            continue
        guess = confident[0] if len(confident) == 1 else max(range(k), key=lambda c: p[i, c])
        counts[labels[i], guess] += 1
    for c in range(k):
        counts[c, c] = max(counts[c, c], 1)
    return counts


@pytest.mark.parametrize("seed", range(5))
def test_raw_joint_agrees_with_a_double_loop(seed):
    labels, p = random_case(seed)
    np.testing.assert_array_equal(confident_joint(labels, p, calibrated=False), naive_joint(labels, p))


def test_several_confident_classes_take_the_arg_max_over_all_classes():
    # classes 1 and 2 are confident, class 0 is not, but has the largest probability: the guess is 0
    assert confident_guess(np.array([[0.4, 0.3, 0.3]]), np.array([0.9, 0.2, 0.2])).tolist() == [0]
    # one confident class: the guess is that class, whatever the arg max
    assert confident_guess(np.array([[0.6, 0.3, 0.1]]), np.array([0.9, 0.2, 0.2])).tolist() == [1]
    # a hair under the threshold is enough
    assert confident_guess(np.array([[0.6999995, 0.3]]), np.array([0.7, 0.9])).tolist() == [0]


def test_calibrated_rows_sum_to_the_given_counts_and_missing_labels_are_skipped():
    labels, p = random_case(1)
    joint = confident_joint(labels, p)
    np.testing.assert_array_equal(joint.sum(1), np.bincount(labels[labels >= 0], minlength=4))
    np.testing.assert_array_equal(joint, confident_joint(labels[labels >= 0], p[labels >= 0]))


def test_asymmetric_noise_has_the_right_orientation():
    # 30 % of the true 0 are given as 1; no true 1 is given as 0
    transition = np.array([[0.7, 0.3, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    true, given_, p = noisy_case(transition)
    joint = confident_joint(given_, 0.9 * np.eye(3)[true] + 0.1 * p)
    assert joint[1, 0] > 400  # given 1, true 0
    assert joint[0, 1] == 0
    rates = noise_rates(joint)
    np.testing.assert_allclose(rates.transition, transition, atol=0.02)  # [true, given]
    np.testing.assert_allclose(rates.transition.sum(1), 1)
    observed = np.array([[np.mean(true[given_ == s] == t) for t in range(3)] for s in range(3)])
    np.testing.assert_allclose(rates.inverse, observed, atol=0.02)  # [given, true]
    np.testing.assert_allclose(rates.inverse.sum(1), 1)
    for method in PRIORS:
        np.testing.assert_allclose(noise_rates(joint, prior=method).prior, np.bincount(true) / len(true), atol=0.02)
    assert rates.rate == pytest.approx(np.mean(true != given_), abs=0.01)


def test_noise_rates_agree_with_a_double_loop():
    joint = np.array([[5, 2, 1], [0, 7, 3], [1, 0, 9]])
    rates = noise_rates(joint)
    for i in range(3):
        for j in range(3):
            assert rates.transition[j, i] == pytest.approx(joint[i, j] / joint[:, j].sum())
            assert rates.inverse[i, j] == pytest.approx(joint[i, j] / joint[i].sum())
    share = joint.sum(1) / joint.sum()
    prior = np.array([rates.inverse[k, k] / rates.transition[k, k] * share[k] for k in range(3)])
    np.testing.assert_allclose(rates.prior, prior / prior.sum())


def test_priors_coincide_on_a_calibrated_joint_and_sum_to_1():
    joint = np.array([[5, 2, 1], [0, 7, 3], [1, 0, 9]])
    for method in PRIORS:
        prior = class_prior(joint, joint.sum(1), method=method)
        np.testing.assert_allclose(prior, joint.sum(0) / joint.sum(), atol=1e-9)


def test_no_noise_gives_identity_and_absent_classes_stay_finite():
    rates = noise_rates(np.diag([4, 0, 2]))
    np.testing.assert_array_equal(rates.transition, np.eye(3))
    np.testing.assert_array_equal(rates.inverse, np.eye(3))
    assert rates.rate == 0
    assert np.isfinite(rates.prior).all() and rates.prior[1] < 1e-5


@given(st.integers(0, 10_000), st.lists(st.integers(0, 80), max_size=4))
def test_any_cut_gives_the_same_bits(seed, cuts):
    labels, p = random_case(seed)
    thresholds = class_thresholds(labels, p)
    edges = [0, *sorted(cuts), len(labels)]
    left, right = ConfidentJoint(thresholds), ConfidentJoint(thresholds)
    for turn, (a, b) in enumerate(zip(edges, edges[1:])):
        (left, right)[turn % 2].update((labels[a:b], p[a:b]))
    right.merge(left)
    np.testing.assert_array_equal(right.result(), confident_joint(labels, p))


@given(st.lists(st.lists(st.floats(0, 50), min_size=3, max_size=3), min_size=1, max_size=4))
def test_rounding_keeps_row_totals_and_moves_nothing_by_more_than_one(matrix):
    matrix = np.array(matrix)
    rounded = round_rows(matrix)
    np.testing.assert_allclose(rounded.sum(1), np.rint(matrix.sum(1)), atol=0.51)
    assert (np.abs(rounded - matrix) <= 1 + 1e-8).all() and (rounded >= 0).all()


def test_rounding_ties_go_to_the_higher_column():
    np.testing.assert_array_equal(round_rows(np.array([[0.5, 0.5, 1.0], [1.4, 1.4, 1.2]])), [[0, 1, 1], [1, 2, 1]])


def test_calibrate_leaves_an_absent_class_empty():
    np.testing.assert_array_equal(calibrate(np.array([[1, 0], [2, 2]]), np.array([0, 10])), [[0, 0], [5, 5]])


def test_float32_and_two_classes():
    labels, p = random_case(2, k=2)
    np.testing.assert_array_equal(confident_joint(labels, p.astype(np.float32)), confident_joint(labels, p))


def test_unknown_prior_lists_the_right_ones():
    with pytest.raises(OptionError, match="did you mean 'marginal'"):
        class_prior(np.eye(2), np.ones(2), method="margnal")
