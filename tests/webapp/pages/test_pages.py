"""Every page without a script: forms, redirects, and what they show."""

from __future__ import annotations

import json
import re

import pytest

from .conftest import Browser


def answered(desk):
    return desk.progress().answers


def test_every_page_opens(olga):
    for path in (
        "/queue", "/queue?stream=estimation", "/items", "/items?text=goal&label=sport&kind=error&state=open&flagged=1",
        "/item?key=t001", "/conflicts", "/compare", "/people", "/classes", "/report", "/report/frame", "/instruction",
        "/systems", "/systems?q=crowd+workers", "/systems/toptwo", "/export", "/users", "/help", "/account", "/queue/next?ahead=1",  # noqa: E501
        "/queue/progress", "/static/style.css", "/static/review.js", "/static/icon.svg", "/api/v1/openapi.json",
    ):  # fmt: skip
        assert olga.get(path).status_code == 200, path
    assert olga.get("/item/t001").headers["location"] == "/item?key=t001"
    for path in ("/item?key=nobody", "/systems/nobody", "/static/../app.py", "/static/app.py", "/frame?key=t001", "/x"):
        assert olga.get(path).status_code == 404, path
    for path in ("/queue?stream=x", "/items?label=x", "/items?kind=x", "/item", "/items?page=x"):
        assert olga.get(path).status_code == 422, path


def test_the_queue_tells_item_evidence_and_stream(anna, desk, people):
    anna.get("/queue")
    lease = desk.next(people.anna)
    assert f"<bdi>{lease.item.item}</bdi>" in anna.text and lease.item.content.text in anna.text
    assert "repair stream" in anna.text and "don’t enter the estimate" in anna.text
    assert "Chance that the given label is wrong" in anna.text and "Why it is shown" in anna.text
    anna.get("/queue?stream=estimation")
    assert "random order drawn beforehand" in anna.text


@pytest.mark.parametrize(
    ("button", "more", "value"),
    [
        ("keep", {}, None),
        ("class:1", {}, "space"),
        ("named", {"class_name": " SPACE "}, "space"),
        ("auto", {"class_name": "space"}, "space"),
        ("unsure", {}, "unsure"),
        ("none", {}, "none"),
        ("distribution", {"share-0": "60", "share-1": "40"}, {"money": 0.6, "space": 0.4}),
        ("auto", {"share-0": "0.5", "other-1": "sport", "other-share-1": "0.5"}, {"money": 0.5, "sport": 0.5}),
    ],
)
def test_an_answer_by_form(anna, desk, people, button, more, value):
    anna.get("/queue")
    key = anna.field("key")
    fields = {name: anna.field(name) for name in ("token", "key", "stream", "client_id")}
    more = more | {"comment": "seen\r\ntwice", "severity": "minor"}
    answer = anna.post("/queue/answer", fields | more, answer=button)
    assert (answer.status_code, answer.headers["location"]) == (303, "/queue?stream=repair&told=saved")
    mine = desk.item(key, people.anna).mine
    assert mine.comment == "seen\ntwice" and mine.severity == "minor"
    if button in ("keep", "unsure", "none"):
        assert mine.kind == button
    else:
        found = dict(zip(mine.classes, mine.shares)) if mine.shares else mine.classes[0]
        assert found == pytest.approx(value) if isinstance(value, dict) else found == value
    assert anna.get(answer.headers["location"]).text.count("Saved.") == 1
    again = anna.post("/queue/answer", fields | more, answer=button)  # the same form sent twice
    assert again.headers["location"].endswith("told=again") and answered(desk) == 1
    other = anna.post("/queue/answer", fields | more | {"comment": ""}, answer=button)  # another one under the same id
    assert other.status_code == 422 and "new random id" in other.text and answered(desk) == 1


