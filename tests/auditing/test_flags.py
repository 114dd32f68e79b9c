"""Flags against brute force over every subset size, and the curves against a loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.auditing.flags import (
    achieved_curve,
    effort_curve,
    expected_f1_cut,
    flag_for_budget,
    flag_for_precision,
    flag_for_recall,
    flags,
)
from labelwright.errors import DataError, OptionError, ProbabilityError

suspicion = st.lists(st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0, float("nan")]), st.floats(0, 1)), max_size=12).map(
    np.array
)


def naive_ranking(p):
    return [i for _, i in sorted((-v, i) for i, v in enumerate(p) if v == v)]


def naive_tops(p):
    """Every set of the m most suspicious, m = 0, 1, ..."""
    order = naive_ranking(p)
    for m in range(len(order) + 1):
        yield set(order[:m]), sum(float(p[i]) for i in order[:m]), m


def as_set(flag):
    assert flag.dtype == bool
    return set(np.flatnonzero(flag).tolist())


@given(suspicion)
def test_f1_cut_is_the_best_of_all_sizes(p):
    p = p.astype(float)
    total = float(np.nansum(p))
    chosen = as_set(expected_f1_cut(p))
    if total < 0.5:  # not even half an error is expected
        assert not chosen
        return
    scores = [2 * found / (m + total) if m + total else 0.0 for _, found, m in naive_tops(p)]
    got = sum(float(p[i]) for i in chosen)
    assert (2 * got / (len(chosen) + total) if chosen else 0.0) == pytest.approx(max(scores), abs=1e-8)
    smallest = next(m for s, (_, _, m) in zip(scores, naive_tops(p)) if s >= max(scores) - 1e-9)
    assert len(chosen) == smallest or max(scores) < 1e-8
    assert not np.isnan(p[list(chosen)]).any()


@given(suspicion, st.floats(0.01, 1))
def test_precision_gives_the_largest_and_recall_the_smallest_set(p, goal):
    p = p.astype(float)
    total = float(np.nansum(p))
    precise = [top for top, found, m in naive_tops(p) if m == 0 or found / m >= goal - 1e-9]
    assert as_set(flag_for_precision(p, goal)) == precise[-1]
    complete = [top for top, found, _ in naive_tops(p) if found >= goal * total * (1 - 1e-9)]
    assert as_set(flag_for_recall(p, goal)) == complete[0]


@given(suspicion, st.integers(0, 15))
def test_budget_takes_the_most_suspicious_in_row_order(p, budget):
    assert as_set(flag_for_budget(p.astype(float), budget)) == set(naive_ranking(p)[:budget])


def test_hand_worked():
    p = np.array([0.9, np.nan, 0.8, 0.1, 0.0])  # sum 1.8; F1 of 1, 2, 3 items: 1.8/2.8, 3.4/3.8, 3.6/4.8
    assert expected_f1_cut(p).tolist() == [True, False, True, False, False]
    assert flag_for_precision(p, 0.6).tolist() == [True, False, True, True, False]  # 1.8 / 3 = 0.6 exactly
    assert flag_for_recall(p, 0.95).tolist() == [True, False, True, True, False]  # 1.7 / 1.8 = 0.944 is too little
    assert flag_for_recall(p, 1.0).sum() == 3  # an item that cannot be wrong adds nothing
    assert flag_for_precision(np.full(10, 0.9), 0.9).all()  # though the floating mean is below 0.9
    assert not flag_for_precision(np.array([0.2, 0.1]), 0.5).any()


def test_flags_chooses_by_goal():
    p = np.array([0.9, 0.7, 0.1])
    assert flags(p, {}).tolist() == expected_f1_cut(p).tolist()
    assert flags(p, {"precision": 0.85}).tolist() == [True, False, False]
    assert flags(p, {"recall": 1.0}).all()
    assert flags(p, {"budget": 2}).tolist() == [True, True, False]


@given(suspicion)
def test_effort_curve_is_the_running_sum(p):
    p = p.astype(float)
    curve = effort_curve(p)
    naive = {m: found for _, found, m in naive_tops(p)}
    assert curve.n_reviewed.tolist() == sorted(naive)  # few items: every n
    np.testing.assert_allclose(curve.errors_found, [naive[m] for m in curve.n_reviewed.tolist()], atol=1e-9)
    assert curve.recall[-1] == pytest.approx(1.0)
    assert (np.diff(curve.recall) >= 0).all() and (np.diff(curve.precision) <= 1e-9).all()


def test_effort_curve_is_short_and_fine_at_the_start():
    curve = effort_curve(np.random.default_rng(0).random(50_000))
    assert len(curve.n_reviewed) <= 200
    assert curve.n_reviewed[0] == 0 and curve.n_reviewed[-1] == 50_000
    assert (curve.n_reviewed <= 100).sum() >= 20


def test_achieved_curve_counts_what_was_found():
    rng = np.random.default_rng(1)
    p, wrong = rng.random(60), rng.integers(0, 2, 60).astype(float)
    curve = achieved_curve(p, np.arange(60), wrong)
    order = naive_ranking(p)
    for n, found, precision in zip(*curve[:3]):
        assert found == wrong[order[:n]].sum()
        assert precision == pytest.approx(wrong[order[:n]].mean() if n else 1.0)


def test_achieved_curve_weights_by_the_chance_of_being_drawn():
    p = np.array([0.9, 0.8, 0.2, 0.1])
    curve = achieved_curve(p, np.array([0, 3]), np.array([1.0, 1.0]), np.array([np.nan, 1 / 3]))
    assert curve.errors_found.tolist() == pytest.approx([0, 1, 1, 1, 4])  # by hand for itself, drawn for three


@pytest.mark.parametrize("goal", [0, -0.1, 1.5, 90, float("nan")])
def test_a_share_outside_its_range_is_refused(goal):
    with pytest.raises(OptionError, match=r"pass (for example )?precision=0\.\d+"):
        flag_for_precision(np.array([0.5]), goal)
    with pytest.raises(OptionError, match=r"pass (for example )?recall=0\.\d+"):
        flag_for_recall(np.array([0.5]), goal)


@pytest.mark.parametrize("budget", [-1, 2.5, True])
def test_a_budget_that_is_no_count_is_refused(budget):
    with pytest.raises(OptionError, match="budget=200"):
        flag_for_budget(np.array([0.5]), budget)


def test_other_errors_tell_the_fix():
    with pytest.raises(OptionError, match="did you mean 'precision'"):
        flags(np.array([0.5]), {"precison": 0.5})
    with pytest.raises(OptionError, match="choose the one that binds"):
        flags(np.array([0.5]), {"precision": 0.5, "budget": 3})
    with pytest.raises(ProbabilityError, match="scale the scores"):
        expected_f1_cut(np.array([0.5, 1.5]))
    with pytest.raises(ProbabilityError, match="1-d array"):
        effort_curve(np.zeros((2, 2)))
    with pytest.raises(DataError, match="three arrays of one length"):
        achieved_curve(np.array([0.5]), np.array([1]), np.array([1.0]))
    with pytest.raises(DataError, match="drop the reviews"):
        achieved_curve(np.array([np.nan]), np.array([0]), np.array([1.0]))
