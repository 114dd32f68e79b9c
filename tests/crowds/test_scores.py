"""Scores of several people against a naive bound, simulated annotators and invariants."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaln

from labelwright.crowds import scores
from labelwright.crowds.scores import fit_scores
from labelwright.errors import DataError, LabelwrightWarning, OptionError


def simulated(seed=0, n=150, people=20, votes=1050, spam=0, tails=None):
    """(values (n,), item, annotator, score); the first `spam` annotators draw numbers from 0 to 100."""
    rng = np.random.default_rng(seed)
    value = rng.normal(50, 15, n)
    bias, scale, noise = rng.normal(0, 6, people), rng.normal(1, 0.15, people), rng.gamma(4, 2, people)
    item = np.concatenate([np.arange(n), rng.integers(0, n, votes - n)])
    who = rng.integers(0, people, votes)
    error = rng.standard_normal(votes) if tails is None else rng.standard_t(tails, votes)
    score = 50 + bias[who] + scale[who] * (value[item] - 50) + noise[who] * error
    score[who < spam] = rng.uniform(0, 100, int((who < spam).sum()))
    return value, item, who, score


def in_order(fit, n):
    """value and ends of the 90 % interval by item number."""
    out = np.empty((3, n))
    out[:, fit.items] = [fit.value, *fit.interval()]
    return out


def naive_bound(model, s):
    """The lower bound in loops: expected log joint and entropies, the spreads integrated out."""
    total, strain, size = 0.0, {}, {}
    for i, j, y, g in zip(model.i, model.j, model.y, model.group, strict=True):
        design = np.array([s.m[i], 1.0])
        square = (y - s.ab[j] @ design) ** 2 + design @ s.cov[j] @ design
        square += s.s2[i] * (s.ab[j, 0] ** 2 + s.cov[j, 0, 0])
        strain[g], size[g] = strain.get(g, 0.0) + s.rate[j] * square, size.get(g, 0) + 1
        total += 0.5 * np.log(s.rate[j])
    d = s.degrees
    for g in strain:
        total += gammaln((d + size[g]) / 2) - gammaln(d / 2) - size[g] / 2 * np.log(np.pi * d)
        total -= (d + size[g]) / 2 * np.log(1 + strain[g] / d)
    for m, v in zip(s.m, s.s2, strict=True):
        total += 0.5 * np.log(v / s.tau2) + 0.5 - (v + (m - s.mu) ** 2) / (2 * s.tau2)
    for ab, cov, rate in zip(s.ab, s.cov, s.rate, strict=True):
        far = (ab[0] - 1) ** 2 + cov[0, 0]
        total += 0.5 * np.log(np.linalg.det(cov)) - 0.5 * np.log(s.a2) - 1.5 * np.log(1 + far / (2 * s.a2))
        total += -0.5 * np.log(s.b2) - (ab[1] ** 2 + cov[1, 1]) / (2 * s.b2)
        total += 2 * (np.log(s.noise2 * rate) - s.noise2 * rate)
    return total


@pytest.mark.parametrize("spread", ["item", "score"])
def test_bound_is_the_naive_one(spread):
    rng = np.random.default_rng(0)
    i, j = rng.integers(0, 6, 30), rng.integers(0, 4, 30)
    model = scores._Model(i, j, rng.normal(size=30), i if spread == "item" else np.arange(30), 6, 4, (3.0,))
    state = model.start()
    for _ in range(3):
        if spread == "score" or len(np.unique(i)) == 6:
            assert model.bound(state) == pytest.approx(naive_bound(model, state), abs=1e-8)
        state = model.step(state)


@pytest.mark.parametrize("spread", [None, "item", "score"])
def test_every_step_raises_the_bound(spread):
    for seed in range(4):
        _, item, who, score = simulated(seed, spam=3, tails=3)
        trace = fit_scores(item, who, score, spread=spread).trace
        assert (np.diff(trace) > -1e-7).all() and len(trace) > 5


def test_variance_is_the_block_of_the_joint_inverse():
    _, item, who, score = simulated(n=12, people=5, votes=70)
    y = (score - score.mean()) / score.std()
    model = scores._Model(item, who, y, item, 12, 5, (1e6,))
    s, _ = scores._climb(model, 300, 1e-9)
    w = model.weight(s)
    unknowns = np.zeros((12 + 10 + 2, 12 + 10 + 2))
    for i, j, precision in zip(item, who, w, strict=True):
        row = np.zeros(24)
        row[i], row[12 + j], row[17 + j] = s.ab[j, 0], s.m[i], 1.0
        unknowns += precision * np.outer(row, row)
    for j in range(5):
        unknowns[12 + j, 12 + j] += model.nearness(s)[j]
        unknowns[17 + j, 17 + j] += 1 / s.b2
    for i in range(12):
        row = np.zeros(24)
        row[i], row[22], row[23] = 1.0, -1.0, -(s.m[i] - s.mu)
        unknowns += np.outer(row, row) / s.tau2
    assert model.variance(s) == pytest.approx(np.diag(np.linalg.inv(unknowns))[:12], rel=1e-9)
    assert (model.variance(s) > 0).all()


def test_better_than_mean_and_median_and_as_sure_as_it_should_be():
    errors, inside = [], []
    for seed in range(8):
        value, item, who, score = simulated(seed)
        found, low, high = in_order(fit_scores(item, who, score), 150)
        mean = np.bincount(item, score) / np.bincount(item)
        median = np.array([np.median(score[item == i]) for i in range(150)])
        errors.append([np.sqrt(((x - value) ** 2).mean()) for x in (found, mean, median)])
        inside.append((low <= value) & (value <= high))
    ours, mean, median = np.mean(errors, axis=0)
    assert ours < 0.85 * min(mean, median)
    assert 0.82 <= np.mean(inside) <= 0.97


def test_spammers_are_found_and_harmless():
    _, item, who, score = simulated(1, spam=3)
    score[who == 3] = 50.0  # always the same answer
    fit = fit_scores(item, who, score)
    table = fit.annotators.to_pydict()
    share = np.array(table["share"])[np.argsort(table["annotator"])]
    assert share[:4].max() < 0.2 and share[4:].min() > 0.3
    clean = fit_scores(item[who > 3], who[who > 3], score[who > 3])
    both = np.intersect1d(fit.items, clean.items)
    a, b = (in_order(f, 150)[0][both] for f in (fit, clean))
    assert np.sqrt(((a - b) ** 2).mean()) < 3.0  # the values spread by 15


def test_gross_errors():
    value, item, who, score = simulated(2)
    wrong = np.random.default_rng(0).random(len(score)) < 0.05
    score[wrong] += 500
    robust, plain = (in_order(fit_scores(item, who, score, spread=s), 150)[0] for s in ("score", None))
    assert np.abs(robust - value).mean() < 0.5 * np.abs(plain - value).mean()


def test_items_people_disagree_about_have_wider_intervals():
    rng = np.random.default_rng(0)
    item, who = np.repeat(np.arange(100), 8), np.tile(np.arange(8), 100)
    score = rng.normal(50, 10, 100)[item] + rng.normal(size=800) * np.where(item < 50, 1, 10)
    fit = fit_scores(item, who, score, spread="item")
    assert fit.sd[50:].mean() > 2.5 * fit.sd[:50].mean()
    assert fit_scores(item, who, score).sd[50:].mean() < 1.1 * fit_scores(item, who, score).sd[:50].mean()


@settings(max_examples=30)
@given(st.integers(0, 1000), st.floats(0.01, 100), st.floats(-1000, 1000))
def test_rows_keys_and_units_are_nothing(seed, unit, shift):
    _, item, who, score = simulated(seed, n=10, people=4, votes=50)
    base = fit_scores(item, who, score)
    order = np.random.default_rng(seed).permutation(50)
    names = np.array([f"i{k}" for k in range(10)])
    other = fit_scores(pa.array(names[item[order]]), who[order] + 7, unit * score[order] + shift)
    at = [list(other.items).index(f"i{k}") for k in base.items]
    assert other.value[at] == pytest.approx(unit * base.value + shift, rel=1e-4, abs=1e-4 * (1 + unit))
    assert other.sd[at] == pytest.approx(unit * base.sd, rel=1e-3)


def test_annotators_are_told_in_units_of_the_scores():
    _, item, who, score = simulated(3, votes=3000)
    table = fit_scores(item, who, score).annotators.to_pydict()
    rng = np.random.default_rng(3)
    rng.normal(50, 15, 150)
    bias, scale, noise = rng.normal(0, 6, 20), rng.normal(1, 0.15, 20), rng.gamma(4, 2, 20)
    order = np.argsort(table["annotator"])
    found = {name: np.array(table[name])[order] for name in ("bias", "scale", "noise")}
    assert np.corrcoef(found["scale"], scale)[0, 1] > 0.8
    assert found["noise"] == pytest.approx(noise, rel=0.4)
    at_50 = found["bias"] + found["scale"] * 50 - 50
    assert np.corrcoef(at_50, bias)[0, 1] > 0.9


def test_edges():
    one = fit_scores(["x"], ["ann"], [3.0])
    assert one.value.tolist() == [3.0] and np.isfinite(one.sd).all()
    same = fit_scores([1, 1, 2, 2], [1, 2, 1, 2], [5, 5, 5, 5])
    assert same.value == pytest.approx([5.0, 5.0])


def test_emotions_of_headlines(real_data):
    """Ten people each, truth from experts. The mean is hard to beat: the scores pile up at 0."""
    file = np.load(real_data / "crowd" / "emotion_scores.npz")
    six = file["item"] < 600  # emotions from 0 to 100; the rest is valence, -100 to 100
    item, who, score, truth = file["item"][six], file["worker"][six], file["label"][six], file["truth"][:600]
    value = in_order(fit_scores(item, who, score), 600)[0]
    mean, median = np.bincount(item, score) / 10, np.median(score.reshape(600, 10), axis=1)
    ours, of_mean, of_median = (float(np.sqrt(((x - truth) ** 2).mean())) for x in (value, mean, median))
    assert ours < of_mean - 0.3 < of_median


def test_errors():
    with pytest.raises(DataError, match="take the columns from one table"):
        fit_scores([1, 2], [1, 2], [1.0])
    with pytest.raises(DataError, match="take the columns"):
        fit_scores([], [], [])
    with pytest.raises(DataError, match="row 1.*drop the rows"):
        fit_scores([1, 2], [1, 2], [1.0, float("nan")])
    with pytest.raises(OptionError, match="did you mean 'item'"):
        fit_scores([1], [1], [1.0], spread="items")
    with pytest.raises(OptionError, match="pass degrees=4.0"):
        fit_scores([1], [1], [1.0], degrees=0)
    with pytest.raises(OptionError, match="pass max_iter=1"):
        fit_scores([1], [1], [1.0], max_iter=0)
    with pytest.raises(OptionError, match="pass level=0.9"):
        fit_scores([1], [1], [1.0]).interval(2)
    _, item, who, score = simulated()
    with pytest.warns(LabelwrightWarning, match="raise max_iter"):
        fit_scores(item, who, score, max_iter=2)
