"""Columns: their types, their arrays, and statistics that tell nothing of few rows."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.auditing.profile import TYPES, Column, read_columns, row_sample, shown, statistics
from labelwright.errors import ColumnError, DataError, OptionError

N = 60
RNG = np.random.default_rng(0)
TABLE = {
    "id": list(range(N)),
    "user_id": RNG.integers(0, 9, N).tolist(),
    "size": RNG.normal(size=N),
    "count": RNG.poisson(4, N),
    "flag": (RNG.random(N) < 0.5).tolist(),
    "zip": RNG.integers(10000, 10009, N),
    "padded": [f"0{i % 7}" for i in range(N)],
    "colour": RNG.choice(["red", "green", "blue"], N).tolist(),
    "words": [f"this is the long text of row {i}" for i in range(N)],
    "key": [f"k{i:03d}" for i in range(N)],
    "typed": [str(v) for v in RNG.normal(size=N - 6)] + ["see notes"] * 6,
    "thousands": ["1,234"] * 30 + ["2,500.5"] * 30,
    "day": [datetime.date(2024, 1, 1) + datetime.timedelta(days=i) for i in range(N)],
    "day_text": [f"2024-02-{1 + i % 28:02d}" for i in range(N)],
    "file": [f"pictures/{i}.JPG" for i in range(N)],
    "picture": [b"\x89PNG\r\n" + bytes([i]) for i in range(N)],
    "vector": [RNG.normal(size=4).tolist() for _ in range(N)],
    "tags": [["a", "b"]] * N,
    "nothing": [None] * N,
}
EXPECTED = {
    "id": "identifier", "user_id": "nominal", "size": "continuous", "count": "discrete", "flag": "nominal", "zip": "nominal",
    "padded": "nominal", "colour": "nominal", "words": "text", "key": "identifier", "typed": "continuous",
    "thousands": "continuous", "day": "date", "day_text": "date", "file": "image", "picture": "image", "vector": "vector",
    "tags": "other", "nothing": "other",
}  # fmt: skip


def column(values: object, kind: str | None = None) -> Column:
    return read_columns({"x": values}, {"x": kind} if kind else None)[0]


def test_types_are_inferred() -> None:
    found = {c.name: c.type for c in read_columns(TABLE)}
    assert found == EXPECTED
    assert set(found.values()) <= set(TYPES)


@pytest.mark.parametrize("frame", [pa.table, pd.DataFrame, pl.DataFrame])
def test_every_frame_reads_alike(frame: type) -> None:
    plain = {k: TABLE[k] for k in ("size", "count", "colour", "words", "flag")}
    for a, b in zip(read_columns(plain), read_columns(frame(plain))):
        assert (a.name, a.type, a.names) == (b.name, b.type, b.names)
        np.testing.assert_array_equal(a.values, b.values)
        np.testing.assert_array_equal(a.codes, b.codes)


def test_pandas_columns_of_mixed_kinds_and_missing_cells() -> None:
    frame = pd.DataFrame(
        {"x": [1.5, "see notes", None, *([2.5] * 9)], "y": [1.0, float("nan"), *([float("inf")]), *([3.5] * 9)]}
    )
    x, y = read_columns(frame)
    assert x.type == "continuous" and x.unparsed.sum() == 1 and np.isnan(x.values[:3]).sum() == 2
    assert y.known.sum() == 10  # neither NaN nor infinity is a value


def test_order_comes_from_the_column_or_from_the_user() -> None:
    frame = pd.DataFrame({"size": pd.Categorical(["L", "S", "M"] * 5, ["S", "M", "L"], ordered=True)})
    ordered = read_columns(frame)[0]
    assert ordered.type == "ordinal" and ordered.values[:3].tolist() == [2, 0, 1]
    told = read_columns({"size": ["L", "S", "?"] * 5}, {"size": ["S", "M", "L"]})[0]
    assert told.names == ("S", "M", "L") and told.codes[:3].tolist() == [2, 0, -1] and told.given


def test_an_override_changes_the_type_and_is_remembered() -> None:
    assert column([10115, 20095, 10115], "continuous").values.tolist() == [10115, 20095, 10115]
    assert statistics(column([1, 2, 3] * 9, "nominal"))["type_origin"] == "given"


def test_equal_content_gets_equal_codes() -> None:
    vectors = column([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0], None])
    assert vectors.codes[0] == vectors.codes[2] != vectors.codes[1] and vectors.codes[3] == -1
    pictures = column([b"\x89PNG1", b"\x89PNG2", b"\x89PNG1"])
    assert pictures.codes.tolist() == [0, 1, 0]


# ------------------------------------------------------------------------------------------------------- statistics
def test_numbers_by_hand() -> None:
    told = statistics(column([0.5, 1.5, 1.5, 2.5, 0.0, 0.0, 10.0]), min_cell=1)
    assert (told["count"], told["unique"], told["zeros"]) == (7, 5, 2)
    assert (told["min"], told["median"], told["max"]) == (0.0, 1.5, 10.0)
    assert told["mean"] == pytest.approx(16 / 7) and told["sd"] == pytest.approx(
        np.std([0.5, 1.5, 1.5, 2.5, 0, 0, 10], ddof=1)
    )
    assert sum(told["histogram"]["counts"]) == 7


def test_ends_are_reached_by_enough_rows() -> None:
    values = [float(v) + 0.5 for v in range(100)]
    told = statistics(column(values), min_cell=5)
    assert (told["min"], told["max"]) == (4.5, 95.5)  # the fifth from either end


def test_rare_categories_are_pooled() -> None:
    told = statistics(column(["a"] * 50 + ["b"] * 20 + ["c"] * 2 + ["d"]), min_cell=5)
    assert [v["value"] for v in told["values"]] == ["a"]  # b hides c and d: 3 rows by themselves would be given away
    assert (told["other_values"], told["other_count"], told["hidden_values"]) == (3, 23, 3)
    assert told["least_frequent"] == {"value": "a", "count": 50}


def test_dates_text_images_and_vectors_have_their_own() -> None:
    told = {c.name: statistics(c) for c in read_columns(TABLE)}
    assert told["day"]["min"] == "2024-01-05"
    assert told["words"]["median_words"] == 8 and "values" not in told["words"]
    assert told["picture"]["formats"] == ["png"] and told["file"]["stored"] == "file names"
    assert told["vector"]["lengths"] == [4]
    assert told["typed"]["not_a_number"] == 6
    assert told["nothing"]["missing_share"] == 1 and told["nothing"]["suppressed"] == "fewer than 5 values"


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.integers(1, 8))
def test_hidden_cells_cannot_be_told_from_the_total(counts: list[int], k: int) -> None:
    c = np.array(counts)
    visible = shown(c, k)
    assert (c[visible & (c > 0)] >= k).all()
    hidden = int(c[~visible].sum())
    assert hidden == 0 or hidden >= k or not (visible & (c > 0)).any()


@given(st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=5, max_size=50), st.integers(1, 5))
def test_statistics_stay_within_the_told_ends(values: list[float], k: int) -> None:
    told = statistics(column(np.array(values), "continuous"), min_cell=k)
    if len(values) < 2 * k - 1:
        assert "suppressed" in told and "median" not in told
        return
    assert told["min"] <= told["quartile_1"] <= told["median"] <= told["quartile_3"] <= told["max"]
    assert all(n is None or n == 0 or n >= k for n in told["histogram"]["counts"])
    assert sum(v <= told["min"] for v in values) >= k <= sum(v >= told["max"] for v in values)


def test_a_sample_repeats_and_keeps_the_order() -> None:
    rows = row_sample(1000, 100, 3)
    assert len(rows) == 100 and (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, row_sample(1000, 100, 3))
    np.testing.assert_array_equal(row_sample(5, 100, 3), np.arange(5))


# ------------------------------------------------------------------------------------------------------- errors
def test_tables_that_are_none() -> None:
    with pytest.raises(DataError, match="pass the table that holds the data"):
        read_columns({"x": []})
    with pytest.raises(DataError, match="pass the table that holds the data"):
        row_sample(0, 5, 0)
    with pytest.raises(DataError, match="rename one of them"):
        read_columns(pa.table([[1], [2]], names=["x", "x"]))
    with pytest.raises(DataError, match="rename one of them"):
        read_columns(pd.DataFrame([[1, 2]], columns=["x", "x"]))


def test_types_that_are_none() -> None:
    with pytest.raises(OptionError, match="did you mean 'nominal'"):
        read_columns({"x": [1, 2]}, {"x": "nominl"})
    with pytest.raises(OptionError, match="leave this column out of types"):
        read_columns({"x": [[1.0, 2.0]]}, {"x": "continuous"})
    with pytest.raises(ColumnError, match="nearest: size"):
        read_columns({"size": [1, 2]}, {"siz": "nominal"})
    with pytest.raises(OptionError, match="pass min_cell=1 or more"):
        statistics(column([1.0]), min_cell=0)
    with pytest.raises(OptionError, match="pass sample=1 or more"):
        row_sample(5, 0, 0)
