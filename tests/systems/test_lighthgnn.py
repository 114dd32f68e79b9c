from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from labelwright.systems import lighthgnn as system
from labelwright.systems.proof import Dataset

pytest.importorskip("torch")
KNOWN, NEW = system.PROOFS


def small(n: int = 300) -> Dataset:
    """Words drawn by class, and a graph within classes mostly."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n)
    x = (rng.random((n, 60)) < np.where(np.arange(60) % 3 == y[:, None], 0.12, 0.06)).astype(np.float32)
    x[:, 0] = 1  # no item without a word
    ends = rng.integers(0, n, (6 * n, 2))
    edges = ends[(y[ends[:, 0]] == y[ends[:, 1]]) | (rng.random(len(ends)) < 0.1)]
    near = system.lists(np.r_[edges[:, 0], edges[:, 1]], np.r_[edges[:, 1], edges[:, 0]], n)
    return Dataset("small", {"x": x, "y": y, "neighbours": near}, options={"labelled": 10, "valid": 20})


@pytest.fixture(scope="module")
def cases() -> Iterator[dict[str, system.Case]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(system.TRAIN, "epochs", 40)
        yield {proof.name: proof.prepare(small(), 0) for proof in system.PROOFS}


def test_structure_reaches_the_student(cases: dict[str, system.Case]) -> None:
    case = cases["known items"]
    told = {arm.name: arm.run(case, 0) for arm in KNOWN.arms}
    assert told["LightHGNN+"]["accuracy"] > told["MLP on labels"]["accuracy"] + 0.1  # type: ignore[index]
    assert told["LightHGNN+, released loss"]["ECE"] > told["LightHGNN+"]["ECE"] + 0.03  # type: ignore[index]


def test_new_items_stay_unseen(cases: dict[str, system.Case]) -> None:
    case = cases["new items"]
    assert not set(case.test) & set(case.seen) and len(case.test) == round(0.9 * (300 - 90))
    assert case.incidence.shape[0] == len(case.seen) == len(case.teacher_logits) == case.operators[0].shape[0]
    assert case.operators[1].shape[0] == 300
    assert not set(case.train) & set(case.valid) and set(case.train) | set(case.valid) <= set(case.seen)
    for arm in NEW.arms:
        assert 0.3 < arm.run(case, 0)["accuracy"] <= 1  # type: ignore[index]


def test_real_sets_are_found(real_data: object) -> None:
    found = list(system.graph_sets(real_data))  # type: ignore[arg-type]
    assert [d.name for d in found] == ["digits, 10 neighbours", "Cora, citations", "Cora, co-authors"]
    for data in found:
        KNOWN.check(data)
        assert system.hypergraph(data).shape[0] == len(data["y"]) == len(data)


def test_lists_of_pairs() -> None:
    item, value = np.array([2, 0, 2, 2]), np.array([5, 1, 3, 4])
    assert system.lists(item, value, 4).tolist() == [[1, -1, -1], [-1] * 3, [3, 4, 5], [-1] * 3]
    own = Dataset(
        "own", {"x": np.eye(3), "y": np.array([0, 1, 0]), "hyperedges": np.array([[0, 1], [1, -1], [-1, -1]])}
    )
    assert system.hypergraph(own).toarray().tolist() == [[1, 1], [0, 1], [0, 0]]
