"""Engines: the same result however the data was cut and whoever did the work; bounded memory; errors with their place."""

from __future__ import annotations

import gc
import random
import threading
import time
import weakref
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_data import FORMATS, random_case, write_shards

from labelwright.auditing._extremes import RowExtremes, row_extremes
from labelwright.auditing.confident import ConfidentJoint, confident_joint
from labelwright.auditing.scores import label_quality
from labelwright.auditing.thresholds import ClassThresholds, class_thresholds
from labelwright.errors import DataError, MissingExtra, OptionError, ProbabilityError
from labelwright.labels import SoftLabels
from labelwright.stream import Lowest, ScoreHistogram, checked, open_rows, run, with_dense, with_rows
from labelwright.stream.engines import cut

CUT = {
    "engine": st.sampled_from(["serial", "threads"]),
    "workers": st.integers(1, 4),
    "chunk_entries": st.integers(1, 300),
    "tasks": st.integers(1, 30),
}


class Mean:
    """A sum of floats, which rounds differently for every order."""

    def __init__(self):
        self.total, self.n = np.float32(0), 0

    def update(self, values):
        time.sleep(random.random() * 2e-3)  # so that threads overtake each other
        self.total += values.sum(dtype=np.float32)
        self.n += values.size

    def merge(self, other):
        self.total += other.total
        self.n += other.n

    def result(self):
        return self.total / max(self.n, 1)


@given(st.integers(0, 1000), st.fixed_dictionaries(CUT))
def test_thresholds_and_joint_keep_their_bits(seed, options):
    labels, p = random_case(seed)
    thresholds = run(partial(ClassThresholds, 4), (labels, p), **options)
    assert thresholds.tobytes() == class_thresholds(labels, p).tobytes()
    joint = run(partial(ConfidentJoint, thresholds), (labels, p), **options)
    np.testing.assert_array_equal(joint, confident_joint(labels, p))


@given(st.integers(0, 1000), st.fixed_dictionaries(CUT))
def test_worst_items_and_histograms_of_scores(seed, options):
    labels, p = random_case(seed)
    score = label_quality(labels, p)
    worst = run(partial(Lowest, 5), (labels, p), feed=lambda chunk: (chunk.rows, label_quality(*chunk.data)), **options)
    assert worst.tolist() == [i for i in np.argsort(score, kind="stable") if labels[i] >= 0][:5]
    found = run(
        lambda: ScoreHistogram(7, n_classes=4),
        (labels, p),
        feed=lambda chunk: (chunk.data[0], label_quality(*chunk.data)),
        **options,
    )
    for k in range(4):
        np.testing.assert_array_equal(found.counts[k], np.histogram(score[labels == k], 7, (0, 1))[0])


@given(st.integers(0, 1000), st.fixed_dictionaries(CUT))
def test_one_statistic_for_all_threads(seed, options):
    labels, p = random_case(seed)
    shared = RowExtremes(len(p), 4, p.dtype, engine="numpy")
    found = run(lambda: shared, (labels, p), feed=with_rows, **options)
    for mine, wanted in zip(found, row_extremes(labels, p).result()):
        np.testing.assert_array_equal(mine, wanted)


def test_floats_do_not_depend_on_threads_either():
    rng = np.random.default_rng(0)
    values = (rng.normal(size=2000) * 10 ** rng.uniform(-3, 3, 2000)).astype(np.float32)
    for entries, tasks in [(16, 64), (50, 20), (10**6, 3)]:
        found = {
            float(run(Mean, values, engine=engine, workers=workers, chunk_entries=entries, tasks=tasks))
            for engine, workers in [("serial", 1), ("threads", 1), ("threads", 2), ("threads", 7), ("threads", 5)]
        }
        assert len(found) == 1
        np.testing.assert_allclose(found.pop(), values.mean(dtype=np.float64), rtol=1e-4)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_source_gives_the_bits_of_memory(tmp_path, kind):
    labels, p = random_case()
    rows = open_rows((labels, write_shards(tmp_path / "s", p, kind)))
    wanted = class_thresholds(labels, p)
    for entries, workers in [(4, 3), (36, 1), (10**6, 2)]:
        assert (
            run(partial(ClassThresholds, 4), rows, chunk_entries=entries, workers=workers).tobytes() == wanted.tobytes()
        )
    assert rows.passes == 3


def test_generators_and_top_k_rows():
    labels, p = random_case()
    rows = open_rows(lambda: zip(np.split(labels, 6), np.split(p, 6)))
    for _ in range(2):
        found = run(partial(ClassThresholds, 4), rows, workers=2, chunk_entries=3)
        assert found.tobytes() == class_thresholds(labels, p).tobytes()
    soft = SoftLabels.from_dense(p, k=2)
    found = run(partial(ClassThresholds, 4), (labels, soft), feed=with_dense, chunk_entries=40)
    assert found.tobytes() == class_thresholds(labels, soft.dense()).tobytes()


