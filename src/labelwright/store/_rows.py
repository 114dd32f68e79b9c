"""Rows of the event table: their columns, how a user's table becomes them, and their digest."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

import labelwright
from labelwright.errors import ColumnError, DataError, ProbabilityError, check_option, nearest, rows
from labelwright.labels import as_arrow
from labelwright.store._values import canonical

if TYPE_CHECKING:
    import pyarrow as pa

KINDS = ("given", "import", "review", "suggestion", "vote", "retraction")


def schema() -> pa.Schema:
    """event_id, item, source, kind, value (JSON text), probability, time, tool, commit."""
    import pyarrow as pa

    columns = [
        pa.field("event_id", pa.string(), False),
        pa.field("item", pa.string(), False),
        pa.field("source", pa.string(), False),
        pa.field("kind", pa.string(), False),
        pa.field("value", pa.string()),
        pa.field("probability", pa.float64()),
        pa.field("time", pa.timestamp("us", "UTC"), False),
        pa.field("tool", pa.string(), False),
        pa.field("commit", pa.int64(), False),
    ]
    return pa.schema(columns)


_AT_A_TIME = 1 << 16  # rows whose texts are Python objects at the same time


def event_ids(*columns: Any) -> pa.Array:
    """Event ids made of what the events say: the same columns give the same ids, so that saying it again adds nothing.

    Args:
        columns: sequences of N texts, numbers or None; a string stands for N of it. At least one is a sequence.

    Returns:
        (N,) strings of 32 hexadecimal digits.

    >>> event_ids(["a", "b"], "anna", ['"cat"', None]).to_pylist() == event_ids(["a", "b"], "anna", ['"cat"', None]).to_pylist()
    True
    """
    import pyarrow as pa

    n = next(len(c) for c in columns if not isinstance(c, str))
    made = []
    for at in range(0, n, _AT_A_TIME):
        size = min(_AT_A_TIME, n - at)
        part = [[c] * size if isinstance(c, str) else c[at : at + _AT_A_TIME] for c in columns]
        lists = [c.to_pylist() if hasattr(c, "to_pylist") else c for c in part]
        hashes = (hashlib.blake2b(repr(row).encode(), digest_size=16).hexdigest() for row in zip(*lists, strict=True))
        made.append(pa.array(hashes, pa.string()))
    return pa.concat_arrays(made) if made else pa.array([], pa.string())


def prepare(events: Any, *, source: str, time: datetime | None = None) -> tuple[pa.Table, bool]:
    """`events` in the columns of `schema` but commit, checked; and whether its ids were made here, so that all are new.

    Args:
        events: a table with item and value, and any of the other columns.   source: where the table has no such column.
        time: where the table has no such column; now.

    Raises:
        ColumnError: no item or value, or a column we do not know.   DataError: a cell missing or of a wrong type.
        OptionError: an unknown kind.   LabelError: a value that is no label.   ProbabilityError: outside [0, 1].
    """
    import pyarrow as pa

    table = as_arrow(events)
    fields = [field for field in schema() if field.name != "commit"]
    _check_columns(table.column_names, [field.name for field in fields])
    made = "event_id" not in table.column_names
    constant = {
        "source": source,
        "kind": "import",
        "probability": None,
        "time": time or datetime.now(UTC),
        "tool": f"labelwright {labelwright.__version__}",
    }
    columns = {}
    for field in fields:
        if field.name in table.column_names:
            columns[field.name] = _cast(table[field.name], field)
        elif field.name == "event_id":
            columns[field.name] = _new_ids(table.num_rows)
        else:
            columns[field.name] = pa.repeat(pa.scalar(constant[field.name], field.type), table.num_rows)
    columns["value"] = canonical(columns["value"])
    _check_cells(columns)
    return pa.table(columns, schema=pa.schema(fields)), made


def digest(table: pa.Table) -> str:
    """32 hexadecimal digits of what rows say (all columns but commit), however the table is cut into chunks."""
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = hashlib.blake2b(digest_size=16)
    for field in schema():
        if field.name == "commit":
            continue
        present, length, content = (hashlib.blake2b(digest_size=16) for _ in range(3))
        for chunk in table[field.name].chunks:
            present.update(pc.is_valid(chunk).cast(pa.uint8()).to_numpy().data)
            if pa.types.is_string(field.type):
                chunk = pc.fill_null(chunk, "")
                offsets = np.frombuffer(chunk.buffers()[1], np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
                length.update(np.diff(offsets).data)
                text = chunk.buffers()[2]
                if text is not None and len(chunk):
                    content.update(memoryview(text)[offsets[0] : offsets[-1]])
            else:
                kind = chunk.type if pa.types.is_floating(chunk.type) else pa.int64()
                content.update(pc.fill_null(chunk.cast(kind), 0).to_numpy().data)
        for part in (present, length, content):
            whole.update(part.digest())
    return whole.hexdigest()


def _new_ids(n: int) -> pa.Array:
    import pyarrow as pa

    ids = np.frombuffer(os.urandom(16 * n).hex().encode(), dtype="S32")
    return pa.array(ids, pa.binary(32)).cast(pa.binary()).cast(pa.string())


def _check_columns(names: list[str], known: list[str]) -> None:
    for name in names:
        if name not in known or names.count(name) > 1:
            raise ColumnError(
                found=f"column {name!r} among the events" + (" more than once" if name in known else ""),
                expected="columns of events: " + ", ".join(nearest(name, known)),
                fix="rename or drop it; commits are numbered by the repository",
            )
    for name in ("item", "value"):
        if name not in names:
            raise ColumnError(
                found=f"events without a column {name!r}; there are {', '.join(names) or 'none'}",
                expected="item and value; any of " + ", ".join(k for k in known if k not in ("item", "value")),
                fix="items are keys as text; values come from labelwright.store.events.json_values(labels)",
            )


def _cast(column: Any, field: Any) -> Any:
    """The column in the field's type; text that must be there is not empty."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if field.name == "time" and pa.types.is_timestamp(column.type) and column.type.tz is None:
        raise DataError(
            found="times without a zone", expected="times in UTC", fix="cast them to timestamp('us', 'UTC')"
        )
    try:
        out = column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as err:
        raise DataError(
            found=f"a column {field.name!r} of {column.type} ({err})",
            expected=f"{field.type}",
            fix=f"convert {field.name!r} to {field.type} first",
        ) from err
    if field.nullable:
        return out
    empty = pc.is_null(out)
    if pa.types.is_string(out.type):
        empty = pc.or_(empty, pc.fill_null(pc.equal(out, ""), True))
    bad = np.flatnonzero(empty.to_numpy())
    if len(bad):
        raise DataError(
            found=f"{len(bad)} events with no {field.name} ({rows(bad.tolist())})",
            expected=f"{field.name} in every event",
            fix=f"fill in {field.name!r}, or leave these rows out",
        )
    return out


def _check_cells(columns: dict[str, Any]) -> None:
    import pyarrow.compute as pc

    for kind in pc.unique(columns["kind"]).to_pylist():
        check_option("kind", kind, KINDS)
    p = columns["probability"]
    wrong = pc.fill_null(pc.invert(pc.and_(pc.greater_equal(p, 0), pc.less_equal(p, 1))), False)  # NaN is wrong too
    bad = np.flatnonzero(np.asarray(wrong))
    if len(bad):
        raise ProbabilityError(
            found=f"{len(bad)} events with a probability outside [0, 1] ({rows(bad.tolist())}: {p[int(bad[0])]})",
            expected="probabilities in [0, 1], null where there is none",
            fix="divide percentages by 100; replace NaN by null",
        )
    taken_back = columns["value"].filter(pc.equal(columns["kind"], "retraction"))
    if taken_back.null_count or not pc.all(pc.starts_with(taken_back, '"'), min_count=0).as_py():
        raise DataError(
            found="a retraction that names no event",
            expected="the id of the event that is taken back, as JSON text",
            fix="pass value=json_values([event_id])",
        )
