"""Refusals before any route come in the API's form, and a client_id stands for one answer alone."""

from __future__ import annotations

import pytest

from labelwright.webapp.api.errors import MOST_BODY

SAID = {"kind": "class", "classes": ["cat"]}


def told(answer, status: int) -> dict:
    assert answer.status_code == status and answer.headers["content-type"] == "application/json", answer.text
    found = answer.json()
    assert set(found) == {"found", "expected", "fix"} and all(isinstance(v, str) and v for v in found.values())
    return found


@pytest.mark.parametrize(
    ("headers", "status", "fix"),
    [
        ({"Host": "evil.example"}, 421, "printed when it started"),
        ({"Origin": "https://evil.example"}, 403, "go back"),
        ({"Sec-Fetch-Site": "cross-site"}, 403, "go back"),
        ({"Content-Length": str(MOST_BODY + 1)}, 413, "send less at once"),
        ({"Content-Length": "9" * 40}, 413, "send less at once"),
        ({"Content-Length": "-1"}, 413, "number of bytes"),
    ],
)
def test_the_guard_refuses_in_json(site, headers, status, fix):
    assert fix in told(site.call("POST", "/skip", json={"token": "x"}, headers=headers), status)["fix"]


def test_pages_are_refused_in_a_sentence_unless_a_script_asks(site):
    plain = site.browser.post("/queue/answer", content=b"x" * (MOST_BODY + 1))
    assert plain.status_code == 413 and plain.headers["content-type"].startswith("text/plain")
    assert "at most 1,048,576 bytes" in plain.text and "send less at once" in plain.text
    scripted = {"Accept": "application/json"}
    told(site.browser.post("/queue/answer", content=b"x" * (MOST_BODY + 1), headers=scripted), 413)


def test_a_bug_is_told_in_json_and_its_words_stay_inside(site, monkeypatch):
    def breaks(*args, **options):
        raise RuntimeError("the secret words of the bug")

    from starlette.testclient import TestClient

    from labelwright.webapp.app import create_app

    monkeypatch.setattr(type(site.desk), "skip", breaks)
    app = create_app(site.desk, site.accounts, site.settings)
    browser = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
    answer = browser.post("/api/v1/skip", json={"token": "x"}, headers=site.headers["annotator"])
    assert "try again" in told(answer, 500)["fix"] and "secret" not in answer.text


def next_item(site) -> dict:
    return site.call("POST", "/next", json={"stream": "repair"}).json()


def test_the_same_answer_again_is_counted_once(site):
    body = {"token": next_item(site)["token"], "answer": SAID, "client_id": "laptop-000001"}
    first, again = (site.call("POST", "/answer", json=body).json() for _ in range(2))
    assert not first["again"] and again == first | {"again": True}
    assert site.desk.progress().answers == 1


def test_an_id_of_another_answer_is_refused(site):
    first, second = next_item(site), None
    body = {"token": first["token"], "answer": SAID, "client_id": "laptop-000001"}
    site.call("POST", "/answer", json=body)
    second = next_item(site)
    for other in (
        body | {"token": second["token"]},  # another item
        body | {"answer": {"kind": "unsure"}},  # the same item, another answer
        body | {"answer": SAID | {"comment": "and why"}},
    ):
        problem = told(site.call("POST", "/answer", json=other), 409)
        assert "another answer was sent before" in problem["found"] and "new random id" in problem["fix"]
        assert first["item"]["item"] in problem["found"]
    by_key = {"item": second["item"]["item"], "answer": SAID, "client_id": "laptop-000001"}
    assert "another answer" in told(site.call("POST", "/item/answer", json=by_key), 409)["found"]
    same = by_key | {"item": first["item"]["item"]}
    assert site.call("POST", "/item/answer", json=same).json()["again"]
    assert site.desk.progress().answers == 1
    later = body | {"token": second["token"], "client_id": "laptop-000002"}  # nothing was lost: the lease still stands
    assert site.call("POST", "/answer", json=later).json()["item"] == second["item"]["item"]


def test_after_an_undo_the_old_id_is_not_taken_for_a_new_answer(site):
    lease = next_item(site)
    body = {"token": lease["token"], "answer": SAID, "client_id": "laptop-000001"}
    site.call("POST", "/answer", json=body)
    assert site.call("POST", "/undo").json()["item"] == lease["item"]["item"]
    again = next_item(site)
    assert again["item"]["item"] == lease["item"]["item"] and again["token"] != lease["token"]
    told(site.call("POST", "/answer", json=body | {"token": again["token"]}), 409)
    assert site.desk.progress().answers == 0
