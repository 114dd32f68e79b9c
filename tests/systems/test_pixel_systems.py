"""Cards 5, 16 and 107: their data, their figures, and one short run of each arm about pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from labelwright.systems import _pixels, driveability_sord, label_assisted_distillation, sauna
from labelwright.systems.proof import Dataset


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_mean_iou_is_the_loop():
    rng = np.random.default_rng(0)
    y, said = rng.integers(-1, 3, (4, 5, 5)), rng.integers(0, 4, (4, 5, 5))
    expected = []
    for k in range(3):
        shared = sum(a == b == k for a, b in zip(y.ravel(), said.ravel()))
        joint = sum(a >= 0 and (a == k or b == k) for a, b in zip(y.ravel(), said.ravel()))
        expected.append(shared / joint)
    assert _pixels.mean_iou(said, y, 4) == pytest.approx(np.mean(expected))


def test_street_scenes_keep_their_splits(real_data):
    scenes = _pixels.street_scenes(real_data, 8)
    assert scenes.image.shape == (701, 22, 30, 3) and np.bincount(scenes.split).tolist() == [367, 101, 233]
    assert scenes.y.min() == -1 and scenes.y.max() == 10
    levels = np.where(scenes.y < 0, -1, driveability_sord.LEVELS[scenes.y])
    assert set(np.unique(levels)) == {-1, 0, 1, 2}
    assert ((levels == 2) == (scenes.y == 3)).all()  # an untouched copy is compared: no id is mapped twice


# ---------------------------------------------------------------------------------------------------- ordered labels
def test_moved_labels_are_neighbours_of_training_truth():
    x = np.zeros((500, 2), np.float32)
    y = np.arange(500) % 5
    case = driveability_sord.prepare(Dataset("d", {"x": x, "y": y}, options={"moved": 0.2}), 0)
    apart = np.abs(case.given - case.true)
    assert apart.max() == 1 and 0.1 < apart.mean() < 0.3
    assert case.given.min() >= 0 and case.given.max() <= 4
    assert not set(case.train) & set(case.test) and not set(case.valid) & set(case.test)


def test_median_is_the_level_of_least_expected_distance():
    logits = np.random.default_rng(0).normal(size=(50, 5)) * 2
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    risk = p @ np.abs(np.arange(5)[:, None] - np.arange(5))
    assert (driveability_sord.median(logits) == risk.argmin(1)).all()


@pytest.mark.parametrize("arm", driveability_sord.PROOFS[0].arms, ids=lambda arm: arm.name)
def test_ordered_arms_learn(arm, monkeypatch):
    monkeypatch.setattr(driveability_sord, "LR", 1e-2)
    monkeypatch.setattr(driveability_sord, "EPOCHS", 8)
    x = np.random.default_rng(0).uniform(0, 5, (300, 1)).astype(np.float32)
    data = Dataset("line", {"x": x, "y": x[:, 0].astype(np.int64)})
    found = arm.run(driveability_sord.prepare(data, 0), 0)
    assert found["mean distance"] < 0.9 and 0 <= found["severity"] <= 1 and found["kappa"] > 0.5


# ------------------------------------------------------------------------------------------------------------ pixels
def test_vessels_are_drawn_with_faults():
    image, truth, drawn = sauna.vessels(12)
    assert image.shape == (12, 32, 32) and 0.02 < truth.mean() < 0.5
    assert 0 < (truth != drawn).mean() < 0.3
    wide = sauna.half_widths(truth)
    assert (wide[truth == 0] == 0).all() and wide[truth > 0].min() >= 1


@pytest.mark.parametrize(
    ("system", "arm"),
    [(s, i) for s in (sauna, label_assisted_distillation) for i in range(len(s.PROOFS[0].arms))],
)
def test_pixel_arms_run(system, arm, monkeypatch):
    monkeypatch.setattr(_pixels, "UNET", ("unet", {"width": 4, "depth": 1}))
    for name in ("EPOCHS", "TEACHER_EPOCHS"):
        monkeypatch.setattr(system, name, 1, raising=False)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2 if system is sauna else 3, (12, 8, 8))
    data = Dataset("noise", {"image": rng.random((12, 8, 8, 3)).astype(np.float32), "y": y})
    proof = system.PROOFS[0]
    case = proof.prepare(data, 0)
    if system is sauna:
        assert not (case.train.x[:, None] == case.test.x[None]).all((2, 3, 4)).any()
    found = proof.arms[arm].run(case, 0)
    assert 0 <= found[proof.metric] <= 1 and 0 <= found["ECE"] <= 1 and found["NLL"] > 0


def test_student_needs_no_fourth_channel():
    x, y = label_assisted_distillation.shapes(12, size=8)
    case = label_assisted_distillation.prepare(Dataset("shapes", {"image": x, "y": y}), 0)
    teacher = label_assisted_distillation.assisted(case, 0, "random", 0.3)
    student = label_assisted_distillation.distilled(case, teacher, 0, channel=True)
    first = [next(m.parameters()).shape[1] for m in (teacher.module, student.module)]
    assert first == [4, 3]
    before = {k: v.clone() for k, v in teacher.module.state_dict().items()}
    label_assisted_distillation.distilled(case, teacher, 1, channel=True)
    assert all(torch.equal(v, before[k]) for k, v in teacher.module.state_dict().items())  # frozen
