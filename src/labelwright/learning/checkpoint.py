"""Checkpoints: all of a training in two files, tensors and JSON, there whole or not at all. Nothing is pickled."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from labelwright.errors import DataError

if TYPE_CHECKING:
    from labelwright.learning.run import Run

FORMAT = 1
TENSORS, VALUES = "tensors.safetensors", "state.json"


class Checkpoints:
    """The last checkpoint of a run, in `folder/checkpoint`; does nothing without a folder.

    A checkpoint is taken up only by the same recipe, data of the same size, and the same libraries' major versions.
    """

    def __init__(self, folder: Path | None, run: Run):
        self.folder = None if folder is None else folder / "checkpoint"
        self._about = {
            "format": FORMAT, "recipe": run.recipe.digest(), "items": len(run.data),
            "classes": list(map(str, run.data.space.classes)),
        }  # fmt: skip
        self._main = run.accelerator.is_main_process

    def save(self, state: Callable[[], dict[str, Any]]) -> None:
        """Write it beside the last one, then take its place."""
        if self.folder is None or not self._main:
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        new = self.folder.with_name(".new-checkpoint")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        write_tree(new, {"about": self._about} | state())
        old = self.folder.with_name(".old-checkpoint")
        shutil.rmtree(old, ignore_errors=True)
        if self.folder.exists():
            os.replace(self.folder, old)
        os.replace(new, self.folder)
        shutil.rmtree(old, ignore_errors=True)

    def load(self) -> dict[str, Any] | None:
        """The last one, or None.

        Raises:
            DataError: it belongs to another recipe or other data.
        """
        if self.folder is None:
            return None
        old = self.folder.with_name(".old-checkpoint")
        if not self.folder.exists() and old.exists():  # killed between the two renames
            os.replace(old, self.folder)
        if not self.folder.exists():
            return None
        found = read_tree(self.folder)
        about = found.pop("about")
        if about != self._about:
            other = [name for name in self._about if about.get(name) != self._about[name]]
            raise DataError(
                found=f"a checkpoint in {self.folder.parent} of another training (other {', '.join(other)})",
                expected="the recipe and the data with which it was begun",
                fix="go on with those, or train into another folder; nothing was changed",
            )
        return found


def write_tree(folder: Path, tree: dict[str, Any]) -> None:
    """A tree of dicts, lists, tensors, arrays and plain values as two files in `folder`, down to the disk."""
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    plain = _take_out(tree, "", tensors)
    save_file(tensors, folder / TENSORS)
    (folder / VALUES).write_text(json.dumps(plain), encoding="utf-8")
    for name in (TENSORS, VALUES):
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())


def read_tree(folder: Path) -> Any:
    """What `write_tree` wrote.

    Raises:
        DataError: files that are missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(folder / TENSORS)
        return _put_back(json.loads((folder / VALUES).read_text(encoding="utf-8")), tensors)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise DataError(
            found=f"{folder} that cannot be read ({error})",
            expected=f"{TENSORS} and {VALUES} as they were written",
            fix="remove the folder to begin anew, or restore it",
        ) from None


def _take_out(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    """The tree with tensors replaced by their place, which names them in the other file."""
    if isinstance(value, Tensor | np.ndarray):
        kind = "tensor" if isinstance(value, Tensor) else "array"
        held = value.detach().cpu() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
        tensors[place] = held.contiguous().clone()
        return {"$": kind, "at": place}
    if isinstance(value, dict):
        pairs = [[key, _take_out(v, f"{place}/{i}", tensors)] for i, (key, v) in enumerate(value.items())]
        return {"$": "dict", "is": pairs}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {"$": kind, "is": [_take_out(v, f"{place}/{i}", tensors) for i, v in enumerate(value)]}
    return value.item() if isinstance(value, np.generic) else value


def _put_back(value: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    kind = value["$"]
    if kind in ("tensor", "array"):
        return tensors[value["at"]] if kind == "tensor" else tensors[value["at"]].numpy()
    if kind == "dict":
        return {key: _put_back(v, tensors) for key, v in value["is"]}
    found = [_put_back(v, tensors) for v in value["is"]]
    return found if kind == "list" else tuple(found)


__all__ = ["Checkpoints", "read_tree", "write_tree"]
