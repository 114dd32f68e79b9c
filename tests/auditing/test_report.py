"""The report: it tells the headline, holds nothing but HTML, stays small, and what the data say is never markup."""

from __future__ import annotations

import json
import re
import subprocess
import time
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.auditing import _charts
from labelwright.auditing._report_items import look, short
from labelwright.auditing.estimate import ErrorRate, PerClass
from labelwright.auditing.report import _distinct, chance, counted, notebook, percent, render
from labelwright.auditing.result import Audit, transition
from labelwright.labels import HardLabels, LabelSpace, MultiLabels
from labelwright.reports import embed

VOID = {"meta", "img", "br", "link", "hr", "input"}
CHROMIUM = Path("/usr/bin/chromium")
PAYLOADS: list[str] = json.loads(Path(__file__).with_name("payloads.json").read_text())


def make(
    n: int = 90,
    classes: Any = ("cat", "dog", "bird"),
    *,
    missing: int = 0,
    n_reviewed: int = 0,
    flagged: int = 12,
    **changes: Any,
) -> Audit:
    """An audit of random labels; every 4th flag is ambiguous, every 5th novel."""
    rng = np.random.default_rng(0)
    k = len(classes)
    ids = rng.integers(0, k, n)
    ids[:missing] = -1
    dist = rng.dirichlet(np.full(k, 0.3), n).astype(np.float32)
    error = np.where(ids >= 0, 1 - dist[np.arange(n), ids].astype(np.float64), np.nan)
    issue = np.zeros(n, bool)
    issue[np.argsort(-np.nan_to_num(error, nan=-1))[:flagged]] = True
    kind = np.where(
        issue, np.where(np.arange(n) % 5 == 0, "novel", np.where(np.arange(n) % 4 == 0, "ambiguous", "error")), "ok"
    )
    was = np.zeros(n, bool)
    was[n - n_reviewed :] = True
    near = (np.arange(n)[:, None] + np.arange(1, 8)) % n
    space = LabelSpace(classes)
    share = np.linspace(0.02, 0.2, k)
    values = {
        "items": np.array([f"key-{i}" for i in range(n)], dtype=object),
        "labels": HardLabels(ids, space),
        "error_prob": error,
        "prior_error_prob": error,
        "label_dist": dist,
        "is_issue": issue,
        "kind": kind,
        "ambiguity": rng.random(n),
        "novelty": rng.random(n),
        "error_rate": ErrorRate(
            0.0821, 0.0713, 0.0944, PerClass(share, share / 2, share * 2), "The moon is full.", n_reviewed, 0.9
        ),
        "transition": transition(ids, dist),
        "confident_joint": rng.integers(0, 9, (k, k)),
        "duplicates": pa.table(
            {"group": [0], "rows": [[5, 6]], "items": [["key-5", "key-6"]], "labels": [[None, None]]}
        ),
        "overlap": pa.table(
            {"class_a": [str(classes[0])], "class_b": [str(classes[1])], "overlap": [0.25], "items": [7.0]}
        ),
        "reviewed": was,
        "pred_probs": dist[:, ::-1],
        "neighbours": SimpleNamespace(index=near, similarity=np.full(near.shape, 0.8)),
        "notes": ["be careful"],
        "settings": {"random_state": 17, "goal": {"budget": 200}, "columns": ["a: text", "b: label"]},
    }
    return Audit(**(values | changes))


def make_multi(n: int = 40) -> Audit:
    rng = np.random.default_rng(1)
    y = (rng.random((n, 4)) < 0.4).astype(np.int8)
    y[3, 1] = -1
    present = np.where(y == 1, 0.9, 0.1).astype(np.float32)
    y[0], present[0] = [1, 0, 0, 1], [0.05, 0.97, 0.1, 0.9]  # drop the first class, add the second
    space = LabelSpace(["sky", "sea", "sand", "sun"], structure="multi")
    error = np.full(n, 0.1)
    error[0] = 0.98
    return make(
        n, ["sky", "sea", "sand", "sun"],
        labels=MultiLabels.from_dense(y, space), label_dist=present, error_prob=error, prior_error_prob=error,
        is_issue=error > 0.5, kind=np.where(error > 0.5, "error", "ok"),
        transition=np.zeros((4, 2, 2)), confident_joint=np.tile([[20, 3], [2, 15]], (4, 1, 1)),
    )  # fmt: skip


