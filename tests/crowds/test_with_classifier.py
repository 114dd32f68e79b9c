"""Votes with a classifier: against double loops, with missing predictions, many classes, and one vote per item."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad

from labelwright.crowds import with_classifier as module
from labelwright.crowds._candidates import Pairs
from labelwright.crowds._item_evidence import ItemEvidence, candidates
from labelwright.crowds.dawid_skene import fit_dawid_skene
from labelwright.crowds.prepared import Prepared, prepare
from labelwright.crowds.with_classifier import fit_with_classifier, pred_probs_from_features
from labelwright.errors import OptionError, ProbabilityError
from labelwright.labels import LabelSpace, SoftLabels, Votes


def case(
    seed: int = 0, n: int = 200, a: int = 10, k: int = 3, per_item: int = 3, gold: int = 0, sharp: float = 2.0
) -> tuple[Prepared, np.ndarray, np.ndarray]:
    """Votes, probabilities of a classifier that is right more often than not, and the truth."""
    rng = np.random.default_rng(seed)
    truth, skill = rng.integers(0, k, n), np.linspace(0.9, 0.5, a)
    item = np.repeat(np.arange(n), per_item)
    annotator = np.concatenate([rng.choice(a, per_item, replace=False) for _ in range(n)])
    wrong = (truth[item] + rng.integers(1, k, len(item))) % k
    label = np.where(rng.random(len(item)) < skill[annotator], truth[item], wrong)
    score = rng.normal(size=(n, k)) + sharp * np.eye(k)[truth]
    p = np.exp(score) / np.exp(score).sum(1, keepdims=True)
    known = np.where(np.arange(n) < gold, truth, -1)
    return prepare(Votes(item, annotator, label, np.arange(n), np.arange(a), LabelSpace(range(k))), known), p, truth


def nll(fit, truth):
    return -np.log(fit.labels.dense()[np.arange(len(truth)), truth].clip(1e-9)).mean()


@pytest.mark.parametrize("method", module.PEOPLE)
def test_the_posterior_equals_the_double_loop(method):
    votes, p, _ = case(1, n=40, gold=5)
    fit = fit_with_classifier(votes, p, method=method, dependence=0.5, shared_error=0.1)
    seen = np.ones(40, bool)
    pairs = Pairs.every(votes)
    model = module._learn(votes, ItemEvidence.of(p, seen, pairs, np.full(3, 1 / 3)), method, False, 200, 1e-6)
    model.foretell_best(0)
    told, table = fit.details[method], model.people.loglik.reshape(40, 3)
    want = np.zeros((40, 3))
    for i in range(40):
        size = votes.start[i + 1] - votes.start[i]
        like = np.exp(table[i] / (1 + (size - 1) * 0.5))
        like /= like.sum()
        for c in range(3):
            mixed = 0.9 * like[c] + 0.1 * sum(like[d] for d in range(3) if d != c) / 2
            want[i, c] = mixed * p[i, c] ** model.weight
        want[i] /= want[i].sum()
        if votes.gold[i] >= 0:
            want[i] = np.eye(3)[votes.gold[i]]
    got = model.posterior(0.5, 0.1)[0].reshape(40, 3)
    np.testing.assert_allclose(got, want, atol=1e-9)
    assert told["scale"] == 1.0  # too few items to rescale
    np.testing.assert_allclose(fit.labels.dense(), want, atol=1e-4)


def test_likelihoods_of_annotators_equal_their_confusions():
    votes, _, _ = case(2, n=50)
    pairs = Pairs.every(votes)
    q = np.random.default_rng(0).dirichlet(np.ones(3), 50).ravel()
    people = module.Confusions(votes, pairs)
    people.learn(q)
    for annotator in range(3):
        mine = votes.annotator == annotator
        of = [mine & (votes.label == given) for given in range(3)]
        count = np.array([[q.reshape(-1, 3)[votes.item[x], true].sum() for x in of] for true in range(3)])
        row = count + people.rows.around.reshape(3, 3)
        np.testing.assert_allclose(people.confusion(annotator), row / row.sum(1, keepdims=True))


@pytest.mark.parametrize("k", [3, 20])
def test_the_gradient_of_the_scaling(monkeypatch, k):
    votes, p, _ = case(3, n=60, k=k)
    seen = np.arange(60) % 7 > 0
    pairs = Pairs.every(votes) if k == 3 else candidates(votes, p, seen, 5)
    evidence = ItemEvidence.of(p, seen, pairs, np.full(k, 1 / k))
    rng = np.random.default_rng(0)
    prob, rest, _ = pairs.softmax(
        rng.normal(size=len(pairs.item)), np.where(evidence.n_rest > 0, rng.normal(size=60), -np.inf)
    )
    caught = {}

    def catch(loss, begin, **_):
        caught["error"] = check_grad(lambda v: loss(v)[0], lambda v: loss(v)[1], begin + 0.1)
        raise StopIteration

    monkeypatch.setattr("scipy.optimize.minimize", catch)
    with pytest.raises(StopIteration):
        evidence.refit(prob, rest)
    assert caught["error"] < 1e-3


def test_the_classifier_on_listed_classes_equals_the_dense_one():
    votes, p, _ = case(4, n=30, k=20)
    seen = np.ones(30, bool)
    pairs = candidates(votes, p, seen, 5)
    evidence = ItemEvidence.of(p, seen, pairs, np.full(20, 0.05))
    logs, rest = evidence.log_prior()
    for i in range(30):
        part = slice(pairs.start[i], pairs.start[i + 1])
        assert set(np.argsort(-p[i])[:5]) | set(votes.label[votes.start[i] : votes.start[i + 1]]) == set(
            pairs.label[part]
        )
        np.testing.assert_allclose(np.exp(logs[part]), p[i, pairs.label[part]], rtol=1e-6)
        np.testing.assert_allclose(np.exp(rest[i]), 1 - p[i, pairs.label[part]].sum(), rtol=1e-6)


@settings(max_examples=8)
@given(st.permutations(range(3)), st.integers(0, 3))
def test_renaming_classes_renames_the_answer(order, seed):
    votes, p, _ = case(seed, n=120)
    order = np.array(order)
    names = np.argsort(order)
    back = prepare(Votes(votes.item, votes.annotator, order[votes.label], np.arange(120), np.arange(10), votes.space))
    here, there = fit_with_classifier(votes, p), fit_with_classifier(back, p[:, names])
    np.testing.assert_allclose(here.labels.dense(), there.labels.dense()[:, order], atol=5e-3)
    assert np.diff(here.trace).min() > -1e-6 * abs(here.trace[-1])


@pytest.mark.parametrize("k", [3, 20])
@pytest.mark.parametrize("per_item", [1, 3])
def test_both_together_are_better_than_either(k, per_item):
    votes, p, truth = case(5, n=600, k=k, per_item=per_item, sharp=2.5)
    fit = fit_with_classifier(votes, p)
    right = (fit.labels.hard().ids == truth).mean()
    assert right > (p.argmax(1) == truth).mean() + 0.01
    assert right > (fit_dawid_skene(votes).labels.hard().ids == truth).mean() + 0.02
    assert nll(fit, truth) < -np.log(p[np.arange(600), truth]).mean()
    skill = fit.skill
    assert np.corrcoef(skill, np.linspace(0.9, 0.5, 10))[0, 1] > 0.7


def test_a_useless_classifier_does_little_harm():
    votes, _, truth = case(6, n=600)
    noise = np.random.default_rng(0).dirichlet(np.full(3, 0.3), 600)
    alone, fit = fit_dawid_skene(votes, doubt=0.0), fit_with_classifier(votes, noise)
    assert nll(fit, truth) < nll(alone, truth) + 0.05
    assert fit.details["one_coin"]["scale"] * fit.details["one_coin"]["weight"] < 0.2


def test_an_overconfident_classifier_is_cooled():
    votes, p, truth = case(7, n=600)
    sharp = p**4 / (p**4).sum(1, keepdims=True)
    fit = fit_with_classifier(votes, sharp)
    told = fit.details["one_coin"]  # the likelihood ratio of `case` is p ** 2, so that of `sharp` is its square root
    assert 0.4 < told["scale"] * told["weight"] < 0.6
    assert nll(fit, truth) < nll(fit_with_classifier(votes, p), truth) + 0.02


def test_missing_predictions_and_items_without_votes():
    votes, p, truth = case(8, n=300)
    p = p.copy()
    p[::3] = np.nan
    silent = votes.item % 10 != 9
    start = np.searchsorted(votes.item[silent], np.arange(301))
    some = replace(
        votes, item=votes.item[silent], annotator=votes.annotator[silent], label=votes.label[silent],
        weight=votes.weight[silent], start=start,
    )  # fmt: skip
    fit = fit_with_classifier(some, p)
    assert "100 items have no prediction" in fit.notes[0]
    alone = np.arange(300) % 10 == 9
    np.testing.assert_array_equal(fit.labels.known, ~alone | ~np.isnan(p[:, 0]))
    both = alone & ~np.isnan(p[:, 0])
    assert (fit.labels.hard().ids[both] == truth[both]).mean() > 0.6
    np.testing.assert_allclose(fit.labels.dense().sum(1), 1, atol=1e-5)
    assert not np.shares_memory(p, fit.labels.prob)


def test_an_item_without_votes_keeps_its_distribution_with_many_classes():
    votes, p, _ = case(9, n=150, k=20)
    kept = votes.item < 140
    some = replace(
        votes, item=votes.item[kept], annotator=votes.annotator[kept], label=votes.label[kept], weight=votes.weight[kept],
        start=np.searchsorted(votes.item[kept], np.arange(151)),
    )  # fmt: skip
    labels = fit_with_classifier(some, p.astype(np.float32)).labels
    assert labels.known.all()
    np.testing.assert_allclose(labels.prob.sum(1) + labels.rest, 1, atol=1e-4)
    assert (labels.hard().ids[140:] == p[140:].argmax(1)).all()


def test_top_k_rows_give_what_their_matrix_gives():
    votes, p, _ = case(13, n=150, k=20)
    p[3] = np.nan
    rows = SoftLabels.from_dense(p, votes.space, k=8)
    dense = np.where(np.isnan(p), np.nan, rows.dense())
    got, want = fit_with_classifier(votes, rows), fit_with_classifier(votes, dense)
    np.testing.assert_allclose(got.labels.dense(), want.labels.dense(), atol=1e-5)
    assert "1 items have no prediction" in got.notes[0]


def test_gold_is_believed_and_votes_are_foretold():
    votes, p, truth = case(10, gold=50)
    fit = fit_with_classifier(votes, p)
    assert (fit.labels.hard().ids[:50] == truth[:50]).all() and (fit.labels.prob[:50, 0] == 1).all()
    told = fit.vote_prob(np.arange(20), np.zeros(20, int))
    np.testing.assert_allclose(told.sum(1), 1)
    assert (fit.confusion(0).argmax(1) == np.arange(3)).all()


def test_shared_error_lets_a_sure_classifier_be_heard():
    votes, p, _ = case(11, n=300, per_item=5)
    p[0] = [0.8, 0.1, 0.1]
    sure = votes.label.copy()
    sure[votes.item == 0] = 1
    votes = replace(votes, label=sure)
    heard, not_heard = (fit_with_classifier(votes, p, shared_error=s).labels.dense()[0, 0] for s in (0.2, 0.0))
    assert heard > not_heard + 0.1


def test_features_stand_in_for_a_classifier():
    votes, _, truth = case(12, n=300)
    x = np.random.default_rng(0).normal(size=(300, 4)) + 2.0 * np.eye(3, 4)[truth]
    p = pred_probs_from_features(votes, x)
    assert p.shape == (300, 3) and p.dtype == np.float32
    fit = fit_with_classifier(votes, p)
    assert (fit.labels.hard().ids == truth).mean() > (fit_dawid_skene(votes).labels.hard().ids == truth).mean() + 0.03
    np.testing.assert_array_equal(p, pred_probs_from_features(votes, x))


def test_quality_beats_the_parts_on_people_and_a_published_classifier(real_data):
    human = np.load(real_data / "cifar10h" / "cifar10h.npz")
    p = np.load(real_data / "label_errors" / "cifar10.npz")["pyx"][5000:6500]
    share, truth = human["counts"][5000:6500].astype(float), human["y"][5000:6500].astype(int)
    share /= share.sum(1, keepdims=True)
    rng = np.random.default_rng(0)
    item = np.repeat(np.arange(1500), 3)
    label = (share.cumsum(1)[item] > rng.random((4500, 1))).argmax(1)
    label = np.where(rng.random(4500) < 0.75, label, rng.integers(0, 10, 4500))
    votes = prepare(
        Votes(item, rng.integers(0, 40, 4500), label, np.arange(1500), np.arange(40), LabelSpace(range(10)))
    )
    fit = fit_with_classifier(votes, p, tol=1e-5)
    assert (fit.labels.hard().ids == truth).mean() > 0.955
    assert nll(fit, truth) < min(nll(fit_dawid_skene(votes), truth), -np.log(p[np.arange(1500), truth]).mean()) - 0.05


def test_errors_tell_the_fix():
    votes, p, _ = case(n=20)
    with pytest.raises(ProbabilityError, match="sort the rows by votes.items"):
        fit_with_classifier(votes, p[:10])
    with pytest.raises(ProbabilityError, match="sort the rows"):
        fit_with_classifier(votes, (p > 0.5).astype(int))
    with pytest.raises(ProbabilityError, match="needs no classifier"):
        fit_with_classifier(votes, np.full_like(p, np.nan))
    with pytest.raises(ProbabilityError, match="logits"):
        fit_with_classifier(votes, np.log(p))
    holed = p.copy()
    holed[3, 1] = np.nan
    with pytest.raises(ProbabilityError, match="finite probabilities"):
        fit_with_classifier(votes, holed)
    with pytest.raises(OptionError, match="did you mean 'both'"):
        fit_with_classifier(votes, p, method="bot")
    with pytest.raises(OptionError, match="shared_error=0.03"):
        fit_with_classifier(votes, p, shared_error=0.9)
    with pytest.raises(OptionError, match="dependence=None"):
        fit_with_classifier(votes, p, dependence=3.0)
    with pytest.raises(OptionError, match="max_iter=1 or more"):
        fit_with_classifier(votes, p, max_iter=0)
    with pytest.raises(OptionError, match="rounds=1 or more"):
        pred_probs_from_features(votes, p, rounds=0)
