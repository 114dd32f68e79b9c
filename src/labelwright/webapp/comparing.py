"""Compare mode: of two candidate labels of one item, which is better? (card 105)

The candidates of an item are its given label, what the audit suggests, and what annotators and reviewers said of it. The winner
of one pair meets the next candidate, so n candidates take n - 1 answers. Which side of the page each is on is drawn by lot and
kept.
"""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

from sqlalchemy import Connection, Engine, Row, exists, insert, or_, select, true, update

from labelwright.errors import check_option
from labelwright.store.events import CANT_TELL, NONE_FITS
from labelwright.webapp.content import Contents
from labelwright.webapp.database import reading
from labelwright.webapp.recording import checked_id
from labelwright.webapp.refusals import id_taken, lease_lost
from labelwright.webapp.settling import as_text, event_id, post, text_of
from labelwright.webapp.tables import answers, comparisons, items, users
from labelwright.webapp.views import Receipt, User

BETTER = ("first", "second", "same")
LIKELY = 0.1
"""A second suggestion is a candidate from this probability on."""
_AT_A_TIME = 200  # items that are looked through together

Candidate = tuple[str, Any]
"""Where a label comes from ("given", "audit" or a name), and the label."""


def candidates(row: Row[Any], said: list[Candidate], moved: Any = None) -> list[Candidate]:
    """The different labels that an item might have, each once.

    Args:
        row: the item.   said: what reviewers answered, where it may be told.   moved: of a box the one that the audit suggests in
            another place, as in `Answer.value`.

    Those of the audit are its likeliest label, or the moved box, and the second where it is likely too.
    """
    given = [] if row.given is None else [("given", json.loads(row.given))]
    top = [("audit", moved)] if moved is not None else [] if row.top is None else [("audit", json.loads(row.top))]
    voted = [(vote[0], json.loads(vote[2])) for vote in json.loads(row.votes or "[]") if vote[2] is not None]
    more: list[Candidate] = []
    if not (row.top or "").startswith("["):  # sets have no second
        more = [("audit", name) for name, p in json.loads(row.suggested)[:2] if p >= LIKELY]
    different: dict[str | None, Candidate] = {}
    for source, value in [*given, *top, *voted, *said, *more]:
        if value not in (CANT_TELL, NONE_FITS):
            different.setdefault(as_text(value), (source, value))
    return list(different.values())


