"""The report of an aggregation: one page of HTML without a script, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.reports import rendered

if TYPE_CHECKING:
    import pyarrow as pa

    from labelwright.crowds.aggregation import Aggregation

ROWS = 60
"""Annotators and items that the page shows; the files beside it hold all."""


def render(found: Aggregation) -> str:
    """The page of an aggregation."""
    doubtful = np.argsort(np.asarray(found.items["probability"]), kind="stable")[:ROWS]
    counted = found.items["label"].to_pylist()
    items = [counted.count(name) for name in found.space.classes]
    shares = None if found.fit is None else found.fit.prior
    return page(found.summary(), found.annotators, found.items.take(doubtful).to_pylist(), items, shares)


def page(
    told: dict[str, Any], annotators: pa.Table, doubtful: list[dict[str, Any]], items: list[int], shares: Any
) -> str:
    """The page. Names come from the data and are escaped.

    told: `summary()`.   doubtful: the least certain rows of the items.   items: per class, how many have it as their likeliest.
    shares: (K,) of the classes, or None.
    """
    # the least useful first; those who never voted have no information and come last
    information = np.nan_to_num(annotators["information"].to_numpy(zero_copy_only=False).astype(float), nan=np.inf)
    least = np.argsort(information, kind="stable")[:ROWS]
    return rendered(
        "labelwright.crowds",
        "report.html.j2",
        told=told,
        differs={row["method"]: row["differs"] for row in told.get("others", [])},
        scores=sorted(told["scores"].items(), key=lambda pair: pair[1]["behind"]),
        doubtful=doubtful,
        least=annotators.take(least).to_pylist(),
        n_items=told["items"],
        n_annotators=told["annotators"],
        classes=[
            {"name": name, "items": n, "share": None if shares is None else float(shares[i])}
            for i, (name, n) in enumerate(zip(told["classes"], items))
        ],
    )


def multi_page(
    told: dict[str, Any], annotators: pa.Table, doubtful: list[dict[str, Any]], items: list[int], shares: np.ndarray
) -> str:
    """The same for items with several classes; shares: (K,) of the items that have the class."""
    information = np.nan_to_num(annotators["information"].to_numpy(zero_copy_only=False).astype(float), nan=np.inf)
    least = annotators.take(np.argsort(information, kind="stable")[:ROWS]).to_pylist()
    classes = [{"name": c, "items": n, "share": float(p)} for c, n, p in zip(told["classes"], items, shares)]
    return rendered(
        "labelwright.crowds", "report_multi.html.j2", told=told, doubtful=doubtful, least=least, classes=classes
    )
