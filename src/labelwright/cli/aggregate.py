"""`labelwright aggregate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from labelwright.cli.console import say


def aggregate(
    votes: Path = typer.Argument(help="Table with a vote per row: CSV, TSV, JSONL, Parquet or Arrow."),
    item: str = typer.Option("item", help="Column of the items' keys."),
    annotator: str = typer.Option("annotator", help="Column of who voted."),
    label: str = typer.Option("label", help="Column of the class voted for; empty: an abstention."),
    method: str = typer.Option("auto", help="auto, or one of the methods that `--method help` lists."),
    gold: Path | None = typer.Option(None, help="True classes of some items: a table with item and label."),
    out: Path | None = typer.Option(None, help="Label repository to write; default: NAME.labels here."),
    seed: int = typer.Option(0, min=0, help="Seed of held-out votes and restarts."),
    as_json: bool = typer.Option(False, "--json", help="Last line of stdout: one JSON object with every figure."),
) -> None:
    """From votes to one calibrated label per item, and whom to believe."""
    from labelwright.crowds.files import aggregate_file
    from labelwright.crowds.methods import DESCRIPTIONS

    if as_json:
        say.quiet_stdout()
    if method == "help":
        for name, told in DESCRIPTIONS.items():
            say.print(f"[bold]{name}[/]  {told}")
        return
    with say.progress() as progress:
        done = aggregate_file(
            votes,
            item=item,
            annotator=annotator,
            label=label,
            method=method,
            gold=gold,
            out=out,
            seed=seed,
            progress=progress,
        )
    _tell(done.aggregation)
    say.print()
    say.print(
        f"written to [bold]{say.plain(str(done.folder))}[/]: report.html, items.parquet, annotators.parquet, labels.npz, "
        "summary.json"
    )
    if as_json:
        print(
            json.dumps(
                done.aggregation.summary() | {"repository": str(done.repository.path), "audit": done.folder.name}
            )
        )


def _tell(found: Any, top: int = 8) -> None:
    from rich.table import Table

    told = found.summary()
    say.print()
    say.print(
        f"[bold]{told['items'] - told['unsure_items']:,} of {told['items']:,} items are settled[/] (at 80 % or more), "
        f"by {told['annotators']:,} annotators, {told['spammers']} of whom tell next to nothing"
    )
    chosen = "the best at foretelling held-out votes" if found.scores else "as asked"
    say.print(f"[dim]method: {told['method']}, {chosen}[/]")
    for name, score in sorted(found.scores.items(), key=lambda pair: pair[1]["behind"]):
        say.print(
            f"[dim]  {name}: {score['loglik']:.4f} nats per vote ({score['behind']:.4f} ± {score['error']:.4f} behind)[/]"
        )
    for note in told["notes"]:
        say.print(f"[dim]{say.plain(note)}[/]")
    rows = found.items.sort_by("probability").slice(0, top).to_pylist()
    table = Table(box=None, pad_edge=False)
    for name in ("item", "label", "probability", "else", "votes"):
        table.add_column(name)
    for row in rows:
        cells = (
            str(row["item"])[:40],
            str(row["label"]),
            f"{row['probability']:.2f}",
            str(row["second"]),
            str(row["votes"]),
        )
        table.add_row(*map(say.plain, cells))
    say.print(table)
