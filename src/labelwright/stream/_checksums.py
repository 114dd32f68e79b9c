"""`checksums.json` beside shards: {file name: BLAKE2b of its bytes in hex}."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from labelwright.errors import DataError
from labelwright.stream._places import Place, find_place, reading

CHECKSUMS = "checksums.json"
_BLOCK = 1 << 20
_VERIFIED: set[tuple[str, bool, tuple[int, int], str]] = set()  # of this process
_ONE_AT_A_TIME = threading.Lock()


def write_checksums(folder: str | os.PathLike[str]) -> Path:
    """Write `checksums.json` for the files in a folder of shards; reading them then finds out whether they changed.

    Hidden files and folders are left out. An older `checksums.json` is replaced.

    Returns:
        the path of `checksums.json`.
    """
    place = find_place(folder)
    if place.filesystem is not None or place.kind() != "folder":
        raise DataError(found=f"no folder {place.name} on this machine", expected="one", fix="pass a local folder")
    names = [n for n in place.names() if not n.startswith((".", "_")) and n != CHECKSUMS]
    sums = {name: checksum(place / name) for name in names if (place / name).kind() == "file"}
    target = Path(place.path) / CHECKSUMS
    hidden = target.with_name(f".{CHECKSUMS}.new")
    hidden.write_text(json.dumps(sums, indent=1))
    os.replace(hidden, target)
    return target


def checksum(place: Place, digest_size: int = 32) -> str:
    """BLAKE2b of a file's bytes, in hex."""
    total = hashlib.blake2b(digest_size=digest_size)
    with place.open() as file, reading(place.name):
        while block := file.read(_BLOCK):
            total.update(block)
    return total.hexdigest()


def read_checksums(folder: Place, shards: Sequence[str]) -> dict[str, str]:
    """The checksums beside `shards`, {} where there are none.

    Raises:
        DataError: not the form above, or not about the same shards.
    """
    if CHECKSUMS not in folder.names():
        return {}
    with (folder / CHECKSUMS).open() as file, reading(CHECKSUMS):
        sums = json.loads(file.read())
    good = isinstance(sums, dict) and all(isinstance(s, str) and 2 <= len(s) <= 128 for s in sums.values())
    if not good:
        raise DataError(
            found=f"{CHECKSUMS} of another form in {folder.name}",
            expected="{file name: BLAKE2b in hex}",
            fix="write it again with labelwright.stream.write_checksums(folder)",
        )
    suffixes = {name.rpartition(".")[2] for name in shards}
    lost = [name for name in sums if name not in folder.names() and name.rpartition(".")[2] in suffixes]
    new = [name for name in shards if name not in sums]
    if lost or new:
        shard, what = (lost[0], "listed but not there") if lost else (new[0], "there but not listed")
        raise DataError(
            found=f"{len(lost or new)} shards {what} in {CHECKSUMS} of {folder.name}, first {shard}",
            expected="a checksum for every shard and a shard for every checksum",
            fix="copy the missing shards, or write the file again with labelwright.stream.write_checksums(folder)",
        )
    return sums


def verify(place: Place, wanted: str) -> None:
    """Read the file once per process and state of the file; raise `DataError` where it is not what it was."""
    key = (place.path, place.filesystem is None, place.stamp(), wanted)
    with _ONE_AT_A_TIME:  # or several threads would read it at once
        if key in _VERIFIED:
            return
        found = checksum(place, len(wanted) // 2)
        if found != wanted.lower():
            raise DataError(
                found=f"checksum {found[:12]}... of {place.name}",
                expected=f"{wanted[:12]}... as in {CHECKSUMS}: the shard changed or was damaged on the way",
                fix="copy it again; if it was changed on purpose, labelwright.stream.write_checksums(folder)",
            )
        _VERIFIED.add(key)
