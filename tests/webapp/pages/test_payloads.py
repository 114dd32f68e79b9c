"""More than a hundred attempts to run a script, in every place that data reaches, stay text in a real browser."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from .conftest import TOKEN, Browser, serving

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

PAYLOADS: list[str] = json.loads(Path(__file__).with_name("payloads.json").read_text())
"""Each sets `window.hit` should it run."""


def test_there_are_at_least_a_hundred():
    assert len(set(PAYLOADS)) >= 100


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A repository whose classes, item keys and texts are payloads."""
    import labelwright as lw
    from labelwright.store import Repository

    folder = tmp_path_factory.mktemp("hostile")
    names = [p for p in PAYLOADS if "\x00" not in p and p.strip() == p][:40]
    n = len(PAYLOADS)
    pred_probs = np.random.default_rng(0).dirichlet(np.full(len(names), 0.1), n)
    given = [names[i % len(names)] for i in range(n)]
    keys = [f"{i} {p}".replace("\x00", "") for i, p in enumerate(PAYLOADS)]
    space = lw.LabelSpace(names)
    audit = lw.audit(given, pred_probs, space=space, items=keys)
    repo = Repository.create(
        folder / "h.labels", fingerprint="h", source=PAYLOADS[4], space=json.loads(space.to_json())
    )
    files = audit.files(content=PAYLOADS, n_review=20)
    repo.write_audit(files)
    return repo


def test_payloads_are_inert_everywhere(hostile, engine, accounts, tab):
    from labelwright.webapp.answers import Answer
    from labelwright.webapp.desk import Desk

    desk = Desk.open(hostile, engine, overlap=2, flush_every=None)
    me = accounts.local("me")
    others = [accounts.add(p[:64], "quiet river 88") for p in PAYLOADS[4:10]]
    keys = [row["item"] for row in desk.search(user=me, per_page=200).rows]
    assert len(keys) == len(PAYLOADS)
    for i, key in enumerate(keys):
        desk.flag(me, key, PAYLOADS[i])
        for n, user in enumerate(others[:2]):
            answer = Answer("class", (desk.space.classes[(i + n) % 40],), comment=PAYLOADS[i])
            desk.answer_item(user, key, answer, client_id=f"{i} {n}")
    with serving(desk, accounts, local=me) as server:
        page = tab(f"{server.url}/?token={TOKEN}")
        paths = [
            "/queue",
            "/queue?stream=estimation",
            "/items",
            "/items?page=2",
            "/items?page=3",
            "/compare",
            "/people",
            "/classes",
        ]
        paths += [
            "/report",
            "/instruction",
            "/users",
            "/export",
            "/account",
            *(f"/conflicts?page={i}" for i in range(1, 7)),
        ]
        for path in paths:
            page.goto(server.url + path)
            check(page, path)
        page.goto(server.url + "/queue")
        for key in keys[::20]:  # the item's own page, and errors that repeat what was asked
            page.goto(server.url + "/item?" + page.evaluate("k => new URLSearchParams({key: k}).toString()", key))
            assert page.locator("h1").inner_text().startswith("Item")
            check(page, key)
        for text in PAYLOADS[::12]:
            query = page.evaluate(
                "t => new URLSearchParams({text: t, label: t, key: t, kind: t, stream: t}).toString()", text
            )
            for path in ("/items", "/item", "/queue", "/systems"):
                page.goto(f"{server.url}{path}?{query}")
                check(page, (path, text))
    desk.close()


def check(page, where):
    """Nothing ran, and no element came out of the data."""
    found = page.evaluate(
        "() => [window.hit || 0, document.querySelectorAll('main script, main img[src=x], main [onerror], main [onload],"
        " main [onfocus], main [autofocus]:not([name=text]):not(dialog *), main svg script, main object, main embed, main marquee, main [style]').length,"  # noqa: E501
        " [...document.querySelectorAll('a, form, iframe')].some(n => /^\\s*javascript:/i.test(n.getAttribute('href')"
        " || n.getAttribute('action') || n.getAttribute('src') || ''))]"
    )
    assert found == [0, 0, False], where


def test_html_items_run_nothing_and_ask_nobody(desk, accounts, tab, monkeypatch):
    """Even unescaped, in their frame."""
    import socket
    from dataclasses import replace

    from labelwright.webapp.views import Content

    trap = socket.create_server(("127.0.0.1", 0))
    trap.settimeout(0.2)
    other = f"http://127.0.0.1:{trap.getsockname()[1]}"
    html = (
        "<h1>An item</h1>"
        + "".join(PAYLOADS)
        + f"""<img src={other}/1><link rel=stylesheet href={other}/2><iframe src={other}/3></iframe>
    <link rel=preconnect href={other}><link rel=prefetch href={other}/4><meta http-equiv=refresh content='0;url={other}/5'>
    <video poster={other}/6 src={other}/7></video><form action={other}/8><input type=image src={other}/9></form><style>body{{background:url({other}/10)}}</style>"""  # noqa: E501
    )
    content = Content("html", text=html)
    real = desk.item
    monkeypatch.setattr(desk, "item", lambda key, user: replace(real(key, user), content=content))
    with serving(desk, accounts, local=accounts.local("me")) as server:
        page = tab(f"{server.url}/?token={TOKEN}")
        page.goto(server.url + "/item?key=t001")
        assert "<h1>An item</h1>" in page.locator(".seen .text").inner_text()
        assert page.frames[1].url == ""  # text at first: nothing is loaded
        page.keyboard.press("v")
        page.wait_for_timeout(500)
        assert page.frames[1].url.startswith(server.url + "/frame")
        assert page.frames[1].evaluate("document.querySelector('h1').textContent") == "An item"
        assert page.evaluate("window.hit || 0") == 0 and page.frames[1].evaluate("window.hit || 0") == 0
        page.goto(server.url + "/frame?key=t001")  # opened by itself it is in the same sandbox
        page.wait_for_timeout(300)
        assert page.evaluate("window.hit || 0") == 0 and page.evaluate("window.origin") == "null"
    tab.trouble[:] = [
        t for t in tab.trouble if t != "x:x" and "olicy" not in t and "andbox" not in t and "Blocked" not in t
    ]
    with pytest.raises(TimeoutError):
        trap.accept()
    trap.close()


def test_payloads_in_answers_of_the_server(app, olga):
    for payload in PAYLOADS:
        payload = payload.replace("\x00", "")
        for path, name in (
            ("/items", "text"),
            ("/items", "label"),
            ("/item", "key"),
            ("/systems", "q"),
            ("/queue", "stream"),
        ):
            olga.get(path, params={name: payload})
            assert payload not in olga.text or not set(payload) & set("<>\"'&"), (path, payload)
    assert isinstance(olga, Browser)
