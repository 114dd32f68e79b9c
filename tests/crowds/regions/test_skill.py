from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labelwright.crowds.regions import labeller_skills, task_score
from labelwright.crowds.regions.drawn import UNSURE, answers
from labelwright.crowds.regions.skill import WEIGHTS, confusion_counts, edge_score, matched, ring
from labelwright.errors import DataError, LabelError, OptionError

MASKS = arrays(np.int8, (7, 8), elements=st.integers(0, 2))


def square(y: int, x: int, size: int, shape: tuple[int, int] = (20, 20)) -> np.ndarray:
    out = np.zeros(shape, int)
    out[y : y + size, x : x + size] = 1
    return out


def test_a_worked_case() -> None:
    """Two squares of the expert, one found exactly and one not at all: area 400 - 16 of 400, one of two objects matched."""
    expert, drawn = square(2, 2, 5) + square(12, 12, 4), square(2, 2, 5)
    got = task_score(expert, drawn)
    assert got.area == pytest.approx(384 / 400)
    assert got.fragmentation == 0.5 and got.edge == 1.0 and got.categorical == 1.0
    assert got.score == pytest.approx(0.55 * 0.96 + 0.225 * 0.5 + 0.1 + 0.125)


def test_empty_masks() -> None:
    empty = np.zeros((20, 20), int)
    assert task_score(empty, empty) == (1, 1, 1, 1, 1)
    for a, b in ((empty, square(1, 1, 4)), (square(1, 1, 4), empty)):
        got = task_score(a, b)
        assert (got.area, got.fragmentation, got.edge, got.categorical) == (1 - 16 / 400, 0, 0, 0)
        assert got.score == pytest.approx(0.55 * got.area)


@given(MASKS, MASKS)
def test_scores_are_fractions_and_a_perfect_mask_has_one(expert: np.ndarray, drawn: np.ndarray) -> None:
    got = task_score(expert, drawn, n_classes=3)
    assert all(0 <= value <= 1 for value in got)
    assert got.score == pytest.approx(sum(w * getattr(got, name) for name, w in WEIGHTS.items()))
    assert task_score(expert, expert, n_classes=3).score == pytest.approx(1)


@given(MASKS, MASKS)
def test_matching_against_a_double_loop(expert: np.ndarray, drawn: np.ndarray) -> None:
    naive = [
        (e, d)
        for e in range(1, 3)
        for d in range(1, 3)
        if 2 * ((expert == e) & (drawn == d)).sum() > (expert == e).sum() > 0
        and 2 * ((expert == e) & (drawn == d)).sum() > (drawn == d).sum() > 0
    ]
    padded = (np.r_[expert.ravel(), 0, 1, 2][:-3], np.r_[drawn.ravel(), 0, 1, 2][:-3])
    assert matched(*padded) == naive


@given(MASKS, arrays(np.int16, (7, 8), elements=st.integers(-2, 2)))
def test_confusion_counts_against_a_double_loop(expert: np.ndarray, drawn: np.ndarray) -> None:
    naive = np.zeros((3, 4), int)
    for y in range(7):
        for x in range(8):
            if drawn[y, x] != -1:
                naive[expert[y, x], 3 if drawn[y, x] == UNSURE else drawn[y, x]] += 1
    np.testing.assert_array_equal(confusion_counts(expert, drawn, 3), naive)


def test_a_ring_holds_the_pixels_near_the_outline() -> None:
    """A square of 6 grown by 2 steps in four directions, less its middle of 2 x 2."""
    mask = square(7, 7, 6).astype(bool)
    near = ring(mask, 2)
    assert not near[9:11, 9:11].any() and near[5, 9] and not near[4, 9] and near.sum() == 6 * 6 - 4 + 4 * (6 + 6) + 4


def test_the_edge_score_falls_with_the_shift() -> None:
    expert = square(7, 5, 9, (30, 30)).astype(bool)
    shifted = [edge_score(expert, np.roll(expert, by, 1)) for by in (0, 2, 4, 7)]
    assert shifted[:2] == [1, 1] and 1 > shifted[2] > shifted[3] > 0  # within the ring of 3 pixels nothing is lost
    assert 0.2 < edge_score(expert, expert, relative=False) < 0.5  # the paper's: about 1 / width at best


