"""One writer at a time: a lock that the operating system drops when its holder dies, however it dies."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labelwright.errors import RepositoryError

_WAIT = 60.0  # seconds; the longest commit we know takes a tenth of it


@contextmanager
def write_lock(path: Path, *, wait: float = _WAIT) -> Iterator[None]:
    """Hold the lock file `path`, which is made where it is not there. Threads and processes exclude each other.

    Raises:
        RepositoryError: another writer holds it for longer than `wait` seconds.   OSError: the file cannot be opened.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        end, pause = time.monotonic() + wait, 0.001
        while not _taken(fd):
            if time.monotonic() > end:
                raise RepositoryError(
                    found=f"another writer that has held {path} for {wait:g} seconds",
                    expected="to be the only writer",
                    fix="wait for the other process, or end it; nothing was changed",
                )
            time.sleep(pause)
            pause = min(2 * pause, 0.02)
        try:
            yield
        finally:
            _release(fd)
    finally:
        os.close(fd)


if sys.platform == "win32":
    import msvcrt

    def _taken(fd: int) -> bool:
        os.lseek(fd, 0, os.SEEK_SET)  # the lock is on one byte, at the place of the file
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _release(fd: int) -> None:
        os.lseek(fd, 0, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _taken(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike lockf it also keeps threads apart
        except BlockingIOError:
            return False
        return True

    def _release(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)
