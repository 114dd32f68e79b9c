"""A soft-label file opened for reading: rows at random, and the items, crops or cells that they belong to."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.errors import DataError, MissingExtra, check_option, rows
from labelwright.labels.maps import LabelMap
from labelwright.labels.soft import SoftLabels
from labelwright.labels.space import LabelSpace
from labelwright.store._kinds import parsing
from labelwright.store._soft_codec import unit
from labelwright.store._soft_crops import CropPlan, decode_boxes
from labelwright.store._soft_head import DIGEST, Frame, damaged
from labelwright.store._soft_kernel import ENGINES
from labelwright.store._soft_records import Records
from labelwright.store._soft_spread import Tail, spread
from labelwright.store._soft_write import FORMAT


class SoftLabelFile:
    """Soft labels of N rows in a memory-mapped file. Made by `open_soft_labels`.

    `file[rows]` gives SoftLabels (slice, whole numbers or mask), `file.dense(rows)` (n, K) float32. `head` is the JSON
    head: provenance, truncation, measured errors. Safe to use from several threads and after a fork.
    """

    def __init__(self, path: Path, space: LabelSpace | None = None, engine: str = "auto"):
        check_option("engine", engine, ENGINES)
        self.path, self.engine, self._frame = path, engine, Frame(path)
        self.head = head = self._frame.head
        with parsing(path, "a soft-label file"):
            if head["format"] != FORMAT:
                raise damaged(path, f"its format is {head['format']!r}")
            self.n_classes, self.k = int(head["space"]["classes"]), head["truncation"]["k"]
            self._records = Records(self._frame, self.n_classes, self.k, engine)
            self.crops = None if head["crops"] is None else CropPlan.from_json(head["crops"])
            self.per_item = int(np.prod(head["inner"]["shape"], dtype=int))
        if space is None:
            return
        if _digest(space.to_json().encode()) == head["space"]["blake2b"]:
            self.space = space  # the same text: no need to read the file's
        elif space.classes != self.space.classes:
            raise _other_classes(path, self.space, space)

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        kept = "dense" if self.k is None else f"top {self.k}"
        return f"SoftLabelFile({str(self.path)!r}, {len(self)} rows, {self.n_classes} classes, {kept})"

    def __reduce__(self) -> tuple[Any, ...]:  # a loader's worker opens the file itself
        return SoftLabelFile, (self.path, None, self.engine)

    @cached_property
    def space(self) -> LabelSpace:
        """The classes; read when first asked for.

        Raises:
            DataError: class names that are not as they were written.
        """
        text = self._frame.content("space")
        if _digest(text) != self.head["space"]["blake2b"]:
            raise damaged(self.path, "its class names were changed")
        with parsing(self.path, "a soft-label file"):
            space = LabelSpace.from_json(text.decode())
        if len(space) != self.n_classes:
            raise damaged(self.path, f"it has {len(space)} class names for {self.n_classes} classes")
        return space

    # -- rows ----------------------------------------------------------------------------------------------------
    def __getitem__(self, rows: Any) -> StoredSoftLabels:
        """The chosen rows (slice, whole numbers, mask) as SoftLabels. Rows of dense files are sorted on the way."""
        index, prob, rest, known = self._records.top(rows)
        tail = self._records.tail
        return StoredSoftLabels(
            index=index,
            prob=prob,
            rest=rest,
            tail=None if tail is None or tail.by_class else tail.table[0],
            known=known,
            space=self.space,
            class_tail=tail if tail is not None and tail.by_class else None,
        )

    def dense(self, rows: Any = slice(None)) -> np.ndarray:
        """(n, K) float32 rows that sum to 1: the rest spread by the file's tail, unknown rows uniform."""
        return self._records.dense(rows)

    @property
    def tail(self) -> np.ndarray | None:
        """The shape of the rest: None (even), (K,) float32 (shared), or (K, K) float32 (row = likeliest class)."""
        tail = self._records.tail
        if tail is None or not tail.by_class:
            return None if tail is None else tail.table[0]
        return unit(tail.table.astype(np.float32))

    def verify(self) -> None:
        """Read the whole file and compare it with its checksums.

        Raises:
            DataError: blocks that are not as they were written, with the bytes they cover.
        """
        self._frame.verify()

    # -- items, crops and cells ----------------------------------------------------------------------------------
    @property
    def n_items(self) -> int:
        """Items: rows, or rows / (crops or cells per item)."""
        return len(self) // self.per_item if self.per_item else 0

    def item_rows(self, items: Any) -> np.ndarray:
        """(n, crops or cells per item) int64 row numbers of items."""
        return np.atleast_1d(np.asarray(items, dtype=np.int64))[:, None] * self.per_item + np.arange(self.per_item)

    @cached_property
    def keys(self) -> list[Any] | None:
        """The key of every item, None where the file has none."""
        if self.head["keys"] is None:
            return None
        if self.head["keys"] == "int64":
            return self._frame.section("keys", "<i8", (self.n_items,)).tolist()
        ends = self._frame.section("key_ends", "<u8", (self.n_items,)).tolist()
        text = self._frame.section("keys", np.uint8, (ends[-1] if ends else 0,)).tobytes()
        with parsing(self.path, "a soft-label file"):
            return [text[a:b].decode() for a, b in itertools.pairwise([0, *ends])]

    @cached_property
    def _item_of(self) -> dict[Any, int]:
        return {key: i for i, key in enumerate(self.keys or ())}

    def find(self, keys: Iterable[Any]) -> np.ndarray:
        """(n,) int64 items that bear these keys.

        Raises:
            DataError: a file without keys, or keys that it does not have.
        """
        wanted = list(keys)
        lost = [i for i, key in enumerate(wanted) if key not in self._item_of]
        if lost:
            raise DataError(
                found=f"{len(lost)} keys that {self.path.name} does not have; {rows(lost)} ({wanted[lost[0]]!r})",
                expected="keys given when the file was written" if self.keys else "a file with keys",
                fix="look at file.keys, or write the file with keys=[...]",
            )
        return np.array([self._item_of[key] for key in wanted], dtype=np.int64)

    def boxes(self, rows: Any, heights: Any, widths: Any) -> tuple[np.ndarray, np.ndarray]:
        """(n, 4) int64 boxes (top, left, height, width) in pixels and (n,) bool flips of rows that are crops.

        heights, widths: (n,) or one number, pixels of the images that the crops are cut from.
        """
        if self.head["record"]["boxes"]:
            return decode_boxes(self._records.boxes(rows), heights, widths)
        if self.crops is None:
            raise DataError(
                found=f"{self.path.name}, whose rows are no crops",
                expected="a file written with crops= or boxes=",
                fix="write it again with the plan or the boxes of the crops",
            )
        at = self._records.numbers(rows)
        at = np.where(at < 0, at + len(self), at)
        return self.crops.boxes(at // self.per_item, at % self.per_item, heights, widths)

    def label_map(self, items: Any) -> LabelMap:
        """The label maps of items of a file written from a LabelMap.

        Raises:
            DataError: rows that are no cells, or whose rest is not spread evenly.
        """
        if self.head["inner"]["kind"] != "cell" or self.k is None or self._records.tail is not None:
            raise DataError(
                found=f"{self.path.name}, which holds no label maps with k classes per cell",
                expected="a file written from a LabelMap",
                fix="use file[rows], which gives SoftLabels",
            )
        at = self.item_rows(items)
        cells = self[at.ravel()]
        shape = (len(at), *self.head["inner"]["shape"], self.k)
        return LabelMap(cells.index.reshape(shape), np.ascontiguousarray(cells.prob).reshape(shape), self.space)

    def torch(self) -> Any:
        """A torch Dataset of dense float32 rows; lists of rows are read in one go.

        Raises:
            MissingExtra: torch is not installed.
        """
        try:
            from labelwright.store._soft_torch import SoftLabelDataset
        except ImportError:
            raise MissingExtra(
                found="no torch",
                expected="torch, for a torch Dataset",
                fix='pip install "labelwright[learn]", or use file.dense(rows)',
            ) from None
        return SoftLabelDataset(self)


@dataclass(frozen=True, eq=False)
class StoredSoftLabels(SoftLabels):
    """SoftLabels read from a file; the rest may be spread by a tail per likeliest class.

    class_tail: a shape per likeliest class; None where `tail` says it all. Entries are in the teacher's order: two that
    were rounded to the same probability are not put in order of class id.
    """

    class_tail: Tail | None = None

    def dense(self) -> np.ndarray:
        """(n, K) float32, rows sum to 1; the rest is spread over the classes not listed; unknown rows are uniform."""
        tail = self.class_tail if self.tail is None else Tail.of(self.tail)
        return spread(self.index, self.prob, self.rest, self.known, tail, len(self.space))


def _digest(text: bytes) -> str:
    return blake2b(text, digest_size=DIGEST).hexdigest()


def _other_classes(path: Path, own: LabelSpace, asked: LabelSpace) -> DataError:
    differ = [i for i, (a, b) in enumerate(zip(own.classes, asked.classes)) if a != b]
    where = f"class {differ[0]} is {own.classes[differ[0]]!r}" if differ else f"it has {len(own)} classes"
    wanted = repr(asked.classes[differ[0]]) if differ else str(len(asked))
    return DataError(
        found=f"{path.name} with other classes: {where}, not {wanted}",
        expected="the classes of `space`, in the same order",
        fix="open it without space= and recode, or use the labels that belong to these classes",
    )
