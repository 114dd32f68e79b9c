"""The charts of the report, as SVG that can stand inside a page: no script, no outside font, the page's colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.reports import ACCENT, INK, LINE, SECOND, svg

if TYPE_CHECKING:
    import altair as alt

    from labelwright.auditing.flags import EffortCurve

MOST_CLASSES = 30  # rows and columns of a heat map that can still be read
_NUMBERED = 10  # up to here a heat map has room for its numbers
_BINS = 25
DEEPEST = 0.5  # share of the accent in the darkest cell: the ink of the page stays readable on it, dark or light
_PERCENT = "format(100 * datum.value, '.0f') + '\u00a0%'"


def effort_charts(curve: EffortCurve, n_flagged: int) -> tuple[str, str]:
    """Two SVGs over the number of labels looked at: wrong labels found, and precision with recall.

    The horizontal axis ends where 98 % of the wrong labels are found, or past the flags: beyond that nothing happens.
    """
    looks = curve.n_reviewed
    enough = int(np.argmax(curve.recall >= 0.98)) if (curve.recall >= 0.98).any() else len(looks) - 1
    end = min(float(looks[-1]), max(float(looks[enough]), 1.5 * n_flagged, 1.0))
    keep = int(np.searchsorted(looks, end)) + 1
    by_chance = float(curve.errors_found[-1]) / max(float(looks[-1]), 1.0)
    part = type(curve)(*(column[:keep] for column in curve))
    return _found(part, n_flagged, by_chance), _precision_recall(part, n_flagged)


def _found(curve: EffortCurve, n_flagged: int, by_chance: float) -> str:
    import altair as alt

    looks, found = curve.n_reviewed, curve.errors_found
    end, top = float(looks[-1]), float(found[-1])
    x, y = _looks(end), alt.Y("found:Q", title="wrong labels found")
    best = [{"looks": int(n), "found": float(f)} for n, f in zip(looks, found)]
    chance = [{"looks": n, "found": n * by_chance} for n in (0.0, end)]
    late = n_flagged > 0.5 * end
    free = int(np.searchsorted(looks, 0.1 * end if late else max(n_flagged, 0.3 * end)))  # where the dotted line is not
    words = [("most suspicious first", looks[free], found[free], "left", 8, 14, ACCENT)]  # a bent curve has room below
    if end * by_chance > 0.4 * top:  # as has a steep line; over a flat one there is more
        words.append(("in random order", 0.55 * end, 0.55 * end * by_chance, "left", 6, 14, INK))
    else:
        words.append(("in random order", end, end * by_chance, "right", -6, -9, INK))
    if n_flagged:
        words.append((f"{n_flagged:,} flagged", n_flagged, top, "right" if late else "left", -5 if late else 5, 0, INK))
    layers = [
        *_flag_line(n_flagged, x),
        alt.Chart(_data(chance)).mark_line(color=INK, strokeDash=[5, 4], opacity=0.6).encode(x=x, y=y),
        alt.Chart(_data(best)).mark_line(color=ACCENT, strokeWidth=2.5).encode(x=x, y=y),
        *(_beside(at, up, text, x, y, align=align, dx=dx, dy=dy, color=c) for text, at, up, align, dx, dy, c in words),
    ]
    points = sorted({max(1, len(looks) // 4), len(looks) // 2, len(looks) - 1} & set(range(len(looks))))
    told = ", ".join(f"{found[i]:,.0f} among the first {looks[i]:,}" for i in points)
    return svg(alt.layer(*layers), f"Wrong labels expected to be found: {told}")


def _precision_recall(curve: EffortCurve, n_flagged: int) -> str:
    import altair as alt

    looks, end = curve.n_reviewed, float(curve.n_reviewed[-1])
    axis = alt.Axis(labelExpr=_PERCENT, tickCount=5)
    x, y = _looks(end), alt.Y("found:Q", title="share", axis=axis, scale=alt.Scale(domain=[0, 1]))
    layers = _flag_line(n_flagged, x)
    start = 1 if len(looks) > 1 else 0  # nothing looked at has no precision
    for values, color, dash in ((curve.precision, ACCENT, [1, 0]), (curve.recall, SECOND, [7, 3])):
        rows = [{"looks": int(n), "found": float(v)} for n, v in zip(looks[start:], values[start:])]
        mark = alt.Chart(_data(rows)).mark_line(color=color, strokeWidth=2.5, strokeDash=dash)
        layers.append(mark.encode(x=x, y=y))
    late, last = int(np.searchsorted(looks, 0.72 * end)), len(looks) - 1
    layers += [
        _beside(looks[late], curve.precision[late], "precision", x, y, dx=5, dy=-9, color=ACCENT),
        _beside(end, curve.recall[last], "recall", x, y, align="right", dx=-6, dy=16, color=SECOND),
    ]
    told = f"precision {_share(curve.precision[start])} to {_share(curve.precision[last])}"
    return svg(alt.layer(*layers), f"Expected {told}, recall up to {_share(curve.recall[last])}")


def quality_histogram(quality: np.ndarray, flagged: np.ndarray) -> str:
    """SVG: how many labels have which probability of being right (logarithmic), and how many of these are flagged.

    quality: (N,) in [0, 1], NaN is left out.   flagged: (N,) bool.
    """
    import altair as alt

    known = ~np.isnan(quality)
    edges = np.linspace(0, 1, _BINS + 1)
    counts = {
        "all": np.histogram(quality[known], edges)[0],
        "flagged": np.histogram(quality[known & flagged], edges)[0],
    }
    rows: list[dict[str, Any]] = [
        {"from": float(edges[i]), "to": float(edges[i + 1]), "items": int(n), "what": what, "floor": 0.8}
        for what, column in counts.items() for i, n in enumerate(column) if n
    ]  # fmt: skip
    top = 1.3 * max(1, int(counts["all"].max()))
    bars = alt.Chart(_data(rows)).mark_bar(stroke=None).encode(
        x=alt.X("from:Q", title="probability that the label is right", axis=alt.Axis(labelExpr=_PERCENT),
                scale=alt.Scale(domain=[0, 1])),
        x2="to:Q",
        y=alt.Y("items:Q", title="labels (logarithmic)", scale=alt.Scale(type="log", domain=[0.8, top]),
                axis=alt.Axis(values=[10**i for i in range(10) if 10**i <= top])),
        y2="floor:Q",
        color=alt.Color("what:N", scale=alt.Scale(domain=["all", "flagged"], range=[LINE, SECOND]),
                        legend=alt.Legend(title=None, orient="top")),
    )  # fmt: skip
    doubtful = int((quality[known] < 0.5).sum())
    return svg(bars, f"Probability of being right: {doubtful} of {int(known.sum())} labels are below one half")


def heat_map(transition: np.ndarray, confident_joint: np.ndarray, names: list[str]) -> tuple[str, int]:
    """SVG of p(given | true) and the number of classes shown: all, or the 30 with the most off-diagonal mass.

    transition: (K, K) [true, given].   confident_joint: (K, K) [given, true].   names: K distinct short names.
    The diagonal is left pale, so that the colours are there for the mistakes.
    """
    import altair as alt

    chosen = most_confused(transition, confident_joint)
    part, shown = transition[np.ix_(chosen, chosen)], [names[k] for k in chosen]
    wrong = np.where(np.eye(len(chosen), dtype=bool), 0.0, part)
    top = max(float(wrong.max()), 0.05)  # a share of less than 5 % should not look like much
    rows = [
        {"true": shown[i], "given": shown[j], "p": float(part[i, j]), "wrong": float(wrong[i, j] / top),
         "words": _share(part[i, j])}
        for i in range(len(chosen)) for j in range(len(chosen))
    ]  # fmt: skip
    numbered = len(chosen) <= _NUMBERED
    cell = max(14, min(44, 420 // len(chosen)))
    base = alt.Chart(_data(rows)).encode(
        x=alt.X(
            "given:N",
            title="given label",
            sort=None,
            scale=alt.Scale(domain=shown),
            axis=alt.Axis(labelAngle=-45, orient="top"),
        ),
        y=alt.Y("true:N", title="true label", sort=None, scale=alt.Scale(domain=shown)),
    )
    cells = base.mark_rect(color=ACCENT, stroke=LINE, strokeWidth=0.5).encode(
        fillOpacity=alt.FillOpacity("wrong:Q", scale=alt.Scale(domain=[0, 1], range=[0.0, DEEPEST]), legend=None)
    )
    text = base.mark_text(color=INK, fontSize=11).encode(text="words:N")
    layers = [cells, text] if numbered else [cells]
    size = {"width": cell * len(chosen), "height": cell * len(chosen)}
    worst = np.unravel_index(int(wrong.argmax()), wrong.shape)
    told = f"most often {shown[worst[0]]} is labelled {shown[worst[1]]} ({_share(wrong.max())})"
    return svg(alt.layer(*layers), f"How classes are mistaken: {told}", **size), len(chosen)


def most_confused(transition: np.ndarray, confident_joint: np.ndarray, limit: int = MOST_CLASSES) -> np.ndarray:
    """Ids of the classes to show, in their own order: those that are given or missed wrongly most often."""
    k = len(transition)
    if k <= limit:
        return np.arange(k)
    counts = confident_joint.astype(np.float64)
    mass = counts.sum(0) + counts.sum(1) - 2 * counts.diagonal()
    if not mass.any():
        mass = transition.sum(0) + transition.sum(1) - 2 * transition.diagonal()
    return np.sort(np.argsort(-mass, kind="stable")[:limit])


# ------------------------------------------------------------------------------------------------------------ drawing
def _data(rows: list[dict[str, Any]]) -> alt.InlineData:
    import altair as alt

    return alt.InlineData(values=rows)


def _looks(end: float) -> alt.X:
    import altair as alt

    return alt.X(
        "looks:Q", title="labels looked at", scale=alt.Scale(domain=[0, end], nice=False), axis=alt.Axis(tickCount=5)
    )


def _flag_line(n_flagged: int, x: alt.X) -> list[Any]:
    """A dotted line at the number flagged, if there is one."""
    import altair as alt

    mark = alt.Chart(_data([{"looks": n_flagged}])).mark_rule(color=INK, strokeDash=[2, 3], opacity=0.7)
    return [mark.encode(x=x)] if n_flagged else []


def _beside(
    looks: float, found: float, text: str, x: alt.X, y: alt.Y, *, align: str = "left", dx: int = 0, dy: int = 0,
    color: str = INK,
) -> Any:  # fmt: skip
    """Words beside a line instead of a legend: they need no colour to be understood."""
    import altair as alt

    chart = alt.Chart(_data([{"looks": float(looks), "found": float(found)}]))
    return chart.mark_text(align=align, dx=dx, dy=dy, color=color, text=text).encode(x=x, y=y)


def _share(p: float) -> str:
    return "" if p < 0.0005 else f"{100 * p:.1f}\u00a0%" if p < 0.0995 else f"{100 * p:.0f}\u00a0%"
