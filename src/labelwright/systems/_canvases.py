"""Digits on noisy canvases: pictures whose foreground is known, and how far the labels of mixed ones are from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.systems import _students
from labelwright.systems.proof import Dataset

KEYS = {"image": "digits, (N, 8, 8) in [0, 1]", "y": "classes, (N,) int"}
GAP_NOTE = (
    "gap: mean distance between the weight of the own label and the share of ink of both digits that is the own "
    "one's, in the second half of training. One transformer learns from area labels; all arms weigh the same "
    "mixed batches by its attention. The canvases are made from the digits: 8 x 8 pictures at places of a 4-pixel "
    "grid on a noisy 16 x 16 ground."
)
INK = 0.3  # a pixel above this belongs to the digit
SIZE, PATCH, STEPS = 16, 4, 300
STUDENT = ("vit", {"patch": PATCH, "width": 32, "depth": 2})
FAST = {"adamw": {"lr": 3e-3, "weight_decay": 0.03}}
WEIGHTS = {"area": None, "half": 0.5, "attention": 1.0, "progressive": "progressive"}


def digit_sets(folder: Path | None, n: int = 12000) -> Iterator[Dataset]:
    """scikit-learn's digits, and MNIST without its border at a third of its size: (N, 8, 8) in [0, 1].

    The canvases that are made of them are planted, so neither counts as the real thing.
    """
    yield _students.digit_pictures()
    for data in _students.mnist(folder, n):
        x = data["image"][:, 2:26, 2:26].reshape(-1, 8, 3, 8, 3).mean((2, 4)) / 255
        yield Dataset("MNIST", {"image": x.astype(np.float32), "y": data["y"]})


def canvases(
    digits: np.ndarray, size: int, rng: np.random.Generator, *, noise: float = 0.15, step: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """(N, size, size) float32 pictures with one digit each at a random place of a noisy ground, and (N, size, size) bool ink.

    digits: (N, h, w) in [0, 1].   noise: spread of the ground.   step: places are multiples of it.
    """
    n, h, w = digits.shape
    top, left = (step * rng.integers(0, (size - side) // step + 1, n) for side in (h, w))
    clean = np.zeros((n, size, size), np.float32)
    row, column = top[:, None] + np.arange(h), left[:, None] + np.arange(w)
    clean[np.arange(n)[:, None, None], row[:, :, None], column[:, None, :]] = digits
    ground = noise * rng.standard_normal(clean.shape, dtype=np.float32)
    return clean + ground, clean > INK


# ------------------------------------------------------------------------------------------------------- mixed pictures
class Case(NamedTuple):
    """train: canvases with labels and the ink as `regions`.   x, y: of the test."""

    train: Any
    x: np.ndarray
    y: np.ndarray


def prepare(data: Dataset, seed: int) -> Case:
    """1000 canvases (or half of them) to learn from and 2000 others at most, with new places and noise in every seed."""
    from labelwright.learning import TrainData

    y = np.asarray(data["y"], np.int64)
    x, ink = canvases(np.asarray(data["image"]), SIZE, np.random.default_rng([seed, 5]), step=PATCH)
    n = min(1000, len(x) // 2)
    rows, test, _ = _students.parts_of(len(x), (n, min(2000, len(x) - n)), seed)
    train = TrainData(x[rows], y[rows], classes=int(y.max()) + 1, extra={"regions": ink[rows]})
    return Case(train, x[test], y[test])


def trained(views: list[Any], target: Any = "stored") -> Callable[[Case, int], dict[str, float]]:
    """An arm: the small transformer with these views, its labels by this target."""

    def run(case: Case, seed: int) -> dict[str, float]:
        from labelwright.learning.targets import RegionLabels

        targets = [RegionLabels() if target == "ink" else target]
        return _students.told(_student(case, seed, views, targets), case.x, case.y)

    return run


def _student(case: Case, seed: int, views: list[Any], targets: list[Any]) -> Any:
    return _students.learnt(
        case.train, None, seed=seed, student=STUDENT, steps=STEPS, views=views, targets=targets, batch_size=64, optimizer=FAST
    )  # fmt: skip


def watched(views: list[Any]) -> Callable[[Dataset, int], dict[str, np.ndarray]]:
    """A `prepare`: one network learns from area labels; in every step, how far each way to weigh is from the share of ink."""

    def look(data: Dataset, seed: int) -> dict[str, np.ndarray]:
        found: dict[str, list[float]] = {name: [] for name in WEIGHTS}
        _student(prepare(data, seed), seed, views, ["stored", _watch(found)])
        return {name: np.array(gaps) for name, gaps in found.items()}

    return look


def gap(name: str) -> Callable[[dict[str, np.ndarray], int], dict[str, float]]:
    """An arm after `watched`: mean gap of one way to weigh over the second half of training, and when."""

    def run(found: dict[str, np.ndarray], seed: int) -> dict[str, float]:
        gaps, n = found[name], len(found[name])
        quarters = {"in the 1st quarter": gaps[: n // 4], "in the 4th quarter": gaps[-(n // 4) :]}
        return {"gap": float(gaps[n // 2 :].mean()), **{k: float(v.mean()) for k, v in quarters.items()}}

    return run


def _watch(found: dict[str, list[float]]) -> Any:
    """A target that writes nothing and notes the gaps of a mixed batch."""
    from labelwright.learning.mix import weigh_by_attention, weigh_progressively
    from labelwright.learning.targets import weigh_by_regions

    def watch(context: Any) -> None:
        how, seen = context["how"], context["attention"]
        ink = weigh_by_regions(how, context["regions"]).lam
        for name, share in WEIGHTS.items():
            if share is None:
                lam = how.pixels
            elif isinstance(share, str):
                lam = weigh_progressively(how, seen, context["logits"], context["unmixed"], SIZE, SIZE).lam
            else:
                lam = weigh_by_attention(how, seen, SIZE, SIZE, attention_share=share).lam
            found[name].append(float(np.abs(lam - ink).mean()))

    return watch
