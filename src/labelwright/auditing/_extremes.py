"""What one pass over pred_probs keeps of each row: enough for every score and every rule of confident learning."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from labelwright.auditing._row_kernel import choose
from labelwright.auditing.thresholds import row_blocks
from labelwright.compiled import read_only
from labelwright.errors import LabelError, ProbabilityError, check_whole
from labelwright.labels import as_matrix
from labelwright.stream.statistic import chunks

Chunk = tuple[slice, np.ndarray, np.ndarray]
"""Item numbers, their labels (n,) and their probabilities (n, K)."""

Progress = Callable[[str, int, int], None]


class TakesChunks(Protocol):
    def update(self, chunk: Chunk) -> None: ...


class RowExtremes:
    """Mergeable statistic: of each item, the probability of its label, the largest of the others, and the top class.

    A chunk is `(rows, labels, pred_probs)`, `rows` a slice of item numbers; chunks of different items may be given by
    several threads at once. Nothing depends on the cut or on the engine.

    own, other: (N,) float32 (of float16 and float32) or float64, exact; NaN where the label is missing.
    top: (N,) arg max, the first of equals, in the smallest integer type; -1 where the label is missing.
    """

    def __init__(self, n_items: int, n_classes: int, dtype: Any, *, engine: str = "auto"):
        dtype = np.dtype(dtype)
        self.engine = engine
        self._exact = np.dtype(np.float32 if dtype in (np.float16, np.float32) else np.float64)
        self.own = np.empty(n_items, self._exact)
        self.other = np.empty(n_items, self._exact)
        self.top = np.empty(n_items, smallest_int(n_classes))
        self._rows: list[slice] = []

    def update(self, chunk: Chunk) -> None:
        rows, labels, pred_probs = chunk
        labels = _class_ids(rows, labels, pred_probs)
        loop = choose(self.engine, pred_probs)
        if loop is None:
            self._read(rows, labels, pred_probs)
        else:
            self._scan(loop, rows, labels, pred_probs)
        self._rows.append(rows)

    def _scan(self, loop: Any, rows: slice, labels: np.ndarray, pred_probs: np.ndarray) -> None:
        bits = np.ascontiguousarray(pred_probs).view(f"u{pred_probs.dtype.itemsize}")
        limit = np.array(np.inf, pred_probs.dtype).view(bits.dtype)[()]
        own, other = np.empty(len(bits), bits.dtype), np.empty(len(bits), bits.dtype)
        top = np.empty(len(bits), np.int32)
        loop(read_only(bits), read_only(labels), limit, own, other, top)
        self.own[rows], self.other[rows] = own.view(pred_probs.dtype), other.view(pred_probs.dtype)
        self.top[rows] = top
        missing = np.flatnonzero(top == -1)
        self.own[rows][missing] = self.other[rows][missing] = np.nan
        odd = np.flatnonzero(top == -2)  # signs, NaN, infinities: few, and NumPy has rules for them
        for block in row_blocks(len(odd), pred_probs.shape[1]):
            at = odd[block]
            self._keep(rows.start + at, labels[at], pred_probs[at])

    def _read(self, rows: slice, labels: np.ndarray, pred_probs: np.ndarray) -> None:
        """The same by NumPy alone."""
        for block in row_blocks(*pred_probs.shape):
            given = labels[block]
            if (given >= 0).all():
                self._keep(slice(rows.start + block.start, rows.start + block.stop), given, pred_probs[block])
                continue
            at = np.flatnonzero(given >= 0)
            items = slice(rows.start + block.start, rows.start + block.stop)
            self.own[items] = self.other[items] = np.nan
            self.top[items] = -1
            self._keep(items.start + at, given[at], pred_probs[block][at])

    def _keep(self, items: slice | np.ndarray, given: np.ndarray, p: np.ndarray) -> None:
        """Labelled items and their probabilities, one small block."""
        p = p.astype(self._exact)
        at = np.arange(len(given)), given
        own = p[at]
        p[at] = -np.inf
        other = p.max(1)
        good = np.isfinite(own) & (other < np.inf)
        if not good.all():
            first = int(np.arange(len(self.own))[items][np.argmin(good)])
            raise ProbabilityError(
                found=f"NaN or infinite entries in pred_probs, first in row {first}",
                expected="finite probabilities",
                fix="find them with np.flatnonzero(~np.isfinite(pred_probs).all(1)); predict these rows again or drop them",
            )
        top = given.copy()
        close = np.flatnonzero(other >= own)
        p[at] = own
        top[close] = p[close].argmax(1)
        self.own[items], self.other[items], self.top[items] = own, other, top

    def merge(self, other: RowExtremes) -> None:
        for rows in other._rows:
            self.own[rows], self.other[rows], self.top[rows] = other.own[rows], other.other[rows], other.top[rows]
        self._rows += other._rows

    def result(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """own, other, top."""
        return self.own, self.other, self.top


def smallest_int(n_classes: int) -> np.dtype[Any]:
    """The smallest signed integer type that holds -1..K-1.

    >>> smallest_int(128), smallest_int(129)
    (dtype('int8'), dtype('int16'))
    """
    return np.min_scalar_type(-max(1, n_classes))


def _class_ids(rows: slice, labels: np.ndarray, pred_probs: np.ndarray) -> np.ndarray:
    """(n,) contiguous int64, checked: the compiled loop looks nothing up twice."""
    n_classes = pred_probs.shape[1]
    if labels.dtype.kind not in "iu" or labels.shape != (len(pred_probs),):
        raise LabelError(
            found=f"labels of dtype {labels.dtype} and shape {labels.shape} for pred_probs of shape {pred_probs.shape}",
            expected="an integer class id per row, -1 where it is missing",
            fix="encode the labels as the column numbers of pred_probs",
        )
    ids = np.ascontiguousarray(labels, np.int64)
    if len(ids) and ids.max() >= n_classes:
        at = int(np.argmax(ids >= n_classes))
        raise LabelError(
            found=f"label {ids[at]} in row {rows.start + at} for {n_classes} columns of pred_probs",
            expected=f"class ids 0 to {n_classes - 1}, -1 where the label is missing",
            fix="pass pred_probs with a column for every class, in the order of the ids",
        )
    return ids


def one_pass(
    statistics: Sequence[TakesChunks],
    labels: np.ndarray,
    pred_probs: np.ndarray,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Give every chunk of the rows to every statistic, from several threads; files are read from front to back."""
    check_whole("threads", 1 if threads is None else threads, 1)
    n_items = len(pred_probs)

    def look(rows: slice) -> int:
        for statistic in statistics:
            statistic.update((rows, labels[rows], pred_probs[rows]))
        return rows.stop

    cuts = list(chunks(*pred_probs.shape))
    for done in _in_order(look, cuts, min(len(cuts), threads or _processors())):
        if progress is not None:
            progress("reading probabilities", done, n_items)


