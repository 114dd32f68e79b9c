"""`train`: a student from any labels."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import labelwright
from labelwright.errors import DataError
from labelwright.learning.data import TrainData
from labelwright.learning.driver import fit
from labelwright.learning.model import HEAD, TrainedModel
from labelwright.learning.networks import Student
from labelwright.learning.recipe import Recipe, load_recipe
from labelwright.learning.run import Run


def train(
    data: Any,
    labels: Any = None,
    *,
    recipe: str | os.PathLike[str] | Recipe | None = None,
    student: Any = None,
    valid: Any = None,
    classes: Any = None,
    multi_label: bool = False,
    out: str | os.PathLike[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    **changes: Any,
) -> TrainedModel:
    """A model trained on the labels that the data have, hard, soft, top-k from a file, or several classes per item.

    Args:
        data: `TrainData`, or the inputs: (N, ...) array, tensor, dict of them, or a `Source`.
        labels: where `data` is only the inputs: what `TrainData` takes.
        recipe: a `Recipe`, the name of one (`recipe_names()`), or a YAML file; default: cross-entropy with AdamW.
        student: "linear", "mlp", "cnn", "resnet", "vit", "unet", (name, options), or a module: inputs -> logits.
        valid: `TrainData` or (inputs, labels) that are looked at while training.
        classes, multi_label: as in `TrainData`.
        out: folder for the model, its log and checkpoints. A training that was cut off there goes on where it was; a
            finished model is never overwritten.
        progress: called as progress("training", step, steps).
        changes: entries of the recipe to change: epochs=5, batch_size=64, seed=1, ...

    Returns:
        TrainedModel, with the weights that the recipe keeps.

    Raises:
        LabelwrightError: what is wrong with data, labels, recipe or folder, before any step. TrainingError: a loss that is
            no number, with step, part and items.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 2)).astype("float32")
    >>> model = train(x, (x[:, 0] > 0).astype(int), student="linear", epochs=20, optimizer={"adam": {"lr": 0.1}})
    >>> model.predict(np.array([[3.0, 0.0], [-3.0, 0.0]], dtype="float32"))
    array([1, 0], dtype=object)
    """
    recipe = load_recipe(recipe)
    if student is not None:
        changes["networks"] = student_part(student)
    recipe = recipe.but(**changes) if changes else recipe
    given = _data(data, labels, classes, multi_label)
    looked = None if valid is None else _data(*_pair(valid), classes or given.space, given.multi_label)
    folder = None if out is None else Path(out)
    if folder is not None and (folder / HEAD).exists():
        raise DataError(
            found=f"{folder}, which holds a finished model", expected="a new folder", fix="choose another name for out"
        )
    run, history = fit(recipe, given, valid=looked, folder=folder, progress=progress)
    model = trained_model(run, history.rows)
    if folder is not None and run.accelerator.is_main_process:
        model.save(folder)
    return model


def student_part(student: Any) -> Any:
    """The networks slot of a student by name, (name, options), or module; other parts stay.

    >>> student_part("cnn")
    {'student': {'model': 'cnn'}}
    """
    if isinstance(student, str):
        return {"student": {"model": student}}
    if isinstance(student, tuple) and len(student) == 2 and isinstance(student[0], str):
        return {"student": {"model": student[0], **student[1]}}
    return Student(student) if isinstance(student, nn.Module) else student


def trained_model(run: Run, rows: list[dict[str, Any]]) -> TrainedModel:
    """What a run has made, with all that was said about it."""
    module = run.bare("student")
    return TrainedModel(
        module=module,
        space=run.data.space,
        multi_label=run.data.multi_label,
        built=_built(run),
        recipe=run.recipe.plain(),
        history=rows,
        about={
            "labelwright": labelwright.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "items": len(run.data),
            "steps": run.step,
            "device": str(run.device),
        },
        modules={name: run.bare(name) for name in run.modules},
    )


def _built(run: Run) -> dict[str, Any] | None:
    """How to build the student again, None for a module of the user's own."""
    part = run.networks
    if not isinstance(part, Student) or not isinstance(part.model, str):
        return None
    example = part.built_for
    shape, dtype = list(example.shape[1:]), str(example.dtype).removeprefix("torch.")
    return {"model": part.model, "options": part.options, "shape": shape, "dtype": dtype}


def _pair(valid: Any) -> tuple[Any, Any]:
    return valid if isinstance(valid, tuple) else (valid, None)


def _data(data: Any, labels: Any, classes: Any, multi_label: bool) -> TrainData:
    if isinstance(data, TrainData):
        if labels is not None:
            raise DataError(
                found="labels beside TrainData", expected="one of both", fix="put the labels into TrainData"
            )
        return data
    return TrainData(data, labels, classes=classes, multi_label=multi_label)


__all__ = ["student_part", "train", "trained_model"]
