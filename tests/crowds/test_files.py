"""`labelwright aggregate` of every shape of votes, from files into a repository."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import labelwright as lw
from labelwright.cli.main import app
from labelwright.crowds import aggregate_file, files
from labelwright.errors import ColumnError, DataError, LabelwrightError, OptionError
from labelwright.store import Repository


def crowd(seed=0, n=200, a=8, k=3, per_item=3):
    rng = np.random.default_rng(seed)
    truth, skill = rng.integers(0, k, n), rng.uniform(0.5, 0.95, a)
    item, who = np.repeat(np.arange(n), per_item), rng.integers(0, a, n * per_item)
    label = np.where(rng.random(len(item)) < skill[who], truth[item], rng.integers(0, k, len(item)))
    names = np.array(["ant", "bee", "cat"])
    votes = pa.table({"item": [f"i{i}" for i in item], "annotator": [f"w{w}" for w in who], "label": names[label]})
    return votes, names[truth]


@pytest.fixture
def votes(tmp_path: Path) -> Path:
    pq.write_table(crowd()[0], tmp_path / "votes.parquet")
    return tmp_path / "votes.parquet"


def run(*args: object) -> dict:
    result = CliRunner().invoke(app, ["aggregate", *map(str, args), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.strip().splitlines()[-1])


def latest(path: Path) -> Path:
    folder = Repository.open(path).latest()
    assert folder is not None
    return folder


def probabilities(truth: np.ndarray, seed=1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    ids = np.array([["ant", "bee", "cat"].index(t) for t in truth])
    return 0.6 * np.eye(3)[np.where(rng.random(len(ids)) < 0.85, ids, rng.integers(0, 3, len(ids)))] + 0.4 / 3


def test_a_classifier_beside_the_votes(votes: Path, tmp_path: Path):
    truth = crowd()[1]
    p = probabilities(truth)
    np.save(tmp_path / "p.npy", p)
    named = pa.table(
        {"item": [f"i{i}" for i in range(200)][::-1], "cat": p[::-1, 2], "ant": p[::-1, 0], "bee": p[::-1, 1]}
    )
    pq.write_table(named, tmp_path / "p.parquet")
    alone = aggregate_file(votes, out=tmp_path / "alone.labels").aggregation
    by_name = run(votes, "--pred-probs", tmp_path / "p.parquet", "--out", tmp_path / "a.labels")
    by_order = run(votes, "--pred-probs", tmp_path / "p.npy", "--out", tmp_path / "b.labels")
    items = [pq.read_table(latest(tmp_path / f"{name}.labels") / "items.parquet") for name in ("a", "b")]
    assert items[0].equals(items[1]) and by_name["method"] == by_order["method"]
    right = [np.mean(np.array(t["label"].to_pylist()) == truth) for t in (alone.items, items[0])]
    assert right[1] > right[0]


def test_features_of_the_items(votes: Path, tmp_path: Path):
    truth = crowd()[1]
    rng = np.random.default_rng(2)
    x = np.eye(3)[[["ant", "bee", "cat"].index(t) for t in truth]] + rng.normal(0, 0.4, (200, 3))
    np.save(tmp_path / "x.npy", x)
    run(votes, "--features", tmp_path / "x.npy", "--out", tmp_path / "a.labels")
    label = pq.read_table(latest(tmp_path / "a.labels") / "items.parquet")["label"].to_pylist()
    alone = aggregate_file(votes, out=tmp_path / "alone.labels").aggregation.items["label"].to_pylist()
    assert np.mean(np.array(label) == truth) > np.mean(np.array(alone) == truth)


def test_several_classes_in_a_cell(tmp_path: Path):
    table = pa.table(
        {
            "item": ["x", "x", "x", "y", "y", "y"],
            "annotator": ["a", "b", "c"] * 2,
            "label": ["sun|sea", "sun", "sea | sun", "", "sea", None],
        }
    )
    pq.write_table(table, tmp_path / "v.parquet")
    told = run(tmp_path / "v.parquet", "--multi", "--out", tmp_path / "v.labels")
    assert told["settings"]["votes"] == 6 and told["items"] == 2
    rows = {r["item"]: r for r in pq.read_table(latest(tmp_path / "v.labels") / "items.parquet").to_pylist()}
    assert set(rows["x"]["classes"]) == {"sun", "sea"} and rows["y"]["annotations"] == 3
    repo = Repository.open(tmp_path / "v.labels")
    assert set(json.loads(repo.events("x", kinds=("import",))["value"][0].as_py())) == {"sun", "sea"}
    page = (tmp_path / "v.labels" / "report.html").read_text()
    assert "several classes each" in page and "sun" in page
    lists = table.set_column(2, "label", pa.array([["sun", "sea"], ["sun"], ["sea", "sun"], [], ["sea"], None]))
    assert files.one_per_row(lists).to_pylist() == files.one_per_row(table).to_pylist()


def test_votes_in_passes_go_into_a_repository(votes: Path, tmp_path: Path):
    gold = pa.table({"item": ["i0", "i1"], "label": ["ant", "bee"]})
    pq.write_table(gold, tmp_path / "gold.parquet")
    told = run(
        votes,
        "--engine",
        "serial",
        "--method",
        "one_coin",
        "--gold",
        tmp_path / "gold.parquet",
        "--out",
        tmp_path / "s.labels",
    )
    whole = lw.aggregate(crowd()[0], method="one_coin", gold=gold)
    repo = Repository.open(tmp_path / "s.labels")
    rows = {r["item"]: r for r in pq.read_table(repo.latest() / "items.parquet").to_pylist()}
    for row in whole.items.to_pylist():
        assert rows[row["item"]]["label"] == row["label"]
        np.testing.assert_allclose(rows[row["item"]]["probability"], row["probability"], atol=2e-6)
    assert told["unsure_items"] == whole.summary()["unsure_items"]
    assert not list((repo.path / "cache").glob("votes-*"))
    assert repo.events("i5", kinds=("import",)).num_rows == 1
    assert "Items worth a look" in (repo.path / "report.html").read_text()
    from labelwright.stream import open_rows

    assert open_rows(repo.latest() / "labels.parquet").shape == (200, 3)


def test_many_votes_are_read_in_passes_by_themselves(votes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(files, "LARGE", 100)
    found = aggregate_file(votes, out=tmp_path / "a.labels").aggregation
    assert found.settings["passes"] > 3


def test_an_earlier_run_as_history(votes: Path, tmp_path: Path):
    first = aggregate_file(votes, method="one_coin", out=tmp_path / "a.labels")
    told = run(
        votes, "--method", "one_coin", "--history", first.folder / "annotators.parquet", "--out", tmp_path / "b.labels"
    )
    assert told["settings"]["history"] == 8


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"multi": True, "gold": "g"}, OptionError, "gold with several classes"),
        ({"engine": "serial", "features": "x"}, OptionError, "features"),
        ({"pred_probs": "short.npy"}, DataError, "3 rows in short.npy for 200 items"),
        ({"pred_probs": "lacks.csv"}, ColumnError, "no column for the class 'bee'"),
        ({"pred_probs": "foreign.csv"}, DataError, "no item of the votes in foreign.csv"),
        ({"label": "answer", "engine": "serial"}, ColumnError, "no column 'answer'"),
    ],
)
def test_what_does_not_go_together(options: dict, error: type, told: str, votes: Path, tmp_path: Path):
    np.save(tmp_path / "short.npy", np.ones((3, 3)) / 3)
    (tmp_path / "lacks.csv").write_text("item,ant,cat\ni0,0.5,0.5\n")
    (tmp_path / "foreign.csv").write_text("item,ant,bee,cat\nq,0.5,0.5,0\n")
    options = {k: str(tmp_path / v) if k == "pred_probs" else v for k, v in options.items()}
    with pytest.raises(error, match=told):
        aggregate_file(votes, out=tmp_path / "a.labels", **options)
    assert issubclass(error, LabelwrightError)


def test_a_classifier_and_what_excludes_it():
    votes, truth = crowd()
    p = probabilities(truth)
    for options, told in (
        ({"features": p}, "pred_probs and features"),
        ({"method": "glad"}, "'glad'"),
        ({"history": {"w0": (3, 4)}}, "history beside a classifier"),
    ):
        with pytest.raises(OptionError, match=told):
            lw.aggregate(votes, pred_probs=p, **options)
    with pytest.raises(LabelwrightError, match="row per item"):
        lw.aggregate(votes, pred_probs=p[:5])


def test_ordered_classes_are_told_to_auto(votes: Path, tmp_path: Path):
    told = run(votes, "--out", tmp_path / "o.labels", "--ordered", "bee,ant,cat")
    assert "ordinal" in told["scores"]
    done = aggregate_file(votes, out=tmp_path / "p.labels", ordered=["bee", "ant", "cat"])
    assert done.aggregation.space.classes == ("bee", "ant", "cat") and done.aggregation.space.structure == "ordered"
    assert "ordinal" not in run(votes, "--out", tmp_path / "q.labels")["scores"]


@pytest.mark.parametrize("options", [{"multi": True}, {"engine": "serial"}, {"workers": 2}])
def test_ordered_classes_need_votes_of_one_class_in_memory(votes: Path, tmp_path: Path, options):
    with pytest.raises(OptionError, match="ordered"):
        aggregate_file(votes, out=tmp_path / "o.labels", ordered="sorted", **options)
    assert not (tmp_path / "o.labels").exists()


def test_what_passes_cannot_hear_is_refused_however_they_come_about(votes: Path, tmp_path: Path, monkeypatch):
    np.save(tmp_path / "p.npy", probabilities(crowd()[1]))
    for options in ({"pred_probs": tmp_path / "p.npy"}, {"multi": True}, {"history": votes}):
        with pytest.raises(OptionError, match="leave engine and workers out"):
            aggregate_file(votes, out=tmp_path / "o.labels", workers=2, **options)
    monkeypatch.setattr(files, "LARGE", 10)
    with pytest.raises(OptionError, match="aggregate parts of the items"):
        aggregate_file(votes, out=tmp_path / "o.labels", multi=True)
