"""Rows of Parquet files, Arrow files and streams, and Lance data sets."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, TypeVar

from labelwright.errors import DataError
from labelwright.stream._columns import Columns, Layout, choose, convert
from labelwright.stream._ipc import Messages, walk
from labelwright.stream._places import Place, reading
from labelwright.stream._shard import Head

S = TypeVar("S", "ArrowShard", "LanceShard", "TableShard")

_BUFFER = 1 << 20  # bytes read ahead per column


def _head(n_rows: int, layout: Layout, schema: Any, pieces: Any, stamp: tuple[Any, ...]) -> Head:
    kind = layout.kind if layout.kind in ("soft", "table") else "array"
    tail = () if layout.width is None else (layout.width,)
    of_table = schema.remove_metadata() if kind == "table" else None
    return Head(n_rows, tail, kind, layout.dtype, layout.classes, of_table, pieces, stamp)


def _starts(lengths: list[int]) -> tuple[int, ...]:
    return tuple(accumulate(lengths, initial=0))[:-1]


def _pieces(batch: Any, first: int, rows: int, start: int, stop: int) -> Iterator[tuple[int, Any]]:
    """(number of the first row, batch) of what a batch has of `start` to `stop`, at most `rows` at a time."""
    for at in range(max(start, first), min(stop, first + batch.num_rows), rows):
        yield at, batch.slice(at - first, min(rows, stop - at, first + batch.num_rows - at))


def _with_width(shard: S) -> S:
    """The shard, the length of its lists taken from the first row where the schema does not tell."""
    if shard.layout.width is not None or shard.layout.kind not in ("list", "soft") or not shard.head.n_rows:
        return shard
    first = next(shard.read(1, 0, 1))
    width = (first["prob"] if isinstance(first, dict) else first).shape[1]
    return replace(shard, head=replace(shard.head, tail=(width,)), layout=replace(shard.layout, width=width))


def _next(batches: Iterator[Any], name: str) -> Any:
    with reading(name):
        batch = next(batches, None)
    if batch is None:
        raise DataError(
            found=f"{name}, which has fewer rows than when it was opened",
            expected="files that stay as they are during a run",
            fix="open them again once nobody writes to them",
        )
    return batch


@dataclass(frozen=True, eq=False)
class ParquetShard:
    """A Parquet file. Reading starts at a row group; memory holds the pages of one chunk at a time."""

    place: Place
    head: Head
    layout: Layout

    @classmethod
    def open(cls, place: Place, columns: Columns) -> ParquetShard:
        with _parquet(place) as file, reading(place.name):
            layout, meta = choose(file.schema_arrow, columns, place.name), file.metadata
            groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
            if layout.width is None and layout.kind in ("list", "soft"):
                layout = replace(layout, width=_width(groups, layout.names[0], meta.num_rows, place.name))
            starts = _starts([group.num_rows for group in groups])
            return cls(place, _head(meta.num_rows, layout, file.schema_arrow, starts, place.stamp()), layout)

    def read(self, rows: int, start: int, stop: int) -> Iterator[Any]:
        begins = self.head.pieces or ()
        groups = [
            i
            for i, (begin, end) in enumerate(zip(begins, [*begins[1:], self.head.n_rows]))
            if begin < stop and end > start
        ]
        with _parquet(self.place) as file:
            at = begins[groups[0]] if groups else 0
            batches = file.iter_batches(rows, row_groups=groups, columns=list(self.layout.names))
            while at < stop:
                batch = _next(batches, self.place.name)
                for first, piece in _pieces(batch, at, rows, start, stop):
                    yield convert(piece, self.layout, self.place.name, first)
                at += batch.num_rows


@contextmanager
def _parquet(place: Place) -> Iterator[Any]:
    import pyarrow.parquet as pq

    with reading(place.name):
        file = pq.ParquetFile(place.path, filesystem=place.filesystem, pre_buffer=False, buffer_size=_BUFFER)
    with file:
        yield file


def _width(groups: list[Any], name: str, n_rows: int, shard: str) -> int:
    """The length of the lists in a column, from the counts of its values in the footer."""
    values = 0
    for group in groups:
        columns = [group.column(j) for j in range(group.num_columns)]
        values += sum(c.num_values for c in columns if c.path_in_schema.split(".")[0] == name)
    if values % max(1, n_rows):
        raise DataError(
            found=f"{values} entries in {n_rows} lists of {name!r} in {shard}",
            expected="lists of the same length in every row",
            fix="write one entry per class; top-k rows are padded with -1 in index and 0 in prob",
        )
    return values // max(1, n_rows)


@dataclass(frozen=True, eq=False)
class ArrowShard:
    """An Arrow file (Feather V2) or stream. Reading starts at a record batch, which is decoded whole if compressed."""

    place: Place
    head: Head
    layout: Layout
    messages: Messages

    @classmethod
    def open(cls, place: Place, columns: Columns) -> ArrowShard:
        stamp = place.stamp()
        with place.open() as file, reading(place.name):
            messages = walk(file, stamp[0], place.name)
        with _arrow(place, messages) as (reader, _):
            schema = reader.schema
        if messages.dictionaries and not messages.is_file:
            raise DataError(
                found=f"dictionary (categorical) columns in the Arrow stream {place.name}",
                expected="plain columns, or the Arrow file format",
                fix="write Parquet, or cast categorical columns to text or integers",
            )
        layout = choose(schema, columns, place.name)
        starts = _starts([batch.n_rows for batch in messages.batches])
        head = _head(sum(batch.n_rows for batch in messages.batches), layout, schema, starts, stamp)
        return _with_width(cls(place, head, layout, messages))

    def read(self, rows: int, start: int, stop: int) -> Iterator[Any]:
        with _arrow(self.place, self.messages) as (reader, source):
            for i, first in enumerate(self.head.pieces or ()):
                offset, n_rows = self.messages.batches[i]
                if first >= stop or first + n_rows <= start:
                    continue
                with reading(self.place.name):
                    batch = reader.get_batch(i) if self.messages.is_file else _at(source, offset, reader.schema)
                for at, piece in _pieces(batch, first, rows, start, stop):
                    yield convert(piece, self.layout, self.place.name, at)


@contextmanager
def _arrow(place: Place, messages: Messages) -> Iterator[tuple[Any, Any]]:
    """The reader of an Arrow file, and the file under it: a memory map on this machine."""
    import pyarrow as pa

    with ExitStack() as stack:
        with reading(place.name):
            if place.filesystem is None:
                source = stack.enter_context(pa.memory_map(place.path))
            else:
                source = stack.enter_context(place.filesystem.open_input_file(place.path))
            reader = (pa.ipc.open_file if messages.is_file else pa.ipc.open_stream)(source)
        yield reader, source


def _at(source: Any, offset: int, schema: Any) -> Any:
    import pyarrow as pa

    source.seek(offset)
    return pa.ipc.read_record_batch(pa.ipc.read_message(source), schema)


@dataclass(frozen=True, eq=False)
class LanceShard:
    """A Lance data set, at the version it had when it was opened."""

    place: Place
    uri: str
    version: int
    head: Head
    layout: Layout

    @classmethod
    def open(cls, place: Place, uri: str, columns: Columns) -> LanceShard:
        import lance

        with reading(place.name):
            data = lance.dataset(uri)
            n_rows, schema, version = data.count_rows(), data.schema, data.version
            files = [file.path for fragment in data.get_fragments() for file in fragment.data_files()]
        layout = choose(schema, columns, place.name)
        return _with_width(cls(place, uri, version, _head(n_rows, layout, schema, None, (version, *files)), layout))

    def read(self, rows: int, start: int, stop: int) -> Iterator[Any]:
        import lance

        with reading(self.place.name):
            scanner = lance.dataset(self.uri, version=self.version).scanner(
                columns=list(self.layout.names), offset=start, limit=stop - start, batch_size=rows,
                scan_in_order=True, batch_readahead=1, fragment_readahead=1,
            )  # fmt: skip
            batches = scanner.to_batches()
        while start < stop:
            batch = _next(batches, self.place.name)
            for first, piece in _pieces(batch, start, rows, start, stop):
                yield convert(piece, self.layout, self.place.name, first)
            start += batch.num_rows


@dataclass(frozen=True, eq=False)
class TableShard:
    """A pyarrow.Table in memory."""

    place: Place
    head: Head
    layout: Layout
    table: Any

    @classmethod
    def open(cls, table: Any, columns: Columns) -> TableShard:
        place = Place("a table in memory")
        layout = choose(table.schema, columns, place.name)
        return _with_width(cls(place, _head(table.num_rows, layout, table.schema, None, ()), layout, table))

    def read(self, rows: int, start: int, stop: int) -> Iterator[Any]:
        first = 0
        for batch in self.table.to_batches():  # views
            for at, piece in _pieces(batch, first, rows, start, stop):
                yield convert(piece, self.layout, self.place.name, at)
            first += batch.num_rows

    def content(self) -> str:
        """A hash of the table, as it lies in memory: files are told by name and time, a table has neither."""
        import pyarrow as pa

        total = hashlib.blake2b(digest_size=16)

        class Sink(io.RawIOBase):
            def writable(self) -> bool:
                return True

            def write(self, data: Any) -> int:
                total.update(data)
                return len(data)

        with pa.ipc.new_stream(pa.PythonFile(Sink(), "w"), self.table.schema) as writer:
            writer.write_table(self.table)
        return total.hexdigest()
