"""Groups of items that people answer alike, and what `aggregate` makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import labelwright as lw
from labelwright.crowds import choose, groups
from labelwright.crowds.groups import fit_groups
from labelwright.crowds.methods import METHODS
from labelwright.crowds.prepared import Prepared, prepare
from labelwright.crowds.verb import AUTO
from labelwright.errors import OptionError
from labelwright.labels import LabelSpace, Votes


def prepared(item, annotator, label, n, a, k, gold=None, weight=None) -> Prepared:
    columns = (np.asarray(x, np.int64) for x in (item, annotator, label))
    return prepare(Votes(*columns, np.arange(n), np.arange(a), LabelSpace(range(k)), weight=weight), gold)


def birds(seed: int, n: int = 160, a: int = 30, per_item: int = 20, shared: bool = True):
    """Is it a duck? Ducks, geese and others; `shared`: three in five people take geese for ducks, too."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, n)  # 0 duck, 1 goose, 2 other
    truth = (kind == 0).astype(int)
    item = np.repeat(np.arange(n), per_item)
    annotator = np.concatenate([rng.choice(a, per_item, replace=False) for _ in range(n)])
    fooled = (rng.permutation(a) < 0.6 * a) & shared
    meant = np.where((kind[item] == 1) & fooled[annotator], 1, truth[item])
    label = np.where(rng.random(len(item)) < 0.9, meant, 1 - meant)
    return item, annotator, label, truth, kind


def test_one_step_is_as_loops_have_it():
    rng = np.random.default_rng(0)
    n, a, k, per_class = 12, 5, 3, 2
    item, label = np.repeat(np.arange(n), 4), rng.integers(0, k, 4 * n)
    annotator = np.tile(np.arange(4), n) + np.repeat(rng.integers(0, 2, n), 4)
    weight = rng.uniform(0.5, 2, len(item))
    votes = prepared(item, annotator, label, n, a, k, weight=weight)
    begin, g = groups._begin(votes, per_class), k * per_class
    np.testing.assert_allclose(begin.sum(1), 1)
    spread = np.array([(weight[label == c].sum() + 1 / k) / (weight.sum() + 1) for c in range(k)])

    def answered(group):
        rows = np.array(
            [spread + sum(w * group[i, j] * np.eye(k)[c] for i, c, w in zip(item, label, weight)) for j in range(g)]
        )
        return rows / rows.sum(1, keepdims=True)

    pooled = answered(begin)
    conf = np.zeros((a, g, k))
    for who in range(a):
        for j in range(g):
            conf[who, j] = groups.STRENGTH * pooled[j]
            for i, w, c, heavy in zip(item, annotator, label, weight):
                conf[who, j, c] += (w == who) * heavy * begin[i, j]
            conf[who, j] /= conf[who, j].sum()
    mass = begin.sum(0) + 1 / g
    joint = np.log(mass / mass.sum()) * np.ones((n, 1))
    for i, w, c, heavy in zip(item, annotator, label, weight):
        joint[i] += heavy * np.log(conf[w, :, c])
    expected = np.exp(joint) / np.exp(joint).sum(1, keepdims=True)
    with pytest.warns(lw.errors.LabelwrightWarning, match="Raise max_iter"):
        fit = fit_groups(votes, per_class=per_class, max_iter=1)
    np.testing.assert_allclose(fit.details["groups"], expected, atol=1e-12)
    prior = groups.STRENGTH * (pooled[None] * np.log(conf)).sum() + np.log(mass / mass.sum()).mean()
    assert fit.trace[0] == pytest.approx(np.log(np.exp(joint).sum(1)).sum() + prior)
    answers = answered(expected)
    np.testing.assert_allclose(fit.details["answers"], answers)
    for i in range(n):
        own = np.bincount(label[item == i], weight[item == i], k) + expected[i] @ answers
        np.testing.assert_allclose(fit.labels.dense()[i], own / own.sum(), atol=1e-5)
    np.testing.assert_allclose(
        fit.vote_prob(np.array([3, 7]), np.array([1, 4])),
        [sum(expected[i, j] * conf[w, j] for j in range(g)) for i, w in ((3, 1), (7, 4))],
    )


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), per_class=st.integers(1, 4), k=st.integers(2, 4))
def test_the_objective_never_falls_and_groups_are_distributions(seed, per_class, k):
    rng = np.random.default_rng(seed)
    item, annotator = np.divmod(rng.permutation(40 * 6)[:150], 6)
    votes = prepared(item, annotator, rng.integers(0, k, 150), 40, 6, k)
    fit = fit_groups(votes, per_class=per_class, max_iter=2000)
    assert (np.diff(fit.trace) >= -1e-9 * np.abs(fit.trace[:-1])).all()
    np.testing.assert_allclose(fit.details["groups"].sum(1), 1)
    chance = fit.vote_prob(votes.item, votes.annotator)
    np.testing.assert_allclose(chance.sum(1), 1)
    assert (chance > 0).all()


