"""Top-k rows are taken wherever dense probabilities are, and give the same bits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.auditing.confident import confident_guess, confident_joint
from labelwright.auditing.error_model import error_model
from labelwright.auditing.fast import confident_core
from labelwright.auditing.filters import FILTERS, find_issues
from labelwright.auditing.kinds import tell_apart
from labelwright.auditing.overlap import mass_joint
from labelwright.auditing.scores import SCORES, ensemble_quality, label_quality
from labelwright.auditing.thresholds import class_thresholds
from labelwright.features.calibration import calibrate, expected_calibration_error, fit_scaling
from labelwright.labels import SoftLabels, check_pred_probs


def case(seed=0, n=400, k=12, top=3):
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, k, n)
    p = rng.dirichlet(np.full(k, 0.2), n)
    at = np.flatnonzero((labels >= 0) & (rng.random(n) < 0.8))
    p[at] = 0.3 * p[at] + 0.7 * np.eye(k)[labels[at]]
    soft = SoftLabels.from_dense(p, k=top, tail=rng.random(k))
    return labels, soft, soft.dense()


def every(labels, p):
    yield class_thresholds(labels, p)
    yield confident_guess(p, class_thresholds(labels, p))
    yield confident_joint(labels, p)
    yield mass_joint(labels, p)
    for rule in FILTERS:
        yield find_issues(labels, p, filter_by=rule)
    for score in SCORES:
        yield label_quality(labels, p, score=score)
    yield label_quality(labels, p, adjust=True)
    yield ensemble_quality(labels, [p, p])
    yield ensemble_quality(labels, [p, p], weights="log_loss")
    core = confident_core(labels, p, scores=SCORES, top=20, threads=1)
    yield from (core.thresholds, core.joint, core.guess, core.top, core.is_issue, core.worst, *core.scores.values())
    yield calibrate(p, labels)
    yield fit_scaling(p, labels).temperature
    yield expected_calibration_error(p, labels)
    fit = error_model(labels, p)
    yield from (fit.error_prob, fit.label_dist)
    yield from tell_apart(labels, fit.label_dist, p, None, fit.error_prob > 0.5)


def test_every_function_gives_the_same_bits_for_topk_rows():
    labels, soft, dense = case()
    for found, expected in zip(every(labels, soft), every(labels, dense), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_numba_reads_topk_rows_too():
    pytest.importorskip("numba")
    labels, soft, dense = case(1)
    found, expected = (confident_core(labels, p, engine="numba", top="all") for p in (soft, dense))
    np.testing.assert_array_equal(found.worst, expected.worst)
    np.testing.assert_array_equal(found.joint, expected.joint)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(2, 9))
def test_reading_rows_and_entries_is_reading_the_matrix(seed, top, k):
    rng = np.random.default_rng(seed)
    soft = SoftLabels.from_dense(rng.dirichlet(np.ones(k), 30), k=top, known=rng.random(30) < 0.9)
    matrix, dense = soft.dense_rows(), soft.dense()
    rows = rng.integers(0, 30, 17)
    mask = rng.random(30) < 0.5
    columns = rng.integers(0, k, 17)
    for at in (slice(3, 20), rows, mask, (rows, columns), (rows, 1), 4):
        np.testing.assert_array_equal(matrix[at], dense[at])
    np.testing.assert_array_equal(np.asarray(matrix), dense)
    assert (matrix.shape, len(matrix), matrix.size, matrix.dtype) == (dense.shape, 30, dense.size, dense.dtype)


def test_single_entries_take_no_full_matrix():
    import tracemalloc

    rng = np.random.default_rng(0)
    n, k = 60_000, 1000
    index = np.argsort(rng.random((n, 5)), 1) + 10 * rng.integers(0, 90, (n, 1))
    soft = SoftLabels.from_topk(index, np.full((n, 5), 0.18), SoftLabels.from_dense(np.eye(k)[:1]).space)
    labels = index[:, 0]
    class_thresholds(labels[:100], soft[:100])
    tracemalloc.start()
    class_thresholds(labels, soft)
    label_quality(labels, soft, score="normalized_margin")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n * k * 4 / 3  # a third of the matrix in float32


def test_bad_rows_are_named():
    from labelwright.errors import ProbabilityError

    soft = case()[1]
    with pytest.raises(ProbabilityError, match="one row per item"):
        check_pred_probs(soft, n_items=3)
    with pytest.raises(ProbabilityError, match="one column per class"):
        check_pred_probs(soft, n_classes=3)
