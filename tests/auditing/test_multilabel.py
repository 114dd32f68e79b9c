"""One-vs-rest confident learning: against the single-label functions, sparse and unknown labels, aggregation."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from labelwright.auditing.confident import confident_joint
from labelwright.auditing.filters import FILTERS, find_issues
from labelwright.auditing.multilabel import (
    AGGREGATES,
    BinaryJoints,
    BinaryThresholds,
    item_quality,
    multilabel_issues,
    multilabel_joints,
)
from labelwright.errors import LabelwrightWarning, OptionError


def random_case(seed: int, n: int = 120, k: int = 5, unknown: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = (rng.random((n, k)) < 0.35).astype(np.int8)
    p = np.clip(0.7 * true + 0.3 * rng.random((n, k)), 0, 1)
    wrong = rng.random((n, k)) < 0.1
    labels = np.where(wrong, 1 - true, true).astype(np.int8)
    labels[rng.random((n, k)) < unknown] = -1
    return labels, p, wrong & (labels >= 0)


def pair(p: np.ndarray) -> np.ndarray:
    return np.stack([1 - p, p], axis=1)


@pytest.mark.parametrize("seed", range(3))
def test_joints_are_those_of_each_class_alone(seed):
    labels, p, _ = random_case(seed)
    joints = multilabel_joints(labels, p)
    for k in range(p.shape[1]):
        np.testing.assert_array_equal(joints[k], confident_joint(labels[:, k].astype(int), pair(p[:, k])))


@pytest.mark.parametrize("rule", FILTERS)
def test_flags_are_those_of_each_class_alone(rule):
    labels, p, _ = random_case(3)
    flags = multilabel_issues(labels, p, filter_by=rule).flags
    for k in range(p.shape[1]):
        np.testing.assert_array_equal(flags[:, k], find_issues(labels[:, k].astype(int), pair(p[:, k]), filter_by=rule))


def test_sparse_and_dense_and_narrow_floats_agree():
    labels, p, _ = random_case(4)
    dense = multilabel_issues(labels, p)
    for form in (sparse.csr_array, sparse.csc_matrix, sparse.coo_array):
        for a, b in zip(multilabel_issues(form(labels), p), dense):
            np.testing.assert_array_equal(a, b)
    narrow = multilabel_issues(labels, p.astype(np.float32))
    assert narrow.quality.dtype == np.float32
    np.testing.assert_allclose(narrow.quality, dense.quality, atol=1e-6)


def test_finds_planted_errors_and_counts_them():
    labels, p, wrong = random_case(5, n=600)
    found = multilabel_issues(labels, p)
    assert found.flags[wrong].mean() > 0.8 and found.flags[~wrong].mean() < 0.02
    assert not found.flags[labels < 0].any()
    assert found.error_count.sum() == pytest.approx(wrong.sum(), rel=0.15)
    np.testing.assert_array_equal(found.joints.sum((1, 2)), (labels >= 0).sum(0))
    bad = wrong.any(1)
    assert found.item_quality[bad].mean() < found.item_quality[~bad].mean() - 0.3


def test_orientation_an_added_label_is_given_1_true_0():
    _, p, _ = random_case(6, n=400, k=2)
    clean = (p > 0.5).astype(np.int8)
    added = clean.copy()
    extra = np.flatnonzero(clean[:, 0] == 0)[:40]
    added[extra, 0] = 1
    joint = multilabel_joints(added, p)[0]
    assert 20 <= joint[1, 0] <= 40 and joint[0, 1] == 0  # confident learning under-counts


def test_quality_by_hand():
    p = np.array([[0.9, 0.3], [0.2, 0.5], [0.5, 0.5]])
    found = multilabel_issues(np.array([[1, 0], [0, -1], [-1, -1]]), p, filter_by="predicted_neq_given")
    np.testing.assert_allclose(found.quality, [[0.9, 0.7], [0.8, np.nan], [np.nan, np.nan]])
    np.testing.assert_allclose(found.item_quality, [0.8 * 0.7 + 0.2 * 0.9, 0.8, np.nan])


@given(st.integers(0, 10_000), st.lists(st.integers(0, 120), max_size=4))
def test_statistics_do_not_depend_on_the_cut(seed, cuts):
    labels, p, _ = random_case(seed)
    edges = [0, *sorted(cuts), len(labels)]
    spans = [slice(a, b) for a, b in zip(edges, edges[1:])]

    def folded(make):
        halves = make(), make()
        for turn, span in enumerate(spans):
            halves[turn % 2].update((labels[span], p[span]))
        halves[0].merge(halves[1])
        return halves[0].result()

    whole = BinaryThresholds(5)
    whole.update((labels, p))
    np.testing.assert_array_equal(folded(lambda: BinaryThresholds(5)), whole.result())
    np.testing.assert_array_equal(folded(lambda: BinaryJoints(whole.result())), multilabel_joints(labels, p))


def naive_item(scores, aggregate):
    known = sorted((s for s in scores if not np.isnan(s)), reverse=True)
    if not known:
        return np.nan
    if aggregate == "moving_average":
        value = known[0]
        for s in known[1:]:
            value = 0.8 * s + 0.2 * value
        return value
    if aggregate == "softmin":
        weight = [np.exp(-s / 0.1) for s in known]
        return sum(w * s for w, s in zip(weight, known)) / sum(weight)
    return min(known) if aggregate == "min" else sum(known) / len(known)


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_aggregation_agrees_with_a_loop(aggregate):
    rng = np.random.default_rng(0)
    scores = np.where(rng.random((50, 6)) < 0.3, np.nan, rng.random((50, 6)))
    scores[0] = np.nan
    expected = [naive_item(row, aggregate) for row in scores]
    np.testing.assert_allclose(item_quality(scores, aggregate=aggregate), expected, atol=1e-12)


def test_moving_average_with_momentum_1_is_the_minimum():
    scores = np.random.default_rng(1).random((20, 4))
    np.testing.assert_allclose(item_quality(scores, momentum=1.0), scores.min(1))


def test_rare_classes_warn_once():
    labels = np.array([[1, 1], [0, 1], [0, 0], [0, 0]])
    p = np.array([[0.9, 0.8], [0.1, 0.9], [0.2, 0.1], [0.1, 0.2]])
    with pytest.warns(LabelwrightWarning, match=r"1 classes.*on that side: \[0\]") as caught:
        multilabel_issues(labels, p)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        multilabel_issues(labels, p, filter_by="confident_learning")


def test_errors_tell_the_fix():
    labels, p, _ = random_case(0)
    with pytest.raises(OptionError, match="did you mean 'softmin'"):
        multilabel_issues(labels, p, aggregate="soft_min")
    with pytest.raises(OptionError, match="did you mean 'both'"):
        multilabel_issues(labels, p, filter_by="bot")
    with pytest.raises(OptionError, match="use filter_by 'prune_by_class'"):
        multilabel_issues(labels, p, filter_by="confident_learning", frac_noise=0.5)


def test_flips_in_real_data_are_flagged(real_data):
    """8 % of the labels of emotions are flipped; logistic regression per class, out of fold."""
    data = np.load(real_data / "multilabel" / "emotions.npz")
    n, k = data["shape_train"][[0, 2]]
    true = sparse.csr_array(
        (np.ones(len(data["y_train_indices"]), np.int8), data["y_train_indices"], data["y_train_indptr"]), shape=(n, k)
    ).toarray()
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.preprocessing import StandardScaler

    x = StandardScaler().fit_transform(data["x_train"])
    rng = np.random.default_rng(0)
    flipped = rng.random(true.shape) < 0.08
    labels = np.where(flipped, 1 - true, true)
    p = np.stack(
        [cross_val_predict(LogisticRegression(C=0.1, max_iter=200), x, labels[:, c], cv=5, method="predict_proba")[:, 1]
         for c in range(k)], axis=1)  # fmt: skip
    flags = multilabel_issues(labels, p).flags
    assert flags[flipped].mean() > 3 * flags[~flipped].mean()
