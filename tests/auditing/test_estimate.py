"""The count of wrong labels: coverage over draws, exactness on a census, what each kind of review may say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.auditing import _rates
from labelwright.auditing.estimate import estimate_from_reviews, estimate_without_reviews
from labelwright.auditing.review import Reviews, review_design
from labelwright.errors import DataError, LabelError, OptionError, ProbabilityError


def world(n=3000, k=4, seed=0, sharp=0.25, rate=0.1):
    """Suspicions that are right on average, labels, and which of them are wrong."""
    rng = np.random.default_rng(seed)
    p = rng.beta(sharp * rate * 10, sharp * (1 - rate) * 10, n)
    return p, rng.integers(0, k, n), (rng.random(n) < p).astype(float)


def ask(p, labels, wrong, n=200, seed=0, k=4, **kw):
    design = review_design(p, seed=seed)
    index, probability = design.sample(n)
    return estimate_from_reviews(p, labels, k, index, wrong[index], wrong[index], probability, design=design, **kw)


def share_held(p, labels, wrong, draws=40, **kw):
    rates = [ask(p, labels, wrong, seed=s, **kw) for s in range(draws)]
    return np.mean([r.low <= wrong.mean() <= r.high for r in rates]), np.mean([r.high - r.low for r in rates]), rates


# ---------------------------------------------------------------------------------------- what the interval promises
@pytest.mark.parametrize("distort", ["none", "cube", "fifth", "reversed", "constant"])
def test_the_interval_covers_whatever_the_suspicion(distort):
    p, labels, wrong = world(k=1)
    shown = {"none": p, "cube": p**3, "fifth": p / 5, "reversed": 1 - p, "constant": np.full(len(p), 0.2)}[distort]
    held, width, rates = share_held(shown, labels, wrong, k=1)
    assert held >= 0.75  # 0.9 less 3 standard errors of 40 draws
    srs = 2 * 1.645 * np.sqrt(wrong.mean() * (1 - wrong.mean()) / 200)
    assert width < 1.1 * srs
    if distort == "none":
        assert width < 0.85 * srs
        assert np.median([abs(r.estimate / wrong.mean() - 1) for r in rates]) < 0.15


def test_classes_are_covered_too():
    p, labels, wrong = world()
    wrong = np.where((labels == 0) & (np.random.default_rng(5).random(len(p)) < 0.05), 1.0, wrong)
    truth = np.bincount(labels, wrong) / np.bincount(labels)
    rates = share_held(p, labels, wrong)[2]
    held = np.mean([(r.per_class.low <= truth) & (truth <= r.per_class.high) for r in rates], axis=0)
    assert held.min() >= 0.75
    one = rates[0]
    assert np.bincount(labels) @ one.per_class.estimate == pytest.approx(one.estimate * len(p), rel=1e-6)
    assert (one.per_class.high - one.per_class.low).min() > one.high - one.low  # less is known of a part


def test_a_census_is_exact():
    p, labels, wrong = world(n=150)
    rate = ask(p, labels, wrong, n=200)
    assert rate.estimate == rate.low == rate.high == pytest.approx(wrong.mean())
    for part in rate.per_class:
        np.testing.assert_allclose(part, np.bincount(labels, wrong) / np.bincount(labels))


def test_more_reviews_and_lower_levels_narrow_it():
    p, labels, wrong = world()
    widths = [np.subtract(r.high, r.low) for r in (ask(p, labels, wrong, n=n) for n in (30, 100, 400, 1500, 2900))]
    assert (np.diff(widths) < 0).all()
    narrow, wide = ask(p, labels, wrong, level=0.5), ask(p, labels, wrong, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high and wide.level == 0.99


def test_no_error_found_still_leaves_room_above():
    p, labels, _ = world()
    rate = ask(p, labels, np.zeros(len(p)))
    assert rate.low == pytest.approx(0, abs=1e-3) and 0.002 < rate.high < 0.03


@settings(max_examples=15)
@given(st.integers(1, 80), st.integers(1, 4), st.integers(0, 90), st.integers(0, 5))
def test_it_is_always_a_rate_and_repeats_exactly(n, k, reviewed, seed):
    rng = np.random.default_rng(seed)
    p, labels = rng.random(n).round(1), rng.integers(0, k, n)
    low = rng.integers(0, 2, n).astype(float)
    high = np.maximum(low, rng.integers(0, 2, n))
    design = review_design(p, seed=seed)
    index, probability = design.sample(max(reviewed, 1))
    probability = np.where(rng.random(len(index)) < 0.2, np.nan, probability)
    arguments = (p, labels, k, index, low[index], high[index], probability)
    a, b = (estimate_from_reviews(*arguments, design=design) for _ in range(2))
    assert 0 <= a.low <= a.estimate <= a.high <= 1
    known_wrong, known_right = low[index].sum(), (1 - high[index]).sum()
    assert a.low * n >= known_wrong - 1e-6 and a.high * n <= n - known_right + 1e-6
    given = np.bincount(labels, minlength=k) > 0
    assert np.isnan(a.per_class.estimate[~given]).all()
    assert (a.per_class.low[given] <= a.per_class.estimate[given]).all()
    assert (a.per_class.estimate[given] <= a.per_class.high[given]).all()
    assert (a.estimate, a.low, a.high) == (b.estimate, b.low, b.high)


# ------------------------------------------------------------------------------------------- the arithmetic, naively
def test_posterior_against_a_loop_over_the_grid():
    from scipy.special import betaln, expit, logit

    wrong, seen, rest = np.array([0.0, 3.0]), np.array([20.0, 10.0]), np.array([180.0, 30.0])
    suspicion = np.array([0.01, 0.4])
    mass, total = 0.0, np.zeros(2)
    for shift in _rates._SHIFT:
        for slope in _rates._SLOPE:
            for strength in _rates._STRENGTH:
                weight, after = np.exp(-0.5 * (shift / _rates._SHIFT_SD) ** 2), []
                for h in range(2):
                    mean = expit(shift + slope * logit(suspicion[h]))
                    stands = [200 / 20, 40 / 10]
                    pseudo = _rates._PSEUDO * stands[h] / max(stands)
                    a, b = strength * mean + pseudo, strength * (1 - mean) + pseudo
                    mine = betaln(a + wrong[h], b + seen[h] - wrong[h]) - betaln(a, b)
                    weight *= np.exp(mine)
                    after.append((a + wrong[h]) / (a + b + seen[h]))
                mass, total = mass + weight, total + weight * np.array(after)
    reading = _rates.Reading(wrong[:, None].sum(0), wrong[:, None], seen[:, None], rest[:, None])
    mean, draws = _rates._posterior(reading, suspicion, np.random.default_rng(0))
    np.testing.assert_allclose(mean, total / mass, rtol=1e-6)
    np.testing.assert_allclose(draws.mean(0), mean, rtol=0.05)


def test_weighted_against_a_loop():
    from scipy.stats import beta

    answer, chance = np.array([1.0, 0, 0, 1, 0, 0]), np.array([0.5, 0.1, 0.2, 0.4, 0.3, 0.25])
    total = sum(1 / c for c in chance)
    share = sum(y / c for y, c in zip(answer, chance)) / total
    variance = 6 / 5 * sum((1 - c) * ((y - share) / (c * total)) ** 2 for y, c in zip(answer, chance))
    size = min(share * (1 - share) / variance, 6)
    expected = (
        share,
        beta.ppf(0.05, share * size, size - share * size + 1),
        beta.ppf(0.95, share * size + 1, size - share * size),
    )
    np.testing.assert_allclose(_rates.weighted(Reviews(np.arange(6), answer, answer, chance), 100, 0.9), expected)


# --------------------------------------------------------------------------------------------- answers and how drawn
def test_cannot_tell_bounds_both_readings():
    p, labels, wrong = world()
    design = review_design(p)
    index, probability = design.sample(200)
    low, high = wrong[index].copy(), wrong[index].copy()
    low[::8], high[::8] = 0, 1
    both = estimate_from_reviews(p, labels, 4, index, low, high, probability, design=design)
    as_right = estimate_from_reviews(p, labels, 4, index, low, low, probability, design=design)
    as_wrong = estimate_from_reviews(p, labels, 4, index, high, high, probability, design=design)
    assert both.low == pytest.approx(as_right.low) and both.high == pytest.approx(as_wrong.high)
    assert as_right.estimate < both.estimate < as_wrong.estimate


def test_a_prefix_counts_whatever_was_drawn():
    p, labels, wrong = world()
    design = review_design(p)
    index, probability = design.sample(200)
    first, w = index[:120], wrong[index[:120]]
    drawn_200 = estimate_from_reviews(p, labels, 4, first, w, w, probability[:120], design=design)
    drawn_120 = estimate_from_reviews(p, labels, 4, first, w, w, design.sample(120)[1], design=design)
    batches = np.concatenate([design.sample(60)[1], probability[60:120]])
    in_batches = estimate_from_reviews(p, labels, 4, first, w, w, batches, design=design)
    assert drawn_200.estimate == drawn_120.estimate == in_batches.estimate
    assert drawn_200.high == drawn_120.high == in_batches.high


def test_items_chosen_by_hand_speak_for_themselves_only():
    p, labels, wrong = world()
    flagged = np.argsort(-p)[:300]
    estimates, held, widths = [], [], []
    for seed in range(30):
        design = review_design(p, seed=seed)
        index, probability = design.sample(150)
        extra = np.setdiff1d(flagged, index)
        index = np.concatenate([index, extra])
        probability = np.concatenate([probability, np.full(len(extra), np.nan)])
        rate = estimate_from_reviews(p, labels, 4, index, wrong[index], wrong[index], probability, design=design)
        estimates.append(rate.estimate)
        held.append(rate.low <= wrong.mean() <= rate.high)
        alone = ask(p, labels, wrong, n=150, seed=seed)
        widths.append((rate.high - rate.low, alone.high - alone.low))
    assert np.mean(estimates) == pytest.approx(wrong.mean(), rel=0.06)  # 300 errors by hand do not spill over
    assert np.mean(held) >= 0.8
    assert np.mean(widths, axis=0)[0] < np.mean(widths, axis=0)[1]


def test_only_items_chosen_by_hand_leave_what_logic_allows():
    p, labels, wrong = world(n=100)
    index = np.arange(30)
    rate = estimate_from_reviews(p, labels, 4, index, wrong[index], wrong[index], np.full(30, np.nan))
    assert rate.low == pytest.approx(wrong[:30].sum() / 100)
    assert rate.high == pytest.approx((wrong[:30].sum() + 70) / 100)
    assert rate.estimate == pytest.approx((wrong[:30].sum() + p[30:].sum()) / 100)
    assert "chosen by hand" in rate.assumption


@pytest.mark.parametrize("kind", ["simple random", "by class", "two rates", "proportional to size"])
def test_the_users_own_design(kind):
    p, labels, wrong = world(n=2000)
    size = np.random.default_rng(9).random(2000)
    chance = {
        "simple random": np.full(2000, 0.1),
        "by class": np.array([0.3, 0.1, 0.1, 0.05])[labels],
        "two rates": np.where(size > 0.5, 0.2, 0.05),
        "proportional to size": 0.02 + 0.2 * size,
    }[kind]
    held, estimates, plain = [], [], []
    for seed in range(30):
        index = np.flatnonzero(np.random.default_rng(seed).random(2000) < chance)
        rate = estimate_from_reviews(
            p, labels, 4, index, wrong[index], wrong[index], chance[index], design=review_design(p)
        )
        held.append(rate.low <= wrong.mean() <= rate.high)
        estimates.append(rate.estimate)
        plain.append((wrong[index] / chance[index]).sum() / (1 / chance[index]).sum())
    assert np.mean(held) >= 0.75
    assert np.mean(estimates) == pytest.approx(np.mean(plain), rel=0.08)  # each draw may be off, the two are off alike


def test_items_without_a_label_do_not_count():
    p, labels, wrong = world(n=1000)
    more_p, more_labels = np.append(p, [np.nan] * 50), np.append(labels, [-1] * 50)
    a, b = ask(p, labels, wrong), ask(more_p, more_labels, np.append(wrong, np.ones(50)))
    assert b.estimate == pytest.approx(a.estimate, rel=0.4) and b.n_reviewed == 200
    assert b.high < 0.3


def test_real_labels(real_data):
    human = np.load(real_data / "cifar_n" / "cifar10n.npz")
    pred_probs = np.load(real_data / "cifar_n" / "cv_aggregate_resnet18.npz")["pyx"]
    labels = human["aggregate"].astype(np.int64)
    wrong = (labels != human["clean"]).astype(float)
    doubt = (1 - pred_probs[np.arange(len(labels)), labels].astype(float)) ** 2
    held, width, rates = share_held(doubt, np.zeros_like(labels), wrong, draws=30, k=1)
    assert held >= 0.75
    assert width < 0.75 * 0.071  # Clopper-Pearson on 200 reviews drawn evenly
    assert np.median([abs(r.estimate / wrong.mean() - 1) for r in rates]) <= 0.15


# ------------------------------------------------------------------------------------------------------ without reviews
def test_without_reviews_spans_the_readings():
    p, labels, _ = world()
    rate = estimate_without_reviews(p, labels, 4, pred_disagrees=p > 0.3)
    assert rate.estimate == pytest.approx(p.mean())
    noise = 1.6449 * np.sqrt((p * (1 - p)).sum())
    readings = [p.sum(), p[p >= 0.9].sum(), float((p > 0.3).sum())]
    assert rate.low * len(p) == pytest.approx(max(min(readings) - noise, 0), rel=1e-3)
    assert rate.high * len(p) == pytest.approx(max(readings) + noise, rel=1e-3)
    assert (rate.per_class.low <= rate.per_class.estimate).all() and rate.n_reviewed == 0
    np.testing.assert_allclose(rate.per_class.estimate, np.bincount(labels, p) / np.bincount(labels))
    assert "calibrated" in rate.assumption


def test_without_reviews_unlabelled_and_empty_classes():
    p = np.array([0.2, np.nan, 0.4])
    rate = estimate_without_reviews(p, np.array([0, -1, 0]), 2, pred_disagrees=np.zeros(3, bool))
    assert rate.estimate == pytest.approx(0.3) and np.isnan(rate.per_class.high[1])
    zero = estimate_without_reviews(np.zeros(3), np.zeros(3, int), 1, pred_disagrees=np.zeros(3, bool))
    assert zero.estimate == zero.low == zero.high == 0


# --------------------------------------------------------------------------------------------------------------- errors
def test_errors_tell_the_fix():
    p, labels = np.array([0.1, 0.2, np.nan]), np.array([0, 1, -1])
    one = (np.array([0]), np.ones(1), np.ones(1), np.ones(1))
    with pytest.raises(OptionError, match="level=0.9"):
        estimate_from_reviews(p, labels, 2, *one, level=1.0)
    with pytest.raises(LabelError, match="-1 for missing"):
        estimate_from_reviews(p, labels[:2], 2, *one)
    with pytest.raises(LabelError, match="-1 for missing"):
        estimate_from_reviews(p, labels.astype(float), 2, *one)
    with pytest.raises(LabelError, match="NaN where the label is missing"):
        estimate_from_reviews(p, np.array([0, 5, -1]), 2, *one)
    with pytest.raises(DataError, match="at least one labelled item"):
        estimate_from_reviews(np.array([np.nan]), np.array([-1]), 2, *one)
    with pytest.raises(DataError, match="drawn with"):
        estimate_from_reviews(p, labels, 2, *one, design=review_design(np.zeros(9)))
    with pytest.raises(ProbabilityError, match="scale the scores"):
        estimate_from_reviews(p + 1, labels, 2, *one)
    with pytest.raises(DataError, match="argmax"):
        estimate_without_reviews(p, labels, 2, pred_disagrees=np.zeros(3))
