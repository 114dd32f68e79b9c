"""Who gets which item next: leases, so that nobody answers what somebody else is looking at.

A lease is handed out while its item is locked (on SQLite the whole database is), and looked up again under that lock, so that two
reviewers never hold one item that wants one answer.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, delete, exists, func, insert, select, update

from labelwright.webapp.tables import answers, cells, items, leases, skips

_MOST_CELLS = 24  # pairs (given, suggested) that are looked at one by one before all items are sorted at once


def held(conn: Connection, queue: int, user: int, stream: str, conditions: Iterable[Any] = ()) -> list[Row[Any]]:
    """The leases that the user has in a stream, oldest first; those whose items do not fit the conditions are given up."""
    mine = and_(leases.c.user_id == user, leases.c.queue_id == queue, leases.c.stream == stream)
    rows = list(conn.execute(select(leases).where(mine).order_by(leases.c.taken)))
    wanted = list(conditions)
    if wanted and rows:
        fits = select(items.c.id).where(items.c.id.in_([row.item_id for row in rows]), *wanted)
        good = set(conn.execute(fits).scalars())
        for row in rows:
            if row.item_id not in good:
                conn.execute(delete(leases).where(leases.c.token == row.token))
        rows = [row for row in rows if row.item_id in good]
    return rows


def renew(conn: Connection, token: str, until: float) -> None:
    """Make a lease longer."""
    conn.execute(update(leases).where(leases.c.token == token).values(until=until))


def take(
    conn: Connection, item: Row[Any], user: int, stream: str, *, now: float, until: float, gold: bool = False
) -> str:
    """Lease a locked item to a user; the token. The user's own older lease of it ends."""
    ended = (leases.c.until < now) & (leases.c.stream == stream)
    conn.execute(delete(leases).where(leases.c.item_id == item.id, ended | (leases.c.user_id == user)))
    token = secrets.token_urlsafe(18)
    row = {"token": token, "queue_id": item.queue_id, "item_id": item.id, "user_id": user, "stream": stream}
    conn.execute(insert(leases), row | {"gold": gold, "taken": now, "until": until})
    return token


def lock_item(conn: Connection, number: int) -> Row[Any] | None:
    """The item, which nobody else changes until the end of the transaction."""
    query = select(items).where(items.c.id == number)
    return conn.execute(query if conn.dialect.name == "sqlite" else query.with_for_update()).one_or_none()


def candidate(
    conn: Connection, queue: int, user: int, stream: str, now: float, conditions: Iterable[Any] = ()
) -> Row[Any] | None:
    """The first item of a stream that the user may have, locked; None where there is none left."""
    free = [items.c.queue_id == queue, *conditions, *_free(user, stream, now)]
    passed_over: list[int] = []
    while True:
        base = select(items).where(*free)
        if passed_over:
            base = base.where(items.c.id.not_in(passed_over))
        if stream == "repair":
            row = _most_doubtful(conn, queue, base)
        elif stream == "estimation":
            order = base.where(items.c.open, items.c.place.is_not(None)).order_by(items.c.place)
            row = _first(conn, order)
        else:
            row = _first(conn, base.where(items.c.conflict).order_by(items.c.id))
        if row is None or conn.dialect.name == "sqlite" or _still_free(conn, row, user, stream, now):
            return row
        passed_over.append(row.id)


def any_free(conn: Connection, queue: int, user: int, stream: str, now: float, conditions: Iterable[Any] = ()) -> bool:
    """Whether an item of the stream is left for the user, also one that somebody else's transaction holds at this moment."""
    wanted = items.c.conflict if stream == "adjudication" else items.c.open
    query = select(items.c.id).where(items.c.queue_id == queue, wanted, *conditions, *_free(user, stream, now))
    if stream == "estimation":
        query = query.where(items.c.place.is_not(None))
    return conn.execute(query.limit(1)).scalar() is not None


def gold_candidate(conn: Connection, queue: int, user: int, at: float) -> Row[Any] | None:
    """A gold item that the user has not answered, chosen by `at` in [0, 1)."""
    answered = exists().where(answers.c.item_id == items.c.id, answers.c.user_id == user)
    leased = exists().where(leases.c.item_id == items.c.id, leases.c.user_id == user)
    left = select(items.c.id).where(items.c.queue_id == queue, items.c.gold.is_not(None), ~answered, ~leased)
    numbers = conn.execute(left.order_by(items.c.id)).scalars().all()
    return lock_item(conn, numbers[int(at * len(numbers))]) if numbers else None


def forget_skips(conn: Connection, queue: int, user: int) -> bool:
    """Whether the user had skipped items, which come up again now."""
    here = select(items.c.id).where(items.c.queue_id == queue)
    return conn.execute(delete(skips).where(skips.c.user_id == user, skips.c.item_id.in_(here))).rowcount > 0


def _free(user: int, stream: str, now: float) -> list[Any]:
    """Conditions: nothing of the user's own on the item, and fewer people at it than it wants."""
    skipped = exists().where(skips.c.item_id == items.c.id, skips.c.user_id == user)
    mine = exists().where(leases.c.item_id == items.c.id, leases.c.user_id == user)
    if stream == "adjudication":
        others = exists().where(leases.c.item_id == items.c.id, leases.c.stream == stream, leases.c.until >= now)
        return [~skipped, ~mine, ~others]
    said = exists().where(answers.c.item_id == items.c.id, answers.c.user_id == user, answers.c.active)
    return [~said, ~skipped, ~mine, items.c.wanted - items.c.answers > _busy(now)]


def _busy(now: float) -> Any:
    return (
        select(func.count())
        .select_from(leases)
        .where(leases.c.item_id == items.c.id, leases.c.until >= now, leases.c.stream != "adjudication")
        .correlate(items)
        .scalar_subquery()
    )


def _still_free(conn: Connection, row: Row[Any], user: int, stream: str, now: float) -> bool:
    """PostgreSQL: the choice was made before the lock; other transactions may have leased or answered it in between."""
    test = select(items.c.id).where(items.c.id == row.id, *_free(user, stream, now))
    test = test.where(items.c.conflict if stream == "adjudication" else items.c.open)
    return conn.execute(test).scalar() is not None


def _first(conn: Connection, query: Select[Any]) -> Row[Any] | None:
    query = query.limit(1)
    if conn.dialect.name != "sqlite":
        query = query.with_for_update(skip_locked=True, of=items)
    return conn.execute(query).one_or_none()


def _most_doubtful(conn: Connection, queue: int, base: Select[Any]) -> Row[Any] | None:
    """The open item of the highest log-odds, its own and its cell's together.

    Cells are visited by the highest that their items can reach; the search ends when no other cell can do better.
    """
    order = select(cells.c.id, cells.c.shift, cells.c.priority).where(
        cells.c.queue_id == queue, cells.c.head.is_not(None)
    )
    best, best_at = None, float("-inf")
    visited = 0
    for cell in conn.execute(order.order_by(cells.c.priority.desc()).limit(_MOST_CELLS)).all():
        if best is not None and cell.priority <= best_at:
            return best
        visited += 1
        here = base.where(items.c.cell_id == cell.id, items.c.open).order_by(items.c.logit.desc(), items.c.id)
        row = _first(conn, here)
        if row is not None and row.logit + cell.shift > best_at:
            best, best_at = row, row.logit + cell.shift
    if best is not None or visited < _MOST_CELLS:
        return best
    every = base.join(cells, cells.c.id == items.c.cell_id).where(items.c.open)
    return _first(conn, every.order_by((items.c.logit + cells.c.shift).desc(), items.c.id))
