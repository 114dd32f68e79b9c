"""Crops cut again, the forms of a teacher's answer, and which crops to believe."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.annotators.crops import (
    DROP,
    KEEP,
    SCHEMES,
    SOFTEN,
    calibrate,
    crop_and_resize,
    crop_confidence,
    crop_coords,
    quantise,
    recover,
)
from labelwright.errors import DataError, LabelError, OptionError
from labelwright.store import CropPlan

torch = pytest.importorskip("torch")
torch.set_num_threads(1)


def teacher(n: int, k: int, seed: int = 0, sharp: float = 3.0) -> np.ndarray:
    z = np.random.default_rng(seed).normal(0, sharp, (n, k))
    p = np.exp(z - z.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


# -- cutting -----------------------------------------------------------------------------------------------------------
def naive_crop(image: np.ndarray, box: Any, flip: bool, size: int) -> np.ndarray:
    """Cut whole pixels (C, H, W), then resize bilinearly, pixel by pixel."""
    top, left, height, width = box
    cut = image[:, top : top + height, left : left + width]
    out = np.zeros((len(image), size, size))
    for i in range(size):
        for j in range(size):
            y = min(max((i + 0.5) * height / size - 0.5, 0), height - 1)
            x = min(max((j + 0.5) * width / size - 0.5, 0), width - 1)
            a, b = int(y), int(x)
            c, d = min(a + 1, height - 1), min(b + 1, width - 1)
            s, t = y - a, x - b
            out[:, i, j] = (1 - s) * ((1 - t) * cut[:, a, b] + t * cut[:, a, d])
            out[:, i, j] += s * ((1 - t) * cut[:, c, b] + t * cut[:, c, d])
    return out[:, :, ::-1] if flip else out


@given(seed=st.integers(0, 10_000), size=st.integers(1, 9))
def test_crops_are_cut_then_resized(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    high, wide = rng.integers(1, 12, 2)
    images = rng.normal(0, 1, (3, 2, high, wide))
    coords, flip = crop_coords(CropPlan(n_crops=3, seed=seed), 5, high, wide)
    boxes = np.rint(coords[0] * [high, wide, high, wide]).astype(int)
    got = crop_and_resize(torch.tensor(images), coords[0], flip[0], size, antialias=False)
    wanted = [naive_crop(x, b, f, size) for x, b, f in zip(images, boxes, flip[0])]
    np.testing.assert_allclose(got, wanted, atol=1e-9)


def test_a_crop_is_the_same_region_at_every_size_and_resolution() -> None:
    ramp = torch.linspace(0, 1, 64)[None, :].expand(64, 64)
    big = torch.stack([ramp, ramp.T])[None].double()
    small = torch.nn.functional.avg_pool2d(big, 2)
    box = [[0.2, 0.3, 0.5, 0.4]]
    for size in (4, 8):
        torch.testing.assert_close(
            crop_and_resize(big, box, size=size), crop_and_resize(small, box, size=size), atol=0.01, rtol=0
        )
    means = [crop_and_resize(big, box, size=s).mean((2, 3)) for s in (4, 8, 16)]
    torch.testing.assert_close(means[0], means[2], atol=0.005, rtol=0)
    assert means[1][0].tolist() == pytest.approx([0.5, 0.45], abs=0.01)  # the box's centre: x 0.3 + 0.2, y 0.2 + 0.25


def test_antialiasing_averages_what_would_be_skipped() -> None:
    stripes = (torch.arange(32) % 2).double().expand(1, 1, 32, 32)
    whole = [[0.0, 0, 1, 1]]
    smooth = crop_and_resize(stripes, whole, size=4)
    assert float((smooth - 0.5).abs().max()) < 1e-9
    grey = crop_and_resize(stripes, [[0, 0, 1, 29 / 32]], size=4, antialias=False)
    assert float((grey - 0.5).abs().max()) > 0.1


def test_a_plan_replays() -> None:
    plan = CropPlan(n_crops=4, seed=9)
    coords, flip = crop_coords(plan, [7, 2], [30, 50], [40, 20])
    again, flip_again = crop_coords(plan, [2], [50], [20])
    assert (coords[1] == again[0]).all() and (flip[1] == flip_again[0]).all()
    assert coords.shape == (2, 4, 4) and (coords[..., :2] + coords[..., 2:] <= 1 + 1e-12).all()


# -- the five forms ----------------------------------------------------------------------------------------------------
def naive_recover(p: np.ndarray, scheme: str, k: int) -> np.ndarray:
    out = np.zeros_like(p)
    for row, q in zip(out, p):
        order = sorted(range(len(q)), key=lambda c: (-q[c], c))
        kept = order[: {"full": len(q), "hard": 1, "smoothing": 1}.get(scheme, k)]
        mass = sum(q[c] for c in kept)
        for c in range(len(q)):
            if c in kept:
                row[c] = 1.0 if scheme == "hard" else q[c] / mass if scheme == "marginal_renorm" else q[c]
            elif scheme in ("smoothing", "marginal_smoothing"):
                row[c] = (1 - mass) / (len(q) - len(kept))
    return out


@pytest.mark.parametrize("scheme", SCHEMES)
@given(seed=st.integers(0, 10_000), n_classes=st.integers(2, 9), k=st.integers(1, 5))
def test_forms_are_recovered_as_by_hand(scheme: str, seed: int, n_classes: int, k: int) -> None:
    p, k = teacher(4, n_classes, seed), min(k, n_classes)
    soft = quantise(p, scheme, k)
    np.testing.assert_allclose(soft.dense(), naive_recover(p, scheme, k), atol=1e-6)
    kept = np.argsort(-p, 1, kind="stable")[:, : n_classes if scheme == "full" else k]
    again = recover(kept.astype(np.uint16), np.take_along_axis(p, kept, 1), n_classes, scheme)
    np.testing.assert_allclose(again, soft.dense(), atol=1e-6)


@pytest.mark.parametrize("scheme", SCHEMES)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 8))
def test_half_precision_leaves_no_negative_rest(scheme: str, seed: int, k: int) -> None:
    p = teacher(6, 8, seed, sharp=1.0)
    kept = np.argsort(-p, 1, kind="stable")[:, : 8 if scheme == "full" else k]
    half = np.nextafter(np.take_along_axis(p, kept, 1).astype(np.float16), np.float16(2))  # sums above 1 when k is 8
    out = recover(kept.astype(np.uint32), half, 8, scheme)
    assert (out >= 0).all()
    np.testing.assert_allclose(out.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(out, naive_recover(p, scheme, kept.shape[1]), atol=3e-3)


def test_ids_beyond_2048_survive() -> None:
    assert np.float16(2049) == 2048  # which is why ids are whole numbers
    out = recover(np.array([[2049, 5001]], dtype=np.uint16), np.array([[0.6, 0.4]], dtype=np.float16), 6000)
    assert out[0].argsort()[-2:].tolist() == [5001, 2049]


# -- calibration -------------------------------------------------------------------------------------------------------
def test_calibration_by_hand() -> None:
    """low 0.1, middle 0.3, top 0.9. Item 1 is hopeless throughout, item 2 too easy throughout."""
    r = [[0.05, 0.2, 0.5, 0.95], [0.01, 0.02, 0.08, 0.03], [0.95, 0.99, 0.92, 0.97]]
    calibration = calibrate(r, low=0.1, middle=0.3, top=0.9)
    assert calibration.action.tolist() == [
        [DROP, SOFTEN, KEEP, DROP],
        [DROP, DROP, SOFTEN, DROP],  # the best one stays; it is no crop to take the teacher's word on
        [DROP, DROP, KEEP, DROP],
    ]
    assert calibration.rescued == 2 and calibration.thresholds == (0.1, 0.3, 0.9)
    wanted = {"drop_low": 4 / 12, "drop_top": 4 / 12, "soften": 2 / 12, "keep": 2 / 12}
    assert calibration.shares == pytest.approx(wanted)


@given(
    seed=st.integers(0, 10_000),
    cuts=st.lists(st.floats(0, 1), min_size=3, max_size=3).map(sorted),
    by=st.sampled_from(["value", "quantile"]),
)
def test_no_item_loses_all_its_crops(seed: int, cuts: list[float], by: str) -> None:
    r = np.random.default_rng(seed).beta(0.5, 0.5, (6, 3))
    calibration = calibrate(r, low=cuts[0], middle=cuts[1], top=cuts[2], by=by)
    low, middle, top = calibration.thresholds
    assert calibration.kept.any(1).all() and sum(calibration.shares.values()) == pytest.approx(1)
    for i, j in np.ndindex(6, 3):
        wanted = DROP if r[i, j] < low or (r[i, j] > top and top < 1) else SOFTEN if r[i, j] < middle else KEEP
        if wanted != calibration.action[i, j]:  # rescued, the only one
            assert wanted == DROP and calibration.kept[i].sum() == 1
            assert calibration.action[i, j] == (SOFTEN if r[i, j] < middle else KEEP)
    if by == "quantile":
        assert (r < low).mean() <= cuts[0] + 1 / 18 and (r > top).mean() <= 1 - cuts[2] + 1 / 18


def test_hard_regions_get_the_softened_given_label() -> None:
    labels = teacher(8, 4).reshape(4, 2, 4)
    given_labels = np.array([2, 0, -1, 1])
    calibration = calibrate(crop_confidence(labels), low=0.0, middle=1.0)
    out = calibration.adapted(labels, given_labels, smoothing=0.2)
    np.testing.assert_allclose(out.sum(-1), 1)
    np.testing.assert_allclose(out[0, 0], [0.2 / 3, 0.2 / 3, 0.8, 0.2 / 3])
    assert (out[2] == labels[2]).all()  # no given label: the teacher's stays
    assert (calibrate(crop_confidence(labels), low=0, middle=0).adapted(labels, given_labels) == labels).all()


def test_confidence_in_the_likeliest_or_in_the_given_class() -> None:
    labels = teacher(6, 4).reshape(2, 3, 4)
    assert (crop_confidence(labels) == labels.max(-1)).all()
    own = crop_confidence(labels, [1, -1])
    assert (own[0] == labels[0, :, 1]).all() and (own[1] == labels[1].max(-1)).all()


def test_errors() -> None:
    image, p = torch.zeros(1, 1, 4, 4), teacher(2, 4)
    ids, labels = np.array([[0, 1]]), p.reshape(1, 2, 4)
    for error, match, call in (
        (DataError, "float\\(\\) / 255", lambda: crop_and_resize(image.byte(), [[0, 0, 1, 1]])),
        (DataError, "divide pixels", lambda: crop_and_resize(image, [[0, 0, 2, 2]])),
        (OptionError, "size=1", lambda: crop_and_resize(image, [[0, 0, 1, 1]], size=0)),
        (OptionError, "did you mean 'marginal_renorm'", lambda: quantise(p, "marginal_renorm_k5")),
        (DataError, "exact up to 2048", lambda: recover(ids.astype(np.float16), ids, 4)),
        (LabelError, "distinct ids", lambda: recover(ids + 3, ids / 2, 4)),
        (LabelError, "distinct ids", lambda: recover(ids * 0, ids / 2, 4)),
        (DataError, "crop_confidence", lambda: calibrate(p[0])),
        (OptionError, "in order", lambda: calibrate(p, low=0.5, middle=0.1)),
        (OptionError, "did you mean 'value'", lambda: calibrate(p, by="values")),
        (DataError, "that were calibrated", lambda: calibrate(p).adapted(labels, [0])),
        (OptionError, "smoothing=0.1", lambda: calibrate(p[:1, :2]).adapted(labels, [0], smoothing=2)),
    ):
        with pytest.raises(error, match=match):
            call()
