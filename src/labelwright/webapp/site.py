"""What every page needs: the desk, the accounts, who asks, and how a page is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse

from labelwright.errors import OptionError
from labelwright.webapp.accounts import Accounts
from labelwright.webapp.forms import Fields
from labelwright.webapp.refusals import NotAllowed, not_allowed
from labelwright.webapp.render import render
from labelwright.webapp.security import check_csrf, csrf_token
from labelwright.webapp.settings import Settings
from labelwright.webapp.views import User

MOST_FIELDS = 2000


class LogInFirst(NotAllowed):
    """Nobody is logged in."""


@dataclass(frozen=True)
class Visit:
    """One request by somebody who is logged in. secret: of the session."""

    user: User
    secret: str

    @property
    def csrf(self) -> str:
        """What the forms of this visit carry."""
        return csrf_token(self.secret)


@dataclass(frozen=True)
class Posted:
    """A form that was sent by one of our pages."""

    visit: Visit
    fields: Fields

    def one(self, name: str, otherwise: str = "") -> str:
        """The first value of a field."""
        values = self.fields.get(name, ())
        return values[0] if values else otherwise


class Site:
    """desk: of the audit.   accounts: who may come in.   settings: how it is served."""

    def __init__(self, desk: Any, accounts: Accounts, settings: Settings):
        self.desk, self.accounts, self.settings = desk, accounts, settings

    def secret(self, request: Request) -> str:
        """The session's secret, empty without one."""
        return request.cookies.get(self.settings.cookie, "")

    def visit(self, request: Request, role: str = "annotator") -> Visit:
        """Who asks.

        Raises:
            LogInFirst: nobody is logged in.   NotAllowed: the role is not enough.
        """
        secret = self.secret(request)
        user = self.accounts.user(secret)
        if user is None:
            raise LogInFirst(found="nobody logged in", expected="a user of this project", fix="log in")
        if not user.may(role):
            raise not_allowed(user.role, role)
        return Visit(user, secret)

    def posted(self, request: Request, fields: Fields, role: str = "annotator") -> Posted:
        """The form that somebody sent whose role is enough, with the right CSRF token in a field or in the header."""
        visit = self.visit(request, role)
        posted = Posted(visit, fields)
        check_csrf(visit.secret, request.headers.get("x-csrf-token") or posted.one("csrf"))
        return posted

    def page(
        self,
        template: str,
        visit: Visit | None,
        *,
        here: str = "",
        status: int = 200,
        headers: Any = None,
        **context: Any,
    ) -> HTMLResponse:
        """A whole page."""
        return HTMLResponse(self.fragment(template, visit, here=here, **context), status, headers=headers)

    def fragment(self, template: str, visit: Visit | None, *, here: str = "", **context: Any) -> str:
        """The text of a template with what all of them know."""
        user, csrf = (visit.user, visit.csrf) if visit else (None, "")
        known = {"user": user, "csrf": csrf, "here": here, "single": self.settings.token is not None}
        return render(template, **(known | context))


async def read_form(request: Request) -> Fields:
    """The fields of an URL-encoded form; nothing else is taken, so nothing is ever unpacked or written."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/x-www-form-urlencoded", ""):
        raise OptionError(
            found=f"a request of type {kind[:60]!r}", expected="application/x-www-form-urlencoded", fix="send a form"
        )
    body = await request.body()
    try:
        return parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="replace")
    except ValueError as error:
        raise OptionError(
            found="a form that can't be read",
            expected=f"UTF-8, at most {MOST_FIELDS} fields",
            fix="send a smaller form",
        ) from error


Form = Annotated[Fields, Depends(read_form)]
"""A route's parameter: the fields that were sent."""
