"""What the desk tells the pages, the JSON API and the client: plain values, nothing of the database."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from labelwright.webapp.answers import Answer

STREAMS = ("estimation", "repair", "adjudication")
"""estimation: the random order drawn beforehand, whose probabilities stay known.   repair: the most doubtful first, re-ranked as
answers come.   adjudication: items on which reviewers disagree."""

ROLES = ("annotator", "adjudicator", "owner")


@dataclass(frozen=True)
class User:
    """id: number in the database.   name: as logged in.   role: in `ROLES`."""

    id: int
    name: str
    role: str

    def may(self, role: str) -> bool:
        """Whether the role of the user includes this one."""
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True)
class Part:
    """A label of a part of a picture, all in pixels of the picture.

    what: "box" or "region".   key: as in the repository.   problem: what seems wrong, empty where nothing does.   given: its
    class, None where an object seems to have no box.   size: width and height of the picture.   box: x1, y1, x2, y2.
    moved: where the box should be, empty where it is.   area, edge: of a region, as SVG paths.   others: (class, x1, y1, x2, y2)
    of other boxes.
    """

    what: str
    key: str
    problem: str
    given: Any
    size: tuple[float, float]
    box: tuple[float, ...]
    moved: tuple[float, ...] = ()
    area: str = ""
    edge: str = ""
    others: tuple[tuple[Any, float, float, float, float], ...] = ()

    @property
    def missed(self) -> bool:
        """Whether it is an object that no label speaks of."""
        return self.problem.startswith("missed object")

    @property
    def moved_label(self) -> dict[str, Any] | None:
        """The given class in the other place, as the value of an answer; None where the place is not in doubt."""
        return {"box": list(self.moved), "label": self.given} if self.moved else None


@dataclass(frozen=True)
class Content:
    """What an item looks like. kind: "text", "image", "row", "html", "audio" or "none".   text: of a text or an HTML item.
    cells: (name, value) of a row.   media: whether `Desk.media(item)` gives a file.   part: of a picture, which the item is
    about; None: the whole of it."""

    kind: str
    text: str = ""
    cells: tuple[tuple[str, str], ...] = ()
    media: bool = False
    part: Part | None = None


@dataclass(frozen=True)
class Neighbour:
    """A similar item: key, given label, similarity in [0, 1], and its content in short."""

    item: str
    label: Any
    similarity: float
    content: Content


@dataclass(frozen=True)
class Said:
    """Somebody's answer to an item: reviewer, annotator or teacher.   source: who.   kind: "review", "vote", "suggestion" …"""

    source: str
    kind: str
    value: Any
    time: datetime | None = None
    comment: str = ""
    severity: str = ""
    why: str = ""


@dataclass(frozen=True)
class Item:
    """One item with its evidence, as a reviewer sees it.

    given: its label (None: missing).   suggested: (class, probability), likeliest first.   error_prob: that the label is wrong.
    kind: of the issue ("error", "ambiguous", "novel", "ok").   why: sentences on why it is shown.   mine: the user's own answer.
    said: earlier answers, empty while others have to judge without seeing them.   stream, gold are not told to annotators in
    advance: `gold` is known to owners only.
    """

    item: str
    row: int
    content: Content
    given: Any
    suggested: tuple[tuple[Any, float], ...]
    error_prob: float | None
    kind: str
    why: tuple[str, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    said: tuple[Said, ...] = ()
    mine: Answer | None = None
    flagged: bool = False
    gold: bool | None = None


@dataclass(frozen=True)
class Lease:
    """An item that is the user's until `until`; nobody else gets it in this time, unless the overlap wants several reviewers.

    token: names the lease when it is answered.   place: how many answers the user has given in this stream.
    """

    token: str
    item: Item
    stream: str
    until: datetime
    place: int


@dataclass(frozen=True)
class Receipt:
    """An acknowledged answer: it is on the disk and will be in the repository once, whatever happens.

    event_id: of its event.   again: it was there already, and nothing was added.
    """

    event_id: str
    item: str
    again: bool = False


@dataclass(frozen=True)
class Estimate:
    """Share of wrong labels with its interval. live: of a confidence sequence, valid at every look; else fixed-size."""

    estimate: float
    low: float
    high: float
    level: float
    n: int
    live: bool
    assumption: str


@dataclass(frozen=True)
class Progress:
    """items: in the queue.   answered: with as many answers as wanted.   answers: acknowledged.   conflicts: to adjudicate.
    waiting: answers not yet in the repository.   estimate: None before two answers of the estimation stream.
    effort: (answers in the repair stream, expected wrong labels found), the effort curve.   remaining: expected answers until the
    expected share of wrong labels left is below 1 %, None where unknown.   trouble: why answers do not get into the repository,
    empty where they do."""

    items: int
    answered: int
    answers: int
    conflicts: int
    waiting: int
    estimate: Estimate | None
    effort: tuple[tuple[int, float], ...] = ()
    remaining: int | None = None
    trouble: str = ""


@dataclass(frozen=True)
class Person:
    """A reviewer: answers, agreement with others on the same items (None: none shared), share of gold items answered rightly with
    its 90 % interval (None: none seen), median seconds per answer."""

    name: str
    role: str
    answers: int
    agreement: float | None
    gold_right: float | None
    gold_low: float | None
    gold_high: float | None
    gold_seen: int
    seconds: float | None


@dataclass(frozen=True)
class Found:
    """A page of search results: short rows, and how many there are in all."""

    rows: tuple[dict[str, Any], ...]
    total: int
    page: int
    per_page: int


@dataclass(frozen=True)
class Conflict:
    """An item on which reviewers disagree: the item, and their answers side by side."""

    item: Item
    answers: tuple[Said, ...] = field(default=())


@dataclass(frozen=True)
class Pair:
    """Two candidate labels of one item, which of them is better? token as in `Lease`; first and second: (source, value)."""

    token: str
    item: Item
    first: tuple[str, Any]
    second: tuple[str, Any]
