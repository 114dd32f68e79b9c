"""`labelwright systems` and `labelwright prove`."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from labelwright.cli.console import say

if TYPE_CHECKING:
    from labelwright.systems import Proof, System

COLOUR = {"works": "green", "no gain here": "yellow", "partly": "yellow", "not yet": "dim"}


def systems(
    query: str | None = typer.Argument(None, help="What you have or want, in words; a name or a number."),
    limit: int = typer.Option(10, min=1, help="Answers to a query."),
    as_json: bool = typer.Option(False, "--json", help="Last line of stdout: one JSON list."),
) -> None:
    """List the published systems and what is known of each, or search them by meaning."""
    from labelwright.systems import catalogue, search

    if as_json:
        say.quiet_stdout()
    found = list(catalogue()) if query is None else search(query, limit=limit)
    _list(found)
    if query is None:
        states = [s.state for s in found]
        say.print(", ".join(f"{states.count(state)} {state}" for state in COLOUR if state in states))
    elif not found:
        say.print(
            f"nothing in the catalogue speaks of {say.plain(repr(query))}; `labelwright systems` lists everything"
        )
    if as_json:
        print(json.dumps([s.summary() for s in found], ensure_ascii=False))


def _list(found: list[System]) -> None:
    """Two lines each; names with code stand out."""
    for s in found:
        name = f"[bold]{s.name}[/]" if s.registered else s.name
        say.print(f"{s.number or '':>3}  {name}  [dim]{', '.join(s.family)}[/]  [{COLOUR[s.state]}]{s.state}[/]")
        say.print(f"     {say.plain(s.line)}")


def prove(
    name: str = typer.Argument(help="Name or number of a system; `labelwright systems` lists them."),
    data: Path | None = typer.Option(
        None, help="Your own data: .npz, or a Parquet file or folder (see --data-format)."
    ),
    seeds: int | None = typer.Option(None, min=1, help="Repetitions; default: the proof's own number."),
    out: Path | None = typer.Option(None, help="Write the result as JSON; a stopped run goes on where it was."),
    data_format: bool = typer.Option(False, "--data-format", help="Print what the proofs read, and stop."),
    as_json: bool = typer.Option(False, "--json", help="Last line of stdout: the result as one JSON object."),
) -> None:
    """Run a system's proof: the method against its paper's baseline and the obvious alternative, with intervals."""
    from labelwright.systems import data_folder, find, read_dataset, registered, run_proofs

    if as_json:
        say.quiet_stdout()
    system = find(name)
    proofs: tuple[Proof, ...] = registered(system).PROOFS
    if data_format:
        _print_format(system, proofs)
        return
    if out is not None and out.exists():
        raise FileExistsError(f"{out} exists; choose another --out, or remove it to prove anew")
    folder = data_folder() if data is None else None
    say.print(f"[bold]{say.plain(system.title)}[/]\n{say.plain(system.line)}")
    if data is None and folder is None:
        say.print("[dim]LABELWRIGHT_DATA is not set: bundled data only, which shows that it runs[/]")
    own = None if data is None else read_dataset(data)
    if own is not None:
        proofs = tuple(p for p in proofs if _fits(p, own)) or proofs
    journal = None if out is None else out.with_name(out.name + ".journal")
    with say.progress() as progress:
        result = run_proofs(
            system.name, proofs, folder=folder, data=own, seeds=seeds, progress=progress, journal=journal
        )
    result = {"number": system.number, "title": system.title, "command": _command(), **result}
    for proof in result["proofs"]:
        _print_proof(proof)
    say.print(f"\nstate by these numbers: [bold {COLOUR[result['state']]}]{result['state']}[/]")
    if out is not None:
        with out.open("x", encoding="utf-8") as file:
            json.dump(result, file, indent=1, ensure_ascii=False)
            file.write("\n")
        if journal is not None:
            journal.unlink(missing_ok=True)
        say.print(f"written to {say.plain(str(out))}")
    if as_json:
        print(json.dumps(result, ensure_ascii=False))


def _fits(proof: Proof, data: Any) -> bool:
    from labelwright.errors import DataError

    try:
        proof.check(data)
    except DataError:
        return False
    return True


def _command() -> str:
    """What was typed, so that the numbers can be made again."""
    return shlex.join(["labelwright", *sys.argv[1:]])


def _print_format(system: System, proofs: tuple[Proof, ...]) -> None:
    say.print(f"{system.name} reads an .npz file, or a Parquet file or folder, with these keys:")
    for proof in proofs:
        say.print(f"\n[bold]{proof.name}[/]: {say.plain(proof.question)}")
        for key, meaning in proof.keys.items():
            optional = key.endswith("?")
            say.print(
                f"  {say.plain(key.rstrip('?').replace('|', ' or '))}  {say.plain(meaning)}{' (optional)' * optional}"
            )


def _print_proof(proof: dict[str, Any]) -> None:
    say.print(f"\n[bold]{proof['name']}[/]: {say.plain(proof['question'])}")
    sense = "higher" if proof["higher_is_better"] else "lower"
    kind = "seeds" if proof["interval"] == "t" else "resamples of the items"
    say.print(f"[dim]{proof['metric']}, {sense} is better, {proof['seeds']} {kind}; difference: method minus arm[/]")
    for dataset in proof["datasets"]:
        say.print(f"{say.plain(dataset['name'])}, {dataset['n']:,} items{'' if dataset['real'] else ', planted'}")
        differences = {d["arm"]: d for d in dataset["differences"]}
        for arm in dataset["arms"]:
            difference = _interval(differences.get(arm["name"]))
            say.print(
                f"  {arm['role']:11s} {say.plain(arm['name']):34s} {arm['mean']:7.4f}  {difference:27s} "
                f"[dim]{arm['cpu_seconds']:7.2f} s {arm['peak_mib']:5.0f} MiB[/]"
            )
    for d in proof["differences"]:
        say.print(f"over all data: method − {say.plain(d['arm'])} ({d['role']}) {_interval(d)}")
    if proof["note"]:
        say.print(f"[dim]{say.plain(proof['note'])}[/]")


def _interval(d: dict[str, Any] | None) -> str:
    return (
        ""
        if d is None
        else f"{d['mean']:+.4f} [{d['low']:+.4f}, {d['high']:+.4f}]".replace("[+nan, +nan]", "(one run)")
    )
