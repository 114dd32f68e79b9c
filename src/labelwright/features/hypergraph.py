"""Hypergraphs as sparse matrices: which items stand together in an edge of any size, and how features spread over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.errors import DataError, check_whole
from labelwright.features.neighbours import nearest_neighbours

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def hypergraph_from_edges(edges: Any, n_items: int, *, pairs: bool = False) -> csr_matrix:
    """Incidence (N, E) of 0 and 1, float32: one hyperedge per item, the item with its direct neighbours.

    Args:
        edges: (M, 2) int item numbers; direction, repeats and loops do not matter.
        n_items: N.   pairs: also one hyperedge per distinct edge, after the others (as in the LightHGNN repository).

    An item without edges stands alone in its hyperedge.

    Raises:
        DataError: edges that are no pairs of item numbers.

    >>> hypergraph_from_edges([[0, 1]], 3).toarray()
    array([[1., 1., 0.], [1., 1., 0.], [0., 0., 1.]], dtype=float32)
    """
    check_whole("n_items", n_items, 1)
    ends = np.asarray(edges)
    ends = ends.astype(np.int64) if ends.size == 0 else ends
    fine = ends.dtype.kind in "iu" and ((ends.ndim == 2 and ends.shape[1] == 2) or ends.size == 0)
    if not fine or (ends.size and (ends.min() < 0 or ends.max() >= n_items)):
        raise DataError(
            found=f"edges of shape {ends.shape} and dtype {ends.dtype}"
            + (f", numbers {ends.min()} to {ends.max()}" if fine else ""),
            expected=f"(M, 2) item numbers 0 to {n_items - 1}",
            fix="number the items 0..N-1 and pass one row per edge",
        )
    ends = ends.reshape(-1, 2)
    own = np.arange(n_items)
    item = np.concatenate([own, ends[:, 0], ends[:, 1]])
    edge = np.concatenate([own, ends[:, 1], ends[:, 0]])
    if pairs:
        distinct = np.unique(np.sort(ends[ends[:, 0] != ends[:, 1]], axis=1), axis=0)
        item = np.concatenate([item, distinct.ravel()])
        edge = np.concatenate([edge, n_items + np.repeat(np.arange(len(distinct)), 2)])
    return _incidence(item, edge, n_items, int(edge.max()) + 1)


def hypergraph_from_neighbours(features: Any, k: int = 10, *, metric: str = "euclidean") -> csr_matrix:
    """Incidence (N, N) of 0 and 1, float32: hyperedge i holds item i and its k nearest neighbours.

    Args:
        features: (N, D).   k, metric: as in `nearest_neighbours`, which also says what it raises.

    >>> hypergraph_from_neighbours(np.array([[0.0], [1.0], [5.0]]), k=1).toarray()
    array([[1., 1., 0.], [1., 1., 1.], [0., 0., 1.]], dtype=float32)
    """
    near = nearest_neighbours(features, k, metric=metric).index
    n = len(near)
    item = np.concatenate([np.arange(n), near.ravel()])
    edge = np.concatenate([np.arange(n), np.repeat(np.arange(n), k)])
    return _incidence(item, edge, n, n)


def propagation(incidence: Any, edge_weights: Any = None) -> csr_matrix:
    """Dv^-1/2 H W De^-1 H^T Dv^-1/2, (N, N) sparse float32, symmetric: one step of hypergraph smoothing.

    Args:
        incidence: H (N, E), sparse or dense; entries above 0 are members (their size does not count).
        edge_weights: (E,) W, above 0; None: 1.

    De: items of an edge. Dv: the sum of the weights of an item's edges. An item in no edge gets an edge of its own,
    weight 1; an edge without items does nothing.

    Raises:
        DataError: no incidence matrix, or weights that are not one number above 0 per edge.

    Source: Feng et al. 2019 (HGNN), eq. 10.

    >>> propagation([[1], [1], [0]]).toarray()
    array([[0.5, 0.5, 0. ], [0.5, 0.5, 0. ], [0. , 0. , 1. ]], dtype=float32)
    """
    from scipy.sparse import csr_matrix, diags

    h = members(incidence)
    w = np.ones(h.shape[1]) if edge_weights is None else np.asarray(edge_weights, dtype=np.float64)
    if w.shape != (h.shape[1],) or not bool((np.isfinite(w) & (w > 0)).all()):
        raise DataError(
            found=f"edge_weights of shape {w.shape}, {int((~(np.isfinite(w) & (w > 0))).sum())} not above 0",
            expected=f"({h.shape[1]},) finite numbers above 0",
            fix="pass one weight per hyperedge, and leave out edges that should not count",
        )
    size = np.asarray(h.sum(0)).ravel()
    degree = h @ w
    alone = degree == 0
    scale = 1 / np.sqrt(np.where(alone, 1.0, degree))
    half = diags(scale) @ h @ diags(np.sqrt(w / np.maximum(size, 1)))
    return csr_matrix(half @ half.T + diags(alone.astype(np.float64)), dtype=np.float32)


def members(incidence: Any) -> csr_matrix:
    """H (N, E) as float64 0 and 1, sparse.

    Raises:
        DataError: no matrix with items and edges, or entries that are negative or not finite.
    """
    from scipy.sparse import csr_matrix, issparse

    shape = np.shape(incidence)
    if len(shape) != 2 or 0 in shape:
        raise DataError(
            found=f"an incidence of shape {shape}",
            expected="(N items, E hyperedges), both at least 1",
            fix="make one with hypergraph_from_edges or hypergraph_from_neighbours",
        )
    h = csr_matrix(incidence if issparse(incidence) else np.asarray(incidence, dtype=np.float64), dtype=np.float64)
    if len(h.data) and not bool((np.isfinite(h.data) & (h.data >= 0)).all()):
        raise DataError(
            found="negative or infinite entries of the incidence",
            expected="1 where an item is in an edge, else 0",
            fix="pass weights of edges as edge_weights",
        )
    h.sum_duplicates()
    h.eliminate_zeros()
    h.data[:] = 1.0
    return h


def _incidence(item: np.ndarray, edge: np.ndarray, n_items: int, n_edges: int) -> csr_matrix:
    from scipy.sparse import csr_matrix

    h = csr_matrix((np.ones(len(item), np.float32), (item, edge)), shape=(n_items, n_edges))
    h.data[:] = 1.0  # what was named twice was summed
    return h
