"""Our CSV: text that no spreadsheet computes, and that is read back as the text it was."""

from __future__ import annotations

import csv
import io
import json
import re
import warnings
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelwright.errors import LabelwrightWarning
from labelwright.store._kinds import parsing

if TYPE_CHECKING:
    import pyarrow as pa

_FORMULA = re.compile(r"'*[=+\-@\t\r]")  # how a cell begins that a spreadsheet would compute
_FLOATS = ("x", "y", "width", "height", "probability")


def to_csv(table: pa.Table) -> bytes:
    """The table as CSV; a warning counts the cells that got a ' because they begin like a formula."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")  # either character within a cell is then quoted
    writer.writerow([_quoted(name) for name in table.column_names])
    changed = 0
    for row in table.to_pylist():
        cells = []
        for value in row.values():
            text = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
            text = text.isoformat() if isinstance(text, datetime) else text
            if isinstance(text, str) and _FORMULA.match(text):
                text, changed = "'" + text, changed + 1
            cells.append(repr(text) if isinstance(text, float) else text)
        writer.writerow(cells)
    if changed:
        warnings.warn(
            f"{changed:,} cells begin like a formula and got a ' before them, so that no spreadsheet computes them",
            LabelwrightWarning,
            stacklevel=4,
        )
    return out.getvalue().encode()


def own_csv(path: Path, ours: Sequence[str]) -> pa.Table | None:
    """A CSV file with the columns `ours`, as text but for its numbers: a key "1e5" is no number. None for others."""
    import pyarrow as pa
    import pyarrow.csv

    if path.suffix.lower() != ".csv" or not path.is_file():
        return None
    with parsing(path, "CSV"):
        data = path.read_bytes()
        header = next(csv.reader([data[: 1 << 16].decode("utf-8-sig", "replace").split("\n", 1)[0].rstrip("\r")]), [])
        if not set(ours) <= set(header) or len(set(header)) < len(header):
            return None
        kinds = {n: pa.float64() if n in _FLOATS or n.startswith("p_") else pa.string() for n in header}
        kinds |= {n: pa.int64() for n in ("start", "stop") if n in kinds}
        block = max(1 << 20, min(len(data) + 1, 1 << 30))
        return pa.csv.read_csv(
            pa.BufferReader(data),
            read_options=pa.csv.ReadOptions(block_size=block),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(column_types=kinds, null_values=[""], strings_can_be_null=True),
        )


def _quoted(text: str) -> str:
    return "'" + text if _FORMULA.match(text) else text


def bare(cell: Any) -> Any:
    """A cell without the ' that `to_csv` put before it."""
    return cell[1:] if isinstance(cell, str) and cell[0:1] == "'" and _FORMULA.match(cell) else cell
