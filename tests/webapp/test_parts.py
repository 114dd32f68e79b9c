"""Boxes and regions in the review: what a reviewer sees, what each answer comes to, and the corrected boxes."""

from __future__ import annotations

import io
import json

import pytest
from sqlalchemy import select

from labelwright.errors import LabelError
from labelwright.store import Repository
from labelwright.store.exchange import export_labels, import_labels
from labelwright.webapp import tables
from labelwright.webapp.answers import Answer
from labelwright.webapp.database import reading
from labelwright.webapp.desk import Desk

from ..auditing.test_part_files import FEW, PICTURES, boxes
from .picture_boxes import bccd_audit, masks_audit

CLASS, PLACE, SPARE, MISSED, GOOD = (
    "p0.png#xywh=1,2,10.1,10.35", "p0.png#xywh=20,2,10,10", "p0.png#xywh=40,2,10,10", "p1.png#xywh=5,5,4,4",
    "p1.png#xywh=20,20,10,10",
)  # fmt: skip
NEW_PLACE = "p0.png#xywh=22,4,11.25,11"


@pytest.fixture
def desk(tmp_path, engine, people):
    boxes(FEW).save(tmp_path / "b.labels", images=PICTURES)
    return Desk.open(Repository.open(tmp_path / "b.labels"), engine, flush_every=None)


def labels(desk) -> dict:
    desk.flush()
    table = desk.repo.labels()
    told = zip(table["item"].to_pylist(), table["label"].to_pylist())
    return {item: json.loads(label) for item, label in told if label is not None}


BEFORE = {CLASS: "cat", PLACE: "cat", SPARE: "dog", GOOD: "dog"}


def test_a_box_is_shown_with_its_fault(desk, people):
    first = desk.next(people.anna).item
    assert first.item == CLASS and first.kind == "wrong class" and first.suggested[0] == ("dog", 0.9)
    part = desk.item(PLACE, people.anna).content.part
    assert part.box == (20, 2, 30, 12) and part.moved == (22, 4, 33.25, 15) and part.size == (60, 40)
    assert [other[0] for other in part.others] == ["cat", "dog"]
    for key, words in (
        (PLACE, "puts this box elsewhere"), (SPARE, "no object in this box"), (MISSED, "object that no box marks"),
        (CLASS, "dog (90%) likelier than cat"),
    ):  # fmt: skip
        assert any(words in sentence for sentence in desk.item(key, people.anna).why), key
    assert desk.media(MISSED)[1] == desk.media(GOOD)[1] == "image/png"
    assert desk.search("missed", user=people.anna).total == 1 and labels(desk) == BEFORE


def test_each_answer_comes_to_its_boxes(desk, people):
    said = {
        CLASS: Answer("class", ("dog",)), PLACE: Answer("move"), SPARE: Answer("none"), MISSED: Answer("class", ("dog",)),
        GOOD: Answer("keep"),
    }  # fmt: skip
    for key, answer in said.items():
        desk.answer_item(people.anna, key, answer, client_id=key)
    assert labels(desk) == {CLASS: "dog", NEW_PLACE: "cat", MISSED: "dog", GOOD: "dog"}
    assert desk.item(PLACE, people.anna).mine == Answer("move")
    rows = {row["item"]: row for row in map(json.loads, b"".join(desk.export("jsonl")).splitlines())}
    assert rows[PLACE]["value"] == {"box": [22, 4, 33.25, 15], "label": "cat"} and rows[PLACE]["label"] == "cat"
    assert rows[SPARE]["label"] == "none of these"
    with reading(desk._engine) as conn:
        read = dict(conn.execute(select(tables.items.c.key, tables.items.c.wrong_low)).all())
    assert read == {CLASS: 1, PLACE: 1, SPARE: 1, MISSED: 1, GOOD: 0}


def test_the_corrected_boxes_go_to_coco_and_back(desk, people, tmp_path):
    test_each_answer_comes_to_its_boxes(desk, people)
    back = import_labels(export_labels(desk.repo, tmp_path / "c.json", format="coco"))
    found = back.boxes()
    told = [
        (back.items[i], c.round(2).tolist(), found.space.classes[k])
        for i, c, k in zip(found.item, found.corners.astype(float), found.label)
    ]
    assert sorted(told) == [
        ("p0.png", [1, 2, 11.1, 12.35], "dog"), ("p0.png", [22, 4, 33.25, 15], "cat"), ("p1.png", [5, 5, 9, 9], "dog"),
        ("p1.png", [20, 20, 30, 30], "dog"),
    ]  # fmt: skip


