"""What a mix is: images, their mixed labels, and a record that makes both again, bit by bit.

Targets are hard ids (N,) with -1 = no label, soft (N, K), or with `multi_label=True` (N, K) in [0, 1] with -1 = unknown.
Mixed targets are float (N, K): lam * own + (1 - lam) * partner's. Where a part of a mix has no label, the mix has none: its
row is zeros (soft), its cell -1 (multi-label), which the losses ignore.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from labelwright.errors import DataError, LabelError, OptionError, ProbabilityError, check_option
from labelwright.learning.losses._rows import check_ids, known_mass, wide

Seed = int | np.random.Generator


@dataclass(frozen=True, eq=False)
class How:
    """How N images were mixed.

    kind: "blend", "box" or "grid".   partner: (N,) int64 row of the other image.   lam: (N,) float64 weight of the own label.
    n_classes, multi_label: of the targets.   boxes: (N, 4) int64 top, left, bottom, right, the partner's pixels.
    masks: (N, G, G') bool, True where a cell shows the own image.   cell: its side in pixels.   pixels: (N,) float64 the
    share of the own image in the pixels; it differs from lam where attention has weighed the label.
    """

    kind: str
    partner: np.ndarray
    lam: np.ndarray
    pixels: np.ndarray
    n_classes: int
    multi_label: bool = False
    boxes: np.ndarray | None = None
    masks: np.ndarray | None = None
    cell: int = 0


@dataclass(frozen=True, eq=False)
class Mixed:
    """images (N, C, H, W), targets (N, K) float, and how they were made."""

    images: Tensor
    targets: Tensor
    how: How


def replay(images: Tensor, targets: Tensor, how: How) -> Mixed:
    """The same mix of the same images again, bit by bit; or of other tensors of that shape, as depth maps or views.

    Raises:
        DataError: another number of images than the record has.
    """
    if len(images) != len(how.partner) or len(targets) != len(how.partner):
        raise DataError(
            found=f"{len(images)} images and {len(targets)} targets for a record of {len(how.partner)}",
            expected="the batch that was mixed",
            fix="keep the record with its batch",
        )
    return Mixed(mix_images(images, how), mix_targets(targets, how), how)


def mix_images(images: Tensor, how: How) -> Tensor:
    """The images alone. Only blending computes with them; boxes and grids copy pixels of any type."""
    other = images[torch.as_tensor(how.partner, device=images.device)]
    if how.kind == "blend":
        lam = torch.as_tensor(how.pixels, dtype=images.dtype, device=images.device)
        lam = lam.reshape(-1, *[1] * (images.ndim - 1))
        return lam * images + (1 - lam) * other
    own = torch.as_tensor(pixel_masks(how, *images.shape[-2:]), device=images.device)
    return torch.where(own.reshape(len(own), *[1] * (images.ndim - 3), *own.shape[1:]), images, other)


def mix_targets(targets: Tensor, how: How) -> Tensor:
    """The labels alone, (N, K) float: use it after `lam` of a record was changed."""
    y = _dense(targets, how.n_classes, how.multi_label)
    lam = torch.as_tensor(how.lam, dtype=y.dtype, device=y.device)[:, None]
    blank = -1.0 if how.multi_label else 0.0
    missing = y == -1 if how.multi_label else (y == 0).all(-1, keepdim=True)
    partner = torch.as_tensor(how.partner, device=y.device)
    unknown = (missing & (lam > 0)) | (missing[partner] & (lam < 1))
    return (lam * y + (1 - lam) * y[partner]).masked_fill(unknown, blank)


def pixel_masks(how: How, height: int, width: int) -> np.ndarray:
    """(N, H, W) bool, True where a pixel is the own image's; for boxes and grids."""
    if how.boxes is not None:
        top, left, bottom, right = (how.boxes[:, i, None, None] for i in range(4))
        row, column = np.arange(height)[None, :, None], np.arange(width)[None, None, :]
        return ~((row >= top) & (row < bottom) & (column >= left) & (column < right))
    if how.masks is None:
        raise OptionError(found=f"a mix by {how.kind!r}", expected="boxes or a grid", fix="use cutmix or maskmix")
    return how.masks.repeat(how.cell, 1).repeat(how.cell, 2)[:, :height, :width]


def own_share(how: How, height: int, width: int) -> How:
    """The record with `pixels` and `lam` counted from the pixels."""
    share = pixel_masks(how, height, width).mean((1, 2))
    return replace(how, lam=share, pixels=share)


def checked(
    images: Tensor, targets: Tensor, n_classes: int | None, multi_label: bool, floats: bool = False, check: bool = True
) -> int:
    """K, after a look at the batch."""
    if images.ndim < 2 or not len(images) or (floats and not images.is_floating_point()):
        raise DataError(
            found=f"images of shape {tuple(images.shape)} and dtype {images.dtype}",
            expected="at least one " + ("float image" if floats else "image") + ", items first",
            fix="scale to floats before blending: images.float() / 255",
        )
    if len(targets) != len(images):
        raise DataError(
            found=f"{len(targets)} targets for {len(images)} images",
            expected="one per image",
            fix="cut images and targets from the same batch",
        )
    hard = targets.ndim == 1 and not targets.is_floating_point() and not multi_label
    if hard:
        if n_classes is None:
            raise OptionError(
                found="class ids without n_classes", expected="the number of classes", fix="pass n_classes=K"
            )
        if check:
            check_ids(targets, n_classes)
        return n_classes
    if targets.ndim != 2 or (n_classes is not None and targets.shape[1] != n_classes):
        raise DataError(
            found=f"targets of shape {tuple(targets.shape)} and dtype {targets.dtype}",
            expected=f"class ids (N,) or one row per image (N, {n_classes or 'K'})",
            fix="pass integer ids, or rows over all classes",
        )
    if multi_label and check and not (((targets >= 0) & (targets <= 1)) | (targets == -1)).all():
        raise LabelError(
            found="multi-label targets outside 0 to 1", expected="0 to 1, or -1 = unknown", fix="write present as 1"
        )  # fmt: skip
    if not multi_label and not targets.is_floating_point():
        raise ProbabilityError(
            found=f"targets (N, K) of {targets.dtype}",
            expected="float distributions",
            fix="pass multi_label=True for several classes per item",
        )
    if not multi_label:
        known_mass(targets, check)
    return targets.shape[1]


def draw_partner(n: int, order: str, rng: np.random.Generator) -> np.ndarray:
    """(N,) "random" permutation, or "reverse"."""
    check_option("partner", order, ("random", "reverse"))
    return rng.permutation(n) if order == "random" else np.arange(n)[::-1].copy()


def draw_shares(n: int, alpha: float, per_item: bool, rng: np.random.Generator) -> np.ndarray:
    """(N,) Beta(alpha, alpha), one for all or one per item."""
    if not 0 < alpha < float("inf"):
        raise OptionError(found=f"alpha={alpha!r}", expected="a finite number above 0", fix="pass alpha=1.0")
    return rng.beta(alpha, alpha, n) if per_item else np.full(n, rng.beta(alpha, alpha))


def _dense(targets: Tensor, n_classes: int, multi_label: bool) -> Tensor:
    """(N, K) float, rows of zeros where a hard label is missing."""
    if multi_label or targets.is_floating_point():
        return wide(targets) if targets.is_floating_point() else targets.float()
    out = torch.zeros(len(targets), n_classes, device=targets.device)
    return out.scatter_(1, targets.clamp_min(0).long()[:, None], (targets >= 0).float()[:, None])
