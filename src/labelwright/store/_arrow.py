"""Parquet, Arrow IPC and Hugging Face dataset folders, read with pyarrow alone."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelwright.errors import DataError, OptionError, check_option
from labelwright.store._kinds import file_kind, parsing

if TYPE_CHECKING:
    import pyarrow as pa

_SHARD = re.compile(r"(.+?)[-_]\d+(?:-of-\d+)?$")  # train-00000-of-00004 -> train


def read_arrow_file(path: Path, *, leave_out: Collection[str] = ()) -> pa.Table:
    """One Parquet or Arrow file (IPC file or stream, told apart by its first bytes); class numbers become names.

    leave_out: columns that are not read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind, _ = file_kind(path)
    with parsing(path, "Parquet" if kind == "parquet" else "Arrow"):
        if kind == "parquet":
            file = pq.ParquetFile(path)
            kept = [name for name in file.schema_arrow.names if name not in leave_out]
            table = file.read(columns=kept if leave_out else None)
        else:
            source = pa.memory_map(str(path))
            with path.open("rb") as f:
                is_file = f.read(6) == b"ARROW1"
            table = (pa.ipc.open_file if is_file else pa.ipc.open_stream)(source).read_all()
            table = table.drop_columns([name for name in table.column_names if name in leave_out])
        table.validate(full=True)  # offsets and UTF-8 are looked at now, not trusted later
        for field in table.schema:
            _field_names(field)
    metadata = (table.schema.metadata or {}).get(b"huggingface")
    if metadata is None:
        return table
    with parsing(path, "Hugging Face schema metadata"):
        features = json.loads(metadata)["info"]["features"]
    return decode_classes(table, features, path)


def read_shards(folder: Path, split: str | None, *, leave_out: Collection[str] = ()) -> pa.Table:
    """The Parquet (or Arrow) files of a folder, in the order of their names, as one table.

    Files named SPLIT-00000-of-00004.parquet belong to a split; where there are several splits, `split` says which.
    """
    import pyarrow as pa

    shards = shard_files(folder)
    names = [m.group(1) if (m := _SHARD.match(p.stem)) else "" for p in shards]
    splits = sorted(set(names) - {""})
    if split is not None or (len(splits) > 1 and "" not in names):
        wanted = choose_split(splits, split, folder)
        shards = [p for p, name in zip(shards, names) if name == wanted]
    tables = [read_arrow_file(p, leave_out=leave_out) for p in shards]
    for path, table in zip(shards, tables):
        if table.column_names != tables[0].column_names:
            raise DataError(
                found=f"columns {table.column_names} in {path.name} and {tables[0].column_names} in {shards[0].name}",
                expected=f"shards with the same columns in {folder}",
                fix="keep the shards of one data set alone in a folder, or pass one file",
            )
    with parsing(folder, "shards of one table"):
        return pa.concat_tables(tables, promote_options="default")


