"""What the proofs about labels of pixels share: street scenes, a small U-Net, and how good its answers are."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.systems._mask_scenes import CAMVID_CLASSES
from labelwright.systems._students import learnt

UNET = ("unet", {"width": 8, "depth": 2})
SPLITS = ("train", "val", "test")


class Pixels(NamedTuple):
    """x (N, H, W, C) float32 in [0, 1], y (N, H, W) int64 with -1 = unlabelled."""

    x: np.ndarray
    y: np.ndarray


class Scenes(NamedTuple):
    """image (N, H, W, 3) uint8, y (N, H, W) int8 with -1 = unlabelled, split (N,): 0 train, 1 validation, 2 test."""

    image: np.ndarray
    y: np.ndarray
    split: np.ndarray


@lru_cache(maxsize=2)
def street_scenes(folder: Path | None, step: int) -> Scenes | None:
    """CamVid at every `step`th pixel of 240 x 180 (pictures: means of step x step pixels); None where it is not."""
    path = None if folder is None else folder / "segmentation_camvid" / "camvid240.parquet"
    if path is None or not path.is_file():
        return None
    import pyarrow.parquet as pq
    from PIL import Image

    table = pq.read_table(path, columns=["split", "jpeg", "mask_png"]).to_pydict()
    height, width = 180 // step, 240 // step
    image = np.empty((len(table["split"]), height, width, 3), np.uint8)
    y = np.empty(image.shape[:3], np.int8)
    for i, (jpeg, mask) in enumerate(zip(table["jpeg"], table["mask_png"])):
        image[i] = np.asarray(Image.open(io.BytesIO(jpeg)).reduce(step))[:height, :width]
        found = np.asarray(Image.open(io.BytesIO(mask)))[step // 2 :: step, step // 2 :: step][:height, :width]
        y[i] = np.where(found >= CAMVID_CLASSES, -1, found)
    return Scenes(image, y, np.array([SPLITS.index(s) for s in table["split"]]))


def unit(image: Any) -> np.ndarray:
    """Pictures as float32 in [0, 1]."""
    image = np.asarray(image)
    return np.asarray(image / np.float32(255) if image.dtype == np.uint8 else image, np.float32)


def segmenter(
    x: np.ndarray, k: int, extra: Mapping[str, np.ndarray], *, target: str, seed: int, loss: Any, **options: Any
) -> Any:
    """A U-Net whose targets are the maps `extra[target]`."""
    from labelwright.learning import TrainData

    options = {"student": UNET, "batch_size": 16, "optimizer": {"adamw": {"lr": 5e-3}}} | options
    data = TrainData(x, None, classes=k, extra=extra)
    return learnt(data, None, seed=seed, targets={"stored": {"source": target}}, loss=loss, **options)


def figures_of(logits: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """accuracy, mean IoU over the classes of the test, NLL and ECE of logits (N, H, W, K) on labelled pixels."""
    import torch

    from labelwright.learning.looking import figures

    k = logits.shape[-1]
    found = figures(torch.from_numpy(logits.reshape(-1, k)), torch.from_numpy(y.reshape(-1).astype(np.int64)))
    return {
        "accuracy": found["accuracy"], "mean IoU": mean_iou(logits.argmax(-1), y, k), "NLL": found["nll"], "ECE": found["ece"],
    }  # fmt: skip


def mean_iou(predicted: np.ndarray, y: np.ndarray, k: int) -> float:
    """Mean over the classes that occur in `y` of shared over joint pixels, unlabelled ones left out.

    >>> mean_iou(np.array([0, 0, 1, 1]), np.array([0, 1, 1, -1]), 3)
    0.5
    """
    known = y >= 0
    table = np.bincount(y[known].astype(np.int64) * k + predicted[known], minlength=k * k).reshape(k, k)
    there = table.sum(1) > 0
    joint = table.sum(0) + table.sum(1) - table.diagonal()
    return float((table.diagonal()[there] / joint[there]).mean())
