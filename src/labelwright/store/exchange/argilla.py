"""Argilla's dataset folder, as `argilla.Dataset.to_disk` writes it (SDK 2): classes, sets and spans of texts.

records.json               [{"id", "fields", "metadata", "suggestions": {question: {"value", "score", "agent"}},
                             "responses": {question: [{"value", "user_id"}]}}]
.argilla/settings.json     questions and fields
.argilla/dataset.json      name and state
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

from labelwright.labels.space import LabelSpace
from labelwright.store._kinds import existing, parsing
from labelwright.store._values import CANT_TELL
from labelwright.store.exchange._files import dumps, load_json, loads, need, new_folder, number
from labelwright.store.exchange._items import Content
from labelwright.store.exchange._parts import Span, checked
from labelwright.store.exchange._questions import Answers, one_question
from labelwright.store.exchange._said import Said, fitting, is_soft, names, origin, score, settled, space_of
from labelwright.store.exchange.label_file import LabelFile

_META = "labelwright"


def read_argilla(path: str | os.PathLike[str], *, question: str | None = None, source: str | None = None) -> LabelFile:
    """Labels of an Argilla dataset folder or its records.json. Items are the records' ids.

    Responses come from the user's id, suggestions from their agent; a suggestion of several classes with a score each is
    a set, whose scores are left out. Discarded responses are reviews that could not tell. Classes are those of the
    settings, in their order.

    Args:
        question: the label or multi-label question, where there are several.
        source: who labelled, where the file does not tell.
    """
    found = existing(path)
    settings = found / ".argilla" / "settings.json"
    document = load_json(found / "records.json" if found.is_dir() else found)
    options = _options(load_json(settings)) if found.is_dir() and settings.is_file() else {}
    return parse_argilla(document, found, options, question=question, source=source)


def parse_argilla(
    document: Any, path: Path, options: dict[str, list[str]], *, question: str | None = None, source: str | None = None
) -> LabelFile:
    """`read_argilla` of what was read already; `options`: the classes of each question."""
    content, answers, said, used = Content(), Answers(), list[Said](), dict[str, None]()
    for i, record in enumerate(need({"records": document}, "records", list, path.name)):
        where = f"record {i} of {path.name}"
        key = str(need(record, "id", str | int, where))
        fields = need(record, "fields", dict, where)
        content.told(key, **{n: fields[n] for n in ("text", "image") if isinstance(fields.get(n), str)})
        origins = _origins(record.get("metadata") or {}, where)
        said += _said(record, key, where, origins, answers, used)
    chosen = one_question(answers.questions, question, path.name)
    said = answers.resolved(said, chosen)
    first = [c for name in [*([chosen] if chosen else []), *used] for c in options.get(name, [])]
    return LabelFile.of("argilla", said, space_of(said, first), content, source or f"import {path.name}")


def _said(record: Any, key: str, where: str, origins: list[Any], answers: Answers, used: dict[str, None]) -> list[Said]:
    out = []
    for kind, name in (("import", "responses"), ("suggestion", "suggestions")):
        for question, entries in need({name: record.get(name) or {}}, name, dict, where).items():
            for entry in entries if isinstance(entries, list) else [entries]:
                who = need({name: entry}, name, dict, where).get("user_id" if kind == "import" else "agent")
                base = Said(key, None, None, kind, who if isinstance(who, str) and who else None)
                value = entry.get("value")
                if entry.get("status") == "discarded":
                    skipped = base._replace(value=CANT_TELL, kind="review")
                    out.append(settled(skipped, origins, where))
                elif isinstance(value, list) and any(isinstance(v, dict) for v in value):
                    used.setdefault(question)
                    out += _spans(value, entry, base, where, origins)
                elif isinstance(value, str | list):
                    scored = entry.get("score")
                    scored = scored[0] if isinstance(scored, list) and len(scored) == 1 else scored
                    p = number(scored, where) if kind == "suggestion" and isinstance(scored, int | float) else None
                    classes = [value] if isinstance(value, str) else [str(v) for v in value]
                    native = base._replace(value=classes, probability=p)
                    out.append(answers.add(settled(native, origins, where), native, question))
    return out


def _spans(value: list[Any], entry: dict[str, Any], base: Said, where: str, origins: list[Any]) -> list[Said]:
    scores = entry.get("score")
    scores = scores if isinstance(scores, list) and len(scores) == len(value) else [scores] * len(value)
    out = []
    for span, p in zip(value, scores):
        part = checked(Span(need(span, "start", int, where), need(span, "end", int, where)), where)
        native = base._replace(value=need(span, "label", str, where), part=part)
        if base.kind == "suggestion" and p is not None:
            native = native._replace(probability=number(p, where))
        out.append(settled(native, origins, where))
    return out


def _origins(metadata: Any, where: str) -> list[Any]:
    text = metadata.get(_META) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        return []
    with parsing(Path(where), "the labelwright metadata"):
        entries = loads(text.encode())
    return need({_META: entries}, _META, list, where)


def _options(settings: Any) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {}
    for i, question in enumerate(need(settings, "questions", list, "settings.json")):
        where = f"question {i} of settings.json"
        options = need(question, "settings", dict, where).get("options") or []
        values = [o.get("value") for o in options if isinstance(o, dict)]
        out[need(question, "name", str, where)] = [v for v in values if isinstance(v, str)]
    return out


def write_argilla(
    path: str | os.PathLike[str],
    labels: Any,
    *,
    items: Any = None,
    space: LabelSpace | None = None,
    content: Any = None,
    lossy: bool = False,
) -> Path:
    """Classes, sets and spans to a new folder for `argilla.Dataset.from_disk`; `export_labels(..., format="argilla")`.

    Args:
        labels, items, space, lossy: as in `export_labels`.   content: the text of the items; else their keys are shown.

    The questions are called label and span. A user is named by a UUID made of the source. Suggestions and distributions
    become the suggestion of their question, which has one place.
    """
    from labelwright.store.exchange._labels import labels_in

    said, known, space = labels_in(labels, items=items, space=space, content=content)
    kept = fitting(_crowded([s for s in said if s.value is not None]), _why_not, "argilla", lossy)
    multi = any(isinstance(s.value, list) for s in kept)
    records: dict[str, dict[str, Any]] = {}
    origins: dict[str, list[Any]] = {}
    for s in said:
        fields = {n: v for n, v in known.get(s.item, {}).items() if n in ("text", "image")} or {"text": s.item}
        record = {"id": s.item, "fields": fields, "metadata": {}, "suggestions": {}, "responses": {}, "vectors": {}}
        records.setdefault(s.item, record | {"status": "pending", "_server_id": None})
    for s in kept:
        _put(records[s.item], s, multi)
        origins.setdefault(s.item, []).append(origin(s))
    for item, entries in origins.items():
        records[item]["metadata"] = {_META: dumps(entries).decode()}
    shown = list(dict.fromkeys(name for r in records.values() for name in r["fields"]))
    spans = any(s.part is not None for s in kept)
    asked = [*(["label"] if not spans or any(s.part is None for s in kept) else []), *(["span"] if spans else [])]
    dataset = {"id": None, "name": Path(path).name, "status": "draft", "allow_extra_metadata": True}
    files: dict[str, Any] = {
        "records.json": list(records.values()),
        ".argilla/settings.json": _settings(space, shown, multi, asked),
    }
    files |= {".argilla/dataset.json": dataset}
    return new_folder(path, {name: dumps(value) for name, value in files.items()})


_NO_PLACE = "no place"


def _crowded(said: list[Said]) -> list[Said]:
    """Labels, where those are marked that a later one of the same item, question and user takes the place of."""
    last: dict[Any, str | int | None] = {}
    out = []
    for i in range(len(said) - 1, -1, -1):
        s = said[i]
        predicted = s.kind == "suggestion" or is_soft(s.value)
        place = (s.item, s.part is None, predicted, None if predicted else s.source)
        mine = s.source if s.part is not None else i  # spans of one source share a place
        taken = last.setdefault(place, mine) != mine
        out.append(s._replace(kind=_NO_PLACE) if taken else s)
    return out[::-1]


def _why_not(s: Said) -> str:
    if s.kind == _NO_PLACE:
        return "a later label of the same item and user"
    if s.value == CANT_TELL and s.part is None:
        return ""
    if s.part is None:
        return "" if names(s.value) or s.value == [] else 'the answer "none of these"'
    if not isinstance(s.part, Span):
        return "a place in an image"
    return "" if len(names(s.value)) == 1 else "several classes or none for a part"


def _put(record: dict[str, Any], s: Said, multi: bool) -> None:
    question = "label" if s.part is None else "span"
    value: Any = names(s.value) if multi else next(iter(names(s.value)), None)
    if isinstance(s.part, Span):
        value = [{"start": s.part.start, "end": s.part.stop, "label": names(s.value)[0]}]
    if s.kind == "suggestion" or is_soft(s.value):
        p = score(s)
        several = isinstance(value, list)
        entry = {"value": value, "score": [p] * len(value) if several and p is not None else p, "agent": s.source}
        before = record["suggestions"].setdefault(question, entry)
        if before is not entry:
            before["value"] += value
            both = before["score"] is not None and p is not None
            before["score"] = before["score"] + [p] if both else None
        return
    user = str(uuid.uuid5(uuid.NAMESPACE_URL, s.source or "labelwright"))
    if s.value == CANT_TELL:
        entry = {"value": None, "user_id": user, "status": "discarded"}
    else:
        entry = {"value": value, "user_id": user, "status": "submitted"}
    responses = record["responses"].setdefault(question, [])
    mine = next((r for r in responses if r["user_id"] == user and question == "span"), None)
    if mine is None:
        responses.append(entry)
    else:
        mine["value"] += value


def _settings(space: LabelSpace | None, fields: list[str], multi: bool, asked: list[str]) -> dict[str, Any]:
    options = [{"text": str(c), "value": str(c)} for c in (space.classes if space else ())]
    chosen: dict[str, Any] = {"options": options, "visible_options": None}
    one = {"type": "label_selection", **chosen}
    several = {"type": "multi_label_selection", **chosen, "options_order": "natural"}
    span = {"type": "span", "allow_overlapping": True, "field": "text", **chosen}
    forms = {"label": several if multi else one, "span": span}
    return {
        "guidelines": None,
        "questions": [_question(name, forms[name], required=name == asked[0]) for name in asked],
        "fields": [{"name": n, "title": n, "required": len(fields) == 1, "settings": _field(n)} for n in fields],
        "vectors": [],
        "metadata": [],
        "allow_extra_metadata": True,
        "distribution": {"strategy": "overlap", "min_submitted": 1},
        "mapping": None,
    }


def _question(name: str, settings: dict[str, Any], *, required: bool) -> dict[str, Any]:
    return {"name": name, "title": name, "description": None, "required": required, "settings": settings}


def _field(name: str) -> dict[str, Any]:
    return {"type": "text", "use_markdown": False} if name == "text" else {"type": "image"}
