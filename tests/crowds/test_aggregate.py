"""`aggregate`: from votes to labels, items and annotators worth a look; from a file to a repository."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import labelwright as lw
from labelwright.cli.main import main
from labelwright.crowds import METHODS, aggregate_file
from labelwright.crowds.aggregation import more_votes, mutual_information, top_two
from labelwright.crowds.choose import best_of
from labelwright.errors import ColumnError, DataError, LabelError, LabelwrightError, OptionError
from labelwright.labels import LabelSpace, SoftLabels, Votes
from labelwright.store import Repository


def test_labels_items_and_annotators(crowd):
    votes, truth = crowd()
    found = lw.aggregate(votes)
    order = [int(key[1:]) for key in found.items["item"].to_pylist()]
    right = np.array(found.items["label"].to_pylist()) == np.array(list("abc"))[truth[order]]
    assert right.mean() > 0.85 and len(found.labels) == 200 and found.method == "mixture"
    # votes of real crowds depend on each other, so it is careful: on independent ones, such as these, it claims too little
    assert right.mean() - 0.15 < np.mean(found.items["probability"]) < right.mean() + 0.02
    table = found.annotators.to_pandas().set_index("annotator")
    assert (
        table["information"].idxmin() == "w11" and bool(table.loc["w11", "spammer"]) and not table.loc["w0", "spammer"]
    )
    assert table["skill"].corr(pd.Series({f"w{i}": s for i, s in enumerate(np.linspace(0.95, 0.6, 12))})) > 0.8
    assert ((table["low"] <= table["skill"]) & (table["skill"] <= table["high"])).all()
    np.testing.assert_allclose(found.confusion("w0").sum(1), 1)
    assert found.scores["mixture"]["behind"] <= 2 * found.scores["mixture"]["error"] + 0.01
    assert sum(score.get("weight", 0) for score in found.scores.values()) == pytest.approx(1)
    assert (np.diff(found.trace) > -1e-9).all()


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_answers_in_every_form_of_input(method, crowd):
    votes, _ = crowd(60)
    one = lw.aggregate(votes, method=method)
    two = lw.aggregate(votes["item"], votes["annotator"], votes["label"], method=method)
    three = lw.aggregate(Votes.from_table(votes), method=method, random_state=0)
    np.testing.assert_array_equal(one.labels.dense(), two.labels.dense())
    np.testing.assert_array_equal(one.labels.dense(), three.labels.dense())
    shuffled = votes.sample(frac=1, random_state=1)
    four = lw.aggregate(shuffled, method=method)
    at = {key: i for i, key in enumerate(four.items["item"].to_pylist())}
    order = [at[key] for key in one.items["item"].to_pylist()]
    np.testing.assert_allclose(four.labels.dense()[order], one.labels.dense(), atol=1e-4)


def test_gold_is_heard_and_kept(crowd):
    votes, truth = crowd(100, seed=3)
    wrong = {f"t{i}": "abc"[(truth[i] + 1) % 3] for i in (0, 1)}
    for method in ("one_coin", "dawid_skene", "auto"):
        found = lw.aggregate(votes, method=method, gold=wrong)
        label = dict(zip(found.items["item"].to_pylist(), found.items["label"].to_pylist()))
        assert all(label[item] == name for item, name in wrong.items()) and found.settings["gold"] == 2


def test_repeats_abstentions_and_thin_votes_are_told():
    votes = pd.DataFrame({"item": list("aabbc"), "annotator": list("xxyzx"), "label": ["1", "1", "2", None, "1"]})
    found = lw.aggregate(votes)
    assert found.settings["repeats"] == 1 and found.settings["abstentions"] == 1
    assert any("counted once" in note for note in found.notes) and any("too few items" in note for note in found.notes)
    assert found.method == "vote_shares"


def test_of_methods_as_good_as_the_best_the_first_is_taken():
    scores = {
        "a": {"behind": 0.0, "error": 0.0},
        "b": {"behind": 0.1, "error": 0.2},
        "c": {"behind": 1.0, "error": 0.1},
    }
    assert best_of(scores, ("c", "b", "a")) == "b"


def test_figures_of_items_and_annotators():
    assert mutual_information(np.eye(4), np.full(4, 0.25)) == pytest.approx(2)
    assert mutual_information(np.full((3, 3), 1 / 3), np.full(3, 1 / 3)) == pytest.approx(0, abs=1e-12)
    assert more_votes(np.array([0.99, 0.5, 0.2]), np.array([1, 1, 1]), 1.0).tolist() == [0, 3, 5]
    assert np.isnan(more_votes(np.array([0.5]), np.array([1]), 1e-3))[0]
    # 10 votes of dependence 0.1 count as 5.26; 0.9 more of them are wanted: 6.16 is what 14.5 votes count as
    assert (
        more_votes(np.array([0.95 / 0.05 / np.exp(0.9) / (1 + 0.95 / 0.05 / np.exp(0.9))]), np.array([10]), 1.0, 0.1)[0]
        == 5
    )
    soft = SoftLabels.from_dense([[0.2, 0.5, 0.3]], LabelSpace(["a", "b", "c"]))
    assert [float(x[0]) for x in top_two(soft)] == pytest.approx([1, 2, 0.5, 0.3])


def test_from_a_file_to_a_repository_and_its_page(crowd, tmp_path, monkeypatch, capsys):
    votes, _ = crowd(80)
    votes = votes.rename(columns={"item": "task", "annotator": "<b>worker</b>", "label": "answer"})
    votes.loc[0, "task"] = "<script>x()</script>"
    votes.to_csv(path := tmp_path / "votes.csv", index=False)
    monkeypatch.chdir(tmp_path)
    words = ["aggregate", str(path), "--item", "task", "--annotator", "<b>worker</b>", "--label", "answer", "--json"]
    monkeypatch.setattr(sys, "argv", ["labelwright", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    folder = Path(told["repository"]) / "audits" / told["audit"]
    page = (folder / "report.html").read_text()
    assert "<script" not in page and "Annotators worth a look" in page
    assert pd.read_parquet(folder / "annotators.parquet").shape[0] == 12
    back = SoftLabels.load(folder / "labels.npz")
    assert len(back) == told["items"]
    repo = Repository.open(told["repository"])
    history = repo.show("t5").to_pylist()
    assert sorted({event["kind"] for event in history}) == ["import", "vote"]
    label = {row["item"]: row["label"] for row in repo.labels().to_pylist()}
    assert len(label) == told["items"]
    n = repo.events().num_rows
    aggregate_file(path, item="task", annotator="<b>worker</b>", label="answer", method="majority")
    assert repo.events().num_rows == n + told["items"]  # new labels, the same votes


@pytest.mark.parametrize(
    ("change", "options", "error", "told"),
    [
        ({"label": [None] * 4}, {}, LabelwrightError, "."),
        ({}, {"method": "median"}, OptionError, "majority"),
        ({}, {"dependence": 0.1}, OptionError, "name the method"),
        ({}, {"method": "majority", "speed": 3}, OptionError, "an option of this method"),
        ({}, {"gold": {"t9": "a"}}, DataError, "use the same keys"),
        ({}, {"gold": {"t0": "z"}}, LabelError, "all classes"),
        ({}, {"gold": {"item": ["t0", "t0"], "label": ["a", "b"]}}, DataError, "drop one of them"),
        ({}, {"costs": {"x": -1}}, OptionError, "leave it out for 1"),
        ({"item": ["t0", None, "t1", "t1"]}, {}, LabelError, "drop these rows"),
    ],
)
def test_bad_input(change, options, error, told):
    votes = {"item": ["t0", "t0", "t1", "t1"], "annotator": list("xyxy"), "label": list("abab")} | change
    with pytest.raises(error, match=told):
        lw.aggregate(votes, **options)


def test_a_column_alone_and_a_column_that_is_not_there(tmp_path):
    with pytest.raises(OptionError, match="three columns|items, annotators and labels"):
        lw.aggregate(["a"], ["x"])
    (tmp_path / "v.csv").write_text("item,worker,label\n1,2,3\n")
    with pytest.raises(ColumnError, match="--annotator"):
        aggregate_file(tmp_path / "v.csv", out=tmp_path / "o.labels")
