"""export and import, as their user meets them."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from labelwright.cli import exchange
from labelwright.cli.console import Say
from labelwright.errors import DataError, LabelError
from labelwright.store import Repository
from labelwright.store.events import json_values

app = typer.Typer()
app.command("export")(exchange.export)
app.command("import")(exchange.import_)


def run(*arguments):
    """(stdout's lines, what it raised)."""
    exchange.say = Say()  # --json of an earlier command would keep its stdout quiet
    done = CliRunner().invoke(app, list(map(str, arguments)))
    return done.stdout.splitlines(), done.exception


@pytest.fixture
def repo(tmp_path):
    repo = Repository.create(tmp_path / "r.labels", fingerprint="f", source="x.csv", space={})
    values = json_values(["cat", "dog", ["cat", "dog"]])
    repo.append({"item": ["a", "b", "c"], "value": values}, message="m", source="given")
    return repo


def test_there_and_back(tmp_path, repo):
    out = tmp_path / "o.csv"
    lines, error = run("export", repo.path, out)
    assert error is None and lines == [f"3 labels of version 1 in {out}"] and out.is_file()
    lines, error = run("import", repo.path, out)
    assert error is None and lines == ["0 of 3 labels added (csv); the others were there already"]
    out.write_text(out.read_text().replace("a,cat", "a,dog"))
    lines, error = run("import", repo.path, out, "--source", "anna", "--json")
    assert json.loads(lines[-1]) == {
        "format": "csv",
        "labels": 3,
        "added": 1,
        "new_items": 0,
        "version": 2,
        "new_classes": [],
    }
    assert repo.diff(1).to_pylist()[0] | {"time": 0, "event": 0} == {
        "item": "a", "before": '"cat"', "after": '"dog"', "source": "anna", "time": 0, "commit": 2, "event": 0,
    }  # fmt: skip
    lines, error = run("import", repo.path, out, "--source", "anna")
    assert lines == ["0 of 3 labels added (csv); the others were there already"]
    lines, error = run("export", repo.path, tmp_path / "old.jsonl", "--version", "1", "--json")
    assert json.loads(lines[-1])["labels"] == 3 and '"label": "cat"' in (tmp_path / "old.jsonl").read_text()


def test_errors_and_notes(tmp_path, repo):
    lines, error = run("export", repo.path, tmp_path / "o.json", "--format", "coco")
    assert isinstance(error, LabelError) and "lossy=True" in error.fix
    (tmp_path / "x.csv").write_text("item,label\nz,cat\n")
    lines, error = run("import", repo.path, tmp_path / "x.csv")
    assert error is None and "1 items are new to the repository" in lines[-1]
    _, error = run("export", repo.path, tmp_path / "x.csv")
    assert isinstance(error, DataError) and "choose another path" in error.fix


def test_classes_outside_of_the_space_are_told(tmp_path):
    space = {"classes": ["cat", "dog"], "structure": "nominal"}
    repo = Repository.create(tmp_path / "s.labels", fingerprint="f", source="x.csv", space=space)
    (tmp_path / "x.csv").write_text("item,label\nz,cat\ny,[bold]cow\n")
    lines, error = run("import", repo.path, tmp_path / "x.csv")
    assert error is None and lines[-1] == "note: 1 classes are not those of the repository: [bold]cow"
    _, error = run("export", repo.path, tmp_path / "o.parquet")
    from labelwright.store.exchange import import_labels

    assert error is None and import_labels(tmp_path / "o.parquet").space.classes == ("cat", "dog", "[bold]cow")


def test_content(tmp_path, repo):
    (tmp_path / "c.csv").write_text("item,text\na,one\nb,two\n")
    _, error = run(
        "export", repo.path, tmp_path / "t.json", "--format", "label_studio", "--content", tmp_path / "c.csv"
    )
    assert error is None and json.loads((tmp_path / "t.json").read_text())[1]["data"] == {"item": "b", "text": "two"}
