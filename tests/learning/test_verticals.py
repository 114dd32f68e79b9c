"""Specialists of parts of the classes, and a student of all."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from labelwright.errors import DataError, OptionError
from labelwright.learning import TrainData, train
from labelwright.learning.losses import kd
from labelwright.learning.networks.sliced import SlicedMLP
from labelwright.learning.verticals import VerticalKD, kd_per_vertical, vertical_biases

VERTICALS = [[0, 2], [1, 3, 4], [5, 0]]  # the third shares class 0, and may meet no item


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def log_softmax(z: list[float]) -> list[float]:
    total = math.log(sum(map(math.exp, z)))
    return [v - total for v in z]


def test_against_a_loop() -> None:
    z, t, y = some(6, 6), some(6, 7, seed=1), torch.tensor([0, 1, 4, -1, 3, 2])
    losses, counts = kd_per_vertical(z, y, t, verticals=VERTICALS, temperature=2.0)
    start = 0
    for v, classes in enumerate(VERTICALS):
        rows = []
        for i in range(6):
            if int(y[i]) not in classes:
                continue
            p = log_softmax([float(z[i, c]) / 2 for c in classes])
            q = log_softmax([float(t[i, start + j]) / 2 for j in range(len(classes))])
            rows.append(4 * sum(math.exp(b) * (b - a) for a, b in zip(p, q)))
        assert int(counts[v]) == len(rows) and float(losses[v]) == pytest.approx(sum(rows) / max(len(rows), 1))
        start += len(classes)
    nobody, none = kd_per_vertical(z[3:4], y[3:4], t[3:4], verticals=VERTICALS)
    assert float(nobody.sum()) == 0 and int(none.sum()) == 0
    everyone, all_six = kd_per_vertical(z, y, t, verticals=VERTICALS, masked=False)
    assert all_six.tolist() == [6, 6, 6]
    assert float(everyone[0]) == pytest.approx(float(kd(z[:, [0, 2]], t[:, :2], temperature=2.0)))


def test_foreign_items_feel_nothing() -> None:
    z, t, y = some(2, 6).requires_grad_(), some(2, 7, seed=1), torch.tensor([1, -1])
    kd_per_vertical(z, y, t, verticals=VERTICALS)[0].sum().backward()
    assert bool((z.grad[1] == 0).all()) and bool((z.grad[0, [0, 2, 5]] == 0).all())
    assert float(z.grad[0].sum()) == pytest.approx(0, abs=1e-12)  # nothing is said of this vertical against others


def test_paces() -> None:
    part = VerticalKD([[0], [1], [2]], pace="fade", momentum=0.5, least=0.1)
    assert part.pace_weights().tolist() == [1, 1, 1]
    part._remember(torch.tensor([4.0, 2.0, 0.0]).double(), torch.tensor([True, True, False]))
    part._remember(torch.tensor([0.0, 6.0, 0.0]).double(), torch.tensor([True, True, False]))
    assert part.running[:2].tolist() == [2.0, 4.0]  # half the old, half the new
    assert part.pace_weights().tolist() == [0.5, 1.0, 1.0]  # grown losses count 1, and so does what was never seen
    again = VerticalKD([[0], [1], [2]], pace="easy_first", begin=0.3, full=0.5)
    again.restore(part.state())
    again.running[2] = 1.0
    assert again.pace_weights(0.0).tolist() == [0, 0, 1]
    assert again.pace_weights(0.3).tolist() == [1, 1, 1] and again.pace_weights(0.1).tolist() == [1, 0, 1]
    assert VerticalKD([[0]], pace="even").pace_weights().tolist() == [1]


def test_sliced_head_against_masked_weights() -> None:
    torch.manual_seed(0)
    net = SlicedMLP(4, 6, verticals=VERTICALS, hidden=(5,), slice=3, shared=2)
    x = some(7, 4).float()
    out = net(x)
    wanted = torch.zeros(7, 6)
    for i in range(7):
        for v, classes in enumerate(VERTICALS):
            for j, c in enumerate(classes):
                h = out["features"][i, net.slices[v]]
                wanted[i, c] += (h * net.heads[v].weight[j]).sum() + net.heads[v].bias[j]
    assert torch.allclose(out["logits"], wanted, atol=1e-5)
    assert sum(h.weight.numel() for h in net.heads) == (3 + 2) * 7
    with pytest.raises(OptionError, match="classes that are left"):
        SlicedMLP(4, 7, verticals=VERTICALS)


def test_learns_from_specialists_alone_within_verticals() -> None:
    """Without labels in the loss, the classes of a vertical are told apart, as its specialist does."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 400)
    x = (rng.normal(size=(400, 4)) + 4 * np.eye(4)[y]).astype(np.float32)
    verticals = [[0, 1], [2, 3]]
    data = TrainData(x, y, extra={"teacher_logits": 3 * x, "teacher_features": x})
    torch.manual_seed(0)
    student = SlicedMLP(4, 4, verticals=verticals, hidden=(16,), slice=8, shared=0)
    part = VerticalKD(verticals, features=0.1, slices=student.slices)
    model = train(data, student=student, loss=part, epochs=10, batch_size=40, optimizer={"adam": {"lr": 1e-2}})
    z = model.logits(x)
    own = np.array([verticals[c // 2] for c in y])
    within = np.take_along_axis(z, own, 1).argmax(1)
    assert (own[np.arange(400), within] == y).mean() > 0.95
    assert part.pace_weights().max() < 0.5 and len(model.modules["vertical maps"]) == 2


def test_biases_balance_verticals() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 2000)
    z = 2 * np.eye(4)[y] + rng.normal(size=(2000, 4))
    shifted = z + np.array([3, 3, 0, 0])
    bias = vertical_biases(shifted, y, [[0, 1], [2, 3]])
    assert bias[0] == bias[1] and bias[2] == bias[3]
    assert bias[2] - bias[0] == pytest.approx(3, abs=0.3)
    with pytest.raises(DataError, match="vertical of their own"):
        vertical_biases(z, y, [[0, 1], [1, 2]])


def test_errors() -> None:
    with pytest.raises(DataError, match="side by side"):
        kd_per_vertical(some(2, 6), torch.tensor([0, 1]), some(2, 6), verticals=VERTICALS)
    with pytest.raises(OptionError, match=r"verticals=\[\[0, 1, 2\]"):
        VerticalKD([[0, 0]])
    with pytest.raises(OptionError, match="did you mean 'fade'"):
        VerticalKD([[0]], pace="fad")
