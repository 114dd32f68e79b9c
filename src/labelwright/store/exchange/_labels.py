"""What is to be exported, from all that people have: repositories, tables of labels or events, typed containers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from labelwright.errors import ColumnError, LabelError, LabelwrightError, nearest
from labelwright.labels import Boxes, HardLabels, Masks, MultiLabels, SoftLabels, Spans, Votes, as_arrow
from labelwright.labels.space import LabelSpace
from labelwright.store._values import canonical
from labelwright.store.exchange._items import Content
from labelwright.store.exchange._parts import checked, split_key
from labelwright.store.exchange._said import Said, space_of
from labelwright.store.exchange.label_file import LabelFile, said_from

_TYPED = (Boxes, HardLabels, Masks, MultiLabels, SoftLabels, Spans, Votes)


def labels_in(
    labels: Any, *, items: Any = None, space: LabelSpace | None = None, content: Any = None, version: Any = None
) -> tuple[list[Said], Content, LabelSpace | None]:
    """The labels one by one, what is known of their items, and the classes (those of `space` first).

    Raises:
        LabelError, ColumnError: no labels, or no such table.
    """
    from labelwright.store.history import LabelHistory

    known = Content.of(content)
    if isinstance(labels, LabelFile):
        said, space = labels.said, space or labels.space
        known = Content({**labels.content, **known})
    elif isinstance(labels, _TYPED):
        space = space or labels.space
        said = said_from(labels, _keys(items, labels))
    else:
        if isinstance(labels, LabelHistory):
            space = space or _space(getattr(labels, "head", {}).get("space"))
            labels = labels.labels(version)
        said = _said_table(as_arrow(labels))
    for s in said:
        if s.part is not None:
            checked(s.part, f"item {s.key[:80]!r}", known.size(s.item))
    return said, known, space_of(said, space.classes if space else ())


def _keys(items: Any, labels: Any) -> list[str]:
    if isinstance(labels, Votes):
        return []
    if items is None:
        raise LabelError(
            found=f"{type(labels).__name__} without items", expected="items=, the key of each item", fix="pass items="
        )
    items = items.to_pylist() if hasattr(items, "to_pylist") else items
    return [str(item) for item in items]


def _said_table(table: Any) -> list[Said]:
    """A table as `Repository.labels` or `Repository.events` returns, or one with at least item and label."""
    columns = {name: table[name].to_pylist() for name in table.column_names}
    value = "value" if "value" in columns else "label"
    for name in ("item", value):
        if name not in columns:
            raise ColumnError(
                found=f"no column {name!r}; there are {', '.join(nearest(name, columns)[:8])}",
                expected="a table as repository.labels() or repository.events() gives",
                fix="rename the columns; labels are JSON text (labelwright.store.events.json_values)",
            )
    texts = canonical(table[value]).to_pylist()
    parts = [split_key(str(key)) for key in columns["item"]]
    none: list[Any] = [None] * len(parts)
    event = columns.get("event", columns.get("event_id", none))
    kinds, sources = columns.get("kind", ["import"] * len(parts)), columns.get("source", none)
    rows = zip(parts, texts, kinds, sources, columns.get("probability", none), columns.get("time", none), event)
    return [
        Said(item, None if text is None else json.loads(text), part, kind, source, probability, _utc(time), event_id)
        for (item, part), text, kind, source, probability, time, event_id in rows
        if kind != "retraction"
    ]


def _utc(time: Any) -> datetime | None:
    if not isinstance(time, datetime):
        return None
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _space(head: Any) -> LabelSpace | None:
    try:
        return LabelSpace.from_json(json.dumps(head)) if head else None
    except (LabelwrightError, KeyError, TypeError):
        return None
