"""Parts of an item as keys of their own: `photo.jpg#xywh=10,20,30,40` is a box, and its label is a class.

    #char=0,5               characters 0 to 4 of a text (after RFC 5147)
    #xywh=10,20,30,40       left, top, width and height in pixels (after W3C Media Fragments)
    #polygon=x,y,...;x,y    rings of at least three points, in pixels
    #mask=6x8:3,2,43        height x width: lengths of runs outside, inside, outside, ... in the order of reading

The event table has one label per key. With the place in the key, a label of a part is a class like any other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from labelwright.errors import DataError

LARGEST = 2**31  # pixels and characters; larger numbers are damage
MOST_PIXELS = 2**28  # of a mask: what it takes to unpack it stays bounded
_SLACK = 1.0  # pixels by which other tools round a box over the edge of its image


class Span(NamedTuple):
    """Characters [start, stop)."""

    start: int
    stop: int


class Box(NamedTuple):
    """Left, top, width and height in pixels."""

    x: float
    y: float
    width: float
    height: float


class Polygon(NamedTuple):
    """Rings of flat coordinates x, y, x, y, ... in pixels."""

    rings: tuple[tuple[float, ...], ...]


class Mask(NamedTuple):
    """Runs as in `labels.Masks`: outside, inside, outside, ... in C order."""

    height: int
    width: int
    runs: tuple[int, ...]


Part = Span | Box | Polygon | Mask


def part_key(item: str, part: Part | None) -> str:
    """The key of a part, or of the item itself.

    >>> part_key("a.jpg", Box(1.0, 2.5, 3.0, 4.0))
    'a.jpg#xywh=1,2.5,3,4'
    """
    return item if part is None else f"{item}#{_fragment(part)}"


def split_key(key: str) -> tuple[str, Part | None]:
    """The item and the part that a key names; a key that names no part is an item.

    >>> split_key("a.jpg#char=0,5")
    ('a.jpg', Span(start=0, stop=5))
    """
    item, mark, fragment = key.rpartition("#")
    if not mark or not item:
        return key, None
    try:
        part = parse_part(fragment)
        if _fragment(part) == fragment:  # one spelling each: what we did not write stays a name
            return item, part
    except (ValueError, OverflowError):
        pass
    return key, None


def parse_part(fragment: str) -> Part:
    """What stands behind the "#".

    Raises:
        ValueError: no such spelling, or no such part.
    """
    name, _, text = fragment.partition("=")
    part: Part
    if name == "char":
        start, stop = text.split(",")
        part = Span(int(start), int(stop))
    elif name == "xywh":
        x, y, width, height = map(float, text.split(","))
        part = Box(x, y, width, height)
    elif name == "polygon":
        part = Polygon(tuple(tuple(map(float, ring.split(","))) for ring in text.split(";")))
    elif name == "mask":
        size, runs = text.split(":")
        height_, width_ = size.split("x")
        part = Mask(int(height_), int(width_), tuple(map(int, runs.split(","))))
    else:
        raise ValueError(f"{fragment[:40]!r} is no part")
    if problem := wrong(part):
        raise ValueError(problem)
    return part


def wrong(part: Part) -> str:
    """What is wrong with a part, in words; "" when nothing is."""
    if isinstance(part, Span):
        return "" if 0 <= part.start < part.stop < LARGEST else f"a span from {part.start} to {part.stop}"
    if isinstance(part, Box):
        if not all(math.isfinite(v) and abs(v) < LARGEST for v in part):
            return f"a box with a number beyond {LARGEST}"
        return "" if part.width > 0 and part.height > 0 else f"a box {part.width:g} wide and {part.height:g} high"
    if isinstance(part, Polygon):
        for ring in part.rings:
            if len(ring) % 2 or len(ring) < 6:
                return f"a polygon with {len(ring) / 2:g} points"
            if not all(math.isfinite(v) and abs(v) < LARGEST for v in ring):
                return f"a polygon with a number beyond {LARGEST}"
        return "" if part.rings else "a polygon without points"
    pixels = part.height * part.width
    if not (part.height > 0 and part.width > 0 and pixels <= MOST_PIXELS):
        return f"a mask of {part.height} x {part.width} pixels"
    if min(part.runs, default=0) < 0 or sum(part.runs) != pixels:
        return f"a mask whose runs do not add up to {part.height} x {part.width} pixels"
    return ""


def checked(part: Part, where: str, size: tuple[float, float] | None = None) -> Part:
    """`part`, which can be and lies in its image.

    Args:
        where: said in the error.   size: width and height of the image, where they are known.

    Raises:
        DataError: it cannot be, or lies outside of the image by more than a pixel.
    """
    if problem := wrong(part):
        raise DataError(
            found=f"{problem} in {where}",
            expected="spans and boxes with an extent, polygons of three or more points, finite numbers",
            fix="mend or remove this label in the file",
        )
    if size is not None and not isinstance(part, Span):
        left, top, right, bottom = bounds(part)
        if min(left, top) < -_SLACK or right > size[0] + _SLACK or bottom > size[1] + _SLACK:
            raise DataError(
                found=f"a {kind_of(part)} from ({left:g}, {top:g}) to ({right:g}, {bottom:g}) in {where}, "
                f"outside of its image of {size[0]:g} x {size[1]:g} pixels",
                expected="coordinates in pixels inside the image",
                fix="mend the box, or the width and height of the image",
            )
    return part


def kind_of(part: Part | None) -> str:
    """What a part is, in a word."""
    return "label of the whole item" if part is None else type(part).__name__.lower()


def bounds(part: Box | Polygon | Mask) -> tuple[float, float, float, float]:
    """Left, top, right and bottom."""
    if isinstance(part, Box):
        return part.x, part.y, part.x + part.width, part.y + part.height
    if isinstance(part, Mask):
        return 0.0, 0.0, float(part.width), float(part.height)
    xs = [x for ring in part.rings for x in ring[::2]]
    ys = [y for ring in part.rings for y in ring[1::2]]
    return min(xs), min(ys), max(xs), max(ys)


def close(a: Part | None, b: Part | None) -> bool:
    """Whether two parts are the same but for the rounding of another unit (percent, fractions)."""
    if a == b:
        return True
    if isinstance(a, Box) and isinstance(b, Box):
        return _near(a, b)
    if isinstance(a, Polygon) and isinstance(b, Polygon) and len(a.rings) == len(b.rings):
        return all(len(r) == len(s) and _near(r, s) for r, s in zip(a.rings, b.rings))
    return False


def _near(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(abs(v - w) <= 1e-6 * max(1.0, abs(v), abs(w)) for v, w in zip(a, b))


def _fragment(part: Part) -> str:
    if isinstance(part, Span):
        return f"char={part.start},{part.stop}"
    if isinstance(part, Box):
        return "xywh=" + _numbers(part)
    if isinstance(part, Polygon):
        return "polygon=" + ";".join(map(_numbers, part.rings))
    return f"mask={part.height}x{part.width}:{','.join(map(str, part.runs))}"


def _numbers(values: Sequence[Any]) -> str:
    """Each number in the shortest spelling that gives it back."""
    return ",".join(str(int(v)) if float(v).is_integer() else repr(float(v)) for v in values)
