"""A real Ray with two worker processes, one of which is killed while it works."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from stream_data import random_case, write_shards

import labelwright as lw
from labelwright.auditing.confident import ConfidentJoint, confident_joint
from labelwright.auditing.thresholds import ClassThresholds, class_thresholds
from labelwright.errors import ProbabilityError
from labelwright.stream import Rows, open_rows, run

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def make_feed(flag: Path):
    def feed(chunk):
        if chunk.first >= 200 and not flag.exists():
            flag.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return chunk.data

    return feed


def test_a_killed_worker_is_replaced_and_the_bits_stay(cluster, tmp_path):
    labels, p = random_case(n=400)
    rows = open_rows((labels, write_shards(tmp_path / "s", p, "parquet", cuts=(100, 250))))
    flag, folder = tmp_path / "killed", tmp_path / "kept"
    feed = make_feed(flag)
    found = run(
        partial(ClassThresholds, 4), rows, engine="ray", workers=2, feed=feed, chunk_entries=40, checkpoint=folder
    )
    assert int(flag.read_text()) != os.getpid()
    assert found.tobytes() == class_thresholds(labels, p).tobytes()
    assert rows.passes == 1  # only finished tasks count
    joint = run(partial(ConfidentJoint, found), (labels, p), engine="ray", workers=2, chunk_entries=40)
    np.testing.assert_array_equal(joint, confident_joint(labels, p))
    again = run(partial(ClassThresholds, 4), rows, engine="threads", feed=feed, chunk_entries=40, checkpoint=folder)
    assert again.tobytes() == found.tobytes() and rows.passes == 1  # parts that Ray made serve the threads


def test_errors_of_the_data_come_back_whole(cluster, tmp_path):
    labels, p = random_case(n=100)
    p[70, labels[70]] = np.nan
    with pytest.raises(ProbabilityError, match="in rows 70 to 79;.*Fix: find them"):
        run(partial(ClassThresholds, 4), (labels, p), engine="ray", workers=2, chunk_entries=40)
    assert ray.is_initialized()  # what was there before stays


def test_a_worker_that_always_dies_is_given_up(cluster, tmp_path, monkeypatch):
    import labelwright.stream._ray as tasks
    from labelwright.errors import DataError

    def feed(chunk):
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(tasks, "_RETRIES", 0)
    with pytest.raises(DataError, match="whose worker died 1 times.*fewer workers"):
        run(partial(ClassThresholds, 4), random_case(), engine="ray", workers=2, feed=feed)


def deadly(rows: Rows, flag: Path) -> Rows:
    """The same rows; the first process that reads beyond row 200 dies of it."""

    class Deadly(type(rows)):
        def _read(self, n, start, stop):
            for chunk in super()._read(n, start, stop):
                if chunk.first >= 200 and not flag.exists():
                    flag.write_text(str(os.getpid()))
                    os.kill(os.getpid(), signal.SIGKILL)
                yield chunk

    rows.__class__ = Deadly
    return rows


def test_an_audit_on_ray_equals_the_audit_in_memory_although_a_worker_dies(cluster, tmp_path):
    labels, p = random_case(n=500)
    p = (p / p.sum(1, keepdims=True)).astype(np.float32)
    folder = write_shards(tmp_path / "s", p, "npy", cuts=(100, 250))
    flag = tmp_path / "killed"
    given = [None if label < 0 else int(label) for label in labels]
    far = lw.audit(given, deadly(open_rows(folder), flag), engine="ray", workers=2, checkpoint=tmp_path / "kept")
    near, memory = lw.audit(given, folder, engine="threads"), lw.audit(given, p)
    assert int(flag.read_text()) != os.getpid()
    assert far.error_prob.tobytes() == near.error_prob.tobytes()  # bit by bit, wherever it ran
    np.testing.assert_array_equal(far.confident_joint, near.confident_joint)
    np.testing.assert_array_equal(far.label_dist.index, near.label_dist.index)
    np.testing.assert_allclose(far.error_prob, memory.error_prob, atol=1e-6)
    assert far.error_rate.estimate == pytest.approx(memory.error_rate.estimate, abs=1e-9)
