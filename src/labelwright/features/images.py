"""Images -> vectors without an encoder: orientation histograms and colours."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from labelwright.errors import DataError

Progress = Callable[[int, int], None]  # called with (done, total)
SIDE = 32  # pixels, every image is brought to this square
MOST_PIXELS = 100_000_000  # of an image file: what decodes to more is taken for a decompression bomb


def image_vectors(images: Any, *, progress: Progress | None = None) -> np.ndarray:
    """Edges, colours and their places in each image: a descriptor for linear models and neighbours, without an encoder.

    Every image is brought to 32 x 32 RGB. Then histograms of gradient orientation (12 signed directions) over
    overlapping cells of 8 and 16 pixels, mean and deviation of colour over a 4 x 4 grid, histograms of three opponent
    colours over 2 x 2.

    Args:
        images: file paths, or uint8 arrays (H, W) or (H, W, 3) (sizes may differ), or one array (N, H, W[, 3]).
        progress: called with (done, total) after every 256 images.

    Returns:
        (N, 888) float32 in [0, 1].

    Raises:
        DataError: a file that is no image or an enormous one (named), an array that is no uint8 image.

    Source: Dalal & Triggs 2005 (orientation histograms); van de Sande et al. 2010 (opponent colours).
    """
    total = len(images)
    out = np.zeros((total, 888), np.float32)
    for start in range(0, total, 256):
        batch = [_pixels(images[i], i) for i in range(start, min(start + 256, total))]
        pixels = np.stack(batch).astype(np.float32) / 255
        out[start : start + 256] = np.hstack([_orientations(pixels), _colour_grid(pixels), _opponent_colours(pixels)])
        if progress:
            progress(min(start + 256, total), total)
    return out


def open_image(source: Any, row: int) -> Any:
    """The image of item `row` as a loaded RGB `PIL.Image.Image`, upright as its EXIF orientation says.

    Args:
        source: a file path, an open file, bytes, or a uint8 array (H, W) or (H, W, 1 | 3 | 4).
        row: its number, for the error message.

    Raises:
        DataError: no image, or a file with more than MOST_PIXELS pixels; that is refused before it is decoded.
    """
    from PIL import Image

    try:
        if isinstance(source, np.ndarray):
            return _from_array(source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is checked below
            opened = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
            with opened:
                if opened.width * opened.height > MOST_PIXELS:
                    raise Image.DecompressionBombError(f"{opened.width:,} x {opened.height:,} pixels")
                return _upright(opened)
    except Image.DecompressionBombError as error:
        raise DataError(
            found=f"row {row}: {_named(source)} of enormous size ({error})",
            expected=f"at most {MOST_PIXELS // 10**6} million pixels",
            fix="scale the picture down or drop that item",
        ) from error
    except Exception as error:  # damaged bytes can make a decoder raise nearly anything
        raise DataError(
            found=f"row {row}: {_named(source)} cannot be read as an image ({error})",
            expected="image files, or uint8 arrays (H, W) or (H, W, 3)",
            fix="convert to uint8 in 0..255" if isinstance(source, np.ndarray) else "repair or drop that item",
        ) from error


def _from_array(pixels: np.ndarray) -> Any:
    from PIL import Image

    if pixels.dtype != np.uint8:
        raise ValueError(f"dtype {pixels.dtype}")
    return Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels).convert("RGB")


def _upright(image: Any) -> Any:
    from PIL import ImageOps

    with contextlib.suppress(Exception):  # damaged EXIF is no reason to refuse the picture
        ImageOps.exif_transpose(image, in_place=True)
    return image.convert("RGB")


def _named(source: Any) -> str:
    if isinstance(source, np.ndarray):
        return f"an array of shape {source.shape}"
    return f"{len(source):,} bytes" if isinstance(source, bytes) else repr(str(getattr(source, "name", source)))


def _pixels(image: Any, row: int) -> np.ndarray:
    """(32, 32, 3) uint8."""
    from PIL import Image

    return np.asarray(open_image(image, row).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _orientations(p: np.ndarray, bins: int = 12) -> np.ndarray:
    """(B, (49 + 9) * bins) roots of the shares of gradient directions per cell; p is (B, 32, 32, 3) in [0, 1]."""
    pad = np.pad(p, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    dy, dx = pad[:, 2:, 1:-1] - pad[:, :-2, 1:-1], pad[:, 1:-1, 2:] - pad[:, 1:-1, :-2]
    strongest = np.hypot(dx, dy).argmax(axis=-1)[..., None]  # the colour channel with the clearest edge
    dy, dx = np.take_along_axis(dy, strongest, -1)[..., 0], np.take_along_axis(dx, strongest, -1)[..., 0]
    size, angle = np.hypot(dx, dy), np.arctan2(dy, dx) % (2 * np.pi) * (bins / (2 * np.pi))
    low = np.minimum(angle.astype(np.int64), bins - 1)
    share = angle - low
    votes = np.zeros((*size.shape, bins), np.float32)  # each pixel votes for its two nearest directions
    np.put_along_axis(votes, low[..., None], (size * (1 - share))[..., None], -1)
    np.put_along_axis(votes, ((low + 1) % bins)[..., None], (size * share)[..., None], -1)
    total = np.zeros((len(p), 33, 33, bins), np.float32)
    total[:, 1:, 1:] = votes.cumsum(axis=1).cumsum(axis=2)
    cells = []
    for cell in (8, 16):
        a = np.arange(0, 33 - cell, cell // 2)
        b = a + cell
        h = total[:, b][:, :, b] - total[:, a][:, :, b] - total[:, b][:, :, a] + total[:, a][:, :, a]
        h = np.maximum(h, 0)  # differences of sums may round below zero
        cells.append(np.sqrt(h / (h.sum(-1, keepdims=True) + 0.02 * cell**2)).reshape(len(p), -1))
    return np.hstack(cells)


def _colour_grid(p: np.ndarray) -> np.ndarray:
    """(B, 96) mean and standard deviation of each channel over a 4 x 4 grid."""
    grid = p.reshape(len(p), 4, 8, 4, 8, 3)
    return np.hstack([grid.mean((2, 4)).reshape(len(p), -1), grid.std((2, 4)).reshape(len(p), -1)])


def _opponent_colours(p: np.ndarray, bins: int = 8) -> np.ndarray:
    """(B, 96) roots of the histograms of brightness, red - green and yellow - blue over a 2 x 2 grid."""
    r, g, b = p[..., 0], p[..., 1], p[..., 2]
    out = []
    for channel in ((r + g + b) / 3, (r - g + 1) / 2, ((r + g) / 2 - b + 1) / 2):
        level = np.minimum((channel * bins).astype(np.int64), bins - 1).reshape(len(p), 2, 16, 2, 16)
        out += [np.sqrt((level == v).mean((2, 4), dtype=np.float32)).reshape(len(p), -1) for v in range(bins)]
    return np.hstack(out)
