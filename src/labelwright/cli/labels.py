"""`labelwright log`, `diff`, `show` and `tag`: where the labels of a repository come from, and how they changed."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import typer

from labelwright.cli.console import say

_REPO = typer.Argument(..., help="Label repository, NAME.labels.")
_JSON = typer.Option(False, "--json", help="Last line of stdout: one JSON object with everything.")


def log(
    repository: Path = _REPO, top: int = typer.Option(20, min=1, help="Commits to print."), as_json: bool = _JSON
) -> None:
    """The commits of a label repository, newest first."""
    commits = _opened(repository, as_json).log().to_pylist()[::-1]
    _table(("commit", "time", "events", "source", "message", "tags"), commits[:top])
    _more(len(commits), top, "commits", "--top")
    if as_json:
        _json({"commits": commits})


def diff(
    repository: Path = _REPO,
    a: str = typer.Argument(..., help="Version: a commit's number, a tag, or 0 for before the first."),
    b: str | None = typer.Argument(None, help="Version to compare with; default: the newest."),
    top: int = typer.Option(20, min=1, help="Items to print."),
    as_json: bool = _JSON,
) -> None:
    """Items whose label differs between two versions, and who changed it."""
    changed = _opened(repository, as_json).diff(a, b)
    _table(("item", "before", "after", "source", "time"), changed.slice(0, top).to_pylist())
    say.print(f"{changed.num_rows:,} labels differ")
    _more(changed.num_rows, top, "items", "--top")
    if as_json:
        _json({"changed": [row | {n: _value(row[n]) for n in ("before", "after")} for row in changed.to_pylist()]})


def show(
    repository: Path = _REPO, item: str = typer.Argument(..., help="The item's key."), as_json: bool = _JSON
) -> None:
    """Everything that was ever said about one item, oldest first."""
    events = _opened(repository, as_json).show(item).to_pylist()
    _table(("commit", "time", "kind", "source", "value", "probability"), events)
    if as_json:
        _json({"item": item, "events": [event | {"value": _value(event["value"])} for event in events]})


def tag(
    repository: Path = _REPO,
    name: str = typer.Argument(..., help="Letters, digits, '.', '_' and '-'."),
    version: str | None = typer.Argument(None, help="Version to name; default: the newest."),
    as_json: bool = _JSON,
) -> None:
    """Give a version a name that stays."""
    number = _opened(repository, as_json).tag(name, version)
    say.print(f"commit {number} is now called [bold]{say.plain(name)}[/]")
    if as_json:
        _json({"tag": name, "commit": number})


def _opened(path: Path, as_json: bool) -> Any:
    from labelwright.store import Repository

    if as_json:
        say.quiet_stdout()
    return Repository.open(path)


def _table(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name)
    for row in rows:
        table.add_row(*(say.plain(_cell(row[name])) for name in columns))
    if rows:
        say.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    text = ", ".join(value) if isinstance(value, list) else str(value)
    text = "".join(c if c.isprintable() else "�" for c in text)  # a key must not steer the terminal
    return text if len(text) <= 60 else text[:59] + "…"


def _more(n: int, top: int, what: str, option: str) -> None:
    if n > top:
        say.print(f"[dim]{n - top:,} more {what}: {option} {n} prints all[/]")


def _value(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _json(content: dict[str, Any]) -> None:
    print(json.dumps(content, default=lambda time: time.isoformat()))
