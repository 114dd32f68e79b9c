"""Random crops that are not stored but made again: a counter-based generator and the crop drawn from it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from labelwright.errors import OptionError, check_whole

_ATTEMPTS = 10
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def philox(counter: np.ndarray, seed: int) -> np.ndarray:
    """(n, 4) uint32 random words of Philox4x32 with 10 rounds: a pure function of counter and seed.

    Args:
        counter: (n, 4) unsigned integers below 2 ** 32.
        seed: below 2 ** 64; its low and high halves are the key.

    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 4.
    """
    c0, c1, c2, c3 = (counter[:, i].astype(np.uint64) for i in range(4))
    low, high = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        product0, product1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (
            (product1 >> _SHIFT) ^ c1 ^ np.uint64(low),
            product1 & _LOW,
            (product0 >> _SHIFT) ^ c3 ^ np.uint64(high),
            product0 & _LOW,
        )
        low, high = (low + 0x9E3779B9) & 0xFFFFFFFF, (high + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


@dataclass(frozen=True)
class CropPlan:
    """Random resized crops and flips of every item, each a pure function of (seed, item, crop, image size).

    n_crops: crops per item.   seed: 0 to 2 ** 64 - 1.   scale: share of the image's area, low and high.
    ratio: width / height, low and high.   flip: probability of a horizontal flip.

    The rule is torchvision's RandomResizedCrop: up to 10 attempts to draw area and ratio, then a central crop. Attempt a
    of crop c of item i uses the Philox words of counter (a, c, i mod 2^32, i div 2^32): area, ratio, top, left; the
    flip is the first word of a = 10. A word w is the number w / 2^32; a whole number below n is floor(w n / 2^32).

    >>> plan = CropPlan(n_crops=2, seed=7)
    >>> boxes, flips = plan.boxes([0, 0, 1], [0, 1, 0], 100, 200)
    >>> boxes.shape, bool((boxes[:, 2:] >= 1).all())
    ((3, 4), True)
    """

    n_crops: int
    seed: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5

    def __post_init__(self) -> None:
        check_whole("n_crops", self.n_crops, 1)
        check_whole("seed", self.seed, 0)
        right = (
            self.seed < 1 << 64
            and 0 < self.scale[0] <= self.scale[1] <= 1
            and 0 < self.ratio[0] <= self.ratio[1] < math.inf
            and 0 <= self.flip <= 1
        )
        if not right:
            raise OptionError(
                found=f"{self}",
                expected="seed < 2^64, 0 < scale <= 1 and 0 < ratio as (low, high), flip in [0, 1]",
                fix="for example CropPlan(n_crops=4, seed=0, scale=(0.08, 1.0), ratio=(0.75, 1.333), flip=0.5)",
            )

    def to_json(self) -> dict[str, Any]:
        """Everything needed to make the crops again."""
        return {"generator": "philox4x32-10", **asdict(self)}

    @classmethod
    def from_json(cls, head: dict[str, Any]) -> CropPlan:
        """The plan that `to_json` described."""
        rest: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in head.items() if k != "generator"}
        if head.get("generator") != "philox4x32-10":
            raise ValueError(f"crops of the unknown generator {head.get('generator')!r}")
        return cls(**rest)

    def boxes(self, items: Any, crops: Any, heights: Any, widths: Any) -> tuple[np.ndarray, np.ndarray]:
        """(n, 4) int64 boxes (top, left, height, width) in pixels, and (n,) bool flips.

        Args:
            items, crops: (n,) whole numbers >= 0.   heights, widths: (n,) or one number, pixels of the image.
        """
        item, crop, height, width = np.broadcast_arrays(
            *(np.asarray(a, dtype=np.int64) for a in (items, crops, heights, widths))
        )
        if item.ndim != 1 or (item < 0).any() or (crop < 0).any() or (height < 1).any() or (width < 1).any():
            raise OptionError(
                found=f"items, crops, heights and widths of shape {item.shape}, some negative or empty images perhaps",
                expected="whole numbers (n,): items and crops >= 0, heights and widths >= 1",
                fix="pass one entry per crop",
            )
        box = np.empty((len(item), 4), dtype=np.int64)
        left = np.arange(len(item))
        for attempt in range(_ATTEMPTS):
            words = self._words(item[left], crop[left], attempt)
            drawn, inside = self._draw(words, height[left], width[left])
            box[left[inside]] = drawn[inside]
            left = left[~inside]
        box[left] = self._central(height[left], width[left])
        return box, self._words(item, crop, _ATTEMPTS)[:, 0] / 2**32 < self.flip

    def _words(self, item: np.ndarray, crop: np.ndarray, attempt: int) -> np.ndarray:
        return philox(np.stack([np.full(len(item), attempt), crop, item & 0xFFFFFFFF, item >> 32], axis=1), self.seed)

    def _draw(self, words: np.ndarray, height: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u = words / 2**32
        area = height * width * (self.scale[0] + u[:, 0] * (self.scale[1] - self.scale[0]))
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        aspect = np.exp(low + u[:, 1] * (high - low))
        w, h = np.rint(np.sqrt(area * aspect)).astype(np.int64), np.rint(np.sqrt(area / aspect)).astype(np.int64)
        inside = (w > 0) & (w <= width) & (h > 0) & (h <= height)
        whole = words.astype(np.int64)
        top = (whole[:, 2] * np.where(inside, height - h + 1, 1)) >> 32
        left = (whole[:, 3] * np.where(inside, width - w + 1, 1)) >> 32
        return np.stack([top, left, h, w], axis=1), inside

    def _central(self, height: np.ndarray, width: np.ndarray) -> np.ndarray:
        shape = width / height
        w = np.where(shape > self.ratio[1], np.rint(height * self.ratio[1]), width).astype(np.int64)
        h = np.where(shape < self.ratio[0], np.rint(width / self.ratio[0]), height).astype(np.int64)
        return np.stack([(height - h) // 2, (width - w) // 2, h, w], axis=1)


def encode_boxes(boxes: np.ndarray, flips: np.ndarray) -> np.ndarray:
    """(n, 9) bytes: four uint16 (fractions of the image's height and width in 65535ths), then 0 or 1 for the flip."""
    codes = np.rint(boxes.astype(np.float64) * 65535).astype("<u2")
    return np.concatenate([codes.view(np.uint8), flips.astype(np.uint8)[:, None]], axis=1)


def decode_boxes(raw: np.ndarray, heights: Any, widths: Any) -> tuple[np.ndarray, np.ndarray]:
    """(n, 4) int64 boxes in pixels and (n,) bool flips of `encode_boxes`; whole-pixel boxes of sides up to 65534 come
    back exactly, since half a step is less than half a pixel."""
    codes = np.ascontiguousarray(raw[:, :8]).view("<u2").astype(np.float64) / 65535
    height, width = (np.broadcast_to(np.asarray(a, dtype=np.int64), len(raw)) for a in (heights, widths))
    box = np.rint(codes * np.stack([height, width, height, width], axis=1)).astype(np.int64)
    return box, raw[:, 8] > 0
