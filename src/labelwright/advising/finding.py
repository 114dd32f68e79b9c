"""One thing that is worth knowing about the labels, with its figures and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SEVERITIES = ("high", "medium", "low", "info")


@dataclass(frozen=True)
class Fit:
    """A system of the catalogue that fits. reason: why, one sentence.   state: what its recorded proof says.
    registered: whether there is code for it."""

    name: str
    number: int
    reason: str
    state: str
    registered: bool

    def to_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)


@dataclass(frozen=True)
class Finding:
    """kind: what it is about, two or three words.   severity: one of `SEVERITIES`.   sentence: for people, with the figures.
    evidence: those figures.   commands: exact command lines.   systems: at most five, those proved first.
    source: the file it is about."""

    kind: str
    severity: str
    sentence: str
    evidence: dict[str, Any] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    systems: tuple[Fit, ...] = ()
    source: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "kind": self.kind, "severity": self.severity, "source": self.source, "sentence": self.sentence,
            "evidence": self.evidence, "commands": list(self.commands), "systems": [s.to_dict() for s in self.systems],
        }  # fmt: skip
