"""The queue: one item at a time with its evidence, and the answer to it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from labelwright.errors import LabelwrightError, OptionError
from labelwright.webapp.answers import SEVERITIES, WHYS
from labelwright.webapp.forms import choices, ordered, read_answer
from labelwright.webapp.queue import Filters
from labelwright.webapp.refusals import LeaseLost
from labelwright.webapp.render import address, printable
from labelwright.webapp.site import Form, Posted, Site, Visit
from labelwright.webapp.viewing import FAULTS
from labelwright.webapp.views import STREAMS, Lease

KINDS = ("error", "ambiguous", "novel", "ok", "unlabelled")
PART_KINDS = (*FAULTS, "missed object", "wrong class", "ok")
MOST_NAMED = 5000  # classes that the search field of a page offers; others are typed


def router(site: Site) -> APIRouter:
    """site: what the pages stand on."""
    pages = APIRouter(include_in_schema=False)
    desk = site.desk

    @pages.get("/queue")
    def queue(
        request: Request, stream: str = "repair", told: str = "", label: str = "", suggested: str = "", kind: str = ""
    ) -> Response:
        visit, only = site.visit(request), Only(_stream(stream), label, suggested, kind)
        return _queue(site, visit, only, told=_TOLD.get(told, ""))

    @pages.get("/queue/next")
    def following(
        request: Request, stream: str = "repair", ahead: int = 0, label: str = "", suggested: str = "", kind: str = ""
    ) -> Response:
        visit, only = site.visit(request), Only(_stream(stream), label, suggested, kind)
        lease = desk.next(visit.user, only.stream, ahead=min(max(ahead, 0), 2), filters=only.filters(site))
        return HTMLResponse(work(site, visit, lease, only))

    @pages.get("/queue/progress")
    def progress(request: Request) -> Response:
        return HTMLResponse(site.fragment("progress.html", site.visit(request), progress=desk.progress()))

    @pages.post("/queue/answer")
    def answer(request: Request, fields: Form) -> Response:
        posted = site.posted(request, fields)
        only = _only(posted)
        try:
            told, event = _settle(site, posted)
        except LabelwrightError as error:
            if _scripted(request):
                raise
            status = 409 if isinstance(error, LeaseLost) else 422
            return _queue(site, posted.visit, only, status, refused=f"{error.found}. {error.fix}.")
        if not _scripted(request):
            return RedirectResponse(only.address(told), 303)
        content: dict[str, Any] = {"told": _TOLD[told], "event": event}
        if posted.one("ahead") and told not in ("flagged", "unflagged"):
            ahead = desk.next(posted.visit.user, only.stream, ahead=1, filters=only.filters(site))
            content["next"] = work(site, posted.visit, ahead, only) if ahead else None
        return JSONResponse(content)

    @pages.post("/queue/undo")
    def undo(request: Request, fields: Form) -> Response:
        posted = site.posted(request, fields)
        only = _only(posted)
        item = desk.undo(posted.visit.user)
        told = "nothing" if item is None else "undone"
        lease = None if item is None else _held(desk, posted.visit.user, item.item, only.stream)
        if lease is not None:  # of another stream, or outside the filter: what came back matters more
            inside = only.stream == lease.stream and desk.next(
                posted.visit.user, only.stream, filters=only.filters(site)
            )
            only = only if inside and inside.item.item == lease.item.item else Only(lease.stream)
        if not _scripted(request):
            return RedirectResponse(only.address(told), 303)
        html = work(site, posted.visit, lease, only) if lease else None
        return JSONResponse({"told": _TOLD[told], "work": html, "page": only.address("") if lease else None})

    return pages


@dataclass(frozen=True)
class Only:
    """Which items the page hands out: the stream, and names of classes and a kind, empty for any."""

    stream: str
    label: str = ""
    suggested: str = ""
    kind: str = ""

    def filters(self, site: Site) -> Filters | None:
        """As the desk takes it. Raises OptionError."""
        if not (self.label or self.suggested or self.kind):
            return None
        kind = among("kind", self.kind, kinds(site))
        return Filters(class_named(site, self.label), class_named(site, self.suggested), kind)

    def address(self, told: str) -> str:
        """The page of these items."""
        only = {"label": self.label, "suggested": self.suggested, "kind": self.kind}
        return address("/queue", stream=self.stream, told=told, **only)

    def words(self) -> str:
        """For the page; empty where every item comes."""
        given = (("given", self.label), ("suggested", self.suggested), ("kind", self.kind))
        return ", ".join(f"{name} {value}" for name, value in given if value)


_TOLD = {
    "saved": "Saved.", "again": "Saved before.", "skipped": "Skipped.", "flagged": "Flagged.", "unflagged": "The flag is off.",
    "undone": "Undone: here it is again.", "nothing": "Nothing to undo.",
}  # fmt: skip


def work(site: Site, visit: Visit, lease: Lease | None, only: Only) -> str:
    """The part of the page that changes with the item."""
    return site.fragment("_work.html", visit, **context(site, lease, only))


def context(site: Site, lease: Lease | None, only: Only) -> dict[str, Any]:
    """What the answer form and the item need."""
    known = {"lease": lease, "stream": only.stream, "only": only, "multi": site.desk.multi, "action": "/queue/answer"}
    if lease is None:
        return known
    return known | answer_context(site, lease.item)


def answer_context(site: Site, item: Any) -> dict[str, Any]:
    """What the answer form needs of an item."""
    space, multi = site.desk.space, site.desk.multi
    return {
        "item": item,
        "multi": multi,
        "choices": choices(space, item, multi=multi),
        "ordered": [] if multi else ordered(space, item),
        "severities": SEVERITIES,
        "whys": WHYS,
        "client_id": secrets.token_urlsafe(16),
    }


def class_names(site: Site) -> list[str]:
    """The names that the search field offers."""
    return [str(name) for name in site.desk.space.classes[:MOST_NAMED]]


def class_named(site: Site, name: str) -> Any:
    """The class of that name, None for no name. Raises OptionError."""
    if not name:
        return None
    for one in site.desk.space.classes:
        if name in (str(one), printable(one)):
            return one
    raise OptionError(found=f"the class {name[:80]!r}", expected="a class of the list", fix="choose one of the list")


def kinds(site: Site) -> tuple[str, ...]:
    """Of issues, for this audit."""
    return PART_KINDS if site.desk.of_parts else KINDS


def among(what: str, value: str, allowed: tuple[str, ...]) -> str | None:
    """The value, None where it is empty. Raises OptionError for another one than the allowed."""
    if value and value not in allowed:
        raise OptionError(found=f"{what} {value[:40]!r}", expected=", ".join(allowed), fix="choose one of these")
    return value or None


def _queue(site: Site, visit: Visit, only: Only, status: int = 200, *, told: str = "", refused: str = "") -> Response:
    lease = site.desk.next(visit.user, only.stream, filters=only.filters(site))
    return site.page(
        "queue.html", visit, here="/queue", status=status, progress=site.desk.progress(), told=told, refused=refused,
        class_names=class_names(site), filter_on=only.words(), **context(site, lease, only),
    )  # fmt: skip


def _only(posted: Posted) -> Only:
    only = (posted.one(name) for name in ("label", "suggested", "kind"))
    return Only(_stream(posted.one("stream", "repair")), *only)


def _settle(site: Site, posted: Posted) -> tuple[str, str | None]:
    """What was done, as a key of `_TOLD`, and the id of its event."""
    desk, user = site.desk, posted.visit.user
    said, token, key = posted.one("answer"), posted.one("token"), posted.one("key")
    if said in ("flag", "unflag"):
        desk.flag(user, key, posted.one("comment"), on=said == "flag")
        return f"{said}ged", None
    if said == "skip":
        desk.skip(user, token)
        return "skipped", None
    item = desk.item(key, user) if posted.one("quick") else None  # its order of classes is what the shares follow
    answer = read_answer(posted.fields, desk.space, item, multi=desk.multi)
    receipt = desk.answer(user, token, answer, client_id=client_id(posted), seconds=_seconds(posted))
    return "again" if receipt.again else "saved", receipt.event_id


def client_id(posted: Posted) -> str:
    """The name under which an answer counts once, however often it is sent."""
    given = posted.one("client_id")
    if not 8 <= len(given) <= 100 or not given.isascii() or not given.isprintable():
        raise OptionError(found="an answer without an id", expected="8 to 100 ASCII characters", fix="reload the page")
    return given


def _seconds(posted: Posted) -> float | None:
    try:
        seconds = float(posted.one("seconds"))
    except ValueError:
        return None
    return seconds if 0 <= seconds < 86_400 else None


def _held(desk: Any, user: Any, key: str, stream: str) -> Lease | None:
    """The user's lease of an item that came back."""
    for name in dict.fromkeys([stream, *STREAMS]):
        lease: Lease | None = desk.next(user, name)
        if lease is not None and lease.item.item == key:
            return lease
    return None


def _scripted(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "")


def _stream(name: str) -> str:
    if name not in STREAMS:
        raise OptionError(found=f"stream {name[:40]!r}", expected=", ".join(STREAMS), fix="choose one of these")
    return name
