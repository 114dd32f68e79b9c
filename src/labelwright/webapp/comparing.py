"""Compare mode: of two candidate labels of one item, which is better? (card 105)"""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

from sqlalchemy import Connection, Row, exists, insert, or_, select, update

from labelwright.errors import check_option
from labelwright.store.events import CANT_TELL
from labelwright.webapp.queue import as_json
from labelwright.webapp.refusals import lease_lost
from labelwright.webapp.settling import event_id, post
from labelwright.webapp.tables import comparisons, items
from labelwright.webapp.views import Receipt, User

BETTER = ("first", "second", "same")


def next_pair(conn: Connection, queue: int, user: User, seed: int) -> Row[Any] | None:
    """The user's open comparison, else a new one: the given label of the most doubtful item against what the audit suggests."""
    mine = (comparisons.c.user_id == user.id) & (comparisons.c.queue_id == queue)
    opened = conn.execute(select(comparisons).where(mine, comparisons.c.better.is_(None)).limit(1)).one_or_none()
    if opened is not None:
        return opened
    seen = exists().where(comparisons.c.item_id == items.c.id, comparisons.c.user_id == user.id)
    differ = or_(items.c.given != items.c.top)
    query = select(items).where(items.c.queue_id == queue, differ, ~seen).order_by(items.c.logit.desc(), items.c.id)
    item = conn.execute(query.limit(1)).one_or_none()
    if item is None:
        return None
    pair = [["given", json.loads(item.given)], ["audit", json.loads(item.top)]]
    if int(event_id("pair", seed, item.key, user.id)[:8], 16) % 2:
        pair.reverse()
    row = {
        "token": secrets.token_urlsafe(18), "queue_id": queue, "item_id": item.id, "user_id": user.id,
        "first": json.dumps(pair[0]), "second": json.dumps(pair[1]), "time": time.time(),
    }  # fmt: skip
    conn.execute(insert(comparisons), row)
    return conn.execute(select(comparisons).where(comparisons.c.token == row["token"])).one()


def compare(conn: Connection, user: User, token: str, better: str, client_id: str) -> Receipt:
    """Record which label is better, with a vote for it in the outbox; the same client_id again adds nothing."""
    check_option("better", better, BETTER)
    query = select(comparisons, items.c.key, items.c.id.label("number")).join(
        items, items.c.id == comparisons.c.item_id
    )
    mine = (comparisons.c.token == token) & (comparisons.c.user_id == user.id)
    lock = query.where(mine)
    row = conn.execute(lock if conn.dialect.name == "sqlite" else lock.with_for_update()).one_or_none()
    if row is None or (row.better is not None and row.client_id != client_id):
        raise lease_lost()
    if row.better is not None:
        return Receipt(row.event_id, row.key, again=True)
    first, second = json.loads(row.first)[1], json.loads(row.second)[1]
    value = {"first": first, "second": second}.get(better)
    if better == "same":
        plain = not isinstance(first, list) and not isinstance(second, list)
        value = {str(first): 0.5, str(second): 0.5} if plain else CANT_TELL
    event = event_id("compare", token)
    changed = {"better": better, "client_id": client_id, "event_id": event, "time": time.time()}
    conn.execute(update(comparisons).where(comparisons.c.token == token).values(**changed))
    post(conn, row.queue_id, event=event, item=row.key, source=user.name, kind="vote", value=as_json(value))
    return Receipt(event, row.key)
