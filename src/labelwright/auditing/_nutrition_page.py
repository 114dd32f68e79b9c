"""A nutrition label as a piece of HTML: no script, nothing fetched, in the classes of the audit report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from labelwright.auditing._report_items import short

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from labelwright.auditing.nutrition import NutritionLabel

_PAGE = "nutrition.html.j2"
MOST_BYTES = 290_000  # of a fragment
_CHART_WIDTH, _CHART_HEIGHT = 84, 22


class _Limits(NamedTuple):
    """How much of each list is shown; smaller where long names would make the page too large."""

    columns: int
    pairs: int
    warnings: int
    plots: int
    name: int
    answer: int


_TRIED = (_Limits(60, 30, 40, 6, 60, 2000), _Limits(25, 12, 15, 4, 40, 500), _Limits(8, 5, 6, 1, 20, 100))


def nutrition_html(label: NutritionLabel) -> str:
    """The label as one <section> below 300 kB, whatever the table: the first 60 columns, 30 pairs, 40 warnings.

    It uses the classes of the audit report's style sheet and goes inside a page that has it. Whatever comes from the data
    is escaped.
    """
    html = ""
    for limits in _TRIED:
        html = _environment().get_template(_PAGE).render(label=label, limits=limits, page=_Page(limits))
        if len(html.encode()) < MOST_BYTES:
            break
    return html


class _Page:
    """What the template needs beside the label: names cut to fit, figures, small charts."""

    def __init__(self, limits: _Limits):
        self.limits = limits

    def name(self, value: Any) -> str:
        return short(value, self.limits.name)

    def cell(self, value: Any) -> str:
        return short(value, self.limits.name // 2)

    def answer(self, value: Any) -> str:
        """An answer in one line: lists and mappings spelled out."""
        if isinstance(value, Mapping):
            value = "; ".join(f"{k}: {v}" for k, v in value.items())
        elif isinstance(value, list):
            value = "; ".join(map(str, value))
        return short(value, self.limits.answer)

    def chart(self, told: Mapping[str, Any]) -> Markup | None:
        """The histogram of a column, or the bars of its values, as SVG; None where there is nothing to show."""
        if "histogram" in told:
            return bars(told["histogram"]["counts"], "rows per bin")
        if told.get("values"):
            return bars([v["count"] for v in told["values"]], "rows per value")
        return None

    def heat(self, plot: Mapping[str, Any]) -> Markup:
        return heat(plot["shades"])

    def answered(self, fields: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """(question, answer) of those that have one; an empty list is the answer "none"."""
        return [(k, "none" if v == [] else v) for k, v in _questions(fields) if v is not None]

    def unanswered(self, fields: Mapping[str, Any]) -> list[str]:
        return [k for k, v in _questions(fields) if v is None]


def _questions(fields: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(k.replace("_", " "), v) for k, v in fields.items() if k not in ("facts", "columns", "reviewed_by_people")]


def bars(counts: Sequence[int | None], told: str) -> Markup:
    """Bars as one path; bins that may not be told are drawn as a thin line at the bottom."""
    from markupsafe import Markup

    top = max((c for c in counts if c), default=1)
    step = _CHART_WIDTH / max(len(counts), 1)
    solid, hidden = [], []
    for i, count in enumerate(counts):
        x, width = i * step, max(step - 1, 0.5)
        if count is None:
            hidden.append(f"M{x:.1f} {_CHART_HEIGHT}h{width:.1f}v-2h-{width:.1f}z")
        elif count:
            high = max(1.0, _CHART_HEIGHT * count / top)
            solid.append(f"M{x:.1f} {_CHART_HEIGHT}h{width:.1f}v-{high:.1f}h-{width:.1f}z")
    return Markup(
        f'<svg viewBox="0 0 {_CHART_WIDTH} {_CHART_HEIGHT}" width="{_CHART_WIDTH}" height="{_CHART_HEIGHT}" role="img" '
        f'aria-label="{len(counts)} bars, {told}"><path d="{"".join(solid)}" fill="var(--accent, #0b62b5)"/>'
        f'<path d="{"".join(hidden)}" fill="var(--muted, #56606c)"/></svg>'
    )


def heat(shades: Sequence[Sequence[int | None]]) -> Markup:
    """A grid of squares, first row at the bottom: the darker, the more rows; a dot where there are too few to tell."""
    from markupsafe import Markup

    out, size = [], 16
    for y, row in enumerate(reversed(shades)):
        for x, shade in enumerate(row):
            if shade is None:
                out.append(f'<circle cx="{x * size + 8}" cy="{y * size + 8}" r="1.5" fill="var(--muted, #56606c)"/>')
            elif shade:
                out.append(
                    f'<rect x="{x * size}" y="{y * size}" width="15" height="15" fill="var(--accent, #0b62b5)" '
                    f'fill-opacity="{0.1 * shade:.1f}"/>'
                )
    width, height = (size * max((len(r) for r in shades), default=1), size * max(len(shades), 1))
    return Markup(
        f'<svg viewBox="0 0 {width} {height}" style="max-width:{2 * width}px" role="img" '
        f'aria-label="grid of shades">{"".join(out)}</svg>'
    )


def figure(value: Any) -> str:
    """A number for people: at most four figures, thousands apart, None as a dash.

    >>> figure(1234567.0), figure(0.000123456), figure(3.0), figure(None), figure(12.3456)
    ('1,234,567', '0.0001235', '3', '–', '12.35')
    """
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if abs(value) >= 10_000 and abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:.4g}"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import DictLoader, Environment, StrictUndefined

    from labelwright.auditing.report import chance, counted, percent

    text = resources.files("labelwright.auditing").joinpath(_PAGE).read_text("utf-8")
    environment = Environment(
        loader=DictLoader({_PAGE: text}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "chance": chance, "counted": counted, "figure": figure}
    return environment
