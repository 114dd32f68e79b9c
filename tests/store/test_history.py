"""Versions of the labels: what each says, what changed, and who changed it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.errors import DataError, OptionError, RepositoryError
from labelwright.store import Repository
from labelwright.store.events import CANT_TELL, EventTable, json_values
from labelwright.store.history import changed_labels, current_labels

DATA = {"fingerprint": "f1", "source": "reviews.csv", "space": {"classes": ["cat", "dog"]}}


@pytest.fixture
def repo(tmp_path):
    return Repository.create(tmp_path / "r.labels", **DATA)


def say(repo, kind, said, source="anna", ids=None):
    """Commit {item: label} as events of one kind."""
    events = {"item": list(said), "value": json_values(said.values()), "kind": [kind] * len(said)}
    return repo.append(events | ({"event_id": ids} if ids else {}), message=f"{kind} by {source}", source=source)


def shown(table):
    return {row["item"]: row["label"] and json.loads(row["label"]) for row in table.to_pylist()}


def naive_labels(events, until):
    """Item -> (label, event id), by the rule as it is written."""
    events = [e for e in events if e["commit"] <= until]
    gone = {json.loads(e["value"]) for e in events if e["kind"] == "retraction"}
    out = {}
    for item in dict.fromkeys(e["item"] for e in events):
        mine = [e for e in events if e["item"] == item and e["event_id"] not in gone]
        reviews = [e for e in mine if e["kind"] == "review" and e["value"] != json.dumps(CANT_TELL)]
        labels = reviews or [e for e in mine if e["kind"] in ("given", "import")]
        if labels:
            out[item] = (labels[-1]["value"], labels[-1]["event_id"])
    return out


def test_what_counts_as_the_label(repo):
    assert repo.labels().num_rows == 0 and repo.log().num_rows == 0 and repo.version() == 0
    say(repo, "given", {"a": "cat", "b": "dog", "c": None}, source="given")
    say(repo, "suggestion", {"a": "dog", "d": "dog"}, source="audit 0001")
    assert shown(repo.labels()) == {"a": "cat", "b": "dog", "c": None}  # a suggestion is not a label
    say(repo, "review", {"a": "dog", "b": CANT_TELL, "c": ["dog", "cat"]}, ids=["r1", "r2", "r3"])
    assert shown(repo.labels()) == {"a": "dog", "b": "dog", "c": ["cat", "dog"]}
    say(repo, "import", {"a": "cat", "b": "cat"}, source="import of new.csv")
    assert shown(repo.labels()) == {"a": "dog", "b": "cat", "c": ["cat", "dog"]}  # what a person settled stays settled
    say(repo, "retraction", {"a": "r1"})
    assert shown(repo.labels()) == {"a": "cat", "b": "cat", "c": ["cat", "dog"]}
    row = repo.labels(3).to_pylist()[0]
    assert list(row) == ["item", "label", "kind", "source", "time", "commit", "event"]
    assert (row["kind"], row["source"], row["commit"], row["event"]) == ("review", "anna", 3, "r1")
    assert shown(repo.labels(1)) == {"a": "cat", "b": "dog", "c": None} and shown(repo.labels(0)) == {}


ITEMS, KINDS = st.sampled_from("abcd"), st.sampled_from(["given", "import", "review", "suggestion", "vote"])
EVENT = st.tuples(ITEMS, KINDS, st.sampled_from(["cat", "dog", None, CANT_TELL, ["cat", "dog"]]))


@settings(max_examples=60)
@given(st.lists(st.lists(EVENT, min_size=1, max_size=4), min_size=1, max_size=5), st.data())
def test_labels_and_changes_against_the_rule_item_by_item(commits, data):
    import pyarrow as pa

    rows = []
    for number, events in enumerate(commits, 1):
        for item, kind, label in events:
            value = json_values([label])[0].as_py()
            rows.append({"item": item, "kind": kind, "value": value, "commit": number, "event_id": f"e{len(rows)}"})
        if data.draw(st.booleans()):
            gone = data.draw(st.sampled_from([r["event_id"] for r in rows] + ["e99"]))
            value = json.dumps(gone)
            rows.append(
                {"item": "a", "kind": "retraction", "value": value, "commit": number, "event_id": f"e{len(rows)}"}
            )
    rows = [r | {"source": "s", "time": number} for number, r in enumerate(rows)]
    schema = [(n, pa.string()) for n in ("item", "kind", "value", "event_id", "source")] + [
        (n, pa.int64()) for n in ("commit", "time")
    ]
    events = pa.Table.from_pylist(rows, schema=pa.schema(schema))
    got = current_labels(
        events.filter(pa.compute.is_in(events["kind"], pa.array(["given", "import", "review", "retraction"])))
    )
    last = len(commits)
    assert {r["item"]: (r["label"], r["event"]) for r in got.to_pylist()} == naive_labels(rows, last)
    a, b = (data.draw(st.integers(0, last)) for _ in range(2))
    before, after = naive_labels(rows, a), naive_labels(rows, b)
    kept = events.filter(pa.compute.is_in(events["kind"], pa.array(["given", "import", "review", "retraction"])))
    changed = {r["item"]: (r["before"], r["after"], r["event"]) for r in changed_labels(kept, a, b).to_pylist()}
    expected = {}
    for item in before.keys() | after.keys():
        labels = [side.get(item, (None, None))[0] for side in (before, after)]
        if labels[0] != labels[1]:
            expected[item] = (*labels, (after if b >= a else before).get(item, (None, None))[1])
    assert changed == expected


def test_diff_says_who_and_when(repo):
    say(repo, "given", {"a": "cat", "b": "dog", "c": "dog"}, source="given")
    say(repo, "review", {"b": "cat", "c": "dog"}, source="ben", ids=["r1", "r2"])
    rows = repo.diff(1).to_pylist()
    assert [{k: r[k] for k in ("item", "before", "after", "source", "commit", "event")} for r in rows] == [
        {"item": "b", "before": '"dog"', "after": '"cat"', "source": "ben", "commit": 2, "event": "r1"}
    ]
    assert rows[0]["time"] == repo.log()["time"][1].as_py() or rows[0]["time"] <= repo.log()["time"][1].as_py()
    back = repo.diff(2, 1).to_pylist()
    assert (back[0]["before"], back[0]["after"], back[0]["source"]) == ('"cat"', '"dog"', "ben")
    assert repo.diff(0, 1)["item"].to_pylist() == ["a", "b", "c"] and repo.diff(1, 1).num_rows == 0


def test_the_log(repo):
    say(repo, "given", {"a": "cat", "b": "dog"}, source="given")
    say(repo, "review", {"a": "dog"}, source="ben")
    repo.tag("first", 1)
    repo.tag("also", 1)
    log = repo.log().to_pylist()
    assert [(c["commit"], c["message"], c["source"], c["events"], c["tags"]) for c in log] == [
        (1, "given by given", "given", 2, ["first", "also"]),
        (2, "review by ben", "ben", 1, []),
    ]
    assert log[0]["time"].tzinfo is not None and log[0]["time"] <= log[1]["time"] and log[0]["head"] != log[1]["head"]


def test_versions_by_number_and_by_tag(repo):
    for label in ("cat", "dog", "cat"):
        say(repo, "review", {"a": label})
    assert repo.tag("released", 2) == 2 and repo.tag("newest") == 3 and repo.tag("newest") == 3
    assert repo.tags() == {"released": 2, "newest": 3} == Repository.open(repo.path).tags()
    assert [repo.version(v) for v in (None, 0, 1, "2", "released")] == [3, 0, 1, 2, 2]
    assert shown(repo.labels("released")) == {"a": "dog"} and repo.events(until="released").num_rows == 2
    with pytest.raises(RepositoryError, match="tag 'released' on commit 2.*choose another name"):
        repo.tag("released", 3)
    for version, message in [
        ("relesed", "a number from 0 to 3 or a tag: 'released'.*did you mean 'released'"),
        (4, "found version 4.*the newest version is 3"),
        ("17", "version 17"),
        (-1, "version -1"),
        (True, "version True"),
    ]:
        with pytest.raises(OptionError, match=message):
            repo.labels(version)
    for name in ("12", "", "a b", "../x", ".x", "x" * 101, 3):
        with pytest.raises(OptionError, match="not digits alone.*choose another name"):
            repo.tag(name)
    assert repo.tags() == {"released": 2, "newest": 3}


def test_nothing_to_tag(repo):
    with pytest.raises(RepositoryError, match="without a commit.*run an audit first"):
        repo.tag("v1")
    with pytest.raises(DataError, match="which has none.*run an audit first"):
        repo.show("a")
    with pytest.raises(OptionError, match="there are no tags"):
        repo.version("v1")


def test_show_one_item(repo):
    say(repo, "given", {f"photo-{i}.jpg": "cat" for i in range(500)})
    say(repo, "suggestion", {"photo-7.jpg": "dog"}, source="audit 0001")
    say(repo, "review", {"photo-7.jpg": "dog"}, source="ben")
    assert repo.show("photo-7.jpg")["kind"].to_pylist() == ["given", "suggestion", "review"]
    with pytest.raises(DataError, match=r"no event of an item 'photo-7.jpeg'.*did you mean 'photo-7"):
        repo.show("photo-7.jpeg")
    with pytest.raises(DataError, match=r"photo-499.jpg"):
        repo.show("499")


def test_a_repository_of_version_1_gains_events_with_its_first_commit(tmp_path):
    repo = Repository.create(tmp_path / "r.labels", **DATA)
    head = repo.path / "labels.json"
    old = json.loads(head.read_text()) | {"version": 1}
    head.write_text(json.dumps(old))
    repo = Repository.open(repo.path)
    repo.write_audit({"summary.json": b"{}"})
    assert repo.labels().num_rows == 0 and json.loads(head.read_text())["version"] == 1
    assert not (repo.path / "events").exists()
    say(repo, "given", {"a": "cat"})
    assert json.loads(head.read_text()) == old | {"version": 2} == repo.head
    again = Repository.open_or_create(repo.path, **DATA)
    assert shown(again.labels()) == {"a": "cat"} and len(again.audits()) == 1
    assert not list(repo.path.glob(".new-*"))


def test_an_events_folder_that_leads_elsewhere_is_refused(repo, tmp_path):
    (tmp_path / "mine").mkdir()
    (repo.path / "events").symlink_to(tmp_path / "mine")
    with pytest.raises(RepositoryError, match="no folder of the repository's own.*move it away"):
        say(Repository.open(repo.path), "given", {"a": "cat"})
    assert not list((tmp_path / "mine").iterdir())


def test_lance_loads_only_where_events_are_touched(repo):
    code = """if True:
        import sys
        from labelwright.store import Repository
        repo = Repository.open(sys.argv[1])
        repo.audits(), repo.log(), repo.labels(), repo.events()
        assert not {m for m in sys.modules if m.split(".")[0] == "lance"}, "lance"
        repo.append({"item": ["a"], "value": ["1"]}, message="m", source="s")
        assert "lance" in sys.modules
    """
    subprocess.run([sys.executable, "-c", code, str(repo.path)], check=True)


def test_one_handle_of_events(repo):
    assert isinstance(repo.event_table, EventTable) and repo.event_table is repo.event_table
