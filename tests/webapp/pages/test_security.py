"""Hosts, origins, CSRF, headers, limits, roles."""

from __future__ import annotations

import pytest

from labelwright.errors import OptionError
from labelwright.webapp.settings import Settings

from .conftest import TOKEN, Browser

PAGES = (
    "/queue", "/items", "/item?key=t001", "/conflicts", "/compare", "/people", "/classes", "/report", "/report/frame",
    "/instruction", "/systems", "/systems/toptwo", "/export", "/export/answers", "/users", "/help", "/account", "/queue/next",
    "/queue/progress", "/media?key=t001", "/frame?key=t001",
)  # fmt: skip
POSTS = ("/queue/answer", "/queue/undo", "/item/answer", "/conflicts", "/compare", "/users", "/account", "/logout")


def test_nothing_is_shown_to_somebody_who_is_not_logged_in(visitor):
    for path in PAGES:
        answer = visitor.get(path)
        assert (answer.status_code, answer.headers.get("location")) == (303, "/login"), path
        assert visitor.get(path, headers={"accept": "application/json"}).status_code == 401
    visitor.get("/login")
    for path in POSTS:
        assert visitor.post(path).status_code == 401, path
    assert visitor.get("/docs").status_code == 404 and visitor.get("/redoc").status_code == 404


def test_every_post_needs_the_csrf_token_of_its_own_session(app, olga):
    other = Browser(app)
    other.log_in("anna")
    other.get("/queue")
    foreign = other.field("csrf")
    for path in POSTS:
        for csrf in ("", "0" * 64, foreign, "é"):
            assert olga.post(path, csrf=csrf).status_code == 403, path


def test_posts_of_other_sites_are_refused_even_with_the_token(olga):
    olga.get("/users")
    for headers in (
        {"origin": "https://evil.example"}, {"origin": "null"}, {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"},
    ):  # fmt: skip
        answer = olga.post("/users", do="add", name="eve", password="quiet river 88", role="owner", headers=headers)
        assert answer.status_code == 403 and "another site" in answer.text
    olga.get("/users")
    assert "<bdi>eve</bdi>" not in olga.text


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1:9", "127.0.0.1.evil.example:8000", "", "a@127.0.0.1:8000"]
)
def test_unknown_hosts_are_turned_away(visitor, host):
    answer = visitor.get("/login", headers={"host": host})
    assert answer.status_code == 421 and "content-security-policy" in answer.headers


def test_hosts_and_origins_of_settings():
    open_ = Settings(host="0.0.0.0", port=80, origins=("https://review.example.org",))
    assert open_.knows_host("review.example.org") and open_.knows_host("192.168.1.7") and open_.knows_host("[::1]:80")
    assert not open_.knows_host("rebound.example.org") and not open_.knows_host("review.example.org:80")
    assert open_.knows_origin("https://review.example.org", "review.example.org") and open_.secure
    assert not open_.knows_origin("http://review.example.org", "review.example.org")
    assert open_.cookie.startswith("__Host-") and not open_.local
    assert not Settings().knows_host("192.168.1.7:8000")
    for bad in ("review.example.org", "https://a/b", "ftp://a"):
        with pytest.raises(OptionError, match="https://review.example.org"):
            Settings(origins=(bad,))


def test_every_answer_carries_the_strict_headers(olga, visitor):
    for answer in (olga.get("/queue"), olga.get("/nothing"), olga.get("/static/style.css"), visitor.get("/login")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy and "form-action 'self'" in policy and "base-uri 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin" and answer.headers["x-frame-options"] == "DENY"
        assert "server" not in answer.headers
    for path in ("/queue", "/items", "/users", "/compare", "/systems"):
        olga.get(path)
        assert "style=" not in olga.text and "onclick" not in olga.text and "<style" not in olga.text
        assert olga.text.count("<script") == olga.text.count('<script src="/static/')


def test_frames_have_a_policy_of_their_own(olga):
    answer = olga.get("/report/frame")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox;") and "script-src" not in policy and "default-src 'none'" in policy
    assert "allow" not in policy.split(";")[0] and "frame-ancestors 'self'" in policy
    olga.get("/report")
    assert '<iframe class="report" sandbox src=' in olga.text


def test_bodies_have_a_limit_announced_or_not(anna):
    anna.get("/queue")
    assert anna.post("/queue/answer", comment="x" * (1 << 20)).status_code == 413

    def endless():
        for _ in range(40):
            yield b"comment=" + b"x" * (1 << 16)

    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert anna.http.post("/queue/answer", content=endless(), headers=headers).status_code == 413
    many = "&".join("a=1" for _ in range(5000))
    answer = anna.http.post("/queue/answer", content=many, headers=headers)
    assert answer.status_code == 422 and "2000 fields" in answer.text
    for kind in ("application/json", "multipart/form-data; boundary=x", "text/plain"):
        assert anna.http.post("/queue/answer", content=b"{}", headers={"content-type": kind}).status_code == 422


def test_the_session_cookie(app, visitor):
    answer = visitor.log_in("anna")
    cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("labelwright-8000="))
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/" in cookie
    before = visitor.http.cookies["labelwright-8000"]
    visitor.get("/queue")
    visitor.post("/logout")
    visitor.http.cookies.set("labelwright-8000", before)
    assert visitor.get("/queue").status_code == 303  # the old one is over on the server too


