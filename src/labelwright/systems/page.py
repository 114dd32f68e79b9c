"""The page "What works", made from the recorded results: python -m labelwright.systems.page > docs/what-works.md"""

from __future__ import annotations

from collections import Counter
from typing import Any

from labelwright.systems.catalogue import MEANING, System, catalogue

HEAD = """# What works

Every system of the catalogue with a recorded proof: the method against its paper's baseline and the obvious alternative, on the
same data, noise and folds. The difference is *method minus arm*, positive where the method is better, with its 95 % interval. The
state follows from the numbers:

| state | meaning |
| --- | --- |
"""
NOTES = """
"planted" marks data whose noise or faults were planted by the proof, "bound" an arm that uses what nobody has (the truth).
Seconds are CPU seconds per run, MiB the growth of memory. Data sets that do not come with the package are read from the folder
that `LABELWRIGHT_DATA` names; `labelwright prove NAME --data PATH` repeats a proof on your own data, and `--data-format`
prints what it reads.
"""


def what_works() -> str:
    """Markdown."""
    done = [s for s in catalogue() if s.record is not None]
    meanings = "\n".join(f"| {state} | {meaning} |" for state, meaning in MEANING.items())
    count = Counter(s.state for s in catalogue() if s.number)
    told = ", ".join(f"{count[state]} {state}" for state in MEANING if count[state])
    parts = [HEAD + meanings, NOTES, f"Of {sum(count.values())} published systems: {told}.\n", _overview(done)]
    return "\n".join([*parts, *map(_system, done)])


def _overview(done: list[System]) -> str:
    rows = [
        f"| {s.number or ''} | [{_short(s.title)}](#{s.name}) | {', '.join(s.family)} | {s.state} | {s.line} |"
        for s in done
    ]
    return (
        "| no | system | family | state | what you get |\n| ---: | --- | --- | --- | --- |\n" + "\n".join(rows) + "\n"
    )


def _system(system: System) -> str:
    record: dict[str, Any] = system.record or {}
    versions = ", ".join(f"{k} {v}" for k, v in record["versions"].items())
    number = f", number {system.number}" if system.number else ""
    out = [
        f"## {_short(system.title)} {{ #{system.name} }}\n",
        f"{system.line} {system.title}, {system.source}{number}. **{record['state']}**\n",
        f"`{record['command']}` · {record['date']} · {versions} · {record['machine']}\n",
    ]
    return "\n".join([*out, *map(_proof, record["proofs"])])


def _short(title: str) -> str:
    return title.split(":")[0]


def _proof(proof: dict[str, Any]) -> str:
    sense = "higher" if proof["higher_is_better"] else "lower"
    kind = "seeds" if proof["interval"] == "t" else "resamples of the items"
    out = [
        f"### {proof['name']}: {proof['question']}\n",
        f"{proof['metric']}, {sense} is better, {proof['seeds']} {kind}.\n",
        f"| data | arm | role | {proof['metric']} | difference [95 %] | also | s | MiB |",
        "| --- | --- | --- | ---: | ---: | --- | ---: | ---: |",
    ]
    for data in proof["datasets"]:
        differences = {d["arm"]: d for d in data["differences"]}
        for i, arm in enumerate(data["arms"]):
            name = f"{data['name']} ({data['n']:,}{'' if data['real'] else ', planted'})" if i == 0 else ""
            also = ", ".join(f"{k} {v:.3g}" for k, v in arm["also"].items())
            out.append(
                f"| {name} | {arm['name']} | {arm['role']} | {arm['mean']:.4f} | {_interval(differences.get(arm['name']))} "
                f"| {also} | {arm['cpu_seconds']:.2f} | {arm['peak_mib']:.0f} |"
            )
    pooled = "; ".join(f"{d['arm']} ({d['role']}) {_interval(d)}" for d in proof["differences"])
    out.append(f"\nOver all data, against {pooled}.\n" if pooled else "\nNo data set was there.\n")
    if proof["note"]:
        out.append(f"{proof['note']}\n")
    return "\n".join(out)


def _interval(d: dict[str, Any] | None) -> str:
    return "" if d is None else f"{d['mean']:+.4f} [{d['low']:+.4f}, {d['high']:+.4f}]"


if __name__ == "__main__":
    print(what_works())
