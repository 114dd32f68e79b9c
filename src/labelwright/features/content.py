"""What the items of a file look like: columns and files as texts, images, vectors and matrices."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.errors import DataError, OptionError, rows
from labelwright.features.recordings import holds_recordings

if TYPE_CHECKING:
    import pyarrow as pa

    from labelwright.features import ItemVectors
    from labelwright.store import Columns

MATRIX = (".npy", ".npz")


def default_repository(data: str | os.PathLike[str]) -> Path:
    """`NAME.labels` in the current folder, for data called NAME.

    >>> default_repository("somewhere/reviews.csv.gz").name
    'reviews.labels'
    """
    name = Path(data).resolve().name
    return Path((name.split(".")[0] or name) + ".labels")


def matrix_file(value: str | None) -> np.ndarray | None:
    if value is None or not value.endswith(MATRIX):
        return None
    from labelwright.store import read_matrix

    return read_matrix(value)


def column_names(table: pa.Table, value: str | None) -> Any:
    """A column of that name, else all columns that start with it."""
    if value is None or value in table.column_names:
        return value
    return [name for name in table.column_names if name.startswith(value)] or value


def stacked(table: pa.Table, names: tuple[str, ...]) -> np.ndarray | None:
    """Columns of numbers, or one column of lists, as a matrix."""
    if not names:
        return None
    if len(names) == 1 and "list" in str(table[names[0]].type):
        return np.array(table[names[0]].to_pylist(), dtype=np.float32)
    return np.column_stack([np.asarray(table[name].to_numpy(), dtype=np.float64) for name in names])


def holds_paths(table: pa.Table, column: str) -> bool:
    return str(table[column].type) in ("string", "large_string", "string_view")


def _images(table: pa.Table, column: str, root: Path) -> list[Any]:
    """Paths under `root`, or the bytes that a data set carries with it."""
    cells = table[column].to_pylist()
    gaps = [i for i, cell in enumerate(cells) if cell is None]
    if gaps:
        raise DataError(
            found=f"{len(gaps)} items without an image ({rows(gaps)})",
            expected="an image for every item",
            fix="drop these rows",
        )
    if holds_paths(table, column):
        return [_inside(root, name) for name in cells]
    return [
        io.BytesIO(c["bytes"]) if isinstance(c, dict) and c.get("bytes") else _inside(root, c["path"]) for c in cells
    ]


def _inside(root: Path, name: str) -> Path:
    path = (root / name[:4096]).resolve()
    if not path.is_relative_to(root.resolve()):
        raise OptionError(
            found=f"file {name!r}, which lies outside {root}",
            expected="paths below the folder of the data",
            fix="put the files beside the table, or audit the folder that holds both",
        )
    return path


def item_vectors_of(
    table: pa.Table,
    columns: Columns,
    matrix: np.ndarray | None,
    root: Path,
    seed: int,
    progress: Any,
    encoder: Any,
    cache: Path,
) -> ItemVectors | None:
    """What the items look like, from the strongest source at hand: vectors, then images, texts, other columns."""
    from labelwright.features import item_vectors

    def told(done: int, total: int) -> None:
        if progress:
            progress("reading items", done, total)

    options: dict[str, Any] = {"random_state": seed, "progress": told}
    if encoder is not None:
        options |= {"encoder": encoder, "cache": cache}
    if matrix is not None or columns.features:
        found: Any = matrix if matrix is not None else stacked(table, columns.features)
    elif columns.image:
        found = _images(table, columns.image, root)
    elif columns.text:
        found = _texts(table, columns)
    else:
        found = table.select(list(columns.tabular)) if columns.tabular else None
    return None if found is None else item_vectors(found, **options)


def _texts(table: pa.Table, columns: Columns) -> list[str]:
    parts = [table[name].to_pylist() for name in columns.text]
    return ["\n".join(part or "" for part in row) for row in zip(*parts)]


def item_content(table: pa.Table, columns: Columns, root: Path) -> list[Any] | None:
    """What the report shows of each item."""
    if columns.image:
        return _images(table, columns.image, root)
    for name in (*columns.text, *columns.left_out):
        if holds_recordings(table, name, root):
            return [_inside(root, cell) for cell in table[name].to_pylist()]
    if columns.text:
        return _texts(table, columns)
    shown = [*columns.tabular, *columns.features][:12]
    return table.select(shown).to_pylist() if shown else None
