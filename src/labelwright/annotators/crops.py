"""Labels of random crops: cutting them out again, five ways to shrink a teacher's answer, and which crops to believe.

    coords, flip = crop_coords(CropPlan(n_crops=50, seed=0), items, heights, widths)
    crops = crop_and_resize(images, coords[:, 0], flip[:, 0], 224)
    labels = quantise(teacher_probs, "marginal_smoothing", k=5)      # SoftLabels; recover them with .dense()
    calibration = calibrate(crop_confidence(...))                    # drop, soften or keep each crop

Sources: Shen & Xing 2022 (FKD): crops, the five forms. Shen 2023 (FerKD): calibration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.errors import DataError, OptionError, check_option, check_whole
from labelwright.labels.check import check_pred_probs
from labelwright.labels.soft import SoftLabels
from labelwright.labels.space import LabelSpace
from labelwright.store import CropPlan

if TYPE_CHECKING:
    from torch import Tensor

SCHEMES = ("full", "hard", "smoothing", "marginal_smoothing", "marginal_renorm")
DROP, SOFTEN, KEEP = 0, 1, 2


# -- cutting -----------------------------------------------------------------------------------------------------------
def crop_coords(plan: CropPlan, items: Any, heights: Any, widths: Any) -> tuple[np.ndarray, np.ndarray]:
    """(N, M, 4) float64 top, left, height, width as fractions of the image, and (N, M) bool flips, of every crop of a plan.

    items: (N,) item numbers.   heights, widths: (N,) or one number, pixels of the images.
    """
    item, m = np.atleast_1d(np.asarray(items, dtype=np.int64)), plan.n_crops
    high, wide = (np.repeat(np.broadcast_to(np.asarray(a, np.int64), len(item)), m) for a in (heights, widths))
    boxes, flips = plan.boxes(np.repeat(item, m), np.tile(np.arange(m), len(item)), high, wide)
    return (boxes / np.stack([high, wide, high, wide], 1)).reshape(-1, m, 4), flips.reshape(-1, m)


def crop_and_resize(
    images: Tensor, coords: Any, flip: Any = None, size: int = 224, *, antialias: bool = True
) -> Tensor:
    """(B, C, size, size) crops, bilinear, mirrored where `flip` is true.

    The same fractions give the same region at any resolution, with no rounding to pixels: teacher and student see one crop.
    As when the crop is cut first and resized then, nothing from beyond its border comes in.

    Args:
        images: (B, C, H, W) floats, one per crop: images[item].
        coords: (B, 4) top, left, height, width as fractions.   flip: (B,) bool, None = none.
        antialias: average several samples per pixel where a crop is larger than the result.

    Raises:
        DataError: shapes that do not fit, boxes that are empty or outside the image.
    """
    import torch
    from torch.nn.functional import avg_pool2d, grid_sample

    check_whole("size", size, 1)
    box = torch.as_tensor(coords, dtype=torch.float64)
    if images.ndim != 4 or not images.is_floating_point() or box.shape != (len(images), 4):
        raise DataError(
            found=f"images {tuple(images.shape)} of {images.dtype} and coords {tuple(box.shape)}",
            expected="float images (B, C, H, W) and coords (B, 4)",
            fix="repeat the image for each of its crops, images[item], and scale to floats: images.float() / 255",
        )
    inside = (box[:, :2] >= 0).all() and (box[:, 2:] > 0).all() and (box[:, :2] + box[:, 2:] <= 1 + 1e-6).all()
    if not bool(inside):
        raise DataError(
            found="boxes that are empty or do not lie in the image",
            expected="fractions top, left, height, width with height and width above 0",
            fix="divide pixels by the image's height and width",
        )
    sides = torch.tensor(images.shape[2:], dtype=torch.float64)
    factor = max(1, math.ceil(float((box[:, 2:] * sides).max()) / size - 1e-6)) if antialias and len(box) else 1
    y, x = (_places(box[:, a], box[:, a + 2], int(sides[a]), size * factor) for a in (0, 1))
    if flip is not None:
        x = torch.where(torch.as_tensor(flip, dtype=torch.bool)[:, None], x.flip(1), x)
    grid = torch.stack([x[:, None, :].expand(-1, size * factor, -1), y[:, :, None].expand(-1, -1, size * factor)], -1)
    grid = grid.to(images.device, images.dtype)
    out = grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return avg_pool2d(out, factor) if factor > 1 else out


def _places(start: Tensor, length: Tensor, pixels: int, n: int) -> Tensor:
    """(B, n) where to sample along one axis, in grid_sample's units: -1 and 1 are the image's borders."""
    import torch

    at = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    half = torch.minimum(
        torch.full_like(length, 0.5 / pixels), length / 2
    )  # to the centres of the crop's outermost pixels
    place = start[:, None] + length[:, None] * at
    place = torch.minimum(torch.maximum(place, (start + half)[:, None]), (start + length - half)[:, None])
    return 2 * place - 1


# -- shrinking the teacher's answer ------------------------------------------------------------------------------------
def quantise(
    pred_probs: Any, scheme: str = "marginal_smoothing", k: int = 5, *, space: LabelSpace | None = None
) -> SoftLabels:
    """A teacher's rows in one of FKD's forms; `.dense()` recovers them, `write_soft_labels` stores them.

    Args:
        pred_probs: (N, K).   k: of the two marginal forms.
        scheme: "full" keeps everything. "hard": the likeliest class. "smoothing": that and its probability, the rest spread
            evenly. "marginal_smoothing": the k likeliest, the rest spread evenly over the others. "marginal_renorm": the k
            likeliest, divided by their sum; the others are 0, so that KL from the teacher is infinite.
    """
    check_option("scheme", scheme, SCHEMES)
    check_whole("k", k, 1)
    p = np.maximum(check_pred_probs(pred_probs), 0).astype(np.float64)
    p /= p.sum(1, keepdims=True)
    index = np.argsort(-p, axis=1, kind="stable")[:, : p.shape[1] if scheme == "full" else k]
    return _compact(index, np.take_along_axis(p, index, 1), scheme, space or LabelSpace(range(p.shape[1])))


def recover(index: Any, prob: Any, n_classes: int, scheme: str = "marginal_smoothing") -> np.ndarray:
    """(n, K) float32 distributions from stored classes and probabilities, of any precision.

    Probabilities are clipped at 0, and rows that rounding took above 1 are divided by their sum, so that no remainder is
    negative. With k = K nothing remains, and rows are divided by their sum.

    Args:
        index: (n, k) whole numbers: floats are refused, since float16 has no 2049.   prob: (n, k), largest first; not used
            by "hard".

    Raises:
        DataError: shapes or types that will not do.   LabelError: ids outside the classes, or twice in a row.
    """
    check_option("scheme", scheme, SCHEMES)
    ids = np.asarray(index)
    p = np.maximum(np.asarray(prob, dtype=np.float64), 0)
    if ids.dtype.kind not in "iu" or ids.ndim != 2 or ids.shape != p.shape or ids.shape[1] > n_classes:
        raise DataError(
            found=f"index {ids.shape} of {ids.dtype} and prob {p.shape} for {n_classes} classes",
            expected="integers (n, k) and as many probabilities, k at most the number of classes",
            fix="take ids from the teacher again where they were kept as float16: it is exact up to 2048 only",
        )
    return _compact(ids.astype(np.int64), p, scheme, LabelSpace(range(n_classes))).dense()


def _compact(ids: np.ndarray, p: np.ndarray, scheme: str, space: LabelSpace) -> SoftLabels:
    """What a scheme keeps of rows (n, k) in falling order."""
    if scheme in ("hard", "smoothing"):
        ids, p = ids[:, :1], p[:, :1]
    if scheme == "hard":
        p = np.ones_like(p)
    total = p.sum(1, keepdims=True)
    nothing_left = scheme in ("full", "marginal_renorm") or ids.shape[1] == len(space)
    p = p / np.where(nothing_left & (total > 0), total, np.maximum(total, 1))
    return SoftLabels.from_topk(ids, p, space)


# -- which crops to believe --------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Calibration:
    """action: (N, M) int8, 0 drop, 1 soften, 2 keep.   thresholds: low, middle, top as confidences.   shares: of all crops,
    by "drop_low", "drop_top", "soften", "keep".   rescued: items of which all crops would have been dropped."""

    action: np.ndarray
    thresholds: tuple[float, float, float]
    shares: dict[str, float]
    rescued: int

    @property
    def kept(self) -> np.ndarray:
        """(N, M) bool, crops to train on; at least one per item."""
        return self.action != DROP

    def adapted(self, labels: np.ndarray, given: Any, *, smoothing: float = 0.1) -> np.ndarray:
        """(N, M, K) labels, where hard regions get the softened given label: 1 - smoothing, the rest spread evenly.

        labels: (N, M, K) the teacher's.   given: (N,) class ids; where -1 the teacher's label stays.
        """
        if not 0 <= smoothing <= 1:
            raise OptionError(found=f"smoothing={smoothing}", expected="0 to 1", fix="pass smoothing=0.1")
        y = np.asarray(given, dtype=np.int64)
        n, m, n_classes = labels.shape
        if self.action.shape != (n, m) or y.shape != (n,) or (y >= n_classes).any():
            raise DataError(
                found=f"labels {labels.shape} and given {y.shape} for a calibration of {self.action.shape}",
                expected="(N, M, K) labels and (N,) class ids below K",
                fix="pass the labels of the crops that were calibrated",
            )
        soft = np.full((n, n_classes), smoothing / max(n_classes - 1, 1), dtype=labels.dtype)
        soft[np.arange(n), np.maximum(y, 0)] = 1 - smoothing if n_classes > 1 else 1
        hard = (self.action == SOFTEN) & (y >= 0)[:, None]
        return np.where(hard[:, :, None], soft[:, None], labels)


def crop_confidence(labels: np.ndarray, given: Any = None) -> np.ndarray:
    """(N, M) the teacher's confidence in each crop: its largest probability, or that of the given label.

    Of a file, the first is `file[:].prob[:, 0].reshape(-1, n_crops)`, without making the rows dense.

    labels: (N, M, K).   given: (N,) class ids, -1 = missing, where the largest is taken. None: the largest everywhere.
    """
    top = np.asarray(labels.max(-1))
    if given is None:
        return top
    y = np.asarray(given, dtype=np.int64)
    own = np.take_along_axis(labels, np.maximum(y, 0)[:, None, None].repeat(labels.shape[1], 1), axis=2)[:, :, 0]
    return np.where((y >= 0)[:, None], own, top)


def calibrate(
    confidence: Any, *, low: float = 0.1, middle: float = 0.3, top: float = 1.0, by: str = "value"
) -> Calibration:
    """What to do with each crop, by the teacher's confidence r in it.

    r < low or r > top: drop (background without hope, or a crop that teaches nothing). low <= r < middle: a hard region
    whose teacher is not believed: soften the given label. Else keep the teacher's label. Of an item all of whose crops would
    be dropped, the one nearest to [low, top] stays.

    Args:
        confidence: (N, M).
        low, middle, top: confidences, or with by="quantile" shares of all crops. The paper's values are not known; ours lie
            in the range that is worth trying: low 0.05 to 0.2, middle 0.2 to 0.4, top 0.95 to 1 (1 drops none).

    Source: Shen 2023 (FerKD), section 3.2.
    """
    check_option("by", by, ("value", "quantile"))
    r = np.asarray(confidence, dtype=np.float64)
    if r.ndim != 2 or not r.size or not ((r >= 0) & (r <= 1 + 1e-6)).all():
        raise DataError(
            found=f"confidence of shape {r.shape}, or not within 0 to 1",
            expected="probabilities (N, M): items, crops",
            fix="pass crop_confidence(labels) of labels (N, M, K)",
        )
    if not 0 <= low <= middle <= top <= 1:
        raise OptionError(
            found=f"low={low}, middle={middle}, top={top}",
            expected="0 <= low <= middle <= top <= 1",
            fix="put them in order, for example low=0.1, middle=0.3, top=1.0",
        )
    if by == "quantile":
        low, middle, top = (float(q) for q in np.quantile(r, [low, middle, top]))
    above = (r > top) & (top < 1)
    action = np.where(r < middle, SOFTEN, KEEP).astype(np.int8)
    stays = ~((r < low) | above)
    lost = np.flatnonzero(~stays.any(1))
    stays[lost, np.maximum(low - r[lost], r[lost] - top).argmin(1)] = True
    action[~stays] = DROP
    shares = {
        "drop_low": float((~stays & ~above).mean()),
        "drop_top": float((~stays & above).mean()),
        "soften": float((action == SOFTEN).mean()),
        "keep": float((action == KEEP).mean()),
    }
    return Calibration(action, (low, middle, top), shares, len(lost))
