"""Sets of classes from several annotators: against double loops, and against the majority on real label sets."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.crowds import multi_label as module
from labelwright.crowds.multi_label import aggregate_multi
from labelwright.errors import LabelError, OptionError
from labelwright.labels import LabelSpace, Votes


def annotated(truth: np.ndarray, seed: int = 0, a: int = 20, per_item: int = 3) -> tuple[Votes, np.ndarray, np.ndarray]:
    """Annotations of (N, K) by people of known sensitivity; ticks (N, per_item, K) and sensitivities (A,)."""
    rng = np.random.default_rng(seed)
    n, k = truth.shape
    hit, false = rng.beta(6, 3, a), rng.beta(1.2, 14, a)
    item = np.repeat(np.arange(n), per_item)
    who = np.concatenate([rng.choice(a, per_item, replace=False) for _ in range(n)])
    tick = rng.random((len(item), k)) < np.where(truth[item] == 1, hit[who, None], false[who, None])
    row, label = np.nonzero(tick)
    none = np.flatnonzero(~tick.any(1))
    votes = Votes(
        np.r_[item[row], item[none]], np.r_[who[row], who[none]], np.r_[label, np.full(len(none), -1)],
        np.arange(n), np.arange(a), LabelSpace(range(k)),
    )  # fmt: skip
    return votes, tick.reshape(n, per_item, k), hit


def made(n: int = 60, k: int = 4, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((n, k)) < np.linspace(0.2, 0.5, k)).astype(int)


def test_likelihoods_and_rates_equal_double_loops():
    votes, _, _ = annotated(made(), 1, a=6)
    ticks = module._ticks(votes)
    q = np.random.default_rng(1).random((60, 4))
    rates = module._rates(ticks, q)
    said = ticks.said.toarray()
    hit, there, false, away = np.zeros((4, 6, 4))
    for m in range(len(ticks.item)):
        for c in range(4):
            a, p = ticks.annotator[m], q[ticks.item[m], c]
            there[a, c] += p
            away[a, c] += 1 - p
            hit[a, c] += p * said[m, c]
            false[a, c] += (1 - p) * said[m, c]
    np.testing.assert_allclose(rates.present, module._pooled(hit, there, 0.7))
    np.testing.assert_allclose(rates.absent, module._pooled(false, away, 0.1))
    present, absent = 1 / (1 + np.exp(-rates.present)), 1 / (1 + np.exp(-rates.absent))
    want = np.zeros((60, 4))
    for m in range(len(ticks.item)):
        for c in range(4):
            s, f = present[ticks.annotator[m], c], absent[ticks.annotator[m], c]
            want[ticks.item[m], c] += np.log(s / f) if said[m, c] else np.log((1 - s) / (1 - f))
    np.testing.assert_allclose(rates.loglik(ticks), want, atol=1e-9)
    left = module._LeftOut.of(ticks, rates, rates.loglik(ticks), np.arange(len(ticks.item)))
    own = np.where(
        said > 0, np.log(present / absent)[ticks.annotator], np.log((1 - present) / (1 - absent))[ticks.annotator]
    )
    np.testing.assert_allclose(left.loglik, want[ticks.item] - own, atol=1e-9)


def test_pooled_rates_of_a_hand_worked_case():
    # one annotator, one class: 3 of 4, so overall (3 + 2.8) / 8 = 0.725 and the same by annotator and class up to the pull
    overall = (3 + 4 * 0.7) / 8
    by = (3 + 4 * overall) / 8
    odds = lambda p: np.log(p / (1 - p))  # noqa: E731
    expected = 1 / (1 + np.exp(-(2 * odds(by) - odds(overall))))
    got = module._pooled(np.array([[3.0]]), np.array([[4.0]]), 0.7)
    assert got.item() == pytest.approx(odds((3 + 4 * expected) / 8))


@settings(max_examples=10)
@given(st.permutations(range(4)), st.integers(0, 5))
def test_renaming_classes_renames_the_answer(order, seed):
    votes, _, _ = annotated(made(40, seed=seed), seed, a=6)
    order = np.array(order)
    label = np.where(votes.label >= 0, order[votes.label], -1)
    renamed = Votes(votes.item, votes.annotator, label, votes.items, votes.annotators, votes.space)
    here, there = aggregate_multi(votes), aggregate_multi(renamed)
    np.testing.assert_allclose(here.prob, there.prob[:, order], atol=1e-3)
    assert np.diff(here.trace).min(initial=0) >= 0


@pytest.mark.parametrize("name", ["emotions", "scene", "yeast"])
def test_real_label_sets_are_found_better_than_by_majority(real_data, name):
    d = np.load(real_data / "multilabel" / f"{name}.npz")
    truth = np.zeros((len(d["y_train_indptr"]) - 1, int(d["shape_train"][2])), int)
    truth[np.repeat(np.arange(len(truth)), np.diff(d["y_train_indptr"])), d["y_train_indices"]] = 1
    votes, tick, hit = annotated(truth, 3)
    found, alone = aggregate_multi(votes), aggregate_multi(votes, link="off")
    wrong = lambda p: ((p > 0.5) != (truth == 1)).mean()  # noqa: E731
    nll = lambda p: -np.log(np.where(truth == 1, p, 1 - p).clip(1e-2)).mean()  # noqa: E731
    assert nll(alone.prob) < 0.9 * nll(tick.mean(1))
    assert found.linked and nll(found.prob) < 0.95 * nll(alone.prob)
    assert wrong(found.prob) < 0.9 * min(wrong(alone.prob), wrong(tick.mean(1)))
    assert np.corrcoef(found.annotators["sensitivity"].to_numpy(), hit)[0, 1] > 0.8
    assert np.abs(found.prob.mean() - truth.mean()) < 0.1 * truth.mean()


def test_classes_that_do_not_depend_are_not_linked():
    votes, _, _ = annotated(made(300, 5, 7), 7)
    found = aggregate_multi(votes)
    assert not found.linked
    np.testing.assert_array_equal(found.prob, aggregate_multi(votes, link="off").prob)


def test_a_look_without_a_tick_is_a_no():
    table = pd.DataFrame(
        [
            ("a", "x", "cat"),
            ("a", "y", None),
            ("a", "z", None),
            ("b", "x", "dog"),
            ("b", "y", "dog"),
            ("b", "z", "dog"),
        ],
        columns=["item", "annotator", "label"],
    )
    found = aggregate_multi(table, link="off")
    assert found.items["annotations"].to_pylist() == [3, 3]
    assert found.labels.sets() == [[], ["dog"]]
    assert found.labels.space.structure == "multi"
    told = found.prob[0, 0]
    table.loc[1, "label"] = "cat"
    assert aggregate_multi(table, link="off").prob[0, 0] > told


def test_one_annotator_is_taken_at_its_word_with_a_note():
    found = aggregate_multi(["a", "a", "b"], ["x", "x", "x"], ["cat", "dog", "dog"])
    assert any("no item has two annotators" in note for note in found.notes)
    assert found.prob.shape == (2, 2) and np.isfinite(found.prob).all()
    assert not found.linked and found.scores == {}


def test_tables_agree_with_the_arrays():
    found = aggregate_multi(annotated(made())[0])
    np.testing.assert_allclose(found.items["expected_errors"].to_numpy(), np.minimum(found.prob, 1 - found.prob).sum(1))
    assert found.annotators["ticks"].to_numpy().sum() == len(module._ticks(annotated(made())[0]).cell)
    assert ((found.prob > 0.5) == (found.labels.dense() == 1)).all()


def test_errors_tell_the_fix():
    votes, _, _ = annotated(made())
    with pytest.raises(OptionError, match="did you mean 'on'"):
        aggregate_multi(votes, link="onn")
    with pytest.raises(OptionError, match="dependence=None"):
        aggregate_multi(votes, dependence=-1.0)
    with pytest.raises(OptionError, match="pass three columns|items, annotators and labels"):
        aggregate_multi(["a"], ["x"])
    with pytest.raises(OptionError, match="link='off'"):
        aggregate_multi(["a", "a"], ["x", "y"], ["cat", "cat"], link="on")
    empty = Votes(np.zeros(0, int), np.zeros(0, int), np.zeros(0, int), np.array([]), np.array([]), LabelSpace("ab"))
    with pytest.raises(LabelError, match="check the table"):
        aggregate_multi(empty)
