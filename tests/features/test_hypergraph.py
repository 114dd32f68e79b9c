"""Hypergraphs as matrices against loops over sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.errors import DataError
from labelwright.features.hypergraph import hypergraph_from_edges, hypergraph_from_neighbours, members, propagation


def naive_propagation(h: np.ndarray, w: np.ndarray) -> np.ndarray:
    n, e = h.shape
    degree = [sum(w[j] for j in range(e) if h[i, j]) for i in range(n)]
    size = [h[:, j].sum() for j in range(e)]
    out = np.zeros((n, n))
    for a in range(n):
        if degree[a] == 0:
            out[a, a] = 1
        for b in range(n):
            for j in range(e):
                if h[a, j] and h[b, j]:
                    out[a, b] += w[j] / size[j] / np.sqrt(degree[a] * degree[b])
    return out


@given(st.integers(0, 10_000))
def test_operator_by_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    h, w = (rng.random((7, 5)) < 0.3).astype(int), rng.random(5) + 0.1
    np.testing.assert_allclose(propagation(h).toarray(), naive_propagation(h, np.ones(5)), atol=1e-6)
    found = propagation(h, w).toarray()
    np.testing.assert_allclose(found, naive_propagation(h, w), atol=1e-6)
    np.testing.assert_allclose(found, found.T, atol=1e-7)
    root = np.sqrt(np.where(h @ w > 0, h @ w, 1.0))
    np.testing.assert_allclose(found @ root, root, rtol=1e-5)  # its largest eigenvalue is 1, at the root of the degree
    assert np.abs(np.linalg.eigvalsh(found)).max() <= 1 + 1e-5


@given(st.integers(0, 10_000), st.booleans())
def test_edges_by_sets(seed: int, pairs: bool) -> None:
    edges = np.random.default_rng(seed).integers(0, 6, (8, 2))
    sets = [{i} | {int(b) for a, b in edges if a == i} | {int(a) for a, b in edges if b == i} for i in range(6)]
    if pairs:
        sets += [set(p) for p in sorted({tuple(sorted(map(int, p))) for p in edges if p[0] != p[1]})]
    found = hypergraph_from_edges(edges, 6, pairs=pairs).toarray()
    assert [set(np.flatnonzero(column)) for column in found.T] == sets and set(np.unique(found)) <= {0.0, 1.0}


def test_neighbours_and_lonely_items() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 3))
    h = hypergraph_from_neighbours(x, k=4).toarray()
    for i in range(20):
        near = np.argsort(np.linalg.norm(x - x[i], axis=1))[:5]
        assert set(np.flatnonzero(h[:, i])) == set(near)
    assert hypergraph_from_edges(np.empty((0, 2)), 3).toarray().tolist() == np.eye(3).tolist()
    np.testing.assert_allclose(propagation(np.zeros((2, 1))).toarray(), np.eye(2))


def test_member_weights_do_not_count() -> None:
    np.testing.assert_allclose(members([[3.0, 0.0], [0.5, 1.0]]).toarray(), [[1, 0], [1, 1]])


def test_errors() -> None:
    with pytest.raises(DataError, match="one row per edge"):
        hypergraph_from_edges([[0, 3]], 3)
    with pytest.raises(DataError, match="one row per edge"):
        hypergraph_from_edges([0, 1], 3)
    with pytest.raises(DataError, match="leave out edges"):
        propagation(np.ones((2, 2)), [1.0, 0.0])
    with pytest.raises(DataError, match="hypergraph_from_edges or"):
        propagation(np.ones(3))
    with pytest.raises(DataError, match="edge_weights"):
        propagation([[1.0], [-1.0]])
