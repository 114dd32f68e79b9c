from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.crowds import fit_bradley_terry
from labelwright.crowds.judging import (
    FEWEST,
    confirmed,
    dice,
    expected_confirmation,
    judge_candidates,
    read_answer,
)
from labelwright.errors import DataError, LabelError, OptionError


def pairs(n: int) -> dict[int, dict[str, float]]:
    """Candidates worth what they are; b is better on odd items."""
    return {i: {"a": 0.0, "b": 1.0 if i % 2 else -1.0} for i in range(n)}


def by_worth(item: Any, first: float, second: float) -> int:
    return 1 if first > second else 2


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("ANSWER: 1", 1), ("It leaks.\n**Answer: 2**", 2), ("answer = overlay 2", 2), (" 1. ", 1), ("2", 2),
        ("Overlay 1 shows a full liver.", 1), ("I compared Overlay 1 and overlay 2.\nANSWER: 2", 2),
        ("mask 1 or mask 2, both fit", None), ("neither", None), ("ANSWER: 1\nANSWER: 2", None), ("ANSWER: 3", None), ("", None),
        ("12", None),
    ],
)  # fmt: skip
def test_texts_are_read(text: str, answer: int | None) -> None:
    assert read_answer(text) == (answer, answer is not None)


def test_other_answers() -> None:
    assert read_answer(None) == (None, True) and read_answer(np.int64(2)) == (2, True)
    for wrong in (3, 0, True, 1.0, ["1"]):
        with pytest.raises(DataError, match="let the judge return"):
            read_answer(wrong)


ANSWER = st.sampled_from([None, 1, 2])


@given(st.lists(st.tuples(ANSWER, ANSWER), min_size=1, max_size=8), st.booleans())
def test_verdicts_are_those_of_better_annotation(
    answers: list[tuple[int | None, int | None]], conservative: bool
) -> None:
    """The protocol, and the reader of comparisons, decide alike."""
    said = {}
    for i, (one, two) in enumerate(answers):
        said[i, "x", "y"], said[i, "y", "x"] = one, two
    found = judge_candidates(
        {i: {"p": "x", "q": "y"} for i in range(len(answers))}, lambda i, a, b: said[i, a, b], conservative=conservative
    )
    rows = found.pairs.to_pylist()
    for row, (one, two) in zip(rows, answers):
        winner = confirmed(one, two, conservative=conservative)
        assert row["better"] == (None if winner is None else "pq"[winner - 1])
        assert (row["answer_1"], row["answer_2"]) == (one, two)
    told = {row["item"]: row["better"] for row in found.verdicts().pairs.to_pylist()}
    assert told == {str(i): row["better"] for i, row in enumerate(rows)}
    assert found.coverage == pytest.approx(np.mean([row["better"] is not None for row in rows]))
    assert len(found.queue) == sum(row["better"] is None for row in rows)


def test_the_table_of_dual_confirmation() -> None:
    """Card 105: both .5 -> .5; the same place twice -> .5; different -> a1; one .5 -> the other."""
    assert [confirmed(*a) for a in ((None, None), (1, 1), (2, 2), (1, 2), (2, 1))] == [None, None, None, 1, 2]
    assert [confirmed(*a) for a in ((1, None), (None, 1), (None, 2))] == [1, 2, 1]
    assert confirmed(1, None, conservative=True) is None


@pytest.mark.parametrize("p", [(0.8, 0.8), (0.95, 0.6)])
def test_a_simulated_judge_follows_the_closed_form(p: tuple[float, float]) -> None:
    rng, items = np.random.default_rng(0), pairs(3000)

    def judge(item: int, first: float, second: float) -> int:
        better = 1 if first > second else 2
        return better if rng.random() < p[better - 1] else 3 - better

    found = judge_candidates(items, judge)
    coverage, accuracy = expected_confirmation(*p)
    assert found.coverage == pytest.approx(coverage, abs=0.03)
    assert found.accuracy(lambda i, a, b: "b" if i % 2 else "a") == pytest.approx(accuracy, abs=0.03)
    told = found.verdicts().judges.to_pylist()[0]
    assert told["accuracy_first"] == pytest.approx(p[0], abs=0.05)
    assert told["accuracy_second"] == pytest.approx(p[1], abs=0.05)
    assert expected_confirmation(0.8, 0.8) == (pytest.approx(0.68), pytest.approx(0.64 / 0.68))
    assert np.isnan(expected_confirmation(1.0, 0.0)[1])


def test_a_judge_who_always_says_first_decides_nothing() -> None:
    found = judge_candidates(pairs(20), lambda i, a, b: "ANSWER: 1")
    assert found.coverage == 0 and set(found.queue["reason"].to_pylist()) == {"same place twice"}
    assert not any(found.best["settled"].to_pylist()) and np.isnan(found.accuracy(lambda *_: "a"))
    assert found.verdicts().judges["first"].to_pylist() == [1.0]


def test_the_tournament_and_the_ranking() -> None:
    rng = np.random.default_rng(1)
    items = {i: dict(zip("wxyz", (rng.random(4) + [0, 1, 0.5, 3]).tolist())) for i in range(40)}
    found = judge_candidates(items, by_worth)
    assert [r["best"] for r in found.best.to_pylist()] == [max(c, key=c.__getitem__) for c in items.values()]
    assert found.asked == 40 * 3 * 2 == len(found.log) and found.coverage == 1 and len(found.queue) == 0
    fit = fit_bradley_terry(found.comparisons(), judges=False)
    assert fit.space.classes[fit.ranking()[0]] == "z"


