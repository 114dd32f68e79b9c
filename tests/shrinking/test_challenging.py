"""SALT's data selection against plain loops."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.errors import DataError, OptionError
from labelwright.shrinking import challenging, in_top


@given(st.lists(st.integers(0, 6), min_size=1, max_size=8), st.integers(0, 10_000))
def test_medians_by_loop(lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    t = sum(lengths)
    log_prob, inside = np.log(rng.random(t)), rng.random(t) < 0.6
    found = challenging(log_prob, inside, np.array(lengths))
    start = 0
    for s, length in enumerate(lengths):
        losses = [
            -float(v) for v, keep in zip(log_prob[start : start + length], inside[start : start + length]) if keep
        ]
        start += length
        assert found.score[s] == (pytest.approx(statistics.median(losses)) if losses else -np.inf)
        assert np.isnan(found.share[s]) if length == 0 else found.share[s] == pytest.approx(len(losses) / length)


def test_masked_tokens_are_dropped_not_zero() -> None:
    # two unlearnable tokens of three: the median is the loss of the third, not 0
    found = challenging(np.log([0.25, 1e-6, 1e-6]), np.array([True, False, False]), np.array([3]))
    assert found.score[0] == pytest.approx(np.log(4)) and found.share[0] == pytest.approx(1 / 3)


def test_in_top_by_loop() -> None:
    rng = np.random.default_rng(0)
    table = np.log(rng.dirichlet(np.ones(12), 50)).astype(np.float32)
    tokens = rng.integers(0, 12, 50)
    own, inside = in_top(table, tokens, k=4)
    for i in range(50):
        ranked = sorted(range(12), key=lambda j: -table[i, j])
        assert inside[i] == (tokens[i] in ranked[:4]) and own[i] == table[i, tokens[i]]
    assert in_top(table, tokens, k=12)[1].all()
    assert in_top(table[:0], tokens[:0])[0].shape == (0,)


def test_errors() -> None:
    table = np.log(np.full((3, 4), 0.25))
    with pytest.raises(OptionError, match="k=1 or more"):
        in_top(table, np.zeros(3, int), k=0)
    with pytest.raises(DataError, match="one row per token"):
        in_top(table, np.zeros(3))
    with pytest.raises(DataError, match="drop the padding"):
        in_top(table, np.array([0, 1, -100]))
    with pytest.raises(DataError, match="join the sequences without padding"):
        challenging(table[:, 0], np.ones(3, bool), np.array([2]))
    with pytest.raises(DataError, match="log_softmax"):
        challenging(np.array([0.3]), np.ones(1, bool), np.array([1]))
    with pytest.raises(DataError, match="NaN log-probabilities"):
        challenging(np.array([np.nan]), np.ones(1, bool), np.array([1]))