def test_a_planted_session_is_not_taken_over(app, visitor, accounts, people):
    planted = accounts.start_session(people.ben)
    visitor.http.cookies.set("labelwright-8000", planted)
    visitor.get("/login")
    fresh = Browser(app)
    fresh.get("/login")
    fresh.http.cookies.set("labelwright-8000", planted)
    fresh.post("/login", name="anna", password="violet tram 17")
    assert accounts.user(planted) is None


def test_log_in_is_limited(visitor):
    visitor.get("/login")
    for _ in range(5):
        assert visitor.post("/login", name="anna", password="a wrong guess").status_code == 401
    answer = visitor.post("/login", name="anna", password="violet tram 17")
    assert answer.status_code == 429 and answer.headers["retry-after"] == "600"


def test_log_in_needs_its_own_form(visitor):
    assert visitor.post("/login", csrf="0" * 64, name="anna", password="violet tram 17").status_code == 403


def test_roles(app, anna):
    for path in ("/conflicts", "/users", "/export/answers"):
        assert anna.get(path).status_code == 403, path
    anna.get("/queue")
    assert 'href="/users"' not in anna.text
    for path in ("/users", "/conflicts"):
        assert anna.post(path, do="add", name="x", password="quiet river 88", role="owner").status_code == 403
    judy = Browser(app)
    judy.log_in("judy")
    assert judy.get("/conflicts").status_code == 200 and judy.get("/users").status_code == 403


def test_there_is_no_sign_up_and_nobody_sees_how_others_do(anna, visitor):
    for path in ("/signup", "/register", "/users/new"):
        assert visitor.get(path).status_code == 404
    anna.get("/people")
    assert "anna" in anna.text and "olga" not in anna.text


@pytest.fixture
def alone(desk, accounts):
    from labelwright.webapp.app import create_app

    return create_app(desk, accounts, Settings(token=TOKEN), local=accounts.local("me"))


def test_the_token_of_a_single_user_is_exchanged_for_a_cookie(alone):
    browser = Browser(alone)
    assert browser.get("/queue").headers["location"] == "/login"
    assert browser.get("/?token=wrong").status_code == 403
    assert browser.get("/?token=%C3%A9").status_code == 403
    answer = browser.get(f"/?token={TOKEN}")
    assert (
        answer.status_code == 303 and answer.headers["location"] == "/queue" and TOKEN not in answer.headers["location"]
    )
    assert browser.get("/queue").status_code == 200 and TOKEN not in browser.text
    stranger = Browser(alone)
    stranger.get("/login")
    assert "terminal printed" in stranger.text and "<form" not in stranger.text
    assert stranger.post("/login", csrf="x", name="anna", password="violet tram 17").status_code == 403


def test_the_token_means_nothing_where_people_log_in(visitor):
    answer = visitor.get(f"/?token={TOKEN}")
    assert answer.headers["location"] == "/queue" and "set-cookie" not in answer.headers


def test_errors_tell_nothing_of_the_inside(app, olga, monkeypatch):
    from starlette.testclient import TestClient

    def broken(*_, **__):
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(app.state.site.desk, "people", broken)
    quiet = TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False, cookies=olga.http.cookies)
    answer = quiet.get("/people")
    assert answer.status_code == 500 and "secret" not in answer.text and "Traceback" not in answer.text
    assert "content-security-policy" in answer.headers
