"""Shares, majority and weighted votes against loops and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from labelwright.crowds.prepared import prepare
from labelwright.crowds.shares import (
    _best_pseudo_count,
    fit_majority,
    fit_softmax_shares,
    fit_vote_shares,
    fit_wawa,
    fit_zero_based_skill,
)
from labelwright.errors import OptionError
from labelwright.labels import LabelSpace, Votes


def crowd(rows, k):
    item, annotator, label = (np.array(x) for x in zip(*rows))
    n, a = int(item.max()) + 1, int(annotator.max()) + 1
    return prepare(Votes(item, annotator, label, np.arange(n), np.arange(a), LabelSpace(range(k))))


ROWS = [(0, 0, 0), (0, 1, 0), (0, 2, 1), (1, 0, 1), (1, 1, 0), (2, 0, 2), (2, 1, 2), (2, 2, 2)]


def test_majority_shares_ties():
    result = fit_majority(crowd(ROWS, 3))
    np.testing.assert_array_equal(result.labels.dense(), np.float32([[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1]]))
    np.testing.assert_allclose(result.skill, [2.5 / 3, 2.5 / 3, 1 / 2])


def test_wawa_weighs_by_agreement_with_the_majority():
    w = np.array([2.5 / 3, 2.5 / 3, 1 / 2])
    row = fit_wawa(crowd(ROWS, 3)).labels.dense()[0]
    np.testing.assert_allclose(row, np.array([w[0] + w[1], w[2], 0]) / w.sum(), atol=1e-6)


def test_wawa_leaves_no_item_without_weight():
    rows = [(0, 0, 0), (0, 1, 0), (0, 2, 1), (1, 2, 0), (1, 3, 1), (1, 4, 1)]  # annotator 2 never agrees
    dense = fit_wawa(crowd(rows + [(2, 2, 1), (2, 0, 0), (2, 1, 0)], 2)).labels.dense()
    assert np.isfinite(dense).all() and dense[0, 0] > 0.99


def test_zero_based_skill_equals_a_loop():
    votes = crowd(ROWS, 3)
    skill = [1 / 3 + 1e-5] * 3
    for step in range(100):
        score = np.zeros((3, 3))
        for i, a, c in ROWS:
            score[i, c] += skill[a]
        best = [np.flatnonzero(np.isclose(s, s.max(), rtol=1e-9, atol=0)) for s in score]
        for a in range(3):
            agree = np.mean([(c in best[i]) / len(best[i]) for i, b, c in ROWS if b == a])
            skill[a] += 0.5 ** (step // 20) * (agree - skill[a])
    np.testing.assert_allclose(fit_zero_based_skill(votes).skill, skill)


def test_softmax_of_counts_over_all_classes():
    row = fit_softmax_shares(crowd(ROWS, 4)).labels.dense()[0]
    np.testing.assert_allclose(row, np.exp([2, 1, 0, 0]) / np.exp([2, 1, 0, 0]).sum(), atol=1e-6)


def test_vote_shares_with_a_pseudo_count():
    result = fit_vote_shares(crowd(ROWS, 4), pseudo_count=2.0)
    np.testing.assert_allclose(result.labels.dense()[0], [2.5 / 5, 1.5 / 5, 0.5 / 5, 0.5 / 5], atol=1e-5)
    np.testing.assert_allclose(result.vote_prob(np.array([0]), np.array([1]))[0], [0.5, 0.3, 0.1, 0.1], atol=1e-5)
    # annotator 2: its 1 on item 0 has none of two others (0.5 / 4), its 2 on item 2 both (2.5 / 4)
    np.testing.assert_allclose(result.skill[2], (0.5 / 4 + 2.5 / 4) / 2)


def test_the_pseudo_count_makes_left_out_votes_likeliest():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(3, 1.5), 3000)  # 1.5 each: a pseudo-count of 4.5
    rows = [(i, j, rng.choice(3, p=shares[i])) for i in range(1500) for j in range(6)]
    assert 3.5 < fit_vote_shares(crowd(rows, 3)).details["pseudo_count"] < 5.7
    assert _best_pseudo_count(np.ones(2), np.zeros(2), np.zeros(2), 0.5) == 1.0  # nobody has company


def test_a_pseudo_count_of_zero_says_what_to_pass():
    with pytest.raises(OptionError, match=r"pass pseudo_count=1.0"):
        fit_vote_shares(crowd(ROWS, 3), pseudo_count=0.0)
    with pytest.raises(OptionError, match="n_iter=1 or more"):
        fit_zero_based_skill(crowd(ROWS, 3), n_iter=0)
