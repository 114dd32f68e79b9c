"""Files that are there whole or not at all: written under a hidden name, synced, then renamed."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labelwright.errors import RepositoryError

FileContent = bytes | Callable[[Path], None]
_STALE = 24 * 3600  # seconds


def new_name() -> str:
    """A hidden name that nobody else has: what bears it is not finished."""
    return f".new-{secrets.token_hex(8)}"


def remove_stale(folder: Path) -> None:
    """Remove unfinished things in `folder` that nobody has written to for a day: their writers died."""
    for left in folder.glob(".new-*"):
        is_folder = left.is_dir() and not left.is_symlink()
        try:
            inside = list(left.iterdir()) if is_folder else []
            if time.time() - max(p.lstat().st_mtime for p in [left, *inside]) > _STALE:
                shutil.rmtree(left) if is_folder else left.unlink()
        except FileNotFoundError:
            continue  # another writer was quicker


def fill(path: Path, content: FileContent) -> None:
    """Write one file of an audit, down to the disk."""
    if isinstance(content, bytes):
        write(path, content)
        return
    content(path)
    if not path.is_file() or path.is_symlink():
        raise RepositoryError(
            found=f"no file {path.name} after its function ran", expected="the file", fix="write it at the path given"
        )
    with path.open("r+b") as f:
        sync(f)


def write(path: Path, data: bytes) -> None:
    """A new file with `data`, down to the disk."""
    with path.open("xb") as f:
        f.write(data)
        sync(f)


def sync(f: Any) -> None:
    """What was written to `f` survives a power cut."""
    f.flush()
    os.fsync(f.fileno())


def sync_folder(path: Path) -> None:
    """The names in a folder survive a power cut."""
    if os.name == "posix":  # elsewhere a folder cannot be opened, and renames are durable without it
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
