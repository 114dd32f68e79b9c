"""Vectors on disk under the content they were made of: `CACHE/vectors-FINGERPRINT/HASH.npy`, shards that never change.

A shard is an array of records (key: 16 bytes, vector: D float32) and is named by a hash of its bytes. It appears whole
or not at all, so a killed run leaves finished shards and nothing else, and writers cannot harm each other; items that
two of them encoded at once are there twice. Derived data: the folder can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.errors import LabelwrightWarning

KEY = np.dtype("V16")
SHARD_ROWS, SHARD_SECONDS = 4096, 30.0  # a shard is written when it holds so many rows or so old ones
_NAME = re.compile(r"[0-9a-f]{32}\.npy")


def content_key(item: Any) -> np.void:
    """16 bytes that name a text, the pixels of an array, or the bytes of an image file; OSError where it cannot be read."""
    total = hashlib.blake2b(digest_size=16)
    if isinstance(item, str):
        total.update(b"text" + item.encode("utf-8", "surrogatepass"))
    elif isinstance(item, np.ndarray):
        total.update(f"array {item.dtype} {item.shape} ".encode())
        total.update(np.ascontiguousarray(item).data)
    elif isinstance(item, bytes):
        total.update(b"file" + item)
    elif hasattr(item, "read"):
        item.seek(0)
        total.update(b"file" + item.read())
        item.seek(0)
    else:
        total.update(b"file" + Path(item).read_bytes())
    return np.void(total.digest())


class VectorStore:
    """The shards of one encoder in a cache folder."""

    def __init__(self, cache: Path, fingerprint: str):
        self.folder = cache / f"vectors-{fingerprint}"
        self.waiting: list[np.ndarray] = []
        self.since = time.monotonic()
        self.writable = True

    def read(self, keys: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(positions in `keys`, their vectors), shard by shard. `keys`: (U,), sorted, no two alike."""
        dim = None
        for path in sorted(self.folder.glob("*.npy")):
            if not _NAME.fullmatch(path.name) or path.is_symlink():
                continue
            shard = self._shard(path)
            if shard is None or not len(keys) or (dim is not None and shard["vector"].shape[1] != dim):
                continue
            dim = shard["vector"].shape[1]
            place = np.minimum(np.searchsorted(keys, shard["key"]), len(keys) - 1)
            here = keys[place] == shard["key"]
            yield place[here], shard["vector"][here]

    def _shard(self, path: Path) -> np.ndarray | None:
        """The records; a damaged shard is removed, so that it is made again once."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None  # another process found it damaged
        except OSError as error:
            _warn(f"cached vectors {path.name} cannot be read ({error.strerror}); these items are encoded again")
            return None
        shard = _records(data) if path.stem == _hash(data) else None
        if shard is None:
            _warn(f"cached vectors {path.name} are damaged; these items are encoded again")
            try:
                path.unlink(missing_ok=True)
            except OSError:
                self.writable = False
        return shard

    def add(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        """Keep these; they are on disk once a shard is full."""
        if not self.waiting:
            self.since = time.monotonic()
        records = np.empty(len(keys), [("key", KEY), ("vector", np.float32, (vectors.shape[1],))])
        records["key"], records["vector"] = keys, vectors
        self.waiting.append(records)
        if sum(map(len, self.waiting)) >= SHARD_ROWS or time.monotonic() - self.since > SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits. A disk that is full or read-only costs the cache, not the run."""
        if not self.waiting or not self.writable:
            self.waiting = []
            return
        buffer = io.BytesIO()
        np.save(buffer, np.concatenate(self.waiting), allow_pickle=False)
        self.waiting = []
        try:
            self._commit(buffer.getvalue())
        except OSError as error:
            self.writable = False
            _warn(f"vectors cannot be kept in {self.folder} ({error.strerror}); the next run encodes again")

    def _commit(self, data: bytes) -> None:
        from labelwright.store._atomic import new_name, remove_stale, sync_folder, write

        self.folder.mkdir(parents=True, exist_ok=True)
        remove_stale(self.folder)
        temp = self.folder / new_name()
        try:
            write(temp, data)
            os.replace(temp, self.folder / f"{_hash(data)}.npy")
        finally:
            temp.unlink(missing_ok=True)
        sync_folder(self.folder)


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _records(data: bytes) -> np.ndarray | None:
    """The array in a shard, None unless it is one of our records."""
    try:
        found = np.load(io.BytesIO(data), allow_pickle=False)
        key, vector = found.dtype["key"], found.dtype["vector"]
    except Exception:  # anything may stand in a file
        return None
    ours = found.ndim == 1 and key == KEY and vector.base == np.float32 and len(vector.shape) == 1
    return found if ours else None


def _warn(message: str) -> None:
    warnings.warn(message, LabelwrightWarning, stacklevel=5)
