"""Probability columns that have names are matched to the classes by name, never by position alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from labelwright.errors import DataError, LabelError, ProbabilityError
from labelwright.labels import LabelSpace, as_arrow


def matrix_and_names(pred_probs: Any) -> tuple[np.ndarray, list[str] | None]:
    """(N, K) array and the names of its columns, None where they have none (arrays, frames with numbered columns).

    Raises:
        ProbabilityError: nothing that has rows and columns of numbers.
    """
    names = None
    try:
        if isinstance(pred_probs, Mapping) or hasattr(pred_probs, "columns") or hasattr(pred_probs, "column_names"):
            table = as_arrow(pred_probs)
            names = [str(name) for name in table.column_names]
            matrix = np.column_stack([np.asarray(c.to_numpy(), dtype=np.float64) for c in table.columns])
        else:
            if hasattr(pred_probs, "to_pylist"):
                pred_probs = pred_probs.to_pylist()
            matrix = np.asanyarray(pred_probs)
        if matrix.ndim != 2 or matrix.dtype.kind not in "fiu":
            raise ValueError(f"shape {matrix.shape}, dtype {matrix.dtype}")
    except (ValueError, TypeError, DataError) as error:
        raise ProbabilityError(
            found=f"pred_probs of type {type(pred_probs).__name__} ({error})",
            expected="numbers (N, K): one row per item, one column per class",
            fix="stack the rows with numpy.stack, or for two classes pass numpy.column_stack([1 - p, p])",
        ) from None
    numbered = names is not None and [str(i) for i in range(len(names))] == names
    return matrix, None if numbered else names


def columns_of(names: Sequence[str], space: LabelSpace) -> list[int] | None:
    """For each class the position of its column; None where the names do not tell.

    A name may be the class itself, or the class with a prefix or suffix that all columns share ("prob_cat", "prob_dog"),
    or such a prefix with the number of the class ("p_0", "p_1").

    >>> columns_of(["p_dog", "p_cat"], LabelSpace(["cat", "dog"]))
    [1, 0]
    """
    classes = [str(c) for c in space.classes]
    for stripped in _stripped(names):
        if sorted(stripped) == sorted(classes):
            return [stripped.index(c) for c in classes]
    for stripped in _stripped(names):
        if sorted(stripped) == sorted(str(i) for i in range(len(classes))):
            return [stripped.index(str(i)) for i in range(len(classes))]
    return None


def space_of(names: Sequence[str], found: LabelSpace) -> LabelSpace | None:
    """The classes that the columns name, where they name every class of the labels and more."""
    if isinstance(found.classes[0], int):
        return None
    for stripped in _stripped(names):
        if set(stripped) > {str(c) for c in found.classes} and len(set(stripped)) == len(stripped):
            return LabelSpace(stripped)
    return None


def aligned_columns(matrix: np.ndarray, names: list[str] | None, space: LabelSpace) -> tuple[np.ndarray, str | None]:
    """`matrix` with its columns in the order of the classes, and a note where the names did not tell.

    Raises:
        LabelError: another number of columns than classes.
    """
    if names is None or matrix.shape[1] != len(space):
        return matrix, None
    order = columns_of(names, space)
    if order is None:
        pairs = ", ".join(f"{n} = {c}" for n, c in list(zip(names, space.classes))[:4])
        return (
            matrix,
            f"the columns of pred_probs are taken for the classes in order ({pairs}, …): their names do not tell",
        )
    if order == list(range(len(order))):
        return matrix, None
    return matrix[:, order], None


def _stripped(names: Sequence[str]) -> list[list[str]]:
    """The names as they are, and without the prefix, the suffix, or both, that all of them share."""
    out = [list(names)]
    prefix, suffix = _shared(names), _shared([n[::-1] for n in names])[::-1]
    # "p_10" and "p_1" share "p_1": the prefix may end too late, so it is also cut at its last separator
    cut = max(prefix.rfind(mark) for mark in "_-.: ") + 1
    for head in {prefix, prefix[:cut]} - {""}:
        out.append([n[len(head) :] for n in names])
    for head in {"", prefix, prefix[:cut]}:
        if suffix:
            out.append([n[len(head) : len(n) - len(suffix)] for n in names])
    return out


def _shared(names: Sequence[str]) -> str:
    """The longest beginning that all names have."""
    first, last = min(names), max(names)
    same = next((i for i, (a, b) in enumerate(zip(first, last)) if a != b), min(len(first), len(last)))
    return first[:same]


def needs_as_many(columns: int, space: LabelSpace) -> None:
    """Raise unless there is one column per class."""
    if columns != len(space):
        raise LabelError(
            found=f"{len(space)} classes in the labels and {columns} columns of pred_probs",
            expected="to know which class each column stands for",
            fix="pass space=LabelSpace([...]) with the class of each column, in column order",
        )
