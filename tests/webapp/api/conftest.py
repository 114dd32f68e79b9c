"""The API in front of a real desk, with one account per role."""

from __future__ import annotations

import itertools
import json
import shutil
import socket
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("sqlalchemy")

ROLES = ("annotator", "adjudicator", "owner")
CLASSES = ["ant", "bee", "cat", "dog"]


def repository(path, n, content=None):
    """A label repository at `path` with an audit of n items."""
    import labelwright as lw
    from labelwright.store import Repository

    rng = np.random.default_rng(0)
    pred_probs = rng.dirichlet(np.ones(4), n)
    given = np.where(rng.random(n) < 0.8, pred_probs.argmax(1), rng.integers(0, 4, n))
    keys = [f"item {i}/a&b" for i in range(n)]
    space = lw.LabelSpace(CLASSES)
    audit = lw.audit([CLASSES[i] for i in given], pred_probs, space=space, items=keys)
    files = audit.files(content=content, n_review=20)
    kept = (
        "items.parquet",
        "review.parquet",
        "review_sample.parquet",
        "content.parquet",
        "content.json",
        "summary.json",
    )
    repo = Repository.create(path, fingerprint="few", source="few.csv", space=json.loads(space.to_json()))
    repo.write_audit({name: files[name] for name in kept if name in files})
    return repo


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A repository of 60 texts and its database, to be copied."""
    from labelwright.webapp.database import open_database
    from labelwright.webapp.desk import Desk

    folder = tmp_path_factory.mktemp("prepared")
    repo = repository(folder / "few.labels", 60, content=[f"the text {i} of this item" for i in range(60)])
    engine = open_database(folder / "review.db")
    Desk.open(repo, engine, flush_every=None).close()
    engine.dispose()
    return folder


@pytest.fixture
def desk(prepared, tmp_path):
    """A desk of its own for each test; answers go to the repository when `flush` is called."""
    from labelwright.store import Repository
    from labelwright.webapp.database import open_database
    from labelwright.webapp.desk import Desk

    shutil.copytree(prepared, tmp_path / "work")
    engine = open_database(tmp_path / "work" / "review.db")
    desk = Desk.open(Repository.open(tmp_path / "work" / "few.labels"), engine, flush_every=None)
    yield desk
    desk.close()
    engine.dispose()


@pytest.fixture
def make_repository():
    """`repository`, for tests that need another number of items."""
    return repository


@pytest.fixture
def client_ids():
    """New ids for answers."""
    return (f"test-answer-{n:06d}" for n in itertools.count())


@pytest.fixture
def site(desk, client_ids):
    """app, its desk and accounts, users and bearer headers by role, and `call(method, path, role, **)`."""
    import fastapi
    from starlette.testclient import TestClient

    from labelwright.webapp.accounts import Accounts
    from labelwright.webapp.api import router
    from labelwright.webapp.api.tokens import Tokens
    from labelwright.webapp.security import Guard
    from labelwright.webapp.settings import Settings

    settings, engine = Settings(port=80), desk._engine
    accounts = Accounts(engine)
    app = fastapi.FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(router(desk, accounts, settings))
    guarded = Guard(app, settings)
    tokens = Tokens(engine)
    people = {role: accounts._insert(f"{role} one", "!", role) for role in ROLES}
    headers = {role: {"Authorization": f"Bearer {tokens.create(people[role].id, 'test')['token']}"} for role in ROLES}
    browser = TestClient(guarded, base_url="http://localhost", raise_server_exceptions=True)

    def call(method, path, role="annotator", json=None, **more):
        extra = {} if json is None else {"json": json}
        more["headers"] = {**(headers[role] if role else {}), **more.get("headers", {})}
        return browser.request(method, f"/api/v1{path}", **extra, **more)

    return SimpleNamespace(
        engine=engine, app=app, guarded=guarded, desk=desk, accounts=accounts, settings=settings, tokens=tokens, people=people,
        headers=headers, browser=browser, call=call, ids=client_ids,
    )  # fmt: skip


@contextmanager
def serving(desk, accounts):
    """A real server in a thread of this process; its address."""
    import uvicorn
    from fastapi import FastAPI

    from labelwright.webapp.api import router
    from labelwright.webapp.security import Guard
    from labelwright.webapp.settings import Settings

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = Settings(port=port)
    app = FastAPI(openapi_url=None)
    app.include_router(router(desk, accounts, settings))
    config = uvicorn.Config(Guard(app, settings), port=port, log_level="warning", lifespan="off")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    for _ in range(500):
        if running.started:
            break
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    running.should_exit = True
    thread.join(10)


@pytest.fixture
def serve():
    """`serving`, for tests with a desk of their own."""
    return serving


@pytest.fixture
def server(site):
    """The address of a real server in front of the site's desk."""
    with serving(site.desk, site.accounts) as url:
        yield url
