"""Data from disk: tables of items, matrices, and reviews. Every format is checked before any work begins."""

from __future__ import annotations

import gzip
import os
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from labelwright.errors import ColumnError, DataError, LabelwrightWarning, OptionError, nearest, rows
from labelwright.store._arrow import is_huggingface, read_arrow_file, read_huggingface, read_shards, shard_files
from labelwright.store._columns import Columns, guess_columns, label_lists
from labelwright.store._delimited import read_delimited
from labelwright.store._images import read_image_folder
from labelwright.store._jsonl import read_jsonl
from labelwright.store._keys import fingerprint, item_keys
from labelwright.store._kinds import TEXT_KINDS, existing, file_kind, looks_like, parsing
from labelwright.store._matrix import read_arrays, read_matrix

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Columns",
    "fingerprint",
    "guess_columns",
    "item_keys",
    "label_lists",
    "read_arrays",
    "read_items",
    "read_matrix",
    "read_reviews",
]


def read_items(path: str | os.PathLike[str], *, split: str | None = None, leave_out: Collection[str] = ()) -> pa.Table:
    """The items of a data set, one row each, with the column types that the file has.

    Args:
        path: a CSV or TSV file or JSON lines (.jsonl, .ndjson), each also with .gz; Parquet (a file or a folder of
            shards); Arrow (.arrow, .feather; file or stream); a folder written by `datasets.Dataset.save_to_disk`; or
            an image folder with one folder per class (columns `image` and `label`); or an .npy file of N class ids
            (column `label`).
        split: which part of a data set with splits (Hugging Face DatasetDict, shards named train-00000-of-00002, image
            folders with train/ and test/).
        leave_out: columns of Parquet or Arrow files that are not read, since they are many and read elsewhere in passes.

    In CSV an empty cell is missing and nothing else is: "NA", "None" and "null" stay words, since a class may be
    called so; columns become numbers only where no spelling is lost ("007" stays text). Hugging Face ClassLabel
    numbers become class names (-1: missing); Image structs stay {bytes, path}. Nothing is unpickled.

    Raises:
        DataError: nothing there, no rows, not what the name says, broken at a line or byte, a column name twice.
        OptionError: a split that is not there.
    """
    source = existing(path)
    if source.is_dir():
        table = _read_folder(source, split, leave_out)
    elif split is not None:
        raise OptionError(
            found=f"split={split!r} for {source}", expected="no split: it is one file", fix="leave it out"
        )
    else:
        table = _read_file(source, leave_out)
    names = table.column_names
    if not names or not table.num_rows:
        raise DataError(
            found=f"{source} with {table.num_rows} rows and {len(names)} columns",
            expected="at least one item",
            fix="check how the file was written",
        )
    if len(set(names)) < len(names):
        twice = sorted({n for n in names if names.count(n) > 1})
        raise DataError(
            found=f"column {', '.join(map(repr, twice[:5]))} more than once in {source.name}",
            expected="each column name once",
            fix="rename the columns",
        )
    return table


def _read_file(path: Path, leave_out: Collection[str]) -> pa.Table:
    if path.suffix.lower() == ".npy":  # class ids and nothing else: what stands beside a matrix of probabilities
        return _class_ids(path)
    kind, packed = file_kind(path)
    if kind not in TEXT_KINDS:
        return read_arrow_file(path, leave_out=leave_out)
    with parsing(path, "gzip-compressed text" if packed else "text"):
        data = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    inner = looks_like(data[: 1 << 16])
    if inner != "text" or not data:
        raise DataError(
            found=f"{path.name}, which unpacks to {inner if data else 'nothing'}",
            expected="text, as its name says",
            fix="rename the file to what it is, or write it again",
        )
    if kind == "jsonl":
        return read_jsonl(data, path)
    return read_delimited(data, path, "\t" if kind == "tsv" else None)


