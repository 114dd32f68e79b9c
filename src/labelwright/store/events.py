"""The event table: who said what about which item, and when. Rows are added, never changed and never removed.

    events/log.jsonl       the commits; a complete line is the commit point (`labelwright.store._commits`)
    events/table.lance/    the rows, a Lance table; the log says which of its versions counts
    events/lock            one writer at a time; readers never lock

A writer takes the lock, goes on from the Lance version that the log names (what a dead writer added after it is left
behind), adds its rows, brings them down to the disk, and writes the line. Lance's own commit loop loses no rows of two
writers, but two that look for an event id at once both add it: hence the lock.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.errors import LabelwrightWarning, RepositoryError
from labelwright.store._atomic import sync, sync_folder
from labelwright.store._commits import CommitLog
from labelwright.store._lock import write_lock
from labelwright.store._rows import KINDS, digest, event_ids, prepare, schema
from labelwright.store._values import CANT_TELL, NONE_FITS, json_values

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["CANT_TELL", "KINDS", "NONE_FITS", "EventTable", "event_ids", "json_values", "schema"]

MERGE_EVERY, MERGE_ROWS = 64, 65_536  # every so many commits, files of fewer rows are merged
_GRACE, _PRUNE = timedelta(hours=1), 1_000  # Lance versions that nobody needed for so long go, so many at a time


class EventTable:
    """The events of one repository, in its folder `events`; nothing is made before the first `append`.

    folder: where it is or will be.   before_first: called under the lock before anything is made.
    log: the commits and tags, as of the last call. One handle may be shared by threads.
    """

    def __init__(self, folder: Path, *, before_first: Callable[[], None] = lambda: None):
        self._before_first = before_first
        self.folder, self.log = folder, CommitLog(folder / "log.jsonl")
        self._uri = os.path.abspath(folder / "table.lance")
        self._opened: Any = None
        self._mutex = threading.RLock()

    def append(self, events: Any, *, message: str, source: str) -> int:
        """Add the events whose ids are not there yet, all or none, as one commit.

        Args:
            events: a table as in `prepare`.   message: one sentence for `log`.   source: who or what commits.

        Returns:
            the number of the commit; of the newest one where every event was there already.

        Raises:
            LabelwrightError: as `prepare`.   RepositoryError: it cannot be written; then nothing was added.
        """
        rows, made = prepare(events, source=source)
        with self._mutex, self._writing():
            table = self._recovered()
            if not made:
                rows = _unseen(rows, table)
            if rows.num_rows == 0:
                return self.log.last
            number, before = self.log.last + 1, _fragments(table)
            table = self._add_rows(rows, number, table)
            self._sync(table, before)
            commit = self.log.next(_now(), message, source, rows.num_rows, digest(rows))
            self.log.add_commit(commit, table.version)
            self._opened = table
            if self.log.unmerged >= MERGE_EVERY:
                self._merge(table)
            return number

    def tag(self, name: str, commit: int) -> None:
        """Name a commit; the caller has checked both."""
        with self._mutex, self._writing():
            if name not in self.log.tags:
                self.log.add_tag(name, commit, _now())
            elif self.log.tags[name] != commit:
                raise RepositoryError(
                    found=f"a tag {name!r} on commit {self.log.tags[name]}",
                    expected="a new name: tags are not moved",
                    fix="choose another name",
                )

    def refreshed(self) -> CommitLog:
        """The log as it is now on the disk."""
        with self._mutex:
            self.log.refresh()
            return self.log

    def read(
        self,
        columns: list[str] | None = None,
        *,
        item: str | None = None,
        kinds: tuple[str, ...] = (),
        until: int | None = None,
    ) -> pa.Table:
        """Events in the order in which they were committed.

        Args:
            columns: all when None.   item, kinds: only events of this item, of these kinds.   until: up to this commit.
        """
        import pyarrow as pa

        batches = list(self.batches(columns, item=item, kinds=kinds, until=until))
        wanted = [schema().field(name) for name in columns or schema().names]
        return pa.Table.from_batches(batches, pa.schema(wanted))

    def batches(
        self,
        columns: list[str] | None = None,
        *,
        item: str | None = None,
        kinds: tuple[str, ...] = (),
        until: int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """As `read`, piece by piece."""
        with self._mutex:
            self.log.refresh()
            if self.log.last == 0 or until == 0:
                return
            table = self._current()
        tests = [] if item is None else [f"item = {_quoted(item)}"]
        tests += [f"kind IN ({', '.join(map(_quoted, kinds))})"] if kinds else []
        tests += [f"commit <= {int(until)}"] if until is not None and until < self.log.last else []
        yield from table.to_batches(columns=columns or schema().names, filter=" AND ".join(tests) or None)

    def verify(self) -> int:
        """Compare the rows of every commit with its digest in the log; the number of commits.

        Raises:
            RepositoryError: rows that were lost or changed.
        """
        rows = self.read()
        edges = np.searchsorted(rows["commit"].to_numpy(), np.arange(1, self.log.last + 2))
        for commit in self.log.commits:
            start, stop = edges[commit.commit - 1], edges[commit.commit]
            mine = rows.slice(start, stop - start)
            if mine.num_rows != commit.events or digest(mine) != commit.digest:
                raise RepositoryError(
                    found=f"{mine.num_rows} rows in commit {commit.commit} of {self.folder}, not what was committed",
                    expected=f"{commit.events} rows with digest {commit.digest}",
                    fix="restore the repository from a copy",
                )
        return self.log.last

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Alone, with the log as it is; what the disk refuses is told in our words."""
        try:
            self.folder.mkdir(exist_ok=True)
            with write_lock(self.folder / "lock"):
                self.log.refresh()
                yield
        except OSError as err:
            if isinstance(err, RepositoryError):
                raise
            raise RepositoryError(
                found=f"that {self.folder} cannot be written ({err.strerror or str(err).splitlines()[0][:300]})",
                expected="a folder on which you may write, with room left",
                fix="free some room or mend the permissions, then do the same again; nothing was added",
            ) from err

    def _recovered(self) -> Any:
        """The Lance table at the version of the log, made where there is none. Only under the lock."""
        import lance

        if self.log.table:
            table = self._current()
            if table.latest_version != table.version:  # a writer died, or failed, before its line
                table.restore()
            return table
        self._before_first()
        try:
            table = lance.dataset(self._uri)
        except ValueError:  # nothing there
            table = lance.write_dataset(schema().empty_table(), self._uri, mode="create")
        if table.count_rows():
            raise RepositoryError(
                found=f"events in {self.folder} without log.jsonl",
                expected="the log of their commits",
                fix="restore log.jsonl from a copy; nothing was changed",
            )
        self._sync(table, set())
        self.log.begin(table.version)
        return table

    def _current(self) -> Any:
        import lance

        if self._opened is None or self._opened.version != self.log.table:
            try:
                self._opened = lance.dataset(self._uri, version=self.log.table)
            except (ValueError, OSError) as err:
                raise RepositoryError(
                    found=f"no version {self.log.table} of {self._uri} that can be read ({str(err)[:200]})",
                    expected="the table that log.jsonl names",
                    fix="restore the repository from a copy",
                ) from err
        return self._opened

    def _add_rows(self, rows: pa.Table, number: int, table: Any) -> Any:
        import lance
        import pyarrow as pa

        column = pa.repeat(pa.scalar(number, pa.int64()), rows.num_rows)
        return lance.write_dataset(rows.append_column(schema().field("commit"), column), table, mode="append")

    def _sync(self, table: Any, before: set[int]) -> None:
        """Bring a Lance version down to the disk: its manifest, and the files of its new fragments."""
        root = Path(self._uri)
        new = [f for f in table.get_fragments() if f.fragment_id not in before]
        data = [root / "data" / file.path for fragment in new for file in fragment.data_files()]
        names = (
            f"{2**64 - 1 - table.version:020d}.manifest",
            f"{table.version}.manifest",
        )  # new and old way to name them
        for path in [*data, *(root / "_versions" / name for name in names)]:
            if path.exists():
                with path.open("rb+") as f:
                    sync(f)
        for folder in ("data", "_versions") if before else ("data", "_versions", ".", ".."):
            if (root / folder).is_dir():
                sync_folder(root / folder)

    def _merge(self, table: Any) -> None:
        """Merge small files, then forget Lance versions that no reader can be using. Every commit stays readable: it is a
        filter on `commit`, not an old Lance version."""
        try:
            before = _fragments(table)
            table.optimize.compact_files(target_rows_per_fragment=MERGE_ROWS, num_threads=1)
            self._sync(table, before)
            long_ago = _now(datetime.now(UTC) - _GRACE)
            kept = max((version for time, version in self.log.tables if time < long_ago), default=1)
            prune = kept - self.log.kept >= _PRUNE
            self.log.add_table(table.version, kept if prune else self.log.kept, _now())
            if prune:
                table.cleanup_old_versions(retain_versions=table.version - kept + 1)
        except (OSError, ValueError, RuntimeError) as err:  # the commit stands
            warnings.warn(f"the files of {self.folder} were not merged: {err}", LabelwrightWarning, stacklevel=4)
            self._opened = None


