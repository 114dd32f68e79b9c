"""Who asks: an API token (header Authorization: Bearer), or a session cookie, with the CSRF header on whatever changes things."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from labelwright.webapp.accounts import Accounts
from labelwright.webapp.api.errors import ApiError
from labelwright.webapp.api.tokens import Tokens
from labelwright.webapp.desk import Desk
from labelwright.webapp.security import check_csrf
from labelwright.webapp.views import User

_bearer = HTTPBearer(auto_error=False, description="a personal API token: page Account, or POST /api/v1/tokens")
_header = APIKeyHeader(
    name="X-CSRF-Token", auto_error=False, description="with a session cookie: the CSRF token that the pages carry"
)


def bind(desk: Desk, accounts: Accounts, tokens: Tokens, cookie: str) -> Callable[..., None]:
    """The dependency of the whole router: it knows the caller before any route runs."""
    session_cookie = APIKeyCookie(name=cookie, auto_error=False, description="the session of the pages")

    def known(
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
        session: str | None,
        csrf: Annotated[str | None, Security(_header)],
    ) -> None:
        state = request.state
        state.desk, state.accounts, state.tokens = desk, accounts, tokens
        if "authorization" in request.headers:  # wrong credentials never fall back to others
            user = tokens.user_of(bearer.credentials) if bearer else None
        elif session:
            user = accounts.user(session)
            if user is not None and request.method not in ("GET", "HEAD"):
                check_csrf(session, csrf or "")
        else:
            user = None
        if user is None:
            raise ApiError(
                401,
                found="nobody logged in, or a token that is unknown or was taken back",
                expected="an API token, or the session of a page",
                fix="send the header `Authorization: Bearer TOKEN`",
            )
        state.user = user

    # an annotation that names a local variable can't be looked up later
    known.__annotations__["session"] = Annotated[str | None, Security(session_cookie)]
    return known


def _may(role: str) -> Callable[[Request], User]:
    def allowed(request: Request) -> User:
        user: User = request.state.user
        if not user.may(role):
            raise ApiError(
                403, found=f"a request of {user.role} {user.name}", expected=f"the role {role}", fix="ask the owner"
            )
        return user

    return allowed


def _of_state(name: str) -> Callable[[Request], Any]:
    def found(request: Request) -> Any:
        return getattr(request.state, name)

    return found


Caller = Annotated[User, Depends(_may("annotator"))]
Adjudicator = Annotated[User, Depends(_may("adjudicator"))]
Owner = Annotated[User, Depends(_may("owner"))]
TheDesk = Annotated[Desk, Depends(_of_state("desk"))]
TheAccounts = Annotated[Accounts, Depends(_of_state("accounts"))]
TheTokens = Annotated[Tokens, Depends(_of_state("tokens"))]
