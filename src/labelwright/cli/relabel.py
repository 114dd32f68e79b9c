"""`labelwright relabel`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from labelwright.cli.console import say


def relabel(
    data: Path = typer.Argument(help="CSV, TSV, JSONL, Parquet, Arrow, a Hugging Face folder, or an image folder."),
    teacher: list[str] = typer.Option(
        ...,
        help="Folder of a model (of `labelwright train`, or of transformers), an .onnx file, or module:function of your own; "
        "several make an ensemble.",
    ),
    label: str | None = typer.Option(
        None, help="Column of labels that the teachers have not seen: temperatures and weights are fitted to them."
    ),
    ensemble: str = typer.Option("equal", help="equal, or learned: weights that make the known labels likeliest."),
    temperature: str = typer.Option("auto", help="auto: fitted to the known labels; or a number."),
    topk: int | None = typer.Option(None, min=1, help="Classes kept per item; default: all."),
    class_map: Path | None = typer.Option(None, help="JSON: class of the teacher -> class of the labels, or null."),
    regions: bool = typer.Option(False, "--regions", help="Label maps of images, one soft label per region."),
    crops: int | None = typer.Option(None, min=1, help="Soft labels of so many random crops of each image."),
    size: int | None = typer.Option(None, min=8, help="Side at which the teacher sees the images of maps and crops."),
    id: str | None = typer.Option(None, help="Column of unique item keys; default: a hash of the content."),
    text: str | None = typer.Option(None, help="Column of texts."),
    image: str | None = typer.Option(None, help="Column of image paths."),
    features: str | None = typer.Option(None, help="Column or prefix of columns with vectors, or a .npy file."),
    split: str | None = typer.Option(None, help="Which part of a data set with several."),
    batch_size: int = typer.Option(64, min=1, help="Items per call of a teacher."),
    device: str = typer.Option("cpu", help="Where networks run: cpu, cuda, cuda:1, mps."),
    out: Path | None = typer.Option(None, help="Label repository to write; default: NAME.labels here."),
    seed: int = typer.Option(0, min=0, help="Seed of the crops."),
    as_json: bool = typer.Option(False, "--json", help="Last line of stdout: one JSON object with every figure."),
) -> None:
    """Ask one or several teachers about every item. Stopped, it goes on where it was when it is called again."""
    from labelwright.annotators.relabelling_files import relabel_file
    from labelwright.errors import OptionError

    if as_json:
        say.quiet_stdout()
    try:
        warmth: Any = temperature if temperature == "auto" else float(temperature)
        mapping = None if class_map is None else json.loads(class_map.read_text(encoding="utf-8"))
    except ValueError as error:
        raise OptionError(
            found=f"temperature {temperature!r} or a class map that cannot be read ({error})",
            expected="a number or auto, and a JSON object",
            fix='write for example {"kitten": "cat", "car": null}',
        ) from None
    with say.progress() as progress:
        done = relabel_file(
            data, teacher, label=label, topk=topk, ensemble=ensemble, temperature=warmth, class_map=mapping, regions=regions,
            crops=crops, size=size, batch_size=batch_size, out=out, seed=seed, device=device, progress=progress, id=id,
            text=text, image=image, features=features, split=split,
        )  # fmt: skip
    found = done.result
    told: dict[str, Any] = {"repository": str(done.repository.path), "file": str(done.path)}
    if found is not None:
        known = int(found.labels.known.sum())
        say.print(
            f"[bold]{known:,} of {len(found.labels):,} items labelled[/], {found.items_per_second:,.0f} items per second"
        )
        for name, weight, t, right in zip(found.teachers, found.weights, found.temperatures, found.accuracy):
            seen = "" if right != right else f", right on {right:.1%} of the known labels"
            say.print(f"  {say.plain(name)}: weight {weight:.2f}, temperature {t:.2f}{seen}")
        for note in found.notes:
            say.print(f"[dim]{say.plain(note)}[/]")
        told |= {
            "items": len(found.labels), "labelled": known, "teachers": list(found.teachers), "weights": found.weights.tolist(),
            "temperatures": found.temperatures.tolist(), "items_per_second": found.items_per_second,
        }  # fmt: skip
    say.print(f"written to [bold]{say.plain(str(done.path))}[/] ({done.path.stat().st_size / 1e6:,.1f} MB)")
    if found is not None:
        say.print(f"next: labelwright train {say.plain(str(done.repository.path))} --labels relabel")
    if as_json:
        print(json.dumps(told))
