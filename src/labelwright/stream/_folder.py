"""A file of rows, or a folder of shards, as one source."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from labelwright.errors import DataError, check_option
from labelwright.labels.space import LabelSpace
from labelwright.stream._checksums import CHECKSUMS, read_checksums, verify
from labelwright.stream._columns import Columns
from labelwright.stream._npy import NpyShard, NpzShard
from labelwright.stream._places import Place
from labelwright.stream._shard import Shard, check_alike, soft_rows
from labelwright.stream._tables import ArrowShard, LanceShard, ParquetShard, TableShard
from labelwright.stream.rows import Chunk, Rows, digest

FORMATS = {
    "npy": (".npy",),
    "npz": (".npz",),
    "parquet": (".parquet", ".pq"),
    "arrow": (".arrow", ".feather", ".ipc"),
    "lance": (".lance",),
}


class Shards(Rows):
    """Files of one format, one after the other; see `open_rows`."""

    def __init__(self, name: str, shards: Sequence[Shard], checksums: dict[str, str], classes: Any):
        first = shards[0]
        for shard in shards:
            check_alike(shard.place.name, shard.head, first.place.name, first.head)
        heads = [shard.head for shard in shards]
        self.name, self.shards, self.checksums = name, tuple(shards), checksums
        self._starts = [0, *accumulate(head.n_rows for head in heads)]
        n_rows, head = self._starts[-1], first.head
        self.classes = head.classes if classes is None else class_names(classes)
        self.shape, self.schema = (n_rows, *head.tail), head.schema
        dtypes = [head.dtype for head in heads if head.dtype is not None]
        self.dtype = np.result_type(*dtypes) if dtypes else None
        self.space = None
        if head.kind == "soft":
            self.classes = _known_classes(self.classes, name)
            self.space, self.shape = LabelSpace(self.classes), (n_rows, len(self.classes))
        elif head.kind == "array" and self.classes is not None and head.tail not in ((), (len(self.classes),)):
            raise DataError(
                found=f"{len(self.classes)} classes for {head.tail[0]} columns in {name}",
                expected="a class per column",
                fix="pass the classes in the order of the columns",
            )
        if any(head.pieces is not None for head in heads):
            inside = [head.pieces if head.pieces is not None else (0,) for head in heads]
            self.pieces = [start + piece for start, pieces in zip(self._starts, inside) for piece in pieces]

    def _read(self, rows: int, start: int, stop: int | None) -> Iterator[Chunk]:
        stop = self._starts[-1] if stop is None else stop
        for shard, begin, end in zip(self.shards, self._starts, self._starts[1:]):
            if begin >= stop or end <= start or begin == end:
                continue
            name, first = shard.place.name, max(start - begin, 0)
            if name in self.checksums:
                verify(shard.place, self.checksums[name])
            for data in shard.read(rows, first, min(stop, end) - begin):
                if isinstance(data, dict):
                    assert self.space is not None
                    data = soft_rows(data, self.space, name, first)
                elif isinstance(data, np.ndarray):
                    data = data.astype(self.dtype, copy=False)
                chunk = Chunk(begin + first, data, name, first)
                yield chunk
                first += len(chunk)

    def fingerprint(self) -> str:
        about = []
        for shard in self.shards:
            name, head = shard.place.name, shard.head
            state: Any = self.checksums.get(name) or list(head.stamp)
            if isinstance(shard, TableShard):
                state = shard.content()
            layout = getattr(getattr(shard, "layout", None), "names", ())
            about.append([name, head.n_rows, head.tail, head.kind, str(head.dtype), layout, state])
        return digest(json.dumps([about, [str(name) for name in self.classes or ()]]))


def open_place(place: Place, uri: str, columns: Columns, file_format: str | None, classes: Any) -> Shards:
    """The rows at a place; see `open_rows`."""
    if file_format is not None:
        check_option("format", file_format, FORMATS)
    kind, told = place.kind(), _format_of(place.name)
    if not kind and told != "lance":  # Lance finds its own way to some URLs
        raise DataError(found=f"no file or folder {place.name}", expected="one that is there", fix="check the path")
    if kind == "file" or told == "lance":
        if file_format is None and told is None:
            raise _unknown(place.name)
        shard = _open(place, uri, file_format or told or "", columns)
        return Shards(place.name, [shard], {}, classes)
    return _open_folder(place, uri, columns, file_format, classes)


def _open_folder(place: Place, uri: str, columns: Columns, file_format: str | None, classes: Any) -> Shards:
    names = [name for name in place.names() if not name.startswith((".", "_"))]
    formats = {name: _format_of(name) for name in names}
    if file_format is None:
        found = sorted({told for told in formats.values() if told is not None})
        if len(found) != 1:
            raise DataError(
                found=f"{'files of the formats ' + ', '.join(found) if found else 'no shards'} in {place.name}",
                expected="shards of one format: " + ", ".join(FORMATS),
                fix=f"pass format={found[0]!r}, or keep each format in its own folder"
                if found
                else "check the path and the names of the files",
            )
        file_format = found[0]
    chosen = [name for name in names if formats[name] == file_format]
    if file_format == "npy":
        chosen = _of_stem(chosen, columns, place.name)
        columns = None
    if not chosen:
        raise DataError(
            found=f"no {file_format} shards in {place.name}", expected="at least one", fix="check path and format"
        )
    if file_format == "lance" and CHECKSUMS in names:
        raise DataError(
            found=f"{CHECKSUMS} beside Lance data sets in {place.name}",
            expected="it beside files: a Lance data set is a folder that keeps its own versions",
            fix=f"remove {CHECKSUMS}",
        )
    shards = [_open(place / name, f"{uri.rstrip('/')}/{name}", file_format, columns) for name in chosen]
    return Shards(place.name, shards, read_checksums(place, chosen), classes)


def _of_stem(names: list[str], columns: Columns, folder: str) -> list[str]:
    """The .npy files that belong together: `columns` names what stands before the number, as in probs-000.npy."""
    stems: dict[str, list[str]] = {}
    for name in names:
        stems.setdefault(name.removesuffix(".npy").rstrip("0123456789").rstrip("-_."), []).append(name)
    if columns is None and len(stems) == 1:
        return names
    if not isinstance(columns, str) or columns not in stems:
        raise DataError(
            found=f"arrays called {', '.join(map(repr, stems))} in {folder}, and columns={columns!r}",
            expected="the name of one of them",
            fix=f"pass columns={next(iter(stems), 'probs')!r}, or a tuple of names to read several side by side",
        )
    return stems[columns]


def _open(place: Place, uri: str, file_format: str, columns: Columns) -> Shard:
    if file_format in ("npy", "npz"):
        if columns is not None:
            raise DataError(
                found=f"columns={columns!r} for {place.name}", expected="no columns in an array", fix="leave them out"
            )
        return NpyShard.open(place) if file_format == "npy" else NpzShard.open(place)
    if file_format == "lance":
        return LanceShard.open(place, uri, columns)
    return (ParquetShard if file_format == "parquet" else ArrowShard).open(place, columns)


def _format_of(name: str) -> str | None:
    return next((told for told, suffixes in FORMATS.items() if name.lower().endswith(suffixes)), None)


def _unknown(name: str) -> DataError:
    return DataError(
        found=f"{name}, whose format its name does not tell",
        expected="a name that ends in " + ", ".join(s for suffixes in FORMATS.values() for s in suffixes),
        fix="pass format=" + ", ".join(map(repr, FORMATS)),
    )


def class_names(classes: Any) -> tuple[Any, ...]:
    """The names of K columns, which are 0..K-1 where only K is given."""
    return tuple(range(classes)) if isinstance(classes, int) else tuple(classes)


def _known_classes(classes: tuple[Any, ...] | None, name: str) -> tuple[Any, ...]:
    if classes is None:
        raise DataError(
            found=f"top-k rows in {name} that do not tell their classes",
            expected="the classes their ids stand for",
            fix="pass classes= (the names, or how many), or save an array `classes` or the metadata labelwright.classes",
        )
    return classes
