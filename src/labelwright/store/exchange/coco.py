"""COCO instances: boxes, polygons and masks in images.

    {"images": [{"id", "file_name", "width", "height"}], "categories": [{"id", "name"}],
     "annotations": [{"id", "image_id", "category_id", "bbox": [x, y, width, height], "segmentation": ..., "iscrowd"}]}

Also the list of detections that COCO's evaluation takes. Source: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.errors import DataError
from labelwright.labels.space import LabelSpace
from labelwright.store._kinds import parsing
from labelwright.store.exchange._files import dumps, load_json, need, new_file, number, safe_name
from labelwright.store.exchange._items import Content
from labelwright.store.exchange._parts import Box, Mask, Part, Polygon, Span, bounds, checked
from labelwright.store.exchange._runs import from_coco, pixels, to_coco, unpack_coco
from labelwright.store.exchange._said import Said, fitting, names, origin, score, settled, space_of
from labelwright.store.exchange.label_file import LabelFile


def read_coco(path: str | os.PathLike[str], *, source: str | None = None) -> LabelFile:
    """Boxes, polygons and masks of a COCO file; `boxes()` and `masks()` of the result are the typed containers.

    Where an annotation has a segmentation, that is the part and its box is left out. Items are the images' file names,
    classes the categories' names in the order of their ids. Annotations with a score are suggestions. Of a list of
    detections, which names neither, items and classes are the ids.

    Args:
        source: who labelled, where the file does not tell; "import FILE" by default.

    Raises:
        DataError: not such a file; a category or image that is not listed, or listed twice; a part that cannot be or lies
            outside of its image.
    """
    return parse_coco(load_json(path), Path(path), source=source)


def parse_coco(document: Any, path: Path, *, source: str | None = None) -> LabelFile:
    """`read_coco` of what was read already."""
    content = Content()
    if isinstance(document, list):
        images, categories, annotations = None, None, document
    else:
        categories = _categories(document, path)
        images = _images(document, path, content)
        annotations = need(document, "annotations", list, path.name)
    said = [_said(a, f"annotation {i} of {path.name}", images, categories, content) for i, a in enumerate(annotations)]
    space = space_of(said, categories.values() if categories else ())
    return LabelFile.of("coco", said, space, content, source or f"import {path.name}")


def _categories(document: Any, path: Path) -> dict[int, str]:
    out: dict[int, str] = {}
    for i, c in enumerate(need(document, "categories", list, path.name)):
        where = f"category {i} of {path.name}"
        key, name = need(c, "id", int, where), need(c, "name", str, where)
        if key in out or name in out.values() or not name:
            raise DataError(
                found=f"{where} ({key}, {name!r:.60}), which stands there before or has no name",
                expected="each id and each name once",
                fix="merge the categories in the file",
            )
        out[key] = name
    return dict(sorted(out.items()))


def _images(document: Any, path: Path, content: Content) -> dict[Any, str]:
    out: dict[Any, str] = {}
    for i, image in enumerate(need(document, "images", list, path.name)):
        where = f"image {i} of {path.name}"
        key = need(image, "id", int | str, where)
        name = safe_name(image.get("file_name"), where)
        if key in out or name in content:
            raise DataError(
                found=f"{where} (id {key!r:.60}, {name!r:.100}), which is listed before",
                expected="each image once",
                fix="remove the second entry, and give its annotations the id of the first",
            )
        out[key] = name
        size = {n: number(image[n], where) for n in ("width", "height") if image.get(n) is not None}
        content.told(name, image=name, **{n: int(v) if v.is_integer() else v for n, v in size.items()})
    return out


def _said(
    a: Any, where: str, images: dict[Any, str] | None, categories: dict[int, str] | None, content: Content
) -> Said:
    image, category = need(a, "image_id", int | str, where), need(a, "category_id", int, where)
    item = str(image) if images is None else images.get(image)
    value = category if categories is None else categories.get(category)
    if item is None or value is None:
        what = f"image_id {image!r:.60}" if item is None else f"category_id {category}"
        listed = list(images or () if item is None else categories or ())
        raise DataError(
            found=f"{what} in {where}, which is not listed",
            expected=f"one of the {len(listed)} listed ids: {', '.join(map(str, listed[:8]))}",
            fix="add it to the list of the file, or remove the annotation",
        )
    part = checked(_part(a, where), where, content.size(item))
    probability = number(a["score"], where) if a.get("score") is not None else None
    said = Said(item, value, part, "import" if probability is None else "suggestion", probability=probability)
    return settled(said, [a["labelwright"]] if "labelwright" in a else [], where)


def _part(a: dict[str, Any], where: str) -> Part:
    segmentation = a.get("segmentation")
    if isinstance(segmentation, dict):
        size = need(segmentation, "size", list, where)
        counts = need(segmentation, "counts", list | str, where)
        with parsing(Path(where), "a run-length coded mask"):
            height, width = (int(need({"size": v}, "size", int, where)) for v in size)
            lengths = unpack_coco(counts) if isinstance(counts, str) else [int(number(n, where)) for n in counts]
            return from_coco(lengths, height, width)
    if isinstance(segmentation, list) and segmentation:
        rings = (ring if isinstance(ring, list) else [None] for ring in segmentation)
        return Polygon(tuple(tuple(number(v, where) for v in ring) for ring in rings))
    box = need(a, "bbox", list, where)
    if len(box) != 4:
        raise DataError(
            found=f"a bbox of {len(box)} numbers in {where}",
            expected="[x, y, width, height]",
            fix="mend the annotation",
        )
    return Box(*(number(v, where) for v in box))


def write_coco(
    path: str | os.PathLike[str],
    labels: Any,
    *,
    items: Any = None,
    space: LabelSpace | None = None,
    content: Any = None,
    lossy: bool = False,
) -> Path:
    """Boxes, polygons and masks to a new COCO file; what `export_labels(..., format="coco")` calls.

    Args:
        labels, items, space, content, lossy: as in `export_labels`. Widths and heights of images are taken from
            `content` where it has them.

    A distribution is written as its likeliest class with its probability as `score`; whole under `labelwright`.
    """
    from labelwright.store.exchange._labels import labels_in

    said, known, space = labels_in(labels, items=items, space=space, content=content)
    return _write(path, said, known, space, lossy)


def _write(path: Any, said: list[Said], content: Content, space: LabelSpace | None, lossy: bool) -> Path:
    kept = fitting([s for s in said if s.value is not None], _why_not, "coco", lossy)
    ids = {str(name): i for i, name in enumerate(space.classes if space else (), 1)}
    order: dict[str, int] = {}
    for s in said:
        order.setdefault(s.item, len(order) + 1)
    images = []
    for item, i in order.items():
        size = content.size(item)
        known = {} if size is None else {"width": _plain(size[0]), "height": _plain(size[1])}
        images.append({"id": i, "file_name": safe_name(item, "the labels"), **known})
    annotations = [_annotation(s, i, order[s.item], ids) for i, s in enumerate(kept, 1)]
    categories = [{"id": i, "name": name, "supercategory": ""} for name, i in ids.items()]
    document = {"info": {"description": "labels"}, "licenses": [], "images": images}
    return new_file(path, dumps(document | {"categories": categories, "annotations": annotations}))


def _why_not(s: Said) -> str:
    if s.part is None or isinstance(s.part, Span):
        return "no place in the image"
    return "" if len(names(s.value)) == 1 else "several classes or none"


def _annotation(s: Said, i: int, image: int, ids: dict[str, int]) -> dict[str, Any]:
    assert isinstance(s.part, Box | Polygon | Mask)
    out: dict[str, Any] = {"id": i, "image_id": image, "category_id": ids[names(s.value)[0]], "iscrowd": 0}
    if isinstance(s.part, Mask):
        inside = pixels(s.part)
        rows, columns = np.nonzero(inside)
        corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else [0, 0, 0, 0]
        left, top, right, bottom = map(float, corners)
        out |= {"segmentation": {"size": [s.part.height, s.part.width], "counts": to_coco(s.part)}}
        out["area"] = int(inside.sum())
    else:
        left, top, right, bottom = bounds(s.part)
        rings = [list(map(_plain, ring)) for ring in s.part.rings] if isinstance(s.part, Polygon) else []
        out |= {"segmentation": rings, "area": _area(s.part)}
    box = s.part if isinstance(s.part, Box) else (left, top, right - left, bottom - top)
    probability = score(s)
    out |= {"bbox": list(map(_plain, box))} | ({} if probability is None else {"score": probability})
    return out | {"labelwright": origin(s)}


def _area(part: Box | Polygon) -> float:
    if isinstance(part, Box):
        return _plain(part.width * part.height)
    total = 0.0
    for ring in part.rings:  # the shoelace formula
        points = list(zip(ring[::2], ring[1::2]))
        total += abs(sum(x * b - a * y for (x, y), (a, b) in zip(points, points[1:] + points[:1]))) / 2
    return total


def _plain(value: float) -> float:
    return int(value) if float(value).is_integer() else float(value)