class Page(HTMLParser):
    """Elements, attributes and printed text of a page; fails on tags that do not close in order."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}))
        self.text += " " * (tag in ("dt", "dd", "b", "td", "th", "p", "li", "h1", "h2", "h3"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.elements if name == tag]


ELEMENTS = """
html head meta title style body header main nav section article footer h1 h2 h3 p dl dt dd div span b strong i bdi ul ol li a
code table caption thead tbody tr th td figure figcaption details summary img svg g path rect line text tspan circle
"""
ALLOWED = set(ELEMENTS.split())


def check(html: str) -> Page:
    """What holds for every report: parsed, only known elements, nothing fetched, nothing that could run; accessible."""
    page = Page(html)
    assert {tag for tag, _ in page.elements} <= ALLOWED
    for tag, attrs in page.elements:
        assert not [a for a in attrs if a.startswith("on")], (tag, attrs)
        assert {"srcset", "xlink:href", "action", "data", "srcdoc"}.isdisjoint(attrs)
        assert not attrs.get("href") or re.fullmatch("#[a-z]+", attrs["href"])
        assert not attrs.get("src") or re.match("data:image/(png|jpeg);base64,[A-Za-z0-9+/=]+$", attrs["src"])
        if tag != "bdi":
            assert "url(" not in attrs.get("style", "")
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids)) and {a["href"][1:] for a in page.all("a")} <= set(ids)
    assert all("alt" in attrs for attrs in page.all("img"))
    assert all(attrs.get("scope") in ("col", "row") for attrs in page.all("th"))
    assert all(attrs.get("role") == "img" for attrs in page.all("svg"))
    assert html.count("<svg") == len(re.findall(r"<svg[^>]*><title>[^<]+</title>", html))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:]))
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page.all("meta")[1]["content"]
    return page


def flat(text: str) -> str:
    return re.sub(r"[\s\u00a0]+", " ", text)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts without their lines, for tests of words: drawing takes most of the time, and test_charts.py looks at it."""
    monkeypatch.setattr(_charts, "svg", lambda chart, title, **size: embed('<svg viewBox="0 0 9 9"/>', title))


# ---- it renders
CASES: list[dict[str, Any]] = [
    {}, {"classes": (3, 5, 8)}, {"classes": ("yes", "no")}, {"missing": 20}, {"n_reviewed": 25}, {"flagged": 0},
    {"neighbours": None, "pred_probs": None}, {"notes": [], "settings": {}},
    {"error_prob": np.zeros(90), "is_issue": np.zeros(90, bool)},
]  # fmt: skip


@pytest.mark.parametrize("changes", CASES, ids=lambda changes: "-".join(changes) or "plain")
def test_every_kind_of_audit_is_a_sound_page(changes: dict[str, Any]) -> None:
    page = check(render(make(**changes)))
    verb = "are" if changes.get("n_reviewed") else "look"
    assert f"About 8.2 % of the labels {verb} wrong (7.1 % to 9.4 %, 90 % interval)" in flat(page.text)
    assert "The moon is full." in page.text


@pytest.mark.usefixtures("undrawn")
def test_the_first_screen_says_how_many_how_sure_and_what_next() -> None:
    audit = make(missing=4, flagged=60)
    text = flat(check(render(audit)).text)
    first = text[: text.index("How much looking finds how many")]
    told = audit.summary()
    assert "That is about 7.1 of 86 labelled items (4 have no label)" in first
    assert "Nobody has checked this yet" in first and "review_sample.csv" in first and "--reviews" in first
    assert f"Expected precision {100 * told['expected_precision']:.0f} %" in first
    assert f"Expected recall {100 * told['expected_recall']:.0f} %" in first and "be careful" in first
    assert "random_state 17" in text and "goal.budget 200" in text and "a: text; b: label" in text
    assert not re.search(r"\d\.\d{3}", text.split("How this was made")[0])  # no 0.08213123


@pytest.mark.usefixtures("undrawn")
def test_reviews_change_what_is_said() -> None:
    text = flat(check(render(make(n_reviewed=25))).text)
    assert "It rests on 25 reviewed items" in text and "Nobody has checked" not in text
    assert "Is the interval narrow enough" in text


