"""Bradley-Terry and verdicts against naive likelihoods, simulated judges and invariants."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from labelwright.crowds import pairwise
from labelwright.crowds.pairwise import better_annotation, fit_bradley_terry
from labelwright.errors import LabelError, LabelwrightWarning, OptionError
from labelwright.labels import Comparisons, LabelSpace


def comparisons(a, b, preferred, judge=None, n_classes=None, item=None):
    a, b, preferred = (np.asarray(x, dtype=np.int64) for x in (a, b, preferred))
    judge = np.zeros(len(a), dtype=np.int64) if judge is None else np.asarray(judge)
    item = np.arange(len(a)) if item is None else np.asarray(item)
    k = n_classes or int(max(a.max(), b.max())) + 1
    space = LabelSpace([f"c{i}" for i in range(k)])
    return Comparisons(item, judge, a, b, preferred, np.arange(item.max() + 1), np.arange(judge.max() + 1), space)


def simulated(seed=0, k=12, judges=8, n=1500, sd=1.5, first=0.6, ties=0.2, guessing=2):
    """(true scores, comparisons): Davidson's model with an advantage of the first; the first `guessing` judges toss a coin."""
    rng = np.random.default_rng(seed)
    score = rng.normal(0, sd, k)
    score -= score.mean()
    a = rng.integers(0, k, n)
    b = (a + rng.integers(1, k, n)) % k
    judge = rng.integers(0, judges, n)
    sign = np.where(rng.random(n) < np.where(judge < guessing, 0.5, 0.95), 1, -1)
    x = sign * (score[a] - score[b]) + first
    weight = np.stack([np.exp(x / 2), np.exp(-x / 2), np.full(n, ties)], axis=1)
    answer = (rng.random(n)[:, None] > (weight / weight.sum(1, keepdims=True)).cumsum(1)).sum(1)
    return score, comparisons(a, b, np.choose(answer, [a, b, -1]), judge, k)


def naive_posterior(x, c, reliability, sd, position):
    """Log posterior of `fit_bradley_terry` in a loop. x: scores, judges' own effects, common effect, tie."""
    k, n_judges = len(c.space), len(c.annotators)
    tie = x[-1] if (c.preferred < 0).any() else -np.inf
    total = -0.5 * (x[:k] ** 2).sum() / sd**2
    if position:
        total += -0.5 * (x[k : k + n_judges] ** 2).sum() / 0.5**2 - 0.5 * x[k + n_judges] ** 2 / 2.0**2
    if np.isfinite(tie):
        total += -0.5 * tie**2 / 2.0**2
    for a, b, j, preferred in zip(c.a, c.b, c.annotator, c.preferred, strict=True):
        likelihood = 0.0
        for sign, share in ((1, reliability[j]), (-1, 1 - reliability[j])):
            log_odds = sign * (x[a] - x[b]) + (x[k + j] + x[k + n_judges] if position else 0.0)
            weights = {a: np.exp(log_odds / 2), b: np.exp(-log_odds / 2), -1: np.exp(tie)}
            likelihood += share * weights[preferred] / sum(weights.values())
        total += np.log(likelihood)
    return total


def test_model_is_the_naive_posterior_and_its_steps_climb_it():
    _, c = simulated(n=60, k=5, judges=3)
    model = pairwise._Model(c, judges=True, position=True)
    rng = np.random.default_rng(1)
    state = pairwise._State(rng.normal(0, 0.5, model.size), np.array([0.9, 0.5, 0.7]), 1.3)
    prior = (8 * np.log(state.reliability) + np.log(1 - state.reliability)).sum()
    expected = naive_posterior(state.x, c, state.reliability, 1.3, True) + prior
    assert model.objective(state) == pytest.approx(expected, abs=1e-9)
    _, plus, sides = model.mixture(state)
    gradient, _ = model._curvature(state, plus, sides)
    for i in range(model.size):
        step = 1e-5 * np.eye(model.size)[i]
        up, down = (naive_posterior(state.x + s, c, state.reliability, 1.3, True) for s in (step, -step))
        assert gradient[i] == pytest.approx((up - down) / 2e-5, abs=1e-5)


