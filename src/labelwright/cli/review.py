"""`labelwright review`: people settle in the browser what machines can't."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from labelwright.cli.console import say


def review(
    repository: Path = typer.Argument(..., help="Label repository with an audit, NAME.labels."),
    data: Path | None = typer.Option(None, help="Folder of the items' files, where it has moved since the audit."),
    database: str | None = typer.Option(
        None, help="SQLite file or postgresql://USER@HOST/NAME; default: NAME.review.sqlite beside the repository."
    ),
    host: str = typer.Option("127.0.0.1", help="Address to listen on; beyond this machine people have to log in."),
    port: int = typer.Option(0, min=0, max=65535, help="Port; default: a free one."),
    origin: list[str] = typer.Option([], help="Address of a proxy in front, such as https://review.example.org."),
    overlap: int = typer.Option(1, min=1, help="Answers per item, each of another reviewer."),
    gold: Path | None = typer.Option(None, help="Items with known labels: CSV with the columns item,label."),
    gold_share: float = typer.Option(0.1, min=0.0, max=1.0, help="Share of gold items among those handed out."),
    add_user: str | None = typer.Option(None, help="Make an account of this name, ask for its password, and stop."),
    role: str = typer.Option("annotator", help="Of the new account: annotator, adjudicator or owner."),
    no_browser: bool = typer.Option(False, "--no-browser", help="Don't open a browser."),
    as_json: bool = typer.Option(False, "--json", help="One JSON line on stdout once it runs: the address to open."),
) -> None:
    """Review an audit's findings in the browser; answers flow back into the repository."""
    if as_json:
        say.quiet_stdout()
    serve = _needed()
    if add_user is not None:
        _add_user(serve, repository, database, add_user, role)
        return

    def ready(url: str) -> None:
        say.print(f"[bold]review of {say.plain(str(repository))}[/]\n  {say.plain(url)}")
        say.print("[dim]stop with Ctrl-C; every saved answer is kept[/]")
        if not serve.is_loopback(host) and not any(o.startswith("https://") for o in origin):
            say.print(
                "[yellow]note:[/] passwords cross the network as they are; put an HTTPS proxy in front, with --origin"
            )
        if as_json:
            print(json.dumps({"url": url}), flush=True)
        if not no_browser:
            _open(url)

    serve.serve(
        repository, database=database, data=data, host=host, port=port, origins=tuple(origin), overlap=overlap,
        gold=None if gold is None else read_gold(gold), gold_share=gold_share, ready=ready,
    )  # fmt: skip
    say.print("stopped; every answer is in the repository")


def read_gold(path: Path) -> dict[str, str]:
    """{item: label} of a CSV file with the columns item and label.

    Raises:
        DataError: it can't be read, or has no such columns.
    """
    import csv

    from labelwright.errors import DataError

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(found=f"{path}: {error}", expected="a CSV file in UTF-8", fix="check the path") from error
    if not rows or any(row.get("item") is None or not row.get("label") for row in rows):
        raise DataError(
            found=f"{path} without an item and a label in every row",
            expected="the columns item,label",
            fix="write them in the first line, one item per line below",
        )
    return {row["item"]: row["label"] for row in rows}


def _needed() -> Any:
    """The server's module, or an error that names the extra."""
    from labelwright.errors import MissingExtra

    try:
        from labelwright.webapp import serve
    except ImportError as error:
        if (error.name or "").startswith("labelwright"):
            raise
        raise MissingExtra(
            found=f"no package {error.name!r}",
            expected='the packages of the extra "web"',
            fix='pip install "labelwright[web]"',
        ) from error
    return serve


def _add_user(serve: Any, repository: Path, database: str | None, name: str, role: str) -> None:
    from labelwright.store import Repository

    Repository.open(repository)  # no database beside a name that was mistyped
    engine = serve.opened_database(repository, database)
    try:
        password = typer.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=True)
        user = serve.Accounts(engine).add(name, password, role)
    finally:
        engine.dispose()
    say.print(f"{say.plain(user.name)} can now log in as {user.role}")


def _open(url: str) -> None:
    """Try to show the address; a machine without a browser is no error."""
    import threading
    import webbrowser

    threading.Timer(0.5, lambda: webbrowser.open(url)).start()
