"""`labelwright train` and `labelwright evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from labelwright.cli.console import say

if TYPE_CHECKING:
    from labelwright.learning.evaluation import Evaluation


def train(
    source: Path | None = typer.Argument(None, help="A label repository NAME.labels, or a data file with labels."),
    student: str | None = typer.Option(None, help="linear, mlp, cnn, resnet, vit; default: cnn for images, else mlp."),
    recipe: str | None = typer.Option(None, help="Name of a recipe, or a YAML file; default: plain."),
    data: Path | None = typer.Option(None, help="The items of the repository; default: the file it was made from."),
    labels: str | None = typer.Option(
        None, help="current, given, relabel, a commit or tag, or a soft-label file; default: current, of a file given."
    ),
    label: str | None = typer.Option(None, help="Column of the labels."),
    id: str | None = typer.Option(None, help="Column of unique item keys."),
    text: str | None = typer.Option(None, help="Column of texts."),
    image: str | None = typer.Option(None, help="Column of image paths."),
    features: str | None = typer.Option(None, help="Column or prefix of columns with vectors, or a .npy file."),
    multi: bool = typer.Option(False, "--multi", help="Items have several labels."),
    split: str | None = typer.Option(None, help="Which part of a data set with several."),
    encoder: str | None = typer.Option(None, help="Model that turns texts or images into vectors."),
    size: int = typer.Option(32, min=8, help="Side of the images that a student of pixels sees."),
    epochs: int | None = typer.Option(None, min=1, help="Passes over the data, in place of the recipe's."),
    batch_size: int | None = typer.Option(None, min=1, help="Items per step, in place of the recipe's."),
    lr: float | None = typer.Option(None, help="Learning rate, in place of the recipe's."),
    precision: str | None = typer.Option(None, help="no, bf16 or fp16."),
    valid: float = typer.Option(0.1, help="Share of the labelled items set apart to say how good the model is."),
    out: Path | None = typer.Option(None, help="Folder of the model; default: NAME.model here."),
    seed: int = typer.Option(0, min=0, help="Seed of everything random."),
    show_recipe: str | None = typer.Option(
        None, "--show-recipe", help="Print a recipe as YAML, and stop; `list` for names."
    ),
    as_json: bool = typer.Option(False, "--json", help="Last line of stdout: one JSON object with every figure."),
) -> None:
    """A small model, trained on the labels you have. Stopped, it goes on where it was when it is called again."""
    from labelwright.errors import OptionError
    from labelwright.learning.recipe import load_recipe, recipe_names

    if show_recipe is not None:
        print("\n".join(recipe_names()) if show_recipe == "list" else load_recipe(show_recipe).to_yaml())
        return
    if source is None:
        raise OptionError(found="no data", expected="a repository or a data file", fix="labelwright train NAME.labels")
    from labelwright.learning.files import train_file

    if as_json:
        say.quiet_stdout()
    changes: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "precision": precision}
    changes = {name: value for name, value in changes.items() if value is not None}
    if lr is not None:
        changes["optimizer"] = _with_rate(load_recipe(recipe), lr)
    with say.progress() as progress:
        done = train_file(
            source, data=data, labels=labels, student=student, recipe=recipe, encoder=encoder, size=size, valid=valid, out=out,
            seed=seed, progress=progress, changes=changes, label=label, id=id, text=text, image=image, features=features,
            multi=multi, split=split,
        )  # fmt: skip
    for sentence in done.told:
        say.print(f"[dim]{say.plain(sentence)}[/]")
    if done.held_out is not None:
        say.print("on the items set apart, against their labels as they are:")
        tell(done.held_out)
    say.print(f"\nwritten to [bold]{say.plain(str(done.folder))}[/]: report.html, model.json, weights, reader, log.csv")
    if as_json:
        told = {} if done.held_out is None else done.held_out.summary()
        print(json.dumps(told | {"model": str(done.folder), "epochs": len(done.model.history)}))


def evaluate(
    model: Path = typer.Argument(help="Folder of a model that `labelwright train` wrote."),
    data: Path = typer.Argument(help="A data file with labels, or a label repository."),
    labels: str | None = typer.Option(None, help="As in train."),
    label: str | None = typer.Option(None, help="Column of the labels."),
    id: str | None = typer.Option(None, help="Column of unique item keys."),
    text: str | None = typer.Option(None, help="Column of texts."),
    image: str | None = typer.Option(None, help="Column of image paths."),
    features: str | None = typer.Option(None, help="Column or prefix of columns with vectors, or a .npy file."),
    multi: bool = typer.Option(False, "--multi", help="Items have several labels."),
    split: str | None = typer.Option(None, help="Which part of a data set with several."),
    seed: int = typer.Option(0, min=0, help="Seed of the resamples."),
    as_json: bool = typer.Option(False, "--json", help="Last line of stdout: one JSON object with every figure."),
) -> None:
    """How good a model is, with 95 % intervals: accuracy, macro F1, log loss, calibration, and each class."""
    from labelwright.learning.files import evaluate_file

    if as_json:
        say.quiet_stdout()
    found = evaluate_file(
        model,
        data,
        labels=labels,
        seed=seed,
        label=label,
        id=id,
        text=text,
        image=image,
        features=features,
        multi=multi,
        split=split,
    )
    tell(found)
    if as_json:
        print(json.dumps(found.summary()))


def tell(found: Evaluation, most: int = 20) -> None:
    """Print the figures and the classes, the weakest first."""
    from rich.table import Table

    from labelwright.learning.report import NAMES

    say.print(f"[bold]{found.n:,} labelled items[/], {found.level:.0%} intervals")
    for name, figure in found.figures.items():
        say.print(f"  {NAMES.get(name, name):<24} {figure.value:.4f}  ({figure.low:.4f} to {figure.high:.4f})")
    table = Table(box=None, pad_edge=False)
    for column in ("class", "items", "precision", "recall", "F1"):
        table.add_column(column)
    rows = [r for r in found.classes.to_pylist() if r["items"]]
    for row in sorted(rows, key=lambda r: r["f1"] or 0.0)[:most]:
        shown = [
            f"{row[k]:.3f}" if row[k] is not None and row[k] == row[k] else "-" for k in ("precision", "recall", "f1")
        ]
        table.add_row(say.plain(str(row["class"])[:40]), f"{row['items']:,}", *shown)
    say.print(table)


def _with_rate(recipe: Any, lr: float) -> dict[str, Any]:
    return {recipe.optimizer.name: {**recipe.optimizer.options, "lr": lr}}
