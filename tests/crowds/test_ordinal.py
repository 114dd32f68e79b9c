"""Ordered classes: the curves against a loop, their gradient, and what the order of classes is worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import check_grad
from scipy.special import gammaln, psi
from scipy.stats import norm

from labelwright.crowds import ordinal as module
from labelwright.crowds.dawid_skene import fit_dawid_skene
from labelwright.crowds.ordinal import fit_ordinal
from labelwright.crowds.prepared import Prepared, prepare
from labelwright.errors import OptionError
from labelwright.labels import LabelSpace, Votes


def votes_of(
    seed: int = 0, n: int = 60, a: int = 8, k: int = 4, per_item: int = 4
) -> tuple[Prepared, np.ndarray, np.ndarray]:
    """Votes on an ordered scale by people with a bias and a noise; the truth and the biases."""
    rng = np.random.default_rng(seed)
    truth, bias, noise = rng.integers(0, k, n), rng.normal(0, 0.5, a), rng.uniform(0.3, 1.0, a)
    item = np.repeat(np.arange(n), per_item)
    annotator = np.concatenate([rng.choice(a, per_item, replace=False) for _ in range(n)])
    seen = truth[item] + bias[annotator] + noise[annotator] * rng.normal(size=len(item))
    label = np.clip(np.rint(seen), 0, k - 1).astype(np.int64)
    space = LabelSpace(range(k), structure="ordered")
    return prepare(Votes(item, annotator, label, np.arange(n), np.arange(a), space)), truth, bias


def curves_of(votes: Prepared, seed: int = 0) -> module._Curves:
    rng, curves = np.random.default_rng(seed), module._Curves.start(votes)
    curves._unpack(curves._pack() + 0.3 * rng.normal(size=len(curves._pack())))
    return curves


def test_rows_equal_the_double_loop_and_sum_to_one():
    votes, _, _ = votes_of()
    curves, k = curves_of(votes), 4
    want = np.zeros((8, k, k))
    for a in range(8):
        for true in range(k):
            x, noise = curves.position[true] + curves.bias[a], np.exp(curves.log_noise[a])
            for said in range(k):
                low = 0.0 if said == 0 else norm.cdf((said - 0.5 - x) / noise)
                high = 1.0 if said == k - 1 else norm.cdf((said + 0.5 - x) / noise)
                want[a, true, said] = (1 - curves.lapse) * (high - low) + curves.lapse * curves.share[said]
    total = np.exp(curves.log_total)
    np.testing.assert_allclose(curves.around(), total * want, atol=1e-12)
    np.testing.assert_allclose(curves.around().sum(2), total)


def test_counts_and_likelihoods_equal_the_double_loop():
    votes, _, _ = votes_of(1)
    curves, k = curves_of(votes, 1), 4
    prob = np.random.default_rng(1).dirichlet(np.ones(k), votes.n_items)
    count = np.zeros((8, k, k))
    for v in range(len(votes)):
        count[votes.annotator[v], :, votes.label[v]] += votes.weight[v] * prob[votes.item[v]]
    np.testing.assert_allclose(module._counts(votes, prob), count)
    value, added = curves.log_rows(count)
    loglik, want = np.zeros((votes.n_items, k)), curves.penalty()
    around = curves.around()
    for a in range(8):
        for t in range(k):
            row = psi(count[a, t] + around[a, t]) - psi(count[a, t].sum() + around[a, t].sum())
            np.testing.assert_allclose(value[a, t], row)
            want += gammaln(count[a, t] + around[a, t]).sum() - gammaln(around[a, t]).sum() - count[a, t] @ row
            want += gammaln(around[a, t].sum()) - gammaln(count[a, t].sum() + around[a, t].sum())
    assert added == pytest.approx(want)
    for v in range(len(votes)):
        loglik[votes.item[v]] += votes.weight[v] * value[votes.annotator[v], :, votes.label[v]]
    np.testing.assert_allclose(module._logliks(votes, value).reshape(-1, k), loglik)


def test_the_gradient_is_that_of_the_objective(monkeypatch):
    votes, _, _ = votes_of(2)
    curves, caught = curves_of(votes, 2), {}
    count = module._counts(votes, np.random.default_rng(2).dirichlet(np.ones(4), votes.n_items))

    def catch(loss, begin, **_):
        caught["error"] = check_grad(lambda v: loss(v)[0], lambda v: loss(v)[1], begin)
        caught["size"] = np.abs(loss(begin)[1]).max()
        raise StopIteration

    monkeypatch.setattr("scipy.optimize.minimize", catch)
    with pytest.raises(StopIteration):
        curves.learn(count)
    assert caught["error"] < 1e-4 * caught["size"]


@given(st.integers(0, 50))
def test_the_objective_never_falls_and_labels_are_distributions(seed):
    fit = fit_ordinal(votes_of(seed, n=25)[0], max_iter=30, tol=1e-4)
    assert np.diff(fit.trace).min() > -1e-7
    np.testing.assert_allclose(fit.labels.dense().sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(fit.confusion(0).sum(1), 1)
    np.testing.assert_allclose(fit.vote_prob(np.arange(5), np.zeros(5, int)).sum(1), 1)


def test_reversing_the_order_reverses_the_answer():
    votes, _, _ = votes_of(3)
    back = Votes(
        votes.item, votes.annotator, 3 - votes.label, np.arange(votes.n_items), np.arange(8), votes.space
    )  # fmt: skip
    here, there = fit_ordinal(votes, tol=1e-9), fit_ordinal(prepare(back), tol=1e-9)
    np.testing.assert_allclose(here.labels.dense(), there.labels.dense()[:, ::-1], atol=2e-3)
    np.testing.assert_allclose(here.details["bias"], -there.details["bias"], atol=2e-2)


def test_biases_come_back_and_few_votes_suffice():
    votes, truth, bias = votes_of(4, n=200, a=50, k=6, per_item=3)
    fit = fit_ordinal(votes, dependence=0.0, doubt=0.0)
    other = fit_dawid_skene(votes, dependence=0.0, doubt=0.0)
    assert np.corrcoef(fit.details["bias"], bias)[0, 1] > 0.7  # 12 votes each
    rows = np.arange(len(truth))
    nll, plain = (-np.log(f.labels.dense()[rows, truth].clip(1e-6)).mean() for f in (fit, other))
    assert nll < plain - 0.1


def test_ratings_of_paraphrases_are_foretold_better_than_by_free_confusions(real_data):
    import pyarrow.parquet as pq

    from labelwright.crowds.choose import foretold

    table = pq.read_table(real_data / "likert_paraphrase" / "paraphrase.parquet")
    score = np.stack([table[f"rating{j}"].to_numpy() for j in (1, 2, 3, 4)], 1)
    item, who = np.nonzero(~np.isnan(score))
    label = (score[item, who] + 5).astype(np.int64)
    votes = prepare(Votes(item, who, label, np.arange(len(score)), np.arange(4), LabelSpace(range(11))))
    found = foretold({"ordinal": fit_ordinal, "dawid_skene": fit_dawid_skene}, votes)
    assert found["dawid_skene"]["behind"] > found["dawid_skene"]["error"]


def test_one_and_two_classes_and_items_without_votes():
    for k in (1, 2):
        votes = prepare(
            Votes(
                np.array([0, 0]), np.array([0, 1]), np.zeros(2, int), np.arange(2), np.arange(3), LabelSpace(range(k))
            )
        )
        fit = fit_ordinal(votes)
        assert fit.labels.hard().ids.tolist() == [0, -1]
        assert fit.details["bias"][2] == pytest.approx(0, abs=1e-6)


def test_errors_tell_the_fix(monkeypatch):
    votes, _, _ = votes_of()
    with pytest.raises(OptionError, match="dependence=None"):
        fit_ordinal(votes, dependence=2.0)
    with pytest.raises(OptionError, match="doubt=0"):
        fit_ordinal(votes, doubt=-1.0)
    with pytest.raises(OptionError, match="max_iter=1 or more"):
        fit_ordinal(votes, max_iter=0)
    monkeypatch.setattr(module, "MOST", 10)
    with pytest.raises(OptionError, match="use fit_scores"):
        fit_ordinal(votes)
