from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from labelwright.crowds.regions import overlay, overlay_png
from labelwright.crowds.regions.overlay import COLOURS
from labelwright.errors import DataError, LabelError, OptionError


def test_pixels_of_the_mask_are_mixed_and_others_stay() -> None:
    image = np.full((8, 8), 100, np.uint8)
    mask = np.zeros((8, 8), int)
    mask[2:6, 2:6] = 1
    got = overlay(image, mask, size=None, strength=0.5)
    assert (got[mask == 0] == 100).all()
    assert got[2, 2].tolist() == list(COLOURS[0])  # outline in full colour
    np.testing.assert_allclose(got[3, 3], (100 + np.array(COLOURS[0])) / 2, atol=0.5)
    plain = overlay(image, mask, size=None, strength=0.0, outline=False)
    assert (plain == 100).all()


def test_size_and_png() -> None:
    image, mask = np.random.default_rng(0).random((30, 60, 3)), np.zeros((30, 60), int)
    mask[:, 30:] = 2
    got = overlay(image, mask, size=120)
    assert got.shape == (60, 120, 3) and got.dtype == np.uint8
    assert (got[:, 60] == COLOURS[1]).all()
    again = np.asarray(Image.open(io.BytesIO(overlay_png(image, mask, size=120))))
    np.testing.assert_array_equal(again, got)


def test_errors() -> None:
    mask = np.zeros((4, 4), int)
    with pytest.raises(LabelError, match="resize the mask"):
        overlay(np.zeros((5, 4)), mask)
    with pytest.raises(LabelError, match="integer class ids"):
        overlay(np.zeros((4, 4)), mask.astype(float))
    with pytest.raises(DataError, match="project a volume"):
        overlay(np.zeros((4, 4, 4, 4)), mask)
    with pytest.raises(DataError, match="scale it to"):
        overlay(np.full((4, 4), 7.0), mask)
    with pytest.raises(OptionError, match="strength"):
        overlay(np.zeros((4, 4)), mask, strength=2)
    with pytest.raises(OptionError, match="size"):
        overlay(np.zeros((4, 4)), mask, size=3)
