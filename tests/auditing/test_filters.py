"""All seven rules against loops over items and classes, and their options."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.auditing.confident import confident_guess, confident_joint
from labelwright.auditing.filters import FILTERS, PRUNE, LargestMargins, find_issues, prune_counts
from labelwright.auditing.noise import asymmetric
from labelwright.auditing.thresholds import class_thresholds
from labelwright.errors import LabelwrightWarning, OptionError


def random_case(seed: int, n: int = 90, k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.integers(0, k, n)
    p = rng.dirichlet(np.full(k, 0.3), n) * 0.5 + 0.5 * np.eye(k)[true] * rng.random((n, 1))
    labels = np.where(rng.random(n) < 0.3, rng.integers(0, k, n), true)
    labels[rng.random(n) < 0.05] = -1
    return labels, p / p.sum(1, keepdims=True)


def naive(labels, p, rule, frac=1.0, least=1):
    n, k = p.shape
    joint = confident_joint(labels, p)
    pruned = naive_counts(joint, frac, least)
    size = [int((labels == c).sum()) for c in range(k)]
    by_class, by_rate = set(), set()
    for c in range(k):
        mine = [i for i in range(n) if labels[i] == c]
        if size[c] <= least:
            continue
        by_class |= set(sorted(mine, key=lambda i: (p[i, c], i))[: size[c] - pruned[c][c]])
        for j in range(k):
            if j != c:
                by_rate |= set(sorted(mine, key=lambda i: (p[i, c] - p[i, j], i))[: pruned[j][c]])
    guess = confident_guess(p, class_thresholds(labels, p))
    learning = {i for i in range(n) if labels[i] >= 0 and guess[i] >= 0 and guess[i] != labels[i]}
    sets = {
        "prune_by_class": by_class,
        "prune_by_noise_rate": by_rate,
        "both": by_class & by_rate,
        "confident_learning": learning,
        "predicted_neq_given": set(range(n)),
    }
    flags = np.zeros(n, bool)
    for i in sets[rule]:
        bonus = p[i].copy()
        bonus[labels[i]] += 1e-6
        flags[i] = labels[i] >= 0 and bonus.argmax() != labels[i]
    return flags


def naive_counts(joint, frac, least):
    k = len(joint)
    out = [[0] * k for _ in range(k)]  # [true][given]
    for g in range(k):
        diagonal = max(int(joint[g, g]), least)
        sources = [t for t in range(k) if t != g and joint[g, t] > 0]
        back = 0.0
        for t in sources:
            count = max(joint[g, t] - (diagonal - joint[g, g]) / len(sources), 0.0)
            out[t][g] = int(count * frac + 1e-9)
            back += count - count * frac
        out[g][g] = int(diagonal + back + 1e-9)
    return out


@pytest.mark.parametrize("rule", [*PRUNE, "confident_learning", "predicted_neq_given"])
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_loops(rule, seed):
    labels, p = random_case(seed)
    np.testing.assert_array_equal(find_issues(labels, p, filter_by=rule), naive(labels, p, rule))


@pytest.mark.parametrize("rule", PRUNE)
@pytest.mark.parametrize(("frac", "least"), [(0.5, 1), (1.0, 12), (0.3, 10)])
def test_options_of_pruning_agree_with_loops(rule, frac, least):
    labels, p = random_case(7, n=120)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelwrightWarning)
        found = find_issues(labels, p, filter_by=rule, frac_noise=frac, min_examples_per_class=least)
    np.testing.assert_array_equal(found, naive(labels, p, rule, frac, least))


@pytest.mark.parametrize(("rule", "score"), [("low_self_confidence", "own"), ("low_normalized_margin", "margin")])
def test_low_rules_take_the_lowest_scores_as_many_as_confident_learning(rule, score):
    labels, p = random_case(1)
    size = find_issues(labels, p, filter_by="confident_learning").sum()
    value = {}
    for i in range(len(labels)):
        if labels[i] >= 0:
            others = max(p[i, c] for c in range(4) if c != labels[i])
            value[i] = p[i, labels[i]] - (others if score == "margin" else 0)
    assert size > 3
    assert set(np.flatnonzero(find_issues(labels, p, filter_by=rule))) == set(sorted(value, key=value.get)[:size])


def test_prune_counts_by_hand():
    # given 0: diagonal 1 is raised to 3, so its two off-diagonal counts lose 1 each; half of the rest goes back
    joint = np.array([[1, 5, 3], [0, 4, 0], [0, 0, 4]])
    np.testing.assert_array_equal(prune_counts(joint, min_examples_per_class=3)[:, 0], [3, 4, 2])
    np.testing.assert_array_equal(prune_counts(joint, min_examples_per_class=3, frac_noise=0.5)[:, 0], [6, 2, 1])


@pytest.mark.parametrize("rule", FILTERS)
def test_no_rule_flags_when_labels_are_the_arg_max(rule):
    _, p = random_case(2)
    assert not find_issues(p.argmax(1), p, filter_by=rule).any()


@pytest.mark.parametrize("rule", FILTERS)
def test_missing_labels_are_never_flagged_and_change_nothing(rule):
    labels, p = random_case(3)
    flags = find_issues(labels, p, filter_by=rule)
    assert not flags[labels < 0].any()
    np.testing.assert_array_equal(flags[labels >= 0], find_issues(labels[labels >= 0], p[labels >= 0], filter_by=rule))


@pytest.mark.parametrize("rule", FILTERS)
def test_permuting_rows_permutes_the_flags_and_inputs_stay(rule):
    labels, p = random_case(4)
    before = labels.copy(), p.copy()
    order = np.random.default_rng(0).permutation(len(labels))
    np.testing.assert_array_equal(
        find_issues(labels[order], p[order], filter_by=rule), find_issues(labels, p, filter_by=rule)[order]
    )
    np.testing.assert_array_equal(labels, before[0])
    np.testing.assert_array_equal(p, before[1])


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 200), max_size=5))
def test_largest_margins_do_not_depend_on_the_cut(seed, cuts):
    rng = np.random.default_rng(seed)
    labels, p = rng.integers(0, 3, 200), np.round(rng.dirichlet(np.ones(3), 200), 1)  # rounding makes ties
    quota = rng.integers(0, 20, (3, 3))
    whole = LargestMargins(quota)
    whole.update((np.arange(200), labels, p))
    edges = [0, *sorted(cuts), 200]
    halves = LargestMargins(quota), LargestMargins(quota)
    for half in halves:
        half._limit = 25  # compact often
    for turn, (a, b) in enumerate(zip(edges, edges[1:])):
        halves[turn % 2].update((np.arange(a, b), labels[a:b], p[a:b]))
    halves[1].merge(halves[0])
    np.testing.assert_array_equal(halves[1].result(), whole.result())


def test_joint_of_the_caller_is_used_and_calibrated():
    labels, p = random_case(5)
    joint = confident_joint(labels, p)
    np.testing.assert_array_equal(find_issues(labels, p, joint=joint), find_issues(labels, p))
    raw = confident_joint(labels, p, calibrated=False)
    np.testing.assert_array_equal(find_issues(labels, p, joint=raw), find_issues(labels, p))
    assert not find_issues(labels, p, joint=np.diag(joint.sum(1))).any()


def test_finds_planted_asymmetric_noise():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, 900)
    labels, flipped = asymmetric(true, 0.3, n_classes=3, random_state=1)
    p = 0.7 * np.eye(3)[true] + 0.3 * rng.dirichlet(np.ones(3), 900)
    flags = find_issues(labels, p)
    assert flags[flipped].mean() > 0.9 and flags[~flipped].mean() < 0.05


def test_rare_classes_are_skipped_with_a_warning():
    labels = np.array([0, 0, 0, 1])
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.9, 0.1]])
    with pytest.warns(LabelwrightWarning, match=r"1 classes have at most 1 items.*\[1\].*Fix: label more"):
        assert not find_issues(labels, p).any()


def test_options_that_a_rule_does_not_read_are_refused():
    labels, p = random_case(0)
    with pytest.raises(OptionError, match="leave them out, or use filter_by 'prune_by_class'"):
        find_issues(labels, p, filter_by="confident_learning", frac_noise=0.5)
    with pytest.raises(OptionError, match=r"pass 1\.0 to prune all"):
        find_issues(labels, p, frac_noise=0.0)
    with pytest.raises(OptionError, match="pass 1, the default"):
        find_issues(labels, p, min_examples_per_class=-1)
    with pytest.raises(OptionError, match="did you mean 'both'"):
        find_issues(labels, p, filter_by="boths")


@pytest.mark.parametrize("rule", FILTERS)
def test_no_full_size_copy_of_pred_probs(rule):
    rng = np.random.default_rng(0)
    p = rng.random((20_000, 400), dtype=np.float32)
    p /= p.sum(1, keepdims=True)
    labels = rng.integers(0, 400, len(p))
    tracemalloc.start()
    find_issues(labels, p, filter_by=rule)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < p.nbytes / 2  # 16 of 32 MB; an up-cast copy alone would be 64


def test_released_cifar10_counts(real_data):
    """Numbers of cleanlab 2.9 on the released probabilities (benchmarks/confident_learning_vs_cleanlab.py)."""
    data = np.load(real_data / "label_errors" / "cifar10.npz")
    given_, p = data["given"].astype(np.int64), data["pyx"]
    expected = {"prune_by_class": 284, "both": 226, "confident_learning": 244, "predicted_neq_given": 706}
    assert {rule: int(find_issues(given_, p, filter_by=rule).sum()) for rule in expected} == expected
