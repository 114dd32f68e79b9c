import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from labelwright.errors import DataError, OptionError
from labelwright.features.neighbours import nearest_neighbours


def naive(x, k, metric="cosine", queries=None):
    """Double loop in float64; ties by index."""
    x = np.asarray(x, float)
    q = x if queries is None else np.asarray(queries, float)
    index, similarity = [], []
    for i, a in enumerate(q):
        pairs = []
        for j, b in enumerate(x):
            if queries is None and i == j:
                continue
            if metric == "cosine":
                length = np.linalg.norm(a) * np.linalg.norm(b)
                s = a @ b / length if length else 0.0
            else:
                s = 1 - np.linalg.norm(a - b)
            pairs.append((-round(s, 7), j, s))
        best = sorted(pairs)[:k]
        index.append([j for _, j, _ in best])
        similarity.append([s for *_, s in best])
    return np.array(index), np.array(similarity)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("form", [np.asarray, csr_matrix])
def test_same_as_the_double_loop(metric, form):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 7)) * (rng.random((150, 7)) < 0.7)
    x[10] = x[3]
    x[20] = 0
    index, similarity = naive(x, 12, metric)
    got = nearest_neighbours(form(x), 12, metric=metric)
    assert got.index.dtype == np.int64 and got.similarity.dtype == np.float32
    np.testing.assert_allclose(got.similarity, similarity, atol=1e-6)
    np.testing.assert_array_equal(got.index, index)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_queries_leave_nothing_out(metric):
    rng = np.random.default_rng(1)
    x, q = rng.normal(size=(60, 5)), rng.normal(size=(9, 5))
    q[0] = x[7]
    index, similarity = naive(x, 4, metric, q)
    got = nearest_neighbours(x, 4, metric=metric, queries=q)
    np.testing.assert_array_equal(got.index, index)
    np.testing.assert_allclose(got.similarity, similarity, atol=1e-6)
    assert got.index[0, 0] == 7


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(3, 400),
    block=st.integers(1, 450),
    copies=st.floats(0, 1),
    metric=st.sampled_from(["cosine", "euclidean"]),
    sparse=st.booleans(),
)
def test_the_block_size_changes_nothing(seed, n, block, copies, metric, sparse):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    x[rng.random(n) < copies] = x[0]
    x[rng.random(n) < 0.1] = 0
    k = int(rng.integers(1, n))
    x = csr_matrix(x) if sparse else x
    whole, cut = nearest_neighbours(x, k, metric=metric), nearest_neighbours(x, k, metric=metric, block=block)
    np.testing.assert_array_equal(whole.index, cut.index)
    np.testing.assert_array_equal(whole.similarity, cut.similarity)


def test_self_is_left_out_by_number_and_copies_come_first_in_order():
    x = np.ones((6, 3), np.float32)
    x[5] = [1, 0, 0]
    got = nearest_neighbours(x, 4)
    assert got.index[0].tolist() == [1, 2, 3, 4]
    assert got.index[2].tolist() == [0, 1, 3, 4]
    assert (got.similarity[:5] == 1).all()  # copies are exactly 1


def test_thousands_of_copies_are_quick_and_right():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(3000, 32)).astype(np.float32)
    x[500:2500] = x[500]
    got = nearest_neighbours(x, 5)
    assert got.index[1000].tolist() == [500, 501, 502, 503, 504]
    assert got.index[500].tolist() == [501, 502, 503, 504, 505]


def test_rows_of_zeros_have_similarity_0():
    x = np.array([[0.0, 0], [1, 0], [-1, 0], [0, 0]])
    got = nearest_neighbours(x, 3)
    assert got.index[0].tolist() == [1, 2, 3] and (got.similarity[0] == 0).all()
    assert got.index[1].tolist() == [0, 3, 2] and got.similarity[1].tolist() == [0, 0, -1]


def test_an_outlier_far_away_does_not_blur_euclidean_neighbours():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(80, 4)) + 1000.0
    x[0] = 1e7
    got, expected = nearest_neighbours(x, 5, metric="euclidean").index, naive(x, 5, "euclidean")[0]
    np.testing.assert_array_equal(got[1:], expected[1:])  # the outlier's own distances tie in float32


def test_tiny_euclidean_distances_are_told_apart():
    x = np.random.default_rng(3).normal(size=(80, 4))
    near, tiny = nearest_neighbours(x, 5, metric="euclidean"), nearest_neighbours(1e-9 * x, 5, metric="euclidean")
    np.testing.assert_array_equal(near.index, tiny.index)


def test_scaling_and_rotating_change_nothing():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(90, 6))
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    np.testing.assert_array_equal(nearest_neighbours(x, 7).index, nearest_neighbours(3 * x @ turn, 7).index)


def test_scratch_stays_bounded():
    x = np.random.default_rng(5).normal(size=(8000, 16)).astype(np.float32)
    tracemalloc.start()
    nearest_neighbours(x, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 90 * 2**20  # the whole similarity matrix would be 244 MiB


def test_the_input_is_untouched():
    x = np.random.default_rng(6).normal(size=(20, 3))
    sparse = csr_matrix(x)
    before = x.copy()
    for metric in ("cosine", "euclidean"):
        nearest_neighbours(x, 3, metric=metric)
        nearest_neighbours(sparse, 3, metric=metric)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(sparse.toarray(), before)


def test_errors_tell_the_fix():
    x = np.eye(4)
    with pytest.raises(DataError, match="pass k=3 or less"):
        nearest_neighbours(x, 4)
    with pytest.raises(DataError, match="at least two items"):
        nearest_neighbours(x[:1], 1)
    with pytest.raises(DataError, match="pass k=4 or less"):
        nearest_neighbours(x, 5, queries=x)
    with pytest.raises(DataError, match="one fitted encoder"):
        nearest_neighbours(x, 1, queries=np.eye(3))
    with pytest.raises(OptionError, match="did you mean 'cosine'"):
        nearest_neighbours(x, 1, metric="cosin")
    x[2, 1] = np.nan
    with pytest.raises(DataError, match="row 2.*drop those rows"):
        nearest_neighbours(x, 1)
