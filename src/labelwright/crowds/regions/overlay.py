"""A mask over its image, for a judge or a person to look at."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from labelwright.errors import DataError, LabelError, OptionError, check_whole

COLOURS = ((220, 30, 30), (30, 90, 220), (240, 180, 20), (30, 160, 70), (150, 60, 190), (20, 180, 190), (240, 110, 30))


def overlay(
    image: Any, mask: Any, *, size: int | None = 512, strength: float = 0.4, outline: bool = True
) -> np.ndarray:
    """The image with the mask laid over it in colour: (h, w, 3) uint8.

    Args:
        image: (H, W) grey or (H, W, 3) colours; uint8, or floats in [0, 1]. A scan of three dimensions has to be projected first.
        mask: (H, W) class ids; 0 and below stay as they are, class 1 is red, the following have other colours.
        size: pixels of the longer side of the result; None keeps that of the image.
        strength: of the colour, in [0, 1]; 1 hides the image.   outline: draw the outline in full colour.

    Raises:
        DataError: an image of another shape or with values outside its range.   LabelError: a mask of another size.
        OptionError: size below 16, strength outside [0, 1].

    >>> overlay(np.zeros((2, 2)), [[0, 1], [0, 0]], size=None, strength=1.0)[0].tolist()
    [[0, 0, 0], [220, 30, 30]]
    """
    if size is not None:
        check_whole("size", size, 16)
    if not 0 <= strength <= 1:
        raise OptionError(found=f"strength={strength!r}", expected="a number in [0, 1]", fix="pass strength=0.4")
    picture, ids = _colours(image), np.asarray(mask)
    if ids.shape != picture.shape[:2] or ids.dtype.kind not in "biu":
        raise LabelError(
            found=f"a mask of shape {ids.shape} and dtype {ids.dtype} over an image of {picture.shape[:2]}",
            expected="(H, W) integer class ids, as large as the image",
            fix="resize the mask by nearest neighbour",
        )
    ids = ids.astype(np.int64)
    if size is not None:
        picture, ids = _resized(picture, ids, size)
    palette = np.array(COLOURS, dtype=np.float64)
    colour = palette[(ids - 1) % len(palette)]
    part = np.where(ids > 0, strength, 0.0)
    if outline:
        part = np.where((ids > 0) & _border(ids), 1.0, part)
    mixed = picture * (1 - part[..., None]) + colour * part[..., None]
    return np.asarray(mixed.round().astype(np.uint8))


def overlay_png(image: Any, mask: Any, **options: Any) -> bytes:
    """`overlay` as a PNG file."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(overlay(image, mask, **options)).save(out, "PNG")
    return out.getvalue()


def _colours(image: Any) -> np.ndarray:
    """(H, W, 3) float64 in [0, 255]."""
    a = np.asarray(image)
    if a.ndim == 2:
        a = np.repeat(a[..., None], 3, axis=2)
    if a.ndim != 3 or a.shape[2] not in (3, 4) or not a.size:
        raise DataError(
            found=f"an image of shape {np.shape(image)}",
            expected="(H, W) or (H, W, 3)",
            fix="project a volume to two dimensions first, such as volume.mean(axis)",
        )
    a = a[..., :3]
    scale = 255.0 if a.dtype.kind in "fb" else 1.0
    values = a.astype(np.float64) * scale
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 255:
        raise DataError(
            found=f"an image with values from {np.nanmin(a):.4g} to {np.nanmax(a):.4g} of dtype {a.dtype}",
            expected="0 to 255 (integers) or 0 to 1 (floats)",
            fix="clip to the window of interest and scale it to [0, 1]",
        )
    return values


def _resized(picture: np.ndarray, ids: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Both with a longer side of `size`; the mask by nearest neighbour, so that no class appears that was not drawn."""
    from PIL import Image

    height, width = ids.shape
    factor = size / max(height, width)
    to = (max(round(width * factor), 1), max(round(height * factor), 1))
    large = Image.fromarray(picture.round().astype(np.uint8)).resize(to, Image.Resampling.BILINEAR)
    y, x = (((np.arange(n) + 0.5) / n * old).astype(int) for n, old in ((to[1], height), (to[0], width)))
    return np.asarray(large, dtype=np.float64), ids[np.ix_(y, x)]


def _border(ids: np.ndarray) -> np.ndarray:
    """(H, W) bool: a neighbour above, below, left or right has another class."""
    padded = np.pad(ids, 1, mode="edge")
    middle = padded[1:-1, 1:-1]
    around = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.any([middle != side for side in around], axis=0)
