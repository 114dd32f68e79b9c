"""Writing a soft-label file: one pass over the rows, then the tail, the keys and the head."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import numpy as np

import labelwright
from labelwright.errors import DataError, LabelError, OptionError, rows
from labelwright.labels.space import LabelSpace
from labelwright.store._soft_codec import TAIL_CODEC, codec, id_type, unit
from labelwright.store._soft_crops import encode_boxes
from labelwright.store._soft_head import DIGEST, FrameWriter
from labelwright.store._soft_rows import Chunk
from labelwright.store._soft_spread import Tail, spread
from labelwright.store._soft_tails import LARGEST, Sample, TailStatistic, mean_kl

FORMAT = "labelwright.soft-labels"
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
        size = max(16, min(512, _SAMPLE // self.n_classes))
        self.sample = Sample(self.space, k or 0, size) if self.whole else None
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
        known = max(self.rows - self.unknown, 1)
        errors: dict[str, Any] = {
            "max_abs": self.worst,
            "mean_kl": max(self.kl / known, 0.0),
            "kl_bound": self.codec.kl_bound(self.n_classes if self.k is None else self.k + 1),
        }
        unseen = self._measure_unseen(errors)
        tails = self._tails()
        if self.sample is not None:
            sample = self.sample.taken()
            losses = {name: self._loss(tail, sample) for name, tail in tails.items()}
            errors |= {"sample_rows": len(sample.known), "mean_kl_to_full": losses}
        name = self._best(tails, unseen) if self.tail == "auto" else self.tail
        tail = tails[name]
        if tail is None:
            name = "even"
        else:
            self.frame.write("tail", _coded(tail.table) if tail.by_class else tail.table.astype("<f4"))
        return {
            "tail": "none" if self.k is None else name,
            "truncation": {"k": self.k, "mean_kept": self.kept / known},
            "errors": errors,
        }

    def _measure_unseen(self, errors: dict[str, Any]) -> dict[str, float]:
        """Loss of each tail on a quarter of the rows at most, with tables that are learnt from the others."""
        if self.sample is None or self.statistic is None:
            return {}
        apart = self.sample.taken(at_most=self.sample.seen // 4)
        self.statistic.update(apart, sign=-1)
        losses = {name: self._loss(tail, apart) for name, tail in self._tails().items()}
        self.statistic.update(apart)
        errors |= {"unseen_rows": len(apart.known), "mean_kl_unseen": losses}
        return losses

    def _best(self, tails: dict[str, Tail | None], losses: dict[str, float]) -> str:
        """From the smallest table to the largest, those that pay."""
        best = next(iter(tails))
        for name in list(tails)[1:]:
            tail = tails[name]
            size = 0 if tail is None else tail.table.size * (1 if tail.by_class else 4)
            limit = min(_WORTH * losses[best], losses[best] - _LEAST)
            if size <= self.rows * self.record_bytes and losses[name] < limit:
                best = name
        return best

    def _tails(self) -> dict[str, Tail | None]:
        if self.k is None:
            return {"none": None}
        if not self.whole:
            if self.given_tail is None or self.tail == "even":
                return {"even": None}
            return {"shared": Tail.of(self.given_tail)}
        tails: dict[str, Tail | None] = {"even": None}
        if self.statistic is not None:
            tails["shared"] = Tail.of(self.statistic.shared())
            if self.statistic.shape[0] > 1:
                tails["class"] = Tail.of(TAIL_CODEC.squares(_coded(self.statistic.by_class())))
        elif self.tail == "shared" or self.tail == "class":  # k = K: nothing is left over
            tails[self.tail] = None
        return tails

    def _loss(self, tail: Tail | None, chunk: Chunk) -> float:
        """Mean KL in nats from full rows to what a reader will get."""
        assert chunk.full is not None
        p, present = self._entries(chunk)
        values = unit(self.codec.decode(self.codec.encode(p, present)))
        if self.k is not None:
            values = spread(chunk.index, values[:, :-1], values[:, -1], chunk.known, tail, self.n_classes)
        return round(mean_kl(chunk.full, values), 9)


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


def write_space(frame: FrameWriter, space: LabelSpace) -> dict[str, Any]:
    """Write the class names and their structure as JSON; what the head says of them."""
    text = space.to_json().encode()
    frame.write("space", text)
    digest = blake2b(text, digest_size=DIGEST).hexdigest()
    return {"classes": len(space), "structure": space.structure, "blake2b": digest}


def plain_head(provenance: dict[str, Any]) -> dict[str, Any]:
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
        "provenance": {name: value for name, value in provenance.items() if value is not None},
    }


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))
