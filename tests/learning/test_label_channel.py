"""Coded label maps and distillation over places: loops, invariants, one training, and every error."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from labelwright.errors import DataError, LabelError, OptionError
from labelwright.learning import TrainData, train
from labelwright.learning.context import Context
from labelwright.learning.losses.spatial import channel_wise, draw_consistency
from labelwright.learning.views.label_channel import LabelChannel, coded_map


def naive_channel_wise(z, t, temperature):
    n, h, w, k = z.shape
    total = 0.0
    for i in range(n):
        for c in range(k):
            ours = [float(z[i, a, b, c]) / temperature for a in range(h) for b in range(w)]
            theirs = [float(t[i, a, b, c]) / temperature for a in range(h) for b in range(w)]
            lse = [math.log(sum(map(math.exp, row))) for row in (ours, theirs)]
            for u, v in zip(ours, theirs):
                total += math.exp(v - lse[1]) * ((v - lse[1]) - (u - lse[0]))
    return temperature**2 * total / (n * k)


def test_channel_wise_is_the_loop():
    z, t = torch.randn(2, 2, 3, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert float(channel_wise(z, t, temperature=2.0)) == pytest.approx(naive_channel_wise(z, t, 2.0), abs=1e-9)
    rows = channel_wise(z, t, reduction="none")
    assert rows.shape == (2,) and float(rows.mean()) == pytest.approx(float(channel_wise(z, t)))


def test_channel_wise_knows_places_only():
    z = torch.randn(2, 4, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert float(channel_wise(z, z)) == pytest.approx(0, abs=1e-9)
    assert float(channel_wise(z + torch.tensor([5.0, -2.0, 0.0]), z)) == pytest.approx(0, abs=1e-9)
    assert float(channel_wise(z, z.roll(1, 1))) > 0
    t = z.roll(1, 1).requires_grad_()
    z = z.requires_grad_()
    assert torch.autograd.gradcheck(lambda a: channel_wise(a, t.detach()), (z,))
    channel_wise(z, t).backward()
    assert t.grad is None


def test_consistency_sums_ordered_pairs():
    a, b = torch.randn(2, 3, 4, 4, 2, generator=torch.Generator().manual_seed(2))
    expected = channel_wise(a, b) + channel_wise(b, a)
    assert float(draw_consistency(torch.cat([a, b]))) == pytest.approx(float(expected))
    assert float(draw_consistency(torch.cat([a, a]))) == pytest.approx(0, abs=1e-5)


def test_errors_of_losses():
    with pytest.raises(DataError, match="use `kd`"):
        channel_wise(torch.zeros(3, 4), torch.zeros(3, 4))
    with pytest.raises(DataError, match="label_channel"):
        draw_consistency(torch.zeros(3, 2, 2, 2))
    with pytest.raises(OptionError, match="draws"):
        draw_consistency(torch.zeros(2, 2, 2, 2), draws=1)


# ------------------------------------------------------------------------------------------------------ the channel
def test_codes_are_one_per_class_and_differ_between_pictures():
    y = torch.from_numpy(np.random.default_rng(0).integers(-1, 3, (2, 6, 6)))
    shown = coded_map(y, 3, noise=0.0, rng=np.random.default_rng(1))
    for i in range(2):
        for k in (-1, 0, 1, 2):
            assert shown[i][y[i] == k].unique().numel() == 1
        assert shown[i].unique().numel() == 4  # unlabelled pixels have their own
    assert (shown[0][y[0] == 1][0] - shown[1][y[1] == 1][0]).abs() > 1e-3


def test_fixed_codes_as_released():
    y = torch.tensor([[[0, 20, -1]]])
    shown = coded_map(y, 21, codes="fixed", noise=0.0, rng=np.random.default_rng(0))
    np.testing.assert_allclose(shown[0, 0], [-1.1, 0.9, 1.0], atol=1e-6)
    own = coded_map(y.clamp_max(1), 2, codes=[5.0, 6.0, 7.0], noise=0.0, rng=np.random.default_rng(0))
    assert own[0, 0].tolist() == [5, 6, 7]


def test_draws_repeat_labels_and_differ():
    part = LabelChannel(draws=2, labels="map")
    part._classes = 3
    x, y = torch.rand(4, 3, 8, 8), torch.randint(0, 3, (4, 8, 8), generator=torch.Generator().manual_seed(0))
    context = Context(inputs=x, map=y, seed=0, step=0)
    part(context)
    assert context["inputs"].shape == (8, 4, 8, 8) and torch.equal(context["map"], y.repeat(2, 1, 1))
    assert torch.equal(context["inputs"][:4, :3], x)
    assert not torch.allclose(context["inputs"][:4, 3], context["inputs"][4:, 3])


def test_teacher_learns_with_room_for_the_channel():
    rng = np.random.default_rng(0)
    y = np.repeat(np.repeat(rng.integers(0, 2, (24, 2, 2)), 4, 1), 4, 2)
    x = np.zeros((24, 2, 8, 8), np.float32)
    x[:, 0] = y + rng.normal(size=y.shape)
    model = train(
        TrainData(x, None, classes=2, extra={"map": y}), student=("unet", {"width": 4, "depth": 1}), epochs=10, batch_size=8,
        views={"label_channel": {"labels": "map", "draws": 2, "add": False}}, targets={"stored": {"source": "map"}},
        loss=("soft_cross_entropy", draw_consistency), optimizer={"adamw": {"lr": 1e-2}},
    )  # fmt: skip
    x[:, 1] = coded_map(torch.from_numpy(y), 2, rng=np.random.default_rng(5)).numpy()
    assert (model.logits(x).argmax(-1) == y).mean() > 0.8


def test_errors_of_the_channel():
    rng = np.random.default_rng(0)
    with pytest.raises(LabelError, match="as -1"):
        coded_map(torch.full((1, 2, 2), 255), 3, rng=rng)
    with pytest.raises(OptionError, match="one code per class"):
        coded_map(torch.zeros(1, 2, 2, dtype=torch.long), 3, codes=[1.0], rng=rng)
    with pytest.raises(OptionError, match="random"):
        coded_map(torch.zeros(1, 2, 2, dtype=torch.long), 3, codes="rando", rng=rng)
    with pytest.raises(OptionError, match="noise=0.03"):
        LabelChannel(noise=-1)
    with pytest.raises(OptionError, match="draws"):
        LabelChannel(draws=0)
    part = LabelChannel()
    part._classes = 3
    with pytest.raises(DataError, match="nearest neighbour"):
        part(Context(inputs=torch.zeros(2, 3, 8, 8), labels=torch.zeros(2, 4, 4, dtype=torch.long), seed=0, step=0))
