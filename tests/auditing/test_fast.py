"""The fast core against whole-array NumPy in float64, bit by bit, for each engine, cut, layout and thread count."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labelwright.auditing import _extremes, _row_kernel
from labelwright.auditing.confident import calibrate, round_rows
from labelwright.auditing.fast import EntropyScores, confident_core
from labelwright.auditing.filters import FILTERS, PRUNE, find_issues, prune_counts
from labelwright.auditing.scores import SCORES, label_quality
from labelwright.auditing.thresholds import class_thresholds
from labelwright.errors import LabelError, LabelwrightWarning, OptionError, ProbabilityError
from labelwright.stream.statistic import Statistic, chunks

eq = np.testing.assert_array_equal
pytestmark = pytest.mark.filterwarnings("ignore:.*were not audited")


@pytest.fixture(params=["numpy", "loop", "numba"])
def engine(request, monkeypatch):
    """NumPy; the loop as Python runs it, which needs no Numba; and the loop compiled."""
    if request.param == "numba":
        pytest.importorskip("numba")
    if request.param == "loop":
        monkeypatch.setattr(_row_kernel, "compiled", lambda kind: _row_kernel.scan)
    return "numpy" if request.param == "numpy" else "numba"


def random_case(seed: int, n: int = 150, k: int = 4, dtype: type = np.float64, missing: float = 0.1):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, k, n)
    p = rng.dirichlet(np.full(k, 0.3), n) * 0.5 + 0.5 * np.eye(k)[true] * rng.random((n, 1))
    labels = np.where(rng.random(n) < 0.3, rng.integers(0, k, n), true)
    labels[rng.random(n) < missing] = -1
    return labels, (p / p.sum(1, keepdims=True)).astype(dtype)


def tied_case(seed: int, **shape):
    """Few distinct probabilities, zeros, and other classes at exactly the bonus of 1e-6 above the given one."""
    labels, p = random_case(seed, **shape)
    rng = np.random.default_rng(seed)
    p = np.round(p, 1)
    at = rng.choice(len(p), len(p) // 5, replace=False)
    p[at, rng.integers(0, p.shape[1], len(at))] = p[at, labels[at]] + 1e-6
    return labels, p


# ------------------------------------------------------------------------------- the same by whole float64 arrays and loops
def dense_guess(p, thresholds):
    confident = p >= thresholds - 1e-6
    size = confident.sum(1)
    return np.where(size > 1, p.argmax(1), np.where(size == 1, confident.argmax(1), -1))


def dense_joint(labels, guess, k):
    joint = np.zeros((k, k), int)
    for a, b in zip(labels, guess):
        if a >= 0 and b >= 0:
            joint[a, b] += 1
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
    return joint


def dense_score(labels, p, name):
    out = np.full(len(p), np.nan)
    seen = np.flatnonzero(labels >= 0)
    p, at = p[seen], (np.arange(len(seen)), labels[seen])
    own = p[at]
    if name == "self_confidence":
        out[seen] = own
    elif name == "normalized_margin":
        rest = p.copy()
        rest[at] = -np.inf
        out[seen] = (own - rest.max(1) + 1) / 2
    else:
        entropy = -(p * np.log(np.where(p > 0, p, 1.0))).sum(1)
        z = np.maximum(entropy, 0.0) / np.log(p.shape[1]) / np.where(own > 0, own, 1.0)
        out[seen] = np.where(own > 0, np.where(z > 0, np.log1p(z) / np.where(z > 0, z, 1.0), 1.0), 0.0)
    return np.clip(out, 0, 1)


def dense_flags(labels, p, guess, joint, rule):
    n, k = p.shape
    bonus = p.copy()
    bonus[np.arange(n), np.maximum(labels, 0)] += 1e-6
    flags = (labels >= 0) & (bonus.argmax(1) != labels)
    counts = prune_counts(joint)
    if rule in ("prune_by_class", "both"):
        chosen = np.zeros(n, bool)
        for c in range(k):
            mine = np.flatnonzero(labels == c)
            if len(mine) > 1:
                chosen[mine[np.argsort(p[mine, c], kind="stable")[: len(mine) - counts[c, c]]]] = True
        flags &= chosen
    if rule in ("prune_by_noise_rate", "both"):
        chosen = np.zeros(n, bool)
        for c in range(k):
            mine = np.flatnonzero(labels == c)
            for j in np.flatnonzero(counts[:, c]):
                if j != c and len(mine) > 1:
                    order = np.argsort(p[mine, c] - p[mine, j], kind="stable")
                    chosen[mine[order[: counts[j, c]]]] = True
        flags &= chosen
    if rule not in (*PRUNE, "predicted_neq_given"):
        flags &= (guess >= 0) & (guess != labels)
    if rule.startswith("low_"):
        seen = np.flatnonzero(labels >= 0)
        score = dense_score(labels, p, rule.removeprefix("low_"))[seen]
        lowest = seen[np.argsort(score, kind="stable")[: flags.sum()]]
        flags = np.isin(np.arange(n), lowest)
    return flags


def check(labels, p, rule, *, layout=None, thresholds=None, **options):
    """Everything that the core returns, for `p` passed as `layout`."""
    core = confident_core(
        labels,
        p if layout is None else layout,
        thresholds=thresholds,
        scores=SCORES,
        filter_by=rule,
        top="all",
        **options,
    )
    wide, k, seen = p.astype(np.float64), p.shape[1], labels >= 0
    t = class_thresholds(labels, p) if thresholds is None else thresholds
    guess = dense_guess(wide, t)
    raw = dense_joint(labels, guess, k)
    counts = np.bincount(labels[seen], minlength=k)
    joint = calibrate(raw, counts)
    eq(core.thresholds, t)
    eq(core.counts, counts)
    eq(core.guess, np.where(seen, guess, -1))
    eq(core.top, np.where(seen, wide.argmax(1), -1))
    eq(core.raw_joint, raw)
    eq(core.joint, joint)
    for name in SCORES:
        eq(core.scores[name], dense_score(labels, wide, name), err_msg=name)
    eq(core.is_issue, dense_flags(labels, wide, guess, joint, rule))
    rows = np.flatnonzero(seen)
    eq(core.worst, rows[np.argsort(dense_score(labels, wide, SCORES[0])[rows], kind="stable")])
    return core


@pytest.mark.parametrize("rule", FILTERS)
@pytest.mark.parametrize("case", [random_case, tied_case])
def test_agrees_with_whole_arrays(engine, rule, case):
    for seed in range(4):
        check(*case(seed), rule, engine=engine)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_narrow_floats_and_two_classes(engine, dtype):
    for k in (2, 9):
        core = check(*random_case(1, k=k, dtype=dtype), "both", engine=engine)
        narrow = np.float64 if dtype == np.float64 else np.float32
        assert {name: s.dtype for name, s in core.scores.items()} == dict.fromkeys(SCORES, np.float64) | {
            "self_confidence": narrow
        }


def test_a_thousand_classes_some_never_given(engine):
    labels, p = random_case(2, n=600, k=1000, dtype=np.float32)
    labels[labels > 700] = -1
    core = check(labels, p, "prune_by_noise_rate", engine=engine)
    assert (core.thresholds[701:] == 2).all() and core.top.dtype == core.guess.dtype == np.int16


def test_few_classes_in_a_large_class_space_with_many_pairs(engine):
    """300 items of one class, quotas for most pairs: candidates are compacted often."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(40), 300)
    labels = rng.integers(0, 2, 300)
    check(labels, p, "prune_by_noise_rate", engine=engine)


