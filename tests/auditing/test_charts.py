"""Charts: drawings that can do nothing else, in the colours of the page, of the classes that matter."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import resources
from xml.etree import ElementTree

import numpy as np
import pytest

from labelwright.auditing import _charts
from labelwright.auditing.flags import effort_curve
from labelwright.reports import embed

HOSTILE = [
    "<script>x()</script>",
    '"><img src=x onerror=x()>',
    "</svg><script>",
    "javascript:x()",
    "{{ 1 }}",
    "&lt;",
    "a'b",
    "]]>",
]


def test_most_confused_agrees_with_a_loop() -> None:
    rng = np.random.default_rng(3)
    joint = rng.integers(0, 50, (35, 35))
    mass = [sum(joint[i, j] + joint[j, i] for j in range(35) if j != i) for i in range(35)]
    chosen = _charts.most_confused(np.eye(35), joint, limit=6)
    assert sorted(mass[k] for k in chosen) == sorted(mass)[-6:] and (np.diff(chosen) > 0).all()
    ring = np.roll(np.eye(35), 1, axis=1) * 0.1 + np.eye(35) * 0.9
    ring[4] = ring[:, 4] = 0
    assert 4 not in _charts.most_confused(ring, np.zeros((35, 35), int), limit=30)


def test_names_in_charts_are_text() -> None:
    svg, shown = _charts.heat_map(np.eye(8) * 0.9 + 0.0125, np.ones((8, 8), int), HOSTILE)
    root = ElementTree.fromstring(svg)
    assert {e.tag for e in root.iter()} <= {"svg", "g", "path", "line", "text", "title"} and shown == 8
    told = [e.text for e in root.iter("text")]
    assert all(told.count(name) == 2 for name in HOSTILE)  # once along each axis, as it stands
    assert not [name for e in root.iter() for name in e.attrib if name.startswith("on") or "href" in name]


def test_a_drawing_loses_all_that_is_not_a_drawing() -> None:
    hostile = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9" onload="x()"><script>x()</script>'
        '<a href="javascript:x()"/><image href="http://evil.example"/><foreignObject/>'
        '<rect fill="url(http://evil.example)" width="3" style="x"/></svg>'
    )
    svg = embed(hostile, "a <title>")
    assert svg == (
        '<svg viewBox="0 0 9 9" role="img" style="max-width:11px;min-width:8px"><title>a &lt;title&gt;</title>'
        '<rect width="3" /></svg>'
    )


def test_charts_take_their_colours_from_the_page() -> None:
    svgs = [
        *_charts.effort_charts(effort_curve(np.linspace(0, 1, 50)), 10),
        _charts.quality_histogram(np.linspace(0, 1, 50), np.zeros(50, bool)),
    ]
    for svg in svgs:
        assert "currentColor" in svg and not re.search("#0[1-4]0[1-4]0[1-4]", svg)
        assert set(re.findall(r'(?:fill|stroke)="(#?\w+)"', svg)) <= {"none", "transparent"}
        assert set(re.findall(r'font-family="([^"]*)"', svg)) == {"sans-serif"}


@pytest.mark.parametrize("n", [1, 2])
def test_the_smallest_audits_have_charts(n: int) -> None:
    for p in (np.zeros(n), np.ones(n)):
        first, second = _charts.effort_charts(effort_curve(p), 0)
        assert first.startswith("<svg") and second.startswith("<svg")


def luminance(colour: str) -> float:
    channel = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return float(
        np.where(channel <= 0.04045, channel / 12.92, ((channel + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(scheme: str) -> None:
    css = resources.files("labelwright.auditing").joinpath("report.html.j2").read_text("utf-8")
    block = re.findall(r":root \{([^}]*)\}", css)[scheme == "dark"]
    colour = dict(re.findall(r"--(\w+): (#\w{6})", block))
    for paper in ("page", "soft", "mark"):
        for ink in ("ink", "muted", "accent", "second") if paper != "mark" else ("ink",):
            high, low = sorted((luminance(colour[ink]), luminance(colour[paper])), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, paper)
    accent, page = ([int(colour[name][i : i + 2], 16) for i in (1, 3, 5)] for name in ("accent", "page"))
    mixed = _charts.DEEPEST * np.array(accent) + (1 - _charts.DEEPEST) * np.array(page)
    cell = "#" + "".join(f"{round(c):02x}" for c in mixed)  # the darkest cell of a heat map under its number
    high, low = sorted((luminance(colour["ink"]), luminance(cell)), reverse=True)
    assert (high + 0.05) / (low + 0.05) >= 4.5


@pytest.mark.skipif(sys.platform != "linux", reason="limits are read from /proc")
def test_a_report_under_a_low_limit_has_no_charts_and_says_so(tmp_path):
    code = (
        "import resource; import numpy as np; import labelwright as lw\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (500 << 20, 500 << 20))\n"
        "y = np.arange(60) % 3; p = np.full((60, 3), 0.1); p[np.arange(60), y] = 0.8\n"
        f"print(lw.audit(y, p).report({str(tmp_path / 'r.html')!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"},
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "r.html").read_text()
    assert "the report has no charts" in page and "How much looking" not in page
