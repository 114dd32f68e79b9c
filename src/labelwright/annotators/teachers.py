"""Teachers: anything that gives class probabilities of items, loaded from where it is."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.errors import DataError, LabelError, MissingExtra, OptionError, nearest
from labelwright.labels.check import check_pred_probs

Items = Any
"""(N, D) vectors, a list of texts, of image paths or open files, or a table of columns."""


@dataclass(frozen=True, eq=False)
class LoadedTeacher:
    """A source of class probabilities.

    name: for logs and heads of files.   predict: items (a slice of them) -> (n, K) probabilities.
    classes: names of the K columns; None where the teacher does not know them.   module: the torch module, for label maps and
        crops, None where there is none.   pixels: items -> (n, C, H, W) tensor as the module takes it.
    """

    name: str
    predict: Callable[[Items], np.ndarray]
    classes: tuple[Any, ...] | None = None
    module: Any = None
    pixels: Callable[[Items, int | None], Any] | None = None


def load_teacher(teacher: Any, *, kind: str = "vectors", device: str = "cpu") -> LoadedTeacher:
    """A teacher from whatever it is.

    Args:
        teacher: a `LoadedTeacher`; an estimator of scikit-learn (`predict_proba`, `classes_`); a `TrainedModel`; a callable
            items -> (n, K) probabilities, with `classes` as an attribute where it has them; or a string or path: the folder
            of a model of `labelwright train` or of transformers (text or image classification), an .onnx file (one input,
            logits or probabilities out, class names in NAME.classes.json), or "module:function" of your own code.
        kind: of the items: "vectors", "text", "image" or "table".   device: where a network runs.

    Raises:
        DataError: nothing there, or a teacher that cannot be read.   OptionError: one of another kind of items.
        MissingExtra: a package that it needs.
    """
    if isinstance(teacher, LoadedTeacher):
        return teacher
    if hasattr(teacher, "predict_proba"):
        classes = getattr(teacher, "classes_", None)
        if classes is None and hasattr(teacher, "space"):
            classes = teacher.space.classes
        name = type(teacher).__name__
        return LoadedTeacher(
            name, teacher.predict_proba, None if classes is None else tuple(_plain(c) for c in classes)
        )
    if callable(teacher):
        classes = getattr(teacher, "classes", None)
        name = getattr(teacher, "__name__", type(teacher).__name__)
        return LoadedTeacher(name, teacher, None if classes is None else tuple(classes))
    text = os.fspath(teacher)
    if ":" in text and not Path(text).exists():
        return load_teacher(_own_code(text), kind=kind)
    path = Path(text)
    if path.suffix == ".onnx":
        return _onnx(path, device)
    if (path / "model.json").is_file():
        return _ours(path, kind)
    if (path / "config.json").is_file():
        return _transformers(path, kind, device)
    raise DataError(
        found=f"no teacher at {text}",
        expected="the folder of a model (model.json or config.json), an .onnx file, or module:function",
        fix="check the path; a model of a hub must be downloaded first (huggingface-cli download NAME --local-dir FOLDER)",
    )


def map_classes(
    pred_probs: Any, teacher: Sequence[Any], wanted: Sequence[Any], *, mapping: Mapping[Any, Any] | None = None
) -> np.ndarray:
    """Probabilities over a teacher's classes in the order of other classes, by name.

    Args:
        pred_probs: (N, K) over `teacher`.   wanted: the classes of the labels.
        mapping: teacher's class -> class of the labels, where they are called otherwise; several may go to one, whose
            probabilities add up, and None drops a class.

    Returns:
        (N, len(wanted)) float32, rows sum to 1: what was dropped is divided out; a row of which nothing is left is NaN.

    Raises:
        LabelError: a class of the labels that no class of the teacher goes to, or the other way round.

    >>> map_classes([[0.7, 0.2, 0.1]], ["cat", "dog", "car"], ["dog", "cat"], mapping={"car": None})
    array([[0.22222222, 0.7777778 ]], dtype=float32)
    """
    p = check_pred_probs(np.asarray(pred_probs))
    own, names = [str(c) for c in teacher], [str(c) for c in wanted]
    if p.shape[1] != len(own):
        raise LabelError(
            found=f"probabilities of {p.shape[1]} classes from a teacher with {len(own)} names",
            expected="one name per column",
            fix="pass the teacher's classes in the order of its columns",
        )
    to = {str(a): None if b is None else str(b) for a, b in (mapping or {}).items()}
    goes = [to.get(name, name) for name in own]
    strange = [own[i] for i, name in enumerate(goes) if name is not None and name not in names]
    missing = [name for name in names if name not in goes]
    if strange or missing:
        first = (strange or own)[0]
        told = (
            f"classes of the teacher that are no labels: {', '.join(strange[:5])}"
            if strange
            else "no class of the teacher"
        )
        raise LabelError(
            found=told + (f"; labels without a class of the teacher: {', '.join(missing[:5])}" if missing else ""),
            expected="the same classes, by name",
            fix=f"pass class_map={{{first!r}: {nearest(first, names)[0]!r}}}, None for classes to drop",
        )
    out = np.zeros((len(p), len(names)), np.float64)
    for column, name in enumerate(goes):
        if name is not None:
            out[:, names.index(name)] += p[:, column]
    total = out.sum(1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.asarray(out / np.where(total > 0, total, np.nan), np.float32)


def _own_code(text: str) -> Callable[[Items], np.ndarray]:
    module, _, name = text.partition(":")
    import sys

    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise DataError(
            found=f"no teacher {text!r} ({error})",
            expected="module:function of your own code, importable from here",
            fix="check the names; the function takes items and returns (n, K) probabilities",
        ) from None
    return found


def _ours(path: Path, kind: str) -> LoadedTeacher:
    from labelwright.learning.files import read_reader
    from labelwright.learning.model import TrainedModel

    model, reader = TrainedModel.load(path), read_reader(path)

    def predict(items: Items) -> np.ndarray:
        return model.predict_proba(reader.read(_Shown(kind, items)))  # type: ignore[arg-type]

    return LoadedTeacher(path.name, predict, tuple(model.space.classes), model.module)


@dataclass(frozen=True)
class _Shown:
    """Items as a reader takes them."""

    kind: str
    items: Any


def _transformers(path: Path, kind: str, device: str) -> LoadedTeacher:
    try:
        import torch
        import transformers
    except ImportError as missing:
        raise MissingExtra(
            found=f"no {missing.name}", expected="the extra 'learn'", fix='pip install "labelwright[learn]"'
        ) from missing
    config = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
    made = " ".join(config.architectures or [])
    told = "text" if "SequenceClassification" in made else "image" if "ImageClassification" in made else None
    if told is None or told != kind:
        raise OptionError(
            found=f"a model of {made or 'no named task'} for items of kind {kind}",
            expected="text classification for texts, image classification for images",
            fix="name the column with --text or --image, or take another teacher",
        )
    classes = tuple(config.id2label[i] for i in range(len(config.id2label)))
    if told == "text":
        tokens = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
        model = (
            transformers.AutoModelForSequenceClassification.from_pretrained(path, local_files_only=True)
            .to(device)
            .eval()
        )

        def read(items: Items) -> np.ndarray:
            with torch.no_grad():
                batch = tokens(list(items), padding=True, truncation=True, return_tensors="pt").to(device)
                return model(**batch).logits.float().softmax(-1).cpu().numpy()

        return LoadedTeacher(path.name, read, classes, model)
    processor: Any = transformers.AutoImageProcessor.from_pretrained(path, local_files_only=True)  # type: ignore[no-untyped-call]
    model = transformers.AutoModelForImageClassification.from_pretrained(path, local_files_only=True).to(device).eval()

    def pixels(items: Items, side: int | None = None) -> Any:
        from labelwright.features.images import open_image

        shown = [open_image(item, i) for i, item in enumerate(items)]
        options = {} if side is None else {"size": {"height": side, "width": side}, "do_center_crop": False}
        return processor(images=shown, return_tensors="pt", **options)["pixel_values"].to(device)

    def see(items: Items) -> np.ndarray:
        with torch.no_grad():
            return model(pixel_values=pixels(items)).logits.float().softmax(-1).cpu().numpy()

    return LoadedTeacher(path.name, see, classes, model, pixels)


def _onnx(path: Path, device: str) -> LoadedTeacher:
    if not path.is_file():
        raise DataError(found=f"no file {path}", expected="an .onnx file", fix="check the path")
    try:
        import onnxruntime
    except ImportError as missing:
        raise MissingExtra(
            found="no onnxruntime", expected="the extra 'onnx'", fix='pip install "labelwright[onnx]"'
        ) from missing
    providers = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
    provider = providers.get(device.partition(":")[0])
    if provider not in onnxruntime.get_available_providers():
        raise OptionError(
            found=f"device {device!r} for an ONNX teacher",
            expected="a device of this onnxruntime: " + ", ".join(onnxruntime.get_available_providers()),
            fix="pass device='cpu', or install onnxruntime-gpu",
        )
    session = onnxruntime.InferenceSession(str(path), providers=[provider])
    wanted = session.get_inputs()[0]
    names = path.with_suffix(".classes.json")
    classes = tuple(json.loads(names.read_text(encoding="utf-8"))) if names.is_file() else None

    def predict(items: Items) -> np.ndarray:
        x = np.asarray(items, np.float32)
        if len(wanted.shape) != x.ndim:
            raise DataError(
                found=f"items of shape {x.shape} for an input {wanted.name} of shape {wanted.shape}",
                expected="vectors, one row per item",
                fix="name them with --features, or give a folder with the model's tokenizer or image settings",
            )
        out = np.asarray(session.run(None, {wanted.name: x})[0], np.float64)
        if out.ndim == 2 and out.min() >= 0 and np.allclose(out.sum(1), 1, atol=1e-3):
            return out
        shifted = np.exp(out - out.max(1, keepdims=True))
        return np.asarray(shifted / shifted.sum(1, keepdims=True))

    return LoadedTeacher(path.stem, predict, classes)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
