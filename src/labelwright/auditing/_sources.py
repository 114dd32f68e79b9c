"""What the items themselves say about their labels: out-of-fold predictions, neighbours, training dynamics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labelwright.auditing._inputs import Inputs
from labelwright.errors import DataError, OptionError
from labelwright.labels import HardLabels, MultiLabels


@dataclass(frozen=True)
class Sources:
    """pred_probs (N, K) or None; neighbours (index, similarity) or None; dynamics or None; how each was obtained."""

    pred_probs: np.ndarray | None
    neighbours: Any
    dynamics: Any
    described: dict[str, Any] = field(default_factory=dict)


def gather(
    inputs: Inputs,
    features: Any,
    *,
    groups: Any,
    estimator: Any,
    n_neighbours: int,
    n_folds: int,
    random_state: int,
    dynamics: Any,
    progress: Any,
) -> Sources:
    """Turn what was given into evidence: vectors, their neighbours, and out-of-fold predictions where none were given.

    Raises:
        DataError: neither pred_probs nor features; features of another length.
    """
    from labelwright.features import ItemVectors, item_vectors, nearest_neighbours

    n = len(inputs.labels)
    if features is None and inputs.pred_probs is None:
        raise DataError(
            found="neither pred_probs nor features",
            expected="something that tells about the items besides their labels",
            fix="pass pred_probs=... (out of sample), or features=... (vectors, texts, a table or images)",
        )
    if inputs.pred_probs is not None and (estimator is not None or groups is not None):
        raise OptionError(
            found="estimator or groups together with pred_probs",
            expected="them only where predictions are made here",
            fix="leave pred_probs out to have them predicted, or leave estimator and groups out",
        )
    if groups is not None and np.shape(groups) != (n,):
        raise DataError(
            found=f"groups of shape {np.shape(groups)}", expected=f"one group per item, ({n},)", fix="select its rows"
        )
    described: dict[str, Any] = {"pred_probs": "given" if inputs.pred_probs is not None else None, "features": None}
    neighbours, p = None, inputs.pred_probs
    if features is not None:
        vectors = features if isinstance(features, ItemVectors) else item_vectors(features, random_state=random_state)
        if vectors.search.shape[0] != n:
            raise DataError(
                found=f"{vectors.search.shape[0]} rows of features for {n} labels",
                expected="one row per item, in the same order",
                fix="select the rows that the labels belong to",
            )
        described["features"] = f"{vectors.kind}, {vectors.model.shape[1]} columns"
        if n > 1:
            progress("neighbours", 0, 1)
            neighbours = nearest_neighbours(vectors.search, min(n_neighbours, n - 1))
            progress("neighbours", 1, 1)
        if p is None:
            p = predict(inputs, vectors, groups, estimator, n_folds, random_state, progress)
            name = "logistic regression" if estimator is None else repr(estimator)
            described["pred_probs"] = f"out of fold, {n_folds} folds, {name}"
    return Sources(p, neighbours, _dynamics(dynamics, inputs), described)


def predict(
    inputs: Inputs, vectors: Any, groups: Any, estimator: Any, n_folds: int, random_state: int, progress: Any
) -> np.ndarray:
    """Out-of-fold probabilities of every item. Exact copies of an item stay on its side of a fold, or their label would give
    its own away.

    Raises:
        OptionError: an estimator that is a class, not an instance.
    """
    from labelwright.features import out_of_fold, out_of_fold_multilabel

    if isinstance(estimator, type):
        raise OptionError(
            found=f"the class {estimator.__name__}", expected="an instance", fix=f"pass {estimator.__name__}()"
        )
    x = vectors.model
    if groups is None:
        groups = copies(vectors.search)
        if groups is not None:
            extra = len(groups) - len(np.unique(groups))
            inputs.notes.append(f"{extra} items are exact copies of others; copies are held out together")
    options: dict[str, Any] = {
        "estimator": estimator, "groups": groups, "n_folds": n_folds, "random_state": random_state,
        "progress": lambda done, total: progress("out-of-fold predictions", done, total),
    }  # fmt: skip
    if isinstance(inputs.labels, MultiLabels):
        return np.asarray(out_of_fold_multilabel(x, inputs.labels.dense(), **options))
    return np.asarray(out_of_fold(x, inputs.labels.ids, n_classes=len(inputs.space), **options))


def copies(search: np.ndarray) -> np.ndarray | None:
    """(N,) number of the first item with the same vector; None where no two are alike."""
    rows = np.ascontiguousarray(search)
    keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).reshape(-1)
    _, first, code = np.unique(keys, return_index=True, return_inverse=True)
    return None if len(first) == len(keys) else first[code.reshape(-1)]


def _dynamics(dynamics: Any, inputs: Inputs) -> Any:
    if dynamics is None:
        return None
    from labelwright.auditing.dynamics import training_dynamics

    p = np.asarray(dynamics)
    if (
        p.ndim != 3
        or p.shape[1:] != (len(inputs.labels), len(inputs.space))
        or not isinstance(inputs.labels, HardLabels)
    ):
        raise DataError(
            found=f"dynamics of shape {p.shape}",
            expected=f"(epochs, {len(inputs.labels)}, {len(inputs.space)}): probabilities of each epoch, single labels",
            fix="stack the probabilities of the epochs with numpy.stack",
        )
    if not np.isfinite(p).all():
        raise DataError(found="NaN or infinite values in dynamics", expected="probabilities", fix="drop such epochs")
    return training_dynamics(inputs.labels.ids, p)
