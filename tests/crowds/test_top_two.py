"""Top two against double loops, and on votes drawn from its model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.crowds._candidates import Pairs
from labelwright.crowds.choose import foretold
from labelwright.crowds.prepared import Prepared, prepare
from labelwright.crowds.shares import fit_vote_shares
from labelwright.crowds.top_two import EVEN, GRID, _confusions, _reliability, agreements, fit_top_two, pick
from labelwright.labels import LabelSpace, Votes


def crowd(item, annotator, label, n, a, k, gold=None, weight=None) -> Prepared:
    item, annotator, label = (np.asarray(x, np.int64) for x in (item, annotator, label))
    return prepare(Votes(item, annotator, label, np.arange(n), np.arange(a), LabelSpace(range(k)), weight=weight), gold)


def drawn(seed=0, n=400, a=40, k=5, low=0.5, high=1.0, answered=0.5, gold=0, weighted=False):
    """Votes of the paper's model, and best, second, q, p."""
    rng = np.random.default_rng(seed)
    p, q, best = rng.random(a), rng.uniform(low, high, n), rng.integers(k, size=n)
    second = (best + rng.integers(1, k, n)) % k
    annotator, item = np.nonzero(rng.random((a, n)) < answered)
    within, first = rng.random(len(item)) < p[annotator], rng.random(len(item)) < q[item]
    label = np.where(within, np.where(first, best[item], second[item]), rng.integers(k, size=len(item)))
    weight = rng.choice([0.5, 1.0, 2.0], len(item)) if weighted else None
    known = np.where(np.arange(n) < gold, best, -1)
    return crowd(item, annotator, label, n, a, k, known, weight), best, second, q, p


def test_agreements_equal_the_double_loop():
    votes, *_ = drawn(1, n=30, a=7, k=4, weighted=False)
    g, shared = np.zeros((7, 7)), np.zeros((7, 7))
    for one in range(len(votes)):
        for two in range(len(votes)):
            a, b = votes.annotator[one], votes.annotator[two]
            if a != b and votes.item[one] == votes.item[two]:
                g[a, b] += (votes.label[one] == votes.label[two]) - 1 / 4
                shared[a, b] += 1
    x = np.ones(7)
    for _ in range(2000):
        x = (x + np.maximum(g @ x, 0) / (shared @ x**2)) / 2
    np.testing.assert_allclose(agreements(votes, Pairs.voted(votes)), x, atol=1e-6)


def test_agreements_find_the_reliabilities_also_where_some_answer_little():
    rng = np.random.default_rng(2)
    votes, _, _, _, p = drawn(2, n=3000, a=30, answered=rng.uniform(0.02, 0.9, (30, 1)))
    found = agreements(votes, Pairs.voted(votes))
    assert np.corrcoef(found, p)[0, 1] > 0.95


def test_nobody_agrees_with_anybody_or_is_ever_alone():
    apart = crowd([0, 0, 0], [0, 1, 2], [0, 1, 2], 1, 3, 3)
    np.testing.assert_array_equal(agreements(apart, Pairs.voted(apart)), 1)
    alone = crowd([0, 0, 1], [0, 1, 2], [0, 0, 1], 2, 4, 3)
    assert (agreements(alone, Pairs.voted(alone)) > 0).all()


@pytest.mark.parametrize("gold", [0, 6])
def test_the_pair_is_that_of_a_search_of_all_pairs(gold):
    votes, *_, p = drawn(3, n=60, a=8, k=4, answered=0.4, gold=gold, weighted=True)
    q = np.random.default_rng(4).uniform(0.51, 0.99, 60)
    p = np.clip(p, 0.001, 0.999)
    pairs = Pairs.voted(votes)
    chosen = pick(votes, pairs, p, q)
    for i in range(60):
        value = np.full((4, 4), -np.inf)
        mine = slice(votes.start[i], votes.start[i + 1])
        for a in range(4):
            for b in range(4):
                if a == b or (votes.gold[i] >= 0 and a != votes.gold[i]):
                    continue
                value[a, b] = 0.0
                for who, said, weight in zip(votes.annotator[mine], votes.label[mine], votes.weight[mine]):
                    odds = p[who] / (1 - p[who])
                    if said in (a, b):
                        value[a, b] += weight * np.log(4 * (q[i] if said == a else 1 - q[i]) * odds + 1)
        best = value >= value.max() - 1e-9
        first, second = np.zeros(4), np.zeros(4)
        part = slice(pairs.start[i], pairs.start[i + 1])
        first[pairs.label[part]], second[pairs.label[part]] = chosen.first[part], chosen.second[part]
        free = np.setdiff1d(np.arange(4), pairs.label[part])
        second[free] += chosen.rest[i] / max(len(free), 1)
        if votes.start[i + 1] > votes.start[i]:
            assert ((first > 0) == best.any(1)).all() and ((second > 0) == best.any(0)).all()
            np.testing.assert_allclose([first.sum(), second.sum()], 1)


