"""What comes out of the answer form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from labelwright.errors import LabelError, OptionError, nearest
from labelwright.labels import LabelSpace
from labelwright.webapp.answers import Answer

Fields = Mapping[str, Sequence[str]]
MOST_CHOICES = 9


def choices(space: LabelSpace, item: Any, *, multi: bool) -> list[tuple[int, Any, float | None]]:
    """(id, class, probability) of the buttons: with one class per item what is suggested and isn't given; with several what is
    given and suggested. Small spaces are filled up with the other classes."""
    ids = {name: i for i, name in enumerate(space.classes)}
    prob = dict(item.suggested)
    given = item.given if isinstance(item.given, list | tuple) else [item.given]
    names = list(dict.fromkeys([*(given if multi else ()), *prob]))
    if len(space) <= MOST_CHOICES + 1:
        names += [name for name in space.classes if name not in names]
    kept = [name for name in names if name in ids and (multi or name not in given)]
    return [(ids[name], name, prob.get(name)) for name in kept[: 30 if multi else MOST_CHOICES]]


def ordered(space: LabelSpace, item: Any) -> list[tuple[int, Any, float | None]]:
    """The classes of the distribution's fields: suggested ones, likeliest first, then the given one and the buttons'."""
    ids = {name: i for i, name in enumerate(space.classes)}
    prob = dict(item.suggested)
    given = item.given if isinstance(item.given, list | tuple) else [item.given]
    names = dict.fromkeys([*prob, *given, *(name for _, name, _ in choices(space, item, multi=False))])
    return [(ids[name], name, prob.get(name)) for name in names if name in ids][: MOST_CHOICES + 1]


def read_answer(fields: Fields, space: LabelSpace, item: Any, *, multi: bool = False) -> Answer:
    """The answer that a form tells, unchecked.

    Raises:
        LabelError: a class that is none, shares that are no numbers.   OptionError: nothing was chosen.
    """
    said = _one(fields, "answer") or "auto"
    answer = partial(
        Answer,
        comment=_one(fields, "comment").replace("\r\n", "\n").replace("\x00", ""),
        severity=_one(fields, "severity"),
        why=_one(fields, "why"),
    )
    name = _one(fields, "class_name").strip("\r\n")
    if said == "auto":
        said = _meant(fields)
    if said in ("keep", "move", "unsure", "none"):
        return answer(said)
    if said.startswith("class:"):
        return answer("class", (_by_id(space, said[6:]),))
    if said == "named" and multi:
        kept = [_by_id(space, i) for i in fields.get("member", ())]
        typed = [_by_name(space, part.strip()) for part in name.split("|") if part.strip()]
        return answer("classes", tuple(dict.fromkeys([*kept, *typed])))
    if said == "named":
        return answer("class", (_by_name(space, name),))
    if said == "classes":
        return answer("classes", tuple(_by_id(space, i) for i in fields.get("member", ())))
    if said == "distribution":
        shares = _shares(fields, space, item)
        return answer("distribution", tuple(shares), tuple(shares.values()))
    raise OptionError(found="no answer", expected="one of the buttons, or a class", fix="choose an answer")


def _meant(fields: Fields) -> str:
    """What Enter in a field stands for: the field that was filled in."""
    if _one(fields, "class_name").strip():
        return "named"
    if _shared(fields):
        return "distribution"
    return "classes" if fields.get("member") else ""


def _one(fields: Fields, name: str) -> str:
    values = fields.get(name, ())
    return values[0] if values else ""


def _shared(fields: Fields) -> bool:
    return any(
        v and v[0].strip() for k, v in fields.items() if k == "quick" or k.startswith(("share-", "other-share-"))
    )


def _shares(fields: Fields, space: LabelSpace, item: Any) -> dict[Any, float]:
    """{class: share}, from the quick field or from the single ones; percent become shares that sum to 1 where they sum to 100."""
    quick = _one(fields, "quick").strip()
    if quick:
        parts = [p for p in re.split(r"[\s/|;:]+", quick) if p]
        names = [name for _, name, _ in ordered(space, item)]
        if len(parts) > len(names):
            raise _bad_shares(f"{len(parts)} shares for {len(names)} classes")
        told = {name: _number(part) for name, part in zip(names, parts)}
    else:
        told = {
            _by_id(space, k[6:]): _number(v[0])
            for k, v in fields.items()
            if k.startswith("share-") and v and v[0].strip()
        }
        for i in ("1", "2"):
            name, share = _one(fields, f"other-{i}").strip("\r\n"), _one(fields, f"other-share-{i}").strip()
            if name.strip() and share:
                told[_by_name(space, name)] = _number(share)
    told = {name: share for name, share in told.items() if share}
    total = sum(told.values())
    if abs(total - 100) > 0.5 and abs(total - 1) > 0.005:
        raise _bad_shares(f"shares that sum to {total:g}")
    return {name: share / total for name, share in told.items()}


def _number(text: str) -> float:
    try:
        value = float(text.strip().rstrip("%").replace(",", ".", 1))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise _bad_shares(f"the share {text[:40]!r}")
    return value


def _bad_shares(found: str) -> LabelError:
    return LabelError(
        found=found,
        expected="numbers from 0 to 100 that sum to 100",
        fix="write for example 60/40 for the first two classes",
    )


def _by_id(space: LabelSpace, text: str) -> Any:
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) < len(space):
        return space.classes[int(text)]
    raise LabelError(found=f"class number {text[:20]!r}", expected=f"0 to {len(space) - 1}", fix="reload the page")


def _by_name(space: LabelSpace, text: str) -> Any:
    """The class of that name; else the only one that is it but for capitals and spaces around it."""
    from labelwright.webapp.render import printable

    names = {str(name): name for name in space.classes}
    if text in names:
        return names[text]
    like = [name for key, name in names.items() if printable(key).strip().casefold() == text.strip().casefold()]
    if len(like) == 1:
        return like[0]
    close = nearest(text[:200], names)[:3] if len(names) <= 2000 else []
    raise LabelError(
        found=f"the class {text[:80]!r}",
        expected=f"one of the {len(space)} classes",
        fix=f"nearest are {', '.join(map(repr, close))}" if close else "type the name as it is",
    )
