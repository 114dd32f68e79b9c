"""Selection from a pool, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.annotators.pool import leaked, top_per_class
from labelwright.errors import DataError, OptionError, ProbabilityError


def naive(p: np.ndarray, k: int, floor: float) -> list[int]:
    out = []
    for c in range(p.shape[1]):
        mine = [i for i in range(len(p)) if int(np.argmax(p[i])) == c and p[i, c] >= floor]
        out += sorted(mine, key=lambda i: -p[i, c])[:k]
    return sorted(out)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999),
    n=st.integers(1, 40),
    classes=st.integers(2, 5),
    k=st.integers(1, 12),
    floor=st.floats(0, 1),
)
def test_against_a_plain_loop(seed: int, n: int, classes: int, k: int, floor: float) -> None:
    p = np.random.default_rng(seed).dirichlet(np.ones(classes), n)
    found = top_per_class(p, k, floor=floor)
    assert found.items.tolist() == naive(p, k, floor)
    assert found.label.tolist() == p[found.items].argmax(1).tolist()
    np.testing.assert_allclose(found.score, p[found.items].max(1))
    assert found.class_counts.tolist() == [int((found.label == c).sum()) for c in range(classes)]
    assert (found.class_counts <= k).all()
    order = np.random.default_rng(1).permutation(n)
    again = top_per_class(p[order], k, floor=floor)
    assert sorted(order[again.items].tolist()) == found.items.tolist()


def test_one_class() -> None:
    assert top_per_class(np.ones((5, 1)), 3).class_counts.tolist() == [3]


def test_equal_scores_are_not_settled_by_place() -> None:
    p = np.tile([0.7, 0.3], (200, 1))
    found = [top_per_class(p, 20, random_state=s).items for s in (0, 0, 1)]
    assert np.array_equal(found[0], found[1]) and not np.array_equal(found[0], found[2])
    assert found[0].max() > 100  # the end of the file has its chance


def test_a_rare_class_is_filled_with_what_there_is_unless_there_is_a_floor() -> None:
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.49, 0.51]])
    assert top_per_class(p, 2).class_counts.tolist() == [2, 1]
    assert top_per_class(p, 2, floor=0.6).class_counts.tolist() == [2, 0]


def test_half_precision_and_an_empty_pool() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(4), 50)
    assert set(top_per_class(p.astype(np.float16), 3).items) <= set(range(50))
    assert len(top_per_class(np.zeros((0, 3)), 2).items) == 0


def test_copies_and_near_copies_are_found() -> None:
    rng = np.random.default_rng(0)
    held, pool = rng.normal(size=(60, 20)), rng.normal(size=(100, 20))
    pool[:5] = held[:5]
    pool[5:10] = held[5:10] + rng.normal(0, 1e-3, (5, 20))
    held[7], pool[50] = 0, 0
    pool[7] = 0
    found = leaked(pool, held)
    assert np.flatnonzero(found).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 50]
    assert leaked(pool, held, threshold=1.0)[:5].sum() == 5 and not leaked(pool[60:], held, threshold=0.99).any()
    assert leaked(pool[:0], held).shape == (0,)


def test_a_looser_threshold_finds_no_less() -> None:
    rng = np.random.default_rng(1)
    held, pool = rng.normal(size=(30, 4)), rng.normal(size=(80, 4))
    found = [leaked(pool, held, threshold=t) for t in (0.99, 0.9, 0.5)]
    assert (found[0] <= found[1]).all() and (found[1] <= found[2]).all() and found[2].any()
    normal = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    want = [any(float(a @ b) >= 0.9 for b in normal(held)) for a in normal(pool)]
    assert found[1].tolist() == want


def test_errors() -> None:
    p = np.full((3, 2), 0.5)
    with pytest.raises(OptionError, match="k"):
        top_per_class(p, 0)
    with pytest.raises(OptionError, match="floor=0.5"):
        top_per_class(p, 1, floor=2.0)
    with pytest.raises(ProbabilityError):
        top_per_class(np.ones((3, 2)), 1)
    with pytest.raises(OptionError, match="0.99"):
        leaked(np.ones((2, 2)), np.ones((2, 2)), threshold=1.5)
    with pytest.raises(DataError, match="same features"):
        leaked(np.ones((2, 3)), np.ones((2, 2)), threshold=0.9)
