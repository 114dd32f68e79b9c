"""The `labelwright` command and how it reports errors."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import typer

from labelwright import __version__
from labelwright.cli import advise as _advise
from labelwright.cli import aggregate as _aggregate
from labelwright.cli import audit as _audit
from labelwright.cli import demo as _demo
from labelwright.cli import exchange as _exchange
from labelwright.cli import labels as _labels
from labelwright.cli import relabel as _relabel
from labelwright.cli import review as _review
from labelwright.cli import systems as _systems
from labelwright.cli import train as _train
from labelwright.cli.console import say
from labelwright.errors import LabelwrightError

app = typer.Typer(
    name="labelwright",
    help="From the labels you have to the labels your data deserves, and how far to trust them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("audit")(_audit.audit)
app.command("aggregate")(_aggregate.aggregate)
app.command("relabel")(_relabel.relabel)
app.command("train")(_train.train)
app.command("evaluate")(_train.evaluate)
app.command("advise")(_advise.advise)
app.command("demo")(_demo.demo)
app.command("review")(_review.review)
app.command("log")(_labels.log)
app.command("diff")(_labels.diff)
app.command("show")(_labels.show)
app.command("tag")(_labels.tag)
app.command("export")(_exchange.export)
app.command("import")(_exchange.import_)
app.command("systems")(_systems.systems)
app.command("prove")(_systems.prove)


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    """From the labels you have to the labels your data deserves, and how far to trust them."""
    if version:
        print(f"labelwright {__version__}")
        raise typer.Exit


def _warn(message: Any, *_: Any, **__: Any) -> None:
    say.print(f"[yellow]note:[/] {say.plain(str(message))}")


def main() -> None:
    """Run the command; a mistake in the input is told in one paragraph, without a traceback, exit status 2."""
    warnings.showwarning = _warn
    try:
        app()
    except (LabelwrightError, FileExistsError, FileNotFoundError) as error:
        say.error(error)
        sys.exit(2)
    except KeyboardInterrupt:
        say.print("[red]stopped[/]; nothing is half-written, and what can go on does so with the same command")
        sys.exit(130)
