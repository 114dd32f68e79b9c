"""`labelwright train`, `evaluate` and `relabel` as their user meets them."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from labelwright.cli.main import app
from labelwright.errors import LabelwrightError
from labelwright.learning.recipe import Recipe, recipe_names


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    columns = {f"f{i}": x[:, i] for i in range(3)} | {
        "id": np.arange(200),
        "label": np.where(x[:, 0] > 0, "up", "down"),
    }
    pq.write_table(pa.table(columns), tmp_path / "d.parquet")
    return tmp_path / "d.parquet"


OPTIONS = ("--features", "f", "--label", "label", "--id", "id")


def last(found):
    assert found.exit_code == 0, (found.output, found.exception)
    return json.loads(found.stdout.splitlines()[-1])


def test_from_labels_to_a_model_to_labels(run, table, tmp_path):
    told = last(
        run(
            "train", table, *OPTIONS, "--student", "linear", "--lr", 0.1, "--epochs", 20, "--out", "big.model", "--json"
        )
    )
    assert told["epochs"] == 20 and told["figures"]["accuracy"]["value"] > 0.9 and told["model"] == "big.model"
    assert (tmp_path / "big.model" / "report.html").is_file()
    told = last(run("evaluate", "big.model", table, *OPTIONS, "--json"))
    assert told["items"] == 200 and told["figures"]["accuracy"]["low"] > 0.85
    told = last(run("relabel", table, "--teacher", "big.model", "--features", "f", "--id", "id", "--topk", 1, "--json"))
    assert told["labelled"] == 200 and told["repository"].endswith("d.labels")
    small = run(
        "train", "d.labels", "--labels", "relabel", "--features", "f", "--id", "id", "--epochs", 5, "--batch-size", 16
    )
    assert small.exit_code == 0 and "200 of 200 items" in small.output, small.output
    assert (tmp_path / "d.model" / "model.json").is_file()


def test_recipes_are_shown_and_read(run, table, tmp_path):
    assert run("train", "--show-recipe", "list").stdout.split() == recipe_names()
    shown = run("train", "--show-recipe", "mixup").stdout
    assert "mixup" in shown and Recipe.from_yaml(shown)
    (tmp_path / "mine.yaml").write_text(shown)
    found = run(
        "train",
        table,
        *OPTIONS,
        "--recipe",
        "mine.yaml",
        "--epochs",
        2,
        "--precision",
        "bf16",
        "--valid",
        0,
        "--out",
        "m",
    )
    assert found.exit_code == 0, (found.output, found.exception)
    recipe = json.loads((tmp_path / "m" / "model.json").read_text())["recipe"]
    assert (
        recipe["precision"] == "bf16"
        and recipe["epochs"] == 2
        and recipe["views"] == [{"mixup": {"alpha": 0.8, "until": 0.9}}]
    )
    assert "says how the training went" in (tmp_path / "m" / "report.html").read_text()


def test_class_maps(run, table, tmp_path):
    (tmp_path / "their_teacher.py").write_text(
        "import numpy as np\n"
        "def sure(x):\n    p = 1 / (1 + np.exp(-3 * np.asarray(x)[:, 0]))\n    return np.stack([p, 1 - p], 1)\n"
        "sure.classes = ('north', 'south')\n"
    )
    (tmp_path / "map.json").write_text('{"north": "up", "south": "down"}')
    found = run(
        "relabel", table, "--teacher", "their_teacher:sure", *OPTIONS, "--class-map", "map.json", "--temperature", "2"
    )
    assert found.exit_code == 0, (found.output, found.exception)
    assert "temperature 2.00" in found.output and "right on 100.0%" in found.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train",), "labelwright train NAME.labels"),
        (("train", "nowhere.parquet"), "nowhere.parquet"),
        (("train", "d.parquet", "--recipe", "nothing"), "plain"),
        (("evaluate", "nowhere.model", "d.parquet"), "no model in"),
        (("relabel", "d.parquet", "--teacher", "nowhere"), "no teacher at nowhere"),
        (("relabel", "d.parquet", "--teacher", "x", "--temperature", "warm"), "a number or auto"),
    ],
)
def test_mistakes(run, table, arguments, message):
    found = run(*arguments)
    assert isinstance(found.exception, LabelwrightError) and message in str(found.exception)
