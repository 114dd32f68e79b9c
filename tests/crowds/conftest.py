"""Votes of people of known skill."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest


def votes_of_a_crowd(n: int = 200, a: int = 12, k: int = 3, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Five votes per item by people of different skill, the last of whom guesses."""
    rng = np.random.default_rng(seed)
    truth, skill = rng.integers(k, size=n), np.linspace(0.95, 0.6, a)
    skill[-1] = 1 / k
    rows = []
    for item in range(n):
        for who in rng.choice(a, 5, replace=False):
            right = rng.random() < skill[who]
            said = truth[item] if right else rng.choice(np.delete(np.arange(k), truth[item]))
            rows.append((f"t{item}", f"w{who}", "abc"[said]))
    return pd.DataFrame(rows, columns=["item", "annotator", "label"]), truth


@pytest.fixture
def crowd():
    return votes_of_a_crowd
