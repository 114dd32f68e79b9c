"""The table of a data set, the roles of its columns, and where its probabilities are read."""

from __future__ import annotations

import fnmatch
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from labelwright.auditing.streamed import LARGE
from labelwright.errors import ColumnError, LabelwrightError
from labelwright.features.content import MATRIX, column_names, matrix_file, stacked
from labelwright.stream import Rows, open_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from labelwright.store import Columns

SUFFIXES = (".parquet", ".pq", ".arrow", ".feather")
_HEAD = 1000  # rows by which the roles of the columns are guessed


class Source(NamedTuple):
    """table: the items, without columns that are read in passes.   columns: who plays which role.
    matrix: features from a file of their own.   rows: probabilities that are no columns of the table.
    in_passes: whether these are too many to be read whole.
    """

    table: pa.Table
    columns: Columns
    matrix: np.ndarray | None
    rows: Rows | None
    in_passes: bool


def read_source(
    data: str | os.PathLike[str],
    *,
    features: str | None,
    pred_probs: str | None,
    split: str | None,
    wanted: bool,
    **roles: Any,
) -> Source:
    """See `Source`.   wanted: read probabilities in passes, however few.   roles: label, id, text, image, group, multi.

    Raises:
        LabelwrightError: data that cannot be read, columns that are not there, no label.
    """
    from labelwright.store import guess_columns, read_items

    matrix = matrix_file(features)
    named = None if matrix is not None else features
    own = None if _elsewhere(pred_probs) else own_columns(
        data, pred_probs, split=split, wanted=wanted, features=named, **roles
    )  # fmt: skip
    table = read_items(data, split=split, leave_out=own.names if own else ())
    rows = own.rows if own else _probability_rows(pred_probs, table, wanted=wanted)
    columns = guess_columns(
        table,
        features=column_names(table, named),
        pred_probs=None if rows is not None else column_names(table, pred_probs),
        **roles,
    )
    if columns.label is None:
        raise ColumnError(
            found=f"no column that is clearly the label among {', '.join(table.column_names)}",
            expected="to know which column holds the labels",
            fix="name it with --label COLUMN",
        )
    if own:
        told = f"pred_probs: {len(own.names)} columns from {own.names[0]!r}, read in passes"
        columns = replace(columns, explanation=(*columns.explanation, told))
    return Source(table, columns, matrix, rows, rows is not None and (wanted or len(rows) * rows.width > LARGE))


class OwnColumns(NamedTuple):
    """rows: of the probabilities.   names: of their columns."""

    rows: Rows
    names: tuple[str, ...]


def own_columns(
    data: str | os.PathLike[str],
    pred_probs: str | None,
    *,
    split: str | None,
    wanted: bool,
    features: str | None,
    **roles: Any,
) -> OwnColumns | None:
    """The probabilities that stand in columns of Parquet or Arrow data.

    None where nothing speaks for reading them in passes: fewer than `LARGE` entries (unless they are `wanted` so), data of
    another format, one of several splits, no such columns.

    Args:
        pred_probs: a column, a pattern, the prefix of several columns, or None: guessed by the first thousand rows.
        features: as pred_probs.   roles: the other columns, as in `guess_columns`.
    """
    from labelwright.store import guess_columns

    path = Path(data)
    if split is not None or not _columnar(path):
        return None
    try:
        whole = open_rows(path)
        head = next(iter(whole.chunks(_HEAD))).data if whole.schema is not None else None
        if head is None or (len(whole) * len(head.column_names) <= LARGE and not _long_lists(head, len(whole), wanted)):
            return None
        vectors = _named(head.column_names, features) or None
        names = _named(head.column_names, pred_probs)
        if pred_probs is None:
            names = guess_columns(head, features=vectors, **roles).pred_probs
        rows = open_rows(path, columns=names[0] if len(names) == 1 else list(names)) if names else None
    except LabelwrightError:
        return None  # whatever is wrong is said by the reader of items
    if rows is None or len(rows.shape) != 2 or not (wanted or len(rows) * rows.width > LARGE):
        return None
    return OwnColumns(rows, tuple(names))


def _columnar(path: Path) -> bool:
    """Whether `read_items` and `open_rows` read the same rows in the same order: one file, or shards of one split whose
    numbers are equally long."""
    if path.is_file():
        return path.suffix.lower() in SUFFIXES
    if not path.is_dir() or any((path / name).is_file() for name in ("dataset_dict.json", "state.json")):
        return False
    shards = [name for name in os.listdir(path) if name.lower().endswith(SUFFIXES) and not name.startswith((".", "_"))]
    kinds = {Path(name).suffix for name in shards}
    stems = {re.sub(r"[-_]?\d+(-of-\d+)?$", "", Path(name).stem) for name in shards}
    return len(kinds) == len(stems) == len({len(name) for name in shards}) == 1


def _long_lists(head: Any, n: int, wanted: bool) -> bool:
    """Whether a column of lists alone is large, or columns are to be read in passes anyway."""
    import pyarrow as pa

    lists = [
        field.name for field in head.schema if pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type)
    ]
    return wanted or any(n * len(head[name][0] or ()) > LARGE for name in lists)


def _named(columns: list[str], value: str | None) -> tuple[str, ...]:
    if value is None:
        return ()
    if value in columns:
        return (value,)
    return tuple(fnmatch.filter(columns, value)) or tuple(name for name in columns if name.startswith(value))


def _elsewhere(pred_probs: str | None) -> bool:
    """Whether the probabilities lie in a file, a folder or a URL of their own."""
    return pred_probs is not None and (pred_probs.endswith(MATRIX) or "://" in pred_probs or Path(pred_probs).exists())


def _probability_rows(value: str | None, table: pa.Table, *, wanted: bool) -> Rows | None:
    """The rows of a file, a folder or a URL with probabilities; None for columns of the table."""
    if value is None or value in table.column_names:
        return None
    if value.endswith(MATRIX):
        matrix = matrix_file(value)
        assert matrix is not None
        if value.endswith(".npy") and matrix.ndim == 2 and (wanted or matrix.size > LARGE):
            return open_rows(value)  # by its name and time, which tell it again when a run goes on
        return open_rows(np.asarray(matrix))
    return open_rows(value) if _elsewhere(value) else None


def probabilities(table: pa.Table, names: tuple[str, ...]) -> Any:
    """One column of lists as a matrix; several columns as a table, so that their names are matched to the classes."""
    if not names or (len(names) == 1 and "list" in str(table[names[0]].type)):
        return stacked(table, names)
    return table.select(list(names))
