"""Every description of the items becomes the two matrices of an audit."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image
from scipy.sparse import csr_array, random_array

from labelwright.errors import DataError
from labelwright.features import item_vectors, nearest_neighbours

rng = np.random.default_rng(0)
TEXTS = ["a red apple", "a green apple", "fast cars", None, "slow cars"]


@pytest.mark.parametrize(
    ("features", "kind", "columns"),
    [
        (rng.normal(size=(5, 3)), "vectors", 3),
        (rng.integers(0, 9, (5, 3)), "vectors", 3),
        (csr_array(np.eye(5)), "vectors", 5),
        (TEXTS, "text", None),
        (np.array(TEXTS, dtype=object), "text", None),
        (pd.Series(TEXTS), "text", None),
        (pa.array(TEXTS), "text", None),
        (pd.DataFrame({"age": [1.0, 2, 3, 4, None], "town": list("ababa")}), "table", None),
        ({"age": [1.0, 2, 3, 4, 5]}, "table", 1),
        (pa.table({"age": [1.0, 2, 3, 4, 5]}), "table", 1),
        (rng.integers(0, 255, (5, 8, 8), dtype=np.uint8), "image", 888),
        ([rng.integers(0, 255, (8, 9, 3), dtype=np.uint8) for _ in range(5)], "image", 888),
    ],
)
def test_kinds(features, kind, columns):
    vectors = item_vectors(features)
    assert vectors.kind == kind and vectors.model.shape[0] == len(vectors.search) == 5
    assert columns is None or vectors.model.shape[1] == columns
    assert vectors.search.dtype == np.float32 and np.isfinite(vectors.search).all()


def test_image_files(tmp_path):
    for i in range(3):
        Image.fromarray(rng.integers(0, 255, (9, 7, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    assert item_vectors([Path(tmp_path / f"{i}.png") for i in range(3)]).kind == "image"


def test_length_counts_where_there_are_few_columns():
    x = np.array([[1.0, 1], [1.1, 1], [9, 9], [9, 8.9], [-10, -10], [-10.1, -10]])
    index = nearest_neighbours(item_vectors(x).search, 1).index.ravel()
    assert index.tolist() == [1, 0, 3, 2, 5, 4]  # not the items of the same direction


def test_columns_in_other_units_do_not_drown_the_rest():
    useful, dollars = np.repeat([0.0, 1.0], 20)[:, None] + rng.normal(0, 0.1, (40, 3)), rng.normal(0, 1e4, (40, 1))
    near = nearest_neighbours(item_vectors(np.hstack([useful, dollars])).search, 5).index
    assert (near // 20 == np.arange(40)[:, None] // 20).mean() > 0.9


def test_wide_sparse_rows_are_reduced_and_repeat():
    x = random_array((300, 500), density=0.05, rng=np.random.default_rng(1), format="csr")
    first, second = item_vectors(x, random_state=3), item_vectors(x, random_state=3)
    assert first.search.shape == (300, 128) and np.array_equal(first.search, second.search)


@pytest.mark.parametrize("features", [[1, 2, 3], 7, [[1.0], [2.0]], ["a", 3]])
def test_what_is_none_of_these_is_refused(features):
    with pytest.raises(DataError):
        item_vectors(features)


def test_the_error_says_what_to_pass():
    with pytest.raises(DataError, match="numpy.array"):
        item_vectors([[1.0], [2.0]])
