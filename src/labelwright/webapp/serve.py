"""Starting and stopping the server."""

from __future__ import annotations

import getpass
import json
import os
import re
import secrets
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from labelwright.errors import OptionError
from labelwright.labels import LabelSpace
from labelwright.store import Repository
from labelwright.webapp.accounts import Accounts
from labelwright.webapp.app import create_app
from labelwright.webapp.database import open_database
from labelwright.webapp.desk import Desk
from labelwright.webapp.settings import Settings, is_loopback


def database_of(repository: str | Path) -> Path:
    """The SQLite file that a review uses by default: beside the repository, since a repository holds labels alone.

    >>> database_of("data/reviews.labels").as_posix()
    'data/reviews.review.sqlite'
    """
    path = Path(repository)
    return path.with_name(path.name.removesuffix(".labels") + ".review.sqlite")


def opened_database(repository: str | Path, database: str | None) -> Engine:
    """The review's database; a new SQLite file can be read by its owner alone, since it holds accounts."""
    where = database or str(database_of(repository))
    if "://" not in where:
        with suppress(FileExistsError):
            os.close(os.open(where, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return open_database(where)


def local_name() -> str:
    """What this machine's user is called in the answers of a review without accounts."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = ""
    return re.sub(r"[^\w.-]", "", name)[:64] or "reviewer"


def serve(
    repository: str | Path,
    *,
    database: str | None = None,
    data: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    origins: tuple[str, ...] = (),
    overlap: int = 1,
    gold: Mapping[str, Any] | None = None,
    gold_share: float = 0.1,
    ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve the review of a repository's newest audit until it is stopped; then every answer is in the repository.

    Args:
        repository: NAME.labels.   database: SQLite path or URL; default: `database_of`.   data: where the items' files are.
        host: beyond this machine only where an owner with a password exists.   port: 0 chooses a free one.
        origins: further addresses, of a proxy.   overlap: answers per item.   gold: {item: label} with known labels, which
        make `gold_share` of what is handed out.   ready: called with the address to open.

    Raises:
        OptionError: open to others without an owner, or a port that is taken.   RepositoryError, DatabaseFailed.
    """
    repo = Repository.open(repository)
    engine = opened_database(repository, database)
    accounts = Accounts(engine)
    alone = is_loopback(host) and not origins and not accounts.has_owner()
    if not is_loopback(host) or origins:
        _check_owner(accounts, host)
    listening = _listen(host, port)
    port = int(listening.getsockname()[1])
    token = secrets.token_urlsafe(32) if alone else None
    settings = Settings(host=host, port=port, token=token, origins=origins)
    known = None if gold is None else _as_classes(repo, gold)
    desk = Desk.open(repo, engine, overlap=overlap, gold=known, gold_share=gold_share if gold else 0.0, data=data)
    try:
        app = create_app(desk, accounts, settings, local=accounts.local(local_name()) if alone else None)
        ready(f"{settings.url}/?token={token}" if token else f"{settings.url}/login")
        _run(app, listening)
    finally:
        desk.close()
        listening.close()
        engine.dispose()


def _as_classes(repo: Repository, gold: Mapping[str, Any]) -> dict[str, Any]:
    """Known labels as the classes of the repository; sets of classes are joined by |.

    Raises:
        LabelError: a label that is no class.
    """
    space = LabelSpace.from_json(json.dumps(repo.head["space"]))
    names: dict[Any, Any] = {str(name): name for name in space.classes}

    def one(label: Any) -> Any:
        return space.classes[space.id_of(names.get(str(label), label))]

    if space.structure == "multi":
        return {k: [one(part) for part in (v.split("|") if isinstance(v, str) else v) if part] for k, v in gold.items()}
    return {k: one(v) for k, v in gold.items()}


def _run(app: Any, listening: socket.socket) -> None:
    """Uvicorn on an open socket; Ctrl-C lets requests end, then returns."""
    import uvicorn

    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, proxy_headers=False, ws="none",
        lifespan="off", timeout_graceful_shutdown=5, timeout_keep_alive=30, h11_max_incomplete_event_size=1 << 16,
        limit_concurrency=500, http="h11",
    )  # fmt: skip
    with suppress(KeyboardInterrupt):  # uvicorn raises what it has caught once more
        uvicorn.Server(config).run(sockets=[listening])


def _check_owner(accounts: Accounts, host: str) -> None:
    if not accounts.has_owner():
        raise OptionError(
            found=f"a review that others can reach (host {host}), without an owner who logs in",
            expected="accounts with passwords",
            fix="labelwright review NAME.labels --add-user YOU --role owner, with the same --database; then start again",
        )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise OptionError(
            found=f"{host} port {port}, where nothing can listen ({error.strerror})",
            expected="a free port of this machine",
            fix="leave --port out, or choose another",
        ) from error
    listening.listen(128)
    return listening
