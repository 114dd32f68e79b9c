import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.datasets import load_digits
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from labelwright.errors import DataError, LabelError, OptionError
from labelwright.features.calibration import expected_calibration_error
from labelwright.features.folds import fold_ids
from labelwright.features.pred_probs import out_of_fold, out_of_fold_multilabel


def blobs(n=300, k=3, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    return rng.normal(size=(n, 5)) + 2.5 * np.eye(5)[y % 5], y


def test_same_as_a_loop_over_folds():
    x, y = blobs()
    got = out_of_fold(x, y, estimator=GaussianNB(), calibrate=False, random_state=3)
    fold = fold_ids(y, random_state=3)
    for i in range(len(y)):
        if fold[i] == fold[max(i - 1, 0)] and i > 40:
            continue  # one item per fold change is enough
        model = GaussianNB().fit(x[fold != fold[i]], y[fold != fold[i]])
        np.testing.assert_allclose(got[i], model.predict_proba(x[i : i + 1])[0], atol=1e-6)


def test_no_item_sees_its_own_label():
    x, y = blobs()
    fold = fold_ids(y)
    before = out_of_fold(x, y)
    i = 7
    changed = y.copy()
    changed[i] = (y[i] + 1) % 3
    fixed = out_of_fold(x, changed)
    if (fold_ids(changed) == fold).all():  # the folds depend on the labels, so compare only when they agree
        np.testing.assert_allclose(fixed[i], before[i], atol=1e-6)
    labels = np.random.default_rng(1).integers(0, 2, 200)  # noise: a model that peeks would be right
    p = out_of_fold(np.eye(200, dtype=np.float32), labels)
    assert (p.argmax(1) == labels).mean() < 0.6


def test_groups_are_never_on_both_sides():
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(60), 5)
    y = rng.integers(0, 2, 60)[groups]
    x = np.eye(60)[groups] + 0.01 * rng.normal(size=(300, 60))  # features that give away the group, and nothing else
    leaky, honest = out_of_fold(x, y).argmax(1) == y, out_of_fold(x, y, groups=groups).argmax(1) == y
    assert leaky.mean() > 0.95 and honest.mean() < 0.7


@pytest.mark.parametrize(
    "estimator",
    [
        None,
        GaussianNB(),
        LinearSVC(),
        RandomForestClassifier(20),
        make_pipeline(StandardScaler(), LogisticRegression()),
    ],
)
@pytest.mark.parametrize("k", [2, 4])
def test_any_classifier(estimator, k):
    x, y = blobs(k=k)
    p = out_of_fold(x, y, estimator=estimator)
    assert p.shape == (300, k) and p.dtype == np.float32
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    assert (p.argmax(1) == y).mean() > 0.85
    np.testing.assert_array_equal(p, out_of_fold(x, y, estimator=estimator))  # random forests repeat too


def test_sparse_is_as_good():
    x, y = blobs()
    x = np.maximum(x, 0)
    p = out_of_fold(csr_matrix(x), y)
    assert (p.argmax(1) == y).mean() > 0.85


def test_absent_and_rare_classes_have_their_columns():
    x, y = blobs()
    y = y.copy()
    y[0] = 4  # once: no training fold that predicts it has it
    p = out_of_fold(x, y, n_classes=7, calibrate=False)
    assert p.shape == (300, 7) and (p > 0).all()
    assert p[0, 4] == pytest.approx(1 / (240 + 7), rel=1e-5)
    assert p[5, 6] == pytest.approx(1 / (240 + 7), rel=1e-5)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)


def test_one_class_gives_the_smoothed_constant():
    p = out_of_fold(np.random.default_rng(0).normal(size=(10, 2)), np.zeros(10, int), n_classes=2, calibrate=False)
    np.testing.assert_allclose(p[:, 1], 1 / 10, atol=1e-6)  # 8 trained on, K = 2
    assert out_of_fold(np.ones((4, 2)), np.zeros(4, int)).tolist() == [[1.0]] * 4


