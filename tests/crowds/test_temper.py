"""How much the votes on one item count for."""

from __future__ import annotations

import numpy as np
import pytest

from labelwright.crowds import temper
from labelwright.crowds.dawid_skene import fit_dawid_skene
from labelwright.crowds.one_coin import fit_one_coin
from labelwright.crowds.prepared import prepare
from labelwright.errors import OptionError
from labelwright.labels import LabelSpace, Votes


def votes_of(shared, seed=0, n=400, per_item=8):
    """Votes that are right three times in four; `shared` is the share of items whose votes are half right, half wrong."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, n)
    item, annotator = np.repeat(np.arange(n), per_item), np.tile(np.arange(per_item), n)
    right = np.where((np.arange(n) < shared * n)[item], 0.5, 0.8)
    label = np.where(rng.random(len(item)) < right, truth[item], 1 - truth[item])
    return prepare(Votes(item, annotator, label, np.arange(n), np.arange(per_item), LabelSpace(range(2)))), truth


def test_the_score_equals_a_loop_over_votes():
    left = temper.LeftOut(
        np.array([0, 2, 5]), np.array([-1.0, -3, -2, -2, -7]), np.log([0.5, 0.4, 0.2, 0.3, 0.4]),
        np.array([0.9, 0.1, 0.2, 0.7, 0.1]), np.array([-4.0, -9]), np.log([0.1, 0.1]), np.array([0.05, 0.02]),
        np.array([3.0, 1.0]), np.array([1.0, 2.0]),
    )  # fmt: skip
    for dependence in (0.0, 0.3, 1.0):
        total = 0.0
        for m in range(2):
            worth = 1 / (1 + (left.others[m] - 1) * dependence)
            rows = range(left.start[m], left.start[m + 1])
            mass = [np.exp(left.log_prior[e] + worth * left.loglik[e]) for e in rows]
            mass.append(np.exp(left.rest_log_prior[m] + worth * left.rest_loglik[m]))
            chance = [left.chance[e] for e in rows] + [left.rest_chance[m]]
            total += left.weight[m] * np.log(np.dot(mass, chance) / sum(mass))
        np.testing.assert_allclose(temper.score(left, dependence), total / 3)


def test_independent_votes_count_in_full_and_dependent_ones_less():
    alone = fit_one_coin(votes_of(0.0)[0]).details["dependence_of_votes"]
    together = fit_one_coin(votes_of(0.6)[0]).details["dependence_of_votes"]
    assert alone < 0.03 < 0.05 < together


def test_tempered_labels_are_better_where_votes_depend():
    votes, truth = votes_of(0.6)

    def log_loss(**options):
        dense = fit_dawid_skene(votes, **options).labels.dense()
        return -np.log(dense[np.arange(len(truth)), truth].clip(1e-6)).mean()

    assert log_loss() < log_loss(dependence=0.0, doubt=0.0) - 0.02


def test_a_given_dependence_is_used_and_all_votes_count_as_one_at_one():
    votes, _ = votes_of(0.0)
    result = fit_one_coin(votes, dependence=1.0, doubt=0.0)
    assert result.details["dependence"] == 1.0
    assert result.labels.dense().max() < 0.9  # no surer than the best annotator


@pytest.mark.parametrize("k", [3, 30])  # above 16 classes an item lists those that were voted for
def test_tempering_alone_changes_no_answer(k):
    rng = np.random.default_rng(0)
    n, per_item = 300, 4
    truth = rng.choice(k, n, p=np.r_[0.6, np.full(k - 1, 0.4 / (k - 1))])  # the first class is common
    item, annotator = (
        np.repeat(np.arange(n), per_item),
        rng.permuted(np.tile(np.arange(9), (n, 1)), axis=1)[:, :per_item],
    )
    label = np.where(rng.random(n * per_item) < 0.6, truth[item], rng.integers(0, k, n * per_item))
    votes = prepare(Votes(item, annotator.ravel(), label, np.arange(n), np.arange(9), LabelSpace(range(k))))
    full, tempered = (fit_dawid_skene(votes, dependence=d, doubt=0.0).labels for d in (0.0, 0.8))
    listed = full.prob[:, 0] > full.rest
    np.testing.assert_array_equal(full.index[listed, 0], tempered.index[listed, 0])
    assert tempered.prob[:, 0].mean() < full.prob[:, 0].mean() - 0.02


def test_many_votes_are_drawn_by_the_seed_only():
    votes, _ = votes_of(0.3, n=4000)
    one, again, other = (fit_one_coin(votes, random_state=s).details["dependence_of_votes"] for s in (0, 0, 1))
    assert one == again and abs(one - other) < 0.1
    assert len(temper.drawn(votes, 0)) == temper.SCORED < len(votes)


def test_options_out_of_range_say_what_to_pass():
    votes, _ = votes_of(0.0, n=5)
    with pytest.raises(OptionError, match="pass dependence=None to choose it from the votes"):
        fit_one_coin(votes, dependence=1.5)
    with pytest.raises(OptionError, match="pass doubt=0 to trust the model alone"):
        fit_one_coin(votes, doubt=-0.1)


def test_of_two_peaks_the_higher_is_found(monkeypatch):
    left = temper.LeftOut(*(np.zeros(0) for _ in temper.LeftOut._fields))._replace(others=np.ones(1))
    for height in (0.5, 1.5):  # of the peak at 0.35, beside one of height 1 at 0

        def curve(d, height=height):
            return np.exp(-((d / 0.05) ** 2)) + height * np.exp(-(((d - 0.35) / 0.1) ** 2))

        monkeypatch.setattr(temper, "_scorer", lambda left, curve=curve: curve)
        np.testing.assert_allclose(temper.best_dependence(left), 0.35 if height > 1 else 0.0, atol=0.02)
