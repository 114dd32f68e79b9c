"""The log of the event table: one JSON line per commit, tag or merge of files. A complete line is the commit point.

    {"log": "labelwright.events", "version": 1, "table": 1}
    {"commit": 1, "time": "2025-01-31T12:00:00.000000Z", "message": "...", "source": "...", "events": 12, "digest": "...",
     "head": "...", "table": 2}
    {"tag": "released", "commit": 1, "time": "..."}
    {"table": 66, "kept": 1, "time": "..."}

`table` is the version of the Lance table that holds exactly the commits so far. A last line without its line end was never
acknowledged: readers pass over it and the next writer cuts it off. `head` hashes the commit together with the one before.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from labelwright.errors import RepositoryError
from labelwright.store._atomic import sync_folder

LOG, LOG_VERSION = "labelwright.events", 1


class Commit(NamedTuple):
    """One commit. time: UTC, ISO 8601.   events: rows it added.   digest: of these rows.   head: of all history up to here."""

    commit: int
    time: str
    message: str
    source: str
    events: int
    digest: str
    head: str


class CommitLog:
    """What the log says. commits: oldest first, numbers from 1.   tags: name -> commit.   table: the Lance version.

    unmerged: commits since files were merged last.   kept: Lance versions before this one are removed.
    """

    def __init__(self, path: Path):
        self.path = path
        self._start()

    def _start(self) -> None:
        self.commits: list[Commit] = []
        self.tags: dict[str, int] = {}
        self.tables: list[tuple[str, int]] = []  # (time, Lance version), of each line that changed it
        self.table = self.unmerged = self.offset = 0
        self.kept = 1

    @property
    def last(self) -> int:
        """The newest commit's number, 0 before the first."""
        return len(self.commits)

    def refresh(self) -> None:
        """Read the lines that were added since."""
        try:
            with self.path.open("rb") as f:
                f.seek(0, os.SEEK_END)
                if f.tell() < self.offset:  # another repository has come to be under this path
                    self._start()
                f.seek(self.offset)
                new = f.read()
        except FileNotFoundError:
            self._start()
            return
        for line in new[: new.rfind(b"\n") + 1].splitlines(keepends=True):
            self._take(line)
            self.offset += len(line)

    def _take(self, line: bytes) -> None:
        try:
            record = json.loads(line)
            if self.offset == 0:
                self._header(record)
            elif "head" in record:
                self._commit(record)
            elif "tag" in record:
                self.tags[record["tag"]] = record["commit"]
            else:
                self.unmerged, self.kept = 0, int(record["kept"])
            if "table" in record:
                self.table = int(record["table"])
                self.tables.append((record.get("time", ""), self.table))
        except (ValueError, KeyError, TypeError, AttributeError) as err:
            raise RepositoryError(
                found=f"a line after byte {self.offset} of {self.path} that cannot be read ({err})",
                expected="the log as it was written",
                fix="restore the repository from a copy; nothing was changed",
            ) from err

    def _header(self, record: dict[str, Any]) -> None:
        if record["log"] != LOG:
            raise ValueError("it is the log of something else")
        if record["version"] > LOG_VERSION:
            raise RepositoryError(
                found=f"{self.path}, written in version {record['version']} of the format",
                expected=f"version {LOG_VERSION} or older",
                fix="upgrade: pip install -U labelwright",
            )

    def _commit(self, record: dict[str, Any]) -> None:
        known = {name: value for name, value in record.items() if name != "table"}
        said = [known[name] for name in ("commit", "time", "message", "source", "events", "digest")]
        if said[0] != self.last + 1 or known["head"] != self._head(said):
            raise ValueError(f"commit {said[0]} does not follow from the one before")
        self.commits.append(Commit(**known))
        self.unmerged += 1

    def next(self, time: str, message: str, source: str, events: int, digest: str) -> Commit:
        """The commit that would follow."""
        said = [self.last + 1, time, message, source, events, digest]
        return Commit(self.last + 1, time, message, source, events, digest, self._head(said))

    def _head(self, said: list[Any]) -> str:
        before = self.commits[-1].head if self.commits else ""
        return hashlib.blake2b(json.dumps([before, *said]).encode(), digest_size=16).hexdigest()

    def begin(self, table: int) -> None:
        """Write the first line."""
        self._add({"log": LOG, "version": LOG_VERSION, "table": table})
        sync_folder(self.path.parent)

    def add_commit(self, commit: Commit, table: int) -> None:
        """Acknowledge `commit`, whose rows the Lance version `table` holds."""
        self._add({**commit._asdict(), "table": table})

    def add_tag(self, name: str, commit: int, time: str) -> None:
        """Name a commit."""
        self._add({"tag": name, "commit": commit, "time": time})

    def add_table(self, table: int, kept: int, time: str) -> None:
        """The same rows are now in the Lance version `table`; versions before `kept` are no longer needed."""
        self._add({"table": table, "kept": kept, "time": time})

    def _add(self, record: dict[str, Any]) -> None:
        """Append one line, down to the disk. Only under the write lock, after `refresh`."""
        line = json.dumps(record, ensure_ascii=True).encode() + b"\n"
        fd = os.open(
            self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0), 0o666
        )
        try:
            os.ftruncate(fd, self.offset)  # what a writer left that died within its line
            os.lseek(fd, self.offset, os.SEEK_SET)
            try:
                left = memoryview(line)
                while left:
                    left = left[os.write(fd, left) :]
                os.fsync(fd)
            except OSError:
                os.ftruncate(fd, self.offset)
                raise
        finally:
            os.close(fd)
        self._take(line)
        self.offset += len(line)
