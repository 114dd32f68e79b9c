"""The label model: naive references, invariances, copies, gold, and real rules."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.crowds import _one_accuracy, _vote_cells
from labelwright.crowds._voices import Copies, _together, overlaps, voices
from labelwright.crowds._vote_cells import fires_of, some_items, sort_cells
from labelwright.crowds.label_model import fit_label_model
from labelwright.crowds.prepared import Prepared, prepare
from labelwright.errors import LabelError, OptionError
from labelwright.labels import LabelSpace, Votes

MODES = ("ignored", "informative")


def prepared(matrix: np.ndarray, k: int, gold: np.ndarray | None = None) -> Prepared:
    """From an (N, A) matrix of classes, -1 = silent."""
    matrix = np.asarray(matrix)
    n, m = matrix.shape
    item, source = np.nonzero(matrix >= 0)
    space = LabelSpace(range(k))
    label = matrix[item, source].astype(np.int64)
    return prepare(Votes(item, source, label, np.arange(n), np.arange(m), space), gold)


def planted(n: int, m: int, k: int, seed: int, speaks: float = 0.6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Independent sources: votes (N, M), truth (N,), accuracy (M,)."""
    rng = np.random.default_rng(seed)
    truth, accuracy = rng.integers(0, k, n), rng.uniform(0.55, 0.9, m)
    wrong = (truth[:, None] + rng.integers(1, k, (n, m))) % k
    votes = np.where(rng.random((n, m)) < accuracy, truth[:, None], wrong)
    return np.where(rng.random((n, m)) < speaks, votes, -1), truth, accuracy


def posterior(fit) -> np.ndarray:
    return fit.labels.dense().astype(np.float64)


matrices = st.tuples(st.integers(2, 4), st.integers(1, 12), st.integers(1, 5), st.integers(0, 10_000)).map(
    lambda t: (planted(t[1], t[2], t[0], t[3])[0], t[0])
)


# -- references -----------------------------------------------------------------------------------------------------------
def naive_posterior(votes: Prepared, fit) -> np.ndarray:
    """Double loop: prior times, per vote, the accuracy or an even share of the error, to the power of its voices."""
    k, weight = votes.n_classes, fit.details["weight"]
    out = np.zeros((votes.n_items, k))
    for i in range(votes.n_items):
        score = np.log(fit.prior.copy())
        for v in range(votes.start[i], votes.start[i + 1]):
            right = fit.skill[votes.annotator[v]]
            for c in range(k):
                score[c] += weight[v] * np.log(right if c == votes.label[v] else (1 - right) / (k - 1))
        out[i] = np.exp(score - score.max())
        out[i] /= out[i].sum()
        if votes.gold[i] >= 0:
            out[i] = np.eye(k)[votes.gold[i]]
    return out


@given(matrices, st.booleans())
@settings(max_examples=40)
def test_posterior_is_the_double_loop(case, with_gold):
    matrix, k = case
    gold = np.where(np.arange(len(matrix)) % 3 == 0, 1, -1) if with_gold else None
    votes = prepared(matrix, k, gold)
    fit = fit_label_model(votes)
    assert np.allclose(posterior(fit), naive_posterior(votes, fit), atol=1e-6)


def naive_silence(
    votes: Prepared, fit, matrix: np.ndarray, rates: dict, silent: np.ndarray, voice: np.ndarray
) -> np.ndarray:
    out = np.zeros((votes.n_items, votes.n_classes))
    for i, row in enumerate(matrix):
        for c in range(votes.n_classes):
            score = np.log(fit.prior[c])
            for j, said in enumerate(row):
                score += voice[j] * np.log(silent[j, c] if said < 0 else rates[j, said][c])
            out[i, c] = score
    out = np.exp(out - out.max(1, keepdims=True))
    return out / out.sum(1, keepdims=True)


