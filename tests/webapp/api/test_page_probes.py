"""Attacks on the whole app: log-in, sessions, cookies, addresses, and pages that somebody may not see."""

from __future__ import annotations

import re
import threading
from types import SimpleNamespace

import pytest

PASSWORD = "correct horse battery"
FIELDS = [
    "page", "key", "text", "label", "suggested", "kind", "state", "flagged", "stream", "what", "q", "format", "ahead", "name",
]  # fmt: skip


@pytest.fixture(scope="module")
def hashed():
    """The hash of `PASSWORD`, made once, since it takes long by design."""
    argon2 = pytest.importorskip("argon2")
    return argon2.PasswordHasher().hash(PASSWORD)


@pytest.fixture
def app(desk, hashed):
    """The whole app with an owner, an annotator, and browsers that are not logged in."""
    pytest.importorskip("jinja2")
    from starlette.testclient import TestClient

    from labelwright.webapp.accounts import Accounts
    from labelwright.webapp.app import create_app
    from labelwright.webapp.settings import Settings

    settings, accounts = Settings(port=80), Accounts(desk._engine)
    people = {role: accounts._insert(f"{role} one", hashed, role) for role in ("annotator", "owner")}
    made = create_app(desk, accounts, settings)

    def browser(role=None):
        client = TestClient(made, base_url="http://localhost", follow_redirects=False, raise_server_exceptions=False)
        if role:
            client.cookies.set(settings.cookie, accounts.start_session(people[role]))
        return client

    return SimpleNamespace(
        made=made,
        desk=desk,
        settings=settings,
        accounts=accounts,
        people=people,
        browser=browser,
        cookie=settings.cookie,
    )


def log_in(browser, name="annotator one", password=PASSWORD):
    csrf = re.search(r'name="csrf" value="([0-9a-f]+)"', browser.get("/login").text)[1]
    return browser.post("/login", data={"name": name, "password": password, "csrf": csrf})


def pages(app, method):
    """Addresses of the pages that take this method, with something in place of their parameters."""
    from labelwright.webapp.api import _routes

    found, of_api = set(), _routes()

    def walk(routes):
        for route in routes:
            walk(getattr(getattr(route, "original_router", None) or route, "routes", None) or ())
            path = getattr(route, "path", "/api")
            page = route not in of_api and not path.startswith(("/api", "/{path"))
            if page and method in (getattr(route, "methods", None) or ()):
                found.add(re.sub(r"\{[^}]*\}", "x", path))

    walk(app.made.routes)
    return sorted(found)


def test_the_key_of_the_address_is_exchanged_for_a_cookie(desk):
    from starlette.testclient import TestClient

    from labelwright.webapp.accounts import Accounts
    from labelwright.webapp.app import create_app
    from labelwright.webapp.settings import Settings

    accounts, settings = Accounts(desk._engine), Settings(port=80, token="the-secret-key")
    made = create_app(desk, accounts, settings, local=accounts.local("me"))
    browser = TestClient(made, base_url="http://localhost", follow_redirects=False)
    entered = browser.get("/", params={"token": "the-secret-key"})
    assert entered.status_code == 303 and "the-secret-key" not in str(entered.headers) + entered.text
    flags = entered.headers["set-cookie"].lower()
    assert "httponly" in flags and "samesite=strict" in flags and entered.headers["location"] == "/queue"
    assert browser.get("/queue").status_code == 200
    for wrong in ("", "x", "the-secret-keyx", "é", "\udcff".encode("utf-8", "replace").decode(), "x" * 5000):
        other = TestClient(made, base_url="http://localhost", follow_redirects=False)
        refused = other.get("/", params={"token": wrong})
        assert refused.status_code in (303, 403) and settings.cookie + "=" not in refused.headers.get("set-cookie", "")
        assert other.get("/api/v1/task").status_code == 401


def test_a_planted_session_is_not_the_one_that_logs_in(app):
    browser = app.browser()
    browser.cookies.set(app.cookie, "planted-by-somebody")
    answer = log_in(browser)
    assert answer.status_code == 303
    got = re.search(rf"{re.escape(app.cookie)}=([^;]+)", answer.headers["set-cookie"])[1]
    assert got != "planted-by-somebody" and app.accounts.user("planted-by-somebody") is None


def test_a_session_of_another_account_ends_when_somebody_logs_in_over_it(app):
    browser = app.browser("owner")
    old = browser.cookies[app.cookie]
    browser.cookies.delete(app.cookie)
    csrf = re.search(r'name="csrf" value="([0-9a-f]+)"', browser.get("/login").text)[1]
    browser.cookies.set(app.cookie, old)
    assert browser.post("/login", data={"name": "annotator one", "password": PASSWORD, "csrf": csrf}).status_code == 303
    assert app.accounts.user(old) is None


