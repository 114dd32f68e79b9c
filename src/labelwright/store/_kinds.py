"""What a file is: told by its name, checked against its first bytes, before any reading begins."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labelwright.errors import DataError, LabelwrightError

KINDS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
TEXT_KINDS = ("csv", "tsv", "jsonl")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")

_READABLE = "CSV, TSV, JSONL (also .gz), Parquet, Arrow, a Hugging Face dataset folder or an image folder"
_PICKLED = "a pickle can run code when it is opened, so it never is: write the items as Parquet or CSV"
_OTHER_SUFFIXES = {  # files people have, and what to do with them
    ".npy": "arrays are passed as features or pred_probs; write the items as Parquet or CSV",
    ".npz": "arrays are passed as features or pred_probs; write the items as Parquet or CSV",
    ".json": "write one JSON object per line and call the file .jsonl",
    ".xlsx": "save the sheet as CSV (UTF-8)",
    ".xls": "save the sheet as CSV (UTF-8)",
    ".txt": "give the file a header line and call it .csv or .tsv",
    ".zip": "unpack it first",
} | dict.fromkeys((".pkl", ".pickle", ".joblib", ".pt", ".pth"), _PICKLED)

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (rb"PAR1[\x00-\x1f]", "a Parquet file"),
    (rb"ARROW1\x00", "an Arrow file"),
    (rb"\xff\xff\xff\xff", "an Arrow stream"),
    (rb"FEA1\x00", "a Feather file of version 1"),
    (rb"\x1f\x8b", "gzip-compressed data"),
    (rb"PK\x03\x04", "a zip archive (.zip, .xlsx, .npz)"),
    (rb"\x93NUMPY", "a NumPy array"),
    (rb"\x80[\x02-\x05]", "a pickle"),
    (rb"\x28\xb5\x2f\xfd", "zstd-compressed data"),
    (rb"BZh\d1AY&SY", "bzip2-compressed data"),
    (rb"\xfd7zXZ\x00", "xz-compressed data"),
    (rb"\x89HDF\r\n", "an HDF5 file"),
    (rb"SQLite format 3\x00", "an SQLite database"),
    (rb"%PDF-", "a PDF"),
    (rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a", "a picture"),
    (rb"\xff\xfe|\xfe\xff", "UTF-16 text"),
    (rb"version https://git-lfs", "a Git LFS pointer, not the file itself (git lfs pull)"),
    (rb"(?i)\s*<(!doctype )?html", "an HTML page (a download that failed?)"),
)


def looks_like(head: bytes) -> str:
    """What a file that begins with `head` seems to be, in words; "text" where nothing speaks against it.

    >>> looks_like(b"PK\\x03\\x04..."), looks_like(b"text,label")
    ('a zip archive (.zip, .xlsx, .npz)', 'text')
    """
    for pattern, name in _MAGIC:
        if re.match(pattern, head):
            return name
    return "binary data" if b"\0" in head else "text"


def file_kind(path: Path) -> tuple[str, bool]:
    """The kind of a file ("csv", "tsv", "jsonl", "parquet", "arrow") and whether it is gzip-compressed.

    Raises:
        DataError: a suffix we do not read, an empty file, or first bytes that belong to something else.
    """
    suffixes = [s.lower() for s in path.suffixes]
    packed = bool(suffixes) and suffixes[-1] == ".gz"
    suffix = "".join(suffixes[-2:-1] if packed else suffixes[-1:])
    kind = KINDS.get(suffix, "")
    if not kind or (packed and kind not in TEXT_KINDS):
        raise DataError(
            found=f"{path.name}, whose suffix {suffix + '.gz' * packed!r} is none that we read",
            expected=_READABLE,
            fix=_OTHER_SUFFIXES.get(suffix, f"name the file by what it holds, one of {', '.join(KINDS)}"),
        )
    with parsing(path, "a file"), path.open("rb") as f:
        head = f.read(1 << 16)
    if not head:
        raise DataError(found=f"{path}, which is empty (0 bytes)", expected="at least one item", fix="write it again")
    seen = looks_like(head)
    if seen not in _contents(kind, packed):
        raise DataError(
            found=f"{path.name}, which holds {seen}",
            expected=" or ".join(_contents(kind, packed)) + ", as its name says",
            fix="rename the file to what it is, or write it again in the format that its name says",
        )
    return kind, packed


def _contents(kind: str, packed: bool) -> tuple[str, ...]:
    if packed:
        return ("gzip-compressed data",)
    if kind == "parquet":
        return ("a Parquet file",)
    return ("an Arrow file", "an Arrow stream") if kind == "arrow" else ("text",)


def existing(path: str | os.PathLike[str]) -> Path:
    """`path` as a Path, after making sure that a file or a folder is there."""
    found = Path(path)
    with parsing(found, "a path"):  # a NUL byte in the name is a ValueError, a locked folder a PermissionError
        there = found.exists()
    if not there:
        raise DataError(
            found=f"no file or folder at {found}",
            expected=_READABLE,
            fix=f"check the path; the current folder is {Path.cwd()}",
        )
    if not (found.is_file() or found.is_dir()):
        raise DataError(
            found=f"{found}, which is a device or a pipe", expected=_READABLE, fix="write its content to a file first"
        )
    return found


@contextmanager
def parsing(path: Path, what: str) -> Iterator[None]:
    """Whatever a parser raises leaves as a DataError; damaged bytes can make it raise nearly anything."""
    try:
        yield
    except LabelwrightError:
        raise
    except Exception as err:
        reason = (str(err).splitlines() or [""])[0][:300]
        raise DataError(
            found=f"{str(path)!r}, which cannot be read as {what} ({type(err).__name__}: {reason})",
            expected=f"{what} that can be opened",
            fix="check that it is whole and that you may read it, or write it again",
        ) from err
