"""YOLO folders: boxes and polygons as fractions of the image.

    data.yaml               names of the classes
    labels/NAME.txt         a line per part: class x y width height (of the centre), or class x y x y x y ...
    images/                 where the pictures would be; never written, and only their sizes are read
    labelwright.jsonl       where each label comes from; other programs pass it over

Source: https://docs.ultralytics.com/datasets/detect/ and /datasets/segment/
"""

from __future__ import annotations

import itertools
import json
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from labelwright.errors import DataError, LabelError
from labelwright.labels.space import LabelSpace
from labelwright.store._kinds import IMAGE_SUFFIXES, existing, parsing
from labelwright.store.exchange._files import dumps, load_jsonl, new_folder, number, safe_name
from labelwright.store.exchange._items import Content
from labelwright.store.exchange._parts import Box, Part, Polygon, checked
from labelwright.store.exchange._said import Said, fitting, names, origin, score, settled, space_of
from labelwright.store.exchange.label_file import LabelFile

_ORIGINS = "labelwright.jsonl"
_FLOW = r'"(?:\\.|[^"\\])*"|\'[^\']*\'|\]|[^,\]]+'  # entries of a YAML list in brackets


def read_yolo(path: str | os.PathLike[str], *, content: Any = None, source: str | None = None) -> LabelFile:
    """Boxes and polygons of a YOLO folder, in pixels.

    An item is the image of a label file: of the same name in `images/`, else in `content`, else the label file's name
    without its suffix. A sixth number in a line is the score of a suggestion.

    Args:
        content: a table with item, width and height, where the pictures are not in `images/`.   source: as `read_coco`.

    Raises:
        DataError: not such a folder, a class that data.yaml does not name, an image of unknown size, a broken line.
    """
    folder = existing(path)
    if not (folder / "labels").is_dir():
        raise DataError(
            found=f"{folder} without a folder labels",
            expected="data.yaml and labels/*.txt",
            fix="pass the folder above",
        )
    classes = read_names(folder)
    known, said = Content.of(content), list[Said]()
    origins, items = _sidecar(folder), _items(folder, known)
    for file in sorted((folder / "labels").rglob("*.txt")):
        stem = file.relative_to(folder / "labels").with_suffix("").as_posix()
        if file.is_symlink() or stem == "classes":
            continue
        item = items.get(stem, stem)
        known.add_items([item])
        with parsing(file, "text"):
            lines = file.read_text(encoding="utf-8").splitlines()
        for i, line in enumerate(lines, 1):
            if line.strip():
                where = f"line {i} of {file.name}"
                said.append(settled(_line(line, where, item, classes, known), origins.get(item, []), where))
    space = space_of(said, classes.values())
    return LabelFile.of("yolo", said, space, known, source or f"import {folder.name}")


def _line(line: str, where: str, item: str, classes: dict[int, str], content: Content) -> Said:
    with parsing(Path(where), "a class and numbers"):
        cells = line.split()
        which, values = int(cells[0]), [number(float(cell), where) for cell in cells[1:]]
    if which not in classes:
        raise DataError(
            found=f"class {which} in {where}",
            expected=f"one of the {len(classes)} classes that data.yaml names",
            fix="add its name to data.yaml, or remove the line",
        )
    width, height = content.needed_size(item, "YOLO's numbers are fractions of it")
    probability = values.pop() if len(values) == 5 else None
    part: Part
    if len(values) == 4:
        x, y, w, h = values
        part = Box((x - w / 2) * width, (y - h / 2) * height, w * width, h * height)
    else:
        part = Polygon((tuple(v * (height if i % 2 else width) for i, v in enumerate(values)),))
    part = checked(part, where, (width, height))
    return Said(item, classes[which], part, "import" if probability is None else "suggestion", probability=probability)


def read_names(folder: Path) -> dict[int, str]:
    """Class names by number, from `names:` in data.yaml (a list or numbered entries), or the lines of classes.txt.

    Raises:
        DataError: neither is there, or data.yaml names them in another way.
    """
    config = next(
        (p for p in (folder / "data.yaml", folder / "dataset.yaml", folder / "data.yml") if p.is_file()), None
    )
    listed = next((p for p in (folder / "classes.txt", folder / "labels" / "classes.txt") if p.is_file()), None)
    if config is None and listed is not None:
        with parsing(listed, "a class name per line"):
            return dict(enumerate(listed.read_text(encoding="utf-8").split("\n")[: len(_lines(listed))]))
    if config is not None:
        with parsing(config, "YAML with names:"):
            names_ = _names(config.read_text(encoding="utf-8"))
        if names_:
            return names_
    raise DataError(
        found=f"{config or folder}, which names no classes in a way that is read here",
        expected="names: [cat, dog], or a line `0: cat` per class under names:",
        fix="write the class names so, or one per line into classes.txt",
    )


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").rstrip("\n").split("\n")


