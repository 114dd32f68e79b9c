import datetime

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from labelwright.errors import DataError
from labelwright.features.vectors import _tf_idf, check_features, dense_text_vectors, table_vectors, text_vectors

TEXTS = ["the cat sat on the mat", "a cat sat on a mat", "stock prices fell sharply", None, "", "prices of stocks fell"]


def test_check_features_copies_only_if_it_must():
    x = np.ones((3, 2), np.float32)
    assert check_features(x) is x
    assert check_features(np.ones((3, 2), np.int8)).dtype == np.float32
    doubled = csr_matrix(([1.0, 2.0], [0, 0], [0, 2]), shape=(1, 2))
    assert check_features(doubled).toarray().tolist() == [[3.0, 0.0]]
    assert doubled.nnz == 2  # the caller's is as it was


def test_check_features_names_the_rows():
    x = np.zeros((9000, 2))
    x[[5, 8999], 1] = np.nan, np.inf
    with pytest.raises(DataError, match="2 of 9000 rows of `x`: row 5, 8999"):
        check_features(x)
    with pytest.raises(DataError, match="row 5, 8999"):
        check_features(csr_matrix(x))
    with pytest.raises(DataError, match="make one with text_vectors"):
        check_features(np.array(["a"]))


def test_texts_become_unit_rows_and_likeness():
    x = text_vectors(TEXTS)
    assert x.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(x.toarray(), axis=1), [1, 1, 1, 0, 0, 1], atol=1e-6)
    likeness = (x @ x.T).toarray()
    assert likeness[0, 1] > 0.3 > likeness[0, 2] and likeness[2, 5] > likeness[0, 5]


def test_texts_weights_by_hand():
    # each text has one word and one character 3-gram (" a "), each half of length 1, the row too: sqrt(1/2) each
    x = text_vectors(["a", "b"])
    assert x.nnz == 4
    np.testing.assert_allclose(x.data, np.sqrt(0.5), rtol=1e-6)


def test_rare_words_weigh_more_and_repeats_less_than_double():
    # "dog" is in 3 of 3 texts, "cat" (twice) in 1 of 3: idf 1 and 1 + ln 2, tf 1 and 1 + ln 2
    counts = csr_matrix(np.array([[1.0, 2], [1, 0], [1, 0]], np.float32))
    row = np.array([1, (1 + np.log(2)) ** 2])
    np.testing.assert_allclose(_tf_idf(counts, 5).toarray()[0], row / np.linalg.norm(row), rtol=1e-6)
    assert _tf_idf(counts, 1).toarray().tolist() == [[1], [1], [1]]  # the column in most texts stays


def test_caps_hold():
    rng = np.random.default_rng(0)
    texts = [" ".join(map(str, rng.integers(0, 5000, 30))) for _ in range(400)]
    assert text_vectors(texts, max_features=500).shape[1] <= 500
    few = text_vectors([t + " tail" * 50 for t in texts], char_budget=1)
    assert few.shape[0] == 400


def test_dense_texts():
    z = dense_text_vectors(TEXTS, dim=3)
    assert z.shape == (6, 3) and z.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), [1, 1, 1, 0, 0, 1], atol=1e-5)
    np.testing.assert_array_equal(z, dense_text_vectors(TEXTS, dim=3))
    assert dense_text_vectors(["", None]).tolist() == [[0.0], [0.0]]
    assert text_vectors([]).shape[0] == 0


def test_text_errors():
    with pytest.raises(DataError, match=r"row 1 \(int\).*str\(\)"):
        text_vectors(["a", 3])
    with pytest.raises(DataError, match=r"pass \[text\]"):
        text_vectors("abc")


def test_numbers_are_standardised_with_gaps_marked():
    x = table_vectors({"a": np.array([1.0, 2.0, np.nan, 3.0])})
    np.testing.assert_allclose(x[:, 0], np.array([-1, 0, 0, 1]) * np.sqrt(1.5), rtol=1e-6)
    assert x[:, 1].tolist() == [0, 0, 1, 0]
    huge = table_vectors({"a": np.array([1e300, -1e300, 1e300])})
    assert np.isfinite(huge).all()


def test_categories_pool_rare_values_and_gaps():
    town = np.array(["Ulm"] * 5 + ["Rom"] * 4 + ["Bonn", "Kiel", None, None], dtype=object)
    x = table_vectors({"town": town})
    assert x.shape == (13, 4)  # gap, Rom, Ulm, rare
    assert (x.sum(1) == 1).all() and x[9].tolist() == x[10].tolist() and x[11].tolist() == x[12].tolist()
    assert table_vectors({"town": town}, max_categories=1).shape == (13, 1)  # Ulm or not
    assert table_vectors({"id": np.array([f"u{i}" for i in range(50)])}).tolist() == [[0.0]] * 50  # says nothing


def test_bools_dates_and_objects():
    days = np.array(["2024-01-01", "2024-01-03", "NaT"], "datetime64[D]")
    x = table_vectors({"d": days, "b": np.array([True, False, True])}, min_count=1)
    assert x.tolist() == [[-1, 0, 0], [1, 0, 1], [0, 1, 0]]
    same = np.array([datetime.date(2024, 1, 1), datetime.date(2024, 1, 3), None], dtype=object)
    np.testing.assert_array_equal(table_vectors({"d": same}), table_vectors({"d": days}))
    assert table_vectors({"n": np.array([1, None, 3], dtype=object)})[:, 0].tolist() == [-1, 0, 1]


def test_row_order_does_not_matter():
    rng = np.random.default_rng(1)
    columns = {"a": rng.normal(size=30), "c": rng.choice(["x", "y", "z"], 30)}
    order = rng.permutation(30)
    np.testing.assert_allclose(
        table_vectors({n: c[order] for n, c in columns.items()}), table_vectors(columns)[order], atol=1e-6
    )


def test_table_errors():
    with pytest.raises(DataError, match="pass flat columns"):
        table_vectors({"a": np.zeros(2), "b": np.zeros(3)})
    with pytest.raises(DataError, match="column 'a': row 1.*replace them with NaN"):
        table_vectors({"a": np.array([0, np.inf])})
