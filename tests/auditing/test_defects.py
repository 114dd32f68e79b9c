"""Warnings: each of the ten defects is named with its column, sound tables are left alone, figures are right."""

from __future__ import annotations

import numpy as np
import pytest

from labelwright.auditing._defects_rows import leave_one_out, normal_scores
from labelwright.auditing.defects import CODES, SEVERITIES, TableWarning, row_keys, table_warnings
from labelwright.auditing.profile import read_columns
from labelwright.errors import ColumnError, DataError

N = 400
Table = dict[str, np.ndarray]


def table(seed: int = 0) -> Table:
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=N)
    return {
        "a": np.exp(0.3 * hidden + 0.1 * rng.normal(size=N)),
        "b": hidden + 0.5 * rng.normal(size=N),
        "c": rng.choice(["x", "y", "z"], N).astype(object),
        "sex": rng.choice(["f", "m"], N).astype(object),
        "split": np.where(rng.random(N) < 0.7, "train", "test").astype(object),
        "label": np.where(hidden + 0.3 * rng.normal(size=N) > 0, "yes", "no").astype(object),
    }


def warnings(t: Table, **options: object) -> list[TableWarning]:
    return table_warnings(read_columns(t), **({"label": "label", "split": "split"} | options))  # type: ignore[arg-type]


def the(code: str, t: Table, **options: object) -> TableWarning:
    found = [w for w in warnings(t, **options) if w.code == code]
    assert len(found) == 1, [w.code for w in warnings(t, **options)]
    assert found[0].severity in SEVERITIES and found[0].code in CODES
    return found[0]


@pytest.mark.parametrize("seed", range(4))
def test_a_sound_table_has_no_warning(seed: int) -> None:
    assert warnings(table(seed)) == []


def test_constant_and_empty() -> None:
    t = table()
    t["b"][:] = 3.5
    assert the("constant", t).columns == ("b",) and "all 400 rows" in the("constant", t).message
    assert the("constant", table() | {"none": np.full(N, np.nan)}).columns == ("none",)


def test_text_in_numbers() -> None:
    t = table()
    t["b"] = np.array([str(v) for v in t["b"]], dtype=object)
    t["b"][:8] = "see notes"
    found = the("text_in_numbers", t)
    assert found.columns == ("b",) and "8 of its 400 cells (2.0%)" in found.message


def test_missing_at_random_and_not() -> None:
    t = table()
    t["b"] = np.where(t["b"] > np.quantile(t["b"], 0.7), np.nan, t["b"])
    found = the("missing_not_at_random", t)
    assert found.columns[0] == "b" and "30.0% of 'b'" in found.message
    t = table()
    t["b"][np.random.default_rng(5).random(N) < 0.3] = np.nan
    assert the("missing", t).columns == ("b",)


def test_duplicates_and_overlap_are_counted() -> None:
    t = table()
    to, source = np.arange(20), np.arange(100, 120)
    t["split"][to], t["split"][source] = "test", "train"
    for name, values in t.items():
        if name != "split":
            values[to] = values[source]
    test = int((t["split"] == "test").sum())
    assert "20 of 400 rows (5.0%)" in the("duplicates", t).message
    assert f"20 of {test} rows" in the("split_overlap", t).message and the("split_overlap", t).columns == ("split",)
    t.pop("split")
    assert [w.code for w in warnings(t, split=None)] == ["duplicates"]


def test_tables_that_repeat_by_nature_are_left_alone() -> None:
    rng = np.random.default_rng(0)
    coarse = {name: rng.choice(["x", "y"], N).astype(object) for name in ("a", "b")} | {"split": table()["split"]}
    assert warnings(coarse, label=None) == []


@pytest.mark.parametrize("factor", [2.54, 10, 1000])
@pytest.mark.parametrize("block", [False, True])
def test_two_units(factor: float, block: bool) -> None:
    t = table()
    half = np.arange(N) < N // 2 if block else np.random.default_rng(1).random(N) < 0.5
    t["a"] = np.where(half, t["a"] * factor, t["a"])
    found = the("unit_change", t)
    assert found.columns == ("a",)
    told = float(found.message.split("about ")[1].split(" ")[0])
    assert told == pytest.approx(factor, rel=0.15)


