"""A small vision transformer whose last block tells where its class token looks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from labelwright.errors import OptionError
from labelwright.learning.networks.conv import pictures
from labelwright.learning.networks.outputs import Outputs


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, *, told: bool = False) -> tuple[Tensor, Tensor | None]:
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        if not told:
            y = nn.functional.scaled_dot_product_attention(q, k, v)
            return self.out(y.transpose(1, 2).reshape(b, n, d)), None
        share = (q @ k.transpose(-2, -1) * (d // self.heads) ** -0.5).softmax(-1)
        return self.out((share @ v).transpose(1, 2).reshape(b, n, d)), share


class _Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm_one, self.norm_two = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = _Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, *, told: bool = False) -> tuple[Tensor, Tensor | None]:
        y, share = self.attention(self.norm_one(x), told=told)
        x = x + y
        return x + self.mlp(self.norm_two(x)), share


class ViT(nn.Module):
    """Vision transformer with a class token.

    Args:
        channels: of the pictures.   n_classes: K.   size: (H, W) of the pictures.   patch: side of a patch in pixels.
        width, depth, heads: of the blocks.

    Outputs: logits (B, K), features (B, width) of the class token, mid the same half-way, attention (B, h, w): how the class
        token of the last block shares its attention over the patches, mean over heads, before dropout; patches (B, h w, width).
    """

    def __init__(
        self,
        channels: int,
        n_classes: int,
        *,
        size: tuple[int, int],
        patch: int = 4,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
    ):
        super().__init__()
        if size[0] % patch or size[1] % patch or width % heads:
            raise OptionError(
                found=f"patches of {patch} on pictures of {size[0]} x {size[1]}, {heads} heads of width {width}",
                expected="sides that are multiples of the patch, a width that is a multiple of the heads",
                fix="pass patch=4, or cut the pictures",
            )
        self.grid = size[0] // patch, size[1] // patch
        self.stem = nn.Conv2d(channels, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.place = nn.Parameter(torch.randn(1, 1 + self.grid[0] * self.grid[1], width) * 0.02)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, n_classes)

    def forward(self, inputs: Tensor) -> Outputs:
        """(B, C, H, W) -> logits, features and attention."""
        x = self.stem(pictures(inputs)).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.place
        mid, share = x[:, 0], None
        for i, block in enumerate(self.blocks):
            x, share = block(x, told=i == len(self.blocks) - 1)
            if i == len(self.blocks) // 2 - 1:
                mid = x[:, 0]
        x = self.norm(x)
        assert share is not None
        looked = share.mean(1)[:, 0, 1:].reshape(-1, *self.grid)
        return {"logits": self.head(x[:, 0]), "features": x[:, 0], "mid": mid, "attention": looked, "patches": x[:, 1:]}
