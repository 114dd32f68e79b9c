"""Leaps of EM: fewer steps, an objective that never falls, the same end."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.crowds._accelerate import climb, leapt, length


def slow(rate: np.ndarray, goal: np.ndarray):
    """A step that goes `rate` of the way to `goal` in each direction; the objective falls with the squared distance left."""

    def step(state):
        (x,) = state
        return -1.0 - float(((x - goal) ** 2).sum()), (x + rate * (goal - x),)

    return step


def plain(step, state, tol, most=100_000):
    trace = []
    while len(trace) < most and (len(trace) < 2 or trace[-1] - trace[-2] > tol * abs(trace[-2])):
        value, state = step(state)
        trace.append(value)
    return state, trace


def free(s0, s1, s2, by):
    return tuple(leapt(a, b, c, by) for a, b, c in zip(s0, s1, s2))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_the_objective_never_falls_and_ends_as_high(seed: int):
    rng = np.random.default_rng(seed)
    rate, goal = rng.uniform(0.01, 0.3, 5), rng.normal(size=5)
    step, start = slow(rate, goal), (np.zeros(5),)
    found = climb(step, start, free, tol=1e-3, max_iter=300)
    assert all(b >= a for a, b in zip(found.trace, found.trace[1:]))
    naive = plain(step, start, 0.0, most=len(found.trace))[1]
    assert found.trace[-1] >= naive[-1] - 1e-12  # as many kept steps without leaps get no further


def test_leaps_shorten_a_slow_straight_path():
    step, start = slow(np.array([0.01]), np.array([3.0])), (np.zeros(1),)
    found = climb(step, start, free, tol=1e-6, max_iter=10_000)
    np.testing.assert_allclose(found.state[0], 3.0, atol=1e-3)
    assert found.steps < 30 < len(plain(step, start, 1e-6, most=400)[1])


def test_a_leap_that_falls_is_undone():
    step = slow(np.array([0.05, 0.2]), np.array([1.0, -1.0]))
    seen = []

    def wild(s0, s1, s2, by):
        seen.append(by)
        return tuple(c + 1000.0 for c in s2)

    found = climb(step, (np.zeros(2),), wild, tol=1e-9, max_iter=40)
    assert seen and all(b >= a for a, b in zip(found.trace, found.trace[1:]))
    assert len(found.trace) == found.steps - len(seen)


def test_steps_are_counted_and_the_last_is_plain():
    calls = []
    inner = slow(np.array([0.01, 0.3]), np.array([1.0, 5.0]))

    def step(state):
        calls.append(state)
        return inner(state)

    kept = []
    found = climb(step, (np.zeros(2),), free, tol=0, max_iter=7, kept=lambda state, trace: kept.append(len(trace)))
    assert found.steps == len(calls) == 7
    assert kept[-1] == len(found.trace)  # what is kept last is where it ended


def test_length_is_that_of_plain_steps_at_least():
    a, b = (np.array([0.0]),), (np.array([1.0]),)
    assert length(a, b, (np.array([2.0]),)) == -1.0  # no bend, nowhere to leap to
    assert length(a, b, (np.array([1.9]),)) < -5
    np.testing.assert_allclose(leapt(np.array([0.0]), np.array([1.0]), np.array([1.9]), -1.0), [1.9])
