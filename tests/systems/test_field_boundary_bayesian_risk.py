from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labelwright.systems import _mask_scenes as scenes
from labelwright.systems import field_boundary_bayesian_risk as system
from labelwright.systems.proof import Dataset


def fields(spammers: int) -> Dataset:
    return Dataset("fields", {"y": scenes.field_scenes(400)}, options={"spammers": spammers})


def test_the_people_are_as_planted() -> None:
    case = system.prepare(fields(3), 0)
    assert len(case.masks) == 80 and len(case.expert) == 40 and all(len(m) == 3 for m in case.masks.values())
    wrong: dict[str, list[float]] = {}
    for site, drawn in case.masks.items():
        for who, mask in drawn.items():
            wrong.setdefault(who, []).append(float((mask != case.truth[site]).mean()))
    mean = {who: np.mean(w) for who, w in wrong.items()}
    spam = {f"person {a}" for a in (9, 10, 11)}
    assert min(mean[s] for s in spam) > max(m for who, m in mean.items() if who not in spam)
    again = system._prepared.__wrapped__("other", 0, system._Held(fields(3)))
    assert all(np.array_equal(m, again.masks[s][who]) for s, d in case.masks.items() for who, m in d.items())


def test_every_arm_gives_all_numbers_and_the_posterior_helps_against_spam() -> None:
    case = system.prepare(fields(3), 1)
    told = {}
    for proof in system.PROOFS:
        for arm in proof.arms:
            got = arm.run(case, 1)
            assert isinstance(got, dict) and 0 <= got["IoU"] <= 1 and got[proof.metric] == got[proof.metric]
            told[arm.name] = got
    assert told["posterior by expert tasks"]["IoU"] > told["unweighted share"]["IoU"]
    assert (
        told["posterior by expert tasks"]["Brier"] < told["unweighted share"]["Brier"] < told["pixel majority"]["Brier"]
    )


def test_scores_against_a_worked_case() -> None:
    """One site of four pixels, one of them wrong with probability 0.6 for the wrong class."""
    truth = {0: np.array([[0, 1], [1, 0]])}
    case = system.Case({}, truth, {}, [0], 2, None, {})
    p = np.array([[0.0, 1.0], [0.4, 0.0]])
    got = system.scored(lambda site: np.stack([1 - p, p], -1), case, 0)
    assert got["IoU"] == 0.5 and got["Brier"] == pytest.approx(0.36 / 4) and got["AUROC of risk"] == 1
    assert got["log loss"] == pytest.approx(-np.log(0.4) / 4)


def test_real_scenes(real_data: Path) -> None:
    sets = {d.name: d for d in system.mask_sets(real_data)}
    street = sets["CamVid, 2 of 12 spam"]
    small = Dataset(street.name, {"y": street["y"][:100]}, options=street.options)
    case = system.prepare(small, 0)
    got = system.PROOFS[1].arms[0].run(case, 0)
    assert isinstance(got, dict) and 0 < got["IoU"] < 1 and case.k == 11
    assert len(sets["fields, 0 of 12 spam"].options["risks"]) == 2191
