"""The driver behind scikit-learn's verbs."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from labelwright.errors import DataError
from labelwright.labels import HardLabels, SoftLabels
from labelwright.learning.verb import train


class SoftLabelClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A student of hard or soft labels, with `fit`, `predict_proba` and `predict`.

    Args:
        student: "linear", "mlp", "cnn", "resnet", "vit", (name, options) or a module.
        recipe: name, YAML file or `Recipe`.   epochs, batch_size, lr: change the recipe where given.
        random_state: seed of everything random.

    Attributes: model_ (TrainedModel), classes_ (K,), n_features_in_.

    >>> x = np.repeat(np.eye(2, dtype="float32"), 50, axis=0)
    >>> soft = np.repeat([[0.9, 0.1], [0.2, 0.8]], 50, axis=0)
    >>> SoftLabelClassifier(student="linear", epochs=60, lr=0.1).fit(x, soft).predict_proba(np.eye(2)).round(1)
    array([[0.9, 0.1],
           [0.2, 0.8]], dtype=float32)
    """

    def __init__(
        self,
        student: Any = "mlp",
        *,
        recipe: Any = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        random_state: int = 0,
    ):
        self.student, self.recipe, self.epochs, self.batch_size = student, recipe, epochs, batch_size
        self.lr, self.random_state = lr, random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SoftLabelClassifier:
        """X: (N, ...).   y: class of each item by name, soft labels (N, K) or `SoftLabels`.   sample_weight: (N,)."""
        from labelwright.learning.data import TrainData

        x = np.asarray(X, np.float32)
        labels: Any
        if isinstance(y, SoftLabels | HardLabels):
            labels, self.classes_ = y, np.array(y.space.classes)
        elif np.ndim(y) == 2:
            labels, self.classes_ = np.asarray(y, np.float32), np.arange(np.shape(y)[1])
        else:
            self.classes_, labels = np.unique(np.asarray(y), return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(found="one class", expected="at least two", fix="pass labels of two classes or more")
        changes = {name: getattr(self, name) for name in ("epochs", "batch_size") if getattr(self, name) is not None}
        if self.lr is not None:
            changes["optimizer"] = {"adamw": {"lr": self.lr, "weight_decay": 0.0}}
        extra = {} if sample_weight is None else {"weights": np.asarray(sample_weight, np.float32)}
        data = TrainData(x, labels, classes=len(self.classes_), extra=extra)
        self.model_ = train(data, recipe=self.recipe, student=self.student, seed=self.random_state, **changes)
        self.n_features_in_ = int(np.prod(x.shape[1:]))
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """(N, K) float32, columns in the order of `classes_`."""
        return self.model_.predict_proba(np.asarray(X, np.float32))

    def predict(self, X: Any) -> Any:
        """The likeliest class of each item."""
        return self.classes_[self.predict_proba(X).argmax(1)]
