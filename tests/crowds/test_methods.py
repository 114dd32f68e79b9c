"""What every model of a crowd must keep."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.crowds.methods import DESCRIPTIONS, METHODS
from labelwright.crowds.prepared import Prepared, prepare
from labelwright.labels import LabelSpace, Votes

EXACT = {"mace": {"restarts": 0}}  # random restarts know annotators by their number
MODELS = ["one_coin", "dawid_skene", "glad", "mace"]


def crowd(item, annotator, label, n, a, k, gold=None) -> Prepared:
    columns = (np.asarray(x, np.int64) for x in (item, annotator, label))
    return prepare(Votes(*columns, np.arange(n), np.arange(a), LabelSpace(range(k))), gold)


def simulated(seed=0, n=60, a=8, k=3, per_item=5, right=0.75):
    """Votes of annotators who are right three times in four, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    item = np.repeat(np.arange(n), per_item)
    annotator = np.concatenate([rng.choice(a, per_item, replace=False) for _ in range(n)])
    wrong = (truth[item] + rng.integers(1, max(k, 2), len(item))) % k
    label = np.where(rng.random(len(item)) < right, truth[item], wrong)
    return item, annotator, label, truth


def fit(name, votes, **options):
    return METHODS[name](votes, **EXACT.get(name, {}), **options)


@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=8)
@given(seed=st.integers(0, 10_000), k=st.integers(2, 4))
def test_permuting_items_annotators_and_classes_permutes_the_answer(name, seed, k):
    item, annotator, label, _ = simulated(seed, n=12, a=5, k=k, per_item=3)
    rng = np.random.default_rng(seed + 1)
    items, annotators, classes, rows = (rng.permutation(m) for m in (12, 5, k, len(item)))
    if name == "ordinal":  # its classes have an order, which may be turned round but not mixed
        classes = np.arange(k)[:: 1 if seed % 2 else -1]
    one = fit(name, crowd(item, annotator, label, 12, 5, k))
    other = fit(name, crowd(items[item][rows], annotators[annotator][rows], classes[label][rows], 12, 5, k))
    np.testing.assert_allclose(other.labels.dense()[items][:, classes], one.labels.dense(), atol=2e-4)
    np.testing.assert_allclose(other.skill[annotators], one.skill, atol=2e-4)


