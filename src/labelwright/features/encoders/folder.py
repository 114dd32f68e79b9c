"""What a model folder or an .onnx file encodes, with which settings, and what its fingerprint is. Nothing heavy runs here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from labelwright.errors import DataError, OptionError
from labelwright.features.encoders.onnx_model import OnnxImage, OnnxText, onnx_file
from labelwright.features.encoders.parts import Model, check_installed, fingerprint, read_json
from labelwright.features.encoders.pixels import CONFIGS, ImageSettings, image_settings
from labelwright.features.encoders.text import VOCABULARIES, text_settings
from labelwright.features.encoders.transformers_model import TorchImage, TorchText

Found = tuple[str, str, Callable[[], Model]]  # kind, fingerprint, what loads the model


def folder_encoder(name: str, folder: Path, kind: str | None, device: str) -> Found:
    """The encoder in a folder: an ONNX model where there are no torch weights, else transformers."""
    text, image = text_settings(folder), image_settings(folder)
    inner = folder / text.transformer
    config = inner / "config.json"
    weights = sorted(inner.glob("*.safetensors")) or sorted(inner.glob("pytorch_model*.bin"))
    if not weights or not config.is_file():
        graph = onnx_file(folder)
        if graph is not None:
            return onnx_encoder(name, graph, folder, kind, device)
        raise DataError(
            found=f"folder {folder} without a model that can be used",
            expected="config.json with *.safetensors or pytorch_model.bin, or an .onnx file",
            fix="name the folder that save_pretrained wrote",
        )
    kind = _kind(name, inner, image, kind)
    files = [config, *weights]
    if kind == "image" and image is not None:
        check_installed(["torch", "transformers", "PIL"], "learn", f"encoder {name!r}")
        return kind, fingerprint(image, files), partial(TorchImage, inner, image, device)
    check_installed(["torch", "transformers"], "learn", f"encoder {name!r}")
    files += [inner / v for v in VOCABULARIES if (inner / v).is_file()]
    return "text", fingerprint(text, files), partial(TorchText, folder, text, device)


def onnx_encoder(name: str, graph: Path, folder: Path, kind: str | None, device: str) -> Found:
    """The encoder in an .onnx file, whose tokenizer or image settings are in `folder` or, for FOLDER/onnx/, above it."""
    if graph.suffix.lower() != ".onnx":
        raise DataError(
            found=f"file {graph}", expected="an .onnx file or a model folder", fix="name the folder that holds the file"
        )
    if graph.parent.name == "onnx" and not _has_vocabulary(folder) and image_settings(folder) is None:
        folder = graph.parent.parent
    text, image = text_settings(folder), image_settings(folder)
    kind = _kind(name, folder, image, kind)
    check_installed(["onnxruntime"], "onnx", f"encoder {name!r}")
    files = sorted(graph.parent.glob(f"{graph.name}*"))  # weights may lie beside the graph
    if kind == "image" and image is not None:
        return kind, fingerprint(image, files), partial(OnnxImage, graph, image, device)
    check_installed(["tokenizers"], "onnx", f"encoder {name!r}")
    files.append(folder / "tokenizer.json")
    if not files[-1].is_file():
        raise DataError(
            found=f"no tokenizer.json in {folder}",
            expected="the tokenizer of the model beside it",
            fix="save it there with tokenizer.save_pretrained(folder)",
        )
    return "text", fingerprint(text, files), partial(OnnxText, graph, folder, text, device)


def _has_vocabulary(folder: Path) -> bool:
    return any((folder / name).is_file() for name in VOCABULARIES)


def _kind(name: str, folder: Path, image: ImageSettings | None, kind: str | None) -> str:
    """What the model encodes, as its tokenizer or image settings say; `kind` decides where both are there."""
    kinds = [k for k, there in (("text", _has_vocabulary(folder)), ("image", image is not None)) if there]
    if not kinds:
        raise DataError(
            found=f"encoder {name!r} with neither a tokenizer nor {CONFIGS[0]}",
            expected="tokenizer.json for texts, or preprocessor_config.json for images, beside the model",
            fix="save it there with tokenizer.save_pretrained(folder) or image_processor.save_pretrained(folder)",
        )
    if len(kinds) == 1 or kind is not None:
        return kind if kind in kinds else kinds[0]
    both = {"text_config", "vision_config"} <= read_json(folder / "config.json").keys()
    if both:
        raise OptionError(
            found=f"encoder {name!r}, which encodes texts and images",
            expected="to know which of the two",
            fix="pass kind='text' or kind='image'",
        )
    return "text"
