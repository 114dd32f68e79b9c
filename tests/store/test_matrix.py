"""Arrays and reviews from disk: what is read, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelwright.errors import ColumnError, DataError, LabelwrightWarning, OptionError
from labelwright.store.read import read_matrix, read_reviews


def put(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_matrix(tmp_path):
    x = np.arange(6, dtype=np.float16).reshape(3, 2)
    np.save(tmp_path / "x.npy", x)
    got = read_matrix(tmp_path / "x.npy")
    assert isinstance(got, np.memmap) and not got.flags.writeable and got.dtype == np.float16
    np.testing.assert_array_equal(got, x)
    np.savez(tmp_path / "one.npz", pred_probs=x)
    np.testing.assert_array_equal(read_matrix(tmp_path / "one.npz"), x)
    np.savez_compressed(tmp_path / "two.npz", a=x, b=x + 1, c=np.array([{}], object))
    np.testing.assert_array_equal(read_matrix(tmp_path / "two.npz", name="b"), x + 1)
    np.save(tmp_path / "y.npy", x[:, 0])
    assert read_matrix(tmp_path / "y.npy", ndim=1).shape == (3,)
    for read, error, message in [
        (lambda: read_matrix(tmp_path / "two.npz"), DataError, "3 arrays in two.npz: a, b, c.*pass name='a'"),
        (lambda: read_matrix(tmp_path / "two.npz", name="z"), OptionError, "did you mean"),
        (lambda: read_matrix(tmp_path / "two.npz", name="c"), DataError, "array of Python objects.*save it as numbers"),
        (lambda: read_matrix(tmp_path / "x.npy", name="a"), OptionError, "leave it out"),
        (lambda: read_matrix(tmp_path / "y.npy"), DataError, r"shape \(3,\).*2 dimensions"),
        (lambda: read_matrix(tmp_path / "none.npy"), DataError, "no file or folder"),
        (lambda: read_matrix(put(tmp_path / "t.npy", "1,2")), DataError, "holds text.*numpy.save"),
        (lambda: read_matrix(put(tmp_path / "p.npy", pickle.dumps([1]))), DataError, "holds a pickle"),
        (lambda: read_matrix(tmp_path), DataError, "cannot be read as an array file"),
    ]:
        with pytest.raises(error, match=message):
            read()
    for name, bad, message in [
        ("o", np.array([{}], object), "array of Python objects"),
        ("s", np.array([["a"]]), "dtype <U1"),
        ("e", np.empty((0, 3)), r"shape \(0, 3\)"),
        ("z", np.array(1.0), r"shape \(\)"),
        ("c", np.ones((2, 2), complex), "complex128"),
    ]:
        np.save(tmp_path / f"{name}.npy", bad, allow_pickle=True)
        with pytest.raises(DataError, match=message):
            read_matrix(tmp_path / f"{name}.npy")
    put(tmp_path / "cut.npy", (tmp_path / "x.npy").read_bytes()[:-3])
    with pytest.raises(DataError, match="cannot be read as an array file"):
        read_matrix(tmp_path / "cut.npy")


def test_reviews(tmp_path):
    path = put(tmp_path / "r.csv", "extra,item,label,probability,reviewer\nx,7,cat,0.5,ann\nx,8,,0.5,\nx,7,dog,1,bob\n")
    with pytest.warns(LabelwrightWarning, match="1 rows without a label"):
        table = read_reviews(path)
    assert table.to_pydict() == {
        "item": ["7", "7"],
        "label": ["cat", "dog"],
        "probability": [0.5, 1.0],
        "reviewer": ["ann", "bob"],
    }
    pq.write_table(pa.table({"item": ["a"], "label": [1]}), tmp_path / "r.parquet")
    assert read_reviews(tmp_path / "r.parquet").to_pydict() == {"item": ["a"], "label": [1]}
    for content, error, message in [
        ("key,label\na,b", ColumnError, "no column 'item'.*add a column"),
        ("item,lable\na,b", ColumnError, "no column 'label'.*'lable'"),
        ("item,label\na,\n", DataError, "no row with a label.*fill in"),
        ("item,label\n,b\na,b", DataError, "1 reviews without an item key; row 0"),
        ("item,label,probability\na,b,0\n", DataError, r"1 values of 'probability'.*\(0, 1\]"),
        ("item,label,probability\na,b,1.5\nb,c,\n", DataError, "1 values of 'probability'.*row 0"),
        ("item,label,probability\na,b,high\n", DataError, "copy the column from the review sample"),
    ]:
        with pytest.raises(error, match=message):
            read_reviews(put(tmp_path / "bad.csv", content))
