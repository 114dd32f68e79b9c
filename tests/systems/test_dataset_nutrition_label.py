from __future__ import annotations

import numpy as np
import pytest

from labelwright.errors import DataError
from labelwright.systems import _table_defects as plants
from labelwright.systems import dataset_nutrition_label as system
from labelwright.systems.proof import Dataset

DEFECTS, ROWS = system.PROOFS


def wine(n: int = 178) -> Dataset:
    data = next(iter(system.tables(None)))
    return Dataset("wine", {k: v if k == "names" else v[:n] for k, v in data.arrays.items()})


def own(n: int = 120) -> Dataset:
    """As a user would pass it: no names, a category."""
    rng = np.random.default_rng(0)
    x = np.exp(rng.normal(size=(n, 3)))
    return Dataset("own", {"x": x, "y": (x[:, 0] > 1).astype(int), "category": rng.choice(["a", "b"], (n, 1))})


@pytest.fixture(autouse=True)
def _no_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "label_seconds", lambda: 0.5)


@pytest.mark.parametrize("make", [wine, own])
def test_every_arm_names_defects(make: object) -> None:
    data = make()  # type: ignore[operator]
    DEFECTS.check(data)
    prepared = DEFECTS.prepare(data, 0)
    assert len(prepared.planted) >= 9
    recall = {}
    for arm in DEFECTS.arms:
        told = arm.run(prepared, 0)
        assert isinstance(told, dict) and 0 <= told["recall"] <= 1 and told["warnings on the clean table"] >= 0
        recall[arm.role] = told["recall"]
    assert recall["method"] > recall["baseline"] + 0.2


@pytest.mark.parametrize("make", [wine, own])
def test_every_arm_scores_rows(make: object) -> None:
    data = make()  # type: ignore[operator]
    prepared = ROWS.prepare(data, 1)
    assert (prepared.kind > 0).sum() == 6
    for arm in ROWS.arms:
        told = arm.run(prepared, 1)
        assert isinstance(told, dict) and all(0 <= told[k] <= 1 for k in told)
    method = ROWS.arms[0].run(prepared, 1)
    assert isinstance(method, dict) and method["auroc"] > 0.6


def test_planting_changes_what_it_says_and_repeats() -> None:
    data = wine()
    first, again = system.plant(data, 3), system.plant(data, 3)
    for a, b in zip(first.planted, again.planted):
        assert (a.code, a.column) == (b.code, b.column)
        for name in a.table:
            assert np.array_equal(a.table[name].astype(str), b.table[name].astype(str))
    by_code = {p.code: p for p in first.planted}
    assert set(by_code) == set(plants.DEFECTS)
    name = by_code["missing_not_at_random"].column
    gone = np.isnan(by_code["missing_not_at_random"].table[name])
    assert gone.mean() == pytest.approx(0.3, abs=0.02)
    assert first.clean[name][gone].mean() > first.clean[name][~gone].mean()
    changed = by_code["unit_change"]
    ratio = changed.table[changed.column] / first.clean[changed.column]
    assert np.mean(ratio > 1.5) == pytest.approx(0.5, abs=0.01)
    assert np.mean(by_code["swapped_labels"].table["label"] != first.clean["label"]) > 0.05


def test_broken_rows_keep_the_columns_of_one_half() -> None:
    prepared, clean = plants.break_rows(wine(), 2), plants.clean_table(wine(), np.random.default_rng([2, 99]))
    changed = np.any([prepared.table[k].astype(str) != clean[k].astype(str) for k in prepared.table], axis=0)
    assert not changed[prepared.kind == 0].any() and changed[prepared.kind == 2].all()


def test_a_missing_key_is_refused() -> None:
    with pytest.raises(DataError, match="store the missing arrays"):
        DEFECTS.check(Dataset("bare", {"x": np.zeros((5, 2))}))
