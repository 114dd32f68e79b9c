"""Soft labels of pixels: the Jaccard metric loss, and signed certainty maps made from a mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from labelwright.errors import DataError, LabelError, check_option
from labelwright.learning.losses._blocks import Pull, blocks, can_keep, kept, softmax, through_softmax
from labelwright.learning.losses._rows import (
    check_logits,
    check_positive,
    known_rows,
    reduced,
    spread,
    wide,
    wide_dtype,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def jaccard_metric(
    logits: Tensor,
    targets: Tensor,
    *,
    kind: str = "binary",
    over: str = "batch",
    eps: float = 1e-8,
    reduction: str = "mean",
    check: bool = True,
) -> Tensor:
    """1 - the overlap of prediction and soft target, least exactly where they are equal (products of them are not).

    overlap = (sum|x| + sum|y| - sum|x - y|) / (sum|x| + sum|y| + sum|x - y|), after the activation.

    Args:
        logits: any shape (N, ...).   targets: as the logits for "binary" and "signed".
        kind: "binary": sigmoid, targets in [0, 1]. "signed": tanh, targets in [-1, 1] (`sauna_targets`); positive and
            negative parts overlap each with its own. "classes": softmax over the last axis; hard ids (-1 = ignored) or
            soft targets; the mean over the classes, where one that neither holds has overlap 1.
        over: "batch" sums over everything, so that the loss depends on the batch's size; "item" sums per item of the first
            axis.
        reduction: of the items; with over="batch" there is one value.

    Raises:
        DataError: shapes that differ.   LabelError: targets outside their range.

    Source: Wang et al. 2023 (Jaccard metric losses); signed form: SAUNA 2024.
    """
    check_option("kind", kind, ("binary", "signed", "classes"))
    check_option("over", over, ("batch", "item"))
    check_positive("eps", eps)
    if kind == "classes":
        counted = known_rows(logits, targets, check)
        groups = 1 if over == "batch" else len(logits)
        there = None if counted is None else _cells(counted, over).any(-1)
        return reduced(_class_overlap(logits, targets, counted, groups, eps), there, reduction)
    _check_cells(logits, targets, -1.0 if kind == "signed" else 0.0, check)
    z, y = wide(logits), targets.to(wide(logits).dtype)
    if kind == "binary":
        x, y = _cells(z.sigmoid(), over), _cells(y, over)
        loss = 1 - _overlap(x, y, eps)
    else:
        x, y = _cells(z.tanh(), over), _cells(y, over)
        parts = [_sums(s.relu(), t.relu()) for s, t in ((x, y), (-x, -y))]
        loss = 1 - (parts[0][0] + parts[1][0]) / (parts[0][1] + parts[1][1] + eps)
    return reduced(loss, None, reduction)


def stable_focal_l1(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float = 2.0,
    beta: float = 1.0,
    reduction: str = "mean",
    check: bool = True,
) -> Tensor:
    """Distance of tanh(logits) to a signed map per pixel: d on the wrong side of 0, alpha d^(1 + beta) on the right one.

    Args:
        logits, targets: one shape; targets in [-1, 1].   reduction: of the pixels; "none" keeps them.

    The weight alpha d^beta carries gradient too. A prediction or target of exactly 0 counts as the wrong side.

    Source: SAUNA 2024 (stable focal L1); added to the signed Jaccard metric loss there, with weight 1.
    """
    check_positive("alpha", alpha)
    check_positive("beta", beta)
    _check_cells(logits, targets, -1.0, check)
    x, y = wide(logits).tanh(), targets.to(wide(logits).dtype)
    apart = (x - y).abs()
    rows = torch.where(x * y > 0, alpha * apart ** (1 + beta), apart)
    return reduced(rows, None, reduction)


def sauna_targets(mask: ArrayLike, *, variant: str = "h", scale: float | None = None) -> np.ndarray:
    """(H, W) or (N, H, W) float32 in [-1, 1]: the sign is the class, the size how certain a binary mask is there.

    Certainty is low at borders and, on both sides of them, lower the thicker the structure; the middle of a structure is 1
    whatever its width.

    Args:
        mask: bool or 0/1, made at its final size (resizing this map would move its sign).
        variant: "h" as published; "b" the distance map alone; "c" scales the foreground by thickness instead.
        scale: pixels of half-width that count as 1; None: the largest in each mask, so that one thick blob thins the rest.

    A mask without foreground is -1 everywhere, one without background +1.

    Source: SAUNA 2024 (uncertainty-aware retinal segmentation), with exact Euclidean distances.
    """
    from scipy.ndimage import distance_transform_edt, maximum_filter

    check_option("variant", variant, ("h", "b", "c"))
    if scale is not None:
        check_positive("scale", scale)
    m = np.asarray(mask)
    if m.ndim not in (2, 3) or not np.isin(m, (0, 1)).all():
        raise LabelError(
            found=f"a mask of shape {m.shape} with values {np.unique(m)[:5].tolist()}",
            expected="(H, W) or (N, H, W) of 0 and 1",
            fix="pass mask > threshold",
        )
    if m.ndim == 3:
        return (
            np.stack([sauna_targets(one, variant=variant, scale=scale) for one in m])
            if len(m)
            else m.astype(np.float32)
        )
    m = m.astype(bool)
    if m.all() or not m.any():
        return np.full(m.shape, 1.0 if m.any() else -1.0, np.float32)
    inside = distance_transform_edt(m)
    most = float(inside.max()) if scale is None else scale
    inside, outside = np.minimum(inside, most), np.minimum(distance_transform_edt(~m), most)
    border = (inside - outside) / (most + 1e-6)
    if variant == "b":
        return border.astype(np.float32)
    thick = np.where(m, _spread(inside, maximum_filter), _spread(outside, maximum_filter)) / (most + 1e-6)
    thick = np.clip(thick, 0, 1)
    if variant == "c":
        return np.where(m, border * thick, border).astype(np.float32)
    certain = np.where(m, border + (1 - thick), border - (1 - thick))
    return np.clip(np.where(thick > 0, certain, border), -1, 1).astype(np.float32)


def border_weights(labels: ArrayLike, *, near: ArrayLike | None = None) -> np.ndarray:
    """(H, W) float32 in [0.1, 1]: weights of pixels, low near class borders, in a band that is wide where `near` is small.

    Args:
        labels: (H, W) class ids.
        near: (H, W) in [0, 1], how close the scene is; None: the row over the height (below is close).

    A map without borders weighs 1 everywhere. Source: "Navigation-Oriented Scene Understanding" (RA-L 2022).
    """
    from scipy.ndimage import distance_transform_edt

    y = np.asarray(labels)
    if y.ndim != 2 or y.dtype.kind not in "iub":
        raise DataError(found=f"labels {y.shape} of {y.dtype}", expected="(H, W) class ids", fix="pass one label map")
    h = (
        np.broadcast_to(np.arange(len(y))[:, None] / max(len(y), 1), y.shape)
        if near is None
        else np.asarray(near, float)
    )
    if h.shape != y.shape:
        raise DataError(found=f"near {h.shape}", expected=f"{y.shape}, as the labels", fix="resize it to the label map")
    edge = np.zeros(y.shape, bool)  # Roberts: a pixel and its neighbours to the right and below differ
    edge[:-1, :-1] = (y[:-1, :-1] != y[1:, 1:]) | (y[:-1, 1:] != y[1:, :-1])
    if not edge.any():
        return np.ones(y.shape, np.float32)
    away = 1 - np.exp(-distance_transform_edt(~edge) / (1 + 30 * (1 - h**2) ** 2))
    worth = away * h
    low, high = worth.min(), worth.max()
    if high <= low:
        return np.ones(y.shape, np.float32)
    return (0.1 + 0.9 * (worth - low) / (high - low)).astype(np.float32)


def _spread(distance: np.ndarray, maximum_filter: Any) -> np.ndarray:
    """The largest distance within a square as wide as the largest of all, rounded up to an odd number."""
    side = int(np.ceil(distance.max()))
    return np.asarray(maximum_filter(distance, size=side + (side % 2 == 0), mode="constant", cval=0.0))


def _class_overlap(logits: Tensor, targets: Tensor, counted: Tensor | None, groups: int, eps: float) -> Tensor:
    """(groups,) 1 - the mean overlap of the classes; the rows of logits fall into equal groups, in order."""
    k, lead = logits.shape[-1], logits.ndim - 1
    z, t = logits.reshape(-1, k), targets.reshape(-1, *targets.shape[lead:])
    seen = None if counted is None else counted.reshape(-1, 1).to(wide_dtype(logits))

    def plain(z: Tensor, t: Tensor) -> Tensor:
        x = wide(z).softmax(-1)
        x, y = (v.reshape(groups, -1, k) for v in (x if seen is None else x * seen, spread(x, t)))
        return (1 - _overlap(x.transpose(1, 2), y.transpose(1, 2), eps)).mean(-1)

    def make(z: Tensor, t: Tensor) -> tuple[Tensor, Pull]:
        p = torch.empty(z.shape, dtype=wide_dtype(z))
        mask = torch.ones(len(z), 1, dtype=p.dtype) if seen is None else seen
        both, apart = torch.zeros(2, k, dtype=p.dtype)
        for ours, logit, target, m in blocks(p, z, t, mask):
            softmax(wide(logit), ours)
            x, y = ours if seen is None else ours * m, spread(ours, target)
            both += x.sum(0) + y.sum(0)
            apart += (x - y).abs_().sum(0)
        shared, whole = (both - apart) / 2 + eps, (both + apart) / 2 + eps
        to_both, to_apart = (shared - whole) / (2 * k * whole**2), (shared + whole) / (2 * k * whole**2)

        def pull(grad: Tensor) -> Tensor:
            for ours, target, m in blocks(p, t, mask):
                x = ours if seen is None else ours * m
                slope = (x - spread(ours, target)).sign_().mul_(to_apart * grad).add_(to_both * grad)
                if seen is not None:
                    slope *= m
                through_softmax(ours, slope, ours)
            return p

        return (1 - shared / whole).mean()[None], pull

    keep = groups == 1 and can_keep(z, t) and z.requires_grad and torch.is_grad_enabled()
    return kept(plain, make, z, t) if keep else plain(z, t)


def _cells(x: Tensor, over: str) -> Tensor:
    """(1 or N, cells): what is summed together, in the last axis."""
    return x.reshape(1, -1) if over == "batch" else x.reshape(len(x), -1)


def _sums(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """sum|x + y| - sum|x - y| and their sum, for x, y >= 0."""
    both, apart = x.sum(-1) + y.sum(-1), (x - y).abs().sum(-1)
    return both - apart, both + apart


def _overlap(x: Tensor, y: Tensor, eps: float) -> Tensor:
    shared, whole = _sums(x, y)
    return (shared / 2 + eps) / (whole / 2 + eps)


def _check_cells(logits: Tensor, targets: Tensor, low: float, check: bool) -> None:
    check_logits(logits)
    if targets.shape != logits.shape:
        raise DataError(
            found=f"targets of shape {tuple(targets.shape)} for logits of shape {tuple(logits.shape)}",
            expected="one target per cell",
            fix="add or drop the channel axis: targets[:, None]",
        )
    if check and targets.numel() and not ((targets >= low) & (targets <= 1)).all():
        raise LabelError(
            found=f"targets from {float(targets.min()):.3g} to {float(targets.max()):.3g}",
            expected=f"{low:g} to 1",
            fix='use kind="signed" for maps in [-1, 1], and "classes" for class ids',
        )
