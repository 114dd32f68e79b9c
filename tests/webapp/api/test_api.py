"""Every route: what it gives, who may use it, and what it says when it can't."""

from __future__ import annotations

import csv
import io
import json

import pytest

KEEP = {"kind": "keep"}


def problem(response, status, words=""):
    """The response is this error, in words."""
    assert response.status_code == status, response.text
    said = response.json()
    assert set(said) == {"found", "expected", "fix"} and all(said.values())
    assert words in " ".join(said.values())
    return said


def lease(site, role="annotator", stream="repair"):
    response = site.call("POST", "/next", role, {"stream": stream})
    assert response.status_code == 200, response.text
    return response.json()


def answer(site, token, said=KEEP, role="annotator", client_id=None, **more):
    body = {"token": token, "answer": said, "client_id": client_id or next(site.ids), **more}
    return site.call("POST", "/answer", role, body)


def other_class(site, item):
    return next(name for name in site.desk.space.classes if name != item["given"])


# -- who asks ----------------------------------------------------------------------------------------------------------
ROUTES = [
    ("GET", "/task", "annotator"), ("POST", "/next", "annotator"), ("GET", "/item", "annotator"),
    ("GET", "/media", "annotator"), ("POST", "/answer", "annotator"), ("POST", "/item/answer", "annotator"),
    ("POST", "/skip", "annotator"), ("POST", "/flag", "annotator"), ("POST", "/undo", "annotator"),
    ("GET", "/search", "annotator"), ("GET", "/progress", "annotator"), ("GET", "/classes", "annotator"),
    ("POST", "/pair", "annotator"), ("POST", "/compare", "annotator"), ("GET", "/tokens", "annotator"),
    ("POST", "/tokens", "annotator"), ("DELETE", "/tokens/0123456789abcdef", "annotator"),
    ("GET", "/people", "annotator"), ("GET", "/conflicts", "adjudicator"), ("POST", "/adjudicate", "adjudicator"),
    ("GET", "/export", "adjudicator"), ("POST", "/flush", "owner"), ("GET", "/users", "owner"),
    ("POST", "/users", "owner"), ("PATCH", "/users/1", "owner"),
]  # fmt: skip
BODY = {"token": "x", "item": "x", "answer": KEEP, "client_id": "test-answer-x", "better": "same"}
BODIES = {
    "/next": {}, "/answer": ("token", "answer", "client_id"), "/item/answer": ("item", "answer", "client_id"),
    "/skip": ("token",), "/flag": ("item",), "/compare": ("token", "better", "client_id"),
    "/adjudicate": ("item", "answer", "client_id"), "/tokens": {"name": "x"},
    "/users": {"name": "new one", "password": "correct horse", "role": "annotator"}, "/users/1": {},
}  # fmt: skip


def body_of(method, path):
    fields = BODIES.get(path)
    if method == "GET" or fields is None:
        return None
    return fields if isinstance(fields, dict) else {name: BODY[name] for name in fields}


def test_the_table_of_routes_is_complete(site):
    described = site.call("GET", "/openapi.json", None).json()["paths"]
    found = {(method.upper(), path.removeprefix("/api/v1")) for path, ways in described.items() for method in ways}
    patterns = {
        (m, p.replace("0123456789abcdef", "{token_id}").replace("/users/1", "/users/{user_id}")) for m, p, _ in ROUTES
    }
    assert found == patterns


def test_every_route_needs_somebody_and_the_role(site):
    for method, path, role in ROUTES:
        problem(site.call(method, path, None, body_of(method, path)), 401, "Bearer")
        wrong = {"Authorization": "Bearer lw_wrong"}
        problem(site.call(method, path, None, body_of(method, path), headers=wrong), 401)
        problem(site.call(method, path, None, body_of(method, path), headers={"Authorization": "Basic eDp5"}), 401)
        for lower in ("annotator", "adjudicator")[: ("annotator", "adjudicator", "owner").index(role)]:
            query = {"params": {"item": "x"}} if path in ("/item", "/media") else {}
            problem(site.call(method, path, lower, body_of(method, path), **query), 403, role)


def test_a_wrong_bearer_token_does_not_fall_back_to_the_session(site):
    secret = site.accounts.start_session(site.people["owner"])
    site.browser.cookies.set(site.settings.cookie, secret)
    assert site.call("GET", "/task", None).json()["role"] == "owner"
    problem(site.call("GET", "/task", None, headers={"Authorization": "Bearer lw_wrong"}), 401)


