from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labelwright.crowds.regions import aggregate_masks
from labelwright.crowds.regions.consensus import (
    bayes_tables,
    consensus_of,
    posterior,
    share_tables,
    weighted_share,
)
from labelwright.crowds.regions.drawn import UNSURE
from labelwright.errors import DataError, LabelError, OptionError

SAID = arrays(np.int16, (3, 4, 5), elements=st.integers(-2, 2))


class Skilled:
    """What `share_tables` reads."""

    def __init__(self, score: np.ndarray, recall: np.ndarray):
        self.score, self.recall = score, recall

    def filled(self) -> tuple[np.ndarray, np.ndarray]:
        return self.score, self.recall


def skills(seed: int = 0, a: int = 4, k: int = 3) -> Skilled:
    rng = np.random.default_rng(seed)
    return Skilled(rng.uniform(0.2, 1, a), rng.uniform(0.2, 1, (a, k)))


@given(SAID)
def test_shares_against_a_double_loop(said: np.ndarray) -> None:
    s, who = skills(), np.array([2, 0, 3])
    got = weighted_share(who, said, share_tables(s))  # type: ignore[arg-type]
    for y in range(4):
        for x in range(5):
            total = np.zeros(3)
            for a, answer in zip(who, said[:, y, x]):
                if answer == UNSURE:
                    total += s.score[a] * s.recall[a].mean() / 3
                elif answer >= 0:
                    total[answer] += s.score[a] * s.recall[a, answer]
            if total.any():
                np.testing.assert_allclose(got[y, x], total / total.sum())
            else:
                assert np.isnan(got[y, x]).all()


@given(SAID, st.sampled_from([0.0, 0.3, 1.0]))
def test_posteriors_against_a_double_loop(said: np.ndarray, dependence: float) -> None:
    rng = np.random.default_rng(1)
    confusion, prior = rng.dirichlet(np.ones(4), (4, 3)), rng.dirichlet(np.ones(3))
    who = np.array([1, 2, 3])
    got = posterior(who, said, bayes_tables(confusion), prior, dependence)
    for y in range(4):
        for x in range(5):
            heard = [(a, 3 if v == UNSURE else v) for a, v in zip(who, said[:, y, x]) if v != -1]
            if not heard:
                assert np.isnan(got[y, x]).all()
                continue
            worth = 1 / (1 + (len(heard) - 1) * dependence)
            p = prior * np.prod([confusion[a, :, v] ** worth for a, v in heard], axis=0)
            np.testing.assert_allclose(got[y, x], p / p.sum())


def test_the_papers_form_for_two_classes() -> None:
    """C = sum w L / sum w with w = score * recall of what was drawn; risk min(C, 1 - C); a tie is background."""
    s = Skilled(np.array([0.9, 0.6, 0.8]), np.array([[0.7, 0.5], [0.9, 0.4], [0.6, 0.8]]))
    said = np.array([[[1]], [[0]], [[UNSURE]]], np.int16)
    w = [0.9 * 0.5, 0.6 * 0.9, 0.8 * 0.7]
    found = consensus_of(weighted_share(np.arange(3), said, share_tables(s)), ("a", "b", "c"), "share")  # type: ignore[arg-type]
    c = (w[0] + 0.5 * w[2]) / sum(w)
    assert found.probability[0, 0] == pytest.approx(c) and found.risk[0, 0] == pytest.approx(min(c, 1 - c))
    tie = consensus_of(np.array([[[0.5, 0.5]], [[0.3, 0.7]]]), (), "share")
    assert tie.label.tolist() == [[0], [1]]


def test_no_skill_at_all_counts_alike() -> None:
    said = np.array([[[1, -1]], [[1, -1]], [[0, -1]]], np.int16)
    for zero in (np.zeros(3), np.array([0.0, 0, 1])):
        recall = np.zeros((3, 2)) if not zero.any() else np.array([[1, 1], [1, 1], [0, 1]])
        p = weighted_share(np.arange(3), said, share_tables(Skilled(zero, recall)))  # type: ignore[arg-type]
        assert p[0, 0].tolist() == pytest.approx([1 / 3, 2 / 3]) and np.isnan(p[0, 1]).all()