def test_plain_fit_is_the_mode_and_its_errors_the_inverse_hessian():
    _, c = simulated(n=150, k=4, judges=1, ties=0.0, first=0.0, guessing=0)
    fit = fit_bradley_terry(c, judges=False, position=False, prior_sd=1.5, tol=1e-10)
    best = minimize(lambda x: -naive_posterior(x, c, np.ones(1), 1.5, False), np.zeros(4), tol=1e-10)
    assert fit.score == pytest.approx(best.x, abs=1e-4)
    hessian = np.eye(4) / 1.5**2
    for a, b in zip(c.a, c.b, strict=True):
        p = fit.probability(a, b)
        d = np.eye(4)[a] - np.eye(4)[b]
        hessian += p * (1 - p) * np.outer(d, d)
    centre = np.eye(4) - 0.25
    assert fit.se == pytest.approx(np.sqrt(np.diag(centre @ np.linalg.inv(hessian) @ centre)), abs=1e-6)


def test_errors_of_the_mixture_are_the_inverse_of_the_numeric_hessian():
    _, c = simulated(n=80, k=3, judges=2, guessing=1)
    fit = fit_bradley_terry(c, prior_sd=1.5, tol=1e-12, position=True)
    model = pairwise._Model(c, judges=True, position=True)
    state = model.start(1.5)
    state, _ = pairwise._climb(model, state, 500, 1e-12)
    logit = np.log(state.reliability / (1 - state.reliability))
    at = np.append(state.x, logit)

    def value(z):
        reliability = 1 / (1 + np.exp(-z[model.size :]))
        return model.objective(pairwise._State(z[: model.size], reliability, 1.5))

    n, h = len(at), 1e-3
    steps = h * np.eye(n)
    hessian = np.array([
        [value(at + p + q) - value(at + p - q) - value(at - p + q) + value(at - p - q) for q in steps] for p in steps
    ]) / (4 * h * h)  # fmt: skip
    centre = np.eye(3) - 1 / 3
    expected = np.diag(centre @ np.linalg.inv(-hessian)[:3, :3] @ centre)
    assert model.variance(state) == pytest.approx(expected, rel=1e-3)
    assert fit.se == pytest.approx(np.sqrt(expected), rel=1e-3)


def test_recovers_scores_judges_position_and_ties():
    inside, ours, plain = [], [], []
    for seed in range(8):
        score, c = simulated(seed)
        fit = fit_bradley_terry(c)
        assert (np.diff(fit.trace) >= 0).all()
        assert fit.reliability[2:].min() > fit.reliability[:2].max()
        assert fit.first.mean() == pytest.approx(0.6, abs=0.35)
        assert np.exp(fit.tie) == pytest.approx(0.2, abs=0.1)
        inside.append(np.abs(fit.score - score) < 1.645 * fit.se)
        ours.append(np.abs(fit.score - score).mean())
        plain.append(np.abs(fit_bradley_terry(c, judges=False).score - score).mean())
    assert 0.82 <= np.mean(inside) <= 0.97
    assert np.mean(ours) < 0.7 * np.mean(plain)


def test_a_contrary_judge_is_turned_around():
    score, c = simulated(1, guessing=0, ties=0.0)
    turned = np.where(c.annotator == 0, np.where(c.preferred == c.a, c.b, c.a), c.preferred)
    fit = fit_bradley_terry(comparisons(c.a, c.b, turned, c.annotator))
    assert fit.reliability[0] < 0.3 and fit.reliability[1:].min() > 0.7
    assert np.corrcoef(fit.score, score)[0, 1] > 0.97


def test_unbeaten_and_unconnected_objects_stay_finite():
    # 0 beats 1 ten times; 2 and 3 were compared with each other only, once; 4 never
    c = comparisons([0] * 10 + [2], [1] * 10 + [3], [0] * 10 + [2], n_classes=5)
    fit = fit_bradley_terry(c)
    assert np.isfinite(fit.score).all() and np.isfinite(fit.se).all()
    assert fit.score[0] > fit.score[2] > 0 > fit.score[3] > fit.score[1] and fit.score[4] == pytest.approx(0, abs=1e-9)
    assert fit.se[4] > fit.se[0]
    assert fit.score.sum() == pytest.approx(0, abs=1e-9)


