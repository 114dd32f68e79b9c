"""`labelwright advise`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from labelwright.cli.console import say

if TYPE_CHECKING:
    from labelwright.advising import Advice, Finding

COLOUR = {"high": "bold red", "medium": "yellow", "low": "cyan", "info": "dim"}
STATE = {"works": "green", "no gain here": "yellow", "partly": "yellow", "not yet": "dim"}
SOURCES, FINDINGS, LINES = 6, 8, 3  # of each, printed; --json has them all


def advise(
    data: Path = typer.Argument(help="A table, an .npz of arrays, a data set folder, or a folder of such files."),
    label: str | None = typer.Option(None, help="Column or array of the labels; guessed where not given."),
    text: str | None = typer.Option(None, help="Column of texts."),
    image: str | None = typer.Option(None, help="Column of image paths."),
    as_json: bool = typer.Option(False, "--json", help="Last line of stdout: one JSON object with everything."),
    seed: int = typer.Option(0, min=0, help="Seed of samples and folds."),
) -> None:
    """What is wrong with these labels, in plain words, and which commands and systems fit."""
    from labelwright.advising import advise as verb

    if as_json:
        say.quiet_stdout()
    with say.progress() as progress:
        found = verb(data, label=label, text=text, image=image, random_state=seed, progress=progress)
    tell(found)
    if as_json:
        print(json.dumps(found.to_dict(), ensure_ascii=True))


def tell(found: Advice) -> None:
    """Print what was recognised, the findings, the most severe of each kind first, the systems and what is missing."""
    from labelwright.advising.advice import recognised

    groups = found.grouped()
    say.print(f"[bold]{_clean(found.data)}[/]: {_count(len(found.findings), 'finding')}")
    for s in found.survey[:SOURCES]:
        prefix = f"{_clean(s.source)}: " if len(found.survey) > 1 else ""
        say.print(f"[dim]  {prefix}{_clean(recognised(s))}[/]")
    if len(found.survey) > SOURCES:
        say.print(f"[dim]  and {len(found.survey) - SOURCES} more files[/]")
    say.print()
    for first, others in groups[:FINDINGS]:
        _finding(first, others, several=len(found.survey) > 1)
    if len(groups) > FINDINGS:
        say.print(f"[dim]and {_count(len(groups) - FINDINGS, 'more kind')} of findings: --json has them all[/]")
    if not groups:
        say.print("nothing was found that needs care")
    _systems(found)
    _missing([*found.unmeasured, *found.skipped])


def _finding(first: Finding, others: list[Finding], *, several: bool) -> None:
    where = f" [dim]({_clean(first.source)}{_also(first, others)})[/]" if several else ""
    say.print(f"[{COLOUR[first.severity]}]{first.severity:7}[/][bold]{first.kind}[/]{where}: {_clean(first.sentence)}.")
    if first.commands:
        say.print("       " + "   ".join(f"[cyan]{_clean(c)}[/]" for c in first.commands[:2]))


def _also(first: Finding, others: list[Finding]) -> str:
    files = len({f.source for f in others} - {first.source})
    return f"; also in {_count(files, 'other file')}" if files else ""


def _systems(found: Advice) -> None:
    if not found.systems:
        return
    say.print("\n[bold]systems that fit[/]")
    for s in found.systems:
        name = f"[bold]{s.name}[/]" if s.registered else s.name
        say.print(f"  {name} [{STATE[s.state]}]{s.state}[/]: {_clean(s.reason)}")


def _missing(lines: list[str]) -> None:
    for line in lines[:LINES]:
        say.print(f"[dim]{_clean(line)}[/]")
    if len(lines) > LINES:
        say.print(f"[dim]and {_count(len(lines) - LINES, 'more line')} of this kind[/]")


def _count(n: int, word: str) -> str:
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def _clean(text: str) -> str:
    """Text of files, columns and classes: no markup, and nothing that moves the cursor."""
    return say.plain("".join(c if c.isprintable() else "�" for c in text))
