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
    pred_probs: Path | None = typer.Option(
        None, "--pred-probs", help="A classifier's probabilities: a table with item and a column per class, or .npy."
    ),
    features: Path | None = typer.Option(
        None, help="Vectors of the items, from which a classifier is trained: a table with item and numbers, or .npy."
    ),
    history: Path | None = typer.Option(
        None, help="How annotators did before: a table with annotator, votes and skill, such as annotators.parquet."
    ),
    multi: bool = typer.Option(False, "--multi", help='Several classes per item: "a|b" in a cell, or one per row.'),
    ordered: str | None = typer.Option(
        None, help='Classes from low to high: "low,mid,high", or "sorted" where they sort so.'
    ),
    engine: str | None = typer.Option(
        None, help="Read the votes in passes: threads, serial, ray, ray://… Default above 20 million votes: threads."
    ),
    workers: int | None = typer.Option(None, min=1, help="Parts at a time."),
    out: Path | None = typer.Option(None, help="Label repository to write; default: NAME.labels here."),
    seed: int = typer.Option(0, min=0, help="Seed of held-out votes and restarts."),
    as_json: bool = typer.Option(False, "--json", help="Last line of stdout: one JSON object with every figure."),
) -> None:
    """From votes to one calibrated label per item, and whom to believe."""
    from labelwright.crowds.files import aggregate_file
    from labelwright.crowds.methods import DESCRIPTIONS
    from labelwright.crowds.multi_label import MultiAggregation

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
            pred_probs=pred_probs,
            features=features,
            history=history,
            multi=multi,
            ordered=ordered,
            engine=engine,
            workers=workers,
            out=out,
            seed=seed,
            progress=progress,
        )
    summary = done.aggregation.summary()
    if isinstance(done.aggregation, MultiAggregation):
        _tell_multi(summary, done.aggregation.items)
    else:
        _tell(summary, _least_sure(done.aggregation))
    say.print()
    files = ", ".join(sorted((path.name for path in done.folder.iterdir()), key=lambda name: name != "report.html"))
    say.print(f"written to [bold]{say.plain(str(done.folder))}[/]: {files}")
    if as_json:
        print(json.dumps(summary | {"repository": str(done.repository.path), "audit": done.folder.name}))


def _least_sure(found: Any, top: int = 8) -> list[dict[str, Any]]:
    table = getattr(found, "doubtful", None)
    rows: list[dict[str, Any]] = (
        (found.items.sort_by("probability") if table is None else table).slice(0, top).to_pylist()
    )
    return rows


def _tell(told: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    say.print()
    say.print(
        f"[bold]{told['items'] - told['unsure_items']:,} of {told['items']:,} items are settled[/] (at 80 % or more), "
        f"by {told['annotators']:,} annotators, {told['spammers']} of whom tell next to nothing"
    )
    say.print(f"[dim]method: {told['method']}, {told['settings']['chosen']}[/]")
    for name, score in sorted(told["scores"].items(), key=lambda pair: pair[1].get("behind", 0.0)):
        weight = f", weight {score['weight']:.2f}" if "weight" in score else ""
        say.print(
            f"[dim]  {name}: {score['loglik']:.4f} nats per vote ({score['behind']:.4f} ± {score['error']:.4f} behind)"
            f"{weight}[/]"
        )
    for note in told["notes"]:
        say.print(f"[dim]{say.plain(note)}[/]")
    _table(
        ("item", "label", "probability", "else", "votes"),
        [(r["item"], r["label"], f"{r['probability']:.2f}", r["second"], r["votes"]) for r in rows],
    )


def _tell_multi(told: dict[str, Any], items: Any, top: int = 8) -> None:
    say.print()
    say.print(
        f"[bold]{told['items'] - told['unsure_items']:,} of {told['items']:,} items are settled[/] (each class at 80 % or more), "
        f"by {told['annotators']:,} annotators; {told['expected_errors']:.1f} wrong classes are expected in all"
    )
    say.print(f"[dim]classes taken {'together' if told['linked'] else 'apart'}, by held-out ticks[/]")
    for note in told["notes"]:
        say.print(f"[dim]{say.plain(note)}[/]")
    rows = items.sort_by([("expected_errors", "descending")]).slice(0, top).to_pylist()
    _table(
        ("item", "classes", "least sure", "probability", "annotations"),
        [
            (
                r["item"],
                ", ".join(map(str, r["classes"] or [])),
                r["least_sure"],
                f"{r['probability']:.2f}",
                r["annotations"],
            )
            for r in rows
        ],
    )


def _table(names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name)
    for row in rows:
        table.add_row(*(say.plain(str(cell)[:40]) for cell in row))
    say.print(table)
