"""Files that are broken or mean harm end in an error that says what and where; nothing is opened, fetched or run."""

from __future__ import annotations

import copy
import json
import socket

import pyarrow as pa
import pytest

from labelwright.errors import ColumnError, DataError, LabelError, LabelwrightError, OptionError
from labelwright.store.events import json_values
from labelwright.store.exchange import export_labels, import_labels

COCO = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 20, "height": 10}, {"id": 2, "file_name": "b.jpg"}],
    "categories": [{"id": 1, "name": "cat"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}],
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def coco(**changes):
    document = copy.deepcopy(COCO)
    for path, value in changes.items():
        *steps, last = path.split("__")
        place = document
        for step in steps:
            place = place[int(step) if step.isdigit() else step]
        place[int(last) if last.isdigit() else last] = value
    return document


SPAN = {"type": "labels", "value": {"start": 5, "end": 2}}
BROKEN = {
    "box outside of its image": (coco(annotations__0__bbox=[15, 1, 9, 5]), "width and height of the image"),
    "no extent": (coco(annotations__0__bbox=[1, 1, 0, 5]), "a box 0 wide"),
    "three numbers": (coco(annotations__0__bbox=[1, 1, 5]), "a bbox of 3 numbers"),
    "text for a number": (coco(annotations__0__bbox=["1", 1, 5, 5]), "a finite number"),
    "huge number": (coco(annotations__0__bbox=[10**400, 1, 5, 5]), "a finite number"),
    "large number": (coco(annotations__0__image_id=2, annotations__0__bbox=[1e30, 1, 5, 5]), "a number beyond"),
    "unknown category": (coco(annotations__0__category_id=7), "category_id 7 .* add it to the list"),
    "unknown image": (coco(annotations__0__image_id=7), "image_id 7"),
    "image twice": (coco(images__1__id=1), "remove the second entry"),
    "file twice": (coco(images__1__file_name="a.jpg"), "remove the second entry"),
    "category twice": (coco(categories=[{"id": 1, "name": "a"}] * 2), "merge the categories"),
    "no categories": ({k: v for k, v in COCO.items() if k != "categories"}, "'categories' is a list"),
    "up and out": (coco(images__0__file_name="../../etc/passwd"), "leads out of its folder"),
    "up in the middle": (coco(images__0__file_name="a\\..\\..\\b"), "leads out of its folder"),
    "absolute": (coco(images__0__file_name="/etc/passwd"), "leads out of its folder"),
    "on a drive": (coco(images__0__file_name="C:/x"), "leads out of its folder"),
    "two points": (coco(annotations__0__segmentation=[[1, 1, 2, 2]]), "a polygon with 2 points"),
    "odd points": (coco(annotations__0__segmentation=[[1, 1, 2, 2, 3, 3, 4]]), "a polygon with 3.5 points"),
    "ring of text": (coco(annotations__0__segmentation=["abcdef"]), "a finite number"),
    "runs too long": (coco(annotations__0__segmentation={"size": [2, 2], "counts": [9**20]}), "do not add up"),
    "runs of a huge image": (coco(annotations__0__segmentation={"size": [10**6, 10**6], "counts": [10**12]}), "add up"),
    "negative runs": (coco(annotations__0__segmentation={"size": [2, 2], "counts": [-1, 5]}), "do not add up"),
    "no runs": (coco(annotations__0__segmentation={"size": [2, 2], "counts": []}), "do not add up|mask"),
    "packed nonsense": (coco(annotations__0__segmentation={"size": [2, 2], "counts": "éé"}), "run-length coded mask"),
    "annotation of another type": (coco(annotations__0=[1]), "an object in which 'image_id'"),
    "annotations no list": (coco(annotations={}), "'annotations' is a list"),
    "long name": (coco(images__0__file_name="x" * 10_000_000), "keys and classes of 1 to 4,096"),
    "score": (coco(annotations__0__score=99), "divide percentages by 100"),
    "retraction": (coco(annotations__0__labelwright={"item": "a.jpg", "value": "x", "kind": "retraction"}), "remove the entry"),
    "entry of another type": (coco(annotations__0__labelwright=[1]), "remove the entry"),
    "nothing known": ({"a": 1}, "a JSON object with the keys 'a'"),
    "list of nothing known": ([{"a": 1}], "a JSON list of objects with the keys 'a'"),
    "list of numbers": ([1], "a JSON list of int"),
    "empty list": ([], "a JSON list of nothing"),
    "task without data": ([{"data": 1}], "'data' is a dict"),
    "task without a key": ([{"data": {"x": 1.5}}], "item='...'"),
    "region": ([{"data": {"id": 1}, "annotations": [{"result": [SPAN]}]}], "a span from 5"),
    "argilla": ([{"id": "a", "fields": {}, "responses": {"q": [5]}}], "'responses' = 5|responses: 5"),
    "argilla meta": ([{"id": "a", "fields": {}, "metadata": {"labelwright": "[" * 5000}}], "labelwright metadata"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_json(tmp_path, name):
    document, message = BROKEN[name]
    path = tmp_path / "x.json"
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=message) as error:
        import_labels(path)
    assert len(str(error.value)) < 2500


REGION = {"type": "rectanglelabels", "original_width": 10, "original_height": 10}


@pytest.mark.parametrize(("value", "message", "kind"), [
    ({"x": 0, "y": 0, "width": 5, "height": 5, "rotation": 30}, "draw it as a polygon", "rectanglelabels"),
    ({"x": 99, "y": 0, "width": 50, "height": 5}, "outside of its image", "rectanglelabels"),
    ({"x": 1}, "a finite number", "rectanglelabels"),
    ({"points": [[1, 1], [2, 2]]}, "a polygon with 2 points", "polygonlabels"),
    ({"points": [[1, 1, 1]] * 3}, "points", "polygonlabels"),
    ({"rle": [0, 0, 1, 144, 59, 0, 0]}, "ends early", "brushlabels"),
    ({"rle": [300]}, "brush mask", "brushlabels"),
])  # fmt: skip
def test_broken_regions(tmp_path, value, message, kind):
    region = REGION | {"type": kind, "value": value | {kind: ["a"]}}
    path = tmp_path / "x.json"
    path.write_text(
        json.dumps([{"data": {"image": "http://nowhere.invalid/a.jpg"}, "annotations": [{"result": [region]}]}])
    )
    with pytest.raises(DataError, match=message):
        import_labels(path)


@pytest.mark.parametrize(("text", "message"), [
    ("[" * 100_000, "strict JSON"),
    ('{"images": [], "annotations": [{"bbox": [NaN]}]}', "NaN is no number"),
    ('{"images": [], "annotations": [1e999]}', "too large"),
    ('{"images": [], "images": [], "annotations": []}', "stands twice"),
    ('{"images": [], "annotations": [' + "9" * 5000 + "]}", "strict JSON"),
    ("{}", "a JSON object with the keys"),
    ("", "nothing"),
    ("<html>", "an HTML page"),
    ("\x80\x04pickle\0", "which holds"),
    ("just words\n", "json"),
])  # fmt: skip
def test_broken_text(tmp_path, text, message):
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=message):
        import_labels(path)


