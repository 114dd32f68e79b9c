"""All answers as a file, piece by piece, in memory that does not grow with them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Engine, select

from labelwright.errors import check_option
from labelwright.webapp.database import reading
from labelwright.webapp.figures import answered_strata
from labelwright.webapp.tables import answers, items, users

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("csv", "jsonl", "parquet")
_AT_A_TIME = 20_000  # answers in memory
_FORMULA = "^([\\s\\x00]*[=+\\-@＝＋－＠]|[\\t\\r\\n|%])"  # also in their full width, which some programs fold
_AFTER_SEPARATOR = "([;\\t|])([\\s\\x00]*[=+\\-@＝＋－＠])"
_NUMBER = r"^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_TEXTS = (
    "item", "label", "reviewer", "given", "kind", "value", "comment", "severity", "why", "stream", "event_id",
)  # fmt: skip
_COMPARISON = (
    "item", "annotator", "a", "b", "preferred", "a_source", "b_source", "a_value", "b_value", "event_id",
)  # fmt: skip
_FOREIGN = ("item", "label", "reviewer", "given", "value", "comment")  # what is not of our own making
_NAMES = (*_TEXTS, "seconds", "probability", "time")
_quoted = json.encoder.encode_basestring  # no escapes of what UTF-8 can hold


def export(engine: Engine, queue: int, format: str) -> Iterator[bytes]:
    """The answers that count, in the order in which they were given.

    Columns: item, label (as `labelwright audit --reviews` reads it), reviewer, given, kind, value (JSON, with the shares of a
    distribution), comment, severity, why, stream, event_id, seconds, probability (with which the item was drawn: the share of its
    stratum that has been answered in order; null where it was chosen by hand), time.

    Cells of the CSV that a spreadsheet would take for a formula begin with an apostrophe.
    """
    check_option("format", format, FORMATS)
    return {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}[format](_batches(engine, queue))


def export_rows(rows: list[dict[str, Any]], format: str) -> bytes:
    """A few rows of texts and a `time` as a whole file. Raises OptionError for another format."""
    import pyarrow as pa
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    check_option("format", format, FORMATS)
    if format == "jsonl":
        told = (row | {"time": datetime.fromtimestamp(row["time"], UTC).isoformat()} for row in rows)
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in told).encode()
    names = [name for name in (rows[0] if rows else _COMPARISON) if name != "time"]
    columns = {name: pa.array([row[name] for row in rows], pa.string()) for name in names}
    columns["time"] = pa.array([int(row["time"] * 1e6) for row in rows], pa.timestamp("us", "UTC"))
    sink = io.BytesIO()
    if format == "parquet":
        pq.write_table(pa.table(columns), sink, compression="zstd")
    else:
        csv.write_csv(pa.table(columns | {name: disarm(columns[name]) for name in names}), sink)
    return sink.getvalue()


def _batches(engine: Engine, queue: int) -> Iterator[list[tuple[Any, ...]]]:
    """The columns of some thousand answers, in the order of `_NAMES`; at least once. No transaction stays open between them."""
    with reading(engine) as conn:
        drawn = {h: (s.n, s.n / s.size) for h, (s, _) in enumerate(answered_strata(conn, queue)) if s.n}
        names = {row.id: row.name for row in conn.execute(select(users.c.id, users.c.name))}
    query = (
        select(
            answers.c.id, items.c.stratum, items.c.stratum_place, answers.c.time, items.c.key, answers.c.label, answers.c.user_id,
            items.c.given, answers.c.kind, answers.c.value, answers.c.comment, answers.c.severity, answers.c.why,
            answers.c.stream, answers.c.event_id, answers.c.seconds,
        )
        .join(items, items.c.id == answers.c.item_id)
        .order_by(answers.c.id)
        .limit(_AT_A_TIME)
    )  # fmt: skip
    here = (
        answers.c.queue_id + 0 == queue
    )  # a sum keeps the database from an index that would need a sort for every piece
    last, first, none = -1, True, (0, None)
    while True:
        with reading(engine) as conn:
            found = conn.execute(query.where(answers.c.id > last, here, answers.c.active, ~answers.c.extra))
            rows = found.cursor.fetchall()  # plain tuples: texts and numbers need nothing done to them
        if rows:
            _, stratum, place, times, *told = zip(*rows)
            told[2] = tuple(map(names.get, told[2]))
            pairs = zip(stratum, place)
            chance = tuple(
                drawn.get(h, none)[1] if at is not None and at < drawn.get(h, none)[0] else None for h, at in pairs
            )
            yield [*told, chance, times]
        elif first:
            yield [() for _ in _NAMES]
        if len(rows) < _AT_A_TIME:
            return
        last, first = rows[-1][0], False


def _table(columns: list[tuple[Any, ...]]) -> pa.Table:
    import pyarrow as pa

    named = {name: pa.array(column, pa.string()) for name, column in zip(_TEXTS, columns)}
    seconds, chance, times = columns[len(_TEXTS) :]
    named |= {"seconds": pa.array(seconds, pa.float64()), "probability": pa.array(chance, pa.float64())}
    return pa.table(named | {"time": pa.array([int(t * 1e6) for t in times], pa.timestamp("us", "UTC"))})


def disarm(column: Any) -> Any:
    """Texts with an apostrophe before what a spreadsheet would take for a formula; numbers stay as they are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # programs whose list separator is another sign cut the cell there
    column = pc.replace_substring_regex(column, _AFTER_SEPARATOR, r"\1'\2")
    armed = pc.and_not(pc.match_substring_regex(column, _FORMULA), pc.match_substring_regex(column, _NUMBER))
    if not pc.any(armed).as_py():
        return column
    return pc.if_else(armed, pc.binary_join_element_wise(pa.scalar("'"), column, ""), column)


