"""Which probabilities are read in passes, and how their columns become those of the classes."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from labelwright.auditing._inputs import hard_labels
from labelwright.auditing._named import columns_of, matrix_and_names
from labelwright.errors import OptionError, ProbabilityError
from labelwright.labels import HardLabels, LabelSpace, SoftLabels
from labelwright.stream import Chunk, Rows, open_rows, with_dense

LARGE = 1 << 26
"""Entries (N x K) above which probabilities are read in passes, wherever they are."""


def as_rows(pred_probs: Any, labels: Any, *, passes_wanted: bool = False) -> Rows | None:
    """The rows of what need not be in memory: a path or URL, `Rows`, `SoftLabels`, a large array; with `passes_wanted` any
    matrix. None: anything else.

    Raises:
        OptionError: passes are wanted over nothing.
    """
    array = isinstance(pred_probs, np.ndarray) and pred_probs.ndim == 2
    if isinstance(pred_probs, Rows):
        rows = pred_probs
    elif isinstance(pred_probs, str | os.PathLike | SoftLabels) or (
        array and (passes_wanted or pred_probs.size > LARGE)
    ):
        rows = open_rows(pred_probs)
    elif passes_wanted and pred_probs is None:
        raise OptionError(
            found="engine, workers or checkpoint without pred_probs",
            expected="probabilities to read in passes",
            fix="leave them out: what is predicted here fits into memory",
        )
    elif passes_wanted:
        matrix, names = matrix_and_names(pred_probs)
        rows = open_rows(matrix, classes=names)
    else:
        return None
    if len(rows.shape) != 2:
        raise ProbabilityError(
            found=f"pred_probs of shape {rows.shape} in {rows.name}",
            expected="one row of K probabilities per item",
            fix="write a matrix (N, K), or name the columns: open_rows(path, columns=[...])",
        )
    try:
        n = len(labels)
    except TypeError:
        n = len(rows)
    if len(rows) != n:
        raise ProbabilityError(
            found=f"{len(rows):,} rows in {rows.name} for {n:,} labels",
            expected="one row of probabilities per item, in the same order",
            fix="select the rows that the labels belong to, and write them again",
        )
    return rows


def in_memory(rows: Rows) -> Any:
    """All rows as (N, K), or as a table where their columns have names."""
    n, k = rows.shape
    dtype = rows.dtype if rows.dtype is not None and rows.dtype.kind == "f" else np.dtype(np.float64)
    matrix = np.empty((n or 0, k or 0), dtype)
    for chunk in rows.chunks():
        matrix[chunk.rows] = with_dense(chunk)
    names = named(rows)
    if names is None:
        return matrix
    import pyarrow as pa

    return pa.table({name: matrix[:, j] for j, name in enumerate(names)})


def named(rows: Rows) -> list[str] | None:
    """Names of the columns, None where they are numbered."""
    if rows.classes is None:
        return None
    names = [str(name) for name in rows.classes]
    return None if names == [str(i) for i in range(len(names))] else names


def match(labels: Any, rows: Rows, space: LabelSpace | None) -> tuple[HardLabels, Feed, str | None]:
    """The labels as ids, how a chunk becomes (row numbers, labels, probabilities in the order of the classes), and a note
    where the names of the columns did not tell."""
    names, k = named(rows), rows.shape[1]
    given = hard_labels(labels, space, k, names)
    if k != len(given.space):
        raise ProbabilityError(
            found=f"{k} columns in {rows.name} for {len(given.space)} classes",
            expected="one column per class",
            fix="pass space=LabelSpace([...]) with the class of each column",
        )
    order = None if names is None else columns_of(names, given.space)
    if order == list(range(len(given.space))):
        return given, Feed(None), None
    if names is not None and order is None:
        return (
            given,
            Feed(None),
            "the columns of pred_probs are taken for the classes in order: their names do not tell",
        )
    return given, Feed(order), None


class Feed:
    """A chunk of (labels, probabilities) as (row numbers, labels, (n, K) probabilities), columns in the order of the classes."""

    __module__, __qualname__ = "labelwright.auditing.streamed", "Feed"

    def __init__(self, order: list[int] | None):
        self.order = order

    def __call__(self, chunk: Chunk) -> tuple[slice, np.ndarray, np.ndarray]:
        labels, p = with_dense(chunk)
        return chunk.rows, labels, p if self.order is None else p[:, self.order]
