"""Pruning: rules, balance, ties, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.errors import DataError, OptionError
from labelwright.shrinking import FEATURE_RULES, RULES, class_distance, herding, k_center, prune
from labelwright.shrinking.pruning import equal_quotas

SCORES = np.array([0.1, 0.5, 0.9, 0.2, 0.6, 1.0])
LABELS = np.array([0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize(("rule", "kept"), [("hard", [2, 5]), ("easy", [0, 3]), ("moderate", [1, 4])])
def test_rules_by_hand(rule: str, kept: list[int]) -> None:
    assert prune(SCORES, LABELS, keep=2, rule=rule).kept.tolist() == kept


def test_without_balance_a_class_can_vanish_and_is_told() -> None:
    found = prune(np.array([0.1, 0.2, 0.3, 0.7, 0.8, 0.9]), LABELS, keep=0.5, rule="hard", balanced=False)
    assert found.kept.tolist() == [3, 4, 5]
    assert found.class_counts.tolist() == [0, 3] and found.class_totals.tolist() == [3, 3]


def test_features() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)), np.arange(40) % 2
    even = np.arange(0, 40, 2)
    for rule, cover in {"k_center": k_center, "herding": herding}.items():
        kept = prune(x, y, keep=10, rule=rule).kept
        assert kept[kept % 2 == 0].tolist() == sorted(even[cover(x[even], 5)])
        assert prune(x, y, keep=10, rule=rule, balanced=False).kept.tolist() == sorted(cover(x, 10))
    moderate = prune(class_distance(x, y), y, keep=10, rule="moderate")
    np.testing.assert_array_equal(prune(x, y, keep=10, rule="moderate").kept, moderate.kept)


def test_equal_scores_do_not_favour_the_first_items() -> None:
    first = [
        int((prune(np.zeros(100), np.zeros(100, int), keep=10, random_state=s).kept < 50).sum()) for s in range(40)
    ]
    assert 3.5 < np.mean(first) < 6.5  # 5 expected


def test_unlabelled_items_are_never_kept() -> None:
    y = np.array([0, -1, 0, 1, -1, 1])
    scores = np.array([1, np.nan, 2, 3, 99, 4.0])
    assert set(prune(scores, y, keep=1.0).kept) == {0, 2, 3, 5}
    assert prune(None, y, keep=2, rule="random").class_counts.tolist() == [1, 1]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.data())
def test_quotas_are_as_equal_as_they_can_be(totals: list[int], data: st.DataObject) -> None:
    total = np.array(totals)
    n = data.draw(st.integers(0, int(total.sum())))
    quotas = equal_quotas(total, n)
    assert quotas.sum() == n and (quotas <= total).all() and (quotas >= 0).all()
    full = quotas == total
    if not full.all():
        assert np.ptp(quotas[~full]) <= 1 and quotas[full].max(initial=0) <= quotas[~full].max()


@given(st.integers(0, 10_000), st.sampled_from(RULES), st.booleans(), st.floats(0.2, 1.0))
def test_counts_and_repeats(seed: int, rule: str, balanced: bool, keep: float) -> None:
    rng = np.random.default_rng(seed)
    y, scores = np.concatenate([np.arange(3), rng.integers(-1, 3, 40)]), rng.normal(size=43)
    found = prune(scores, y, keep=keep, rule=rule, balanced=balanced, random_state=seed)
    again = prune(scores, y, keep=keep, rule=rule, balanced=balanced, random_state=seed)
    np.testing.assert_array_equal(found.kept, again.kept)
    assert len(found.kept) == round(keep * (y >= 0).sum()) == found.class_counts.sum() == len(set(found.kept))
    np.testing.assert_array_equal(found.class_counts, np.bincount(y[found.kept], minlength=3))
    assert (np.diff(found.kept) > 0).all()


def test_hard_and_easy_part_the_data() -> None:
    rng = np.random.default_rng(1)
    scores, y = rng.normal(size=40), np.arange(40) % 4
    hard, easy = (set(prune(scores, y, keep=0.5, rule=rule).kept) for rule in ("hard", "easy"))
    assert not hard & easy and len(hard | easy) == 40


def test_errors() -> None:
    with pytest.raises(OptionError, match="did you mean 'hard'"):
        prune(SCORES, LABELS, keep=2, rule="hrad")
    with pytest.raises(OptionError, match=r"pass features \(N, D\)"):
        prune(SCORES, LABELS, keep=2, rule="herding")
    with pytest.raises(OptionError, match="score the items first"):
        prune(np.ones((6, 2)), LABELS, keep=2, rule="hard")
    with pytest.raises(OptionError, match="pass keep=2 or more"):
        prune(SCORES, LABELS, keep=1)
    for keep in (0, 0.0, 1.5, -0.1, 7, float("nan"), True):
        with pytest.raises(OptionError, match="keep=0.3 for 30 percent"):
            prune(SCORES, LABELS, keep=keep)
    with pytest.raises(DataError, match="one number or one row of numbers"):
        prune(SCORES[:4], LABELS, keep=2)
    with pytest.raises(DataError, match="score them again"):
        prune(np.full(6, np.nan), LABELS, keep=2)
    assert set(RULES) & set(FEATURE_RULES) == {"random", "moderate"}
