"""Acknowledged answers reach the repository once, whatever fails in between."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from sqlalchemy import func, select

from labelwright.errors import RepositoryError
from labelwright.store import Repository
from labelwright.webapp import outbox, tables
from labelwright.webapp.answers import Answer
from labelwright.webapp.database import open_database, reading
from labelwright.webapp.desk import Desk

from .conftest import add_users

SERVER = """
import os, sys
import alembic.script, lance, pyarrow.parquet
from labelwright.store import Repository
from labelwright.webapp.answers import Answer
from labelwright.webapp.database import open_database
from labelwright.webapp.desk import Desk
from labelwright.webapp.views import User

def serve(life):
    desk = Desk.open(Repository.open(sys.argv[1]), open_database(sys.argv[2]), flush_every=0.02)
    anna = User(1, "anna", "annotator")
    for number in range(10_000):
        lease = desk.next(anna)
        said, name = Answer("class", ("space",)), f"{life}-{number}"
        if lease is None:  # all are answered: once more
            receipt = desk.answer_item(anna, f"t{number % 180:03d}", said, client_id=name)
        else:
            receipt = desk.answer(anna, lease.token, said, client_id=name)
        os.write(1, f"{receipt.event_id}\\n".encode())

for life in range(int(sys.argv[3])):  # forks, so that each life starts with its imports done
    child = os.fork()
    if child == 0:
        serve(life)
        os._exit(1)
    os.write(1, f"pid {child}\\n".encode())
    os.waitpid(child, 0)
