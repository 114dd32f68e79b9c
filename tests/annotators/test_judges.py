from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import labelwright as lw
from labelwright.annotators.judges import (
    Judgement,
    error_lower_bound,
    judge_ensemble,
    judge_votes,
    mitigation_plan,
    precision_by_confidence,
    rating_flags,
)
from labelwright.errors import DataError, LabelError, OptionError, ProbabilityError
from labelwright.labels import LabelSpace


def judged(n: int = 400, j: int = 5, k: int = 3, seed: int = 0, silent: float = 0.0) -> tuple[np.ndarray, ...]:
    """(p, given, true): judges who are mostly right, a fifth of the labels wrong."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, k, n)
    wrong = rng.random(n) < 0.2
    labels = np.where(wrong, (true + rng.integers(1, k, n)) % k, true)
    score = 1.5 * np.eye(k)[true] + 0.8 * rng.normal(size=(n, k)) + rng.normal(size=(j, n, k))
    p = np.exp(score) / np.exp(score).sum(2, keepdims=True)
    p[rng.random((j, n)) < silent] = np.nan
    return p, labels, true


def test_mean_flags_and_support_by_a_plain_loop() -> None:
    p, labels, _ = judged(60, silent=0.4)
    p[:, 7] = np.nan
    labels[9] = -1
    found = judge_ensemble(list(p), labels)
    for i in range(60):
        spoke = [one[i] for one in p if not np.isnan(one[i, 0])]
        if not spoke:
            assert np.isnan(found.prob[i]).all() and found.predicted[i] == -1 and not found.flagged[i]
            continue
        mean = sum(spoke) / len(spoke)
        np.testing.assert_allclose(found.prob[i], mean, atol=1e-12)
        top = int(mean.argmax())
        assert found.predicted[i] == top and found.confidence[i] == pytest.approx(mean.max())
        assert found.support[i] == pytest.approx(np.mean([one.argmax() == top for one in spoke]))
        assert found.flagged[i] == (top != labels[i] and labels[i] >= 0)
    assert np.isnan(found.prob[7]).all() and not found.flagged[9]


def test_bins_are_equal_in_count_and_ordered() -> None:
    p, labels, _ = judged()
    found = judge_ensemble(p, labels, n_bins=4)
    counts = np.bincount(found.bins[found.flagged])
    assert len(counts) == found.n_bins == 4 and counts.max() - counts.min() <= 1
    tops = [found.confidence[found.bins == b] for b in range(4)]
    assert all(a.max() <= b.min() for a, b in zip(tops, tops[1:]))
    assert (found.bins[~found.flagged] == -1).all()
    assert (np.diff(found.confidence[found.ranked]) <= 0).all() and set(found.ranked) == set(
        np.flatnonzero(found.flagged)
    )
    same = judge_ensemble(np.tile([0.3, 0.7], (1, 9, 1)), np.zeros(9, int), n_bins=4)
    assert same.n_bins == 1 and (same.bins == 0).all()  # ties stay together
    assert judge_ensemble(p, p.mean(0).argmax(1)).n_bins == 0


def test_more_judges_find_more_errors_and_confidence_tells_precision() -> None:
    p, labels, true = judged(3000, j=12)

    def f1(found: Judgement) -> float:
        hit = (found.flagged & (labels != true)).sum()
        return float(2 * hit / (found.flagged.sum() + (labels != true).sum()))

    assert f1(judge_ensemble(p, labels)) > np.mean([f1(judge_ensemble(p[i : i + 1], labels)) for i in range(12)]) + 0.05
    everything = np.arange(3000)
    table = precision_by_confidence(judge_ensemble(p, labels), everything, true)
    precision = np.array(table["precision"].to_pylist())
    assert (np.diff(precision) > -0.03).all() and precision[-1] > precision[0] + 0.2


def test_precision_table_by_a_plain_loop() -> None:
    p, labels, true = judged(300)
    found = judge_ensemble(p, labels, n_bins=3)
    index = np.random.default_rng(1).permutation(300)[:150]
    rows = precision_by_confidence(found, index, true[index]).to_pylist()
    for b, row in enumerate(rows):
        here = [i for i in index if found.bins[i] == b]
        assert row["flagged"] == (found.bins == b).sum() and row["reviewed"] == len(here)
        assert row["wrong"] == sum(true[i] != labels[i] for i in here)
        assert row["judge_right"] == sum(true[i] == found.predicted[i] for i in here)
        assert row["precision_low"] <= row["precision"] <= row["precision_high"]
    assert np.isnan(precision_by_confidence(found, index[:0], index[:0])["precision"].to_pylist()).all()


def brute_bound(k: int, n: int, n_items: int, level: float) -> int:
    for wrong in range(k, n_items + 1):
        ways = sum(comb(wrong, x) * comb(n_items - wrong, n - x) for x in range(k, n + 1))
        if ways / comb(n_items, n) >= level:
            return wrong
    raise AssertionError


@given(st.integers(1, 40), st.data())
def test_the_bound_is_exact(n_items: int, data: Any) -> None:
    n = data.draw(st.integers(1, n_items))
    k = data.draw(st.integers(0, n))
    level = data.draw(st.sampled_from([0.025, 0.1, 0.5]))
    assert error_lower_bound(k, n, n_items, level=level) == brute_bound(k, n, n_items, level)


def test_the_published_bounds() -> None:
    # errors confirmed in samples of 160; the printed bounds in per cent. The sizes of the sets are ours, so only two that hardly
    # depend on them are held to the decimal
    assert round(100 * error_lower_bound(13, 160, 60_000) / 60_000, 1) == 4.4
    assert round(100 * error_lower_bound(10, 160, 8_000) / 8_000, 1) == 3.1
    assert 11.4 < 100 * error_lower_bound(27, 160, 2_500) / 2_500 < 11.7
    assert error_lower_bound(5, 20, 20) == 5  # everything was looked at


def test_the_bound_holds_in_its_share_of_audits() -> None:
    rng = np.random.default_rng(0)
    wrong = rng.random(500) < 0.15
    below = 0
    for _ in range(400):
        k = int(wrong[rng.choice(500, 60, replace=False)].sum())
        below += error_lower_bound(k, 60, 500) <= wrong.sum()
    assert below / 400 >= 0.96


def test_the_plan_flips_what_reviews_confirm_and_keeps_what_they_deny() -> None:
    p, labels, true = judged(2000)
    found = judge_ensemble(p, labels)
    index = np.random.default_rng(1).choice(2000, 400, replace=False)
    plan = mitigation_plan(found, index, true[index])
    assert (plan.keep.astype(int) + plan.flip + plan.drop == 1).all()
    np.testing.assert_array_equal(plan.labels[index], true[index])
    assert (np.diff(plan.wrong) >= 0).all() and (np.diff(plan.judge_right) >= 0).all()
    assert (plan.labels[plan.drop] == -1).all()
    rest = plan.flip.copy()
    rest[index] = False
    assert rest.any() and (true[rest] == found.predicted[rest]).mean() > 0.5
    assert (plan.labels != true).mean() < (labels != true).mean()
    # judges who are always contradicted by the review are never followed
    denied = mitigation_plan(found, index, labels[index])
    assert not denied.flip.any() and not denied.drop.any() and (denied.labels == labels).all()
    # nothing reviewed: nothing is touched
    assert mitigation_plan(found, index[:0], index[:0]).keep.all()
    filtering = mitigation_plan(found, index, true[index], flip_above=1.0)
    assert filtering.drop.any() and not filtering.flip[np.setdiff1d(np.arange(2000), index)].any()


def test_calibration_tames_an_overconfident_judge() -> None:
    p, labels, true = judged(1500, j=3)
    loud = np.random.default_rng(2).dirichlet(np.full(3, 0.02), 1500)  # sure of nonsense
    loud = (loud + 1e-6) / (loud + 1e-6).sum(1, keepdims=True)
    with_loud = [*p, loud]
    plain, tamed = (judge_ensemble(with_loud, labels, calibrate=c) for c in (False, True))
    assert (tamed.predicted == true).mean() > (plain.predicted == true).mean() + 0.01


def test_judges_vote() -> None:
    p, _, true = judged(200, silent=0.2)
    votes = judge_votes(p, space=LabelSpace(["x", "y", "z"]))
    assert votes.n_annotators == 5 and votes.annotators[0] == "judge 1"
    assert (votes.label == -1).sum() == np.isnan(p[:, :, 0]).sum()
    found = lw.aggregate(votes, method="dawid_skene")
    assert (np.asarray(found.labels.dense()).argmax(1) == true).mean() > 0.75
    assert judge_votes(p, names=list("abcde")).annotators.tolist() == list("abcde")


def test_ratings() -> None:
    ratings = np.array([[1.0, 4, np.nan], [4, 5, np.nan]])
    assert rating_flags(ratings, [4, 4, 1]).tolist() == [True, False, False]
    assert rating_flags(ratings, [4, 4, 1], tolerance=1.5).tolist() == [False] * 3


@given(st.integers(0, 1000))
def test_permuting_items_or_classes_permutes_the_answer(seed: int) -> None:
    p, labels, _ = judged(30, seed=seed)
    rng = np.random.default_rng(seed)
    items, classes = rng.permutation(30), rng.permutation(3)
    found = judge_ensemble(p, labels)
    turned = judge_ensemble(p[:, items], labels[items])
    np.testing.assert_array_equal(turned.flagged, found.flagged[items])
    np.testing.assert_array_equal(turned.bins, found.bins[items])
    renamed = judge_ensemble(p[:, :, classes], np.argsort(classes)[labels])
    np.testing.assert_array_equal(renamed.flagged, found.flagged)


def test_what_cannot_be_judged_is_refused() -> None:
    p, labels, _ = judged(20)
    with pytest.raises(ProbabilityError, match="not asked about with NaN"):
        judge_ensemble([p[0], p[1][:5]], labels)
    with pytest.raises(ProbabilityError, match="not asked about"):
        judge_ensemble([], labels)
    with pytest.raises(ProbabilityError, match="in judge 1.*a row of NaN, never of even shares"):
        judge_ensemble([p[0], p[1] * 2], labels)
    with pytest.raises(LabelError):
        judge_ensemble(p, labels[:5])
    with pytest.raises(OptionError, match="n_bins=1"):
        judge_ensemble(p, labels, n_bins=0)
    with pytest.raises(LabelError, match="leave names and space out"):
        judge_votes(p, names=["a"])
    with pytest.raises(DataError, match="stack the judges"):
        rating_flags([1, 2], [1, 2])
    found = judge_ensemble(p, labels)
    with pytest.raises(DataError, match="settle repeated reviews"):
        mitigation_plan(found, [1, 1], [0, 0])
    with pytest.raises(DataError, match="positions, not keys"):
        mitigation_plan(found, [99], [0])
    with pytest.raises(LabelError, match="leave unsettled items out"):
        mitigation_plan(found, [1], [-1])
    with pytest.raises(OptionError, match="flip_above=0.5"):
        mitigation_plan(found, [1], [0], flip_above=2)
    with pytest.raises(OptionError, match="0.025"):
        precision_by_confidence(found, [1], [0], level=1.0)
    with pytest.raises(OptionError, match="n=5"):
        error_lower_bound(5, 4, 10)
    with pytest.raises(OptionError, match="0.025"):
        error_lower_bound(1, 4, 10, level=0)