def shard_files(folder: Path) -> list[Path]:
    """Parquet files directly in `folder`, else Arrow files; hidden ones and those that start with "_" are left out."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith((".", "_")))
    parquet = [p for p in files if p.suffix.lower() in (".parquet", ".pq")]
    return parquet or [p for p in files if p.suffix.lower() in (".arrow", ".feather")]


def choose_split(splits: Sequence[str], split: str | None, folder: Path) -> str:
    """`split` if it is there; without one, the only split there is."""
    if not splits:
        raise OptionError(
            found=f"split={split!r} for {folder}", expected="no split: it has none", fix="leave split out"
        )
    if split is None:
        if len(splits) == 1:
            return splits[0]
        raise DataError(
            found=f"{folder}, which holds the splits {', '.join(map(repr, splits))}",
            expected="one split",
            fix=f"pass split={splits[0]!r}",
        )
    check_option("split", split, splits)
    return split


def is_huggingface(folder: Path) -> bool:
    """Whether `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote this folder."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def read_huggingface(folder: Path, split: str | None) -> pa.Table:
    """The table of a folder written by `save_to_disk`; class numbers become names, pictures stay {bytes, path}."""
    import pyarrow as pa

    if (folder / "dataset_dict.json").is_file():
        splits = _json(folder / "dataset_dict.json").get("splits")
        chosen = choose_split([_plain(name, folder) for name in splits or []], split, folder)
        return read_huggingface(folder / chosen, None)
    state = _json(folder / "state.json")
    if split is not None:
        choose_split([s for s in [state.get("_split")] if isinstance(s, str)], split, folder)
    if state.get("_indices_data_files"):
        raise DataError(
            found=f"{folder}, whose rows are picked by an indices file (an old format)",
            expected="a data set saved with its rows in place",
            fix="save it again: datasets.load_from_disk(path).flatten_indices().save_to_disk(new_path)",
        )
    with parsing(folder / "state.json", "the state of a Hugging Face data set"):
        files = [folder / _plain(entry["filename"], folder) for entry in state["_data_files"]]
    missing = [p.name for p in files if not p.is_file()]
    if missing or not files:
        raise DataError(
            found=f"{folder} without {', '.join(missing[:5]) or 'data files'}",
            expected="every file that state.json lists",
            fix="copy the folder again; it is not complete",
        )
    with parsing(folder, "shards of one Hugging Face data set"):
        table = pa.concat_tables([read_arrow_file(p) for p in files], promote_options="default")
    info = folder / "dataset_info.json"
    return decode_classes(table, _json(info).get("features") or {}, folder) if info.is_file() else table


def decode_classes(table: pa.Table, features: Any, path: Path) -> pa.Table:
    """`table` with ClassLabel integers replaced by class names: whole columns and lists of them, not inside structs.

    Null and -1 (how `datasets` writes "no label") become missing. A column that already holds names is left alone.
    """
    if not isinstance(features, Mapping):
        return table
    for i, name in enumerate(table.column_names):
        names = _class_names(features.get(name))
        if names is not None:
            with parsing(path, f"class numbers (column {name!r})"):
                table = table.set_column(i, name, _decoded(table.column(i), names, name, path))
    return table


def _field_names(field: Any) -> list[str]:
    """All names in a field; `validate` does not look whether they are UTF-8."""
    kind = field.type
    return [field.name, *(name for i in range(kind.num_fields) for name in _field_names(kind.field(i)))]


def _class_names(feature: Any) -> list[str] | None:
    """The class names of a feature description, or of what it is a list of."""
    if isinstance(feature, list) and len(feature) == 1:
        return _class_names(feature[0])
    if not isinstance(feature, Mapping):
        return None
    if feature.get("_type") in ("List", "LargeList", "Sequence"):
        return _class_names(feature.get("feature"))
    if feature.get("_type") != "ClassLabel":
        return None
    names = feature.get("names")
    return [str(n) for n in names] if names else [str(i) for i in range(int(feature.get("num_classes") or 0))]


def _decoded(column: Any, names: list[str], name: str, path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.chunked_array([_decoded_lists(c, names, name, path) for c in column.chunks], pa.list_(pa.string()))
    if not pa.types.is_integer(kind):
        return column
    codes = pc.if_else(pc.equal(column, -1), None, column)
    wrong = pc.filter(codes, pc.or_(pc.less(codes, 0), pc.greater_equal(codes, len(names))))
    if wrong.null_count < len(wrong):
        raise DataError(
            found=f"class number {wrong.drop_null()[0]} in column {name!r} of {path}, which names {len(names)} classes",
            expected=f"numbers from 0 to {len(names) - 1}, or -1 for none",
            fix="mend the numbers or the list of class names, and save the data set again",
        )
    return pc.take(pa.chunked_array([pa.array(names, pa.string())]), codes.cast(pa.int64()))


def _decoded_lists(chunk: Any, names: list[str], name: str, path: Path) -> Any:
    """A list<string> array; the lengths are counted anew, so slices and nulls need no care."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(chunk), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    flat = _decoded(pa.chunked_array([chunk.flatten()]), names, name, path).combine_chunks()
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat, mask=chunk.is_null())


def _json(path: Path) -> dict[str, Any]:
    with parsing(path, "a JSON object"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"it is a {type(content).__name__}")
    return content


def _plain(name: Any, folder: Path) -> str:
    """`name` if it is the name of something directly in `folder`: a data set must not point elsewhere."""
    if not isinstance(name, str) or name in ("", ".", "..") or re.search(r"[/\\\0]", name):
        raise DataError(
            found=f"{name!r} as the name of a part of {folder}",
            expected="names of files and folders directly inside",
            fix="do not use this data set before you know who wrote it: the name points outside of its folder",
        )
    return name
