"""What the desk can say about the review as a whole: progress, effort, people, classes."""

from __future__ import annotations

import json
import math
import statistics
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Integer, and_, case, cast, func, select

from labelwright.labels import LabelSpace
from labelwright.webapp import outbox
from labelwright.webapp.database import reading
from labelwright.webapp.progress import ASSUMPTION, Stratum, live_interval, wilson
from labelwright.webapp.queue import UNLABELLED
from labelwright.webapp.tables import answers, cells, items, queues, strata, users
from labelwright.webapp.views import Estimate, Person, Progress

LEVEL = 0.9
LEFT = 0.01  # share of wrong labels left at which the review may end
_CURVE = 60  # points of the effort curve
_FRESH, _CURVE_FRESH = 1.0, 10.0  # seconds for which figures of other processes' work may be old
_STEP = 4  # buckets per unit of log-odds


class Figures:
    """The figures of one queue, computed when they are asked for and kept while nothing changes."""

    def __init__(self, engine: Engine, queue: int, folder: Path):
        self._engine, self._queue, self._folder = engine, queue, folder
        self._lock, self._changes = threading.Lock(), 0
        self._kept: tuple[int, float, Progress] | None = None
        self._curve: tuple[float, list[tuple[float, int]]] | None = None

    def changed(self) -> None:
        """Something was answered or taken back."""
        with self._lock:
            self._changes += 1

    def progress(self) -> Progress:
        """As `Desk.progress`."""
        with self._lock:
            changes, kept = self._changes, self._kept
        if kept is not None and kept[0] == changes and time.monotonic() - kept[1] < _FRESH:
            return kept[2]
        made = self._progress()
        with self._lock:
            self._kept = (changes, time.monotonic(), made)
        return made

    def _progress(self) -> Progress:
        mine = items.c.queue_id == self._queue
        with reading(self._engine) as conn:
            total = conn.execute(select(queues.c.total).where(queues.c.id == self._queue)).scalar_one()
            left = conn.execute(select(func.count()).select_from(items).where(mine, items.c.open)).scalar_one()
            contested = select(func.count()).select_from(items).where(mine, items.c.conflict)
            conflicts = conn.execute(contested).scalar_one()
            said = and_(answers.c.queue_id == self._queue, answers.c.active)
            count = conn.execute(select(func.count()).select_from(answers).where(said)).scalar_one()
            estimate = self._estimate(conn)
            effort, remaining = self._effort(conn, total)
        sent = outbox.waiting(self._engine, self._queue)
        return Progress(total, total - left, count, conflicts, sent, estimate, effort, remaining)

    def _estimate(self, conn: Connection) -> Estimate | None:
        found = answered_strata(conn, self._queue)
        n, size = sum(s.n for s, _ in found), sum(s.size for s, _ in found)
        if n < 2:
            return None
        low, high = live_interval([s for s, _ in found], level=LEVEL)
        share = sum(s.size * (middle if s.n else s.mean) for s, middle in found) / size
        return Estimate(min(max(share, low), high), low, high, LEVEL, n, True, ASSUMPTION)

    def _effort(self, conn: Connection, total: int) -> tuple[tuple[tuple[int, float], ...], int | None]:
        """What was found so far in the repair stream, and what the next answers are expected to find."""
        mine = and_(answers.c.queue_id == self._queue, answers.c.active, answers.c.stream == "repair")
        wrong = func.coalesce(func.sum((answers.c.wrong_low + answers.c.wrong_high) / 2), 0.0)
        done, found = conn.execute(select(func.count(), wrong).select_from(answers).where(mine)).one()
        now = time.monotonic()
        if self._curve is None or now - self._curve[0] > _CURVE_FRESH:
            self._curve = (now, self._expected(conn))
        points, n, hits = [(0, 0.0)], int(done), float(found)
        if n:
            points.append((n, hits))
        left = sum(p * count for p, count in self._curve[1])
        remaining = 0 if left < LEFT * total else None
        ahead = sum(count for _, count in self._curve[1])
        every, taken, last = max(1, ahead // _CURVE), 0, 0
        for p, count in self._curve[1]:
            excess = left - LEFT * total
            if remaining is None and p * count > excess:
                remaining = taken + math.ceil(excess / p)
            taken, hits, left = taken + count, hits + p * count, left - p * count
            if taken - last >= every:
                points.append((n + taken, hits))
                last = taken
        if last < taken:
            points.append((n + taken, hits))
        return tuple(points), remaining

    def _expected(self, conn: Connection) -> list[tuple[float, int]]:
        """(probability of being wrong, how many) of the open labelled items, most doubtful first, in small buckets."""
        bucket = cast(func.floor(items.c.logit * _STEP), Integer)
        query = (
            select(items.c.cell_id, func.avg(items.c.logit), func.count())
            .join(cells, cells.c.id == items.c.cell_id)
            .where(cells.c.queue_id == self._queue, items.c.open, items.c.logit > UNLABELLED)
            .group_by(items.c.cell_id, bucket)
        )  # all of it stands in one index
        every = conn.execute(select(cells.c.id, cells.c.shift).where(cells.c.queue_id == self._queue))
        moved = {row.id: row.shift for row in every}
        found = [(1 / (1 + math.exp(-(mean + moved[cell]))), n) for cell, mean, n in conn.execute(query)]
        return sorted(found, reverse=True)

    def people(self) -> list[Person]:
        """As `Desk.people`."""
        with reading(self._engine) as conn:
            query = (
                select(
                    users.c.id, users.c.name, users.c.role, func.count(),
                    func.count(answers.c.gold_right), func.sum(cast(answers.c.gold_right, Integer)),
                )
                .join(answers, answers.c.user_id == users.c.id)
                .where(answers.c.queue_id == self._queue, answers.c.active)
                .group_by(users.c.id, users.c.name, users.c.role)
                .order_by(users.c.name)
            )  # fmt: skip
            agreement = self._agreement(conn)
            out = []
            for number, name, role, count, seen, right in conn.execute(query):
                low, high = wilson(int(right), seen) if seen else (None, None)
                share = int(right) / seen if seen else None
                seconds = self._seconds(conn, number)
                out.append(Person(name, role, count, agreement.get(number), share, low, high, seen, seconds))
            return out

    def _agreement(self, conn: Connection) -> dict[int, float]:
        """Share of the pairs of answers of different people to one item that are equal, per person."""
        a, b = answers.alias(), answers.alias()
        mine = and_(a.c.queue_id == self._queue, a.c.active, b.c.active, a.c.kind != "unsure", b.c.kind != "unsure")
        judged = and_(a.c.stream != "adjudication", b.c.stream != "adjudication")
        same = func.avg(case((a.c.value == b.c.value, 1.0), else_=0.0))
        query = select(a.c.user_id, same).join(b, and_(a.c.item_id == b.c.item_id, a.c.user_id != b.c.user_id))
        return {number: float(share) for number, share in conn.execute(query.where(mine, judged).group_by(a.c.user_id))}

    def _seconds(self, conn: Connection, user: int) -> float | None:
        """The median over the last thousand answers."""
        timed = (answers.c.user_id == user) & (answers.c.queue_id == self._queue) & answers.c.seconds.is_not(None)
        last = select(answers.c.seconds).where(timed).order_by(answers.c.id.desc()).limit(1000)
        found = conn.execute(last).scalars().all()
        return statistics.median(found) if found else None

    def classes(self, space: LabelSpace, multi: bool) -> list[dict[str, Any]]:
        """As `Desk.classes`. An item with several classes counts in each of them."""
        answered = case((items.c.answers > 0, 1), else_=0)
        wrong = func.sum((items.c.wrong_low + items.c.wrong_high) / 2)
        columns = (
            items.c.given,
            items.c.settled,
            func.count(),
            func.sum(cast(items.c.is_issue, Integer)),
            func.sum(answered),
        )
        query = select(*columns, wrong).where(items.c.queue_id == self._queue).group_by(items.c.given, items.c.settled)
        told: dict[Any, dict[str, Any]] = {
            name: {"label": name, "items": 0, "flagged": 0, "answered": 0, "wrong": 0.0, "to": defaultdict(int)}
            for name in space.classes
        }
        with reading(self._engine) as conn:
            for given, settled, n, flagged, done, found in conn.execute(query):
                label = None if given is None else json.loads(given)
                for name in label if multi and label is not None else [label]:
                    if name not in told:
                        continue
                    row = told[name]
                    row["items"], row["flagged"] = row["items"] + n, row["flagged"] + int(flagged or 0)
                    row["answered"], row["wrong"] = row["answered"] + int(done or 0), row["wrong"] + float(found or 0)
                    if settled is not None:
                        row["to"][_spelled(json.loads(settled))] += n
        return [row | {"to": dict(row["to"])} for row in told.values()]


def answered_strata(conn: Connection, queue: int) -> list[tuple[Stratum, float]]:
    """Each stratum of the estimation stream, answered up to the first gap, and the mean of its clear readings."""
    out = []
    for row in conn.execute(select(strata).where(strata.c.queue_id == queue).order_by(strata.c.stratum)):
        mine = and_(items.c.queue_id == queue, items.c.stratum == row.stratum)
        gap = select(func.min(items.c.stratum_place)).where(mine, items.c.wrong_low.is_(None))
        last = select(func.max(items.c.stratum_place)).where(mine)
        first_gap = conn.execute(gap).scalar()
        n = int(first_gap if first_gap is not None else (conn.execute(last).scalar() or -1) + 1)
        least = func.sum(case((items.c.wrong_low >= 1, 1), else_=0))
        most = func.sum(case((items.c.wrong_high > 0, 1), else_=0))
        clear = func.avg(case((items.c.wrong_low == items.c.wrong_high, items.c.wrong_low)))
        query = select(least, most, clear).where(mine, items.c.stratum_place < n)
        low, high, middle = conn.execute(query).one()
        stratum = Stratum(row.size, n, int(low or 0), int(high or 0), row.mean)
        out.append((stratum, row.mean if middle is None else float(middle)))
    return out


def _spelled(label: Any) -> str:
    if isinstance(label, dict):
        return str(label.get("answer", "several classes"))
    return "|".join(map(str, label)) if isinstance(label, list) else str(label)
