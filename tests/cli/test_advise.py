"""`labelwright advise` as its user meets it."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from labelwright.cli.advise import advise
from labelwright.errors import DataError


@pytest.fixture
def run():
    app = typer.Typer()
    app.command("advise")(advise)
    app.command("other")(lambda: None)
    return lambda *arguments: CliRunner().invoke(app, ["advise", *map(str, arguments)])


@pytest.fixture
def votes(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "votes.parquet"
    rows = {
        "item": np.repeat(np.arange(40), 3),
        "worker": np.tile(list("abc"), 40),
        "label": rng.choice(["x", "y"], 120),
    }
    pq.write_table(pa.table(rows), path)
    return path


def test_a_short_page(run, votes):
    found = run(votes)
    assert found.exit_code == 0, found.output
    assert "disagreement" in found.output and 'labelwright systems "' in found.output
    assert len(found.output.splitlines()) <= 40


def test_json_is_the_last_line(run, votes):
    found = run(votes, "--json", "--seed", 3)
    plain = json.loads(found.stdout.splitlines()[-1])
    assert plain["findings"][0]["kind"] == "disagreement" and plain["settings"] == {"random_state": 3}
    assert len(found.stdout.splitlines()) == 1


def test_a_folder_with_many_findings_still_fits_a_screen(run, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(9):
        rows = {"item": np.repeat(np.arange(40), 3), "worker": np.tile([0, 1, 2], 40), "label": rng.integers(0, 3, 120)}
        np.savez(tmp_path / f"votes{i}.npz", **rows, truth=rng.integers(0, 3, 40))
    found = run(tmp_path)
    assert "and 3 more files" in found.output and "other files)" in found.output
    assert len(found.output.splitlines()) <= 40


def test_cells_are_data(run, tmp_path):
    path = tmp_path / "[red]odd.parquet"
    classes = ["[bold]a[/]", "\x1b[31mb", "c\nd"]
    pq.write_table(pa.table({"[blink]label": (classes * 40)[:100] + classes[:1] * 300, "n": list(range(400))}), path)
    found = run(path, "--label", "[blink]label")
    assert found.exit_code == 0, found.output
    assert "[red]odd.parquet" in found.output and "[bold]a[/]" in found.output and "\x1b" not in found.output


def test_the_named_label_is_taken(run, tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"size": ["S", "M"] * 30, "sex": ["f", "m", "m"] * 20}), path)
    assert "--label" in run(path).output
    assert "hard labels 'sex'" in run(path, "--label", "sex").output


def test_errors_are_ours(run, tmp_path):
    found = run(tmp_path / "nothing.csv")
    assert isinstance(found.exception, DataError) and "check the path" in found.exception.fix
