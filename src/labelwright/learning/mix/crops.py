"""SelfMix: crops of one image mixed with each other, so that the label hardly changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from labelwright.errors import DataError, check_option
from labelwright.learning.mix.pairs import draw_boxes
from labelwright.learning.mix.records import How, Mixed, Seed, checked, draw_shares, own_share, replay


def selfmix(
    images: Tensor,
    targets: Tensor,
    *,
    image_id: ArrayLike,
    seed: Seed,
    kind: str = "box",
    alpha: float = 1.0,
    per_item: bool = False,
    n_classes: int | None = None,
    multi_label: bool = False,
    check: bool = True,
) -> Mixed:
    """Each crop mixed with the next crop of the same image, in random order; the only crop of an image stays as it is.

    Args:
        images: (N, ..., H, W) crops.   targets: of each crop: hard ids (give n_classes), soft, or multi-label.
        image_id: (N,) the image that each crop was cut from.
        kind: "box" pastes as `cutmix`, "blend" as `mixup`.   alpha, per_item, seed: as there.

    Source: Shen 2023 (FerKD).
    """
    check_option("kind", kind, ("box", "blend"))
    k = checked(images, targets, n_classes, multi_label, floats=kind == "blend", check=check)
    ids = np.asarray(image_id)
    if ids.shape != (len(images),):
        raise DataError(
            found=f"image_id of shape {ids.shape} for {len(images)} crops",
            expected=f"({len(images)},)",
            fix="give the source image of every crop",
        )
    rng = np.random.default_rng(seed)
    other = _ring(ids, rng)
    height, width = images.shape[-2:] if kind == "box" else (0, 0)
    if kind == "blend":
        share = draw_shares(len(ids), alpha, per_item, rng)
        how = How("blend", other, share, share, k, multi_label)
    else:
        boxes, blank = draw_boxes(len(ids), height, width, alpha, per_item, rng), np.zeros(len(ids))
        how = own_share(How("box", other, blank, blank, k, multi_label, boxes=boxes), height, width)
    alone = other == np.arange(len(ids))
    how = replace(how, lam=np.where(alone, 1.0, how.lam), pixels=np.where(alone, 1.0, how.pixels))
    return replay(images, targets, how)


def _ring(ids: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N,) partner: the crops of each image stand in a ring of random order, each looks at the next."""
    partner = np.arange(len(ids))
    order = rng.permutation(len(ids))
    for one in np.unique(ids):
        ring = order[ids[order] == one]
        partner[ring] = np.roll(ring, -1)
    return partner
