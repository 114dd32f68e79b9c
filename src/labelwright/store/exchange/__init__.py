"""Labels from other tools and to them: COCO, YOLO, Label Studio, Argilla, Prodigy, Hugging Face, Parquet, CSV, JSON lines.

labels = import_labels("instances.json")            # the format is told from the content
repo.append(labels.events(), message="...", source="...")
export_labels(repo, "labels.parquet")
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labelwright.errors import OptionError, check_option
from labelwright.labels.space import LabelSpace
from labelwright.store.exchange._labels import labels_in
from labelwright.store.exchange._recognise import recognise
from labelwright.store.exchange.argilla import parse_argilla, read_argilla, write_argilla
from labelwright.store.exchange.coco import parse_coco, read_coco, write_coco
from labelwright.store.exchange.hf import read_hf, write_hf
from labelwright.store.exchange.label_file import LabelFile
from labelwright.store.exchange.label_studio import (
    label_studio_config,
    parse_label_studio,
    read_label_studio,
    write_label_studio,
)
from labelwright.store.exchange.prodigy import read_prodigy, write_prodigy
from labelwright.store.exchange.tables import read_table, write_table
from labelwright.store.exchange.yolo import read_yolo, write_yolo

__all__ = [
    "FORMATS",
    "LabelFile",
    "export_labels",
    "import_labels",
    "label_studio_config",
    "read_argilla",
    "read_coco",
    "read_hf",
    "read_label_studio",
    "read_prodigy",
    "read_table",
    "read_yolo",
    "write_argilla",
    "write_coco",
    "write_hf",
    "write_label_studio",
    "write_prodigy",
    "write_table",
    "write_yolo",
]

FORMATS = ("coco", "yolo", "label_studio", "argilla", "prodigy", "hf", "parquet", "csv", "jsonl")
_TABLES = ("parquet", "csv", "jsonl", "tsv", "arrow")
_READERS: dict[str, Callable[..., LabelFile]] = {
    "coco": read_coco, "yolo": read_yolo, "label_studio": read_label_studio, "argilla": read_argilla,
    "prodigy": read_prodigy, "hf": read_hf, **dict.fromkeys(_TABLES, read_table),
}  # fmt: skip
_PARSERS: dict[str, Callable[..., LabelFile]] = {
    "coco": parse_coco,
    "label_studio": parse_label_studio,
    "argilla": lambda document, path, **options: parse_argilla(document, path, {}, **options),
}
_WRITERS: dict[str, Callable[..., Path]] = {
    "coco": write_coco, "yolo": write_yolo, "label_studio": write_label_studio, "argilla": write_argilla,
    "prodigy": write_prodigy, "hf": write_hf, **dict.fromkeys(("parquet", "csv", "jsonl"), write_table),
}  # fmt: skip
_SUFFIXES = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def import_labels(path: str | os.PathLike[str], *, format: str | None = None, **options: Any) -> LabelFile:
    """Labels from a file or folder of another tool, or from one that `export_labels` wrote.

    Args:
        path: nothing but what is there is opened; names and addresses of images in it are only text.
        format: one of `FORMATS`; told from the content when None.
        options: of the format's reader: `source` for all, `item`, `label`, `question`, `split`, `content` for some.

    Returns:
        its `events()` are for `Repository.append`, `space` has the classes; `hard()`, `multi()`, `soft()`, `votes()`,
        `spans()`, `boxes()` and `masks()` are the typed containers, with items in the order of `items`.

    Raises:
        DataError: no format that we know (what was found is told), or a file that is broken.
        OptionError: an option that this format does not take.
    """
    document = None
    if format is None:
        format, document = recognise(path)
    else:
        check_option("format", format, FORMATS)
    reader = _READERS[format]
    _check_options(format, options, reader)
    if document is not None:
        return _PARSERS[format](document, Path(path), **options)
    return reader(path, **options, **({"format": format} if reader is read_table else {}))


def export_labels(
    labels: Any,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    items: Any = None,
    space: LabelSpace | None = None,
    content: Any = None,
    version: int | str | None = None,
    lossy: bool = False,
) -> Path:
    """Labels to a new file or folder; nothing is overwritten.

    Args:
        labels: a Repository; a table as `repository.labels()` or `repository.events()` returns; a `LabelFile`; or
            HardLabels, MultiLabels, SoftLabels, Votes, Spans, Boxes or Masks.
        path: where nothing is yet.
        format: one of `FORMATS`; by the suffix for .parquet, .csv and .jsonl when None.
        items: (N,) keys of the items of a typed container.
        space: the classes and their order; else the repository's, then those that occur.
        content: a table with `item` and any of `text`, `image`, `width`, `height`, or a mapping of items to texts.
        version: of a repository; the newest when None.
        lossy: leave out, with a warning, labels that the format has no place for.

    Raises:
        LabelError: there are such labels, and `lossy` is False.   DataError: something is at `path`, or a size is missing.
        OptionError: an unknown format, or none and a suffix that several formats share.
    """
    if format is None:
        format = _SUFFIXES.get(Path(path).suffix.lower())
        if format is None:
            raise OptionError(
                found=f"no format for {Path(path).name!r}",
                expected="one of " + ", ".join(FORMATS),
                fix="pass format='coco' (--format coco), or call the file .parquet, .csv or .jsonl",
            )
    check_option("format", format, FORMATS)
    said, known, space = labels_in(labels, items=items, space=space, content=content, version=version)
    more: dict[str, Any] = {"format": format} if format in _TABLES else {} if format == "hf" else {"lossy": lossy}
    file = LabelFile(format, said, space, known, "")
    return _WRITERS[format](path, file, **more)


def _check_options(format: str, options: dict[str, Any], reader: Callable[..., LabelFile]) -> None:
    takes = [p.name for p in inspect.signature(reader).parameters.values() if p.kind is p.KEYWORD_ONLY]
    takes = [name for name in takes if name != "format"]
    for name in options:
        if name not in takes:
            raise OptionError(
                found=f"{name}= for the format {format}", expected="any of " + ", ".join(takes), fix=f"leave {name} out"
            )
