"""Label Studio's JSON: tasks with annotations by people and predictions by models.

    [{"id", "data": {"text" or "image", ...}, "annotations": [{"completed_by", "result": [region, ...]}],
      "predictions": [{"model_version", "score", "result": [region, ...]}]}]

Regions of the types choices, labels (text), rectanglelabels, polygonlabels and brushlabels go over; places are percent of
the image. Source: https://labelstud.io/guide/task_format
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from labelwright.errors import DataError
from labelwright.labels.space import LabelSpace
from labelwright.store._kinds import parsing
from labelwright.store._values import CANT_TELL
from labelwright.store.exchange._files import dumps, load_json, need, new_file, number
from labelwright.store.exchange._items import Content, item_of
from labelwright.store.exchange._parts import Box, Mask, Part, Polygon, Span, checked
from labelwright.store.exchange._questions import Answers, one_question
from labelwright.store.exchange._runs import from_label_studio, to_label_studio
from labelwright.store.exchange._said import Said, fitting, is_soft, names, origin, score, settled, space_of, when
from labelwright.store.exchange.label_file import LabelFile

_TYPES = {"choices", "labels", "rectanglelabels", "polygonlabels", "brushlabels"}


def read_label_studio(
    path: str | os.PathLike[str], *, item: str | None = None, question: str | None = None, source: str | None = None
) -> LabelFile:
    """Labels of a Label Studio export ("JSON"): of whole tasks, spans, boxes, polygons and masks.

    The annotator's e-mail or id is the source. Predictions are suggestions. Where several people annotated a task, their
    labels are votes. A skipped task is a review that could not tell. A box that is turned is refused.

    Args:
        item: field of the task's data that holds the item's key; by default item, id, the image, a hash of the text, or
            else the task's number.
        question: the control ("from_name") of the labels of whole tasks, where there are several.
        source: who labelled, where the file does not tell.

    Raises:
        DataError: not such a file, broken places, or several controls and no `question`.
    """
    return parse_label_studio(load_json(path), Path(path), item=item, question=question, source=source)


def parse_label_studio(
    document: Any, path: Path, *, item: str | None = None, question: str | None = None, source: str | None = None
) -> LabelFile:
    """`read_label_studio` of what was read already."""
    content, answers = Content(), Answers()
    said: list[Said] = []
    for i, task in enumerate(need({"tasks": document}, "tasks", list, path.name)):
        where = f"task {i} of {path.name}"
        data = need(task, "data", dict, where)
        key = _key(task, data, item, where)
        content.told(key, **{n: data[n] for n in ("text", "image") if isinstance(data.get(n), str)})
        for entry, kind in _entries(task, where):
            said += _said_entry(entry, kind, key, where, content, answers)
    said = answers.resolved(said, one_question(answers.questions, question, path.name))
    return LabelFile.of("label_studio", said, space_of(said), content, source or f"import {path.name}")


def _key(task: dict[str, Any], data: dict[str, Any], field: str | None, where: str) -> str:
    known = any(isinstance(data.get(n), str | int) for n in ("item", "id", "item_id", "uid", "uuid", "key"))
    content = any(isinstance(data.get(n), str) for n in ("image", "text", "path"))
    if field is None and not known and not content and isinstance(task.get("id"), int):
        return str(task["id"])
    return item_of(data, field, where)


def _entries(task: dict[str, Any], where: str) -> Iterator[tuple[dict[str, Any], str]]:
    for name, kind in (("annotations", "import"), ("predictions", "suggestion")):
        for entry in need({name: task.get(name) or []}, name, list, where):
            if isinstance(entry, dict):  # exports may give predictions as bare numbers
                yield entry, kind


def _said_entry(
    entry: dict[str, Any], kind: str, key: str, where: str, content: Content, answers: Answers
) -> list[Said]:
    who = entry.get("completed_by") if kind == "import" else entry.get("model_version")
    who = who.get("email") or who.get("id") if isinstance(who, dict) else who
    probability = None if entry.get("score") is None else number(entry["score"], where)
    base = Said(
        key, None, None, kind, str(who)[:4096] if isinstance(who, str | int) and who != "" else None,
        probability if kind == "suggestion" else None, when(entry.get("updated_at") or entry.get("created_at")),
    )  # fmt: skip
    if entry.get("was_cancelled"):
        skipped = base._replace(value=CANT_TELL, kind="review")
        return [settled(skipped, [entry["labelwright"]] if "labelwright" in entry else [], where)]
    out = []
    for region in need({"result": entry.get("result") or []}, "result", list, where):
        kind_of_region = need(region, "type", str, where)
        if kind_of_region not in _TYPES:
            continue
        value = need(region, "value", dict, where)
        part = None if kind_of_region == "choices" else _part(kind_of_region, value, region, where, content, key)
        classes = value.get(kind_of_region)
        if classes is None and part is not None:
            continue  # drawn, but not labelled
        classes = [str(c) for c in need({"classes": classes}, "classes", list, where)]
        given = region.get("score") if kind == "suggestion" else None
        native = base._replace(part=part, probability=number(given, where) if given is not None else base.probability)
        native = native._replace(value=classes if part is None or len(classes) != 1 else classes[0])
        meta = region.get("meta")
        origins = [meta["labelwright"]] if isinstance(meta, dict) and "labelwright" in meta else []
        out.append(answers.add(settled(native, origins, where), native, str(region.get("from_name", ""))))
    return out


def _part(kind: str, value: dict[str, Any], region: dict[str, Any], where: str, content: Content, key: str) -> Part:
    if kind == "labels":
        return checked(Span(need(value, "start", int, where), need(value, "end", int, where)), where)
    width, height = (number(region.get(f"original_{name}"), where) for name in ("width", "height"))
    content.told(key, width=int(width), height=int(height))
    part: Part
    if kind == "rectanglelabels":
        if value.get("rotation"):
            raise DataError(
                found=f"a box turned by {value['rotation']!r:.20} degrees in {where}",
                expected="boxes along the edges of the image",
                fix="draw it as a polygon in Label Studio",
            )
        x, y, w, h = (number(value.get(name), where) / 100 for name in ("x", "y", "width", "height"))
        part = Box(x * width, y * height, w * width, h * height)
    elif kind == "polygonlabels":
        with parsing(Path(where), "points [x, y]"):
            ring = [number(v, where) / 100 * (width, height)[i] for x_y in value["points"] for i, v in enumerate(x_y)]
        part = Polygon((tuple(ring),))
    else:
        with parsing(Path(where), "a brush mask"):
            part = from_label_studio(value["rle"], int(height), int(width))
    return checked(part, where, (width, height))


def write_label_studio(
    path: str | os.PathLike[str],
    labels: Any,
    *,
    items: Any = None,
    space: LabelSpace | None = None,
    content: Any = None,
    lossy: bool = False,
) -> Path:
    """Labels to a new JSON file of Label Studio tasks; what `export_labels(..., format="label_studio")` calls.

    Args:
        labels, items, space, lossy: as in `export_labels`.
        content: text or image of the items, and the width and height of images with boxes or polygons.

    Suggestions and distributions become predictions with a score. The controls are called label, span, box, polygon and
    mask; `label_studio_config` writes the set-up that has them.
    """
    from labelwright.store.exchange._labels import labels_in

    said, known, _ = labels_in(labels, items=items, space=space, content=content)
    kept = fitting([s for s in said if s.value is not None], _why_not, "label_studio", lossy)
    tasks: dict[str, dict[str, Any]] = {}
    for s in said:
        told = {n: v for n, v in known.get(s.item, {}).items() if n in ("text", "image")}
        task = {"id": len(tasks) + 1, "data": {"item": s.item, **told}, "annotations": [], "predictions": []}
        tasks.setdefault(s.item, task)
    entries: dict[Any, dict[str, Any]] = {}
    for i, s in enumerate(kept):
        predicted = s.kind == "suggestion" or is_soft(s.value)
        key = (s.item, s.source, predicted, None if s.part is not None and not predicted else i)
        if key not in entries:
            entries[key] = _entry(s, predicted)
            tasks[s.item]["predictions" if predicted else "annotations"].append(entries[key])
        if s.value != CANT_TELL:
            entries[key]["result"].append(_region(s, i, known))
    return new_file(path, dumps(list(tasks.values())))


def _why_not(s: Said) -> str:
    if s.value == CANT_TELL and s.part is None:
        return ""
    if isinstance(s.part, Polygon) and len(s.part.rings) > 1:
        return "a polygon of several rings"
    if s.part is None:
        return "" if names(s.value) or s.value == [] else 'the answer "none of these"'
    return "" if len(names(s.value)) == 1 else "several classes or none for a part"


def _entry(s: Said, predicted: bool) -> dict[str, Any]:
    probability = score(s)
    time = {} if s.time is None else {"created_at": s.time.isoformat(), "updated_at": s.time.isoformat()}
    if predicted:
        scored = {} if probability is None else {"score": probability}
        return {"model_version": s.source or "labelwright", **scored, **time, "result": []}
    skipped = s.value == CANT_TELL
    return {"was_cancelled": skipped, **time, "result": []} | ({"labelwright": origin(s)} if skipped else {})


def _region(s: Said, i: int, content: Content) -> dict[str, Any]:
    classes, part = names(s.value), s.part
    control, kind, value = "label", "choices", dict[str, Any]()
    scored = {} if score(s) is None else {"score": score(s)}
    if isinstance(part, Span):
        text = content.get(s.item, {}).get("text")
        shown = {"text": text[part.start : part.stop]} if isinstance(text, str) else {}
        control, kind, value = "span", "labels", {"start": part.start, "end": part.stop, **shown}
    to_name, size = ("text" if part is None or isinstance(part, Span) else "image"), dict[str, Any]()
    if isinstance(part, Mask):
        size = {"original_width": part.width, "original_height": part.height, "image_rotation": 0}
        control, kind, value = "mask", "brushlabels", {"format": "rle", "rle": to_label_studio(part)}
    elif isinstance(part, Box | Polygon):
        width, height = content.needed_size(s.item, "Label Studio writes percent of it")
        size = {"original_width": int(width), "original_height": int(height), "image_rotation": 0}
        if isinstance(part, Box):
            x, y, w, h = (100 * v / (height if i % 2 else width) for i, v in enumerate(part))
            control, kind = "box", "rectanglelabels"
            value = {"x": x, "y": y, "width": w, "height": h, "rotation": 0}
        else:
            ring = part.rings[0]
            points = [[100 * x / width, 100 * y / height] for x, y in zip(ring[::2], ring[1::2])]
            control, kind, value = "polygon", "polygonlabels", {"points": points, "closed": True}
    if part is None and "text" not in content.get(s.item, {}) and "image" in content.get(s.item, {}):
        to_name = "image"
    region = {"id": f"r{i}", "from_name": control, "to_name": to_name, "type": kind, **size, **scored}
    return region | {"value": value | {kind: classes}, "meta": {"labelwright": origin(s)}}


def label_studio_config(space: LabelSpace, *, data: str = "text", multi: bool = False) -> str:
    """The labelling set-up (XML) for files that `write_label_studio` wrote.

    Args:
        data: "text" or "image".   multi: whether a task may have several classes.

    >>> print(label_studio_config(LabelSpace(["cat", "a & b"])).splitlines()[1])
      <Text name="text" value="$text"/>
    """
    from labelwright.errors import check_option

    check_option("data", data, ("text", "image"))
    tags = [("Choices", "label", "Choice", f' choice="{"multiple" if multi else "single"}"')]
    if data == "text":
        tags += [("Labels", "span", "Label", "")]
    else:
        tags += [("RectangleLabels", "box", "Label", ""), ("PolygonLabels", "polygon", "Label", "")]
        tags += [("BrushLabels", "mask", "Label", "")]
    lines = ["<View>", f'  <{data.title()} name="{data}" value="${data}"/>']
    for tag, name, entry, more in tags:
        lines.append(f'  <{tag} name="{name}" toName="{data}"{more}>')
        lines += [f"    <{entry} value={quoteattr(str(c))}/>" for c in space.classes]
        lines.append(f"  </{tag}>")
    return "\n".join([*lines, "</View>", ""])