def test_informative_silence_is_the_double_loop(monkeypatch):
    from labelwright.crowds import _rates

    kept = []
    plain = _rates._readers
    monkeypatch.setattr(
        _rates, "_readers", lambda votes, rates, *rest: kept.append(rates) or plain(votes, rates, *rest)
    )
    matrix, _, _ = planted(60, 4, 3, seed=4)
    votes = prepared(matrix, 3)
    fit = fit_label_model(votes, abstentions="informative")
    (rates,) = kept
    table = {(j, c): p for j, c, p in zip(rates.source, rates.label, rates.vote)}
    assert np.allclose(posterior(fit), naive_silence(votes, fit, matrix, table, rates.silent, rates.voice), atol=1e-6)
    for j in range(4):  # what a source may do sums to one
        assert np.allclose(sum(p for (s, _), p in table.items() if s == j) + rates.silent[j], 1)


def test_one_step_by_hand():
    """Two of three say 0. With accuracy 0.8 the odds of 0 are 4 * 4 / 4 = 4, so each first vote is right with 0.8, the third
    with 0.2, and as a tenth of a vote beside 30 these move the accuracies to (0.08 + 24) / 30.1 and (0.02 + 24) / 30.1."""
    fit = fit_label_model(prepared([[0, 0, 1]], 2), dependencies=None, max_iter=1)
    assert fit.skill == pytest.approx([24.08 / 30.1, 24.08 / 30.1, 24.02 / 30.1])


@given(matrices)
@settings(max_examples=30)
def test_agreement_is_counted_as_in_a_loop(case):
    matrix, k = case
    votes = prepared(matrix, k)
    pairs = overlaps([sort_cells(votes)], fires_of([votes]))
    got = {(a, b): (x, y) for a, b, x, y in zip(pairs.a, pairs.b, pairs.agreed, pairs.both)}
    want = {}
    for a in range(matrix.shape[1]):
        for b in range(a + 1, matrix.shape[1]):
            both = (matrix[:, a] >= 0) & (matrix[:, b] >= 0)
            agreed = both & (matrix[:, a] == matrix[:, b])
            if both.any():
                want[a, b] = (agreed.sum(), both.sum())
    assert got == want


def test_voices_solve_the_linear_system():
    """Where the solution of R w = 1 is positive, the weights are it; n copies get 1 / n."""
    votes = prepared(np.zeros((1, 4), int), 2)
    cells = sort_cells(votes)
    r = np.array([[1, 1, 0.3, 0], [1, 1, 0.3, 0], [0.3, 0.3, 1, 0], [0, 0, 0, 1]])
    a, b = np.nonzero(np.triu(r, 1))
    w = voices(cells, Copies(a, b, r[a, b]))
    assert np.allclose(r @ w, 1, atol=1e-3)
    assert w[0] == pytest.approx(w[1]) and w[0] + w[1] == pytest.approx(1 / 1.3, abs=1e-3) and w[3] == 1


