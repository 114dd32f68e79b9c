"""Tables of labels: Parquet, CSV and JSON lines, one row per label. They hold everything.

item                         key of the item
start, stop                  of a span          x, y, width, height    of a box, in pixels
part                         of a polygon or mask, as in `_parts`
label                        class; of a distribution, the likeliest; of a set, a list (in CSV its JSON text)
type                         class, json (a number), set, distribution, answer or none
p_CLASS                      probabilities of a distribution
text, image                  where `content` has them
kind, source, time, probability, event     where the label comes from
check                        a hash of the row: a row that was changed since is a new label
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelwright.errors import ColumnError, DataError, LabelwrightError, nearest
from labelwright.labels.space import LabelSpace
from labelwright.store._kinds import parsing
from labelwright.store._values import json_values
from labelwright.store.exchange._csv import bare, own_csv, to_csv
from labelwright.store.exchange._files import dumps, loads, new_by, new_file
from labelwright.store.exchange._items import Content
from labelwright.store.exchange._parts import Box, Part, Span, checked, parse_part
from labelwright.store.exchange._said import CARRIED, Said, is_answer, is_soft, names, space_of, when
from labelwright.store.exchange.label_file import LabelFile

if TYPE_CHECKING:
    import pyarrow as pa

OURS = ("item", "label", "type", "kind", "source", "time", "event", "check")
_CLASSES = b"labelwright.classes"
_FORMATS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def label_table(said: list[Said], content: Content, space: LabelSpace | None) -> pa.Table:
    """The table described above; columns in which nothing would stand are left out, but for those every file has."""
    import pyarrow as pa

    kinds = [_type(s.value) for s in said]
    all_sets = "set" in kinds and set(kinds) <= {"set", "none"}
    columns: dict[str, Any] = {"item": pa.array([s.item for s in said], pa.string())}
    columns |= _places(said)
    label = [_label(s.value, listed=all_sets) for s in said]
    columns["label"] = pa.array(label, pa.list_(pa.string()) if all_sets else pa.string())
    columns["type"] = pa.array(kinds, pa.string())
    if "distribution" in kinds:
        for name in map(str, space.classes if space else ()):
            p = [s.value.get(name) if is_soft(s.value) else None for s in said]
            columns[f"p_{name}"] = pa.array(p, pa.float64())
    for name in ("text", "image"):
        if any(name in content.get(s.item, {}) for s in said):
            columns[name] = pa.array([content.get(s.item, {}).get(name) for s in said], pa.string())
    columns["kind"] = pa.array([s.kind for s in said], pa.string())
    columns["source"] = pa.array([s.source for s in said], pa.string())
    columns["time"] = pa.array([s.time for s in said], pa.timestamp("us", "UTC"))
    if any(s.probability is not None for s in said):
        columns["probability"] = pa.array([s.probability for s in said], pa.float64())
    columns["event"] = pa.array([s.event for s in said], pa.string())
    columns["check"] = pa.array([check(s) for s in said], pa.string())
    return pa.table(columns)


def check(s: Said) -> str:
    """A hash of what a row says."""
    value = json_values([s.value])[0].as_py()
    time = None if s.time is None else s.time.astimezone(UTC).isoformat()
    row = (s.key, value, s.kind, s.source, time, s.probability, s.event)
    return hashlib.blake2b(repr(row).encode(), digest_size=8).hexdigest()


def _places(said: list[Said]) -> dict[str, Any]:
    import pyarrow as pa

    out: dict[str, Any] = {}
    for kind, fields, type_ in (
        (Span, ("start", "stop"), pa.int64()),
        (Box, ("x", "y", "width", "height"), pa.float64()),
    ):
        if any(isinstance(s.part, kind) for s in said):
            for i, name in enumerate(fields):
                out[name] = pa.array([s.part[i] if isinstance(s.part, kind) else None for s in said], type_)
    other = [s.part is not None and not isinstance(s.part, Span | Box) for s in said]
    if any(other):
        out["part"] = pa.array([s.key.rpartition("#")[2] if o else None for s, o in zip(said, other)], pa.string())
    return out


def _type(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, dict):
        return "answer" if is_answer(value) else "distribution"
    if isinstance(value, list):
        return "set"
    return "class" if isinstance(value, str) else "json"


def _label(value: Any, *, listed: bool) -> Any:
    if isinstance(value, list):
        return (
            names(value) if listed and all(isinstance(v, str) for v in value) else json.dumps(value, ensure_ascii=False)
        )
    if is_answer(value):
        return value["answer"]
    if value is None or isinstance(value, str):
        return value
    return names(value)[0] if is_soft(value) else json.dumps(value)


def read_table(
    path: str | os.PathLike[str],
    *,
    item: str | None = None,
    label: str | None = None,
    source: str | None = None,
    format: str | None = None,
) -> LabelFile:
    """Labels of a table: one that `write_table` wrote, or any with a column of keys and one of labels.

    Of another table, columns called start and stop, x, y, width and height, source or annotator, probability and time are
    taken where they are; lists are sets; cells without a label say nothing.

    Args:
        path: anything that `read_items` reads.   item, label: columns, where they are not called so.
        source: who labelled, where the file does not tell.

    Raises:
        ColumnError: no such columns.   DataError: as `read_items`, or a place that cannot be.
    """
    from labelwright.store.read import read_items

    own = own_csv(Path(path), OURS) if format in (None, "csv") else None
    table = read_items(path) if own is None else own
    name = format or _FORMATS.get(Path(path).suffix.lower(), "table")
    return parse_table(table, Path(path).name, name, item=item, label=label, source=source, classes=_listed(table))


def _listed(table: pa.Table) -> list[str] | None:
    """The classes that a Parquet file of ours lists beside its columns."""
    text = (table.schema.metadata or {}).get(_CLASSES)
    with parsing(Path(_CLASSES.decode()), "a JSON list of classes"):
        classes = [] if text is None else loads(text)
        return [str(c) for c in classes if isinstance(c, str | int)] or None


def parse_table(
    table: pa.Table,
    file: str,
    format: str,
    *,
    item: str | None = None,
    label: str | None = None,
    source: str | None = None,
    classes: list[str] | None = None,
) -> LabelFile:
    """`read_table` of a table that was read already; `classes`: those that come first in the space."""
    columns = {name: table[name].to_pylist() for name in table.column_names}
    ours = item is None and label is None and set(OURS) <= columns.keys()
    if ours and format == "csv":
        columns = {n: [bare(v) for v in cells] if n not in ("check",) else cells for n, cells in columns.items()}
    rows = [dict(zip(columns, cells)) for cells in zip(*columns.values())]
    if ours:
        said = [_ours(row, f"row {i} of {file}") for i, row in enumerate(rows)]
    else:
        item, label = _column(columns, item, "item"), _column(columns, label, "label")
        said = [_foreign(row, item, label, f"row {i} of {file}") for i, row in enumerate(rows)]
    content = Content()
    for row, s in zip(rows, said):
        content.told(s.item, **{n: str(row[n]) for n in ("text", "image") if ours and row.get(n) is not None})
    labelled = [s for s in said if s.value is not None]
    first: list[Any] = classes or ([n[2:] for n in columns if n.startswith("p_")] if ours else [])
    if classes and all(isinstance(s.value, int) for s in labelled):
        first = [int(c) for c in classes if re.fullmatch("-?[0-9]{1,18}", c)]
    return LabelFile.of(format, labelled, space_of(labelled, first), content, source or f"import {file}")


def _ours(row: dict[str, Any], where: str) -> Said:
    part = _part(row, where)
    base = Said(str(row["item"]), _value(row, where), part)
    time = row["time"] if isinstance(row["time"], datetime) else when(row["time"])
    whole = base._replace(kind=row["kind"], source=_text(row["source"]), probability=row.get("probability"))
    whole = whole._replace(time=time and time.astimezone(UTC), event=_text(row["event"]))
    if check(whole) != str(row["check"]):
        return base  # somebody has changed the row: a new label
    if whole.kind not in CARRIED:
        raise DataError(
            found=f"an event of the kind {whole.kind!r:.40} in {where}",
            expected="one of " + ", ".join(CARRIED),
            fix="remove the row: a file takes nothing back",
        )
    return whole


def _value(row: dict[str, Any], where: str) -> Any:
    label, kind = row["label"], row["type"]
    try:
        if kind == "distribution":
            value: Any = {n[2:]: float(p) for n, p in row.items() if n.startswith("p_") and p is not None}
            if names(value) != [str(label)]:  # the class was changed by hand: that counts
                value = str(label)
        elif kind == "set":
            value = label if isinstance(label, list) else json.loads(label)
        elif kind == "json":
            value = json.loads(str(label))
        else:
            value = None if kind == "none" and label is None else "" if label is None else str(label)
            value = {"answer": value} if kind == "answer" else value
        text = json_values([value])[0].as_py()
        return None if text is None else json.loads(text)
    except (TypeError, ValueError, LabelwrightError) as err:
        raise DataError(
            found=f"label {label!r:.80} of type {kind!r:.20} in {where} ({err!s:.100})",
            expected="a label of the type class, json, set, distribution, answer or none",
            fix="mend the cell; a class has the type 'class'",
        ) from err


def _foreign(row: dict[str, Any], item: str, label: str, where: str) -> Said:
    if row[item] is None or row[item] == "":
        raise DataError(
            found=f"no key in {where}", expected=f"the item's key in column {item!r}", fix="fill it in, or name another"
        )
    value = row[label]
    value = None if value == "" else str(value) if isinstance(value, bool) else value
    try:
        text = json_values([value])[0].as_py()
    except LabelwrightError as err:
        raise DataError(found=f"{err.found} ({where})", expected=err.expected, fix=err.fix) from err
    who = next((str(row[n]) for n in ("source", "annotator", "reviewer") if row.get(n) not in (None, "")), None)
    p = row.get("probability")
    p = float(p) if isinstance(p, int | float) and p == p else None
    time = row.get("time")
    time = (
        when(time)
        if not isinstance(time, datetime)
        else time.astimezone(UTC)
        if time.tzinfo
        else time.replace(tzinfo=UTC)
    )
    value = None if text is None else json.loads(text)
    return Said(str(row[item]), value, _part(row, where), source=who, probability=p, time=time)


def _part(row: dict[str, Any], where: str) -> Part | None:
    if all(isinstance(row.get(n), int) for n in ("start", "stop")):
        return checked(Span(row["start"], row["stop"]), where)
    if all(isinstance(row.get(n), int | float) for n in ("x", "y", "width", "height")):
        return checked(Box(*(float(row[n]) for n in ("x", "y", "width", "height"))), where)
    if isinstance(row.get("part"), str) and row["part"] and "check" in row:
        try:
            return parse_part(row["part"])
        except (ValueError, OverflowError) as err:
            raise DataError(
                found=f"part {row['part'][:60]!r} in {where} ({err!s:.80})", expected="a polygon or mask", fix="mend it"
            ) from err
    return None


def _column(columns: dict[str, Any], wanted: str | None, role: str) -> str:
    from labelwright.store._names import ID_NAMES, LABEL_NAMES

    usual = [wanted] if wanted else [role, *(ID_NAMES if role == "item" else LABEL_NAMES)]
    for name in usual:
        if name in columns:
            return str(name)
    close = nearest(wanted or role, columns)[:8]
    raise ColumnError(
        found=f"no column {wanted or role!r}; there are {', '.join(map(repr, close))}",
        expected=f"a column for the {'key of the item' if role == 'item' else 'label'}",
        fix=f"name it: {role}={close[0]!r} (--{role})" if close else "pass a table with columns",
    )


def write_table(
    path: str | os.PathLike[str],
    labels: Any,
    *,
    items: Any = None,
    space: LabelSpace | None = None,
    content: Any = None,
    format: str | None = None,
) -> Path:
    """Labels to a new Parquet, CSV or JSON lines file, by its suffix or `format`; what `export_labels` calls.

    In CSV, a text cell that begins with =, +, -, @, tab or carriage return gets a ' before it, so that no spreadsheet
    computes it; a warning says how many. `read_table` takes it off again.

    Args:
        labels, items, space, content: as in `export_labels`.

    Raises:
        DataError: something is at `path`, or it has another suffix.
    """
    from labelwright.store.exchange._labels import labels_in

    target = Path(path)
    format = format or _FORMATS.get(target.suffix.lower())
    if format not in ("parquet", "csv", "jsonl"):
        raise DataError(
            found=f"the file name {target.name!r}", expected="a suffix of .parquet, .csv or .jsonl", fix="rename it"
        )
    said, known, space = labels_in(labels, items=items, space=space, content=content)
    table = label_table(said, known, space)
    if format == "parquet":
        import pyarrow.parquet as pq

        listed = table.replace_schema_metadata({_CLASSES: dumps(list(space.classes) if space else [])})
        return new_by(target, lambda temp: pq.write_table(listed, temp, compression="zstd"))
    if format == "csv":
        return new_file(target, to_csv(table))
    rows = (_json_row(row) for row in table.to_pylist())
    return new_file(target, b"".join(dumps(row) + b"\n" for row in rows))


def _json_row(row: dict[str, Any]) -> dict[str, Any]:
    return {n: v.isoformat() if isinstance(v, datetime) else v for n, v in row.items()}


def _text(cell: Any) -> str | None:
    return None if cell is None else str(cell)