def crowd(
    n: int = 30, spam: int = 2, k: int = 2, seed: int = 0
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """Five people draw blocks, `spam` of them at random; the others mistake a pixel in ten."""
    rng = np.random.default_rng(seed)
    masks, truth = {}, {}
    for i in range(n):
        true = np.kron(rng.integers(0, k, (4, 4)), np.ones((4, 4), int))
        drawn = {}
        for a in range(5):
            other = np.kron(rng.integers(0, k, (4, 4)), np.ones((4, 4), int))
            wrong = rng.random(true.shape) < 0.1
            drawn[f"p{a}"] = other if a < spam else np.where(wrong, rng.integers(0, k, true.shape), true)
        masks[f"s{i}"], truth[f"s{i}"] = drawn, true
    return masks, truth


@pytest.mark.parametrize("k", [2, 4])
def test_spammers_are_found_and_outvoted(k: int) -> None:
    masks, truth = crowd(spam=3, k=k)
    expert = {s: truth[s] for s in list(truth)[:8]}
    found, shares, plain = (
        aggregate_masks(masks, expert=expert),
        aggregate_masks(masks, expert=expert, method="share"),
        aggregate_masks(masks),
    )
    test = list(truth)[8:]
    wrong = [np.mean([(f[s].label != truth[s]).mean() for s in test]) for f in (found, shares, plain)]
    brier = [
        np.mean([((f[s].dense() - np.eye(k)[truth[s]]) ** 2).sum(-1).mean() for s in test])
        for f in (found, shares, plain)
    ]
    assert wrong[0] < wrong[2] - 0.05 and brier[0] < brier[1] < brier[2]
    assert found.labellers["score"].to_pylist()[0] < found.labellers["score"].to_pylist()[4]
    assert found.settings["method"] == "bayes" and 0 <= found.settings["dependence"] <= 1
    risk = np.mean([found[s].risk.mean() for s in test])
    assert risk == pytest.approx(wrong[0], abs=0.05)  # the risk is the share of wrong pixels, also on other sites
    assert found.sites["enough"].to_pylist() == [True] * 30 and len(found) == 30 and list(found) == list(masks)


@pytest.mark.parametrize("method", ["bayes", "share"])
def test_renamed_classes_and_reordered_people_change_nothing(method: str) -> None:
    masks, truth = crowd(n=6, k=3)
    new = np.array([2, 0, 1])
    expert = {s: truth[s] for s in list(truth)[:4]}
    renamed = {s: {who: new[m] for who, m in reversed(d.items())} for s, d in masks.items()}
    one = aggregate_masks(masks, expert=expert, method=method, background=-1, dependence=0.2)
    two = aggregate_masks(
        renamed, expert={s: new[m] for s, m in expert.items()}, method=method, background=-1, dependence=0.2
    )
    np.testing.assert_allclose(two["s5"].dense()[..., new], one["s5"].dense(), atol=1e-6)


def test_forms_of_the_input_agree() -> None:
    masks, _ = crowd(n=4)
    rows = [(s, who, m) for s, d in masks.items() for who, m in d.items()]
    records = [{"item": s, "labeller": who, "mask": m} for s, who, m in rows]
    columns = aggregate_masks([m for *_, m in rows], [w for _, w, _ in rows], items=[s for s, *_ in rows])
    for other in (aggregate_masks(records), columns):
        np.testing.assert_array_equal(other["s2"].probability, aggregate_masks(masks)["s2"].probability)
        assert other.sites.equals(aggregate_masks(masks).sites)


def test_without_an_expert_the_notes_say_so() -> None:
    masks, _ = crowd(n=4)
    found = aggregate_masks(masks)
    assert found.settings["method"] == "share" and any("no expert mask" in n for n in found.notes)
    assert any("no probability" in n for n in found.notes)
    three = {"s": {"a": np.array([[1]]), "b": np.array([[1]]), "c": np.array([[0]])}}
    got = aggregate_masks(three)["s"]
    assert got.probability[0, 0] == pytest.approx(2 / 3) and got.risk[0, 0] == pytest.approx(1 / 3)


def test_few_labellers_empty_masks_and_silence() -> None:
    empty = np.zeros((3, 3), int)
    silent = np.full((3, 3), -1)
    found = aggregate_masks({"x": {"a": empty, "b": empty}, "y": {"a": silent, "b": silent}})
    assert found["x"].label.sum() == 0 and found["x"].risk.max() == 0 and (found["y"].label == -1).all()
    assert found.sites["enough"].to_pylist() == [False, False] and any("fewer than 3" in n for n in found.notes)
    assert found.sites["mean_risk"].to_pylist() == [0.0, None]


def test_voters() -> None:
    masks, truth = crowd(spam=2)
    expert = {s: truth[s] for s in list(truth)[:8]}
    best, worst, trusted = (
        aggregate_masks(masks, expert=expert, voters=v, threshold=0.7, method="share")
        for v in ("best", "worst", "trusted")
    )
    assert len(best["s9"].labellers) == 1 and worst["s9"].labellers[0] in ("p0", "p1")
    assert set(trusted["s9"].labellers) == {"p2", "p3", "p4"}
    np.testing.assert_array_equal(best["s9"].label, masks["s9"][best["s9"].labellers[0]])


def test_errors() -> None:
    a = np.zeros((3, 3), int)
    cases = [
        (LabelError, "resize them", {"x": {"a": a, "b": a[:2]}}, {}),
        (LabelError, "squeeze further", {"x": {"a": a[None], "b": a[None]}}, {}),
        (LabelError, "compare with an expert", {"x": {"a": a}}, {}),
        (LabelError, "drop the item", {"x": {"a": a, "b": a}, "y": {}}, {}),
        (LabelError, "pass space with all", {"x": {"a": a + 5, "b": a}}, {"space": ["bg", "field"]}),
        (LabelError, "map colours", {"x": {"a": a + 0.3, "b": a}}, {}),
        (DataError, "name the labeller", {"x": [a, a]}, {}),
        (DataError, "pass both columns", [a, a], {"items": [1, 1]}),
        (DataError, "for plain masks", [a, a], {}),
        (DataError, "keep the last", [{"item": 1, "labeller": "a", "mask": a}] * 2, {}),
        (OptionError, "did you mean 'bayes'", {"x": {"a": a, "b": a}}, {"method": "bayse"}),
        (OptionError, "did you mean 'best'", {"x": {"a": a, "b": a}}, {"voters": "bst"}),
        (OptionError, "dependence=None", {"x": {"a": a, "b": a}}, {"dependence": 2}),
    ]
    for error, text, masks, options in cases:
        with pytest.raises(error, match=text):
            aggregate_masks(masks, **options)
    with pytest.raises(DataError, match="list\\(found\\)"):
        aggregate_masks({"x": {"a": a, "b": a}})["y"]
