"""What a reviewer may say of an item, and what the label repository keeps of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from labelwright.errors import LabelError, OptionError
from labelwright.labels import LabelSpace
from labelwright.store.events import CANT_TELL, NONE_FITS

KINDS = ("keep", "class", "classes", "distribution", "move", "unsure", "none")
"""keep: the given label is right.   class: another one.   classes: several, or none of them (a set).   distribution: shares
over classes.   move: the given class, in the place that the audit suggests (boxes).   unsure: can't tell.   none: no class fits
(a novel class); of a box or region: there is no object."""

SEVERITIES = ("", "not a mistake", "minor", "major")
WHYS = ("", "fine-grained", "out of vocabulary", "spurious cue", "non-prototypical", "ambiguous", "other")
"""Cards 72 and 79: how bad a wrong label is, and why it came about."""

MOST_COMMENT = 4000


@dataclass(frozen=True)
class Answer:
    """kind: in `KINDS`.   classes: names of the classes it speaks of, in the order of `shares`.   shares: of a distribution, sum
    1.   comment, severity, why: optional."""

    kind: str
    classes: tuple[Any, ...] = ()
    shares: tuple[float, ...] = ()
    comment: str = ""
    severity: str = ""
    why: str = ""

    def check(self, space: LabelSpace, *, multi: bool = False, movable: bool = False) -> Answer:
        """Itself, or an error that tells the reviewer what is missing. movable: whether the item is a box with another place.

        Raises:
            OptionError: an unknown kind, severity or why, a comment that is too long.
            LabelError: classes that are none, too many or too few, shares that do not sum to 1.
        """
        for name, value, allowed in (
            ("kind", self.kind, KINDS), ("severity", self.severity, SEVERITIES), ("why", self.why, WHYS),
        ):  # fmt: skip
            if value not in allowed:
                raise OptionError(
                    found=f"{name} {value!r}",
                    expected=f"one of {', '.join(map(repr, allowed))}",
                    fix="choose one of these",
                )
        if len(self.comment) > MOST_COMMENT:
            raise OptionError(
                found=f"a comment of {len(self.comment):,} characters",
                expected=f"at most {MOST_COMMENT:,}",
                fix="shorten it",
            )
        unknown = [name for name in self.classes if name not in space.classes]
        wanted = {"keep": (0, 0), "class": (1, 1), "classes": (0, len(space)), "distribution": (1, len(space))}
        low, high = wanted.get(self.kind, (0, 0))
        if unknown or not low <= len(self.classes) <= high or len(set(self.classes)) < len(self.classes):
            raise LabelError(
                found=f"the classes {', '.join(map(repr, self.classes)) or 'none'} in an answer {self.kind!r}",
                expected=f"{low if low == high else f'{low} to {high}'} of the classes, each once",
                fix="choose among the classes that the item shows",
            )
        if self.kind == "move" and not movable:
            raise LabelError(
                found="a box to be moved, of an item without a suggested place",
                expected="an item whose place is in doubt",
                fix="keep it, remove it, or choose another class",
            )
        if self.kind == "classes" and not multi:
            raise LabelError(
                found="several classes for an item that has one",
                expected="one class, or a distribution over several",
                fix="give shares, such as 60/40",
            )
        if self.kind == "distribution":
            good = len(self.shares) == len(self.classes) and all(0 <= s <= 1 for s in self.shares)
            if not good or abs(sum(self.shares) - 1) > 1e-6:
                raise LabelError(
                    found=f"shares {', '.join(f'{s:g}' for s in self.shares)} for {len(self.classes)} classes",
                    expected="one share from 0 to 1 per class, together 1",
                    fix="change them until they sum to 100 %",
                )
        return self

    def value(self, given: Any, moved: Any = None) -> Any:
        """The value of its event: a class, a list of classes, {class: share}, or the words for "can't tell" and "none fits".

        given: the label that the item has, which "keep" confirms.   moved: {"box": corners, "label": class}, which "move" takes.
        """
        if self.kind == "keep":
            return given
        if self.kind == "move":
            return moved
        if self.kind == "class":
            return self.classes[0]
        if self.kind == "classes":
            return list(self.classes)
        if self.kind == "distribution":
            return {str(name): share for name, share in zip(self.classes, self.shares)}
        return CANT_TELL if self.kind == "unsure" else NONE_FITS
