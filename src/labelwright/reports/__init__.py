"""What reports share: charts as SVG that can stand inside a page (no script, no outside font, the page's colours), and templates
that escape whatever comes from the data."""

from __future__ import annotations

import io
import math
from importlib import resources
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

WIDTH, HEIGHT = 290, 200  # near the width of a phone, so that text is never scaled much

# Stand-ins that Vega takes for colours; each becomes a variable of the page, which knows whether it is light or dark.
INK, ACCENT, SECOND, LINE = "#010101", "#020202", "#030303", "#040404"
_OF_PAGE = {
    INK: "currentColor",
    ACCENT: "var(--accent, #0b62b5)",
    SECOND: "var(--second, #b3480a)",
    LINE: "var(--line, #8888)",
}
_TAGS = {"svg", "g", "path", "rect", "line", "text", "tspan", "title", "defs", "clipPath", "circle"}
_ATTRIBUTES = {
    "viewBox", "transform", "d", "x", "y", "dx", "dy", "x1", "x2", "y1", "y2", "r", "width", "height", "fill", "stroke",
    "opacity", "fill-opacity", "stroke-opacity", "stroke-width", "stroke-dasharray", "stroke-linecap",
    "stroke-linejoin", "stroke-miterlimit", "text-anchor", "font-family", "font-size", "font-weight", "font-style",
}  # fmt: skip


_RESERVED, _RESERVED_ADDRESSES = 700 << 20, 96 << 30  # bytes that the renderer sets aside, with room to spare


def room_to_draw() -> bool:
    """Whether the limits of this process let the renderer reserve what it reserves; it kills the process where it cannot."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return True
    limits = {"VmData:": resource.RLIMIT_DATA, "VmSize:": resource.RLIMIT_AS}
    soft = {name: resource.getrlimit(which)[0] for name, which in limits.items()}
    told = Path("/proc/self/status")
    lines = told.read_text().splitlines() if told.exists() else []
    used = {line.split()[0]: int(line.split()[1]) << 10 for line in lines if line.split()[0] in limits}
    needs = {"VmData:": _RESERVED, "VmSize:": _RESERVED_ADDRESSES}
    return all(soft[name] == resource.RLIM_INFINITY or soft[name] - used.get(name, 0) >= needs[name] for name in limits)


def svg(chart: Any, title: str, *, width: int = WIDTH, height: int = HEIGHT) -> str:
    """Draw with Vega and make the SVG fit for a page."""
    styled = chart.properties(width=width, height=height, background="transparent", padding=6).configure(
        font="sans-serif", aria=False
    )
    axis = {
        "labelColor": INK,
        "titleColor": INK,
        "titleFontWeight": "normal",
        "domainColor": LINE,
        "tickColor": LINE,
    }
    styled = styled.configure_view(stroke=None).configure_text(font="sans-serif", fontSize=12)
    styled = styled.configure_axis(
        **axis, gridColor=LINE, gridOpacity=0.6, labelFontSize=11, titleFontSize=12, labelLimit=140
    )
    styled = styled.configure_legend(labelColor=INK, labelFontSize=12, symbolType="square")
    buffer = io.StringIO()
    styled.save(buffer, format="svg")
    return embed(buffer.getvalue(), title)


def embed(text: str, title: str) -> str:
    """An SVG document as an element of a page: known elements and attributes only, the colours of the page, a title to
    be read out, and no size of its own but the largest at which it looks right."""
    root = ElementTree.fromstring(text)
    _, _, width, _ = root.get("viewBox", "0 0 400 300").split()
    _clean(root)
    root.set("role", "img")
    root.set("style", f"max-width:{round(float(width) * 1.25)}px;min-width:{round(float(width) * 0.85)}px")
    told = ElementTree.Element("title")
    told.text = title
    root.insert(0, told)
    return ElementTree.tostring(root, encoding="unicode")


def _clean(element: ElementTree.Element) -> None:
    element.tag = element.tag.rpartition("}")[2]
    for name, value in list(element.attrib.items()):
        if name not in _ATTRIBUTES or "url(" in value or (element.tag == "svg" and name in ("width", "height")):
            del element.attrib[name]
        elif value in _OF_PAGE:
            del element.attrib[name]
            element.set("style", f"{element.get('style', '')}{name}:{_OF_PAGE[value]};")
    for child in list(element):
        if isinstance(child.tag, str) and child.tag.rpartition("}")[2] in _TAGS:
            _clean(child)
        else:
            element.remove(child)


def rendered(package: str, template: str, **values: Any) -> str:
    """A page from a template of a package; names are escaped, what is missing is an error. `base.html.j2` is the frame of all.

    package: dotted name of the folder of the template.   values: what it shows.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    folders = resources.files(package), resources.files("labelwright.reports")

    def load(name: str) -> str:
        own = folders[0].joinpath(name)
        return (own if own.is_file() else folders[1].joinpath(name)).read_text("utf-8")

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(load)
    )
    environment.filters |= {"percent": percent, "number": number}
    return environment.get_template(template).render(**values)


def percent(value: float | None) -> str:
    """0.123 as "12 %"; empty for what is not known.

    >>> percent(0.126), percent(None), percent(0.9999)
    ('13 %', '', 'over 99 %')
    """
    if value is None or math.isnan(value):
        return ""
    if 0.995 <= value < 1:
        return "over 99 %"
    return "under 1 %" if 0 < value < 0.005 else f"{100 * value:.0f} %"


def number(value: float | None, digits: int = 2) -> str:
    """A number, empty for what is not known."""
    return "" if value is None or math.isnan(value) else f"{value:,.{digits}f}"