class Pairs:
    """The comparisons of one queue. Threads may share it.

    seed: of the order in which two labels are shown.
    """

    def __init__(self, queue: int, contents: Contents, seed: int):
        self._queue, self._contents, self._seed = queue, contents, seed
        self._passed: dict[int, tuple[float, int]] = {}  # per user: nothing to compare up to this log-odds and number

    def next(self, conn: Connection, user: User) -> Row[Any] | None:
        """The user's open comparison, else a new one: of the item in work, else of the most doubtful that has two candidates."""
        mine = (comparisons.c.user_id == user.id) & (comparisons.c.queue_id == self._queue)
        opened = conn.execute(select(comparisons).where(mine, comparisons.c.better.is_(None)).limit(1)).one_or_none()
        if opened is not None:
            return opened
        last = select(comparisons.c.item_id).where(mine).order_by(comparisons.c.time.desc()).limit(1)
        row = conn.execute(select(items).where(items.c.id == last.scalar_subquery())).one_or_none()
        if row is not None and (pair := self._pair(conn, row, user)):
            return self._opened(conn, row, user, pair)
        return self._of_another(conn, user)

    def compare(self, conn: Connection, user: User, token: str, better: str, client_id: str) -> Receipt:
        """Record which label is better, with a vote for it in the outbox; the same again adds nothing.

        Raises:
            OptionError: `better` is none of `BETTER`.   LeaseLost: no pair of the user's.
            IdTaken: under this client_id something else was said.
        """
        check_option("better", better, BETTER)
        client_id = checked_id(client_id)
        query = select(comparisons, items.c.key).join(items, items.c.id == comparisons.c.item_id)
        mine = comparisons.c.user_id == user.id
        lock = query.where(mine, comparisons.c.token == token)
        row = conn.execute(
            lock if conn.dialect.name == "sqlite" else lock.with_for_update(of=comparisons)
        ).one_or_none()
        before = conn.execute(query.where(mine, comparisons.c.client_id == client_id).limit(1)).one_or_none()
        if before is not None and (before.token, before.better) != (token, better):
            raise id_taken(client_id, before.key)
        if row is None or (row.better is not None and row.client_id != client_id):
            raise lease_lost()
        if row.better is not None:
            return Receipt(row.event_id, row.key, again=True)
        value = _value(better, json.loads(row.first)[1], json.loads(row.second)[1])
        event = event_id("compare", token)
        changed = {"better": better, "client_id": client_id, "event_id": event, "time": time.time()}
        conn.execute(update(comparisons).where(comparisons.c.token == token).values(**changed))
        post(conn, row.queue_id, event=event, item=row.key, source=user.name, kind="vote", value=as_text(value))
        return Receipt(event, row.key)

    def _of_another(self, conn: Connection, user: User) -> Row[Any] | None:
        """An item that the user has not compared, looked for where the last search ended."""
        seen = exists().where(comparisons.c.item_id == items.c.id, comparisons.c.user_id == user.id)
        tests = [items.c.given != items.c.top, items.c.given.is_(None), items.c.votes != "[]", items.c.wrong_low > 0]
        several = true() if self._contents.of_parts else or_(*tests)
        query = select(items).where(items.c.queue_id == self._queue, several, ~seen)
        query = query.order_by(items.c.logit.desc(), items.c.id).limit(_AT_A_TIME)
        after = self._passed.get(user.id)
        while True:
            behind = [] if after is None else [
                or_(items.c.logit < after[0], (items.c.logit == after[0]) & (items.c.id > after[1]))
            ]  # fmt: skip
            rows = conn.execute(query.where(*behind)).all()
            for row in rows:
                if pair := self._pair(conn, row, user):
                    return self._opened(conn, row, user, pair)
                after = self._passed[user.id] = (row.logit, row.id)
            if len(rows) < _AT_A_TIME:
                self._passed.pop(user.id, None)  # next time from the start: there may be new answers
                return None

    def _pair(self, conn: Connection, row: Row[Any], user: User) -> tuple[Candidate, Candidate] | None:
        """Two candidates of the item that the user has not yet judged: the best so far and the next; None where all are."""
        told: list[Candidate] = []
        if not row.open:  # while answers are wanted, nobody sees those of others
            said = select(users.c.name, answers.c.value).join(users, users.c.id == answers.c.user_id)
            counted = (answers.c.item_id == row.id) & answers.c.active & ~answers.c.extra
            found = conn.execute(said.where(counted).order_by(answers.c.id))
            told = [(name, json.loads(value)) for name, value in found if value is not None]
        part = self._contents.part(row.row)
        listed = candidates(row, told, None if part is None else part.moved_label)
        mine = (comparisons.c.item_id == row.id) & (comparisons.c.user_id == user.id)
        best, judged = None, set[str | None]()
        for first, second, better in conn.execute(
            select(comparisons.c.first, comparisons.c.second, comparisons.c.better)
            .where(mine)
            .order_by(comparisons.c.time)
        ):
            sides = [json.loads(first), json.loads(second)]
            judged |= {as_text(value) for _, value in sides}
            best = sides[better == "second"] if better != "same" or best is None else best
        left = [c for c in listed if as_text(c[1]) not in judged]
        if best is None:
            return (left[0], left[1]) if len(left) > 1 else None
        return ((best[0], best[1]), left[0]) if left else None

    def _opened(self, conn: Connection, row: Row[Any], user: User, pair: tuple[Candidate, Candidate]) -> Row[Any]:
        drawn = int(event_id("pair", self._seed, row.key, user.id, as_text(pair[1][1]))[:8], 16) % 2
        first, second = reversed(pair) if drawn else pair
        made = {
            "token": secrets.token_urlsafe(18), "queue_id": self._queue, "item_id": row.id, "user_id": user.id,
            "first": json.dumps(first), "second": json.dumps(second), "time": time.time(),
        }  # fmt: skip
        conn.execute(insert(comparisons), made)
        return conn.execute(select(comparisons).where(comparisons.c.token == made["token"])).one()


def told(engine: Engine, queue: int) -> list[dict[str, Any]]:
    """The comparisons that were judged, oldest first: item, annotator, a, b, preferred (None: both alike), as
    `Comparisons.from_table` reads them, the sources and JSON values of a and b, event_id, time. a was shown first."""
    query = (
        select(comparisons, items.c.key, users.c.name)
        .join(items, items.c.id == comparisons.c.item_id)
        .join(users, users.c.id == comparisons.c.user_id)
        .where(comparisons.c.queue_id == queue, comparisons.c.better.is_not(None))
        .order_by(comparisons.c.time)
    )
    out = []
    with reading(engine) as conn:
        for row in conn.execute(query):
            (a_source, a), (b_source, b) = json.loads(row.first), json.loads(row.second)
            preferred = {"first": text_of(a), "second": text_of(b)}.get(row.better)
            out.append(
                {
                    "item": row.key, "annotator": row.name, "a": text_of(a), "b": text_of(b), "preferred": preferred,
                    "a_source": a_source, "b_source": b_source, "a_value": as_text(a), "b_value": as_text(b),
                    "event_id": row.event_id, "time": row.time,
                }
            )  # fmt: skip
    return out


def _value(better: str, first: Any, second: Any) -> Any:
    """What the vote says: the better label; of two alike half of each, where both are classes."""
    if better != "same":
        return first if better == "first" else second
    plain = not isinstance(first, list | dict) and not isinstance(second, list | dict)
    return {str(first): 0.5, str(second): 0.5} if plain else CANT_TELL
