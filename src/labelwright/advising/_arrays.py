"""What there is to survey: one table, one array file, or every readable file of a folder."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.errors import DataError, LabelwrightError

if TYPE_CHECKING:
    import pyarrow as pa

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".pq", ".arrow", ".feather")
READS = (
    "CSV, TSV, JSONL (also .gz), Parquet, Arrow, .npz, a Hugging Face dataset folder, an image folder, "
    "or a folder with several such files"
)
MOST = 200  # files of one folder
_SHARD = re.compile(r"(.+?)[-_]\d+-of-\d+$")
_SPLITS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")


@dataclass(frozen=True, eq=False)
class Source:
    """One thing to survey. name: for people.   path: for command lines, None in memory.   root: what paths of images are
    relative to.   table or arrays: the content.   split: which part `labelwright audit` is pointed to."""

    name: str
    path: str | None
    root: Path | None
    table: pa.Table | None = None
    arrays: dict[str, np.ndarray] | None = None
    split: str | None = None

    @property
    def names(self) -> list[str]:
        """Of the columns or arrays."""
        return list(self.arrays) if self.arrays is not None else list(self.table.column_names if self.table else [])


def read_sources(data: Any) -> tuple[list[Source], list[str]]:
    """The sources in `data`, and one line for each file that was not read.

    Args:
        data: a path, any data frame, or a dict; a dict with a matrix, or with columns of different lengths, is read as the
            arrays of an .npz.

    Raises:
        DataError: nothing there, nothing readable, objects that would have to be unpickled.
    """
    if not isinstance(data, str | os.PathLike):
        return [_in_memory(data)], []
    path = Path(data)
    if not path.exists():
        raise DataError(
            found=f"no file or folder at {path}",
            expected=READS,
            fix=f"check the path; the current folder is {Path.cwd()}",
        )
    if path.is_dir():
        return _folder(path)
    return [_file(path)], []


def _in_memory(data: Any) -> Source:
    from labelwright.labels import as_arrow

    if isinstance(data, dict):
        arrays = {str(k): v for k, v in data.items()}
        if not arrays:
            raise DataError(found="an empty dict", expected="columns or arrays by name", fix="pass what you have")
        shapes = [np.shape(v)[:1] for v in arrays.values() if isinstance(v, np.ndarray)]
        matrix = any(isinstance(v, np.ndarray) and v.ndim != 1 for v in arrays.values())
        if matrix or (len(shapes) == len(arrays) and len(set(shapes)) > 1):
            return Source("data", None, None, arrays=_plain({k: np.asarray(v) for k, v in arrays.items()}))
    table = as_arrow(data)
    if not table.num_rows or not table.num_columns:
        raise DataError(
            found=f"a table with {table.num_rows} rows and {table.num_columns} columns",
            expected="at least one item",
            fix="check how the table was made",
        )
    return Source("data", None, Path.cwd(), table=table)


def _plain(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    wrong = [k for k, v in arrays.items() if v.dtype.hasobject]
    if wrong:
        raise DataError(
            found=f"array {wrong[0]!r} of Python objects",
            expected="numbers or text",
            fix="pass it as numbers, or pass a table (equally long columns)",
        )
    return arrays


def _file(path: Path) -> Source:
    from labelwright.store import read_arrays, read_items

    if path.suffix.lower() == ".npz":
        return Source(path.name, str(path), path.parent, arrays=read_arrays(path))
    if _is_table(path):
        return Source(path.name, str(path), path.parent, table=read_items(path))
    raise DataError(
        found=f"{path.name}, whose suffix is none that we read",
        expected=READS,
        fix="write tables as Parquet or CSV, and arrays with numpy.savez(path, name=array)",
    )


def _is_table(path: Path) -> bool:
    name = path.name.lower()
    return name.endswith(TABLES) or name.endswith(tuple(s + ".gz" for s in TABLES[:4]))


def _folder(folder: Path) -> tuple[list[Source], list[str]]:
    from labelwright.store import read_items

    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith((".", "_")))
    readable = [p for p in files if p.suffix.lower() == ".npz" or _is_table(p)]
    saved = any((folder / name).is_file() for name in ("dataset_dict.json", "state.json", "labels.json"))
    sharded = bool(readable) and all(_SHARD.match(p.stem) for p in readable)
    if readable and not saved and not sharded:
        return _files(folder, readable, [p for p in files if p not in readable])
    if not any(folder.iterdir()):
        raise DataError(found=f"{folder}, an empty folder", expected=READS, fix="pass the folder that holds the data")
    try:
        splits = _splits(folder, readable if sharded else [])
        if splits:
            return [_joined(folder, splits)], []
        return [Source(folder.name, str(folder), folder, table=read_items(folder))], []
    except LabelwrightError as error:
        if "pictures in one folder per class" not in error.expected:
            raise
        raise DataError(found=error.found, expected=READS, fix=f"{error.fix}, or save arrays as .npz") from error


def _splits(folder: Path, shards: list[Path]) -> list[str]:
    """The names of the splits that a folder keeps apart, [] where it does not."""
    if (folder / "dataset_dict.json").is_file():
        found = json.loads((folder / "dataset_dict.json").read_text(encoding="utf-8")).get("splits")
        return [name for name in found or [] if isinstance(name, str)]
    if shards:
        names = sorted({m.group(1) for p in shards if (m := _SHARD.match(p.stem))})
        return names if len(names) > 1 else []
    below = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    named = bool(below) and all(p.name.lower() in _SPLITS for p in below)
    classes = named and all(q.is_dir() for p in below for q in p.iterdir() if not q.name.startswith("."))
    return [p.name for p in below] if classes else []


def _joined(folder: Path, splits: list[str]) -> Source:
    """All splits as one table with a column `split`."""
    import pyarrow as pa

    from labelwright.store import read_items

    parts = []
    for name in splits:
        part = read_items(folder, split=name)
        kept = part.drop_columns(["split"]) if "split" in part.column_names else part
        parts.append(kept.append_column("split", pa.array([name] * part.num_rows)))
    table = pa.concat_tables(parts, promote_options="default")
    return Source(folder.name, str(folder), folder, table=table, split=splits[0])


def _files(folder: Path, readable: list[Path], others: list[Path]) -> tuple[list[Source], list[str]]:
    """Each file by itself; one that cannot be read is told, unless none can."""
    found: list[Source] = []
    lines = [f"{p.name}: not a format that we read" for p in others]
    last: LabelwrightError | None = None
    for path in readable[:MOST]:
        try:
            found.append(_file(path))
        except LabelwrightError as error:
            last = error
            lines.append(f"{path.name}: not read; found {error.found}")
    if len(readable) > MOST:
        lines.append(f"{len(readable) - MOST:,} more files: only the first {MOST} of a folder are read")
    if not found and last is not None:
        raise last
    return found, lines