@pytest.mark.parametrize("name", METHODS)
def test_rows_are_distributions_over_all_classes_also_those_nobody_chose(name):
    item, annotator, label, truth = simulated(3)
    n = len(truth) + 1  # the last item has no vote; class 3 nobody's
    result = fit(name, crowd(item, annotator, label, n, 9, 4))
    dense = result.labels.dense()
    assert dense.shape == (n, 4) and result.prior.shape == (4,)
    np.testing.assert_allclose(dense.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(result.prior.sum(), 1)
    assert dense[:-1, 3].max() < 0.15
    assert not result.labels.known[-1] and result.labels.known[:-1].all()
    assert np.isnan(result.skill[8]) and ((result.skill[:8] >= 0) & (result.skill[:8] <= 1)).all()
    assert (dense[:-1].argmax(1) == truth).mean() > 0.8


@pytest.mark.parametrize("name", MODELS)
def test_the_objective_never_falls_and_its_parts_are_probabilities(name):
    item, annotator, label, truth = simulated(4, k=4)
    votes = crowd(item, annotator, label, len(truth), 8, 4)
    result = fit(name, votes)
    assert (np.diff(result.trace) >= -1e-9 * np.abs(result.trace[:-1])).all()
    np.testing.assert_allclose(result.confusion(2).sum(1), 1)
    assert ((result.skill_low < result.skill) & (result.skill < result.skill_high)).all()
    chance = result.vote_prob(votes.item[:9], votes.annotator[:9])
    np.testing.assert_allclose(chance.sum(1), 1, atol=1e-6)
    assert (chance > 0).all()


@pytest.mark.parametrize("name", METHODS)
def test_gold_is_kept_and_teaches_whom_to_believe(name):
    item = np.repeat(np.arange(40), 3)
    annotator = np.tile([0, 1, 2], 40)
    truth = np.arange(40) % 2
    label = np.where(annotator == 0, truth[item], 1 - truth[item])  # one is always right, two are always wrong
    gold = np.where(np.arange(40) < 30, truth, -1)
    result = fit(name, crowd(item, annotator, label, 40, 3, 2, gold))
    assert (result.labels.dense()[np.arange(30), truth[:30]] == 1).all()
    if name in {"one_coin", "dawid_skene", "glad"}:
        assert (result.labels.dense()[30:].argmax(1) == truth[30:]).all()
        assert result.skill[0] > 0.8 > 0.3 > result.skill[1]


@pytest.mark.parametrize("name", MODELS + ["vote_shares"])
def test_two_thousand_votes_do_not_give_exactly_one(name):
    item, annotator, label, _ = simulated(5, n=20, a=8)
    long = np.arange(2000)
    votes = crowd(np.r_[item, np.full(2000, 20)], np.r_[annotator, long], np.r_[label, np.zeros(2000)], 21, 2000, 3)
    options = {} if name == "vote_shares" else {"dependence": 0.0, "doubt": 0.0, "max_iter": 2000}
    row = fit(name, votes, **options).labels.dense()[20]
    assert 0.9 < row[0] < 1 and (row[1:] > 0).all()


@pytest.mark.parametrize("name", METHODS)
def test_ties_do_not_depend_on_the_order_of_rows(name):
    one = fit(name, crowd([0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0], 2, 2, 2)).labels.dense()
    np.testing.assert_allclose(one[0], one[1][::-1], atol=1e-5)
    other = fit(name, crowd([1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 1, 0], 2, 2, 2)).labels.dense()
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("k", [1, 2, 40])
def test_the_edges_no_votes_one_vote_one_class_many_classes(name, k):
    for item, annotator, label in (([], [], []), ([0], [0], [0]), ([0, 1, 1], [0, 1, 0], [0, k - 1, 0])):
        result = fit(name, crowd(item, annotator, label, 3, 2, k))
        dense = result.labels.dense()
        assert np.isfinite(dense).all() and dense.shape == (3, k)
        assert not result.labels.known[2]


@pytest.mark.parametrize("name", METHODS)
def test_a_weight_of_two_counts_as_two_and_fitting_twice_gives_the_same(name):
    item, annotator, label, truth = simulated(6)
    votes = crowd(item, annotator, label, len(truth), 8, 3)
    before = votes.label.copy()
    one, again = fit(name, votes), fit(name, votes)
    np.testing.assert_array_equal(one.labels.dense(), again.labels.dense())
    np.testing.assert_array_equal(before, votes.label)
    heavy = fit(name, replace(votes, weight=np.where(votes.annotator == 0, 3.0, 1.0)))
    assert not np.allclose(heavy.labels.dense(), one.labels.dense()) or name == "majority"


@pytest.mark.parametrize("name", MODELS)
def test_stopping_early_is_said(name):
    from labelwright.errors import LabelwrightWarning

    item, annotator, label, truth = simulated(7)
    with pytest.warns(LabelwrightWarning, match="Raise max_iter"):
        result = fit(name, crowd(item, annotator, label, len(truth), 8, 3), max_iter=2, tol=0.0)
    assert "stopped after 2 steps" in result.notes[0]


@pytest.mark.parametrize("name", MODELS)
def test_ninety_percent_intervals_cover(name):
    hits = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        n, a, k = 1000, 100, 3
        skill, truth = rng.beta(8, 3, a), rng.integers(0, k, n)
        item = np.repeat(np.arange(n), 5)
        annotator = np.concatenate([rng.choice(a, 5, replace=False) for _ in range(n)])
        wrong = (truth[item] + rng.integers(1, k, len(item))) % k
        label = np.where(rng.random(len(item)) < skill[annotator], truth[item], wrong)
        result = fit(name, crowd(item, annotator, label, n, a, k))
        hits.append((result.skill_low <= skill) & (skill <= result.skill_high))
    assert np.mean(hits) >= 0.85


def test_every_method_has_a_line():
    assert set(DESCRIPTIONS) == set(METHODS) and all(len(text) < 90 for text in DESCRIPTIONS.values())


@pytest.mark.parametrize("name", MODELS)
def test_real_crowds_beat_the_shares_in_log_loss(real_data, name):
    d = np.load(real_data / "crowd" / "rte.npz")
    truth = d["truth"]
    votes = crowd(d["item"], d["worker"], d["label"], len(truth), int(d["worker"].max()) + 1, 2)

    def log_loss(result):
        return -np.log(result.labels.dense()[np.arange(len(truth)), truth].clip(1e-6)).mean()

    assert log_loss(fit(name, votes)) < log_loss(fit("vote_shares", votes)) - 0.1
