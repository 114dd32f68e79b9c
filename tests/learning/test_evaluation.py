"""Figures of a model and their intervals."""

from __future__ import annotations

import numpy as np
import pytest

from labelwright.errors import DataError, LabelError
from labelwright.labels import HardLabels, LabelSpace, SoftLabels
from labelwright.learning.evaluation import Figure, evaluate, resampled


def made(n=400, k=3, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(k), n)
    return p, np.array([rng.choice(k, p=row) for row in p])


def test_figures_by_hand():
    p = np.array([[0.8, 0.2], [0.4, 0.6], [0.7, 0.3], [0.5, 0.5]])
    found = evaluate(p, LabelSpace(["a", "b"]), np.array([0, 0, 0, -1]), n_resamples=200)
    assert found.n == 3
    assert found.figures["accuracy"].value == pytest.approx(2 / 3)
    assert found.figures["nll"].value == pytest.approx(-np.log([0.8, 0.4, 0.7]).mean())
    # bins of 1/15: .8 is in [.8, .867), .6 in [.6, .667), .7 in [.667, .733): one item each
    assert found.figures["ece"].value == pytest.approx((0.2 + 0.6 + 0.3) / 3)
    assert found.confusion.tolist() == [[2, 1], [0, 0]]
    assert found.classes.to_pylist()[0] == {"class": "a", "items": 3, "precision": 1.0, "recall": 2 / 3, "f1": 0.8}


def test_agrees_with_scikit_learn():
    from sklearn.metrics import accuracy_score, f1_score, log_loss

    p, y = made()
    found = evaluate(p, None, y).figures
    assert found["accuracy"].value == pytest.approx(accuracy_score(y, p.argmax(1)))
    assert found["macro_f1"].value == pytest.approx(f1_score(y, p.argmax(1), average="macro"))
    assert found["nll"].value == pytest.approx(log_loss(y, p))


def test_intervals_cover():
    """95 % intervals of accuracy and log loss hold the value of a very large sample in 88 to 100 of 100 samples."""
    p, y = made(200_000, seed=1)
    truth = evaluate(p, None, y, n_resamples=2).figures
    rng, hits = np.random.default_rng(2), {"accuracy": 0, "nll": 0}
    for seed in range(100):
        rows = rng.integers(0, len(y), 150)
        found = evaluate(p[rows], None, y[rows], n_resamples=200, random_state=seed).figures
        for name in hits:
            hits[name] += found[name].low <= truth[name].value <= found[name].high
    assert all(88 <= n <= 100 for n in hits.values())


def test_weights_equal_repeated_items():
    p, y = made(30)
    twice = evaluate(np.repeat(p, 2, 0), None, np.repeat(y, 2)).figures
    once = evaluate(p, None, y).figures
    assert all(twice[name].value == pytest.approx(once[name].value) for name in once)


def test_soft_and_hard_forms():
    p, y = made()
    soft = np.eye(3)[y] * 0.7 + 0.1
    one = evaluate(p, None, soft)
    two = evaluate(p, LabelSpace(range(3)), SoftLabels.from_dense(soft))
    three = evaluate(p, None, HardLabels(y, LabelSpace(range(3))))
    assert one.figures["people_nll"].value == pytest.approx(-(soft * np.log(p)).sum(1).mean())
    assert one.figures["accuracy"].value == two.figures["accuracy"].value == three.figures["accuracy"].value


def test_several_classes():
    class Model:
        multi_label, space = True, LabelSpace(["a", "b"])

        def predict_proba(self, inputs):
            return inputs

    p = np.array([[0.9, 0.2], [0.1, 0.8], [0.7, 0.4]])
    found = evaluate(Model(), p, np.array([[1, 0], [0, 1], [0, -1]]))
    assert found.figures["map"].value == 1.0
    assert found.figures["micro_f1"].value == pytest.approx(2 * 2 / (2 + 3))
    with pytest.raises(LabelError, match="write one row per item"):
        evaluate(Model(), p, np.array([1, 0, 1]))
    with pytest.raises(DataError, match="no known entry"):
        evaluate(Model(), p, np.full((3, 2), -1))


def test_mistakes():
    p, y = made(10)
    with pytest.raises(LabelError, match="match labels and items"):
        evaluate(p, None, y[:5])
    with pytest.raises(DataError, match="no labelled item"):
        evaluate(p, None, np.full(10, -1))


def test_percentiles_of_a_mean():
    values = np.arange(10.0)
    found = resampled({"mean": lambda w: w @ values / w.sum(1)}, 10, 0.95, 4000, 0)["mean"]
    assert isinstance(found, Figure) and found.value == 4.5
    assert found.low == pytest.approx(4.5 - 1.96 * values.std() / np.sqrt(10), abs=0.1)
