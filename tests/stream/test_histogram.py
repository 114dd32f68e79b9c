from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.errors import OptionError
from labelwright.stream import ScoreHistogram, Stateful, Statistic, run

VALUES = st.lists(
    st.one_of(st.floats(-0.5, 1.5, width=32), st.sampled_from([0.0, 0.25, 0.5, 1.0, np.nan])), max_size=40
)


def naive(labels, values, edges, n_classes):
    counts = np.zeros((n_classes, len(edges) + 2), int)
    for label, x in zip(labels, values):
        if label < 0:
            continue
        if np.isnan(x):
            at = len(edges) + 1
        elif x > edges[-1]:
            at = len(edges)
        elif x == edges[-1]:
            at = len(edges) - 1
        else:
            at = sum(x >= edge for edge in edges)
        counts[label, at] += 1
    return counts


@given(VALUES, st.integers(1, 7), st.integers(0, 40), st.integers(0, 99))
def test_agrees_with_a_loop_for_any_cut_and_order(values, bins, at, seed):
    values = np.array(values, float)
    labels = np.random.default_rng(seed).integers(-1, 3, len(values))
    halves = [ScoreHistogram(bins, n_classes=3), ScoreHistogram(bins, n_classes=3)]
    halves[0].update((labels[:at], values[:at]))
    halves[1].update((labels[at:], values[at:]))
    halves[1].merge(halves[0])
    found = ScoreHistogram.from_state(halves[1].state()).result()
    wanted = naive(labels, values, found.edges, 3)
    np.testing.assert_array_equal(found.counts, wanted[:, 1:-2])
    np.testing.assert_array_equal(np.stack([found.below, found.above, found.missing], 1), wanted[:, [0, -2, -1]])


@given(VALUES)
def test_all_together_are_the_sum_of_the_classes(values):
    values = np.array(values, float)
    one = ScoreHistogram(4)
    one.update(values)
    assert one.result().counts.shape == (4,)
    np.testing.assert_array_equal(
        np.r_[one.result().below, one.result().counts, one.result().above, one.result().missing],
        naive(np.zeros(len(values), int), values, one.edges, 1)[0],
    )
    np.testing.assert_array_equal(ScoreHistogram.from_state(one.state()).result().counts, one.result().counts)


def test_other_ranges_and_options():
    found = run(lambda: ScoreHistogram(2, low=-1, high=3), np.array([-2, -1, 0, 1, 3, 4.0]), workers=1).counts
    assert found.tolist() == [2, 2]
    assert isinstance(ScoreHistogram(), Statistic) and isinstance(ScoreHistogram(), Stateful)
    with pytest.raises(OptionError, match="swap them"):
        ScoreHistogram(low=1, high=0)
    with pytest.raises(OptionError, match="pass bins=1"):
        ScoreHistogram(0)
