"""One answer into the database: its event in the outbox, and what follows for its item, in the caller's transaction."""

from __future__ import annotations

import json
import time
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from labelwright.errors import LabelError
from labelwright.labels import LabelSpace
from labelwright.webapp.answers import Answer
from labelwright.webapp.queue import as_json
from labelwright.webapp.settling import encoded, event_id, label_text, post, reading, settle
from labelwright.webapp.tables import answers, items, leases, skips
from labelwright.webapp.views import Receipt, User


def known_answer(conn: Connection, user: User, client_id: str) -> Receipt | None:
    """The receipt of an answer that was sent before; None where this is the first time."""
    query = select(answers.c.event_id, items.c.key).join(items, items.c.id == answers.c.item_id)
    row = conn.execute(query.where(answers.c.user_id == user.id, answers.c.client_id == client_id)).one_or_none()
    return None if row is None else Receipt(row.event_id, row.key, again=True)


def insert_answer(
    conn: Connection,
    space: LabelSpace,
    user: User,
    item: Row[Any],
    answer: Answer,
    *,
    multi: bool,
    stream: str,
    extra: bool,
    client_id: str,
    seconds: float | None,
    salt: tuple[Any, ...],
) -> str:
    """Record an answer to a locked item; the id of its event, made of `salt`, user and client_id.

    Raises:
        LabelError, OptionError: an answer that is none.
    """
    given = None if item.given is None else json.loads(item.given)
    answer.check(space, multi=multi)
    if answer.kind == "keep" and given is None:
        raise LabelError(
            found="a label to keep, where there is none", expected="a class", fix="choose the class of this item"
        )
    low, high = reading(answer, given)
    value = as_json(answer.value(given))
    event = event_id("answer", *salt, user.id, client_id)
    row = {
        "queue_id": item.queue_id, "item_id": item.id, "user_id": user.id, "client_id": client_id, "event_id": event,
        "stream": stream, "kind": answer.kind, "value": value, "label": label_text(answer, given), "said": encoded(answer),
        "comment": answer.comment, "severity": answer.severity, "why": answer.why, "wrong_low": low, "wrong_high": high,
        "gold_right": None if item.gold is None else value == item.gold, "extra": extra, "active": True,
        "replaces": _replaced(conn, user, item, stream), "time": time.time(),
        "seconds": None if seconds is None or not 0 <= seconds < 1e7 else float(seconds),
    }  # fmt: skip
    conn.execute(insert(answers), row)
    # what comes after an adjudicator's word is one more vote: the newest review is the label
    voted = extra or (stream != "adjudication" and (item.wanted > 1 or _adjudicated(conn, item)))
    kind = "vote" if voted else "review"
    post(conn, item.queue_id, event=event, item=item.key, source=user.name, kind=kind, value=value)
    conn.execute(delete(leases).where(leases.c.item_id == item.id, leases.c.user_id == user.id))
    conn.execute(delete(skips).where(skips.c.item_id == item.id, skips.c.user_id == user.id))
    settle(conn, item)
    return event


def _adjudicated(conn: Connection, item: Row[Any]) -> bool:
    judged = (answers.c.item_id == item.id) & answers.c.active & (answers.c.stream == "adjudication")
    return conn.execute(select(answers.c.id).where(judged).limit(1)).scalar() is not None


def _replaced(conn: Connection, user: User, item: Row[Any], stream: str) -> int | None:
    """The user's earlier answer to the item, which no longer counts; an adjudication and a plain answer stand side by side."""
    judged = answers.c.stream == "adjudication"
    mine = (answers.c.item_id == item.id) & (answers.c.user_id == user.id) & answers.c.active
    number = conn.execute(select(answers.c.id).where(mine, judged if stream == "adjudication" else ~judged)).scalar()
    if number is not None:
        conn.execute(update(answers).where(answers.c.id == number).values(active=False))
    return number


def clean(text: str) -> str:
    """Text that UTF-8 and PostgreSQL can hold."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
