import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from labelwright.auditing.neighbours import credibility, kernel_soft_labels, neighbour_issues, otsu_threshold, suggest
from labelwright.auditing.noise import asymmetric, symmetric
from labelwright.errors import LabelError, LabelwrightWarning, OptionError
from labelwright.features.neighbours import Neighbours, nearest_neighbours
from labelwright.features.pred_probs import out_of_fold

pytestmark = pytest.mark.filterwarnings("ignore::labelwright.errors.LabelwrightWarning")


def made(n=60, k=6, n_classes=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    x[rng.random(n) < 0.2] = x[0]
    return rng.integers(-1, n_classes, n), nearest_neighbours(x, k)


def naive(labels, near, kind, width, balanced, exclude, n_classes):
    """(N, K) class weights by a double loop."""
    size = np.bincount(labels[labels >= 0], minlength=n_classes)
    out = np.zeros((len(labels), n_classes))
    for i in range(len(labels)):
        rank = 0
        for j, s in zip(near.index[i], near.similarity[i].astype(float)):
            if labels[j] < 0 or (exclude and s >= 1 - 1e-6):
                continue
            rank += 1
            w = 1 / rank if kind == "rank" else np.exp(-(1 - s) / width)
            out[i, labels[j]] += w / size[labels[j]] if balanced else w
    return out


@pytest.mark.parametrize("kind", ["kernel", "rank"])
@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("exclude", [False, True])
def test_same_as_the_double_loop(kind, balanced, exclude):
    labels, near = made()
    options = {"weights": kind, "width": 0.3, "class_balanced": balanced, "exclude_duplicates": exclude}
    w = naive(labels, near, kind, 0.3, balanced, exclude, 4)
    total = w.sum(1)
    for i, s in enumerate(credibility(labels, near, **options)):
        if labels[i] < 0 or total[i] == 0:
            assert np.isnan(s)
        else:
            assert s == pytest.approx(w[i, labels[i]] / total[i], abs=1e-9)
    best = suggest(labels, near, **options)
    assert all(b == (-1 if t == 0 else row.argmax()) for b, t, row in zip(best, total, w))
    if kind == "kernel":
        soft = kernel_soft_labels(
            labels, near, 4, width=0.3, mix=0.4, class_balanced=balanced, exclude_duplicates=exclude
        )
        for i, q in enumerate(soft):
            p = w[i] / total[i] if total[i] else np.full(4, 0.25) if labels[i] < 0 else np.eye(4)[labels[i]]
            expected = p if labels[i] < 0 else 0.6 * np.eye(4)[labels[i]] + 0.4 * p
            np.testing.assert_allclose(q, expected, atol=1e-6)


@given(st.integers(0, 500), st.floats(0.01, 3), st.floats(0, 1))
def test_permuting_classes_and_rows_and_rows_sum_to_1(seed, width, mix):
    labels, near = made(seed=seed)
    order = np.random.default_rng(seed).permutation(4)
    renamed = np.where(labels < 0, -1, order[labels])
    np.testing.assert_allclose(credibility(labels, near, width=width), credibility(renamed, near, width=width))
    q = kernel_soft_labels(labels, near, 4, width=width, mix=mix)
    np.testing.assert_allclose(q.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(kernel_soft_labels(renamed, near, 4, width=width, mix=mix)[:, order], q, atol=1e-6)


def test_mix_0_gives_back_the_labels():
    labels, near = made()
    q = kernel_soft_labels(labels, near, 4, mix=0.0)
    np.testing.assert_array_equal(q[labels >= 0], np.eye(4, dtype=np.float32)[labels[labels >= 0]])


def test_by_hand():
    # item 0 (class 0) has neighbours of class 0 at distance 0 and of class 1 at distance .1: weights 1 and 1/e
    near = Neighbours(np.array([[1, 2], [0, 2], [0, 1], [0, 1]]), np.array([[0.8, 0.7]] * 4, np.float32))
    labels = np.array([0, 0, 1, 1])
    share = 1 / (1 + np.exp(-1))
    assert credibility(labels, near)[0] == pytest.approx(share, abs=1e-6)
    assert credibility(labels, near, weights="rank")[0] == pytest.approx(2 / 3)
    assert suggest(labels, near).tolist() == [0, 0, 0, 0]


def test_copies_are_no_second_opinion():
    near = Neighbours(
        np.array([[1, 2], [0, 2], [0, 3], [2, 0]]), np.array([[1, 0.5], [1, 0.5], [0.5, 0.4], [0.4, 0.3]])
    )
    labels = np.array([0, 0, 1, 1])
    assert credibility(labels, near)[0] == 0.0
    assert credibility(labels, near, exclude_duplicates=False)[0] > 0.9


def test_far_from_everything_is_not_0_over_0():
    near = Neighbours(np.array([[1], [0]]), np.array([[-500.0], [-500.0]], np.float32))  # 1 - a Euclidean distance
    assert credibility(np.array([0, 0]), near, width=1e-3).tolist() == [1.0, 1.0]


def test_otsu_same_as_trying_every_cut():
    x = np.random.default_rng(0).choice([0.1, 0.15, 0.2, 0.8, 0.9], 40)
    values = np.unique(x)
    cuts = (values[1:] + values[:-1]) / 2
    within = [sum(part.var() * len(part) for part in (x[x < c], x[x > c])) for c in cuts]
    assert otsu_threshold(x) == pytest.approx(cuts[int(np.argmin(within))])
    assert otsu_threshold(np.full(5, 0.3)) == 0.5 and otsu_threshold(np.array([])) == 0.5


def test_digits_reach_the_card(real_data):
    """The card, k = 20, 20 % noise: AUROC .999 symmetric, .923 asymmetric, .02 above self-confidence."""
    x, y = load_digits(return_X_y=True)
    x, y = x - x.mean(0), y.astype(np.int64)
    near = nearest_neighbours(x, 20)
    noisy, wrong = symmetric(y, 0.2, n_classes=10, random_state=0)
    assert roc_auc_score(wrong, -credibility(noisy, near)) > 0.99
    soft = kernel_soft_labels(noisy, near, 10, mix=1.0)
    assert (soft.argmax(1) == y).mean() > 0.94  # relabelled from 80 % right
    noisy, wrong = asymmetric(y, 0.2, n_classes=10, random_state=0)
    ours = roc_auc_score(wrong, -credibility(noisy, near))
    own = out_of_fold(x, noisy)[np.arange(len(y)), noisy]
    assert ours > 0.923 and ours > roc_auc_score(wrong, -own) + 0.02
    found = neighbour_issues(noisy, near)
    assert (found.suggested[found.is_issue] == y[found.is_issue]).mean() > 0.85
    assert found.is_issue[wrong].mean() > 0.85 and wrong[found.is_issue].mean() > 0.8


def test_features_that_say_nothing_are_reported():
    rng = np.random.default_rng(0)
    near = nearest_neighbours(rng.normal(size=(300, 4)), 10)
    with pytest.warns(LabelwrightWarning, match="features of a better encoder"):
        neighbour_issues(rng.integers(0, 5, 300), near)
    x, y = np.repeat(np.eye(2), 50, axis=0) + 0.1 * rng.normal(size=(100, 2)), np.repeat([0, 1], 50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = neighbour_issues(y, nearest_neighbours(x, 5))
    assert found.agreement > 0.95


def test_single_items_warn_and_are_not_flagged():
    near = Neighbours(np.array([[1, 2], [0, 2], [0, 1]]), np.full((3, 2), 0.5, np.float32))
    with pytest.warns(LabelwrightWarning, match=r"1 classes have a single item \(class 7\).*judge those items by hand"):
        found = neighbour_issues(np.array([0, 0, 7]), near, threshold=0.9)
    assert found.credibility[2] == 0 and found.is_issue.tolist() == [True, True, False]


def test_nothing_labelled_and_one_class():
    labels, near = np.full(60, -1), made()[1]
    found = neighbour_issues(labels, near)
    assert np.isnan(found.credibility).all() and not found.is_issue.any() and (found.suggested == -1).all()
    assert not neighbour_issues(np.zeros(60, int), near).is_issue.any()


def test_errors_tell_the_fix():
    labels, near = made()
    with pytest.raises(OptionError, match="did you mean 'kernel'"):
        credibility(labels, near, weights="kernal")
    with pytest.raises(OptionError, match=r"pass width=0\.1"):
        credibility(labels, near, width=0)
    with pytest.raises(OptionError, match=r"pass mix=0\.5"):
        kernel_soft_labels(labels, near, 4, mix=2)
    with pytest.raises(LabelError, match="pass labels of the same rows"):
        suggest(labels[1:], near)
    with pytest.raises(LabelError, match="outside the space"):
        kernel_soft_labels(labels, near, 2)
