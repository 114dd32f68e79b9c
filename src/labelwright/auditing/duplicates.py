"""Items that are there twice, and those whose copies carry different labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from labelwright.auditing.overlap import class_names
from labelwright.errors import DataError, OptionError
from labelwright.features.neighbours import Neighbours
from labelwright.labels.hard import HardLabels

if TYPE_CHECKING:
    import pyarrow as pa

RELATIVE = (
    0.017  # of the typical distance to the nearest item: 0.13 of it in Euclidean terms (1 - cosine is its square / 2)
)


def near_duplicates(neighbours: Neighbours | None, *, threshold: float | None = None) -> np.ndarray | None:
    """Group number of every item that has a near duplicate, -1 for the others. None gives None.

    Items are joined when one is among the other's neighbours with similarity >= threshold, and groups grow along such
    pairs (connected components), so the two ends of a group may be less alike. Rows of zeros never join (their cosine
    is 0); under the cosine (1, 1) and (2, 2) are copies, so take Euclidean neighbours for tables of few columns.

    Args:
        neighbours: index and similarity (N, k) of `nearest_neighbours`.
        threshold: least similarity; None: within 1.7 % of the median distance to the nearest item (0.02 at most, and
            never stricter than float32), so that data of few dimensions, where all is near, is not one large group.

    Returns:
        (N,) int64, groups numbered from 0 by their first item.

    Raises:
        OptionError: a threshold above 1.

    >>> near_duplicates(Neighbours(np.array([[1], [0], [0]]), np.array([[1.0], [1.0], [0.2]])))
    array([ 0,  0, -1])
    """
    if neighbours is None:
        return None
    if threshold is not None and threshold > 1:
        raise OptionError(found=f"threshold={threshold}", expected="a similarity, 1 at most", fix="pass threshold=0.99")
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(neighbours.index)
    if threshold is None:
        typical = float(np.median(1.0 - neighbours.similarity[:, 0])) if n else 0.0
        threshold = 1.0 - min(max(RELATIVE * typical, 1.2e-7), 0.02)
    row, place = np.nonzero(neighbours.similarity >= threshold)
    pairs = csr_matrix((np.ones(len(row), np.int8), (row, neighbours.index[row, place])), shape=(n, n))
    component = connected_components(pairs, directed=False)[1]
    shared = np.bincount(component, minlength=1)[component] > 1
    out = np.full(n, -1)
    _, first, code = np.unique(component[shared], return_index=True, return_inverse=True)
    out[shared] = np.argsort(np.argsort(first))[code]
    return out


def label_conflicts(labels: HardLabels, groups: np.ndarray | None, items: np.ndarray | None = None) -> pa.Table:
    """Groups of duplicates with more than one given label: one of these labels is wrong, or the classes overlap.

    Args:
        labels: N given labels; missing ones do not conflict but are listed.
        groups: (N,) of `near_duplicates`, -1 = in none; None gives an empty table.
        items: (N,) keys; None = row numbers.

    Returns:
        Table group (int64), rows (list of int64), items (list), labels (list of names, null = missing), by group
        number.
    """
    import pyarrow as pa

    keys = np.arange(len(labels)) if items is None else np.asarray(items)
    groups = np.full(len(labels), -1) if groups is None else np.asarray(groups)
    if groups.shape != (len(labels),) or keys.shape != (len(labels),):
        raise DataError(
            found=f"`groups` of shape {groups.shape} and `items` of shape {keys.shape} for {len(labels)} labels",
            expected="one entry per item in each",
            fix="pass the groups and keys of the same rows",
        )
    inside = np.flatnonzero((groups >= 0) & labels.known)
    distinct = np.unique(np.column_stack([groups[inside], labels.ids[inside]]), axis=0)[:, 0]
    conflicting = np.flatnonzero(np.bincount(distinct, minlength=1) > 1)
    chosen = np.flatnonzero(np.isin(groups, conflicting) & (groups >= 0))
    chosen = chosen[np.argsort(groups[chosen], kind="stable")]
    offsets = pa.array(np.searchsorted(groups[chosen], [*conflicting, np.inf]), pa.int32())
    names = class_names(labels.space).take(pa.array(labels.ids[chosen], pa.int64(), mask=labels.ids[chosen] < 0))
    return pa.table(
        {
            "group": pa.array(conflicting, pa.int64()),
            "rows": pa.ListArray.from_arrays(offsets, pa.array(chosen, pa.int64())),
            "items": pa.ListArray.from_arrays(offsets, pa.array(keys[chosen])),
            "labels": pa.ListArray.from_arrays(offsets, names),
        }
    )
