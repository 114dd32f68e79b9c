"""log, diff, show and tag, as their user meets them."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from labelwright.cli import labels
from labelwright.cli.console import Say
from labelwright.errors import DataError, OptionError, RepositoryError
from labelwright.store import Repository
from labelwright.store.events import json_values

app = typer.Typer()
for command in (labels.log, labels.diff, labels.show, labels.tag):
    app.command()(command)


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(labels, "say", Say())
    repo = Repository.create(tmp_path / "r.labels", fingerprint="f", source="x.csv", space={})
    items = [f"item {i}" for i in range(30)]
    repo.append(
        {"item": items, "value": json_values(["cat"] * 30)}, message="audit 0001: 30 labels given", source="given"
    )
    values = json_values(["dog", ["cat", "dog"]])
    repo.append(
        {"item": items[:2], "value": values, "kind": ["review"] * 2}, message="two [bold]reviews[/]", source="anna"
    )
    return str(repo.path)


def run(*arguments):
    """(stdout's lines, what it raised)."""
    labels.say = Say()  # --json of an earlier command would keep its stdout quiet
    done = CliRunner().invoke(app, list(map(str, arguments)))
    return done.stdout.splitlines(), done.exception


def test_log(path):
    Repository.open(path).tag("start", 1)
    lines, error = run("log", path)
    assert error is None and lines[0].split() == ["commit", "time", "events", "source", "message", "tags"]
    assert lines[1].startswith("2 ") and "two [bold]reviews[/]" in lines[1] and lines[2].rstrip().endswith("start")
    lines, _ = run("log", path, "--top", 1)
    assert len(lines) == 3 and "1 more commits: --top 2" in lines[-1]
    lines, _ = run("log", path, "--json")
    commits = json.loads(lines[-1])["commits"]
    assert [c["commit"] for c in commits] == [2, 1] and commits[1]["tags"] == ["start"] and commits[1]["events"] == 30


def test_diff(path):
    lines, error = run("diff", path, 1)
    assert error is None and "item 0" in lines[1] and '"cat"' in lines[1] and '"dog"' in lines[1] and "anna" in lines[1]
    assert lines[-1] == "2 labels differ"
    lines, _ = run("diff", path, 0, 1, "--top", 3)
    assert len(lines) == 6 and lines[-2] == "30 labels differ" and "27 more items" in lines[-1]
    lines, _ = run("diff", path, 1, 2, "--json")
    changed = json.loads(lines[-1])["changed"]
    assert [(c["item"], c["before"], c["after"]) for c in changed] == [
        ("item 0", "cat", "dog"),
        ("item 1", "cat", ["cat", "dog"]),
    ]


def test_show(path):
    lines, error = run("show", path, "item 1")
    assert error is None and "import" in lines[1] and "review" in lines[2]
    lines, _ = run("show", path, "item 1", "--json")
    told = json.loads(lines[-1])
    assert told["item"] == "item 1" and [e["value"] for e in told["events"]] == ["cat", ["cat", "dog"]]


def test_tag(path):
    lines, error = run("tag", path, "v1", "1")
    assert error is None and lines == ["commit 1 is now called v1"]
    lines, _ = run("tag", path, "now", "--json")
    assert json.loads(lines[-1]) == {"tag": "now", "commit": 2}
    assert Repository.open(path).tags() == {"v1": 1, "now": 2}
    lines, _ = run("diff", path, "v1", "now")
    assert lines[-1] == "2 labels differ"


def test_what_goes_wrong(path, tmp_path):
    Repository.open(path).tag("v1", 1)
    (tmp_path / "mine").mkdir()
    for arguments, error, message in [
        (("log", tmp_path / "gone"), RepositoryError, "nothing at"),
        (("log", tmp_path / "mine"), RepositoryError, "no labels.json"),
        (("diff", path, "v2"), OptionError, "did you mean 'v1'"),
        (("diff", path, 1, 9), OptionError, "newest version is 2"),
        (("show", path, "item 333"), DataError, "did you mean 'item"),
        (("tag", path, "v1"), RepositoryError, "on commit 1"),
        (("tag", path, "7"), OptionError, "not digits alone"),
    ]:
        _, raised = run(*arguments)
        assert isinstance(raised, error) and message in str(raised), raised


def test_keys_do_not_steer_the_terminal(path):
    item = "x\x1b[2J[red]\ny"
    Repository.open(path).append({"item": [item], "value": ["1"], "kind": ["review"]}, message="m\x1b[1m", source="s")
    lines, _ = run("diff", path, 2)
    assert "\x1b" not in "".join(lines) and "x�[2J[red]�y" in lines[1]
