"""The figures against naive loops, hand-worked cases and invariants."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labelwright.advising.measures import (
    annotator_agreement,
    count_votes,
    homophily,
    interval_alpha,
    krippendorff_alpha,
    nests,
    order_of_confusions,
    shift,
    ties,
)
from labelwright.errors import LabelError, OptionError


def naive_alpha(units, distance):
    """Krippendorff's alpha by its definition: all pairs inside units over all pairs of values. units: lists of answers."""
    units = [u for u in units if len(u) > 1]
    values = [v for u in units for v in u]
    seen = sum(distance(a, b) / (len(u) - 1) for u in units for a, b in itertools.permutations(u, 2))
    every = sum(distance(a, b) for a, b in itertools.permutations(values, 2))
    return 1 - (len(values) - 1) * seen / every if every else float("nan")


def ordinal(values, k):
    n = np.bincount(values, minlength=k)

    def distance(a, b):
        low, high = min(a, b), max(a, b)
        return (n[low : high + 1].sum() - (n[low] + n[high]) / 2) ** 2

    return distance


UNITS = st.lists(st.lists(st.integers(0, 3), max_size=5), min_size=1, max_size=8)


@given(UNITS)
def test_alpha_is_the_definition(units):
    counts = np.array([np.bincount(u, minlength=4) for u in units])
    pairable = [v for u in units if len(u) > 1 for v in u]
    for metric, distance in (
        ("nominal", lambda a, b: float(a != b)),
        ("ordinal", ordinal(np.array(pairable, dtype=int), 4)),
    ):
        expected = naive_alpha(units, distance)
        assert krippendorff_alpha(counts, metric=metric) == pytest.approx(expected, abs=1e-9, nan_ok=True)


@given(UNITS)
def test_interval_alpha_is_the_definition(units):
    item = np.repeat(np.arange(len(units)), [len(u) for u in units])
    value = np.array([v for u in units for v in u], dtype=float)
    expected = naive_alpha(units, lambda a, b: (a - b) ** 2)
    assert interval_alpha(item, value * 7 - 3) == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_alpha_of_krippendorffs_example():
    """Krippendorff 2011, section C: four observers, twelve units, five categories; nominal 0.743, ordinal 0.815."""
    rows = ["1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 ."]
    table = [row.split() for row in rows]
    counts = np.zeros((12, 5), dtype=int)
    for row in table:
        for unit, answer in enumerate(row):
            if answer != ".":
                counts[unit, int(answer) - 1] += 1
    assert krippendorff_alpha(counts) == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(counts, metric="ordinal") == pytest.approx(0.815, abs=5e-4)


@given(arrays(np.int64, (6, 3), elements=st.integers(0, 4)), st.permutations(range(3)))
def test_nominal_alpha_does_not_know_the_names(counts, order):
    assert krippendorff_alpha(counts) == pytest.approx(krippendorff_alpha(counts[:, order]), abs=1e-9, nan_ok=True)


def test_alpha_at_the_edges():
    assert krippendorff_alpha([[3, 0], [0, 3]]) == 1
    assert np.isnan(krippendorff_alpha([[3, 0], [3, 0]]))  # all answers are the same: nothing to agree on
    assert np.isnan(krippendorff_alpha([[1, 0], [0, 1]]))  # nobody answered twice
    with pytest.raises(LabelError, match="count the votes"):
        krippendorff_alpha([[-1, 3]])
    with pytest.raises(OptionError, match="nominal"):
        krippendorff_alpha([[1, 1]], metric="nominl")


VOTES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(-1, 2)), min_size=1, max_size=30)


@given(VOTES)
def test_agreement_against_a_double_loop(votes):
    item, annotator, label = (np.array(x) for x in zip(*votes))
    found = annotator_agreement(item, annotator, label)
    said = [v for v in votes if v[2] >= 0]
    answers = [x for i, _, x in said if sum(j == i for j, _, _ in said) > 1]
    for a in range(len(found.votes)):
        shares, chance = [], []
        for v, (i, b, x) in enumerate(said):
            others = [y for w, (j, _, y) in enumerate(said) if j == i and w != v]
            if b == a and others:
                shares.append(np.mean([y == x for y in others]))
                chance.append(np.mean([y == x for y in answers]))
        assert found.votes[a] == len(shares)
        if shares:
            assert found.observed[a] == pytest.approx(np.mean(shares))
            assert found.chance[a] == pytest.approx(np.mean(chance))


def test_who_answers_at_random_is_contrary_and_nobody_else():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 400)
    item, annotator = np.repeat(np.arange(400), 5), np.tile(np.arange(5), 400)
    right = rng.random(2000) < 0.9
    label = np.where(right, truth[item], rng.integers(0, 3, 2000))
    label[annotator == 4] = rng.integers(0, 3, 400)
    assert np.flatnonzero(annotator_agreement(item, annotator, label).contrary()).tolist() == [4]


def test_no_votes_no_agreement():
    empty = np.zeros(0, dtype=int)
    assert not len(annotator_agreement(empty, empty, empty).votes)
    assert not annotator_agreement(np.array([0]), np.array([0]), np.array([1])).contrary().any()


def test_ties_by_hand():
    counts = count_votes(np.array([0, 0, 1, 1, 1, 2, 3]), np.array([0, 1, 1, 1, 0, 1, -1]), 4, 2)
    assert counts.tolist() == [[1, 1], [1, 2], [0, 1], [0, 0]]
    assert ties(counts) == (1, 2)  # the first; only the first two have two answers
    assert ties(np.zeros((0, 2), dtype=int)) == (0, 0)


def test_order_is_seen_where_neighbours_are_confused():
    place = np.arange(6)
    near = np.exp(-np.abs(place[:, None] - place[None, :])) * 100
    seen, shuffled, chance = order_of_confusions(near)
    assert seen < 0.8 * shuffled and chance < 0.01
    mixed = near[np.ix_([3, 0, 5, 1, 4, 2], [3, 0, 5, 1, 4, 2])]
    assert order_of_confusions(mixed)[2] > 0.05
    assert order_of_confusions(np.diag([5, 5, 5]))[2] == 1 and order_of_confusions(np.ones((2, 2)))[2] == 1
    wide = np.exp(-np.abs(np.arange(12)[:, None] - np.arange(12)[None, :]))
    assert order_of_confusions(wide, random_state=3) == order_of_confusions(wide, random_state=3)


def test_nests_by_hand():
    assert nests(np.array([0, 0, 1, 2, -1]), np.array([0, 0, 0, 1, 1])) == 1
    assert nests(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])) == 0.75
    assert nests(np.array([-1]), np.array([0])) == 0


def test_shift_by_hand():
    distance, chance = shift(np.array([90, 10]), np.array([50, 50]))
    assert distance == pytest.approx(0.4) and chance < 1e-6
    assert shift(np.array([50, 50, 0]), np.array([50, 50, 0])) == (0, 1)
    assert shift(np.array([5, 0]), np.array([0, 0])) == (0, 1)


def test_homophily_by_hand():
    ids = np.array([0, 0, 1, -1])
    assert homophily(np.array([[0, 1, 2], [1, 2, 3]]), ids) == 0.5  # the third edge has an unlabelled end
    assert np.isnan(homophily(np.array([[2], [3]]), ids))