def _unseen(rows: pa.Table, table: Any) -> pa.Table:
    """Rows whose event id is neither in `table` nor further up. Hashes settle most cases in a sixth of the memory."""
    import pyarrow.compute as pc

    ids = rows["event_id"].combine_chunks()
    hashes = _hashes([ids])
    if _repeats(hashes):
        first = np.unique(ids.dictionary_encode().indices.to_numpy(), return_index=True)[1]
        rows = rows.take(np.sort(first))
        ids = rows["event_id"].combine_chunks()
        hashes = _hashes([ids])
    few = f"event_id IN ({', '.join(map(_quoted, ids.to_pylist()))})" if 0 < len(ids) <= 1000 else None
    batches = table.to_batches(columns=["event_id"], filter=few)
    if not _repeats(np.concatenate([hashes, _hashes(batch["event_id"] for batch in batches)])):
        return rows
    there = table.to_table(columns=["event_id"], filter=few)["event_id"]
    return rows.filter(pc.invert(pc.is_in(ids, value_set=there)))


def _hashes(arrays: Iterable[Any]) -> np.ndarray:
    """(N,) int64, one per string; equal strings have equal ones."""
    pieces = (array.slice(i, 65_536) for array in arrays for i in range(0, len(array), 65_536))
    found = [np.fromiter(map(hash, piece.to_pylist()), np.int64, len(piece)) for piece in pieces]
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _repeats(values: np.ndarray) -> bool:
    ordered = np.sort(values)  # np.unique takes ten times as long on hashes
    return bool((ordered[1:] == ordered[:-1]).any())


def _fragments(table: Any) -> set[int]:
    return {fragment.fragment_id for fragment in table.get_fragments()}


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _now(time: datetime | None = None) -> str:
    return (time or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
