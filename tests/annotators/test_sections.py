from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.annotators import apply_rules, keywords
from labelwright.annotators.sections import label_sections, split_heading
from labelwright.errors import DataError, LabelError, OptionError
from labelwright.labels import LabelSpace

HEADINGS = {"S": ["Chief complaint", "history"], "O": ["exam", "labs"], "A": "impression", "P": ["plan"]}
BOTH = {"assessment and plan": ["A", "P"]}
NOTE = """brought in by her son
CHIEF COMPLAINT: cough
- for three days
Exam
1. lungs clear
plan of the day was kept
FAMILY HISTORY: asthma
Old papers:
none
**Assessment and Plan**: viral
a) rest
"""


def test_every_line_inherits_the_class_of_its_section() -> None:
    found = label_sections([NOTE, "Plan: home"], HEADINGS, combined=BOTH, space=LabelSpace(["S", "O", "A", "P"]))
    assert found.text.tolist() == [
        "brought in by her son", "cough", "for three days", "lungs clear", "plan of the day was kept", "asthma", "none", "viral",
        "rest", "home",
    ]  # fmt: skip
    assert found.label.tolist() == [-1, 0, 0, 1, 1, -1, -1, -1, -1, 3]
    assert found.document.tolist() == [0] * 9 + [1] and found.line.tolist()[:4] == [0, 1, 2, 4]
    assert found.candidates[7].tolist() == [False, False, True, True] and found.candidates[0].all()
    assert found.unknown == {"family history": 1, "old papers": 1} and found.coverage == 0.5
    assert [len(part) for part in found.per_document(found.label)] == [9, 1]


def test_no_heading_or_list_number_is_left_in_the_text() -> None:
    found = label_sections([NOTE], HEADINGS, combined=BOTH)
    for word in ("complaint", "exam", "assessment", ":", "1.", "a)", "-"):
        assert not any(word in text.lower() for text in found.text)


def test_each_phrase_is_a_rule() -> None:
    notes = ["history: a\nb\nplan: c", "plan: d\ne\nhistory:\nf"]
    found = label_sections(notes, HEADINGS)
    gold = np.array(["S", "S", "P", "P", "S", "S"])
    report = {row["rule"]: row for row in found.rule_votes().coverage(gold).to_pylist()}
    assert report["heading: history"]["votes"] == 3 and report["heading: history"]["accuracy"] == 1
    assert report["heading: plan"]["accuracy"] == pytest.approx(2 / 3) and report["heading: plan"]["conflict"] == 0
    assert report["heading: labs"]["votes"] == 0
    table = found.table()
    assert table["heading"].to_pylist() == ["history", "history", "plan", "plan", "plan", "history"]
    words = apply_rules([keywords({"S": "e"}, column="text")], table, space=found.space)
    assert words.matrix[:, 0].tolist() == [-1, -1, -1, -1, list(found.space.classes).index("S"), -1]


def test_a_colon_inside_a_sentence_is_no_heading() -> None:
    assert split_heading("she said: no more", {"plan"}) == (None, "she said: no more")
    assert split_heading("Planned: nothing", {"plan"}) == (None, "Planned: nothing")
    assert split_heading("ONE TWO THREE FOUR FIVE SIX SEVEN: x", {"plan"})[0] is None
    assert split_heading("12:30", {"plan"}) == (None, "12:30")
    assert split_heading("  3) PLAN :rest ", {"plan"}) == ("plan", "rest")
    assert split_heading("", {"plan"}) == (None, "")


def test_one_class_is_unknown_outside_its_sections() -> None:
    assert label_sections(["a\nplan: b"], {"P": ["plan"]}).label.tolist() == [-1, 0]


@given(st.lists(st.sampled_from(["plan:", "exam:", "LABS", "WHO KNOWS:", "some words", "plan: more"]), min_size=1))
def test_labels_follow_the_last_heading(lines: list[str]) -> None:
    lines = [*lines, "the end"]
    found = label_sections([lines], HEADINGS)
    last, want = -1, []
    classes = {c: i for i, c in enumerate(found.space.classes)}
    for line in lines:
        last = {"plan": classes["P"], "exam": classes["O"], "labs": classes["O"], "who knows": -1}.get(
            line.split(":")[0].lower(), last
        )
        if line in ("some words", "plan: more", "the end"):
            want.append(last)
    assert found.label.tolist() == want


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(OptionError, match="combined="):
        label_sections(["a"], {"S": ["notes"], "P": ["Notes:"]})
    with pytest.raises(OptionError, match="remove it"):
        label_sections(["a"], {"S": [" "]})
    with pytest.raises(OptionError, match="plan', 'follow-up"):
        label_sections(["a"], {"S": []})
    with pytest.raises(LabelError, match="pass a space"):
        label_sections(["a"], {"S": ["x"]}, combined={"y": ["Q"]})
    with pytest.raises(DataError, match="zero lines beside their headings, in row 1, 2"):
        label_sections(["a", "", "Plan:\n"], HEADINGS)
    with pytest.raises(DataError, match="list of texts"):
        label_sections([], HEADINGS)
    with pytest.raises(DataError, match=r"pass \[text\]"):
        label_sections("plan: a", HEADINGS)
