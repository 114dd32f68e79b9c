"""Encoders from transformers model folders, with torch. No code of a model is run, and no weights are unpickled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.features.encoders.parts import damaged, require, unit_rows
from labelwright.features.encoders.pixels import ImageSettings
from labelwright.features.encoders.text import TextSettings, padded

PURPOSE = "an encoder from a model folder"
UNUSED = ("pooler", "decoder")  # weights that may be missing: what they compute is not asked for


def torch_device(device: str) -> str:
    """ "auto" -> the accelerator that is there, else "cpu"."""
    if device != "auto":
        return device
    torch = require("torch", "learn", PURPOSE)
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class TorchText:
    """Tokens through a transformers text model, pooled."""

    def __init__(self, folder: Path, settings: TextSettings, device: str):
        self.torch, transformers = require("torch", "learn", PURPOSE), require("transformers", "learn", PURPOSE)
        inner = folder / settings.transformer
        self.settings, self.device = settings, torch_device(device)
        self.batch_size = 32 if self.device == "cpu" else 256
        model, _ = load_model(transformers, inner)
        self.whole = hasattr(model, "get_text_features")  # CLIP and its like
        if not self.whole and model.config.is_encoder_decoder:
            model = model.get_encoder()
        self.model = model.to(self.device)
        with quietly(transformers), _readable(inner):
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(
                str(inner), local_files_only=True, trust_remote_code=False
            )
        pad = self.tokenizer.pad_token_id
        self.pad = self.tokenizer.eos_token_id or 0 if pad is None else pad
        self.fixed_width = settings.max_tokens if str(model.config.model_type).startswith("siglip") else None

    def prepare(self, texts: list[str], rows: np.ndarray) -> list[list[int]]:
        found = self.tokenizer(
            self.settings.clean(texts), truncation=True, max_length=self.settings.max_tokens, padding=False,
            return_attention_mask=False, return_token_type_ids=False, verbose=False,
        )  # fmt: skip
        return list(found["input_ids"])

    def forward(self, tokens: list[list[int]]) -> np.ndarray:
        ids, mask = (
            self.torch.from_numpy(a).to(self.device) for a in padded(tokens, self.pad, self.fixed_width)
        )  # fmt: skip
        if self.fixed_width:  # SigLIP reads its padding
            mask = self.torch.ones_like(mask)
        with self.torch.inference_mode():
            if self.whole:
                out = self.model.get_text_features(input_ids=ids, attention_mask=mask)
                vectors = getattr(out, "pooler_output", out)
            else:
                out = self.model(input_ids=ids, attention_mask=mask)
                vectors = pooled(self.torch, out.last_hidden_state, mask, self.settings.pooling)
        found = vectors.float().cpu().numpy()
        return unit_rows(found) if self.settings.unit else found


def pooled(torch: Any, hidden: Any, mask: Any, pooling: str) -> Any:
    """(B, D) of hidden (B, T, D) and mask (B, T); a text without tokens becomes zeros."""
    if pooling == "cls":
        return hidden[:, 0]
    count = mask.sum(1)
    if pooling == "lasttoken":
        return hidden[torch.arange(len(hidden), device=hidden.device), (count - 1).clamp(min=0)]
    away = mask[..., None] == 0
    if pooling == "max":
        return hidden.masked_fill(away, -torch.inf).amax(1).masked_fill(count[:, None] == 0, 0)
    return hidden.masked_fill(away, 0).sum(1) / count.clamp(min=1)[:, None]  # masked, as 0 * NaN is NaN


class TorchImage:
    """Pixels through a transformers image model: its trained pooling, else its class token, else the mean of patches."""

    def __init__(self, folder: Path, settings: ImageSettings, device: str):
        self.torch, transformers = require("torch", "learn", PURPOSE), require("transformers", "learn", PURPOSE)
        self.settings, self.device = settings, torch_device(device)
        self.batch_size = 32 if self.device == "cpu" else 256
        model, missing = load_model(transformers, folder)
        self.model = model.to(self.device)
        self.whole = hasattr(model, "get_image_features")
        self.pools = not any("pooler" in name for name in missing)
        self.class_token = any(name.endswith(("cls_token", "class_embedding")) for name, _ in model.named_parameters())

    def prepare(self, images: list[Any], rows: np.ndarray) -> list[np.ndarray]:
        return [self.settings.pixels(image, int(row)) for image, row in zip(images, rows)]

    def forward(self, pixels: list[np.ndarray]) -> np.ndarray:
        x = self.torch.from_numpy(self.settings.batch(pixels)).to(self.device)
        with self.torch.inference_mode():
            out = self.model.get_image_features(pixel_values=x) if self.whole else self.model(pixel_values=x)
            vectors = getattr(out, "pooler_output", None) if self.pools or self.whole else None
            if vectors is None:
                vectors = out if self.whole else self._from_patches(out.last_hidden_state)
        return np.asarray(vectors.float().cpu().numpy().reshape(len(pixels), -1))

    def _from_patches(self, hidden: Any) -> Any:
        if hidden.ndim == 4:  # (B, D, H, W)
            return hidden.mean((2, 3))
        return hidden[:, 0] if self.class_token else hidden.mean(1)


def load_model(transformers: Any, folder: Path) -> tuple[Any, list[str]]:
    """(model in evaluation mode, float32; names of the weights that its file lacks).

    Raises:
        DataError: a model of no kind that transformers knows itself, or with weights that are not in its file.
    """
    with quietly(transformers), _readable(folder):
        model, info = transformers.AutoModel.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False, weights_only=True, output_loading_info=True,
            use_safetensors=any(folder.glob("*.safetensors")),
        )  # fmt: skip
    missing = sorted(info["missing_keys"])
    lost = [name for name in missing if not any(part in name.split(".") for part in UNUSED)]
    if lost or info.get("mismatched_keys"):
        raise damaged(folder, f"{len(lost)} weights are not in its file, such as {lost[:1] or info['mismatched_keys']}")
    return model.float().eval(), missing


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """Whatever transformers raises on a damaged or foreign folder, as a DataError."""
    try:
        yield
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise damaged(folder, lines[0][:300]) from error


@contextmanager
def quietly(transformers: Any) -> Iterator[None]:
    """No bars and no tables of transformers on the screen."""
    log = transformers.utils.logging
    bar, level = log.is_progress_bar_enabled(), log.get_verbosity()
    log.disable_progress_bar()
    log.set_verbosity_error()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bar:
            log.enable_progress_bar()
