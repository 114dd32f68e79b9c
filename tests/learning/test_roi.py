"""RoI pooling of label maps: against a naive RoIAlign in float64; sides, flips, aspect, and what top-k cells lose."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.errors import DataError, OptionError

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from labelwright.annotators.label_maps import top_cells  # noqa: E402
from labelwright.learning.targets.roi import pool_labels, pool_sparse, roi_weights  # noqa: E402


def naive(z: np.ndarray, box: Any, places: tuple[int, int] = (1, 1)) -> np.ndarray:
    """(rows, columns, K): RoIAlign of one map (K, h, w), one bilinear sample after the other."""
    k, h, w = z.shape
    top, left, height, width = (float(b) for b in box)
    y0, x0, dy, dx = top * h - 0.5, left * w - 0.5, height * h / places[0], width * w / places[1]
    ny, nx = max(1, math.ceil(dy - 1e-5)), max(1, math.ceil(dx - 1e-5))
    out = np.zeros((*places, k))
    for g in range(places[0]):
        for v in range(places[1]):
            for i in range(ny):
                for j in range(nx):
                    y = min(max(y0 + g * dy + (i + 0.5) * dy / ny, 0), h - 1)
                    x = min(max(x0 + v * dx + (j + 0.5) * dx / nx, 0), w - 1)
                    a, b = int(y), int(x)
                    c, d = min(a + 1, h - 1), min(b + 1, w - 1)
                    s, t = y - a, x - b
                    sample = (1 - s) * (1 - t) * z[:, a, b] + (1 - s) * t * z[:, a, d]
                    sample = sample + s * (1 - t) * z[:, c, b] + s * t * z[:, c, d]
                    out[g, v] += sample / (ny * nx)
    return out


def softmax(z: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(z - z.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def maps_and_boxes(seed: int, n: int = 4, k: int = 7, h: int = 5, w: int = 3) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    size = rng.uniform(0.02, 1, (n, 2))
    start = rng.uniform(0, 1, (n, 2)) * (1 - size)
    return torch.tensor(rng.normal(0, 3, (n, k, h, w))), torch.tensor(np.hstack([start, size]))


@pytest.mark.parametrize("grid", [None, (2, 3)])
@pytest.mark.parametrize("pool", ["logits", "probs"])
@given(seed=st.integers(0, 10_000), temperature=st.sampled_from([1.0, 2.5]))
def test_pooling_is_the_naive_roi_align(pool: str, grid: Any, seed: int, temperature: float) -> None:
    maps, boxes = maps_and_boxes(seed)
    z = maps.numpy() / temperature
    cells = softmax(z, 1) if pool == "probs" else z
    wanted = np.stack([naive(m, b, grid or (1, 1)) for m, b in zip(cells, boxes)])
    wanted = wanted if pool == "probs" else softmax(wanted, -1)
    got = pool_labels(maps, boxes, temperature=temperature, pool=pool, grid=grid)
    np.testing.assert_allclose(got, wanted if grid else wanted[:, 0, 0], atol=1e-9)
    np.testing.assert_allclose(got.sum(-1), 1, atol=1e-9)


@pytest.mark.parametrize("grid", [None, (2, 3)])
@pytest.mark.parametrize("pool", ["logits", "probs"])
@pytest.mark.parametrize("fill", ["rest", "min", 0.0])
@given(seed=st.integers(0, 10_000), k=st.integers(1, 7))
def test_top_cells_pool_as_the_map_with_the_others_filled_in(
    fill: Any, pool: str, grid: Any, seed: int, k: int
) -> None:
    maps, boxes = maps_and_boxes(seed)
    top = top_cells(maps, k)
    filled = maps.numpy().copy()
    for n, i, j in np.ndindex(4, 5, 3):
        listed = top.index[n, i, j]
        others = np.setdiff1d(np.arange(7), listed)
        if fill == "rest" and len(others):
            filled[n, others, i, j] = math.log(np.exp(filled[n, others, i, j]).sum() / len(others))
        else:
            filled[n, others, i, j] = filled[n, listed, i, j].min() if fill == "min" else 0.0
    parts = (torch.tensor(top.index), torch.tensor(top.logit).double(), torch.tensor(top.rest).double())
    got = pool_sparse(*parts, boxes, n_classes=7, fill=fill, pool=pool, grid=grid)
    wanted = pool_labels(torch.tensor(filled), boxes, pool=pool, grid=grid)
    np.testing.assert_allclose(got, wanted, atol=2e-6)  # top_cells gives float32
    if k == 7:
        np.testing.assert_allclose(got, pool_labels(maps, boxes, pool=pool, grid=grid), atol=2e-6)


def test_x_is_left_and_y_is_top() -> None:
    """Class 0 on the left half, class 1 on the right one, class 2 in the last row of a map of 3 rows and 4 columns."""
    maps = torch.zeros(1, 3, 3, 4)
    maps[0, 0, :2, :2] = maps[0, 1, :2, 2:] = maps[0, 2, 2] = 9
    boxes = {0: (0, 0, 0.6, 0.4), 1: (0, 0.6, 0.6, 0.4), 2: (0.75, 0, 0.25, 1)}
    for winner, box in boxes.items():
        label = pool_labels(maps, torch.tensor([box], dtype=torch.float32))[0]
        assert label.argmax() == winner and label[winner] > 0.99


def test_flips() -> None:
    maps, boxes = maps_and_boxes(3, h=4, w=6)
    flip = torch.tensor([True, False, True, True])
    plain = pool_labels(maps, boxes)
    torch.testing.assert_close(pool_labels(maps, boxes, flip), plain)  # a mean over the box does not see it
    grid = pool_labels(maps, boxes, grid=(2, 2))
    torch.testing.assert_close(pool_labels(maps, boxes, flip, grid=(2, 2))[0], grid[0].flip(1))
    torch.testing.assert_close(pool_labels(maps, boxes, flip, grid=(2, 2))[1], grid[1])
    # mirrored first: as cutting from the map of the mirrored image
    first = pool_labels(maps, boxes, flip, flip_first=True)
    torch.testing.assert_close(first[flip], pool_labels(maps.flip(3), boxes)[flip])
    torch.testing.assert_close(first[~flip], plain[~flip])
    both = pool_labels(maps, boxes, flip, flip_first=True, grid=(2, 2))
    torch.testing.assert_close(both[flip], pool_labels(maps.flip(3), boxes, grid=(2, 2))[flip])


def test_the_whole_box_is_the_mean_of_the_cells_whatever_the_aspect() -> None:
    maps, _ = maps_and_boxes(0, h=6, w=2)
    whole = torch.tensor([[0.0, 0, 1, 1]]).repeat(4, 1)
    torch.testing.assert_close(pool_labels(maps, whole.double()), maps.mean((2, 3)).softmax(1))
    assert pool_labels(maps[:1], whole[:1]).shape == (1, 7)  # a batch of one keeps its axis


@given(start=st.floats(0, 1), length=st.floats(0, 1), cells=st.integers(1, 20), places=st.integers(1, 4))
def test_weights_sum_to_one(start: float, length: float, cells: int, places: int) -> None:
    weights = roi_weights(torch.tensor([start * (1 - length)]), torch.tensor([length]), cells, places)
    assert weights.shape == (1, places, cells) and (weights >= -1e-6).all()
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)


def test_extreme_logits_stay_numbers() -> None:
    maps = torch.full((1, 3, 2, 2), -math.inf)
    maps[0, 1] = 1e4
    boxes = torch.tensor([[0.0, 0.0, 0.4, 0.4]])
    top = [torch.tensor(a) for a in (top_cells(maps, 1).index, top_cells(maps, 1).logit, top_cells(maps, 1).rest)]
    for pool in ("logits", "probs"):
        assert pool_labels(maps, boxes, pool=pool).tolist() == [[0, 1, 0]]
        assert pool_sparse(*top, boxes, n_classes=3, pool=pool).tolist() == [[0, 1, 0]]


def test_half_precision_and_gradients() -> None:
    maps, boxes = maps_and_boxes(1, n=2)
    torch.testing.assert_close(pool_labels(maps.half(), boxes), pool_labels(maps, boxes).float(), atol=3e-3, rtol=0)
    assert torch.autograd.gradcheck(lambda m: pool_labels(m, boxes), maps.requires_grad_())


def test_zero_fill_smooths_more_the_lower_the_logits_are() -> None:
    """With a pooled logit z and 995 classes at 0, these keep 995 / (995 + e^z + 4 e^0): 0.87 at z = 5, 0.04 at z = 10."""
    box = torch.tensor([[0.0, 0, 1, 1]])
    for z, left in ((5.0, 0.87), (10.0, 0.043)):
        index, logit = torch.arange(5).expand(1, 2, 2, 5), torch.tensor([z, 0, 0, 0, 0]).expand(1, 2, 2, 5)
        rest = torch.full((1, 2, 2), -3.0)
        released = pool_sparse(index, logit, rest, box, n_classes=1000, fill=0.0)
        assert float(released[0, 5:].sum()) == pytest.approx(left, abs=0.005)
        honest = pool_sparse(index, logit, rest, box, n_classes=1000)[0, 5:].sum()
        assert float(honest) == pytest.approx(math.exp(-3) / (math.exp(-3) + math.exp(z) + 4), rel=0.01)


def test_errors() -> None:
    maps, boxes = maps_and_boxes(0)
    index, rest = torch.zeros(4, 5, 3, 1, dtype=torch.int32), torch.zeros(4, 5, 3)
    for error, match, call in (
        (DataError, "missing axes", lambda: pool_labels(maps[0], boxes)),
        (DataError, "repeat the map", lambda: pool_labels(maps, boxes[:2])),
        (DataError, "divide pixels", lambda: pool_labels(maps, boxes * 20)),
        (DataError, "one bool per crop", lambda: pool_labels(maps, boxes, torch.ones(3))),
        (OptionError, "did you mean 'logits'", lambda: pool_labels(maps, boxes, pool="logit")),
        (OptionError, "plain softmax", lambda: pool_labels(maps, boxes, temperature=0)),
        (OptionError, "one label", lambda: pool_labels(maps, boxes, grid=(0, 1))),
        (DataError, "one LogitMaps", lambda: pool_sparse(index, rest, rest, boxes, n_classes=4)),
        (OptionError, "did you mean 'rest'", lambda: pool_sparse(index, index.double(), rest, boxes, n_classes=4, fill="res")),
        (OptionError, 'fill="rest"', lambda: pool_sparse(index, index.double(), rest, boxes, n_classes=4, fill=math.inf)),
    ):  # fmt: skip
        with pytest.raises(error, match=match):
            call()
