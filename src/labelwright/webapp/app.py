"""The web app: pages and JSON API over a desk, behind the guard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

import labelwright
from labelwright.errors import LabelwrightError
from labelwright.webapp.accounts import Accounts, LogInRefused, TooManyTries
from labelwright.webapp.api import router as api_router
from labelwright.webapp.pages import about, entry, look, team, work
from labelwright.webapp.refusals import DatabaseFailed, DiskFull, IdTaken, LeaseLost, NoSuchItem, NotAllowed
from labelwright.webapp.security import Guard, NoSuchPage, TooLarge
from labelwright.webapp.settings import Settings
from labelwright.webapp.site import LogInFirst, Site
from labelwright.webapp.views import User

STATIC = {
    "style.css": "text/css; charset=utf-8",
    "review.js": "text/javascript; charset=utf-8",
    "tools.js": "text/javascript; charset=utf-8",
    "item.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_NO_TELEMETRY: Any = dict.fromkeys(("auto_configure", "tracing", "metrics", "logs", "operation_spans"), False)
"""Newer FastAPI would send traces to wherever the environment says; this app asks no other host."""
STATUS: tuple[tuple[type[LabelwrightError], int], ...] = (
    (LogInFirst, 401), (LogInRefused, 401), (NotAllowed, 403), (NoSuchItem, 404), (NoSuchPage, 404), (LeaseLost, 409),
    (IdTaken, 409), (TooLarge, 413), (TooManyTries, 429), (DiskFull, 507), (DatabaseFailed, 503),
)  # fmt: skip
"""Status by kind of error, the first that fits; any other of ours is 422."""


def create_app(desk: Any, accounts: Accounts, settings: Settings, *, local: User | None = None) -> FastAPI:
    """The ASGI app.

    Args:
        desk: the audit's desk.   accounts: in the same database.   settings: how it is served.
        local: whom the token of the settings lets in; None where people log in.
    """
    site = Site(desk, accounts, settings)
    app = FastAPI(
        title="Labelwright review",
        version=labelwright.__version__,
        description="Review of an audit: the next item, its answer, and what the answers tell.",
        docs_url=None,  # it would load scripts from another host
        redoc_url=None,
        openapi_url=None,  # the API describes itself
        telemetry=_NO_TELEMETRY,
    )
    for pages in (
        entry.router(site, local),
        work.router(site),
        look.router(site),
        team.router(site),
        about.router(site),
    ):
        app.include_router(pages)
    app.include_router(api_router(desk, accounts, settings))
    app.add_api_route("/static/{name}", _static, include_in_schema=False)
    _add_errors(app, site)
    app.add_middleware(Guard, settings=settings)
    app.state.site = site
    return app


def _static(name: str) -> Response:
    """One of the app's own files; nothing else has such a name."""
    if name not in STATIC:
        raise NoSuchPage(found=f"no file {name[:60]!r}", expected="a file of the app", fix="go back")
    headers = {"cache-control": "private, max-age=300"}
    return FileResponse(Path(__file__).parent / "static" / name, media_type=STATIC[name], headers=headers)


def status_of(error: LabelwrightError) -> int:
    """The status code of one of our errors.

    >>> status_of(NoSuchPage(found="", expected="", fix=""))
    404
    """
    return next((status for kind, status in STATUS if isinstance(error, kind)), 422)


def _add_errors(app: FastAPI, site: Site) -> None:
    answer = _answers(site)

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, LabelwrightError)
        if isinstance(error, LogInFirst) and request.method == "GET" and not _wants_json(request):
            return RedirectResponse("/login", 303)
        return answer(request, status_of(error), error.found, error.expected, error.fix)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        words = {404: "no page at this address", 405: "a way of asking that this page doesn't know"}
        return answer(
            request, error.status_code, words.get(error.status_code, "a request that can't be met"), "", "go back"
        )

    async def wrong(request: Request, error: Exception) -> Response:
        return answer(
            request, 422, "an address with a wrong or missing value", "one of a link of these pages", "go back"
        )

    app.add_exception_handler(LabelwrightError, ours)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, wrong)


def _answers(site: Site) -> Callable[..., Response]:
    """A function that tells an error as a page, or as JSON where that was asked for."""

    def answer(request: Request, status: int, found: str, expected: str, fix: str) -> Response:
        headers = {"retry-after": "600"} if status == 429 else None
        if _wants_json(request):
            return JSONResponse({"found": found, "expected": expected, "fix": fix}, status, headers)
        heading = {401: "Log in first", 403: "Not allowed", 404: "Not found", 507: "The disk is full"}.get(
            status, "That did not work"
        )
        return site.page(
            "message.html",
            None,
            status=status,
            headers=headers,
            heading=heading,
            found=found,
            expected=expected,
            fix=fix,
        )

    return answer


def _wants_json(request: Request) -> bool:
    return request.url.path.startswith("/api/") or "application/json" in request.headers.get("accept", "")
