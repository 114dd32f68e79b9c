"""The page that tells what an audit found: one HTML file without script, and readable where there is no network."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

import labelwright
from labelwright.auditing import _charts
from labelwright.auditing._report_items import Look, check_content, short
from labelwright.auditing._report_view import ITEM_BYTES, TOP, Budget, Page
from labelwright.reports import room_to_draw

if TYPE_CHECKING:
    from jinja2 import Environment

    from labelwright.auditing.companions import Companions
    from labelwright.auditing.result import Audit

_PAGE, _BRIEF = "report.html.j2", "notebook.html.j2"


def render(audit: Audit, *, content: Any = None, companions: Companions | None = None) -> str:
    """The audit as one self-contained page, below 5 MB whatever N and K: 60 issues, 1000 classes, a 30 x 30 heat map.

    Args:
        audit: what to tell.
        content: what the items look like, a sequence of N texts, images (path, bytes or uint8 array (H, W[, 3])) or
            rows (dict). Texts are cut at 400 characters, images shrunk to 96 pixels, rows to 12 cells.
        companions: the labelling instruction and the nutrition label, each a section of its own; None leaves them out.

    Returns:
        HTML. No script, nothing fetched; whatever comes from the data is escaped.

    Raises:
        DataError: content is not one entry per item.
    """
    check_content(content, len(audit.items))
    page = Page(audit, Budget(content))
    flagged = audit.ranking[audit.is_issue[audit.ranking]]
    issues = page.issues(flagged, TOP, spare=ITEM_BYTES // 2)
    ambiguous, novel = page.of_kind("ambiguous", audit.ambiguity), page.of_kind("novel", audit.novelty)
    duplicates = page.duplicates()
    return _environment().get_template(_PAGE).render(
        **_headline(audit),
        version=labelwright.__version__,
        charts=_draw(audit, page),
        classes=page.classes(),
        n_classes=len(audit.space),
        mistakes=page.mistakes(),
        issues=issues,
        ambiguous=ambiguous,
        novel=novel,
        duplicates=duplicates,
        **_beside(companions, page),
        overlap=page.overlap(),
        notes=[short(note, 500) for note in audit.notes],
        settings=[(short(k, 60), short(v, 500)) for k, v in _flat(audit.settings)],
        structure=audit.space.structure,
        has_neighbours=audit.neighbours is not None,
    )  # fmt: skip


def _beside(companions: Companions | None, page: Page) -> dict[str, Any]:
    """The sections that others write, as markup."""
    if companions is None:
        return {"instructions": None, "no_instructions": "", "nutrition": None}
    from markupsafe import Markup

    from labelwright.auditing.instructions import instructions_html
    from labelwright.auditing.nutrition import nutrition_html

    def look(row: int) -> Look | None:
        return page.budget.look(row) if page.budget.left > 0 else None

    told = companions.instructions
    return {
        "instructions": told and Markup(instructions_html(told, look, page.name)),
        "no_instructions": companions.no_instructions,
        "nutrition": Markup(nutrition_html(companions.nutrition)),
    }


_MOST_ROWS, _MOST_CELLS = 200, 20_000


def details(audit: Audit) -> dict[str, Any]:
    """What the page shows beyond the summary and the items, for programs: transition, confident joint, effort curve,
    duplicates and overlap. NaN is null. Matrices over more than 200 classes are given by their 20,000 largest cells."""
    effort = audit.effort
    points = np.unique(np.linspace(0, len(effort.n_reviewed) - 1, num=200).astype(int))
    return {
        "summary": audit.summary(),
        "classes": [str(c) for c in audit.space.classes],
        "transition": {"axes": "true, given", **_matrix(audit.transition)},
        "confident_joint": {"axes": "given, true", **_matrix(audit.confident_joint)},
        "effort": {name: _listed(values[points].astype(float)) for name, values in effort._asdict().items()},
        "duplicates": audit.duplicates.slice(0, 1000).to_pylist(),
        "overlap": audit.overlap.slice(0, 1000).to_pylist(),
    }


def _matrix(values: np.ndarray) -> dict[str, Any]:
    if values.ndim > 2 or len(values) <= _MOST_ROWS:
        return {"values": values.tolist() if values.dtype.kind in "iu" else _listed(values)}
    flat = values.ravel()
    cell = np.sort(np.argpartition(-flat, _MOST_CELLS)[:_MOST_CELLS])
    cell = cell[flat[cell] > 0]
    row, column = np.unravel_index(cell, values.shape)
    left = float(flat.sum() - flat[cell].sum())
    return {"cells": [list(c) for c in zip(row.tolist(), column.tolist(), flat[cell].tolist())], "sum_left_out": left}


def _listed(values: np.ndarray) -> list[Any]:
    return [_listed(v) for v in values] if values.ndim > 1 else [None if np.isnan(v) else float(v) for v in values]


def notebook(audit: Audit) -> str:
    """A few lines of HTML for a notebook: the headline and the five most suspicious labels."""
    page = Page(audit, Budget(None))
    flagged = audit.ranking[audit.is_issue[audit.ranking]][:5]
    template = _environment().get_template(_BRIEF)
    return template.render(**_headline(audit), issues=[page.issue(int(row)) for row in flagged])


# ---------------------------------------------------------------------------------------------------------- the whole
def _headline(audit: Audit) -> dict[str, Any]:
    """The figures of the first screen."""
    told = audit.summary()
    kinds = told["kinds"]
    return {
        "rate": audit.error_rate,
        "multi": audit.multi,
        "n_items": told["items"],
        "n_labelled": told["labelled"],
        "n_wrong": told["errors_estimated"],
        "n_flagged": told["issues"],
        "kinds": [(name, kinds[name]) for name in ("error", "ambiguous", "novel") if kinds.get(name)],
        "precision": told["expected_precision"],
        "recall": told["expected_recall"],
        "n_reviewed": int(audit.reviewed.sum()),
    }


def _draw(audit: Audit, page: Page) -> dict[str, Any]:
    """The charts by name; those that would say nothing are left out."""
    from markupsafe import Markup

    charts: dict[str, Any] = {"shown": 0, "found": None, "shares": None, "quality": None, "heat": None}
    if not room_to_draw():
        audit.notes.append(
            "the report has no charts: this process may hold too little memory to draw them (see `ulimit -d` and `ulimit -v`)"
        )
        return charts
    n_flagged = int(audit.is_issue.sum())
    if not np.isnan(audit.error_prob).all():
        charts["found"], charts["shares"] = map(Markup, _charts.effort_charts(audit.effort, n_flagged))
        charts["quality"] = Markup(_charts.quality_histogram(audit.quality, audit.is_issue))
    if not audit.multi and len(audit.space) > 1:
        names = _distinct([short(c, 18) for c in audit.space.classes])
        svg, charts["shown"] = _charts.heat_map(audit.transition, audit.confident_joint, names)
        charts["heat"] = Markup(svg)
    return charts


def _distinct(names: list[str]) -> list[str]:
    """The names, numbered where cutting made two of them equal."""
    seen: Counter[str] = Counter()
    taken, out = set(names), []
    for name in names:
        seen[name] += 1
        if seen[name] > 1:
            while (numbered := f"{name} ({seen[name]})") in taken:
                seen[name] += 1
            name = numbered
            taken.add(name)
        out.append(name)
    return out


def _flat(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested settings as lines: `goal.budget`, 200."""
    out: list[tuple[str, Any]] = []
    for key, value in settings.items():
        if isinstance(value, dict):
            out += _flat(value, f"{prefix}{key}.") or [(f"{prefix}{key}", "none")]
        elif isinstance(value, list | tuple):
            out.append((f"{prefix}{key}", "; ".join(map(str, value[:100]))))
        else:
            out.append((f"{prefix}{key}", value))
    return out


