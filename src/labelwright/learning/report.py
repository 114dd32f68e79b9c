"""The page that tells how a training went: learning curves, figures with intervals, classes, and the whole recipe."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from labelwright.reports import ACCENT, INK, SECOND, rendered, room_to_draw, svg

if TYPE_CHECKING:
    from labelwright.learning.evaluation import Evaluation
    from labelwright.learning.model import TrainedModel

ROWS = 60
"""Classes that the page shows."""

NAMES = {"nll": "log loss, nats", "ece": "calibration error", "macro_f1": "macro F1", "micro_f1": "micro F1",
         "map": "mean average precision", "people_nll": "log loss against soft labels"}  # fmt: skip
"""Figures in words."""

_CURVES = (  # title, columns of the log
    ("loss in nats", ("loss", "valid nll")),
    ("right of the items set apart", ("valid accuracy", "valid map")),
    ("calibration error", ("valid ece",)),
)


def render(model: TrainedModel, held_out: Evaluation | None = None, *, title: str = "How the training went") -> str:
    """One self-contained page of HTML, no script.

    held_out: how good the model is on items that were set apart.   title: the heading.
    """
    told = None if held_out is None else held_out.summary()
    rows = sorted((r for r in (told or {}).get("classes", []) if r["items"]), key=lambda r: r["f1"] or 0.0)
    drawn = learning_curves(model.history) if room_to_draw() else []
    return rendered(
        "labelwright.learning",
        "report.html.j2",
        names=NAMES,
        title=title,
        about=model.about,
        n_classes=len(model.space),
        multi_label=model.multi_label,
        held_out=told,
        chosen=model.recipe.get("keep") == "best",
        curves=drawn,
        why_no_curves="one epoch makes no curve" if room_to_draw() else "the memory limit of the process is too low",
        classes=rows[:ROWS],
        recipe=[(name, value if isinstance(value, str) else json.dumps(value)) for name, value in model.recipe.items()],
    )


def learning_curves(history: list[dict[str, Any]]) -> list[str]:
    """SVGs over the epochs: loss, what is right of the items set apart, and its calibration; none for a single epoch."""
    out = []
    for title, names in _CURVES:
        lines = {name: [(r["epoch"], r[name]) for r in history if _number(r.get(name))] for name in names}
        lines = {name: points for name, points in lines.items() if len(points) > 1}
        if lines:
            out.append(_drawn(title, lines))
    return out


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and value == value


def _drawn(title: str, lines: dict[str, list[tuple[int, float]]]) -> str:
    """Lines with their names beside their ends, so that no colour is needed to tell them apart."""
    import altair as alt

    layers = []
    last = max(points[-1][0] for points in lines.values())
    x = alt.X("epoch:Q", title="epoch", scale=alt.Scale(domain=[0, last], nice=False), axis=alt.Axis(tickCount=5))
    y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5))
    for (name, points), color, dash, dy in zip(lines.items(), (ACCENT, SECOND), ([1, 0], [7, 3]), (-8, 14)):
        data = alt.InlineData(values=[{"epoch": e, "value": float(v)} for e, v in points])
        layers.append(alt.Chart(data).mark_line(color=color, strokeWidth=2.5, strokeDash=dash).encode(x=x, y=y))
        end = alt.InlineData(values=[{"epoch": points[-1][0], "value": float(points[-1][1])}])
        words = {"loss": "training", "valid nll": "set apart"}.get(name, name.removeprefix("valid "))
        layers.append(alt.Chart(end).mark_text(align="right", dx=-4, dy=dy, color=INK, text=words).encode(x=x, y=y))
    told = "; ".join(f"{name} from {points[0][1]:.3g} to {points[-1][1]:.3g}" for name, points in lines.items())
    return svg(alt.layer(*layers), f"{title} over {last} epochs: {told}")
