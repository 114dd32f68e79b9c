"""Features and labels -> out-of-sample class probabilities: what a model thinks of an item it was not trained on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from labelwright.errors import DataError, LabelError, OptionError
from labelwright.features import calibration, logistic
from labelwright.features.folds import fold_ids
from labelwright.features.threads import one_blas_thread
from labelwright.features.vectors import Progress, check_features
from labelwright.labels.check import check_class_ids


def out_of_fold(
    x: Any,
    labels: np.ndarray,
    *,
    estimator: Any = None,
    n_classes: int | None = None,
    groups: np.ndarray | None = None,
    n_folds: int = 5,
    random_state: int = 0,
    calibrate: bool = True,
    progress: Progress | None = None,
) -> np.ndarray:
    """Class probabilities of every item from a model that was trained neither on that item nor on its group.

    Items without a label are never trained on; the mean of the fold models predicts them, or, if their group has
    labelled items, the one model that has not seen the group. A class that a training fold lacks gets 1 / (n + K)
    (Laplace).

    Args:
        x: (N, D) finite features, dense or SciPy sparse.
        labels: (N,) class ids 0..K-1, -1 = missing.
        estimator: a scikit-learn classifier with predict_proba or decision_function (its softmax is taken); it is
            cloned. None: multinomial logistic regression on scaled features, its C picked inside each training fold.
        n_classes: K; None = the largest label + 1. The columns are always 0..K-1.
        groups: (N,) ids of what must stay together (a patient, a web site, near duplicates).
        n_folds: at least 2; lowered to the number of labelled items or groups if those are fewer.
        random_state: seed of the folds, and of an estimator whose own is None.
        calibrate: temperature scaling, cross-fitted on the same folds (see calibration.py).
        progress: called with (folds done, folds).

    Returns:
        (N, K) float32, rows sum to 1. The same arguments give the same numbers.

    Raises:
        DataError: features or groups that do not fit. LabelError: labels that are no class ids, or fewer than two.
        OptionError: an estimator without probabilities or decision values.

    Source: Stone 1974 (cross-validatory choice); Laplace's rule of succession for absent classes.

    >>> x = np.repeat(np.eye(2), 5, axis=0)
    >>> out_of_fold(x, np.repeat([0, 1], 5)).argmax(1)
    array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    """
    x = check_features(x)
    labels = check_class_ids(labels, 1 << 62 if n_classes is None else n_classes, n_items=x.shape[0])
    k = int(labels.max(initial=0)) + 1 if n_classes is None else n_classes
    fold = fold_ids(labels, groups=groups, n_folds=n_folds, random_state=random_state)
    if estimator is None:
        x = logistic.narrow(x, k, random_state)
    n_folds = int(fold.max()) + 1
    prob = np.zeros((x.shape[0], k), np.float32)
    shared = np.flatnonzero(fold < 0)
    for f in range(n_folds):
        train, held = np.flatnonzero((labels >= 0) & (fold != f)), np.flatnonzero(fold == f)
        model = _unfitted(estimator, random_state)
        with _threads(estimator):
            p = _fit_predict(model, x, labels, train, np.concatenate([held, shared]), k)
        prob[held] = p[: len(held)]
        prob[shared] += p[len(held) :] / n_folds
        if progress:
            progress(f + 1, n_folds)
    if not calibrate:
        return prob
    with one_blas_thread():
        return calibration.calibrate(prob, labels, folds=fold)


def _threads(estimator: Any) -> AbstractContextManager[Any]:
    """One BLAS thread for the default model; what the caller's own estimator does is its own affair."""
    return one_blas_thread() if estimator is None else nullcontext()


def _unfitted(estimator: Any, random_state: int) -> Any:
    """A clone of `estimator` that repeats exactly, or the default model."""
    if estimator is None:
        return logistic.Logistic(random_state)
    from sklearn.base import clone

    if not hasattr(estimator, "fit") or not (
        hasattr(estimator, "predict_proba") or hasattr(estimator, "decision_function")
    ):
        raise OptionError(
            found=f"estimator={estimator!r}, without predict_proba and decision_function",
            expected="a scikit-learn classifier that gives probabilities or decision values",
            fix="set its probability option, or wrap it in sklearn.calibration.CalibratedClassifierCV",
        )
    model = clone(estimator)
    seeds = [n for n, v in model.get_params().items() if v is None and n.split("__")[-1] == "random_state"]
    return model.set_params(**dict.fromkeys(seeds, random_state)) if seeds else model


def _fit_predict(model: Any, x: Any, labels: np.ndarray, train: np.ndarray, ask: np.ndarray, k: int) -> np.ndarray:
    """(len(ask), K) probabilities of a model of the rows `train`; a class it has not seen gets Laplace's share."""
    seen = np.unique(labels[train])
    unseen_mass = 1.0 / (len(train) + k)
    prob = np.full((len(ask), k), unseen_mass)
    inside = np.ones((len(ask), 1))
    if len(seen) > 1 and len(ask):
        model.fit(x[train], labels[train])
        inside = _probabilities(model, x[ask])
        seen = np.asarray(model.classes_)
    prob[:, seen] = inside * (1.0 - unseen_mass * (k - len(seen)))
    return prob