def layouts(p, folder):
    wide = np.zeros((len(p), 2 * p.shape[1]), p.dtype)
    wide[:, ::2] = p
    fixed = p.copy()
    fixed.flags.writeable = False
    np.save(folder / "p.npy", p)
    odd = np.zeros(p.nbytes + 1, np.uint8)[1:].view(p.dtype).reshape(p.shape)
    odd[:] = p
    yield from (np.asfortranarray(p), wide[:, ::2], p[::-1].copy()[::-1])
    yield from (fixed, np.load(folder / "p.npy", mmap_mode="r"), p.astype(p.dtype.newbyteorder()), odd)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_memory_layout(engine, dtype, tmp_path):
    labels, p = random_case(3, dtype=dtype)
    for layout in layouts(p, tmp_path):
        check(labels, p, "prune_by_noise_rate", layout=layout, engine=engine)


def test_signs_and_negative_zeros_are_read_like_numpy_does(engine):
    labels, p = random_case(4)
    p[p < 0.05] = -0.0
    p[::7] -= 1e-7
    for rule in PRUNE:
        check(labels, p, rule, engine=engine)


def test_labels_of_any_integer_type(engine):
    labels, p = random_case(5)
    for dtype in (np.int8, np.int32):
        eq(confident_core(labels.astype(dtype), p, engine=engine).is_issue, confident_core(labels, p).is_issue)
    p = p[labels >= 0]
    eq(confident_core(labels[labels >= 0].astype(np.uint8), p, engine=engine).top, p.argmax(1))


