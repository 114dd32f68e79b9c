"""Which format a file of labels has, told from what is in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from labelwright.errors import DataError
from labelwright.store._arrow import is_huggingface
from labelwright.store._kinds import existing, file_kind, looks_like, parsing
from labelwright.store.exchange._files import load_json, loads

_FIX = "name it: format='...' (--format)"
_EXPECTED = "COCO, YOLO, Label Studio, Argilla, Prodigy, a Hugging Face folder, Parquet, CSV or JSON lines"
_PRODIGY = {"_input_hash", "_task_hash", "_annotator_id", "_session_id", "answer", "accept", "spans", "options"}


def recognise(path: str | os.PathLike[str]) -> tuple[str, Any]:
    """The format's name, and the JSON document where it had to be read to tell, else None.

    Raises:
        DataError: none that we know; the error names what was found.
    """
    found = existing(path)
    if found.is_dir():
        return _folder(found), None
    with parsing(found, "a file"), found.open("rb") as f:
        head = f.read(1 << 16)
    seen = looks_like(head) if head else "nothing (0 bytes)"
    if seen != "text":
        packed = seen.startswith("gzip") and found.suffix.lower() == ".gz"
        if not packed and not seen.startswith(("a Parquet", "an Arrow")):
            raise _unknown(found, seen)
        return file_kind(found)[0], None  # refuses a name that says something else
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if start == b"[" or (start == b"{" and found.suffix.lower() not in (".jsonl", ".ndjson")):
        return _json(found, head)
    if start == b"{":
        return _lines(found, head), None
    kind, _ = file_kind(found)
    return kind, None


def _folder(folder: Path) -> str:
    if is_huggingface(folder):
        return "hf"
    if (folder / "records.json").is_file():
        return "argilla"
    if (folder / "labels").is_dir():
        return "yolo"
    if (folder / "labels.json").is_file() and (folder / "audits").is_dir():
        raise _unknown(folder, "a label repository", "read it with Repository.open, or export it first")
    names = sorted(p.name for p in folder.iterdir())[:6]
    raise _unknown(folder, f"a folder with {', '.join(names) or 'nothing in it'}")


def _json(path: Path, head: bytes) -> tuple[str, Any]:
    first = head.split(b"\n", 1)[0]
    if first.lstrip(b"\xef\xbb\xbf").startswith(b"{") and b"\n" in head.rstrip():
        try:  # an object on a line of its own: JSON lines under the name .json
            loads(first)
            return _lines(path, head), None
        except (ValueError, RecursionError):
            pass
    document = load_json(path)
    if isinstance(document, dict):
        if {"annotations", "images"} <= document.keys():
            return "coco", document
        if "item" in document or _PRODIGY & document.keys():
            return _lines(path, head), None
        raise _unknown(path, f"a JSON object with the keys {', '.join(map(repr, list(document)[:8]))}")
    entry = document[0] if document and isinstance(document[0], dict) else None
    if entry is not None:
        for name, keys in (
            ("label_studio", {"data"}),
            ("coco", {"image_id", "category_id"}),
            ("argilla", {"fields", "id"}),
        ):
            if keys <= entry.keys():
                return name, document
        raise _unknown(path, f"a JSON list of objects with the keys {', '.join(map(repr, list(entry)[:8]))}")
    raise _unknown(path, f"a JSON list of {type(document[0]).__name__ if document else 'nothing'}")


def _lines(path: Path, head: bytes) -> str:
    if b"\n" not in head and path.stat().st_size > len(head):
        with path.open("rb") as f:
            head = f.readline()
    with parsing(path, "strict JSON lines (line 1)"):
        record = loads(next(line for line in head.split(b"\n") if line.strip(b"\xef\xbb\xbf \t\r")))
    ours = {"item", "label", "type", "check"} <= record.keys()
    return "prodigy" if not ours and _PRODIGY & record.keys() else "jsonl"


def _unknown(path: Path, seen: str, fix: str = _FIX) -> DataError:
    return DataError(found=f"{path.name}, which holds {seen}", expected=_EXPECTED, fix=fix)
