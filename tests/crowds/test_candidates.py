"""Pairs of items and classes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.crowds._candidates import LISTED, Pairs, class_counts, members, numbered
from labelwright.crowds.prepared import prepare
from labelwright.labels import LabelSpace, Votes


def votes_of(n, a, k, v, seed=0):
    rng = np.random.default_rng(seed)
    columns = rng.integers(0, n, v), rng.integers(0, a, v), rng.integers(0, k, v)
    return prepare(Votes(*columns, np.arange(n), np.arange(a), LabelSpace(range(k))))


@given(st.lists(st.integers(0, 20), max_size=30), st.sampled_from([1, 1000, 10**12, 4 * 10**17]))
def test_numbers_are_those_of_unique(keys, scale):
    key = np.array(keys, np.int64) * scale
    found, place = numbered(key)
    want, back = np.unique(key, return_inverse=True)
    np.testing.assert_array_equal(found, want)
    np.testing.assert_array_equal(place, back)


@pytest.mark.parametrize("form", [Pairs.every, Pairs.voted])
def test_softmax_and_counts_equal_a_loop(form):
    votes = votes_of(30, 5, 4, 60)
    pairs, rng = form(votes), np.random.default_rng(1)
    logit, prior = rng.normal(size=len(pairs.item)), rng.dirichlet(np.ones(4))
    left = pairs.left_prior(prior)
    with np.errstate(divide="ignore"):
        rest = np.log(left) + rng.normal(size=30)
    prob, other, norm = pairs.softmax(pairs.plus(logit, np.log(prior)), rest)
    count = np.full(4, 0.25)
    for i in range(30):
        mine = np.arange(pairs.start[i], pairs.start[i + 1])
        mass = np.exp(logit[mine]) * prior[pairs.label[mine]]
        rest_mass = np.exp(rest[i]) if len(mine) < 4 else 0.0
        total = mass.sum() + rest_mass
        np.testing.assert_allclose(prob[mine], mass / total)
        np.testing.assert_allclose(other[i], rest_mass / total, atol=1e-15)
        np.testing.assert_allclose(norm[i], np.log(total))
        count[pairs.label[mine]] += mass / total
        open_ = np.setdiff1d(np.arange(4), pairs.label[mine])
        if len(open_):
            count[open_] += rest_mass / total * prior[open_] / prior[open_].sum()
    np.testing.assert_allclose(class_counts(pairs, prob, other, prior), count)
    np.testing.assert_allclose(class_counts(pairs, prob, other, prior, left), count)


@pytest.mark.parametrize("form", [Pairs.every, Pairs.voted])
def test_pairs_of_items_are_those_between_their_ends(form):
    votes = votes_of(20, 5, 3, 30)
    pairs, item = form(votes), np.array([7, 0, 7, 19])
    for found, want in zip(pairs.of_items(item), members(pairs.start, item)):
        np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("shape", [(40, 300), (300, 310)])
def test_the_likeliest_classes_come_first(shape):
    n, v = shape  # many classes per item fill a table, few and one item with many do not
    votes = votes_of(n, 9, 2 * LISTED, v)
    pairs = Pairs.voted(votes)
    prob = np.random.default_rng(0).random(len(pairs.item)).round(1)  # with ties
    index, value = pairs._largest(prob)
    for i in range(n):
        mine = slice(pairs.start[i], pairs.start[i + 1])
        order = np.lexsort((pairs.label[mine], -prob[mine]))[: index.shape[1]]
        np.testing.assert_array_equal(index[i, : len(order)], pairs.label[mine][order])
        np.testing.assert_array_equal(value[i, : len(order)], prob[mine][order])
        assert (index[i, len(order) :] == -1).all() and (value[i, len(order) :] == 0).all()
