"""A Hugging Face dataset folder, as `datasets.Dataset.save_to_disk` writes it: the table of labels with a ClassLabel column.

data-00000-of-00001.arrow    the table of `tables.label_table`
dataset_info.json            features; `label` is a ClassLabel (a list of them for sets) with the classes in order
state.json                   what `datasets.load_from_disk` asks for
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelwright.labels.space import LabelSpace
from labelwright.store._kinds import existing
from labelwright.store.exchange._files import dumps, load_json, new_folder
from labelwright.store.exchange.label_file import LabelFile
from labelwright.store.exchange.tables import label_table, parse_table

if TYPE_CHECKING:
    import pyarrow as pa

_DATA = "data-00000-of-00001.arrow"


def read_hf(
    path: str | os.PathLike[str],
    *,
    split: str | None = None,
    item: str | None = None,
    label: str | None = None,
    source: str | None = None,
) -> LabelFile:
    """Labels of a folder written by `save_to_disk`; class numbers become names, and the classes keep their order.

    Args:
        split: of a DatasetDict with several.   item, label: columns, where they are not called so.
        source: who labelled, where the file does not tell.
    """
    from labelwright.store.read import read_items

    folder = existing(path)
    table = read_items(folder, split=split)
    inside = folder / split if split and (folder / split).is_dir() else folder
    info = next(
        (p for p in (inside / "dataset_info.json", *sorted(inside.glob("*/dataset_info.json"))) if p.is_file()), None
    )
    features = load_json(info).get("features") if info else None
    classes = _classes(features, label or "label")
    return parse_table(table, folder.name, "hf", item=item, label=label, source=source, classes=classes)


def _classes(features: Any, label: str) -> list[str] | None:
    feature = features.get(label) if isinstance(features, dict) else None
    while isinstance(feature, dict) and "feature" in feature:
        feature = feature["feature"]
    names = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
    return [str(n) for n in names] if isinstance(names, list) and names else None


def write_hf(
    path: str | os.PathLike[str],
    labels: Any,
    *,
    items: Any = None,
    space: LabelSpace | None = None,
    content: Any = None,
) -> Path:
    """Labels to a new folder for `datasets.load_from_disk`; what `export_labels(..., format="hf")` calls.

    Args:
        labels, items, space, content: as in `export_labels`.

    The column `label` is a ClassLabel where every label is a class or a distribution, a list of ClassLabel where every
    label is a set, else text.
    """
    import pyarrow as pa

    from labelwright.store.exchange._labels import labels_in

    said, known, space = labels_in(labels, items=items, space=space, content=content)
    table = label_table(said, known, space)
    kinds = set(table["type"].to_pylist())
    names = [str(c) for c in space.classes] if space else []
    sets = pa.types.is_list(table["label"].type)
    coded = bool(names) and (sets or kinds <= {"class", "json", "distribution", "none"})
    if coded:
        table = _coded(table, names, sets)
    features = {n: _feature(table.schema.field(n).type) for n in table.column_names}
    if coded:
        label = {"names": names, "_type": "ClassLabel"}
        features["label"] = {"feature": label, "_type": "Sequence"} if sets else label
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema.with_metadata(metadata)) as writer:
        writer.write_table(table.replace_schema_metadata(metadata))
    state: dict[str, Any] = {"_data_files": [{"filename": _DATA}], "_fingerprint": _fingerprint(table), "_split": None}
    state |= {"_format_columns": None, "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False}
    info = {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}
    files = {_DATA: sink.getvalue().to_pybytes(), "dataset_info.json": dumps(info), "state.json": dumps(state)}
    return new_folder(path, files)


def _coded(table: pa.Table, names: list[str], sets: bool) -> pa.Table:
    import pyarrow as pa

    ids = {name: i for i, name in enumerate(names)}
    cells = table["label"].to_pylist()
    if sets:
        column = pa.array([None if c is None else [ids[n] for n in c] for c in cells], pa.list_(pa.int64()))
    else:
        column = pa.array([None if c is None else ids[c] for c in cells], pa.int64())
    return table.set_column(table.column_names.index("label"), "label", column)


def _feature(kind: pa.DataType) -> dict[str, Any]:
    import pyarrow as pa

    if pa.types.is_timestamp(kind):
        return {"dtype": "timestamp[us, tz=UTC]", "_type": "Value"}
    return {"dtype": {"double": "float64"}.get(str(kind), str(kind)), "_type": "Value"}


def _fingerprint(table: pa.Table) -> str:
    from labelwright.store._keys import fingerprint

    return fingerprint(table)[:16]