@pytest.mark.usefixtures("undrawn")
def test_an_issue_says_why() -> None:
    dist = np.tile(np.array([0.02, 0.07, 0.91], np.float32), (90, 1))
    ids = np.full(90, 2)
    ids[7] = 0
    error = np.full(90, 0.01)
    error[7] = 0.98
    audit = make(
        labels=HardLabels(ids, LabelSpace(["cat", "dog", "bird"])), label_dist=dist, pred_probs=dist[:, ::-1],
        error_prob=error, is_issue=error > 0.5, kind=np.where(error > 0.5, "error", "ok"),
    )  # fmt: skip
    text = flat(check(render(audit, content=[f"item {i}" for i in range(90)])).text)
    card = text[text.index("1. key-7") : text.index("Several classes fit", text.index("1. key-7"))]
    assert "item 7" in card and "Given cat → bird" in card and "is wrong: 98 %" in card
    assert "bird 91 % 2 %" in card and "cat given 2 % 91 %" in card  # all evidence, model alone (mirrored in `make`)
    assert "Labels of the 7 most similar items: bird (7)" in card and "item 8" in card and "key-12 (row 12)" in card
    assert "item 13" not in card  # five of the seven neighbours


@pytest.mark.usefixtures("undrawn")
def test_counts_of_what_is_shown_and_what_there_is() -> None:
    audit = make(300, flagged=150)
    page = check(render(audit))
    assert "Showing 60 of 150; all are in issues.parquet" in flat(page.text)
    novel = int((audit.kind == "novel").sum())
    assert f"Showing 12 of {novel} items; kind is “novel”" in flat(page.text)


@pytest.mark.usefixtures("undrawn")
def test_multi_labels_say_what_to_add_and_to_remove() -> None:
    text = flat(check(render(make_multi(), content=["a beach"] * 40)).text)
    assert "of the label sets look wrong" in text
    assert "Given: sky, sun. Add sea. Remove sky." in text
    assert "to add" in text and "given label" not in text.split("Top issues")[0]
    assert "sun" in text and "Several classes fit" not in text


def test_large_spaces_show_the_most_confused_classes() -> None:
    audit = make(400, [f"class {i}" for i in range(40)])
    page = check(render(audit))
    assert "Shown are the 30 of 40 classes" in flat(page.text)
    assert "The other 15 classes" in flat(page.text)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("kind", ["text", "image", "row"])
def test_reports_show_content(kind: str) -> None:
    n = 90
    content: Any = {
        "text": [f"the text of {i}" for i in range(n)],
        "image": np.random.default_rng(0).integers(0, 255, (n, 28, 28), dtype=np.uint8),
        "row": [{"age": i, "job": f"job {i}"} for i in range(n)],
    }[kind]
    audit = make()
    page = check(render(audit, content=content))
    top = int(audit.ranking[0])
    if kind == "image":
        shown = look(content, top)
        assert shown and shown.image in {a["src"] for a in page.all("img")}
    else:
        assert (f"the text of {top}" if kind == "text" else f"job {top}") in page.text


# ---- nothing runs
def payload_audit() -> tuple[Audit, list[Any]]:
    n, classes = 120, list(PAYLOADS)
    keys = np.array([PAYLOADS[i % len(PAYLOADS)] + str(i) for i in range(n)], dtype=object)
    bad = PAYLOADS[0]
    audit = make(
        n, classes, flagged=60, items=keys, notes=list(PAYLOADS), settings={p: p for p in PAYLOADS},
        error_rate=ErrorRate(0.1, 0.05, 0.2, PerClass(*np.full((3, len(classes)), 0.1)), bad, 0, 0.9),
        overlap=pa.table({"class_a": [bad], "class_b": [PAYLOADS[3]], "overlap": [0.2], "items": [3.0]}),
    )  # fmt: skip
    texts: list[Any] = [PAYLOADS[i % len(PAYLOADS)] for i in range(n)]
    return audit, [{t: t} if i % 2 else t for i, t in enumerate(texts)]


def test_whatever_the_data_say_is_text() -> None:
    audit, content = payload_audit()
    page = check(render(audit, content=content))  # only known elements, no handler, no address
    for payload in PAYLOADS:
        assert short(payload, 500) in page.text  # and it is still told, as it stands
    brief = notebook(audit)
    assert {tag for tag, _ in Page(brief).elements} <= ALLOWED and "<script" not in brief.lower()


@given(st.lists(st.sampled_from(["a", "b", "a (2)", "a (3)"]), max_size=12))
def test_distinct_names_are_distinct(names: list[str]) -> None:
    out = _distinct(names)
    assert len(set(out)) == len(out) == len(names) and all(o.startswith(n) for o, n in zip(out, names))


