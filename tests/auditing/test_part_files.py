"""Audits of boxes and masks as repositories for the review app."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from labelwright.auditing.part_files import area_path, edge_path, part_rows
from labelwright.auditing.parts import PartAudit
from labelwright.errors import DataError, LabelError, LabelwrightWarning, OptionError
from labelwright.labels import LabelSpace
from labelwright.store import Repository


def boxes(rows, **options) -> PartAudit:
    """An audit from (item row, corners, given, suggested, quality, problem, moved corners or None); given None: missed."""
    names = ("row", "corner", "given", "suggested", "quality", "problem", "corners")
    columns = dict(zip(names, zip(*rows)))
    corner = np.array(columns.pop("corner"), np.float32)
    n = max(columns["row"]) + 1
    items = np.array([f"p{i}.png" for i in range(n)])
    parts = pa.table(
        {
            "item": items[list(columns["row"])],
            "row": columns["row"],
            "box": pa.array([None if g is None else i for i, g in enumerate(columns["given"])], pa.int64()),
            **dict(zip(("x1", "y1", "x2", "y2"), corner.T)),
            **{name: pa.array(columns[name], pa.string()) for name in ("given", "suggested", "problem")},
            "corners": pa.array(columns["corners"], pa.list_(pa.float32())),
            "quality": columns["quality"],
            "is_issue": [bool(p) for p in columns["problem"]],
        }
    )
    space = options.pop("space", LabelSpace(["cat", "dog"]))
    return PartAudit("boxes", items, np.ones(n), parts, space=space)


FEW = [
    (0, (1, 2, 11.1, 12.35), "cat", "dog", 0.1, "wrong class", None),
    (0, (20, 2, 30, 12), "cat", "cat", 0.2, "bad location", (22, 4, 33.25, 15)),
    (0, (40, 2, 50, 12), "dog", None, 0.3, "spurious box", None),
    (1, (5, 5, 9, 9), None, "dog", 0.4, "missed object", None),
    (1, (20, 20, 30, 30), "dog", "dog", 0.9, "", None),
]
PICTURES = [np.zeros((40, 60, 3), np.uint8), np.zeros((50, 70, 3), np.uint8)]


def test_each_box_has_the_key_of_its_place(tmp_path):
    folder = boxes(FEW).save(tmp_path / "b.labels", images=PICTURES)
    table = pq.read_table(folder / "review.parquet").to_pylist()
    assert [r["item"] for r in table] == [
        "p0.png#xywh=1,2,10.1,10.35", "p0.png#xywh=20,2,10,10", "p0.png#xywh=40,2,10,10", "p1.png#xywh=5,5,4,4",
        "p1.png#xywh=20,20,10,10",
    ]  # fmt: skip
    assert [r["top"] for r in table] == ['"dog"', '"cat"', None, '"dog"', '"dog"']
    assert json.loads(table[0]["suggested"]) == [["dog", 0.9], ["cat", 0.1]]
    assert [r["kind"] for r in table] == ["wrong class", "bad location", "spurious box", "missed object", "ok"]
    assert sorted(r["place"] for r in table if r["given"]) == [0, 1, 2, 3]  # the estimation is of given boxes
    assert table[3]["place"] is None and table[3]["given"] is None
    drawn = pq.read_table(folder / "content.parquet").to_pylist()
    told = [json.loads(r["part"]) for r in drawn]
    assert [t["size"] for t in told] == [[60, 40]] * 3 + [[70, 50]] * 2
    assert told[1]["moved"] == [22, 4, 33.25, 15] and told[0]["moved"] == []
    assert [o[0] for o in told[3]["others"]] == ["dog"] and [o[1] for o in told[0]["others"]] == [20, 40]
    assert [r["same_as"] for r in drawn] == [None, 0, 0, None, 3] and drawn[0]["image"] and not drawn[1]["image"]


def test_the_labels_are_given_events_once_however_often_it_is_saved(tmp_path):
    first = boxes(FEW).save(tmp_path / "b.labels", images=PICTURES)
    second = boxes(FEW).save(tmp_path / "b.labels", images=PICTURES)
    assert (first.name, second.name) == ("0001", "0002")
    repo = Repository.open(tmp_path / "b.labels")
    labels = dict(zip(*(repo.labels()[name].to_pylist() for name in ("item", "label"))))
    assert len(labels) == 4 and labels["p0.png#xywh=40,2,10,10"] == '"dog"'
    assert repo.events().num_rows == 4 and repo.head["space"]["classes"] == ["cat", "dog"]


def test_two_boxes_on_one_place_are_one_and_no_box_moves_onto_another(tmp_path):
    rows = [*FEW, FEW[0], (0, (22, 4, 33.25, 15), "dog", "dog", 0.9, "", None)]
    with pytest.warns(LabelwrightWarning, match="1 boxes lie exactly on another.*one label per place"):
        found = part_rows(boxes(rows), PICTURES)
    assert len(found) == 6 and [row["moved"] for row in found] == [[]] * 6


def test_without_images_the_extent_of_the_boxes_stands_for_the_size(tmp_path):
    folder = boxes(FEW).save(tmp_path / "b.labels")
    told = [json.loads(t) for t in pq.read_table(folder / "content.parquet")["part"].to_pylist()]
    assert told[0]["size"] == pytest.approx([50, 12.35], abs=1e-4) and told[4]["size"] == [30, 30]


def test_paths_stand_below_their_folder(tmp_path):
    from PIL import Image

    (tmp_path / "in").mkdir()
    for i, pixels in enumerate(PICTURES):
        Image.fromarray(pixels).save(tmp_path / "in" / f"{i}.png")
    folder = boxes(FEW).save(tmp_path / "b.labels", images=[str(tmp_path / "in" / f"{i}.png") for i in range(2)])
    assert json.loads((folder / "content.json").read_text())["root"] == str(tmp_path / "in")
    assert pq.read_table(folder / "content.parquet")["path"].to_pylist() == ["0.png", None, None, "1.png", None]


def test_refusals(tmp_path):
    audit = boxes(FEW)
    with pytest.raises(DataError, match="1 images for 2 items.*in that order"):
        audit.save(tmp_path / "b.labels", images=PICTURES[:1])
    with pytest.raises(DataError, match="leave out this image"):
        audit.save(tmp_path / "b.labels", images=[b"no image", PICTURES[1]])
    with pytest.raises(LabelError, match="audit again"):
        replace(audit, space=None).save(tmp_path / "b.labels")
    with pytest.raises(OptionError, match="plain folder"):
        replace(audit, what="tokens").save(tmp_path / "b.labels")
    with pytest.raises(OptionError, match="call it plain.labels"):
        audit.save(tmp_path / "plain", images=PICTURES)
    assert not list(tmp_path.iterdir())
    assert {p.name for p in audit.save(tmp_path / "plain").iterdir()} == {
        "issues.parquet", "parts.parquet", "summary.json",
    }  # fmt: skip


@given(arrays.arrays(bool, st.tuples(st.integers(1, 6), st.integers(1, 6))))
def test_paths_of_a_mask_cover_it_and_run_around_it(mask):
    painted, edges = np.zeros(mask.shape, int), set()
    for piece in area_path(mask).split("M")[1:]:
        x, y, width = (int(v) for v in piece.replace("h", " ").replace("v", " ").split()[:3])
        painted[y, x : x + width] += 1
    assert (painted == mask).all()
    for piece in edge_path(mask).split("M")[1:]:
        start, _, length = piece.replace("v", "h").partition("h")
        x, y = map(int, start.split())
        step = (1, 0) if "h" in piece else (0, 1)
        edges |= {(x + i * step[0], y + i * step[1], *step) for i in range(int(length))}
    naive = set()
    padded = np.pad(mask, 1)
    for y in range(mask.shape[0] + 1):
        for x in range(mask.shape[1] + 1):
            if x < mask.shape[1] and padded[y, x + 1] != padded[y + 1, x + 1]:
                naive.add((x, y, 1, 0))
            if y < mask.shape[0] and padded[y + 1, x] != padded[y + 1, x + 1]:
                naive.add((x, y, 0, 1))
    assert edges == naive


def test_a_folder_that_exists_is_left_alone(tmp_path):
    boxes(FEW).save(tmp_path / "plain")
    with pytest.raises(FileExistsError):
        boxes(FEW).save(tmp_path / "plain")
    assert isinstance(tmp_path, Path)
