"""What `audit_values` is given, checked and read."""

from __future__ import annotations

from typing import Any

import numpy as np

from labelwright.auditing._sources import COPY, copies
from labelwright.errors import DataError, LabelError, OptionError, rows

LEAST = 10


def read_values(values: Any) -> np.ndarray:
    """(N,) float64, NaN = missing. Raises LabelError unless there are at least ten finite numbers, not all equal."""
    entries = values.to_pylist() if hasattr(values, "to_pylist") else values
    if hasattr(entries, "to_list"):  # pandas, polars: their own missing values
        entries = entries.to_list()
    a = np.asarray(entries if hasattr(entries, "__array__") else list(entries))
    if a.ndim != 1:
        raise LabelError(
            found=f"values of shape {a.shape}", expected="one number per item, (N,)", fix="pass one column"
        )
    if a.dtype.kind not in "iuf":
        gap = np.array([v is None or type(v).__name__ == "NAType" or v != v for v in a], dtype=bool)
        bad = [
            i
            for i, v in enumerate(a)
            if not gap[i] and (isinstance(v, str | bool | np.bool_) or not hasattr(v, "__float__"))
        ]
        if bad:
            raise LabelError(
                found=f"{len(bad)} of {len(a)} values that are no numbers; first is {a[bad[0]]!r} in {rows(bad)}",
                expected="numbers, None or NaN where missing",
                fix="convert them with float(); for classes use labelwright.audit",
            )
        a = np.array([np.nan if g else float(v) for v, g in zip(a, gap)])
    a = a.astype(np.float64)
    infinite = np.flatnonzero(np.isinf(a))
    if len(infinite):
        raise LabelError(
            found=f"{len(infinite)} infinite values ({rows(infinite)})",
            expected="finite numbers",
            fix="mend them, or set them to NaN (missing)",
        )
    known = a[~np.isnan(a)]
    if len(known) < LEAST or known.min() == known.max():
        raise LabelError(
            found=f"{len(known)} values" + (f", all of them {known[0]:g}" if len(known) >= LEAST else ""),
            expected=f"at least {LEAST} values that are not all equal",
            fix="with so little there is nothing to compare a value with: add labelled items",
        )
    return a


def check_together(y: np.ndarray, given: np.ndarray | None, features: Any, groups: Any, estimator: Any) -> None:
    """Raise where one argument excludes another, or does not fit it."""
    if given is None and features is None:
        raise DataError(
            found="neither predictions nor features",
            expected="something that tells about the items besides their values",
            fix="pass predictions=... (out of sample), or features=... (vectors, texts, a table or images)",
        )
    if groups is not None and features is None:
        raise OptionError(
            found="groups without features",
            expected="them only where predictions are made or neighbours sought here",
            fix="leave groups out, or pass features=...",
        )
    if groups is not None and np.shape(groups) != y.shape:
        raise DataError(
            found=f"groups of shape {np.shape(groups)}",
            expected=f"one group per item, {y.shape}",
            fix="select its rows",
        )
    if given is not None and estimator is not None:
        raise OptionError(
            found="estimator together with predictions",
            expected="it only where predictions are made here",
            fix="leave out one of the two",
        )
    if isinstance(estimator, type):
        raise OptionError(
            found=f"the class {estimator.__name__}", expected="an instance", fix=f"pass {estimator.__name__}()"
        )


def read_predictions(predictions: Any, n: int) -> np.ndarray | None:
    """(N, M) float64 or None."""
    if predictions is None:
        return None
    p = np.asarray(predictions.to_numpy() if hasattr(predictions, "to_numpy") else predictions)
    if p.ndim not in (1, 2) or len(p) != n or p.dtype.kind not in "iuf" or p.size == 0:
        raise DataError(
            found=f"predictions of shape {p.shape} and dtype {p.dtype} for {n} values",
            expected=f"({n},) numbers, or ({n}, M) of M models",
            fix="predict every item once per model, in the order of the values",
        )
    p = p.reshape(n, -1).astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(p).all(1))
    if len(bad):
        raise DataError(
            found=f"NaN or infinite predictions in {len(bad)} of {n} rows ({rows(bad)})",
            expected="finite predictions",
            fix="find out why the model failed there, or drop these items",
        )
    return p


def describe(features: Any, n: int, k: int, groups: Any, random_state: int, progress: Any) -> tuple[Any, Any]:
    """(ItemVectors, (N, k) row numbers of neighbours, -1 for a copy or one of the same group), or twice None."""
    from labelwright.features import ItemVectors, item_vectors, nearest_neighbours

    if features is None:
        return None, None
    vectors = features if isinstance(features, ItemVectors) else item_vectors(features, random_state=random_state)
    if vectors.search.shape[0] != n:
        raise DataError(
            found=f"{vectors.search.shape[0]} rows of features for {n} values",
            expected="one row per item, in the same order",
            fix="select the rows that the values belong to",
        )
    progress("neighbours", 0, 1)
    index, similarity = nearest_neighbours(vectors.search, min(k, n - 1))
    progress("neighbours", 1, 1)
    same = similarity >= 1 - COPY  # a copy's value was often copied with it and is no second opinion
    if groups is not None:
        code = np.unique(np.asarray(groups), return_inverse=True)[1]
        same |= code[index] == code[:, None]
    return vectors, np.where(same, -1, index)


def together(groups: Any, search: np.ndarray) -> np.ndarray | None:
    """(N,) what must be held out together: the groups, joined where they hold copies of the same item."""
    same = copies(search)
    if groups is None or same is None:
        return same if groups is None else np.asarray(groups)
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    code, n = np.unique(np.asarray(groups), return_inverse=True)[1], len(same)
    pairs = coo_matrix((np.ones(n), (code, n + same)), shape=(2 * n, 2 * n))
    return np.asarray(connected_components(pairs, directed=False)[1][code])


def units_of(y: np.ndarray) -> tuple[float, float]:
    """Median and robust standard deviation, the plain one where half of the values are equal."""
    centre = float(np.median(y))
    mad = 1.4826 * float(np.median(np.abs(y - centre)))
    return centre, mad or float(np.std(y))


def fenced(z: np.ndarray) -> np.ndarray:
    """Values drawn in to three interquartile ranges beyond the quartiles: one unit mistake must not bend a first model."""
    low, high = np.nanpercentile(z, [25, 75])
    return z if low == high else np.clip(z, low - 3 * (high - low), high + 3 * (high - low))
