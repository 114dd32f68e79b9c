"""Errors, ambiguous and novel items: hand-made cases, a naive reference, invariants, and planted items on digits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.auditing.error_model import error_model
from labelwright.auditing.kinds import AMBIGUOUS, FLOOR, HOPS, KINDS, MARGIN, NOVEL, tell_apart
from labelwright.errors import DataError, LabelError, ProbabilityError


def draw(seed, n=40, n_classes=4, k=5, missing=0.1):
    """A random problem: labels, label_dist, pred_probs, neighbours, is_issue."""
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(n) < missing, -1, rng.integers(0, n_classes, n))
    dist, p = (rng.dirichlet(np.full(n_classes, 0.3), n) for _ in range(2))
    index = np.stack([rng.permutation(np.delete(np.arange(n), i))[:k] for i in range(n)])
    similarity = np.sort(rng.uniform(-0.2, 1, (n, k)).astype(np.float32), axis=1)[:, ::-1]
    return labels, dist.astype(np.float32), p, (index, similarity), rng.random(n) < 0.4


def naive(labels, dist, p, neighbours, is_issue):
    """The docstring, one item and one neighbour at a time."""
    n, n_classes = dist.shape

    def doubt(row):
        return (1 - max(float(v) for v in row)) * n_classes / (n_classes - 1)

    ordinary = [i for i in range(n) if labels[i] >= 0 and not is_issue[i]] or list(range(n))
    mix = [[0.0] * n_classes if p is None else [float(v) for v in p[i]] for i in range(n)]
    if neighbours is None:
        odd = [doubt(row) for row in p]
        best = [int(np.argmax(row)) for row in dist]
        around = []
        for i in range(n):
            alike = [j for j in ordinary if best[j] == best[i]] or ordinary
            around.append(sum(doubt(dist[j]) for j in alike) / len(alike))
    else:
        index, similarity = neighbours
        weights = [[max(0.0, float(s)) for s in row] for row in similarity]
        weights = [[w / sum(row) for w in row] if sum(row) > 0 else [1 / len(row)] * len(row) for row in weights]
        steps = [[doubt(row) for row in dist]]
        for _ in range(HOPS):
            steps.append([sum(w * steps[-1][j] for w, j in zip(weights[i], index[i])) for i in range(n)])
        odd, around = steps[-1], steps[1]
        for i in range(n):
            for w, j in zip(weights[i], index[i]):
                mix[i] = [a + w * float(b) for a, b in zip(mix[i], dist[j])]
    ambiguity, novelty, kind = [], [], []
    for i in range(n):
        first, second = sorted(mix[i], reverse=True)[:2]
        balance = second / first
        ambiguity.append(balance / (balance + around[i] + MARGIN))
        less = sum(odd[j] < odd[i] - 1e-9 for j in ordinary)
        equal = sum(abs(odd[j] - odd[i]) <= 1e-9 for j in ordinary)
        novelty.append((less + equal / 2) / len(ordinary))
        suspect = "ambiguous" if ambiguity[i] >= AMBIGUOUS else "error"
        suspect = "novel" if neighbours is not None and novelty[i] >= NOVEL and odd[i] >= FLOOR else suspect
        kind.append(suspect if is_issue[i] and labels[i] >= 0 else "ok")
    return ambiguity, novelty, kind


SOURCES = pytest.mark.parametrize("sources", ["both", "pred_probs", "neighbours"])


def only(problem, sources):
    labels, dist, p, neighbours, is_issue = problem
    return (
        labels,
        dist,
        None if sources == "neighbours" else p,
        None if sources == "pred_probs" else neighbours,
        is_issue,
    )


@SOURCES
@pytest.mark.parametrize("n_classes", [2, 3, 7])
@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_naive_loops(sources, n_classes, seed):
    problem = only(draw(seed, n_classes=n_classes), sources)
    fast, slow = tell_apart(*problem), naive(*problem)
    np.testing.assert_allclose(fast.ambiguity, slow[0], atol=1e-6)
    np.testing.assert_allclose(fast.novelty, slow[1], atol=1e-12)
    assert fast.kind.tolist() == slow[2]


@SOURCES
@given(seed=st.integers(0, 10**6), n_classes=st.integers(2, 6))
def test_bounds_and_who_gets_a_kind(sources, seed, n_classes):
    problem = only(draw(seed, n_classes=n_classes), sources)
    labels, is_issue, kinds = problem[0], problem[-1], tell_apart(*problem)
    for score in (kinds.ambiguity, kinds.novelty):
        assert score.shape == labels.shape and score.dtype == np.float64
        assert ((score >= 0) & (score <= 1)).all()
    assert set(kinds.kind) <= set(KINDS)
    np.testing.assert_array_equal(kinds.kind != "ok", is_issue & (labels >= 0))


@SOURCES
@given(seed=st.integers(0, 10**6))
def test_rows_may_come_in_any_order(sources, seed):
    labels, dist, p, neighbours, is_issue = only(draw(seed), sources)
    order = np.random.default_rng(seed).permutation(len(labels))
    place = np.argsort(order)
    moved = None if neighbours is None else (place[neighbours[0][order]], neighbours[1][order])
    there = tell_apart(labels[order], dist[order], None if p is None else p[order], moved, is_issue[order])
    here = tell_apart(labels, dist, p, neighbours, is_issue)
    np.testing.assert_array_equal(here.kind[order], there.kind)
    np.testing.assert_allclose(
        here.ambiguity[order], there.ambiguity, atol=1e-12
    )  # class means add up in another order
    np.testing.assert_array_equal(here.novelty[order], there.novelty)


@SOURCES
@given(seed=st.integers(0, 10**6))
def test_classes_may_come_in_any_order(sources, seed):
    labels, dist, p, neighbours, is_issue = only(draw(seed), sources)
    order = np.random.default_rng(seed).permutation(dist.shape[1])
    renamed = np.where(labels >= 0, np.argsort(order)[labels], -1)
    there = tell_apart(renamed, dist[:, order], None if p is None else p[:, order], neighbours, is_issue)
    here = tell_apart(labels, dist, p, neighbours, is_issue)
    np.testing.assert_array_equal(here.kind, there.kind)
    np.testing.assert_allclose(here.ambiguity, there.ambiguity, atol=1e-12)
    np.testing.assert_array_equal(here.novelty, there.novelty)


def hand_made():
    """0-9 class 0, 10-19 class 1, 20-29 unexplained; 30 an error, 31 between the first two groups, 32 in the third."""
    dist = np.repeat([[0.98, 0.01, 0.01], [0.01, 0.98, 0.01], [0.4, 0.3, 0.3]], 10, axis=0)
    dist = np.r_[dist, [[0.9, 0.05, 0.05], [0.5, 0.45, 0.05], [0.05, 0.9, 0.05]]]
    group = [range(10), range(10, 20), range(20, 30)]
    index = [[j for j in group[i // 10] if j != i][:4] for i in range(30)]
    index += [[0, 1, 2, 3], [0, 1, 10, 11], [20, 21, 22, 23]]
    labels = np.r_[np.repeat([0, 1, 2], 10), 1, 2, 1]
    is_issue = np.arange(33) >= 20
    is_issue[20:22] = False
    return labels, dist, dist.copy(), (np.array(index), np.full((33, 4), 0.5, np.float32)), is_issue


def test_surroundings_decide():
    kinds = tell_apart(*hand_made())
    assert kinds.kind[30:].tolist() == ["error", "ambiguous", "novel"]  # 32 although the model is sure of class 1
    assert set(kinds.kind[22:30]) == {"novel"} and set(kinds.kind[:20]) == {"ok"}
    # item 31: mix = (0.5 + 0.495, 0.45 + 0.495, 0.05 + 0.01) / 2, doubt around it 0.02 * 3 / 2 = 0.03
    assert kinds.ambiguity[31] == pytest.approx((0.945 / 0.995) / (0.945 / 0.995 + 0.03 + 0.05))
    # of 22 ordinary items 20 are settled and 2 are unexplained: like the latter is above 20 and beside 2
    assert kinds.novelty[32] == pytest.approx((20 + 1) / 22)
    assert kinds.novelty[30] == pytest.approx(10 / 22)


def test_ties_share_the_middle_rank():
    n = 12
    same = np.full((n, 3), 1 / 3)
    index = (np.arange(n)[:, None] + np.arange(1, 8)) % n
    similarity = np.random.default_rng(0).random((n, 7)).astype(np.float32)  # sums of 7 thirds differ in the last bits
    kinds = tell_apart(np.zeros(n, int), same, same, (index, similarity), np.arange(n) < 3)
    np.testing.assert_array_equal(kinds.novelty, 0.5)


def test_nothing_is_novel_where_everything_is_explained():
    labels, dist, p, neighbours, is_issue = hand_made()
    dist[20:30] = p[32] = [0.02, 0.03, 0.95]  # the most doubtful region of all, and yet explained
    kinds = tell_apart(labels, dist, p, neighbours, is_issue)
    assert kinds.novelty[32] >= NOVEL and kinds.kind[32] == "error"


def test_only_the_neighbours_of_positive_similarity_count_and_all_if_none_is():
    labels, dist, p, (index, similarity), is_issue = hand_made()
    half = similarity.copy()
    half[31] = [0.5, 0.5, -0.5, 0.0]
    whole = similarity.copy()
    whole[31] = -1
    equal = tell_apart(labels, dist, p, (index, similarity), is_issue).ambiguity[31]
    assert tell_apart(labels, dist, p, (index, half), is_issue).ambiguity[31] < equal - 0.05
    assert tell_apart(labels, dist, p, (index, whole), is_issue).ambiguity[31] == pytest.approx(equal)


def test_missing_labels_are_ok_and_no_reference():
    labels, dist, p, neighbours, is_issue = hand_made()
    before = tell_apart(labels, dist, p, neighbours, is_issue)
    labels[[20, 21, 32]] = -1
    kinds = tell_apart(labels, dist, p, neighbours, is_issue)
    assert kinds.kind[32] == "ok" and kinds.novelty[32] == 1.0 > before.novelty[32]


@SOURCES
@pytest.mark.parametrize("everything", ["flagged", "missing"])
def test_no_ordinary_item_left(sources, everything):
    labels, dist, p, neighbours, is_issue = only(draw(0), sources)
    if everything == "flagged":
        labels, is_issue = np.abs(labels), np.ones(len(labels), bool)
    else:
        labels = np.full(len(labels), -1)
    kinds = tell_apart(labels, dist, p, neighbours, is_issue)
    assert kinds.novelty.mean() == pytest.approx(0.5)
    assert (kinds.kind == "ok").all() == (everything == "missing")


def test_no_items():
    kinds = tell_apart(np.zeros(0, int), np.zeros((0, 3)), np.zeros((0, 3)), None, np.zeros(0, bool))
    assert [len(part) for part in kinds] == [0, 0, 0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_narrow_floats_give_nearly_the_same(dtype):
    labels, dist, p, neighbours, is_issue = draw(3)
    narrow = tell_apart(labels, dist.astype(dtype), p.astype(dtype), neighbours, is_issue)
    wide = tell_apart(labels, dist, p, neighbours, is_issue)
    np.testing.assert_allclose(narrow.ambiguity, wide.ambiguity, atol=2e-3)
    np.testing.assert_allclose(narrow.novelty, wide.novelty, atol=0.05)


def test_inputs_stay_as_they_are():
    problem = draw(5)
    copies = [a.copy() for a in (*problem[:3], *problem[3], problem[4])]
    tell_apart(*problem)
    for before, after in zip(copies, (*problem[:3], *problem[3], problem[4])):
        np.testing.assert_array_equal(before, after)


def test_planted_items_of_digits():
    """One seed of the benchmark's kind: digit 3 leaves the space, digits are averaged, labels flip."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import cross_val_predict

    from labelwright.features.neighbours import nearest_neighbours

    rng = np.random.default_rng(0)
    x, y = load_digits(return_X_y=True)
    x, y = x[:1200] / 16, y[:1200]
    planted = np.where(y == 3, "novel", "ok").astype("<U9")
    y = np.where(y > 3, y - 1, y)
    labels = np.where(planted == "novel", rng.integers(0, 9, len(y)), y)
    pick = rng.permutation(np.flatnonzero(planted == "ok"))
    planted[pick[:60]], planted[pick[60:160]] = "ambiguous", "error"
    other = pick[160:220]
    x[pick[:60]] = (x[pick[:60]] + x[other]) / 2
    planted[pick[:60][y[pick[:60]] == y[other]]] = "ok"  # two of one class: nothing planted
    labels[pick[60:160]] = (y[pick[60:160]] + rng.integers(1, 9, 100)) % 9
    p = cross_val_predict(LogisticRegression(max_iter=300, tol=1e-2), x, labels, cv=3, method="predict_proba")
    neighbours = nearest_neighbours(x - x.mean(0), 20)
    model = error_model(labels, p, neighbours=neighbours)
    flags = model.error_prob > 0.5
    kinds = tell_apart(labels, model.label_dist, p, neighbours, flags)

    def auroc(score, kind):
        pair = (planted == kind) | (planted == "error")
        return roc_auc_score(planted[pair] == kind, score[pair])

    assert auroc(kinds.novelty, "novel") > 0.97
    assert auroc(kinds.ambiguity, "ambiguous") > 0.85
    told = [(kinds.kind[flags & (planted == kind)] == kind).mean() for kind in ("error", "ambiguous", "novel")]
    assert min(told) > 0.5 and np.mean(told) > 0.7


