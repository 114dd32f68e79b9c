"""JSON lines: one object per line, read strictly; text stays text (dates too), null is missing."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelwright.errors import DataError
from labelwright.store._delimited import check_utf8

if TYPE_CHECKING:
    import pyarrow as pa


def read_jsonl(data: bytes, path: Path) -> pa.Table:
    """The table of the objects in `data`; a key that a line does not have is missing there, blank lines are skipped.

    Raises:
        DataError: a line that is no JSON object, a key twice in one object, a column of mixed types; with line numbers.
    """
    import pyarrow as pa

    check_utf8(data, path)
    columns: dict[str, list[Any]] = {}
    lines: list[int] = []  # line number of each row
    for number, line in enumerate(io.BytesIO(data.removeprefix(b"\xef\xbb\xbf")), 1):
        if not line.strip():
            continue
        record = _record(line, number, path)
        for name, value in record.items():
            column = columns.get(name)
            if column is None:
                column = columns[name] = [None] * len(lines)
            column.append(value)
        lines.append(number)
        if len(record) < len(columns):
            for column in columns.values():
                if len(column) < len(lines):
                    column.append(None)
    return pa.table({name: _column(name, values, lines, path) for name, values in columns.items()})


def _record(line: bytes, number: int, path: Path) -> dict[str, Any]:
    try:
        record = _DECODER.decode(line.decode("utf-8"))
    except (ValueError, RecursionError) as err:  # RecursionError: brackets nested thousands deep
        raise DataError(
            found=f"line {number} of {path.name}, which is not JSON ({err}): {_shown(line)}",
            expected="one JSON object per line",
            fix=f"mend line {number}; the last line of a file that was cut short is often broken",
        ) from err
    if not isinstance(record, dict):
        raise DataError(
            found=f"line {number} of {path.name}, which is a {type(record).__name__}, not an object: {_shown(line)}",
            expected='one JSON object per line, such as {"text": "...", "label": "..."}',
            fix="write a list of objects as one object per line",
        )
    return record


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(n for n in names if names.count(n) > 1)!r} stands twice in one object")
    return record


_DECODER = json.JSONDecoder(object_pairs_hook=_object)  # made once: json.loads with a hook makes one per line


def _column(name: str, values: list[Any], lines: list[int], path: Path) -> Any:
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError, TypeError, ValueError) as err:
        first = next(v for v in values if v is not None)
        odd = next((i for i, v in enumerate(values) if v is not None and _type(v) != _type(first)), None)
        where = f"line {lines[odd]} has {_type(values[odd])}" if odd is not None else str(err).splitlines()[0]
        raise DataError(
            found=f"several types in column {name!r} of {path.name}: it starts as {_type(first)}, and {where}",
            expected="one type per column",
            fix=f"write every {name!r} as text, or every one as a number, or every one as a list of one type",
        ) from err


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "true/false"
    if isinstance(value, int | float):
        return "a number"
    return "text" if isinstance(value, str) else "a list" if isinstance(value, list) else "an object"


def _shown(line: bytes, limit: int = 60) -> str:
    text = line.decode("utf-8", "replace").strip()
    return repr(text if len(text) <= limit else text[:limit] + "…")
