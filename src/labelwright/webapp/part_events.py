"""Answers about boxes and regions as events of the repository, where the place is part of an item's key.

keep, another class     the class, of the part
remove, nothing there   no label, of the part
move                    no label, of the part; and its class, of the part in the new place
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from labelwright.store.events import CANT_TELL, NONE_FITS
from labelwright.store.exchange._parts import Box, part_key, split_key
from labelwright.webapp.content import Contents
from labelwright.webapp.settling import event_id
from labelwright.webapp.tables import items
from labelwright.webapp.views import Part

_AT_A_TIME = 500  # keys in one query


class PartEvent(NamedTuple):
    """As a row of the outbox."""

    event_id: str
    item: str
    source: str
    kind: str
    value: str | None
    time: float


class PartEvents:
    """Called with rows of the outbox, gives their events. Where a box may have to move, each answer speaks of both places, so
    that the newest review decides on both. Two events of one row get ids made of one: a flush that is done again adds nothing."""

    def __init__(self, queue: int, contents: Contents):
        self._queue, self._contents = queue, contents

    def __call__(self, conn: Connection, rows: list[Any]) -> list[PartEvent]:
        parts = self._parts(conn, {row.item for row in rows})
        out = []
        for row in rows:
            part = parts[row.item]
            said = json.loads(row.value)
            if row.kind == "retraction":
                here, there = said, second_id(said)
            else:
                here, there = _labels(said)
            out.append(PartEvent(row.event_id, part.key, row.source, row.kind, _text(here), row.time))
            if part.moved:
                key = moved_key(part.key, part.moved)
                out.append(PartEvent(second_id(row.event_id), key, row.source, row.kind, _text(there), row.time))
        return out

    def _parts(self, conn: Connection, wanted: set[str]) -> dict[str, Part]:
        """Key of the queue -> the part."""
        out, names = {}, sorted(wanted)
        for at in range(0, len(names), _AT_A_TIME):
            here = (items.c.queue_id == self._queue) & items.c.key.in_(names[at : at + _AT_A_TIME])
            for key, row in conn.execute(select(items.c.key, items.c.row).where(here)):
                part = self._contents.part(row)
                assert part is not None
                out[key] = part
        return out


def _labels(said: Any) -> tuple[Any, Any]:
    """The label of the part, and that in the new place."""
    if said == CANT_TELL:
        return said, said
    if isinstance(said, dict) and "box" in said:
        return None, said["label"]
    return None if said == NONE_FITS else said, None


def _text(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def second_id(event: str) -> str:
    """The id of the event about the new place."""
    return event_id("moved", event)


def moved_key(key: str, box: Sequence[float]) -> str:
    """The key of the same picture with a box of these corners.

    >>> moved_key("a.jpg#xywh=1,2,3,4", [10, 20, 30, 40.5])
    'a.jpg#xywh=10,20,20,20.5'
    """
    x1, y1, x2, y2 = box
    return part_key(split_key(key)[0], Box(x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)))