def test_the_parts_of_a_class_are_ranks_and_equal_shares_rank_equally():
    parts = groups._parts(np.array([0.5, 0.6, 0.6, 0.9]), 2)
    np.testing.assert_allclose(parts, [[1, 0], [0.5, 0.5], [0.5, 0.5], [0, 1]])
    np.testing.assert_array_equal(parts[1], parts[2])
    np.testing.assert_allclose(parts.sum(1), 1)
    assert (groups._parts(np.array([0.7, 0.2]), 1) == 1).all()


def test_groups_are_what_people_see():
    item, annotator, label, _, kind = birds(1)
    fit = fit_groups(prepared(item, annotator, label, 160, 30, 2))
    likeliest = fit.details["groups"].argmax(1)
    most = sum(np.bincount(kind[likeliest == g]).max() for g in np.unique(likeliest))
    assert most / len(kind) > 0.97


def test_where_classes_explain_the_votes_they_are_mixed_as_ever():
    item, annotator, label, *_ = birds(2, shared=False)
    found = lw.aggregate(item, annotator, label)
    assert found.others["method"].to_pylist() == list(AUTO)
    assert not any("none of the classes" in note for note in found.notes)


def test_where_they_do_not_all_count_alike_and_gold_tells_who_knows():
    item, annotator, label, truth, _ = birds(3)
    found = lw.aggregate(item, annotator, label)
    assert any("ideas that are none of the classes" in note and "gold tells" in note for note in found.notes)
    last = found.others.to_pylist()[-1]
    assert (
        last["method"] == "groups" and last["weight"] > 0.99 and found.settings["chosen"] == "weights by held-out votes"
    )
    np.testing.assert_allclose(found.fit.details["groups"].shape, (160, 6))
    shares = lw.aggregate(item, annotator, label, method="vote_shares")
    np.testing.assert_allclose(found.labels.dense(), shares.labels.dense(), atol=0.1)
    gold = {i: int(truth[i]) for i in range(16)}
    told = lw.aggregate(item, annotator, label, gold=gold)
    right = told.labels.dense().argmax(1) == truth
    assert right[16:].mean() > 0.95 > 0.9 > (found.labels.dense().argmax(1) == truth)[16:].mean()


def test_how_much_is_told_beside_the_class():
    rng = np.random.default_rng(5)
    seen = rng.uniform(0.2, 0.9, (50, 3))
    found = choose.Compared(("one_coin", "groups", "glad"), seen, np.arange(50), np.zeros((0, 3)))
    rest = choose.without_method(found, "groups")
    assert rest.names == ("one_coin", "glad")
    np.testing.assert_array_equal(rest.votes, seen[:, [0, 2]])
    weights, _ = choose.stack(seen[:, [0, 2]], np.ones(2))
    expected = np.mean([np.log(row[1] / (row[[0, 2]] @ weights)) for row in seen]) * 7
    assert choose.beside_the_class(found, "groups", 7.0) == pytest.approx(expected)
    trusted, trace = choose.weigh(found, "groups")
    np.testing.assert_allclose(trusted, np.array([1, 51, 1]) / 53)
    assert trace == [pytest.approx(np.log(seen @ trusted).sum())]
    known = found._replace(truth=np.tile([[0.9, 0.1, 0.9]], (400, 1)))
    assert choose.weigh(known, "groups")[0][1] < 0.03  # known classes speak against them


def test_tables_too_large_are_refused_and_auto_goes_without_them(monkeypatch):
    item, annotator, label, *_ = birds(3)
    votes = prepared(item, annotator, label, 160, 30, 2)
    monkeypatch.setattr(groups, "SMALL", 1000)
    monkeypatch.setattr(groups, "PER_VOTE", 0)
    with pytest.raises(OptionError, match=r"160 items, 30 annotators and 6 groups.*not 1,320.*vote_shares"):
        fit_groups(votes)
    with pytest.raises(OptionError, match="per_class"):
        METHODS["groups"](votes, per_class=0)
    assert "groups" not in lw.aggregate(item, annotator, label).others["method"].to_pylist()
