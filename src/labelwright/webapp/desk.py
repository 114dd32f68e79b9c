"""The desk: what reviewers may do, each as one transaction. Threads may share it, and several desks one database."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Row, delete, func, insert, select
from sqlalchemy.exc import IntegrityError

from labelwright.errors import OptionError, check_option, check_whole
from labelwright.labels import LabelSpace
from labelwright.webapp import comparing, figures, leasing, outbox, viewing
from labelwright.webapp.answers import Answer
from labelwright.webapp.content import Contents
from labelwright.webapp.database import reading, writing
from labelwright.webapp.export import export, export_rows
from labelwright.webapp.part_events import PartEvents
from labelwright.webapp.queue import Filters, audit_folder, facts, open_queue, set_gold, set_wanted
from labelwright.webapp.recording import checked_id, clean, insert_answer, known_answer, mark, take_back
from labelwright.webapp.refusals import lease_lost, not_allowed
from labelwright.webapp.settling import event_id
from labelwright.webapp.tables import answers, items, leases, skips
from labelwright.webapp.views import STREAMS, Conflict, Found, Item, Lease, Pair, Person, Progress, Receipt, User

if TYPE_CHECKING:
    from labelwright.store import Repository

_AHEAD = 3  # leases beyond the one in work
_PATIENCE = 50  # looks at a queue whose last items are locked by others


class Desk:
    """The review of one audit. Made by `open`.

    repo, audit: what is reviewed.   space: its classes.   multi: whether items have sets of them.   name: of the repository.
    of_parts: whether its items are boxes or regions of pictures.
    """

    def __init__(self, repo: Repository, engine: Engine, folder: Path, queue: int, contents: Contents, **settings: Any):
        self.repo, self.audit, self.name = repo, folder.name, repo.path.name.removesuffix(".labels")
        self.space = LabelSpace.from_json(json.dumps(repo.head["space"]))
        self.multi = bool(settings["multi"])
        self.of_parts = contents.of_parts
        self._engine, self._queue, self._contents, self._folder = engine, queue, contents, folder
        self._lease_seconds = float(settings["lease_seconds"])
        self._gold_share, self._seed = settings["gold_share"], settings["seed"]
        self._made = settings["made"]
        self._flushing = threading.Lock()
        self._pairs = comparing.Pairs(queue, contents, settings["seed"])
        self._figures = figures.Figures(engine, queue, folder)
        self._flusher: outbox.Flusher | None = None

    @classmethod
    def open(
        cls,
        repo: Repository,
        engine: Engine,
        *,
        audit: str | None = None,
        overlap: int = 1,
        lease_seconds: float = 600,
        gold_share: float = 0.0,
        gold: Mapping[str, Any] | None = None,
        data: Path | None = None,
        seed: int = 0,
        flush_every: float | None = 3.0,
    ) -> Desk:
        """The desk of an audit; its items are imported when the database does not have them yet.

        Args:
            repo: the repository.   engine: of `open_database`.   audit: its folder's name, such as "0003"; the newest.
            overlap: answers that settle an item, each of another reviewer.   lease_seconds: how long an item is kept for
                whoever has it.   gold: item key -> its known label.   gold_share: in [0, 1], how many of the items handed out
                are gold ones.   data: the folder of the data now, where it has moved since the audit.
            seed: of gold items and of the order of compared labels.   flush_every: seconds between writes into the repository;
                None: only when `flush` is called.

        Raises:
            RepositoryError: no such audit.   OptionError, DataError: an argument is not as described.
        """
        check_whole("overlap", overlap, 1)
        if not 0 <= gold_share <= 1 or lease_seconds <= 0:
            raise OptionError(
                found=f"gold_share={gold_share!r}, lease_seconds={lease_seconds!r}",
                expected="a share from 0 to 1, and some seconds",
                fix="leave them out",
            )
        folder = audit_folder(repo, audit)
        contents = Contents(folder, root=data)
        with writing(engine) as conn:
            if conn.dialect.name != "sqlite":
                conn.exec_driver_sql("SELECT pg_advisory_xact_lock(7235202)")  # one import at a time
            queue = open_queue(conn, repo, folder, contents, overlap=overlap)
            set_wanted(conn, queue, overlap)
            if gold is not None:
                set_gold(conn, queue, gold)
            made, multi = facts(conn, queue)
        desk = cls(
            repo,
            engine,
            folder,
            queue,
            contents,
            lease_seconds=lease_seconds,
            gold_share=gold_share,
            seed=seed,
            made=made,
            multi=multi,
        )
        if flush_every is not None:
            desk._flusher = outbox.Flusher(desk.flush, flush_every)
            desk._flusher.start()
        return desk

    def close(self) -> None:
        """Stop the background writer and write what waits. The engine stays open: it is the caller's."""
        if self._flusher is not None:
            self._flusher.stop()
            self._flusher = None
        self.flush()

    # -- the work ----------------------------------------------------------------------------------------------------
    def next(
        self, user: User, stream: str = "repair", *, ahead: int = 0, filters: Filters | None = None
    ) -> Lease | None:
        """Lease the item to answer now; with ahead=1 the one behind it, and so on to 3. None where nothing is left.

        What the user has leased comes back first. Items that the user skipped come up again when nothing else is left.

        Raises:
            OptionError: an unknown stream.   NotAllowed: adjudication without the role.
        """
        check_option("stream", stream, STREAMS)
        if not isinstance(ahead, int) or not 0 <= ahead <= _AHEAD:
            raise OptionError(found=f"ahead={ahead!r}", expected=f"0 to {_AHEAD}", fix="pass ahead=1 to prefetch one")
        if stream == "adjudication":
            self._needs(user, "adjudicator")
        conditions = [] if filters is None else filters.conditions()
        for _ in range(_PATIENCE):
            lease = self._next(user, stream, ahead, conditions)
            if lease is not None or self._engine.dialect.name == "sqlite":
                return lease
            with reading(self._engine) as conn:  # the last items may be in others' hands for some milliseconds
                if not leasing.any_free(conn, self._queue, user.id, stream, time.time(), conditions):
                    return None
            time.sleep(0.02)
        return None

    def _next(self, user: User, stream: str, ahead: int, conditions: list[Any]) -> Lease | None:
        now = time.time()
        until = now + self._lease_seconds
        with writing(self._engine, durable=False) as conn:
            mine = leasing.held(conn, self._queue, user.id, stream, conditions)
            tokens = [row.token for row in mine[: ahead + 1]]
            while len(tokens) <= ahead:
                token = self._take_next(conn, user, stream, now, until, conditions)
                if token is None:
                    return None
                tokens.append(token)
                now += 1e-6  # so that they keep their order
            leasing.renew(conn, tokens[ahead], until)
            lease = conn.execute(select(leases).where(leases.c.token == tokens[ahead])).one()
            return self._lease(conn, lease, user, until)

    def item(self, key: str, user: User) -> Item:
        """An item by its key. Raises NoSuchItem."""
        with reading(self._engine) as conn:
            row = viewing.find(conn, self._queue, key)
            return viewing.view(conn, row, user, self._contents, self.space)

    def media(self, key: str) -> tuple[Path | bytes, str]:
        """The file or the bytes of an item's picture or sound, and the media type.

        Raises:
            NoSuchItem: no such item, or nothing to show of it.   DataError: a file outside the data's folder.
        """
        with reading(self._engine) as conn:
            row = viewing.find(conn, self._queue, key)
        return self._contents.media(row.row)

    def answer(
        self, user: User, token: str, answer: Answer, *, client_id: str, seconds: float | None = None
    ) -> Receipt:
        """Take the answer to a leased item. When this returns, the answer is on the disk.

        client_id: made by whoever sends it; the same again is answered alike and adds nothing.   seconds: it took.

        Raises:
            IdTaken: under this client_id something else was sent.
            LeaseLost: the lease ended and somebody else has the item.   LabelError, OptionError: an answer that is none.
            DiskFull, DatabaseFailed: not taken.
        """

        def work(conn: Connection) -> tuple[Row[Any], str, bool]:
            item = self._locked(conn, token, user)
            lease = conn.execute(select(leases).where(leases.c.token == token)).one_or_none()
            if lease is None:
                raise lease_lost()
            return item, lease.stream, bool(lease.gold and not item.open)

        return self._record(user, answer, client_id, seconds, work, token=token)

    def answer_item(self, user: User, key: str, answer: Answer, *, client_id: str) -> Receipt:
        """Answer an item without a lease, also one that has its answers. The user's earlier answer no longer counts."""

        def work(conn: Connection) -> tuple[Row[Any], str, bool]:
            item = leasing.lock_item(conn, viewing.find(conn, self._queue, key).id)
            assert item is not None
            return item, "repair", False

        return self._record(user, answer, client_id, None, work, key=key)

    def adjudicate(self, user: User, key: str, answer: Answer, *, client_id: str) -> Receipt:
        """Settle an item over the answers of others. Raises NotAllowed without the role of an adjudicator."""
        self._needs(user, "adjudicator")

        def work(conn: Connection) -> tuple[Row[Any], str, bool]:
            item = leasing.lock_item(conn, viewing.find(conn, self._queue, key).id)
            assert item is not None
            return item, "adjudication", False

        return self._record(user, answer, client_id, None, work, key=key)

    def skip(self, user: User, token: str) -> None:
        """Give a leased item back; the user gets it again when nothing else is left."""
        with writing(self._engine) as conn:
            item = self._locked(conn, token, user)
            conn.execute(delete(leases).where(leases.c.token == token))
            there = select(skips.c.item_id).where(skips.c.item_id == item.id, skips.c.user_id == user.id)
            if conn.execute(there).scalar() is None:
                conn.execute(insert(skips).values(item_id=item.id, user_id=user.id, time=time.time()))

    def flag(self, user: User, key: str, comment: str = "", on: bool = True) -> None:
        """Mark an item for others to look at, or take the user's mark away."""
        with writing(self._engine) as conn:
            mark(conn, viewing.find(conn, self._queue, key).id, user, comment, on=on)

    def undo(self, user: User) -> Item | None:
        """Take the user's last answer back and lease its item to the user again; None where there is nothing to undo."""
        with writing(self._engine) as conn:
            key = take_back(conn, self._queue, user, self._lease_seconds)
            if key is None:
                return None
            item = viewing.find(conn, self._queue, key)
            seen = viewing.view(conn, item, user, self._contents, self.space)
        self._figures.changed()
        return seen

    # -- looking -----------------------------------------------------------------------------------------------------
    def search(self, text: str = "", *, user: User, **filters: Any) -> Found:
        """Items by text and filters, as `viewing.search`: label, suggested, kind, state, flagged, page, per_page."""
        with reading(self._engine) as conn:
            return viewing.search(conn, self._queue, text, user=user, **filters)

    def progress(self) -> Progress:
        """How far the review is, and the share of wrong labels with an interval that is valid at every look."""
        trouble = "" if self._flusher is None else self._flusher.trouble
        return replace(self._figures.progress(), trouble=trouble)

    def people(self) -> list[Person]:
        """The reviewers, by name."""
        return self._figures.people()

    def classes(self) -> list[dict[str, Any]]:
        """Per class: label, items, flagged, answered, wrong (so far), and `to`, {settled label: items}."""
        return self._figures.classes(self.space, self.multi)

    def conflicts(self, page: int = 1, per_page: int = 20) -> tuple[list[Conflict], int]:
        """A page of the items on which reviewers disagree, and how many there are in all."""
        check_whole("page", page, 1)
        wanted = (items.c.queue_id == self._queue) & items.c.conflict
        anybody = User(-1, "", "adjudicator")
        with reading(self._engine) as conn:
            total = conn.execute(select(func.count()).select_from(items).where(wanted)).scalar_one()
            found = select(items).where(wanted).order_by(items.c.id).limit(per_page).offset((page - 1) * per_page)
            rows = conn.execute(found).all()
            seen = [viewing.view(conn, row, anybody, self._contents, self.space) for row in rows]
            return [Conflict(item, viewing.answers_of(conn, row.id)) for item, row in zip(seen, rows)], total

    # -- comparing ---------------------------------------------------------------------------------------------------
    def pair(self, user: User) -> Pair | None:
        """Two candidate labels of an item, in an order drawn by the seed; None where nothing is left to compare. Candidates are
        the given label, what the audit suggests, votes, and, once an item has its answers, those of reviewers."""
        with writing(self._engine, durable=False) as conn:
            row = self._pairs.next(conn, user)
            if row is None:
                return None
            item = conn.execute(select(items).where(items.c.id == row.item_id)).one()
            seen = viewing.view(conn, item, user, self._contents, self.space)
            return Pair(row.token, seen, tuple(json.loads(row.first)), tuple(json.loads(row.second)))

    def compare(self, user: User, token: str, better: str, *, client_id: str) -> Receipt:
        """Which label of a pair is better: "first", "second" or "same". It goes to the repository as a vote, and into
        `export(what="comparisons")`."""
        with writing(self._engine) as conn:
            return self._pairs.compare(conn, user, token, better, client_id)

    # -- out ---------------------------------------------------------------------------------------------------------
    def export(self, format: str = "csv", what: str = "answers") -> Iterator[bytes]:
        """All answers that count, or all comparisons, as CSV, JSON lines or Parquet, piece by piece. The answers can be passed to
        `labelwright audit --reviews`, the comparisons to `Comparisons.from_table`. Raises OptionError for another format."""
        check_option("what", what, ("answers", "comparisons"))
        if what == "comparisons":
            return iter([export_rows(comparing.told(self._engine, self._queue), format)])
        return export(self._engine, self._queue, format)

    def flush(self) -> int:
        """Write what waits into the repository now; the number of events."""
        with self._flushing:
            parts = PartEvents(self._queue, self._contents) if self._contents.of_parts else None
            source = f"review of audit {self.audit}"
            sent = outbox.flush(self._engine, self._queue, self.repo, source=source, parts=parts)
        if sent:
            self._figures.changed()
        return sent

    # -- within ------------------------------------------------------------------------------------------------------
    @staticmethod
    def _needs(user: User, role: str) -> None:
        if not user.may(role):
            raise not_allowed(user.role, role)

    def _take_next(
        self, conn: Connection, user: User, stream: str, now: float, until: float, conditions: Iterable[Any]
    ) -> str | None:
        """Lease one more item; its token."""
        if self._gold_share > 0 and stream != "adjudication":
            given = conn.execute(select(func.count()).select_from(answers).where(answers.c.user_id == user.id)).scalar()
            drawn = int(event_id("gold", self._seed, user.id, given, now)[:12], 16) / 16**12
            if drawn < self._gold_share:
                gold = leasing.gold_candidate(conn, self._queue, user.id, drawn / self._gold_share)
                if gold is not None:
                    return leasing.take(conn, gold, user.id, stream, now=now, until=until, gold=True)
        row = leasing.candidate(conn, self._queue, user.id, stream, now, conditions)
        if row is None and leasing.forget_skips(conn, self._queue, user.id):
            row = leasing.candidate(conn, self._queue, user.id, stream, now, conditions)
        return None if row is None else leasing.take(conn, row, user.id, stream, now=now, until=until)

    def _lease(self, conn: Connection, lease: Row[Any], user: User, until: float) -> Lease:
        row = conn.execute(select(items).where(items.c.id == lease.item_id)).one()
        said = (answers.c.user_id == user.id) & (answers.c.queue_id == self._queue) & (answers.c.stream == lease.stream)
        place = conn.execute(select(func.count()).select_from(answers).where(said, answers.c.active)).scalar_one()
        seen = viewing.view(conn, row, user, self._contents, self.space)
        return Lease(lease.token, seen, lease.stream, datetime.fromtimestamp(until, UTC), place)

    def _locked(self, conn: Connection, token: str, user: User) -> Row[Any]:
        """The item of the user's lease, locked. Raises LeaseLost."""
        mine = (leases.c.token == token) & (leases.c.user_id == user.id) & (leases.c.queue_id == self._queue)
        number = conn.execute(select(leases.c.item_id).where(mine)).scalar()
        item = None if number is None else leasing.lock_item(conn, number)
        if item is None or conn.execute(select(leases.c.token).where(mine)).scalar() is None:
            raise lease_lost()
        return item

    def _record(
        self, user: User, answer: Answer, client_id: str, seconds: float | None, work: Any, *,
        token: str | None = None, key: str | None = None,
    ) -> Receipt:  # fmt: skip
        """One answer, its event, and what follows from both, in one transaction. Of token and key one names the item."""
        client_id, answer = checked_id(client_id), Answer(**vars(answer) | {"comment": clean(answer.comment)})
        try:
            with writing(self._engine) as conn:
                known = known_answer(conn, user, client_id, answer, token=token, key=key)
                if known is not None:
                    return known
                item, stream, extra = work(conn)
                if stream == "adjudication":
                    self._needs(user, "adjudicator")
                event = insert_answer(
                    conn, self.space, user, item, answer, stream=stream, extra=extra, client_id=client_id, token=token,
                    seconds=seconds, salt=(self._made, self.audit), multi=self.multi, part=self._contents.part(item.row),
                )  # fmt: skip
        except IntegrityError:  # the same answer was sent twice at once
            with reading(self._engine) as conn:
                known = known_answer(conn, user, client_id, answer, token=token, key=key)
            if known is None:
                raise
            return known
        self._figures.changed()
        return Receipt(event, item.key)
