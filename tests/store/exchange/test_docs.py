"""The commands of docs/exchange.md, in their order."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from labelwright.cli import exchange
from labelwright.store import Repository
from labelwright.store.events import json_values

DOCS = Path(__file__).parents[3] / "docs" / "exchange.md"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    head = {"fingerprint": "f", "source": "x", "space": {}}
    reviews = Repository.create("reviews.labels", **head)
    reviews.append({"item": ["a", "b"], "value": json_values(["cat", "dog"])}, message="m", source="given")
    boxes = Repository.create("boxes.labels", **head)
    keys = ["a.jpg#xywh=1,1,5,5", "b.jpg#polygon=1,1,9,1,9,9"]
    boxes.append({"item": keys, "value": json_values(["cat", "dog"])}, message="m", source="given")
    Path("sizes.csv").write_text("item,width,height\na.jpg,64,48\nb.jpg,10,10\n")
    Path("texts.csv").write_text("item,text\na,one\nb,two\n")
    return tmp_path


def test_commands(folder):
    app = typer.Typer()
    app.command("export")(exchange.export)
    app.command("import")(exchange.import_)
    commands = [
        shlex.split(line)
        for block in re.findall(r"```sh\n(.*?)```", DOCS.read_text(), re.S)
        for line in block.splitlines()
    ]
    assert len(commands) >= 14
    for name, *arguments in commands:
        assert name == "labelwright"
        done = CliRunner().invoke(app, arguments)
        assert done.exception is None, (arguments, done.exception)
    for repo in ("reviews.labels", "boxes.labels"):
        assert Repository.open(repo).version() == 1  # every import was of labels that are there


def test_python(folder):
    for i, block in enumerate(re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.S)):
        (folder / f"{i}.py").write_text(block)
        runpy.run_path(str(folder / f"{i}.py"))
    assert (folder / "labels.parquet").is_file() and Repository.open("reviews.labels").version() == 1