@pytest.mark.parametrize(
    ("change", "error", "fix"),
    [
        ({"labels": np.zeros(40)}, LabelError, "encode the classes as 0..K-1"),
        ({"is_issue": np.zeros(40, int)}, LabelError, "is_issue=error_prob > 0.5"),
        ({"is_issue": np.zeros(39, bool)}, LabelError, "is_issue=error_prob > 0.5"),
        ({"pred_probs": None, "neighbours": None}, DataError, "out-of-fold pred_probs, neighbours"),
        ({"label_dist": np.ones((40, 1)), "pred_probs": np.ones((40, 1))}, ProbabilityError, "one column per class"),
        ({"pred_probs": np.full((40, 3), 1 / 3)}, ProbabilityError, "one column per class"),
        ({"label_dist": np.full((39, 4), 0.25)}, ProbabilityError, "one row per label"),
        ({"neighbours": (np.full((40, 2), 40), np.ones((40, 2)))}, DataError, "search among these same items"),
        ({"neighbours": (np.zeros((40, 2)), np.ones((40, 2)))}, DataError, "search among these same items"),
        ({"neighbours": (np.zeros((40, 2), int), np.ones((40, 3)))}, DataError, "search among these same items"),
        ({"neighbours": (np.zeros((40, 0), int), np.ones((40, 0)))}, DataError, "search among these same items"),
    ],
)
def test_errors_tell_the_fix(change, error, fix):
    names = ("labels", "label_dist", "pred_probs", "neighbours", "is_issue")
    with pytest.raises(error, match=fix):
        tell_apart(**dict(zip(names, draw(0))) | change)
