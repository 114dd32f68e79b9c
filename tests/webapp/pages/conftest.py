"""The whole app over a small desk: for requests in this process, and on a port for a real browser."""

from __future__ import annotations

import re
import shutil
import socket
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi")

TOKEN = "the-token-of-this-server"
PASSWORDS = {"anna": "violet tram 17", "ben": "copper lake 42", "judy": "silent oak 99", "olga": "winter moth 03"}


class Browser:
    """What a browser does, without one: it keeps cookies and copies the CSRF token of the last page."""

    def __init__(self, app, base="http://127.0.0.1:8000"):
        from starlette.testclient import TestClient

        self.http = TestClient(app, base_url=base, follow_redirects=False)
        self.text = ""

    def get(self, path, **options):
        answer = self.http.get(path, **options)
        self.text = answer.text
        return answer

    def field(self, name):
        """The first value of a hidden field on the last page."""
        return re.search(rf'name="{name}" value="([^"]*)"', self.text)[1]

    def post(self, path, data=None, *, csrf=None, headers=None, **fields):
        content = {"csrf": self.field("csrf") if csrf is None else csrf, **(data or {}), **fields}
        headers = {"origin": "http://127.0.0.1:8000", **(headers or {})}
        return self.http.post(path, data=content, headers=headers)

    def log_in(self, name):
        self.get("/login")
        return self.post("/login", name=name, password=PASSWORDS[name])


@pytest.fixture
def accounts(engine, people):
    """The people of the desk, with passwords."""
    from labelwright.webapp.accounts import Accounts

    accounts = Accounts(engine)
    for name, password in PASSWORDS.items():
        accounts.change(getattr(people, name).id, password=password)
    return accounts


@pytest.fixture
def app(desk, accounts):
    """The app as a team uses it: people log in."""
    from labelwright.webapp.app import create_app
    from labelwright.webapp.settings import Settings

    return create_app(desk, accounts, Settings())


@pytest.fixture
def anna(app):
    """An annotator who has logged in."""
    browser = Browser(app)
    assert browser.log_in("anna").status_code == 303
    return browser


@pytest.fixture
def visitor(app):
    """Somebody who has not."""
    return Browser(app)


@pytest.fixture
def olga(app):
    """The owner, logged in."""
    browser = Browser(app)
    assert browser.log_in("olga").status_code == 303
    return browser


def until(page, expression, arg=None, seconds=8):
    """Wait until JavaScript says so of a page that is all here: a busy browser shows a new page's empty body first.

    Playwright's own waiting evaluates text in the page, which the policy forbids.
    """
    from playwright.sync_api import Error

    end = time.monotonic() + seconds
    while True:
        try:
            if page.evaluate(expression, arg) and page.evaluate("document.readyState === 'complete'"):
                return
        except Error as error:
            if "navigation" not in str(error) and "of null" not in str(error):  # a page that is still coming
                raise
        assert time.monotonic() < end, (expression, page.locator("body").inner_text()[:800])
        page.wait_for_timeout(10)


@contextmanager
def serving(desk, accounts, *, local=None):
    """The app on a port of this machine: its address."""
    import uvicorn

    from labelwright.webapp.app import create_app
    from labelwright.webapp.settings import Settings

    listening = socket.create_server(("127.0.0.1", 0))
    settings = Settings(port=listening.getsockname()[1], token=TOKEN if local else None)
    config = uvicorn.Config(
        create_app(desk, accounts, settings, local=local), log_level="warning", access_log=False, lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield SimpleNamespace(url=settings.url, port=settings.port)
    server.should_exit = True
    thread.join(10)
    listening.close()


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium, one for all tests."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium on PATH: apt install chromium")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium):
    """Opens tabs that fail the test when a page asks another host, throws, or breaks its policy."""
    contexts, trouble = [], []

    def opened(url, **options):
        context = chromium.new_context(**({"viewport": {"width": 1200, "height": 850}} | options))
        contexts.append(context)
        page = context.new_page()
        home = url.split("/")[2]
        page.on("request", lambda r: r.url.startswith(("data:", "blob:")) or home in r.url or trouble.append(r.url))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", lambda dialog: (trouble.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("console", lambda m: m.type == "error" and "status of" not in m.text and trouble.append(m.text))
        page.goto(url)
        return page

    opened.trouble = trouble
    yield opened
    for context in contexts:
        context.close()
    assert trouble == []
