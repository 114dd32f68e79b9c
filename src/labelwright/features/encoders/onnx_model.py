"""Encoders from .onnx files, with onnxruntime and tokenizers; no torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.errors import DataError
from labelwright.features.encoders.parts import compute_threads, damaged, read_json, require, unit_rows
from labelwright.features.encoders.pixels import ImageSettings
from labelwright.features.encoders.text import TextSettings, padded

PURPOSE = "an encoder from an .onnx file"
FINISHED = ("sentence_embedding", "text_embeds", "image_embeds", "pooler_output")  # outputs that are vectors already


def onnx_file(folder: Path) -> Path | None:
    """The model in a folder: model.onnx, or onnx/model.onnx, or the only one; None without any.

    Raises:
        DataError: several, none of them called model.onnx.
    """
    for path in (folder / "model.onnx", folder / "onnx" / "model.onnx"):
        if path.is_file():
            return path
    found = sorted([*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx")])
    if len(found) > 1:
        raise DataError(
            found=f"{len(found)} .onnx files in {folder}: {', '.join(p.name for p in found[:5])}",
            expected="one, or one called model.onnx",
            fix=f"name the file itself, such as {found[0]}",
        )
    return found[0] if found else None


class _Session:
    """An open model: names of its inputs, and the one output that is asked for."""

    def __init__(self, path: Path, device: str):
        runtime = require("onnxruntime", "onnx", PURPOSE)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = compute_threads()
        options.log_severity_level = 3
        providers = ["CPUExecutionProvider"]
        if device == "auto" and "CUDAExecutionProvider" in runtime.get_available_providers():
            providers.insert(0, "CUDAExecutionProvider")
        try:
            self.session = runtime.InferenceSession(os.fspath(path), options, providers=providers)
        except Exception as error:
            raise damaged(path, str(error).strip().splitlines()[0][:300]) from error
        self.inputs = {i.name: i for i in self.session.get_inputs()}
        self.outputs = [o.name for o in self.session.get_outputs()]
        first = self.session.get_inputs()[0].shape[:1]
        self.fixed = first[0] if first and isinstance(first[0], int) and first[0] > 0 else None
        self.batch_size = self.fixed or 32

    def run(self, name: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """The output `name` for all rows; a model of a fixed batch size gets its last rows repeated to fill it."""
        n = len(next(iter(inputs.values())))
        step = self.fixed or max(1, n)
        parts = []
        for start in range(0, n, step):
            rows = np.minimum(np.arange(start, start + step), n - 1)
            parts.append(self.session.run([name], {key: x[rows] for key, x in inputs.items()})[0])
        return np.concatenate(parts)[:n].astype(np.float32, copy=False)


class OnnxText:
    """Tokens through an ONNX text model, pooled unless the model does so itself."""

    def __init__(self, path: Path, folder: Path, settings: TextSettings, device: str):
        tokenizers = require("tokenizers", "onnx", PURPOSE)
        file = folder / "tokenizer.json"
        try:
            self.tokenizer = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:
            raise damaged(file, str(error)) from error
        self.settings, self.onnx = settings, _Session(path, device)
        self.batch_size = self.onnx.batch_size
        unknown = self.onnx.inputs.keys() - {"input_ids", "attention_mask", "token_type_ids", "position_ids"}
        if "input_ids" not in self.onnx.inputs or unknown:
            raise damaged(path, f"inputs {', '.join(self.onnx.inputs)} where input_ids and attention_mask are known")
        wanted = (*FINISHED[:3], "last_hidden_state", "token_embeddings", *self.onnx.outputs)
        self.output = next(name for name in wanted if name in self.onnx.outputs)
        self.pad = self._pad(folder)
        width = (self.onnx.inputs["input_ids"].shape or [])[1:]
        self.width = width[0] if width and isinstance(width[0], int) and width[0] > 0 else None
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(min(settings.max_tokens, self.width or settings.max_tokens))

    def _pad(self, folder: Path) -> int:
        if self.tokenizer.padding:
            return int(self.tokenizer.padding["pad_id"])
        token = read_json(folder / "tokenizer_config.json").get("pad_token") or "[PAD]"
        token = token.get("content", "[PAD]") if isinstance(token, dict) else token
        return int(self.tokenizer.token_to_id(token) or 0)

    def prepare(self, texts: list[str], rows: np.ndarray) -> list[list[int]]:
        return [found.ids for found in self.tokenizer.encode_batch(self.settings.clean(texts))]

    def forward(self, tokens: list[list[int]]) -> np.ndarray:
        ids, mask = padded(tokens, self.pad, self.width)
        places = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
        values = {
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(ids),
            "position_ids": places,
        }
        kinds = {"tensor(int32)": np.int32}
        feed = {name: values[name].astype(kinds.get(i.type, np.int64)) for name, i in self.onnx.inputs.items()}
        out = self.onnx.run(self.output, feed)
        vectors = out if out.ndim == 2 else pooled(out, mask, self.settings.pooling)
        return unit_rows(vectors) if self.settings.unit else vectors


def pooled(hidden: np.ndarray, mask: np.ndarray, pooling: str) -> np.ndarray:
    """(B, D) of hidden (B, T, D) and mask (B, T); a text without tokens becomes zeros."""
    if pooling == "cls":
        return hidden[:, 0]
    count = mask.sum(1)
    if pooling == "lasttoken":
        return hidden[np.arange(len(hidden)), np.maximum(count - 1, 0)]
    there = mask[..., None] > 0
    if pooling == "max":
        return np.where(count[:, None] > 0, np.where(there, hidden, -np.inf).max(1), 0).astype(np.float32)
    return np.asarray(np.where(there, hidden, 0).sum(1) / np.maximum(count, 1)[:, None], np.float32)


class OnnxImage:
    """Pixels through an ONNX image model."""

    def __init__(self, path: Path, settings: ImageSettings, device: str):
        self.settings, self.onnx = settings, _Session(path, device)
        self.batch_size = self.onnx.batch_size
        if len(self.onnx.inputs) != 1:
            raise damaged(path, f"inputs {', '.join(self.onnx.inputs)} where one, the pixels, is known")
        (self.input,) = self.onnx.inputs
        wanted = ("image_embeds", "pooler_output", *self.onnx.outputs)
        self.output = next(name for name in wanted if name in self.onnx.outputs)

    def prepare(self, images: list[Any], rows: np.ndarray) -> list[np.ndarray]:
        return [self.settings.pixels(image, int(row)) for image, row in zip(images, rows)]

    def forward(self, pixels: list[np.ndarray]) -> np.ndarray:
        out = self.onnx.run(self.output, {self.input: self.settings.batch(pixels)})
        if out.ndim == 3:  # (B, T, D): the class token comes first
            return out[:, 0]
        return out.mean((2, 3)) if out.ndim == 4 and out.shape[2:] != (1, 1) else out.reshape(len(out), -1)