def test_a_move_that_is_undone_replaced_or_overruled_leaves_one_box(desk, people):
    desk.answer_item(people.anna, PLACE, Answer("move"), client_id="1")
    assert labels(desk) == {CLASS: "cat", SPARE: "dog", GOOD: "dog", NEW_PLACE: "cat"}
    desk.undo(people.anna)
    assert labels(desk) == BEFORE
    desk.answer_item(people.anna, PLACE, Answer("move"), client_id="2")
    assert NEW_PLACE in labels(desk) and PLACE not in labels(desk)
    desk.answer_item(people.anna, PLACE, Answer("keep"), client_id="3")
    assert labels(desk) == BEFORE
    desk.answer_item(people.anna, PLACE, Answer("move"), client_id="4")
    desk.adjudicate(people.judy, PLACE, Answer("class", ("dog",)), client_id="5")
    assert labels(desk) == BEFORE | {PLACE: "dog"}


def test_several_reviewers_move_a_box_together(desk, people, engine):
    desk = Desk.open(desk.repo, engine, overlap=2, flush_every=None)
    desk.answer_item(people.anna, PLACE, Answer("move"), client_id="1")
    assert labels(desk) == BEFORE
    desk.answer_item(people.ben, PLACE, Answer("move"), client_id="2")
    assert NEW_PLACE in labels(desk) and PLACE not in labels(desk)
    desk.undo(people.ben)
    assert labels(desk) == BEFORE


def test_a_missed_object_that_is_none_and_what_cannot_be_said(desk, people):
    desk.answer_item(people.anna, MISSED, Answer("none"), client_id="1")
    assert labels(desk) == BEFORE
    with reading(desk._engine) as conn:
        row = conn.execute(select(tables.items).where(tables.items.c.key == MISSED)).one()
    assert (row.wrong_low, row.wrong_high) == (0, 0)
    with pytest.raises(LabelError, match="keep it, remove it, or choose another class"):
        desk.answer_item(people.anna, CLASS, Answer("move"), client_id="2")
    with pytest.raises(LabelError, match="choose the class"):
        desk.answer_item(people.anna, MISSED, Answer("keep"), client_id="3")


def test_two_places_are_compared(desk, people):
    found = {}
    while (pair := desk.pair(people.anna)) is not None:
        found[pair.item.item] = [value for _, value in (pair.first, pair.second)]
        moved = "first" if isinstance(pair.first[1], dict) else "second"
        desk.compare(people.anna, pair.token, moved, client_id=pair.token)
    assert {"box": [22, 4, 33.25, 15], "label": "cat"} in found[PLACE] and "cat" in found[PLACE]
    assert sorted(found[CLASS]) == ["cat", "dog"]
    assert set(found) == {CLASS, PLACE} and labels(desk) == BEFORE  # votes alone change nothing
    votes = {e["item"]: e["value"] for e in desk.repo.events(kinds=("vote",)).to_pylist()}
    assert votes[NEW_PLACE] == '"cat"' and votes[PLACE] is None


def test_regions_of_masks(tmp_path, engine, people):
    from labelwright.store.exchange._parts import split_key

    pictures, audit = masks_audit()
    audit.save(tmp_path / "m.labels", images=pictures)
    desk = Desk.open(Repository.open(tmp_path / "m.labels"), engine, flush_every=None)
    assert {row["item"] for row in desk.search(user=people.anna).rows} == {"m03.png#region=0", "m05.png#region=0"}
    item = desk.next(people.anna).item
    assert item.content.part.what == "region" and item.content.part.area.startswith("M") and item.content.media
    desk.answer_item(people.anna, "m03.png#region=0", Answer("class", ("field",)), client_id="1")
    found = labels(desk)
    masks = {split_key(key)[0]: (label, split_key(key)[1]) for key, label in found.items()}
    assert {k: v[0] for k, v in masks.items()} == {"m03.png": "field", "m05.png": "field"}
    region = masks["m03.png"][1]
    assert (region.height, region.width) == (40, 60) and sum(region.runs[1::2]) == 180
    back = import_labels(export_labels(desk.repo, tmp_path / "c.json", format="coco"))
    assert (back.masks().array(0) == audit.regions.array(0)).all()


def test_blood_cells(tmp_path, engine, people, real_data):
    from PIL import Image

    pictures, audit = bccd_audit(real_data, n=16)
    audit.save(tmp_path / "cells.labels", images=pictures)
    desk = Desk.open(Repository.open(tmp_path / "cells.labels"), engine, flush_every=None)
    lease = desk.next(people.anna)
    assert lease.item.content.part.size == Image.open(io.BytesIO(desk.media(lease.item.item)[0])).size == (640, 480)
    rows = desk.search(user=people.anna, per_page=500).rows
    wrong = [r for r in rows if r["kind"] == "wrong class"][:3]
    for row in wrong:
        desk.answer_item(people.anna, row["item"], Answer("class", (row["suggested"],)), client_id=row["item"])
    found = labels(desk)
    assert wrong and all(found[row["item"]] == row["suggested"] != row["given"] for row in wrong)
    assert len(found) == sum(row["given"] is not None for row in rows)
