"""Students that begin from a pre-trained model of transformers, for texts and for images."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labelwright.errors import DataError, MissingExtra, OptionError
from labelwright.learning.networks.outputs import Outputs


class Pretrained(nn.Module):
    """A folder of transformers with a new head for K classes; its own head stays where it has as many.

    Args:
        path: the folder.   n_classes: K.   kind: "text" or "image".

    Inputs: a dict of input_ids and attention_mask (B, T), cut to the longest text of the batch; or pictures (B, 3, H, W), uint8
    or in [0, 1], which are normalised as the model expects.
    Outputs: logits (B, K), features (B, D): the first token's last state, or the pooled map.

    Raises:
        DataError: no model there.   OptionError: an unknown kind.   MissingExtra: without transformers.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, path: str | os.PathLike[str], n_classes: int, *, kind: str = "text"):
        super().__init__()
        transformers = _transformers()
        if kind not in ("text", "image"):
            raise OptionError(found=f"kind={kind!r}", expected="text or image", fix="pass kind='text'")
        if not (Path(path) / "config.json").is_file():
            raise DataError(
                found=f"no model of transformers in {path}",
                expected="a folder with config.json and weights",
                fix="check the path; download a model of a hub first",
            )
        self.kind = kind
        make = (
            transformers.AutoModelForSequenceClassification
            if kind == "text"
            else transformers.AutoModelForImageClassification
        )
        self.model: Any = make.from_pretrained(
            path, num_labels=n_classes, ignore_mismatched_sizes=True, local_files_only=True
        )
        mean, std = _normalisation(Path(path)) if kind == "image" else ([0.0], [1.0])
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(1, -1, 1, 1), persistent=False)

    def forward(self, inputs: Any) -> Outputs:
        """Texts as tokens, or pictures -> logits and features."""
        if self.kind == "text":
            longest = int(inputs["attention_mask"].sum(1).max().clamp_min(1))
            out = self.model(**{name: x[:, :longest] for name, x in inputs.items()}, output_hidden_states=True)
            return {"logits": out.logits, "features": out.hidden_states[-1][:, 0]}
        x = inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs
        out = self.model(pixel_values=(x - self.mean) / self.std, output_hidden_states=True)
        return {"logits": out.logits, "features": _pooled(out.hidden_states[-1])}

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write it as transformers reads it."""
        self.model.save_pretrained(folder)
        if self.kind == "image":
            told = {"image_mean": self.mean.flatten().tolist(), "image_std": self.std.flatten().tolist()}
            (Path(folder) / "preprocessor_config.json").write_text(json.dumps(told), encoding="utf-8")


def is_pretrained(student: Any) -> bool:
    """Whether a student's name is the folder of a model of transformers."""
    return isinstance(student, str | os.PathLike) and (Path(student) / "config.json").is_file()


def tokens(texts: list[str], path: str | os.PathLike[str], *, max_length: int = 256) -> dict[str, Any]:
    """input_ids and attention_mask (N, T) int64 arrays of texts by the tokenizer in a folder, cut at `max_length`."""
    found = _transformers().AutoTokenizer.from_pretrained(path, local_files_only=True)
    limit = min(max_length, getattr(found, "model_max_length", max_length))
    made = found(list(texts), padding=True, truncation=True, max_length=limit, return_tensors="np")
    return {name: made[name].astype("int64") for name in ("input_ids", "attention_mask")}


def _pooled(hidden: Tensor) -> Tensor:
    return hidden.flatten(2).mean(2) if hidden.ndim == 4 else hidden[:, 0]


def _normalisation(path: Path) -> tuple[list[float], list[float]]:
    try:
        told = json.loads((path / "preprocessor_config.json").read_text(encoding="utf-8"))
        return list(told["image_mean"]), list(told["image_std"])
    except (OSError, ValueError, KeyError):
        return [0.5] * 3, [0.5] * 3  # what most image models of transformers take


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as missing:
        raise MissingExtra(
            found="no transformers", expected="the extra 'learn'", fix='pip install "labelwright[learn]"'
        ) from missing
    return transformers