def _csv(batches: Iterator[list[tuple[Any, ...]]]) -> Iterator[bytes]:
    import pyarrow.csv as csv

    for number, columns in enumerate(batches):
        table = _table(columns)
        for name in _FOREIGN:
            table = table.set_column(_TEXTS.index(name), name, disarm(table[name]))
        sink = io.BytesIO()
        csv.write_csv(table, sink, csv.WriteOptions(include_header=number == 0))
        yield sink.getvalue()


def _jsonl(batches: Iterator[list[tuple[Any, ...]]]) -> Iterator[bytes]:
    """Labels as JSON values, not as text within text: they are JSON in the database."""
    line = "{" + ", ".join(f'"{name}": %s' for name in _NAMES) + "}\n"
    plain, numbers = ("given", "value"), ("seconds", "probability")
    for columns in batches:
        written: list[Iterable[str]] = []
        for name, column in zip(_NAMES, columns):
            if name in plain:
                written.append("null" if cell is None else cell for cell in column)
            elif name in numbers:
                written.append("null" if cell is None else repr(cell) for cell in column)
            elif name == "time":
                written.append(f'"{text}+00:00"' for text in _moments(column))
            else:
                written.append(map(_quoted, column))
        yield "".join(map(line.__mod__, zip(*written))).encode()


def _moments(times: tuple[float, ...]) -> list[str]:
    """Seconds since 1970 as ISO texts with microseconds; at once, since a million calls of `isoformat` take two seconds."""
    micro = np.rint(np.asarray(times, np.float64) * 1e6).astype(np.int64).astype("datetime64[us]")
    return list(np.datetime_as_string(micro, unit="us").tolist())


def _parquet(batches: Iterator[list[tuple[Any, ...]]]) -> Iterator[bytes]:
    import pyarrow.parquet as pq

    sink, writer = _Drained(), None
    for columns in batches:
        table = _table(columns)
        writer = writer or pq.ParquetWriter(sink, table.schema, compression="zstd")
        writer.write_table(table)
        yield sink.drain()
    assert writer is not None
    writer.close()
    yield sink.drain()


class _Drained(io.RawIOBase):
    """A sink whose bytes are taken away as they come."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._parts.append(piece)
        self._at += len(piece)
        return len(piece)

    def drain(self) -> bytes:
        out, self._parts = b"".join(self._parts), []
        return out
