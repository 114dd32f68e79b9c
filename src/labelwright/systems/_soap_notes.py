"""Pseudo-notes for card 42: lines of text dealt into sections with headings that are missing, wrong or unknown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.systems import _datasets
from labelwright.systems.proof import Dataset

ROLES = ("S", "O", "A", "P")
HEADINGS = {
    "S": ("Chief complaint", "History", "Subjective", "HPI"),
    "O": ("Vitals", "Exam", "Labs", "Objective"),
    "A": ("Impression", "Assessment", "Diagnosis"),
    "P": ("Plan", "Follow-up", "Recommendations"),
}
COMBINED = {"assessment and plan": ["A", "P"]}
STRANGE = ("MISCELLANEOUS", "HOSPITAL FORM 12", "OTHER")  # not in the lexicon
GRAMMAR = ((0, 1, 2, 3), (1, 0, 3, 2))  # order of the sections in each source
LINES = 1000  # per role and source, enough for 200 notes
MISSING, WRONG, UNKNOWN, JOINED, STRAY = 0.15, 0.1, 0.1, 0.3, 0.1


@dataclass
class Notes:
    """x: per note (T, D); role: per note (T,), the truth; label: what the headings say, -1 = unknown; sets: (T, 4) bool."""

    x: list[np.ndarray]
    role: list[np.ndarray]
    label: list[np.ndarray]
    sets: list[np.ndarray]

    def part(self, rows: range) -> Notes:
        return Notes(*([column[i] for i in rows] for column in (self.x, self.role, self.label, self.sets)))


def note_sets(folder: Path | None) -> Iterator[Dataset]:
    """Lines of made-up words; and openings of news (source A) and of encyclopaedia articles (source B)."""
    yield made_up()
    if folder is None:
        return
    columns: dict[str, list[Any]] = {"text": [], "role": [], "source": []}
    for source, name in enumerate(("ag_news", "dbpedia14")):
        text, label, _ = _datasets.texts(folder / "text_classification" / f"{name}.parquet")
        for role, topic in enumerate(_topics(name, np.unique(label.astype(str)))):
            rows = np.random.default_rng(role).permutation(np.flatnonzero(label.astype(str) == topic))[:LINES]
            columns["text"] += [" ".join(str(text[i]).split()[:12]) for i in rows]
            columns["role"] += [role] * len(rows)
            columns["source"] += [source] * len(rows)
    arrays = {
        "text": np.array(columns["text"], object),
        "role": np.array(columns["role"]),
        "source": np.array(columns["source"]),
    }
    yield Dataset("ag_news to dbpedia14", arrays, options={"encoder": _datasets.text_encoder() is not None})


def _topics(name: str, labels: np.ndarray) -> list[str]:
    """The classes that stand for S, O, A and P: politics, sport, business and knowledge in both sources."""
    wanted = {
        "ag_news": (("world",), ("sport",), ("business",), ("sci",)),
        "dbpedia14": (("officeholder", "office"), ("athlete",), ("company",), ("writtenwork", "written")),
    }[name]
    return [next(c for c in labels if str(c).lower().startswith(starts)) for starts in wanted]


def made_up() -> Dataset:
    """Lines of eight words, of which two or fewer tell the role; half of these words differ between the sources."""
    rng = np.random.default_rng(0)
    text, role, source = [], [], []
    for s in range(2):
        for r in range(4):
            own = [f"role{r}both{i}" for i in range(15)] + [f"role{r}only{s}n{i}" for i in range(15)]
            for _ in range(LINES):
                words = [f"word{i}" for i in rng.integers(0, 300, 6)] + list(rng.choice(own, rng.integers(0, 3)))
                text.append(" ".join(rng.permutation(words)))
                role.append(r)
                source.append(s)
    return Dataset(
        "made-up words", {"text": np.array(text, object), "role": np.array(role), "source": np.array(source)}
    )


def notes_of(data: Dataset, vectors: np.ndarray, source: int, seed: int) -> Notes:
    """Every line of the source once, written into notes and read again by `label_sections`."""
    from labelwright.annotators.sections import label_sections
    from labelwright.labels import LabelSpace

    rng = np.random.default_rng([seed, source])
    role, mine = np.asarray(data["role"]), np.asarray(data["source"]) == source
    piles = [list(rng.permutation(np.flatnonzero(mine & (role == r)))) for r in range(4)]
    documents, items = [], []
    while min(map(len, piles)) > 25:
        lines, rows = _note(piles, GRAMMAR[source], data["text"], rng)
        documents.append(lines)
        items.append(rows)
    found = label_sections(documents, HEADINGS, combined=COMBINED, space=LabelSpace(ROLES))
    row = np.array([items[d][i] for d, i in zip(found.document, found.line, strict=True)])
    keep = row >= 0
    cut = found.per_document
    return Notes(
        *([part[k] for part, k in zip(cut(column), cut(keep), strict=True)]
          for column in (vectors[row], role[row], found.label, found.candidates))
    )  # fmt: skip


def _note(piles: list[list[Any]], order: tuple[int, ...], text: Any, rng: Any) -> tuple[list[str], list[int]]:
    """(lines, the item that each came from, -1 for a heading)."""
    sections = [r for r in order for _ in range(1 + (rng.random() < 0.2))]
    lines, rows = [], []
    joined = False
    for place, r in enumerate(sections):
        following = sections[place + 1] if place + 1 < len(sections) else -1
        heading = str(rng.choice(HEADINGS[ROLES[r]]))
        if joined:
            heading, joined = "", False
        elif {r, following} == {2, 3} and rng.random() < JOINED:
            heading, joined = "Assessment and Plan", True
        else:
            chance = rng.random()
            if chance < MISSING:
                heading = ""
            elif chance < MISSING + WRONG:
                heading = str(rng.choice(HEADINGS[ROLES[(r + rng.integers(1, 4)) % 4]]))
            elif chance < MISSING + WRONG + UNKNOWN:
                heading = str(rng.choice(STRANGE))
        if heading:
            lines.append(f"{heading.upper()}:")
            rows.append(-1)
        for _ in range(rng.integers(2, 6)):
            pile = piles[(r + rng.integers(1, 4)) % 4 if rng.random() < STRAY else r]
            rows.append(int(pile.pop()))
            lines.append(str(text[rows[-1]]))
    return lines, rows
