"""A trained model: what it answers, where it came from, and the folder it is kept in."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import labelwright
from labelwright.errors import DataError, OptionError
from labelwright.labels import LabelSpace
from labelwright.learning.checkpoint import read_tree, write_tree
from labelwright.learning.data import Source
from labelwright.learning.history import History
from labelwright.learning.networks import MODELS, build, read_outputs

HEAD, WEIGHTS = "model.json", "weights"
FORMAT = 1


@dataclass(eq=False)
class TrainedModel:
    """A student with its classes.

    module: inputs -> logits.   space: the classes, in the order of the logits.   multi_label: several classes per item.
    built: name, options and input shape by which `load` builds the module again; None for a module of your own.
    recipe: as plain values.   history: rows of the log.   about: versions, data, seed, and whatever you add.
    modules: everything that learned, by name (heads and projectors too).
    """

    module: nn.Module
    space: LabelSpace
    multi_label: bool = False
    built: dict[str, Any] | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)
    modules: dict[str, nn.Module] = field(default_factory=dict)

    def __repr__(self) -> str:
        told = "" if not self.history else f", {len(self.history)} epochs"
        return f"TrainedModel({type(self.module).__name__}, {len(self.space)} classes{told})"

    @torch.no_grad()
    def logits(self, inputs: Any, *, batch_size: int = 512) -> np.ndarray:
        """(N, ..., K) float32 scores of inputs as they were trained on: arrays, tensors, a dict of them, or a `Source`."""
        self.module.eval()
        device = next(self.module.parameters()).device
        n = len(next(iter(inputs.values()))) if isinstance(inputs, Mapping) else len(inputs)
        out = []
        for start in range(0, n, batch_size):
            batch = _batch(inputs, np.arange(start, min(start + batch_size, n)), device)
            out.append(read_outputs(self.module(batch))["logits"].float().cpu())
        return torch.cat(out).numpy() if out else np.zeros((0, len(self.space)), np.float32)

    def predict_proba(self, inputs: Any, *, batch_size: int = 512) -> np.ndarray:
        """(N, ..., K) float32; rows sum to 1, or, of several classes per item, one probability per class."""
        z = torch.from_numpy(self.logits(inputs, batch_size=batch_size))
        return (z.sigmoid() if self.multi_label else z.softmax(-1)).numpy()

    def predict(self, inputs: Any, *, batch_size: int = 512) -> Any:
        """The likeliest class of each item by name, or its list of classes above one half."""
        p = self.predict_proba(inputs, batch_size=batch_size)
        classes = np.array(self.space.classes, dtype=object)
        if self.multi_label:
            return [list(classes[row > 0.5]) for row in p]
        return classes[p.argmax(-1)]

    def log(self) -> Any:
        """The training log as a table, one row per epoch."""
        history = History()
        history.rows = self.history
        return history.table()

    # -- on disk ---------------------------------------------------------------------------------------------------
    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the model into a new folder: `model.json` and its weights, nothing pickled.

        Raises:
            DataError: the folder exists.   OptionError: a module of your own, which only your program can build.
        """
        path = Path(folder)
        if (path / HEAD).exists():
            raise DataError(
                found=f"{path}, which holds a model",
                expected="a new folder",
                fix="choose another name; nothing is overwritten",
            )
        hub = hasattr(self.module, "save_pretrained")
        if self.built is None and not hub:
            raise OptionError(
                found=f"a {type(self.module).__name__} of your own",
                expected="a student by name, or a model of transformers",
                fix="keep model.module.state_dict() with safetensors, and build the module in your program",
            )
        path.mkdir(parents=True, exist_ok=True)
        if hub:
            self.module.save_pretrained(path / WEIGHTS)  # type: ignore[operator]
        else:
            (path / WEIGHTS).mkdir(exist_ok=True)
            write_tree(path / WEIGHTS, dict(self.module.state_dict()))
        if hub:
            self.about["pretrained"] = getattr(self.module, "kind", "text")
        head = {
            "format": FORMAT, "version": labelwright.__version__, "built": self.built, "space": json.loads(self.space.to_json()),
            "multi_label": self.multi_label, "recipe": self.recipe, "history": self.history, "about": self.about,
        }  # fmt: skip
        new = path / f".new-{HEAD}"
        new.write_text(json.dumps(head, indent=1), encoding="utf-8")
        os.replace(new, path / HEAD)  # the model is there once its head is
        return path

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> TrainedModel:
        """Read what `save` wrote.

        Raises:
            DataError: no model there, one of a later version, or damaged files.
        """
        path = Path(folder)
        head = read_head(path)
        space = LabelSpace.from_json(json.dumps(head["space"]))
        if head["built"] is None:
            from labelwright.learning.networks.pretrained import Pretrained

            module: nn.Module = Pretrained(path / WEIGHTS, len(space), kind=head["about"]["pretrained"])
        else:
            built = head["built"]
            example = torch.zeros(1, *built["shape"], dtype=getattr(torch, built["dtype"]))
            module = build(built["model"], example, len(space), **built["options"])
            try:
                module.load_state_dict(read_tree(path / WEIGHTS))
            except RuntimeError as error:
                raise DataError(
                    found=f"weights in {path} that do not fit the model: {str(error).splitlines()[-1].strip()}",
                    expected="the weights that were written with model.json",
                    fix="restore the folder, or train again",
                ) from None
        module.eval()
        return cls(
            module,
            space,
            head["multi_label"],
            head["built"],
            head["recipe"],
            head["history"],
            head["about"],
            {"student": module},
        )


def read_head(path: Path) -> dict[str, Any]:
    """`model.json` of a model's folder."""
    try:
        head = json.loads((path / HEAD).read_text(encoding="utf-8"))
        known = head["format"] == FORMAT and (head["built"] is None or head["built"]["model"] in MODELS)
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(
            found=f"no model in {path}",
            expected=f"a folder with {HEAD}, as train(..., out=...) writes it",
            fix="check the path",
        ) from None
    if not known:
        raise DataError(
            found=f"a model of format {head['format']} and kind {head.get('built')}",
            expected=f"format {FORMAT} of labelwright {labelwright.__version__}",
            fix="update labelwright",
        )
    return dict(head)


def _batch(inputs: Any, items: np.ndarray, device: Any) -> Any:
    if isinstance(inputs, Mapping):
        return {name: _batch(values, items, device) for name, values in inputs.items()}
    if isinstance(inputs, Source) and not isinstance(inputs, Tensor | np.ndarray):
        found = inputs.fetch(items)
        return {k: v.to(device) for k, v in found.items()} if isinstance(found, dict) else found.to(device)
    rows = inputs[items[0] : items[-1] + 1]
    tensor = rows if isinstance(rows, Tensor) else torch.from_numpy(np.ascontiguousarray(rows))
    return (tensor.float() if tensor.dtype == torch.float64 else tensor).to(device)
