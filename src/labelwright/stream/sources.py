"""Open rows wherever they are: in memory, in files, in folders of shards, behind URLs, or made one chunk at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from labelwright.errors import DataError, OptionError
from labelwright.labels.soft import SoftLabels
from labelwright.stream._folder import Shards, class_names, open_place
from labelwright.stream._places import find_place
from labelwright.stream._shard import numbers_only
from labelwright.stream._tables import TableShard
from labelwright.stream.rows import Beside, Chunk, Rows, digest


def open_rows(
    source: Any,
    *,
    columns: str | Sequence[str] | tuple[Any, ...] | None = None,
    format: str | None = None,
    classes: Sequence[Any] | int | None = None,
) -> Rows:
    """Rows to be read in chunks, with what their heads tell; no row is read yet, and nothing is ever unpickled.

    Args:
        source: one of
            an array (N, ...), a list of numbers, `SoftLabels`, or a table (pyarrow, pandas, polars);
            a path or URL (s3://, gs://, file://, memory:// and others that pyarrow.fs or fsspec know) of an .npy file,
            an .npz file with top-k rows, a Parquet file, an Arrow (Feather) file or stream, a Lance data set, or a
            folder of such files, read in the order of the numbers in their names;
            a generator of chunks (arrays, or tuples of arrays), or a function that returns one, for several passes;
            a tuple of sources with the same rows, whose chunks are tuples: `open_rows((labels, "probs/"))`; the options
            below then speak of the paths and tables among them.
        columns: which columns of a table. A name: that column, numbers (n,) or lists (n, K). A list of names: these
            numbers side by side, (n, K), classes called like the columns. A tuple of such: chunks of tuples. None: the
            only column; all columns side by side if all are floats; `SoftLabels` if they are index and prob (with rest
            and known, if need be); else pyarrow tables. For a folder of .npy files: the name before the number, "probs" for
            probs-000.npy.
        format: "npy", "npz", "parquet", "arrow" or "lance", where names do not tell.
        classes: names of the K columns, or K; needed for top-k rows whose files do not tell. Tables tell by a JSON list in
            the metadata "labelwright.classes" of their schema, .npz files by an array `classes`.

    Returns:
        Rows. Nulls among whole numbers are -1 (a missing label), among floats NaN.

    Raises:
        DataError: nothing there, an unknown format, a file that is cut short, or a shard that differs from the first
            in columns, K, kind of numbers or classes. Its rows are checked as they are read, and by `checked`.
        ColumnError: a column that is not there. OptionError: an unknown format, an option that the source has no use for.

    >>> rows = open_rows((np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])))
    >>> [(chunk.first, chunk.data[0].tolist()) for chunk in rows.chunks(2)]
    [(0, [0, 1]), (2, [1])]
    """
    options: dict[str, Any] = {"columns": columns, "format": format, "classes": classes}
    if isinstance(source, tuple):
        named = any(map(_has_columns, source))
        return Beside([open_rows(one, **(options if _has_columns(one) or not named else {})) for one in source])
    if isinstance(columns, tuple):
        return Beside([open_rows(source, **(options | {"columns": one})) for one in columns])
    if isinstance(source, str | os.PathLike):
        return open_place(find_place(source), os.fspath(source), columns, format, classes)
    if _has_columns(source):
        import pyarrow as pa

        _refuse("a table in memory", format=format)
        return Shards("a table in memory", [TableShard.open(pa.table(source), columns)], {}, classes)
    if isinstance(source, Rows):
        _refuse("rows that are open", **options)
        return source
    if callable(source) or isinstance(source, Iterator):
        _refuse("a generator", **options)
        return Generated(source)
    _refuse("an array in memory", columns=columns, format=format)
    return Memory(source, classes)


def _has_columns(source: Any) -> bool:
    """Whether the options of `open_rows` say something about it: a path or a table."""
    table = hasattr(source, "__arrow_c_stream__") and hasattr(source, "columns")
    return isinstance(source, str | os.PathLike) or table


def _refuse(name: str, **options: Any) -> None:
    for option, value in options.items():
        if value is not None:
            raise OptionError(
                found=f"{option}={value!r} for {name}", expected="it with a path or a table", fix=f"leave {option} out"
            )


class Memory(Rows):
    """An array or `SoftLabels` in memory."""

    name = "an array in memory"

    def __init__(self, source: Any, classes: Any = None):
        self.data: Any
        if isinstance(source, SoftLabels):
            _refuse("soft labels, which know their classes", classes=classes)
            self.data, self.shape, self.dtype = source, (len(source), len(source.space)), np.dtype(np.float32)
            self.classes = source.space.classes
            return
        self.data = source.to_numpy() if hasattr(source, "to_numpy") else np.asarray(source)
        numbers_only(self.data.dtype, self.name)
        if self.data.ndim == 0:
            raise DataError(found="a single number", expected="an array (N, ...)", fix="pass one row per item")
        self.shape, self.dtype = self.data.shape, self.data.dtype
        self.classes = None if classes is None else class_names(classes)

    def _read(self, rows: int, start: int, stop: int | None) -> Iterator[Chunk]:
        stop = len(self) if stop is None else stop
        for at in range(start, stop, rows):
            yield Chunk(at, self.data[at : min(at + rows, stop)])

    def fingerprint(self) -> str:
        if isinstance(self.data, SoftLabels):
            tail = np.zeros(0) if self.data.tail is None else self.data.tail
            parts = [np.asarray(getattr(self.data, name)) for name in self.data.rows]
            return digest(self.data.space.to_json(), tail, *parts)
        return digest(self.data)


class Generated(Rows):
    """Chunks that are made as they are asked for; only a function that makes them anew can be read twice."""

    name = "a generator"
    shape: tuple[int | None, ...] = (None,)

    def __init__(self, source: Iterator[Any] | Callable[[], Iterable[Any]]):
        self._make = source if callable(source) else None
        self._once: Iterator[Any] | None = None if callable(source) else source

    def _read(self, rows: int, start: int, stop: int | None) -> Iterator[Chunk]:
        if self._make is None and self._once is None:
            raise DataError(
                found="a generator that was already read",
                expected="a source for another pass",
                fix="pass the function that makes the generator: open_rows(make_chunks), not open_rows(make_chunks())",
            )
        made: Iterable[Any] = self._make() if self._make is not None else self._once or ()
        self._once = None
        first = 0
        for data in made:
            whole = Chunk(first, data)
            n = len(whole)
            end = n if stop is None else min(n, stop - first)
            for at in range(max(0, start - first), end, rows):
                yield whole[at : min(at + rows, end)]
            first += n
            if stop is not None and first >= stop:
                return

    def fingerprint(self) -> str:
        raise DataError(
            found="a generator, whose data cannot be told from other data",
            expected="a source that is the same when a run resumes",
            fix="write the chunks to .npy or Parquet shards first, or leave checkpoint out",
        )
