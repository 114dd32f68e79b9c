"""Regular expressions that would take exponential time, told from their form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from labelwright.errors import OptionError

MANY = 16  # a repetition that may take more turns than this counts as endless
SAMPLE = "".join(map(chr, range(32, 127))) + "\t\n\r\x00\u00e9\u00df\u0416\u4e2d\u00a0\u0665\u2028"
"""Characters that stand for all: two sets of characters overlap if they do here."""


def check_pattern(text: str, label: Any, flags: int) -> None:
    """Raise `OptionError` if `text` does not compile, or repeats something ambiguous.

    Backtracking is exponential where an endless repetition can share out the same text among its turns in several ways: its
    body ends with a repetition that can also go on with the body's beginning, or offers two ways for the same character.
    Expressions that are ambiguous in subtler ways (back references, lookarounds, alternatives of several characters) pass.
    """
    try:
        parser: Any = __import__("re._parser", fromlist=["parse"])  # the standard library's own reading
        tree = parser.parse(text, flags)
    except re.error as error:
        raise OptionError(
            found=f"the pattern {text!r} for class {label!r}: {error}",
            expected="a regular expression",
            fix="escape special characters with a backslash, or use keywords(...) for plain words",
        ) from None
    if any(_ambiguous(body, flags) for body in _endless(tree)):
        raise OptionError(
            found=f"the pattern {text!r} for class {label!r}, which repeats a repetition or alternative ambiguously",
            expected="a pattern whose time does not grow exponentially with the text",
            fix="drop one quantifier, as (a+)+ -> a+, or end each turn with a separator, as (\\w+ )*",
        )


def _endless(tree: Any) -> Iterator[Any]:
    """Bodies of all repetitions that may take many turns. Possessive ones do not backtrack."""
    for op, value in tree:
        if str(op) in ("MAX_REPEAT", "MIN_REPEAT") and value[1] > MANY:
            yield list(value[2])
        for part in _parts(op, value):
            yield from _endless(part)


def _parts(op: Any, value: Any) -> list[Any]:
    kind = str(op)
    if kind in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        return [value[2]]
    if kind == "SUBPATTERN":
        return [value[-1]]
    if kind == "BRANCH":
        return list(value[1])
    if kind in ("ASSERT", "ASSERT_NOT"):
        return [value[1]]
    return [value] if kind == "ATOMIC_GROUP" else []


def _flat(tree: Any) -> list[Any]:
    """The sequence with groups opened."""
    out: list[Any] = []
    for op, value in tree:
        out += _flat(value[-1]) if str(op) == "SUBPATTERN" else [(op, value)]
    return out


def _ambiguous(body: Any, flags: int) -> bool:
    nodes = _flat(body)
    turn = nodes + nodes  # what follows the last node is the first of the next turn
    for i, (op, value) in enumerate(nodes):
        kind = str(op)
        if kind in ("MAX_REPEAT", "MIN_REPEAT") and value[0] < value[1]:
            inside = _chars(value[2], flags)
            # only from an endless part: (ab?)* has one reading
            if value[1] > MANY and len(nodes) == 1:
                return True
            if value[1] > MANY and _meets(inside, turn[i + 1 : i + len(nodes)], turn[i], flags):
                return True
        if kind == "BRANCH" and len(nodes) == 1:
            ways = [_chars(way, flags) for way in value[1] if len(_flat(way)) == 1]
            if any(a & b for n, a in enumerate(ways) for b in ways[n + 1 :]):
                return True
    return False


def _meets(inside: set[str], after: list[Any], again: Any, flags: int) -> bool:
    """Whether a whole turn could lie within `inside`: every part between the repetition and its next start may be empty or
    shares a character with it. One part that must be there and shares none is a separator."""
    return all(_may_be_empty(node) or inside & _chars([node], flags) for node in after)


def _may_be_empty(node: Any) -> bool:
    kind, value = str(node[0]), node[1]
    if kind in ("AT", "ASSERT", "ASSERT_NOT"):
        return True
    if kind == "BRANCH":
        return any(all(_may_be_empty(n) for n in _flat(way)) for way in value[1])
    if kind.endswith("_REPEAT"):
        return value[0] == 0 or all(_may_be_empty(n) for n in _flat(value[2]))
    return False


def _chars(tree: Any, flags: int) -> set[str]:
    """Characters of SAMPLE that occur in what the tree matches."""
    out: set[str] = set()
    for op, value in _flat(tree):
        kind = str(op)
        if kind in ("LITERAL", "NOT_LITERAL", "IN", "ANY", "CATEGORY"):
            out |= _single(kind, value, flags)
        for part in _parts(op, value):
            out |= _chars(part, flags)
    return out


def _single(kind: str, value: Any, flags: int) -> set[str]:
    if kind == "ANY":
        return set(SAMPLE) if flags & re.DOTALL else set(SAMPLE) - {"\n"}
    if kind == "IN":
        negated = str(value[0][0]) == "NEGATE"
        found: set[str] = set().union(*(_single(str(op), v, flags) for op, v in value if str(op) != "NEGATE"))
        return set(SAMPLE) - found if negated else found
    if kind == "RANGE":
        low, high = value
        return _cased({c for c in SAMPLE if low <= ord(c) <= high}, flags)
    if kind == "CATEGORY":
        letter = {"DIGIT": "d", "SPACE": "s", "WORD": "w"}[str(value).rsplit("_", 1)[-1]]
        finder = re.compile("\\" + (letter.upper() if "_NOT_" in str(value) else letter))
        return {c for c in SAMPLE if finder.match(c)}
    character = _cased({chr(value)}, flags)
    return set(SAMPLE) - character if kind == "NOT_LITERAL" else character


def _cased(characters: set[str], flags: int) -> set[str]:
    if not flags & re.IGNORECASE:
        return characters
    return characters | {c.lower() for c in characters} | {c.upper() for c in characters}
