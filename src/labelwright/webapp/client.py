"""A client of the review app's JSON API, on the standard library alone."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPException, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from labelwright.errors import DataError, LabelwrightError, OptionError
from labelwright.webapp.answers import Answer

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ApiRefusal(LabelwrightError, RuntimeError):
    """The server said no. `status` is its code: 401 no token, 403 role, 404 no such item, 409 lease lost, 422 wrong field …"""

    def __init__(self, status: int, *, found: str, expected: str, fix: str):
        self.status = status
        super().__init__(found=found, expected=expected, fix=fix)


class _Stay(HTTPRedirectHandler):
    """No redirect is followed: it could carry the token to another host."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class ReviewClient:
    """Reviews over HTTP: `for lease in client: client.answer(lease, "keep")`.

    url: of the server, such as "http://127.0.0.1:8000"; unencrypted http only on this machine, unless `insecure`.
    token: an API token (page "Account", or `POST /api/v1/tokens`).   timeout: seconds per request.
    retries: how often a request that got no answer is sent again, with the same `client_id`: it is counted once.
    """

    def __init__(self, url: str, token: str, *, timeout: float = 30.0, retries: int = 4, insecure: bool = False):
        parts = urlsplit(url)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.username
            or parts.query
            or parts.fragment
        ):
            raise OptionError(
                found=f"the address {url!r}", expected="http(s)://HOST:PORT", fix="pass the one that the server printed"
            )
        if parts.scheme == "http" and parts.hostname not in LOOPBACK and not insecure:
            raise OptionError(
                found=f"the unencrypted address {url!r}",
                expected="https, since the token would travel in clear",
                fix="put the server behind a proxy with TLS, or pass insecure=True in a network you trust",
            )
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise OptionError(found="a token that is none", expected="an API token", fix="make one on the page Account")
        self.url, self.timeout, self.retries = url.rstrip("/") + "/api/v1", timeout, retries
        self._token = token
        proxies: dict[str, str] | None = (
            {} if parts.hostname in LOOPBACK else None
        )  # a proxy has no business with this machine's own server
        self._opener: OpenerDirector = build_opener(_Stay(), ProxyHandler(proxies))

    def __repr__(self) -> str:
        return f"ReviewClient({self.url!r})"

    def next(self, stream: str = "repair", *, ahead: int = 0) -> dict[str, Any] | None:
        """A lease: {token, item, stream, until, place}; None when there is nothing left for you."""
        lease: dict[str, Any] | None = self._call("POST", "/next", {"stream": stream, "ahead": ahead})
        return lease

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Leases of the repair stream, until none is left."""
        while (lease := self.next()) is not None:
            yield lease

    def item(self, key: str) -> dict[str, Any]:
        """One item with its evidence."""
        return dict(self._call("GET", "/item", query={"item": key}))

    def media(self, key: str) -> bytes:
        """The file of an item."""
        with self._open("GET", "/media", query={"item": key}) as response:
            return response.read()

    def answer(
        self,
        lease: Mapping[str, Any] | str,
        kind: str | Answer = "keep",
        *classes: Any,
        client_id: str | None = None,
        seconds: float | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """Answer a lease (or an item, by its key): `answer(lease, "class", "cat", severity="minor")`.

        kind, classes, more: the fields of `labelwright.webapp.answers.Answer` (shares, comment, severity, why), or an `Answer`.

        Returns:
            {event_id, item, again}: the answer is on the server's disk.
        """
        body = {"answer": _fields(kind, classes, more), "client_id": client_id or new_client_id()}
        if isinstance(lease, str):
            return dict(self._call("POST", "/item/answer", {**body, "item": lease}))
        timed = {} if seconds is None else {"seconds": seconds}
        return dict(self._call("POST", "/answer", {**body, **timed, "token": lease["token"]}))

    def skip(self, lease: Mapping[str, Any]) -> None:
        """Give a lease back; somebody else gets the item."""
        self._call("POST", "/skip", {"token": lease["token"]})

    def flag(self, key: str, comment: str = "", *, on: bool = True) -> None:
        """Mark an item for others to look at."""
        self._call("POST", "/flag", {"item": key, "comment": comment, "on": on})

    def undo(self) -> dict[str, Any] | None:
        """Take my last answer back; the item, or None. Sent once: a second undo would take back one more."""
        item: dict[str, Any] | None = self._call("POST", "/undo", {}, retries=0)
        return item

    def search(self, text: str = "", *, per_page: int = 50, **filters: Any) -> Iterator[dict[str, Any]]:
        """Items whose key or text holds `text`, page by page. filters: label, suggested, kind, state, flagged."""
        page, seen, total = 1, 0, 1
        while seen < total:
            query = {"text": text, "per_page": per_page, "page": page, **filters}
            found = self._call("GET", "/search", query={k: v for k, v in query.items() if v is not None})
            yield from found["rows"]
            page, seen, total = page + 1, seen + len(found["rows"]), found["total"]
            if not found["rows"]:
                return

    def progress(self) -> dict[str, Any]:
        """Items, answers, conflicts, the estimate of wrong labels, the effort curve."""
        return dict(self._call("GET", "/progress"))

    def export(self, path: str | Path, *, format: str | None = None) -> Path:
        """All answers into a file (.csv, .jsonl or .parquet), which is there whole or not at all."""
        path = Path(path)
        part = path.with_name(path.name + ".part")
        with self._open("GET", "/export", query={"format": format or path.suffix[1:] or "csv"}) as response:
            try:
                with part.open("wb") as file:
                    while chunk := response.read(1 << 20):
                        file.write(chunk)
                    told = response.headers.get("Content-Length")
                    if told is not None and int(told) != file.tell():
                        raise IncompleteRead(b"", int(told) - file.tell())
                part.replace(path)
            except (OSError, HTTPException) as error:
                part.unlink(missing_ok=True)
                raise DataError(
                    found=f"an export that broke off ({type(error).__name__})",
                    expected="the whole file",
                    fix="try again",
                ) from error
        return path

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: Any) -> Any:
        """Any other route of the API, such as `call("GET", "/people")`."""
        return self._call(method, path, body, query=query)

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        retries: int | None = None,
    ) -> Any:
        with self._open(method, path, body, query=query, retries=retries) as response:
            return json.loads(response.read() or b"null")

    def _open(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        retries: int | None = None,
    ) -> HTTPResponse:
        """The response, after as many tries as it takes; what the server refuses is raised at once."""
        text = {k: str(v).lower() if isinstance(v, bool) else v for k, v in (query or {}).items()}
        url = self.url + path + ("?" + urlencode(text) if text else "")
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        left = self.retries if retries is None else retries
        wait = 0.2
        while True:
            try:
                return self._opener.open(Request(url, data, headers, method=method), timeout=self.timeout)
            except HTTPError as error:
                if error.code not in (429, 502, 503, 504) or left <= 0:
                    raise _refusal(error) from None
            except (URLError, HTTPException, OSError) as error:
                if left <= 0:
                    raise DataError(
                        found=f"no answer from {self.url} ({getattr(error, 'reason', error)})",
                        expected="a running review server",
                        fix="start `labelwright review`, or check the address; the answer may be sent again",
                    ) from error
            left -= 1
            time.sleep(wait)
            wait = min(wait * 2, 5.0)


def new_client_id() -> str:
    """A name for one answer, never used before."""
    return secrets.token_hex(16)


def _fields(kind: str | Answer, classes: tuple[Any, ...], more: Mapping[str, Any]) -> dict[str, Any]:
    """An answer as JSON."""
    answer = kind if isinstance(kind, Answer) else Answer(kind, classes, **more)
    return {
        "kind": answer.kind, "classes": list(answer.classes), "shares": list(answer.shares), "comment": answer.comment,
        "severity": answer.severity, "why": answer.why,
    }  # fmt: skip


def _refusal(error: HTTPError) -> ApiRefusal:
    """The server's words, or its bare status where it sent none."""
    try:
        said = json.loads(error.read(1 << 16))
        told = {name: str(said[name]) for name in ("found", "expected", "fix")}
    except (ValueError, KeyError, TypeError):
        told = {
            "found": f"status {error.code} from {urlsplit(error.url or '').path}",
            "expected": "an answer of the review app's API",
            "fix": "check the address",
        }
    return ApiRefusal(error.code, **told)
