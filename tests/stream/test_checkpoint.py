"""A killed run goes on where it was; another run is not mixed in; a full disk loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_data import random_case, write_shards

from labelwright.auditing.confident import ConfidentJoint
from labelwright.auditing.thresholds import ClassThresholds, class_thresholds
from labelwright.errors import DataError
from labelwright.stream import Lowest, ScoreHistogram, Stateful, checked, open_rows, run, with_rows
from labelwright.stream._checkpoint import Checkpoint

OPTIONS = {"chunk_entries": 20, "tasks": 12}


class Dies(ClassThresholds):
    """Fails at row 40 of the data while `Dies.now` holds."""

    now = True

    def update(self, chunk):
        rows, labels, p = chunk
        if Dies.now and rows.stop > 40:
            raise KeyboardInterrupt
        super().update((labels, p))


@pytest.mark.parametrize("engine", ["serial", "threads"])
def test_an_interrupted_run_goes_on(tmp_path, engine):
    labels, p = random_case()
    folder, rows = tmp_path / "kept", open_rows((labels, p))
    options = {"feed": with_rows, "engine": engine, "workers": 2, "checkpoint": folder, **OPTIONS}
    Dies.now = True
    with pytest.raises(KeyboardInterrupt):
        run(partial(Dies, 4), rows, **options)
    kept = len(list(folder.glob("part-*.npz")))
    assert 5 <= kept <= 8
    Dies.now = False
    before = rows.rows_read
    assert run(partial(Dies, 4), rows, **options).tobytes() == class_thresholds(labels, p).tobytes()
    assert rows.rows_read - before == 60 - 5 * kept  # each task has five rows
    told = []
    again = run(partial(Dies, 4), rows, progress=lambda *now: told.append(now[1]), **options)
    assert again.tobytes() == class_thresholds(labels, p).tobytes()
    assert rows.rows_read - before == 60 - 5 * kept and told[-1] == 60  # nothing is read twice


def test_a_killed_process_goes_on(tmp_path):
    labels, p = random_case(n=600)
    write_shards(tmp_path / "s", p, "npy", cuts=(100, 250, 400))
    np.save(tmp_path / "labels.npy", labels)
    code = f"""
import os, signal
from functools import partial
from labelwright.auditing.thresholds import ClassThresholds
from labelwright.stream import open_rows, run
rows = open_rows(({str(tmp_path / "labels.npy")!r}, {str(tmp_path / "s")!r}))
def told(step, done, total):
    if done >= 300:
        os.kill(os.getpid(), signal.SIGKILL)
run(partial(ClassThresholds, 4), rows, chunk_entries=40, workers=2, checkpoint={str(tmp_path / "kept")!r}, progress=told)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -signal.SIGKILL
    (tmp_path / "kept" / ".new-0123").write_bytes(b"half a part")
    rows = open_rows((tmp_path / "labels.npy", tmp_path / "s"))
    found = run(partial(ClassThresholds, 4), rows, chunk_entries=40, checkpoint=tmp_path / "kept")
    assert found.tobytes() == class_thresholds(labels, p).tobytes()
    assert 0 < rows.rows_read <= 300
    assert not list((tmp_path / "kept").glob(".new-*"))


