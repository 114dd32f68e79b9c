"""`advise`: what is wrong with these labels, in plain words, and which commands and systems fit."""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.advising._arrays import Source, read_sources
from labelwright.advising._classes import classes
from labelwright.advising._noise import noise
from labelwright.advising._parts import others
from labelwright.advising._sets import sets
from labelwright.advising._splits import splits
from labelwright.advising._votes import answers
from labelwright.advising.case import Case, percent, quoted
from labelwright.advising.evidence import LABELS, Evidence, Survey
from labelwright.advising.finding import SEVERITIES, Finding, Fit
from labelwright.advising.survey import survey
from labelwright.errors import ColumnError, DataError, LabelwrightError, LabelwrightWarning, check_whole

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Advice:
    """findings: the most severe first.   survey: the evidence of each source.   unmeasured: what could not be measured and why.
    skipped: files that were not read, and why."""

    data: str
    findings: tuple[Finding, ...]
    survey: tuple[Survey, ...]
    unmeasured: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def systems(self) -> tuple[Fit, ...]:
        """The systems of the findings, each once, in the order of the findings; at most five."""
        found: dict[str, Fit] = {}
        for finding in self.findings:
            if finding.severity != "info":
                for fit in finding.systems[:2]:
                    found.setdefault(fit.name, fit)
        for finding in self.findings:
            for fit in finding.systems:
                found.setdefault(fit.name, fit)
        proved = sorted(found.values(), key=lambda f: not (f.registered and f.state == "works"))
        return tuple(proved[:5])

    def grouped(self) -> list[tuple[Finding, list[Finding]]]:
        """The most severe finding of each kind, with the others of that kind."""
        groups: dict[str, list[Finding]] = {}
        for finding in self.findings:
            groups.setdefault(finding.kind, []).append(finding)
        return [(found[0], found[1:]) for found in groups.values()]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        return {
            "data": self.data,
            "survey": [
                {"source": s.source, "evidence": [e.to_dict() for e in s.evidence], "notes": s.notes}
                for s in self.survey
            ],
            "findings": [f.to_dict() for f in self.findings],
            "systems": [f.to_dict() for f in self.systems],
            "unmeasured": list(self.unmeasured),
            "skipped": list(self.skipped),
            "settings": self.settings,
        }

    def __str__(self) -> str:
        lines = [f"{self.data}: {len(self.findings)} findings"]
        lines += [f"  {s.source}: {recognised(s)}" for s in self.survey]
        for f in self.findings:
            where = f" [{f.source}]" if len(self.survey) > 1 else ""
            lines.append(f"{f.severity:6} {f.kind}{where}: {f.sentence}.")
            lines += [f"       {c}" for c in f.commands]
        lines += [f"fits: {s.name} ({s.state}): {s.reason}" for s in self.systems]
        return "\n".join([*lines, *self.unmeasured])

    def __repr__(self) -> str:
        high = sum(f.severity == "high" for f in self.findings)
        return f"Advice({self.data}: {len(self.findings)} findings, {high} of them high)"


def advise(
    data: Any,
    *,
    label: str | None = None,
    text: str | None = None,
    image: str | None = None,
    random_state: int = 0,
    progress: Progress | None = None,
) -> Advice:
    """What is wrong with the labels in any data, and which commands and systems fit, each with its figures.

    Every figure was measured here; what could not be measured is in `unmeasured`, with the reason. The noise rate comes from
    an audit of a sample (at most 4,000 items); all else is counted on all items.

    Args:
        data: a path: what `read_items` reads, an .npz of named arrays, or a folder of such files (each is surveyed); or any data
            frame; or a dict of columns or arrays.
        label, text, image: names of columns, guessed where None. In a folder, they apply to the files that have them.
        random_state: seed of samples and folds.
        progress: called as progress(step, done, total).

    Raises:
        DataError: nothing there, nothing readable, arrays of objects.   ColumnError: a named column that is not there.

    >>> import labelwright.advising as advising
    >>> found = advising.advise({"text": ["a b", "a b", "c d", "e f"] * 5, "label": ["x", "y", "x", "y"] * 5})
    >>> found.findings[0].kind
    'conflicting copies'
    """
    check_whole("random_state", random_state, 0)
    named = {"label": label, "text": text, "image": image}
    surveys, skipped = _surveys(data, named)
    cases = [Case(s, random_state, data=_known_of_items(s, surveys)) for s in surveys]
    for i, case in enumerate(cases):
        if progress:
            progress("measuring", i, len(cases))
        _measure(case)
    if progress:
        progress("measuring", len(cases), len(cases))
    _unlabelled(cases)
    findings = sorted(
        (f for c in cases for f in c.findings),
        key=lambda f: (SEVERITIES.index(f.severity), -(f.evidence.get("low") or 0)),
    )
    name = Path(data).resolve().name if isinstance(data, str | os.PathLike) else "data"
    return Advice(
        name,
        tuple(findings),
        tuple(surveys),
        tuple(u for c in cases for u in c.unmeasured),
        tuple(skipped),
        {"random_state": random_state} | {k: v for k, v in named.items() if v},
    )


