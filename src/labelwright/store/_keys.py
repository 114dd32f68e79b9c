"""Keys of items and fingerprints of tables: hashes of content, the same on every platform, process and Arrow layout."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.errors import ColumnError, DataError, nearest, rows
from labelwright.store._encode import encode_rows, update_column

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 65_536  # rows encoded at a time


def item_keys(
    table: pa.Table,
    id_column: str | None,
    content_columns: Sequence[str],
    *,
    files: Mapping[str, Path] | None = None,
) -> np.ndarray:
    """One unique key per item: the user's id where there is one, else a hash of the content; never the row number.

    The hash is 128 bits of BLAKE2b in hex over the content columns in the order of their names (the names themselves
    are not hashed). It does not depend on the row order, nor on how Arrow lays the values out: int32 and int64,
    string and large_string and dictionary, a whole number as int or float give the same key; missing, NaN and ""
    count as one. The second of several equal items gets the suffix "-2", the third "-3", in the order of the table.

    Args:
        table: N items.
        id_column: column of strings or integers, or None.
        content_columns: what makes an item what it is, without its label; used where there is no id.
        files: for columns of paths, the folder they are relative to: then the files' bytes are hashed, not their paths
            (the path of an image folder holds the label).

    Returns:
        (N,) object array of str.

    Raises:
        ColumnError: a column that is not there.
        DataError: ids that are missing, repeat, or are neither text nor integers; a file that cannot be read.
    """
    for name in [id_column] if id_column is not None else content_columns:
        if name not in table.column_names:
            close = nearest(name, table.column_names)
            raise ColumnError(
                found=f"no column {name!r}",
                expected=f"one of {', '.join(map(repr, close[:8]))}",
                fix=f"use {close[0]!r}?",
            )
    if id_column is not None:
        return _checked_ids(table[id_column], id_column)
    if not content_columns:
        raise DataError(
            found="no content columns",
            expected="an id column or columns that say what an item is",
            fix="name the id column, or a text, image or feature column",
        )
    digests = _digests(table.select(sorted(content_columns)), files or {})
    seen: Counter[str] = Counter()
    keys = np.empty(len(digests), dtype=object)
    for i, digest in enumerate(digests):
        seen[digest] += 1
        keys[i] = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
    return keys


def fingerprint(table: pa.Table) -> str:
    """128 bits of BLAKE2b in hex over the names and values of a table, read in one pass, chunk by chunk.

    The order of the rows counts; the order of the columns, the chunks and Arrow's layout do not (int32 and int64,
    string and large_string and dictionary are equal). Unlike in `item_keys`, missing, NaN and "" are three different
    things.
    """
    total = hashlib.blake2b(f"table of {table.num_rows} rows".encode(), digest_size=16)
    for name in sorted(table.column_names):
        total.update(_digest(name.encode()) + update_column(table[name]))
    return total.hexdigest()


def repeated(values: Iterable[Any]) -> str:
    """The first values that stand more than once, with their rows, in words; "" where there are none.

    >>> repeated(["a", "b", "a"])
    "1 value repeats: 'a' in row 0, 2"
    """
    where: dict[Any, list[int]] = {}
    for i, value in enumerate(values):
        where.setdefault(value, []).append(i)
    twice = [(value, at) for value, at in where.items() if len(at) > 1]
    if not twice:
        return ""
    shown = "; ".join(f"{value!r} in {rows(at)}" for value, at in twice[:5]) + ("; …" if len(twice) > 5 else "")
    return f"{len(twice):,} value{'s repeat' if len(twice) > 1 else ' repeats'}: {shown}"


def _checked_ids(column: Any, name: str) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DataError(
            found=f"id column {name!r} of type {column.type}", expected="text or integers", fix="write the ids as text"
        )
    ids = pc.cast(column, pa.large_string())
    missing = np.flatnonzero(pc.fill_null(pc.equal(pc.utf8_length(ids), 0), True).to_numpy())
    if len(missing):
        raise DataError(
            found=f"{len(missing):,} missing ids in column {name!r}; {rows(missing)}",
            expected="an id for each item",
            fix="fill them in, or name no id column: keys are then made from the content",
        )
    keys = np.empty(len(ids), dtype=object)
    keys[:] = ids.to_pylist()
    if len(pc.unique(ids)) < len(keys):
        raise DataError(
            found=f"id column {name!r} in which {repeated(keys)}",
            expected="a different id for each item",
            fix="remove the duplicates, or name no id column: keys are then made from the content",
        )
    return keys


def _digests(table: pa.Table, files: Mapping[str, Path]) -> list[str]:
    out: list[str] = []
    for batch in table.to_batches(max_chunksize=_BATCH):
        columns = [
            [_file_digest(path, files[name]) for path in batch.column(i).to_pylist()]
            if name in files
            else encode_rows(batch.column(i))
            for i, name in enumerate(batch.schema.names)
        ]
        for cells in zip(*columns):  # each cell's length goes before it, so that ("ab", "c") is not ("a", "bc")
            out.append(_hex(b"".join([len(cell).to_bytes(8, "little") + cell for cell in cells])))
    return out


def _file_digest(path: str | None, root: Path) -> bytes:
    if path is None:
        return b""
    whole = (root / path[:4096]).resolve()
    if not whole.is_relative_to(root.resolve()):
        raise DataError(
            found=f"{path!r}, which leads out of {root}",
            expected="paths of files in that folder",
            fix="copy the files into the folder of the data",
        )
    if len(path) > 4096 or not whole.is_file():
        raise DataError(
            found=f"no file {path[:80]!r} in {root}",
            expected="paths of files in that folder",
            fix="check the image root",
        )
    with whole.open("rb") as f:
        return b"f" + hashlib.file_digest(f, _blake2b).digest()


def _blake2b() -> Any:
    return hashlib.blake2b(digest_size=16)


def _hex(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()
