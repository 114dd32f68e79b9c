"""Recordings: known by the suffixes of their files. They are shown and played, never read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

RECORDINGS = (".wav", ".ogg", ".oga", ".opus", ".mp3", ".flac", ".m4a")
_LONGEST = 4096  # characters of a path


def is_recording(value: Any) -> bool:
    """Whether it is the path of a recording.

    >>> is_recording(Path("a.WAV")), is_recording("a.wav"), is_recording(Path("a.png"))
    (True, False, False)
    """
    return isinstance(value, Path) and value.suffix.lower() in RECORDINGS


def holds_recordings(table: pa.Table, column: str, root: Path) -> bool:
    """Whether every cell of a column of texts is the path of a recording that is there, below `root`."""
    if str(table[column].type) not in ("string", "large_string", "string_view"):
        return False
    cells = table[column].to_pylist()
    named = bool(cells) and all(c is not None and len(c) < _LONGEST and is_recording(Path(c)) for c in cells)
    return named and all((root / c).is_file() for c in cells)
