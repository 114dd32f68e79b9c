"""Looking at items: search, one item by its key, its files, and the classes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from labelwright.errors import LabelwrightError
from labelwright.webapp.forms import read_answer
from labelwright.webapp.media import response
from labelwright.webapp.pages.work import among, answer_context, class_named, class_names, client_id, kinds
from labelwright.webapp.refusals import NoSuchItem
from labelwright.webapp.render import address
from labelwright.webapp.security import FRAME_HEADERS, NoSuchPage
from labelwright.webapp.site import Form, Site, Visit

STATES = ("open", "answered", "conflict", "skipped")
PER_PAGE = 50
_TOLD = {"saved": "Saved.", "again": "Saved before.", "flagged": "Flagged.", "unflagged": "The flag is off."}


def router(site: Site) -> APIRouter:
    """site: what the pages stand on."""
    pages = APIRouter(include_in_schema=False)
    desk = site.desk

    @pages.get("/items")
    def items(
        request: Request, text: str = "", label: str = "", suggested: str = "", kind: str = "", state: str = "",
        flagged: str = "", page: int = 1,
    ) -> Response:  # fmt: skip
        visit = site.visit(request)
        query = {
            "text": text[:500],
            "label": label,
            "suggested": suggested,
            "kind": kind,
            "state": state,
            "flagged": flagged,
        }
        refused, found = "", None
        try:
            found = desk.search(
                query["text"], label=class_named(site, label), suggested=class_named(site, suggested),
                kind=among("kind", kind, kinds(site)), state=among("state", state, STATES), flagged=True if flagged else None,
                user=visit.user, page=min(max(page, 1), 1_000_000), per_page=PER_PAGE,
            )  # fmt: skip
        except LabelwrightError as error:
            refused = f"{error.found}; {error.fix}"
        return site.page(
            "items.html", visit, here="/items", status=422 if refused else 200, found=found, query=query, refused=refused,
            kinds=kinds(site), states=STATES, class_names=class_names(site),
        )  # fmt: skip

    @pages.get("/item")
    def item(request: Request, key: str, told: str = "") -> Response:
        return _item(site, site.visit(request), key, told=_TOLD.get(told, ""))

    @pages.get("/item/{key:path}")
    def item_of(request: Request, key: str) -> Response:
        site.visit(request)
        return RedirectResponse(address("/item", key=key), 303)

    @pages.post("/item/answer")
    def answer(request: Request, fields: Form) -> Response:
        posted = site.posted(request, fields)
        key, said, user = posted.one("key"), posted.one("answer"), posted.visit.user
        try:
            if said in ("flag", "unflag"):
                desk.flag(user, key, posted.one("comment"), on=said == "flag")
                return RedirectResponse(address("/item", key=key, told=f"{said}ged"), 303)
            given = read_answer(fields, desk.space, desk.item(key, user), multi=desk.multi)
            receipt = desk.answer_item(user, key, given, client_id=client_id(posted))
        except NoSuchItem:
            raise
        except LabelwrightError as error:
            return _item(site, posted.visit, key, 422, refused=f"{error.found}. {error.fix}.")
        return RedirectResponse(address("/item", key=key, told="again" if receipt.again else "saved"), 303)

    @pages.get("/media")
    def media(request: Request, key: str) -> Any:
        site.visit(request)
        found, _ = desk.media(key)
        return response(found, request.headers.get("range"))

    @pages.get("/frame")
    def frame(request: Request, key: str) -> Response:
        visit = site.visit(request)
        content = desk.item(key, visit.user).content
        if content.kind != "html":
            raise NoSuchPage(found="an item that is no HTML", expected="an HTML item", fix="open the item's own page")
        return HTMLResponse(content.text.encode("utf-8", "replace"), headers=FRAME_HEADERS)

    @pages.get("/classes")
    def classes(request: Request) -> Response:
        visit = site.visit(request)
        found = desk.classes()
        moves = sorted(((n, row["label"], to) for row in found for to, n in _moves(row) if n), key=lambda m: -m[0])
        return site.page("classes.html", visit, here="/classes", rows=found, moves=moves[:200])

    return pages


def _item(site: Site, visit: Visit, key: str, status: int = 200, *, told: str = "", refused: str = "") -> Response:
    found = site.desk.item(key, visit.user)
    return site.page(
        "item.html", visit, here="/items", status=status, lease=None, stream="", action="/item/answer", told=told,
        refused=refused, class_names=class_names(site), **answer_context(site, found),
    )  # fmt: skip


def _moves(row: dict[str, Any]) -> list[tuple[Any, int]]:
    """(settled class, count) of the items whose class was changed."""
    return [(to, n) for to, n in row["to"].items() if str(to) != str(row["label"])]
