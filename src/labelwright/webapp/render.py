"""Pages from templates: everything that comes from the data is escaped, and printed so that it can't pretend to be something
else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    from jinja2 import Environment

_KEPT = "\t\n"
_CONTROL = (*range(32), *range(127, 160), 0xFFFE, 0xFFFF)
_REVERSING = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))  # with these a name can be made to read as another one
_UNPRINTABLE = {c: "\ufffd" for c in (*_CONTROL, *_REVERSING) if chr(c) not in _KEPT}


def printable(text: Any) -> str:
    """`text` without control characters, half pairs, and signs that turn the direction of what follows.

    >>> printable("a\\x00b"), printable("\\u202eabc")
    ('a\ufffdb', '\ufffdabc')
    """
    return str(text).replace("\r\n", "\n").translate(_UNPRINTABLE).encode("utf-8", "replace").decode()


def short(text: Any, most: int = 80) -> str:
    """The first `most` characters on one line.

    >>> short("a  b\\nc"), short("abcdef", 4)
    ('a b c', 'abc…')
    """
    line = " ".join(printable(str(text)[: 4 * most]).split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def named(value: Any) -> str:
    """A label of any kind in words.

    >>> named(None), named(["cat", "dog"]), named({"cat": 0.6, "dog": 0.4})
    ('no label', 'cat, dog', '60 % cat, 40 % dog')
    """
    if value is None:
        return "no label"
    if isinstance(value, dict) and "box" in value:
        return f"{named(value['label'])}, in another place"
    if isinstance(value, dict) and isinstance(value.get("answer"), str):
        return value["answer"]
    if isinstance(value, dict):
        return ", ".join(f"{100 * share:.4g} % {printable(name)}" for name, share in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(map(printable, value)) or "none of the classes"
    return printable(value) if str(value).strip() else "(empty)"


def percent(share: float | None, digits: int = 0) -> str:
    """A fraction for people.

    >>> percent(0.123), percent(0.0004), percent(0.9996), percent(1e-6), percent(None)
    ('12 %', '0.04 %', '> 99 %', '< 0.01 %', '–')
    """
    if share is None:
        return "–"
    if 0 < share < 0.0001:
        return "< 0.01 %"
    if 1 - 0.5 * 10 ** -(digits + 2) <= share < 1:
        return f"> {100 - 10**-digits:.{digits}f} %"
    return f"{100 * share:.{2 if 0 < share < 0.01 and digits < 2 else digits}f} %"


def address(path: str, **query: Any) -> str:
    """A path of ours with its query; `None` and empty values are left out.

    >>> address("/item", key="a/b&c"), address("/items", text="", page=None)
    ('/item?key=a%2Fb%26c', '/items')
    """
    given = {k: v for k, v in query.items() if v not in (None, "")}
    return f"{path}?{urlencode(given, quote_via=quote, safe='')}" if given else path


def clock(time: datetime | None) -> str:
    """A time as the pages print it."""
    return "" if time is None else time.strftime("%Y-%m-%d %H:%M")


def curve(points: Sequence[tuple[int, float]], width: float = 300, height: float = 80) -> str:
    """The points of an SVG polyline over (answers, found), scaled to the box.

    >>> curve([(0, 0.0), (10, 5.0)], 100, 50)
    '0.0,50.0 100.0,0.0'
    """
    most_x = max((x for x, _ in points), default=0) or 1
    most_y = max((y for _, y in points), default=0) or 1
    step = max(1, len(points) // 150)
    kept = [*points[:-1][::step], *points[-1:]]
    return " ".join(f"{width * x / most_x:.1f},{height * (1 - y / most_y):.1f}" for x, y in kept)


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates of this folder; a missing value is an error, and so is a page that isn't escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    env = Environment(
        loader=PackageLoader("labelwright.webapp", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {
        "printable": printable, "short": short, "named": named, "percent": percent, "clock": clock, "curve": curve,
        "counted": lambda n: f"{n:,}",
    }  # fmt: skip
    env.globals |= {"address": address}
    return env


def render(template: str, **context: Any) -> str:
    """The text of a page."""
    return environment().get_template(template).render(**context)
