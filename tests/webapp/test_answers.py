"""Whatever passes `Answer.check` has a value that the repository's events can keep, and everything else is refused in words."""

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from labelwright.errors import LabelError, LabelwrightError, OptionError
from labelwright.labels import LabelSpace
from labelwright.store.events import CANT_TELL, NONE_FITS
from labelwright.webapp.answers import KINDS, MOST_COMMENT, SEVERITIES, WHYS, Answer

SPACE = LabelSpace(["ant", "bee", "cat", "dog"])
names = st.sampled_from([*SPACE.classes, "eel", "", "Ant"])
anything = st.builds(
    Answer,
    kind=st.sampled_from([*KINDS, "delete"]),
    classes=st.lists(names, max_size=5).map(tuple),
    shares=st.lists(st.floats() | st.sampled_from([0.0, 0.25, 0.5, 1.0]), max_size=5).map(tuple),
    comment=st.text(max_size=20),
    severity=st.sampled_from([*SEVERITIES, "terrible"]),
    why=st.sampled_from([*WHYS, "bored"]),
)


@given(anything, st.booleans())
@example(Answer("distribution", ("ant", "bee"), (math.nan, 1.0)), False)
@example(Answer("distribution", ("ant", "bee"), (-1.0, 2.0)), False)
def test_an_answer_is_refused_in_words_or_has_a_value_that_json_keeps(answer, multi):
    try:
        assert answer.check(SPACE, multi=multi) is answer
    except LabelwrightError as error:
        assert error.found and error.expected and error.fix
        return
    value = answer.value("ant")
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    if answer.kind == "keep":
        assert value == "ant"
    elif answer.kind == "class":
        assert value in SPACE.classes
    elif answer.kind == "classes":
        assert multi and set(value) <= set(SPACE.classes)
    elif answer.kind == "distribution":
        assert set(value) <= set(SPACE.classes) and math.isclose(sum(value.values()), 1, abs_tol=1e-6)
    else:
        assert value == {"unsure": CANT_TELL, "none": NONE_FITS}[answer.kind]


@given(st.lists(st.sampled_from(SPACE.classes), min_size=1, unique=True), st.data())
def test_shares_that_sum_to_one_pass_in_any_order(classes, data):
    parts = data.draw(st.lists(st.integers(1, 100), min_size=len(classes), max_size=len(classes)))
    answer = Answer("distribution", tuple(classes), tuple(part / sum(parts) for part in parts))
    assert set(answer.check(SPACE).value(None)) == set(classes)


@given(st.sampled_from(["keep", "unsure", "none"]), st.lists(st.sampled_from(SPACE.classes), min_size=1))
def test_what_speaks_of_no_class_names_none(kind, classes):
    with pytest.raises(LabelError, match="choose among the classes"):
        Answer(kind, tuple(classes)).check(SPACE, multi=True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer("maybe"), "kind 'maybe'"),
        (Answer("keep", severity="huge"), "severity 'huge'"),
        (Answer("keep", why="bored"), "why 'bored'"),
        (Answer("keep", comment="x" * (MOST_COMMENT + 1)), "shorten it"),
    ],
)
def test_unknown_options_name_the_known_ones(answer, words):
    with pytest.raises(OptionError, match=words):
        answer.check(SPACE)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer("class", ("eel",)), "classes that the item shows"),
        (Answer("class", ("ant", "bee")), "1 of the classes"),
        (Answer("classes", ("ant", "ant")), "each once"),
        (Answer("classes", ("ant", "bee")), "one class, or a distribution"),
        (Answer("distribution", ("ant", "bee"), (0.6, 0.3)), "sum to 100 %"),
        (Answer("distribution", ("ant", "bee"), (1.0,)), "one share"),
    ],
)
def test_classes_and_shares_that_cannot_be(answer, words):
    with pytest.raises(LabelError, match=words):
        answer.check(SPACE)


def test_a_comment_as_long_as_allowed_passes():
    assert Answer("keep", comment="x" * MOST_COMMENT).check(SPACE)
