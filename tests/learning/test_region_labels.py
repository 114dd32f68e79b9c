"""Labels of mixed pictures by the foreground that shows, against a loop, and as a part of a recipe."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labelwright.errors import DataError
from labelwright.learning import TrainData, train
from labelwright.learning.mix import cutmix, maskmix, mixup, pixel_masks
from labelwright.learning.targets import RegionLabels, weigh_by_regions


def loop(own: np.ndarray, partner: np.ndarray, regions: np.ndarray, pixels: np.ndarray) -> list[float]:
    """Pixel by pixel."""
    out = []
    for i, mask in enumerate(own):
        mine = theirs = 0.0
        for r in range(mask.shape[0]):
            for c in range(mask.shape[1]):
                if mask[r, c]:
                    mine += float(regions[i, r, c])
                else:
                    theirs += float(regions[partner[i], r, c])
        out.append(mine / (mine + theirs) if mine + theirs > 0 else float(pixels[i]))
    return out


@given(seed=st.integers(0, 50), grid=st.booleans())
def test_as_the_loop(seed: int, grid: bool) -> None:
    x, y = torch.rand(5, 1, 8, 8), torch.arange(5)
    options = {"seed": seed, "n_classes": 5}
    how = (maskmix(x, y, cell=4, patch=2, **options) if grid else cutmix(x, y, per_item=True, **options)).how
    regions = np.random.default_rng(seed).random((5, 8, 8)) * (np.arange(5) > 1)[:, None, None]  # two without any
    found = weigh_by_regions(how, torch.from_numpy(regions))
    np.testing.assert_allclose(found.lam, loop(pixel_masks(how, 8, 8), how.partner, regions, how.pixels), atol=1e-12)
    assert ((found.lam >= 0) & (found.lam <= 1)).all()
    np.testing.assert_array_equal(found.pixels, how.pixels)


def test_regions_that_are_everything_give_the_area() -> None:
    how = cutmix(torch.rand(6, 1, 9, 9), torch.arange(6), seed=3, per_item=True, n_classes=6).how
    np.testing.assert_allclose(weigh_by_regions(how, torch.ones(6, 9, 9, dtype=torch.bool)).lam, how.pixels, atol=1e-12)


def test_a_pasted_ground_gives_no_label() -> None:
    how = cutmix(torch.rand(2, 1, 4, 4), torch.arange(2), seed=0, partner="reverse", n_classes=2).how
    outside = torch.from_numpy(pixel_masks(how, 4, 4)[0]).expand(2, 4, 4)  # what is pasted lies within the box
    assert weigh_by_regions(how, outside).lam.tolist() == [1.0, 1.0]
    assert weigh_by_regions(how, ~outside).lam.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("regions", [torch.ones(3, 4, 4), torch.ones(2, 4), -torch.ones(2, 4, 4)])
def test_regions_that_do_not_fit(regions: torch.Tensor) -> None:
    how = cutmix(torch.rand(2, 1, 4, 4), torch.arange(2), seed=0, n_classes=2).how
    with pytest.raises(DataError, match="clip saliency at 0"):
        weigh_by_regions(how, regions)


def test_in_a_recipe_and_blends_pass() -> None:
    x, y, ink = np.random.default_rng(0).random((12, 4, 4)), np.arange(12) % 3, np.ones((12, 4, 4), bool)
    data = TrainData(x.astype(np.float32), y, extra={"regions": ink})
    for view in ("cutmix", "mixup"):
        model = train(data, student="linear", epochs=1, views=[view], targets=["region_labels"])
        assert np.isfinite(model.history[0]["loss"])
    mixed = mixup(torch.rand(4, 1, 4, 4), torch.arange(4), seed=0, n_classes=4)
    context = {"labels": mixed.targets, "how": mixed.how, "regions": torch.ones(4, 4, 4)}
    RegionLabels()(context)  # type: ignore[arg-type]
    assert context["targets"] is mixed.targets
