"""The one list of all systems: what each is, whether there is code for it, and what its recorded proof says."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from labelwright.errors import OptionError, nearest

MEANING = {
    "works": "better than its paper's baseline on real data, 95 % interval above zero",
    "no gain here": "built and checked as specified; its gain was not seen here",
    "partly": "some of its proofs hold, others do not",
    "not yet": "no recorded proof",
}


@dataclass(frozen=True)
class System:
    """One published system.

    number: of its card; 0 for reference methods without one.   name: what `prove` takes.   title, source: of the paper.
    family: the verbs it belongs to.   line: what a user gets, one sentence.
    evidence, structure, data: which labels, label spaces and data it is for.   about: search words.
    """

    number: int
    name: str
    title: str
    source: str
    family: tuple[str, ...]
    line: str
    evidence: tuple[str, ...]
    structure: tuple[str, ...]
    data: tuple[str, ...]
    about: str

    @property
    def module(self) -> str:
        """The file in this folder that registers its code, without `.py`."""
        return self.name.replace("-", "_")

    @property
    def registered(self) -> bool:
        """Whether there is code."""
        return resources.files("labelwright.systems").joinpath(f"{self.module}.py").is_file()

    @property
    def record(self) -> dict[str, Any] | None:
        """The recorded result of its proof, as `labelwright prove` wrote it; None where there is none."""
        file = resources.files("labelwright.systems").joinpath("results", f"{self.name}.json")
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None

    @property
    def state(self) -> str:
        """One of `MEANING`, from the recorded result."""
        record = self.record
        return "not yet" if record is None else str(record["state"])

    def summary(self) -> dict[str, Any]:
        """For JSON: number, name, title, source, family, line, state, and whether there is code."""
        fields = ("number", "name", "title", "source", "line", "evidence", "structure", "data", "state", "registered")
        return {k: getattr(self, k) for k in fields} | {"family": list(self.family)}


@lru_cache(maxsize=1)
def catalogue() -> tuple[System, ...]:
    """All systems in number order; reference methods last."""
    text = resources.files("labelwright.systems").joinpath("catalogue.toml").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = tomllib.loads(text)["system"]
    return tuple(sorted(map(_system, rows), key=lambda s: (s.number == 0, s.number, s.name)))


def _system(row: dict[str, Any]) -> System:
    return System(**{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()})  # type: ignore[arg-type]


def find(name: str | int) -> System:
    """The system of that name, number, or unique part of a name.

    Raises:
        OptionError: none, or several.

    >>> find("toptwo").number, find(58).name
    (12, 'confident-learning-test-errors')
    """
    wanted = str(name).strip().lower().replace("_", "-")
    every = catalogue()
    if re.fullmatch("0*[1-9][0-9]*", wanted):
        found = [s for s in every if s.number == int(wanted)]
    else:
        named = [s for s in every if s.name == wanted]
        begun = [s for s in every if wanted and s.name.startswith(wanted)]
        found = named or begun or [s for s in every if len(wanted) > 3 and wanted in s.name]
    if len(found) == 1:
        return found[0]
    names = [s.name for s in found] or nearest(wanted, [s.name for s in every])[:3]
    raise OptionError(
        found=f"system {str(name)!r}, which {'is part of several names' if found else 'is in no list'}",
        expected="a name or number of the catalogue",
        fix=f"did you mean {', '.join(names)}? `labelwright systems QUERY` searches them",
    )


def registered(system: System) -> Any:
    """The module that registers the system's code: `PROOFS`, `PARTS`, perhaps `CONTRACTS`.

    Raises:
        OptionError: there is no code for it yet.
    """
    import importlib

    if not system.registered:
        ready = [s.name for s in catalogue() if s.registered and set(s.family) & set(system.family)]
        raise OptionError(
            found=f"{system.name} (number {system.number}), for which there is no code yet",
            expected="a system with code",
            fix=f"of its family there are: {', '.join(ready) or 'none yet'}; `labelwright systems` shows every state",
        )
    return importlib.import_module(f"labelwright.systems.{system.module}")
