from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.errors import OptionError
from labelwright.stream import Lowest, topk


@given(st.lists(st.sampled_from([0.0, 0.1, 0.5, np.nan, -1.0, 2.0]), max_size=40), st.integers(0, 12),
       st.lists(st.integers(0, 40), max_size=4), st.randoms())  # fmt: skip
def test_agrees_with_a_stable_sort_for_any_cut_and_order(values, size, cuts, random):
    values = np.array(values, float)
    edges = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    before, topk._SLACK = topk._SLACK, 2  # so that it sorts out often
    try:
        parts = []
        for a, b in zip(edges, edges[1:]):
            part = Lowest(size)
            part.update((slice(a, b) if random.random() < 0.5 else np.arange(a, b), values[a:b]))
            parts.append(Lowest.from_state(part.state()) if random.random() < 0.5 else part)
        random.shuffle(parts)
        total = Lowest(size)
        for part in parts:
            total.merge(part)
        rows = total.result()
    finally:
        topk._SLACK = before
    order = [int(i) for i in np.argsort(values, kind="stable") if not np.isnan(values[i])][:size]
    assert rows.tolist() == order
    assert total.values().tolist() == values[order].tolist()


def test_memory_is_bounded():
    lowest = Lowest(10)
    rng = np.random.default_rng(0)
    for start in range(0, 2_000_000, 100_000):
        lowest.update((slice(start, start + 100_000), rng.random(100_000)))
        assert len(lowest._rows) <= 20 + topk._SLACK + 100_000
    with pytest.raises(OptionError, match="pass size=0 or more"):
        Lowest(-1)
