"""`labelwright review`: it starts, tells its address, is stopped, and keeps every answer; accounts; what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import urllib.request
from http.cookiejar import CookieJar

import numpy as np
import pytest
from typer.testing import CliRunner

from labelwright.cli.main import app
from labelwright.cli.review import read_gold
from labelwright.errors import DataError, MissingExtra, OptionError, RepositoryError

pytest.importorskip("fastapi")

from labelwright.webapp.accounts import Accounts
from labelwright.webapp.database import open_database
from labelwright.webapp.serve import database_of, local_name, serve


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    import labelwright as lw
    from labelwright.store import Repository

    folder = tmp_path_factory.mktemp("made")
    pred_probs = np.random.default_rng(0).dirichlet(np.ones(3), 40)
    space = lw.LabelSpace(["a", "b", "c"])
    audit = lw.audit(
        [space.classes[i % 3] for i in range(40)], pred_probs, space=space, items=[f"i{i}" for i in range(40)]
    )
    repo = Repository.create(
        folder / "few.labels", fingerprint="f", source="few.csv", space=json.loads(space.to_json())
    )
    repo.write_audit(audit.files(content=[f"text {i}" for i in range(40)], n_review=10))
    return folder / "few.labels"


@pytest.fixture
def few(made, tmp_path):
    shutil.copytree(made, tmp_path / "few.labels")
    return tmp_path / "few.labels"


def add(few, name, role, password="violet tram 17"):
    return CliRunner().invoke(
        app, ["review", str(few), "--add-user", name, "--role", role], input=f"{password}\n{password}\n"
    )


def test_it_runs_takes_an_answer_and_stops_clean(few):
    from labelwright.store import Repository

    command = [sys.executable, "-m", "labelwright", "review", str(few), "--no-browser", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        url = json.loads(process.stdout.readline())["url"]
        assert url.startswith("http://127.0.0.1:") and "/?token=" in url
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        page = browser.open(url, timeout=10).read().decode()
        field = {
            name: page.split(f'name="{name}" value="')[1].split('"')[0]
            for name in ("csrf", "token", "key", "client_id")
        }
        body = urllib.parse.urlencode(field | {"answer": "class:1", "stream": "repair"}).encode()
        home = url.split("/?")[0]
        assert "Saved." in browser.open(home + "/queue/answer", body, timeout=10).read().decode()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0 and "every answer is in the repository" in err and "Traceback" not in err
    events = Repository.open(few).show(field["key"]).to_pylist()
    assert json.loads(events[-1]["value"]) == "b" and events[-1]["source"] == local_name()
    mode = stat.S_IMODE(os.stat(database_of(few)).st_mode)
    assert mode == 0o600


def test_accounts_are_made_in_the_terminal(few):
    made = add(few, "olga", "owner")
    assert made.exit_code == 0 and "olga can now log in as owner" in made.output and "violet" not in made.output
    engine = open_database(database_of(few))
    accounts = Accounts(engine)
    assert accounts.has_owner() and accounts.log_in("olga", "violet tram 17", "x")[1].role == "owner"
    engine.dispose()
    assert isinstance(add(few, "weak", "annotator", "short").exception, OptionError)
    assert isinstance(add(few, "boss", "boss").exception, OptionError)
    with pytest.raises(RepositoryError):
        serve(few.parent / "mistyped.labels")
    assert isinstance(add(few.parent / "mistyped.labels", "x", "owner").exception, RepositoryError)
    assert not database_of(few.parent / "mistyped.labels").exists()


@pytest.mark.parametrize("options", [{"host": "0.0.0.0"}, {"host": "::"}, {"origins": ("https://review.example.org",)}])
def test_it_is_not_open_to_others_without_an_owner(few, options):
    with pytest.raises(OptionError, match="--add-user YOU --role owner"):
        serve(few, **options)


def test_with_accounts_everybody_logs_in_also_at_home(few, monkeypatch):
    from labelwright.webapp import serve as module

    add(few, "olga", "owner")
    seen = []
    monkeypatch.setattr(module, "_run", lambda app, listening: None)
    serve(few, ready=seen.append)
    serve(few, host="0.0.0.0", ready=seen.append)
    assert all(url.endswith("/login") for url in seen) and len(seen) == 2


def test_a_port_that_is_taken(few):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OptionError, match="leave --port out"):
        serve(few, port=taken.getsockname()[1])


def test_gold_items(few, tmp_path, monkeypatch):
    from labelwright.webapp import serve as module

    file = tmp_path / "gold.csv"
    file.write_text("item,label\ni1,b\ni2,c\n", encoding="utf-8-sig")
    assert read_gold(file) == {"i1": "b", "i2": "c"}
    monkeypatch.setattr(module, "_run", lambda app, listening: None)
    serve(few, gold=read_gold(file))
    with pytest.raises(Exception, match="nearest are"):
        serve(few, gold={"i1": "nothing"})
    for text in ("item\ni1\n", "item,label\ni1,\n", ""):
        file.write_text(text)
        with pytest.raises(DataError, match="one item per line"):
            read_gold(file)
    with pytest.raises(DataError, match="check the path"):
        read_gold(tmp_path / "none.csv")


def test_without_the_extra(monkeypatch):
    from labelwright.cli import review

    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.delitem(sys.modules, "labelwright.webapp.serve")
    monkeypatch.delitem(sys.modules, "labelwright.webapp.app", raising=False)
    import labelwright.webapp as package

    monkeypatch.delattr(package, "serve", raising=False)
    with pytest.raises(MissingExtra, match=r'pip install "labelwright\[web\]"'):
        review._needed()


def test_the_package_stays_light():
    code = "import sys, labelwright, labelwright.cli.main; print([m for m in ('fastapi', 'sqlalchemy', 'uvicorn', 'alembic') if m in sys.modules])"  # noqa: E501
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
