"""`labelwright audit`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from labelwright.cli.console import say

if TYPE_CHECKING:
    from labelwright.auditing import Audit, FileAudit


def audit(
    data: Path = typer.Argument(help="CSV, TSV, JSONL, Parquet, Arrow, a Hugging Face folder, or an image folder."),
    label: str | None = typer.Option(None, help="Column of the labels."),
    id: str | None = typer.Option(None, help="Column of unique item keys; default: a hash of the content."),
    text: str | None = typer.Option(None, help="Column of texts."),
    image: str | None = typer.Option(None, help="Column of image paths."),
    features: str | None = typer.Option(None, help="Column or prefix of columns with vectors, or a .npy file."),
    pred_probs: str | None = typer.Option(
        None,
        help="Out-of-sample probabilities: a column, a prefix of columns, or a file, folder of shards or URL "
        "(.npy, Parquet, Arrow, Lance).",
    ),
    encoder: str | None = typer.Option(
        None,
        help="Model that turns texts or images into vectors: a folder, an .onnx file, an installed package, a hub name.",
    ),
    no_training: bool = typer.Option(False, "--no-training", help="Let the nearest neighbours alone speak."),
    numbers: bool = typer.Option(
        False, "--numbers", help="The label column holds measurements or scores: find wrong numbers. Needs --label."
    ),
    predictions: str | None = typer.Option(
        None, help="With --numbers: out-of-sample predictions, a column, a prefix of columns, or a .npy file."
    ),
    multi: bool = typer.Option(False, "--multi", help="Items have several labels, as lists or joined by | ; or ,"),
    group: str | None = typer.Option(None, help="Column whose equal values stay on one side of a fold."),
    reviews: Path | None = typer.Option(None, help="Answers to a review sample: item, label, probability."),
    budget: int | None = typer.Option(None, help="Flag so many items."),
    precision: float | None = typer.Option(None, help="Flag as many as keep this expected precision."),
    recall: float | None = typer.Option(None, help="Flag as few as reach this expected recall."),
    hierarchy: Path | None = typer.Option(None, help="Class tree (JSON child -> parent, or CSV child,parent)."),
    ordered: str | None = typer.Option(
        None, help='Classes from low to high: "low,mid,high", or "sorted" where they sort so.'
    ),
    split: str | None = typer.Option(None, help="Which part of a data set with several."),
    out: Path | None = typer.Option(None, help="Label repository to write; default: NAME.labels here."),
    seed: int = typer.Option(0, min=0, help="Seed of folds and of the review order."),
    engine: str | None = typer.Option(
        None,
        help="Read pred_probs in passes with: threads, serial, ray, ray://HOST:PORT. Default: threads where large.",
    ),
    workers: int | None = typer.Option(None, min=1, help="Parts read at a time; default: one per processor."),
    review_size: int = typer.Option(200, min=1, help="Items in the review sample."),
    as_json: bool = typer.Option(False, "--json", help="Last line of stdout: one JSON object with every figure."),
) -> None:
    """How many labels are wrong, which to look at, and what they are likelier to be."""
    from labelwright.auditing import audit_file

    if as_json:
        say.quiet_stdout()
    if numbers or predictions:
        classes_only = {
            "--pred-probs": pred_probs, "--no-training": no_training, "--multi": multi, "--reviews": reviews, "--budget": budget,
            "--precision": precision, "--recall": recall, "--hierarchy": hierarchy, "--ordered": ordered, "--engine": engine,
            "--workers": workers,
        }  # fmt: skip
        _numbers(
            [name for name, value in classes_only.items() if value], numbers, as_json, data=data, label=label, id=id, text=text,
            image=image, features=features, predictions=predictions, group=group, encoder=encoder, split=split, out=out,
            seed=seed,
        )  # fmt: skip
        return
    with say.progress() as progress:
        found = audit_file(
            data, label=label, id=id, text=text, image=image, features=features, pred_probs=pred_probs, multi=multi,
            group=group, encoder=encoder, train=not no_training, reviews=reviews, hierarchy=hierarchy, ordered=ordered,
            split=split, out=out, seed=seed, review_size=review_size, engine=engine, workers=workers,
            budget=budget, precision=precision, recall=recall, explain=_explain, progress=progress,
        )  # fmt: skip
    tell(found.audit, content=found.content, keys_made=found.columns.id is None)
    _next_steps(found, reviewed=reviews is not None)
    if as_json:
        print(
            json.dumps(found.audit.summary() | {"repository": str(found.repository.path), "audit": found.folder.name})
        )


def _numbers(excluded: list[str], numbers: bool, as_json: bool, *, label: str | None, **options: Any) -> None:
    """The audit of a column of numbers."""
    from labelwright.auditing.values import audit_value_file
    from labelwright.errors import OptionError

    if not numbers or excluded or label is None:
        raise OptionError(
            found="--predictions without --numbers" if not numbers else " and ".join(["--numbers", *excluded]),
            expected="--numbers --label COLUMN, without the options of classes",
            fix="add --numbers"
            if not numbers
            else f"leave {', '.join(excluded)} out"
            if excluded
            else "add --label COLUMN",
        )
    with say.progress() as progress:
        found = audit_value_file(label=label, explain=_explain, progress=progress, **options)
    told = found.audit.summary()
    say.print()
    problems = ", ".join(f"{n:,} {problem}" for problem, n in told["problems"].items())
    say.print(
        f"[bold]{told['issues']:,} of {told['labels']:,} numbers look wrong[/]" + (f" ({problems})" if problems else "")
    )
    for note in told["notes"]:
        say.print(f"[dim]{say.plain(note)}[/]")
    _wrong_numbers(found)
    say.print()
    say.print(
        f"written to [bold]{say.plain(str(found.folder))}[/]: issues.parquet, parts.parquet (every number), summary.json"
    )
    if as_json:
        print(json.dumps(told | {"repository": str(found.repository.path), "audit": found.folder.name}))


def _wrong_numbers(found: Any, top: int = 8) -> None:
    from rich.table import Table

    rows = found.audit.issues.slice(0, top).to_pylist()
    if not rows:
        return
    table = Table(box=None, pad_edge=False)
    for name in ("rank", "item", "row", "given", "suggested", "quality", "problem"):
        table.add_column(name)
    for row in rows:
        key = str(row["item"])[:10] if found.columns.id is None else _short(row["item"])
        table.add_row(
            str(row["rank"]), say.plain(key), str(row["row"]), f"{row['given']:g}", f"{row['suggested']:.4g}",
            f"{row['quality']:.3f}", row["problem"],
        )  # fmt: skip
    say.print(table)


def _explain(columns: Any) -> None:
    content = columns.text or columns.image or columns.features
    for sentence in columns.explanation:
        if sentence.startswith("tabular:") and content:
            continue  # read only where there is nothing better
        say.print(f"[dim]{say.plain(sentence)}[/]")


def tell(result: Audit, *, top: int = 8, content: Any = None, keys_made: bool = False) -> None:
    """Print the headline, the flags and the first issues of an audit; `content` is what the items look like, `keys_made` that
    their keys are hashes, whose first signs will do."""
    rate, figures = result.error_rate, result.summary()
    say.print()
    say.print(
        f"[bold]{result.headline}[/], {rate.level:.0%} interval: about {figures['errors_estimated']:,.0f} of "
        f"{figures['labelled']:,} labels"
    )
    say.print(f"[dim]{say.plain(rate.assumption)}[/]")
    if figures["issues"]:
        say.print(
            f"{figures['issues']:,} flagged, expected precision {figures['expected_precision']:.0%}, "
            f"recall {figures['expected_recall'] or 0:.0%} ("
            + ", ".join(f"{n:,} {kind}" for kind, n in figures["kinds"].items())
            + ")"
        )
    else:
        say.print("nothing is flagged")
    _issues(result, top, content, keys_made)


def _issues(result: Audit, top: int, content: Any, keys_made: bool) -> None:
    from rich.table import Table

    rows = result.issues.slice(0, top).to_pylist()
    if not rows:
        return
    told = content is not None and isinstance(content[rows[0]["row"]], str | Path)
    table = Table(box=None, pad_edge=False)
    for name in ("rank", "item", *(["text" if isinstance(content[0], str) else "image"] if told else ["row"])):
        table.add_column(name)
    for name in ("given", "suggested", "quality", "kind"):
        table.add_column(name)
    for row in rows:
        key = str(row["item"])[:10] if keys_made else _short(row["item"])
        what = _content(content[row["row"]]) if told else str(row["row"])
        shown = [say.plain(text) for text in (key, what, _short(row["given"]), _short(row["suggested"]))]
        table.add_row(str(row["rank"]), *shown, f"{row['quality']:.3f}", row["kind"])
    say.print(table)


def _content(value: str | Path) -> str:
    return value.name[:40] if isinstance(value, Path) else _short(" ".join(value.split()), 40)


def _short(value: Any, most: int = 28) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def _next_steps(found: FileAudit, *, reviewed: bool) -> None:
    path = say.plain(str(found.repository.path))
    folder = say.plain(str(found.folder))
    say.print()
    say.print(
        f"written to [bold]{path}[/] (audit {found.folder.name}): report.html, issues.parquet, items.parquet, summary.json"
    )
    if not reviewed:
        say.print(
            f"next: fill in the column `label` of [bold]{folder}/review_sample.csv[/] and run this again with --reviews FILE: "
            "the count then rests on your answers"
        )