def _class_ids(path: Path) -> pa.Table:
    import pyarrow as pa

    ids = read_matrix(path, ndim=None)
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise DataError(
            found=f"an array of shape {ids.shape} and dtype {ids.dtype} in {path.name}",
            expected="class ids, (N,) integers, where an array is the data set",
            fix="pass other arrays as features or pred_probs; write the items as Parquet or CSV",
        )
    return pa.table({"label": ids})


def _read_folder(folder: Path, split: str | None, leave_out: Collection[str]) -> pa.Table:
    if (folder / "labels.json").is_file() and (folder / "audits").is_dir():
        raise DataError(
            found=f"{folder}, which is a label repository",
            expected="a data set",
            fix="pass the data set that was audited",
        )
    if is_huggingface(folder):
        return read_huggingface(folder, split)
    if shard_files(folder):
        return read_shards(folder, split, leave_out=leave_out)
    return read_image_folder(folder, split)


def read_reviews(path: str | os.PathLike[str]) -> pa.Table:
    """Reviewed labels: columns `item` (text) and `label`, and `probability`, `reviewer`, `comment` if there.

    Any format of `read_items`. Rows without a label were not reviewed: they are left out with a warning. Other
    columns are not returned. One item may stand there several times (several reviewers).

    Args:
        path: the file; `probability` is each item's chance of having been drawn for review, in (0, 1]; empty
            where somebody chose the item by hand.

    Raises:
        ColumnError: `item` or `label` is not there.
        DataError: an item without a key, a probability outside (0, 1], no reviewed row at all.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    table = read_items(path)
    for name in ("item", "label"):
        if name not in table.column_names:
            close = nearest(name, table.column_names)
            raise ColumnError(
                found=f"no column {name!r} in {Path(path).name}",
                expected=f"columns item and label; there are {', '.join(map(repr, close[:8]))}",
                fix=f"add a column {name!r}: the item's key, or the reviewer's answer",
            )
    wanted = [n for n in ("item", "label", "probability", "reviewer", "comment") if n in table.column_names]
    table = table.select(wanted)
    reviewed = pc.is_valid(table["label"])
    if pa.types.is_string(table["label"].type) or pa.types.is_large_string(table["label"].type):
        reviewed = pc.and_(reviewed, pc.not_equal(pc.fill_null(table["label"], ""), ""))
    left = table.num_rows - pc.sum(reviewed).as_py()
    if left == table.num_rows:
        raise DataError(found="no row with a label", expected="reviewed items", fix="fill in the column 'label'")
    if left:
        warnings.warn(f"{left:,} rows without a label were not reviewed: left out", LabelwrightWarning, stacklevel=2)
    table = table.filter(reviewed)
    _check_reviews(table)
    with parsing(Path(path), "item keys as text"):
        return table.set_column(0, "item", pc.cast(table["item"], pa.string()))


def _check_reviews(table: pa.Table) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    missing = np.flatnonzero(pc.is_null(table["item"]).to_numpy())
    if len(missing):
        raise DataError(
            found=f"{len(missing)} reviews without an item key; {rows(missing)}",
            expected="the key of the reviewed item in column 'item'",
            fix="copy the keys from the review sample",
        )
    if "probability" in table.column_names:
        column = table["probability"]
        numeric = pa.types.is_floating(column.type) or pa.types.is_integer(column.type)
        values = column.to_numpy().astype(float) if numeric else np.full(table.num_rows, np.nan)
        unknown = pc.is_null(column).to_numpy() | (np.isnan(values) if numeric else False)  # chosen by hand
        wrong = np.flatnonzero(~((values > 0) & (values <= 1)) & ~unknown)
        if len(wrong):
            raise DataError(
                found=f"{len(wrong)} values of 'probability' that are none; {rows(wrong)} ({column[int(wrong[0])]})",
                expected="numbers in (0, 1]",
                fix="copy the column from the review sample unchanged, or leave it out",
            )