def test_the_advantage_of_the_first_needs_both_places():
    always_first = comparisons([0] * 20, [1] * 20, [0] * 15 + [1] * 5)
    fit = fit_bradley_terry(always_first)
    assert (fit.first == 0).all() and "first is not estimated" in fit.notes[0]
    assert "rests on its prior" in fit_bradley_terry(always_first, position=True).notes[0]
    swapped = comparisons([0, 1] * 20, [1, 0] * 20, [0, 1] * 15 + [0, 0] * 5)
    fit = fit_bradley_terry(swapped)
    assert fit.first[0] > 1 and not fit.notes
    assert abs(fit.score[0] - fit.score[1]) < fit.first[0]


PAIRS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(0, 2), st.integers(0, 1)), min_size=3, max_size=25
)


def from_pairs(pairs):
    a = np.array([p[0] for p in pairs])
    b = (a + [p[1] for p in pairs]) % 4
    preferred = np.choose([p[2] for p in pairs], [a, b, np.full(len(a), -1)])
    return a, b, preferred, np.array([p[3] for p in pairs])


@given(PAIRS, st.permutations(range(4)))
@settings(max_examples=25)
def test_swaps_and_permutations(pairs, order):
    a, b, preferred, judge = from_pairs(pairs)
    base = fit_bradley_terry(comparisons(a, b, preferred, judge, 4), prior_sd=1.0, position=True, tol=1e-10)
    # the other one won: scores change sign, and so does the advantage of the first
    lost = np.where(preferred < 0, -1, np.where(preferred == a, b, a))
    flipped = fit_bradley_terry(comparisons(a, b, lost, judge, 4), prior_sd=1.0, position=True, tol=1e-10)
    assert flipped.score == pytest.approx(-base.score, abs=1e-5) and flipped.first == pytest.approx(
        -base.first, abs=1e-5
    )
    # shown in the other order: only the advantage changes sign
    shown = fit_bradley_terry(comparisons(b, a, preferred, judge, 4), prior_sd=1.0, position=True, tol=1e-10)
    assert shown.score == pytest.approx(base.score, abs=1e-5) and shown.first == pytest.approx(-base.first, abs=1e-5)
    # other class numbers, other rows
    new, rows = np.array(order), np.random.default_rng(0).permutation(len(a))
    named = np.where(preferred < 0, -1, new[preferred])
    other = comparisons(new[a][rows], new[b][rows], named[rows], judge[rows], 4)
    fit = fit_bradley_terry(other, prior_sd=1.0, position=True, tol=1e-10)
    assert fit.score[new] == pytest.approx(base.score, abs=1e-5) and fit.se[new] == pytest.approx(base.se, abs=1e-5)


def test_many_objects_without_dense_matrices(monkeypatch):
    _, c = simulated(n=1500, k=60)
    dense = fit_bradley_terry(c, prior_sd=1.5)
    monkeypatch.setattr(pairwise, "DENSE", 5)
    sparse = fit_bradley_terry(c, prior_sd=1.5)
    assert sparse.score == pytest.approx(dense.score, abs=1e-5)
    assert sparse.se == pytest.approx(dense.se, rel=0.25) and "random probes" in sparse.notes[-1]


def test_errors():
    _, c = simulated(n=50)
    with pytest.raises(LabelError, match="pass the comparisons"):
        fit_bradley_terry(c[:0])
    with pytest.raises(OptionError, match="pass prior_sd=1.0"):
        fit_bradley_terry(c, prior_sd=0.0)
    with pytest.raises(OptionError, match="pass max_iter=1 or more"):
        fit_bradley_terry(c, max_iter=0)
    with pytest.raises(OptionError, match="pass accuracy=0.8"):
        better_annotation(c, accuracy=0.5)
    with pytest.warns(LabelwrightWarning, match="raise max_iter"):
        fit_bradley_terry(c, max_iter=1, prior_sd=1.0)


# ---------------------------------------------------------------------------------------------------------------- verdicts
def card(a1, a2, conservative):
    """Label Critic's dual confirmation: a1, a2 in {1, 2, 0.5} name the place of the preferred one; returns 1, 2 or 0.5,
    where 1 is the object that was first in the first order."""
    if a1 == 0.5 and a2 == 0.5:
        return 0.5
    if 0.5 in (a1, a2):
        if conservative:
            return 0.5
        return a1 if a2 == 0.5 else {1: 2, 2: 1}[a2]
    return 0.5 if a1 == a2 else a1


