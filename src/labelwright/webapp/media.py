"""Files of items: from the data's folders alone, of known kinds alone, never larger than a browser can take."""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from labelwright.webapp.security import FRAME_POLICY, NoSuchPage

MOST_BYTES = 200 << 20
MOST_PIXELS = 100_000_000  # as in `labelwright.features.images`: what decodes to more is taken for a decompression bomb
IMAGES = {"PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif", "WEBP": "image/webp", "BMP": "image/bmp"}
_SHOWN = ("TIFF", "PPM")  # browsers can't, we can: sent as PNG
_CHUNK = 1 << 16


class Refused(NoSuchPage):
    """A file that is not sent."""


def within(path: str | os.PathLike[str], roots: Iterable[Path]) -> Path:
    """The file itself, links followed, where it is a plain file inside one of the folders.

    Raises:
        Refused: it leads out of them, or is no plain file.
    """
    try:
        real = Path(path).resolve(strict=True)
        inside = any(real.is_relative_to(Path(root).resolve()) for root in roots) and real.is_file()
    except (OSError, ValueError, RuntimeError):  # not there, a NUL in the name, a loop of links
        inside = False
    if not inside:
        raise Refused(
            found="a file that is not in the folder of the data",
            expected="a file inside it",
            fix="start the app with --data FOLDER",
        )
    return real


def opened(path: Path) -> tuple[BinaryIO, int]:
    """An open plain file and its bytes; what is at the path is looked at once it is open, so that it can't be swapped."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise Refused(
            found="a file that can't be opened", expected="a readable file", fix="look at its rights"
        ) from error
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or found.st_size > MOST_BYTES:
        os.close(handle)
        raise Refused(
            found=f"something of {found.st_size:,} bytes",
            expected=f"a plain file of at most {MOST_BYTES:,}",
            fix="make it smaller",
        )
    return os.fdopen(handle, "rb"), found.st_size


def kind_of(file: BinaryIO) -> str:
    """The content type by what stands in the file, never by its name; "image/tiff" and the like are to be sent as PNG.

    Raises:
        Refused: nothing that a page shows; SVG, HTML and PDF are such. Or an image of too many pixels.
    """
    head = file.read(64)
    file.seek(0)
    if (sound := _sound(head)) is not None:
        return sound
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(file, formats=(*IMAGES, *_SHOWN))  # reads the header alone
            kind, pixels = str(image.format), image.width * image.height
    except Image.DecompressionBombError as error:
        raise _too_many(str(error).split(" pixels")[0].rpartition("(")[2]) from error
    except Exception as error:  # whatever Pillow finds in a broken file
        raise Refused(
            found="a file that is neither an image nor a recording",
            expected="PNG, JPEG, GIF, WebP, BMP, TIFF, WAV, MP3, Ogg, FLAC",
            fix="convert it",
        ) from error
    finally:
        file.seek(0)
    if pixels > MOST_PIXELS:
        raise _too_many(f"{pixels:,}")
    return IMAGES.get(kind, "image/tiff")


def _too_many(pixels: str) -> Refused:
    return Refused(
        found=f"an image of {pixels} pixels", expected=f"at most {MOST_PIXELS // 10**6} million", fix="scale it down"
    )


def _sound(head: bytes) -> str | None:
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "audio/wav"
    if head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2):
        return "audio/mpeg"
    if head[4:11] == b"ftypM4A":
        return "audio/mp4"
    return {b"OggS": "audio/ogg", b"fLaC": "audio/flac"}.get(head[:4])


def as_png(file: BinaryIO) -> bytes:
    """The first picture of a file that browsers don't read, as PNG of at most 4,000 pixels a side."""
    from PIL import Image

    try:
        with Image.open(file, formats=_SHOWN) as image:
            image.thumbnail((4000, 4000))
            buffer = io.BytesIO()
            image.convert("RGBA" if "A" in image.getbands() else "RGB").save(buffer, format="PNG")
    except Exception as error:
        raise Refused(found="an image that can't be read", expected="a whole file", fix="convert it to PNG") from error
    return buffer.getvalue()


def response(found: Path | bytes, range_header: str | None = None, *, roots: Iterable[Path] | None = None) -> Any:
    """The HTTP answer with an item's file; recordings can be asked for in parts.

    found: as the desk gives it: bytes, or a path that it has found inside the data's folder, links followed.
    roots: folders in which the path must lie; None: the desk's word counts.
    """
    from fastapi.responses import Response, StreamingResponse

    if isinstance(found, bytes):
        if len(found) > MOST_BYTES:
            raise Refused(found=f"{len(found):,} bytes", expected=f"at most {MOST_BYTES:,}", fix="make it smaller")
        file, size = io.BytesIO(found), len(found)
    else:
        file, size = opened(found if roots is None else within(found, roots))  # type: ignore[assignment]
    try:
        kind = kind_of(file)
        if kind == "image/tiff":
            body = as_png(file)
            file.close()
            return Response(body, media_type="image/png", headers=_headers())
    except BaseException:
        file.close()
        raise
    first, last = _part(range_header, size)
    headers = _headers() | {"accept-ranges": "bytes", "content-length": str(last - first + 1)}
    if range_header is not None and (first, last) != (0, size - 1):
        headers["content-range"] = f"bytes {first}-{last}/{size}"
    status = 206 if "content-range" in headers else 200
    return StreamingResponse(_read(file, first, last), status, headers, media_type=kind)


def _headers() -> dict[str, str]:
    """Kept by the browser for a while, so that a picture fetched ahead is there; harmless should it be opened as a page."""
    return {
        "cache-control": "private, max-age=900",
        "content-security-policy": FRAME_POLICY,
        "content-disposition": "inline",
    }


def _part(header: str | None, size: int) -> tuple[int, int]:
    """First and last byte of a Range header of one range; the whole file where it is something else.

    >>> _part("bytes=2-4", 10), _part("bytes=-3", 10), _part("bytes=4-", 10), _part("bytes=90-", 10)
    ((2, 4), (7, 9), (4, 9), (0, 9))
    """
    unit, _, wanted = (header or "").partition("=")
    first, _, last = wanted.strip().partition("-")
    numbers = all(part == "" or (part.isascii() and part.isdigit() and len(part) < 16) for part in (first, last))
    if unit.strip() != "bytes" or not numbers or not (first or last):
        return 0, size - 1
    low, high = (max(0, size - int(last)), size - 1) if not first else (int(first), min(int(last or size), size - 1))
    return (low, high) if low <= high else (0, size - 1)


def _read(file: BinaryIO, first: int, last: int) -> Iterator[bytes]:
    with file:
        file.seek(first)
        left = last - first + 1
        while left > 0 and (chunk := file.read(min(_CHUNK, left))):
            left -= len(chunk)
            yield chunk
