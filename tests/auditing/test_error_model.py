"""The error model: against a naive loop, on planted and on human label errors, and at the edges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.auditing import _stacking
from labelwright.auditing.error_model import (
    CURVE_PRIOR,
    SHARPNESS,
    UNTOLD,
    _fit_curve,
    _follow_resemblance,
    error_model,
    recalibrate,
)
from labelwright.errors import DataError, LabelError, OptionError, ProbabilityError


def planted(n: int = 600, k: int = 4, rate: float = 0.2, seed: int = 0):
    """Labels with uniform mistakes, calibrated probabilities of the truth, neighbours mostly of one class, mistakes."""
    rng = np.random.default_rng(seed)
    P = rng.dirichlet(np.full(k, 0.1), n) * 0.95 + 0.05 / k
    true = (P.cumsum(1) > rng.random((n, 1))).argmax(1)
    labels = np.where(rng.random(n) < rate, (true + rng.integers(1, k, n)) % k, true)
    index = np.stack([rng.choice(np.delete(np.arange(n), i), 5, p=_alike(true, i)) for i in range(n)])
    return labels, P, (index, np.ones(index.shape)), labels != true


def _alike(true: np.ndarray, i: int) -> np.ndarray:
    p = np.delete(np.where(true == true[i], 10.0, 1.0), i)
    return p / p.sum()


def average_precision(score: np.ndarray, truth: np.ndarray) -> float:
    hit = truth[np.argsort(-score, kind="stable")]
    return float((np.cumsum(hit) / np.arange(1, len(hit) + 1))[hit].mean())


# ------------------------------------------------------------------------------------------------- against naive loops
def naive_sums(evidence, labels, weights, biases, transition):
    """One EM step's log-likelihood, joint and weight gradient, item by item."""
    k = len(biases)
    loglik, joint, grad = 0.0, np.zeros((k, k)), np.zeros(len(weights))
    for i, s in enumerate(labels):
        z = [biases[c] + sum(w * e[i, c] for w, e in zip(weights, evidence, strict=True)) for c in range(k)]
        q = [np.exp(v) / sum(np.exp(u) for u in z) for v in z]
        likelihood = sum(q[c] * transition[c, s] for c in range(k))
        loglik += np.log(likelihood)
        for c in range(k):
            posterior = q[c] * transition[c, s] / likelihood
            joint[c, s] += posterior
            grad += [(posterior - q[c]) * e[i, c] for e in evidence]
    return loglik, joint, grad


def test_em_sums_equal_a_naive_loop():
    labels, P, neighbours, _ = planted(80, 3)
    rows, shares = np.arange(80), np.full(3, 1 / 3)
    evidence = [
        _stacking.model_evidence(P, rows, _stacking.MISTAKEN),
        _stacking.vote_evidence(labels, neighbours, shares, rows),
    ]
    T = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.05, 0.05, 0.9]])
    pool = _stacking.Pool(np.array([0.7, 1.3]), np.array([0.1, 0.0, -0.1]), T, [])
    counted = np.zeros((3, 3))
    got = _stacking.chunk_sums(evidence, labels, pool, counted, T.T.copy())
    loglik, joint, grad = naive_sums(evidence, labels, pool.weights, pool.biases, T)
    np.testing.assert_allclose(got.loglik, loglik, rtol=1e-9)
    np.testing.assert_allclose(counted.T, joint, atol=1e-9)
    np.testing.assert_allclose(got.weight_grad, grad, atol=1e-9)


