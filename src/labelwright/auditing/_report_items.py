"""What an item looks like on a page: a shortened text, a thumbnail, or the first cells of a row."""

from __future__ import annotations

import base64
import io
import reprlib
import warnings
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.errors import DataError
from labelwright.features.images import MOST_PIXELS
from labelwright.features.recordings import is_recording

TEXT, CELL, CELLS = 400, 100, 12  # characters of a text and of a cell, cells of a row
THUMBNAIL = 96  # pixels of the longer side
_TINY = 48  # up to here an image is kept exactly (PNG) and shown with its pixels enlarged
_CONTROL = (*range(9), 11, 12, *range(14, 32), *range(127, 160), 0xFFFE, 0xFFFF)
_REVERSING = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))  # with these a name can be made to read as another one
_UNPRINTABLE = dict.fromkeys((*_CONTROL, *_REVERSING), "\ufffd")


class Look(NamedTuple):
    """text: what to print.   image: data URI.   tiny: enlarge the pixels.   cells: (name, value) pairs of a row.

    At most one of the three is there; size is what it adds to the page, in bytes.
    """

    text: str | None = None
    image: str | None = None
    tiny: bool = False
    cells: tuple[tuple[str, str], ...] = ()

    @property
    def size(self) -> int:
        """Bytes, a little too high: five bytes for every character that has to be escaped."""
        words = (self.text or "", *(part for cell in self.cells for part in cell))
        return len(self.image or "") + sum(len(w.encode()) + 4 * sum(map(w.count, "&<>\"'")) for w in words)


def short(value: Any, limit: int) -> str:
    """Printable text of at most `limit` characters; what no page should hold (control characters, half pairs) is replaced.

    >>> short("a long name", 6), short("\\x00", 6), short("", 6)
    ('a lon…', '\ufffd', '(empty)')
    """
    text = value if isinstance(value, str) else _spelled(value)
    text = text[: limit + 1].translate(_UNPRINTABLE).encode("utf-8", "replace").decode()
    if not text.strip():
        return "(empty)"
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _spelled(value: Any) -> str:
    """str, but never of a million numbers."""
    if isinstance(value, np.ndarray):
        return f"array of shape {value.shape}"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value):,} bytes"
    return reprlib.repr(value) if isinstance(value, list | tuple | dict | set) else str(value)


def check_content(content: Any, n: int) -> None:
    """Raise `DataError` unless there is one thing to show per item."""
    if content is not None and (isinstance(content, str | bytes | Mapping) or len(content) != n):
        found = "1" if isinstance(content, str | bytes | Mapping) else f"{len(content)}"
        raise DataError(
            found=f"`content` with {found} entries for {n} items",
            expected="a sequence with a text, an image (path, bytes or uint8 array) or a row (dict) per item",
            fix="pass the column or the list of rows that the labels belong to, or leave content out",
        )


def look(content: Any, row: int) -> Look | None:
    """What is shown of item `row`; None where there is no content."""
    if content is None:
        return None
    value = content.iloc[row] if hasattr(content, "iloc") else content[row]
    value = value.as_py() if hasattr(value, "as_py") else value
    if isinstance(value, Mapping):
        return Look(cells=tuple((short(k, 40), short(v, CELL)) for k, v in islice(value.items(), CELLS)))
    if is_recording(value):
        return Look(text=f"(recording {short(value.name, 60)})")
    if isinstance(value, Path | io.BytesIO | bytes) or _is_image(value):
        return _thumbnail(value)
    return Look(text=short("" if value is None else value, TEXT))


def _is_image(value: Any) -> bool:
    flat = isinstance(value, np.ndarray) and value.dtype == np.uint8
    return flat and (value.ndim == 2 or (value.ndim == 3 and value.shape[2] in (1, 3, 4)))


def _thumbnail(source: Any) -> Look:
    """A small copy without anything but its pixels (no place, no camera). What cannot be read says so."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            if isinstance(source, np.ndarray):
                image = Image.fromarray(source.squeeze(2) if source.shape[2:] == (1,) else source)
            else:
                image = Image.open(io.BytesIO(_bytes(source)) if not isinstance(source, Path) else source)
                if image.width * image.height > MOST_PIXELS:  # refused before it is decoded
                    raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
                image.draft("RGB", (2 * THUMBNAIL, 2 * THUMBNAIL))
                image = ImageOps.exif_transpose(image)
            tiny = max(image.size) <= _TINY
            image = _eight_bit(image).convert("RGBA")
            image.thumbnail((THUMBNAIL, THUMBNAIL))
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        named = f": {short(source.name, 60)}" if isinstance(source, Path) else ""
        return Look(text=f"(image that cannot be read{named})")
    plain = Image.new("RGB", image.size, "white")
    plain.paste(image, mask=image)
    buffer = io.BytesIO()
    plain.save(buffer, **({"format": "PNG"} if tiny else {"format": "JPEG", "quality": 80}))
    kind = "png" if tiny else "jpeg"
    return Look(image=f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}", tiny=tiny)


def _bytes(source: io.BytesIO | bytes) -> bytes:
    return source if isinstance(source, bytes) else source.getvalue()


def _eight_bit(image: Any) -> Any:
    """Pixels of 16 bits or of floating point, stretched to what a screen shows."""
    from PIL import Image

    if not image.mode.startswith(("I", "F")):
        return image
    pixels = np.asarray(image, dtype=np.float64)
    low, high = float(pixels.min()), float(pixels.max())
    return Image.fromarray(((pixels - low) * (255 / max(high - low, 1e-12))).astype(np.uint8))
