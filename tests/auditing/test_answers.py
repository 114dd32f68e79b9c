"""Reviewers' answers become evidence: accepted sets, doubt, several reviewers."""

import numpy as np
import pytest

from labelwright.auditing._answers import read_answers
from labelwright.errors import ColumnError, DataError, LabelError
from labelwright.labels import HardLabels, LabelSpace, MultiLabels

ITEMS = np.array(["i0", "i1", "i2", "i3", "i4"])
LABELS = HardLabels.from_values(["a", "b", "c", None, "a"], LabelSpace(["a", "b", "c"]))


def read(labels=LABELS, **columns):
    return read_answers(columns, ITEMS, labels)


def test_an_error_is_a_given_label_outside_the_accepted_set():
    answers = read(
        item=["i0", "i1", "i2", "i4"], label=["b", "a|b", "none of these", "a"], probability=[0.1, 1, 0.5, None]
    )
    assert answers.index.tolist() == [0, 1, 2, 4]
    assert answers.wrong_low.tolist() == answers.wrong_high.tolist() == [1, 0, 1, 0]
    assert answers.accepted.astype(int).tolist() == [[0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0]]
    assert answers.probability[:3].tolist() == [0.1, 1, 0.5] and np.isnan(answers.probability[3])


def test_cannot_tell_gives_bounds_and_blank_is_no_answer():
    answers = read(item=["i0", "i1", "i2"], label=["can't tell", "", "?"])
    assert answers.index.tolist() == [0, 2]
    assert answers.wrong_low.tolist() == [0, 0] and answers.wrong_high.tolist() == [1, 1]


def test_items_without_a_label_cannot_be_wrong():
    assert read(item=["i3", "i0"], label=["a", "a"]).index.tolist() == [0]


def test_several_reviewers_are_weighed_not_trusted_one_by_one():
    item = ["i0"] * 3 + ["i1"] * 3 + ["i2"] * 3
    label = ["b", "b", "a"] + ["b", "b", "b"] + ["a", "a", "a"]
    answers = read(item=item, label=label, reviewer=["p", "q", "r"] * 3)
    assert len(answers) == 3
    assert 0.5 < answers.wrong_low[0] < answers.wrong_low[2]  # two of three say wrong, against all three
    assert answers.wrong_low[1] < 0.5
    assert answers.accepted[0].tolist() == [False, True, False]


def test_integer_items_and_classes_survive_tables_with_gaps():
    labels = HardLabels.from_ids([0, 1, 1], LabelSpace([0, 1]))
    answers = read_answers({"item": [2, 0], "label": [0.0, "1"]}, np.arange(3), labels)
    assert answers.index.tolist() == [0, 2] and answers.wrong_low.tolist() == [1, 1]


def test_multi_labels_are_wrong_when_the_set_is():
    y = MultiLabels.from_sets([["a"], ["a", "b"], None], LabelSpace(["a", "b"], structure="multi"))
    answers = read_answers({"item": [0, 1], "label": ["a", ["a"]]}, np.arange(3), y)
    assert answers.wrong_low.tolist() == [0, 1]


def test_one_bad_reviewer_does_not_decide():
    """Two good reviewers and one who calls every label wrong: the count stays near the truth."""
    rng = np.random.default_rng(0)
    truth = rng.random(300) < 0.1
    labels = HardLabels.from_ids(np.zeros(300, dtype=int), LabelSpace(["a", "b"]))
    votes = {"item": [], "label": [], "reviewer": []}
    for who, accuracy in (("ann", 0.95), ("bob", 0.9), ("eve", None)):
        wrong = np.ones(300, bool) if accuracy is None else truth ^ (rng.random(300) > accuracy)
        votes["item"] += range(300)
        votes["label"] += ["b" if w else "a" for w in wrong]
        votes["reviewer"] += [who] * 300
    answers = read_answers(votes, np.arange(300), labels)
    assert abs(answers.wrong_low.mean() - truth.mean()) < 0.03
    assert ((answers.wrong_low > 0.5) == truth).mean() > 0.95


@pytest.mark.parametrize(
    ("columns", "error", "hint"),
    [
        ({"item": ["i9"], "label": ["a"]}, DataError, "same --id column"),
        ({"item": ["i0"], "label": ["z"]}, LabelError, "the classes are a, b, c"),
        ({"item": ["i0"], "label": ["a|z"]}, LabelError, "the classes are a, b, c"),
        ({"item": ["i0"]}, ColumnError, "label"),
        ({"item": ["i0"], "label": ["A"]}, LabelError, "nearest is 'a'"),
        ({"item": ["i0"], "label": [""]}, DataError, "fill in the column"),
        ({"item": ["i0", "i1"], "label": ["a"]}, DataError, "one answer each"),
        ({"item": ["i0"], "label": ["a"], "probability": ["x"]}, DataError, "review_sample wrote"),
        ({"item": ["i0"], "label": ["a"], "probability": [1.5]}, DataError, "review_sample wrote"),
        ({"item": ["i0", "i0"], "label": ["a", "b"], "probability": [0.5, 0.1]}, DataError, "review_sample wrote"),
    ],
)
def test_errors(columns, error, hint):
    with pytest.raises(error, match=hint):
        read(**columns)