def test_sums_of_parts_add_up_to_the_whole():
    labels, P, _, _ = planted(90, 3)
    pool = _stacking.Pool(np.ones(1), np.zeros(3), 0.9 * np.eye(3) + 0.1 / 3, [])
    joints, by_given = np.zeros((2, 3, 3)), pool.transition.T.copy()
    parts = [
        _stacking.chunk_sums([np.log(P[r])], labels[r], pool, joints[0], by_given)
        for r in (slice(0, 17), slice(17, 90))
    ]
    whole = _stacking.chunk_sums([np.log(P)], labels, pool, joints[1], by_given)
    np.testing.assert_allclose(joints[0], joints[1], atol=1e-9)
    for a, b in zip(parts[0].merge(parts[1]), whole, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


def test_votes_weigh_the_square_of_their_similarity_and_unlabelled_ones_abstain():
    # Item 0's neighbours carry 1, 0 and nothing, at 1, 0.5 and 1: votes (0.25, 1), plus 2 x (0.25, 0.75), of 3.25.
    labels, shares = np.array([0, 1, 0, -1]), np.array([0.25, 0.75])
    neighbours = np.array([[1, 2, 3]]), np.array([[1.0, 0.5, 1.0]])
    vote = _stacking.vote_evidence(labels, neighbours, shares, np.array([0]))
    np.testing.assert_allclose(np.exp(vote), [[0.5 / 2.25, 1.75 / 2.25]])


def test_posterior_equals_a_naive_loop():
    labels, P, neighbours, _ = planted(120, 3)
    fit = error_model(labels, P, neighbours=neighbours)
    shares = (np.bincount(labels) + 1) / (len(labels) + 3)
    rows = np.arange(120)
    evidence = [
        _stacking.model_evidence(P, rows, _stacking.MISTAKEN),
        _stacking.vote_evidence(labels, neighbours, shares, rows),
    ]
    pool = _stacking.fit_pool(lambda r: [e[r] for e in evidence], labels, shares)
    for i, s in enumerate(labels):
        z = np.array(
            [pool.biases[c] + sum(w * e[i, c] for w, e in zip(pool.weights, evidence, strict=True)) for c in range(3)]
        )
        q = np.exp(z) / np.exp(z).sum()
        random = q * fit.transition[:, s] / (q * fit.transition[:, s]).sum()
        sharp = q**SHARPNESS / (q**SHARPNESS).sum()
        expected = (1 - fit.ambiguity) * random + fit.ambiguity * sharp
        np.testing.assert_allclose(fit.label_dist[i], expected, atol=1e-6)


def naive_follow(mistakes, resemblance, shares):
    """R^2 over the pairs, shrunk to UNTOLD; pair by pair."""
    k = len(shares)
    pairs = [(a, b) for a in range(k) for b in range(k) if a != b]
    made, alike = (sum(counts[p] for p in pairs) for counts in (mistakes, resemblance))
    by_chance = sum(shares[a] * shares[b] for a, b in pairs)
    cross = of_made = of_alike = 0.0
    for a, b in pairs:
        chance = shares[a] * shares[b] / by_chance
        x = mistakes[a, b] / made - chance
        y = (resemblance[a, b] + resemblance[b, a]) / (2 * alike) - chance
        cross, of_made, of_alike = cross + x * y / chance, of_made + x * x / chance, of_alike + y * y / chance
    weight = made * of_alike
    return (len(pairs) * UNTOLD + weight * max(0.0, cross) ** 2 / (of_made * of_alike)) / (len(pairs) + weight)


@given(seed=st.integers(0, 10_000), k=st.integers(3, 6))
def test_following_resemblance_equals_a_naive_loop(seed: int, k: int):
    rng = np.random.default_rng(seed)
    mistakes, resemblance, shares = rng.random((k, k)) * 9, rng.random((k, k)) * 50, rng.dirichlet(np.ones(k)) + 0.01
    got = _follow_resemblance(mistakes, resemblance, shares)
    assert got == pytest.approx(naive_follow(mistakes, resemblance, shares))
    assert 0 <= got <= 1


def test_following_resemblance_is_untold_for_two_classes_and_without_mistakes():
    assert _follow_resemblance(np.full((2, 2), 99.0), np.full((2, 2), 7.0), np.full(2, 0.5)) == pytest.approx(UNTOLD)
    assert _follow_resemblance(np.zeros((4, 4)), np.arange(16.0).reshape(4, 4), np.full(4, 0.25)) == UNTOLD


# ------------------------------------------------------------------------------------------------- what it finds
def test_mistakes_between_classes_that_resemble_each_other_strengthen_the_second_reading(
    monkeypatch: pytest.MonkeyPatch,
):
    rng = np.random.default_rng(0)
    true, partner = rng.integers(0, 4, 4000), np.array([1, 0, 3, 2])  # the model wavers between 0 and 1, and 2 and 3
    sure = np.where(rng.random(4000) < 0.7, 0.95, rng.uniform(0.5, 0.95, 4000))
    P = np.full((4000, 4), 0.01)
    P[np.arange(4000), true], P[np.arange(4000), partner[true]] = sure, 0.98 - sure
    y = np.where(rng.random(4000) < sure, true, partner[true])
    flip = rng.random(4000) < 0.15
    given = {"alike": np.where(flip, partner[y], y), "unlike": np.where(flip, (y + 2) % 4, y)}
    weight = {name: error_model(labels, P).ambiguity for name, labels in given.items()}
    monkeypatch.setattr("labelwright.auditing.error_model.AMBIGUITY", 1.0)  # then the weight is 1 - explained
    belief = {name: weight[name] / error_model(labels, P).ambiguity for name, labels in given.items()}
    assert belief["alike"] > 0.9
    assert 0.4 <= belief["unlike"] < 0.5


def test_random_mistakes_are_found_counted_and_their_transition_learnt():
    labels, P, _, wrong = planted(4000, 4, 0.2)
    fit = error_model(labels, P)
    assert average_precision(fit.error_prob, wrong) > average_precision(1 - P[np.arange(4000), labels], wrong) - 0.001
    assert 0.75 < fit.expected_errors / wrong.sum() < 1.35
    assert np.abs(np.diag(fit.transition) - 0.8).max() < 0.15


def test_clean_labels_count_fewer_errors_than_disagreements():
    labels, P, _, wrong = planted(3000, 4, 0.0)
    assert wrong.sum() == 0
    assert error_model(labels, P).expected_errors < (P.argmax(1) != labels).sum()


def test_probabilities_and_neighbours_beat_either_alone():
    labels, P, neighbours, wrong = planted(800, 4, 0.2)
    both, model, vote = (
        average_precision(error_model(labels, p, neighbours=n).error_prob, wrong)
        for p, n in ((P, neighbours), (P, None), (None, neighbours))
    )
    assert both > max(model, vote) + 0.01


def test_loglik_never_falls():
    labels, P, neighbours, _ = planted(500, 4)
    assert np.diff(error_model(labels, P, neighbours=neighbours).loglik).min() > -1e-3


def test_human_mistakes(real_data: Path):
    d = np.load(real_data / "cifar_n" / "cifar10n.npz")
    P = np.load(real_data / "cifar_n" / "cv_aggregate_resnet18.npz")["pyx"]
    wrong = d["aggregate"] != d["clean"]
    fit = error_model(d["aggregate"].astype(np.int64), P)
    assert average_precision(fit.error_prob, wrong) > 0.875  # cleanlab 2.9's best single score: 0.8747
    assert 0.8 < fit.expected_errors / wrong.sum() < 1.2  # cleanlab's count: 0.45 of the truth


# ------------------------------------------------------------------------------------------------- invariants
@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), k=st.integers(2, 5), missing=st.booleans())
def test_invariants(seed: int, k: int, missing: bool):
    labels, P, neighbours, _ = planted(60, k, 0.2, seed)
    if missing:
        labels[::7] = -1
    fit = error_model(labels, P, neighbours=neighbours)
    known = labels >= 0
    assert np.array_equal(np.isnan(fit.error_prob), ~known)
    assert ((fit.error_prob[known] >= 0) & (fit.error_prob[known] <= 1)).all()
    np.testing.assert_allclose(fit.label_dist.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(fit.transition.sum(1), 1)
    own = fit.label_dist[np.flatnonzero(known), labels[known]]
    np.testing.assert_allclose(fit.error_prob[known], 1 - own, atol=1e-5)
    np.testing.assert_allclose(fit.expected_errors, np.nansum(fit.error_prob))

    again = error_model(labels, P, neighbours=neighbours)
    assert np.array_equal(again.error_prob, fit.error_prob, equal_nan=True)  # bit for bit

    rng = np.random.default_rng(seed)
    classes = rng.permutation(k)  # new name of each class
    renamed = error_model(
        np.where(known, classes[labels], -1), P[:, np.argsort(classes)], neighbours=neighbours, n_classes=k
    )
    np.testing.assert_allclose(renamed.error_prob, fit.error_prob, atol=1e-6)
    np.testing.assert_allclose(renamed.label_dist[:, classes], fit.label_dist, atol=1e-5)

    rows = rng.permutation(60)  # old row of each new row
    moved = (np.argsort(rows)[neighbours[0][rows]], neighbours[1][rows])
    shuffled = error_model(labels[rows], P[rows], neighbours=moved)
    np.testing.assert_allclose(shuffled.error_prob, fit.error_prob[rows], atol=1e-6)


def test_the_cut_into_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    labels, P, neighbours, _ = planted(100, 3)
    whole = error_model(labels, P, neighbours=neighbours).error_prob
    monkeypatch.setattr(_stacking, "CHUNK_CELLS", 21)
    np.testing.assert_allclose(error_model(labels, P, neighbours=neighbours).error_prob, whole, atol=1e-8)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_types_agree(dtype: type):
    labels, P, _, _ = planted(200, 3)
    np.testing.assert_allclose(
        error_model(labels, P.astype(dtype)).error_prob, error_model(labels, P).error_prob, atol=0.02
    )


# ------------------------------------------------------------------------------------------------- edges
def test_edges():
    labels = np.arange(20) % 2
    hard = np.eye(2)[labels]
    assert error_model(labels, hard).error_prob.max() < 0.2  # exact zeros and ones, in agreement
    flipped = np.where(np.arange(20) == 3, 1 - labels, labels)
    assert error_model(flipped, hard).error_prob.argmax() == 3
    tied = error_model(labels, np.full((20, 2), 0.5))
    assert np.ptp(tied.error_prob) < 1e-9
    assert np.isfinite(error_model(labels, np.full((20, 4), 0.25)).error_prob).all()  # two classes nobody was given


def test_one_class_has_no_errors():
    np.testing.assert_array_equal(error_model(np.zeros(5, int), np.ones((5, 1))).error_prob, 0)


def test_all_given_one_class_of_two_trusts_the_labels():
    assert error_model(np.zeros(40, int), np.tile([0.9, 0.1], (40, 1))).error_prob.max() < 0.1


def test_a_missing_label_keeps_its_class_distribution():
    labels, P, _, _ = planted(300, 3)
    labels[0] = -1
    fit = error_model(labels, P)
    assert fit.label_dist[0].argmax() == P[0].argmax()


# ------------------------------------------------------------------------------------------------- recalibrate
def test_without_reviews_nothing_changes():
    p = np.array([0.2, 0.7, np.nan, 0.999])
    none = np.zeros(0)
    np.testing.assert_allclose(recalibrate(p, none.astype(int), none, none), p, atol=1e-9)


def test_reviews_answer_for_themselves_and_mend_the_count():
    rng = np.random.default_rng(0)
    p = rng.beta(0.3, 2, 5000)
    logit = np.log(p / (1 - p))
    truth = rng.random(5000) < 1 / (1 + np.exp(-(1.5 + 1.3 * logit)))  # more errors than p says
    reviewed = rng.choice(5000, 300, replace=False)
    after = recalibrate(p, reviewed, truth[reviewed], np.full(300, 300 / 5000))
    np.testing.assert_array_equal(after[reviewed], truth[reviewed])
    assert abs(after.sum() - truth.sum()) < 0.5 * abs(p.sum() - truth.sum())
    rest = np.setdiff1d(np.arange(5000), reviewed)
    assert np.corrcoef(np.argsort(np.argsort(p[rest])), np.argsort(np.argsort(after[rest])))[0, 1] > 0.999


def test_curve_is_the_penalised_optimum():
    rng = np.random.default_rng(1)
    logit = rng.normal(size=40)
    terms = np.stack([np.ones(40), logit, np.tanh(2 * logit), np.where(rng.random(40) < 0.5, 0.5, -0.5)], 1)
    answer, weight = (rng.random(40) < 0.4).astype(float), rng.uniform(0.5, 2, 40)

    def loss(curve):  # naive: minus the log-posterior, term by term
        total = sum((c - m) ** 2 / (2 * s**2) for c, m, s in zip(curve, (0, 1, 0, 0), CURVE_PRIOR, strict=True))
        for x, y, w in zip(terms, answer, weight * 40 / weight.sum(), strict=True):
            total += w * (np.logaddexp(0, x @ curve) - y * (x @ curve))
        return total

    best = _fit_curve(terms, answer, weight)
    for axis in np.eye(4):
        assert loss(best) < min(loss(best + 1e-3 * axis), loss(best - 1e-3 * axis))


# ------------------------------------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("error", "fix", "arguments"),
    [
        (LabelError, "encode names", {"labels": np.array([0.5, 1.0]), "pred_probs": np.eye(2)}),
        (LabelError, "labels that are known", {"labels": np.array([-1, -1]), "pred_probs": np.eye(2)}),
        (LabelError, "pass a space with that class", {"labels": np.array([0, 2]), "pred_probs": np.eye(2)}),
        (ProbabilityError, "pass out-of-fold pred_probs", {"labels": np.array([0, 1])}),
        (ProbabilityError, "predict for every item", {"labels": np.array([0, 1, 1]), "pred_probs": np.eye(2)}),
        (ProbabilityError, r"scipy.special.softmax", {"labels": np.array([0, 1]), "pred_probs": 3 * np.eye(2)}),
        (DataError, "same items", {"labels": np.array([0, 1]), "neighbours": (np.array([[5], [0]]), np.ones((2, 1)))}),
    ],
)
def test_errors_say_the_fix(error: type[Exception], fix: str, arguments: dict):
    with pytest.raises(error, match=fix):
        error_model(**arguments)


