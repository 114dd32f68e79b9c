"""Items that cover feature space: greedy k-centre, herding, and the distance to the class mean.

Products of rows are summed without BLAS and row by row, so neither its version nor the block size changes the choice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from labelwright.errors import DataError, OptionError, check_whole, rows
from labelwright.features.vectors import check_features
from labelwright.labels import check_class_ids
from labelwright.stream.statistic import chunks

_BLOCK = 1 << 16  # entries of a block of differences: it stays in the processor's cache


def k_center(features: Any, n: int, *, start: Iterable[int] = ()) -> np.ndarray:
    """(n,) int64 item numbers in the order chosen: each is the item farthest from all chosen before it.

    Args:
        features: (N, D) dense. Distances are Euclidean, in the dtype of the features.
        n: items to choose, 1 <= n <= N.
        start: items that are already kept, and not chosen again. None: the first choice is the item nearest the mean.

    Ties go to the lower number. Cost: N n D operations, scratch of one block. The largest distance of an item to its
    nearest chosen item is at most twice the least possible.

    Raises:
        OptionError: n is no whole number that leaves enough items, or `start` names items that are not there.
        DataError: features that are no finite matrix.

    Source: Gonzalez 1985; as a core set, Sener & Savarese 2018, algorithm 1.

    >>> k_center(np.array([[0.0], [1.0], [2.0], [10.0]]), 2)
    array([2, 3])
    """
    x = _dense(features)
    check_whole("n", n, 1)
    held = np.unique(np.asarray(list(start), dtype=np.int64))
    _check_room(len(x), n, held)
    nearest = np.full(len(x), np.inf, x.dtype)
    if len(held):
        for centre in held:
            np.minimum(nearest, _squared_distance(x, x[centre]), out=nearest)
        nearest[held] = -1.0
        first = int(nearest.argmax())
    else:
        first = int(_squared_distance(x, x.mean(0, dtype=np.float64).astype(x.dtype)).argmin())
    chosen = np.empty(n, np.int64)
    for i in range(n):
        chosen[i] = first if i == 0 else int(nearest.argmax())
        np.minimum(nearest, _squared_distance(x, x[chosen[i]]), out=nearest)
        nearest[chosen[i]] = -1.0  # below every distance: copies of a chosen item come before it
    return chosen


def herding(features: Any, n: int) -> np.ndarray:
    """(n,) int64 item numbers in the order chosen: each brings the mean of the chosen nearest to the mean of all.

    Args:
        features: (N, D) dense; one centred float64 copy is made.   n: items to choose, 1 <= n <= N.

    Ties go to the lower number. Cost: N n D operations.

    Raises:
        OptionError, DataError: as in `k_center`.

    Source: Welling 2009, in the form of Rebuffi et al. 2017 (iCaRL, algorithm 4), each item once.

    >>> herding(np.array([[-3.0], [-1.0], [0.0], [4.0]]), 3)
    array([2, 1, 3])
    """
    x = _dense(features)
    check_whole("n", n, 1)
    _check_room(len(x), n, np.arange(0))
    x = x - x.mean(0, dtype=np.float64)
    square = np.einsum("nd,nd->n", x, x)
    total, chosen = np.zeros(x.shape[1]), np.empty(n, np.int64)
    for i in range(n):
        # |total + x|^2 less |total|^2, with the mean of all at 0; dividing by (i + 1)^2 changes no order
        chosen[i] = (square + 2 * np.einsum("nd,d->n", x, total)).argmin()
        total += x[chosen[i]]
        square[chosen[i]] = np.inf
    return chosen


def class_distance(features: Any, labels: Any) -> np.ndarray:
    """(N,) float64 Euclidean distance of each item to the mean of its class, NaN without a label.

    Args:
        features: (N, D) dense.   labels: (N,) int, -1 = missing.

    The moderate core set keeps the items whose distance is nearest the median: `prune(features, ..., rule="moderate")`.

    Raises:
        DataError: features that are no finite matrix.   LabelError: labels of other items.

    Source: Xia et al. 2023, "Moderate coreset", section 3 (their released code takes the median vector as the centre).

    >>> class_distance(np.array([[0.0], [2.0], [5.0]]), np.array([0, 0, 1]))
    array([1., 1., 0.])
    """
    x = _dense(features)
    given = check_class_ids(labels, np.iinfo(np.int64).max, n_items=len(x))
    out = np.full(len(x), np.nan)
    for c in np.unique(given[given >= 0]):
        members = np.flatnonzero(given == c)
        centre = x[members].mean(0, dtype=np.float64)
        for block in chunks(len(members), x.shape[1], entries=_BLOCK):
            gap = x[members[block]] - centre
            out[members[block]] = np.sqrt(np.einsum("nd,nd->n", gap, gap))
    return out


def _squared_distance(x: np.ndarray, centre: np.ndarray) -> np.ndarray:
    out = np.empty(len(x), x.dtype)
    for block in chunks(*x.shape, entries=_BLOCK):
        gap = x[block] - centre
        np.einsum("nd,nd->n", gap, gap, out=out[block])
    return out


def _dense(features: Any) -> np.ndarray:
    x = check_features(features, name="features")
    if not isinstance(x, np.ndarray):
        raise DataError(
            found="sparse features",
            expected="a dense matrix (N, D): a cover measures N distances for every item it keeps",
            fix="reduce them first, for example with sklearn.decomposition.TruncatedSVD(64).fit_transform(features)",
        )
    return x


def _check_room(n_items: int, n: int, held: np.ndarray) -> None:
    strange = held[(held < 0) | (held >= n_items)]
    if len(strange):
        raise OptionError(
            found=f"{rows(strange)} in start, of {n_items} items",
            expected=f"item numbers 0 to {n_items - 1}",
            fix="pass the numbers of items in `features`",
        )
    if n > n_items - len(held):
        raise OptionError(
            found=f"n={n} of {n_items - len(held)} items",
            expected=f"1 to {n_items - len(held)}",
            fix=f"pass n={n_items - len(held)} or less",
        )
