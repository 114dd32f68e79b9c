from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.auditing.instructions.exemplars import (
    average_precision,
    candidate_examples,
    check_weight,
    fused,
    greedy_pairs,
    medoids,
    standardised,
)
from labelwright.errors import DataError, OptionError


def naive_ap(scores: list[float], positive: list[bool]) -> float:
    """Sorted by hand: higher first, negatives first among equals; -inf left out."""
    ranked = sorted((-s, p) for s, p in zip(scores, positive) if s != -np.inf)
    found, total = 0, 0.0
    for place, (_, hit) in enumerate(ranked, start=1):
        if hit:
            found += 1
            total += found / place
    return total / found if found else float("nan")


@given(st.integers(0, 1000))
def test_average_precision_same_as_the_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.choice([-2.5, -1.0, -0.0, 0.0, 0.25, 3.0, -np.inf], (4, 12)).astype(np.float32)
    scores[1] = rng.normal(size=12)
    positive = rng.random(12) < 0.4
    before = scores.copy()
    got = average_precision(scores, positive)
    np.testing.assert_allclose(got, [naive_ap(s, positive) for s in scores.tolist()], atol=1e-6)
    np.testing.assert_array_equal(scores, before)


def test_average_precision_same_as_scikit_learn() -> None:
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(0)
    scores, positive = rng.normal(size=(3, 500)).astype(np.float32), rng.random(500) < 0.2
    wanted = [average_precision_score(positive, s) for s in scores]
    np.testing.assert_allclose(average_precision(scores, positive), wanted, atol=1e-6)


def test_scores_have_mean_0_and_deviation_1_whatever_their_scale() -> None:
    rng = np.random.default_rng(0)
    x, v = rng.normal(size=(50, 6)).astype(np.float32), rng.normal(size=(3, 6))
    z = standardised(v, x).scores(x)
    np.testing.assert_allclose(z.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(z.std(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(standardised(9 * v, x).scores(x), z, atol=1e-5)
    assert (standardised(np.zeros((1, 6)), x).scores(x) == 0).all()  # alike to all: says nothing


def test_fused_scores_are_the_weighted_sum() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20, 4)).astype(np.float32)
    a, b = standardised(rng.normal(size=(2, 4)), x), standardised(rng.normal(size=(2, 4)), x)
    np.testing.assert_allclose(fused(a, b, 0.3).scores(x), 0.3 * a.scores(x) + 0.7 * b.scores(x), atol=1e-5)
    np.testing.assert_allclose(fused(a, b, 0.3).best(x), fused(a, b, 0.3).scores(x).max(axis=0))


def test_medoids_are_one_of_each_cloud() -> None:
    rng = np.random.default_rng(2)
    cloud = rng.integers(0, 3, 90)
    x = np.eye(3)[cloud] + 0.1 * rng.normal(size=(90, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    first = np.array([np.flatnonzero(cloud == c)[0] for c in range(3)])
    order = np.concatenate([first, np.setdiff1d(np.arange(90), first)])
    found = order[medoids(x[order], 3)]
    assert sorted(cloud[found].tolist()) == [0, 1, 2]
    sizes = np.bincount(cloud)[cloud[found]].tolist()
    assert sizes == sorted(sizes, reverse=True)


@given(st.integers(0, 200), st.integers(1, 40), st.integers(1, 30))
def test_candidates_are_distinct_and_as_many_as_asked(seed: int, n: int, most: int) -> None:
    x = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    found = candidate_examples(x, most)
    assert len(set(found.tolist())) == len(found) == min(n, most) and found.max() < n


def case(seed: int, n: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    positive = np.arange(n) < 15
    examples = (rng.normal(size=(6, n)) + positive).astype(np.float32)
    phrases = (rng.normal(size=(4, n)) + positive).astype(np.float32)
    return examples, phrases, positive, np.arange(6)


def set_ap(examples, phrases, positive, own, pairs, w=0.5) -> float:  # type: ignore[no-untyped-def]
    score = np.max([w * examples[e] + (1 - w) * (phrases[p] if p >= 0 else 0) for e, p in pairs], axis=0)
    score[own[[e for e, _ in pairs]]] = -np.inf
    return naive_ap(score.tolist(), positive.tolist())


@given(st.integers(0, 300))
def test_every_pair_gains_and_no_example_comes_twice(seed: int) -> None:
    examples, phrases, positive, own = case(seed)
    chosen = greedy_pairs(examples, phrases, positive, own, pairs=5, min_gain=0.01)
    reached = [set_ap(examples, phrases, positive, own, chosen[: i + 1]) for i in range(len(chosen))]
    assert (np.diff(reached) >= 0.01 - 1e-6).all()
    assert len({e for e, _ in chosen}) == len(chosen) <= 5


@given(st.integers(0, 300))
def test_first_pair_cannot_be_bettered_in_its_phrase_and_examples_alone_is_the_best_one(seed: int) -> None:
    examples, phrases, positive, own = case(seed)
    (e, p), *_ = greedy_pairs(examples, phrases, positive, own, pairs=1)
    got = set_ap(examples, phrases, positive, own, [(e, p)])
    assert got >= max(set_ap(examples, phrases, positive, own, [(e, q)]) for q in range(4)) - 1e-6
    (e, p), *_ = greedy_pairs(examples, phrases[:0], positive, own, pairs=1)
    alone = [set_ap(examples, phrases, positive, own, [(i, -1)], w=1.0) for i in range(6)]
    assert p == -1 and alone[e] == pytest.approx(max(alone), abs=1e-6)


def test_a_perfect_example_ends_the_search() -> None:
    positive = np.array([True, True, True, False, False])
    examples = np.array([[9, 3, 2, 0, 0], [0, 9, 0, 2, 2]], np.float32)
    assert greedy_pairs(examples, examples[:0], positive, np.array([0, 1])) == [(0, -1)]


def test_an_example_does_not_rank_itself() -> None:
    positive = np.array([True, True, True, False, False, False])
    examples = np.array([[99, 0, 0, 1, 1, 1], [2, 2, 2, 1, 1, 1]], np.float32)  # the first one finds but itself
    assert greedy_pairs(examples, examples[:0], positive, np.array([0, 1]), pairs=1) == [(1, -1)]


def test_a_class_of_one_training_item_still_gets_its_example() -> None:
    examples = np.array([[9, 0, 0]], np.float32)
    assert greedy_pairs(examples, examples[:0], np.array([True, False, False]), np.array([0])) == [(0, -1)]


def test_errors_tell_the_fix() -> None:
    examples, phrases, positive, own = case(0)
    with pytest.raises(DataError, match="at least one candidate example"):
        greedy_pairs(examples[:0], phrases, positive, own[:0])
    with pytest.raises(DataError, match="scores of the same n items"):
        greedy_pairs(examples, phrases[:, :3], positive, own)
    with pytest.raises(OptionError, match="pass pairs=1"):
        greedy_pairs(examples, phrases, positive, own, pairs=0)
    for weight in (-0.1, 1.1, float("nan")):
        with pytest.raises(OptionError, match="pass weight=0.5"):
            check_weight(weight)
