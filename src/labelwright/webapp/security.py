"""What every request and every answer of the server must keep to: known hosts, own pages, small bodies, a strict policy."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from typing import TYPE_CHECKING, Any

from labelwright.errors import LabelwrightError, OptionError
from labelwright.webapp.refusals import NotAllowed
from labelwright.webapp.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Any]]
    Send = Callable[[Any], Awaitable[None]]

_log = logging.getLogger(__name__)
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self'; font-src 'self'; "
    "connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; manifest-src 'self'"
)
FRAME_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'self'"
)
"""For pages that hold what came from the data (HTML items, the audit's report): no script, no origin, nothing fetched."""

HEADERS = {
    "content-security-policy": PAGE_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "x-dns-prefetch-control": "off",
    "cache-control": "no-store",
}
FRAME_HEADERS = {"content-security-policy": FRAME_POLICY, "x-frame-options": "SAMEORIGIN"}
_SAFE = ("GET", "HEAD", "OPTIONS")


class NoSuchPage(LabelwrightError, LookupError):
    """Nothing is at this address."""


def csrf_token(session: str) -> str:
    """What a form has to bring along: nobody without the session's cookie can know it, and it doesn't tell the cookie."""
    return hmac.new(session.encode(), b"labelwright csrf", hashlib.sha256).hexdigest()


def check_csrf(session: str, given: str) -> None:
    """Raise `NotAllowed` unless `given` belongs to the session."""
    if not hmac.compare_digest(csrf_token(session).encode(), given.encode("utf-8", "replace")):
        raise NotAllowed(
            found="a form that this page didn't make, or one of an earlier log-in",
            expected="a form of the page as it is now",
            fix="reload the page and send it again",
        )


class Guard:
    """ASGI middleware around the whole app: Host, Origin, size of the body, and the headers of every answer."""

    def __init__(self, app: Any, settings: Settings):
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # we speak no WebSocket
            await send({"type": "websocket.close", "code": 1008})
            return
        refused = self._refusal(scope)
        if refused is not None:
            await _refuse(scope, send, *refused)
            return
        answer = _Headed(send)
        try:
            await self.app(scope, _Limited(receive, self.settings.most_body), answer)
        except Exception:  # a bug of ours: the log tells it, the page doesn't
            _log.exception("%s %s failed", scope["method"], scope["path"])
            if answer.begun:
                raise
            await _refuse(scope, send, 500, "a mistake of ours", "an answer", "try again; the server's log tells more")

    def _refusal(self, scope: Scope) -> tuple[int, str, str, str] | None:
        """Status and words (found, expected, fix) for a request that is turned away; None for one that goes on."""
        names = [k for k, _ in scope["headers"]]
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        host = headers.get("host", "")
        if names.count(b"host") != 1 or not self.settings.knows_host(host):
            found = "a name by which this server is not known"
            return 421, found, "one of its own", "open it by the address that was printed when it started"
        if scope["method"] not in _SAFE:
            origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
            foreign = origin is not None and not self.settings.knows_origin(origin, host)
            if foreign or site not in ("same-origin", "none"):
                return 403, "a request that a page of another site sent", "one of this server's own pages", "go back"
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            return 413, "a request of unknown size", "a Content-Length of digits alone", "send its number of bytes"
        if len(length) > 20 or int(length) > self.settings.most_body:
            most = f"at most {self.settings.most_body:,} bytes"
            return 413, "a request that is too large", most, "send less at once"
        return None


class TooLarge(LabelwrightError, ValueError):
    """A request body beyond the limit."""


class _Limited:
    """`receive` that stops when more comes than the header said, or without a header more than the limit."""

    def __init__(self, receive: Receive, most: int):
        self.receive, self.most, self.seen = receive, most, 0

    async def __call__(self) -> Any:
        message = await self.receive()
        self.seen += len(message.get("body", b""))
        if self.seen > self.most:
            raise TooLarge(
                found="a request that goes on and on", expected=f"at most {self.most:,} bytes", fix="send less at once"
            )
        return message


class _Headed:
    """`send` that gives every answer the headers that it doesn't set itself. begun: whether something was sent."""

    def __init__(self, send: Send):
        self.send, self.begun = send, False

    async def __call__(self, message: Any) -> None:
        self.begun = True
        if message["type"] == "http.response.start":
            there = {name.lower() for name, _ in message.get("headers", [])}
            more = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in there]
            message = {**message, "headers": [*message.get("headers", []), *more]}
        await self.send(message)


async def _refuse(scope: Scope, send: Send, status: int, found: str, expected: str, fix: str) -> None:
    """Answer before any route does: in JSON to programs, in one sentence to people."""
    kind, text = "text/plain; charset=utf-8", f"Found {found}; expected {expected}. To mend it: {fix}."
    accept = b",".join(v for k, v in scope["headers"] if k == b"accept")
    if scope["path"].startswith("/api/") or b"application/json" in accept:
        kind, text = "application/json", json.dumps({"found": found, "expected": expected, "fix": fix})
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(text.encode())).encode())]
    send = _Headed(send)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


def check_name(name: str) -> str:
    """A user's name as it is kept: 1 to 64 printable characters, none that lays other text over it.

    Raises:
        OptionError: anything else.
    """
    import unicodedata

    kept = unicodedata.normalize("NFKC", name).strip()
    if not 1 <= len(kept) <= 64 or not kept.isprintable():
        raise OptionError(
            found=f"the name {name[:80]!r}", expected="1 to 64 printable characters", fix="choose another name"
        )
    return kept


def check_password(password: str, name: str) -> str:
    """The password, where it is hard enough to guess.

    Raises:
        OptionError: shorter than 10 characters, longer than 1,000, or the name itself.
    """
    if not 10 <= len(password) <= 1000 or password.casefold() == name.casefold() or len(set(password)) < 4:
        raise OptionError(
            found=f"a password of {len(password)} characters, {len(set(password))} of them different",
            expected="10 to 1,000 characters, at least 4 of them different, and not the name",
            fix="choose a longer one, such as a few words",
        )
    return password
