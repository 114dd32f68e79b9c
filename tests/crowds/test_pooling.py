"""Pooling against loops, and the average of several models."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad, minimize

from labelwright.crowds import pooling
from labelwright.crowds.methods import METHODS
from labelwright.crowds.pooling import HOW, MEMBERS, PLAIN, disagreement, fit_average, js_centroid, pool, temperatures
from labelwright.crowds.prepared import prepare
from labelwright.errors import LabelError, OptionError
from labelwright.labels import LabelSpace, SoftLabels, Votes


def three(seed=0, n=40, k=4):
    """Sources of different sharpness that roughly agree."""
    rng = np.random.default_rng(seed)
    mid = rng.dirichlet(np.ones(k), n)
    made = [mid**power * rng.uniform(0.5, 1, (n, k)) for power in (0.5, 1.0, 3.0)]
    return [p / p.sum(1, keepdims=True) for p in made]


def crowd(seed=0, n=60, a=8, k=3, gold=None):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    item = np.repeat(np.arange(n), 5)
    annotator = np.concatenate([rng.choice(a, 5, replace=False) for _ in range(n)])
    label = np.where(rng.random(len(item)) < 0.7, truth[item], rng.integers(0, k, len(item)))
    return prepare(Votes(item, annotator, label, np.arange(n), np.arange(a), LabelSpace(range(k))), gold), truth


def divergence(p, q):
    """Jensen-Shannon, one pair of rows."""
    out = 0.0
    for a, b in zip(p, q):
        m = (a + b) / 2
        out += 0.5 * (a * np.log(a / m) if a > 0 else 0) + 0.5 * (b * np.log(b / m) if b > 0 else 0)
    return out


def test_average_and_conflation_equal_loops():
    sources, weights = three(), np.array([1.0, 2.0, 0.5])
    average = pool(sources, weights=weights).dense()
    product = pool(sources, "conflation").dense()
    powers = pool(sources, "conflation", weights=weights).dense()
    for i in range(40):
        for c in range(4):
            mean = sum(w * s[i, c] for w, s in zip(weights, sources)) / 3.5
            assert average[i, c] == pytest.approx(mean, abs=1e-6)
        plain = np.array([np.prod([s[i, c] for s in sources]) for c in range(4)])
        np.testing.assert_allclose(product[i], plain / plain.sum(), atol=1e-6)
        power = np.array([np.prod([s[i, c] ** (3 * w / 3.5) for w, s in zip(weights, sources)]) for c in range(4)])
        np.testing.assert_allclose(powers[i], power / power.sum(), atol=1e-6)


def test_the_centroid_is_where_a_general_minimiser_ends():
    sources = three(1, n=4)
    found = pool(sources, "js_centroid").dense()
    for i in range(4):

        def mean_divergence(score, i=i):
            p = np.exp(score - score.max())
            return sum(divergence(p / p.sum(), s[i]) for s in sources)

        best = minimize(
            mean_divergence, np.log(sources[1][i]), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-13}
        )
        p = np.exp(best.x - best.x.max())
        np.testing.assert_allclose(found[i], p / p.sum(), atol=1e-3)
        assert sum(divergence(found[i].astype(float), s[i]) for s in sources) <= best.fun + 1e-7


def test_the_centroid_equals_the_form_that_drops_the_last_class():
    p = np.stack(three(2, n=6))
    share = np.full(p.shape[:2], 1 / 3)
    theta = p.mean(0)[:, :-1]
    for _ in range(1000):
        middle = (theta + p[:, :, :-1]) / 2
        score = np.log(middle / (1 - middle.sum(2, keepdims=True))).mean(0)
        theta = np.exp(score) / (1 + np.exp(score).sum(1, keepdims=True))
    np.testing.assert_allclose(js_centroid(p, share)[:, :-1], theta, atol=1e-9)


def test_every_step_of_the_centroid_lowers_the_divergence():
    p = np.stack(three(3, n=5))
    share = np.full(p.shape[:2], 1 / 3)
    values = [
        sum(divergence(js_centroid(p, share, max_iter=m)[i], s[i]) for s in p for i in range(5)) for m in range(6)
    ]
    assert (np.diff(values) <= 1e-12).all()


def test_the_disagreement_equals_the_loop_and_has_its_gradient():
    logp = np.log(np.stack(three(4, n=7)))
    beta = np.array([0.7, 1.0, 1.6])
    p = np.exp(logp * beta[:, None, None])
    p /= p.sum(2, keepdims=True)
    want = np.mean([divergence(p[a, i], p[b, i]) for a in range(3) for b in range(a) for i in range(7)])
    assert disagreement(logp, beta)[0] == pytest.approx(want)
    assert check_grad(lambda b: disagreement(logp, b)[0], lambda b: disagreement(logp, b)[1], beta) < 1e-6


def test_temperatures_bring_sources_of_unlike_sharpness_together():
    mid = np.random.default_rng(5).dirichlet(np.ones(3), 200)
    sharp = mid**3 / (mid**3).sum(1, keepdims=True)
    t = temperatures([mid, sharp])
    assert 2 < t[1] / t[0] < 4
    before, after = (disagreement(np.log(np.stack([mid, sharp])), b)[0] for b in (np.ones(2), 1 / t))
    assert after < before / 5
    assert temperatures([mid]).tolist() == [1.0]


@pytest.mark.parametrize("how", HOW)
def test_one_source_or_the_same_twice_stay_what_they_are_up_to_a_temperature(how):
    p = three(6)[1]
    np.testing.assert_allclose(pool([p], how).dense(), p, atol=1e-6)
    twice = pool([p, p], how).dense()
    if how == "conflation":
        p = p**2 / (p**2).sum(1, keepdims=True)
    if how in ("temperature", "hybrid"):
        np.testing.assert_array_equal(twice.argmax(1), p.argmax(1))
    else:
        np.testing.assert_allclose(twice, p, atol=1e-6)


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), how=st.sampled_from(HOW))
def test_rows_are_distributions_and_orders_of_classes_items_and_sources_do_not_matter(seed, how):
    sources = three(seed, n=12)
    rng = np.random.default_rng(seed)
    items, classes = rng.permutation(12), rng.permutation(4)
    p = pool(sources, how).dense()
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    other = pool([s[items][:, classes] for s in sources[::-1]], how).dense()
    np.testing.assert_allclose(other, p[items][:, classes], atol=2e-4)


@pytest.mark.parametrize("how", HOW)
def test_certain_sources_do_not_break_and_unknown_ones_do_not_count(how):
    one = SoftLabels.from_dense([[1, 0, 0], [1, 0, 0], [0.2, 0.3, 0.5]], known=[True, True, False])
    two = SoftLabels.from_dense([[0, 1, 0], [0.1, 0.9, 0], [0.2, 0.3, 0.5]], known=[True, False, False])
    out = pool([one, two], how)
    assert out.known.tolist() == [True, True, False] and np.isfinite(out.dense()).all()
    np.testing.assert_allclose(out.dense()[0, 0], out.dense()[0, 1], atol=1e-5)
    assert out.dense()[1, 0] > (0.5 if how in ("temperature", "hybrid") else 0.99)


def test_many_classes_go_block_by_block_and_keep_the_64_likeliest():
    rng = np.random.default_rng(7)
    sources = [SoftLabels.from_dense(rng.dirichlet(np.full(1000, 0.01), 1100), k=20) for _ in range(2)]
    out = pool(sources)
    assert out.index.shape == (1100, 64)
    want = np.mean([s.dense() for s in sources], axis=0)
    np.testing.assert_allclose(out.prob[:, 0], want.max(1), atol=1e-6)
    np.testing.assert_allclose(out.prob.sum(1) + out.rest, 1, atol=1e-5)


def test_no_items_give_none():
    assert len(pool([np.zeros((0, 3)), np.zeros((0, 3))])) == 0


def test_wrong_arguments_say_what_to_pass():
    p = three()
    with pytest.raises(OptionError, match="did you mean 'average'"):
        pool(p, "averge")
    with pytest.raises(OptionError, match="one weight per source"):
        pool(p, weights=[1, 2])
    with pytest.raises(OptionError, match="pass floor=1e-6"):
        pool(p, "conflation", floor=0.0)
    with pytest.raises(LabelError, match="select the same rows"):
        pool([p[0], p[1][:5]])
    with pytest.raises(LabelError, match="select the same rows"):
        pool([])
    with pytest.raises(OptionError, match="did you mean 'hybrid'"):
        fit_average(crowd()[0], how="hybrd")


@pytest.mark.parametrize("plain", [False, True])
def test_the_average_of_models_is_the_mean_of_their_labels(plain):
    votes, _ = crowd(8)
    fit = fit_average(votes, plain=plain)
    each = []
    for name in MEMBERS:
        options = (PLAIN.get(name, {}) if plain else {}) | ({"restarts": 0} if name == "mace" else {})
        each.append(METHODS[name](votes, **options))
    np.testing.assert_allclose(fit.labels.dense(), np.mean([f.labels.dense() for f in each], axis=0), atol=1e-5)
    item, annotator = votes.item[:6], votes.annotator[:6]
    chances = [f.vote_prob(item, annotator) for f in each if f.vote_prob]
    np.testing.assert_allclose(fit.vote_prob(item, annotator), np.mean(chances, axis=0))
    mine = votes.annotator == 2
    own = fit.labels.dense()[votes.item[mine], votes.label[mine]]
    assert fit.skill[2] == pytest.approx(own.mean(), abs=1e-5)
    np.testing.assert_allclose(fit.prior.sum(), 1)


@pytest.mark.parametrize("how", HOW)
def test_known_classes_stay_certain(how):
    votes, truth = crowd(9, gold=None)
    votes, truth = crowd(9, gold=np.where(np.arange(60) < 20, truth, -1))
    p = fit_average(votes, how=how).labels.dense()
    np.testing.assert_array_equal(p[np.arange(20), truth[:20]], 1)


def test_above_a_million_votes_the_quick_ones_are_pooled_and_that_is_said(monkeypatch):
    monkeypatch.setattr(pooling, "MANY", 100)
    fit = fit_average(crowd(10)[0])
    assert fit.details["members"] == pooling.QUICK and "the average is of vote_shares" in fit.notes[-1]


def test_the_average_of_plain_models_has_the_log_loss_of_the_card(real_data):
    d = np.load(real_data / "crowd" / "rte.npz")
    item, annotator, label = (d[key].astype(np.int64) for key in ("item", "worker", "label"))
    votes = prepare(Votes(item, annotator, label, np.arange(800), np.arange(164), LabelSpace(range(2))))
    p = fit_average(votes, plain=True).labels.dense()[np.arange(800), d["truth"]]
    assert -np.log(p.clip(1e-6)).mean() == pytest.approx(0.225, abs=0.01)
    assert (p > 0.5).mean() == pytest.approx(0.925, abs=0.01)
