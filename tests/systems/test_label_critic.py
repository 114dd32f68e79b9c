from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labelwright.crowds.judging import dice
from labelwright.systems import _mask_candidates as masks
from labelwright.systems import label_critic as system
from labelwright.systems.proof import Dataset

SWAP, CHOICE, ASSEMBLY = system.PROOFS


@pytest.fixture(scope="module")
def case() -> system.Case:
    image, truth = masks.drawn_objects(1500)
    return system.candidates_of(Dataset("drawn", {"image": image[:320], "y": truth[:320]}), 0)


def test_swapping_follows_the_closed_form() -> None:
    data = next(iter(system.judge_sets(None)))
    prepared = SWAP.prepare(data, 0)
    both, one = (arm.run(prepared, 0) for arm in SWAP.arms)
    assert isinstance(both, dict) and isinstance(one, dict)
    assert both["accuracy"] == pytest.approx(both["expected accuracy"], abs=0.03) and both["accuracy"] > one["accuracy"]
    assert both["coverage"] == pytest.approx(0.68, abs=0.04)


def test_every_arm_of_the_objects(case: system.Case) -> None:
    assert len(case.candidates) == 120 and set(case.candidates[next(iter(case.candidates))]) == set(masks.FAULTS)
    accuracy, quality = {}, {}
    for arm in CHOICE.arms:
        got = arm.run(case, 0)
        assert isinstance(got, dict) and 0 < got["coverage"] <= 1
        accuracy[arm.name] = got["accuracy"]
    for arm in ASSEMBLY.arms:
        got = arm.run(case, 0)
        assert isinstance(got, dict)
        quality[arm.name] = got["Dice"]
    assert accuracy["both orders"] > accuracy["random"] + 0.1
    assert max(quality.values()) in (quality["best of each"], quality["pixel majority"])
    assert quality["rounds, both orders"] > quality["random source"]


def test_faults_are_faults_of_their_source() -> None:
    image, truth = masks.drawn_objects(1500)
    rng = np.random.default_rng(0)
    size = {s: np.mean([masks.faulty(t, s, rng).sum() / t.sum() for t in truth[:60]]) for s in masks.FAULTS}
    assert size["part"] < 0.95 < size["leak"] and image.dtype == np.uint8
    assert all(0.5 < dice(masks.faulty(t, "shift", rng).astype(int), t.astype(int)) < 1.01 for t in truth[:60:3])


def test_real_masks_of_models(real_data: Path) -> None:
    image, truth, predicted = masks.model_masks(real_data)
    assert predicted.shape == (len(truth), 3, *truth.shape[1:]) and image.shape == truth.shape
    scores = [
        np.mean([dice(p.astype(int), t.astype(int)) for p, t in zip(predicted[:200, m], truth)]) for m in range(3)
    ]
    assert min(scores) > 0.1 and max(scores) < 0.95
