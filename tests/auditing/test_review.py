"""The review design: known probabilities, nested samples, strata that depend on the evidence alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labelwright.auditing.review import check_reviews, review_design, suspicion_strata
from labelwright.errors import DataError, OptionError, ProbabilityError

suspicion = st.one_of(
    arrays(float, st.integers(1, 120), elements=st.floats(0, 1)),
    arrays(float, st.integers(60, 120), elements=st.sampled_from([0.0, 0.1, 0.5, 1.0])),
)


def skewed(n=2000, seed=0):
    return np.random.default_rng(seed).beta(0.15, 1.0, n)


def naive_turns(size, spread, even=0.2, early=2):
    """One review after the other to the stratum where it lowers the variance most."""
    neyman = size * spread
    weight = (1 - even) * neyman / neyman.sum() + even * size / size.sum()
    taken, out = np.zeros(len(size), int), []
    while len(out) < size.sum():
        open_ = [h for h in range(len(size)) if taken[h] < size[h]]
        fewest = min(min(taken[h], early) for h in open_)
        if fewest < early:
            open_ = [h for h in open_ if taken[h] == fewest]
        best = max(open_, key=lambda h: (weight[h] / np.sqrt((taken[h] + 1) * max(taken[h], 1)), -h))
        taken[best] += 1
        out.append(best)
    return out


@given(suspicion, st.integers(0, 3))
def test_samples_are_nested_and_probabilities_are_shares(p, seed):
    design = review_design(p, seed=seed)
    assert sorted(design.order.tolist()) == list(range(len(p)))
    assert design.size.sum() == len(p) and (design.size > 0).all()
    before: list[int] = []
    for n in range(0, len(p) + 3, 7):
        index, probability = design.sample(n)
        assert index.tolist()[: len(before)] == before
        before = index.tolist()
        for h in range(len(design.size)):
            here = design.stratum[index] == h
            np.testing.assert_allclose(probability[here], here.sum() / design.size[h])
    index, probability = design.sample(len(p) + 5)
    assert len(index) == len(p) and (probability == 1).all()


@given(suspicion, st.randoms(use_true_random=False))
def test_strata_depend_on_the_values_alone(p, random):
    stratum = suspicion_strata(p)
    turn = np.array(random.sample(range(len(p)), len(p)))
    assert np.array_equal(suspicion_strata(p[turn]), stratum[turn])
    assert np.array_equal(review_design(p, seed=1).stratum, review_design(p, seed=2).stratum)
    order = np.argsort(p, kind="stable")
    assert (np.diff(stratum[order]) >= 0).all()  # more suspicious, higher stratum
    for value in np.unique(p):
        assert len(np.unique(stratum[p == value])) == 1
    assert np.array_equal(np.unique(stratum), np.arange(stratum.max() + 1))
    assert stratum.max() + 1 <= max(1, len(p) // 25)


def test_turns_follow_the_naive_allocation_and_not_the_seed():
    p = skewed(400)
    design, other = review_design(p, seed=0), review_design(p, seed=9)
    turns = design.stratum[design.order]
    assert np.array_equal(turns, other.stratum[other.order])
    assert not np.array_equal(design.order, other.order)
    assert np.array_equal(design.order, review_design(p, seed=0).order)
    mean = np.bincount(design.stratum, p) / design.size
    drawn_in = 0.005 + 0.99 * mean
    assert turns.tolist() == naive_turns(design.size, np.sqrt(drawn_in * (1 - drawn_in)))


def test_every_stratum_gets_two_first_and_none_starves():
    design = review_design(skewed(5000))
    h = len(design.size)
    assert np.bincount(design.stratum[design.sample(2 * h)[0]]).tolist() == [2] * h
    confident = np.concatenate(
        [np.full(4000, 1e-9), np.linspace(0.3, 0.7, 1000)]
    )  # says: 4,000 items are certainly right
    design = review_design(confident)
    clean = design.stratum == design.stratum[0]
    drawn = clean[design.sample(200)[0]].sum()
    assert drawn >= 0.15 * 200 * clean.mean()


def test_inclusion_is_as_frequent_as_recorded():
    p = skewed(150)
    hits, draws = np.zeros(len(p)), 3000
    for seed in range(draws):
        index, _ = review_design(p, seed=seed).sample(40)
        hits[index] += 1
    chance = np.empty(len(p))
    design = review_design(p)
    taken = np.bincount(design.stratum[design.sample(40)[0]], minlength=len(design.size))
    chance = (taken / design.size)[design.stratum]
    assert np.abs((hits / draws - chance) / np.sqrt(chance * (1 - chance) / draws + 1e-12)).max() < 5


def test_items_without_a_label_are_never_drawn():
    p = skewed(100)
    p[::3] = np.nan
    design = review_design(p)
    assert (design.stratum[::3] == -1).all() and len(design) == np.isfinite(p).sum()
    assert np.isfinite(p[design.order]).all()


def test_one_item_and_equal_suspicions():
    assert review_design(np.array([0.3])).sample(1)[0].tolist() == [0]
    design = review_design(np.full(1000, 0.1))
    assert design.size.tolist() == [1000]
    assert len(review_design(np.zeros(500)).sample(0)[0]) == 0


def test_errors_tell_the_fix():
    with pytest.raises(ProbabilityError, match="scale the scores"):
        review_design(np.array([0.1, -0.2]))
    with pytest.raises(ProbabilityError, match="1-d array"):
        review_design(np.zeros((3, 2)))
    with pytest.raises(OptionError, match="leave it at"):
        review_design(np.array([0.1]), n_strata=0)
    with pytest.raises(DataError, match="not NaN for labelled items"):
        review_design(np.array([np.nan]))
    for n in (-1, 1.5, True):
        with pytest.raises(OptionError, match="n=200"):
            review_design(np.array([0.1])).sample(n)


@pytest.mark.parametrize(
    ("changed", "error", "fix"),
    [
        ({"index": [0]}, DataError, "use estimate_without_reviews"),
        ({"index": [0, 9]}, DataError, "drop those reviews"),
        ({"index": [0, 2]}, DataError, "drop those reviews"),
        ({"index": [1, 1]}, DataError, "merge the answers"),
        ({"low": [1.0, 0.5], "high": [1.0, 0.2]}, DataError, "leave items without an answer out"),
        ({"low": [np.nan, 0.5]}, DataError, "leave items without an answer out"),
        ({"probability": [0.0, 0.5]}, ProbabilityError, "record the probability"),
        ({"probability": [1.5, 0.5]}, ProbabilityError, "record the probability"),
    ],
)
def test_reviews_that_cannot_be(changed, error, fix):
    good = {"index": [0, 1], "low": [1.0, 0.0], "high": [1.0, 1.0], "probability": [0.5, np.nan]}
    p = np.array([0.1, 0.2, np.nan])
    assert len(check_reviews(p, **{k: np.array(v) for k, v in good.items()})) == 2
    with pytest.raises(error, match=fix):
        check_reviews(p, **{k: np.array(v) for k, v in {**good, **changed}.items()})