# ----------------------------------------------------------------------------------------------------------- printing
def percent(share: float | None) -> str:
    """A rate for people: two figures that mean something, never 0.08213123.

    >>> percent(0.08213), percent(0.3), percent(0.00042), percent(0), percent(float("nan"))
    ('8.2\\xa0%', '30.0\\xa0%', '0.04\\xa0%', '0\\xa0%', 'unknown')
    """
    if share is None or np.isnan(share):
        return "unknown"
    value = 100 * share
    if value and value < 0.005:
        return "under 0.01\u00a0%"
    return f"{value:.{0 if value in (0, 100) else 2 if value < 0.995 else 1}f}\u00a0%"


def chance(p: float | None) -> str:
    """One item's probability: whole percents, and never a certainty that is none.

    >>> chance(0.9126), chance(0.9999), chance(0.0001)
    ('91\\xa0%', 'over 99\\xa0%', 'under 1\\xa0%')
    """
    if p is None or np.isnan(p):
        return "unknown"
    if p < 0.005:
        return "under 1\u00a0%" if p > 0 else "0\u00a0%"
    if p >= 0.995:
        return "over 99\u00a0%" if p < 1 else "100\u00a0%"
    return f"{100 * p:.0f}\u00a0%"


def counted(n: float) -> str:
    """A count with its thousands apart.

    >>> counted(12000), counted(983.7), counted(0.4)
    ('12,000', '984', '0.4')
    """
    return f"{n:,.0f}" if n >= 10 or n == int(n) else f"{n:.1f}"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import DictLoader, Environment, StrictUndefined

    folder = resources.files("labelwright.auditing")
    environment = Environment(
        loader=DictLoader({name: folder.joinpath(name).read_text("utf-8") for name in (_PAGE, _BRIEF)}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "chance": chance, "counted": counted}
    return environment
