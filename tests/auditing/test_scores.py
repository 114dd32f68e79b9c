"""Label quality scores and ensembles against loops in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.auditing import scores
from labelwright.auditing.scores import SCORES, ensemble_quality, ensemble_weights, label_quality
from labelwright.auditing.thresholds import class_thresholds
from labelwright.errors import LabelError, OptionError


def random_case(seed: int, n: int = 70, k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(-1, k, n), rng.dirichlet(np.full(k, 0.5), n)


def naive(row, label, score):
    k = len(row)
    own = row[label]
    if score == "self_confidence":
        return own
    if score == "normalized_margin":
        return (own - max(row[c] for c in range(k) if c != label) + 1) / 2
    entropy = -sum(v * math.log(v) for v in row if v > 0)
    z = entropy / math.log(k) / max(own, 1e-6)
    return math.log(z + 1) / max(z, 1e-6)


@pytest.mark.parametrize(("score", "adjust"), [(s, False) for s in SCORES] + [(s, True) for s in SCORES[:2]])
def test_agrees_with_loops(score, adjust):
    labels, p = random_case(0)
    t = class_thresholds(labels, p)
    for i, value in enumerate(label_quality(labels, p, score=score, adjust=adjust)):
        if labels[i] < 0:
            assert np.isnan(value)
            continue
        row = [float(v) for v in p[i]]
        if adjust:
            row = [v - t[c] + max(t) for c, v in enumerate(row)]
            row = [v / sum(row) for v in row]
        assert value == pytest.approx(naive(row, labels[i], score), abs=1e-9)


@pytest.mark.parametrize("score", SCORES)
@given(st.integers(0, 10_000))
def test_within_0_and_1_and_equal_for_any_cut(score, seed):
    labels, p = random_case(seed)
    whole = label_quality(labels, p, score=score)
    assert ((whole >= 0) & (whole <= 1))[labels >= 0].all()
    parts = [label_quality(labels[a : a + 9], p[a : a + 9], score=score) for a in range(0, len(labels), 9)]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=0, atol=1e-12)


def test_entropy_score_takes_its_limits():
    sure = np.array([[1.0, 0.0], [0.0, 1.0], [1 - 1e-9, 1e-9], [1e-9, 1 - 1e-9]])
    right, wrong, nearly_right, nearly_wrong = label_quality(
        np.zeros(4, int), sure, score="confidence_weighted_entropy"
    )
    assert (right, wrong) == (1.0, 0.0)
    assert nearly_right > 0.999 and nearly_wrong < 0.2


def test_small_blocks_give_the_same(monkeypatch):
    labels, p = random_case(5)
    whole = label_quality(labels, p, score="normalized_margin", adjust=True)
    monkeypatch.setattr("labelwright.auditing.thresholds._BLOCK", 12)
    np.testing.assert_array_equal(label_quality(labels, p, score="normalized_margin", adjust=True), whole)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_narrow_floats(dtype):
    labels, p = random_case(1)
    narrow = p.astype(dtype)
    for score in SCORES:
        expected = label_quality(labels, narrow.astype(np.float64), score=score)
        np.testing.assert_array_equal(label_quality(labels, narrow, score=score), expected)


def test_ensemble_weights_by_accuracy_and_by_hand():
    labels = np.array([0, 1, 1, -1])
    good = np.array([[0.9, 0.1], [0.1, 0.9], [0.1, 0.9], [0.5, 0.5]])
    bad = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.5, 0.5]])
    np.testing.assert_allclose(ensemble_weights(labels, [good, bad]), [0.75, 0.25])  # 3 and 1 of 3 right
    found = ensemble_quality(labels, [good, bad])
    np.testing.assert_allclose(found[:3], [0.9, 0.7, 0.7])
    assert np.isnan(found[3])
    np.testing.assert_allclose(ensemble_weights(labels, [bad[:, ::-1], bad], np.array([1, 3])), [0.25, 0.75])


def test_log_loss_weights_agree_with_a_search_by_loops():
    labels, first = random_case(2, n=200)
    _, second = random_case(3, n=200)
    models = [first, second, (first + second) / 2]
    seen = [i for i in range(200) if labels[i] >= 0]
    own = [[max(m[i, labels[i]], 1e-6) for i in seen] for m in models]
    loss = [-sum(map(math.log, o)) / len(o) for o in own]
    best = None
    for t in (1e-4, 1e-3, 1e-2, 1e-1, 1, 10, 100, 200):
        raw = [math.exp(-t * v) for v in loss]
        w = [v / sum(raw) for v in raw]
        total = -sum(math.log(sum(w[m] * own[m][i] for m in range(3))) for i in range(len(seen)))
        if best is None or total < best[0]:
            best = (total, w)
    np.testing.assert_allclose(ensemble_weights(labels, models, "log_loss"), best[1], rtol=1e-9)


def test_log_loss_prefers_the_better_model_and_survives_zeros():
    labels = np.array([0, 1, 0, 1])
    good = np.eye(2)[labels] * 0.8 + 0.1
    weights = ensemble_weights(labels, [good, np.eye(2)[1 - labels]], "log_loss")
    assert weights[0] > 0.99 and np.isfinite(weights).all()


def test_all_models_wrong_share_evenly():
    labels = np.array([0, 0])
    p = np.array([[0.0, 1.0], [0.0, 1.0]])
    np.testing.assert_array_equal(ensemble_weights(labels, [p, p]), [0.5, 0.5])


def test_errors_tell_the_fix():
    labels, p = random_case(0)
    with pytest.raises(OptionError, match="did you mean 'normalized_margin'"):
        label_quality(labels, p, score="margin")
    with pytest.raises(OptionError, match="drop adjust"):
        label_quality(labels, p, score="confidence_weighted_entropy", adjust=True)
    with pytest.raises(OptionError, match="one weight per array"):
        ensemble_quality(labels, [p, p], weights=np.array([1.0]))
    with pytest.raises(LabelError, match="labels that are not all missing"):
        ensemble_quality(np.full(70, -1), [p])
    with pytest.raises(LabelError, match="0 models"):
        ensemble_quality(labels, [])
    assert scores.SCORES[0] == "self_confidence"


def test_auroc_on_released_cifar10(real_data):
    """Card 58, proof (b): error = human share of the given label below one half, 122 items."""
    from sklearn.metrics import roc_auc_score

    data = np.load(real_data / "label_errors" / "cifar10.npz")
    given_, p = data["given"].astype(np.int64), data["pyx"]
    counts = np.load(real_data / "cifar10h" / "cifar10h.npz")["counts"]
    wrong = counts[np.arange(len(given_)), given_] / counts.sum(1) < 0.5
    assert wrong.sum() == 122
    found = [roc_auc_score(wrong, -label_quality(given_, p, score=s)) for s in SCORES]
    np.testing.assert_allclose(found, [0.853, 0.851, 0.853], atol=0.0015)
    assert roc_auc_score(wrong, -label_quality(given_, p, adjust=True)) == pytest.approx(0.73, abs=0.02)