def test_unchecked_and_unsure_pixels() -> None:
    expert = square(2, 2, 5)
    partly = np.where(np.arange(20) < 10, expert, -1)
    wild = np.where(np.arange(20) < 10, expert, 1 - expert)
    assert task_score(partly, wild).score == pytest.approx(1)
    unsure = np.where(expert == 1, 0.5, 0.0)
    assert task_score(expert, unsure).area == pytest.approx(1 - 25 / 400 / 2)
    assert answers([[np.nan, 0.5, True]]).tolist() == [[-1, UNSURE, 1]]


def test_classes_beside_objects() -> None:
    expert, drawn = square(2, 2, 6), 2 * square(2, 2, 6)
    got = task_score(expert, drawn, n_classes=3)
    assert got.fragmentation == 1 and got.categorical == 0 and got.area == pytest.approx(1 - 36 / 400)


def test_errors_of_one_task() -> None:
    with pytest.raises(LabelError, match="resize one to the other"):
        task_score(np.zeros((3, 3), int), np.zeros((3, 4), int))
    with pytest.raises(LabelError, match="map colours or 255"):
        task_score(np.zeros((3, 3), int), np.full((3, 3), 0.7))
    with pytest.raises(LabelError, match="map colours or 255"):
        answers(np.array([["a"]]))
    with pytest.raises(OptionError, match="width"):
        task_score(np.zeros((3, 3), int), np.zeros((3, 3), int), width=0)


def history() -> tuple[list[dict[str, object]], dict[int, np.ndarray]]:
    """Ann draws well seven times; Bob well twice and then nothing; Eve was never checked."""
    truth = {i: square(2 + i, 3, 6) for i in range(7)}
    records: list[dict[str, object]] = []
    for i, mask in truth.items():
        records.append({"item": i, "labeller": "ann", "mask": mask})
        records.append({"item": i, "labeller": "bob", "mask": mask if i < 2 else 0 * mask})
    records.append({"item": "open", "labeller": "eve", "mask": truth[0]})
    return records, truth


def test_the_history_of_labellers() -> None:
    records, truth = history()
    skills = labeller_skills(records, truth, threshold=0.6)
    rows = {row["labeller"]: row for row in skills.table.to_pylist()}
    assert rows["ann"]["score"] == 1 and rows["ann"]["trusted"] is True and rows["ann"]["tasks"] == 7
    lost = task_score(truth[3], 0 * truth[3]).score
    assert rows["bob"]["score"] == pytest.approx((2 + 5 * lost) / 7) and rows["bob"]["rolling"] == pytest.approx(lost)
    assert rows["bob"]["trusted"] is False and rows["bob"]["recall_1"] == pytest.approx(2 / 7)
    assert rows["bob"]["low"] < rows["bob"]["score"] < rows["bob"]["high"]
    assert rows["eve"]["score"] is None and rows["eve"]["trusted"] is None and "eve" in skills.notes[0]
    score, recall = skills.filled()
    assert score[2] == pytest.approx(score[:2].mean()) and recall[2, 1] == pytest.approx((1 + 2 / 7) / 2)
    assert skills.trusted.tolist() == [True, False, False] and len(skills.tasks) == 14


def test_confusion_rows() -> None:
    skills = labeller_skills(*history())
    confusion = skills.confusion()
    np.testing.assert_allclose(confusion.sum(2), 1)
    assert confusion[0, 1, 1] > confusion[2, 1, 1] > confusion[1, 1, 1] > 0.2  # eve is like the crowd
    np.testing.assert_allclose(confusion[2], skills.confusion()[2])
    without = skills.confusion(leave_out=0)
    assert without[1, 1, 1] < confusion[1, 1, 1]  # one of bob's two good tasks is gone
    assert skills.prior()[1] == pytest.approx(36 / 400, abs=0.01)


def test_errors_of_histories() -> None:
    records, truth = history()
    with pytest.raises(OptionError, match="threshold"):
        labeller_skills(records, truth, threshold=2)
    with pytest.raises(DataError, match="use the same keys"):
        labeller_skills(records, {"elsewhere": truth[0]})
    with pytest.raises(LabelError, match="resize the expert mask"):
        labeller_skills(records, {0: truth[0][:5]})
    with pytest.raises(LabelError, match="pass space with all classes"):
        labeller_skills(records, {0: truth[0] + 4})