def test_guessing_passwords_is_slowed_and_the_right_one_waits_too(app):
    browser = app.browser()
    assert [log_in(browser, password=f"wrong {n}").status_code for n in range(5)] == [401] * 5
    assert log_in(browser, password="wrong 6").status_code == 429
    assert log_in(browser).status_code == 429


def test_guesses_at_once_are_counted_as_well(app):
    csrf_of = app.browser()
    csrf = re.search(r'name="csrf" value="([0-9a-f]+)"', csrf_of.get("/login").text)[1]
    seen, start = [], threading.Barrier(20)

    def guess(n):
        browser = app.browser()
        browser.cookies.update(csrf_of.cookies)
        start.wait()
        seen.append(
            browser.post("/login", data={"name": "owner one", "password": f"wrong {n}", "csrf": csrf}).status_code
        )

    threads = [threading.Thread(target=guess, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(seen) <= {401, 429} and seen.count(401) <= 8, seen


def test_log_in_does_not_tell_who_exists(app):
    texts = {
        re.sub(r'value="[^"]*"', "", log_in(app.browser(), name, "wrong password").text)
        for name in ("owner one", "nobody")
    }
    assert len(texts) == 1


def test_no_page_without_log_in(app):
    browser, found = app.browser(), pages(app, "GET")
    assert len(found) > 15
    for path in found:
        if path in ("/login", "/static/x"):
            continue
        answer = browser.get(path)
        assert answer.status_code in (303, 401, 422), path
        assert answer.headers.get("location", "/login") in ("/login", "/queue"), path


def test_nothing_is_changed_without_the_csrf_token(app):
    found = pages(app, "POST")
    assert len(found) >= 6
    for role in ("owner", None):
        for path in found:
            for data in ({}, {"csrf": "0" * 64}, {"csrf": ""}):
                answer = app.browser(role).post(path, data={"name": "x", "password": PASSWORD, "do": "add", **data})
                assert answer.status_code in (401, 403), (path, role, answer.status_code)


def test_an_annotator_sees_no_page_of_owners_and_adjudicators(app):
    for path in ("/users", "/conflicts", "/export/answers"):
        assert app.browser("annotator").get(path).status_code == 403, path


@pytest.mark.parametrize(
    "path",
    ["/static/../app.py", "/static/%2e%2e%2fapp.py", "/static/..%5capp.py", "/static//etc/passwd", "/static/%00",
     "/item/../../etc/passwd",
     "/systems/..%2f..%2fcatalogue.toml", "/media?key=../../etc/passwd", "/media?key=%00", "/item?key=%00", "/frame?key=..%2f.."],
)  # fmt: skip
def test_addresses_are_no_paths(app, path):
    answer = app.browser("owner").get(path)
    assert answer.status_code in (404, 422), answer.status_code
    assert "root:" not in answer.text and "import " not in answer.text


@pytest.mark.parametrize("value", ["-1", "0", "1e9", "9" * 30, "x", "", "\x00", "é", "[", "%"])
def test_odd_values_in_addresses_are_no_500(app, value):
    browser = app.browser("owner")
    for path in pages(app, "GET"):
        query = dict.fromkeys(FIELDS, value)
        assert browser.get(path, params=query).status_code < 500, path


def test_the_session_of_the_pages_is_one_of_the_api(app):
    from labelwright.webapp.security import csrf_token

    browser = app.browser("annotator")
    assert browser.get("/api/v1/task").json()["user"] == "annotator one"
    secret = browser.cookies[app.cookie]
    assert browser.post("/api/v1/next", json={}, headers={"X-CSRF-Token": csrf_token(secret)}).status_code == 200
    assert browser.post("/api/v1/next", json={}).status_code == 403


def test_what_others_said_is_on_no_page_before_one_has_answered(app):
    owner = app.people["owner"]
    from labelwright.webapp.answers import Answer

    key = app.desk.search(user=owner).rows[0]["item"]
    app.desk.answer_item(owner, key, Answer("none", comment="the secret reason"), client_id="the owner's")
    browser = app.browser("annotator")
    for path in ("/items", "/item", "/queue", "/classes", "/people", "/compare"):
        assert "secret reason" not in browser.get(path, params={"key": key}).text, path


def test_large_bodies_are_refused(app):
    browser = app.browser("owner")
    for path in ("/login", "/queue/answer", "/api/v1/answer"):
        for body in (b"x" * (1 << 21), iter([b"x" * (1 << 20)] * 3)):
            answer = browser.post(path, content=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
            assert answer.status_code == 413, path


@pytest.mark.parametrize("path", ["/", "/login", "/nothing", "/queue", "/api/v1/nothing", "/api/v1/openapi.json"])
def test_every_response_has_the_headers(app, path):
    headers = app.browser("annotator").get(path).headers
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] in (
        "no-referrer",
        "same-origin",
    )
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy


def test_the_description_of_the_api_is_the_whole_one(app):
    told = app.browser().get("/api/v1/openapi.json").json()
    assert all(path.startswith("/api/v1/") for path in told["paths"]) and len(told["paths"]) > 20
