"""Mixing that respects labels: `name(images, targets, *, seed, ...) -> Mixed(images, targets, how)`.

`replay(images, targets, how)` makes the same mix again, bit by bit. All take hard, soft and multi-label targets.
"""

from __future__ import annotations

from labelwright.errors import MissingExtra

try:
    import torch  # noqa: F401
except ImportError as missing:
    raise MissingExtra(
        found="no torch", expected="torch for mixing", fix='pip install "labelwright[learn]"'
    ) from missing

from labelwright.learning.mix.attention import transmix, weigh_by_attention, weigh_progressively
from labelwright.learning.mix.crops import selfmix
from labelwright.learning.mix.masks import maskmix
from labelwright.learning.mix.pairs import cutmix, mixup
from labelwright.learning.mix.records import How, Mixed, mix_images, mix_targets, pixel_masks, replay

__all__ = [
    "How",
    "Mixed",
    "cutmix",
    "maskmix",
    "mix_images",
    "mix_targets",
    "mixup",
    "pixel_masks",
    "replay",
    "selfmix",
    "transmix",
    "weigh_by_attention",
    "weigh_progressively",
]
