"""One answer into the database: its event in the outbox, and what follows for its item, in the caller's transaction."""

from __future__ import annotations

import json
import time
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from labelwright.errors import LabelError, OptionError
from labelwright.labels import LabelSpace
from labelwright.webapp import leasing
from labelwright.webapp.answers import MOST_COMMENT, Answer
from labelwright.webapp.refusals import id_taken
from labelwright.webapp.settling import as_text, encoded, event_id, post, reading, settle, text_of
from labelwright.webapp.tables import answers, flags, items, leases, skips
from labelwright.webapp.views import Part, Receipt, User


def checked_id(client_id: Any) -> str:
    """The client's name of an answer. Raises OptionError."""
    if not isinstance(client_id, str) or not 1 <= len(client_id) <= 200:
        raise OptionError(
            found="a client_id that is no text of 1 to 200 characters", expected="one", fix="send a random UUID"
        )
    return clean(client_id)


def known_answer(
    conn: Connection, user: User, client_id: str, answer: Answer, *, token: str | None, key: str | None
) -> Receipt | None:
    """The receipt of an answer that was sent before; None where this is the first time.

    Raises:
        IdTaken: under this id another answer was sent, or the answer to another lease or item.
    """
    columns = (answers.c.event_id, answers.c.said, answers.c.token, items.c.key)
    query = select(*columns).join(items, items.c.id == answers.c.item_id)
    row = conn.execute(query.where(answers.c.user_id == user.id, answers.c.client_id == client_id)).one_or_none()
    if row is None:
        return None
    elsewhere = row.key != key if token is None else row.token != token
    if elsewhere or row.said != encoded(answer):
        raise id_taken(client_id, row.key)
    return Receipt(row.event_id, row.key, again=True)


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
    token: str | None,
    seconds: float | None,
    salt: tuple[Any, ...],
    part: Part | None = None,
) -> str:
    """Record an answer to a locked item; the id of its event, made of `salt`, user and client_id.

    part: the box or region that the item is.

    Raises:
        LabelError, OptionError: an answer that is none.
    """
    given = None if item.given is None else json.loads(item.given)
    moved = None if part is None else part.moved_label
    answer.check(space, multi=multi, movable=moved is not None)
    if answer.kind == "keep" and given is None:
        raise LabelError(
            found="a label to keep, where there is none", expected="a class", fix="choose the class of this item"
        )
    low, high = reading(answer, given, missed=part is not None and part.missed)
    told = answer.value(given, moved)
    value = as_text(told)
    event = event_id("answer", *salt, user.id, client_id)
    row = {
        "queue_id": item.queue_id, "item_id": item.id, "user_id": user.id, "client_id": client_id, "token": token,
        "event_id": event, "stream": stream, "kind": answer.kind, "value": value,
        "label": text_of(told), "said": encoded(answer), "comment": answer.comment, "severity": answer.severity,
        "why": answer.why, "wrong_low": low, "wrong_high": high,
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


def take_back(conn: Connection, queue: int, user: User, lease_seconds: float) -> str | None:
    """Take the user's last answer back and lease its item to the user again, before what else the user holds.

    Returns:
        the item's key; None where there is nothing to undo.
    """
    now = time.time()
    mine = (answers.c.user_id == user.id) & (answers.c.queue_id == queue) & answers.c.active
    last = conn.execute(select(answers).where(mine).order_by(answers.c.id.desc()).limit(1)).one_or_none()
    if last is None:
        return None
    item = leasing.lock_item(conn, last.item_id)
    assert item is not None
    gone = update(answers).where(answers.c.id == last.id, answers.c.active).values(active=False)
    if conn.execute(gone).rowcount == 0:  # two undos at once
        return str(item.key)
    if last.replaces is not None:
        conn.execute(update(answers).where(answers.c.id == last.replaces).values(active=True))
    post(
        conn, queue, event=event_id("undo", last.event_id), item=item.key, source=user.name, kind="retraction",
        value=json.dumps(last.event_id),
    )  # fmt: skip
    settle(conn, item)
    leasing.take(conn, item, user.id, last.stream, now=now, until=now + lease_seconds)
    first = select(func.min(leases.c.taken)).where(leases.c.user_id == user.id).scalar_subquery()
    again = (leases.c.item_id == item.id) & (leases.c.user_id == user.id)
    earliest = conn.execute(select(first)).scalar_one()
    conn.execute(update(leases).where(again).values(taken=earliest - 1e-3, gold=last.extra))
    return str(item.key)


def mark(conn: Connection, number: int, user: User, comment: str, *, on: bool) -> None:
    """Set or take away the user's flag on an item. Raises OptionError for a comment that is too long."""
    if len(comment) > MOST_COMMENT:
        raise OptionError(
            found=f"a comment of {len(comment):,} characters", expected=f"at most {MOST_COMMENT:,}", fix="shorten it"
        )
    item = leasing.lock_item(conn, number)
    assert item is not None
    conn.execute(delete(flags).where(flags.c.item_id == item.id, flags.c.user_id == user.id))
    if on:
        row = {"item_id": item.id, "user_id": user.id, "comment": clean(comment), "time": time.time()}
        conn.execute(insert(flags), row)
    left = conn.execute(select(flags.c.item_id).where(flags.c.item_id == item.id).limit(1)).scalar()
    conn.execute(update(items).where(items.c.id == item.id).values(flagged=left is not None))


def clean(text: str) -> str:
    """Text that UTF-8 and PostgreSQL can hold."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