# ---- numbers, size, looks
def test_numbers_are_for_people() -> None:
    assert [flat(percent(x)) for x in (0.08213123, 0.5, 1, 0, 0.0000001)] == [
        "8.2 %",
        "50.0 %",
        "100 %",
        "0 %",
        "under 0.01 %",
    ]
    assert percent(float("nan")) == percent(None) == chance(None) == "unknown"
    assert [flat(chance(x)) for x in (0, 1, 0.004, 0.996, 0.5)] == ["0 %", "100 %", "under 1 %", "over 99 %", "50 %"]
    assert [counted(x) for x in (1234567, 0, 3.25)] == ["1,234,567", "0", "3.2"]


def test_large_data_still_give_a_small_page_soon() -> None:
    n, k = 200_000, 1000
    rng = np.random.default_rng(0)
    row = rng.dirichlet(np.full(k, 0.1)).astype(np.float32)
    near = np.broadcast_to(np.arange(20), (n, 20))
    error = rng.beta(0.1, 1, n)
    names = [f"class {i} with a long & <winding> name that goes on, and on, and on" for i in range(k)]
    audit = make(
        k, names, items=np.arange(n), labels=HardLabels(rng.integers(0, k, n), LabelSpace(names)), error_prob=error,
        prior_error_prob=error, label_dist=np.broadcast_to(row, (n, k)), pred_probs=None, is_issue=error > 0.5,
        kind=np.where(error > 0.5, "error", "ok"), ambiguity=error, novelty=error, reviewed=np.zeros(n, bool),
        neighbours=SimpleNamespace(index=near, similarity=np.broadcast_to(np.float32(0.5), (n, 20))),
    )  # fmt: skip
    start = time.perf_counter()
    html = render(audit, content=Repeated('<&"' * 200, n))
    assert time.perf_counter() - start < 10
    assert len(html.encode()) < 5_000_000
    page = check(html)
    assert "Row" in page.text and "class 999 with" in page.text


class Repeated:
    """One thing, n times."""

    def __init__(self, value: Any, n: int):
        self.value, self.n = value, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> Any:
        return self.value


@pytest.mark.usefixtures("undrawn")
def test_heavy_items_show_fewer_issues_and_say_so() -> None:
    heavy = {f"{i}" + "<" * 60: "&" * 300 for i in range(12)}
    audit = make(300, flagged=150)
    html = render(audit, content=Repeated(heavy, 300))
    assert html == render(audit, content=Repeated(heavy, 300))  # the same audit, the same page
    shown = re.search(r"Showing (\d+) of 150", flat(check(html).text))
    assert shown and 5 <= int(shown[1]) < 60 and len(html.encode()) < 5_000_000


def test_a_notebook_gets_the_headline() -> None:
    for audit in (make(), make(flagged=0), make_multi()):
        brief = notebook(audit)
        assert "8.2 %" in flat(Page(brief).text) and len(brief) < 5000
    assert "add sea" in flat(Page(notebook(make_multi())).text)


# ---- in a browser
FRAMES = """<!DOCTYPE html><title>still</title><body><script>
const page = %s;
for (const width of [420, 1280]) {
  const f = document.createElement("iframe");
  f.style = "width:" + width + "px;height:900px;border:0";
  f.onload = () => {
    const d = f.contentDocument, out = document.createElement("output");
    const wide = d.documentElement.scrollWidth > width ? "too wide" : "fits";
    out.textContent = [width, wide, d.scripts.length, d.title.startsWith("Label audit"), document.title].join(" ");
    document.body.append(out);
  };
  f.srcdoc = page;
  document.body.append(f);
}
</script>"""


@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium")
def test_a_browser_runs_nothing_and_needs_no_sideways_scrolling(tmp_path: Path) -> None:
    audit, content = payload_audit()
    html = render(audit, content=content)
    html = re.sub("<meta http-equiv=.Content-Security-Policy[^>]*>", "", html)  # escaping has to do without this net
    frame = tmp_path / "frame.html"
    frame.write_text(FRAMES % json.dumps(html).replace("<", "\\u003c"))
    options = f"--headless --no-sandbox --disable-gpu --user-data-dir={tmp_path}/profile --virtual-time-budget=4000"
    command = [str(CHROMIUM), *options.split(), "--hide-scrollbars", "--dump-dom", str(frame)]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    assert sorted(re.findall("<output>(.*?)</output>", dom)) == ["1280 fits 0 true still", "420 fits 0 true still"]
