"""Rows that may be too many for memory, and the chunks in which they are read."""

from __future__ import annotations

import hashlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from labelwright.errors import DataError, check_whole
from labelwright.labels.soft import SoftLabels
from labelwright.stream.statistic import CHUNK_ENTRIES

_COUNTING = threading.Lock()


@dataclass(frozen=True, eq=False)
class Chunk:
    """Consecutive rows, and where they come from.

    first: number of the first row in the whole.
    data: an array (n, ...), `SoftLabels` of n items, a pyarrow.Table of n rows, or a tuple of these.
    shard: the file they lie in, "" for memory.   first_in_shard: number of the first row in that file.
    """

    first: int
    data: Any
    shard: str = ""
    first_in_shard: int = 0

    def __len__(self) -> int:
        return _length(self.data[0] if isinstance(self.data, tuple) else self.data)

    def __getitem__(self, part: slice) -> Chunk:
        """Some of its rows, as a view."""
        start, stop, _ = part.indices(len(self))
        many = isinstance(self.data, tuple)
        cut = [_cut(one, start, stop) for one in (self.data if many else (self.data,))]
        return Chunk(self.first + start, tuple(cut) if many else cut[0], self.shard, self.first_in_shard + start)

    @property
    def rows(self) -> slice:
        """The numbers of its rows in the whole."""
        return slice(self.first, self.first + len(self))

    def where(self, row: int) -> str:
        """A row of the chunk, for a message.

        >>> Chunk(1000, np.zeros(5), "probs-001.npy", 200).where(3)
        'row 203 of probs-001.npy (row 1003 of all)'
        """
        if not self.shard:
            return f"row {self.first + row}"
        return f"row {self.first_in_shard + row} of {self.shard} (row {self.first + row} of all)"


def with_rows(chunk: Chunk) -> tuple[Any, ...]:
    """What statistics take that know items by number: (row numbers as a slice, data, ...)."""
    return chunk.rows, *(chunk.data if isinstance(chunk.data, tuple) else (chunk.data,))


def with_dense(chunk: Chunk) -> Any:
    """The data, with top-k rows (`SoftLabels`) written out as (n, K) float32."""
    parts = chunk.data if isinstance(chunk.data, tuple) else (chunk.data,)
    dense = tuple(part.dense() if isinstance(part, SoftLabels) else part for part in parts)
    return dense if isinstance(chunk.data, tuple) else dense[0]


class Rows(ABC):
    """A source of N rows that can be read in chunks, as often as needed. It holds no open file and may be sent away.

    name: for messages.
    shape: (N, ...) of the array it stands for, (N,) for tables; N is None where only reading tells.
    dtype: of the chunks, None for tables.   schema: pyarrow.Schema of tables, else None.
    classes: names of the K columns where the files tell them, else None.
    pieces: rows at which reading can start without reading what lies before, None for any row.
    rows_read: how many rows were delivered so far; `passes` is that in passes over the data.
    """

    name: str = "rows"
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any] | None = None
    schema: Any = None
    classes: tuple[Any, ...] | None = None
    pieces: Sequence[int] | None = None
    rows_read: int = 0

    @abstractmethod
    def _read(self, rows: int, start: int, stop: int | None) -> Iterator[Chunk]:
        """Chunks of at most `rows` rows, in order; start and stop are in range."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash that changes when the data changes. Files are told by name, size and time (or checksum), not by content."""

    def __len__(self) -> int:
        if self.shape[0] is None:
            raise DataError(
                found=f"{self.name}, whose length is not known",
                expected="rows that can be counted before they are read",
                fix="write them to .npy or Parquet shards and open the folder",
            )
        return self.shape[0]

    @property
    def passes(self) -> float:
        """How often the data was read: rows delivered / N."""
        return self.rows_read / max(1, len(self))

    @property
    def width(self) -> int:
        """Entries of one row."""
        return prod(n or 1 for n in self.shape[1:])

    def chunks(self, rows: int | None = None, *, start: int = 0, stop: int | None = None) -> Iterator[Chunk]:
        """The rows `start` to `stop` (default: all) in order, at most `rows` at a time; none crosses from file to file.

        Args:
            rows: default as many as make about a million entries.

        Raises:
            DataError: a file that cannot be read, changed since it was opened, or fails its checksum.
        """
        rows = max(1, CHUNK_ENTRIES // self.width) if rows is None else rows
        check_whole("rows", rows, 1)
        check_whole("start", start, 0)
        if self.shape[0] is not None:
            stop = min(len(self), len(self) if stop is None else stop)
        return self._counted(rows, start, stop)

    def _counted(self, rows: int, start: int, stop: int | None) -> Iterator[Chunk]:
        if stop is not None and start >= stop:
            return
        for chunk in self._read(rows, start, stop):
            self.count(len(chunk))
            yield chunk

    def count(self, rows: int) -> None:
        """Add to `rows_read`, from any thread."""
        with _COUNTING:
            self.rows_read += rows

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, shape {self.shape})"


class Beside(Rows):
    """Several sources row by row: chunks of tuples. The widest one says where reading may start and names the file."""

    def __init__(self, sources: Sequence[Rows]):
        lengths = {source.shape[0] for source in sources}
        if len(lengths) > 1:
            raise DataError(
                found="sources of different length: " + ", ".join(f"{s.name} has {s.shape[0]} rows" for s in sources),
                expected="the same rows in each, in the same order",
                fix="select the rows that all of them have, and write them again",
            )
        self.sources = tuple(sources)
        self._main = int(np.argmax([source.width for source in sources]))
        main = self.sources[self._main]
        self.name = " beside ".join(source.name for source in sources)
        self.shape, self.dtype, self.classes, self.pieces = main.shape, main.dtype, main.classes, main.pieces

    def _read(self, rows: int, start: int, stop: int | None) -> Iterator[Chunk]:
        streams = [source.chunks(rows, start=start, stop=stop) for source in self.sources]
        heads = [next(stream, None) for stream in streams]
        while all(head is not None for head in heads):
            full = [head for head in heads if head is not None]
            n = min(map(len, full))
            main = full[self._main]
            yield Chunk(main.first, tuple(head[:n].data for head in full), main.shard, main.first_in_shard)
            heads = [head[n:] if len(head) > n else next(s, None) for head, s in zip(full, streams)]
        if any(head is not None for head in heads):  # only where lengths are not known in advance
            raise DataError(
                found=f"sources of different length in {self.name}",
                expected="the same rows in each",
                fix="make every source yield the same number of rows",
            )

    def fingerprint(self) -> str:
        return digest(*(source.fingerprint() for source in self.sources))


def digest(*parts: str | bytes | np.ndarray) -> str:
    """A hash of texts, bytes and arrays; where one ends and the next begins matters."""
    total = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, np.ndarray):
            total.update(f"{part.dtype.str}{part.shape}".encode())
            for start in range(0, max(1, len(part)) if part.ndim else 1, 1 << 16):
                block = part[start : start + (1 << 16)] if part.ndim else part
                total.update(np.ascontiguousarray(block).tobytes())
        else:
            data = part.encode() if isinstance(part, str) else part
            total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()


def _length(data: Any) -> int:
    return data.num_rows if hasattr(data, "num_rows") else len(data)


def _cut(data: Any, start: int, stop: int) -> Any:
    return data.slice(start, stop - start) if hasattr(data, "num_rows") else data[start:stop]
