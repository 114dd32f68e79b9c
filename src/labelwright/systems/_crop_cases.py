"""Mostly empty canvases, their stored crops, and what a teacher says about each: what the proof of FKD and FerKD reads."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from labelwright.systems import _students
from labelwright.systems._canvases import canvases
from labelwright.systems.proof import Dataset

CANVAS, SIZE, CROPS, AREA = 20, 20, 16, (0.15, 1.0)
TEACHER, STUDENT = ("cnn", {"widths": [16, 32, 64]}), ("cnn", {"widths": [8, 16, 32]})
FAST = {"adamw": {"lr": 5e-3}}


class Case(NamedTuple):
    """pictures, given: to learn from.   extra: crops, their flips, what the teacher says (N, M, K), and of the whole picture.
    x, y: pictures of the test.   teacher: its accuracy there."""

    pictures: np.ndarray
    given: np.ndarray
    extra: dict[str, np.ndarray]
    x: np.ndarray
    y: np.ndarray
    teacher: float


_TEACHERS: dict[str, Any] = {}


def prepare(data: Dataset, seed: int) -> Case:
    """400 pictures to learn from and others for the test, drawn anew in every seed; the teacher has learnt from neither."""
    import torch

    from labelwright.annotators.crops import crop_and_resize, crop_coords
    from labelwright.store import CropPlan

    digits, y, rng = np.asarray(data["image"]), np.asarray(data["y"], np.int64), np.random.default_rng([seed, 6])
    ours, rest = _students.parts_of(len(y), (min(3000, len(y) // 2),), 0)
    rows, test, _ = (rest[part] for part in _students.parts_of(len(rest), (400, min(2000, len(rest) - 400)), seed))
    teacher = _teacher(data.fingerprint, digits[ours], y[ours])
    x, shown = canvases(digits[rows], CANVAS, rng)[0], canvases(digits[test], CANVAS, rng)[0]
    plan = CropPlan(n_crops=CROPS, seed=seed, scale=AREA, flip=0.0)  # mirrored digits are none
    coords, flips = crop_coords(plan, np.arange(len(x)), CANVAS, CANVAS)
    every = torch.from_numpy(x)[:, None].repeat_interleave(CROPS, 0)
    crops = crop_and_resize(every, coords.reshape(-1, 4), None, SIZE)
    said = _softmax(teacher.logits(crops.numpy())).reshape(len(x), CROPS, -1)
    found = {"crop_coords": coords, "crop_flips": flips, "said": said, "global": _softmax(teacher.logits(x))}
    return Case(x, y[rows], found, shown, y[test], _students.told(teacher, shown, y[test])["accuracy"])


def _teacher(name: str, digits: np.ndarray, y: np.ndarray) -> Any:
    """One teacher for all seeds and proofs of a process, which learns from random crops of canvases and the pictures' labels."""
    if name not in _TEACHERS:
        times = max(1, 6000 // len(y))
        x = canvases(np.tile(digits, (times, 1, 1)), CANVAS, np.random.default_rng(8))[0]
        views = [{"crop": {"area": list(AREA)}}]
        _TEACHERS[name] = _students.learnt(
            x, np.tile(y, times), seed=0, student=TEACHER, steps=1200, batch_size=64, views=views, optimizer=FAST
        )
    return _TEACHERS[name]


def _softmax(z: np.ndarray) -> np.ndarray:
    p = np.exp(z - z.max(-1, keepdims=True))
    return np.asarray(p / p.sum(-1, keepdims=True), np.float32)
