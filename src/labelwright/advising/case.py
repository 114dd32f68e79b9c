"""The file of one source while its findings are collected."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labelwright.advising._fits import fits, query
from labelwright.advising.evidence import Evidence, Survey
from labelwright.advising.finding import Finding, Fit
from labelwright.errors import DataError


@dataclass
class Case:
    """survey: the evidence.   random_state: of samples.   findings: so far.   unmeasured: one line for each measure that could
    not be made, with the reason.   data: what the items are, files beside this one included; empty: this one alone."""

    survey: Survey
    random_state: int = 0
    findings: list[Finding] = field(default_factory=list)
    unmeasured: list[str] = field(default_factory=list)
    data: set[str] = field(default_factory=set)

    def say(
        self,
        kind: str,
        severity: str,
        sentence: str,
        evidence: dict[str, Any] | None = None,
        *,
        commands: tuple[str, ...] = (),
        without: tuple[str, ...] = (),
    ) -> None:
        """Add a finding, with the search command and the systems of its kind."""
        search, systems = query(kind), fits(kind, self.data or self.survey.data, without=without)
        self.findings.append(
            Finding(
                kind=kind,
                severity=severity,
                sentence=sentence,
                evidence={k: _plain(v) for k, v in (evidence or {}).items()},
                commands=(*commands, *self.prove(systems), *([search] if search else [])),
                systems=systems,
                source=self.survey.source,
            )
        )

    def cannot(self, what: str, why: str) -> None:
        """Keep why a measure could not be made."""
        self.unmeasured.append(f"{self.survey.source}: {what} not measured: {why}")

    def audit(self, labels: Evidence) -> tuple[str, ...]:
        """The command that audits these labels, where there is one."""
        s = self.survey
        if not s.auditable or s.path is None:
            return ()
        words = ["labelwright", "audit", s.path, "--label", labels.name]
        for option in ("text", "image", "split"):
            if option in s.options:
                words += [f"--{option}", s.options[option]]
        return (shlex.join(words),)

    def prove(self, systems: tuple[Fit, ...]) -> tuple[str, ...]:
        """The commands that prove systems with code on this very file, where it holds the keys that their proofs read."""
        path = self.survey.path
        if path is None or not path.endswith((".npz", ".parquet", ".pq")):
            return ()
        return tuple(shlex.join(["labelwright", "prove", s.name, "--data", path]) for s in systems if self._reads(s))

    def _reads(self, fit: Fit) -> bool:
        from labelwright.systems import Dataset, find, registered

        if not fit.registered:
            return False
        data = Dataset(self.survey.source, dict.fromkeys(self.survey.keys, np.zeros(1)))
        for proof in registered(find(fit.name)).PROOFS:
            try:
                proof.check(data)
            except DataError:
                continue
            return True
        return False

    def sample(self, rows: np.ndarray, most: int) -> np.ndarray:
        """At most so many of the rows, drawn with the seed, in their order."""
        if len(rows) <= most:
            return rows
        return np.sort(np.random.default_rng(self.random_state).choice(rows, most, replace=False))


def _plain(value: Any) -> Any:
    """NumPy values as Python's own, NaN as None, so that JSON can hold them."""
    if isinstance(value, np.ndarray):
        return [_plain(v) for v in value.tolist()]
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def percent(share: float) -> str:
    """A share in words: one decimal below 10 %.

    >>> percent(0.034), percent(0.5), percent(0.0004)
    ('3.4 %', '50 %', '<0.1 %')
    """
    if 0 < share < 0.001:
        return "<0.1 %"
    return f"{share:.1%}".replace("%", " %") if share < 0.1 else f"{share:.0%}".replace("%", " %")


def quoted(names: Any, most: int = 3) -> str:
    """A few names for a sentence."""
    shown = [repr(str(n) if len(str(n)) <= 40 else str(n)[:39] + "…") for n in list(names)[:most]]
    return ", ".join(shown) + (", …" if len(names) > most else "")
