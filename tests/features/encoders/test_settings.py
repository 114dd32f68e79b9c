"""How encoders open images, and how a model folder wants its images and texts."""

import io
import json
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from labelwright.errors import DataError, OptionError
from labelwright.features.encoders import Encoder, encoded
from labelwright.features.encoders.pixels import ImageSettings, image_settings
from labelwright.features.encoders.text import TextSettings, padded, text_settings
from labelwright.features.images import image_vectors, open_image


class Brightness:
    batch_size = 2

    def prepare(self, images, rows):
        return [np.asarray(open_image(image, int(row))) for image, row in zip(images, rows)]

    def forward(self, pixels):
        return np.array([p.mean((0, 1)) for p in pixels], np.float32)


# --- images --------------------------------------------------------------------------------------------------------


def declared(width, height):
    """The first bytes of a PNG of that size."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


@pytest.mark.parametrize("size", [(10_001, 10_000), (20_000, 20_000)])
def test_enormous_images_are_refused_before_they_are_decoded(tmp_path, size):
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(declared(*size) + b"\0\0\0\0IDAT")
    with pytest.raises(DataError, match=r"row 7: .*bomb\.png.*enormous size.*at most 100 million.*scale the picture"):
        open_image(bomb, 7)
    with pytest.raises(DataError, match="row 1: .*enormous"):
        image_vectors([np.zeros((4, 4), np.uint8), bomb])
    with pytest.raises(DataError, match="row 1: .*enormous"):
        encoded(Encoder("eye", "image", "0", Brightness), [np.zeros((4, 4), np.uint8), bomb])


def test_large_images_are_read_without_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)  # Pillow warns from here on and refuses twice as many
    Image.new("RGB", (30, 30)).save(tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_image(tmp_path / "a.png", 0).size == (30, 30)


def test_images_stand_upright_and_are_rgb(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: shown rotated by 270 degrees
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    turned = np.rot90(pixels, 3)
    np.testing.assert_array_equal(np.asarray(open_image(tmp_path / "turned.png", 0)), turned)
    np.testing.assert_array_equal(image_vectors([tmp_path / "turned.png"]), image_vectors([turned.copy()]))
    Image.fromarray(pixels).save(tmp_path / "odd.png", exif=b"Exif\0\0nonsense")
    assert open_image(tmp_path / "odd.png", 0).size == (30, 20)
    for mode in ("L", "P", "RGBA", "CMYK", "1"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(buffer, "TIFF")
        assert open_image(buffer.getvalue(), 0).mode == "RGB"
    assert np.asarray(open_image(pixels[..., :1], 0)).shape == (20, 30, 3)
    with pytest.raises(DataError, match="row 3: 4 bytes cannot be read"):
        open_image(b"none", 3)


def settings_of(tmp_path, **config):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    return image_settings(tmp_path)


@pytest.mark.parametrize(
    ("config", "size", "crop"),
    [
        ({"size": {"height": 20, "width": 30}}, (20, 30), (20, 30)),
        ({"size": 24}, (24, 24), (24, 24)),
        ({"size": 24, "do_center_crop": True, "crop_size": 20}, 24, (20, 20)),
        (
            {"size": {"shortest_edge": 24}, "do_center_crop": True, "crop_size": {"height": 16, "width": 20}},
            24,
            (16, 20),
        ),
        ({"size": {"shortest_edge": 24}}, 24, (24, 24)),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, 256, (224, 224)),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, (384, 384), (384, 384)),
        ({"do_resize": False, "do_center_crop": True, "crop_size": 20}, (20, 20), (20, 20)),
        ({"image_mean": [0.5] * 3}, (224, 224), (224, 224)),
    ],
)
def test_sizes_of_image_settings(tmp_path, config, size, crop):
    found = settings_of(tmp_path, **config)
    assert (found.size, found.crop) == (size, crop)
    for shape in ((40, 60, 3), (61, 33, 3), (3, 3, 3)):
        assert found.pixels(np.zeros(shape, np.uint8), 0).shape == (*crop, 3)


def test_image_settings_that_are_none(tmp_path):
    assert image_settings(tmp_path) is None
    assert settings_of(tmp_path, sampling_rate=16_000) is None
    with pytest.raises(OptionError, match="pass the vectors as features"):
        settings_of(tmp_path, size={"longest_edge": 9})
    with pytest.raises(DataError, match="cannot be used as an encoder"):
        settings_of(tmp_path, size="big", do_center_crop=True, crop_size="small")


def test_pixels_are_normalised_per_colour():
    settings = ImageSettings((2, 2), (2, 2), 2, 1 / 255, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    pixels = [np.random.default_rng(i).integers(0, 256, (2, 2, 3), dtype=np.uint8) for i in range(3)]
    x = settings.batch(pixels)
    assert x.shape == (3, 3, 2, 2) and x.dtype == np.float32 and x.flags.c_contiguous
    for b in range(3):
        for c in range(3):
            expected = (pixels[b][..., c] / 255 - settings.mean[c]) / settings.std[c]
            np.testing.assert_allclose(x[b, c], expected, atol=1e-6)
    reverse = settings._replace(bgr=True, mean=settings.mean[::-1], std=settings.std[::-1]).batch(pixels)
    np.testing.assert_allclose(reverse, x[:, ::-1], atol=1e-6)


def test_a_line_of_pixels_costs_no_more_than_its_middle():
    line = np.random.default_rng(0).integers(0, 256, (2, 200_000, 3), dtype=np.uint8)
    settings = ImageSettings(224, (224, 224), 2, 1.0, (0, 0, 0), (1, 1, 1))  # scaled whole: 224 x 22 million pixels
    middle = settings.pixels(line[:, 100_000 - 4 : 100_000 + 4], 0)
    np.testing.assert_array_equal(settings.pixels(line, 0), middle)


# --- settings of texts ---------------------------------------------------------------------------------------------


def text_folder(folder, pooling, modules=("Transformer", "Pooling"), **sentence):
    parts = [
        {"type": f"sentence_transformers.models.{m}", "path": f"{i}_{m}" if i else ""} for i, m in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(parts))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "sentence_bert_config.json").write_text(json.dumps(sentence))
    return text_settings(folder)


def test_text_settings(tmp_path):
    assert text_settings(tmp_path) == TextSettings("mean", False, 512, False, "", "")
    old = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    assert text_folder(tmp_path, old, max_seq_length=64, do_lower_case=True)[:4] == ("cls", False, 64, True)
    assert text_folder(tmp_path, {"pooling_mode": "max"}).pooling == "max"
    assert text_folder(tmp_path, {"pooling_mode_lasttoken": True}).pooling == "lasttoken"
    assert text_folder(tmp_path, {}, ("Transformer", "Pooling", "Normalize")).unit
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 34, "model_type": "roberta"}')
    assert text_folder(tmp_path, {}, max_seq_length=64).max_tokens == 32
    with pytest.raises(OptionError, match="pooling cls \\+ mean.*pass the vectors"):
        text_folder(tmp_path, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True})
    with pytest.raises(OptionError, match="module 'Dense'.*pass the vectors"):
        text_folder(tmp_path, {}, ("Transformer", "Pooling", "Dense"))
    (tmp_path / "modules.json").write_text('[{"type": "x.Pooling", "path": "../../elsewhere"}]')
    with pytest.raises(DataError, match="outside the folder"):
        text_settings(tmp_path)
    (tmp_path / "modules.json").write_text("[1")
    with pytest.raises(DataError, match=r"modules\.json.*save or download the model again"):
        text_settings(tmp_path)


def test_texts_are_cleaned_for_the_tokenizer():
    settings = TextSettings(lower=True, prompt="Q: ", max_tokens=1)
    assert settings.clean(["ÄB", "x" * 100, "\ud800"]) == ["q: äb", "q: " + "x" * 64, "q: ?"]


@given(st.lists(st.lists(st.integers(1, 9), max_size=5), min_size=1, max_size=5))
def test_padding(tokens):
    ids, mask = padded(tokens, 0)
    assert ids.shape == mask.shape == (len(tokens), max(1, *map(len, tokens), 1))
    assert [row[m > 0].tolist() for row, m in zip(ids, mask)] == tokens and not ids[mask == 0].any()
