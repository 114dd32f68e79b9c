"""Dawid-Skene against double loops, and its sparse form against the dense one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import gammaln, psi

from labelwright.crowds import _row_prior, temper
from labelwright.crowds import dawid_skene as module
from labelwright.crowds._candidates import Pairs, members
from labelwright.crowds._cells import Cells
from labelwright.crowds.dawid_skene import fit_dawid_skene
from labelwright.crowds.prepared import prepare
from labelwright.errors import OptionError
from labelwright.labels import LabelSpace, Votes


def votes_of(seed=0, n=30, a=6, k=3, gold=None, per_item=4):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    item = np.repeat(np.arange(n), per_item)
    annotator = np.concatenate([rng.choice(a, per_item, replace=False) for _ in range(n)])
    label = np.where(rng.random(len(item)) < 0.7, truth[item], rng.integers(0, k, len(item)))
    weight = rng.choice([1.0, 2.0], len(item))
    space = LabelSpace(range(k))
    votes = Votes(item, annotator, label, np.arange(n), np.arange(a), space, weight=weight)
    return prepare(votes, None if gold is None else np.where(np.arange(n) < gold, truth, -1)), truth


def naive_step(votes, q, around, fitted):
    """One step, item by item: (posterior, expected log rows or log modes, prior, objective without the Gamma density)."""
    n, a, k = votes.n_items, votes.n_annotators, votes.n_classes
    prior = np.array([sum(q[i, c] for i in range(n)) + 1 / k for c in range(k)])
    prior /= prior.sum()
    count = np.zeros((a, k, k))
    for j in range(len(votes)):
        for c in range(k):
            count[votes.annotator[j], c, votes.label[j]] += votes.weight[j] * q[votes.item[j], c]
    value, penalty = np.zeros((a, k, k)), 0.0
    for x in range(a):
        for c in range(k):
            row, whole = count[x, c], count[x, c].sum() + around[c].sum()
            if fitted:
                value[x, c] = psi(row + around[c]) - psi(whole)
                penalty += gammaln(row + around[c]).sum() - gammaln(whole) - (row * value[x, c]).sum()
                penalty -= gammaln(around[c]).sum() - gammaln(around[c].sum())
            else:
                value[x, c] = np.log((row + around[c]) / whole)
                penalty += (around[c] * value[x, c]).sum()
    out, objective = np.zeros((n, k)), penalty + np.log(prior).mean()
    for i in range(n):
        logit = np.log(prior)
        for j in range(votes.start[i], votes.start[i + 1]):
            logit = logit + votes.weight[j] * value[votes.annotator[j], :, votes.label[j]]
        if votes.gold[i] >= 0:
            out[i, votes.gold[i]] = 1
            objective += logit[votes.gold[i]]
        else:
            out[i] = np.exp(logit - np.logaddexp.reduce(logit))
            objective += np.logaddexp.reduce(logit)
    return out, prior, objective


@pytest.mark.parametrize("concentration", [None, 0.0, 2.0])
@pytest.mark.parametrize("gold", [None, 10])
def test_a_step_equals_the_double_loop(concentration, gold):
    votes, _ = votes_of(1, gold=gold)
    model = module._begin(votes, concentration, 0.1)
    q = model.prob.reshape(-1, 3).copy()
    objective = module._step(model, module._state(model))[0]
    want, prior, value = naive_step(votes, q, model.rows.around.reshape(3, 3), model.rows.base is not None)
    np.testing.assert_allclose(model.prob.reshape(-1, 3), want, atol=1e-10)
    np.testing.assert_allclose(model.prior, prior)
    if model.rows.base is not None:
        value += model.rows.pull * (model.rows.base * np.log(model.rows.around) - model.rows.around).sum()
        np.testing.assert_allclose(objective, value)
    else:  # constants of `around` and rows without votes are left out: differences must agree
        before = objective - value
        q = model.prob.reshape(-1, 3).copy()
        objective = module._step(model, module._state(model))[0]
        np.testing.assert_allclose(objective - naive_step(votes, q, model.rows.around.reshape(3, 3), False)[2], before)


def test_a_minka_step_equals_the_double_loop():
    votes, _ = votes_of(2)
    model = module._begin(votes, None, 0.1)
    count = model.cells.scatter(model.prob)
    row, before = model.cells.rows(count), model.rows.around.reshape(3, 3).copy()
    model.rows.refit(count, row)
    dense = count.reshape(6, 3, 3).transpose(0, 2, 1)  # annotator, true, given
    for c in range(3):
        under = 1 + sum(psi(dense[a, c].sum() + before[c].sum()) - psi(before[c].sum()) for a in range(6))
        for g in range(3):
            over = sum(psi(dense[a, c, g] + before[c, g]) - psi(before[c, g]) for a in range(6))
            want = (model.rows.base[c * 3 + g] + before[c, g] * over) / under
            np.testing.assert_allclose(model.rows.around[c * 3 + g], want)


def test_kept_cells_give_what_all_cells_give():
    votes, _ = votes_of(3, k=4)
    pairs = Pairs.every(votes)
    some, all_ = Cells._seen(votes, pairs), Cells._all(votes)
    q = np.random.default_rng(0).random(len(pairs.item))
    key = some.key
    np.testing.assert_allclose(some.scatter(q), all_.scatter(q)[key])
    np.testing.assert_allclose(all_.scatter(q).sum(), some.scatter(q).sum())
    value = np.random.default_rng(1).random(len(all_.row))
    np.testing.assert_allclose(some.gather(value[key]), all_.gather(value))
    vote, begin = members(votes.start, pairs.item)
    entry = np.repeat(np.arange(len(pairs.item)), np.diff(begin))
    found = some.find(votes, pairs, entry, vote)
    np.testing.assert_array_equal(key[found], all_.find(votes, pairs, entry, vote))


def test_sums_over_kept_cells_equal_sums_over_all_cells():
    votes, _ = votes_of(3, k=4)
    some, all_ = Cells._seen(votes, Pairs.every(votes)), Cells._all(votes)
    value, pooled = np.zeros(len(all_.row)), np.random.default_rng(3).random(16)
    value[some.key] = np.random.default_rng(2).random(len(some.key))
    np.testing.assert_allclose(all_.table_sums(value), some.table_sums(value[some.key]))
    np.testing.assert_array_equal(all_.per_table(pooled)[some.key], some.per_table(pooled))
    np.testing.assert_allclose(all_.rows(value)[some.row_annotator * 4 + some.row_true], some.rows(value[some.key]))


@pytest.mark.parametrize("form", [Cells._all, lambda votes: Cells._seen(votes, Pairs.every(votes))])
def test_a_vote_is_taken_out_of_the_counts_of_its_annotator(form):
    votes, _ = votes_of(4)
    model = module._begin(votes, None, 0.1)
    model.cells = model.rows.cells = cells = form(votes)
    count = cells.scatter(model.prob)
    learnt = (count, cells.rows(count), model.rows.expected_log(count, cells.rows(count))[0])
    chosen = np.array([0, 5, 17])
    frame, entry, vote = temper.left_out(votes, model.pairs, chosen, model.prior, model.prob, np.zeros(votes.n_items))
    said, chance = model.rows.without(votes, model.pairs, learnt, entry, vote, model.prob)
    around = model.rows.around.reshape(3, 3)
    for m, v in enumerate(chosen):
        item, who, given = votes.item[v], votes.annotator[v], votes.label[v]
        theirs = np.zeros((3, 3))  # [true, given], without vote v
        for other in np.flatnonzero((votes.annotator == who) & (np.arange(len(votes)) != v)):
            theirs[:, votes.label[other]] += votes.weight[other] * model.prob.reshape(-1, 3)[votes.item[other]]
        for c in range(3):
            want = (theirs[c, given] + around[c, given]) / (theirs[c].sum() + around[c].sum())
            np.testing.assert_allclose(chance[3 * m + c], want)
            own = votes.weight[v] * model.prob[3 * item + c]
            full, whole = theirs[c].copy(), theirs[c].sum() + own
            full[given] += own
            value = psi(full[given] + around[c, given]) - psi(whole + around[c].sum())
            np.testing.assert_allclose(said[3 * m + c], votes.weight[v] * value)
        np.testing.assert_array_equal(frame.loglik[3 * m : 3 * m + 3], model.prob[3 * item : 3 * item + 3])


def test_cells_next_to_nothing_count_as_nothing(monkeypatch):
    votes, _ = votes_of(6, k=4)
    monkeypatch.setattr(module, "COMPLETE", 1)
    skipped = fit_dawid_skene(votes)
    monkeypatch.setattr(_row_prior, "NOTHING", -1.0)  # every cell is worth a look
    looked_at = fit_dawid_skene(votes)
    assert len(skipped.trace) == len(looked_at.trace)
    np.testing.assert_allclose(skipped.trace, looked_at.trace, rtol=1e-11)
    np.testing.assert_allclose(skipped.skill, looked_at.skill, atol=1e-9)


def test_the_sparse_form_is_near_the_dense_one(monkeypatch):
    votes, _ = votes_of(4, n=200, a=10, k=6)
    dense = fit_dawid_skene(votes)
    monkeypatch.setattr(module, "COMPLETE", 1)
    sparse = fit_dawid_skene(votes)
    assert (np.diff(sparse.trace) >= -1e-9 * np.abs(sparse.trace[:-1])).all()
    assert np.abs(dense.labels.dense() - sparse.labels.dense()).max() < 0.2
    assert (dense.labels.dense().argmax(1) == sparse.labels.dense().argmax(1)).mean() > 0.97


def test_many_annotators_and_classes_cost_no_dense_table():
    votes, truth = votes_of(5, n=600, a=500, k=1000, per_item=5)
    result = fit_dawid_skene(votes)
    cells = Cells.of(votes, Pairs.voted(votes))
    assert len(cells.table) <= 25 * 600  # 500 x 1000 x 1000 would be half a billion
    assert (np.diff(result.trace) >= -1e-9 * np.abs(result.trace[:-1])).all()
    assert (result.labels.hard().ids == truth).mean() > 0.9
    np.testing.assert_allclose(result.vote_prob(np.array([0]), np.array([3])).sum(), 1)


def test_who_confuses_two_classes_is_found():
    rng = np.random.default_rng(6)
    truth = rng.integers(0, 2, 300)
    item, annotator = np.repeat(np.arange(300), 5), np.tile(np.arange(5), 300)
    label = np.where(rng.random(1500) < 0.85, truth[item], 1 - truth[item])
    label = np.where(annotator == 4, 1 - truth[item], label)  # one says the opposite
    votes = prepare(Votes(item, annotator, label, np.arange(300), np.arange(5), LabelSpace(range(2))))
    result = fit_dawid_skene(votes)
    assert result.confusion(4)[0, 1] > 0.9 and result.confusion(4)[1, 0] > 0.9
    assert (result.labels.dense().argmax(1) == truth).mean() > 0.97


def test_wrong_options_say_what_to_pass():
    votes, _ = votes_of()
    with pytest.raises(OptionError, match="pass concentration=0.01"):
        fit_dawid_skene(votes, concentration=-1)
    with pytest.raises(OptionError, match="pass smoothing=0.01"):
        fit_dawid_skene(votes, smoothing=0.0)
    with pytest.raises(OptionError, match="max_iter=1 or more"):
        fit_dawid_skene(votes, max_iter=0)
