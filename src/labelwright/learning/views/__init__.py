"""Views: how inputs and labels are changed together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from labelwright.learning.views.augment import Crop, Flip, Noise
from labelwright.learning.views.crops import RoiLabels, SelfMix, StoredCrops
from labelwright.learning.views.label_channel import LabelChannel
from labelwright.learning.views.mixes import CutMix, MaskMix, MixUp

VIEWS: dict[str, Callable[..., Any]] = {
    "crop": Crop, "flip": Flip, "noise": Noise, "mixup": MixUp, "cutmix": CutMix, "maskmix": MaskMix,
    "selfmix": SelfMix, "stored_crops": StoredCrops, "roi_labels": RoiLabels, "label_channel": LabelChannel,
}  # fmt: skip
"""Views by name, for recipes."""

__all__ = [
    "VIEWS",
    "Crop",
    "CutMix",
    "Flip",
    "LabelChannel",
    "MaskMix",
    "MixUp",
    "Noise",
    "RoiLabels",
    "SelfMix",
    "StoredCrops",
]
