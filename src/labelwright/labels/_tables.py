"""Any data frame in, plain columns out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.errors import ColumnError, DataError, nearest

if TYPE_CHECKING:
    import pyarrow as pa


def as_arrow(table: Any) -> pa.Table:
    """pyarrow, pandas, polars, Hugging Face datasets, or a mapping of columns, as a pyarrow table.

    Raises:
        DataError: nothing of the kind.
    """
    import pyarrow as pa

    if isinstance(table, pa.Table):
        return table
    if isinstance(table, pa.RecordBatch):
        return pa.Table.from_batches([table])
    if isinstance(table, Mapping):
        return pa.table({str(k): v for k, v in table.items()})
    if type(table).__module__.startswith("datasets."):  # its rows may be a selection of its storage
        return table.with_format("arrow")[:]
    try:
        import narwhals.stable.v1 as nw

        return nw.from_native(table, eager_only=True).to_arrow()
    except nw.exceptions.DuplicateError:
        raise DataError(
            found="a table with two columns of the same name", expected="distinct names", fix="rename one of them"
        ) from None
    except TypeError:
        raise DataError(
            found=f"a {type(table).__name__}",
            expected="a table: pandas, polars, pyarrow, a Hugging Face data set, or a dict of columns",
            fix="wrap the columns as {'name': values}",
        ) from None


def as_columns(table: Any) -> dict[str, np.ndarray]:
    """Columns by name; numbers as NumPy arrays, everything else as object arrays with None for missing."""
    if isinstance(table, Mapping):  # a cell may be of any type: names, numbers, lists
        return {str(name): _column(values) for name, values in table.items()}
    table = as_arrow(table)
    out: dict[str, np.ndarray] = {}
    for name, column in zip(table.column_names, table.columns):
        kind = str(column.type)
        plain = kind.startswith(("int", "uint", "float", "double", "halffloat", "timestamp")) and column.null_count == 0
        out[name] = column.to_numpy() if plain else _objects(column.to_pylist())
    return out


def _column(values: Any) -> np.ndarray:
    values = values.to_pylist() if hasattr(values, "to_pylist") else values
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    if isinstance(values, np.ndarray) and values.dtype.kind in "biufM":
        return values
    entries = list(values)
    numbers = all(isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in entries)
    return np.array(entries) if numbers and entries else _objects(entries)


def _objects(entries: list[Any]) -> np.ndarray:
    out = np.empty(len(entries), dtype=object)
    for i, entry in enumerate(entries):  # one by one: NumPy would make a matrix of equally long lists
        out[i] = entry
    return out


def need(columns: Mapping[str, Any], name: str) -> Any:
    """The column `name`, or `ColumnError` with the nearest names."""
    if name not in columns:
        close = nearest(name, columns)[:4]
        raise ColumnError(
            found=f"no column {name!r}",
            expected=f"a column of that name; there are {', '.join(columns)}",
            fix=f"nearest: {', '.join(close)}" if close else "pass a table with columns",
        )
    return columns[name]