def test_far_values_and_allowed_ranges() -> None:
    t = table()
    t["b"][:6] = -999.0
    found = the("out_of_range", t)
    assert "6 of 400 values of 'b' lie far below" in found.message and "-999 stands there 6 times" in found.message
    t["b"][4:6] = -998.5  # now fewer than five rows hold the code: it is not printed
    assert "-999" not in the("out_of_range", t).message
    told = the("out_of_range", table(), allowed={"a": (None, 1.5)})
    assert told.severity == "serious" and "any to 1.5" in told.message
    heavy = table() | {"long": np.exp(np.random.default_rng(1).normal(size=N))}
    assert warnings(heavy) == []  # a long tail is no defect


def test_leaks_and_proxies() -> None:
    t = table()
    rng = np.random.default_rng(1)
    t["leak"] = np.where(rng.random(N) < 0.01, "q", np.where(t["label"] == "yes", "p", "r")).astype(object)
    t["area"] = np.where(t["sex"] == "f", 5.0, 0.0) + rng.normal(size=N)
    assert the("target_leak", t).columns == ("leak", "label")
    assert the("proxy", t).columns == ("area", "sex")
    assert [w.code for w in warnings(t, sensitive=[])] == ["target_leak"]
    numbers = table() | {"label": table()["b"] * 3 + 1}
    assert the("target_leak", numbers).columns == ("b", "label")


@pytest.mark.parametrize("numeric", [False, True])
def test_exchanged_labels_are_found_where_they_are(numeric: bool) -> None:
    t = table()
    if numeric:
        t["label"] = t["b"] + 0.5 * np.random.default_rng(2).normal(size=N)
    y = t["label"]
    y[50:100], y[200:250] = y[200:250].copy(), y[50:100].copy()
    found = [w for w in warnings(t) if w.code == "swapped_labels"]
    assert found and found[0].columns == ("label",)
    first, last = (int(v) for v in found[0].message.split("row ")[1:3] for v in [v.split(" ")[0].replace(",", "")])
    assert 30 <= first <= 100 and last <= 260


def test_a_table_sorted_by_class_is_left_alone() -> None:
    t = table()
    order = np.argsort(t["label"].astype(str), kind="stable")
    assert warnings({k: v[order] for k, v in t.items()}) == []


def test_leave_one_out_by_loop() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 3)), rng.normal(size=(30, 2))
    fast = leave_one_out(x, y)
    errors = []
    for penalty in (0.001, 0.01, 0.1, 1.0):
        slow = np.empty_like(y)
        centre, mean = x.mean(0), y.mean(0)
        z = np.column_stack([np.ones(30), x - centre])
        ridge = np.diag([0.0, *[penalty * 30] * 3])
        for i in range(30):
            keep = np.arange(30) != i
            w = np.linalg.solve(z[keep].T @ z[keep] + ridge, z[keep].T @ (y[keep] - mean))
            slow[i] = z[i] @ w + mean
        errors.append((((y - slow) ** 2).mean(), slow))
    np.testing.assert_allclose(fast, min(errors, key=lambda e: e[0])[1], atol=1e-9)
    learn = np.arange(30) < 20
    apart = leave_one_out(x, y, learn)
    np.testing.assert_allclose(apart[learn], leave_one_out(x[:20], y[:20]), atol=1e-9)


def test_normal_scores_and_row_keys() -> None:
    z = normal_scores(np.array([3.0, np.nan, 1.0, 2.0]))
    assert z[1] == 0 and z[3] == pytest.approx(0, abs=1e-12) and z[0] == -z[2]
    a, b = (
        read_columns({"x": [1.5, 1.5, 0.0, -0.0], "c": ["u", "u", "v", "v"]}),
        read_columns({"x": [1.5, 2.5], "c": ["u", "u"]}),
    )
    assert len(set(row_keys(a).tolist())) == 2 and len(set(row_keys(b).tolist())) == 2


def test_what_is_refused() -> None:
    with pytest.raises(DataError, match="read_columns"):
        table_warnings([])
    with pytest.raises(ColumnError, match="nearest: label"):
        warnings(table(), label="labl")