def test_reviews_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="one inclusion probability per reviewed item"):
        recalibrate(np.array([0.5]), np.array([0]), np.array([True]), np.array([0.0]))


def test_a_model_among_other_sources_is_never_wholly_certain() -> None:
    P = np.array([[1.0, 0.0, 0.0], [0.2, 0.5, 0.3]])
    log_p = _stacking.model_evidence(P, np.arange(2), 0.01)
    assert log_p[0, 0] - log_p[0, 1] == pytest.approx(np.log((3 - 0.01 * 2) / 0.01))
    np.testing.assert_allclose(np.exp(log_p).sum(1), 1)
    np.testing.assert_array_equal(log_p[1].argsort(), P[1].argsort())


# -- one error rate for all ----------------------------------------------------------------------------------------------
def test_an_even_transition_has_one_number():
    labels, p = ages(3)
    learnt, even = (error_model(labels, p, even=e).transition for e in (False, True))
    off = ~np.eye(5, dtype=bool)
    assert np.ptp(even[off]) < 1e-12 and np.ptp(np.diagonal(even)) < 1e-12 and np.allclose(even.sum(1), 1)
    assert np.ptp(learnt[off]) > 0.1


def test_on_ordered_classes_the_model_is_not_explained_away():
    """What a blurred model confuses is not what people mistake: the even transition ranks better and counts less."""
    found = []
    for seed in range(4):
        labels, p = ages(seed, wrong_share=0.1)
        wrong = np.random.default_rng(seed).random(len(labels)) < 0.1
        nominal, ordered = (error_model(labels, p, even=e).error_prob for e in (False, True))
        found.append([hits(s, wrong) for s in (nominal, ordered)] + [nominal.mean() - ordered.mean()])
    nominal_hits, ordered_hits, less = np.mean(found, axis=0)
    assert ordered_hits > nominal_hits and less > 0


def hits(score, wrong):
    return wrong[np.argsort(-score)[: wrong.sum()]].mean()


def ages(seed, wrong_share=0.0):
    """Five ordered classes seen through noise, and the probabilities that fit them; some labels anywhere else."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(3000) < wrong_share
    age = rng.uniform(0, 5, 3000)
    seen = age + rng.normal(0, 1, 3000)
    truth = age.astype(int)
    labels = np.where(wrong, (truth + rng.integers(1, 5, 3000)) % 5, truth)
    grid = np.linspace(0, 5, 101)[:-1] + 0.025
    weight = np.exp(-0.5 * (seen[:, None] - grid) ** 2)
    p = weight.reshape(3000, 5, 20).sum(2)
    return labels, p / p.sum(1, keepdims=True)


def test_the_belief_in_guessed_labels_can_be_set():
    labels, p = ages(1)
    sure, doubting = (error_model(labels, p, belief=b) for b in (0.0, 1.0))
    assert sure.ambiguity == 0 < doubting.ambiguity <= 1
    with pytest.raises(OptionError, match="pass 0.1"):
        error_model(labels, p, belief=1.5)
