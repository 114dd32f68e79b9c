"""Scenes with known masks, and people who draw them with known faults: for proofs about masks."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

CAMVID_CLASSES = (
    11  # sky, building, pole, road, pavement, tree, sign, fence, car, pedestrian, bicyclist; 11 is unlabelled
)


@lru_cache(maxsize=2)
def field_scenes(n: int, seed: int = 0, size: int = 64) -> np.ndarray:
    """(n, size, size) int8: 1 inside up to seven rectangles, 0 elsewhere; one scene in twenty is empty."""
    rng = np.random.default_rng(seed)
    out = np.zeros((n, size, size), np.int8)
    for scene in out:
        for _ in range(0 if rng.random() < 0.05 else rng.integers(2, 8)):
            rectangle(scene, 1, rng)
    return out


def rectangle(scene: np.ndarray, value: int, rng: np.random.Generator) -> None:
    """Draws one of 6 to 24 pixels a side."""
    h, w = rng.integers(6, 25, 2)
    y, x = rng.integers(0, scene.shape[0] - h), rng.integers(0, scene.shape[1] - w)
    scene[y : y + h, x : x + w] = value


@lru_cache(maxsize=3)
def camvid(folder: Path | None, step: int = 2) -> tuple[np.ndarray, np.ndarray] | None:
    """(images (N, H, W, 3) uint8, classes (N, H, W) int8 with -1 = unlabelled), every `step`th pixel; None where it is not."""
    path = None if folder is None else folder / "segmentation_camvid" / "camvid240.parquet"
    if path is None or not path.is_file():
        return None
    import pyarrow.parquet as pq
    from PIL import Image

    table = pq.read_table(path, columns=["jpeg", "mask_png"])
    pixels, masks = (
        np.stack([np.asarray(Image.open(io.BytesIO(b)))[::step, ::step] for b in table[name].to_pylist()])
        for name in ("jpeg", "mask_png")
    )
    return pixels, np.where(masks >= CAMVID_CLASSES, -1, masks).astype(np.int8)


class Person(NamedTuple):
    """miss: probability that an object of usual difficulty is not drawn.   invent: objects drawn where there is none, per scene.
    jitter: how far outlines are off, in pixels.   mistake: probability that an object gets another class.   habit: (K,) which.
    spam: draws without looking."""

    miss: float
    invent: float
    jitter: float
    mistake: float
    habit: np.ndarray
    spam: bool = False


def people(n: int, spammers: int, n_classes: int, rng: np.random.Generator) -> list[Person]:
    """n persons of different care, the last `spammers` of whom do not look."""
    out = []
    for a in range(n):
        habit = (np.arange(n_classes) + rng.integers(1, n_classes, n_classes)) % n_classes
        miss, invent, jitter, mistake = rng.uniform([0.05, 0.0, 0.5, 0.02], [0.35, 0.8, 2.5, 0.2])
        out.append(Person(miss, invent, jitter, mistake if n_classes > 2 else 0.0, habit, a >= n - spammers))
    return out


def drawing(
    truth: np.ndarray, difficulty: np.ndarray, person: Person, other: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(H, W) int8: what a person draws.

    truth: (H, W), complete.   difficulty: (H, W) factor of `miss`, constant on every object, the same for all persons: so they
    err together.   other: (H, W) a scene of the same kind, which spammers draw instead.
    """
    from scipy.ndimage import distance_transform_edt, map_coordinates

    if person.spam:
        return _moved(other, int(rng.integers(1, 32)), rng)
    out, k = truth.copy(), len(person.habit)
    number = objects(truth, 0 if k == 2 else -1)
    n = int(number.max())
    first = np.unique(number, return_index=True)[1][-n:] if n else np.zeros(0, int)
    missed = np.r_[False, rng.random(n) < np.minimum(person.miss * difficulty.flat[first], 0.95)]
    wrong = np.r_[False, rng.random(n) < person.mistake][number]
    out[wrong] = person.habit[truth[wrong]]
    gone = missed[number]
    if k == 2:
        out[gone] = 0
    elif gone.any() and not gone.all():  # what is missed becomes part of what is around it
        at = distance_transform_edt(gone, return_distances=False, return_indices=True)
        out = out[tuple(at)]
    for _ in range(rng.poisson(person.invent)):
        rectangle(out, 1 if k == 2 else int(rng.integers(0, k)), rng)
    where = np.indices(out.shape) + person.jitter * _waves(out.shape, rng)
    return np.asarray(map_coordinates(out, where, order=0, mode="nearest"), dtype=np.int8)


def objects(scene: np.ndarray, background: int) -> np.ndarray:
    """(H, W) int: connected pieces of one class, numbered from 1."""
    from scipy.ndimage import label

    out, total = np.zeros(scene.shape, np.int64), 0
    for value in np.unique(scene[scene >= 0]):
        if value != background:
            numbered, n = label(scene == value)
            out[numbered > 0] = numbered[numbered > 0] + total
            total += n
    return out


def difficulties(truth: np.ndarray, background: int, rng: np.random.Generator) -> np.ndarray:
    """(H, W) a factor per object: log-normal, sd 0.7."""
    number = objects(truth, background)
    return np.r_[1.0, np.exp(rng.normal(0, 0.7, int(number.max())))][number]


def _moved(scene: np.ndarray, by: int, rng: np.random.Generator) -> np.ndarray:
    return np.roll(scene, (by, int(rng.integers(1, 32))), (0, 1))


def _waves(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """(2, H, W) smooth displacements of variance about 1."""
    from scipy.ndimage import zoom

    coarse = rng.normal(0, 1, (2, shape[0] // 8 + 2, shape[1] // 8 + 2))
    fine = zoom(coarse, (1, 8, 8), order=1)
    return np.asarray(fine[:, : shape[0], : shape[1]])
