"""Rules over tables: same answers from any table and any number of workers, failures counted, coverage."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.annotators import RuleVotes, apply_rules, keywords, model, pattern, rule
from labelwright.annotators.rule_votes import wilson
from labelwright.errors import ColumnError, DataError, LabelError, OptionError
from labelwright.labels import LabelSpace

TEXTS = ["subscribe now", "love it", "http://x love", "hi", None]
ROWS = [{"key": f"k{i}", "text": text, "n": i} for i, text in enumerate(TEXTS)]


def rules() -> list:
    return [
        keywords({"spam": ["subscribe"]}, column="text", name="words"),
        pattern({"spam": "http", "ham": "love"}, column="text", name="signs"),
        rule(lambda row: "ham" if len(row["text"]) < 8 else None, name="short"),
    ]


WANT = [[1, -1, -1], [-1, 0, 0], [-1, -1, -1], [-1, -1, 0], [-1, -1, -1]]  # ham 0, spam 1


@pytest.mark.parametrize("form", [list, pd.DataFrame, pl.DataFrame, pa.Table.from_pylist, lambda rows: {k: [r[k] for r in rows] for k in rows[0]}])  # fmt: skip  # noqa: E501
def test_any_table_gives_the_same_votes(form):
    found = apply_rules(rules(), form(ROWS), item="key")
    assert found.matrix.tolist() == WANT and found.space.classes == ("ham", "spam")
    assert found.items.tolist() == ["k0", "k1", "k2", "k3", "k4"] and found.rules == ("words", "signs", "short")
    (failure,) = found.failures  # len(None)
    assert failure[:4] == ("short", 1, 4, "k4") and "TypeError" in failure.error
    assert "rule 'short' failed on 1 rows; first row 4 (item k4)" in str(failure)


def test_votes_with_and_without_abstentions():
    found = apply_rules(rules(), ROWS)
    every, spoken = found.votes(), found.votes(abstentions=False)
    assert len(every.item) == 15 and (every.label < 0).sum() == 11 and len(spoken.item) == 4
    for votes in (every, spoken):
        assert votes.n_items == 5 and votes.annotators.tolist() == ["words", "signs", "short"]
        assert votes.counts().tolist() == [[0, 1], [2, 0], [0, 0], [1, 0], [0, 0]]


MODULE = """
import os
from labelwright.annotators import rule

@rule
def even(row):
    return "even" if row["n"] % 2 == 0 else None

def plain(row):
    return "odd" if row["n"] % 2 else None

def fails(row):
    if row["n"] == 4321:
        raise ValueError("not this one")

def dies(row):
    if row["n"] == 3:
        os._exit(1)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "some_rules_of_a_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    import some_rules_of_a_test as made

    yield made
    sys.modules.pop("some_rules_of_a_test", None)


@pytest.mark.parametrize("workers", [None, 1, 2])
def test_processes_and_threads_give_the_same_votes(module, workers):
    from labelwright.annotators.apply import _can_travel

    closure = rule(lambda row: "even" if row["n"] % 4 == 0 else None, name="four")
    used = [module.even, closure, module.plain, module.fails]
    assert [_can_travel(r) for r in (module.even, closure, rule(module.plain))] == [True, False, True]
    seen = []
    n = np.arange(5000)
    found = apply_rules(used, {"n": n}, workers=workers, progress=lambda *at: seen.append(at))
    assert (found.matrix[:, 0] == np.where(n % 2 == 0, 0, -1)).all()
    assert (found.matrix[:, 1] == np.where(n % 4 == 0, 0, -1)).all()
    assert (found.matrix[:, 2] == np.where(n % 2, 1, -1)).all()
    assert seen == [(2000, 5000), (4000, 5000), (5000, 5000)]
    assert found.failures == (("fails", 1, 4321, 4321, "ValueError: not this one"),)


def test_a_worker_that_dies_is_told(module):
    with pytest.raises(OptionError, match=r"workers=None to see which rule"):
        apply_rules([module.dies], {"n": np.arange(10)}, workers=2, space=LabelSpace(["a"]))


def test_what_is_no_class_of_the_space_is_a_failure():
    odd = rule(lambda row: ["ham", "eggs", 3.5, True][row["n"] % 4], name="odd")
    found = apply_rules([odd], {"n": range(4000)}, space=LabelSpace(["ham"]))
    (failure,) = found.failures
    assert failure[:3] == ("odd", 3000, 1) and failure.error == "class 'eggs' is none of the space"
    assert (found.matrix[:, 0] >= 0).sum() == 1000


def test_rows_cannot_be_changed_by_a_rule():
    def greedy(row):
        row["text"] = "mine"

    found = apply_rules([greedy], ROWS, space=LabelSpace(["a"]))
    assert found.failures[0].n_rows == 5 and "TypeError" in found.failures[0].error


def test_a_model_that_forgets_rows_is_a_failure():
    class Short:
        def predict(self, x):
            return ["a"]

    found = apply_rules([model(Short(), column="text")], ROWS, space=LabelSpace(["a"]))
    assert found.failures[0].n_rows == 5 and "1 votes for 5 rows" in found.failures[0].error