@pytest.mark.parametrize(("line", "message"), [
    ("0 0.5 0.5 0.1", "polygon with 1.5 points"),
    ("7 0.5 0.5 0.1 0.1", "add its name to data.yaml"),
    ("0 0.9 0.5 0.9 0.1", "outside of its image"),
    ("0 0.5 0.5 nan 0.1", "a finite number"),
    ("0 0.5 0.5 1e999 0.1", "a finite number"),
    ("cat 0.5 0.5 0.1 0.1", "a class and numbers"),
    ("0 0.5 0.5 0.1 0.1 3", "divide percentages"),
])  # fmt: skip
def test_broken_yolo(tmp_path, line, message):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text(line)
    with pytest.raises(DataError, match="one per line into classes.txt"):
        import_labels(tmp_path)
    (tmp_path / "data.yaml").write_text("names: !!python/object/apply:os.system ['touch /tmp/owned']\n")
    with pytest.raises(DataError, match="names no classes"):
        import_labels(tmp_path)
    (tmp_path / "data.yaml").write_text("names: ['cat']\n")
    if message not in ("add its name to data.yaml", "a class and numbers"):
        with pytest.raises(DataError, match="columns item, width and height|a finite number"):
            import_labels(tmp_path)
    with pytest.raises(DataError, match=message):
        import_labels(tmp_path, content={"item": ["a"], "width": [100], "height": [50]})


def test_keys_that_lead_out_are_not_written(tmp_path):
    for item in ("../x.jpg", "/x.jpg", "a/../../x.jpg"):
        labels = pa.table({"item": [f"{item}#xywh=1,1,2,2"], "label": json_values(["cat"])})
        for format in ("yolo", "coco"):
            content = {"item": [item], "width": [9], "height": [9]}
            with pytest.raises(DataError, match="leads out of its folder"):
                export_labels(labels, tmp_path / "out", format=format, content=content)
    for items in (["a.jpg", "a.png"], ["a:b.jpg", "c.jpg"]):
        labels = pa.table({"item": [f"{i}#xywh=1,1,2,2" for i in items], "label": json_values(["cat"] * 2)})
        with pytest.raises(LabelError, match="export to coco"):
            export_labels(
                labels, tmp_path / "out", format="yolo", content={"item": items, "width": [9, 9], "height": [9, 9]}
            )
    assert list(tmp_path.iterdir()) == []