def test_sixty_forty_goes_to_the_classes_in_the_order_shown(anna, desk, people):
    anna.get("/queue")
    fields = {name: anna.field(name) for name in ("token", "key", "stream", "client_id")}
    item = desk.next(people.anna).item
    anna.post("/queue/answer", fields, answer="distribution", quick="60/40")
    mine = desk.item(item.item, people.anna).mine
    assert mine.classes == tuple(name for name, _ in item.suggested[:2]) and mine.shares == pytest.approx((0.6, 0.4))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"answer": "auto"}, "choose an answer"),
        ({"answer": "named", "class_name": "spacce"}, "nearest are"),
        ({"answer": "class:99"}, "reload the page"),
        ({"answer": "class:-1"}, "reload the page"),
        ({"answer": "distribution", "quick": "60/50"}, "60/40"),
        ({"answer": "distribution", "quick": "nan"}, "60/40"),
        ({"answer": "distribution", "quick": "10/20/30/40"}, "60/40"),
        ({"answer": "classes", "member": "1"}, "60/40"),
        ({"answer": "keep", "severity": "huge"}, "choose one of these"),
        ({"answer": "keep", "comment": "x" * 4001}, "shorten it"),
        ({"answer": "keep", "client_id": "short"}, "reload the page"),
        ({"answer": "keep", "token": "of somebody else"}, "take the next item"),
    ],
)
def test_an_answer_that_is_none_is_told_and_not_kept(anna, desk, fields, told):
    anna.get("/queue")
    known = {name: anna.field(name) for name in ("token", "key", "stream", "client_id")}
    answer = anna.post("/queue/answer", known | fields)
    assert answer.status_code in (409, 422) and told in answer.text.replace("&#39;", "'")
    assert answered(desk) == 0
    as_json = anna.post("/queue/answer", known | fields, headers={"accept": "application/json"})
    assert told in as_json.json()["fix"] and as_json.status_code == answer.status_code


def test_skip_flag_and_undo_by_form(anna, desk, people):
    anna.get("/queue")
    first = anna.field("key")
    fields = {name: anna.field(name) for name in ("token", "key", "stream", "client_id")}
    anna.post("/queue/answer", fields, answer="flag", comment="look at this")
    assert desk.item(first, people.anna).flagged
    anna.post("/queue/answer", fields, answer="unflag")
    assert not desk.item(first, people.anna).flagged
    anna.post("/queue/answer", fields, answer="skip")
    anna.get("/queue")
    second = anna.field("key")
    assert second != first
    fields = {name: anna.field(name) for name in ("token", "key", "stream", "client_id")}
    anna.post("/queue/answer", fields, answer="keep")
    anna.get("/queue")
    assert anna.post("/queue/undo").headers["location"] == "/queue?stream=repair&told=undone"
    anna.get("/queue")
    assert anna.field("key") == second and answered(desk) == 0
    assert anna.post("/queue/undo").headers["location"].endswith("told=nothing")


def test_the_background_answer_brings_the_item_after_the_next(anna, desk, people):
    anna.get("/queue")
    ahead = anna.http.get("/queue/next?stream=repair&ahead=1").text
    fields = {name: anna.field(name) for name in ("token", "key", "stream", "client_id")}
    told = anna.post(
        "/queue/answer", fields, answer="keep", ahead="1", csrf="",
        headers={"accept": "application/json", "x-csrf-token": anna.field("csrf")},
    ).json()  # fmt: skip
    keys = [re.search(r'data-item="([^"]*)"', text)[1] for text in (ahead, told["next"])]
    assert len({fields["key"], *keys}) == 3 and told["event"] and told["told"] == "Saved."
    assert desk.next(people.anna).item.item == keys[0]


def test_a_filtered_queue(anna, desk):
    anna.get("/queue?label=sport&kind=error")
    assert "Only: given sport, kind error" in anna.text
    key = anna.field("key")
    row = next(r for r in desk.search(key, user=anna_user(desk)).rows if r["item"] == key)
    assert (row["given"], row["kind"]) == ("sport", "error")
    fields = {name: anna.field(name) for name in ("token", "key", "stream", "client_id", "label", "suggested", "kind")}
    assert "label=sport" in anna.post("/queue/answer", fields, answer="keep").headers["location"]


def anna_user(desk):
    from labelwright.webapp.views import User

    return User(1, "anna", "annotator")


