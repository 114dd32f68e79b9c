"""RAD's game against a linear program, and draws with exact chances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from labelwright.annotators.asking import asking_game, asking_probs, draw_asked, student_gain, teacher_reliability
from labelwright.errors import DataError, LabelwrightWarning, OptionError, ProbabilityError


def best_by_lp(g: np.ndarray, m: int, cost: bool, budget: int) -> float:
    """max sum q g - f (m t + sum s), s >= q g - t, s >= 0, 0 <= q <= 1 / budget, sum q = 1; f = 2 with cost."""
    n, f = len(g), 2 if cost else 1
    found = linprog(
        np.concatenate([-g, f * np.ones(n), [f * m]]),
        A_ub=np.hstack([np.diag(g), -np.eye(n), -np.ones((n, 1))]),
        b_ub=np.zeros(n),
        A_eq=[np.r_[np.ones(n), np.zeros(n + 1)]],
        b_eq=[1],
        bounds=[(0, 1 / budget)] * n + [(0, None)] * n + [(None, None)],
    )
    return float(-found.fun)


def worst(q: np.ndarray, g: np.ndarray, m: int, cost: bool) -> float:
    """What q brings when the teacher errs on the m largest contributions."""
    part = np.sort(q * g)[::-1]
    return float(part.sum() - (2 if cost else 1) * part[:m].sum())


@pytest.mark.filterwarnings("ignore:wrong=")
def test_three_hundred_games() -> None:
    rng = np.random.default_rng(0)
    played = 0
    while played < 300:
        n = int(rng.integers(1, 20))
        g, m, cost = np.maximum(rng.random(n) ** rng.integers(1, 4), 1e-6), int(rng.integers(0, n)), played % 2 == 1
        budget = 1 if played % 3 else int(rng.integers(1, n + 1))
        if cost and 2 * m >= n:
            continue
        q, value = asking_game(g, wrong=m, cost=cost, budget=budget)
        assert (q >= 0).all() and q.sum() == pytest.approx(1) and q.max() <= 1 / budget + 1e-12
        best = best_by_lp(g, m, cost, budget)
        if value > 0:
            assert value == pytest.approx(best, abs=1e-9) and worst(q, g, m, cost) == pytest.approx(best, abs=1e-9)
        else:
            assert best <= 1e-9
        played += 1


@pytest.mark.filterwarnings("ignore:wrong=")
def test_by_hand() -> None:
    # gains 1 and .5, one error: k = 1 has value 0; k = 2: H = 3, value (2 - 1) / 3, q = (1/3, 2/3)
    q, value = asking_game(np.array([0.5, 1.0]), wrong=1)
    assert q == pytest.approx([2 / 3, 1 / 3]) and value == pytest.approx(1 / 3)
    assert asking_game(np.array([0.2, 0.9, 0.5]), wrong=0)[0].tolist() == [0, 1, 0]  # no errors: the least sure alone
    assert asking_game(np.array([0.2, 0.9, 0.5]), wrong=0, budget=2)[0] == pytest.approx([0, 0.5, 0.5])
    assert asking_game(np.array([0.2, 0.9, 0.5]), wrong=1, budget=3)[0] == pytest.approx([1 / 3] * 3)


@given(st.integers(0, 10_000), st.integers(1, 15), st.booleans())
def test_every_item_of_the_support_contributes_equally(seed: int, m: int, cost: bool) -> None:
    g = np.maximum(np.random.default_rng(seed).random(40), 1e-6)
    q, value = asking_game(g, wrong=m, cost=cost)
    part = (q * g)[q > 0]
    assert np.ptp(part) < 1e-12 and set(np.argsort(-g, kind="stable")[: len(part)]) == set(np.flatnonzero(q))
    assert len(part) > m * (2 if cost else 1) and value > 0
    if m > 1:
        assert value <= asking_game(g, wrong=m - 1, cost=cost)[1]


def test_gain_by_loop_and_reliability() -> None:
    p = np.random.default_rng(1).dirichlet(np.ones(4), 50).astype(np.float32)
    for row, gain in zip(p, student_gain(p)):
        first, second = sorted(map(float, row))[::-1][:2]
        assert gain == pytest.approx(1 - (first - second), rel=1e-6)
    assert student_gain(np.array([[1.0, 0.0]])) == pytest.approx([1e-6])
    assert student_gain(np.ones((2, 1))).tolist() == [1e-6, 1e-6]
    trusted = np.arange(50) % 2 == 0
    q = asking_probs(p, wrong=5, reliability=trusted.astype(float))
    assert q[trusted].sum() == pytest.approx(1)
    np.testing.assert_array_equal(asking_probs(p, wrong=5), asking_game(student_gain(p), wrong=5)[0])


def test_reliability_follows_the_margin() -> None:
    rng = np.random.default_rng(2)
    sure = rng.random(3000)
    p = np.stack([(1 + sure) / 2, (1 - sure) / 2], axis=1)
    right = rng.random(3000) < 0.5 + 0.5 * sure
    pool = np.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0]])
    assert teacher_reliability(p, right, pool) == pytest.approx([0.5, 0.75, 1.0], abs=0.12)
    few = teacher_reliability(p[:40], right[:40], pool)
    assert few == pytest.approx([right[:40].mean()] * 3)


def test_too_many_errors() -> None:
    p = np.random.default_rng(3).dirichlet(np.ones(3), 8)
    for options in ({"wrong": 8}, {"wrong": 4, "cost": True}, {"wrong": 20, "budget": 3}):
        with pytest.warns(LabelwrightWarning, match="Use a better teacher"):
            assert asking_probs(p, **options) == pytest.approx([1 / 8] * 8)


@given(st.integers(0, 10_000), st.integers(1, 30), st.data())
def test_draws_are_distinct_and_chances_as_stated(seed: int, n: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    q = rng.random(n) ** 4 * (rng.random(n) < 0.8)
    q[0] += 1e-3
    q /= q.sum()
    budget = data.draw(st.integers(0, int(np.count_nonzero(q))))
    found = draw_asked(q, budget, random_state=seed)
    assert len(set(found.index)) == budget == len(found.index) and (q[found.index] > 0).all()
    chance = found.inclusion
    assert chance.sum() == pytest.approx(budget) and chance.max(initial=0) <= 1 and (chance[q == 0] == 0).all()
    free = (chance < 1) & (q > 0)
    if budget and free.any():
        ratio = chance[free] / q[free]
        assert np.ptp(ratio) <= 1e-6 * ratio.max() and (q[chance == 1] * ratio.max() > 1 - 1e-6).all()
    assert set(np.flatnonzero(chance == 1)) <= set(found.index)


def test_how_often_items_are_drawn() -> None:
    q = np.array([0.5, 0.2, 0.15, 0.1, 0.05])
    times = np.zeros(5)
    for seed in range(4000):
        times[draw_asked(q, 3, random_state=seed).index] += 1
    chance = draw_asked(q, 3).inclusion
    assert chance == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])
    assert times / 4000 == pytest.approx(chance, abs=0.03)  # four standard errors


def test_errors() -> None:
    p = np.full((4, 2), 0.5)
    with pytest.raises(OptionError, match="wrong=0 or more"):
        asking_probs(p, wrong=-1)
    with pytest.raises(OptionError, match="budget=4 or less"):
        asking_probs(p, wrong=1, budget=5)
    with pytest.raises(ProbabilityError, match="drop these items"):
        asking_probs(p * np.nan, wrong=1)
    with pytest.raises(DataError, match="chance that the teacher is right"):
        asking_probs(p, wrong=1, reliability=np.full(4, 1.5))
    with pytest.raises(DataError, match="of a pool with items"):
        asking_game(np.array([0.5, 0.0]), wrong=1)
    with pytest.raises(ProbabilityError, match="weights / weights.sum"):
        draw_asked([0.5, np.nan], 1)
    with pytest.raises(ProbabilityError, match="what asking_probs returned"):
        draw_asked([0.5, 0.2], 1)
    with pytest.raises(OptionError, match="budget=0 or more"):
        draw_asked([1.0], -1)
    with pytest.raises(OptionError, match=r"asking_probs\(..., budget=2\)"):
        draw_asked([1.0, 0.0, 0.0], 2)
    with pytest.raises(DataError, match="teacher_labels == labels"):
        teacher_reliability(p, np.ones(4), p)
