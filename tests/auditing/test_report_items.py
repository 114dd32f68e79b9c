"""Items on a page: cut texts, thumbnails of nothing but pixels, the first cells of rows."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from labelwright.auditing._report_items import check_content, look, short
from labelwright.errors import DataError


def picture(size: tuple[int, int] = (300, 200), form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 80).convert("RGB").save(buffer, form, **options)
    return buffer.getvalue()


def decoded(uri: str | None) -> Image.Image:
    assert uri is not None
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))


@pytest.mark.parametrize("kind", ["path", "bytes", "stream", "grey", "colour", "one channel", "16 bit"])
def test_images_become_small_thumbnails(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "a.png").write_bytes(picture())
    sixteen = io.BytesIO()
    Image.fromarray(rng.integers(0, 60000, (200, 300)).astype(np.uint16)).save(sixteen, "PNG")
    source = {
        "path": tmp_path / "a.png",
        "bytes": picture(),
        "stream": io.BytesIO(picture()),
        "grey": rng.integers(0, 255, (200, 300), dtype=np.uint8),
        "colour": rng.integers(0, 255, (200, 300, 3), dtype=np.uint8),
        "one channel": rng.integers(0, 255, (200, 300, 1), dtype=np.uint8),
        "16 bit": sixteen,
    }[kind]
    shown = look([source], 0)
    assert shown is not None and decoded(shown.image).size == (96, 64)
    assert len(shown.image or "") < 16_000 and shown.size >= len(shown.image or "")


def test_tiny_images_keep_their_pixels() -> None:
    pixels = np.arange(28 * 28, dtype=np.uint8).reshape(28, 28)
    shown = look(pixels[None], 0)
    assert shown is not None and shown.tiny and (np.asarray(decoded(shown.image))[..., 0] == pixels).all()


def test_thumbnails_tell_nothing_but_pixels_and_stand_upright() -> None:
    exif = Image.Exif()
    exif[274], exif[306] = 6, "2024:01:01"  # turned by 90 degrees; taken then
    shown = look([picture(form="JPEG", exif=exif)], 0)
    small = decoded(shown.image if shown else None)
    assert small.size == (64, 96) and not small.getexif() and not {"icc_profile", "comment"} & set(small.info)


@pytest.mark.parametrize(
    "source", [b"no image", Path("nowhere.png"), picture()[:200]], ids=["bytes", "path", "cut off"]
)
def test_images_that_cannot_be_read_say_so(source: Any) -> None:
    shown = look([source], 0)
    assert shown is not None and shown.image is None and "image that cannot be read" in str(shown.text)


def test_texts_are_cut_and_rows_show_twelve_cells() -> None:
    text = look(["word " * 300], 0)
    assert text is not None and len(str(text.text)) <= 400 and str(text.text).endswith("…")
    row = look([{f"k{i}": i for i in range(30)} | {"k1": "x" * 999, "k2": b"abc", "k3": np.zeros(9)}], 0)
    assert row is not None and len(row.cells) == 12 and len(row.cells[1][1]) == 100
    assert row.cells[2][1] == "3 bytes" and row.cells[3][1] == "array of shape (9,)"


def test_content_may_be_any_column() -> None:
    pd = pytest.importorskip("pandas")
    assert look(pa.array(["a", "b"]), 1) == look(["a", "b"], 1) == look(pd.Series(["a", "b"], index=[7, 3]), 1)
    assert look(np.array(["a", "b"]), 1) == look(["a", "b"], 1)


@given(st.text(max_size=60), st.integers(2, 40))
def test_short_text_fits_and_can_be_written(text: str, limit: int) -> None:
    cut = short(text, limit)
    assert 0 < len(cut) <= max(limit, len("(empty)")) and cut.strip()
    assert cut.encode("utf-8") and not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e]", cut)
    assert short(cut, 40 + limit) == cut


@pytest.mark.parametrize("content", [["a"], "a text", {"a": [1]}], ids=str)
def test_content_of_another_length_is_refused(content: Any) -> None:
    with pytest.raises(DataError, match="pass the column or the list of rows that the labels belong to"):
        check_content(content, 90)
