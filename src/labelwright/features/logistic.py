"""The default model of `out_of_fold`: logistic regression on scaled features, its C chosen on held-out rows."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

STRENGTHS = (1.0, 10.0, 100.0)  # LogisticRegression's C, for rows of length about 1
SEARCH_ROWS = 5_000  # the best C moves little with N, so it is searched on this many rows at most
MAX_WEIGHTS = 4_000_000  # D * K of the model; L-BFGS keeps some twenty copies of its weights


class Scaler:
    """Features scaled so that rows are about 1 long: standardised (dense), or divided by their mean length (sparse)."""

    mean: np.ndarray | None
    factor: Any

    def fit(self, x: Any) -> Scaler:
        if not isinstance(x, np.ndarray):
            self.mean, self.factor = None, 1.0 / (np.sqrt(x.multiply(x).sum(axis=1)).mean() or 1.0)
            return self
        self.mean = x.mean(axis=0, dtype=np.float64)
        spread = x.std(axis=0, dtype=np.float64)
        varies = spread > 1e-6 * np.abs(self.mean)  # below that, a float32 column is rounding noise
        self.factor = np.divide(1.0, spread, out=np.zeros_like(spread), where=varies) / np.sqrt(max(1, varies.sum()))
        return self

    def __call__(self, x: Any) -> Any:
        if self.mean is None:
            return x * x.dtype.type(self.factor)
        out = np.subtract(x, self.mean, dtype=np.float64) if x.dtype == np.float64 else x - self.mean.astype(np.float32)
        out *= self.factor.astype(out.dtype)
        return out.astype(np.float32, copy=False)


class Logistic:
    """Multinomial logistic regression. C is the one of STRENGTHS with the least log-loss on a held-out quarter."""

    def __init__(self, random_state: int):
        self.random_state = random_state

    def fit(self, x: Any, y: np.ndarray) -> Logistic:
        self.scale = Scaler().fit(x)
        x = self.scale(x)
        order = np.random.default_rng(self.random_state).permutation(len(y))[:SEARCH_ROWS]
        cut = len(order) - len(order) // 4
        loss = [held_out_loss(x, y, order[:cut], order[cut:], strength) for strength in STRENGTHS]
        self.model = fit_logistic(x, y, STRENGTHS[int(np.argmin(loss))])
        self.classes_ = self.model.classes_
        return self

    def predict_proba(self, x: Any) -> np.ndarray:
        return np.asarray(self.model.predict_proba(self.scale(x)))


def held_out_loss(x: Any, y: np.ndarray, train: np.ndarray, held: np.ndarray, strength: float) -> float:
    """Mean log-loss (nats) on the rows `held` of a model of the rows `train`, over the classes that `train` has."""
    held = held[np.isin(y[held], y[train])]
    if not len(held) or (y[train] == y[train[0]]).all():
        return 0.0
    model = fit_logistic(x[train], y[train], strength)
    p = model.predict_proba(x[held])[np.arange(len(held)), np.searchsorted(model.classes_, y[held])]
    return float(-np.log(np.maximum(p, 1e-12)).mean())


def fit_logistic(x: Any, y: np.ndarray, strength: float) -> Any:
    """A fitted scikit-learn LogisticRegression.

    Models of more than a million weights (thousands of words, tens of classes) stop at three times the tolerance: half the
    time and the same held-out loss on 77 intents. Two classes of long texts lose accuracy by it, so smaller models do not.
    """
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tol = 1e-4 if x.shape[1] * len(np.unique(y)) <= 1_000_000 else 3e-4
        return LogisticRegression(C=strength, max_iter=200, tol=tol).fit(x, y)


def narrow(x: Any, n_classes: int, random_state: int) -> Any:
    """`x`, or its first 256 singular directions where D * K weights would not fit in memory. Looks at no label."""
    if x.shape[1] * n_classes <= MAX_WEIGHTS or min(x.shape) <= 256:
        return x
    from sklearn.decomposition import TruncatedSVD

    return TruncatedSVD(256, n_iter=2, random_state=random_state).fit_transform(x).astype(np.float32)
