"""Where files lie: on this machine, in a bucket, or anywhere a URL leads."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from labelwright.errors import DataError, LabelwrightError


@dataclass(frozen=True)
class Place:
    """A file or folder: a path on `filesystem` (a pyarrow.fs.FileSystem), or on this machine where that is None."""

    path: str
    filesystem: Any = None

    @property
    def name(self) -> str:
        return self.path.rstrip("/").rpartition("/")[2]

    def __truediv__(self, name: str) -> Place:
        return Place(f"{self.path.rstrip('/')}/{name}", self.filesystem)

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The file for reading at any position."""
        with reading(self.name):
            local = self.filesystem is None
            file = Path(self.path).open("rb") if local else self.filesystem.open_input_file(self.path)  # noqa: SIM115
        try:
            yield file
        finally:
            file.close()

    def kind(self) -> str:
        """ "file", "folder" or "" where there is nothing."""
        if self.filesystem is None:
            return "file" if os.path.isfile(self.path) else "folder" if os.path.isdir(self.path) else ""
        from pyarrow.fs import FileType

        with reading(self.name):
            found = self.filesystem.get_file_info(self.path).type
        return {FileType.File: "file", FileType.Directory: "folder"}.get(found, "")

    def stamp(self) -> tuple[int, int]:
        """Size in bytes, and time of the last change in ns (0 where the filesystem tells none)."""
        with reading(self.name):
            if self.filesystem is None:
                info = os.stat(self.path)
                return info.st_size, info.st_mtime_ns
            there = self.filesystem.get_file_info(self.path)
            return int(there.size), int(there.mtime_ns or 0)

    def names(self) -> list[str]:
        """What lies in the folder, sorted so that part-2 comes before part-10."""
        with reading(self.name):
            if self.filesystem is None:
                found = os.listdir(self.path)
            else:
                from pyarrow.fs import FileSelector

                found = [info.base_name for info in self.filesystem.get_file_info(FileSelector(self.path))]
        return sorted(found, key=lambda name: [int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", name)])


@contextmanager
def reading(name: str) -> Iterator[None]:
    """What the system says while a file is opened or read, as `DataError`."""
    try:
        yield
    except FileNotFoundError as err:
        raise DataError(
            found=f"no {name}", expected="a file that is there", fix="check the path, or read it again"
        ) from err
    except PermissionError as err:
        raise DataError(
            found=f"{name}, which may not be read", expected="the permission to read it", fix="ask its owner, or chmod"
        ) from err
    except LabelwrightError:
        raise
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as err:
        raise DataError(
            found=f"{name}, whose reading failed ({first_line(err)})",
            expected="a whole file that can be read",
            fix="check disk, network and credentials; if it was cut short, write it again",
        ) from err


def first_line(err: BaseException) -> str:
    """The first line of a message, without what stood between :// and @ of a URL."""
    text = (str(err) or type(err).__name__).splitlines()[0][:200]
    return re.sub(r"://[^/@\s]*@", "://", text)


def find_place(path: str | os.PathLike[str]) -> Place:
    """The place a path or URL names.

    >>> find_place("file:///data/my%20probs.npy").path
    '/data/my probs.npy'
    """
    text = os.fspath(path)
    scheme = urlsplit(text).scheme if "://" in text else ""
    if not scheme:
        return Place(str(Path(text)))
    if scheme == "file":
        return Place(unquote(urlsplit(text).path))
    import pyarrow as pa
    from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem

    try:
        filesystem, inside = FileSystem.from_uri(text)
        return Place(inside, filesystem)
    except (pa.ArrowInvalid, OSError) as err:
        if "nrecognized filesystem" not in str(err):
            raise _unreachable(scheme, first_line(err)) from err
    try:
        import fsspec  # type: ignore[import-untyped,unused-ignore]
    except ImportError as err:
        raise _unreachable(scheme, "fsspec is not installed", "fsspec") from err
    try:
        filesystem, inside = fsspec.core.url_to_fs(text)
    except (ImportError, ValueError) as err:
        raise _unreachable(scheme, first_line(err), f"the fsspec package for {scheme}") from err
    return Place(inside, PyFileSystem(FSSpecHandler(filesystem)))


def _unreachable(scheme: str, reason: str, package: str | None = None) -> DataError:
    return DataError(
        found=f"a URL {scheme}://..., which cannot be opened ({reason})",
        expected="s3://, gs://, file:// or another scheme that pyarrow or fsspec knows",
        fix=f"install {package}, or copy the data to this machine" if package else "check the URL and the credentials",
    )