def test_q_equals_the_double_loop():
    votes, *_, p = drawn(5, n=25, a=8, k=4, weighted=True)
    p, pairs = np.clip(p, 0.001, 0.999), Pairs.voted(votes)
    chosen = pick(votes, pairs, p, np.full(25, 0.75))
    likelihood = np.zeros((25, len(GRID)))
    for i in range(25):
        for j, q in enumerate(GRID):
            for one, two in ((q, 1 - q), (1 - q, q)):
                log = 0.0
                for v in range(votes.start[i], votes.start[i + 1]):
                    odds, at = 4 * p[votes.annotator[v]] / (1 - p[votes.annotator[v]]), pairs.own[v]
                    terms = chosen.first[at] * np.log(one * odds + 1) + chosen.second[at] * np.log(two * odds + 1)
                    log += votes.weight[v] * terms
                likelihood[i, j] += np.exp(log)
    share = np.full(len(GRID), 1 / len(GRID))
    for _ in range(100):
        joint = likelihood * share
        share = (joint / joint.sum(1, keepdims=True)).sum(0) + (EVEN * 25 + 1) / len(GRID)
        share /= share.sum()
    want = (likelihood * share) @ GRID / (likelihood * share).sum(1)
    np.testing.assert_allclose(_confusions(votes, pairs, p, chosen), want, atol=1e-9)


def test_reliability_is_the_share_within_the_top_two_beyond_chance():
    votes = crowd([0, 1, 2, 3, 0], [0, 0, 0, 0, 1], [0, 1, 2, 3, 0], 4, 3, 4)
    within = np.array([1.0, 1.0, 1.0, 0.0, 1.0])[np.lexsort((votes.item, votes.annotator)).argsort()]
    plain = _reliability(votes, within, shrink=False)
    np.testing.assert_allclose(plain[:2], [0.5, 0.999])  # (3/4 - 2/4) / (2/4), and 1 cut
    assert np.isnan(plain[2])
    drawn_in = _reliability(votes, within, shrink=True)
    assert plain[0] < drawn_in[0] < drawn_in[1] < 0.999


@pytest.mark.parametrize("shrink", [True, False])
def test_planted_pairs_are_found_better_than_by_counts(shrink):
    for seed in range(2):
        votes, best, second, q, p = drawn(seed)
        fit = fit_top_two(votes, shrink=shrink)
        counts = fit_vote_shares(votes).labels.dense().argsort(1)[:, ::-1]
        wrong = (fit.details["best"] != best) | (fit.details["second"] != second)
        assert wrong.mean() < ((counts[:, 0] != best) | (counts[:, 1] != second)).mean() - 0.04
        assert np.abs(fit.details["q"] - q).mean() < 0.13
        assert np.abs(fit.details["reliability"] - p).mean() < 0.08
        np.testing.assert_allclose(fit.difficulty, 1 - fit.details["q"])


def test_even_splits_are_not_read_as_clear_ones():
    votes, _, _, q, _ = drawn(6, low=0.5, high=0.55)
    assert (
        abs(fit_top_two(votes).details["q"].mean() - q.mean())
        < 0.08
        < fit_top_two(votes, shrink=False).details["q"].mean() - q.mean()
    )


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), k=st.integers(3, 5), shrink=st.booleans())
def test_renamed_classes_give_renamed_labels(seed, k, shrink):
    votes, *_ = drawn(seed, n=20, a=6, k=k)
    new = np.random.default_rng(seed).permutation(k)
    other = crowd(votes.item, votes.annotator, new[votes.label], 20, 6, k)
    one, two = fit_top_two(votes, shrink=shrink), fit_top_two(other, shrink=shrink)
    np.testing.assert_allclose(two.labels.dense()[:, new], one.labels.dense(), atol=1e-5)
    np.testing.assert_allclose(two.details["q"], one.details["q"], atol=1e-6)


