"""What the items themselves say about their labels: out-of-fold predictions, neighbours, training dynamics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labelwright.auditing._inputs import Inputs
from labelwright.errors import DataError, OptionError
from labelwright.labels import HardLabels, MultiLabels
from labelwright.stream import chunks

COPY = 1e-6  # neighbours nearer than this are copies


@dataclass(frozen=True)
class Sources:
    """pred_probs (N, K) or None; neighbours (index, similarity) or None; dynamics or None; vectors (ItemVectors) or None; how
    each was obtained."""

    pred_probs: np.ndarray | None
    neighbours: Any
    dynamics: Any
    vectors: Any = None
    described: dict[str, Any] = field(default_factory=dict)


def gather(
    inputs: Inputs,
    features: Any,
    *,
    groups: Any,
    encoder: Any,
    estimator: Any,
    train: bool,
    n_neighbours: int,
    n_folds: int,
    random_state: int,
    dynamics: Any,
    progress: Any,
    in_passes: bool = False,
) -> Sources:
    """Turn what was given into evidence: vectors, their neighbours, and out-of-fold predictions where none were given.

    in_passes: there are probabilities, which are read elsewhere.

    Raises:
        DataError: neither pred_probs nor features; features of another length.
    """
    from labelwright.features import ItemVectors, item_vectors, nearest_neighbours

    n = len(inputs.labels)
    given = in_passes or inputs.pred_probs is not None
    if features is None and not given:
        raise DataError(
            found="neither pred_probs nor features",
            expected="something that tells about the items besides their labels",
            fix="pass pred_probs=... (out of sample), or features=... (vectors, texts, a table or images)",
        )
    if given and (estimator is not None or groups is not None):
        raise OptionError(
            found="estimator or groups together with pred_probs",
            expected="them only where predictions are made here",
            fix="leave pred_probs out to have them predicted, or leave estimator and groups out",
        )
    if features is None and (encoder is not None or not train):
        raise OptionError(
            found="encoder or train=False without features",
            expected="items to encode, or to compare with each other",
            fix="pass features=... (texts, images or vectors)",
        )
    if encoder is not None and isinstance(features, ItemVectors):
        raise OptionError(
            found="encoder together with ItemVectors",
            expected="items that are still to be encoded",
            fix="pass the encoder to item_vectors, or the texts or images as features",
        )
    if not train and (estimator is not None or groups is not None):
        raise OptionError(
            found="estimator or groups together with train=False",
            expected="them only where predictions are made here",
            fix="leave train=False out, or leave estimator and groups out",
        )
    if groups is not None and np.shape(groups) != (n,):
        raise DataError(
            found=f"groups of shape {np.shape(groups)}", expected=f"one group per item, ({n},)", fix="select its rows"
        )
    described: dict[str, Any] = {"pred_probs": "given" if given else None, "features": None}
    neighbours, vectors, p = None, None, inputs.pred_probs
    if features is not None:
        vectors = features if isinstance(features, ItemVectors) else item_vectors(
            features, encoder=encoder, random_state=random_state,
            progress=lambda done, total: progress("reading items", done, total),
        )  # fmt: skip
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
        if in_passes:
            pass
        elif p is None and not train:
            described["pred_probs"] = "none: the neighbours alone speak"
            p = neighbour_probs(inputs.labels, neighbours) if isinstance(inputs.labels, MultiLabels) else None
        elif p is None:
            p = predict(inputs, vectors, groups, estimator, n_folds, random_state, progress)
            name = "logistic regression" if estimator is None else repr(estimator)
            described["pred_probs"] = f"out of fold, {n_folds} folds, {name}"
    if p is None and neighbours is None and not in_passes:
        raise DataError(found="a single item", expected="items that have neighbours", fix="pass pred_probs")
    return Sources(p, neighbours, _dynamics(dynamics, inputs), vectors, described)


def neighbour_probs(labels: HardLabels | MultiLabels, neighbours: Any) -> np.ndarray:
    """(N, K) share of the neighbours that carry each class, by similarity; one neighbour's worth of the class's own share
    is added, and copies abstain. The item's own label has no part in it."""
    weight = np.where(neighbours.similarity >= 1 - COPY, 0, np.maximum(neighbours.similarity, 0)) ** 2
    given = labels.dense() if isinstance(labels, MultiLabels) else labels.ids
    k = len(labels.space)
    out = np.empty((len(labels), k), dtype=np.float32)
    share = (given == 1).sum(0) / np.maximum((given >= 0).sum(0), 1) if given.ndim == 2 else _shares(given, k)
    for rows in chunks(len(out), k * neighbours.index.shape[1]):
        near = given[neighbours.index[rows]]
        if given.ndim == 1:
            near = np.where(near[:, :, None] < 0, -1, near[:, :, None] == np.arange(k))
        known = np.einsum("nj,njk->nk", weight[rows], near >= 0) + 1
        out[rows] = (np.einsum("nj,njk->nk", weight[rows], near == 1) + share) / known
    return out


def without_copies(neighbours: Any) -> Any:
    """The neighbours, exact copies abstaining: a copy's label was often copied with it and is no second opinion (card 39)."""
    if neighbours is None:
        return None
    index, similarity = neighbours
    return index, np.where(similarity >= 1 - COPY, 0, similarity)


def _shares(given: np.ndarray, k: int) -> np.ndarray:
    counts = np.bincount(given[given >= 0], minlength=k) + 1.0
    return np.asarray(counts / counts.sum())


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
