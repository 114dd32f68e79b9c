"""Inner layers and hints from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from labelwright.errors import DataError, OptionError
from labelwright.learning import TrainData, train
from labelwright.learning.layers import LayerHints, WithLayers, attention_distance, hidden_distance
from labelwright.learning.networks import MLP, ViT


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MASK = torch.tensor([[True, True, False], [True, True, True], [False, False, False]])


def test_layers_say_what_they_say() -> None:
    net, x = MLP(4, 3, hidden=(5, 6)), some(2, 4).float()
    found = WithLayers(net, {"low": "blocks.0", "high": "blocks.1"})(x)
    assert torch.equal(found["low"], net.blocks[0](x)) and torch.equal(found["high"], net(x)["features"])
    assert torch.equal(found["logits"], net(x)["logits"])
    seen = WithLayers(ViT(1, 3, size=(4, 4), patch=2, width=8, depth=2), {"one": "blocks.0"})(torch.zeros(2, 1, 4, 4))
    assert seen["one"].shape == (2, 5, 8)  # the block gives a tuple; its states count
    with pytest.raises(OptionError, match=r"did you mean 'blocks.0'"):
        WithLayers(net, {"low": "block.0"})


def test_hidden_distance_against_a_loop() -> None:
    a, b = some(3, 3, 4), some(3, 3, 4, seed=1)
    rows = hidden_distance(a, b, mask=MASK, reduction="none")
    for i in range(3):
        cells = [(a[i, t, d] - b[i, t, d]) ** 2 for t in range(3) if MASK[i, t] for d in range(4)]
        assert float(rows[i]) == pytest.approx(float(sum(cells)) / max(len(cells), 1))
    assert float(hidden_distance(a, b, mask=MASK)) == pytest.approx(float(rows[:2].mean()))  # the empty item has no say
    assert float(hidden_distance(a[:, 0], b[:, 0])) == pytest.approx(float(((a - b)[:, 0] ** 2).mean()))
    b.requires_grad_()
    a = a.clone().requires_grad_()
    hidden_distance(a, b, mask=MASK).backward()
    assert b.grad is None and bool((a.grad[~MASK] == 0).all())


@pytest.mark.parametrize("form", ["scores", "probs"])
def test_attention_distance_against_a_loop(form: str) -> None:
    a, b = some(3, 2, 3, 3), some(3, 2, 3, 3, seed=1)
    a[0, :, :, 2], b[0, :, :, 2] = -1e4, -torch.inf  # padding, as models write it
    rows = attention_distance(a, b, mask=MASK, form=form, reduction="none")
    for i in range(3):
        true = [t for t in range(3) if MASK[i, t]]
        total = 0.0
        for h in range(2):
            for q in true:
                if form == "scores":
                    total += sum(float(a[i, h, q, k] - b[i, h, q, k]) ** 2 for k in true) / len(true)
                    continue
                p, t = ([math.exp(z[i, h, q, k]) for k in true] for z in (a, b))
                p, t = [v / sum(p) for v in p], [v / sum(t) for v in t]
                total += sum(u * math.log(u / v) for u, v in zip(t, p))
        assert float(rows[i]) == pytest.approx(total / max(2 * len(true), 1), abs=1e-9)
    assert float(attention_distance(b[1:2], b[1:2], form=form)) == pytest.approx(0)
    a = a.requires_grad_()
    attention_distance(a, b, mask=MASK, form=form).backward()
    assert bool(torch.isfinite(a.grad).all())


def test_hints_bring_layers_together_through_one_map() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 6)).astype(np.float32)
    torch.manual_seed(0)
    teacher = WithLayers(MLP(6, 3, hidden=(8, 8)), {"low": "blocks.0", "high": "blocks.1"})
    with torch.no_grad():
        said = teacher(torch.from_numpy(x))
    data = TrainData(x, None, classes=3, extra={"teacher_low": said["low"], "teacher_high": said["high"]})
    student = WithLayers(MLP(6, 3, hidden=(5, 5)), {"low": "blocks.0", "high": "blocks.1"})
    part = LayerHints(on=[("low", "teacher_low"), ("high", "teacher_high")])
    model = train(data, student=student, targets=(), loss=part, epochs=15, optimizer={"adam": {"lr": 1e-2}})
    assert model.history[-1]["loss"] < 0.5 * model.history[0]["loss"]
    assert [tuple(p.shape) for p in model.modules["layer map low"].parameters()] == [(8, 5), (8,)]
    again = LayerHints(on=[("low", "teacher_low")], projector=part.projector)
    later = train(data, student=student, targets=(), loss=again, epochs=1, optimizer={"adam": {"lr": 1e-3}})
    assert later.history[0]["loss"] < 0.5 * model.history[0]["loss"]  # the map is carried on


def test_errors() -> None:
    with pytest.raises(DataError, match="teacher's width"):
        hidden_distance(some(2, 3), some(2, 4))
    with pytest.raises(DataError, match="as many heads"):
        attention_distance(some(2, 2, 3, 3), some(2, 4, 3, 3))
    with pytest.raises(OptionError, match="did you mean 'probs'"):
        attention_distance(some(2, 2, 3, 3), some(2, 2, 3, 3), form="prob")
    with pytest.raises(OptionError, match=r'pass on=\[\("low"'):
        LayerHints(on=[])
    x = np.zeros((4, 3), np.float32)
    student = WithLayers(MLP(3, 2, hidden=(4, 5)), {"low": "blocks.0", "high": "blocks.1"})
    data = TrainData(x, None, classes=2, extra={"t": torch.zeros(4, 6)})
    with pytest.raises(OptionError, match="LayerHints for each width"):
        train(data, student=student, targets=(), loss=LayerHints(on=[("low", "t"), ("high", "t")]))