def test_a_session_needs_the_csrf_header_on_what_changes_things(site):
    from labelwright.webapp.security import csrf_token

    secret = site.accounts.start_session(site.people["annotator"])
    site.browser.cookies.set(site.settings.cookie, secret)
    assert site.call("GET", "/progress", None).status_code == 200
    problem(site.call("POST", "/next", None, {}), 403)
    problem(site.call("POST", "/next", None, {}, headers={"X-CSRF-Token": "0" * 64}), 403)
    assert site.call("POST", "/next", None, {}, headers={"X-CSRF-Token": csrf_token(secret)}).status_code == 200


def test_unknown_addresses_and_methods_are_told_in_json(site):
    problem(site.call("GET", "/nothing"), 404, "openapi.json")
    problem(site.call("DELETE", "/next"), 405, "openapi.json")


# -- reviewing ---------------------------------------------------------------------------------------------------------
def test_the_task_tells_what_an_answer_may_hold(site):
    told = site.call("GET", "/task").json()
    assert told["classes"] == list(site.desk.space.classes) and told["role"] == "annotator"
    assert {"keep", "distribution"} <= set(told["kinds"]) and "repair" in told["streams"]


@pytest.mark.parametrize("stream", ["repair", "estimation"])
def test_an_item_is_leased_answered_and_not_given_again(site, stream):
    first = lease(site, stream=stream)
    assert lease(site, stream=stream)["item"]["item"] == first["item"]["item"]  # a held lease comes back
    assert lease(site, "adjudicator", stream)["item"]["item"] != first["item"]["item"]
    receipt = answer(site, first["token"], seconds=1.5)
    assert (
        receipt.status_code == 200 and receipt.json()["item"] == first["item"]["item"] and not receipt.json()["again"]
    )
    assert lease(site, stream=stream)["item"]["item"] != first["item"]["item"]
    assert site.call("GET", "/progress").json()["answers"] == 1


def test_the_same_answer_sent_again_is_counted_once(site):
    token = lease(site)["token"]
    first = answer(site, token, client_id="the-same-one").json()
    again = answer(site, token, client_id="the-same-one").json()
    assert again == {**first, "again": True}
    assert site.call("GET", "/progress").json()["answers"] == 1


def test_every_kind_of_answer(site):
    for said in ("keep", "class", "distribution", "unsure", "none"):
        got = lease(site)
        given, other = got["item"]["given"], other_class(site, got["item"])
        body = {"kind": said, "comment": "why not", "severity": "minor", "why": "ambiguous"}
        body["classes"] = {"class": [other], "distribution": [given, other]}.get(said, [])
        body["shares"] = [0.6, 0.4] if said == "distribution" else []
        assert answer(site, got["token"], body).status_code == 200
        mine = site.call("GET", "/item", params={"item": got["item"]["item"]}).json()["mine"]
        assert mine == body
    assert len(list(csv.DictReader(io.StringIO(site.call("GET", "/export", "owner").text)))) == 5


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"kind": "class", "classes": ["no such class"]}, "classes"),
        ({"kind": "class", "classes": []}, "classes"),
        ({"kind": "class", "classes": [0]}, "classes"),
        ({"kind": "class", "classes": [True]}, "classes"),
        ({"kind": "classes", "classes": []}, "several"),
        ({"kind": "delete"}, "kind"),
        ({"kind": "keep", "severity": "huge"}, "severity"),
        ({"kind": "keep", "why": "bored"}, "why"),
        ({"kind": "keep", "comment": "x" * 4001}, "comment"),
        ({"kind": "keep", "comment": "a\x00b"}, "comment"),
        ({"kind": "keep", "more": 1}, "more"),
        ({"kind": "keep", "classes": [[]]}, "classes"),
        ({"kind": "keep", "classes": "ab"}, "classes"),
        ({"kind": "keep", "shares": ["0.5"]}, "shares"),
        ({}, "kind"),
    ],
)
def test_answers_that_cannot_be_are_refused_and_the_lease_stays(site, said, words):
    got = lease(site)
    problem(answer(site, got["token"], said), 422, words)
    assert site.call("GET", "/progress").json()["answers"] == 0
    assert answer(site, got["token"]).status_code == 200