def _names(text: str) -> dict[int, str]:
    found = re.search(r"^names:[ \t]*(.*)$", text, re.MULTILINE)
    if not found:
        return {}
    inline = re.sub(r"[ \t]#.*", "", found[1]).strip()
    if inline.startswith("["):
        cells = re.finditer(_FLOW, text[found.start(1) + 1 :])
        listed = itertools.takewhile(lambda cell: cell != "]", (cell[0].strip() for cell in cells))
        return dict(enumerate(_scalar(cell) for cell in listed if cell))
    out: dict[int, str] = {}
    for line in text[found.end() :].split("\n")[1:]:
        entry = re.fullmatch(r"[ \t]*(?:-|(\d{1,9}):)[ \t]+(.+?)[ \t\r]*", line)
        if entry:
            out[int(entry[1]) if entry[1] else len(out)] = _scalar(entry[2])
        elif line.strip() and not line.lstrip().startswith("#"):
            break
    return out


def _scalar(cell: str) -> str:
    cell = cell.strip()
    if cell.startswith('"'):
        return str(json.loads(cell[: cell.rindex('"') + 1]))
    if cell.startswith("'"):
        return cell[1 : cell.rindex("'")].replace("''", "'")
    return re.sub(r"[ \t]#.*", "", cell).strip()


def _sidecar(folder: Path) -> dict[str, list[Any]]:
    out: dict[str, list[Any]] = {}
    if (folder / _ORIGINS).is_file():
        for number_, entry in load_jsonl(folder / _ORIGINS):
            item = entry.get("item")
            if not isinstance(item, str):
                raise DataError(
                    found=f"line {number_} of {_ORIGINS} without an item", expected="what was exported", fix="remove it"
                )
            out.setdefault(item.rpartition("#")[0], []).append(entry)
    return out


def _items(folder: Path, content: Content) -> dict[str, str]:
    """Images by their name without suffix; sizes are read from the pictures that are there."""
    out: dict[str, str] = {}
    for item in content:
        out.setdefault(str(PurePosixPath(item).with_suffix("")) if item.strip("/.") else item, item)
    images = folder / "images"
    for file in sorted(images.rglob("*")) if images.is_dir() else ():
        if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file() and not file.is_symlink():
            from PIL import Image

            item = file.relative_to(images).as_posix()
            with parsing(file, "a picture"), Image.open(file) as image:
                content.told(item, width=image.width, height=image.height)
            out[str(PurePosixPath(item).with_suffix(""))] = item
    return out


def write_yolo(
    path: str | os.PathLike[str],
    labels: Any,
    *,
    items: Any = None,
    space: LabelSpace | None = None,
    content: Any = None,
    lossy: bool = False,
) -> Path:
    """Boxes and polygons of one ring to a new YOLO folder; what `export_labels(..., format="yolo")` calls.

    Args:
        labels, items, space, lossy: as in `export_labels`.   content: with the width and height of every image.

    Items become file names, so they must be relative paths. Pictures are not copied: put them into images/.
    """
    from labelwright.store.exchange._labels import labels_in

    said, known, space = labels_in(labels, items=items, space=space, content=content)
    kept = fitting([s for s in said if s.value is not None], _why_not, "yolo", lossy)
    ids = {str(name): i for i, name in enumerate(space.classes if space else ())}
    text: dict[str, list[str]] = {}
    files: dict[str, str] = {}
    for s in said:
        file = f"labels/{PurePosixPath(safe_name(s.item, 'the labels')).with_suffix('').as_posix()}.txt"
        if (
            len(file.encode()) > 1000
            or re.search(r'[\x00-\x1f<>:"|?*\\]', file)
            or files.setdefault(file, s.item) != s.item
        ):
            raise LabelError(
                found=f"item {s.item!r:.100}, whose label file {file!r:.100} is no file name or another item's",
                expected="items that are names of images, different also without their suffix",
                fix="rename the items, or export to coco",
            )
        text.setdefault(file, [])
    by_item = {item: file for file, item in files.items()}
    for s in kept:
        text[by_item[s.item]].append(_written(s, known, ids))
    yaml = ["path: .", "train: images", "val: images", "names:"]
    yaml += [f"  {i}: {json.dumps(name, ensure_ascii=False)}" for name, i in ids.items()]
    folder = {file: "".join(lines).encode() for file, lines in text.items()}
    folder["data.yaml"] = ("\n".join(yaml) + "\n").encode()
    folder[_ORIGINS] = b"".join(dumps(origin(s)) + b"\n" for s in kept)
    return new_folder(path, folder)


def _why_not(s: Said) -> str:
    if not isinstance(s.part, Box | Polygon):
        return "no box or polygon"
    if isinstance(s.part, Polygon) and len(s.part.rings) > 1:
        return "a polygon of several rings"
    return "" if len(names(s.value)) == 1 else "several classes or none"


def _written(s: Said, content: Content, ids: dict[str, int]) -> str:
    width, height = content.needed_size(s.item, "YOLO writes fractions of it")
    probability = score(s)
    if isinstance(s.part, Box):
        x, y, w, h = s.part
        values = [(x + w / 2) / width, (y + h / 2) / height, w / width, h / height]
        values += [] if probability is None else [probability]
    else:
        assert isinstance(s.part, Polygon)
        values = [v / (height if i % 2 else width) for i, v in enumerate(s.part.rings[0])]
    return " ".join([str(ids[names(s.value)[0]]), *map(repr, values)]) + "\n"
