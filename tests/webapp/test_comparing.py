"""Two candidates of an item at a time: who they are, in which order, and what the judgements come to."""

from __future__ import annotations

import io
import json
from collections import Counter
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

from labelwright.errors import OptionError
from labelwright.labels import Comparisons
from labelwright.webapp.answers import Answer
from labelwright.webapp.comparing import candidates
from labelwright.webapp.desk import Desk
from labelwright.webapp.refusals import IdTaken, LeaseLost


def row(given="a", top="a", suggested=(), votes=()):
    told = [["x", "vote", json.dumps(v), 0.0] for v in votes]
    texts = {"given": json.dumps(given), "top": json.dumps(top), "suggested": json.dumps(list(suggested))}
    return SimpleNamespace(**texts | {"votes": json.dumps(told)})


@pytest.mark.parametrize(
    ("item", "said", "moved", "values"),
    [
        (row("a", "b"), [], None, ["a", "b"]),
        (row("a", "a", [["a", 0.95], ["b", 0.05]]), [], None, ["a"]),
        (row("a", "a", [["a", 0.8], ["b", 0.2]]), [], None, ["a", "b"]),
        (row(None, "a", [["a", 0.6], ["b", 0.4]]), [], None, [None, "a", "b"]),
        (row("a", "b", votes=["b", "c", "a"]), [("anna", "d"), ("ben", "c")], None, ["a", "b", "c", "d"]),
        (row("a", "a", votes=[{"answer": "can't tell"}]), [("anna", {"answer": "none of these"})], None, ["a"]),
        (row(["a"], ["a", "b"], [["a", 0.9], ["b", 0.8]]), [], None, [["a"], ["a", "b"]]),
        (row("a", "a"), [], {"box": [0, 0, 1, 1], "label": "a"}, ["a", {"box": [0, 0, 1, 1], "label": "a"}]),
    ],
)
def test_candidates_are_the_different_labels(item, said, moved, values):
    if json.loads(item.given) is None:
        item.given, values = None, values[1:]
    assert [value for _, value in candidates(item, said, moved)] == values


def until_done(desk, user, choose, limit=500):
    """All pairs of a user, judged: (item, first, second, better)."""
    out = []
    while (pair := desk.pair(user)) is not None and len(out) < limit:
        better = choose(pair)
        desk.compare(user, pair.token, better, client_id=pair.token)
        out.append((pair.item.item, pair.first, pair.second, better))
    return out


def test_two_annotators_the_audit_and_the_given_label_meet_and_the_winner_stays(review_repo, engine, people):
    votes = {"item": ["t000", "t000"], "value": ['"money"', '"space"'], "kind": ["vote"] * 2, "source": ["u", "v"]}
    review_repo.append(pa.table(votes), message="two annotators", source="crowd")
    desk = Desk.open(review_repo, engine, flush_every=None)
    given = desk.item("t000", people.anna).given
    judged = until_done(desk, people.anna, lambda p: "first" if p.first[1] == "space" else "second")
    mine = [(a[1], b[1], better) for key, a, b, better in judged if key == "t000"]
    every = {given, "money", "space"}
    assert len(mine) == len(every) - 1 and {v for a, b, _ in mine for v in (a, b)} == every
    for (a, b, better), (c, d, _) in zip(mine, mine[1:]):  # the winner meets the next
        assert (a if better == "first" else b) in (c, d)
    assert len({key for key, *_ in judged}) > 1 and desk.pair(people.anna) is None


def test_answers_of_two_reviewers_are_compared_once_both_are_there(review_repo, engine, people):
    desk = Desk.open(review_repo, engine, overlap=2, flush_every=None)
    sure = next(
        r["item"] for r in desk.search(user=people.judy, per_page=200).rows[::-1] if r["given"] == r["suggested"]
    )
    given = desk.item(sure, people.judy).given
    other, third = (name for name in desk.space.classes if name != given)
    desk.answer_item(people.anna, sure, Answer("class", (other,)), client_id="1")
    assert sure not in {key for key, *_ in until_done(desk, people.judy, lambda p: "same")}  # ben has not answered
    desk.answer_item(people.ben, sure, Answer("class", (third,)), client_id="2")
    judged = until_done(desk, people.judy, lambda p: "second")
    assert {key for key, *_ in judged} == {sure} and len(judged) == 2
    assert {source for _, a, b, _ in judged for source, _ in (a, b)} == {"given", "anna", "ben"}


def test_the_order_is_drawn_kept_and_exported(desk, people):
    judged = until_done(desk, people.anna, lambda p: "first" if p.item.row % 3 else "same")
    sides = Counter(first[0] for _, first, _, _ in judged)
    assert set(sides) == {"given", "audit"} and min(sides.values()) >= 0.2 * len(judged)
    lines = [json.loads(line) for line in b"".join(desk.export("jsonl", "comparisons")).splitlines()]
    told = [(x["item"], x["a_source"], x["b_source"], x["a_value"], x["b_value"]) for x in lines]
    assert told == [(key, a[0], b[0], json.dumps(a[1]), json.dumps(b[1])) for key, a, b, _ in judged]
    tables = [
        pq.read_table(io.BytesIO(b"".join(desk.export("parquet", "comparisons")))),
        csv.read_csv(
            io.BytesIO(b"".join(desk.export("csv", "comparisons"))),
            convert_options=csv.ConvertOptions(strings_can_be_null=True, null_values=[""]),
        ),
        pa.Table.from_pylist(lines),
    ]
    for table in tables:
        found = Comparisons.from_table(table, desk.space)
        assert len(found.item) == len(judged) and list(found.annotators) == ["anna"]
        preferred = [None if p < 0 else desk.space.classes[p] for p in found.preferred]
        assert preferred == [a[1] if better == "first" else None for _, a, _, better in judged]
    desk.flush()
    votes = {e["event_id"]: json.loads(e["value"]) for e in desk.repo.events(kinds=("vote",)).to_pylist()}
    for line in lines:
        tie = {line["a"]: 0.5, line["b"]: 0.5}
        assert votes[line["event_id"]] == (line["preferred"] or tie)


def test_nothing_to_export_is_a_table_without_rows(desk):
    assert pq.read_table(io.BytesIO(b"".join(desk.export("parquet", "comparisons")))).num_rows == 0
    assert b"".join(desk.export("csv", "comparisons")).startswith(b'"item","annotator","a","b","preferred"')
    with pytest.raises(OptionError, match="did you mean 'comparisons'"):
        desk.export("csv", "comparison")


def test_refusals(desk, people):
    pair = desk.pair(people.anna)
    with pytest.raises(OptionError, match="did you mean 'second'"):
        desk.compare(people.anna, pair.token, "secnd", client_id="1")
    with pytest.raises(LeaseLost, match="take the next"):
        desk.compare(people.ben, pair.token, "first", client_id="1")
    desk.compare(people.anna, pair.token, "first", client_id="1")
    assert desk.compare(people.anna, pair.token, "first", client_id="1").again
    with pytest.raises(IdTaken, match="new random id"):
        desk.compare(people.anna, pair.token, "second", client_id="1")  # another judgement
    with pytest.raises(IdTaken, match="new random id"):
        desk.compare(people.anna, desk.pair(people.anna).token, "first", client_id="1")  # another pair
    with pytest.raises(LeaseLost, match="take the next"):
        desk.compare(people.anna, pair.token, "first", client_id="2")