def _surveys(data: Any, named: dict[str, str | None]) -> tuple[list[Survey], list[str]]:
    """One survey per source, and one line for each file that was not read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelwrightWarning)
        sources, skipped = read_sources(data)
    surveys: list[Survey] = []
    for source in sources:
        try:
            surveys.append(survey(source, **_there(source, named, alone=len(sources) == 1)))
        except LabelwrightError as error:
            if len(sources) == 1:
                raise
            skipped.append(f"{source.name}: not surveyed; found {error.found}")
    _check_named(sources, named)
    for s in surveys:
        s.options |= {k: v for k, v in named.items() if v and k != "label"}
    _lend_labels(surveys)
    return surveys, skipped


def _measure(case: Case) -> None:
    classes(case)
    answers(case)
    sets(case)
    others(case)
    splits(case)
    noise(case)


def _there(source: Source, named: dict[str, str | None], *, alone: bool) -> dict[str, str | None]:
    """The names that a source of a folder has; all of them where it is the only one."""
    return named if alone else {role: name if name in source.names else None for role, name in named.items()}


def _check_named(sources: list[Source], named: dict[str, str | None]) -> None:
    for role, name in named.items():
        if name is not None and not any(name in s.names for s in sources):
            raise ColumnError(
                found=f"no column {name!r} for {role} in any of {len(sources)} files",
                expected="a column or array of at least one of them",
                fix="check the name, or pass the file itself",
            )


def _lend_labels(surveys: list[Survey]) -> None:
    """Probabilities that lie in a file of their own get the labels of a file beside it, where as many rows agree so well that
    they must be in the same order."""
    lenders = [(s, e) for s in surveys for e in s.of("hard labels") if e.role == "given"]
    for s in surveys:
        p = s.first("pred_probs")
        if p is None or s.main is not None or p.detail.get("ranked"):
            continue
        fitting: list[tuple[bool, float, Survey, Evidence]] = []
        for owner, e in lenders:
            if e.n == p.n and len(e.classes) == p.data.shape[1]:
                known = e.data >= 0
                agrees = float((np.asarray(p.data).argmax(1) == e.data)[known].mean())
                usual = float(np.bincount(e.data[known]).max() / known.sum())
                if agrees > max(0.5, 2 * usual):
                    fitting.append((e.name.lower() in s.source.lower(), agrees, owner, e))
        if fitting:
            _, agrees, owner, e = max(fitting, key=lambda f: f[:2])
            told = f"the probabilities meet it on {percent(agrees)} of the rows, so the rows are in the same order"
            how = f"{e.name!r} of {owner.source}: {told}"
            s.add("hard labels", e.name, how, e.n, e.data, classes=e.classes, detail=dict(e.detail))


def _known_of_items(s: Survey, surveys: list[Survey]) -> set[str]:
    """What the items are, by every file with as many of them."""
    sizes = {e.n for e in s.evidence}
    return set().union(s.data, *(o.data for o in surveys if sizes & {e.n for e in o.evidence}))


def _unlabelled(cases: list[Case]) -> None:
    """Say where it is not clear which column is the label; and where the whole data holds no evidence about labels."""
    if not cases:
        raise DataError(
            found="nothing that could be surveyed", expected="at least one readable file", fix="check the files"
        )
    for case in cases:
        s = case.survey
        if s.unclear:
            some = (
                [] if s.path is None else [["labelwright", "advise", s.path, "--label", name] for name in s.unclear[:2]]
            )
            told = f"Which column is the label is not clear; it could be {quoted(s.unclear, 5)}: say which with --label"
            case.say(
                "unclear label", "medium", told, {"columns": list(s.unclear)}, commands=tuple(map(shlex.join, some))
            )
    evidence = [e for c in cases for e in c.survey.evidence if e.kind != "split"]
    if any(e.kind in LABELS and e.role != "predicted" for e in evidence) or any(c.survey.unclear for c in cases):
        return
    words = {"table": "other columns", "graph": "a graph", "pred_probs": "a model's probabilities"}
    kinds = list(dict.fromkeys(words.get(e.kind, e.kind) for e in evidence))
    notes = [note for c in cases for note in c.survey.notes][:1]
    what = f"Recognised: {', '.join(kinds)}" if kinds else "; ".join(["Nothing was recognised", *notes])
    told = f"{what}; no labels. Nothing can be audited"
    told += "; systems that infer labels or make them can start from here" if kinds else ""
    cases[0].say("no labels", "high", told, {"kinds": kinds})


def recognised(s: Survey) -> str:
    """One line on what a source holds."""
    parts = []
    for e in s.evidence:
        size = f"{e.n:,}" + (f" × {len(e.classes):,} classes" if e.classes and e.kind != "pred_probs" else "")
        role = "" if e.role == "given" else f", {e.role}"
        parts.append(f"{e.kind} {e.name!r} ({size}{role})" if e.kind != "split" else f"split {e.name!r}")
    return "; ".join(parts) if parts else "no evidence about labels" + (f" ({s.notes[0]})" if s.notes else "")