@pytest.mark.parametrize(
    "text", ['{"kind": NaN}', '{"kind":"keep","shares":[NaN]}', '{"kind":"keep","shares":[1e999]}']
)
def test_numbers_that_are_none(site, text):
    body = '{"token": "x", "client_id": "test-answer-nan", "answer": ' + text + "}"
    problem(site.call("POST", "/answer", content=body, headers={"Content-Type": "application/json"}), 422)


@pytest.mark.parametrize("client_id", ["", "short", "with space in it", "x" * 101, "ünïcödé-ünïcödé", 12345678])
def test_client_ids_that_are_none(site, client_id):
    body = {"token": "x", "answer": KEEP, "client_id": client_id}
    problem(site.call("POST", "/answer", json=body), 422, "client_id")


def test_unknown_and_foreign_leases_are_409(site):
    problem(answer(site, "no such lease"), 409, "next item")
    mine = lease(site)["token"]
    problem(answer(site, mine, role="adjudicator"), 409)
    problem(site.call("POST", "/skip", "adjudicator", {"token": mine}), 409)
    assert answer(site, mine).status_code == 200


def test_an_item_is_answered_by_its_key(site):
    key = site.call("GET", "/search").json()["rows"][0]["item"]
    body = {"item": key, "answer": KEEP, "client_id": next(site.ids)}
    assert site.call("POST", "/item/answer", json=body).json()["item"] == key
    assert site.call("GET", "/item", params={"item": key}).json()["mine"]["kind"] == "keep"
    problem(site.call("POST", "/item/answer", json={**body, "item": "no such item", "client_id": next(site.ids)}), 404)


def test_unknown_items_are_404(site):
    for path in ("/item", "/media"):
        problem(site.call("GET", path, params={"item": "no such item"}), 404, "no such item")
    problem(site.call("POST", "/flag", json={"item": "no such item"}), 404)
    problem(site.call("GET", "/item"), 422, "item")


def test_a_skipped_item_goes_to_others_first(site):
    got = lease(site)
    assert site.call("POST", "/skip", json={"token": got["token"]}).json() == {"done": True}
    assert lease(site)["item"]["item"] != got["item"]["item"]


def test_a_flag_is_found_and_taken_away(site):
    key = lease(site)["item"]["item"]
    assert site.call("POST", "/flag", json={"item": key, "comment": "odd"}).status_code == 200
    rows = site.call("GET", "/search", params={"flagged": "true"}).json()["rows"]
    assert [row["item"] for row in rows] == [key]
    site.call("POST", "/flag", json={"item": key, "on": False})
    assert site.call("GET", "/search", params={"flagged": "true"}).json()["total"] == 0


def test_undo_takes_the_last_answer_back(site):
    assert site.call("POST", "/undo").status_code == 204
    got = lease(site)
    answer(site, got["token"])
    back = site.call("POST", "/undo")
    assert back.status_code == 200 and back.json()["item"] == got["item"]["item"]
    assert site.call("GET", "/progress").json()["answers"] == 0
    assert site.call("GET", "/item", params={"item": got["item"]["item"]}).json()["mine"] is None


def test_search_filters_and_turns_pages(site):
    everything = site.call("GET", "/search", params={"per_page": 200}).json()
    pages = [site.call("GET", "/search", params={"per_page": 7, "page": n}).json()["rows"] for n in (1, 2)]
    assert [r["item"] for page in pages for r in page] == [r["item"] for r in everything["rows"][:14]]
    label = site.desk.space.classes[0]
    found = site.call("GET", "/search", params={"label": str(label), "per_page": 200}).json()
    assert 0 < found["total"] < everything["total"] and {row["given"] for row in found["rows"]} == {label}
    for query in (
        {"page": 0},
        {"page": 10**7},
        {"per_page": 0},
        {"per_page": 201},
        {"text": "x" * 201},
        {"flagged": "x"},
    ):
        problem(site.call("GET", "/search", params=query), 422, next(iter(query)))


def test_the_stream_is_one_of_three(site):
    problem(site.call("POST", "/next", json={"stream": "all"}), 422, "stream")
    problem(site.call("POST", "/next", json={"ahead": 6}), 422, "ahead")
    problem(site.call("POST", "/next", json={"ahead": True}), 422, "ahead")


def test_one_more_item_can_be_leased_ahead(site):
    first = lease(site)
    ahead = site.call("POST", "/next", json={"ahead": 1}).json()
    assert ahead["item"]["item"] != first["item"]["item"]
    assert answer(site, ahead["token"]).status_code == 200 and answer(site, first["token"]).status_code == 200


