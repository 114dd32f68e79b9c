"""The share of the teacher, chosen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.errors import DataError, OptionError
from labelwright.shrinking.alpha import GRID, choose_alpha


@settings(max_examples=50, deadline=None)
@given(table=st.lists(st.lists(st.integers(0, 4), min_size=2, max_size=2), min_size=5, max_size=5), up=st.booleans())
def test_against_a_plain_loop(table: list[list[int]], up: bool) -> None:
    found = choose_alpha(lambda a, r: table[GRID.index(a)][r], repeats=2, higher_is_better=up)
    best, at = None, None
    for i in range(5):  # ascending, equal ones to the later
        mean = sum(table[i]) / 2 * (1 if up else -1)
        if best is None or mean >= best:
            best, at = mean, GRID[i]
    assert found.alpha == at
    assert found.scores.tolist() == table and found.grid.tolist() == list(GRID)


def test_order_and_copies_in_the_grid_do_not_matter() -> None:
    asked: list[float] = []

    def score(a: float, r: int) -> float:
        asked.append(a)
        return -((a - 0.3) ** 2)

    assert choose_alpha(score, grid=[0.9, 0.1, 0.4, 0.4]).alpha == 0.4
    assert asked == [0.1, 0.4, 0.9]


def test_errors() -> None:
    for grid in ((), (0.5, 1.5), (-0.1,)):
        with pytest.raises(OptionError, match="leave grid out"):
            choose_alpha(lambda a, r: 0.0, grid=grid)
    with pytest.raises(DataError, match="alpha=0.5"):
        choose_alpha(lambda a, r: np.nan if a == 0.5 else 1.0)
    with pytest.raises(OptionError, match="repeats"):
        choose_alpha(lambda a, r: 0.0, repeats=0)