def _probabilities(model: Any, x: Any) -> np.ndarray:
    if hasattr(model, "predict_proba"):
        p = np.asarray(model.predict_proba(x), np.float64)
    else:
        score = np.asarray(model.decision_function(x), np.float64)
        score = np.column_stack([np.zeros_like(score), score]) if score.ndim == 1 else score
        p = np.exp(score - score.max(axis=1, keepdims=True))
    p = p / p.sum(axis=1, keepdims=True)
    if not np.isfinite(p).all():
        raise DataError(
            found=f"{type(model).__name__} gave NaN or infinite probabilities",
            expected="finite probabilities",
            fix="scale the features (make_pipeline(StandardScaler(), ...)), or use the default estimator",
        )
    return np.asarray(p)


def out_of_fold_multilabel(
    x: Any,
    y: np.ndarray,
    *,
    estimator: Any = None,
    groups: np.ndarray | None = None,
    n_folds: int = 5,
    random_state: int = 0,
    strength: float = 3.0,
    progress: Progress | None = None,
) -> np.ndarray:
    """Probability that each class is present in each item, from one logistic regression per class, out of fold.

    A class whose known training cells are all equal gets Laplace's (present + 1) / (known + 2).

    Args:
        x: (N, D) finite features, dense or SciPy sparse.
        y: (N, K) 1 = present, 0 = absent, -1 = unknown (never trained on).
        estimator: a binary scikit-learn classifier, fitted once per class; None: logistic regression on scaled
            features.
        groups, n_folds, random_state, progress: as in `out_of_fold`; the folds share out each item's rarest class
            evenly.
        strength: C of the default regressions, for rows of length about 1; larger trusts the features more.

    Returns:
        (N, K) float32 marginals in [1e-6, 1 - 1e-6].

    Raises:
        LabelError: entries other than 1, 0, -1, or fewer than two known rows. DataError: as in `out_of_fold`.

    Source: binary relevance (one-vs-rest) with logistic regression.
    """
    x = check_features(x)
    y = np.asarray(y)
    if y.ndim != 2 or len(y) != x.shape[0] or not np.isin(y, (-1, 0, 1)).all():
        raise LabelError(
            found=f"`y` of shape {y.shape} and dtype {y.dtype} for {x.shape[0]} items",
            expected=f"({x.shape[0]}, K) of 1 (present), 0 (absent), -1 (unknown)",
            fix="pass one row per item and one column per class",
        )
    fold = fold_ids(_rarest_class(y), groups=groups, n_folds=n_folds, random_state=random_state)
    n_folds = int(fold.max()) + 1
    prob = np.zeros(y.shape, np.float32)
    shared = np.flatnonzero(fold < 0)
    for f in range(n_folds):
        train, held = np.flatnonzero((y >= 0).any(axis=1) & (fold != f)), np.flatnonzero(fold == f)
        known, asked = x[train], x[np.concatenate([held, shared])]
        if estimator is None:
            scale = logistic.Scaler().fit(known)
            known, asked = scale(known), scale(asked)
        with _threads(estimator):
            for c in range(y.shape[1]):
                p = _present(estimator, random_state, strength, known, y[train, c], asked)
                prob[held, c] = p[: len(held)]
                prob[shared, c] += p[len(held) :] / n_folds
        if progress:
            progress(f + 1, n_folds)
    return np.clip(prob, 1e-6, 1 - 1e-6)


def _present(estimator: Any, random_state: int, strength: float, x: Any, y: np.ndarray, asked: Any) -> np.ndarray:
    """(len(asked),) probability of y = 1."""
    known = np.flatnonzero(y >= 0)
    present = int(y[known].sum())
    if present in (0, len(known)) or not asked.shape[0]:
        return np.full(asked.shape[0], (present + 1) / (len(known) + 2))
    if len(known) < len(y):
        x, y = x[known], y[known]
    if estimator is None:
        return np.asarray(logistic.fit_logistic(x, y, strength).predict_proba(asked)[:, 1])
    return _probabilities(_unfitted(estimator, random_state).fit(x, y), asked)[:, 1]


def _rarest_class(y: np.ndarray) -> np.ndarray:
    """(N,) the least frequent class present in each item, K if none is, -1 if nothing is known of it."""
    present = y == 1
    rarity = np.where(present, present.sum(axis=0), len(y) + 1)
    rarest = rarity.argmin(axis=1) if y.shape[1] else np.zeros(len(y), np.int64)
    return np.where((y >= 0).any(axis=1), np.where(present.any(axis=1), rarest, y.shape[1]), -1)