def test_another_run_is_refused(tmp_path):
    labels, p = random_case()
    folder, data = tmp_path / "kept", tmp_path / "s"
    rows = (labels, write_shards(data, p, "npy"))
    thresholds = class_thresholds(labels, p)
    run(partial(ConfidentJoint, thresholds), rows, checkpoint=folder, **OPTIONS)

    def refused(what, make=None, rows=rows, **options):
        make = make or partial(ConfidentJoint, thresholds)
        with pytest.raises(DataError, match=f"another run: changed since then: {what}; .*another folder as checkpoint"):
            run(make, rows, checkpoint=folder, **{**OPTIONS, **options})

    refused("statistic options", partial(ConfidentJoint, thresholds + 0.01))
    refused("statistic options", partial(ConfidentJoint, thresholds, calibrated=False))
    refused("statistic, statistic options", partial(ClassThresholds, 4))
    refused("chunk_entries or tasks", tasks=3)
    refused("feed", feed=lambda chunk: chunk.data)
    refused("data", rows=(labels[::-1].copy(), data))
    np.save(data / "probs-9.npy", np.full((1, 4), 0.25, np.float32))
    refused("data")
    (folder / "plan.json").write_text("{")
    with pytest.raises(DataError, match="remove the checkpoint folder"):
        run(partial(ConfidentJoint, thresholds), rows, checkpoint=folder, **OPTIONS)
    with pytest.raises(DataError, match="a folder s with other files in it"):
        run(partial(ConfidentJoint, thresholds), rows, checkpoint=data, **OPTIONS)
    with pytest.raises(DataError, match="leave checkpoint out"):
        run(partial(ClassThresholds, 4), list, checkpoint=tmp_path / "new")


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_part_is_made_again(tmp_path, damage):
    labels, p = random_case()
    rows, folder = checked(open_rows((labels, p))), tmp_path / "kept"
    run(partial(ClassThresholds, 4), rows, checkpoint=folder, **OPTIONS)
    path = folder / "part-000003.npz"
    data = bytearray(path.read_bytes())
    data[200] ^= 1 if damage == "flip" else 0
    path.write_bytes(bytes(data[: {"cut": 300, "flip": None, "empty": 0}[damage]]))
    before = rows.rows_read
    found = run(partial(ClassThresholds, 4), rows, checkpoint=folder, **OPTIONS)
    assert found.tobytes() == class_thresholds(labels, p).tobytes()
    assert rows.rows_read - before == 5


@pytest.mark.skipif(os.name != "posix", reason="limits of a process")
def test_a_full_disk_keeps_what_was_finished(tmp_path):
    import resource

    labels, p = random_case(n=6000, k=50)
    rows, folder = (labels, p), tmp_path / "kept"
    make = partial(ConfidentJoint, class_thresholds(labels, p))
    state = make().state()
    # the first parts fit: the limit is on the size of a file, and states grow with the rows of a task
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    store = Checkpoint(folder, {"a": "b"})
    store.save(0, state)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(
            DataError, match="no way to write part-000001.npz .*free some room.*1 finished parts are kept"
        ):
            store.save(1, {"x": np.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(path.name for path in folder.iterdir()) == ["part-000000.npz", "plan.json"]
    assert store.load(1) is None
    np.testing.assert_array_equal(store.load(0)["thresholds"], state["thresholds"])
    folder = tmp_path / "whole"
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(DataError, match="free some room"):
            run(make, rows, checkpoint=folder, tasks=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    np.testing.assert_array_equal(run(make, rows, checkpoint=folder, tasks=2), run(make, rows))


def test_a_checkpoint_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    labels, p = random_case()
    with pytest.raises(DataError, match="change its permissions or pass another folder"):
        run(partial(ClassThresholds, 4), (labels, p), checkpoint=tmp_path / "file" / "kept")


@given(st.integers(0, 500), st.integers(0, 60))
def test_states_bring_back_the_statistic(seed, at):
    labels, p = random_case(seed)
    thresholds = class_thresholds(labels, p)
    for make in (partial(ClassThresholds, 4), partial(ConfidentJoint, thresholds, calibrated=False)):
        first, second, whole = make(), make(), make()
        assert isinstance(first, Stateful)
        first.update((labels[:at], p[:at]))
        second.update((labels[at:], p[at:]))
        whole.update((labels, p))
        kept = type(first).from_state(first.state())
        kept.merge(second)
        assert kept.result().tobytes() == whole.result().tobytes()
        before = first.result().copy()
        type(first).from_state(first.state()).merge(second)  # a state is no view that a merge would write to
        assert first.result().tobytes() == before.tobytes()


def test_the_plan_can_be_read_by_people(tmp_path):
    run(partial(Lowest, 3), np.arange(10.0), feed=lambda c: (c.rows, c.data), checkpoint=tmp_path / "a")
    run(ScoreHistogram, np.arange(10.0), checkpoint=tmp_path / "b")
    told = json.loads((tmp_path / "a" / "plan.json").read_text())
    assert told["format"] == "labelwright-checkpoint" and told["statistic"] == "labelwright.stream.topk.Lowest"
