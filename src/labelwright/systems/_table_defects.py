"""Tables with a defect planted, one of ten kinds, and tables with broken rows; the truth is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from labelwright.systems.proof import Dataset

Table = dict[str, np.ndarray]


def clean_table(data: Dataset, rng: np.random.Generator) -> Table:
    """The columns with a random split, and a random `sex` where there is none: a sensitive attribute for the proxy."""
    x = np.asarray(data["x"], dtype=np.float64)
    names = [str(v) for v in data["names"]] if "names" in data else [f"x{j}" for j in range(x.shape[1])]
    table: Table = dict(zip(names, x.T.copy()))
    if "category" in data:
        table |= {f"category{j}": c.astype(object) for j, c in enumerate(np.asarray(data["category"]).T)}
    if "sex" in data:
        table["sex"] = np.asarray(data["sex"]).astype(object)
    elif "sex" not in table:
        table["sex"] = rng.choice(["female", "male"], len(x)).astype(object)
    table["split"] = np.where(rng.random(len(x)) < 0.7, "train", "test").astype(object)
    return table | {"label": np.array(data["y"])}


def _has_sex(data: Dataset) -> bool:
    return "sex" in data or ("names" in data and "sex" in [str(v) for v in data["names"]])


class Planted(NamedTuple):
    """table: with the defect.   code, column: what has to be said of which column ("" = any)."""

    table: Table
    code: str
    column: str


# ------------------------------------------------------------------------------------------------------------- defects
def _numbers(t: Table, rng: np.random.Generator, *, positive: bool = False) -> str:
    """A column of numbers drawn at random (more than ten values; positive ones only)."""
    fit = [n for n, v in t.items() if n != "label" and v.dtype.kind == "f" and len(np.unique(v)) > 10]
    fit = [n for n in fit if not positive or (t[n] > 0).all()]
    return str(rng.choice(fit)) if fit else ""


def _block(n: int, share: float, rng: np.random.Generator) -> slice:
    start = int(rng.integers(0, n - int(share * n) + 1))
    return slice(start, start + int(share * n))


def constant(t: Table, rng: np.random.Generator) -> str:
    """A column keeps its first value in every row."""
    name = _numbers(t, rng)
    t[name] = np.full_like(t[name], t[name][0])
    return name


def missing_not_at_random(t: Table, rng: np.random.Generator) -> str:
    """30 % of the cells are missing, the larger the value the likelier."""
    name = _numbers(t, rng)
    x = t[name]
    key = 2 * (x - x.mean()) / x.std() + rng.logistic(size=len(x))
    t[name] = np.where(key >= np.quantile(key, 0.7), np.nan, x)
    return name


def duplicates(t: Table, rng: np.random.Generator) -> str:
    """5 % of the rows are overwritten by copies of others."""
    n = len(t["label"])
    to = rng.choice(n, max(2, n // 20), replace=False)
    source = rng.choice(np.setdiff1d(np.arange(n), to), len(to), replace=False)
    for values in t.values():
        values[to] = values[source]
    return ""


def unit_change(t: Table, rng: np.random.Generator) -> str:
    """Half the rows of a positive column, a block or spread, are multiplied by a conversion factor."""
    name = _numbers(t, rng, positive=True)
    if name:
        n = len(t[name])
        spread = np.isin(np.arange(n), rng.choice(n, n // 2, replace=False))
        half = spread if rng.random() < 0.5 else (np.arange(n) < n // 2) ^ (rng.random() < 0.5)
        factor = rng.choice([2.20462, 2.54, 3.28084, 10, 12, 60, 100, 1000])
        t[name] = np.where(half, t[name] * factor, t[name])
    return name


def out_of_range(t: Table, rng: np.random.Generator) -> str:
    """1 % of the cells become -999, 9999, ten times the greatest value, or less than nothing."""
    name = _numbers(t, rng)
    x = t[name]
    rows = rng.choice(len(x), max(2, len(x) // 100), replace=False)
    wrong = [-999.0, 9999.0, 10 * np.abs(x).max(), -np.abs(x[rows]) - np.ptp(x)]
    x[rows] = wrong[int(rng.integers(len(wrong)))]
    return name


def target_leak(t: Table, rng: np.random.Generator) -> str:
    """A column that is the label with 2 % noise, or a renamed label of which 2 % are wrong."""
    y = t["label"]
    if len(np.unique(y)) > 20:
        t["leak"] = 3 * y + 7 + rng.normal(0, 0.02 * 3 * y.std(), len(y))
    else:
        code = np.unique(y, return_inverse=True)[1]
        wrong = np.where(rng.random(len(y)) < 0.02, rng.permutation(code), code)
        names = rng.permutation([f"group {k}" for k in range(int(code.max()) + 1)])
        t["leak"] = names[wrong].astype(object)
    return "leak"


def proxy(t: Table, rng: np.random.Generator) -> str:
    """A category that agrees with `sex` in 95 % of the rows, or a number that lies 4 standard deviations apart."""
    code = np.unique(t["sex"].astype(str), return_inverse=True)[1]
    if rng.random() < 0.5:
        wrong = np.where(rng.random(len(code)) < 0.05, rng.integers(0, code.max() + 1, len(code)), code)
        t["area"] = np.array([f"area {k}" for k in range(int(code.max()) + 1)], dtype=object)[wrong]
    else:
        t["area"] = rng.normal(4.0 * code)
    return "area"


def swapped_labels(t: Table, rng: np.random.Generator) -> str:
    """Two blocks of 10 % of the rows exchange their labels; drawn until that changes at least 40 % of them (100 times)."""
    y, n = t["label"], len(t["label"])
    for attempt in range(100):
        a, b = _block(n, 0.1, rng), _block(n, 0.1, rng)
        apart = abs(a.start - b.start) >= a.stop - a.start
        if apart and ((y[a] != y[b]).mean() >= 0.4 or attempt >= 90):
            break
    y[a], y[b] = y[b].copy(), y[a].copy()
    return "label"


def split_overlap(t: Table, rng: np.random.Generator) -> str:
    """10 % of the rows for testing are copies of rows for training."""
    train, test = (np.flatnonzero(t["split"] == part) for part in ("train", "test"))
    to = rng.choice(test, max(2, len(test) // 10), replace=False)
    source = rng.choice(train, len(to), replace=False)
    for name, values in t.items():
        if name != "split":
            values[to] = values[source]
    return "split"


def text_in_numbers(t: Table, rng: np.random.Generator) -> str:
    """2 % of the cells of a column of numbers become words."""
    name = _numbers(t, rng)
    cells = np.array([repr(float(v)) for v in t[name]], dtype=object)
    rows = rng.choice(len(cells), max(2, len(cells) // 50), replace=False)
    cells[rows] = rng.choice(["not measured", "see notes", "about ten", "12 to 15"], len(rows))
    t[name] = cells
    return name


DEFECTS: dict[str, Callable[[Table, np.random.Generator], str]] = {
    f.__name__: f
    for f in (
        constant, missing_not_at_random, duplicates, unit_change, out_of_range,
        target_leak, proxy, swapped_labels, split_overlap, text_in_numbers,
    )
}  # fmt: skip
ANYWHERE = ("duplicates",)  # no column is at fault


# ------------------------------------------------------------------------------------------------------------- rows
class Broken(NamedTuple):
    """table: with broken rows.   bad: (N,) bool.   kind: (N,) 0 sound, 1 cells of other rows, 2 a cell moved."""

    table: Table
    kind: np.ndarray


def break_rows(data: Dataset, seed: int) -> Broken:
    """2 % of the rows (at least 6) are broken: in one half a third of the cells come from other rows (no column's
    distribution changes), in the other one number is moved by 3 to 6 standard deviations."""
    rng = np.random.default_rng([seed, 99])
    table = clean_table(data, rng)
    table.pop("split")
    n = len(table["label"])
    columns = [name for name in table if name not in ("label", "sex") or _has_sex(data)]
    numbers = [name for name in columns if table[name].dtype.kind == "f" and np.ptp(table[name]) > 0]
    kind = np.zeros(n, dtype=np.int64)
    bad = rng.choice(n, max(6, round(0.02 * n)), replace=False)
    kind[bad] = 1 + np.arange(len(bad)) % 2
    sound = {name: values.copy() for name, values in table.items()}
    for i in bad:
        if kind[i] == 1:
            for name in rng.choice(columns, max(1, round(len(columns) / 3)), replace=False):
                table[name][i] = sound[name][rng.integers(n)]
        else:
            name = str(rng.choice(numbers))
            table[name][i] += rng.choice([-1, 1]) * rng.uniform(3, 6) * sound[name].std()
    return Broken(table, kind)
