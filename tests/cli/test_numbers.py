"""`labelwright audit --numbers`: a column of measurements from a file to a repository."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from labelwright.auditing.values import audit_value_file
from labelwright.cli.main import main
from labelwright.errors import ColumnError, LabelError, LabelwrightError


@pytest.fixture
def houses(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    size, rooms = rng.uniform(40, 200, 300), rng.integers(1, 7, 300)
    price = 3000 * size + 20000 * rooms + rng.normal(0, 9000, 300)
    price[[17, 60]] *= 10
    table = pd.DataFrame({"id": [f"h{i}" for i in range(300)], "size": size, "rooms": rooms, "price": price})
    table["street"] = "Long Lane"
    table["model_a"] = 3000 * size + 20000 * rooms
    table.to_csv(path := tmp_path / "houses.csv", index=False)
    return path


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["labelwright", "audit", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def test_wrong_numbers_are_found_and_written(houses, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, str(houses), "--label", "price", "--numbers", "--json") == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["what"] == "values" and told["labels"] == 300 and told["issues"] >= 2
    issues = pd.read_parquet(Path(told["repository"]) / "audits" / told["audit"] / "issues.parquet")
    assert set(issues["item"][:2]) == {"h17", "h60"}


def test_predictions_from_columns_and_from_a_file(houses, tmp_path):
    first = audit_value_file(houses, label="price", predictions="model_", features="size", out=tmp_path / "a.labels")
    assert first.audit.settings["predictions"] == "given" and set(first.audit.issues["row"].to_pylist()) >= {17, 60}
    np.save(tmp_path / "p.npy", pd.read_csv(houses)["model_a"].to_numpy()[:, None])
    second = audit_value_file(
        houses, label="price", predictions=str(tmp_path / "p.npy"), features="size", out=tmp_path / "b.labels"
    )
    np.testing.assert_array_equal(first.audit.quality, second.audit.quality)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--numbers"], "add --label COLUMN"),
        (["--numbers", "--label", "price", "--multi"], "leave --multi out"),
        (["--predictions", "model_a"], "add --numbers"),
    ],
)
def test_options_that_do_not_go_together(houses, monkeypatch, capsys, words, told):
    assert run(monkeypatch, str(houses), *words) == 2
    assert told in capsys.readouterr().err.replace("\n", " ")


def test_columns_that_are_no_numbers(houses, tmp_path):
    for label, error in (("street", LabelError), ("prise", ColumnError)):
        with pytest.raises(error) as caught:
            audit_value_file(houses, label=label, out=tmp_path / "x.labels")
        assert isinstance(caught.value, LabelwrightError) and caught.value.fix
