"""Out-of-fold predictions of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from labelwright.errors import DataError, OptionError

STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)  # of the default ridge, for rows of length about 1
FEW_COLUMNS, ENOUGH_ROWS, SEARCH_ROWS = 64, 1_000, 5_000


def out_of_fold_values(
    x: Any,
    y: np.ndarray,
    *,
    fold_by: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    estimator: Any = None,
    n_folds: int = 5,
    random_state: int = 0,
    progress: Any = None,
) -> np.ndarray:
    """(N, M) predictions of each item by models trained neither on it nor on its group.

    x: (N, D) dense or CSR.   y: (N,) targets, NaN = not trained on.   fold_by: (N,) the values by which the folds are dealt
    (default y), so that leaving some out of the training leaves the folds as they are. Items in no fold get the mean of the
    fold models.
    """
    from labelwright.features.folds import fold_ids
    from labelwright.features.threads import one_blas_thread

    by = y if fold_by is None else fold_by
    known = ~np.isnan(by)
    tenth = np.full(len(y), -1)
    tenth[known] = np.searchsorted(np.quantile(by[known], np.arange(0.1, 1, 0.1)), by[known])
    fold = fold_ids(np.unique(tenth, return_inverse=True)[1] - int(not known.all()), groups=groups, n_folds=n_folds,
                    random_state=random_state)  # fmt: skip
    models = _models(estimator, x, int(known.sum()), random_state)
    out, n_folds = np.zeros((len(y), len(models))), int(fold.max()) + 1
    for f in range(n_folds):
        train, held, rest = (
            np.flatnonzero(~np.isnan(y) & (fold != f)),
            np.flatnonzero(fold == f),
            np.flatnonzero(fold < 0),
        )
        ask = np.concatenate([held, rest])
        for m, model in enumerate(models):
            with one_blas_thread():
                p = np.asarray(model.fit(x[train], y[train]).predict(x[ask]), dtype=np.float64).reshape(len(ask))
            out[held, m] = p[: len(held)]
            out[rest, m] += p[len(held) :] / n_folds
        if progress:
            progress("out-of-fold predictions", f + 1, n_folds)
    if not np.isfinite(out).all():
        raise DataError(
            found=f"NaN or infinite predictions of {models[0]!r}", expected="numbers", fix="scale the features"
        )
    return out


def _models(estimator: Any, x: Any, n: int, random_state: int) -> list[Any]:
    """The regressors to fit: clones of the user's that repeat exactly, or the default ones."""
    from sklearn.base import clone
    from sklearn.ensemble import HistGradientBoostingRegressor

    if estimator is None:
        small = isinstance(x, np.ndarray) and x.shape[1] <= FEW_COLUMNS and n >= ENOUGH_ROWS
        return [_Ridge(random_state)] + [HistGradientBoostingRegressor(random_state=random_state)] * small
    if not hasattr(estimator, "fit") or not hasattr(estimator, "predict"):
        raise OptionError(
            found=f"estimator={estimator!r}", expected="a scikit-learn regressor", fix="pass one with fit and predict"
        )
    model = clone(estimator)
    seeds = [k for k, v in model.get_params().items() if v is None and k.split("__")[-1] == "random_state"]
    return [model.set_params(**dict.fromkeys(seeds, random_state)) if seeds else model]


class _Ridge:
    """Ridge regression on scaled features; its strength is the one with the least absolute error on a held-out quarter."""

    def __init__(self, random_state: int):
        self.random_state = random_state

    def fit(self, x: Any, y: np.ndarray) -> _Ridge:
        from sklearn.linear_model import Ridge

        from labelwright.features.logistic import Scaler

        self.scale = Scaler().fit(x)
        x = self.scale(x)
        order = np.random.default_rng(self.random_state).permutation(len(y))[:SEARCH_ROWS]
        cut = len(order) - len(order) // 4
        train, held = order[:cut], order[cut:]
        tried = [Ridge(a).fit(x[train], y[train]).predict(x[held]) for a in STRENGTHS] if len(held) else [y[:0]]
        loss = [float(np.abs(p - y[held]).sum()) for p in tried]
        self.model = Ridge(STRENGTHS[int(np.argmin(loss))]).fit(x, y)
        return self

    def predict(self, x: Any) -> np.ndarray:
        return np.asarray(self.model.predict(self.scale(x)))
