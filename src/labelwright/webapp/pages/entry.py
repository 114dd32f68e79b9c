"""Coming in and going out: the token of a single user, log-in, log-out."""

from __future__ import annotations

import hmac
import secrets
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from labelwright.webapp.accounts import LogInRefused, TooManyTries
from labelwright.webapp.refusals import NotAllowed
from labelwright.webapp.security import check_csrf, csrf_token
from labelwright.webapp.site import Form, Site
from labelwright.webapp.views import User


def router(site: Site, local: User | None) -> APIRouter:
    """local: whom the token of the settings lets in; None where people log in."""
    pages = APIRouter(include_in_schema=False)
    before = f"{site.settings.cookie}-before"  # of a browser that hasn't logged in yet, for the form's CSRF token

    @pages.get("/")
    def root(request: Request, token: str = "") -> Response:
        expected = site.settings.token
        if token and local is not None and expected is not None:
            if not hmac.compare_digest(token.encode("utf-8", "replace"), expected.encode()):
                return _login(request, 403, "The key in this address is not the one of this server.")
            return _enter(site.accounts.start_session(local))
        return RedirectResponse("/queue", 303)

    @pages.get("/login")
    def login(request: Request) -> Response:
        if site.accounts.user(site.secret(request)) is not None:
            return RedirectResponse("/queue", 303)
        return _login(request)

    @pages.post("/login")
    def log_in(request: Request, fields: Form) -> Response:
        if site.settings.token is not None:
            return _login(request, 403)
        name, password, csrf = ((fields.get(k) or [""])[0] for k in ("name", "password", "csrf"))
        try:
            check_csrf(request.cookies.get(before, ""), csrf)
        except NotAllowed as error:
            return _login(request, 403, error.fix, name)
        address = request.client.host if request.client else ""
        try:
            secret, _ = site.accounts.log_in(name, password, address)
        except LogInRefused:
            return _login(request, 401, "Name and password don’t belong together, or the account is closed.", name)
        except TooManyTries as error:
            return _login(request, 429, f"Too many tries: {error.fix}.", name)
        if old := site.secret(request):  # a session that was there before is over: none can be planted
            site.accounts.log_out(old)
        answer = _enter(secret)
        answer.delete_cookie(before, path="/", secure=site.settings.secure, httponly=True, samesite="strict")
        return answer

    @pages.post("/logout")
    def log_out(request: Request, fields: Form) -> Response:
        posted = site.posted(request, fields)
        site.accounts.log_out(posted.visit.secret)
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(
            site.settings.cookie, path="/", secure=site.settings.secure, httponly=True, samesite="strict"
        )
        return answer

    def _enter(secret: str) -> Response:
        answer = RedirectResponse("/queue", 303)
        answer.set_cookie(
            site.settings.cookie, secret, max_age=int(3600 * site.settings.session_hours), **_cookie(site)
        )
        return answer

    def _login(request: Request, status: int = 200, refused: str = "", name: str = "") -> Response:
        secret = request.cookies.get(before) or secrets.token_urlsafe(32)
        headers = {"retry-after": "600"} if status == 429 else None
        page = site.page(
            "login.html", None, status=status, headers=headers, refused=refused, name=name, csrf=csrf_token(secret)
        )
        page.set_cookie(before, secret, max_age=3600, **_cookie(site))
        return page

    return pages


def _cookie(site: Site) -> dict[str, Any]:
    return {"path": "/", "secure": site.settings.secure, "httponly": True, "samesite": "strict"}