def test_all_missing_and_no_items(engine):
    core = confident_core(np.full(3, -1), np.full((3, 2), 0.5), scores=SCORES, top="all", engine=engine)
    assert not core.is_issue.any() and len(core.worst) == 0 and (core.top == -1).all() and not core.joint.any()
    assert all(np.isnan(score).all() for score in core.scores.values())
    assert len(confident_core(np.zeros(0, int), np.zeros((0, 3)), scores=SCORES, top=2, engine=engine).worst) == 0


def test_thresholds_of_the_caller(engine):
    labels, p = random_case(6)
    for seed in range(5):
        check(labels, p, "confident_learning", thresholds=np.random.default_rng(seed).random(4), engine=engine)
    check(labels, p, "prune_by_noise_rate", thresholds=np.full(4, 0.3), engine=engine)
    eq(
        confident_core(labels, p, thresholds=[0.3] * 4).guess,
        confident_core(labels, p, thresholds=np.full(4, 0.3)).guess,
    )


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000), st.integers(1, 300), st.integers(1, 4), st.sampled_from(FILTERS))
def test_any_cut_and_any_number_of_threads_gives_the_same_bits(engine, seed, entries, threads, rule):
    labels, p = tied_case(seed, n=100)
    whole = confident_core(labels, p, scores=SCORES, filter_by=rule, top=7, threads=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_extremes, "chunks", lambda n, k: chunks(n, k, entries=entries))
        cut = confident_core(labels, p, scores=SCORES, filter_by=rule, top=7, threads=threads, engine=engine)
    for a, b in zip(whole, cut):
        for name in SCORES if isinstance(a, dict) else [...]:
            eq(a[name], b[name])


@given(st.integers(0, 10_000), st.lists(st.integers(0, 80), max_size=5), st.randoms())
def test_per_item_statistics_merge_in_any_order(seed, cuts, random):
    labels, p = random_case(seed, n=80)
    edges = [0, *sorted(cuts), 80]
    for make in (lambda: _extremes.RowExtremes(80, 4, p.dtype), lambda: EntropyScores(80)):
        whole, parts = make(), []
        whole.update((slice(0, 80), labels, p))
        for a, b in zip(edges, edges[1:]):
            parts.append(make())
            assert isinstance(parts[-1], Statistic)
            parts[-1].update((slice(a, b), labels[a:b], p[a:b]))
        random.shuffle(parts)
        for other in parts[1:]:
            parts[0].merge(other)
        eq(parts[0].result(), whole.result())


def test_existing_functions_give_the_same():
    labels, p = random_case(8, dtype=np.float32)
    for rule in FILTERS:
        core = confident_core(labels, p, filter_by=rule, scores=SCORES)
        eq(core.is_issue, find_issues(labels, p, filter_by=rule))
    for name in SCORES:
        eq(core.scores[name], label_quality(labels, p, score=name))


def test_worst_is_a_part_of_the_ranks_of_the_first_score():
    labels, p = tied_case(9)
    for name in SCORES:
        every = confident_core(labels, p, scores=[name], top="all").worst
        for m in (0, 1, 20, 1000):
            eq(confident_core(labels, p, scores=[name], top=m).worst, every[:m])
    assert confident_core(labels, p).worst is None and confident_core(labels, p, scores=()).scores == {}


