import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from labelwright.errors import LabelError, OptionError, ProbabilityError
from labelwright.features.calibration import calibrate, expected_calibration_error, fit_scaling
from labelwright.features.folds import fold_ids


def made(n=3000, k=4, temperature=0.4, bias=0.0, seed=0):
    """Labels drawn from softmax(z); the pred_probs shown are softmax(z / temperature + bias): too sure, and tilted."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, k)) * 1.5
    labels = (softmax(z, axis=1).cumsum(1) > rng.random((n, 1))).argmax(1)
    return softmax(z / temperature + bias * np.arange(k), axis=1), labels


def loss(p, labels):
    return -np.log(p[np.arange(len(labels)), labels] + 1e-12).mean()


def test_the_temperature_is_found():
    p, labels = made()
    assert abs(fit_scaling(p, labels).temperature - 2.5) < 0.15


def test_same_as_a_direct_search():
    p, labels = made(n=300)

    def objective(t):
        total = 0.5 * np.log(t) ** 2
        for row, y in zip(p, labels):
            score = [np.log(v) / t for v in row]
            total -= score[y] - np.log(sum(np.exp(s) for s in score))
        return total

    best = minimize_scalar(objective, bounds=(0.2, 20), method="bounded", options={"xatol": 1e-8})
    assert abs(fit_scaling(p, labels).temperature / best.x - 1) < 1e-3


def test_both_methods_mend_what_they_can():
    p, labels = made(bias=0.8)
    once, twice = calibrate(p, labels), calibrate(p, labels, method="vector")
    assert once.dtype == twice.dtype == np.float32
    np.testing.assert_allclose(twice.sum(1), 1, atol=1e-5)
    assert loss(twice, labels) < loss(once, labels) < loss(p, labels)
    assert expected_calibration_error(twice, labels) < 0.03 < expected_calibration_error(p, labels)
    np.testing.assert_array_equal(once.argmax(1), p.argmax(1))  # a temperature keeps the order


def test_no_row_sees_its_own_label():
    p, labels = made(n=200)
    folds = fold_ids(labels)
    before = calibrate(p, labels, method="vector", folds=folds)
    changed = np.where(folds == 2, (labels + 1) % 4, labels)
    after = calibrate(p, changed, method="vector", folds=folds)
    np.testing.assert_array_equal(before[folds == 2], after[folds == 2])
    assert (before[folds != 2] != after[folds != 2]).any()


def test_missing_labels_are_scaled_but_not_fitted_on():
    p, labels = made(n=300)
    labels[:100] = -1
    out = calibrate(p, labels)
    assert out.shape == p.shape and (out[:100] != p[:100]).any()
    np.testing.assert_allclose(out[100:], calibrate(p[100:], labels[100:], folds=fold_ids(labels)[100:]), atol=1e-6)


def test_separable_and_extreme_probabilities_stay_finite():
    p = np.eye(3)[[0, 1, 2] * 20]
    out = calibrate(p, np.tile([0, 1, 2], 20))
    assert np.isfinite(out).all() and (out.argmax(1) == p.argmax(1)).all()
    assert np.isfinite(calibrate(p.astype(np.float16), np.tile([1, 1, 1], 20), method="vector")).all()


def test_permuting_classes_permutes_the_answer():
    p, labels = made(n=400)
    order = np.array([2, 0, 3, 1])
    folds = fold_ids(labels)
    plain = calibrate(p, labels, method="vector", folds=folds)
    np.testing.assert_allclose(
        calibrate(p[:, order], np.argsort(order)[labels], method="vector", folds=folds), plain[:, order], atol=2e-4
    )


def test_calibration_error_by_hand():
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.3, 0.7]])
    # bin of .9: gap |.9 - .5| * 2; bin of .6: |.6 - 1|; bin of .7: |.7 - 1|
    assert expected_calibration_error(p, np.array([0, 1, 0, 1]), n_bins=10) == pytest.approx((0.8 + 0.4 + 0.3) / 4)


def test_errors_tell_the_fix():
    p, labels = made(n=20)
    with pytest.raises(OptionError, match="did you mean 'vector'"):
        calibrate(p, labels, method="vectors")
    with pytest.raises(LabelError, match="one fold id per item"):
        calibrate(p, labels, folds=np.zeros(3))
    with pytest.raises(ProbabilityError, match="softmax"):
        calibrate(p * 9 - 4, labels)
    with pytest.raises(LabelError, match="at least one label"):
        expected_calibration_error(p, np.full(20, -1))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 7), st.integers(1, 60))
def test_calibration_bins_do_not_depend_on_the_cut(seed, k, step):
    from labelwright.features.calibration import CalibrationBins
    from labelwright.stream import open_rows, run

    rng = np.random.default_rng(seed)
    p, labels = rng.dirichlet(np.ones(k + 1), 80), rng.integers(-1, k + 1, 80)
    labels[0] = 0
    naive_count, naive_right, naive_sum = np.zeros(5), np.zeros(5), np.zeros(5)
    for y, row in zip(labels, p):
        if y >= 0:
            b = min(int(row.max() * 5), 4)
            naive_count[b] += 1
            naive_right[b] += row.argmax() == y
            naive_sum[b] += row.max()
    whole = CalibrationBins(5)
    whole.update((labels, p))
    for found in (
        whole.result(),
        run(lambda: CalibrationBins(5), open_rows((labels, p)), chunk_entries=step, tasks=7),
        CalibrationBins.from_state(whole.state()).result(),
    ):
        np.testing.assert_array_equal(found.items, naive_count)
        np.testing.assert_array_equal(found.right, naive_right)
        np.testing.assert_allclose(found.claimed, naive_sum)
        np.testing.assert_allclose(found.error, expected_calibration_error(p, labels, n_bins=5))
