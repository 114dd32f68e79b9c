"""Canvases with several digits but one label each, and the label maps of an annotator that sees a third of their side."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from labelwright.systems import _students
from labelwright.systems._canvases import canvases
from labelwright.systems.proof import Dataset

SIDE, DIGIT, SHOWN = 24, 8, 4  # pixels of a canvas, of a digit, and how many of its 3 x 3 places hold one
FAST = {"adamw": {"lr": 5e-3}}


class Case(NamedTuple):
    """pictures, given: to learn from; extra: maps (N, K, 12, 12) of logits, true_maps (N, K, 3, 3), soft labels `whole`.
    one, y: enlarged pictures of one digit.   many, sets: canvases and (N, K) which classes they show.
    annotator: its accuracy on pictures of one digit."""

    pictures: np.ndarray
    given: np.ndarray
    extra: dict[str, np.ndarray]
    one: np.ndarray
    y: np.ndarray
    many: np.ndarray
    sets: np.ndarray
    annotator: float


_ANNOTATORS: dict[str, Any] = {}


def prepare(data: Dataset, seed: int) -> Case:
    """500 canvases to learn from; other digits for the test; the annotator has learnt from neither."""
    import torch

    from labelwright.annotators.crops import crop_and_resize
    from labelwright.annotators.label_maps import dense_head

    digits, y, rng = np.asarray(data["image"]), np.asarray(data["y"], np.int64), np.random.default_rng([seed, 9])
    k = int(y.max()) + 1
    ours, rest = _students.parts_of(len(y), (min(4000, len(y) // 2),), 0)
    own, test = (rest[part] for part in _students.parts_of(len(rest), (len(rest) // 2,), seed))
    model = _annotator(data.fingerprint, digits[ours], y[ours])
    x, classes = crowded(digits[own], y[own], 500, rng)
    many, shown = crowded(digits[test], y[test], 1000, rng)
    head = dense_head(model.module, torch.from_numpy(x[:4])[:, None])
    with torch.no_grad():
        maps = head(torch.from_numpy(x)[:, None]).numpy()
    given = np.array([rng.choice(row[row >= 0]) for row in classes.reshape(len(x), -1)])
    true = np.where(classes[:, None] == np.arange(k)[None, :, None, None], 12.0, 0.0).astype(np.float32)
    small = canvases(digits[test], DIGIT + 4, rng)[0]
    boxes = np.tile([0.0, 0.0, 1.0, 1.0], (len(small), 1))
    one = crop_and_resize(torch.from_numpy(small)[:, None], boxes, None, SIDE).numpy()
    sets = (shown.reshape(len(many), -1)[:, :, None] == np.arange(k)).any(1)
    z = maps.mean((2, 3))
    whole = np.exp(z - z.max(1, keepdims=True))
    extra = {"maps": maps, "true_maps": true, "whole": (whole / whole.sum(1, keepdims=True)).astype(np.float32)}
    right = float((model.predict(small) == y[test]).mean())
    return Case(x, given, extra, one, y[test], many, sets, right)


def crowded(digits: np.ndarray, y: np.ndarray, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(n, 24, 24) float32 canvases with four digits on places of a 3 x 3 grid, and (n, 3, 3) their classes, -1 = none."""
    x = 0.15 * rng.standard_normal((n, SIDE, SIDE), dtype=np.float32)
    classes = np.full((n, 3, 3), -1)
    for i in range(n):
        for place in rng.permutation(9)[:SHOWN]:
            row, column = divmod(int(place), 3)
            j = int(rng.integers(len(y)))
            x[i, DIGIT * row : DIGIT * (row + 1), DIGIT * column : DIGIT * (column + 1)] += digits[j]
            classes[i, row, column] = y[j]
    return x, classes


def _annotator(name: str, digits: np.ndarray, y: np.ndarray) -> Any:
    """Windows of 8 x 8 pixels every second pixel, two layers, the mean over the places, a linear head."""
    from torch import nn

    if name not in _ANNOTATORS:
        import torch

        class Windows(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.cells = nn.Sequential(
                    nn.Conv2d(1, 96, DIGIT, 2, 3), nn.BatchNorm2d(96), nn.ReLU(), nn.Conv2d(96, 96, 1), nn.ReLU()
                )
                self.head = nn.Linear(96, int(y.max()) + 1)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.head(self.cells(x[:, None] if x.ndim == 3 else x).mean((2, 3)))

        times = max(1, 8000 // len(y))
        x = canvases(np.tile(digits, (times, 1, 1)), DIGIT + 4, np.random.default_rng(8))[0]
        _ANNOTATORS[name] = _students.learnt(
            x, np.tile(y, times), seed=0, student=Windows(), steps=1500, batch_size=64, optimizer=FAST
        )
    return _ANNOTATORS[name]