# -- coverage -------------------------------------------------------------------------------------------------------------
def naive_coverage(matrix: np.ndarray, gold: list) -> list[tuple]:
    out = []
    for j in range(matrix.shape[1]):
        votes = overlap = conflict = checked = right = 0
        for i, row in enumerate(matrix):
            if row[j] < 0:
                continue
            others = [row[k] for k in range(len(row)) if k != j and row[k] >= 0]
            votes, overlap = votes + 1, overlap + bool(others)
            conflict += any(o != row[j] for o in others)
            if gold[i] is not None:
                checked, right = checked + 1, right + (gold[i] == row[j])
        n = len(matrix)
        out.append((votes, votes / n, overlap / n, conflict / n, checked, right / checked if checked else None))
    return out


@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 10_000))
def test_coverage_is_the_double_loop(n, m, seed):
    rng = np.random.default_rng(seed)
    matrix = rng.integers(-1, 3, (n, m)).astype(np.int32)
    gold = [None if g < 0 else int(g) for g in rng.integers(-1, 3, n)]
    found = RuleVotes(matrix, np.arange(n), tuple(f"r{j}" for j in range(m)), LabelSpace(range(3)))
    table = found.coverage(gold)
    names = ("votes", "coverage", "overlap", "conflict", "checked", "accuracy")
    for j, want in enumerate(naive_coverage(matrix, gold)):
        got = [table[name][j].as_py() for name in names]
        assert got[:5] == pytest.approx(want[:5])
        assert got[5] == pytest.approx(want[5]) if want[5] is not None else np.isnan(got[5])
        assert table["classes"][j].as_py() == [str(c) for c in np.unique(matrix[:, j][matrix[:, j] >= 0])]
        assert 0 <= table["accuracy_low"][j].as_py() <= table["accuracy_high"][j].as_py() <= 1


def test_wilson_by_hand_and_by_coverage():
    low, high = wilson(np.array([8, 0]), np.array([10, 0]), 0.95)
    assert (round(low[0], 4), round(high[0], 4), low[1], high[1]) == (0.4902, 0.9433, 0, 1)  # Wilson's 8 of 10
    right = np.random.default_rng(0).binomial(60, 0.8, 4000)
    low, high = wilson(right, np.full(4000, 60), 0.9)
    assert 0.86 < ((low <= 0.8) & (high >= 0.8)).mean() < 0.94


def test_coverage_without_gold_has_no_accuracy_and_counts_failures():
    table = apply_rules(rules(), ROWS).coverage()
    assert table.column_names == ["rule", "classes", "votes", "coverage", "overlap", "conflict", "failures"]
    assert table["failures"].to_pylist() == [0, 0, 1] and table["classes"].to_pylist() == [["spam"], ["ham"], ["ham"]]


def test_edges():
    empty = apply_rules(rules(), {"text": []})
    assert empty.matrix.shape == (0, 3) and empty.coverage()["coverage"].to_pylist() == [0, 0, 0]
    silent = apply_rules([rule(lambda row: False, name="never", label="a")], ROWS)
    assert (silent.matrix == -1).all() and silent.space.classes == ("a",)


def test_errors_tell_the_way_out():
    one = rules()[0]
    cases = [
        (OptionError, "pass a list of rules", lambda: apply_rules([], ROWS)),
        (OptionError, "pass name=... to one", lambda: apply_rules([one, one], ROWS)),
        (OptionError, "pass workers=1", lambda: apply_rules([one], ROWS, workers=0)),
        (OptionError, r"pass space=LabelSpace", lambda: apply_rules([lambda row: None], ROWS)),
        (ColumnError, "nearest: ", lambda: apply_rules([keywords({"a": ["b"]}, column="txt")], ROWS)),
        (ColumnError, "nearest: ", lambda: apply_rules([one], ROWS, item="id")),
        (DataError, r"pass \[\{'text': ...\}, ...\]", lambda: apply_rules([one], ["a text"])),
        (DataError, "take them from one table", lambda: apply_rules([one], {"text": ["a"], "n": [1, 2]})),
        (DataError, "choose a column that is unique", lambda: apply_rules([one], {"text": ["a", "a"]}, item="text")),
        (OptionError, "pass level=0.9", lambda: apply_rules([one], ROWS).coverage(level=1)),
        (LabelError, "pass the column of the table", lambda: apply_rules([one], ROWS).coverage(["spam"])),
    ]
    for kind, way_out, call in cases:
        with pytest.raises(kind, match=way_out):
            call()


def test_published_rules_agree_with_published_votes(real_data):
    """The 68 rules of weak_trec, run as patterns, against the votes that came with the data."""
    import pyarrow.parquet as pq

    folder = real_data / "weak_trec"
    kept = np.load(folder / "rules.npz")
    lines = [line.split("\t") for line in (folder / "rules.txt").read_text().splitlines() if line.strip()]
    short = dict(
        zip(("ABBREVIATION", "DESCRIPTION", "ENTITY", "HUMAN", "LOCATION", "NUMERIC"), kept["classes"].tolist())
    )
    made = [pattern({short[c]: text}, column="text", name=f"rule {i}") for i, (c, text, _) in enumerate(lines)]
    table = pq.read_table(folder / "text.parquet")
    test = table.filter(np.array(table["split"].to_pylist()) == "test")
    found = apply_rules(made, test, space=LabelSpace(kept["classes"].tolist()))
    want = kept["test_weak"]
    said = (found.matrix >= 0) | (want >= 0)
    assert len(made) == 68 and not found.failures and (found.matrix == want)[said].mean() > 0.9