def test_classes_and_pairs(site):
    rows = site.call("GET", "/classes").json()
    assert len(rows) >= len(site.desk.space)
    pair = site.call("POST", "/pair")
    if pair.status_code == 200:
        body = {"token": pair.json()["token"], "better": "first", "client_id": next(site.ids)}
        assert site.call("POST", "/compare", json=body).json()["item"] == pair.json()["item"]["item"]
    problem(site.call("POST", "/compare", json={"token": "x", "better": "first", "client_id": next(site.ids)}), 409)
    problem(
        site.call("POST", "/compare", json={"token": "x", "better": "last", "client_id": next(site.ids)}), 422, "better"
    )


# -- the team ----------------------------------------------------------------------------------------------------------
def test_a_conflict_is_settled(site):
    key = site.call("GET", "/search").json()["rows"][0]["item"]
    other = other_class(site, site.call("GET", "/item", params={"item": key}).json())
    for role, said in (("annotator", KEEP), ("owner", {"kind": "class", "classes": [other]})):
        body = {"item": key, "answer": said, "client_id": next(site.ids)}
        assert site.call("POST", "/item/answer", role, body).status_code == 200
    found = site.call("GET", "/conflicts", "adjudicator").json()
    assert found["total"] == 1 and len(found["conflicts"][0]["answers"]) == 2
    body = {"item": key, "answer": KEEP, "client_id": next(site.ids)}
    assert site.call("POST", "/adjudicate", "adjudicator", body).status_code == 200
    assert site.call("GET", "/conflicts", "adjudicator").json()["total"] == 0


def test_people_are_told_to_adjudicators_and_annotators_about_themselves(site):
    answer(site, lease(site)["token"])
    answer(site, lease(site, "owner")["token"], role="owner")
    assert {p["name"] for p in site.call("GET", "/people").json()} == {"annotator one"}
    people = {p["name"]: p for p in site.call("GET", "/people", "annotator").json()}
    assert people["annotator one"]["answers"] == 1


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_the_export_holds_every_answer(site, format):
    import pyarrow.parquet as pq

    keys = []
    for _ in range(3):
        got = lease(site)
        keys.append(got["item"]["item"])
        answer(site, got["token"])
    response = site.call("GET", "/export", "owner", params={"format": format})
    assert response.headers["content-disposition"].endswith(f'-answers.{format}"')
    read = {
        "csv": lambda: list(csv.DictReader(io.StringIO(response.text))),
        "jsonl": lambda: [json.loads(line) for line in response.text.splitlines()],
        "parquet": lambda: pq.read_table(io.BytesIO(response.content)).to_pylist(),
    }[format]()
    assert sorted(row["item"] for row in read) == sorted(keys)
    problem(site.call("GET", "/export", "owner", params={"format": "xlsx"}), 422, "format")


def test_waiting_answers_go_to_the_repository_once(site):
    answer(site, lease(site)["token"])
    assert site.call("GET", "/progress").json()["waiting"] == 1
    assert site.call("POST", "/flush", "owner").json() == {"flushed": 1}
    assert site.call("POST", "/flush", "owner").json() == {"flushed": 0}
    assert site.desk.repo.events(kinds=("review",)).num_rows == 1


# -- accounts and tokens -----------------------------------------------------------------------------------------------
def test_an_owner_makes_changes_and_closes_accounts(site):
    new = site.call(
        "POST", "/users", "owner", {"name": "Zoë", "password": "correct horse battery", "role": "annotator"}
    )
    assert new.status_code == 201
    number = new.json()["id"]
    assert {"id": number, "name": "Zoë", "role": "annotator", "active": True} in site.call(
        "GET", "/users", "owner"
    ).json()
    token = site.call("POST", "/tokens", "owner", {"name": "hers", "user_id": number}).json()["token"]
    hers = {"headers": {"Authorization": f"Bearer {token}"}}
    assert site.call("GET", "/task", None, **hers).json()["user"] == "Zoë"
    changed = site.call("PATCH", f"/users/{number}", "owner", {"role": "adjudicator"})
    assert changed.json()["role"] == "adjudicator" and site.call("GET", "/conflicts", None, **hers).status_code == 200
    assert not site.call("PATCH", f"/users/{number}", "owner", {"active": False}).json()["active"]
    problem(site.call("GET", "/task", None, **hers), 401)
    site.call("PATCH", f"/users/{number}", "owner", {"active": True})
    problem(site.call("GET", "/task", None, **hers), 401)  # an account that opens again starts without tokens


