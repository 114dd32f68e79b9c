"""From the database to the repository: acknowledged answers become events, each once, whatever dies in between.

An event keeps its id from the moment of the answer. The repository leaves out ids that it has, so a flush that died after the
repository's commit is done again without harm.
"""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import Engine, func, select, update

from labelwright.errors import LabelwrightError
from labelwright.webapp.database import reading, writing
from labelwright.webapp.tables import outbox

if TYPE_CHECKING:
    from labelwright.store import Repository

_AT_A_TIME = 5_000
_log = logging.getLogger(__name__)


def waiting(engine: Engine, queue: int) -> int:
    """Events that are not yet in the repository."""
    with reading(engine) as conn:
        left = select(func.count()).select_from(outbox)
        return int(conn.execute(left.where(outbox.c.queue_id == queue, outbox.c.commit.is_(None))).scalar_one())


def flush(engine: Engine, queue: int, repo: Repository, *, source: str) -> int:
    """Write what waits into the repository; how many events it was.

    Raises:
        LabelwrightError: the repository or the database refused; what waits goes on waiting.
    """
    import pyarrow as pa

    total = 0
    while True:
        query = select(outbox).where(outbox.c.commit.is_(None), outbox.c.queue_id == queue).order_by(outbox.c.id)
        with reading(engine) as conn:
            rows = conn.execute(query.limit(_AT_A_TIME)).all()
        if not rows:
            return total
        events = pa.table(
            {
                "event_id": [row.event_id for row in rows],
                "item": [row.item for row in rows],
                "source": [row.source for row in rows],
                "kind": [row.kind for row in rows],
                "value": pa.array([row.value for row in rows], pa.string()),
                "time": pa.array([datetime.fromtimestamp(row.time, UTC) for row in rows], pa.timestamp("us", "UTC")),
            }
        )
        commit = repo.append(events, message=f"review: {len(rows):,} answers", source=source)
        with writing(engine) as conn:
            for at in range(0, len(rows), 500):
                numbers = [row.id for row in rows[at : at + 500]]
                conn.execute(update(outbox).where(outbox.c.id.in_(numbers)).values(commit=commit))
        total += len(rows)


class Flusher(threading.Thread):
    """Calls a function every few seconds until it is stopped. What goes wrong is logged, and tried again."""

    def __init__(self, call: object, every: float = 3.0):
        super().__init__(name="labelwright-outbox", daemon=True)
        self._call, self._every, self._end = call, every, threading.Event()

    def run(self) -> None:
        """The loop."""
        while not self._end.wait(self._every):
            try:
                self._call()  # type: ignore[operator]
            except LabelwrightError as err:
                _log.warning("answers wait for the repository: %s", err)

    def stop(self) -> None:
        """End the loop and wait for what it is doing."""
        self._end.set()
        if self.is_alive():
            self.join(timeout=60)
