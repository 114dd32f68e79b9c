"""Votes as the models read them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from labelwright.crowds.prepared import prepare
from labelwright.labels import LabelSpace, Votes

votes = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(-1, 2), st.sampled_from([0.0, 0.5, 1.0])), max_size=25
)


def prepared(rows, weighted):
    table = np.array(rows, float).reshape(-1, 4)
    item, annotator, label = table[:, :3].astype(np.int64).T
    weight = table[:, 3] if weighted else None
    return prepare(Votes(item, annotator, label, np.arange(6), np.arange(4), LabelSpace(range(3)), weight=weight))


@given(votes, st.booleans())
def test_votes_are_sorted_and_repeats_count_once(rows, weighted):
    best, said = {}, 0
    for item, annotator, label, weight in rows:
        weight = weight if weighted else 1.0
        if label >= 0 and weight > 0:
            said += 1
            key = item, annotator, label
            best[key] = max(weight, best.get(key, 0.0))
    found = prepared(rows, weighted)
    assert list(zip(found.item.tolist(), found.annotator.tolist(), found.label.tolist())) == sorted(best)
    assert found.weight.tolist() == [best[key] for key in sorted(best)]
    assert (found.repeats, found.abstentions) == (said - len(best), len(rows) - said)
    for i in range(6):
        assert (found.item[found.start[i] : found.start[i + 1]] == i).all()


@given(votes)
def test_votes_already_in_order_are_taken_as_they_are(rows):
    once = sorted({row[:2]: row for row in rows}.values())
    for left, right in zip(prepared(once, True).__dict__.values(), prepared(once[::-1], True).__dict__.values()):
        if isinstance(left, np.ndarray):
            np.testing.assert_array_equal(left, right)
