"""The client against a real server, and against servers that misbehave."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from labelwright.errors import DataError, OptionError
from labelwright.webapp.answers import Answer
from labelwright.webapp.client import ApiRefusal, ReviewClient, new_client_id

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "review.md"


@pytest.fixture
def client(server, site):
    return ReviewClient(server, site.headers["annotator"]["Authorization"].split()[1], retries=1)


def test_a_review_in_a_few_lines(client, site):
    lease = client.next()
    key = lease["item"]["item"]
    receipt = client.answer(lease, "keep", comment="sure", seconds=1.0)
    assert receipt["item"] == key and client.item(key)["mine"]["comment"] == "sure"
    client.skip(client.next())
    client.flag(key, "odd")
    assert [row["item"] for row in client.search(flagged=True)] == [key]
    assert client.undo()["item"] == key and client.progress()["answers"] == 0
    name = site.desk.space.classes[0]
    client.answer(key, Answer("distribution", (name,), (1.0,)))
    assert client.item(key)["mine"]["kind"] == "distribution"
    assert len({row["item"] for row in client.search(per_page=7)}) == client.progress()["items"]
    assert client.call("GET", "/task")["user"] == "annotator one"


def test_a_loop_ends_when_nothing_is_left(client):
    said = [client.answer(lease)["item"] for lease in client]
    assert len(said) == len(set(said)) == client.progress()["items"] and client.next() is None


def test_the_export_is_there_whole_or_not_at_all(server, site, tmp_path):
    owner = ReviewClient(server, site.headers["owner"]["Authorization"].split()[1])
    owner.answer(owner.next())
    (tmp_path / "out").mkdir()
    path = owner.export(tmp_path / "out" / "answers.jsonl")
    assert len(path.read_text().splitlines()) == 1 and [p.name for p in path.parent.iterdir()] == ["answers.jsonl"]


def test_what_the_server_refuses_is_raised_in_its_words(client, server):
    with pytest.raises(ApiRefusal, match="next item") as lost:
        client.answer({"token": "no such lease"})
    assert lost.value.status == 409
    with pytest.raises(ApiRefusal, match="Bearer") as unknown:
        ReviewClient(server, "lw_wrong").progress()
    assert unknown.value.status == 401
    with pytest.raises(ApiRefusal, match="adjudicator"):
        client.export("never.csv")
    assert not Path("never.csv").exists()


def test_the_guide_s_example_runs(server, site, tmp_path, monkeypatch):
    code = next(
        block for block in re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.S) if "ReviewClient(" in block
    )
    code = code.replace("http://127.0.0.1:8000", server)
    monkeypatch.setenv("LABELWRIGHT_TOKEN", site.headers["owner"]["Authorization"].split()[1])
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "review.md", "exec"), {})  # noqa: S102  our own page
    assert (tmp_path / "answers.csv").read_text().count("\n") > 1


@contextlib.contextmanager
def serving(answer):
    """A server on this machine that answers as told: answer(handler, number of the request)."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append((self.path, dict(self.headers), body))
            answer(self, len(seen))

        do_POST = do_GET

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", seen
        running.shutdown()
        thread.join(5)


def reply(handler, status, body=b"{}", **headers):
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def test_no_redirect_takes_the_token_elsewhere():
    with serving(lambda h, n: reply(h, 200)) as (elsewhere, leaked):
        for status in (301, 302, 303, 307, 308):
            moved = serving(lambda h, n, s=status: reply(h, s, Location=elsewhere + "/x"))
            with moved as (url, _), pytest.raises(ApiRefusal):
                ReviewClient(url, "lw_secret", retries=0).progress()
        assert leaked == []


def test_an_answer_without_acknowledgement_is_sent_again_under_the_same_id():
    def failing(handler, n):
        if n == 1:
            handler.connection.close()
        elif n == 2:
            reply(handler, 503, b'{"found": "a", "expected": "b", "fix": "c"}')
        else:
            reply(handler, 200, b'{"event_id": "e", "item": "i", "again": false}')

    with serving(failing) as (url, seen):
        assert ReviewClient(url, "lw_secret").answer({"token": "t"})["item"] == "i"
    assert len(seen) == 3 and len({json.loads(body)["client_id"] for _, _, body in seen}) == 1


def test_undo_is_sent_once():
    with serving(lambda h, n: h.connection.close()) as (url, seen), pytest.raises(DataError, match="no answer"):
        ReviewClient(url, "lw_secret").undo()
    assert len(seen) == 1


def test_a_server_that_hangs_is_given_up():
    stop = threading.Event()
    with serving(lambda h, n: stop.wait(3)) as (url, _):
        with pytest.raises(DataError, match="no answer"):
            ReviewClient(url, "lw_secret", timeout=0.2, retries=0).progress()
        stop.set()


def test_an_export_that_breaks_off_leaves_nothing(tmp_path):
    def cut(handler, n):
        reply(handler, 200, b"half", **{"Content-Length": "400"})

    with serving(cut) as (url, _), pytest.raises(DataError, match="broke off"):
        ReviewClient(url, "lw_secret").export(tmp_path / "answers.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_that_is_no_json_is_told_by_its_status():
    with serving(lambda h, n: reply(h, 418, b"<html>")) as (url, _), pytest.raises(ApiRefusal, match="418"):
        ReviewClient(url, "lw_secret").progress()


@pytest.mark.parametrize(
    ("url", "token", "words"),
    [
        ("ftp://localhost", "t", "http"),
        ("localhost:8000", "t", "http"),
        ("http://user:pw@localhost", "t", "HOST:PORT"),
        ("http://review.example.org", "t", "TLS"),
        ("http://localhost:8000", "", "token"),
        ("http://localhost:8000", "a\r\nX-Evil: 1", "token"),
        ("http://localhost:8000", "ü", "token"),
    ],
)
def test_addresses_and_tokens_that_cannot_be(url, token, words):
    with pytest.raises(OptionError, match=words):
        ReviewClient(url, token)


def test_the_token_is_not_shown():
    assert "secret" not in repr(ReviewClient("https://review.example.org", "lw_secret"))


def test_ids_are_new_each_time():
    assert len({new_client_id() for _ in range(100)}) == 100
