"""The label repository `NAME.labels/`: events and audits are added whole or not at all, and none is ever changed.

    NAME.labels/labels.json                 head: format, created, fingerprint and name of the data, label space, tool
    NAME.labels/events/                     who said what about which item (`labelwright.store.events`); made when first used
    NAME.labels/audits/0001/...             one folder per audit
    NAME.labels/{report.html, ...}          copies of the newest audit's files; derived, replaced one by one
    NAME.labels/cache/KEY.npy               computed arrays, named by a hash of all they depend on; derived

The one commit point of an audit is the rename of a finished hidden folder to audits/NNNN. A process that dies before leaves
a hidden folder that nobody reads and that a later writer removes when it is a day old. Version 1 of the format had no
events: such a repository is read as it is, and becomes version 2 with its first events.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import labelwright
from labelwright.errors import LabelwrightWarning, RepositoryError
from labelwright.store._atomic import FileContent, fill, new_name, remove_stale, sync, sync_folder, write
from labelwright.store.history import LabelHistory

FORMAT, VERSION = "labelwright.labels", 2
DERIVED = ("report.html", "issues.parquet", "summary.json")  # copied to the top, for people
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class Repository(LabelHistory):
    """Labels of one data set on disk: its audits, and the events and versions of `LabelHistory`.

    Made by `create`, `open` or `open_or_create`.

    path: the folder.   head: what labels.json says (`created`, `fingerprint`, `source`, `space`, `tool`, ...).
    """

    def __init__(self, path: Path, head: dict[str, Any]):
        self.path, self.head = path, head

    def __repr__(self) -> str:
        return f"Repository({str(self.path)!r}, {len(self.audits())} audits)"

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], *, fingerprint: str, source: str, space: Mapping[str, Any]
    ) -> Repository:
        """A new, empty repository at `path`, there at once or not at all.

        Args:
            path: where nothing is yet; its parent folder must be there.
            fingerprint: of the data (`labelwright.store.read.fingerprint`).
            source: the data's file; only its name is kept.
            space: the label space as JSON values.

        Raises:
            RepositoryError: something is there already (it is not touched), or the folder cannot be made.
        """
        path = Path(path)
        if os.path.lexists(path):
            raise _taken(path)
        head = {
            "format": FORMAT,
            "version": VERSION,
            "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "fingerprint": fingerprint,
            "source": re.split(r"[/\\]", source)[-1],
            "space": json.loads(json.dumps(space)),  # as it will be read back: tuples are lists
            "tool": f"labelwright {labelwright.__version__}",
        }
        temp = path.parent / f".{path.name}{new_name()}"
        try:
            temp.mkdir()
            for name in ("audits", "cache"):
                (temp / name).mkdir()
            write(temp / "labels.json", json.dumps(head, indent=1, ensure_ascii=False).encode())
            sync_folder(temp)
            os.rename(temp, path)  # fails where a repository, a file or a full folder has come to be meanwhile
            sync_folder(path.parent)
        except OSError as err:
            shutil.rmtree(temp, ignore_errors=True)
            if os.path.lexists(path):
                raise _taken(path) from err
            raise RepositoryError(
                found=f"that {path} cannot be made ({err.strerror})",
                expected="a place where a folder can be made",
                fix=f"make the folder {path.parent} and see that you may write there",
            ) from err
        return cls(path, head)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Repository:
        """The repository at `path`. Reads only.

        Raises:
            RepositoryError: nothing there, not a repository, damaged, or written by a newer version.
        """
        path = Path(path)
        if not os.path.lexists(path):
            raise RepositoryError(
                found=f"nothing at {path}", expected="a label repository", fix="check the path, or run an audit first"
            )
        try:
            head = json.loads((path / "labels.json").read_text(encoding="utf-8"))
        except FileNotFoundError as err:
            raise _foreign(path, "no labels.json in it") from err
        except (OSError, ValueError, RecursionError) as err:
            raise _foreign(path, f"a labels.json that cannot be read ({err})") from err
        if not isinstance(head, dict) or head.get("format") != FORMAT or not isinstance(head.get("version"), int):
            raise _foreign(path, "a labels.json of something else")
        if head["version"] > VERSION:
            raise RepositoryError(
                found=f"{path}, written in version {head['version']} of the format by {head.get('tool')}",
                expected=f"version {VERSION} or older",
                fix="upgrade: pip install -U labelwright",
            )
        for name in ("audits", "cache"):  # a link here would let us write somewhere else
            if not (path / name).is_dir() or (path / name).is_symlink():
                raise _foreign(path, f"no folder {name!r} of its own in it")
        if not isinstance(head.get("fingerprint"), str) or "space" not in head:
            raise _foreign(path, "a labels.json without fingerprint or space")
        return cls(path, head)

    @classmethod
    def open_or_create(
        cls, path: str | os.PathLike[str], *, fingerprint: str, source: str, space: Mapping[str, Any]
    ) -> Repository:
        """The repository of this data at `path`, made if nothing is there.

        Raises:
            RepositoryError: what is there is no repository, or one of other data or of another label space.
        """
        if not os.path.lexists(path):
            try:
                return cls.create(path, fingerprint=fingerprint, source=source, space=space)
            except RepositoryError:
                if not os.path.lexists(path):
                    raise
        repo = cls.open(path)  # also where another process was quicker
        mine = (fingerprint, json.loads(json.dumps(space)))
        if (repo.head["fingerprint"], repo.head["space"]) != mine:
            what = "data" if repo.head["fingerprint"] != fingerprint else "label space"
            raise RepositoryError(
                found=f"{path}, which holds the labels of another {what} (from {repo.head.get('source')})",
                expected=f"the same {what} as now: fingerprint {fingerprint} of {Path(source).name}",
                fix="choose another --out; nothing was changed",
            )
        return repo

    def audits(self) -> list[Path]:
        """The audits' folders, oldest first."""
        found = [p for p in (self.path / "audits").iterdir() if _number(p) and p.is_dir() and not p.is_symlink()]
        return sorted(found, key=_number)

    def latest(self) -> Path | None:
        """The newest audit's folder, None where there is none."""
        audits = self.audits()
        return audits[-1] if audits else None

    def write_audit(self, files: Mapping[str, FileContent]) -> Path:
        """Add one audit made of `files`, then refresh the copies at the top.

        Args:
            files: by plain file name, the bytes or a function that writes the file at the path it is given.

        Returns:
            the folder of the new audit, audits/NNNN. Killed at any moment, the audit is there whole or not at all. Two
            processes that write at once get two numbers.

        Raises:
            RepositoryError: a name that is no plain file name, or a function that did not write its file. Whatever a
                function raises passes through; then nothing was added.
        """
        for name in files:
            _check_name(name)
        if not files or len({name.lower() for name in files}) < len(files):
            raise RepositoryError(
                found=f"file names {list(files)}", expected="one or more, different on every disk", fix="rename them"
            )
        remove_stale(self.path)
        temp = self.path / new_name()
        temp.mkdir()
        try:
            for name, content in files.items():
                fill(temp / name, content)
            others = {p.name for p in temp.iterdir()} - files.keys()
            if others:
                raise RepositoryError(
                    found=f"files that nobody announced: {sorted(others)}",
                    expected=f"only {sorted(files)}",
                    fix="give every file of an audit its own entry in `files`",
                )
            sync_folder(temp)
            audit = self._commit(temp)
        except BaseException:
            shutil.rmtree(temp, ignore_errors=True)
            raise
        try:
            self.refresh()
        except OSError as err:  # the audit is there; only the copies at the top are old
            warnings.warn(f"{audit} is written, but not copied to {self.path}: {err}", LabelwrightWarning, stacklevel=2)
        return audit

    def _commit(self, temp: Path) -> Path:
        latest = self.latest()
        number = _number(latest) if latest else 0
        while True:
            number += 1
            audit = self.path / "audits" / f"{number:04d}"
            if os.path.lexists(audit):
                continue
            try:
                os.rename(temp, audit)  # the commit point
            except OSError:
                if not os.path.lexists(audit):
                    raise
                continue  # another process took the number
            sync_folder(audit.parent)
            return audit

    def _upgrade(self) -> None:
        """Mark a repository of version 1 as one that has events, before it has them."""
        if self.head["version"] < VERSION:
            head, temp = self.head | {"version": VERSION}, self.path / new_name()
            try:
                write(temp, json.dumps(head, indent=1, ensure_ascii=False).encode())
                os.replace(temp, self.path / "labels.json")
            finally:
                temp.unlink(missing_ok=True)
            sync_folder(self.path)
            self.head = head

    def refresh(self) -> None:
        """Make the copies at the top those of the newest audit. Each is replaced in one step; they are derived."""
        while (latest := self.latest()) is not None:
            for name in DERIVED:
                top = self.path / name
                if (latest / name).is_file():
                    temp = self.path / new_name()
                    try:
                        shutil.copyfile(latest / name, temp)
                        os.replace(temp, top)
                    finally:
                        temp.unlink(missing_ok=True)
                else:
                    top.unlink(missing_ok=True)  # a copy from an older audit would be taken for this one's
            if self.latest() == latest:  # else another process has committed meanwhile: its files belong at the top
                return

    def cached(self, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array stored under `key`, made and stored first where it is not there; memory-mapped, read-only.

        Args:
            key: plain name that holds a hash of everything the array depends on, such as "pred_probs-3f2a...".
            make: called without arguments; its array must not hold objects.

        A file that cannot be read is made again, with a warning.
        """
        _check_name(key)
        path = self.path / "cache" / f"{key}.npy"
        if os.path.lexists(path):
            try:
                return np.load(path, mmap_mode="r", allow_pickle=False)
            except Exception as err:  # damaged bytes can make the reader raise nearly anything
                warnings.warn(f"{path.name} is damaged and made again ({err})", LabelwrightWarning, stacklevel=2)
        array = np.asarray(make())
        if array.dtype.hasobject:
            raise TypeError(f"make() returned an array of Python objects for {key!r}; only numbers are stored")
        remove_stale(path.parent)
        temp = path.parent / new_name()
        try:
            with temp.open("xb") as f:
                np.save(f, array, allow_pickle=False)
                sync(f)
            os.replace(temp, path)
        finally:
            temp.unlink(missing_ok=True)
        sync_folder(path.parent)
        return np.load(path, mmap_mode="r", allow_pickle=False)


def _number(audit: Path) -> int:
    return int(audit.name) if re.fullmatch(r"[0-9]{4,9}", audit.name) else 0


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not _PLAIN.fullmatch(name):
        raise RepositoryError(
            found=f"name {name!r}",
            expected="a plain name: letters, digits, '.', '_' and '-', no folders, not starting with '.'",
            fix="rename it",
        )


def _taken(path: Path) -> RepositoryError:
    return RepositoryError(
        found=f"something at {path} already", expected="a new name", fix="choose another --out; nothing was changed"
    )


def _foreign(path: Path, reason: str) -> RepositoryError:
    return RepositoryError(
        found=f"{path} with {reason}",
        expected="a label repository",
        fix="choose another --out; nothing was changed",
    )