def test_tables(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ColumnError, match="--item"):
        import_labels(path)
    path.write_text("item,label\n,cat\n")
    with pytest.raises(DataError, match="no key in row 0"):
        import_labels(path)
    with pytest.raises(ColumnError, match="rename the columns"):
        export_labels(pa.table({"a": [1]}), tmp_path / "y.csv")
    with pytest.raises(LabelError, match="json_values"):
        export_labels(pa.table({"item": ["a"], "label": ["cat"]}), tmp_path / "y.csv")
    with pytest.raises(OptionError, match="label out"):
        (tmp_path / "z.json").write_text(json.dumps(COCO))
        import_labels(tmp_path / "z.json", label="x")
    with pytest.raises(DataError, match="a folder with nothing in it"):
        (tmp_path / "d").mkdir()
        import_labels(tmp_path / "d")
    with pytest.raises(ColumnError, match="'item'"):
        export_labels(pa.table({"item": ["a"], "label": ['"x"']}), tmp_path / "y.csv", content=pa.table({"t": ["a"]}))


def test_a_row_of_ours_with_nonsense(tmp_path):
    labels = pa.table({"item": ["a"], "label": json_values([["x", "y"]]), "event": ["1"]})
    text = export_labels(labels, tmp_path / "x.csv").read_text()
    for old, new in (('"[""x"", ""y""]"', "[["), (",set,", ",distribution,"), (",set,", ",answer,")):
        assert old in text
        (tmp_path / "y.csv").write_text(text.replace(old, new, 1))
        with pytest.raises(DataError, match="a class has the type 'class'"):
            import_labels(tmp_path / "y.csv")
    (tmp_path / "y.csv").write_text(text.replace(",set,", ",class,"))  # a class with an odd name: a new label
    events = import_labels(tmp_path / "y.csv").events().to_pylist()
    assert json.loads(events[0]["value"]) == '["x", "y"]' and events[0]["event_id"] != "1"


def test_a_table_takes_nothing_back(tmp_path):
    from labelwright.store.exchange._said import Said
    from labelwright.store.exchange.tables import check

    said = Said("a", "x", None, "retraction", "s", None, None, "1")
    row = {"item": "a", "label": "x", "type": "class", "kind": "retraction", "source": "s", "time": None, "event": "1"}
    (tmp_path / "x.jsonl").write_text(json.dumps(row | {"check": check(said)}))
    with pytest.raises(DataError, match="a file takes nothing back"):
        import_labels(tmp_path / "x.jsonl")


def test_symbolic_links_are_not_followed(tmp_path):
    folder = tmp_path / "y"
    (folder / "labels").mkdir(parents=True)
    (folder / "data.yaml").write_text("names: [cat]\n")
    (tmp_path / "secret.txt").write_text("0 0.5 0.5 0.1 0.1")
    (folder / "labels/a.txt").symlink_to(tmp_path / "secret.txt")
    assert len(import_labels(folder)) == 0


JUNK = (None, [], {}, "x", "../x", 1e30, -1, True, [[]], {"a": [1]}, 10**30)


def places(node, path=()):
    yield path
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, inside in entries:
        if key != "rle":
            yield from places(inside, (*path, key))


@pytest.mark.parametrize("name", ["coco", "label_studio", "argilla", "prodigy", "jsonl"])
def test_every_place_may_hold_junk(tmp_path, name):
    """Each value of a file in turn is replaced by something else: it is read, or refused in our words."""
    items = (
        ["a.jpg#xywh=1,1,2,2", "a.jpg#polygon=1,1,5,1,5,5", "a.jpg#mask=2x2:0,4"]
        if name == "coco"
        else ["a", "b#char=0,2"]
    )
    values = [{"cat": 0.5, "dog": 0.5}, "dog", "dog"][: len(items)]
    labels = pa.table({"item": items, "label": json_values(values), "source": ["s"] * len(items), "event": items})
    content = {"item": ["a.jpg"], "width": [9], "height": [9]}
    path = export_labels(labels, tmp_path / "x.json", format=name, content=content)
    file = path / "records.json" if name == "argilla" else path
    lines = name in ("prodigy", "jsonl")
    text = file.read_text()
    document = [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)
    for place in list(places(document)):
        for junk in JUNK:
            broken = {"root": copy.deepcopy(document)}
            *steps, last = ("root", *place)
            inner = broken
            for step in steps:
                inner = inner[step]
            inner[last] = junk
            whole = broken["root"]
            if lines and isinstance(whole, list):
                file.write_text("\n".join(map(json.dumps, whole)))
            else:
                file.write_text(json.dumps(whole))
            try:
                import_labels(path, format=name).events()
            except LabelwrightError as error:
                assert error.fix
