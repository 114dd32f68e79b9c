"""Votes read in passes: the same answers as in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import labelwright as lw
from labelwright.crowds.streamed import aggregate_rows, sort_votes, sorted_votes
from labelwright.errors import ColumnError, DataError, LabelError, OptionError
from labelwright.labels import LabelSpace
from labelwright.stream import open_rows


def crowd(seed=0, n=300, a=20, k=3, per_item=4, weights=False) -> pa.Table:
    rng = np.random.default_rng(seed)
    truth, skill = rng.integers(0, k, n), rng.uniform(0.4, 0.95, a)
    item = np.repeat(np.arange(n), per_item)
    who = rng.integers(0, a, n * per_item)
    right = rng.random(len(item)) < skill[who]
    label = np.where(right, truth[item], rng.integers(0, k, len(item)))
    order = rng.permutation(len(item))
    names = np.array([f"c{j}" for j in range(k)])
    columns = {"item": [f"i{i}" for i in item[order]], "annotator": who[order], "label": names[label[order]]}
    if weights:
        columns["weight"] = rng.choice([0.5, 1.0, 2.0], len(item))
    return pa.table(columns)


def read_back(found) -> dict[str, tuple]:
    table = pq.read_table(found.folder / "items")
    return {row["item"]: row for row in table.to_pylist()}


@pytest.mark.parametrize("method", ["dawid_skene", "one_coin"])
@pytest.mark.parametrize("weights", [False, True])
def test_the_same_as_in_memory(method: str, weights: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sorted_votes, "PART", 300)
    monkeypatch.setattr(sorted_votes, "PIECE", 64)
    votes = crowd(weights=weights)
    gold = {f"i{i}": "c1" for i in range(5)}
    whole = lw.aggregate(votes, method=method, gold=gold)
    found = aggregate_rows(votes, tmp_path / "out", method=method, gold=gold, weight="weight" if weights else None)
    mine = read_back(found)
    for row in whole.items.to_pylist():
        other = mine[row["item"]]
        assert other["label"] == row["label"] and other["votes"] == row["votes"] and other["gold"] == row["gold"]
        assert other["more_votes"] == row["more_votes"]
        np.testing.assert_allclose(
            [other["probability"], other["second_probability"], other["entropy"]],
            [row["probability"], row["second_probability"], row["entropy"]],
            atol=2e-6,
        )
    a = {row["annotator"]: row for row in found.annotators.to_pylist()}
    for row in whole.annotators.to_pylist():
        other = a[row["annotator"]]
        for name in ("votes", "skill", "low", "high", "agreement", "information", "spammer", "cost"):
            np.testing.assert_allclose(other[name], row[name], atol=1e-6, err_msg=name)
    np.testing.assert_allclose(found.trace, whole.trace, rtol=1e-9)
    told, whole_told = found.summary(), whole.summary()
    assert told["unsure_items"] == whole_told["unsure_items"] and told["items"] == 300
    np.testing.assert_allclose(told["expected_accuracy"], whole_told["expected_accuracy"], atol=1e-6)
    least = sorted(row["probability"] for row in mine.values())[:60]
    np.testing.assert_allclose(found.doubtful["probability"].to_numpy(), least)


def test_the_labels_are_rows_for_other_verbs(tmp_path: Path):
    votes = crowd()
    found = aggregate_rows(votes, tmp_path / "out", method="dawid_skene")
    rows = open_rows(found.folder / "labels")
    assert rows.shape == (300, 3) and rows.classes == ("c0", "c1", "c2")
    soft = next(iter(rows.chunks())).data
    items = pq.read_table(found.folder / "items")
    assert soft.hard().values().tolist() == items["label"].to_pylist()
    assert not (found.folder / "work").exists()
    assert {p.name for p in found.folder.iterdir()} == {"items", "labels", "annotators.parquet", "summary.json"}


@pytest.mark.parametrize("engine", ["serial", "threads", "ray"])
def test_engines_give_the_same_bits(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if engine == "ray":
        pytest.importorskip("ray")
    monkeypatch.setattr(sorted_votes, "PIECE", 64)
    votes = crowd(1)
    one = aggregate_rows(votes, tmp_path / "a", method="dawid_skene", engine="serial", max_iter=5)
    two = aggregate_rows(votes, tmp_path / "b", method="dawid_skene", engine=engine, workers=2, max_iter=5)
    assert one.trace == two.trace
    assert pq.read_table(tmp_path / "a" / "items").equals(pq.read_table(tmp_path / "b" / "items"))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(10, 400), st.integers(1, 200))
def test_the_cut_changes_nothing(seed: int, part: int, piece: int):
    import tempfile

    votes = crowd(seed, n=60, a=7)
    found = []
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for i, (size, at) in enumerate([(1 << 20, 1 << 20), (part, piece)]):
            patch.setattr(sorted_votes, "PART", size)
            patch.setattr(sorted_votes, "PIECE", at)
            done = aggregate_rows(votes, Path(folder) / str(i), method="dawid_skene", max_iter=4)
            found.append(read_back(done))
    assert found[0].keys() == found[1].keys()
    for key, row in found[0].items():
        np.testing.assert_allclose(found[1][key]["probability"], row["probability"], atol=1e-6)


def test_sorted_votes_are_all_there_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sorted_votes, "PART", 100)
    monkeypatch.setattr(sorted_votes, "PIECE", 50)
    votes = crowd(2, n=80)
    again = pa.concat_tables([votes, votes.slice(0, 10)])
    label = again["label"].to_pylist()
    label[5] = None
    again = again.set_column(2, "label", pa.array(label))
    read = sort_votes(open_rows(again), tmp_path / "v")
    items, who = read.keys("items").to_pylist(), read.keys("annotators").to_pylist()
    said = {(r["item"], r["annotator"], r["label"]) for r in again.to_pylist() if r["label"] is not None}
    found = []
    for chunk in read.chunks(37):
        votes_there = chunk.data.prepared
        assert np.array_equal(votes_there.start, np.searchsorted(votes_there.item, np.arange(votes_there.n_items + 1)))
        for i, a, k in zip(votes_there.item, votes_there.annotator, votes_there.label):
            found.append((items[chunk.data.first + i], who[a], read.space.classes[k]))
    assert len(found) == len(set(found)) == len(read) and set(found) == said
    assert read.abstentions == 1 and read.repeats >= 9
    assert any("repeat what" in note for note in read.notes)


def test_auto_chooses_by_held_out_votes_of_a_sample(tmp_path: Path):
    found = aggregate_rows(crowd(3, n=500, a=10), tmp_path / "out")
    assert set(found.scores) == {"one_coin", "dawid_skene"} and found.method in found.scores
    assert found.settings["chosen"] == "by held-out votes"
    alone = aggregate_rows(crowd(3, n=20, per_item=1), tmp_path / "alone")
    assert alone.method == "one_coin" and any("no item has two votes" in note for note in alone.notes)


def test_a_killed_aggregation_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    votes = crowd(4)
    whole = aggregate_rows(votes, tmp_path / "whole", method="dawid_skene")
    from labelwright.crowds.streamed import verb

    def die(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(verb, "_dependence", die)
        with pytest.raises(KeyboardInterrupt):
            aggregate_rows(votes, tmp_path / "cut", method="dawid_skene", max_iter=3)
    seen = []
    found = aggregate_rows(
        votes, tmp_path / "cut", method="dawid_skene", progress=lambda step, done, total: seen.append(step)
    )
    assert "sorting votes" not in seen
    np.testing.assert_allclose(found.trace[-1], whole.trace[-1], rtol=2e-6)
    assert all(b >= a for a, b in zip(found.trace, found.trace[1:]))


def test_numbers_as_keys_and_a_class_nobody_voted_for(tmp_path: Path):
    votes = pa.table({"item": [7, 7, 8, 8, 9], "annotator": ["a", "b", "a", "b", "a"], "label": [1, 1, 0, 1, 0]})
    found = aggregate_rows(votes, tmp_path / "out", method="one_coin", space=LabelSpace([0, 1, 2]))
    rows = read_back(found)
    assert set(rows) == {7, 8, 9} and rows[7]["label"] == 1 and found.space.classes == (0, 1, 2)
    np.testing.assert_allclose(found.confusion(0).sum(1), 1)


@pytest.mark.parametrize(
    ("change", "options", "error", "told"),
    [
        ({"item": None}, {}, LabelError, "votes without item, first in row 1"),
        ({"annotator": None}, {}, LabelError, "votes without annotator"),
        ({}, {"label": "answer"}, ColumnError, "no column 'answer'"),
        ({}, {"gold": {"i1": "zebra"}}, LabelError, "gold label 'zebra'"),
        ({}, {"method": "glad"}, OptionError, "one_coin"),
        ({}, {"space": LabelSpace(["c0", "c1"])}, LabelError, "c2"),
        ({"label": "all"}, {}, LabelError, "all of them abstentions"),
    ],
)
def test_bad_input(change: dict, options: dict, error: type, told: str, tmp_path: Path):
    votes = crowd(5, n=50)
    for name, value in change.items():
        column = votes[name].to_pylist()
        column = [None] * len(column) if value == "all" else [column[0], None, *column[2:]]
        votes = votes.set_column(votes.column_names.index(name), name, pa.array(column, votes[name].type))
    with pytest.raises(error, match=told):
        aggregate_rows(votes, tmp_path / "out", **options)


def test_other_folders_are_left_alone(tmp_path: Path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    with pytest.raises(DataError, match="holds something already"):
        aggregate_rows(crowd(), tmp_path / "full")
    sort_votes(open_rows(crowd(6)), tmp_path / "v")
    with pytest.raises(DataError, match="another source"):
        sort_votes(open_rows(crowd(7)), tmp_path / "v")
    with pytest.raises(OptionError, match="at most 16 classes"):
        aggregate_rows(crowd(8, k=20, n=100), tmp_path / "many", method="dawid_skene")
    with pytest.raises(DataError, match="no votes"):
        aggregate_rows(crowd().slice(0, 0), tmp_path / "none")