def test_accounts_that_cannot_be(site):
    good = {"name": "Zoë", "password": "correct horse battery"}
    assert site.call("POST", "/users", "owner", good).status_code == 201
    problem(site.call("POST", "/users", "owner", good), 422, "taken")
    problem(site.call("POST", "/users", "owner", {**good, "password": "short"}), 422, "password")
    problem(site.call("POST", "/users", "owner", {**good, "name": "a\u202eb"}), 422, "name")
    problem(site.call("POST", "/users", "owner", {**good, "role": "god"}), 422, "role")
    problem(site.call("PATCH", "/users/999", "owner", {"active": False}), 404)
    problem(site.call("PATCH", "/users/x", "owner", {"active": False}), 422, "user_id")
    me = site.people["owner"].id
    problem(site.call("PATCH", f"/users/{me}", "owner", {"role": "annotator"}), 422, "owner")


def test_tokens_are_mine_alone_and_shown_once(site):
    made = site.call("POST", "/tokens", json={"name": "my script"}).json()
    listed = site.call("GET", "/tokens").json()
    assert {t["name"] for t in listed} == {"test", "my script"} and all("token" not in t for t in listed)
    assert {t["user_id"] for t in listed} == {site.people["annotator"].id}
    problem(site.call("POST", "/tokens", json={"name": "x", "user_id": site.people["owner"].id}), 403)
    problem(site.call("POST", "/tokens", "owner", {"name": "x", "user_id": 999}), 404)
    problem(site.call("DELETE", f"/tokens/{made['id']}", "adjudicator"), 404)
    assert site.call("DELETE", f"/tokens/{made['id']}").json() == {"done": True}
    problem(site.call("GET", "/task", None, headers={"Authorization": f"Bearer {made['token']}"}), 401)
    problem(site.call("DELETE", f"/tokens/{made['id']}"), 404)
    problem(site.call("DELETE", "/tokens/%25"), 422)


def test_the_database_keeps_no_token_in_clear(site):
    from labelwright.webapp.tables import api_tokens

    secret = site.call("POST", "/tokens", json={"name": "my script"}).json()["token"]
    with site.engine.connect() as db:
        assert secret[3:] not in repr(db.execute(api_tokens.select()).all())


# -- errors of the machine ---------------------------------------------------------------------------------------------
def test_a_full_disk_and_a_lost_database_are_told(site, monkeypatch):
    from labelwright.webapp.refusals import DatabaseFailed, DiskFull

    token = lease(site)["token"]
    for kind, status in ((DiskFull, 507), (DatabaseFailed, 503)):

        def failing(*args, kind=kind, **more):
            raise kind(found="no room", expected="some", fix="make room")

        monkeypatch.setattr(site.desk, "answer", failing, raising=False)
        problem(answer(site, token), status, "make room")
    monkeypatch.undo()
    assert answer(site, token).status_code == 200


def test_bodies_that_are_too_large_or_no_json(site):
    from labelwright.webapp.api.errors import MOST_BODY

    json_type = {"Content-Type": "application/json"}
    big = b'{"token": "' + b"x" * MOST_BODY + b'"}'
    assert site.call("POST", "/skip", content=big, headers=json_type).status_code == 413
    problem(site.call("POST", "/skip", content=iter([big]), headers=json_type), 413)
    for text in (
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"token": ' + b"9" * 5000 + b"}",
        b'{"token": "\\ud800"}',
        b"null",
        b"[]",
    ):
        assert site.call("POST", "/skip", content=text, headers=json_type).status_code in (400, 422), text[:20]
    assert (
        site.call("POST", "/skip", content=b'{"token": "x"}', headers={"Content-Type": "text/plain"}).status_code == 422
    )


def test_the_description_is_complete(site):
    described = site.call("GET", "/openapi.json", None).json()
    assert {"HTTPBearer", "APIKeyCookie", "APIKeyHeader"} <= set(described["components"]["securitySchemes"])
    names = [way["operationId"] for ways in described["paths"].values() for way in ways.values()]
    assert len(names) == len(set(names)) == len(ROUTES)
    for path, ways in described["paths"].items():
        for way in ways.values():
            assert way["summary"] and way["security"] and {"400", "401", "403", "503"} <= set(way["responses"]), path
            for status, told in way["responses"].items():
                if status >= "400":
                    assert told["content"]["application/json"]["schema"]["$ref"].endswith("/Problem"), (path, status)
