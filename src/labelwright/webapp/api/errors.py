"""Every error of the JSON API is {found, expected, fix} with the status code that fits, and no body is read past its limit."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from labelwright.errors import LabelwrightError
from labelwright.webapp.accounts import LogInRefused, TooManyTries
from labelwright.webapp.api.models import Problem
from labelwright.webapp.refusals import DatabaseFailed, DiskFull, IdTaken, LeaseLost, NoSuchItem, NotAllowed
from labelwright.webapp.security import NoSuchPage, TooLarge

MOST_BODY = 1 << 20
"""Bytes of a request's body."""


class ApiError(LabelwrightError):
    """An error with its status code."""

    def __init__(self, status: int, *, found: str, expected: str, fix: str):
        self.status = status
        super().__init__(found=found, expected=expected, fix=fix)


STATUS: dict[type, int] = {
    LeaseLost: 409, IdTaken: 409, NoSuchItem: 404, NoSuchPage: 404, NotAllowed: 403, LogInRefused: 401, TooManyTries: 429,
    TooLarge: 413, DiskFull: 507, DatabaseFailed: 503,
}  # fmt: skip
"""Status code by the class of an error or the nearest of its bases; any other `LabelwrightError` is 422."""

_SAID = {
    400: ("a body that is no JSON", "a JSON object", "send one, encoded as UTF-8"),
    401: ("nobody logged in", "an API token or a session", "send the header `Authorization: Bearer TOKEN`"),
    403: ("a request that your role does not allow", "a higher role", "ask the owner"),
    404: ("nothing under this address", "what the OpenAPI description lists", "look at /api/v1/openapi.json"),
    405: ("a method that this address does not have", "one of the OpenAPI description", "look at /api/v1/openapi.json"),
    409: ("a lease that somebody else has now, or a client_id of another answer", "your own", "ask for the next item"),
    413: (f"a body of more than {MOST_BODY:,} bytes", f"at most {MOST_BODY:,}", "send less at once"),
    422: ("a field with a wrong value", "what the OpenAPI description says", "mend the field"),
    429: ("too many tries", "fewer in this time", "wait a minute"),
    503: ("a database that does not answer", "a running database", "try again; the same client_id is counted once"),
    507: ("a full disk", "space for the answer", "make room; nothing was half-written"),
}


def responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer beside its result, for the OpenAPI description."""
    return {code: {"model": Problem, "description": _SAID[code][0].capitalize()} for code in codes}


def a_file(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """The same for a route that sends a file of one of these content types."""
    return {200: {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in kinds}}}


def problem(status: int, found: str = "", expected: str = "", fix: str = "", **headers: str) -> Response:
    """The response to an error."""
    usual = _SAID.get(status, ("an error", "none", "see the OpenAPI description"))
    content = {"found": found or usual[0], "expected": expected or usual[1], "fix": fix or usual[2]}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(content, status, headers={**headers, "Cache-Control": "no-store"})


def status_of(error: LabelwrightError) -> int:
    """Its status code.

    >>> status_of(ApiError(404, found="", expected="", fix=""))
    404
    """
    if isinstance(error, ApiError):
        return error.status
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 422)


class ApiRoute(APIRoute):
    """A route whose errors are `Problem`s."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                response = await inner(Request(request.scope, _limited(request)))
            except LabelwrightError as error:
                return problem(status_of(error), error.found, error.expected, error.fix)
            except RequestValidationError as error:
                return problem(422, *_told(error))
            except HTTPException as error:
                return problem(413 if isinstance(error.__cause__, TooLarge) else error.status_code)
            response.headers.setdefault("Cache-Control", "no-store")
            return response

        return handler


def _limited(request: Request) -> Callable[[], Coroutine[Any, Any, Any]]:
    """The request's `receive`, which stops at `MOST_BODY`, whatever the header Content-Length says."""
    seen = 0

    async def receive() -> Any:
        nonlocal seen
        message = await request.receive()
        seen += len(message.get("body", b""))
        if seen > MOST_BODY:
            raise HTTPException(413)
        return message

    return receive


def _told(error: RequestValidationError) -> tuple[str, str, str]:
    """The first wrong field of a request in words; its value is not repeated, since it may be anything."""
    errors = error.errors()
    first = errors[0]
    if first["type"] == "json_invalid":
        return _SAID[400]
    field = ".".join(str(part)[:60] for part in first["loc"][1:] if not str(part).startswith("function-")) or "body"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    field = field.encode("utf-8", "replace").decode()
    return f"`{field}` with a wrong value{more}", first["msg"][:300], "see the OpenAPI description"
