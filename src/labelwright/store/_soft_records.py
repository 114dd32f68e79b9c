"""The records of a soft-label file: rows at random, as top-k labels or made dense."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from labelwright.compiled import read_only
from labelwright.store._soft_codec import TAIL_CODEC, Roots, codec, id_type, unit
from labelwright.store._soft_head import Frame, damaged
from labelwright.store._soft_kernel import MOST, Loop, choose, fill_all, fill_top
from labelwright.store._soft_spread import Tail, spread

Top = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""index, prob (n, k), rest, known (n,), as in SoftLabels."""


class Records:
    """Rows of `n_classes` probabilities, `k` of them listed (None: all, in class order), and the tail of the rest.

    Raises:
        DataError: a head that does not fit the sections.
    """

    def __init__(self, frame: Frame, n_classes: int, k: int | None, engine: str):
        self.frame, self.n_classes, self.k, self.engine = frame, n_classes, k, engine
        record = frame.head["record"]
        self.codec = codec(record["precision"])
        width = n_classes if k is None else k + 1
        self._ids = 0 if k is None else k * id_type(n_classes).itemsize
        self._codes = self._ids + width * self.codec.dtype.itemsize
        kinds = ("none", "even", "shared", "class")
        if n_classes < 1 or record["bytes"] != self._codes + 9 * record["boxes"] or frame.head["tail"] not in kinds:
            raise damaged(frame.path, "its head contradicts itself")
        self.raw = frame.section("records", np.uint8, (int(frame.head["rows"]), record["bytes"]))

    def __len__(self) -> int:
        return len(self.raw)

    def top(self, rows: Any) -> Top:
        """The chosen rows; those of dense files are sorted."""
        if self.k is not None:
            return self._listed(self._take(rows))
        values = self.codec.dense(self._take(rows)[:, : self._codes].view(self.codec.dtype))
        known = np.asarray(values.any(1))
        index = np.where(known[:, None], np.argsort(-values, axis=1, kind="stable"), -1).astype(np.int32)
        prob = np.take_along_axis(values, np.maximum(index, 0), axis=1)
        return index, prob, np.zeros(len(prob), dtype=np.float32), known

    def boxes(self, rows: Any) -> np.ndarray:
        """(n, 9) uint8: what follows the codes."""
        return self._take(rows)[:, self._codes :]

    def numbers(self, rows: Any) -> np.ndarray:
        """(n,) whole numbers of the chosen rows; perhaps outside the file."""
        if isinstance(rows, slice):
            return np.arange(len(self))[rows]
        if hasattr(rows, "numpy"):  # torch
            rows = rows.numpy()
        at = np.atleast_1d(np.asarray(rows))
        if at.dtype == bool:
            if at.shape != (len(self),):
                raise IndexError(f"a mask of shape {at.shape} for {len(self)} rows; pass one bool per row")
            return np.flatnonzero(at)
        if not at.size:
            return np.empty(0, dtype=np.int64)
        if at.ndim != 1 or at.dtype.kind not in "iu":
            raise IndexError(f"rows of shape {at.shape} and dtype {at.dtype}; pass a slice, whole numbers or a mask")
        return at

    def dense(self, rows: Any) -> np.ndarray:
        """(n, K) float32 rows that sum to 1."""
        if self._loop is None:
            return self._dense(self._take(rows))
        at = self.numbers(rows).astype(np.int64, order="C", casting="safe", copy=False)
        out, left = np.empty((len(at), self.n_classes), dtype=np.float32), np.empty(len(at), dtype=bool)
        self._loop(self._loop_raw, read_only(at), *self._loop_arguments, out, left)
        if left.any():
            out[left] = self._dense(self._take(at[left]))  # raises where a row is outside the file
        return out

    def _dense(self, raw: np.ndarray) -> np.ndarray:
        if self.k is not None:
            return spread(*self._listed(raw), self.tail, self.n_classes)
        values = self.codec.dense(raw[:, : self._codes].view(self.codec.dtype))
        gone = ~values.any(1)
        if gone.any():
            values[gone] = 1 / values.shape[1]
        return values

    def _listed(self, raw: np.ndarray) -> Top:
        """index, prob, rest and known of records with k classes."""
        codes = raw[:, self._ids : self._codes].view(self.codec.dtype)
        values = self.codec.decode(codes) if self.codec.bits == 32 else unit(self.codec.decode(codes))
        index = raw[:, : self._ids].view(id_type(self.n_classes)).astype(np.int32)
        empty = self.codec.empty(codes)
        known = np.ones(len(raw), dtype=bool)
        if empty.any():
            known = ~empty[:, -1]
            index[empty[:, :-1]] = -1
        if index.size and index.max() >= self.n_classes:
            raise damaged(self.frame.path, f"a record names class {index.max()} of {self.n_classes}")
        return index, values[:, :-1], values[:, -1], known

    def _take(self, rows: Any) -> np.ndarray:
        if isinstance(rows, slice):
            return self.raw[rows]
        at = self.numbers(rows)
        return self.raw.take(at, axis=0) if len(at) else self.raw[:0]

    @cached_property
    def _loop(self) -> Loop | None:
        """The compiled loop that makes these records dense, None where NumPy does."""
        whole = self.k is None and isinstance(self.codec, Roots) and self._codes == self.raw.shape[1]
        top = self.k is not None and self.codec == Roots(8) and self.k < min(self.n_classes, MOST + 1)
        if not len(self) or not (whole or top):
            return None
        kind = self.codec.dtype.name if whole else "uint8" if self.frame.head["tail"] == "class" else "float32"
        return choose(self.engine, fill_all if whole else fill_top, kind, len(self) * self.n_classes)

    @cached_property
    def _loop_raw(self) -> np.ndarray:
        return read_only(self.raw.view(self.codec.dtype) if self.k is None else self.raw)

    @cached_property
    def _loop_arguments(self) -> tuple[Any, ...]:
        if self.k is None:
            return (self.codec.dtype.type(1),)
        tail = self.tail or Tail.of(np.ones(self.n_classes))
        table = self._class_codes if tail.by_class else tail.table
        return self.k, id_type(self.n_classes).itemsize, read_only(table), tail.by_class, read_only(tail.total)

    @cached_property
    def tail(self) -> Tail | None:
        n = self.n_classes
        if self.frame.head["tail"] == "shared":
            return Tail.of(self.frame.section("tail", "<f4", (n,)))
        return Tail.of(TAIL_CODEC.squares(self._class_codes)) if self.frame.head["tail"] == "class" else None

    @property
    def _class_codes(self) -> np.ndarray:
        """(K, K) uint8, from 1 on."""
        codes = self.frame.section("tail", TAIL_CODEC.dtype, (self.n_classes, self.n_classes))
        if not codes.all():
            raise damaged(self.frame.path, "its class tail has empty places")
        return codes
