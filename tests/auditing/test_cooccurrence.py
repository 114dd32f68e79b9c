"""What an item's other labels say about each class."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import labelwright as lw
from labelwright.auditing import cooccurrence
from labelwright.auditing._multi import _belief
from labelwright.auditing.cooccurrence import FOLDS, RIDGES, others_say
from labelwright.auditing.error_model import error_model
from labelwright.errors import DataError


def drawn(n, k, seed, unknown=0.2):
    """Classes that depend on each other by a hidden trait that the probabilities do not know."""
    rng = np.random.default_rng(seed)
    trait = rng.normal(size=(n, 1)) * rng.choice([-2, 2], k)
    p = rng.uniform(0.1, 0.9, (n, k))
    y = (rng.logistic(size=(n, k)) < np.log(p / (1 - p)) + trait).astype(np.int8)
    return np.where(rng.random((n, k)) < unknown, -1, y), p


def naive(labels, p, ridge, seed):
    """One ridge regression per class and fold."""
    r = np.where(labels >= 0, labels - p, 0.0)
    spread = np.array([np.sqrt((r[:, j] ** 2).sum() / (labels[:, j] >= 0).sum()) for j in range(r.shape[1])])
    z = r / spread
    fold = np.random.default_rng(seed).permutation(len(z)) % FOLDS
    out = np.zeros_like(z)
    for f in range(FOLDS):
        train = z[fold != f]
        for k in range(z.shape[1]):
            others = [j for j in range(z.shape[1]) if j != k]
            x = train[:, others]
            beta = np.linalg.solve(x.T @ x + ridge * np.eye(len(others)), x.T @ train[:, k])
            out[fold == f, k] = z[fold == f][:, others] @ beta
    return out / spread, ((z - out)[labels >= 0] ** 2).sum()


@settings(max_examples=15, deadline=None)
@given(st.integers(20, 80), st.integers(2, 5), st.integers(0, 99))
def test_it_is_one_ridge_regression_per_class(n, k, seed):
    labels, p = drawn(n, k, seed)
    if ((labels >= 0).sum(0) == 0).any():
        return
    tried = [naive(labels, p, ridge, seed) for ridge in RIDGES]
    found = others_say(labels, p, random_state=seed)
    z_loss = sum(
        (np.where(labels[:, j] >= 0, labels[:, j] - p[:, j], 0.0) ** 2).sum()
        / ((np.where(labels[:, j] >= 0, labels[:, j] - p[:, j], 0.0) ** 2).sum() / (labels[:, j] >= 0).sum())
        for j in range(k)
    )
    best = min(tried, key=lambda t: t[1])
    expected = best[0] if best[1] < z_loss else np.zeros_like(p)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_a_label_does_not_speak_for_itself():
    labels, p = drawn(200, 4, 1, unknown=0.0)
    before = others_say(labels, p)
    labels[7, 2] = 1 - labels[7, 2]
    after = others_say(labels, p)
    assert abs(after[7, 2] - before[7, 2]) < 0.05 * abs(before[7, 2])  # the common scale moves a little, no more
    assert abs(after[7, 0] - before[7, 0]) > 0.5 * abs(before[7, 2])


@pytest.mark.parametrize(
    ("labels", "p"),
    [
        (np.ones((50, 1), int), np.full((50, 1), 0.5)),  # one class
        (np.full((50, 3), -1), np.full((50, 3), 0.5)),  # nothing known
        (np.tile([1, 0, 1], (50, 1)), np.tile([1.0, 0.0, 1.0], (50, 1))),  # no surprise
        (np.ones((4, 3), int), np.full((4, 3), 0.5)),  # too few items for folds
    ],
)
def test_nothing_to_say(labels, p):
    assert not others_say(labels, p).any()


def test_of_many_classes_the_commonest_hear_each_other(monkeypatch):
    labels, p = drawn(300, 6, 3)
    labels[:, 2] = 0
    monkeypatch.setattr(cooccurrence, "MOST_CLASSES", 5)
    found = others_say(labels, p)
    keep = [0, 1, 3, 4, 5]
    assert not found[:, 2].any()
    np.testing.assert_allclose(found[:, keep], others_say(labels[:, keep], p[:, keep]))


def test_unrelated_labels_say_next_to_nothing():
    rng = np.random.default_rng(0)
    p = rng.random((3000, 5))
    assert np.abs(others_say((rng.random(p.shape) < p).astype(int), p)).mean() < 0.1


def test_errors_that_the_other_labels_give_away_are_found():
    labels, p = drawn(3000, 5, 0, unknown=0.0)
    wrong = np.random.default_rng(1).random(labels.shape) < 0.05
    given_labels = np.where(wrong, 1 - labels, labels)
    audit = lw.audit(given_labels, p, multi=True)
    doubt = np.where(given_labels == 1, 1 - audit.label_dist, audit.label_dist)
    alone = np.where(given_labels == 1, 1 - p, p)

    def precision(score):
        return wrong.ravel()[np.argsort(-score.ravel())[: wrong.sum()]].mean()

    assert precision(doubt) > precision(alone) + 0.05


def test_real_sets_with_flipped_tags(real_data):
    d = np.load(real_data / "multilabel" / "yeast.npz")
    y = np.zeros((1500, 14), np.int8)
    y[np.repeat(np.arange(1500), np.diff(d["y_train_indptr"])), d["y_train_indices"]] = 1
    wrong = np.random.default_rng(0).random(y.shape) < 0.05
    given_labels = np.where(wrong, 1 - y, y)
    p = lw.features.out_of_fold_multilabel(lw.features.item_vectors(d["x_train"]).model, given_labels)
    doubt = lw.audit(given_labels, p, multi=True).label_dist
    doubt = np.where(given_labels == 1, 1 - doubt, doubt)
    alone = np.where(given_labels == 1, 1 - p, p)
    first = wrong.sum()
    hits = [wrong.ravel()[np.argsort(-s.ravel(), kind="stable")[:first]].mean() for s in (doubt, alone)]
    assert hits[0] > hits[1] + 0.15


def test_evidence_of_another_shape_is_refused():
    with pytest.raises(DataError, match="write 0 where the source says nothing"):
        error_model(np.array([0, 1]), np.full((2, 2), 0.5), log_evidence=np.zeros((2, 3)))
    with pytest.raises(DataError, match="2 of it NaN"):
        error_model(np.array([0, 1]), np.full((2, 2), 0.5), log_evidence=np.full((2, 1), np.nan) * np.ones((1, 1)))


def test_the_belief_in_guessed_tags_falls_with_the_model():
    y = np.array([[1, 0, 1, -1], [0, 1, 1, 0]])
    assert _belief(y, np.where(y == 1, 0.9, 0.1)) == pytest.approx(0.4 + 0.6 / 3)
    assert _belief(y, np.full(y.shape, 0.4)) == 0  # foresees nothing
    p = np.array([[0.9, 0.9, 0.1, 0.9], [0.1, 0.9, 0.9, 0.1]])  # three of four tags found, one not there
    assert _belief(y, p) == pytest.approx(0.6 * (2 * 3 / (4 + 4)) ** 3)
    assert _belief(np.zeros((2, 2)), np.zeros((2, 2))) == 0


def test_what_a_weak_model_does_not_foresee_is_not_counted_as_wrong(monkeypatch):
    rng = np.random.default_rng(0)
    truth = rng.random((1500, 5)) < 0.4
    wrong = rng.random(truth.shape) < 0.05
    given_labels = np.where(wrong, ~truth, truth).astype(int)
    seen = truth + rng.normal(0, 1.0, truth.shape)
    p = 0.05 + 0.9 / (1 + np.exp(-(seen - 0.5) - np.log(0.4 / 0.6)))  # of the given labels
    found = lw.audit(given_labels, p, multi=True).error_rate.estimate
    monkeypatch.setattr("labelwright.auditing._multi._belief", lambda y, p: None)
    as_one_label = lw.audit(given_labels, p, multi=True).error_rate.estimate
    assert wrong.any(1).mean() < found < as_one_label - 0.1