@given(st.integers(0, 10_000))
def test_round_rows_agrees_with_sorting_every_row(seed):
    rng = np.random.default_rng(seed)
    matrix = np.where(rng.random((6, 5)) < 0.6, rng.integers(0, 40, (6, 5)) / 8, 0.0)
    for row, found in zip(matrix, round_rows(matrix)):
        up = round(row.sum()) - int(np.floor(row).sum())
        order = sorted(range(5), key=lambda j: (-(row[j] % 1), -j))
        eq(found, [int(row[j]) + (order.index(j) < up) for j in range(5)])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.nan])
def test_nan_is_refused_with_the_row_number(engine, bad, monkeypatch):
    labels, p = random_case(10, missing=0)
    p[[37, 90], [1, 2]] = bad
    monkeypatch.setattr(_extremes, "chunks", lambda n, k: chunks(n, k, entries=50))
    for threads in (1, 3):
        with pytest.raises(ProbabilityError, match=r"first in row 37.*predict these rows again"):
            confident_core(labels, p, engine=engine, threads=threads)
    labels[[37, 90]] = -1
    assert np.isfinite(confident_core(labels, p, engine=engine).thresholds).all()  # an item without a label is not read


def test_what_cannot_be_is_refused():
    labels, p = random_case(11)
    with pytest.raises(LabelError, match=r"label 4 in row 3 for 4 columns.*a column for every class"):
        confident_core(np.array([0, 1, -1, 4]), p[:4])
    with pytest.raises(LabelError, match="encode the labels as the column numbers"):
        confident_core(labels.astype(float), p)
    with pytest.raises(ProbabilityError, match="in the order of the labels"):
        confident_core(labels[:5], p)
    with pytest.raises(ProbabilityError, match=r"numpy.column_stack\(\[1 - p, p\]\)"):
        confident_core(labels, p[:, 0])
    with pytest.raises(OptionError, match="pass what class_thresholds returned"):
        confident_core(labels, p, thresholds=np.ones(3))
    with pytest.raises(OptionError, match=r"pass scores=\['normalized_margin'\]"):
        confident_core(labels, p, scores="normalized_margin")
    with pytest.raises(OptionError, match="without scores"):
        confident_core(labels, p, scores=(), top=3)
    for option in ({"scores": ["margin"]}, {"filter_by": "x"}, {"top": "some"}, {"engine": "jax"}):
        with pytest.raises(OptionError, match="did you mean"):
            confident_core(labels, p, **option)
    for option in ({"top": -1}, {"threads": 0}):
        with pytest.raises(OptionError, match="or more"):
            confident_core(labels, p, **option)


def test_classes_with_one_item_are_named():
    labels, p = np.array([0, 0, 0, 1]), np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.9, 0.1]])
    with pytest.warns(LabelwrightWarning, match=r"1 classes have at most 1 items.*\[1\]") as seen:
        confident_core(labels, p)
    assert seen[0].filename == __file__


def test_progress_counts_the_items(monkeypatch):
    labels, p = random_case(12)
    monkeypatch.setattr(_extremes, "chunks", lambda n, k: chunks(n, k, entries=200))
    calls = []
    confident_core(labels, p, threads=2, progress=lambda *call: calls.append(call))
    assert [done for _, done, _ in calls] == [50, 100, 150] and {total for *_, total in calls} == {150}


@pytest.mark.parametrize("top", [None, 100, "all"])
def test_no_full_size_copy(engine, top):
    if engine == "numba" and _row_kernel.compiled("u4") is _row_kernel.scan:
        pytest.skip("the loop is too slow in Python for this many entries")
    rng = np.random.default_rng(0)
    p = rng.random((20_000, 400), dtype=np.float32)
    labels = rng.integers(0, 400, len(p))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        confident_core(labels[:2000], p[:2000], engine=engine)
        tracemalloc.start()
        confident_core(labels, p, scores=SCORES, top=top, engine=engine, threads=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < p.nbytes * 0.6  # 19 of 32 MB, of which 3 are returned; one up-cast copy alone would be 64
