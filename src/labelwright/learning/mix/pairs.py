"""Mixing pairs of a batch: mixup blends, CutMix pastes a box."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from labelwright.learning.mix.records import How, Mixed, Seed, checked, draw_partner, draw_shares, own_share, replay


def mixup(
    images: Tensor,
    targets: Tensor,
    *,
    seed: Seed,
    alpha: float = 0.8,
    per_item: bool = False,
    partner: str = "random",
    n_classes: int | None = None,
    multi_label: bool = False,
    check: bool = True,
) -> Mixed:
    """Each image blended with another, and the labels with the same weight.

    Args:
        images: (N, ...) floats; features will do.   targets: hard ids (give n_classes), soft, or multi-label.
        seed: of the draw, or a NumPy generator that goes on.   alpha: the own weight is Beta(alpha, alpha).
        per_item: a weight for each item instead of one for the batch.   partner: "random" order, or "reverse".

    Source: Zhang et al. 2018.

    >>> import torch
    >>> mixed = mixup(torch.rand(4, 1, 2, 2), torch.tensor([0, 1, 2, 0]), seed=0, n_classes=3)
    >>> mixed.targets.sum(1)
    tensor([1., 1., 1., 1.])
    """
    k = checked(images, targets, n_classes, multi_label, floats=True, check=check)
    rng = np.random.default_rng(seed)
    share = draw_shares(len(images), alpha, per_item, rng)
    how = How("blend", draw_partner(len(images), partner, rng), share, share, k, multi_label)
    return replay(images, targets, how)


def cutmix(
    images: Tensor,
    targets: Tensor,
    *,
    seed: Seed,
    alpha: float = 1.0,
    per_item: bool = False,
    partner: str = "random",
    n_classes: int | None = None,
    multi_label: bool = False,
    check: bool = True,
) -> Mixed:
    """Each image with a box of another pasted in place; the labels are weighed by the pixels that show.

    Args:
        images: (N, ..., H, W) of any type.   The others as `mixup`; the box's sides are sqrt(1 - Beta(alpha, alpha)) of the
            image's, its centre is uniform, and what would lie outside is cut off (and not counted).

    Source: Yun et al. 2019.
    """
    k = checked(images, targets, n_classes, multi_label, check=check)
    rng = np.random.default_rng(seed)
    other = draw_partner(len(images), partner, rng)
    height, width = images.shape[-2:]
    boxes = draw_boxes(len(images), height, width, alpha, per_item, rng)
    blank = np.zeros(len(images))
    how = own_share(How("box", other, blank, blank, k, multi_label, boxes=boxes), height, width)
    return replay(images, targets, how)


def draw_boxes(n: int, height: int, width: int, alpha: float, per_item: bool, rng: np.random.Generator) -> np.ndarray:
    """(N, 4) int64 top, left, bottom, right."""
    side = np.sqrt(1 - draw_shares(n, alpha, per_item, rng))
    ends = []
    for length in (height, width):
        centre = rng.integers(0, length, n) if per_item else np.full(n, rng.integers(0, length))
        half = (side * length).astype(np.int64)
        ends += [np.clip(centre - half // 2, 0, length), np.clip(centre - half // 2 + half, 0, length)]
    return np.stack([ends[0], ends[2], ends[1], ends[3]], 1)
