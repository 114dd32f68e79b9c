"""How hard each item is to learn. Larger is harder in every score; items without a label get NaN.

The outputs are those of a model in training on the very items it is trained on, early in that training: el2n and
grand_last_layer of a converged model say little. Several runs or epochs are averaged.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from labelwright.errors import DataError
from labelwright.features.vectors import check_features
from labelwright.labels import check_class_ids, check_pred_probs
from labelwright.stream.statistic import chunks


def el2n(pred_probs: Any, labels: Any) -> np.ndarray:
    """(N,) float64 in [0, sqrt(2)]: length of P - onehot(label), the mean over runs or epochs.

    Args:
        pred_probs: (N, K), or an iterable of such arrays, one per run or early epoch (only one is held at a time).
        labels: (N,) int, -1 = missing: the labels the model is trained on.

    Source: Paul et al. 2021, "Deep learning on a data diet", definition 2.2 (they use 10 runs, epoch 10 to 20).

    >>> el2n(np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([0, 0])).round(3)
    array([0.141, 0.849])
    """
    return _mean([_error_length(p, labels) for p in _runs(pred_probs)])


def grand_last_layer(pred_probs: Any, labels: Any, features: Any, *, bias: bool = True) -> np.ndarray:
    """(N,) float64: length of the gradient of the cross-entropy by the last layer's weights.

    The gradient is (P - onehot(label)) x features, an outer product, so its length is the product of the two lengths.

    Args:
        pred_probs, labels: as in `el2n`.
        features: (N, D) input of the last layer, or an iterable of as many arrays as there are runs.
        bias: the layer has a bias, which adds a constant feature of 1.

    Raises:
        DataError: not as many features as runs, or of other items.

    Source: Paul et al. 2021, definition 2.1, kept to the last layer.
    """
    runs = list(_runs(pred_probs))
    inputs = [features] if hasattr(features, "ndim") and features.ndim == 2 else list(features)
    if len(inputs) != len(runs) or any(np.shape(x)[0] != np.shape(p)[0] for x, p in zip(inputs, runs)):
        raise DataError(
            found=f"features {[np.shape(x) for x in inputs]} for pred_probs {[np.shape(p) for p in runs]}",
            expected="one (N, D) array per (N, K) array of pred_probs, rows of the same items",
            fix="pass the features that the last layer saw in each run",
        )
    return _mean([_error_length(p, labels) * _length(x, bias) for p, x in zip(runs, inputs)])


def margin(pred_probs: Any, labels: Any) -> np.ndarray:
    """(N,) float64 in [-1, 1]: largest other probability - probability of the label, the mean over runs or epochs.

    Args:
        pred_probs, labels: as in `el2n`.

    >>> margin(np.array([[0.75, 0.25], [0.25, 0.75]]), np.array([0, 0]))
    array([-0.5,  0.5])
    """

    def one(p: np.ndarray) -> np.ndarray:
        matrix, given = _checked(p, labels)
        out = np.full(len(given), np.nan)
        for block in chunks(*matrix.shape):
            at, seen = _seen(given, block)
            part = matrix[seen].astype(np.float64)
            own = part[at]
            part[at] = -np.inf if matrix.shape[1] > 1 else 0.0
            out[seen] = part.max(1) - own
        return out

    return _mean([one(p) for p in _runs(pred_probs)])


def forgetting(correct: Any) -> np.ndarray:
    """(N,) int64: how often an item went from right to wrong between epochs; never right counts as E, the hardest.

    Args:
        correct: (E, N) bool, whether the model had the item right in each epoch, in epoch order.

    Raises:
        DataError: no table of right and wrong with at least one epoch.

    Source: Toneva et al. 2019, definition 2; items never learned are put last, as there.

    >>> forgetting(np.array([[1, 0, 1], [1, 0, 0], [1, 0, 1]], bool))
    array([0, 3, 1])
    """
    table = np.asarray(correct)
    if table.ndim != 2 or table.dtype != bool or not len(table):
        raise DataError(
            found=f"correct of shape {table.shape} and dtype {table.dtype}",
            expected="(E, N) bool with at least one epoch",
            fix="stack one row per epoch: numpy.stack([p.argmax(1) == labels for p in epochs])",
        )
    events = (table[:-1] & ~table[1:]).sum(0, dtype=np.int64)
    return np.where(table.any(0), events, len(table))


def _runs(pred_probs: Any) -> Iterable[Any]:
    """One array, or several."""
    single = hasattr(pred_probs, "dense_rows") or (hasattr(pred_probs, "ndim") and pred_probs.ndim == 2)
    return [pred_probs] if single else pred_probs


def _mean(scores: list[np.ndarray]) -> np.ndarray:
    if not scores or len({len(s) for s in scores}) > 1:
        raise DataError(
            found=f"{len(scores)} arrays of pred_probs, rows {[len(s) for s in scores]}",
            expected="at least one, all of the same items",
            fix="pass the outputs of each run on all items, in one order",
        )
    return np.asarray(sum(scores) / len(scores))


def _checked(p: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    matrix = check_pred_probs(p)
    return matrix, check_class_ids(labels, matrix.shape[1], n_items=len(matrix))


def _seen(labels: np.ndarray, block: slice) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Where the labels stand in the rows of a block that have one, and the numbers of these rows."""
    seen = block.start + np.flatnonzero(labels[block] >= 0)
    return (np.arange(len(seen)), labels[seen]), seen


def _error_length(p: Any, labels: Any) -> np.ndarray:
    matrix, given = _checked(p, labels)
    out = np.full(len(given), np.nan)
    for block in chunks(*matrix.shape):
        at, seen = _seen(given, block)
        part = matrix[seen].astype(np.float64)
        part[at] -= 1.0  # before squaring: sum p^2 - 2 p_y + 1 would cancel for sure items
        out[seen] = np.sqrt(np.einsum("nk,nk->n", part, part))
    return out


def _length(features: Any, bias: bool) -> np.ndarray:
    x = check_features(features, name="features")
    out = np.empty(x.shape[0])
    for block in chunks(*x.shape):
        part = x[block].toarray() if hasattr(x, "toarray") else x[block]
        part = part.astype(np.float64, copy=False)
        out[block] = np.sqrt(np.einsum("nd,nd->n", part, part) + bias)
    return out
