"""What labels and pred_probs must be, asked once at the door."""

from __future__ import annotations

from typing import Any

import numpy as np

from labelwright.errors import LabelError, ProbabilityError, rows

_CHUNK = 1 << 22  # entries looked at in one go: a full-size copy is never made


def tolerance(dtype: np.dtype[Any]) -> float:
    """How far a row sum may be from 1: 1e-4, and 2e-3 for float16, whose rounding alone can reach that."""
    return 2e-3 if dtype == np.float16 else 1e-4


def as_matrix(pred_probs: Any) -> Any:
    """Probabilities as something that reads like an array (N, K), not copied: top-k rows (`SoftLabels`) are written out only
    where they are read (`DenseRows`)."""
    if hasattr(pred_probs, "dense_rows"):
        return pred_probs.dense_rows()
    return pred_probs.to_numpy() if hasattr(pred_probs, "to_numpy") else np.asanyarray(pred_probs)


def check_pred_probs(pred_probs: Any, *, n_items: int | None = None, n_classes: int | None = None) -> np.ndarray:
    """`pred_probs` as a float array (N, K) whose rows are distributions; never copied, never up-cast.

    Raises:
        ProbabilityError: wrong shape, NaN or infinite values, logits, rows that do not sum to 1.
    """
    p = as_matrix(pred_probs)
    if p.ndim != 2 or p.dtype.kind not in "fiu" or p.shape[1] == 0:
        raise ProbabilityError(
            found=f"pred_probs of shape {p.shape} and dtype {p.dtype}",
            expected="a float array (N, K): one row per item, one column per class",
            fix="stack the rows with numpy.stack, or for two classes pass numpy.column_stack([1 - p, p])",
        )
    if n_items is not None and len(p) != n_items:
        raise ProbabilityError(
            found=f"{len(p)} rows of pred_probs for {n_items} labels",
            expected="one row per item, in the same order",
            fix="predict for every item, or select the rows that the labels belong to",
        )
    if n_classes is not None and p.shape[1] != n_classes:
        raise ProbabilityError(
            found=f"{p.shape[1]} columns of pred_probs for {n_classes} classes",
            expected="one column per class, in the order of the space",
            fix="pass space=LabelSpace([...]) with the class of each column, in column order",
        )
    if p.dtype.kind != "f":
        p = p.astype(np.float32)
    step = max(1, _CHUNK // p.shape[1])
    for start in range(0, len(p), step):
        _check_rows(p[start : start + step], start, len(p))
    return p


def _check_rows(p: np.ndarray, start: int, n: int) -> None:
    finite = np.isfinite(p).all(1)
    if not finite.all():
        bad = start + np.flatnonzero(~finite)
        raise ProbabilityError(
            found=f"{len(bad)} rows of pred_probs with NaN or infinite values ({rows(bad)})",
            expected="finite probabilities in every row",
            fix="find out why the model failed there; drop these items or predict them again",
        )
    total = p.sum(1, dtype=np.float64)
    low, high = p.min(1), p.max(1)
    tol = tolerance(p.dtype)
    bad = (low < -tol) | (high > 1 + tol) | (np.abs(total - 1) > tol)
    if not bad.any():
        return
    i = int(np.flatnonzero(bad)[0])
    logits = bool((low < -tol).any() or (high > 1 + tol).any())
    raise ProbabilityError(
        found=f"{int(bad.sum())} of {len(p)} rows of pred_probs that are no distribution; first is row {start + i} "
        f"(sum {total[i]:.4g}, min {low[i]:.3g}, max {high[i]:.3g})",
        expected=f"values in [0, 1] and rows that sum to 1 within {tol:g}",
        fix="these are percentages: pass pred_probs / 100"
        if low.min() >= 0 and bool((np.abs(total - 100) < 1).all())
        else "these look like logits: pass scipy.special.softmax(logits, axis=1)"
        if logits
        else "pass pred_probs / pred_probs.sum(1, keepdims=True), or for independent labels use multi=True",
    )


def check_class_ids(ids: Any, n_classes: int, *, n_items: int | None = None) -> np.ndarray:
    """Class ids as int64 (N,), -1 for missing.

    Raises:
        LabelError: not integers, not one-dimensional, an id outside -1..K-1, another number of items.
    """
    a = np.asarray(ids)
    if a.ndim != 1 or a.dtype.kind not in "iu":
        raise LabelError(
            found=f"class ids of shape {a.shape} and dtype {a.dtype}",
            expected="an integer array (N,), -1 where the label is missing",
            fix="encode names with space.encode(labels)",
        )
    if n_items is not None and len(a) != n_items:
        raise LabelError(
            found=f"{len(a)} labels for {n_items} items",
            expected="one label per item",
            fix="pass labels of the same rows",
        )
    bad = np.flatnonzero((a < -1) | (a >= n_classes)) if len(a) else a
    if len(bad):
        raise LabelError(
            found=f"{len(bad)} of {len(a)} labels outside the space; first is {a[bad[0]]} in row {bad[0]}",
            expected=f"class ids 0 to {n_classes - 1}, or -1 for missing",
            fix="mend the label, set it to -1 (missing), or pass a space with that class",
        )
    return a.astype(np.int64, copy=False)


def check_distributions(p: Any, name: str) -> np.ndarray:
    """A float array (..., K) whose last axis is a distribution; the name is used in the message."""
    a = np.asarray(p)
    if a.dtype.kind != "f":
        a = a.astype(np.float64)
    flat = a.reshape(-1, a.shape[-1]) if a.ndim else a.reshape(0, 1)
    with np.errstate(invalid="ignore"):
        bad = ~(
            np.isfinite(flat).all(1)
            & (flat >= -tolerance(a.dtype)).all(1)
            & (np.abs(flat.sum(1, dtype=float) - 1) <= tolerance(a.dtype))
        )
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        raise LabelError(
            found=f"{int(bad.sum())} of {len(flat)} rows of `{name}` that are no distribution; first is row {i} "
            f"(sum {flat[i].sum():.4g}, min {flat[i].min():.3g})",
            expected=f"every row of `{name}` >= 0 and summing to 1 within {tolerance(a.dtype):g}",
            fix=f"pass {name} / {name}.sum(-1, keepdims=True), or for several labels per item use MultiLabels",
        )
    return a