# -- invariances ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", MODES)
@given(case=matrices, seed=st.integers(0, 100))
@settings(max_examples=25)
def test_permutations_permute_the_answer(mode, case, seed):
    matrix, k = case
    rng = np.random.default_rng(seed)
    rows, columns, classes = rng.permutation(len(matrix)), rng.permutation(matrix.shape[1]), rng.permutation(k)
    renamed = np.where(matrix >= 0, classes[matrix], -1)
    one = fit_label_model(prepared(matrix, k), abstentions=mode)
    two = fit_label_model(prepared(renamed[rows][:, columns], k), abstentions=mode)
    assert np.allclose(posterior(one)[rows], posterior(two)[:, classes], atol=1e-5)
    assert np.allclose(one.skill[columns], two.skill, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("mode", MODES)
@given(case=matrices, learn=st.booleans(), deps=st.sampled_from([None, "learn"]), gold=st.booleans())
@settings(max_examples=25)
def test_the_objective_never_falls(mode, case, learn, deps, gold):
    matrix, k = case
    known = np.where(np.arange(len(matrix)) % 2 == 0, 0, -1) if gold else None
    votes = prepared(matrix, k, known)
    fit = fit_label_model(votes, abstentions=mode, prior="learn" if learn else None, dependencies=deps, tol=1e-12)
    assert (np.diff(fit.trace) >= -1e-9 * (1 + np.abs(fit.trace[-1]))).all()
    assert np.allclose(posterior(fit).sum(1), 1, atol=1e-5) and fit.prior.sum() == pytest.approx(1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("copies", [1, 3])
def test_a_source_given_again_changes_little(mode, copies):
    matrix, _, accuracy = planted(3000, 6, 3, seed=1)
    worst = int(accuracy.argmin())
    again = np.concatenate([matrix, np.repeat(matrix[:, [worst]], copies, 1)], 1)
    one = posterior(fit_label_model(prepared(matrix, 3), abstentions=mode))
    learnt = posterior(fit_label_model(prepared(again, 3), abstentions=mode))
    blind = posterior(fit_label_model(prepared(again, 3), abstentions=mode, dependencies=None))
    assert np.abs(learnt - one).mean() < 0.01 and np.abs(blind - one).mean() > 3 * np.abs(learnt - one).mean()


@given(seed=st.integers(0, 1000))
@settings(max_examples=15)
def test_a_rule_of_one_class_given_again_changes_little(seed):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, 800)
    fires = rng.random((800, 5)) < np.where(truth[:, None] == np.arange(5) % 2, 0.4, 0.08)
    matrix = np.where(fires, np.arange(5) % 2, -1)
    one = posterior(fit_label_model(prepared(matrix, 2)))
    again = posterior(fit_label_model(prepared(np.c_[matrix, matrix[:, 0]], 2)))
    assert np.abs(one - again).max() < 0.1 and np.abs(one - again).mean() < 0.02


@pytest.mark.parametrize("mode", MODES)
def test_a_source_that_never_votes_changes_nothing(mode):
    matrix, _, _ = planted(200, 4, 3, seed=2)
    one = fit_label_model(prepared(matrix, 3), abstentions=mode)
    two = fit_label_model(prepared(np.c_[matrix, np.full(200, -1)], 3), abstentions=mode)
    assert np.allclose(posterior(one), posterior(two), atol=1e-6) and np.isnan(two.skill[-1])


@given(case=matrices)
@settings(max_examples=25)
def test_items_without_votes_keep_the_prior(case):
    matrix, k = case
    matrix = np.r_[matrix, np.full((1, matrix.shape[1]), -1)]
    shares = np.arange(1, k + 1) / np.arange(1, k + 1).sum()
    assert np.allclose(posterior(fit_label_model(prepared(matrix, k), prior=shares))[-1], shares, atol=1e-6)
    learnt = fit_label_model(prepared(matrix, k), prior="learn")
    assert np.allclose(posterior(learnt)[-1], learnt.prior, atol=1e-6)


@given(case=matrices)
@settings(max_examples=40)
def test_unanimous_votes_are_not_contradicted(case):
    """With an even prior the class everybody voted for is never less likely than another."""
    matrix, k = case
    p = posterior(fit_label_model(prepared(matrix, k)))
    for row, votes in zip(p, matrix):
        said = np.unique(votes[votes >= 0])
        if len(said) == 1:
            assert row[said[0]] >= row.max() - 1e-6


# -- what it learns -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("k", [2, 4])
def test_accuracies_are_recovered(mode, k):
    matrix, truth, _ = planted(20_000, 10, k, seed=3)
    fit = fit_label_model(prepared(matrix, k), abstentions=mode)
    said = [(matrix[:, j] == truth)[matrix[:, j] >= 0].mean() for j in range(10)]
    assert np.abs(fit.skill - said).max() < 0.03 and not fit.details["pairs"]


def test_copies_are_found_and_counted_once():
    rng = np.random.default_rng(5)
    matrix, truth, _ = planted(8000, 10, 2, seed=5)
    for copy, source in ((7, 0), (8, 1), (9, 1)):
        same = rng.random(8000) < 0.9
        matrix[same, copy] = matrix[same, source]
    learnt, blind = (fit_label_model(prepared(matrix, 2), dependencies=d) for d in ("learn", None))
    assert {(a, b) for a, b, _ in learnt.details["pairs"]} == {(0, 7), (1, 8), (1, 9), (8, 9)}

    def nll(fit):
        return -np.log(np.clip(posterior(fit)[np.arange(8000), truth], 1e-6, 1)).mean()

    assert nll(learnt) < 0.9 * nll(blind)
    assert "4 pairs of sources" in learnt.notes[-1]


def test_the_prior_is_learnt_where_sources_know_every_class():
    rng = np.random.default_rng(6)
    truth = (rng.random(5000) < 0.2).astype(int)
    matrix = np.where(rng.random((5000, 8)) < 0.75, truth[:, None], 1 - truth[:, None])
    assert fit_label_model(prepared(matrix, 2), prior="learn").prior[1] == pytest.approx(truth.mean(), abs=0.02)


@pytest.mark.parametrize("mode", MODES)
def test_gold_is_kept_and_teaches(mode):
    matrix, truth, accuracy = planted(
        400, 2, 2, seed=7, speaks=1.0
    )  # two sources: agreement alone cannot tell who is better
    gold = np.where(np.arange(400) < 300, truth, -1)
    fit = fit_label_model(prepared(matrix, 2, gold), abstentions=mode)
    assert (posterior(fit)[np.arange(300), truth[:300]] > 1 - 1e-6).all()
    assert np.abs(fit.skill - accuracy).max() < 0.08


def test_gold_of_a_class_nobody_voted_for():
    fit = fit_label_model(prepared([[0, 0], [1, -1]], 3, np.array([2, -1])), prior="learn")
    assert np.allclose(posterior(fit)[0], [0, 0, 1], atol=1e-6) and fit.labels.hard().ids[0] == 2


def test_silence_speaks_only_when_asked():
    rng = np.random.default_rng(8)
    truth = rng.integers(0, 2, 3000)
    fires = rng.random((3000, 8)) < np.where(truth[:, None] == np.arange(8) % 2, 0.7, 0.05)
    matrix = np.where(fires, np.arange(8) % 2, -1)
    matrix[0] = -1
    ignored, informative = (fit_label_model(prepared(matrix, 2), abstentions=m) for m in MODES)
    right = [(posterior(f).argmax(1) == truth).mean() for f in (ignored, informative)]
    assert right[1] >= right[0] and np.allclose(posterior(ignored)[0], 0.5)


# -- predictions of votes, edges, errors ----------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", MODES)
def test_vote_prob_leaves_the_vote_out(mode):
    matrix, _, _ = planted(300, 5, 3, seed=9)
    votes = prepared(matrix, 3)
    fit = fit_label_model(votes, abstentions=mode, dependencies=None)
    items, sources = np.array([0, 3, 7, 7]), np.array([0, 1, 2, 4])
    p = fit.vote_prob(items, sources)
    assert p.shape == (4, 3) and np.allclose(p.sum(1), 1)
    if mode == "ignored":
        for row, i, j in zip(p, items, sources):
            score = np.zeros(3)
            for other in range(5):
                if other != j and matrix[i, other] >= 0:
                    a = fit.skill[other]
                    score += np.where(np.arange(3) == matrix[i, other], np.log(a), np.log((1 - a) / 2))
            q = np.exp(score) / np.exp(score).sum()
            assert np.allclose(row, q @ fit.confusion(j), atol=1e-9)
    assert np.allclose(fit.confusion(0).sum(1), 1)


@pytest.mark.parametrize("mode", MODES)
def test_edges(mode):
    one_class = fit_label_model(prepared([[0, -1], [-1, -1]], 1), abstentions=mode)
    assert np.allclose(posterior(one_class), 1)
    silent = fit_label_model(prepared(np.full((3, 2), -1), 2), abstentions=mode)
    assert np.allclose(posterior(silent), 0.5) and np.isnan(silent.skill).all()
    many = posterior(fit_label_model(prepared(np.zeros((4, 2000), int), 2), abstentions=mode))
    assert np.isfinite(many).all() and (many[:, 0] > 0.5).all()
    tie = posterior(fit_label_model(prepared([[0, 1]], 2), abstentions=mode))
    assert np.allclose(tie, 0.5)


def test_errors_tell_the_way_out():
    votes = prepared([[0, 1], [1, 1]], 2)
    with pytest.raises(OptionError, match="did you mean 'learn'"):
        fit_label_model(votes, dependencies="lern")
    with pytest.raises(OptionError, match="did you mean 'ignored'"):
        fit_label_model(votes, abstentions="ignore")
    with pytest.raises(OptionError, match="did you mean 'learn'"):
        fit_label_model(votes, prior="even")
    for prior in ([0.5, 0.5, 0.0], [1.0, 0.0], [np.nan, 1.0]):
        with pytest.raises(LabelError, match=r"give a class that may occur a small share, such as 0\.001"):
            fit_label_model(votes, prior=prior)


def test_real_rules_beat_vote_shares(real_data):
    kept = np.load(real_data / "weak_youtube" / "weak_votes.npz")
    matrix, truth = kept["weak"].astype(int), kept["label"].astype(int)
    votes = prepared(matrix, 2)
    share = np.stack([(matrix == c).sum(1) for c in range(2)], 1) + 0.0
    share = np.where(share.sum(1, keepdims=True) > 0, share / np.maximum(share.sum(1, keepdims=True), 1), 0.5)

    def nll(p):
        return -np.log(np.clip(p[np.arange(len(p)), truth], 1e-6, 1)).mean()

    p = posterior(fit_label_model(votes))
    assert nll(p) < nll(share) - 0.1 and (p.argmax(1) == truth).mean() > 0.82


# -- many items -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("options", [{}, {"dependencies": None}, {"prior": "learn"}])
def test_beginning_with_some_items_leads_to_the_same_place(monkeypatch, options):
    matrix, _, _ = planted(3_000, 8, 3, seed=9)
    matrix[:, 7] = np.where(np.arange(3_000) % 10 < 8, matrix[:, 0], matrix[:, 7])
    gold = np.where(np.arange(3_000) % 50 == 0, 1, -1)
    votes = prepared(matrix, 3, gold)
    whole = fit_label_model(votes, tol=1e-11, **options)
    monkeypatch.setattr(_one_accuracy, "SOME", 300)
    begun = fit_label_model(votes, tol=1e-11, **options)
    assert len(begun.trace) > 0 and begun.trace != whole.trace
    assert begun.trace[-1] == pytest.approx(whole.trace[-1], rel=1e-9)
    assert np.allclose(begun.skill, whole.skill, atol=1e-4)
    assert np.allclose(posterior(begun), posterior(whole), atol=2e-3)
    assert [pair[:2] for pair in begun.details["pairs"]] == [pair[:2] for pair in whole.details["pairs"]]


@pytest.mark.parametrize("step", [1, 3, 7])
def test_cells_of_some_items_are_those_of_their_rows(step):
    matrix, _, _ = planted(50, 5, 3, seed=2, speaks=0.3)
    gold = np.where(np.arange(50) % 4 == 0, 2, -1)
    some, vote = some_items(sort_cells(prepared(matrix, 3, gold)), step)
    alone = sort_cells(prepared(matrix[::step], 3, gold[::step]))
    for name in ("source", "start", "item", "label", "first", "held", "gold"):
        np.testing.assert_array_equal(getattr(some, name), getattr(alone, name))
    np.testing.assert_array_equal(sort_cells(prepared(matrix, 3)).source[vote], some.source)


def test_cells_are_sorted_by_item_and_class():
    votes = prepared(planted(80, 6, 4, seed=3, speaks=0.3)[0], 4)
    cells = sort_cells(votes)
    np.testing.assert_array_equal(cells.order, np.lexsort((votes.label, votes.item)))
    np.testing.assert_array_equal(cells.source, votes.annotator[cells.order])
    np.testing.assert_array_equal(cells.item[cells.cell], votes.item[cells.order])
    np.testing.assert_array_equal(cells.label[cells.cell], votes.label[cells.order])
    assert (np.diff(cells.item * 4 + cells.label) > 0).all()


@pytest.mark.parametrize("full", [0.5, 0.02])
def test_pairs_are_counted_alike_densely_and_sparsely(full):
    rows = sp.csr_matrix((np.random.default_rng(0).random((400, 12)) < full).astype(np.float32))
    np.testing.assert_array_equal(_together(rows).toarray(), rows.toarray().T @ rows.toarray())


@pytest.mark.parametrize("options", [{}, {"prior": "learn"}, {"abstentions": "informative"}])
@pytest.mark.parametrize("one_class", [False, True])
def test_blocks_change_nothing(monkeypatch, options, one_class):
    matrix, _, _ = planted(700, 9, 3, seed=5, speaks=0.4)
    matrix[:, 8] = np.where(np.arange(700) % 10 < 8, matrix[:, 0], matrix[:, 8])
    if one_class:  # rules that know one class each, compared by how often they fire together
        matrix = np.where(matrix == np.arange(9) % 3, matrix, -1)
        matrix[:, 8] = np.where(matrix[:, 0] >= 0, 0, -1)
    matrix[100:160] = -1
    gold = np.where(np.arange(700) % 20 == 0, 1, -1)
    votes = prepared(matrix, 3, gold)
    whole = fit_label_model(votes, **options)
    monkeypatch.setattr(_vote_cells, "BLOCK", 64)
    blocks = _vote_cells.blocks_of(votes)
    assert len(blocks) == 11 and sum(len(block) for block in blocks) == len(votes)
    parts = fit_label_model(votes, **options)
    np.testing.assert_allclose(posterior(parts), posterior(whole), atol=1e-6)
    np.testing.assert_allclose(parts.details["weight"], whole.details["weight"], atol=1e-9)
    np.testing.assert_allclose(parts.trace, whole.trace, rtol=1e-9)
    assert [pair[:2] for pair in parts.details["pairs"]] == [pair[:2] for pair in whole.details["pairs"]] == [(0, 8)]


@given(seed=st.integers(0, 1000), m=st.sampled_from([5, 70]))
@settings(max_examples=10)
def test_voices_are_found_per_set_of_copiers(seed, m):
    """As by a loop over the cells, with few and with more than 62 sources that copy."""
    rng = np.random.default_rng(seed)
    matrix = np.where(rng.random((40, m)) < 0.5, rng.integers(0, 2, (40, m)), -1)
    cells = sort_cells(prepared(matrix, 2))
    a, b = np.nonzero(np.triu(rng.random((m, m)) < (0.5 if m == 5 else 0.05), 1))
    pairs = Copies(a, b, rng.uniform(0.1, 1, len(a)))
    r = np.eye(m)
    r[a, b] = r[b, a] = pairs.r
    want = np.ones(len(cells.source))
    for g in range(len(cells.item)):
        mine = slice(cells.start[g], cells.start[g + 1])
        near = r[np.ix_(cells.source[mine], cells.source[mine])]
        w = np.ones(len(near))
        for _ in range(30):
            w = w / (near @ w)
        want[mine] = w
    np.testing.assert_allclose(voices(cells, pairs), want, atol=1e-9)


def test_very_strong_votes_do_not_overflow():
    """60 sources that always agree, each all but certain: their odds are beyond what exp can hold."""
    cells = sort_cells(prepared(np.zeros((4, 60), int), 2))
    fit = _one_accuracy._Fit.of([cells], [np.ones(240)], False, np.full(60, 1 - 1e-9), np.full(2, 0.5))
    np.testing.assert_allclose(fit.blocks[0].prob, 1)
    assert (cells.matrix(np.ones(240)) @ _one_accuracy.log_odds(fit.accuracy, 2)).min() > 800
