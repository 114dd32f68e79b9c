from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.auditing.instructions.phrases import (
    class_phrases,
    name_phrases,
    phrase_table,
    phrase_vectors,
    readable,
    spelled,
)
from labelwright.errors import DataError, OptionError

WORDS = ["how", "many", "red", "car", "is", "why"]


def draw(seed: int, n: int = 60) -> tuple[list[str | None], np.ndarray]:
    rng = np.random.default_rng(seed)
    texts: list[str | None] = [" ".join(rng.choice(WORDS, rng.integers(0, 7))) for _ in range(n)]
    texts[0] = None
    return texts, rng.integers(-1, 3, n)


@pytest.mark.parametrize(
    ("name", "words"),
    [("card_arrival", "card arrival"), ("OfficeHolder", "office holder"), (3, ""), ("--", ""), ("Été", "été")],
)
def test_names_become_words(name: object, words: str) -> None:
    assert readable(name) == words
    assert name_phrases(name)[:1] == ([words] if words else [])


def test_short_words_of_a_name_are_no_phrases() -> None:
    assert name_phrases("top_up_by_card") == ["top up by card", "top", "card"]


@settings(max_examples=25)
@given(st.integers(0, 1000))
def test_table_same_as_looking_into_every_text(seed: int) -> None:
    texts, _ = draw(seed)
    table = phrase_table(texts, ["Red, car is!", "blue"], min_items=3)
    held = table.contains.toarray()
    for j, phrase in enumerate(table.phrases):
        wanted = [f" {phrase} " in f" {spelled(t or '')} " for t in texts]
        np.testing.assert_array_equal(held[:, j], wanted)
        assert (len(phrase.split()) <= 2 and sum(wanted) >= 3) or phrase in ("red car is", "blue")
    every = {
        " ".join(w[i : i + n])
        for t in texts
        for w in [(t or "").split()]
        for n in (1, 2)
        for i in range(len(w) + 1 - n)
    }
    common = {p for p in every if sum(f" {p} " in f" {t or ''} " for t in texts) >= 3}
    assert set(table.phrases) - {"red car is"} == common


def test_no_phrase_of_one_character_or_of_numbers_and_none_that_points_at_one_item() -> None:
    assert phrase_table(["a 12 secret word"] * 2 + ["a 12 word"] * 2, min_items=3).phrases == ["word"]


def test_texts_without_words() -> None:
    table = phrase_table([None, "", "?!"], ["red"])
    assert table.phrases == [] and table.contains.shape == (3, 0)
    assert class_phrases(table, np.zeros(3, np.int64), 1)[0].tolist() == []


@settings(max_examples=25)
@given(st.integers(0, 1000))
def test_class_phrases_same_as_the_loop(seed: int) -> None:
    texts, labels = draw(seed)
    table = phrase_table(texts, min_items=1)
    held = table.contains.toarray().astype(bool)
    known = labels >= 0
    marks = class_phrases(table, labels, 3, most=5)
    everything = sum(held[i, j] for i in np.flatnonzero(known) for j in range(held.shape[1]))
    for c in range(3):
        score = {}
        of_class = sum(held[labels == c].sum(axis=1))
        for j in range(held.shape[1]):
            inside, outside = held[labels == c, j], held[known & (labels != c), j]
            share_in, share_out = inside.sum() / max(1, len(inside)), outside.sum() / max(1, len(outside))
            if inside.any() and share_in >= 2 * share_out:
                total = inside.sum() + outside.sum()
                score[j] = inside.sum() / of_class * math.log1p(everything / 3 / total)
        best = sorted(score, key=lambda j: (-score[j], j))[:5]
        assert [score[j] for j in marks[c]] == pytest.approx([score[j] for j in best])


def test_a_phrase_that_all_classes_share_marks_none() -> None:
    texts = ["the red car", "the red bus", "the blue car", "the blue bus"] * 3
    table = phrase_table(texts)
    marks = [[table.phrases[i] for i in m] for m in class_phrases(table, np.tile([0, 0, 1, 1], 3), 2)]
    assert "red" in marks[0] and "blue" in marks[1] and not any("the" in m or "car" in m for m in marks)


def test_a_phrase_is_the_mean_of_its_items() -> None:
    x = np.array([[1, 0], [0, 1], [0, 1]], np.float32)
    table = phrase_table(["red car", "red", "blue"], ["red", "green thing here"], min_items=1)
    columns = np.array([table.phrases.index("red"), table.phrases.index("green thing here")])
    np.testing.assert_allclose(phrase_vectors(table, columns, x), [[0.5**0.5, 0.5**0.5], [0, 0]], atol=1e-6)


def test_errors_tell_the_fix() -> None:
    with pytest.raises(DataError, match="convert them with str"):
        phrase_table(["a", 3])  # type: ignore[list-item]
    with pytest.raises(OptionError, match="pass longest=1"):
        phrase_table(["a"], longest=0)