@pytest.mark.parametrize("conservative", [False, True])
def test_dual_confirmation_is_the_published_rule(conservative):
    for a1 in (1, 2, 0.5):
        for a2 in (1, 2, 0.5):
            first = {1: 0, 2: 1, 0.5: -1}[a1]  # shown as (0, 1)
            second = {1: 1, 2: 0, 0.5: -1}[a2]  # shown as (1, 0)
            c = comparisons([0, 1], [1, 0], [first, second], item=[0, 0])
            found = better_annotation(c, conservative=conservative)
            expected = {1: "c0", 2: "c1", 0.5: None}[card(a1, a2, conservative)]
            assert found.pairs["better"].to_pylist() == [expected]
            assert found.coverage == (expected is not None)


@pytest.mark.parametrize("p, q", [(0.8, 0.8), (0.9, 0.6), (0.7, 0.9)])
def test_coverage_and_accuracy_are_the_closed_form(p, q):
    """A judge right with p when the better one is first and with q when it is second; 0.8 without bias: 0.68 and 0.94."""
    rng = np.random.default_rng(0)
    better = np.repeat(rng.integers(0, 2, 4000), 2)
    a = np.tile([0, 1], 4000)
    right = rng.random(8000) < np.where(a == better, p, q)
    c = comparisons(a, 1 - a, np.where(right, better, 1 - better), item=np.repeat(np.arange(4000), 2))
    found = better_annotation(c, confirm=True)
    named = c.space.encode(found.pairs["better"].to_pylist())
    coverage = p * q + (1 - p) * (1 - q)
    accuracy = (named == better[::2])[named >= 0].mean()
    assert found.coverage == pytest.approx(coverage, abs=0.03)
    assert accuracy == pytest.approx(p * q / coverage, abs=0.02)
    row = found.judges.to_pylist()[0]
    assert row["accuracy_first"] == pytest.approx(p, abs=0.03) and row["accuracy_second"] == pytest.approx(q, abs=0.03)
    assert row["accuracy"] == pytest.approx(accuracy, abs=0.02)
    assert max(found.pairs["probability"].to_pylist()) == pytest.approx(row["accuracy"], abs=1e-9)


def test_judges_with_one_order_and_with_none():
    # judge 0 saw one order, judge 1 both and contradicts itself
    c = comparisons([0, 0, 1], [1, 1, 0], [0, 0, 1], judge=[0, 1, 1], item=[0, 0, 0])
    row = better_annotation(c).pairs.to_pylist()[0]
    assert row["better"] == "c0" and row["judges"] == 2 and row["confirmed"] == 0 and row["contradicted"] == 1
    assert row["probability"] == pytest.approx(0.8)
    strict = better_annotation(c, confirm=True)
    assert strict.pairs["better"].to_pylist() == [None] and strict.pairs["probability"].to_pylist() == [0.5]
    assert strict.judges["coverage"].to_pylist() == [None, 0.0]


@given(PAIRS)
def test_verdicts_do_not_depend_on_rows_or_names(pairs):
    a, b, preferred, judge = from_pairs(pairs)
    item = np.arange(len(a)) % 3
    base = better_annotation(comparisons(a, b, preferred, judge, 4, item)).pairs.to_pylist()
    rows = np.random.default_rng(0).permutation(len(a))
    c = comparisons(a[rows], b[rows], preferred[rows], judge[rows], 4, item[rows])
    assert better_annotation(c).pairs.to_pylist() == base
    mirrored = better_annotation(
        comparisons(3 - a, 3 - b, np.where(preferred < 0, -1, 3 - preferred), judge, 4, item)
    ).pairs.to_pylist()
    name = {f"c{i}": f"c{3 - i}" for i in range(4)} | {None: None}
    key = lambda r: (r["item"], *sorted([r["a"], r["b"]]))  # noqa: E731
    back = sorted(({**r, "a": name[r["b"]], "b": name[r["a"]], "better": name[r["better"]]} for r in mirrored), key=key)
    for x, y in zip(sorted(base, key=key), back, strict=True):
        assert x["better"] == y["better"] and x["probability"] == pytest.approx(y["probability"])
