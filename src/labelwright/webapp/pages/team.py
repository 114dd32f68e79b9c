"""Working together: conflicts, comparisons, how people do, and who may come in."""

from __future__ import annotations

import secrets
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from labelwright.errors import LabelwrightError
from labelwright.webapp.answers import Answer
from labelwright.webapp.api.tokens import Tokens
from labelwright.webapp.forms import read_answer
from labelwright.webapp.pages.work import answer_context, class_names, client_id
from labelwright.webapp.render import address, printable
from labelwright.webapp.site import Form, Site, Visit
from labelwright.webapp.views import ROLES, Found

_PER_PAGE = 10
_BETTER = ("first", "second", "same")


def router(site: Site) -> APIRouter:
    """site: what the pages stand on."""
    pages = APIRouter(include_in_schema=False)
    desk, tokens = site.desk, Tokens(site.accounts.engine)

    @pages.get("/conflicts")
    def conflicts(request: Request, page: int = 1) -> Response:
        return _conflicts(site, site.visit(request, "adjudicator"), page)

    @pages.post("/conflicts")
    def adjudicate(request: Request, fields: Form) -> Response:
        posted = site.posted(request, fields, "adjudicator")
        key = posted.one("key")
        try:
            item = desk.item(key, posted.visit.user)
            answer = _chosen(site, posted.one("answer"), key) or read_answer(fields, desk.space, item, multi=desk.multi)
            desk.adjudicate(posted.visit.user, key, answer, client_id=client_id(posted))
        except LabelwrightError as error:
            return _conflicts(site, posted.visit, 1, 422, refused=f"{error.found}. {error.fix}.")
        return RedirectResponse("/conflicts", 303)

    @pages.get("/compare")
    def compare(request: Request) -> Response:
        visit = site.visit(request)
        return _compare(site, visit)

    @pages.post("/compare")
    def better(request: Request, fields: Form) -> Response:
        posted = site.posted(request, fields)
        said = posted.one("better")
        try:
            if said not in _BETTER:
                return _compare(
                    site, posted.visit, 422, refused="Choose the first, the second, or that both are alike."
                )
            desk.compare(posted.visit.user, posted.one("token"), said, client_id=client_id(posted))
        except LabelwrightError as error:
            return _compare(site, posted.visit, 422, refused=f"{error.found}. {error.fix}.")
        return RedirectResponse("/compare", 303)

    @pages.get("/people")
    def people(request: Request) -> Response:
        visit = site.visit(request)
        found = desk.people()
        if not visit.user.may("adjudicator"):  # annotators see how they do themselves
            found = [person for person in found if person.name == visit.user.name]
        return site.page("people.html", visit, here="/people", people=found, progress=desk.progress())

    @pages.get("/users")
    def users(request: Request, told: str = "") -> Response:
        return _users(site, site.visit(request, "owner"), told="Done." if told else "")

    @pages.post("/users")
    def change(request: Request, fields: Form) -> Response:
        posted = site.posted(request, fields, "owner")
        accounts, number = site.accounts, posted.one("id")
        try:
            if posted.one("do") == "add":
                accounts.add(posted.one("name"), posted.one("password"), posted.one("role"))
            elif number.isascii() and number.isdigit() and len(number) < 10:
                active = {"close": False, "open": True}.get(posted.one("do"))
                role = posted.one("role") if posted.one("do") == "role" else None
                password = posted.one("password") if posted.one("do") == "password" else None
                accounts.change(int(number), role=role, active=active, password=password)
                if active is False or password is not None:
                    tokens.revoke_all(int(number))
        except LabelwrightError as error:
            return _users(
                site, posted.visit, 422, refused=f"Found {error.found}; expected {error.expected}: {error.fix}."
            )
        return RedirectResponse(address("/users", told="1"), 303)

    @pages.get("/account")
    def account(request: Request) -> Response:
        return _account(site, site.visit(request), tokens)

    @pages.post("/account")
    def make_token(request: Request, fields: Form) -> Response:
        posted = site.posted(request, fields)
        user, secret = posted.visit.user, ""
        if posted.one("do") == "revoke":
            tokens.revoke(posted.one("id")[:16] or "-", user.id)
        else:
            secret = tokens.create(user.id, printable(posted.one("name")).strip()[:80] or "token")["token"]
        return _account(site, posted.visit, tokens, secret)

    return pages


def _account(site: Site, visit: Visit, tokens: Tokens, secret: str = "") -> Response:
    return site.page("account.html", visit, here="/account", tokens=tokens.of(visit.user.id), secret=secret)


def _conflicts(site: Site, visit: Visit, page: int, status: int = 200, refused: str = "") -> Response:
    page = min(max(page, 1), 1_000_000)
    listed, total = site.desk.conflicts(page)
    shown = [answer_context(site, c.item) | {"answers": c.answers} for c in listed]
    return site.page(
        "conflicts.html", visit, here="/conflicts", status=status, conflicts=shown, refused=refused, lease=None, stream="",
        action="/conflicts", found=Found((), total, page, max(len(listed), _PER_PAGE)), class_names=class_names(site),
    )  # fmt: skip


def _chosen(site: Site, said: str, key: str) -> Answer | None:
    """The answer of the reviewer whose button was pressed, as one of the adjudicator."""
    if not said.startswith("said:"):
        return None
    number = said[5:]
    for conflict in _all_conflicts(site, key):
        if number.isascii() and number.isdigit() and int(number) < len(conflict.answers):
            return _as_answer(site, conflict.answers[int(number)].value, conflict.item.given)
    return None


def _all_conflicts(site: Site, key: str) -> list[Any]:
    page = 1
    while True:
        listed, _ = site.desk.conflicts(page)
        found = [c for c in listed if c.item.item == key]
        if found or not listed:
            return found
        page += 1


def _as_answer(site: Site, value: Any, given: Any) -> Answer:
    from labelwright.store.events import CANT_TELL, NONE_FITS

    if value == given:
        return Answer("keep")
    if value in (CANT_TELL, NONE_FITS):
        return Answer("unsure" if value == CANT_TELL else "none")
    if isinstance(value, dict) and "box" in value:
        return Answer("move")
    if isinstance(value, dict):
        names = {str(name): name for name in site.desk.space.classes}
        return Answer("distribution", tuple(names.get(n, n) for n in value), tuple(value.values()))
    if isinstance(value, list | tuple):
        return Answer("classes", tuple(value))
    return Answer("class", (value,))


def _compare(site: Site, visit: Visit, status: int = 200, refused: str = "") -> Response:
    pair = site.desk.pair(visit.user)
    return site.page(
        "compare.html", visit, here="/compare", status=status, pair=pair, refused=refused,
        client_id=secrets.token_urlsafe(16),
    )  # fmt: skip


def _users(site: Site, visit: Visit, status: int = 200, *, told: str = "", refused: str = "") -> Response:
    return site.page(
        "users.html", visit, here="/users", status=status, accounts=site.accounts.everybody(), roles=ROLES, told=told,
        refused=refused,
    )  # fmt: skip
