"""The JSON API under /api/v1: everything that the pages can do, described by OpenAPI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from labelwright.webapp.api import people, review, team
from labelwright.webapp.api.access import bind
from labelwright.webapp.api.errors import problem, responses
from labelwright.webapp.api.tokens import Tokens
from labelwright.webapp.settings import Settings

if TYPE_CHECKING:
    from labelwright.webapp.accounts import Accounts
    from labelwright.webapp.desk import Desk

PREFIX = "/api/v1"


def router(desk: Desk, accounts: Accounts, settings: Settings | None = None) -> APIRouter:
    """The routes of the JSON API, for `app.include_router`.

    Args:
        desk: hands out items, takes answers.   accounts: whose sessions count, beside API tokens.
        settings: name the session cookie; default: those of `Settings()`.
    """
    known = bind(desk, accounts, Tokens(accounts.engine), (settings or Settings()).cookie)
    api = APIRouter(prefix=PREFIX)
    for part in (review.routes, team.routes, people.routes):
        api.include_router(part, dependencies=[Depends(known)], responses=responses(400, 401, 403, 503))

    @api.get("/openapi.json", include_in_schema=False)
    def description() -> Response:
        return JSONResponse(openapi(api))

    @api.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    def nothing(request: Request) -> Response:
        """What no route above takes."""
        path = f"/{request.path_params['path']}"
        allowed = {method for r in _routes() if r.path_regex.match(path) for method in r.methods or ()}
        return problem(405, Allow=", ".join(sorted(allowed))) if allowed else problem(404)

    return api


def _routes() -> list[APIRoute]:
    return [r for part in (review, team, people) for r in part.routes.routes if isinstance(r, APIRoute)]


def openapi(api: APIRouter) -> dict[str, Any]:
    """The OpenAPI description of the API alone, without the pages."""
    from labelwright import __version__

    return get_openapi(
        title="Labelwright review API", version=__version__, routes=api.routes,
        description=(
            "Send `Authorization: Bearer TOKEN` with an API token. An answer is on the server's disk when it is acknowledged; "
            "send it again with the same `client_id` whenever no acknowledgement came. Errors are {found, expected, fix}."
        ),
    )  # fmt: skip


__all__ = ["openapi", "router"]
