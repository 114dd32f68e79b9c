"""What an audit leaves for reviewing, and what the desk reads of it."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import labelwright as lw
from labelwright.auditing.material import MOST_TEXT, content_kind, review_files
from labelwright.errors import DataError
from labelwright.store import Repository
from labelwright.webapp.content import Contents, media_type
from labelwright.webapp.desk import Desk
from labelwright.webapp.refusals import NoSuchItem
from labelwright.webapp.views import User

from .conftest import add_users


def small(n: int = 120, **options) -> lw.Audit:
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=n)
    p = np.full((n, 3), 0.05)
    p[np.arange(n), truth] = 0.9
    labels = np.array(["ant", "bee", "cat"], dtype=object)[truth]
    labels[:5] = "ant"
    labels[7] = None
    return lw.audit(labels, p, items=[f"i{i}" for i in range(n)], **options)


def written(folder: Path, audit: lw.Audit, **options) -> Path:
    folder.mkdir(exist_ok=True)
    for name, write in review_files(audit, **options).items():
        write(folder / name)
    return folder


def test_a_row_per_item_with_the_order_of_the_review_sample(tmp_path):
    audit = small(features=np.random.default_rng(1).normal(size=(120, 4)), n_neighbours=10)
    table = pq.read_table(written(tmp_path, audit) / "review.parquet")
    rows = table.to_pylist()
    assert [r["item"] for r in rows] == [f"i{i}" for i in range(120)]
    sample = audit.review_sample(50)
    order = sorted((r for r in rows if r["place"] is not None), key=lambda r: r["place"])
    assert [r["item"] for r in order][:50] == sample["item"].to_pylist() and len(order) == 119
    assert [r["stratum"] for r in order][:50] == sample["stratum"].to_pylist()
    assert rows[7]["given"] is None and rows[7]["place"] is None and rows[7]["error_prob"] is None
    for i in (0, 50):
        shares = dict(json.loads(rows[i]["suggested"]))
        assert shares == pytest.approx(dict(zip(audit.space.classes, audit.label_dist[i].tolist())), abs=1e-3)
        assert json.loads(rows[i]["top"]) == max(shares, key=shares.get)
        assert rows[i]["near"] == [f"i{j}" for j in audit.neighbours.index[i, :5]]


def test_an_audit_in_passes_leaves_the_same(tmp_path):
    names = ["a"] * 40 + ["b"] * 40
    p = np.clip(np.random.default_rng(0).random((80, 2)), 0.01, None)
    p /= p.sum(1, keepdims=True)
    found = [
        pq.read_table(written(tmp_path / name, lw.audit(names, p, **options)) / "review.parquet")
        for name, options in (("memory", {}), ("passes", {"engine": "serial"}))
    ]
    for column in ("item", "given", "top", "kind", "stratum"):
        assert found[0][column].to_pylist() == found[1][column].to_pylist()


def test_texts_rows_and_bytes(tmp_path):
    audit = small()
    texts = ["x" * (MOST_TEXT + 5), "caf\u00e9 \ud800 end", None, *[f"text {i}" for i in range(117)]]
    contents = Contents(written(tmp_path / "t", audit, content=texts))
    assert len(contents[0].text) == MOST_TEXT and contents[1].text == "café ? end"
    assert contents[2].kind == "none" and contents[119].text == "text 116" and contents[120].kind == "none"
    assert contents.snippets()[3] == "text 0" and len(contents.snippets()[0]) == 300
    rows = [{"age": i, "name": f"n{i}", "none": None} for i in range(120)]
    contents = Contents(written(tmp_path / "r", audit, content=rows))
    assert (
        contents[5].cells == (("age", "5"), ("name", "n5"), ("none", ""))
        and contents.snippets()[5] == "age: 5; name: n5; none: "
    )
    pixels = [np.full((4, 4), i, dtype=np.uint8) for i in range(120)]
    contents = Contents(written(tmp_path / "p", audit, content=pixels))
    data, kind = contents.media(9)
    from PIL import Image

    assert kind == "image/png" and np.array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels[9])
    assert contents[9].kind == "image" and contents[9].media
    assert content_kind([]) == content_kind(None) == "none" and Contents(tmp_path).kind == "none"


def test_pictures_only_from_below_the_data(tmp_path):
    from PIL import Image

    root = tmp_path / "data"
    root.mkdir()
    for i in range(120):
        Image.new("RGB", (2, 2)).save(root / f"{i}.png")
    audit = small()
    paths = [root / f"{i}.png" for i in range(120)]
    folder = written(tmp_path / "a", audit, content=paths, root=root)
    assert written(tmp_path / "b", audit, content=paths) and Contents(tmp_path / "b").root == root
    contents = Contents(folder)
    assert contents.media(3) == (root / "3.png", "image/png")
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"\x89PNG\r\n\x1a\n secret")
    os.remove(root / "4.png")
    os.symlink(secret, root / "4.png")
    with pytest.raises(DataError, match="not below the data's folder.*--data"):
        contents.media(4)
    table = pq.read_table(folder / "content.parquet").to_pydict()
    table["path"][5] = "../secret.png"
    import pyarrow as pa

    pq.write_table(pa.table(table), folder / "content.parquet")
    with pytest.raises(DataError, match="not below the data's folder"):
        Contents(folder).media(5)
    with (root / "6.png").open("r+b") as file:
        file.truncate(65 << 20)
    with pytest.raises(DataError, match="make it smaller"):
        Contents(folder).media(6)
    os.rename(root, tmp_path / "moved")
    with pytest.raises(DataError, match="--data"):
        Contents(folder).media(7)
    assert Contents(folder, root=tmp_path / "moved").media(7)[0] == tmp_path / "moved" / "7.png"
    outside = written(tmp_path / "c", audit, content=[secret] * 120, root=tmp_path / "moved")
    with pytest.raises(NoSuchItem, match="none to show"):
        Contents(outside).media(0)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF1234WEBPVP8 ", "image/webp"),
        (b"RIFF1234WAVE", "audio/wav"),
        (b"<svg onload=x>", "application/octet-stream"),
        (b"<html>", "application/octet-stream"),
    ],
)
def test_media_types_come_from_the_bytes(head, kind):
    assert media_type(head) == kind


def test_an_audit_from_before_has_keys_and_its_review_sample(review_repo, engine):
    folder = review_repo.latest()
    for name in ("review.parquet", "content.parquet", "content.json"):
        (folder / name).unlink()
    (anna,) = add_users(engine, "anna")
    desk = Desk.open(review_repo, engine, flush_every=None)
    lease = desk.next(anna, "estimation")
    sample = pq.read_table(folder / "review_sample.parquet")
    assert lease.item.item == sample["item"][0].as_py() and lease.item.content.kind == "none"
    from labelwright.webapp.answers import Answer

    for number in range(sample.num_rows):
        lease = desk.next(anna, "estimation")
        assert lease.item.item == sample["item"][number].as_py()
        desk.answer(anna, lease.token, Answer("keep"), client_id=str(number))
    estimate = desk.progress().estimate
    assert estimate.n == sample.num_rows and estimate.low == 0.0


def test_files_of_an_audit_hold_the_material(tmp_path, engine):
    audit = small()
    repo = Repository.create(
        tmp_path / "r.labels", fingerprint="f", source="x", space=json.loads(audit.space.to_json())
    )
    repo.write_audit(audit.files(content=[f"<b>{i}</b>" for i in range(120)], n_review=20))
    add_users(engine, "anna")
    desk = Desk.open(repo, engine, flush_every=None)
    item = desk.item("i3", User(1, "anna", "annotator"))
    assert item.content.text == "<b>3</b>" and item.given == "ant" and item.row == 3
    assert desk.item("i7", User(1, "anna", "annotator")).given is None
