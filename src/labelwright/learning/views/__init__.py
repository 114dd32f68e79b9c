"""Views: how inputs and labels are changed together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from labelwright.learning.views.augment import Crop, Flip, Noise
from labelwright.learning.views.mixes import CutMix, MaskMix, MixUp

VIEWS: dict[str, Callable[..., Any]] = {
    "crop": Crop, "flip": Flip, "noise": Noise, "mixup": MixUp, "cutmix": CutMix, "maskmix": MaskMix,
}  # fmt: skip
"""Views by name, for recipes."""

__all__ = ["VIEWS", "Crop", "CutMix", "Flip", "MaskMix", "MixUp", "Noise"]
