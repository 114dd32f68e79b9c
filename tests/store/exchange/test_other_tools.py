"""Files that other tools' own libraries made, and our files in their hands. fixtures/README.md says how they were made."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from labelwright.errors import DataError, LabelwrightWarning
from labelwright.labels import LabelSpace
from labelwright.store.events import json_values
from labelwright.store.exchange import (
    export_labels,
    import_labels,
    label_studio_config,
    read_argilla,
    read_coco,
    read_label_studio,
    read_prodigy,
    read_yolo,
    write_hf,
)
from labelwright.store.exchange._runs import (
    from_coco,
    from_label_studio,
    mask_of,
    pixels,
    to_coco,
    to_label_studio,
    unpack_coco,
)

FIXTURES = Path(__file__).parent / "fixtures"
RING = np.zeros((6, 8), bool)
RING[1:4, 2:7] = True
RING[2, 4] = False


def said(labels):
    return [
        (e["item"].split("#")[0], e["kind"], json.loads(e["value"]), e["source"]) for e in labels.events().to_pylist()
    ]


def test_coco_of_pycocotools():
    labels = import_labels(FIXTURES / "pycocotools.json")
    assert labels.format == "coco" and labels.items == ["a.jpg", "sub/b.jpg"] and labels.space.classes == ("cat", "dog")
    assert [row[:3] for row in said(labels)] == [
        ("a.jpg", "import", "dog"), ("sub/b.jpg", "import", "cat"), ("sub/b.jpg", "import", "cat"),
    ]  # fmt: skip
    masks, boxes = labels.masks(), read_coco(FIXTURES / "pycocotools.json").boxes()
    assert np.array_equal(masks.array(0), RING)
    assert masks.array(1).shape == (50, 100) and 180 < masks.array(1).sum() < 260  # a triangle of area 205
    assert boxes.corners.tolist() == [[50.25, 5, 70.25, 25]] and boxes.item.tolist() == [1]


def test_packed_runs_of_pycocotools():
    known = json.loads((FIXTURES / "pycocotools_rle.json").read_text())
    mask = np.array([[c == "1" for c in row] for row in known["rows"]])
    ours = from_coco(unpack_coco(known["counts"]), *known["size"])
    assert np.array_equal(pixels(ours), mask) and to_coco(ours) == unpack_coco(known["counts"])
    with pytest.raises(ValueError, match="end within a number"):
        unpack_coco(known["counts"] + "o")


def test_label_studio_of_its_sdk():
    path = FIXTURES / "label_studio.json"
    labels = import_labels(path)
    assert labels.format == "label_studio" and labels.items[0] == "/data/upload/a.jpg"
    anna, text = "anna@example.com", labels.items[1]
    assert len(text) == 32  # a hash of the text, as an audit of these texts would call it
    assert said(labels) == [
        ("/data/upload/a.jpg", "import", "cat", "2"),
        ("/data/upload/a.jpg", "import", "dog", "2"),
        ("/data/upload/a.jpg", "import", "cat", "2"),
        (text, "import", "LOC", anna),
        (text, "import", "neutral", anna),
        (text, "review", {"answer": "can't tell"}, "bob@example.com"),
        (text, "suggestion", "positive", "bert"),
    ]
    events = labels.events().to_pylist()
    assert events[0]["item"] == "/data/upload/a.jpg#xywh=2,3,1,3" and events[3]["item"].endswith("#char=0,4")
    assert events[3]["time"] == datetime(2024, 3, 10, tzinfo=UTC) and events[6]["probability"] == 0.75
    assert np.array_equal(labels.masks().array(1), RING)  # 0 is the polygon
    with pytest.raises(DataError, match="item='...'"):
        read_label_studio(path, item="photo")


def test_brush_code_agrees_with_the_sdk():
    code = json.loads((FIXTURES / "label_studio.json").read_text())[0]["annotations"][0]["result"][2]["value"]["rle"]
    assert np.array_equal(pixels(from_label_studio(code, 6, 8)), RING)
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (3, 70_000), (40, 33)):
        mask = rng.random(shape) > 0.5
        assert np.array_equal(pixels(from_label_studio(to_label_studio(mask_of(mask)), *shape)), mask)
    with pytest.raises(ValueError, match="ends early"):
        from_label_studio(code[:20], 6, 8)
    with pytest.raises(ValueError, match="for 6 x 9"):
        from_label_studio(code, 6, 9)


def test_argilla_of_its_sdk():
    folder = FIXTURES / "argilla"
    with pytest.raises(DataError, match="question='label'"):
        import_labels(folder)
    users = [f"00000000-0000-0000-0000-00000000000{i}" for i in (7, 8)]
    labels = import_labels(folder, question="label")
    assert labels.format == "argilla" and labels.items == ["t1", "t2"] and labels.space.classes == ("neg", "pos", "LOC")
    assert said(labels) == [
        ("t1", "vote", "neg", users[0]),
        ("t1", "vote", "pos", users[1]),
        ("t1", "vote", "LOC", users[0]),
        ("t1", "suggestion", "pos", "bert"),
        ("t1", "suggestion", "LOC", "bert"),
        ("t2", "import", "neg", users[0]),
    ]
    assert [e["probability"] for e in labels.events().to_pylist()][3:5] == [0.9, 0.7]
    assert labels.votes().annotators.tolist() == ["00000000-0000-0000-0000-000000000007", users[1], "bert"]
    tags = read_argilla(folder, question="tags")
    assert [row[2] for row in said(tags) if isinstance(row[2], list)] == [["a"], ["a", "b"]]
    alone = import_labels(folder / "records.json", question="label")
    assert said(alone) == said(labels)


def test_prodigy_by_its_documentation(tmp_path):
    lines = [
        {"text": "Rome", "spans": [{"start": 0, "end": 4, "token_start": 0, "label": "LOC"}], "answer": "accept",
         "_input_hash": 1, "_task_hash": 2, "_annotator_id": "anna", "_timestamp": 1700000000},
        {"text": "b", "options": [{"id": "x", "text": "X"}, {"id": "y", "text": "Y"}], "accept": ["y"], "answer": "accept"},
        {"text": "c", "label": "x", "answer": "reject"},
        {"text": "d", "label": "x", "answer": "ignore"},
        {"image": "i.jpg", "width": 90, "height": 60, "answer": "accept", "spans": [
            {"label": "cat", "type": "rect", "points": [[1, 2], [1, 8], [5, 8], [5, 2]]},
            {"label": "dog", "type": "polygon", "points": [[1, 2], [9, 8], [5, 8.5]]}]},
    ]  # fmt: skip
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    with pytest.warns(LabelwrightWarning, match="1 rejected"):
        labels = import_labels(path)
    assert labels.format == "prodigy" and labels.space.classes == ("x", "y", "LOC", "cat", "dog")
    assert [row[1:3] for row in said(labels)] == [
        ("import", "LOC"), ("import", "y"), ("review", {"answer": "can't tell"}), ("import", "cat"), ("import", "dog"),
    ]  # fmt: skip
    assert labels.boxes().corners.tolist() == [[1, 2, 5, 8]] and labels.said[0].source == "anna"
    assert labels.events()["time"][0].as_py() == datetime.fromtimestamp(1700000000, UTC)
    path.write_text("\n".join(map(json.dumps, lines[1:2])))
    assert read_prodigy(path).hard().values().tolist() == ["y"]


def test_yolo_by_its_documentation(tmp_path):
    from PIL import Image

    for folder in ("images/train", "labels/train"):
        (tmp_path / folder).mkdir(parents=True)
    Image.new("RGB", (200, 100)).save(tmp_path / "images/train/a.png")
    (tmp_path / "labels/train/a.txt").write_text("1 0.5 0.5 0.1 0.2\n0 0 0 0.5 0 0.5 0.5\n0 0.5 0.5 1 1 0.25\n")
    for yaml in (
        "names: [cat, 'a dog']  # two",
        'path: x\nnames:\n  0: cat\n  1: "a dog"  # x\nnc: 2',
        "names:\n- cat\n- a dog\n",
    ):
        (tmp_path / "data.yaml").write_text(yaml)
        labels = import_labels(tmp_path)
        assert labels.format == "yolo" and labels.space.classes == ("cat", "a dog") and labels.items == ["train/a.png"]
        assert labels.boxes().corners.tolist() == [[90, 40, 110, 60], [0, 0, 200, 100]]
        assert labels.boxes().score.tolist() == [1, 0.25]
        assert labels.events()["item"][1].as_py() == "train/a.png#polygon=0,0,100,0,100,50"
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "classes.txt").write_text("cat\na dog\n")
    assert read_yolo(tmp_path).space.classes == ("cat", "a dog")


def test_hugging_face_reads_ours_and_we_theirs(tmp_path):
    datasets = pytest.importorskip("datasets")
    space = LabelSpace(["dog", "cat"])
    for name, values in {
        "one": ["cat", "dog", None],
        "soft": [{"cat": 0.75, "dog": 0.25}] * 3,
        "sets": [["cat"], [], ["cat", "dog"]],
    }.items():
        labels = pa.table({"item": ["a", "b", "c"], "label": json_values(values), "event": ["1", "2", "3"]})
        write_hf(tmp_path / name, labels, space=space, content={"a": "one text"})
        ds = datasets.load_from_disk(str(tmp_path / name))
        feature = ds.features["label"]
        feature = feature.feature if name == "sets" else feature
        assert isinstance(feature, datasets.ClassLabel) and feature.names == ["dog", "cat"]
        assert ds["item"][:] == ["a", "b", "c"] and ds["text"][0] == "one text"
        ids = {"one": [1, 0, None], "soft": [1, 1, 1], "sets": [[1], [], [1, 0]]}[name]
        assert ds["label"][:] == ids and ds[0]["event"] == "1"
        if name == "soft":
            assert ds["p_cat"][:] == [0.75] * 3
    theirs = datasets.Dataset.from_dict(
        {"id": ["a", "b"], "label": [1, 0]},
        features=datasets.Features(
            {"id": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])}
        ),
    )
    datasets.DatasetDict(train=theirs).save_to_disk(str(tmp_path / "theirs"))
    back = import_labels(tmp_path / "theirs", split="train")
    assert back.space.classes == ("neg", "pos") and back.hard().values().tolist() == ["pos", "neg"]


def test_other_tables(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("id,label,annotator,probability,start,stop\na,1,ann,0.5,,\na,2,bob,,,\nb,,ann,,,\nc,1,ann,,0,3\n")
    labels = import_labels(path)
    assert said(labels) == [("a", "vote", 1, "ann"), ("a", "vote", 2, "bob"), ("c", "import", 1, "ann")]
    assert labels.events()["item"].to_pylist()[2] == "c#char=0,3" and labels.items == ["a", "b", "c"]
    again = import_labels(path)
    assert again.events()["event_id"].equals(labels.events()["event_id"])
    path.write_text("pic,verdict\na,=x\n")
    labels = import_labels(path, item="pic", label="verdict")
    assert said(labels) == [("a", "import", "=x", "import x.csv")]


def test_formulas_are_disarmed_in_csv(tmp_path):
    items = ["=cmd|' /C calc'!A0", "'=x", "plain"]
    labels = pa.table({"item": items, "label": json_values(["@SUM(1)", "+1", "-x"])})
    with pytest.warns(LabelwrightWarning, match="5 cells begin like a formula"):
        path = export_labels(labels, tmp_path / "x.csv")
    cells = path.read_text().replace("\n", ",").split(",")
    assert not [c for c in cells if c[:1] in ("=", "+", "-", "@", "\t", "\r")]
    assert [row[2] for row in said(import_labels(path))] == ["@SUM(1)", "+1", "-x"]
    assert import_labels(path).items == items


def test_text_that_looks_like_numbers_stays_text_in_csv(tmp_path):
    words = ["1e5", "007", "1.50", "NaN", "null", " x ", '"', "a,b", "12345678901234567890"]
    for items in [*([w] for w in words), words]:
        labels = pa.table({"item": items, "label": json_values(items), "source": items, "event": items})
        path = export_labels(labels, tmp_path / f"{len(list(tmp_path.iterdir()))}.csv")
        back = import_labels(path).events()
        assert all(back[n].to_pylist() == items for n in ("item", "source", "event_id"))
        assert back["value"].to_pylist() == json_values(items).to_pylist()


def test_the_chance_of_a_review_is_no_score(tmp_path):
    labels = pa.table(
        {
            "item": ["a.jpg#xywh=1,1,2,2"],
            "value": ['"cat"'],
            "kind": ["review"],
            "probability": [0.25],
            "event_id": ["e"],
        }
    )
    path = export_labels(labels, tmp_path / "x.json", format="coco")
    assert "score" not in json.loads(path.read_text())["annotations"][0]
    assert import_labels(path).events().select(["kind", "probability", "event_id"]).to_pylist() == [
        {"kind": "review", "probability": 0.25, "event_id": "e"}
    ]


def test_label_studio_config_is_xml():
    from xml.etree import ElementTree

    root = ElementTree.fromstring(label_studio_config(LabelSpace(['a"<b', "c&d"]), data="image", multi=True))
    assert {tag.get("name") for tag in root} == {"image", "label", "box", "polygon", "mask"}
    assert root.find("Choices").get("choice") == "multiple"
    assert [c.get("value") for c in root.find("RectangleLabels")] == ['a"<b', "c&d"]
