"""One file of rows: what its head tells, and what all files of a folder must share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from labelwright.errors import DataError, LabelError
from labelwright.labels.soft import SoftLabels
from labelwright.labels.space import LabelSpace
from labelwright.stream._places import Place


@dataclass(frozen=True, eq=False)
class Head:
    """What is known of a file before its rows are read.

    n_rows: N of this file.   tail: the shape of one row, () for one number.   kind: "array", "soft" or "table".
    dtype: of arrays and of the probabilities of soft rows.   classes: names of the K columns, where told.
    schema: pyarrow.Schema of tables.   pieces: rows at which reading can start, None for any.
    stamp: what changes when the file does.
    """

    n_rows: int
    tail: tuple[int, ...] = ()
    kind: str = "array"
    dtype: np.dtype[Any] | None = None
    classes: tuple[Any, ...] | None = None
    schema: Any = None
    pieces: tuple[int, ...] | None = None
    stamp: tuple[Any, ...] = field(default=())


class Shard(Protocol):
    """A file that can be read from any row on. It keeps no open file, so that it can be sent to another machine."""

    @property
    def place(self) -> Place: ...
    @property
    def head(self) -> Head: ...
    def read(self, rows: int, start: int, stop: int) -> Iterator[Any]:
        """The rows `start` to `stop` in order, at most `rows` at a time: arrays, tables, or (index, prob, rest, known)."""


def soft_rows(parts: dict[str, np.ndarray], space: LabelSpace, shard: str, first: int) -> SoftLabels:
    """`SoftLabels` of top-k rows; an error names the shard and the row in it."""
    try:
        return SoftLabels.from_topk(
            parts["index"], parts["prob"], space, rest=parts.get("rest"), known=parts.get("known")
        )
    except LabelError as err:
        raise DataError(
            found=f"{err.found}, counted from row {first} of {shard}", expected=err.expected, fix=err.fix
        ) from err


_FAMILIES = {"f": "floats", "i": "whole numbers", "u": "whole numbers", "b": "booleans"}


def check_alike(name: str, head: Head, first_name: str, first: Head) -> None:
    """Raise `DataError` unless a shard can follow the first one."""

    def refuse(found: Any, expected: Any, fix: str) -> None:
        raise DataError(found=f"{name} with {found}", expected=f"{expected}, as in {first_name}", fix=fix)

    if head.kind != first.kind or (head.schema is not None and not head.schema.equals(first.schema)):
        columns = "" if head.schema is None else ": " + ", ".join(f"{f.name} {f.type}" for f in head.schema)
        refuse(f"other columns ({head.kind}{columns})", first.kind, "write all shards with the same columns and types")
    if _tell(head) != _tell(first):
        refuse(
            f"{_tell(head)} per row", _tell(first), "predict these items again with the same model, or drop the shard"
        )
    if head.dtype is not None and first.dtype is not None:
        family, wanted = _FAMILIES[head.dtype.kind], _FAMILIES[first.dtype.kind]
        if family != wanted:
            refuse(f"{family} ({head.dtype})", f"{wanted} ({first.dtype})", f"write it again as {first.dtype}")
    if head.classes != first.classes:
        i = _first_difference(head.classes or (), first.classes or ())
        refuse(
            f"other classes: {_name(head.classes, i)} in column {i}",
            _name(first.classes, i),
            "write the columns of all shards in the same order of classes",
        )


def _tell(head: Head) -> str:
    return "x".join(map(str, head.tail)) + " entries" if head.tail else "one entry"


def _name(classes: tuple[Any, ...] | None, i: int) -> str:
    return repr(classes[i]) if classes is not None and i < len(classes) else "no class name"


def _first_difference(a: tuple[Any, ...], b: tuple[Any, ...]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def numbers_only(dtype: np.dtype[Any], name: str) -> None:
    """Raise `DataError` for anything but floats, integers and booleans. Objects would have to be unpickled."""
    if dtype.kind not in _FAMILIES:
        raise DataError(
            found=f"an array of dtype {dtype} in {name}",
            expected="floats, whole numbers or booleans",
            fix="save numbers: numpy.save(path, numpy.stack(list(array)).astype('float32')); encode class names as ids",
        )
