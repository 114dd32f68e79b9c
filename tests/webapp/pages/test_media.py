"""Files: inside the folders alone, of known kinds, of a bearable size."""

from __future__ import annotations

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")

from labelwright.webapp import media


def png(width=3, height=2):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def bomb():
    """A PNG whose header promises 3.6 thousand million pixels."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data" / "in").mkdir(parents=True)
    (tmp_path / "data" / "in" / "a.png").write_bytes(png())
    (tmp_path / "secret.png").write_bytes(png())
    (tmp_path / "data2").mkdir()
    (tmp_path / "data2" / "b.png").write_bytes(png())
    (tmp_path / "data" / "out.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "data" / "up").symlink_to(tmp_path)
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data" / "loop")
    (tmp_path / "data" / "inner.png").symlink_to(tmp_path / "data" / "in" / "a.png")
    return tmp_path / "data"


def test_files_inside_are_found_also_by_links_that_stay_inside(folder):
    assert media.within(folder / "in" / "a.png", [folder]) == folder / "in" / "a.png"
    assert media.within(folder / "inner.png", [folder]).name == "a.png"


@pytest.mark.parametrize(
    "path",
    [
        "../secret.png",
        "out.png",
        "up/secret.png",
        "in/../../secret.png",
        "../data2/b.png",
        "in",
        "none.png",
        "loop",
        "a\0b",
    ],
)
def test_files_outside_are_refused(folder, path):
    with pytest.raises(media.Refused, match="--data FOLDER"):
        media.within(folder / path, [folder])
    with pytest.raises(media.Refused):
        media.within("/etc/passwd", [folder])


def test_no_link_and_no_pipe_is_opened(folder):
    with pytest.raises(media.Refused, match="look at its rights"):
        media.opened(folder / "out.png")
    os.mkfifo(folder / "pipe")
    with pytest.raises(media.Refused, match="make it smaller"):
        media.opened(folder / "pipe")


def test_kinds_are_told_by_what_is_inside():
    for name, kind in (
        ("PNG", "image/png"),
        ("JPEG", "image/jpeg"),
        ("GIF", "image/gif"),
        ("WEBP", "image/webp"),
        ("BMP", "image/bmp"),
    ):
        buffer = io.BytesIO()
        Image.new("RGB", (4, 4)).save(buffer, format=name)
        buffer.seek(0)
        assert media.kind_of(buffer) == kind
    sounds = {
        b"RIFF\0\0\0\0WAVEfmt ": "audio/wav",
        b"ID3\x03": "audio/mpeg",
        b"OggS\0": "audio/ogg",
        b"fLaC\0": "audio/flac",
    }
    for head, kind in sounds.items():
        assert media.kind_of(io.BytesIO(head + bytes(100))) == kind


@pytest.mark.parametrize(
    "content",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>",
        b"<html><script>1</script>",
        b"%PDF-1.7",
        b"MZ",
        b"",
        b"{}",
    ],
)
def test_what_could_run_is_never_sent(content):
    with pytest.raises(media.Refused, match="convert it"):
        media.response(content)


def test_a_decompression_bomb_is_refused_by_its_header():
    with pytest.raises(media.Refused, match="scale it down"):
        media.response(bomb())


def test_pictures_that_browsers_cannot_read_come_as_png():
    buffer = io.BytesIO()
    Image.new("RGB", (5, 4), "red").save(buffer, format="TIFF")
    answer = media.response(buffer.getvalue())
    assert answer.media_type == "image/png" and Image.open(io.BytesIO(answer.body)).size == (5, 4)
    with pytest.raises(media.Refused, match="convert it"):
        media.response(buffer.getvalue()[:12])


@pytest.mark.parametrize(
    ("header", "status", "length"),
    [(None, 200, 100), ("bytes=10-19", 206, 10), ("bytes=-5", 206, 5), ("bytes=90-", 206, 10), ("bytes=5-2", 200, 100), ("items=1", 200, 100), ("bytes=0-1,5-6", 200, 100), ("bytes=²-", 200, 100)],  # noqa: E501
)  # fmt: skip
def test_parts_of_a_recording(header, status, length):
    answer = media.response(b"fLaC" + bytes(96), header)
    assert (answer.status_code, answer.headers["content-length"]) == (status, str(length))
    assert "sandbox" in answer.headers["content-security-policy"]


def test_an_item_without_a_picture(anna):
    assert anna.get("/media?key=t001").status_code == 404
    assert anna.get("/media?key=nobody").status_code == 404
    assert anna.get("/media?key=t001&what=../../etc/passwd").status_code == 404