"""


def reviews(repo) -> list[str]:
    return repo.events(kinds=("review",))["event_id"].to_pylist()


def kill_at_random(folder, engine, rounds: int, seed: int, longest: float = 0.3) -> None:
    """Start a desk that answers as fast as it can, kill it, and look for what it acknowledged."""
    repo = Repository.open(folder / "data" / "texts.labels")
    Desk.open(repo, engine, flush_every=None)
    add_users(engine, "anna")
    rng, acknowledged = random.Random(seed), []
    path = engine.url.database
    command = [sys.executable, "-c", SERVER, str(repo.path), str(path), str(rounds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("pid "):
                threading.Timer(rng.uniform(0.02, longest), os.kill, (int(line[4:]), signal.SIGKILL)).start()
            else:
                acknowledged.append(line.strip())
    with reading(engine) as conn:
        kept = set(conn.execute(select(tables.answers.c.event_id)).scalars())
        events = set(conn.execute(select(tables.outbox.c.event_id)).scalars())
    assert set(acknowledged) <= kept == events and len(set(acknowledged)) == len(acknowledged) > 0
    desk = Desk.open(Repository.open(repo.path), engine, flush_every=None)
    desk.flush()
    found = reviews(desk.repo)
    assert set(found) == kept and len(found) == len(kept)
    assert desk.repo.event_table.verify() > 0


def test_killed_at_random_points(review_repo, engine, tmp_path):
    kill_at_random(tmp_path, engine, rounds=20, seed=0)


@pytest.mark.slow
def test_killed_at_a_thousand_random_points(tmp_path_factory, audited):
    import shutil

    for part in range(20):
        folder = tmp_path_factory.mktemp("kills")
        shutil.copytree(audited.folder, folder / "data")
        engine = open_database(folder / "review.sqlite")
        kill_at_random(folder, engine, rounds=50, seed=part)
        engine.dispose()


def answer_some(desk, user, n: int) -> list[str]:
    found = []
    for i in range(n):
        lease = desk.next(user)
        found.append(desk.answer(user, lease.token, Answer("class", ("space",)), client_id=f"{user.name}{i}").event_id)
    return found


def test_a_flush_that_dies_after_the_commit_is_done_again_without_harm(desk, people, monkeypatch):
    made = answer_some(desk, people.anna, 3)
    real = outbox.writing

    def dies(engine):
        raise KeyboardInterrupt

    monkeypatch.setattr(outbox, "writing", dies)
    with pytest.raises(KeyboardInterrupt):
        desk.flush()
    monkeypatch.setattr(outbox, "writing", real)
    assert reviews(desk.repo) == made and desk.progress().waiting == 3
    assert desk.flush() == 3 and reviews(desk.repo) == made and desk.progress().waiting == 0


def test_a_repository_that_refuses_keeps_the_answers_waiting(desk, people, monkeypatch):
    made = answer_some(desk, people.anna, 2)

    def refuses(*args, **options):
        raise RepositoryError(found="a full disk", expected="room", fix="make some")

    with monkeypatch.context() as patch:
        patch.setattr(desk.repo.__class__, "append", refuses)
        with pytest.raises(RepositoryError, match="make some"):
            desk.flush()
    assert desk.progress().waiting == 2
    assert desk.flush() == 2 and reviews(desk.repo) == made


def test_the_background_writer_flushes_and_goes_on_after_errors(review_repo, engine, people, monkeypatch, caplog):
    real, failed = Repository.append, []

    def refuses_once(self, *args, **options):
        if not failed:
            failed.append(1)
            raise RepositoryError(found="a full disk", expected="room", fix="make some")
        return real(self, *args, **options)

    monkeypatch.setattr(Repository, "append", refuses_once)
    desk = Desk.open(review_repo, engine, flush_every=0.02)
    made = answer_some(desk, people.anna, 2)
    until = time.monotonic() + 20
    while desk.progress().waiting and time.monotonic() < until:
        time.sleep(0.02)
    assert failed and reviews(desk.repo) == made and "make some" in caplog.text
    answer_some(desk, people.ben, 1)
    desk.close()
    assert len(reviews(desk.repo)) == 3


def test_the_background_writer_survives_any_error_and_says_so(review_repo, engine, people, monkeypatch, caplog):
    real, failing = Repository.append, [RuntimeError("a bug of somebody else"), MemoryError(), OSError("input/output")]

    def breaks(self, *args, **options):
        if failing:
            raise failing[0]
        return real(self, *args, **options)

    monkeypatch.setattr(Repository, "append", breaks)
    desk = Desk.open(review_repo, engine, flush_every=0.01)
    made = answer_some(desk, people.anna, 1)
    while failing:
        words = f"not yet written to the repository: {type(failing[0]).__name__}"
        wait_for(lambda words=words: desk.progress().trouble.startswith(words))
        assert desk.progress().waiting == 1 and desk._flusher.is_alive()
        failing.pop(0)
    wait_for(lambda: not desk.progress().waiting)
    wait_for(lambda: desk.progress().trouble == "")
    assert reviews(desk.repo) == made and "a bug of somebody else" in caplog.text
    desk.close()


def test_tries_that_fail_come_at_longer_intervals():
    times = []

    def fails():
        times.append(time.monotonic())
        raise ValueError("no")

    flusher = outbox.Flusher(fails, 0.02)
    flusher.start()
    wait_for(lambda: len(times) == 5)
    flusher.stop()
    gaps = [b - a for a, b in zip(times, times[1:])]
    assert all(gap >= 0.04 * 2**i for i, gap in enumerate(gaps)) and not flusher.is_alive()


def wait_for(test, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_an_undone_answer_is_taken_back_in_the_repository(desk, people):
    lease = desk.next(people.anna)
    key, before = lease.item.item, lease.item.given
    desk.answer(people.anna, lease.token, Answer("none"), client_id="1")
    desk.flush()

    def label() -> object:
        table = desk.repo.labels()
        return json.loads(dict(zip(table["item"].to_pylist(), table["label"].to_pylist()))[key])

    assert label() == {"answer": "none of these"}
    assert desk.undo(people.anna).item == key
    desk.flush()
    assert label() == before
    with reading(desk._engine) as conn:
        assert (
            conn.execute(select(func.count()).select_from(tables.answers).where(tables.answers.c.active)).scalar() == 0
        )
