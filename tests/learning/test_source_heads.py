"""Heads that learn from models of other tasks, against a loop over sources and items."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from labelwright.errors import DataError, OptionError

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from labelwright.learning import train  # noqa: E402
from labelwright.learning.context import Context  # noqa: E402
from labelwright.learning.data import TrainData  # noqa: E402
from labelwright.learning.loss_parts import SourceHeads  # noqa: E402

CLASSES = {"pets": 4, "cars": 2, "one": 1}


def context(seed: int = 0, n: int = 5) -> Context:
    rng = np.random.default_rng(seed)
    made = Context(logits=torch.tensor(rng.normal(size=(n, 3)), requires_grad=True))
    for name, k in CLASSES.items():
        for what in ("logits", "teacher"):
            made[f"{name}_{what}"] = torch.tensor(rng.normal(size=(n, k)) * 2)
    return made


def naive(said: Context, weights: dict[str, float], t: float, per_class: bool) -> float:
    total = 0.0
    for name, weight in weights.items():
        own, theirs = (said[f"{name}_{what}"].tolist() for what in ("logits", "teacher"))
        rows = []
        for s, q in zip(own, theirs):
            p, r = ([math.exp(v / t) / sum(math.exp(u / t) for u in z) for v in z] for z in (s, q))
            rows.append(t * t * sum(b * math.log(b / a) for a, b in zip(p, r)))
        scale = math.log(CLASSES[name]) if per_class and CLASSES[name] > 1 else 1.0
        total += weight * sum(rows) / len(rows) / scale
    return total


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_by_loop(temperature: float, per_class: bool) -> None:
    said, weights = context(), {"pets": 0.6, "cars": 0.3, "one": 0.1}
    found = SourceHeads(weights=weights, temperature=temperature, per_class=per_class)(said)
    assert float(found.detach()) == pytest.approx(naive(said, weights, temperature, per_class), rel=1e-9)


def test_agreement_is_0_and_so_are_sources_without_weight() -> None:
    said = context()
    said["pets_logits"] = said["pets_teacher"]
    part = SourceHeads(weights={"pets": 1.0, "cars": 0.0})
    assert part.reads == ("logits", "pets_logits", "pets_teacher")
    assert float(part(said).detach()) == pytest.approx(0, abs=1e-12)
    loss = SourceHeads(weights={"cars": 0.0})(said)
    loss.backward()
    assert float(loss.detach()) == 0 and bool((said["logits"].grad == 0).all())


def data(**extra: Any) -> Any:
    rng = np.random.default_rng(1)
    y = np.arange(240) % 4
    x = (np.eye(4)[y] @ rng.normal(size=(4, 12)) + rng.normal(size=(240, 12))).astype(np.float32)
    given = np.where(np.arange(240) < 8, y, -1)
    pairs = 8 * np.eye(2)[y // 2], 8 * np.eye(2)[y % 2]  # two tasks that together say the class
    return TrainData(x, given, classes=4, extra={"a_teacher": pairs[0], "b_teacher": pairs[1], **extra}), x, y


def test_sources_teach_unlabelled_items() -> None:
    given, x, y = data()
    shared = {"epochs": 30, "batch_size": 32, "optimizer": {"adam": {"lr": 0.01}}}
    who = ("mlp", {"hidden": [16], "heads": {"a": 2, "b": 2}})
    heads = {"source_heads": {"weights": {"a": 0.5, "b": 0.5}}}
    taught = train(given, student=who, loss=("soft_cross_entropy", heads), **shared)
    alone = train(given, student=("mlp", {"hidden": [16]}), **shared)
    right = [(m.logits(x).argmax(1) == y)[8:].mean() for m in (taught, alone)]
    assert right[0] > right[1] + 0.05 and taught.logits(x).shape == (240, 4)


def test_errors() -> None:
    with pytest.raises(OptionError, match="source_weights"):
        SourceHeads(weights={"a": -1.0})
    with pytest.raises(OptionError, match="temperature=1.0"):
        SourceHeads(weights={"a": 1.0}, temperature=0.0)
    given, _, _ = data()
    wide = ("mlp", {"hidden": [16], "heads": {"a": 3}})
    with pytest.raises(DataError, match="heads={'a': 2}"):
        train(given, student=wide, loss=({"source_heads": {"weights": {"a": 1.0}}},), epochs=1)
    with pytest.raises(OptionError, match="a_logits"):
        train(given, student="linear", loss=({"source_heads": {"weights": {"a": 1.0}}},), epochs=1)
