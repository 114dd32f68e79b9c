"""Which classes are mistaken for each other: candidates for merging, or for a better definition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from labelwright.errors import ProbabilityError
from labelwright.labels import PredProbs
from labelwright.labels.check import check_class_ids, check_pred_probs
from labelwright.labels.space import LabelSpace

if TYPE_CHECKING:
    import pyarrow as pa


def class_overlap(joint: np.ndarray, space: LabelSpace, *, top: int | None = None) -> pa.Table:
    """Pairs of classes by how much of them is counted for the other, the most first.

    overlap = (joint[a, b] + joint[b, a]) / (n_a + n_b), n the row sums: 0 = never confused, 1 = exchanged altogether.

    Args:
        joint: (K, K) [given, true], counts or mass: a confident joint, or `mass_joint`.
        space: the K classes.
        top: most pairs listed; None = all with an overlap above 0.

    Returns:
        Table class_a, class_b (names, in class order), overlap (float64), items (float64 joint[a, b] + joint[b, a]).

    Raises:
        ProbabilityError: a joint of another shape, or with negative or NaN entries.

    >>> class_overlap(np.array([[8, 2], [0, 10]]), LabelSpace(["cat", "dog"])).to_pylist()
    [{'class_a': 'cat', 'class_b': 'dog', 'overlap': 0.1, 'items': 2.0}]
    """
    import pyarrow as pa

    joint = np.asarray(joint, np.float64)
    k = len(space)
    if joint.shape != (k, k) or not (joint >= 0).all():
        raise ProbabilityError(
            found=f"a joint of shape {joint.shape}"
            + (" with negative or NaN entries" if joint.shape == (k, k) else ""),
            expected=f"({k}, {k}) counts or mass >= 0, [given, true]",
            fix="pass confident_joint(labels, pred_probs), or mass_joint(labels, pred_probs)",
        )
    size = joint.sum(axis=1)
    a, b = np.triu_indices(k, 1)
    items, both = joint[a, b] + joint[b, a], size[a] + size[b]
    seen = items > 0
    a, b, items = a[seen], b[seen], items[seen]
    overlap = items / both[seen] if k > 1 else items
    order = np.argsort(-overlap, kind="stable")[:top]
    names = class_names(space)
    return pa.table(
        {
            "class_a": names.take(pa.array(a[order], pa.int64())),
            "class_b": names.take(pa.array(b[order], pa.int64())),
            "overlap": pa.array(overlap[order], pa.float64()),
            "items": pa.array(items[order], pa.float64()),
        }
    )


def class_names(space: LabelSpace) -> pa.Array:
    """The class names as an Arrow column: int64 if all are integers, else strings."""
    import pyarrow as pa

    if all(isinstance(c, int) for c in space.classes):
        return pa.array(space.classes, pa.int64())
    return pa.array([str(c) for c in space.classes])


def mass_joint(labels: np.ndarray, pred_probs: PredProbs) -> np.ndarray:
    """(K, K) float64, [given, c]: the probability mass that items with each given label put on each class.

    Softer than the confident joint: sees overlap where the model is never confident. Use calibrated pred_probs.

    Args:
        labels: (N,) class ids, -1 = missing (left out).   pred_probs: (N, K) or top-k rows, out of sample.
    """
    p = check_pred_probs(pred_probs)
    k = p.shape[1]
    labels = check_class_ids(labels, k, n_items=len(p))
    out = np.zeros((k, k))
    step = max(1, (1 << 20) // k)
    for s in range(0, len(labels), step):
        given = labels[s : s + step]
        order = np.argsort(given, kind="stable")
        order = order[np.searchsorted(given[order], 0) :]
        if len(order):
            present, start = np.unique(given[order], return_index=True)
            out[present] += np.add.reduceat(p[s : s + step][order], start, axis=0, dtype=np.float64)
    return out
