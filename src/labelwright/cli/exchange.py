"""`labelwright export` and `labelwright import`: labels of a repository to the formats of other tools, and from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from labelwright.cli.console import say

_REPO = typer.Argument(..., help="Label repository, NAME.labels.")
_JSON = typer.Option(False, "--json", help="Last line of stdout: one JSON object with everything.")
_FORMATS = "coco, yolo, label_studio, argilla, prodigy, hf, parquet, csv or jsonl"


def export(
    repository: Path = _REPO,
    out: Path = typer.Argument(..., help="New file or folder; nothing is overwritten."),
    format: str | None = typer.Option(None, "--format", help=f"{_FORMATS}; default: by the suffix of OUT."),
    version: str | None = typer.Option(None, "--version", help="A commit's number or a tag; default: the newest."),
    content: Path | None = typer.Option(
        None, "--content", help="Table with the columns item and any of text, image, width, height."
    ),
    lossy: bool = typer.Option(False, "--lossy", help="Leave out labels that the format has no place for."),
    as_json: bool = _JSON,
) -> None:
    """Write the labels of a repository to a file that other tools read."""
    from labelwright.store.exchange import export_labels
    from labelwright.store.read import read_items

    repo = _opened(repository, as_json)
    known = None if content is None else read_items(content)
    export_labels(repo, out, format=format, version=version, content=known, lossy=lossy)
    n = repo.labels(version).num_rows
    say.print(f"[bold]{n:,}[/] labels of version {repo.version(version)} in {say.plain(str(out))}")
    if as_json:
        print(json.dumps({"path": str(out), "labels": n, "version": repo.version(version)}))


def import_(
    repository: Path = _REPO,
    file: Path = typer.Argument(..., help="File or folder of labels."),
    format: str | None = typer.Option(None, "--format", help=f"{_FORMATS}; default: told from the content."),
    source: str | None = typer.Option(None, "--source", help="Who labelled, where the file does not tell."),
    item: str | None = typer.Option(None, "--item", help="Column or field that holds the items' keys."),
    label: str | None = typer.Option(None, "--label", help="Column that holds the labels."),
    question: str | None = typer.Option(
        None, "--question", help="Question that is the label, where there are several."
    ),
    content: Path | None = typer.Option(None, "--content", help="Table with item, width and height, for YOLO."),
    as_json: bool = _JSON,
) -> None:
    """Add the labels of a file to a repository; importing the same file again adds nothing."""
    from labelwright.store.exchange import import_labels
    from labelwright.store.read import read_items

    repo = _opened(repository, as_json)
    options: dict[str, Any] = {"source": source, "item": item, "label": label, "question": question}
    options["content"] = None if content is None else read_items(content)
    labels = import_labels(file, format=format, **{name: value for name, value in options.items() if value is not None})
    before, events = repo.version(), labels.events()
    known = set(repo.event_table.read(["item"])["item"].to_pylist())
    commit = before
    if events.num_rows:
        message = f"import: {events.num_rows:,} labels from {file.name} ({labels.format})"
        commit = repo.append(events, message=message, source=source or labels.source)
    added = int(repo.log()["events"][commit - 1].as_py()) if commit > before else 0
    new = len(set(events["item"].to_pylist()) - known)
    say.print(
        f"[bold]{added:,}[/] of {events.num_rows:,} labels added ({labels.format}); the others were there already"
    )
    if new and known:
        say.print(f"[yellow]note:[/] {new:,} items are new to the repository: check that the keys are the same")
    classes = {str(c) for c in repo.head["space"].get("classes", ())}
    outside = [str(c) for c in (labels.space.classes if labels.space else ()) if classes and str(c) not in classes]
    if outside:
        shown = ", ".join(outside[:5]) + (", …" if len(outside) > 5 else "")
        say.print(f"[yellow]note:[/] {len(outside)} classes are not those of the repository: {say.plain(shown)}")
    if as_json:
        told = {"format": labels.format, "labels": events.num_rows, "added": added, "new_items": new, "version": commit}
        told["new_classes"] = outside
        print(json.dumps(told))


def _opened(path: Path, as_json: bool) -> Any:
    from labelwright.store import Repository

    if as_json:
        say.quiet_stdout()
    return Repository.open(path)
