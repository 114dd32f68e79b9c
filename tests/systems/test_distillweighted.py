from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from labelwright.systems import distillweighted as system
from labelwright.systems.proof import Dataset

pytest.importorskip("torch")
(FEW,) = system.PROOFS


@pytest.fixture(scope="module", autouse=True)
def short() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(system.TRAIN, "steps", 60)
        patch.setitem(system.SOURCE, "epochs", 3)
        yield


def clouds() -> Dataset:
    """Four clouds; a second task that tells pairs of them apart, and one of chance."""
    rng = np.random.default_rng(0)
    centres = 2.5 * rng.normal(size=(4, 12))
    cloud = rng.integers(0, 4, 1500)
    x = (centres[cloud] + 1.5 * rng.normal(size=(1500, 12))).astype(np.float32)
    task = np.repeat(["target", "pairs", "chance"], 500)
    y = np.where(task == "pairs", cloud % 2, np.where(task == "target", cloud, rng.integers(0, 3, 1500)))
    return Dataset("clouds", {"x": x, "y": y, "task": task}, options={"labelled": 25, "target": 300})


@pytest.mark.filterwarnings("ignore:PARC")
def test_every_arm_learns() -> None:
    FEW.check(clouds())
    case = FEW.prepare(clouds(), 0)
    assert list(case.teacher) == ["chance", "pairs", "random labels"] and case.labelled == 100
    assert case.x.shape == (300, 12) and len(case.test_y) == 200 and case.teacher["pairs"].shape == (300, 2)
    assert np.bincount(case.y[:100]).tolist() == [25] * 4
    for arm in FEW.arms:
        told = arm.run(case, 0)
        assert told["accuracy"] > 0.6  # type: ignore[index]
    assert -1 <= told["rank correlation of parc"] <= 1  # type: ignore[index]


def test_no_similar_source_leaves_the_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    case = FEW.prepare(clouds(), 1)
    nothing = dict.fromkeys(case.teacher, 0.0)
    assert system.taught(case, nothing, 0) == system.scratch(case, 0)
    assert system.weights_of(case, np.inf) != system.weights_of(case, 1.0)
    assert sum(system.weights_of(case, 8.0, "leep").values()) == pytest.approx(1)


def test_sources_made_of_the_classes() -> None:
    y = np.arange(10)
    made = system.other_labels(y, 0)
    assert made["upper half"].tolist() == [-1] * 5 + [0, 1, 2, 3, 4] and made["thirds"].tolist() == (y % 3).tolist()
    data = next(system.zoos(None))
    case = FEW.prepare(data, 0)
    assert {name: v.shape[1] for name, v in case.teacher.items()}["lower half"] == 5
    assert len(case.y) == 700 and case.labelled == 100