def test_missing_labels_get_the_mean_of_the_folds_and_are_not_trained_on():
    x, y = blobs()
    given = y.copy()
    given[250:] = -1
    p = out_of_fold(x, given, n_classes=3, calibrate=False, estimator=GaussianNB())
    fold = fold_ids(given)
    models = [GaussianNB().fit(x[(given >= 0) & (fold != f)], y[(given >= 0) & (fold != f)]) for f in range(5)]
    np.testing.assert_allclose(p[250:], np.mean([m.predict_proba(x[250:]) for m in models], axis=0), atol=1e-6)
    assert (p[250:].argmax(1) == y[250:]).mean() > 0.85


def test_an_unlabelled_item_is_not_predicted_from_its_own_group():
    groups = np.repeat(np.arange(20), 3)
    y = np.repeat(np.arange(20) % 2, 3)
    given = np.where(np.arange(60) % 3 == 0, -1, y)
    x = np.eye(20)[groups]
    p = out_of_fold(x, given, groups=groups)
    assert (np.abs(p - 0.5) < 0.2).all()  # nothing carries over between groups


@settings(max_examples=15)
@given(st.integers(0, 1000), st.integers(2, 12), st.integers(1, 4))
def test_small_and_odd_inputs_never_crash(seed, n, k):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, 3)), rng.integers(-1, k, n)
    y[:2] = 0
    p = out_of_fold(x, y, n_classes=k)
    assert p.shape == (n, k) and np.isfinite(p).all()
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)


def test_digits_are_accurate_and_calibrated():
    x, y = load_digits(return_X_y=True)
    p = out_of_fold(x, y)
    assert (p.argmax(1) == y).mean() > 0.96
    assert expected_calibration_error(p, y) < 0.02


def test_progress_and_fewer_items_than_folds():
    seen = []
    out_of_fold(np.eye(3), np.array([0, 1, 0]), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_multilabel_same_as_a_loop():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 6)).astype(np.float32)
    y = (x[:, :3] + 0.5 * rng.normal(size=(200, 3)) > 0.5).astype(int)
    y[rng.random(y.shape) < 0.2] = -1
    got = out_of_fold_multilabel(x, y, estimator=LogisticRegression())
    from labelwright.features.pred_probs import _rarest_class

    fold = fold_ids(_rarest_class(y))
    for c in range(3):
        for f in range(5):
            train = (fold != f) & (y[:, c] >= 0)
            model = LogisticRegression().fit(x[train], y[train, c])
            np.testing.assert_allclose(got[fold == f, c], model.predict_proba(x[fold == f])[:, 1], atol=1e-5)


def test_multilabel_constants_missing_rows_and_quality():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 6))
    y = np.column_stack([x[:, 0] > 0, np.zeros(300), np.ones(300), x[:, 1] > 0]).astype(int)
    y[290:] = -1
    p = out_of_fold_multilabel(csr_matrix(x), y)
    assert p.shape == (300, 4) and p.dtype == np.float32 and (p > 0).all() and (p < 1).all()
    np.testing.assert_allclose(p[:, 1], 1 / 234, rtol=1e-4)  # 232 known: (0 + 1) / (232 + 2)
    np.testing.assert_allclose(p[:, 2], 233 / 234, rtol=1e-4)
    assert ((p[:, 0] > 0.5) == (x[:, 0] > 0)).mean() > 0.9


def test_errors_tell_the_fix():
    x, y = blobs(20)
    with pytest.raises(OptionError, match="CalibratedClassifierCV"):
        out_of_fold(x, y, estimator=LinearRegression())
    with pytest.raises(LabelError, match="encode names"):
        out_of_fold(x, y.astype(float))
    with pytest.raises(LabelError, match="pass labels of the same rows"):
        out_of_fold(x, y[:-1])
    with pytest.raises(LabelError, match="outside the space"):
        out_of_fold(x, y, n_classes=2)
    with pytest.raises(LabelError, match="one row per item and one column per class"):
        out_of_fold_multilabel(x, y)
    with pytest.raises(LabelError, match="1 .present., 0 .absent., -1"):
        out_of_fold_multilabel(x, np.full((20, 2), 3))

    class Broken(DummyClassifier):
        def predict_proba(self, x):
            return np.full((len(x), 3), np.nan)

    with pytest.raises(DataError, match="scale the features"):
        out_of_fold(x, y, estimator=Broken())
