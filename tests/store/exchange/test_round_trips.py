"""Every format and every kind of label: what is written is read back, events and all."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.errors import DataError, LabelError, LabelwrightWarning, OptionError
from labelwright.labels import Boxes, HardLabels, LabelSpace, Masks, MultiLabels, SoftLabels, Spans, Votes
from labelwright.store import Repository
from labelwright.store.events import CANT_TELL, NONE_FITS, json_values
from labelwright.store.exchange import FORMATS, export_labels, import_labels

SUFFIX = {"parquet": ".parquet", "csv": ".csv", "jsonl": ".jsonl", "prodigy": ".jsonl", "coco": ".json"} | {
    "label_studio": ".json", "yolo": "", "argilla": "", "hf": "",
}  # fmt: skip
TABLES = {"parquet", "csv", "jsonl", "hf"}
TIME = datetime(2024, 5, 2, 9, 30, 1, 250_000, UTC)
CONTENT = {"item": ["a.jpg", "d/b.jpg", "t1", "t2"], "width": [64, 100, None, None], "height": [48, 50, None, None]}
CONTENT["text"] = [None, None, "Rome is old", "fine"]
CONTENT["image"] = ["a.jpg", "d/b.jpg", None, None]
CLASSES = (["t1", "t2"], ["cat", "dog"])
KINDS = {
    "class": CLASSES,
    "set": (["t1", "t2"], [["cat", "dog"], ["cat"]]),
    "distribution": (["t1", "t2"], [{"cat": 0.7, "dog": 0.3}, {"cat": 0.1 + 0.2, "dog": 0.7}]),
    "can't tell": (["t1", "t2"], ["cat", CANT_TELL]),
    "none fits": (["t1", "t2"], ["cat", NONE_FITS]),
    "span": (["t1#char=0,4", "t1#char=5,7", "t2#char=0,4"], ["cat", "dog", "dog"]),
    "box": (["a.jpg#xywh=1,2.5,10,20.1", "d/b.jpg#xywh=0,0,99.9,50", "a.jpg#xywh=5,5,7,7"], ["cat", "dog", "dog"]),
    "polygon": (["a.jpg#polygon=1,2,30.3,2,30,40", "d/b.jpg#polygon=0,0,9,0,9,9,0.1,9"], ["cat", "dog"]),
    "rings": (["a.jpg#polygon=1,2,30,2,30,40;5,5,6,5,6,6", "a.jpg#xywh=0,0,1,1"], ["cat", "dog"]),
    "mask": (["a.jpg#mask=2x3:1,2,3", "a.jpg#mask=2x2:0,4"], ["cat", "dog"]),
    "soft box": (["a.jpg#xywh=1,2,3,4", "a.jpg#xywh=3,3,4,4"], [{"cat": 0.75, "dog": 0.25}, {"dog": 1.0}]),
    "integer": (["t1", "t2"], [3, -10]),
}
ALL = {"label_studio": set(KINDS) - {"none fits", "rings"}}
ALL |= {"prodigy": ALL["label_studio"] - {"mask"}}
ALL |= {"argilla": {"class", "set", "distribution", "can't tell", "span", "integer"}}
ALL |= {"coco": {"box", "polygon", "rings", "mask", "soft box"}, "yolo": {"box", "polygon", "soft box"}}
ALL |= {name: set(KINDS) for name in TABLES}
CASES = [(f, k) for f in FORMATS for k in KINDS]


def table(items, values, **columns):
    n = len(items)
    base = {"item": items, "label": json_values(values), "kind": ["import"] * n, "source": ["anna"] * n}
    base |= {"time": pa.array([TIME] * n, pa.timestamp("us", "UTC")), "event": [f"id{i}" for i in range(n)]}
    return pa.table(base | columns)


def rows(events):
    names = ["item", "value", "kind", "source", "time", "event_id"]
    return sorted(map(tuple, (r.values() for r in events.select(names).to_pylist())))


def want(labels):
    names = ["item", "label", "kind", "source", "time", "event"]
    return sorted(tuple(r.values()) for r in labels.select(names).to_pylist() if r["label"] is not None)


@pytest.mark.parametrize(("format", "kind"), CASES)
def test_every_kind_of_label_in_every_format(tmp_path, format, kind):
    labels, path = table(*KINDS[kind]), tmp_path / f"out{SUFFIX[format]}"
    if kind not in ALL[format]:
        with pytest.raises(LabelError, match="lossy=True"):
            export_labels(labels, path, format=format, content=CONTENT)
        assert not path.exists()
        with pytest.warns(LabelwrightWarning, match="left out"):
            export_labels(labels, path, format=format, content=CONTENT, lossy=True)
        return
    assert export_labels(labels, path, format=format, content=CONTENT) == path
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    options = {"content": CONTENT} if format == "yolo" else {}
    back = import_labels(path, **options)  # the format is told from the content
    assert back.format == format and rows(back.events()) == want(labels)
    with pytest.raises(DataError, match="choose another path"):
        export_labels(labels, path, format=format, content=CONTENT)


@pytest.mark.parametrize("format", FORMATS)
def test_suggestions_keep_their_score(tmp_path, format):
    items = ["a.jpg#xywh=1,2,3,4", "a.jpg#xywh=2,2,3,4"] if format in ("coco", "yolo") else ["t1", "t2"]
    labels = table(items, ["cat", "dog"], probability=[0.1 + 0.2, None]).set_column(
        2, "kind", pa.array(["suggestion", "review"])
    )
    path = export_labels(labels, tmp_path / f"o{SUFFIX[format]}", format=format, content=CONTENT)
    events = import_labels(path, **({"content": CONTENT} if format == "yolo" else {})).events().to_pylist()
    assert sorted((e["item"], e["kind"], e["probability"]) for e in events) == [
        (items[0], "suggestion", 0.1 + 0.2), (items[1], "review", None),
    ]  # fmt: skip


@pytest.mark.parametrize("format", FORMATS)
def test_import_of_an_export_adds_nothing(tmp_path, format):
    repo = Repository.create(tmp_path / "r.labels", fingerprint="f", source="x", space={})
    items, values = KINDS["box" if format in ("coco", "yolo") else "class"]
    repo.append({"item": items, "value": json_values(values)}, message="m", source="anna")
    path = export_labels(repo, tmp_path / f"o{SUFFIX[format]}", format=format, content=CONTENT)
    events = import_labels(path, **({"content": CONTENT} if format == "yolo" else {})).events()
    assert events.num_rows == len(items)
    assert repo.append(events, message="again", source="import") == 1 == repo.version()


@pytest.mark.parametrize("format", FORMATS)
def test_a_label_changed_in_the_file_is_a_new_one(tmp_path, format):
    items, values = KINDS["box" if format in ("coco", "yolo") else "class"]
    path = export_labels(table(items, values), tmp_path / f"o{SUFFIX[format]}", format=format, content=CONTENT)
    options = {"content": CONTENT} if format == "yolo" else {}
    if format == "yolo":
        line = path / "labels/a.txt"
        line.write_text(line.read_text().replace("0 ", "1 ", 1))
    elif format == "coco":
        document = json.loads(path.read_text())
        document["annotations"][0]["category_id"] = 2
        path.write_text(json.dumps(document))
    elif format in ("parquet", "hf"):
        file = path if format == "parquet" else next(path.glob("*.arrow"))
        import pyarrow.parquet as pq

        old = pq.read_table(file) if format == "parquet" else pa.ipc.open_stream(file.read_bytes()).read_all()
        cells = pa.array(["dog", "dog"]) if format == "parquet" else pa.array([1, 1])
        new = old.set_column(old.column_names.index("label"), "label", cells)
        if format == "parquet":
            pq.write_table(new, file)
        else:
            with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, new.schema) as writer:
                writer.write_table(new)
    else:
        file = path / "records.json" if format == "argilla" else path
        text = file.read_text()
        old = {"label_studio": '"choices": ["cat"]', "prodigy": '"accept": ["cat"]', "argilla": '"value": "cat"'}
        old |= {"csv": "t1,cat", "jsonl": '"label": "cat"'}
        assert old[format] in text
        file.write_text(text.replace(old[format], old[format].replace("cat", "dog"), 1))
    events = {e["item"]: e for e in import_labels(path, source="me", **options).events().to_pylist()}
    changed = next(e for i, e in events.items() if i.startswith(items[0][:2]) and e["event_id"] != "id2")
    assert json.loads(changed["value"]) == "dog" and not changed["event_id"].startswith("id")
    assert changed["source"] in ("me", "anna") or format == "argilla"
    assert events[items[1]]["event_id"] == "id1"  # the others are as they were


def test_typed_containers(tmp_path):
    space = LabelSpace(["dog", "cat"])
    items = ["t1", "t2", "a.jpg"]
    hard = HardLabels.from_values(["cat", None, "dog"], space)
    soft = SoftLabels.from_dense([[0.25, 0.75], [0.5, 0.5], [1, 0]], space, known=[True, False, True])
    multi = MultiLabels.from_sets([["cat"], None, []], LabelSpace(["dog", "cat"], structure="multi"))
    spans = Spans.from_columns([0, 0, 2], [0, 5, 1], [4, 7, 2], [0, 1, 1], space)
    boxes = Boxes.from_columns([2, 0], [[0.1, 2, 3, 4], [1, 1, 2, 2.7]], [1, 0], space, score=[1, 0.5])
    masks = Masks.from_arrays([2, 2], [np.eye(3, 4) > 0, np.ones((2, 2))], [1, 0], space)
    for name, labels in [("hard", hard), ("soft", soft), ("multi", multi), ("spans", spans), ("boxes", boxes)] + [
        ("masks", masks)
    ]:
        path = export_labels(labels, tmp_path / f"{name}.parquet", items=items)
        back = import_labels(path)
        mine = getattr(back, name)()
        assert name in ("spans", "boxes", "masks", "hard", "multi", "soft")
        if name in ("hard", "soft", "multi"):
            assert back.items == items
            assert np.array_equal(
                mine.dense() if name == "multi" else mine.loglik(labels.space),
                labels.dense() if name == "multi" else labels.loglik(),
            )
        else:
            assert [back.items[i] for i in mine.item] == [items[i] for i in labels.item]
            assert mine.hard().values().tolist() == labels.hard().values().tolist()
    votes = Votes.from_columns(["t1", "t1"], ["ann", "bob"], ["cat", "dog"], space, time=[10.0, 20.5])
    back = import_labels(export_labels(votes, tmp_path / "v.csv")).votes()
    assert back.annotators.tolist() == ["ann", "bob"] and back.time.tolist() == [10.0, 20.5]
    with pytest.raises(LabelError, match="pass items="):
        export_labels(hard, tmp_path / "x.csv")
    assert import_labels(tmp_path / "boxes.parquet").boxes().corners.tolist() == boxes.corners.tolist()
    assert np.array_equal(import_labels(tmp_path / "masks.parquet").masks().array(0), np.eye(3, 4) > 0)


def test_classes_keep_their_order(tmp_path):
    space = LabelSpace(["zebra", "ant", "dog", "cat"])
    for format in ("coco", "yolo", "hf", "argilla", "prodigy"):
        items, values = KINDS["box" if format in ("coco", "yolo") else "class"]
        path = export_labels(
            table(items, values), tmp_path / f"{format}{SUFFIX[format]}", format=format, space=space, content=CONTENT
        )
        back = import_labels(path, **({"content": CONTENT} if format == "yolo" else {}))
        assert back.space.classes == space.classes


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12).filter(
    str.strip
)


@given(
    st.dictionaries(names, names, min_size=1, max_size=5),
    st.sampled_from(["csv", "parquet", "jsonl", "hf", "label_studio", "prodigy", "argilla"]),
)
def test_any_text_survives(tmp_path_factory, labels, format):
    import warnings

    folder = tmp_path_factory.mktemp("x")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = export_labels(table(list(labels), list(labels.values())), folder / f"o{SUFFIX[format]}", format=format)
    back = import_labels(path)
    assert {e["item"]: json.loads(e["value"]) for e in back.events().to_pylist()} == labels
    assert all(e["event_id"].startswith("id") for e in back.events().to_pylist())


def test_options(tmp_path):
    labels = table(*CLASSES)
    with pytest.raises(OptionError, match="format='coco'"):
        export_labels(labels, tmp_path / "x.json")
    with pytest.raises(OptionError, match="did you mean 'coco'"):
        export_labels(labels, tmp_path / "x", format="coca")
    path = export_labels(labels, tmp_path / "x.csv")
    with pytest.raises(OptionError, match="leave question out"):
        import_labels(path, question="q")
    with pytest.raises(DataError, match="make the folder"):
        export_labels(labels, tmp_path / "nowhere" / "x.csv")


@pytest.mark.parametrize("format", ["coco", "yolo", "label_studio", "hf"])
def test_real_boxes(tmp_path, real_data, format):
    import pyarrow.parquet as pq

    rows_ = pq.read_table(real_data / "detection_bccd" / "boxes.parquet").to_pandas()
    corners = rows_[["xmin", "ymin", "xmax", "ymax"]].to_numpy(float)
    good = (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
    rows_, corners = rows_[good], corners[good]
    codes, items = rows_["image"].factorize()
    space = LabelSpace(sorted(rows_["label"].unique()))
    boxes = Boxes.from_columns(codes, corners, space.encode(rows_["label"].tolist()), space)
    content = {"item": list(items), "width": [640] * len(items), "height": [480] * len(items)}
    path = export_labels(boxes, tmp_path / "x", format=format, items=list(items), content=content)
    back = import_labels(path, **({"content": content} if format == "yolo" else {}))
    mine, of = back.boxes(), np.array(back.items)

    def every(item, b):
        return sorted(zip(item, map(tuple, b.corners.tolist()), b.hard().values().tolist()))

    assert len(mine) == good.sum() > 4800
    assert every(of[mine.item], mine) == every(items[codes], boxes)
