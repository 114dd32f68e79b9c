"""Ranking against stable sorts, with many ties."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from labelwright.auditing._ranking import first_per_group, lowest_first
from labelwright.stream import Lowest
from labelwright.stream.statistic import Statistic


@given(st.integers(0, 10_000), st.integers(0, 200), st.integers(1, 50), st.sampled_from([np.float32, np.float64]))
def test_lowest_first_is_the_stable_order(seed, n, distinct, dtype):
    values = (np.random.default_rng(seed).integers(0, distinct, n) / 8 - 1).astype(dtype) * np.where(
        np.arange(n) % 2, 1, -1
    )
    np.testing.assert_array_equal(lowest_first(values), np.argsort(values, kind="stable"))


def test_lowest_first_of_many():
    values = np.random.default_rng(0).integers(0, 3000, 50_000) / 3000
    np.testing.assert_array_equal(lowest_first(values), np.argsort(values, kind="stable"))


@given(st.integers(0, 10_000), st.booleans())
def test_first_per_group_agrees_with_a_loop(seed, many_groups):
    rng = np.random.default_rng(seed)
    group, key, row = rng.integers(0, 4, 60), rng.integers(0, 5, 60) / 4, rng.permutation(60)
    quota = rng.integers(0, 20, 2**16 + 1 if many_groups else 4)
    expected = np.zeros(60, bool)
    for g in range(4):
        mine = sorted(np.flatnonzero(group == g), key=lambda e: (key[e], row[e]))
        expected[mine[: quota[g]]] = True
    np.testing.assert_array_equal(first_per_group(group, key, row, quota), expected)


@given(st.integers(0, 10_000), st.integers(0, 40), st.lists(st.integers(0, 100), max_size=5), st.randoms())
def test_lowest_of_a_stream_does_not_depend_on_the_cut(seed, size, cuts, random):
    rng = np.random.default_rng(seed)
    values = np.where(rng.random(100) < 0.2, np.nan, rng.integers(0, 12, 100) / 4)
    edges = [0, *sorted(cuts), 100]
    parts = []
    for a, b in zip(edges, edges[1:]):
        parts.append(Lowest(size))
        assert isinstance(parts[-1], Statistic)
        parts[-1].update((np.arange(a, b), values[a:b]))
        if random.random() < 0.5:
            parts[-1].result()  # looking does not disturb
    random.shuffle(parts)
    for other in parts[1:]:
        parts[0].merge(other)
    expected = np.argsort(values, kind="stable")[: (~np.isnan(values)).sum()][:size]
    np.testing.assert_array_equal(parts[0].result(), expected)


def test_lowest_of_a_long_stream_holds_few():
    values = np.random.default_rng(1).integers(0, 30_000, 400_000) / 30_000
    lowest = Lowest(500)
    for start in range(0, len(values), 10_000):
        lowest.update((np.arange(start, start + 10_000), values[start : start + 10_000]))
        assert len(lowest._rows) <= 1000 + 2**16 + 10_000
    np.testing.assert_array_equal(lowest.result(), np.argsort(values, kind="stable")[:500])
