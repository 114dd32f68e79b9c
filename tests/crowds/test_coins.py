"""One coin, GLAD and MACE against double loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.special import psi

from labelwright.crowds import _coins
from labelwright.crowds._candidates import Pairs
from labelwright.crowds._skills import Right, refit
from labelwright.crowds.glad import _Problem, fit_glad
from labelwright.crowds.mace import HABIT, KNOWS, _Mace, fit_mace
from labelwright.crowds.one_coin import expected_log, fit_one_coin
from labelwright.crowds.prepared import prepare
from labelwright.errors import LabelwrightWarning, OptionError
from labelwright.labels import LabelSpace, Votes


def votes_of(seed=0, n=25, a=6, k=4, gold=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    item = np.repeat(np.arange(n), 4)
    annotator = np.concatenate([rng.choice(a, 4, replace=False) for _ in range(n)])
    label = np.where(rng.random(len(item)) < 0.6, truth[item], rng.integers(0, k - 1, len(item)))
    weight = rng.choice([1.0, 0.5], len(item))
    votes = Votes(item, annotator, label, np.arange(n), np.arange(a), LabelSpace(range(k)), weight=weight)
    return prepare(votes, np.where(np.arange(n) < gold, truth, -1))


def dense(votes, pairs, prob, rest, prior):
    """(N, K) from pairs and rest."""
    out = np.zeros((votes.n_items, votes.n_classes))
    for i in range(votes.n_items):
        listed = pairs.label[pairs.start[i] : pairs.start[i + 1]]
        free = np.setdiff1d(np.arange(votes.n_classes), listed)
        out[i, listed] = prob[pairs.start[i] : pairs.start[i + 1]]
        out[i, free] = rest[i] * prior[free] / max(prior[free].sum(), 1e-300)
    return out


def naive_posterior(votes, prior, log_right, log_wrong):
    n, k = votes.n_items, votes.n_classes
    out, total = np.zeros((n, k)), 0.0
    for i in range(n):
        logit = np.log(prior)
        for j in range(votes.start[i], votes.start[i + 1]):
            for c in range(k):
                logit[c] += votes.weight[j] * (log_right[j] if votes.label[j] == c else log_wrong[j])
        if votes.gold[i] >= 0:
            out[i, votes.gold[i]] = 1.0
            total += logit[votes.gold[i]]
        else:
            out[i] = np.exp(logit - np.logaddexp.reduce(logit))
            total += np.logaddexp.reduce(logit)
    return out, total


@pytest.mark.parametrize("gold", [0, 8])
def test_the_posterior_and_the_class_shares_equal_the_double_loop(gold):
    votes = votes_of(1, gold=gold)
    rng = np.random.default_rng(2)
    prior = rng.dirichlet(np.ones(4))
    right = rng.uniform(0.3, 0.9, len(votes))
    logs = np.log(right), np.log((1 - right) / 3)
    pairs = Pairs.voted(votes)
    prob, rest, total = _coins.posterior(votes, pairs, prior, *logs)
    want, objective = naive_posterior(votes, prior, *logs)
    np.testing.assert_allclose(dense(votes, pairs, prob, rest, prior), want, atol=1e-12)
    np.testing.assert_allclose(total, objective)
    np.testing.assert_allclose(_coins.shares(pairs, prob, rest, prior), (want.sum(0) + 0.25) / (len(want) + 1))


def test_a_one_coin_step_equals_the_double_loop():
    votes = votes_of(3)
    with pytest.warns(LabelwrightWarning, match="Raise max_iter"):
        one = fit_one_coin(votes, max_iter=1, dependence=0.0, doubt=0.0)
    pairs, prob, _, prior = _coins.begin(votes, "even")
    right, total = np.zeros(6), np.zeros(6)
    for j in range(len(votes)):
        right[votes.annotator[j]] += votes.weight[j] * prob[pairs.own[j]]
        total[votes.annotator[j]] += votes.weight[j]
    around = one.details["around"]
    logs = np.zeros((2, len(votes)))
    for j, a in enumerate(votes.annotator):
        logs[0, j] = psi(right[a] + around[0]) - psi(total[a] + around.sum())
        logs[1, j] = psi(total[a] - right[a] + around[1]) - psi(total[a] + around.sum()) - np.log(3)
    want, _ = naive_posterior(votes, prior, *logs)
    np.testing.assert_allclose(one.labels.dense(), want, atol=3e-6)


def test_the_beta_of_the_annotators_is_found():
    rng = np.random.default_rng(4)
    right = rng.binomial(60, rng.beta(9, 3, 2000))
    count = np.stack([right, 60 - right], 1).astype(float)
    around = base = np.array([1.0, 1.0])
    for _ in range(500):
        around = refit(around, base, count)
    np.testing.assert_allclose(around, [9, 3], rtol=0.1)
    assert np.isfinite(expected_log(around, base, count)[0]).all()


def test_votes_on_known_items_count_in_full_for_the_interval():
    votes = votes_of(5)
    np.testing.assert_allclose(Right.of(votes, (np.arange(len(votes)) % 2).astype(float)).resolved(), 1.0)
    assert (Right.of(votes, np.full(len(votes), 0.7)).resolved() == 0.05).all()


@pytest.mark.parametrize("fitted", [True, False])
def test_the_gradient_of_glad_is_that_of_its_objective(fitted):
    votes = votes_of(6, gold=5)
    problem = _Problem(votes, Pairs.voted(votes), fitted)
    x = np.random.default_rng(7).normal(0.5, 0.7, 6 + 25 + 4)
    if not fitted:
        x[-4:] = 0.0
    slope = problem(x)[1]
    free = slice(None) if fitted else slice(0, -4)

    def value(part):
        return problem(np.concatenate([part, x[-4:]]) if not fitted else part)[0]

    assert check_grad(value, lambda part: slope[free], x[free], epsilon=1e-6) < 1e-3


def test_the_objective_of_glad_equals_the_double_loop():
    votes = votes_of(8)
    x = np.random.default_rng(9).normal(0.5, 0.7, 6 + 25 + 4)
    problem = _Problem(votes, Pairs.voted(votes), True)
    ability, easiness, prior = problem.split(x)
    right = np.array(
        [1 / (1 + np.exp(-ability[votes.annotator[j]] * np.exp(easiness[votes.item[j]]))) for j in range(len(votes))]
    )
    _, total = naive_posterior(votes, prior, np.log(right), np.log((1 - right) / 3))
    total += np.log(prior).mean() - 0.5 * ((ability - 1) ** 2).sum() - 0.5 * ((easiness - 1) ** 2).sum()
    np.testing.assert_allclose(-problem(x)[0], total)


def test_glad_finds_hard_items():
    rng = np.random.default_rng(10)
    truth, hard = rng.integers(0, 3, 300), np.arange(300) < 100
    item, annotator = np.repeat(np.arange(300), 10), np.tile(np.arange(10), 300)
    right = rng.random(3000) < np.where(hard[item], 0.5, 0.95)
    label = np.where(right, truth[item], (truth[item] + rng.integers(1, 3, 3000)) % 3)
    votes = prepare(Votes(item, annotator, label, np.arange(300), np.arange(10), LabelSpace(range(3))))
    result = fit_glad(votes)
    assert result.difficulty[hard].mean() > result.difficulty[~hard].mean() + 1


def test_the_e_step_of_mace_equals_the_double_loop():
    votes = votes_of(11)
    model = _Mace.of(votes)
    known = np.random.default_rng(12).random(len(votes))
    now = model.count(known)
    log_right, log_wrong, share, _ = model.logs(now)
    for j in range(len(votes)):
        a, given = votes.annotator[j], votes.label[j]
        mine = [m for m in range(len(votes)) if votes.annotator[m] == a]
        knows = sum(votes.weight[m] * known[m] for m in mine)
        guesses = sum(votes.weight[m] * (1 - known[m]) for m in mine)
        habit = sum(votes.weight[m] * (1 - known[m]) for m in mine if votes.label[m] == given)
        whole = psi(knows + guesses + 2 * KNOWS)
        know, guess = np.exp(psi(knows + KNOWS) - whole), np.exp(psi(guesses + KNOWS) - whole)
        wrong = guess * np.exp(psi(habit + HABIT) - psi(guesses + 4 * HABIT))
        np.testing.assert_allclose(log_wrong[j], np.log(wrong))
        np.testing.assert_allclose(log_right[j], np.log(know + wrong))
        np.testing.assert_allclose(share[j], know / (know + wrong))


def test_mace_finds_who_always_says_the_same():
    rng = np.random.default_rng(13)
    truth = rng.integers(0, 3, 200)
    item, annotator = np.repeat(np.arange(200), 5), np.tile(np.arange(5), 200)
    label = np.where(rng.random(1000) < 0.8, truth[item], rng.integers(0, 3, 1000))
    label = np.where(annotator == 4, 0, label)
    votes = prepare(Votes(item, annotator, label, np.arange(200), np.arange(5), LabelSpace(range(3))))
    result = fit_mace(votes, random_state=1)
    assert result.details["competence"][4] < 0.1 < 0.6 < result.details["competence"][:4].min()
    np.testing.assert_array_equal(result.labels.dense(), fit_mace(votes, random_state=1).labels.dense())


def test_wrong_options_say_what_to_pass():
    votes = votes_of()
    with pytest.raises(OptionError, match="did you mean 'fitted'"):
        fit_one_coin(votes, prior="fit")
    with pytest.raises(OptionError, match="did you mean 'even'"):
        fit_glad(votes, prior="evn")
    with pytest.raises(OptionError, match="restarts=0 or more"):
        fit_mace(votes, restarts=-1)
