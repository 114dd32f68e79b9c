from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from labelwright.annotators import RuleVotes
from labelwright.annotators.end_model import train_end_model
from labelwright.crowds.label_model import fit_label_model
from labelwright.crowds.prepared import prepare
from labelwright.errors import DataError, LabelError, OptionError
from labelwright.labels import LabelSpace, SoftLabels


def clouds(n: int = 200, seed: int = 0, k: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    return np.eye(k, 4)[y] * 2 + rng.normal(size=(n, 4)), y


def soft_of(y: np.ndarray, p: float, k: int = 3) -> np.ndarray:
    out = np.full((len(y), k), (1 - p) / (k - 1))
    out[np.arange(len(y)), y] = p
    return out


@pytest.mark.parametrize("sparse", [False, True])
def test_it_is_logistic_regression_on_every_item_once_per_class(sparse: bool) -> None:
    from sklearn.linear_model import LogisticRegression

    x, y = clouds(60)
    p = np.random.default_rng(1).dirichlet(np.ones(3), 60) * 0.5 + soft_of(y, 0.8) * 0.5
    x = csr_matrix(np.abs(x)) if sparse else x
    model = train_end_model(x, p, strengths=[5.0])
    row, label = np.nonzero(p)
    plain = LogisticRegression(C=5.0, tol=1e-8, max_iter=1000).fit(
        model.scale(x)[row], label, sample_weight=p[row, label]
    )
    np.testing.assert_allclose(model.predict_proba(x), plain.predict_proba(model.scale(x)), atol=3e-3)


def test_soft_labels_are_met_where_nothing_holds_the_weights_back() -> None:
    x, p = np.array([[-1.0], [1.0]]), np.array([[0.75, 0.25], [0.25, 0.75]])
    model = train_end_model(x, p, strengths=[1e6])
    np.testing.assert_allclose(model.predict_proba(x), p, atol=1e-3)


def test_items_without_a_rule_are_answered_and_not_learned_from() -> None:
    x, y = clouds()
    held, true = clouds(seed=1)
    said = np.random.default_rng(2).random(200) < 0.5
    matrix = np.where(said, y, -1)[:, None].astype(np.int32)
    rules = RuleVotes(matrix, np.arange(200), ("one",), LabelSpace(["a", "b", "c"]))
    labels = fit_label_model(prepare(rules.votes())).labels
    model = train_end_model(x, labels, covered=said)
    assert model.n_trained == said.sum() and model.classes_.tolist() == ["a", "b", "c"]
    accuracy = (model.predict(held) == np.array(["a", "b", "c"])[true]).mean()
    assert accuracy > 0.8 > 2 * said.mean() / 3 + 1 / 3  # far more than guessing where the rule is silent
    p = np.where(said[:, None], soft_of(y, 0.9), np.nan)
    other = np.where(said[:, None], soft_of(y, 0.9), 1 / 3)
    np.testing.assert_array_equal(
        train_end_model(x, p).predict_proba(held), train_end_model(x, other, covered=said).predict_proba(held)
    )


def test_soft_labels_of_little_trust_weigh_less_than_hard_ones() -> None:
    x, y = clouds(300)
    rng = np.random.default_rng(3)
    wrong = rng.random(300) < 0.4
    given = np.where(wrong, (y + 1) % 3, y)
    trust = np.where(wrong, 0.5, 0.95)[:, None]
    soft = trust * np.eye(3)[given] + (1 - trust) / 3
    held, true = clouds(300, seed=4)
    loss = [
        -np.log(train_end_model(x, p).predict_proba(held)[np.arange(300), true]).mean()
        for p in (soft, np.eye(3)[given])
    ]
    assert loss[0] < loss[1]


def test_the_strength_is_chosen_out_of_fold() -> None:
    rng = np.random.default_rng(5)
    y = np.arange(60) % 2
    noise = np.column_stack([rng.normal(size=(60, 40)), y + rng.normal(size=60)])
    model = train_end_model(noise, np.eye(2)[y], strengths=[1e-2, 1e4])
    assert model.C == 1e-2 == min(model.log_loss, key=lambda c: model.log_loss[c])
    assert model.log_loss[1e-2] < np.log(2) + 0.02 < model.log_loss[1e4]


def test_sparse_equals_dense_columns_follow_classes_and_seeds_repeat() -> None:
    x, y = clouds()
    p = soft_of(y, 0.9)
    sparse = train_end_model(csr_matrix(np.abs(x)), p)
    assert sparse.predict_proba(csr_matrix(np.abs(x))).shape == (200, 3)
    order = [2, 0, 1]
    one, turned = train_end_model(x, p), train_end_model(x, p[:, order])
    np.testing.assert_allclose(turned.predict_proba(x), one.predict_proba(x)[:, order], atol=1e-3)
    np.testing.assert_array_equal(train_end_model(x, p).predict_proba(x), one.predict_proba(x))
    np.testing.assert_allclose(one.soft_labels(x).dense(), one.predict_proba(x), atol=1e-6)


def test_a_class_that_nobody_named_gets_next_to_nothing() -> None:
    x, y = clouds(k=2)
    p = np.column_stack([np.eye(2)[y], np.zeros(200)])
    assert (train_end_model(x, p).predict_proba(x)[:, 2] < 0.01).all()


def refused(match: str, error: Any, x: Any, p: Any, **options: Any) -> None:
    with pytest.raises(error, match=match):
        train_end_model(x, p, **options)


def test_what_cannot_teach_is_refused() -> None:
    x, y = clouds(20)
    p = soft_of(y, 0.9)
    refused("same items in the same order", LabelError, x[:10], p)
    refused("one bool per item", LabelError, x, p, covered=np.ones(20))
    refused("rules for the other classes", LabelError, x, p, covered=y == 0)
    refused("rules for the other classes", LabelError, x, SoftLabels.from_dense(p, known=np.zeros(20, bool)))
    refused("leave it out", OptionError, x, p, strengths=[])
    refused("n_folds=2", OptionError, x, p, n_folds=1)
    refused("random_state=0", OptionError, x, p, random_state=-1)
    refused("impute", DataError, x * np.nan, p)
