"""MobileNetV2 (Sandler et al. 2018), for weights in torchvision's layout, which does not have to be installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from labelwright.features.encoders.parts import damaged, require
from labelwright.features.encoders.pixels import ImageSettings
from labelwright.features.encoders.transformers_model import torch_device

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Table 2 of the paper: expansion, channels, blocks, stride of the first block."""
SIDE = 128  # pixels; the weights were trained at 224, which takes three times as long
SETTINGS = ImageSettings(
    size=SIDE, crop=(SIDE, SIDE), resample=2, factor=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)


class MobileNetImage:
    """The 1280 features before the classes, averaged over the picture."""

    batch_size = 32

    def __init__(self, weights: Path, device: str):
        self.torch = require("torch", "learn", "MobileNetV2")
        self.device = torch_device(device)
        features = mobile_net(self.torch.nn)
        try:
            state = self.torch.load(weights, map_location="cpu", weights_only=True)
            state = {k.removeprefix("features."): v for k, v in state.items() if k.startswith("features.")}
            features.load_state_dict(state)
        except Exception as error:
            raise damaged(weights, str(error)[:300]) from error
        self.features = features.eval().to(self.device)

    def prepare(self, images: list[Any], rows: np.ndarray) -> list[np.ndarray]:
        return [SETTINGS.pixels(image, int(row)) for image, row in zip(images, rows)]

    def forward(self, pixels: list[np.ndarray]) -> np.ndarray:
        x = self.torch.from_numpy(SETTINGS.batch(pixels)).to(self.device)
        with self.torch.inference_mode():
            return np.asarray(self.features(x).mean((2, 3)).cpu().numpy())


def mobile_net(nn: Any) -> Any:
    """The convolutions, (B, 3, H, W) -> (B, 1280, H / 32, W / 32)."""
    layers, width = [_convolution(nn, 3, 32, 3, stride=2)], 32
    for expansion, channels, blocks, stride in STAGES:
        for block in range(blocks):
            layers.append(_residual(nn, width, channels, expansion, stride if block == 0 else 1))
            width = channels
    return nn.Sequential(*layers, _convolution(nn, width, 1280, 1))


def _convolution(nn: Any, inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1) -> Any:
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU6(),
    )


def _residual(nn: Any, inside: int, outside: int, expansion: int, stride: int) -> Any:
    hidden = inside * expansion

    class Residual(nn.Module):  # type: ignore[misc]
        """An inverted residual: widen, filter each channel, narrow; added to its input where the shapes agree."""

        def __init__(self) -> None:
            super().__init__()
            widen = [] if expansion == 1 else [_convolution(nn, inside, hidden, 1)]
            self.conv = nn.Sequential(
                *widen,
                _convolution(nn, hidden, hidden, 3, stride, hidden),
                nn.Conv2d(hidden, outside, 1, bias=False),
                nn.BatchNorm2d(outside),
            )

        def forward(self, x: Any) -> Any:
            return x + self.conv(x) if stride == 1 and inside == outside else self.conv(x)

    return Residual()