def test_labels_have_q_on_the_best_and_the_rest_on_the_second():
    votes, *_ = drawn(7, n=50, a=20)
    fit = fit_top_two(votes)
    p, rows, found = fit.labels.dense(), np.arange(50), fit.details
    np.testing.assert_allclose(p[rows, found["best"]], found["q"], atol=1e-5)
    np.testing.assert_allclose(p[rows, found["second"]], 1 - found["q"], atol=1e-5)
    chance = fit.vote_prob(rows, np.full(50, 3))
    want = found["reliability"][3] * p.astype(float) + (1 - found["reliability"][3]) / 5
    np.testing.assert_allclose(chance, want, atol=1e-6)


def test_items_without_votes_or_with_one_answer_have_no_second():
    votes = crowd([0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2], [0, 0, 1, 2, 2, 2], 3, 4, 4)
    fit = fit_top_two(votes)
    assert fit.details["best"].tolist() == [0, 2, -1] and fit.details["second"].tolist() == [1, -1, -1]
    assert np.isnan(fit.details["q"][2]) and np.isnan(fit.skill[3]) and not fit.labels.known[2]
    others = np.delete(fit.labels.dense()[1], 2)
    assert np.ptp(others) < 1e-6 < others[0]


def test_a_tie_names_two_classes_and_the_last_class_left_is_the_second():
    votes = crowd(np.repeat([0, 1], 4), [0, 1, 2, 3] * 2, [1, 1, 3, 3, 0, 0, 0, 0], 2, 4, 4)
    fit = fit_top_two(votes)
    assert fit.details["best"].tolist() == [1, 0] and fit.details["second"].tolist() == [3, -1]
    np.testing.assert_allclose(fit.labels.dense()[0, [1, 3]], 0.5, atol=1e-5)
    two = fit_top_two(crowd([0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 1], [0, 1, 1, 0, 1, 1], 3, 2, 2))
    assert two.details["best"].tolist() == [0, 0, 1] and two.details["second"].tolist() == [1, 1, 0]


@pytest.mark.parametrize("k", [2, 4])
def test_known_classes_come_first_and_are_certain(k):
    votes, best, *_ = drawn(8, n=60, k=max(k, 2), gold=30)
    fit = fit_top_two(votes)
    assert (fit.details["best"][:30] == best[:30]).all()
    np.testing.assert_array_equal(fit.labels.dense()[np.arange(30), best[:30]], 1)


def test_two_classes_are_left_to_one_coin_and_one_class_is_certain():
    votes, best, *_ = drawn(9, n=300, a=30, k=2, low=0.8)
    fit = fit_top_two(votes)
    assert "those of one_coin" in fit.notes[0]
    assert (fit.details["best"] == best).mean() > 0.95 and (fit.details["second"] == 1 - fit.details["best"]).all()
    one = fit_top_two(crowd([0, 1], [0, 0], [0, 0], 2, 1, 1))
    np.testing.assert_array_equal(one.labels.dense(), 1)
    assert one.details["second"].tolist() == [-1, -1]


def test_held_out_votes_are_foretold_better_than_by_shares():
    votes, *_ = drawn(10, n=300, a=40, answered=0.3)
    scores = foretold({"top_two": fit_top_two, "vote_shares": fit_vote_shares}, votes)
    assert scores["top_two"]["behind"] == 0 and scores["vote_shares"]["behind"] > 0.02


def test_a_vote_of_weight_two_counts_as_two():
    votes = crowd([0, 0, 0, 0], [0, 1, 2, 3], [0, 0, 1, 1], 1, 4, 3)
    heavy = replace(votes, weight=np.array([1.0, 1.0, 2.0, 2.0]))
    assert fit_top_two(votes).labels.dense()[0, 0] == pytest.approx(0.5, abs=1e-5)
    assert fit_top_two(heavy).details["best"].tolist() == [1]


def test_real_colours_are_confused_as_designed(real_data):
    d = np.load(real_data / "crowd" / "color.npz")
    votes = crowd(d["item"], d["worker"], d["label"], 1000, 200, 6)
    found = fit_top_two(votes).details
    assert (found["best"] != d["truth"]).mean() < 0.37
    assert (found["second"] != d["second"]).mean() < 0.54  # counts: 0.63
