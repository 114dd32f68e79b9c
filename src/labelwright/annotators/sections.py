"""Labels for lines from the headings above them: every line inherits the class of its section until the next heading.

Heading text never stands in the lines that are returned, since a model that sees it only learns the rule again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.annotators.rule_votes import RuleVotes
from labelwright.errors import DataError, LabelError, OptionError, rows
from labelwright.labels import LabelSpace

if TYPE_CHECKING:
    import pyarrow as pa

MOST_WORDS = 6  # of a heading that is not in the lexicon
MARKER = re.compile(r"^\s*(?:(?:[-*•#=>]+|\(?\d{1,2}[.)]|\(?[a-zA-Z][.)])\s*)+(?=\S)|^\s+")
_LEAD = re.compile(r"^(?P<lead>[^:]{1,80}?)\s*(?P<end>:|$)\s*(?P<rest>.*)$", re.DOTALL)


@dataclass(frozen=True, eq=False)
class SectionLabels:
    """L lines of N documents, with headings and list markers taken out of the text.

    text: (L,) object.   document: (L,) int64, from 0 in the order given.   line: (L,) int64, its number in the document as given.
    candidates: (L, K) bool, the classes that the section allows; all of them where it is unknown.
    label: (L,) int64, the class where one is allowed, -1 elsewhere.
    section: (L,) int64, position in `headings` of the heading above the line; -1 before the first, or under one that is not in
    the lexicon.   headings: (M,) phrases of the lexicon, in lower case.   unknown: headings that the lexicon lacks -> how often.
    """

    text: np.ndarray
    document: np.ndarray
    line: np.ndarray
    candidates: np.ndarray
    label: np.ndarray
    section: np.ndarray
    headings: tuple[str, ...]
    unknown: Mapping[str, int]
    space: LabelSpace

    @property
    def coverage(self) -> float:
        """Share of the lines with one class."""
        return float((self.label >= 0).mean())

    def per_document(self, values: Any) -> list[np.ndarray]:
        """Anything with one row per line, cut into one array per document: features, labels or candidates for a tagger."""
        values = np.asarray(values)
        return np.split(values, np.flatnonzero(np.diff(self.document)) + 1)

    def rule_votes(self) -> RuleVotes:
        """Every phrase of the lexicon as a rule that votes on the lines below it. `coverage(gold)` of the result tells how much
        each phrase labels and how often it is right; together with `apply_rules` on `table()`, where phrases and words of the
        lines disagree."""
        matrix = np.full((len(self.text), len(self.headings)), -1, dtype=np.int32)
        said = np.flatnonzero(self.label >= 0)
        matrix[said, self.section[said]] = self.label[said]
        names = tuple(f"heading: {heading}" for heading in self.headings)
        return RuleVotes(matrix, np.arange(len(self.text)), names, self.space)

    def table(self) -> pa.Table:
        """document, line, text, heading (null where unknown) and label (null where there is not one class) of every line."""
        import pyarrow as pa

        label = [None if c < 0 else str(self.space.classes[c]) for c in self.label]
        heading = [None if s < 0 else self.headings[s] for s in self.section]
        columns = {"document": self.document, "line": self.line, "text": pa.array(self.text.tolist(), pa.string())}
        return pa.table({**columns, "heading": pa.array(heading, pa.string()), "label": pa.array(label, pa.string())})


def label_sections(
    documents: Sequence[str | Sequence[str]],
    headings: Mapping[Any, Iterable[str]],
    *,
    combined: Mapping[str, Iterable[Any]] | None = None,
    space: LabelSpace | None = None,
) -> SectionLabels:
    """Weak labels of lines from the headings of their sections.

    A heading is a line that begins with a phrase of the lexicon, followed by a colon or by nothing; list markers and case do
    not count. What follows the colon is the first line of the section. A line of at most six words in capitals with a colon
    ("LABS:"), or with capitals first and the colon last ("Family history:"), is a heading that the lexicon lacks: the lines
    below it are unknown until the next one. So are the lines before the first heading.

    Args:
        documents: N texts, or lists of lines.
        headings: class -> phrases of its headings.
        combined: phrase -> classes that its section may hold, as {"assessment and plan": ["A", "P"]}: candidates, no label.
        space: default: the classes of `headings`, sorted.

    Raises:
        OptionError: no phrases; a heading in two classes.
        LabelError: a class outside the space.
        DataError: no documents; a document with zero lines beside its headings.

    >>> found = label_sections(["HISTORY: cough\\nno fever\\nPlan:\\n1. rest"], {"S": ["history"], "P": ["plan"]})
    >>> found.text.tolist(), found.label.tolist(), found.space.classes
    (['cough', 'no fever', 'rest'], [1, 1, 0], ('P', 'S'))
    """
    space = space or LabelSpace.from_labels(list(headings))
    lexicon = _lexicon(headings, combined or {}, space)
    if not len(documents):
        raise DataError(found="no documents", expected="at least one", fix="pass a list of texts")
    if isinstance(documents, str):
        raise DataError(found="one string as documents", expected="a sequence of texts", fix="pass [text]")
    phrases = list(lexicon)
    place = {phrase: i for i, phrase in enumerate(phrases)}
    found: list[tuple[int, int, int, str]] = []  # document, line, section, text
    unknown: dict[str, int] = {}
    empty = []
    for d, document in enumerate(documents):
        before, section = len(found), -1
        for number, line in enumerate(document.splitlines() if isinstance(document, str) else document):
            heading, text = split_heading(line, lexicon)
            if heading is not None:
                section = place.get(heading, -1)
                if section < 0:
                    unknown[heading] = unknown.get(heading, 0) + 1
            if text:
                found.append((d, number, section, text))
        if len(found) == before:
            empty.append(d)
    if empty:
        raise DataError(
            found=f"{len(empty)} documents with zero lines beside their headings, in {rows(empty)}",
            expected="at least one line of text in each",
            fix="leave these documents out",
        )
    sets = np.array([*lexicon.values(), np.ones(len(space), dtype=bool)])
    document_of, line_of, section_of = (np.array([entry[i] for entry in found], dtype=np.int64) for i in range(3))
    candidates = sets[section_of]  # the last row stands for -1
    label = np.where(candidates.sum(1) == 1, candidates.argmax(1), -1)
    if len(space) == 1:
        label[section_of < 0] = -1
    text_of = np.array([entry[3] for entry in found], dtype=object)
    return SectionLabels(
        text_of,
        document_of,
        line_of,
        candidates,
        label,
        section_of,
        tuple(phrases),
        dict(sorted(unknown.items())),
        space,
    )


def split_heading(line: str, lexicon: Iterable[str]) -> tuple[str | None, str]:
    """(heading in lower case or None, what remains of the line as text, without list markers).

    >>> split_heading("2. PLAN: rest", {"plan"}), split_heading("he said: no", {"plan"}), split_heading("Old labs:", {"plan"})
    (('plan', 'rest'), (None, 'he said: no'), ('old labs', ''))
    """
    bare = MARKER.sub("", line).strip()
    cut = _LEAD.match(bare)
    if cut is None:
        return None, bare
    lead, colon, rest = _plain(cut["lead"]), cut["end"] == ":", MARKER.sub("", cut["rest"]).strip()
    if lead in lexicon:
        return lead, rest
    words = cut["lead"].split()
    if colon and 0 < len(words) <= MOST_WORDS and any(c.isalpha() for c in cut["lead"]):
        if cut["lead"].isupper():
            return lead, rest
        if not rest and words[0][0].isupper():
            return lead, ""
    return None, bare


def _plain(phrase: str) -> str:
    return " ".join(phrase.strip("*_#=-: \t\n").lower().split())


def _lexicon(
    headings: Mapping[Any, Iterable[str]], combined: Mapping[str, Iterable[Any]], space: LabelSpace
) -> dict[str, np.ndarray]:
    """phrase -> (K,) bool, the classes of its section."""
    pairs = [(p, [c]) for c, phrases in headings.items() for p in ([phrases] if isinstance(phrases, str) else phrases)]
    pairs += [(phrase, list(classes)) for phrase, classes in combined.items()]
    out: dict[str, np.ndarray] = {}
    named: dict[str, list[Any]] = {}
    for phrase, classes in pairs:
        strange = [c for c in classes if c not in space.classes]
        if strange or not classes:
            raise LabelError(
                found=f"heading {phrase!r} for {strange[0]!r}" if strange else f"heading {phrase!r} for no class",
                expected=f"classes of the space, such as {space.classes[0]!r}",
                fix="correct the class, or pass a space that has it",
            )
        key = _plain(phrase)
        if not key or named.get(key, classes) != classes:
            raise OptionError(
                found=f"heading {phrase!r} in classes {named[key]} and {classes}" if key else f"an empty heading for {classes}",
                expected="phrases that stand for one class each",
                fix="name it in combined={phrase: [classes]} if its section may hold several" if key else "remove it",
            )  # fmt: skip
        named[key] = classes
        out[key] = np.array([c in classes for c in space.classes])
    if not out:
        raise OptionError(found="no headings", expected="class -> phrases", fix="pass {'plan': ['plan', 'follow-up']}")
    return out