def _in_order(look: Callable[[slice], int], cuts: list[slice], threads: int) -> Iterator[int]:
    if threads < 2:
        yield from map(look, cuts)
        return
    pool = ThreadPoolExecutor(threads)
    try:
        yield from pool.map(look, cuts)
    finally:
        pool.shutdown(cancel_futures=True)


def _processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def row_extremes(
    labels: np.ndarray,
    pred_probs: np.ndarray,
    *,
    also: Sequence[TakesChunks] = (),
    engine: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> RowExtremes:
    """`RowExtremes` of all items in one pass, which serves the statistics in `also` too.

    >>> found = row_extremes(np.array([0, 1, -1]), np.array([[0.9, 0.1], [0.6, 0.4], [0.5, 0.5]]))
    >>> found.own, found.other, found.top
    (array([0.9, 0.4, nan]), array([0.1, 0.6, nan]), array([ 0,  0, -1], dtype=int8))
    """
    labels, pred_probs = np.asarray(labels), as_matrix(pred_probs)
    if isinstance(pred_probs, np.ndarray):
        pred_probs = np.asarray(pred_probs)  # without the subclass of memory maps
    if pred_probs.ndim != 2 or len(pred_probs) != len(labels):
        raise ProbabilityError(
            found=f"pred_probs of shape {pred_probs.shape} for {len(labels)} labels",
            expected="a row per label and a column per class",
            fix="stack the rows with numpy.stack, in the order of the labels",
        )
    loop_for = "numpy" if choose(engine, pred_probs) is None else "numba"  # compiled once, before any thread
    extremes = RowExtremes(len(labels), pred_probs.shape[1], pred_probs.dtype, engine=loop_for)
    one_pass([extremes, *also], labels, pred_probs, threads=threads, progress=progress)
    return extremes
