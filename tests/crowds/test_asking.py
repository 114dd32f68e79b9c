"""The next votes: worth their price, and worth more than votes at random."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import labelwright as lw
from labelwright.crowds.asking import expected_gain, marginal_worth, next_votes
from labelwright.errors import OptionError


def test_expected_gain_equals_a_naive_loop():
    rng = np.random.default_rng(0)
    p, confusion = rng.dirichlet(np.ones(3), 5), rng.dirichlet(np.ones(3), 3)
    worth = rng.uniform(0.2, 1, 5)
    for i, gain in enumerate(expected_gain(p, confusion, worth)):
        best = 0.0
        for given in range(3):
            after = [p[i, y] * confusion[y, given] ** worth[i] for y in range(3)]
            best += sum(p[i, y] * confusion[y, given] for y in range(3)) * max(after) / sum(after)
        assert gain == pytest.approx(max(best - p[i].max(), 0), abs=1e-12)
    assert expected_gain(np.array([[0.5, 0.5]]), np.eye(2), np.ones(1))[0] == pytest.approx(0.5)
    assert expected_gain(np.array([[0.5, 0.5]]), np.full((2, 2), 0.5), np.ones(1))[0] == 0


def test_votes_are_new_within_the_budget_and_by_useful_people(crowd):
    votes, _ = crowd(120)
    found = lw.aggregate(votes, method="one_coin", costs={"w0": 3.0})
    asked = next_votes(found, 20.0).to_pandas()
    assert asked["cost"].sum() <= 20 and asked["item"].is_unique and (asked["gain"] > 0).all()
    assert (asked["gain"] / asked["cost"]).is_monotonic_decreasing
    there = set(zip(votes["item"], votes["annotator"]))
    assert not there & set(zip(asked["item"], asked["annotator"])) and "w11" not in set(asked["annotator"])
    only = next_votes(found, 20.0, annotators=["w3"])
    assert set(only["annotator"].to_pylist()) == {"w3"}
    doubt = dict(zip(found.items["item"].to_pylist(), found.items["probability"].to_pylist()))
    assert np.mean([doubt[i] for i in asked["item"]]) < np.mean(list(doubt.values()))


def test_they_mend_more_than_votes_at_random(crowd):
    gained = []
    for seed in range(6):
        votes, truth = crowd(150, seed=seed)
        rng = np.random.default_rng(seed)
        skill = dict(zip([f"w{i}" for i in range(12)], [*np.linspace(0.95, 0.6, 12)[:-1], 1 / 3]))

        def answered(pairs, truth=truth, skill=skill, rng=rng):
            for item, who in pairs:
                t = truth[int(item[1:])]
                said = t if rng.random() < skill[who] else rng.choice(np.delete(np.arange(3), t))
                yield item, who, "abc"[said]

        found = lw.aggregate(votes, method="one_coin")
        asked = next_votes(found, 40.0)
        chosen = list(zip(asked["item"].to_pylist(), asked["annotator"].to_pylist()))
        at_random = [
            (f"t{i}", f"w{a}") for i, a in zip(rng.choice(150, len(chosen), False), rng.integers(12, size=len(chosen)))
        ]
        right = []
        for pairs in (chosen, at_random):
            more = pd.DataFrame(list(answered(pairs)), columns=["item", "annotator", "label"])
            after = lw.aggregate(pd.concat([votes, more]), method="one_coin").items.to_pandas()
            right.append((after["label"] == ["abc"[truth[int(i[1:])]] for i in after["item"]]).mean())
        gained.append(right[0] - right[1])
    assert np.mean(gained) > 0.005


def test_bad_input(crowd):
    votes, _ = crowd(30)
    found = lw.aggregate(votes, method="one_coin")
    with pytest.raises(OptionError, match="raise it"):
        next_votes(found, 0.5)
    with pytest.raises(OptionError, match="leave them out"):
        next_votes(found, 5.0, annotators=["nobody"])
    assert marginal_worth(np.array([3]), 0.5)[0] == pytest.approx(4 / 2.5 - 3 / 2)
