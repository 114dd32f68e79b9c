"""The report of an aggregation: one page of HTML without a script, for people."""

from __future__ import annotations

import math
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from labelwright.crowds.aggregation import Aggregation

ROWS = 60
"""Annotators and items that the page shows; the files beside it hold all."""


def render(found: Aggregation) -> str:
    """The page. Names come from the data and are escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": percent, "number": number}
    template = environment.from_string(
        resources.files("labelwright.crowds").joinpath("report.html.j2").read_text("utf-8")
    )
    items, annotators = found.items, found.annotators
    doubtful = np.argsort(np.asarray(items["probability"]), kind="stable")[:ROWS]
    # the least useful first; those who never voted have no information and come last
    information = np.nan_to_num(annotators["information"].to_numpy(zero_copy_only=False).astype(float), nan=np.inf)
    least = np.argsort(information, kind="stable")[:ROWS]
    return template.render(
        told=found.summary(),
        scores=sorted(found.scores.items(), key=lambda pair: pair[1]["behind"]),
        doubtful=items.take(doubtful).to_pylist(),
        least=annotators.take(least).to_pylist(),
        n_items=items.num_rows,
        n_annotators=annotators.num_rows,
        classes=_classes(found),
    )


def _classes(found: Aggregation) -> list[dict[str, Any]]:
    """Per class: its share, and how many items have it as their likeliest."""
    label = found.items["label"].to_pylist()
    prior = None if found.fit is None else found.fit.prior
    return [
        {"name": str(name), "items": label.count(name), "share": None if prior is None else float(prior[i])}
        for i, name in enumerate(found.space.classes)
    ]


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