def test_search_and_jump(anna, desk):
    anna.get("/items?text=t017")
    assert "1 item<" in anna.text.replace("</p>", "<") and 'href="/item?key=t017"' in anna.text
    anna.get("/item?key=t017")
    assert anna.post("/item/answer", key="t017", answer="class:1", client_id="from the page").status_code == 303
    anna.get("/item?key=t017&told=saved")
    assert "Your answer: <bdi" in anna.text and "Saved." in anna.text
    bad = anna.post("/item/answer", key="t017", answer="named", class_name="?", client_id="from the page")
    assert bad.status_code == 422 and "nearest are" in bad.text
    anna.get("/items?page=3")
    assert "page 3 of 4" in anna.text


def test_two_who_disagree_and_an_adjudicator(app, review_repo, engine, accounts):
    from labelwright.webapp.app import create_app
    from labelwright.webapp.desk import Desk
    from labelwright.webapp.settings import Settings

    desk = Desk.open(review_repo, engine, overlap=2, flush_every=None)
    app = create_app(desk, accounts, Settings())
    for name, button in (("anna", "class:0"), ("ben", "class:1")):
        browser = Browser(app)
        browser.log_in(name)
        browser.get("/item?key=t005")
        browser.post("/item/answer", key="t005", answer=button, comment=f"{name} says so", client_id="once only")
    judy = Browser(app)
    judy.log_in("judy")
    judy.get("/conflicts")
    assert "1 item on which" in judy.text and "anna says so" in judy.text and "ben says so" in judy.text
    assert judy.post("/conflicts", key="t005", answer="said:1", client_id=judy.field("client_id")).status_code == 303
    judy.get("/conflicts")
    assert "No item on which" in judy.text
    assert desk.search("t005", user=anna_user(desk)).rows[0]["settled"] == "space"
    assert (
        judy.post("/conflicts", csrf=None, data={"csrf": csrf_of(judy)}, key="t005", answer="said:7").status_code == 422
    )
    desk.close()


def csrf_of(browser):
    browser.get("/queue")
    return browser.field("csrf")


def test_users_by_the_owner(app, olga, accounts):
    olga.get("/users")
    olga.post("/users", do="add", name="<b>eve</b>", password="quiet river 88", role="annotator")
    olga.get("/users")
    assert "&lt;b&gt;eve&lt;/b&gt;" in olga.text and "<b>eve" not in olga.text
    number = str(next(a.user.id for a in accounts.everybody() if "eve" in a.user.name))
    olga.post("/users", do="role", id=number, role="adjudicator")
    olga.post("/users", do="password", id=number, password="another river 77")
    olga.post("/users", do="close", id=number)
    eve = next(a for a in accounts.everybody() if "eve" in a.user.name)
    assert (eve.user.role, eve.active) == ("adjudicator", False)
    bad = olga.post("/users", do="add", name="anna", password="quiet river 88", role="owner")
    assert bad.status_code == 422 and "taken" in bad.text


def test_a_token_for_programs_is_shown_once(anna):
    anna.get("/account")
    made = anna.post("/account", do="make", name="my program")
    secret = re.search(r"<code>(lw_[^<]*)</code>", made.text)[1]
    answer = anna.http.get("/api/v1/progress", headers={"authorization": f"Bearer {secret}"})
    assert answer.status_code == 200 and answer.json()["items"] == 180
    anna.get("/account")
    assert secret not in anna.text and "my program" in anna.text
    anna.post("/account", do="revoke", id=anna.field("id"))
    assert anna.http.get("/api/v1/progress", headers={"authorization": f"Bearer {secret}"}).status_code == 401


def test_exports(olga):
    olga.get("/item?key=t001")
    olga.post("/item/answer", key="t001", answer="class:1", comment="=1+1", client_id="for the export")
    rows = olga.get("/export/answers?format=jsonl")
    assert json.loads(rows.text.splitlines()[0])["item"] == "t001"
    assert rows.headers["content-disposition"] == 'attachment; filename="answers.jsonl"'
    assert "\n=1+1" not in olga.get("/export/answers?format=csv").text and ",=1+1" not in olga.text
    assert olga.get("/export/answers?format=parquet").content[:4] == b"PAR1"
    assert olga.get("/export/answers?format=exe").status_code == 422


def test_the_systems_show_their_proofs(olga):
    olga.get("/systems/toptwo")
    assert "planted pairs" in olga.text and "method minus arm" in olga.text
    olga.get("/systems?q=toptwo")
    assert 'href="/systems/toptwo"' in olga.text
