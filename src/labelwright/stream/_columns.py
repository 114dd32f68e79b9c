"""Which columns of a table make the rows, and Arrow columns as arrays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelwright.errors import ColumnError, DataError, nearest

CLASSES = b"labelwright.classes"  # key of a JSON list in the metadata of an Arrow schema
_SOFT = ("index", "prob", "rest", "known")

Columns = str | Sequence[str] | None


@dataclass(frozen=True, eq=False)
class Layout:
    """How columns become the data of a chunk.

    kind: "number" (one column, (n,)), "list" (one column of lists, (n, K)), "stack" (columns side by side, (n, K)),
    "soft" (lists index and prob) or "table".   width: K, k, or None where only the rows tell.
    """

    kind: str
    names: tuple[str, ...]
    dtype: np.dtype[Any] | None = None
    width: int | None = None
    classes: tuple[Any, ...] | None = None


def choose(schema: Any, columns: Columns, shard: str) -> Layout:
    """The layout of `columns` (see `open_rows`) in a file with this pyarrow.Schema.

    Raises:
        ColumnError: a name that is not there. DataError: a column that holds no numbers.
    """
    told = json.loads(schema.metadata[CLASSES]) if schema.metadata and CLASSES in schema.metadata else None
    classes = None if told is None else tuple(told)
    wanted = [columns] if isinstance(columns, str) else schema.names if columns is None else list(columns)
    for name in wanted:
        if name not in schema.names:
            raise ColumnError(
                found=f"no column {name!r} in {shard}",
                expected="one of " + ", ".join(map(repr, nearest(name, schema.names)[:10])),
                fix="pass columns= with these names",
            )
    types = {name: schema.field(name).type for name in wanted}
    if columns is None:
        if {"index", "prob"} <= types.keys() <= set(_SOFT):
            width = _list_size(types["prob"])
            return Layout("soft", tuple(n for n in _SOFT if n in types), np.dtype(np.float32), width, classes)
        if len(wanted) > 1 and not all(_is_float(kind) for kind in types.values()):
            return Layout("table", tuple(wanted), classes=classes)
        columns = wanted[0] if len(wanted) == 1 else wanted
    if isinstance(columns, str):
        inner = getattr(types[columns], "value_type", None) if _is_list(types[columns]) else None
        if inner is not None:
            return Layout("list", (columns,), _dtype(inner, columns, shard), _list_size(types[columns]), classes)
        return Layout("number", (columns,), _dtype(types[columns], columns, shard), classes=classes)
    dtype = np.result_type(*(_dtype(types[name], name, shard) for name in wanted))
    return Layout("stack", tuple(wanted), dtype, len(wanted), tuple(wanted) if classes is None else classes)


def convert(batch: Any, layout: Layout, shard: str, first: int) -> Any:
    """A pyarrow.RecordBatch as the data of a chunk; `first` is the number of its first row in the shard."""
    if layout.kind == "table":
        import pyarrow as pa

        return pa.Table.from_batches([batch]).select(list(layout.names))
    columns = {name: batch.column(name) for name in layout.names}
    if layout.kind == "number":
        return _numbers(columns[layout.names[0]], layout.names[0], shard, first).astype(layout.dtype, copy=False)
    if layout.kind == "list":
        (name,) = layout.names
        return matrix(columns[name], layout.width, name, shard, first).astype(layout.dtype, copy=False)
    if layout.kind == "stack":
        out = np.empty((batch.num_rows, len(columns)), layout.dtype)
        for j, (name, column) in enumerate(columns.items()):
            out[:, j] = _numbers(column, name, shard, first)
        return out
    return {
        name: matrix(column, layout.width, name, shard, first)
        if name in ("index", "prob")
        else _numbers(column, name, shard, first)
        for name, column in columns.items()
    }


def matrix(column: Any, width: int | None, name: str, shard: str, first: int) -> np.ndarray:
    """A column of lists, all `width` long, as (n, width); `width` None takes that of the first row."""
    import pyarrow.compute as pc

    if column.null_count:
        _refuse_null(column, name, shard, first)
    n = len(column)
    if not hasattr(column.type, "list_size") or width is None:
        length = pc.list_value_length(column).to_numpy(zero_copy_only=False)
        width = (int(length[0]) if n else 0) if width is None else width
        if (length != width).any():
            i = int(np.argmax(length != width))
            raise DataError(
                found=f"{length[i]} entries in row {first + i} of {name!r} in {shard}",
                expected=f"{width}, as in the other rows",
                fix="write a list of the same length for every row",
            )
    values = column.flatten()
    if values.null_count and not _is_float(values.type):
        _refuse_null(values, name, shard, first, width)
    return values.to_numpy(zero_copy_only=False).reshape(n, width)


def _numbers(column: Any, name: str, shard: str, first: int) -> np.ndarray:
    """(n,) numbers. A null is NaN among floats, -1 (a missing label) among whole numbers, and refused among booleans."""
    import pyarrow as pa

    if column.null_count and not _is_float(column.type):
        if not pa.types.is_integer(column.type):
            _refuse_null(column, name, shard, first)
        column = column.cast(pa.int64()).fill_null(-1)
    return column.to_numpy(zero_copy_only=False)


def _refuse_null(column: Any, name: str, shard: str, first: int, width: int = 1) -> None:
    missing = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)) // max(1, width)
    raise DataError(
        found=f"{len(missing)} nulls in {name!r} of {shard}, first in row {first + missing[0]}",
        expected="a value in every row",
        fix="fill these rows, or drop them from every source",
    )


def _is_list(kind: Any) -> bool:
    import pyarrow.types as t

    return t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind)


def _is_float(kind: Any) -> bool:
    import pyarrow.types as t

    return t.is_floating(kind)


def _list_size(kind: Any) -> int | None:
    return getattr(kind, "list_size", None)


def _dtype(kind: Any, name: str, shard: str) -> np.dtype[Any]:
    """NumPy's name for an Arrow type. Whole numbers are int64, so that -1 fits."""
    import pyarrow.types as t

    if t.is_integer(kind):
        return np.dtype(np.int64)
    if t.is_floating(kind) or t.is_boolean(kind):
        return np.dtype(kind.to_pandas_dtype())
    raise DataError(
        found=f"column {name!r} of type {kind} in {shard}",
        expected="numbers, or lists of numbers",
        fix="encode class names as ids, or name columns of numbers in columns=",
    )
