"""EM in fewer steps: now and then a leap along the path of the last two steps, kept only where the objective rises."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from labelwright.crowds._starts import settled

State = tuple[np.ndarray, ...]
Step = Callable[[State], tuple[float, State]]


class Arrived(NamedTuple):
    """state: what the next step would begin with.   trace: objective of each kept step, never falling.   steps: all of them."""

    state: State
    trace: list[float]
    steps: int


def climb(
    step: Step,
    state: State,
    leap: Callable[[State, State, State, float], State],
    *,
    tol: float,
    max_iter: int,
    trace: list[float] | None = None,
    kept: Callable[[State, list[float]], None] = lambda state, trace: None,
) -> Arrived:
    """Repeat `step` until the objective rises by less than the fraction `tol` in a plain step, or `max_iter` steps are done.

    Args:
        step: (state) -> (objective of the model that the state stands for, next state). Plain steps never lower it.
        leap: (s0, s1, s2, length) -> s0 - 2 length r + length^2 v with r = s1 - s0 and v = (s2 - s1) - r, made possible again
            where it left what is possible; length is at most -1, and -1 gives s2.
        trace: of earlier steps.   kept: called after each plain step, so that a killed run can go on.

    A leap that ends below the step before it is undone. The last step is a plain one.

    Source: SQUAREM, Varadhan & Roland 2008, scheme S3.
    """
    trace, path, steps = list(trace or []), [state], 0
    while steps < max_iter and not (len(path) > 1 and settled(trace, tol)):
        if len(path) == 3 and steps + 1 < max_iter:
            s0, s1, s2 = path
            value, after = step(leap(s0, s1, s2, length(s0, s1, s2)))
            steps += 1
            if np.isfinite(value) and value >= trace[-1]:
                trace.append(value)
                path = [after]  # a plain step follows, whose rise tells whether the end is near
            else:
                path = path[-1:]
        value, after = step(path[-1])
        steps += 1
        trace.append(value)
        path = [*path, after][-3:]
        kept(after, trace)
    return Arrived(path[-1], trace, steps)


def length(s0: State, s1: State, s2: State) -> float:
    """-|r| / |v|, at most -1."""
    r = v = 0.0
    for a, b, c in zip(s0, s1, s2):
        first, second = b - a, c - b
        second -= first
        r, v = r + float(first @ first), v + float(second @ second)
    return -max(1.0, (r / v) ** 0.5) if v > 0 else -1.0


def leapt(a: np.ndarray, b: np.ndarray, c: np.ndarray, length: float) -> np.ndarray:
    """The leap of one array, wherever it ends."""
    out = c - b
    step = b - a
    out -= step
    out *= length**2
    step *= -2 * length
    out += step
    out += a
    return out
