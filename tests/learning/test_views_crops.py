"""Stored crops, mixes within a picture and label maps as views, against plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labelwright.annotators.crops import crop_and_resize, crop_coords
from labelwright.errors import DataError, OptionError
from labelwright.learning import TrainData, train
from labelwright.learning.context import Context
from labelwright.learning.targets.roi import pool_labels
from labelwright.learning.views import RoiLabels, SelfMix, StoredCrops
from labelwright.learning.views.crops import draw
from labelwright.store import CropPlan

N, M, K, S = 6, 5, 3, 8


def context(seed: int = 0, **more: Any) -> Context:
    rng = np.random.default_rng(seed)
    coords, flips = crop_coords(CropPlan(n_crops=M, seed=seed), np.arange(N), S, S)
    found = {
        "inputs": torch.from_numpy(rng.random((N, S, S), dtype=np.float32)),
        "labels": torch.arange(N) % K,
        "items": torch.arange(10, 10 + N),
        "crop_coords": torch.from_numpy(coords),
        "crop_flips": torch.from_numpy(flips),
        "crop_labels": torch.from_numpy(rng.dirichlet(np.ones(K), (N, M)).astype(np.float32)),
        "progress": 0.0,
        "rng": np.random.default_rng(seed),
    }
    return Context({**found, **more})


@given(seed=st.integers(0, 30), n=st.integers(1, M))
def test_every_crop_has_its_own_label(seed: int, n: int) -> None:
    before, after = context(seed), context(seed)
    StoredCrops(n_crops=n)(after)
    assert after["inputs"].shape == (N * n, 1, S, S)
    chosen = []
    for j in range(N * n):
        i = j // n
        assert int(after["items"][j]) == 10 + i
        same = [m for m in range(M) if torch.equal(before["crop_labels"][i, m], after["labels"][j])]
        assert len(same) == 1
        chosen.append((i, same[0]))
        cut = crop_and_resize(
            before["inputs"][i : i + 1, None], before["crop_coords"][i, same], before["crop_flips"][i, same], S
        )
        assert torch.allclose(cut[0], after["inputs"][j], atol=1e-6)
    assert len(set(chosen)) == N * n  # without replacement


def test_labels_of_the_picture_size_and_allowed() -> None:
    allowed = torch.zeros(N, M, dtype=torch.bool)
    allowed[:, 2] = True
    c = context(kept=allowed)
    StoredCrops(n_crops=2, size=4, source="labels", allowed="kept")(c)
    assert c["inputs"].shape == (N * 2, 1, 4, 4) and c["labels"].tolist() == [i % K for i in range(N) for _ in (0, 1)]
    assert torch.equal(c["boxes"], context()["crop_coords"][:, 2].repeat_interleave(2, 0))


@given(seed=st.integers(0, 50), n=st.integers(1, 6))
def test_draws_repeat_only_where_crops_run_out(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    allowed = rng.random((4, 6)) < 0.5
    allowed[:, 0] = True
    for row, found in zip(allowed, draw(allowed, n, rng)):
        assert row[found].all() and len(set(found)) == min(n, row.sum())


def test_refusals() -> None:
    with pytest.raises(OptionError, match="pass n_crops=5, or store more crops"):
        StoredCrops(n_crops=6)(context())
    with pytest.raises(DataError, match="Calibration.kept"):
        StoredCrops(n_crops=1, allowed="kept")(context(kept=torch.zeros(N, M)))


def test_selfmix_stays_in_its_picture() -> None:
    c = context()
    StoredCrops(n_crops=4, source="labels")(c)
    ids, labels = c["items"].numpy(), c["labels"]
    view = SelfMix(per_item=True)
    view._classes = K
    view(c)
    assert (ids[c["how"].partner] == ids).all()
    assert torch.equal(c["labels"], torch.nn.functional.one_hot(labels, K).float())  # one picture, one label


def test_roi_labels_dense_and_sparse_agree_and_follow_the_mirror() -> None:
    from labelwright.annotators.label_maps import top_cells

    maps = torch.randn(N, K, 2, 4, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[0.0, 0.0, 1.0, 0.5]]).repeat(N, 1)
    sparse = top_cells(maps, K - 1)  # the rest is one class, so nothing is lost
    extra = {f"maps_{name}": torch.from_numpy(getattr(sparse, name)) for name in ("index", "logit", "rest")}
    c = context(maps=maps, boxes=boxes, flips=torch.arange(N) % 2 == 1, **extra)
    RoiLabels()(c)
    expected = torch.stack([maps[i, :, :, :2].mean((1, 2)).softmax(0) for i in range(N)])
    assert torch.allclose(c["labels"], expected, atol=1e-6)
    part = RoiLabels(sparse=True)
    part._classes = K
    part(c)
    assert torch.allclose(c["labels"], expected, atol=1e-5)
    RoiLabels(flip_first=True)(c)
    assert torch.allclose(c["labels"][::2], expected[::2], atol=1e-6)
    right = torch.tensor([[0.0, 0.5, 1.0, 0.5]]).repeat(N, 1)
    assert torch.allclose(c["labels"][1::2], pool_labels(maps, right)[1::2], atol=1e-6)


def test_in_recipes() -> None:
    c = context()
    extra = {name: c[name] for name in ("crop_coords", "crop_flips", "crop_labels")} | {"maps": torch.randn(N, K, 2, 2)}
    data = TrainData(c["inputs"], c["labels"].numpy(), classes=K, extra=extra)
    for views in (
        [{"stored_crops": {"n_crops": 2}}, "selfmix"],
        [{"crop": {"area": [0.3, 1.0]}}, "flip", "roi_labels", "cutmix"],
    ):
        model = train(data, student="linear", epochs=2, batch_size=3, views=views)
        assert np.isfinite([row["loss"] for row in model.history]).all()
