"""Rules: functions, words, patterns, models, and expressions that are refused."""

from __future__ import annotations

import re
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.annotators import Rule, keywords, model, pattern, rule
from labelwright.annotators._regex import check_pattern
from labelwright.annotators.rules import LONGEST
from labelwright.errors import LabelError, OptionError


def votes(one: Rule, texts: list) -> list:
    columns = {"text": texts}
    return one.vote_all(columns, [{"text": t} for t in texts])


def test_a_function_becomes_a_rule():
    @rule
    def links(row):
        return "spam" if "http" in row["text"] else None

    @rule(name="short text", label="ham")
    def short(row):
        return len(row["text"]) < 5

    assert links.name == "links" and short.name == "short text" and short.classes == ("ham",)
    assert votes(links, ["http://x", "hello"]) == ["spam", None]
    assert votes(short, ["hi", "a long one"]) == ["ham", None] and short({"text": "hi"}) == "ham"


def test_an_exception_takes_the_place_of_the_vote():
    (said,) = votes(rule(lambda row: row["no such column"]), ["a"])
    assert isinstance(said, KeyError)
    (said,) = votes(rule(lambda row: "ham", label="spam"), ["a"])
    assert isinstance(said, LabelError) and "return a condition" in str(said)


def test_words_are_whole_words_of_one_class():
    one = keywords({"spam": ["sub", "check out"], "ham": ["love"]}, column="text")
    texts = ["SUB please", "subscribe", "check out this", "love it", "love this sub", "", None, float("nan")]
    assert votes(one, texts) == ["spam", None, "spam", "ham", None, None, None, None]
    part = keywords({"spam": ["sub"]}, column="text", whole_words=False, ignore_case=False)
    assert votes(part, ["subscribe", "SUB"]) == ["spam", None]
    assert votes(keywords({"x": ["c++", "c"]}, column="text"), ["I like c++", "abc"]) == ["x", None]
    (said,) = votes(one, [3])
    assert isinstance(said, LabelError) and "convert the column to str" in str(said)


@given(
    st.lists(st.text("abc .(+", min_size=1, max_size=4).filter(str.strip), min_size=1, max_size=4),
    st.text("abc .(+", max_size=12),
)
def test_words_are_found_as_in_a_loop(words, text):
    found = any(
        text[i : i + len(w)] == w
        and not re.match(r"\w", text[i - 1 : i] if i else "")
        and not re.match(r"\w", text[i + len(w) : i + len(w) + 1])
        for w in words
        for i in range(len(text))
    )
    assert votes(keywords({"x": words}, column="text"), [text]) == (["x"] if found else [None])


def test_patterns_vote_for_the_one_class_that_is_found():
    one = pattern({"spam": [r"https?://", r"\d{4,}"], "ham": "love"}, column="text")
    assert votes(one, ["HTTP://x", "call 12345", "love", "love http://x", "x"]) == ["spam", "spam", "ham", None, None]
    assert votes(pattern({"x": "end$"}, column="text"), ["a" * LONGEST + " end"]) == [None]


EXPONENTIAL = [
    r"(a+)+$", r"(a*)*b", r"([a-z]+)*!", r"(\w+\s?)*$", r"(a|a?)+$", r"(\w+\d)*$", r"(a+a+ )*$", r"(a{1,2})*$", r"(.*a){20,}",
    r"((a|b)+c?)*$", r"(\w|[^x])*$", r"(foo|foo)*$", r"(a?a? )*$", r"(?:(?:x+y*)+)+z", r"(a*?)*?b", r"([^,]*,?)*$",
]  # fmt: skip
FINE = [
    r"( [^\s]+ )*", r"( |^)(what|what)[^\w]* ([^\s]+ )*(hypertension|x)[^\w]*( |$)", r"(\w+ )*", r"(a|b)*", r"(ab?)*", r"a+b+",
    r"(foo|ab+c)*", r"(\d+,)*\d+", r"(.*\n)*", r"(?:\w+ing )*", r"[a-z]+@[a-z]+\.com", r"(ha)+", r"((a+) )+",
    r"x{2,5}y*", r"(a+){1,3}",
]  # fmt: skip


@pytest.mark.parametrize("text", EXPONENTIAL)
def test_exponential_patterns_are_refused(text):
    with pytest.raises(OptionError, match="drop one quantifier"):
        pattern({"spam": text}, column="text")


@pytest.mark.parametrize("text", FINE)
def test_harmless_patterns_pass_and_are_fast(text):
    check_pattern(text, "spam", re.IGNORECASE)
    finder, start = re.compile(text, re.IGNORECASE), time.perf_counter()
    for bait in ("a" * 300 + "!", "a " * 150 + "!", "1," * 150 + "!", "ha" * 150 + "!"):
        finder.search(bait)
    assert time.perf_counter() - start < 1


def test_models_vote_where_they_are_sure():
    class Sure:
        classes_ = np.array(["ham", "spam"])

        def predict_proba(self, x):
            return np.array([[1 - len(t) / 10, len(t) / 10] for t in x])

        def predict(self, x):
            return self.classes_[self.predict_proba(x).argmax(1)]

    texts = ["a", "aaaaaa", "aaaaaaaaa"]
    assert votes(model(Sure(), column="text", threshold=0.85), texts) == ["ham", None, "spam"]
    assert votes(model(Sure(), column="text"), texts) == ["ham", "spam", "spam"]
    named = model(Sure(), column="text", threshold=0.5, classes=["x", "y"], name="m")
    assert named.name == "m" and votes(named, texts) == ["x", "y", "y"]
    numbers = model(SimpleNamespace(predict=lambda x: x.sum(1)), columns=["a", "b"])
    assert numbers.vote_all({"a": [1, 2], "b": [3, 4]}, [{}, {}]) == [4, 6]
    broken = votes(model(SimpleNamespace(predict=lambda x: 1 / 0), column="text"), texts)
    assert [type(b) for b in broken] == [ZeroDivisionError] * 3


def test_errors_tell_the_way_out():
    fits = SimpleNamespace(predict=len, predict_proba=len)
    cases = [
        (lambda: rule("spam"), r"rule\(label="),
        (lambda: keywords({}, column="t"), "pass {'spam': "),
        (lambda: keywords({"spam": []}, column="t"), "leave the class out"),
        (lambda: keywords({"spam": [" "]}, column="t"), "remove it from the list"),
        (lambda: keywords({"spam": ["Sub"], "ham": ["sub"]}, column="t"), "keep it for one of them"),
        (lambda: pattern({"spam": "("}, column="t"), "escape special characters"),
        (lambda: pattern({"spam": "(a+)+"}, column="t"), r"\(a\+\)\+ -> a\+"),
        (lambda: model(fits), "column='text' for a model of texts"),
        (lambda: model(fits, column="t", columns=["t"]), "one of the two"),
        (lambda: model(fits, column="t", threshold=2), "pass threshold=0.8"),
        (lambda: model(SimpleNamespace(), column="t"), "wrap a function with @rule"),
        (lambda: model(fits, column="t", threshold=0.5), r"pass classes=\[...\]"),
    ]
    for call, way_out in cases:
        with pytest.raises(OptionError, match=way_out):
            call()
    with pytest.raises(TypeError, match="whole columns"):
        Rule("bare").vote({})
