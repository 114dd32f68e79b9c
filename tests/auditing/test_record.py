"""An audit as events: given once, each new answer once, suggestions per audit."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

import labelwright as lw
from labelwright.auditing._record import record_audit
from labelwright.store import Repository
from labelwright.store.events import CANT_TELL, NONE_FITS


@pytest.fixture
def repo(tmp_path):
    return Repository.create(tmp_path / "r.labels", fingerprint="f", source="x.csv", space={})


def audited(items=None, **options):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 120)
    p = np.full((120, 3), 0.02)
    p[np.arange(120), truth] = 0.96
    labels = np.array(["ant", "bee", "cat"], dtype=object)[truth]
    labels[:6] = np.array(["ant", "bee", "cat"])[(truth[:6] + 1) % 3]
    labels[6] = None
    return lw.audit(labels, p, items=items if items is not None else [f"i{i}" for i in range(120)], **options), truth


def kinds(repo):
    names, counts = np.unique(repo.events()["kind"].to_pylist(), return_counts=True)
    return dict(zip(names.tolist(), counts.tolist()))


def test_what_an_audit_says(repo):
    result, truth = audited()
    flagged = int(result.is_issue.sum())
    assert record_audit(repo, result, audit="0001") == 1 and flagged >= 6
    assert kinds(repo) == {"given": 120, "suggestion": flagged}
    labels = {r["item"]: r["label"] for r in repo.labels().to_pylist()}
    assert labels["i6"] is None and labels["i7"] == json.dumps(["ant", "bee", "cat"][truth[7]]) and len(labels) == 120
    suggestion = repo.show("i0").to_pylist()[-1]
    assert suggestion["source"] == "audit 0001" and json.loads(suggestion["value"]) == ["ant", "bee", "cat"][truth[0]]
    assert suggestion["probability"] == pytest.approx(float(result.label_dist[0].max()))
    assert record_audit(repo, result, audit="0001") == 1  # twice adds nothing
    assert record_audit(repo, result, audit="0002") == 2
    assert kinds(repo) == {"given": 120, "suggestion": 2 * flagged}
    assert repo.log()["message"].to_pylist() == [
        f"audit 0001: 120 labels given, {flagged} suggestions",
        f"audit 0002: {flagged} suggestions",
    ]


def test_answers_are_added_once_and_a_change_of_mind_is_heard(repo):
    result, _ = audited()

    def bring(*rows):
        item, label, who = zip(*rows)
        record_audit(repo, result, audit="0001", reviews=pa.table({"item": item, "label": label, "reviewer": who}))
        return [(e["item"], json.loads(e["value"]), e["source"]) for e in repo.events(kinds=("review",)).to_pylist()]

    first = [
        ("i0", "ant", "anna"),
        ("i0", "ant", "ben"),
        ("i1", "bee | cat", "ben"),
        ("i2", "?", "ben"),
        ("i3", "none", "ben"),
        ("i4", "", "ben"),
    ]
    said = [
        ("i0", "ant", "anna"),
        ("i0", "ant", "ben"),
        ("i1", ["bee", "cat"], "ben"),
        ("i2", CANT_TELL, "ben"),
        ("i3", NONE_FITS, "ben"),
    ]
    assert bring(*first) == said == bring(*first)
    assert bring(("i0", "cat", "anna")) == [*said, ("i0", "cat", "anna")]
    assert bring(("i0", "ant", "anna"), ("i0", "ant", "anna"))[6:] == [("i0", "ant", "anna")]
    assert json.loads(repo.labels().to_pylist()[0]["label"]) == "ant"


def test_keys_that_are_numbers_and_chances_of_being_drawn(repo):
    result, _ = audited(items=np.arange(120))
    answers = {"item": [0.0, "1.0", 2], "label": ["ant", "bee", "cat"], "probability": [0.5, None, float("nan")]}
    record_audit(repo, result, audit="0001", reviews=answers)
    rows = repo.events(kinds=("review",)).to_pylist()
    assert [(r["item"], r["source"], r["probability"]) for r in rows] == [
        ("0", "review", 0.5),
        ("1", "review", None),
        ("2", "review", None),
    ]
    assert repo.show("0").num_rows == 3  # given, suggested, reviewed: one key


def test_sets_of_classes(repo):
    labels = [["ant"], ["ant", "bee"], [], None] * 20
    p = np.tile([[0.9, 0.1], [0.9, 0.9], [0.1, 0.1], [0.5, 0.5]], (20, 1))
    result = lw.audit(labels, p, multi=True, items=[f"i{i}" for i in range(80)])
    record_audit(repo, result, audit="0001")
    given = [r["label"] for r in repo.labels().to_pylist()][:3]
    assert given == ['["ant"]', '["ant", "bee"]', "[]"] and repo.labels().num_rows == 80
