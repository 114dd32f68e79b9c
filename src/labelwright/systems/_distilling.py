"""What the proofs of distillation share: items for student, choice and test, and what a teacher says about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from labelwright.systems import _students
from labelwright.systems.proof import Dataset

SMALL = ("mlp", {"hidden": [64, 64]})
WIDE = ("mlp", {"hidden": [256, 256]})


class Part(NamedTuple):
    """Items (n, ...) with their true classes (n,)."""

    x: np.ndarray
    y: np.ndarray


class Case(NamedTuple):
    """train: the student's items, with the labels it is given.   valid: for choices.   test: for the figures.
    logits: of the teacher on the training items.   k: classes."""

    train: Part
    valid: Part
    test: Part
    logits: np.ndarray
    k: int


def inputs(data: Dataset) -> np.ndarray:
    """Vectors as they are; pictures in [0, 1], those of 28 x 28 as the means of 2 x 2 pixels."""
    x = _students.inputs_of(data)
    if x.ndim != 3 or x.shape[1] != 28:
        return np.asarray(x, np.float32)
    return np.asarray(x.reshape(-1, 14, 2, 14, 2).mean((2, 4)) / 255, np.float32)


def divided(data: Dataset, sizes: Sequence[int], seed: int) -> list[Part]:
    """Disjoint random parts of the given sizes, and the rest, of 2,000 items at most."""
    x, y = inputs(data), np.asarray(data["y"])
    *parts, rest = _students.parts_of(len(y), tuple(sizes), seed)
    return [Part(x[rows], y[rows]) for rows in (*parts, rest[:2000])]


def fitted(
    part: Part, k: int, *, seed: int, student: Any = SMALL, extra: Mapping[str, Any] | None = None, **recipe: Any
) -> Any:
    """A student of these items, with AdamW at 3e-3 and batches of 64; what else the recipe says comes in `recipe`."""
    from labelwright.learning import TrainData

    data = TrainData(part.x, part.y, classes=k, extra=extra)
    recipe = {"epochs": 1 if "steps" in recipe else 30, "batch_size": 64, "optimizer": {"adamw": {"lr": 3e-3}}} | recipe
    return _students.learnt(data, None, seed=seed, student=student, **recipe)


def teacher_of(data: Dataset) -> Any:
    """A wide network for vectors and digits, a convolutional one for pictures of MNIST."""
    return _students.CNN if inputs(data)[:1].shape[1:] == (14, 14) else WIDE


def told(model: Any, part: Part) -> dict[str, float]:
    """accuracy, NLL and ECE of a model."""
    return _students.told(model, part.x, part.y)


def teacher(data: Dataset, part: Part, valid: Part, k: int, *, seed: int, student: Any = None, steps: int = 400) -> Any:
    """A larger network, kept where its log loss on the validation items is least: one that is not too sure of itself."""
    from labelwright.learning import TrainData

    looked = TrainData(valid.x, valid.y, classes=k)
    return fitted(part, k, seed=seed, student=student or teacher_of(data), steps=steps, keep="best", valid=looked)
