"""How the app is served: addresses, limits and the token of a single user."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from labelwright.errors import OptionError

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Settings:
    """host, port: where the server listens.   token: what the one user's address carries; None: people log in.
    origins: further addresses that browsers may use, such as `https://review.example.org` of a proxy.
    session_hours: how long a log-in lasts.   most_body: bytes of a request.."""

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    origins: tuple[str, ...] = ()
    session_hours: float = 12.0
    most_body: int = 1 << 20

    def __post_init__(self) -> None:
        for origin in self.origins:
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
                raise OptionError(
                    found=f"the address {origin!r}",
                    expected="a scheme and a name, nothing behind them",
                    fix="pass for example https://review.example.org",
                )

    @property
    def local(self) -> bool:
        """Whether only programs on this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def secure(self) -> bool:
        """Whether cookies are for HTTPS alone: every address that was named is one."""
        return bool(self.origins) and all(o.startswith("https://") for o in self.origins)

    @property
    def cookie(self) -> str:
        """Name of the session cookie. Browsers don't keep ports apart, so the name does."""
        return f"__Host-labelwright-{self.port}" if self.secure else f"labelwright-{self.port}"

    @property
    def url(self) -> str:
        """The address to open, without the token."""
        if self.origins:
            return self.origins[0].rstrip("/")
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def knows_host(self, header: str) -> bool:
        """Whether a Host header names this server.

        A foreign page can make its own name point at us (DNS rebinding), but never an address in digits: those are taken
        where the server is open to others.

        >>> Settings().knows_host("localhost:8000"), Settings().knows_host("evil.example:8000")
        (True, False)
        """
        try:
            parts = urlsplit(f"//{header}")
            name, port = (parts.hostname or "").lower(), parts.port
        except ValueError:
            return False
        if not name or parts.username is not None or parts.path or parts.query or parts.fragment:
            return False
        if any((name, port) == _where(origin) for origin in self.origins):
            return True
        if port != self.port and not (port is None and self.port == 80):
            return False
        if name in LOOPBACK or name == self.host.lower():
            return True
        return not self.local and (
            _is_address(name) or name in (socket.gethostname().lower(), socket.getfqdn().lower())
        )

    def knows_origin(self, header: str, host: str) -> bool:
        """Whether an Origin header is the page of this server that the Host header speaks of."""
        try:
            parts = urlsplit(header)
        except ValueError:
            return False
        if parts.scheme not in ("http", "https") or not parts.netloc:
            return False
        if any(header.lower() == origin.lower().rstrip("/") for origin in self.origins):
            return True
        return not self.secure and parts.netloc.lower() == host.lower() and self.knows_host(parts.netloc)


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can reach `host`.

    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, False)
    """
    return host.lower() == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _where(origin: str) -> tuple[str, int | None]:
    parts = urlsplit(origin.lower())
    return parts.hostname or "", parts.port
