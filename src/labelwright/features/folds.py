"""Which fold holds out which item: classes dealt evenly, groups kept whole."""

from __future__ import annotations

import numpy as np

from labelwright.errors import DataError, LabelError, OptionError


def fold_ids(
    labels: np.ndarray, *, groups: np.ndarray | None = None, n_folds: int = 5, random_state: int = 0
) -> np.ndarray:
    """The fold that holds each item out, -1 = none (the item has no label, nor has any item of its group).

    Every class is dealt evenly over the folds. With `groups`, as evenly as whole groups allow: the largest first, each
    to the fold where its classes are rarest.

    Args:
        labels: (N,) class ids, -1 = missing.
        groups: (N,) ids of what must stay together.
        n_folds: at least 2; lowered to the number of labelled items, or of groups with a labelled item.
        random_state: seed of the dealing.

    Returns:
        (N,) int64, -1..F-1; every fold 0..F-1 holds a labelled item.

    Raises:
        LabelError: fewer than two labelled items or groups. OptionError: fewer than 2 folds. DataError: groups that do
            not fit.

    >>> fold_ids(np.array([0, 0, 1, 1, -1]), n_folds=2)
    array([ 0,  1,  0,  1, -1])
    """
    if n_folds < 2:
        raise OptionError(found=f"n_folds={n_folds}", expected="2 or more", fix="pass n_folds=5")
    rng = np.random.default_rng(random_state)
    known = np.flatnonzero(labels >= 0)
    unit = np.arange(len(labels)) if groups is None else _group_ids(groups, len(labels))
    n_units = len(np.unique(unit[known]))
    if n_units < 2:
        raise LabelError(
            found=f"{len(known)} labelled items" + ("" if groups is None else f" in {n_units} groups"),
            expected="at least 2 labelled items" + ("" if groups is None else " in different groups"),
            fix="label more items" if groups is None else "label items of another group, or leave out `groups`",
        )
    n_folds = min(n_folds, n_units)
    if groups is not None:
        return _deal_groups(unit[known], labels[known], int(unit.max()) + 1, n_folds, rng)[unit]
    fold = np.full(len(labels), -1)
    known = rng.permutation(known)
    known = known[np.argsort(labels[known], kind="stable")]
    fold[known] = np.arange(len(known)) % n_folds
    return fold


def _deal_groups(
    unit: np.ndarray, labels: np.ndarray, n_units: int, n_folds: int, rng: np.random.Generator
) -> np.ndarray:
    """(n_units,) fold of each group, -1 where it has no labelled item."""
    from scipy.sparse import csr_matrix

    k = int(labels.max()) + 1
    table = csr_matrix((np.ones(len(unit)), (unit, labels)), shape=(n_units, k))
    size = np.bincount(unit, minlength=n_units)
    weight = 1.0 / np.maximum(np.bincount(labels, minlength=k), 1)  # a rare class counts as much as a common one
    held, items, fold = np.zeros((n_folds, k)), np.zeros(n_folds), np.full(n_units, -1)
    order = rng.permutation(n_units)
    for g in order[np.argsort(-size[order], kind="stable")][: np.count_nonzero(size)]:
        part = slice(table.indptr[g], table.indptr[g + 1])
        classes, counts = table.indices[part], table.data[part]
        crowding = (held[:, classes] * (counts * weight[classes])).sum(axis=1)
        fold[g] = f = np.lexsort((items, np.round(crowding, 12)))[0]
        held[f, classes] += counts
        items[f] += size[g]
    empty = np.setdiff1d(np.arange(n_folds), fold)  # one class per group can leave a fold empty
    for f in empty:
        donor = np.argmax(np.bincount(fold[fold >= 0], minlength=n_folds))
        fold[np.flatnonzero(fold == donor)[-1]] = f
    return fold


def _group_ids(groups: np.ndarray, n: int) -> np.ndarray:
    groups = np.asarray(groups)
    if groups.shape != (n,):
        raise DataError(
            found=f"`groups` of shape {groups.shape} for {n} items",
            expected=f"({n},)",
            fix="pass one group id per item",
        )
    plain = groups.astype(str) if groups.dtype.kind == "O" else groups
    return np.asarray(np.unique(plain, return_inverse=True)[1])
