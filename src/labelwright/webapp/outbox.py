"""From the database to the repository: acknowledged answers become events, each once, whatever dies in between.

An event keeps its id from the moment of the answer. The repository leaves out ids that it has, so a flush that died after the
repository's commit is done again without harm.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, func, select, update

from labelwright.errors import LabelwrightError
from labelwright.webapp.database import reading, writing
from labelwright.webapp.tables import outbox

if TYPE_CHECKING:
    import pyarrow as pa

    from labelwright.store import Repository
    from labelwright.webapp.part_events import PartEvents

_AT_A_TIME = 5_000
_LONGEST = 60.0  # seconds between tries that fail
_log = logging.getLogger(__name__)


def waiting(engine: Engine, queue: int) -> int:
    """Events that are not yet in the repository."""
    with reading(engine) as conn:
        left = select(func.count()).select_from(outbox)
        return int(conn.execute(left.where(outbox.c.queue_id == queue, outbox.c.commit.is_(None))).scalar_one())


def flush(engine: Engine, queue: int, repo: Repository, *, source: str, parts: PartEvents | None = None) -> int:
    """Write what waits into the repository; how many answers it was. parts: how those about boxes and regions are told.

    Raises:
        LabelwrightError: the repository or the database refused; what waits goes on waiting.
    """
    total = 0
    while True:
        query = select(outbox).where(outbox.c.commit.is_(None), outbox.c.queue_id == queue).order_by(outbox.c.id)
        with reading(engine) as conn:
            rows: list[Any] = list(conn.execute(query.limit(_AT_A_TIME)).all())
            events = rows if parts is None else parts(conn, rows)
        if not rows:
            return total
        commit = repo.append(_table(events), message=f"review: {len(rows):,} answers", source=source)
        with writing(engine) as conn:
            for at in range(0, len(rows), 500):
                numbers = [row.id for row in rows[at : at + 500]]
                conn.execute(update(outbox).where(outbox.c.id.in_(numbers)).values(commit=commit))
        total += len(rows)


def _table(events: list[Any]) -> pa.Table:
    import pyarrow as pa

    columns = {name: [getattr(row, name) for row in events] for name in ("event_id", "item", "source", "kind")}
    columns["value"] = pa.array([row.value for row in events], pa.string())
    times = [datetime.fromtimestamp(row.time, UTC) for row in events]
    return pa.table(columns | {"time": pa.array(times, pa.timestamp("us", "UTC"))})


class Flusher(threading.Thread):
    """Calls a function every few seconds until it is stopped, whatever it raises: the error is logged and kept in `trouble`, and
    the next tries come at longer and longer intervals until one succeeds.

    trouble: what went wrong at the last try, in words for a reviewer; empty after a try that succeeded.
    """

    def __init__(self, call: Callable[[], object], every: float = 3.0):
        super().__init__(name="labelwright-outbox", daemon=True)
        self._call, self._every, self._end = call, every, threading.Event()
        self.trouble = ""

    def run(self) -> None:
        """The loop."""
        pause = self._every
        while not self._end.wait(pause):
            try:
                self._call()
                pause, self.trouble = self._every, ""
            except Exception as err:  # also of other packages: without this thread no answer would get there
                pause = min(2 * pause, max(_LONGEST, self._every))
                ours = isinstance(err, LabelwrightError)
                told = f"found {err.found}. To mend it: {err.fix}" if ours else f"{type(err).__name__}: {err}"  # type: ignore[attr-defined]
                self.trouble = f"not yet written to the repository: {told}"[:500]
                _log.warning("answers wait for the repository: %s", err, exc_info=not ours)

    def stop(self) -> None:
        """End the loop and wait for what it is doing."""
        self._end.set()
        if self.is_alive():
            self.join(timeout=60)
