from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from labelwright.systems import knowledge_guided_disambiguation as system
from labelwright.systems._small_tasks import halved
from labelwright.systems.proof import Dataset

pytest.importorskip("torch")
SYNONYMS, HEAD, SIZES = system.PROOFS


@pytest.fixture(scope="module", autouse=True)
def short() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(system.TRAIN, "epochs", 12)
        patch.setattr(system, "STEPS", 60)
        yield


def digits() -> Dataset:
    data = next(system.synonyms(None))
    return Dataset("digits", data.arrays, options={"train": 900})


def test_planted_names_are_found() -> None:
    case = system.plant(digits(), 0)
    assert case.group.max() == 9 and len(case.group) == 13
    assert (np.bincount(case.group) == 2).sum() == 3
    for new in (10, 11, 12):
        share = (case.given[0] == new).sum() / np.isin(case.given[0], [new, case.group[new]]).sum()
        assert 0.25 < share < 0.75
    told = {arm.name: arm.run(case, 0) for arm in SYNONYMS.arms if arm.name != "label smoothing"}
    assert told["merged, equal shares"]["adjusted Rand"] == 1  # type: ignore[index]
    assert told["merged, equal shares"]["NLL"] == told["true groups"]["NLL"]  # type: ignore[index]
    assert all(found["accuracy"] > 0.7 for found in told.values())  # type: ignore[index]


def test_second_head_reads_what_it_is_told() -> None:
    data = next(system.few_labels(None))
    case = HEAD.prepare(data, 0)
    assert len(case.y[0]) == 50 and set(case.y[0]) == set(range(5)) and case.says["trained"].shape == (50, 5)
    np.testing.assert_array_equal(np.sort(case.says["shuffled"], 0), np.sort(case.says["trained"], 0))
    np.testing.assert_allclose(case.says["untrained"].sum(1), 1, rtol=1e-5)
    told = {arm.name: arm.run(case, 0) for arm in HEAD.arms}
    assert all(found["accuracy"] > 0.7 for found in told.values())  # type: ignore[index]
    assert told["soft code, weight 1"] != told["soft code shuffled among items"]


def test_resolutions() -> None:
    assert halved(np.arange(16.0).reshape(1, 4, 4)).tolist() == [[[2.5, 4.5], [10.5, 12.5]]]
    data = next(system.two_sizes(None))
    case = SIZES.prepare(Dataset("digits", data.arrays, options={"train": 500}), 0)
    told = {arm.name: arm.run(case, 0) for arm in SIZES.arms}
    assert told["full resolution"]["accuracy"] > told["half resolution"]["accuracy"]  # type: ignore[index]


@pytest.mark.slow  # CIFAR-10 is described first
def test_real_sets_are_found(real_data: object) -> None:
    for proof, names in ((SYNONYMS, 3), (HEAD, 5), (SIZES, 3)):
        found = list(proof.datasets(real_data))  # type: ignore[arg-type]
        assert len(found) == names
        for data in found:
            proof.check(data)
