"""What comes to a soft-label file, in one form: chunks of top-k rows, with the full rows where they are known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from labelwright.errors import DataError, LabelError
from labelwright.labels.check import check_distributions
from labelwright.labels.maps import LabelMap
from labelwright.labels.soft import SoftLabels, top_k
from labelwright.labels.space import LabelSpace

_ENTRIES = 1 << 21  # probabilities handled in one go: memory does not grow with the file


@dataclass(frozen=True)
class Chunk:
    """Rows ready to be stored. index, prob: (n, k), -1 pads.   rest: (n,).   known: (n,) bool.

    full: (n, K) float rows, None where only the listed classes are known.   tail: (K,) the shape of their rest then.
    """

    index: np.ndarray
    prob: np.ndarray
    rest: np.ndarray
    known: np.ndarray
    full: np.ndarray | None
    tail: np.ndarray | None
    space: LabelSpace


def chunks(source: Any, k: int | None, space: LabelSpace | None) -> Iterator[Chunk]:
    """`source` (SoftLabels, a LabelMap, an (N, K) array, or an iterator of them) as chunks of bounded size.

    k: classes kept per row; None keeps the full rows.

    Raises:
        LabelError: rows that are no distributions, chunks over other classes than the first.
        DataError: an empty source, or something that is neither.
    """
    first: LabelSpace | None = None
    parts = [source] if isinstance(source, SoftLabels | LabelMap) or hasattr(source, "shape") else source
    if not isinstance(parts, Iterable) or isinstance(parts, str | bytes):
        raise _unknown(source)
    for number, part in enumerate(parts):
        name = "soft_labels" if parts is not source else f"chunk {number} of soft_labels"
        for chunk in _cut(part, k, space, name):
            first = first or chunk.space
            if chunk.space.classes != first.classes or (space is not None and space.classes != first.classes):
                raise LabelError(
                    found=f"{name} over {len(chunk.space)} classes {chunk.space.classes[:3]!r}",
                    expected=f"the {len(space or first)} classes {(space or first).classes[:3]!r} in every chunk",
                    fix="recode the labels to one LabelSpace, or leave out space=",
                )
            yield chunk
    if first is None:
        raise DataError(
            found="no chunk of soft labels",
            expected="at least one",
            fix="an iterator can be used only once: make it anew",
        )


def _cut(part: Any, k: int | None, space: LabelSpace | None, name: str) -> Iterator[Chunk]:
    if isinstance(part, LabelMap):
        part = part.cells()
    soft = isinstance(part, SoftLabels)
    if not soft and not (getattr(part, "ndim", 0) == 2 and np.asarray(part[:1]).dtype.kind in "fiu" and part.shape[1]):
        raise _unknown(part)
    n_classes = len(part.space) if soft else part.shape[1]
    step = max(1, _ENTRIES // n_classes)
    for start in range(0, max(len(part), 1), step):
        piece = part[start : start + step]
        if soft:
            yield _from_soft(piece, k)
        else:
            yield _from_dense(_checked(np.asarray(piece), name, start), k, space or LabelSpace(range(n_classes)), name)


def _checked(p: np.ndarray, name: str, start: int) -> np.ndarray:
    if p.dtype.kind == "f" and np.isnan(p).any():
        bad = np.flatnonzero(np.isnan(p).any(1))
        raise LabelError(
            found=f"{len(bad)} rows of `{name}` with NaN; first is row {start + bad[0]}",
            expected="numbers",
            fix="mend the teacher; rows without evidence go through SoftLabels.from_dense, which marks NaN rows unknown",
        )
    return np.maximum(check_distributions(p, f"{name}[{start}:]" if start else name), 0)


def _from_dense(p: np.ndarray, k: int | None, space: LabelSpace, name: str) -> Chunk:
    n, n_classes = p.shape
    if len(space) != n_classes:
        raise LabelError(
            found=f"{n_classes} columns in `{name}` for {len(space)} classes",
            expected="one column per class, in the order of the space",
            fix="pass the space whose classes are the columns",
        )
    p = p if p.dtype == np.float64 else p.astype(np.float32)
    p = p / p.sum(1, keepdims=True, dtype=np.float64).astype(p.dtype)
    known = np.ones(n, dtype=bool)
    if k is None:
        empty = np.empty((n, 0))
        return Chunk(empty.astype(np.int32), empty, np.zeros(n), known, p, None, space)
    return Chunk(*cut(p, k), known, p, None, space)


def _from_soft(soft: SoftLabels, k: int | None) -> Chunk:
    width = soft.index.shape[1]
    total = np.where(soft.known, soft.prob.sum(1) + soft.rest, 1)
    if (np.abs(total - 1) > 2e-6).any():  # as far off as SoftLabels may be; readers count on 1
        soft = replace(soft, prob=soft.prob / total[:, None], rest=soft.rest / total)
    if k is None or width > k:  # what is cut off tells where the tail lies
        index, prob = soft.index[:, : k or 0], soft.prob[:, : k or 0]
        rest = soft.rest + soft.prob[:, k or 0 :].sum(1)
        return Chunk(index, prob, rest, soft.known, soft.dense(), None, soft.space)
    pad = ((0, 0), (0, k - width))
    index = np.pad(soft.index, pad, constant_values=-1)
    return Chunk(index, np.pad(soft.prob, pad), soft.rest, soft.known, None, soft.tail, soft.space)


def cut(p: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n, k) int32 class ids and (n, k) probabilities of the k largest entries of rows `p` (n, K), and (n,) the rest."""
    index = top_k(p, k)
    others = p.copy()
    np.put_along_axis(others, index, 0, axis=1)
    rest = others.sum(1, dtype=np.float64)  # not 1 - sum: that is rounding where the rest is small
    return index.astype(np.int32), np.take_along_axis(p, index, axis=1), rest


def _unknown(source: Any) -> DataError:
    return DataError(
        found=f"soft labels of type {type(source).__name__}"
        + (f" and shape {source.shape}" if hasattr(source, "shape") else ""),
        expected="SoftLabels, a LabelMap, an (N, K) array of probabilities, or an iterator of them",
        fix="stack the rows with numpy.stack, or yield one of these per batch",
    )
