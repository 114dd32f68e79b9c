"""Small convolutional networks for pictures: quick to train on a processor, and residual ones for more."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labelwright.learning.networks.outputs import Outputs


def pictures(inputs: Tensor) -> Tensor:
    """(B, C, H, W) float: uint8 is scaled to [0, 1], pictures without channels get one, channels last go first.

    >>> pictures(torch.zeros(2, 8, 8, dtype=torch.uint8)).shape
    torch.Size([2, 1, 8, 8])
    """
    x = inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs
    if x.ndim == 3:
        return x[:, None]
    return x.movedim(-1, 1) if x.shape[-1] in (1, 3) and x.shape[1] not in (1, 3) else x


class ConvNet(nn.Module):
    """Convolutions 3x3 with BatchNorm and ReLU, each followed by max-pooling; global average, linear head.

    Args:
        channels: of the pictures.   n_classes: K.   widths: channels of the layers; the picture halves behind each but the last.

    Outputs: logits (B, K), features (B, D) pooled, mid (B, D') pooled before the last layer, map (B, D, h, w).
    """

    def __init__(self, channels: int, n_classes: int, *, widths: Sequence[int] = (32, 64, 128), dropout: float = 0.0):
        super().__init__()
        ends = [channels, *widths]
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in zip(ends[:-1], ends[1:])
        )
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(ends[-1], n_classes)

    def forward(self, inputs: Tensor) -> Outputs:
        """(B, C, H, W) -> logits and features."""
        x, mid = pictures(inputs), inputs
        for i, block in enumerate(self.blocks):
            if i and min(x.shape[-2:]) > 1:
                mid = x
                x = F.max_pool2d(x, 2)
            x = block(x)
        features = x.mean((2, 3))
        out = {"logits": self.head(self.drop(features)), "features": features, "map": x}
        return out | {"mid": mid.mean((2, 3))} if len(self.blocks) > 1 else out


class _Residual(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int):
        super().__init__()
        self.one = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm_one = nn.BatchNorm2d(outside)
        self.two = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norm_two = nn.BatchNorm2d(outside)
        same = stride == 1 and inside == outside
        self.skip = nn.Identity() if same else nn.Sequential(
            nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm_one(self.one(x)))
        return F.relu(self.norm_two(self.two(y)) + self.skip(x))


class ResNet(nn.Module):
    """Residual network for small pictures (He et al. 2016, section 4.2).

    Args:
        channels: of the pictures.   n_classes: K.   depth: blocks per stage; 3 gives ResNet-20.   width: of the first stage.

    Outputs: logits (B, K), features (B, 4 width), mid (B, 2 width), map (B, 4 width, h, w).
    """

    def __init__(self, channels: int, n_classes: int, *, depth: int = 3, width: int = 16):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.stages, inside = nn.ModuleList(), width
        for stage in range(3):
            outside = width * 2**stage
            blocks = [
                _Residual(inside if i == 0 else outside, outside, 2 if stage and i == 0 else 1) for i in range(depth)
            ]
            self.stages.append(nn.Sequential(*blocks))
            inside = outside
        self.head = nn.Linear(inside, n_classes)

    def forward(self, inputs: Tensor) -> Outputs:
        """(B, C, H, W) -> logits and features."""
        x = self.stages[0](self.stem(pictures(inputs)))
        mid = self.stages[1](x)
        x = self.stages[2](mid)
        features = x.mean((2, 3))
        return {"logits": self.head(features), "features": features, "mid": mid.mean((2, 3)), "map": x}
