"""Card 41: scales are those of the training items, sets stay apart, and the proofs' arms run on any data of their kind."""

from __future__ import annotations

import numpy as np
import pytest

from labelwright.systems import deqa_score
from labelwright.systems.proof import Dataset


@pytest.fixture(scope="module")
def ratings():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 4)).astype(np.float32)
    group = np.repeat([0, 1], 60)
    scale, base = np.where(group, 100.0, 4.0), np.where(group, 0.0, 1.0)
    said = 1 / (1 + np.exp(-x[:, :1])) + 0.05 * rng.normal(size=(120, 5))
    said = base[:, None] + scale[:, None] * np.clip(said, 0, 1)
    said[group == 1, 1:] = np.nan  # the second set keeps means only
    return Dataset("two scales", {"x": x, "ratings": said, "group": group})


def test_each_set_has_its_own_scale_from_its_training_items(ratings):
    case = deqa_score.prepare(ratings, 0)
    for g in (0, 1):
        seen = case.mean[case.train & (case.group == g)]
        assert seen.min() == 1 and seen.max() == 5
    np.testing.assert_allclose(case.shares.sum(1), 1)
    assert not case.spread_known[case.group == 1].any()
    assert (case.std[case.group == 1] == deqa_score.UNTOLD).all()


def test_test_items_do_not_move_the_scale(ratings):
    first = deqa_score.prepare(ratings, 0)
    moved = dict(ratings.arrays)
    moved["ratings"] = np.where(first.train[:, None], moved["ratings"], 1000.0)
    second = deqa_score.prepare(Dataset("moved", moved), 0)
    np.testing.assert_array_equal(first.mean[first.train], second.mean[first.train])


@pytest.mark.parametrize("arm", deqa_score.PROOFS[1].arms, ids=lambda arm: arm.name)
def test_students_learn_to_rank(ratings, arm, monkeypatch):
    monkeypatch.setattr(deqa_score, "LR", 1e-2)
    found = arm.run(deqa_score.prepare(ratings, 0), 0)
    assert found["rank correlation"] > 0.7
    assert 0 <= found["ECE"] <= 1 and found["NLL"] > 0


def test_labels_of_a_middle_mean_are_not_even():
    """The released affine label is even at a mean of exactly 3; the tilted one keeps the spread."""
    shares = np.array([[0, 0.1, 0.8, 0.1, 0]])
    assert deqa_score.label_of(shares, "tilt")[0, 2] > 0.7
    affine = deqa_score.label_of(shares, "affine")
    assert np.ptp(affine) < 1e-6


def test_votes_are_split_without_overlap():
    data = next(deqa_score.vote_sets(None))
    case = deqa_score.split_votes(data, 0)
    np.testing.assert_allclose(case.asked.sum(1), 1)
    np.testing.assert_allclose(case.others.sum(1), 1)
    assert len(case.asked) == 600
    told = {
        how: deqa_score.label(how)(case, 0)["earth mover's distance"] for how in ("tilt", "linear", "one-hot", "normal")
    }
    assert told["tilt"] < told["linear"] < told["one-hot"]
