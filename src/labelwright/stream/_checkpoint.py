"""A folder with the finished parts of a run, from which a killed run goes on."""

from __future__ import annotations

import errno
import json
import os
import secrets
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from labelwright.errors import DataError, LabelwrightError

State = dict[str, np.ndarray]
_PLAN = "plan.json"
_VERSION = 1


class Checkpoint:
    """Partial results of the tasks of one plan, an .npz each. A part is there whole or not at all."""

    def __init__(self, folder: str | os.PathLike[str], plan: dict[str, str]):
        """Opens or makes the folder.

        Args:
            plan: what the parts depend on; all of it must be the same when a run resumes.

        Raises:
            DataError: a checkpoint of another run, or a folder that cannot be written.
        """
        self.folder = Path(folder)
        told = {"format": "labelwright-checkpoint", "version": str(_VERSION), **plan}
        with _writing(self.folder, self.folder.name):
            self.folder.mkdir(parents=True, exist_ok=True)
            for left in self.folder.glob(".new-*"):
                left.unlink(missing_ok=True)
        path = self.folder / _PLAN
        if path.is_file():
            self._compare(path, told)
        elif any(self.folder.iterdir()):
            raise DataError(
                found=f"a folder {self.folder.name} with other files in it",
                expected="an empty folder, a new one, or a checkpoint",
                fix="pass another folder as checkpoint",
            )
        else:
            self._write(_PLAN, json.dumps(told, indent=1).encode())

    def _compare(self, path: Path, told: dict[str, str]) -> None:
        try:
            was = json.loads(path.read_text())
            was = was if isinstance(was, dict) else {}
        except (OSError, ValueError) as err:
            raise DataError(
                found=f"{_PLAN} in {self.folder.name} that cannot be read ({err})",
                expected="the plan of a run",
                fix="remove the checkpoint folder and run again",
            ) from err
        changed = [name for name in told if was.get(name) != told[name]]
        if changed:
            raise DataError(
                found=f"a checkpoint in {self.folder.name} of another run: changed since then: {', '.join(changed)}",
                expected="the same data, statistic and cut into tasks, or partial results would be mixed",
                fix="pass the same arguments as before, or another folder as checkpoint",
            )

    def load(self, task: int) -> State | None:
        """The state of a finished task. None where there is none, or a damaged one, which is then made again."""
        path = self.folder / _name(task)
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return {name: np.asarray(arrays[name]) for name in arrays.files}
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            return None

    def save(self, task: int, state: State) -> None:
        """Keep the state of a finished task.

        Raises:
            DataError: a full disk, no permission. What was kept before stays.
        """
        self._write(_name(task), state)

    def _write(self, name: str, content: State | bytes) -> None:
        hidden = self.folder / f".new-{secrets.token_hex(8)}"
        with _writing(self.folder, name):
            try:
                with hidden.open("xb") as file:
                    if isinstance(content, bytes):
                        file.write(content)
                    else:
                        np.savez(file, allow_pickle=False, **content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(hidden, self.folder / name)
            except BaseException:
                with suppress(OSError):
                    hidden.unlink(missing_ok=True)
                raise


def _name(task: int) -> str:
    return f"part-{task:06d}.npz"


@contextmanager
def _writing(folder: Path, name: str) -> Iterator[None]:
    try:
        yield
    except LabelwrightError:
        raise
    except OSError as err:
        full = err.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        kept = len(list(folder.glob("part-*.npz"))) if folder.is_dir() else 0
        raise DataError(
            found=f"no way to write {name} into the checkpoint {folder.name} ({err.strerror})",
            expected="room on the disk" if full else "a folder that may be written",
            fix=("free some room" if full else "change its permissions or pass another folder")
            + f", then run again with the same checkpoint: {kept} finished parts are kept",
        ) from err