def test_no_row_at_all():
    labels, p = random_case()
    np.testing.assert_array_equal(run(partial(ClassThresholds, 4), (labels[:0], p[:0])), [2, 2, 2, 2])
    np.testing.assert_array_equal(run(partial(ClassThresholds, 4), list), [2, 2, 2, 2])


@given(st.integers(0, 200), st.integers(1, 40), st.integers(1, 12), st.lists(st.integers(1, 50), max_size=9))
def test_tasks_cover_every_row_once(n, step, tasks, pieces):
    rows = open_rows(np.zeros(n))
    if pieces:
        rows.pieces = [0, *(int(i) for i in np.cumsum(pieces) if i < n)]
    found = cut(rows, step, tasks)
    assert [i for a, b in found for i in range(a, b)] == list(range(n))
    assert len(found) <= tasks
    if pieces:
        assert {a for a, _ in found} <= set(rows.pieces)


@pytest.mark.parametrize("workers", [1, 3])
def test_few_chunks_are_held_at_a_time(workers):
    held, most = set(), 0

    class Held(np.ndarray):
        pass

    def make():
        nonlocal most
        for number in range(60):
            chunk = np.ones(50).view(Held)
            weakref.finalize(chunk, held.discard, number)
            held.add(number)
            most = max(most, len(held))
            yield chunk

    gc.disable()
    try:
        assert run(Mean, make, workers=workers) == 1
    finally:
        gc.enable()
    assert most <= workers + 3  # and the one that the generator still holds


def test_parts_that_wait_for_their_turn_are_few():
    most, alive, lock = 0, weakref.WeakSet(), threading.Lock()

    class Slow(Mean):
        def __init__(self):
            nonlocal most
            super().__init__()
            with lock:
                alive.add(self)
                most = max(most, len(alive))

        def update(self, values):
            if values[0] == 0:
                time.sleep(0.3)  # the first part, for which all others have to wait
            super().update(values)

    run(Slow, np.arange(100.0), workers=2, chunk_entries=1, tasks=100)
    assert most <= 2 + 2 + 1  # and the total


def test_progress_is_told_in_order():
    told = []
    run(Mean, np.zeros(100), chunk_entries=10, workers=3, progress=lambda *now: told.append(now))
    assert told == [("reading rows", done, 100) for done in range(10, 101, 10)]
    told.clear()
    run(Mean, lambda: [np.zeros(4)] * 3, progress=lambda *now: told.append(now))
    assert told == [("reading rows", done, 0) for done in (4, 8, 12)]


@pytest.mark.parametrize("engine", ["serial", "threads"])
def test_an_error_of_a_statistic_names_the_rows(tmp_path, engine):
    before = threading.active_count()
    labels, p = random_case()
    p[40, labels[40]] = np.nan
    rows = open_rows((labels, write_shards(tmp_path / "s", p, "npy")))
    with pytest.raises(ProbabilityError, match="1 labelled rows, in rows 14 to 18 of probs-10.npy; .*Fix: find them"):
        run(
            partial(ClassThresholds, 4), rows, engine=engine, chunk_entries=40
        )  # 40 to 49 of all, cut at the end of the file
    with pytest.raises(ProbabilityError, match="in rows 40 to 44;"):
        run(partial(ClassThresholds, 4), (labels, p), engine=engine, chunk_entries=20)
    with pytest.raises(DataError, match="row 14 of probs-10.npy"):
        run(partial(ClassThresholds, 4), checked(rows), engine=engine)
    assert threading.active_count() <= before

    def broken():
        yield np.zeros(3)
        raise RuntimeError("the model died")

    with pytest.raises(RuntimeError, match="the model died"):
        run(Mean, broken, engine=engine)


def test_options():
    with pytest.raises(OptionError, match="did you mean 'threads'"):
        run(Mean, np.zeros(3), engine="thread")
    with pytest.raises(OptionError, match="did you mean 'ray'"):
        run(Mean, np.zeros(3), engine="rays")
    for name in ("workers", "chunk_entries", "tasks"):
        with pytest.raises(OptionError, match=f"pass {name}=1 or more"):
            run(Mean, np.zeros(3), **{name: -1})
    with pytest.raises(OptionError, match="leave checkpoint out, or write these two methods"):
        run(Mean, np.zeros(3), checkpoint="x")
    with pytest.raises(DataError, match="use engine='threads'"):
        run(Mean, lambda: [np.zeros(3)], engine="ray")


def test_without_ray(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"labelwright\[ray\]"):
        run(Mean, np.zeros(3), engine="ray")
