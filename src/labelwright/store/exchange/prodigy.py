"""Prodigy's JSON lines: one annotated task per line.

    {"text": ..., "spans": [{"start", "end", "label"}], "options": [{"id"}], "accept": ["cat"], "answer": "accept"}
    {"image": ..., "width": ..., "height": ..., "spans": [{"label", "type": "rect" or "polygon", "points": [[x, y], ...]}]}

Source: https://prodi.gy/docs/api-interfaces. Written by its documentation: Prodigy is not free software.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from labelwright.errors import LabelwrightWarning
from labelwright.labels.space import LabelSpace
from labelwright.store._kinds import parsing
from labelwright.store._values import CANT_TELL
from labelwright.store.exchange._files import dumps, load_jsonl, need, new_file, number
from labelwright.store.exchange._items import Content, item_of
from labelwright.store.exchange._parts import Box, Part, Polygon, Span, checked
from labelwright.store.exchange._questions import Answers, one_question
from labelwright.store.exchange._said import Said, fitting, is_soft, names, origin, score, settled, space_of, when
from labelwright.store.exchange.label_file import LabelFile


def read_prodigy(path: str | os.PathLike[str], *, item: str | None = None, source: str | None = None) -> LabelFile:
    """Labels of a Prodigy export (`prodigy db-out`): classes, sets, spans, boxes and polygons.

    The annotator or session is the source. "ignore" is a review that could not tell. "reject" says only what the label is
    not: such lines are counted in a warning and left out. Lines without an answer are suggestions.

    Args:
        item: field that holds the item's key; by default item, id, the image, or a hash of the text.
        source: who labelled, where the file does not tell.
    """
    content, answers, said = Content(), Answers(), list[Said]()
    options: dict[str, None] = {}
    rejected = 0
    for line, task in load_jsonl(path):
        where = f"line {line} of {Path(path).name}"
        key = item_of(task, item, where)
        shown = task["image"] if isinstance(task.get("image"), str) and not task["image"].startswith("data:") else None
        size = {n: int(number(task[n], where)) for n in ("width", "height") if task.get(n) is not None}
        content.told(key, text=task.get("text"), image=shown, **size)
        if task.get("answer") == "reject":
            rejected += 1
            continue
        for option in need({"options": task.get("options") or []}, "options", list, where):
            options.setdefault(str(option.get("id")) if isinstance(option, dict) else str(option))
        said += _said(task, key, where, content, answers)
    if rejected:
        warnings.warn(
            f"{rejected:,} rejected lines say only what a label is not: left out", LabelwrightWarning, stacklevel=2
        )
    said = answers.resolved(said, one_question(answers.questions, None, Path(path).name))
    space = space_of(said, options)
    return LabelFile.of("prodigy", said, space, content, source or f"import {Path(path).name}")


def _said(task: dict[str, Any], key: str, where: str, content: Content, answers: Answers) -> list[Said]:
    who = next((task[n] for n in ("_annotator_id", "_session_id") if isinstance(task.get(n), str) and task[n]), None)
    answered = "answer" in task
    probability = None if answered or task.get("score") is None else number(task["score"], where)
    base = Said(key, None, None, "import" if answered else "suggestion", who, probability, when(task.get("_timestamp")))
    origins = task.get("labelwright")
    origins = list(origins) if isinstance(origins, list) else []
    if task.get("answer") == "ignore":
        return [settled(base._replace(value=CANT_TELL, kind="review"), origins, where)]
    out = []
    accept = task.get("accept", [task["label"]] if isinstance(task.get("label"), str) else None)
    if accept is not None:
        classes = [str(c) for c in need({"accept": accept}, "accept", list, where)]
        native = base._replace(value=classes)
        out.append(answers.add(settled(native, origins, where), native, "accept"))
    for span in need({"spans": task.get("spans") or []}, "spans", list, where):
        if need({"span": span}, "span", dict, where).get("label") is None:
            continue
        part = checked(_part(span, where), where, content.size(key))
        native = base._replace(value=str(span["label"]), part=part)
        if not answered and span.get("score") is not None:
            native = native._replace(probability=number(span["score"], where))
        out.append(settled(native, origins, where))
    return out


def _part(span: dict[str, Any], where: str) -> Part:
    if "start" in span:
        return Span(need(span, "start", int, where), need(span, "end", int, where))
    with parsing(Path(where), "points [x, y]"):
        ring = [number(v, where) for x, y in span.get("points") or () for v in (x, y)]
    if span.get("type", "rect") == "rect":
        if all(span.get(n) is not None for n in ("x", "y", "width", "height")):
            return Box(*(number(span[n], where) for n in ("x", "y", "width", "height")))
        xs, ys = ring[::2] or [0.0], ring[1::2] or [0.0]
        return Box(min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
    return Polygon((tuple(ring),))


def write_prodigy(
    path: str | os.PathLike[str],
    labels: Any,
    *,
    items: Any = None,
    space: LabelSpace | None = None,
    content: Any = None,
    lossy: bool = False,
) -> Path:
    """Labels to a new JSON lines file for `prodigy db-in`; what `export_labels(..., format="prodigy")` calls.

    Args:
        labels, items, space, lossy: as in `export_labels`.   content: text or image of the items, and sizes.

    One line per item and source; an item without a label is a line without an answer. Suggestions and distributions are
    lines without an answer, with a score.
    """
    from labelwright.store.exchange._labels import labels_in

    said, known, space = labels_in(labels, items=items, space=space, content=content)
    kept = fitting([s for s in said if s.value is not None], _why_not, "prodigy", lossy)
    groups: dict[Any, list[Said]] = {}
    for i, s in enumerate(said):
        if s.value is None:
            groups.setdefault((s.item, i), [])
    for i, s in enumerate(kept):
        soft = s.kind == "suggestion" or is_soft(s.value)
        groups.setdefault((s.item, s.source, soft, i if s.part is None else None), []).append(s)
    choices = [str(c) for c in space.classes] if space else []
    return new_file(path, b"".join(dumps(_task(k[0], g, known, choices)) + b"\n" for k, g in groups.items()))


def _why_not(s: Said) -> str:
    if s.value == CANT_TELL and s.part is None:
        return ""
    if s.part is None:
        return "" if names(s.value) or s.value == [] else 'the answer "none of these"'
    if not isinstance(s.part, Span | Box | Polygon) or (isinstance(s.part, Polygon) and len(s.part.rings) > 1):
        return "a mask or a polygon of several rings"
    return "" if len(names(s.value)) == 1 else "several classes or none for a part"


def _task(item: str, group: list[Said], content: Content, choices: list[str]) -> dict[str, Any]:
    out: dict[str, Any] = {"item": item, **content.get(item, {})}
    if not group:
        return out
    first = group[0]
    if first.part is None and first.value != CANT_TELL:
        out |= {"options": [{"id": c, "text": c} for c in choices], "accept": names(first.value)}
    spans = [_span(s) for s in group if s.part is not None]
    out |= {"spans": spans} if spans else {}
    if first.value == CANT_TELL:
        out["answer"] = "ignore"
    elif first.kind != "suggestion" and not is_soft(first.value):
        out["answer"] = "accept"
    elif first.part is None and score(first) is not None:
        out["score"] = score(first)
    who = {"_annotator_id": first.source, "_session_id": first.source} if first.source else {}
    time = {} if first.time is None else {"_timestamp": int(first.time.timestamp())}
    return out | who | time | {"labelwright": [origin(s) for s in group]}


def _span(s: Said) -> dict[str, Any]:
    scored = {} if score(s) is None else {"score": score(s)}
    label = {"label": names(s.value)[0], **scored}
    if isinstance(s.part, Span):
        return {"start": s.part.start, "end": s.part.stop, **label}
    if isinstance(s.part, Box):
        x, y, w, h = s.part
        points = [[x, y], [x, y + h], [x + w, y + h], [x + w, y]]
        return {"type": "rect", "x": x, "y": y, "width": w, "height": h, "points": points, **label}
    assert isinstance(s.part, Polygon)
    ring = s.part.rings[0]
    return {"type": "polygon", "points": [list(p) for p in zip(ring[::2], ring[1::2])], **label}
