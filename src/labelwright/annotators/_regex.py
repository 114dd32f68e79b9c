"""Regular expressions that would take exponential time, told from their form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from labelwright.errors import OptionError

MANY = 16  # a repetition that may take more turns than this counts as endless
READINGS = 32  # of one body; further choices are not looked at
SAMPLE = "".join(map(chr, range(32, 127))) + "\t\n\r\x00\u00e9\u00df\u0416\u4e2d\u00a0\u0665\u2028"
"""Characters that stand for all: two sets of characters overlap if they do here."""


def check_pattern(text: str, label: Any, flags: int) -> None:
    """Raise `OptionError` if `text` does not compile, or repeats something ambiguous.

    Backtracking is exponential where an endless repetition can share out the same text among its turns in several ways: parts
    of variable length that take the same characters meet with nothing between to tell them apart, or two alternatives take
    the same character. What is ambiguous in subtler ways passes: back references, lookarounds, alternatives such as ab|a.
    """
    try:
        tree = import_module("re._parser").parse(text, flags)  # the standard library's own reading
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


def _readings(tree: Any) -> list[list[Any]]:
    """The sequences that the tree stands for, with groups opened and one way taken of each choice (at most READINGS)."""
    out: list[list[Any]] = [[]]
    for op, value in tree:
        ways = value[1] if str(op) == "BRANCH" else [value[-1]] if str(op) == "SUBPATTERN" else None
        tails = [[(op, value)]] if ways is None else [tail for way in ways for tail in _readings(way)]
        out = [head + tail for head in out for tail in tails][:READINGS]
    return out


def _ambiguous(body: Any, flags: int) -> bool:
    """Whether two turns of a repetition can share out the same text in two ways."""
    ways = _readings(body)
    if len({str(way) for way in ways}) < len(ways):
        return True
    single = [_chars(way, flags) for way in ways if len(way) == 1]
    if any(one & other for i, one in enumerate(single) for other in single[i + 1 :]):
        return True
    return any(_stretches(one, other, flags) for one in ways for other in ways)


def _stretches(turn: list[Any], following: list[Any], flags: int) -> bool:
    """Whether a part of variable length meets another that takes the same characters, with no separator between: a part that
    must be there and shares no character with the first."""
    for i, node in enumerate(turn):
        if not _variable(node):
            continue
        inside = _chars([node], flags)
        for other in turn[i + 1 :] + following:
            shared = inside & _chars([other], flags)
            if shared and _variable(other):
                return True
            if not shared and not _may_be_empty(other):
                break
    return False


def _variable(node: Any) -> bool:
    return str(node[0]) in ("MAX_REPEAT", "MIN_REPEAT") and node[1][0] < node[1][1]


def _may_be_empty(node: Any) -> bool:
    kind, value = str(node[0]), node[1]
    if kind in ("AT", "ASSERT", "ASSERT_NOT"):
        return True
    if kind.endswith("_REPEAT"):
        return value[0] == 0 or any(all(map(_may_be_empty, way)) for way in _readings(value[2]))
    return False


def _chars(tree: Any, flags: int) -> set[str]:
    """Characters of SAMPLE that occur in what the tree matches."""
    out: set[str] = set()
    for op, value in tree:
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
