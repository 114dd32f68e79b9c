"""Traits of tokens: a naive reference, independence of the other sentences, errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.errors import DataError
from labelwright.features.tokens import shape_of, tag_vectors

SENTENCES = st.lists(
    st.lists(st.sampled_from(["The", "cat", "sat", "@Bob", "2017", "Zoë", ""]), max_size=5), max_size=6
)


def traits(sentence: list[str], i: int) -> set[str]:
    """The traits of token i, spelled out."""

    def at(j: int) -> str:
        return sentence[j] if 0 <= j < len(sentence) else ""

    own, low = at(i), at(i).lower()
    out = {f"form={low}", f"shape={shape_of(own)}"}
    for n in range(1, min(4, len(low)) + 1):
        out |= {f"<{low[:n]}", f">{low[-n:]}"}
    for o in (-1, 1):
        near = at(i + o).lower()
        out |= {f"{o}form={near}", f"{o}shape={shape_of(at(i + o))}", f"{o}>{near[-3:]}", f"{o}&{low}&{near}"}
    return out | {f"{o}form={at(i + o).lower()}" for o in (-2, 2)}


@settings(max_examples=25)
@given(SENTENCES)
def test_two_tokens_share_as_many_columns_as_traits_that_both_have(sentences):
    x = tag_vectors(sentences)
    want = [traits(s, i) for s in sentences for i in range(len(s))]
    assert x.shape[0] == len(want)
    if len(want) > 1:
        shared = (x @ x.T).toarray()
        for i in range(len(want)):
            for j in range(len(want)):
                if i != j:  # columns that occur once are dropped, so the diagonal may be smaller
                    assert shared[i, j] == len(want[i] & want[j])


def test_the_other_sentences_change_nothing_but_the_dropped_columns():
    sentences = [["A", "big", "cat"], ["A", "big", "dog"], ["A", "red", "dog"]]
    alone, more = tag_vectors(sentences), tag_vectors([*sentences, [], ["A", "red", "hen"]])
    np.testing.assert_array_equal((alone @ alone.T).toarray()[:3, 3:6], (more @ more.T).toarray()[:3, 3:6])


def test_the_fullest_columns_are_kept_and_entries_are_ones():
    x = tag_vectors([["a", "b"], ["a", "c"], ["a", "b"]], max_features=3)
    assert x.shape == (6, 3) and x.dtype == np.float32 and set(x.data) == {1.0}
    assert (np.asarray(x.sum(0)) >= 4).all()
    assert tag_vectors([[], []]).shape == (0, 0)


def test_shapes():
    assert [shape_of(t) for t in ("iPhone7", "U.S.", "don't", "ÉCOLE", "")] == ["xXxxd", "X.X.", "xx'x", "XX", ""]


def test_what_is_no_list_of_strings_is_refused():
    with pytest.raises(DataError, match=r"pass \[text.split\(\)"):
        tag_vectors(["one sentence"])
    with pytest.raises(DataError, match=r"token 1 of sentence 1 is 7; .*str\(token\)"):
        tag_vectors([["a"], ["b", 7]])
