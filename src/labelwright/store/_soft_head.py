"""The frame of a soft-label file: prologue, sections, digests and a JSON head; docs/soft-label-files.md has every byte."""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from labelwright.errors import DataError
from labelwright.store._atomic import new_name, remove_stale, sync, sync_folder
from labelwright.store._kinds import looks_like, parsing

MAGIC, VERSION = b"LWSOFT\r\n", 1
ALIGN, BLOCK, DIGEST = 64, 1 << 20, 16  # bytes
_PROLOGUE = struct.Struct("<8sIIQQQ16s8x")  # magic, version, 0, head offset, head bytes, file bytes, digest of the head


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that appears at `path` whole when the block ends well, and never otherwise.

    Raises:
        DataError: something is at `path` (at the start or at the end), or no file can be made there.
    """
    if os.path.lexists(path):
        raise _taken(path)
    temp = path.parent / new_name()
    try:
        remove_stale(path.parent)
        f = temp.open("xb")
    except OSError as err:
        raise DataError(
            found=f"that {path} cannot be made ({err.strerror})",
            expected="a folder in which you may write",
            fix=f"make the folder {path.parent} and see that you may write there",
        ) from err
    try:
        with f:
            yield f
            sync(f)
        _name(temp, path)
        sync_folder(path.parent)
    finally:
        temp.unlink(missing_ok=True)


def _name(temp: Path, path: Path) -> None:
    try:
        os.link(temp, path)  # unlike a rename, never replaces what another process put there meanwhile
    except FileExistsError:
        raise _taken(path) from None
    except OSError:  # a disk without links
        if os.path.lexists(path):
            raise _taken(path) from None
        os.rename(temp, path)


def _taken(path: Path) -> DataError:
    return DataError(
        found=f"something at {path} already",
        expected="a new name: soft-label files are never overwritten",
        fix="choose another path, or remove the old file yourself",
    )


class FrameWriter:
    """Writes the sections of one file in order, digests them block by block, and closes with head and prologue."""

    def __init__(self, f: BinaryIO):
        self.f = f
        self.sections: dict[str, list[int]] = {}  # name -> offset, bytes
        self._digests, self._hash, self._left = bytearray(), blake2b(digest_size=DIGEST), BLOCK
        f.write(bytes(_PROLOGUE.size))

    def write(self, name: str, data: bytes | np.ndarray) -> None:
        """Append to the section `name`; a new name begins a new section."""
        if name not in self.sections:
            self._put(bytes(-self.f.tell() % ALIGN))
            self.sections[name] = [self.f.tell(), 0]
        data = data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes()
        view = memoryview(data)
        self.sections[name][1] += len(view)
        self._put(view)

    def _put(self, view: bytes | memoryview) -> None:
        self.f.write(view)
        while len(view):
            self._hash.update(view[: self._left])
            view, self._left = view[self._left :], self._left - len(view[: self._left])
            if not self._left:
                self._end_block()

    def _end_block(self) -> None:
        self._digests += self._hash.digest()
        self._hash, self._left = blake2b(digest_size=DIGEST), BLOCK

    def close(self, head: dict[str, Any]) -> None:
        """Digests, then the head, then the prologue that points to it."""
        end = self.f.tell()
        if self._left < BLOCK:
            self._end_block()
        digests = bytes(self._digests)
        self.f.write(digests)
        head = head | {
            "sections": self.sections,
            "blocks": {"from": _PROLOGUE.size, "to": end, "bytes": BLOCK, "digests": len(digests) // DIGEST},
            "digests_blake2b": blake2b(digests, digest_size=DIGEST).hexdigest(),
        }
        text = json.dumps(head, ensure_ascii=False, allow_nan=False, indent=1).encode()
        at = self.f.tell()
        self.f.write(text)
        digest = blake2b(text, digest_size=DIGEST).digest()
        self.f.seek(0)
        self.f.write(_PROLOGUE.pack(MAGIC, VERSION, 0, at, len(text), at + len(text), digest))


class Frame:
    """A soft-label file mapped into memory: `head`, and its sections as arrays.

    Opening reads the prologue and the head and compares sizes; `verify` reads everything.

    Raises:
        DataError: no such file, something else, a newer version, a file shorter or longer than its prologue says, a
            head that was changed.
    """

    def __init__(self, path: Path):
        self.path = path
        with parsing(path, "a soft-label file"), path.open("rb") as f:
            first, size = f.read(_PROLOGUE.size), os.fstat(f.fileno()).st_size
            at, length = _check_prologue(path, first, size)
            self.map = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        text = self.map[at : at + length]
        if blake2b(text, digest_size=DIGEST).digest() != first[40:56]:
            raise damaged(path, "its head was changed")
        with parsing(path, "a soft-label file"):
            self.head: dict[str, Any] = json.loads(text)
            for start, count in self.head["sections"].values():
                if not (_PROLOGUE.size <= start <= start + count <= at):
                    raise damaged(path, "a section lies outside of it")

    def section(self, name: str, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
        """A read-only array over a section, without reading it."""
        start, count = self.head["sections"].get(name, (_PROLOGUE.size, 0))
        dtype = np.dtype(dtype)
        if count != dtype.itemsize * int(np.prod(shape, dtype=object)):
            raise damaged(self.path, f"section {name!r} has {count} bytes, which is not {shape} of {dtype}")
        return np.ndarray(shape, dtype, self.map, start) if count else np.empty(shape, dtype)

    def content(self, name: str) -> bytes:
        """The bytes of a section; none where there is no such section."""
        start, count = self.head["sections"].get(name, (0, 0))
        return self.map[start : start + count]

    def verify(self) -> None:
        """Read the whole file and compare every block with its digest.

        Raises:
            DataError: blocks that were changed, with the bytes they cover.
        """
        blocks = self.head["blocks"]
        end, step = blocks["to"], blocks["bytes"]
        digests = self.map[end : end + blocks["digests"] * DIGEST]
        if blake2b(digests, digest_size=DIGEST).hexdigest() != self.head["digests_blake2b"]:
            raise damaged(self.path, "its list of digests was changed")
        view, bad = memoryview(self.map), []
        for i, start in enumerate(range(blocks["from"], end, step)):
            block = view[start : min(start + step, end)]
            if blake2b(block, digest_size=DIGEST).digest() != digests[i * DIGEST : (i + 1) * DIGEST]:
                bad.append(start)
        if bad:
            raise damaged(
                self.path,
                f"the checksum differs in {len(bad)} of {blocks['digests']} blocks; "
                f"first are bytes {bad[0]:,} to {min(bad[0] + step, end):,}",
            )


def _check_prologue(path: Path, first: bytes, size: int) -> tuple[int, int]:
    if first[:8] != MAGIC[: len(first)] or not first:
        raise DataError(
            found=f"{path}, which holds {looks_like(first) if first else 'nothing'}",
            expected="a soft-label file (it begins with LWSOFT)",
            fix="write one with labelwright.store.write_soft_labels",
        )
    if len(first) < _PROLOGUE.size:
        raise damaged(path, f"it ends after {size} bytes")
    _, version, _, at, length, total, _ = _PROLOGUE.unpack(first)
    if version > VERSION:
        raise DataError(
            found=f"{path}, written in version {version} of the format",
            expected=f"version {VERSION} or older",
            fix="upgrade: pip install -U labelwright",
        )
    if size != total:
        shorter = "shorter" if size < total else "longer"
        raise damaged(path, f"it has {size:,} bytes, {shorter} than the {total:,} its head says")
    if not _PROLOGUE.size <= at <= at + length == total:
        raise damaged(path, "its head lies outside of it")
    return at, length


def damaged(path: Path, reason: str) -> DataError:
    """The error for a file that is not as it was written."""
    return DataError(
        found=f"{path}, which is damaged: {reason}",
        expected="the file as it was written",
        fix="copy it again from where it was whole, or write it again from the teacher",
    )
