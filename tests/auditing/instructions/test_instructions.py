from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser
from importlib import resources
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from labelwright.auditing._report_items import Look
from labelwright.auditing._report_view import Budget, Page
from labelwright.auditing.instructions import Instructions, instructions_html, labelling_instructions
from labelwright.errors import DataError, LabelError, OptionError, ProbabilityError
from labelwright.features import nearest_neighbours
from labelwright.labels import LabelSpace

NAMES = ["red_cars", "Boats", "planes"]
OWN = [["red", "car"], ["boat", "sea"], ["plane", "sky"]]


def clouds(n: int = 150, noise: float = 0.0, spread: float = 0.6, seed: int = 0) -> tuple[Any, ...]:
    """Three clouds whose texts hold words of their class: (labels, vectors, texts, which labels are wrong)."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 3
    x = (3 * np.eye(8)[truth] + spread * rng.normal(size=(n, 8))).astype(np.float32)
    texts = [" ".join([*rng.choice(OWN[t], 2), *rng.choice(["the", "a", "of", "and"], 3)]) for t in truth]
    wrong = rng.random(n) < noise
    return np.where(wrong, (truth + 1) % 3, truth), x, texts, wrong


def rows_shown(found: Instructions) -> set[int]:
    return {
        row for c in found.classes for row in [*(r for r, _ in c.pairs), *c.borderline, *(r for r, _ in c.confusers)]
    }


def test_well_parted_classes_are_well_defined() -> None:
    labels, x, texts, _ = clouds()
    found = labelling_instructions(labels, x, texts=texts, space=LabelSpace(NAMES))
    assert [c.name for c in found.classes] == NAMES and found.not_well_defined == []
    for c, words in zip(found.classes, OWN):
        assert c.ap > 0.95 and c.n == 50 and c.chance == pytest.approx(1 / 3)
        assert c.phrases and set(" ".join(c.phrases).split()) & set(words)
        assert all(labels[row] == c.class_id for row, _ in c.pairs) and 1 <= len(c.pairs) <= 4
        assert all(labels[row] == c.class_id for row in c.borderline)
        assert all(NAMES[labels[row]] == name != c.name for row, name in c.confusers)
    assert found.mean_ap > 0.95


def test_labels_at_random_are_not_well_defined() -> None:
    _, x, texts, _ = clouds(300)
    found = labelling_instructions(
        np.random.default_rng(1).integers(0, 3, 300), x, texts=texts, space=LabelSpace(NAMES)
    )
    assert sorted(found.not_well_defined) == sorted(NAMES)
    assert all(abs(c.ap - c.chance) < 0.15 for c in found.classes)  # held out: choosing does not make it look better


def test_wrong_labels_are_suspects_of_low_quality_and_never_examples() -> None:
    labels, x, texts, wrong = clouds(300, noise=0.1)
    found = labelling_instructions(labels, x, texts=texts)
    assert not wrong[[row for c in found.classes for row, _ in c.pairs]].any()
    assert wrong[list(found.suspects)].mean() > 0.9 and wrong[list(found.suspects)].sum() > 0.6 * wrong.sum()
    assert found.quality[wrong].mean() < 0 < found.quality[~wrong].mean()
    assert (np.diff(found.quality[list(found.suspects)]) >= 0).all()


def test_quality_same_as_the_loop() -> None:
    """Examples only: z-scores of cosines, the largest over the pairs, less the boundary; examples do not see themselves."""
    labels, x, _, _ = clouds(60, noise=0.1, spread=1.5)
    found = labelling_instructions(labels, x)
    z = x.astype(np.float64) - x.astype(np.float64).mean(axis=0)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    fit = np.empty((60, 3))
    for c in found.classes:
        rows = [row for row, _ in c.pairs]
        scores = np.array([(z @ z[r] - (z @ z[r]).mean()) / (z @ z[r]).std() for r in rows])
        for i in range(60):
            seen = [s[i] for r, s in zip(rows, scores) if r != i]
            fit[i, c.class_id] = max(seen) if seen else np.nan
        others = np.setdiff1d(np.arange(60), rows)
        size = (labels[others] == c.class_id).sum()
        fit[:, c.class_id] -= np.sort(fit[others, c.class_id])[-size]
    fit = np.nan_to_num(fit)  # an example alone has no opinion of itself
    wanted = [fit[i, labels[i]] - max(fit[i, k] for k in range(3) if k != labels[i]) for i in range(60)]
    np.testing.assert_allclose(found.quality, wanted, atol=1e-3)


def test_nothing_excluded_is_shown_or_read() -> None:
    labels, x, texts, _ = clouds()
    hidden = np.arange(150) % 2 == 0
    texts = [f"{t} secret word" if h else t for t, h in zip(texts, hidden)]
    found = labelling_instructions(labels, x, texts=texts, exclude=hidden)
    assert not hidden[sorted(rows_shown(found))].any() and rows_shown(found)
    assert "secret" not in json.dumps(found.to_dict())


def test_missing_labels_single_items_and_hidden_classes() -> None:
    labels, x, _, _ = clouds(90)
    labels = labels.copy()
    labels[:9] = -1
    labels[9], labels[10:12] = 3, 4
    found = labelling_instructions(labels, x, exclude=np.isin(np.arange(90), [10, 11]))
    assert [c.class_id for c in found.classes] == [0, 1, 2]
    assert any("single item: 3" in note for note in found.notes) and any("may be shown: 4" in n for n in found.notes)
    assert np.isnan(found.quality[:12]).all() and not np.isnan(found.quality[12:]).any()


def test_a_sample_holds_the_few_items_that_may_be_shown() -> None:
    labels, x, _, _ = clouds(3000)
    hidden = np.ones(3000, bool)
    hidden[[5, 1203, 2804, 2806, 100]] = False  # of class 2, 0, 2, 1, 1
    found = labelling_instructions(labels, x, exclude=hidden, sample=100)
    assert len(found.classes) == 3 and rows_shown(found) <= {5, 1203, 2804, 2806, 100}


def test_two_items_are_enough_and_their_average_precision_is_not_known_or_in_range() -> None:
    x = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]])
    found = labelling_instructions(np.array([0, 0, 1, 1]), x)
    assert len(found.classes) == 2 and all(np.isnan(c.ap) or 0 <= c.ap <= 1 for c in found.classes)
    lone = labelling_instructions(np.zeros(4, np.int64), x)
    assert lone.classes[0].chance == 1 and lone.suspects == () and len(lone.quality) == 4


def test_renamed_classes_give_renamed_instructions_and_a_seed_repeats() -> None:
    labels, x, texts, _ = clouds(noise=0.1)
    new = np.array([2, 0, 1])
    first, again = (labelling_instructions(labels, x, texts=texts) for _ in range(2))
    assert json.dumps(first.to_dict()) == json.dumps(again.to_dict())
    renamed = labelling_instructions(new[labels], x, texts=texts)
    np.testing.assert_allclose(renamed.quality, first.quality, atol=1e-5)
    assert [renamed.classes[new[c]].pairs for c in range(3)] == [c.pairs for c in first.classes]


def test_encoder_and_given_phrases() -> None:
    labels, x, texts, _ = clouds()
    asked: list[str] = []
    table = {"a car": 0, "red cars": 0, "boats": 1, "a sail": 1, "planes": 2, "wings": 2}

    def encode(words: list[str]) -> np.ndarray:
        asked.extend(words)
        return 5 * np.eye(8)[[table.get(w, 7) for w in words]]

    given = {"red_cars": ["a car"], "Boats": ["a sail"], "planes": ["wings"]}
    found = labelling_instructions(labels, x, text_vectors=encode, phrases=given, space=LabelSpace(NAMES))
    assert all(table[p] == c.class_id for c in found.classes for p in c.phrases) and found.mean_ap > 0.95
    assert len(asked) == len(set(asked))  # every phrase is embedded once
    assert "embedded" in found.settings["phrases"]
    by_order = labelling_instructions(labels, x, texts=texts, phrases=[["car"], ["sea"], ["sky"]])
    assert [c.phrases for c in by_order.classes] == [["car"], ["sea"], ["sky"]]


def test_phrases_that_no_text_holds_leave_examples() -> None:
    labels, x, texts, _ = clouds()
    found = labelling_instructions(labels, x, texts=texts, phrases=[["zeppelin"], ["submarine"], ["tank"]])
    assert all(phrase is None for c in found.classes for _, phrase in c.pairs)


def test_a_model_that_objects_keeps_an_item_from_being_an_example() -> None:
    labels, x, _, _ = clouds()
    p = np.full((150, 3), 0.05)
    p[np.arange(150), labels] = 0.9
    odd = np.arange(150) % 5 > 0
    p[odd] = np.roll(p[odd], 1, axis=1)
    found = labelling_instructions(labels, x, pred_probs=p)
    assert not odd[[row for c in found.classes for row, _ in c.pairs]].any()


def test_given_neighbours_are_the_ones_it_would_make() -> None:
    labels, x, _, _ = clouds(noise=0.1)
    centred = x - x.mean(axis=0)
    found = labelling_instructions(labels, x, neighbours=nearest_neighbours(centred, 20))
    assert found.to_dict() == labelling_instructions(labels, x).to_dict()


def test_samples_and_classes_are_cut_and_it_is_said() -> None:
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.repeat(np.arange(30), 20), np.full(400, 30)])
    x = rng.normal(size=(31, 16))[labels] * 2 + rng.normal(size=(1000, 16))
    found = labelling_instructions(labels, x, sample=300, max_classes=6)
    assert len(found.classes) == 6 and 30 in [c.class_id for c in found.classes]
    assert found.settings["sample"] == 300 and any("300 of 1,000" in note for note in found.notes)
    assert any("6 of 31 classes, the largest" in note for note in found.notes)
    assert (~np.isnan(found.quality) == np.isin(labels, [c.class_id for c in found.classes])).all()
    p = np.full((1000, 31), 0.5 / 30)
    p[np.arange(1000), labels] = np.where(np.isin(labels, [3, 4]), 0.1, 0.5)
    p /= p.sum(axis=1, keepdims=True)
    doubtful = labelling_instructions(labels, x, pred_probs=p, max_classes=3)
    assert [c.class_id for c in doubtful.classes] == [3, 4, 30] and "doubtful" in doubtful.notes[0]
    foreign = labelling_instructions(labels, x, neighbours=nearest_neighbours(x, 10), max_classes=3)
    assert "foreign neighbours" in foreign.notes[0]


def test_fast_enough() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 50_000)
    x = (rng.normal(size=(10, 64))[labels] + rng.normal(size=(50_000, 64))).astype(np.float32)
    started = time.process_time()
    found = labelling_instructions(labels, x)
    assert time.process_time() - started < 5 and len(found.quality) == 50_000


def test_plain_values_hold_no_texts() -> None:
    labels, x, texts, _ = clouds(9)
    found = labelling_instructions(labels, x, texts=texts, space=LabelSpace(NAMES))
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert {c["class"] for c in told["classes"]} == set(NAMES)
    assert {"row", "phrase"} == set(told["classes"][0]["pairs"][0])


# ---------------------------------------------------------------------------------------------------------- the page
class Tags(HTMLParser):
    """Every tag is closed, and which classes of the style are used."""

    void = frozenset({"img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.used, self.tags = set[str](), set[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.used |= {c for k, v in attrs if k == "class" for c in (v or "").split()}
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    return tags


def test_page_of_texts_is_escaped_and_styled_by_the_report() -> None:
    labels, x, texts, _ = clouds(noise=0.05)
    names = ["<script>alert(1)</script>", "Boats & co", "planes"]
    found = labelling_instructions(labels, x, texts=texts, space=LabelSpace(names), phrases=[["car"], ["sea"], ["sky"]])
    html = instructions_html(found, Budget([f"<b>{t}</b>" for t in texts]).look, Page.name)
    tags = parsed(html)
    assert not tags.tags & {"script", "style", "b"} and "&lt;b&gt;" in html and "Boats &amp; co" in html
    style = resources.files("labelwright.auditing").joinpath("report.html.j2").read_text("utf-8")
    known = set(re.findall(r"\.([a-z]+)", re.search(r"<style>.*</style>", style, re.S)[0]))  # type: ignore[index]
    assert tags.used - {"why"} <= known
    assert html.count("<article") == 3 and "“<bdi>car</bdi>”" in html and "labelled items fit" in html


def test_page_of_images_and_page_without_content() -> None:
    labels, x, _, _ = clouds()
    found = labelling_instructions(labels, x)
    pixels = np.random.default_rng(0).integers(0, 255, (150, 8, 8), dtype=np.uint8)
    html = instructions_html(found, Budget(pixels).look, Page.name)
    parsed(html)
    assert html.count("<img") == sum(len(c.pairs) + len(c.borderline) + len(c.confusers) for c in found.classes)
    bare = instructions_html(found, lambda row: None, Page.name)
    parsed(bare)
    assert "<img" not in bare and f"Row {found.classes[0].pairs[0][0]}" in bare


def test_page_folds_many_classes_and_tells_what_is_not_known() -> None:
    labels = np.repeat(np.arange(20), 2)
    found = labelling_instructions(labels, np.random.default_rng(0).normal(size=(40, 3)))
    html = instructions_html(found, lambda row: Look(text="x"), Page.name)
    parsed(html)
    assert "The other 8 classes" in html and html.count("<article") == 20


# ------------------------------------------------------------------------------------------------------------ errors
@pytest.mark.parametrize(
    ("change", "error", "fix"),
    [
        ({"labels": np.array([0, 1, 2, -1])}, LabelError, "pass more labelled items"),
        ({"exclude": np.ones(4, bool)}, LabelError, "exclude fewer items"),
        ({"labels": np.array([0, 0, 1])}, LabelError, "labels of the same rows"),
        ({"vectors": np.array([[1, 0], [0, np.nan], [1, 1], [0, 1]])}, DataError, "impute"),
        ({"vectors": csr_matrix(np.eye(4))}, DataError, "item_vectors"),
        ({"exclude": np.zeros(3, bool)}, DataError, "True for every item that must not be shown"),
        ({"texts": ["a"]}, DataError, "pass None for none"),
        ({"phrases": [["car"], []], "texts": ["a"] * 4}, DataError, "at least the class name in words"),
        ({"phrases": {0: ["car"]}, "texts": ["a"] * 4}, DataError, "at least the class name in words"),
        ({"phrases": [["car"], ["sea"]]}, DataError, "text side of the items' encoder"),
        (
            {"phrases": [["car"], ["sea"]], "text_vectors": lambda words: np.ones((len(words), 3))},
            DataError,
            "the same joint encoder",
        ),
        (
            {"phrases": [["car"], ["sea"]], "text_vectors": lambda words: np.full((len(words), 2), np.nan)},
            DataError,
            "the same joint encoder",
        ),
        ({"pred_probs": np.ones((4, 3)) / 3}, ProbabilityError, "class of each column"),
        ({"candidates": 0}, OptionError, "pass candidates=1"),
        ({"pairs": 0}, OptionError, "pass pairs=1"),
        ({"sample": 1}, OptionError, "pass sample=2"),
        ({"max_classes": 0}, OptionError, "pass max_classes=1"),
        ({"weight": 2.0}, OptionError, "pass weight=0.5"),
        ({"n_folds": 1}, OptionError, "n_folds=5"),
    ],
)
def test_errors_tell_the_fix(change: dict[str, Any], error: type[Exception], fix: str) -> None:
    given = {"labels": np.array([0, 0, 1, 1]), "vectors": np.array([[1, 0], [2, 1], [0, 1], [1, 2.0]])} | change
    with pytest.raises(error, match=fix):
        labelling_instructions(given.pop("labels"), given.pop("vectors"), **given)