def test_an_open_comparison_leaves_the_item_open() -> None:
    items = {"i": {"a": 1, "b": 2, "c": 3}}
    found = judge_candidates(items, lambda i, x, y: None if 3 not in (x, y) else by_worth(i, x, y))
    assert found.best.to_pylist() == [{"item": "i", "best": "c", "settled": False}]
    assert [r["reason"] for r in found.pairs.to_pylist()] == ["undecided", "decided"]


def masks(n: int = 150, seed: int = 0) -> dict[int, dict[str, np.ndarray]]:
    """Two masks each, with less in common the higher the number."""
    rng, out = np.random.default_rng(seed), {}
    for i in range(n):
        one = rng.integers(0, 2, (8, 8))
        out[i] = {"a": one, "b": np.where(rng.random((8, 8)) < i / n, 1 - one, one)}
    return out


def test_the_gate_of_masks() -> None:
    items = masks()
    values = np.array([dice(c["a"], c["b"]) for c in items.values()])
    found = judge_candidates(items, lambda *_: None, audit=0.1)
    limit = min(values.mean() - values.std(), 0.8)
    judged = np.array([r["reason"] != "alike" for r in found.pairs.to_pylist()])
    assert (values < limit).sum() < FEWEST <= judged.sum() <= FEWEST + 3  # the floor of a hundred
    assert values[judged].max() <= values[~judged].min()
    reasons = found.queue["reason"].to_pylist()
    assert reasons.count("audit") == np.ceil(0.1 * (~judged).sum())
    few = judge_candidates(items, lambda *_: None, threshold=0.3, audit=0)
    assert [r["reason"] != "alike" for r in few.pairs.to_pylist()] == (values < 0.3).tolist()
    same = judge_candidates({1: {"a": items[3]["a"], "b": items[3]["a"]}}, lambda *_: 1 / 0)
    assert same.best.to_pylist() == [{"item": 1, "best": "a", "settled": True}] and np.isnan(same.coverage)


@given(st.lists(st.integers(0, 2), min_size=6, max_size=6), st.lists(st.integers(0, 2), min_size=6, max_size=6))
def test_dice_against_a_loop(a: list[int], b: list[int]) -> None:
    shared = sum(2 for x, y in zip(a, b) if x == y > 0)
    size = sum(x > 0 for x in a) + sum(y > 0 for y in b)
    assert dice(a, b) == pytest.approx(shared / size if size else 1.0)


def test_retries_and_raw_answers() -> None:
    texts = iter(["hm", "ANSWER: 1", "hm", "both"])
    found = judge_candidates({1: {"a": "x", "b": "y"}}, lambda *_: next(texts))
    log = found.log.to_pylist()
    assert [r["raw"] for r in log] == ["hm", "ANSWER: 1", "hm", "both"] and [r["attempt"] for r in log] == [1, 2, 1, 2]
    assert found.coverage == 1 and found.asked == 4  # one answer beside none counts
    texts = iter(["hm", "ANSWER: 1"])
    assert (
        judge_candidates({1: {"a": "x", "b": "y"}}, lambda *_: next(texts), retries=0, conservative=True).coverage == 0
    )


def test_a_log_is_not_asked_again_and_a_budget_stops() -> None:
    items, kept = pairs(6), []
    first = judge_candidates(items, by_worth, budget=5, on_answer=kept.append)
    assert first.asked == 5 == len(kept) and "budget" in first.pairs["reason"].to_pylist()
    second = judge_candidates(items, by_worth, log=first.log)
    whole = judge_candidates(items, by_worth)
    assert second.asked == 7 and second.best.equals(whole.best) and second.pairs.equals(whole.pairs)
    assert second.log.equals(whole.log)
    assert judge_candidates(items, by_worth, log=kept).asked == 7
    items[0]["a"] = 5.0  # what is shown has changed: its answers are stale
    assert judge_candidates(items, by_worth, log=whole.log).asked == 2
    assert judge_candidates(items, by_worth, log=whole.log, name="other").asked == 12
    unread = judge_candidates({1: {"a": 1, "b": 2}}, lambda *_: "hm")
    assert judge_candidates({1: {"a": 1, "b": 2}}, lambda *_: 1 / 0, log=unread.log).asked == 0


def test_what_the_judge_sees() -> None:
    seen = []
    judge_candidates({"i": {"a": 1, "b": 2}}, lambda i, x, y: seen.append((i, x, y)), show=lambda i, c: f"{i}{c}")
    assert sorted(seen) == [("i", "i1", "i2"), ("i", "i2", "i1")]
    orders = [judge_candidates({i: {"a": 1, "b": 2}}, by_worth).log["first"][0].as_py() for i in range(60)]
    assert 10 < orders.count("a") < 50  # who is shown first is drawn


def test_errors() -> None:
    two = {1: {"a": 1, "b": 2}}
    with pytest.raises(LabelError, match="leave the item out"):
        judge_candidates({1: {"a": 1}}, by_worth)
    with pytest.raises(LabelError, match="resample them"):
        judge_candidates({1: {"a": np.zeros((2, 2)), "b": np.zeros((2, 3))}}, by_worth)
    with pytest.raises(OptionError, match="scale what"):
        judge_candidates(two, by_worth, similarity=lambda a, b: 2.0)
    for options in ({"audit": 2.0}, {"threshold": -1.0}, {"retries": -1}, {"budget": -1}):
        with pytest.raises(OptionError, match=next(iter(options))):
            judge_candidates(two, by_worth, **options)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="pass it as it was"):
        judge_candidates(two, by_worth, log=[{"item": 1}])
    with pytest.raises(LabelError, match="raise `threshold`"):
        judge_candidates({1: {"a": 1, "b": 1}}, by_worth).comparisons()
    with pytest.raises(ZeroDivisionError):
        judge_candidates(two, lambda *_: 1 / 0)
