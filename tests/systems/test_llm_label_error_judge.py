from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from labelwright.errors import DataError
from labelwright.systems import _datasets
from labelwright.systems import llm_label_error_judge as system
from labelwright.systems.proof import Dataset, Proof


def by_name(name: str) -> Proof:
    return next(p for p in system.PROOFS if p.name == name)


@pytest.fixture(scope="module")
def case() -> system.Case:
    x, y = _datasets.digits()
    return system.prepare(Dataset("digits", {"x": x[:600], "y": y[:600]}), 0)


def runs(name: str, case: system.Case) -> dict[str, Any]:
    return {arm.name: arm.run(case, 0) for arm in by_name(name).arms}


def test_judges_never_saw_what_they_judge(case: system.Case) -> None:
    assert case.p.shape == (16, 300, 10) and case.own.shape == (300, 10) and len(case.x_test) == 100
    np.testing.assert_allclose(case.p.sum(2), 1, atol=1e-6)
    assert 0.05 < (case.given != case.true).mean() < 0.25
    seen = {row.tobytes() for row in case.x}
    assert not any(row.tobytes() in seen for row in case.x_test) and len(set(case.audit)) == len(case.audit)


def test_flags(case: system.Case) -> None:
    told = runs("flags", case)
    assert told["16 judges, mean"]["F1"] > told["one judge"] > told["random flags, as many"]
    assert told["16 judges, mean"]["rank correlation of bins"] > 0.5
    assert all(0 <= (t["F1"] if isinstance(t, dict) else t) <= 1 for t in told.values())


def test_mitigation(case: system.Case) -> None:
    told = runs("mitigation", case)
    value = {name: t["test accuracy"] if isinstance(t, dict) else t for name, t in told.items()}
    assert value["true labels"] >= value["random flips, as many"]
    assert told["flip or drop by audited precision"]["flipped"] > 0.02


def test_bound(case: system.Case) -> None:
    told = runs("bound", case)
    assert told["exact hypergeometric"]["all coverage"] > 0.955 > told["share found wrong"]["all coverage"]
    assert told["exact, only flagged items audited"]["coverage"] < 0.5
    assert told["exact hypergeometric"]["bound"] < told["exact hypergeometric"]["rate"]


def test_sets_without_and_with_the_real_folder(real_data: Any) -> None:
    assert [d.name for d in system.sets(None)] == ["digits, planted"]
    assert {d.name for d in system.sets(real_data) if d.real} == {
        "CIFAR-10N aggregate, image descriptor",
        "CIFAR-10N worst, image descriptor",
    }


def test_missing_keys_are_refused() -> None:
    with pytest.raises(DataError, match="data-format"):
        by_name("flags").check(Dataset("none", {"y": np.zeros(3, np.int64)}))
