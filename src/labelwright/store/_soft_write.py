"""Writing a soft-label file: one pass over the rows, then the tail, the keys and the head."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import numpy as np

import labelwright
from labelwright.errors import DataError, LabelError, OptionError, rows
from labelwright.labels.space import LabelSpace
from labelwright.store._soft_codec import Roots, codec, id_type, spread, unit
from labelwright.store._soft_crops import encode_boxes
from labelwright.store._soft_head import FrameWriter
from labelwright.store._soft_rows import Chunk, cut
from labelwright.store._soft_tails import LARGEST, Sample, TailStatistic, mean_kl

FORMAT = "labelwright.soft-labels"
TAIL_CODEC = Roots(8)
_SAMPLE = 1 << 20  # probabilities kept to measure the loss of the tail on
_WORTH, _LEAST = 0.98, 1e-4  # a larger tail table must lower the measured KL to this share, and by so many nats


class RecordWriter:
    """Writes chunks as records and keeps the statistics that the head states."""

    def __init__(self, frame: FrameWriter, first: Chunk, k: int | None, precision: str, tail: str):
        self.frame, self.space, self.k, self.tail = frame, first.space, k, tail
        self.n_classes = len(first.space)
        if precision == "auto":
            precision = "uint8" if k is not None else "uint16"
        self.precision, self.codec = precision, codec(precision)
        self.ids = id_type(self.n_classes)
        self.whole = first.full is not None  # else the tail comes with the labels
        self.given_tail = first.tail
        self._check_tail()
        by_class = tail in ("auto", "class") and self.n_classes <= LARGEST
        small = k is None or not self.whole or k >= self.n_classes
        self.statistic = None if small or tail == "even" else TailStatistic(self.n_classes, by_class)
        self.sample = Sample(self.n_classes, max(16, min(512, _SAMPLE // self.n_classes))) if self.whole else None
        self.rows = self.unknown = 0
        self.kept = self.kl = self.worst = 0.0

    def _check_tail(self) -> None:
        if self.tail == "class" and self.n_classes > LARGEST:
            raise OptionError(
                found=f"tail='class' with {self.n_classes} classes",
                expected=f"at most {LARGEST} classes: the table has K x K entries",
                fix="pass tail='shared'",
            )
        if not self.whole and (self.tail == "class" or (self.tail == "shared" and self.given_tail is None)):
            raise OptionError(
                found=f"tail={self.tail!r} for labels that are cut already",
                expected="the full distributions, from which the tail is learnt",
                fix="pass the teacher's (N, K) probabilities, SoftLabels with more than k classes, or tail='auto'",
            )

    def add(self, chunk: Chunk, boxes: np.ndarray | None, flips: np.ndarray | None) -> None:
        """Append the rows of `chunk`."""
        if (chunk.full is not None) != self.whole or not _same(chunk.tail, self.given_tail):
            raise LabelError(
                found=f"row {self.rows} onwards: labels of another kind (cut or whole) or with another tail",
                expected="the same in every chunk, since the file has one tail",
                fix="pass arrays only, or SoftLabels cut to the same k with the same tail",
            )
        p, present = self._entries(chunk)
        codes = self.codec.encode(p, present)
        parts = [codes.view(np.uint8)]
        if self.k is not None:
            parts.insert(0, np.maximum(chunk.index, 0).astype(self.ids).view(np.uint8))
        if boxes is not None and flips is not None:
            parts.append(encode_boxes(boxes, flips))
        record = np.concatenate(parts, axis=1)
        self.record_bytes = record.shape[1]
        self.frame.write("records", record)
        self._measure(p, codes, chunk)

    def _entries(self, chunk: Chunk) -> tuple[np.ndarray, np.ndarray]:
        """(n, k + 1) probabilities and rest, or (n, K) probabilities; and which of them are there."""
        known = chunk.known[:, None]
        if self.k is None:
            assert chunk.full is not None
            return chunk.full, np.broadcast_to(known, chunk.full.shape)
        rest = chunk.rest if self.k < self.n_classes else np.zeros_like(chunk.rest)
        return np.column_stack([chunk.prob, rest]), np.column_stack([chunk.index >= 0, known]) & known

    def _measure(self, p: np.ndarray, codes: np.ndarray, chunk: Chunk) -> None:
        stored, known = unit(self.codec.decode(codes)), chunk.known
        exact = p / np.where(known, p.sum(1, dtype=np.float64), 1)[:, None]
        self.rows += len(known)
        self.unknown += int((~known).sum())
        if known.any():
            self.worst = max(self.worst, float(np.abs(exact - stored)[known].max()))
            self.kl += mean_kl(exact[known], stored[known]) * int(known.sum())
            self.kept += float(chunk.prob[known].sum()) if self.k is not None else float(known.sum())
        if self.sample is not None:
            self.sample.update(chunk)
        if self.statistic is not None:
            self.statistic.update(chunk)

    def close_tail(self) -> dict[str, Any]:
        """Choose and write the tail; what the head says of it and of the errors."""
        tables = self._tails()
        losses = {name: self._loss(table) for name, table in tables.items()}
        name = self.tail
        if name == "auto":
            name = next(iter(tables))
            for other in list(tables)[1:]:  # from the smallest table to the largest
                table = tables[other]
                size = 0 if table is None else table.size * (1 if table.ndim == 2 else 4)
                if size <= self.rows * self.record_bytes and losses[other] < min(
                    _WORTH * losses[name], losses[name] - _LEAST
                ):
                    name = other
        table = tables[name]
        if table is None:
            name = "even"
        else:
            self.frame.write("tail", _coded(table) if table.ndim == 2 else table.astype("<f4"))
        known = max(self.rows - self.unknown, 1)
        errors: dict[str, Any] = {
            "max_abs": self.worst,
            "mean_kl": max(self.kl / known, 0.0),
            "kl_bound": self.codec.kl_bound(self.n_classes if self.k is None else self.k + 1),
        }
        if self.sample is not None:
            measured = {other: round(loss, 9) for other, loss in losses.items()}
            errors |= {"sample_rows": len(self.sample.taken()), "mean_kl_to_full": measured}
        return {
            "tail": "none" if self.k is None else name,
            "truncation": {"k": self.k, "mean_kept": self.kept / known},
            "errors": errors,
        }

    def _tails(self) -> dict[str, np.ndarray | None]:
        if self.k is None:
            return {"none": None}
        if not self.whole:
            return {"even": None} if self.given_tail is None or self.tail == "even" else {"shared": self.given_tail}
        tables: dict[str, np.ndarray | None] = {"even": None}
        if self.statistic is not None:
            tables["shared"] = self.statistic.shared().astype(np.float32)
            if self.statistic.shape[0] > 1:
                tables["class"] = unit(TAIL_CODEC.decode(_coded(self.statistic.by_class())))
        elif self.tail == "shared" or self.tail == "class":  # k = K: nothing is left over
            tables[self.tail] = None
        return tables

    def _loss(self, tail: np.ndarray | None) -> float:
        """Mean KL in nats from the sampled full rows to what a reader will get."""
        if self.sample is None:
            return 0.0
        p = self.sample.taken()
        known = np.ones(len(p), dtype=bool)
        if self.k is None:
            return mean_kl(p, unit(self.codec.decode(self.codec.encode(p, p >= 0))))
        index, prob, rest = cut(p, self.k)
        both = np.column_stack([prob, rest if self.k < self.n_classes else np.zeros(len(p))])
        values = unit(self.codec.decode(self.codec.encode(both, both >= 0)))
        return mean_kl(p, spread(index, values[:, :-1], values[:, -1], known, tail, self.n_classes))


def _coded(table: np.ndarray) -> np.ndarray:
    """(K, K) codes of a class tail, a few rows at a time: codes are made in float64."""
    return np.concatenate([TAIL_CODEC.encode(part, part >= 0) for part in np.array_split(table, len(table) // 64 + 1)])


def write_keys(frame: FrameWriter, keys: Iterable[Any], n_items: int) -> str:
    """Write one key per item; "int64" or "text". Memory grows with the keys.

    Raises:
        DataError: another number of keys, keys of mixed types, a key twice.
    """
    values = list(keys.tolist() if hasattr(keys, "tolist") else keys)
    number = all(isinstance(v, int | np.integer) and not isinstance(v, bool) for v in values)
    if len(values) != n_items or not (number or all(isinstance(v, str) for v in values)):
        raise DataError(
            found=f"{len(values)} keys for {n_items} items, of types {sorted({type(v).__name__ for v in values})}",
            expected="one key per item, all whole numbers or all strings",
            fix="pass keys=[...] in the order of the rows (crops and cells of one item share its key)",
        )
    if len(set(values)) < len(values):
        seen: dict[Any, int] = {}
        twice = [i for i, v in enumerate(values) if seen.setdefault(v, i) != i]
        raise DataError(
            found=f"{len(twice)} keys that stood before; {rows(twice)} ({values[twice[0]]!r})",
            expected="distinct keys",
            fix="remove the repeated items, or pass no keys",
        )
    if number:
        frame.write("keys", np.array(values, dtype="<i8"))
        return "int64"
    texts = [v.encode() for v in values]
    frame.write("key_ends", np.cumsum([len(t) for t in texts], dtype="<u8") if texts else b"")
    frame.write("keys", b"".join(texts))
    return "text"


def plain_head(space: LabelSpace, provenance: dict[str, Any]) -> dict[str, Any]:
    """The part of the head that does not depend on the rows.

    Raises:
        OptionError: provenance that JSON cannot hold.
    """
    try:
        provenance = json.loads(json.dumps(provenance, allow_nan=False))
    except (TypeError, ValueError) as err:
        raise OptionError(
            found=f"provenance that JSON cannot hold ({err})",
            expected="strings, finite numbers, lists and dicts",
            fix="pass str(value)",
        ) from None
    return {
        "format": FORMAT,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "tool": f"labelwright {labelwright.__version__}",
        "space": json.loads(space.to_json()),
        "provenance": {name: value for name, value in provenance.items() if value is not None},
    }


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))
