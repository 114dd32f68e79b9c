"""Images as a model folder wants them: its preprocessor_config.json, done with PIL and NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.errors import OptionError
from labelwright.features.encoders.parts import damaged, read_json
from labelwright.features.images import open_image

CONFIGS = ("preprocessor_config.json", "processor_config.json")
LONGEST = (
    4  # times the shorter side: what lies farther out is cut before an image is scaled, a later crop drops it anyway
)


class ImageSettings(NamedTuple):
    """size: (height, width) to scale to, or the shorter side's length.   crop: (height, width) of the centre that is kept.
    Then (pixel * factor - mean) / std per colour; `bgr`: colours in reverse order."""

    size: tuple[int, int] | int
    crop: tuple[int, int]
    resample: int
    factor: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr: bool = False

    def pixels(self, image: Any, row: int) -> np.ndarray:
        """(crop height, crop width, 3) uint8 of whatever `open_image` opens."""
        opened = open_image(image, row)
        if isinstance(self.size, int):
            width, height = opened.size
            short = min(width, height)
            if max(width, height) > LONGEST * short:  # a line of pixels would be scaled to gigabytes
                opened = _centre(opened, min(height, LONGEST * short), min(width, LONGEST * short))
                width, height = opened.size
            new_size = (int(self.size * width / short), int(self.size * height / short))  # the shorter is self.size
        else:
            new_size = (self.size[1], self.size[0])
        if new_size != opened.size:
            opened = opened.resize(new_size, self.resample)
        return np.asarray(_centre(opened, *self.crop))

    def batch(self, pixels: list[np.ndarray]) -> np.ndarray:
        """(B, 3, H, W) float32, normalised."""
        x = np.stack(pixels).astype(np.float32)
        if self.bgr:
            x = x[..., ::-1]
        std = np.asarray(self.std)
        x = x * (self.factor / std).astype(np.float32) - (np.asarray(self.mean) / std).astype(np.float32)
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def _centre(image: Any, height: int, width: int) -> Any:
    """The middle of an image; black where it is smaller."""
    left, top = (image.width - width) // 2, (image.height - height) // 2
    if (left, top) == (0, 0) and image.size == (width, height):
        return image
    return image.crop((left, top, left + width, top + height))


def image_settings(folder: Path) -> ImageSettings | None:
    """What preprocessor_config.json says, None where there is none or it is not about images.

    Raises:
        OptionError: sizes that fit no fixed square or rectangle.   DataError: a file that cannot be read.
    """
    config = read_json(folder / CONFIGS[0])
    config = config or read_json(folder / CONFIGS[1]).get("image_processor") or {}
    if not config or "sampling_rate" in config:  # of sounds
        return None
    try:
        size, crop = _sizes(config, read_json(folder / "config.json"))
        normal = config.get("do_normalize", "image_mean" in config)
        return ImageSettings(
            size=size,
            crop=crop,
            resample=int(config.get("resample") or 2),
            factor=float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0,
            mean=tuple(map(float, config.get("image_mean") or (0.5,) * 3)) if normal else (0.0,) * 3,
            std=tuple(map(float, config.get("image_std") or (0.5,) * 3)) if normal else (1.0,) * 3,
            bgr=bool(config.get("do_flip_channel_order")),
        )
    except OptionError:  # a ValueError too
        raise
    except (TypeError, ValueError, KeyError) as error:
        raise damaged(folder / CONFIGS[0], f"{type(error).__name__}: {error}") from error


def _sizes(config: dict[str, Any], model: dict[str, Any]) -> tuple[tuple[int, int] | int, tuple[int, int]]:
    """(size, crop) of `ImageSettings`; older files hold a number, which is the shorter side if a crop follows."""
    crops = bool(config.get("do_center_crop"))
    crop = _rectangle(config.get("crop_size")) if crops else None
    size = config.get("size") or model.get("image_size") or 224
    if not config.get("do_resize", True):
        fixed = crop or _rectangle(model.get("image_size") or 224)
        return fixed, fixed  # scaled all the same: a model takes one size only
    if isinstance(size, dict) and "height" in size:
        exact = _rectangle(size)
        return exact, crop or exact
    short = size.get("shortest_edge") if isinstance(size, dict) else size
    if isinstance(short, list | tuple):
        return _rectangle(short), crop or _rectangle(short)
    if short is None:
        raise OptionError(
            found=f"an image encoder that scales to {size}",
            expected="one size for all images (height and width, or shortest_edge)",
            fix="encode with transformers yourself and pass the vectors as features",
        )
    if "crop_pct" in config:  # ConvNeXt: below 384 a little more than is kept, from there on the whole picture
        share = config["crop_pct"] or 224 / 256
        return (int(short / share) if short < 384 else (int(short), int(short))), (int(short), int(short))
    plain_number = not isinstance(size, dict)
    return ((int(short), int(short)) if plain_number and not crops else int(short)), crop or (int(short), int(short))


def _rectangle(size: Any) -> tuple[int, int]:
    """(height, width) of {"height", "width"}, {"shortest_edge"}, a pair, or a number."""
    if isinstance(size, dict):
        size = (size["height"], size["width"]) if "height" in size else size["shortest_edge"]
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return int(height), int(width)
