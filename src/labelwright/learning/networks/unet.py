"""A small U-Net for labels of pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labelwright.learning.networks.conv import pictures
from labelwright.learning.networks.outputs import Outputs


def _twice(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(),
        nn.Conv2d(outside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(),
    )  # fmt: skip


class UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) with BatchNorm, `depth` halvings, and upsampling by nearest neighbours.

    Args:
        channels: of the pictures.   n_classes: K.   width: channels of the first level, doubled at each.

    Outputs: logits (B, H, W, K), classes last as every loss expects; features (B, D) pooled from the deepest level.
    """

    def __init__(self, channels: int, n_classes: int, *, width: int = 8, depth: int = 2):
        super().__init__()
        widths = [width * 2**i for i in range(depth + 1)]
        self.down = nn.ModuleList(_twice(a, b) for a, b in zip([channels, *widths[:-1]], widths))
        self.up = nn.ModuleList(_twice(a + b, b) for a, b in zip(widths[:0:-1], widths[-2::-1]))
        self.head = nn.Conv2d(width, n_classes, 1)

    def forward(self, inputs: Tensor) -> Outputs:
        """(B, C, H, W) -> logits (B, H, W, K)."""
        x, passed = pictures(inputs), []
        for i, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if i else x)
            passed.append(x)
        deep = x.mean((2, 3))
        for block, beside in zip(self.up, passed[-2::-1]):
            x = F.interpolate(x, size=beside.shape[-2:], mode="nearest")
            x = block(torch.cat([x, beside], 1))
        return {"logits": self.head(x).movedim(1, -1), "features": deep}
