from __future__ import annotations

import numpy as np
import pytest

from labelwright.errors import DataError
from labelwright.systems import toptwo as system
from labelwright.systems.proof import Dataset

PLANTED, COLOURS, BEST = system.PROOFS


def small() -> Dataset:
    return Dataset("small", {"y": np.zeros(200)}, options={"q": (0.5, 1.0), "answered": 0.5, "even": True})


def own() -> Dataset:
    """As a user would pass it, drawn from the model."""
    case = system.simulate(small(), 3)
    votes = case.votes
    columns = {"item": votes.item, "annotator": votes.annotator, "label": votes.label, "y": case.best}
    return Dataset("own", columns | {"second": case.second})


def test_every_arm_finds_pairs() -> None:
    PLANTED.check(small())
    case = PLANTED.prepare(small(), 0)
    told = {arm.name: dict(arm.run(case, 0)) for arm in PLANTED.arms}  # type: ignore[call-overload]
    assert all(0 <= value <= 1 for found in told.values() for value in found.values())
    errors = {name: found["error of the pair"] for name, found in told.items()}
    assert errors["top two"] < errors["majority, top two counts"] - 0.03
    assert errors["top two"] < errors["p and q known"] + 0.05
    assert abs(errors["top two"] - errors["cuts, as in the paper"]) < 0.05


@pytest.mark.parametrize("proof", [COLOURS, BEST])
def test_resamples_share_the_fits(proof: object) -> None:
    data = own()
    proof.check(data)  # type: ignore[attr-defined]
    first, second = (proof.prepare(data, seed) for seed in (0, 1))  # type: ignore[attr-defined]
    assert (
        first.kept is second.kept
        and len(first.rows) == len(second.rows)
        and not np.array_equal(first.rows, second.rows)
    )
    for arm in proof.arms:  # type: ignore[attr-defined]
        assert 0 <= arm.run(first, 0)["error of the best"] <= arm.run(first, 0)["error of the pair"] <= 1


def test_one_cut_after_another_by_hand() -> None:
    """With every vote on one item of three classes the scores are those of the expectation, up to the length of p."""
    rng = np.random.default_rng(0)
    best = rng.integers(3, size=300)
    item, annotator = np.repeat(np.arange(300), 10), np.tile(np.arange(10), 300)
    votes = system._votes(item, annotator, best[item], 300, 10, 3)
    score, p = system.cut_scores(votes)
    np.testing.assert_array_equal(score.argmax(1), best)
    np.testing.assert_allclose(p, 0.999)
    np.testing.assert_allclose(score[np.arange(300), best], np.sqrt(10) * 2 / 3, rtol=0.05)  # ||p|| (1 - 1/3)


def test_ties_are_broken_by_chance_and_unknown_items_left_out() -> None:
    votes = system._votes(np.repeat(np.arange(400), 2), np.tile([0, 1], 400), np.tile([0, 1], 400), 400, 2, 3)
    best = np.where(np.arange(400) < 300, 0, -1)
    data = Dataset("ties", {"item": votes.item, "annotator": votes.annotator, "label": votes.label, "y": best})
    case = system.resampled(data, 0)
    assert len(case.rows) == 300 and 0.4 < system.counted(case, 0)["error of the best"] < 0.6


def test_missing_keys_are_named() -> None:
    with pytest.raises(DataError, match="second: the most confusing answer"):
        COLOURS.check(Dataset("short", {k: v for k, v in own().arrays.items() if k != "second"}))


def test_real_sets_are_found(real_data: object) -> None:
    assert [d.name for d in COLOURS.datasets(real_data)] == ["color"]  # type: ignore[arg-type]
    assert {d.name for d in BEST.datasets(real_data)} == set(system.SETS)  # type: ignore[arg-type]
