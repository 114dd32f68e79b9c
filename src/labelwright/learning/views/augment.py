"""Plain augmentation of pictures, drawn from the step's generator, so that any batch can be made again."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from labelwright.errors import OptionError
from labelwright.learning.context import Context
from labelwright.learning.networks.conv import pictures
from labelwright.learning.parts import Part


class Flip(Part):
    """Mirror half of the pictures left to right; writes `flips` (B,) bool.   probability: of a mirror."""

    name = "flip"
    reads = ("inputs",)
    writes = ("inputs", "flips")

    def __init__(self, *, probability: float = 0.5):
        self.probability = _share("probability", probability)

    def __call__(self, context: Context) -> None:
        """Flip."""
        x = pictures(context["inputs"])
        flips = torch.from_numpy(context["rng"].random(len(x)) < self.probability).to(x.device)
        context["inputs"] = torch.where(flips[:, None, None, None], x.flip(-1), x)
        context["flips"] = flips


class Crop(Part):
    """Shift each picture by up to `pad` pixels in both directions, what comes in is black; or, with `area`, cut a box.

    Args:
        pad: largest shift in pixels.
        area: (least, most) share of the picture's area: boxes of `aspect` (least, most) width to height are cut and enlarged
            to the picture's size again. Writes `boxes` (B, 4): top, left, height, width as shares of the picture.
    """

    name = "crop"
    reads = ("inputs",)
    writes = ("inputs", "boxes")

    def __init__(
        self, *, pad: int = 2, area: tuple[float, float] | None = None, aspect: tuple[float, float] = (0.75, 4 / 3)
    ):
        if pad < 0 or (area is not None and not 0 < area[0] <= area[1] <= 1) or not 0 < aspect[0] <= aspect[1]:
            raise OptionError(
                found=f"pad={pad!r}, area={area!r}, aspect={aspect!r}",
                expected="pad of at least 0, 0 < least <= most <= 1 for the area",
                fix="pass pad=4, or area=(0.3, 1.0)",
            )
        self.pad, self.area, self.aspect = pad, area, aspect

    def __call__(self, context: Context) -> None:
        """Cut."""
        x = pictures(context["inputs"])
        height, width = x.shape[-2:]
        if self.area is not None:
            boxes = draw_boxes(len(x), (height, width), self.area, self.aspect, context["rng"])
        else:
            shift = context["rng"].integers(-self.pad, self.pad + 1, (len(x), 2)) / [height, width]
            boxes = np.concatenate([shift, np.ones((len(x), 2))], 1)
        context["boxes"] = torch.from_numpy(boxes.astype(np.float32)).to(x.device)
        context["inputs"] = cut(x, context["boxes"])


class Noise(Part):
    """Add normal noise.   spread: its standard deviation, in the inputs' units."""

    name = "noise"
    reads = ("inputs",)
    writes = ("inputs",)

    def __init__(self, *, spread: float = 0.1):
        self.spread = spread

    def __call__(self, context: Context) -> None:
        """Add it."""
        x = context["inputs"].float() / 255 if context["inputs"].dtype == torch.uint8 else context["inputs"]
        noise = context["rng"].standard_normal(tuple(x.shape), dtype=np.float32)
        context["inputs"] = x + self.spread * torch.from_numpy(noise).to(x.device)


def draw_boxes(
    n: int, size: tuple[int, int], area: tuple[float, float], aspect: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """(n, 4) boxes top, left, height, width as shares, of random area and width to height in pixels, inside the picture."""
    share = rng.uniform(*area, n)
    ratio = np.exp(rng.uniform(np.log(aspect[0]), np.log(aspect[1]), n)) * size[0] / size[1]
    height = np.minimum(np.sqrt(share / ratio), 1.0)
    width = np.minimum(np.sqrt(share * ratio), 1.0)
    top, left = rng.random(n) * (1 - height), rng.random(n) * (1 - width)
    return np.stack([top, left, height, width], 1)


def cut(images: Tensor, boxes: Tensor) -> Tensor:
    """The boxes of images (B, C, H, W), bilinear, at the images' own size; black outside.

    Args:
        boxes: (B, 4) top, left, height, width as shares of the picture; parts may lie outside.
    """
    top, left, height, width = boxes.float().unbind(1)
    zero = torch.zeros_like(top)
    theta = torch.stack(
        [torch.stack([width, zero, 2 * left + width - 1], 1), torch.stack([zero, height, 2 * top + height - 1], 1)], 1
    )  # the grid runs from -1 to 1
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _share(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise OptionError(found=f"{name}={value!r}", expected="from 0 to 1", fix=f"pass {name}=0.5")
    return value
