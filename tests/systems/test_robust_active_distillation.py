from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from labelwright.systems import robust_active_distillation as system
from labelwright.systems.proof import Dataset

pytest.importorskip("torch")
ROUNDS, ONCE = system.PROOFS


@pytest.fixture(scope="module", autouse=True)
def short() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(system.STUDENT, "steps", 120)
        yield


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return next(system.teachers(None))


def test_every_arm_asks_as_often(digits: Dataset) -> None:
    case = ROUNDS.prepare(digits, 0)
    assert case.said.shape == (1000, 10) and len(case.valid) == 100
    assert 0.75 < (case.said.argmax(1) == case.pool_y).mean() < 0.97
    rng, left = np.random.default_rng(0), np.arange(500)
    rules = [system.robust(), system.robust(reliability=True), system.by_chance, system.by_gain(1), system.by_gain(-1)]
    for rule in [*rules, system.by_entropy, system.weighted, system.core_set]:
        found = rule(case, case.first, left, 20, rng)
        assert len(set(found.tolist())) == 20 and found.min() >= 0 and found.max() < 500
    told = {arm.name: arm.run(case, 0) for arm in ONCE.arms}
    assert told["surest"]["right labels bought"] > told["least margin"]["right labels bought"] + 0.1  # type: ignore[index]
    assert "right labels bought" not in told["no question"]
    assert told["RAD"]["accuracy"] > told["no question"]["accuracy"]  # type: ignore[index]


def test_rounds_never_ask_twice(digits: Dataset) -> None:
    case, seen = ROUNDS.prepare(digits, 1), []

    def rule(case: object, model: object, left: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
        seen.append((len(left), n))
        return np.arange(n)

    system.asked(rule, 3)(case, 0)  # type: ignore[arg-type]
    assert seen == [(1000, 26), (974, 27), (947, 27)]


def test_the_enemy_is_wrong_where_the_student_is_unsure() -> None:
    p = np.array([[0.5, 0.4, 0.1], [0.9, 0.05, 0.05], [0.3, 0.3, 0.4], [0.1, 0.8, 0.1]])
    said = system.enemy(p, np.array([0, 0, 2, 1]), 0.5)
    assert said.argmax(1).tolist() == [1, 0, 0, 1]
    np.testing.assert_allclose(said.sum(1), 1, rtol=1e-6)


def test_own_teacher_is_asked() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 600)
    x = (np.eye(3)[y] + 0.3 * rng.normal(size=(600, 3))).astype(np.float32)
    given = np.where(rng.random(600) < 0.1, (y + 1) % 3, y)
    data = Dataset("own", {"x": x, "y": y, "y_given": given}, options={"start": 10})
    ROUNDS.check(data)
    case = ROUNDS.prepare(data, 0)
    assert (case.said.sum(1) == 1).all() and 0.8 < (case.said.argmax(1) == case.pool_y).mean() < 0.97
    assert case.budget == 30
