"""Items that may have several classes: their queue learns per doubted class, and their answers come out as sets."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

import labelwright as lw
from labelwright.store import Repository
from labelwright.webapp import tables
from labelwright.webapp.answers import Answer
from labelwright.webapp.database import reading
from labelwright.webapp.desk import Desk

CLASSES = "abcd"


def made(folder, n: int = 120, wrong: int = 30):
    """An audit of sets of which `wrong` lack "b" or have "c" too much, in turns; the repository and the true sets."""
    rng = np.random.default_rng(0)
    truth = rng.random((n, 4)) < 0.5
    truth[:wrong:2, 1], truth[1:wrong:2, 2] = True, False
    given = truth.copy()
    given[:wrong:2, 1], given[1:wrong:2, 2] = False, True
    p = np.where(truth, 0.9, 0.1) + rng.uniform(-0.08, 0.08, truth.shape)
    sets = [[name for name, there in zip(CLASSES, row) if there] for row in given]
    audit = lw.audit(sets, p, multi=True, items=[f"m{i:03d}" for i in range(n)], space=list(CLASSES))
    space = json.loads(audit.space.to_json())
    repo = Repository.create(folder / "m.labels", fingerprint="f", source="x", space=space)
    repo.write_audit(audit.files(n_review=20))
    true = {f"m{i:03d}": [c for c, there in zip(CLASSES, row) if there] for i, row in enumerate(truth)}
    return repo, audit, given, true


def test_the_doubted_class_is_the_one_furthest_from_the_evidence(tmp_path):
    repo, audit, given, _ = made(tmp_path)
    told = pq.read_table(repo.latest() / "review.parquet")["doubted"].to_pylist()
    for row, text in enumerate(told):  # a naive loop
        far = [abs(float(given[row][k]) - float(audit.label_dist[row][k])) for k in range(4)]
        k = far.index(max(far))
        assert json.loads(text) == ([[CLASSES[k]], []] if given[row][k] else [[], [CLASSES[k]]])
    assert [json.loads(t) for t in told[:2]] == [[[], ["b"]], [["c"], []]]


def cell_of(desk, key):
    with reading(desk._engine) as conn:
        item = conn.execute(select(tables.items).where(tables.items.c.key == key)).one()
        return conn.execute(select(tables.cells).where(tables.cells.c.id == item.cell_id)).one()


def test_answers_move_the_items_with_the_same_doubt_and_no_others(tmp_path, engine, people):
    repo, _, _, true = made(tmp_path)
    desk = Desk.open(repo, engine, flush_every=None)
    lacks, has = cell_of(desk, "m000"), cell_of(desk, "m001")
    assert (lacks.given, lacks.suggested, has.given, has.suggested) == ("[]", '["b"]', '["c"]', "[]")
    for n in range(5):  # in truth nobody lacks b ...
        desk.answer_item(people.anna, f"m{2 * n:03d}", Answer("keep"), client_id=f"k{n}")
    for n in range(5):  # ... and all have c too much
        key = f"m{2 * n + 1:03d}"
        desk.answer_item(people.anna, key, Answer("classes", tuple(true[key])), client_id=f"c{n}")
    lacks, has = cell_of(desk, "m020"), cell_of(desk, "m021")
    assert (lacks.answered, lacks.wrong, has.answered, has.wrong) == (5, 0, 5, 5)
    assert lacks.shift < 0 < has.shift
    others = [cell_of(desk, f"m{i:03d}") for i in range(60, 120)]
    assert all(c.shift == 0 for c in others if c.id not in (lacks.id, has.id))
    assert desk.next(people.anna).item.item in {f"m{i:03d}" for i in range(11, 30, 2)}  # c's come first now
    assert "Of 5 answered items that have c in doubt, 5 were wrong." in desk.item("m021", people.anna).why
    assert "Of 5 answered items that perhaps lack b, 0 were wrong." in desk.item("m020", people.anna).why
    assert "By the evidence it lacks: b." in desk.item("m020", people.anna).why
    assert "By the evidence it should not have: c." in desk.item("m021", people.anna).why


def test_an_older_audit_without_the_column_opens_with_one_cell(tmp_path, engine, people):
    repo, *_ = made(tmp_path, n=40, wrong=6)
    path = repo.latest() / "review.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["doubted"]), path)
    desk = Desk.open(repo, engine, flush_every=None)
    with reading(engine) as conn:
        assert len(conn.execute(select(tables.cells)).all()) == 1
    assert desk.multi and desk.next(people.anna) is not None


@pytest.mark.parametrize("answer", [Answer("classes", ()), Answer("classes", tuple(CLASSES)), Answer("keep")])
def test_sets_come_back_as_they_were_said_in_every_file(tmp_path, engine, people, answer):
    import io

    import pyarrow.csv as csv

    from labelwright.store.exchange import export_labels, import_labels

    repo, audit, given, _ = made(tmp_path, n=40, wrong=6)
    desk = Desk.open(repo, engine, flush_every=None, gold={"m003": list(CLASSES)}, gold_share=0.0)
    desk.answer_item(people.anna, "m003", answer, client_id="1")
    names = [c for c, there in zip(CLASSES, given[3]) if there] if answer.kind == "keep" else list(answer.classes)
    (row,) = [json.loads(line) for line in b"".join(desk.export("jsonl")).splitlines()]
    assert row["value"] == names and row["label"] == ("|".join(names) or "none of these")
    again = lw.audit(audit.labels, audit.pred_probs, multi=True, items=audit.items, reviews=pa.Table.from_pylist([row]))
    assert again.reviewed.sum() == 1 and again.corrected()[3].sets()[0] == names
    table = pq.read_table(io.BytesIO(b"".join(desk.export("parquet"))))
    assert json.loads(table["value"][0].as_py()) == names
    assert csv.read_csv(io.BytesIO(b"".join(desk.export("csv"))))["value"][0].as_py() == json.dumps(names)
    assert desk.people()[0].gold_right == float(names == list(CLASSES))
    assert desk.flush() == 1
    path = export_labels(repo, tmp_path / "corrected.parquet")
    back = import_labels(path)
    assert dict(zip(back.items, back.multi().sets()))["m003"] == names
