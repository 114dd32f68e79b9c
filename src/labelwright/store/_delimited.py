"""CSV and TSV: every cell is text first, and becomes a number only where nothing is lost by it."""

from __future__ import annotations

import csv
import io
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelwright.errors import DataError, LabelwrightWarning

if TYPE_CHECKING:
    import pyarrow as pa

_INTEGER = r"^(?:0|-?[1-9][0-9]*)$"
_NUMBER = r"^-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
_MISSING_WORDS = ("NA", "N/A", "n/a", "NaN", "nan", "NULL", "Null", "null", "None", "none", "?", "-")
_LABEL_LIKE = 1000  # a column with at most so many distinct values may name classes; its spellings are kept apart
_BLOCK = 64 << 20  # bytes; also the longest row that can be read


def read_delimited(data: bytes, path: Path, delimiter: str | None) -> pa.Table:
    """The table in `data`, decoded as UTF-8 (with or without BOM).

    An empty cell is missing. Every other cell is kept: "NA", "None" and "null" are words, since a class may be called
    so. A column is int64 or float64 only where each cell is a plainly written number and no two spellings of a
    label-like column would fall together ("007", "1.10" beside "1.1" and numbers beyond int64 stay text). Blank lines
    are skipped.

    Args:
        data: the whole file, uncompressed.
        path: named in errors.
        delimiter: None takes the comma, or ";" or tab where the header has no comma.
    """
    import pyarrow as pa
    import pyarrow.csv

    check_utf8(data, path)
    data = data.removeprefix(b"\xef\xbb\xbf")
    delimiter = delimiter or _delimiter(data)
    header = next(_records(data, path, delimiter), (1, []))[1]
    _check_header(header, path)
    try:
        table = pa.csv.read_csv(
            pa.BufferReader(data),
            read_options=pa.csv.ReadOptions(block_size=max(1 << 20, min(len(data) + 1, _BLOCK))),
            parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()), null_values=[""], strings_can_be_null=True
            ),
        )
    except pa.ArrowInvalid as err:
        _check_records(data, path, delimiter, len(header))
        raise _broken(path, str(err).splitlines()[0]) from err
    # Arrow reads on through an unclosed quote. Where lines and rows do not agree, the strict reader has the last word.
    if table.num_rows + 1 != _line_count(data):
        records = _check_records(data, path, delimiter, len(header))
        if records != table.num_rows + 1:
            raise _broken(path, f"{records - 1} or {table.num_rows} rows, depending on how its quotes are read")
    columns = [_as_numbers(table.column(i), name) for i, name in enumerate(header)]
    return pa.table(columns, names=header)


def check_utf8(data: bytes, path: Path) -> None:
    """Raise `DataError` naming the first byte that is not UTF-8, with its line and its offset."""
    step = 16 << 20
    start = 0
    while start < len(data):
        piece = data[start : start + step]
        try:
            piece.decode("utf-8")
            start += len(piece)
        except UnicodeDecodeError as err:
            if err.end == len(piece) and err.start and len(piece) == step:  # a character cut by the piece's end
                start += err.start
                continue
            at = start + err.start
            line = data.count(b"\n", 0, at) + 1
            raise DataError(
                found=f"{path.name}, whose byte {at} (0x{data[at]:02x}, line {line}) is not UTF-8",
                expected="UTF-8 text",
                fix=f"save it as UTF-8, for example: iconv -f LATIN1 -t UTF-8 {path.name} > utf8-{path.name}",
            ) from err


def _delimiter(data: bytes) -> str:
    line = data[: 1 << 20].lstrip(b"\r\n").partition(b"\n")[0]
    return "," if b"," in line else ";" if b";" in line else "\t" if b"\t" in line else ","


def _check_header(header: list[str], path: Path) -> None:
    if not header:
        raise DataError(found=f"{path.name}, which has no header", expected="a line of column names", fix="add one")
    twice = sorted({name for name in header if header.count(name) > 1}) if len(set(header)) < len(header) else []
    if twice:
        raise DataError(
            found=f"column name {', '.join(map(repr, twice[:5]))} more than once in the header of {path.name}",
            expected="each column name once",
            fix="rename the columns; a file without a header needs one",
        )


def _records(data: bytes, path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """First line number (from 1) and cells of each record that is not blank, read strictly."""
    before = csv.field_size_limit(sys.maxsize)  # the default refuses texts above 128 KiB; it is one setting per process
    try:
        reader = csv.reader(io.TextIOWrapper(io.BytesIO(data), "utf-8", newline=""), delimiter=delimiter, strict=True)
        line = 1
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as err:
        raise _broken(path, f"the record that begins on line {line} is not closed or badly quoted ({err})") from err
    finally:
        csv.field_size_limit(before)


def _check_records(data: bytes, path: Path, delimiter: str, width: int) -> int:
    """The number of records, all of `width` cells; else `DataError` with the line number."""
    count = 0
    for line, cells in _records(data, path, delimiter):
        count += 1
        if len(cells) != width:
            raise DataError(
                found=f"{len(cells)} cells on line {line} of {path.name}, where the header has {width}",
                expected="the same number of cells on every line",
                fix=f"mend line {line}; a cell that holds {delimiter!r} or a line break must stand in double quotes",
            )
    return count


def _broken(path: Path, reason: str) -> DataError:
    return DataError(
        found=f"{path.name}, which cannot be read as delimited text: {reason}",
        expected="a header and rows of as many cells, with double quotes around separators and line breaks",
        fix='close every quote, and write a quote inside a quoted cell twice ("")',
    )


def _line_count(data: bytes) -> int:
    """The number of lines where none is blank, else -1."""
    if data[:1] in b"\r\n" or b"\n\n" in data or b"\n\r" in data:
        return -1
    return data.count(b"\n") + (not data.endswith(b"\n"))


def _as_numbers(column: Any, name: str) -> Any:
    """The text column as int64 or float64 where that loses nothing, else unchanged."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def is_number(values: Any) -> Any:
        return pc.match_substring_regex(values, _NUMBER)

    head = pc.unique(column.slice(0, 10_000)).drop_null()  # most text columns show themselves here
    if not pc.all(pc.or_(is_number(head), pc.is_in(head, pa.array(_MISSING_WORDS)))).as_py():
        return column
    distinct = pc.unique(column).drop_null()
    numbers = distinct.filter(is_number(distinct))
    if len(numbers) < len(distinct):
        words = distinct.filter(pc.invert(is_number(distinct)))
        if len(numbers) and pc.all(pc.is_in(words, pa.array(_MISSING_WORDS))).as_py():
            _warn_of_words(name, words.to_pylist())
        return column
    if not len(numbers):
        return column
    kind = pa.int64() if pc.all(pc.match_substring_regex(numbers, _INTEGER)).as_py() else pa.float64()
    try:
        parsed = pc.cast(numbers, kind)
    except pa.ArrowInvalid:  # beyond int64: an id, not a quantity
        return column
    same = len(numbers) <= _LABEL_LIKE and len(pc.unique(parsed)) < len(numbers)
    return column if same else pc.cast(column, kind)


def _warn_of_words(name: str, words: list[str]) -> None:
    warnings.warn(
        f"column {name!r} holds numbers and {', '.join(map(repr, words))}; it is kept as text, because a class may be "
        "called so. Where the word means a missing number, leave those cells empty.",
        LabelwrightWarning,
        stacklevel=2,
    )
