"""A small audited repository, its desk, and a real PostgreSQL."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelwright.auditing.files import audit_file
from labelwright.store import Repository

WORDS = {
    "sport": "goal match team player score league coach season",
    "money": "bank share price market profit trade fund stock",
    "space": "orbit rocket planet star moon comet probe launch",
}


def write_texts(path: Path, n: int = 180, wrong: float = 0.1, seed: int = 0) -> list[str]:
    """A table of short texts (id, text, label), some labels wrong; the true labels."""
    rng = np.random.default_rng(seed)
    names = list(WORDS)
    truth = [names[k] for k in rng.integers(3, size=n)]
    texts = [" ".join(rng.choice(WORDS[label].split(), 6)) + f" {i}" for i, label in enumerate(truth)]
    given = [names[(names.index(t) + 1) % 3] if rng.random() < wrong else t for t in truth]
    pq.write_table(pa.table({"id": [f"t{i:03d}" for i in range(n)], "text": texts, "label": given}), path)
    return truth


@pytest.fixture(scope="session")
def audited(tmp_path_factory) -> SimpleNamespace:
    """A text data set and its audit, made once: folder (of both), truth (item key -> label)."""
    folder = tmp_path_factory.mktemp("audited")
    truth = write_texts(folder / "texts.parquet")
    audit_file(folder / "texts.parquet", id="id", text="text", label="label", out=folder / "texts.labels", n_folds=3)
    return SimpleNamespace(folder=folder, truth={f"t{i:03d}": label for i, label in enumerate(truth)})


@pytest.fixture
def review_repo(audited, tmp_path) -> Repository:
    """A copy of the audited repository, with its data beside it."""
    shutil.copytree(audited.folder, tmp_path / "data")
    return Repository.open(tmp_path / "data" / "texts.labels")


@pytest.fixture
def engine(tmp_path):
    from labelwright.webapp.database import open_database

    engine = open_database(tmp_path / "review.sqlite")
    yield engine
    engine.dispose()


def add_users(engine, *names: str, role: str = "annotator") -> list:
    """Accounts without a password, as users of the desk."""
    from sqlalchemy import insert

    from labelwright.webapp.database import writing
    from labelwright.webapp.tables import users
    from labelwright.webapp.views import User

    found = []
    with writing(engine) as conn:
        for name in names:
            row = {"name": name, "password_hash": "!", "role": role, "active": True, "created": time.time()}
            found.append(User(conn.execute(insert(users).values(row)).inserted_primary_key[0], name, role))
    return found


@pytest.fixture
def people(engine) -> SimpleNamespace:
    """anna and ben, annotators; judy, an adjudicator; olga, the owner."""
    anna, ben = add_users(engine, "anna", "ben")
    return SimpleNamespace(
        anna=anna,
        ben=ben,
        judy=add_users(engine, "judy", role="adjudicator")[0],
        olga=add_users(engine, "olga", role="owner")[0],
    )


@pytest.fixture
def desk(review_repo, engine, people):
    """The desk of the audit, which writes into the repository only when it is told to."""
    from labelwright.webapp.desk import Desk

    desk = Desk.open(review_repo, engine, flush_every=None)
    yield desk
    desk.close()


# ---------------------------------------------------------------------------------------------------------- PostgreSQL
def _postgres_programs() -> Path | None:
    for found in ("initdb", *sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), reverse=True)):
        path = shutil.which(found)
        if path:
            return Path(path).parent
    return None


def _not_root() -> dict:
    """PostgreSQL refuses to run as root: arguments that make a child somebody else."""
    import pwd

    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            who = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}
    return {}


@pytest.fixture(scope="session")
def postgres_server():
    """The URL of a real server in a temporary folder, reached through a socket; without its last part, the database."""
    programs = _postgres_programs()
    if programs is None:
        pytest.skip("no PostgreSQL on this machine: install postgresql to run these tests")
    pytest.importorskip("psycopg")
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    somebody = _not_root()
    if somebody:
        os.chown(folder, somebody["user"], somebody["group"])

    def run(*command: str) -> None:
        done = subprocess.run(command, cwd=folder, env={"LC_ALL": "C", "PATH": os.environ["PATH"]}, **somebody, **quiet)
        assert done.returncode == 0, done.stdout

    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    run(str(programs / "initdb"), "-D", "data", "-U", "review", "-A", "trust", "-E", "UTF8", "--no-sync")
    options = f"-k {folder} -c listen_addresses='' -c max_connections=300"
    started = [str(programs / "pg_ctl"), "-D", "data", "-w", "-l", "log", "-o", options, "start"]
    subprocess.run(
        started, cwd=folder, env={"LC_ALL": "C", "PATH": os.environ["PATH"]}, check=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, **somebody,
    )  # fmt: skip
    try:
        yield f"postgresql://review@/{{name}}?host={folder}"
    finally:
        run(str(programs / "pg_ctl"), "-D", "data", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server) -> str:
    """A new, empty database of the server."""
    import secrets

    import psycopg

    name = f"r{secrets.token_hex(6)}"
    with psycopg.connect(postgres_server.format(name="postgres"), autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}")
    return postgres_server.format(name=name)
