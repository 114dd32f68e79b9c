"""Row likelihood: the density against SciPy, broken rows last, simulated rows as asked."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from labelwright.auditing.likelihood import RowModel, row_likelihood
from labelwright.auditing.profile import Column, read_columns
from labelwright.errors import ColumnError, DataError, OptionError


def table(n: int = 300, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, n)
    x = rng.normal(4.0 * kind)
    return {
        "x": x,
        "y": 2 * x + 0.3 * rng.normal(size=n),
        "kind": np.array(["left", "right"], dtype=object)[kind],
        "noise": rng.choice(["a", "b", "c"], n).astype(object),
    }


def columns(t: dict[str, np.ndarray]) -> list[Column]:
    return read_columns(t)


def test_density_is_that_of_scipy() -> None:
    t = table()
    t["x"][5] = np.nan
    c = columns(t)
    model = row_likelihood(c, components=(2,)).model
    rows = model.encode(c)
    whole = model.log_likelihood(rows)
    for i in (0, 1, 7):
        total = 0.0
        for m in range(len(model.weight)):
            p = model.weight[m] * multivariate_normal(model.mean[m], model.cov[m]).pdf(rows.x[i])
            for codes, names in zip(rows.codes, model.table):
                p *= names[m, codes[i]]
            total += p
        assert whole[i] == pytest.approx(np.log(total))
    assert np.isfinite(whole).all()


def test_broken_rows_come_last_and_their_cells_are_named() -> None:
    t = table()
    t["y"][10], t["y"][11] = t["y"].max(), t["y"].min()  # nothing by themselves, odd for their x
    t["x"][10], t["x"][11] = t["x"].min(), t["x"].max()
    t["kind"][20] = {"left": "right", "right": "left"}[t["kind"][20]]
    found = row_likelihood(columns(t))
    assert set(np.argsort(found.log_likelihood)[:2]) == {10, 11}
    assert {found.columns[j] for j in np.argsort(-found.surprise[10])[:2]} == {"x", "y"}
    assert np.argsort(found.log_likelihood).tolist().index(20) < 15


def test_the_order_of_rows_does_not_matter_much_and_the_seed_repeats() -> None:
    c = columns(table())
    first, again = row_likelihood(c, random_state=1), row_likelihood(c, random_state=1)
    np.testing.assert_array_equal(first.log_likelihood, again.log_likelihood)
    other = row_likelihood(c, random_state=2).log_likelihood
    assert np.corrcoef(first.log_likelihood, other)[0, 1] > 0.9


def test_simulated_rows_meet_the_condition() -> None:
    model = row_likelihood(columns(table())).model
    rows = model.sample(2000, given={"kind": "right"})
    assert set(rows["kind"]) == {"right"} and rows["x"].mean() == pytest.approx(4, abs=0.4)
    held = model.sample(2000, given={"x": 3.0})
    assert set(held["x"]) == {3.0} and held["y"].mean() == pytest.approx(6, abs=0.4)
    free = model.sample(2000, random_state=1)
    assert np.corrcoef(free["x"], free["y"])[0, 1] > 0.95
    np.testing.assert_array_equal(free["x"], model.sample(2000, random_state=1)["x"])


def test_rare_categories_are_never_simulated() -> None:
    t = table()
    t["noise"][:3] = "secret"
    model = row_likelihood(columns(t)).model
    assert "secret" not in set(model.sample(3000)["noise"])
    with pytest.raises(OptionError, match="common enough"):
        model.sample(5, given={"noise": "secret"})


def test_only_numbers_only_categories_and_constant_columns() -> None:
    t = table(60)
    for keep in (("x", "y"), ("kind", "noise")):
        assert np.isfinite(row_likelihood(columns({k: t[k] for k in keep})).log_likelihood).all()
    found = row_likelihood(columns({"x": t["x"], "same": np.full(60, 2.5)}))
    assert found.columns == ("x",)


def test_what_is_refused() -> None:
    model: RowModel = row_likelihood(columns(table(60))).model
    with pytest.raises(DataError, match="leave it out"):
        row_likelihood(columns({"x": np.arange(5.0) + 0.5}))
    with pytest.raises(DataError, match="leave it out"):
        row_likelihood(columns({"x": np.full(50, 1.5)}))
    with pytest.raises(OptionError, match="pass components=1 or more"):
        row_likelihood(columns(table(60)), components=(0,))
    with pytest.raises(ColumnError, match="nominal or numeric"):
        model.sample(5, given={"nothing": 1})
    with pytest.raises(OptionError, match="pass n=1 or more"):
        model.sample(0)
