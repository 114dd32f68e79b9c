"""In a real Chromium: reviewing by keyboard, two reviewers at once, adjudication, undo, a lost connection, pictures."""

from __future__ import annotations

import csv
import io
import json

import pytest

from labelwright.webapp.views import User

from .conftest import PASSWORDS, TOKEN, serving, until

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

SAVED = "document.getElementById('saved').textContent === 'Saved.'"


def press(page, *keys):
    """Type into the page and wait until the item has changed and the answer is acknowledged."""
    before = page.locator("#work").get_attribute("data-item")
    for key in keys:
        page.keyboard.type(key) if len(key) > 1 and key != "Enter" else page.keyboard.press(key)
    until(page, "key => document.getElementById('work').dataset.item !== key", before)
    until(page, SAVED)
    return before


def log_in(tab, url, name, **options):
    """By keyboard: the name's field has the focus."""
    page = tab(url + "/login", **options)
    page.locator("[name=name]").focus()  # it has it, but a busy browser may be late
    page.keyboard.type(name)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORDS[name])
    page.keyboard.press("Enter")
    page.wait_for_selector("body.ready")
    return page


def test_the_whole_story_by_keyboard(desk, accounts, audited, tab, tmp_path):
    from labelwright.store.exchange import export_labels

    me = accounts.local("me")
    with serving(desk, accounts, local=me) as server:
        page = tab(f"{server.url}/?token={TOKEN}")
        page.wait_for_selector("body.ready")
        assert TOKEN not in page.url
        for _ in range(12):  # answer by the truth
            key = page.locator("#work").get_attribute("data-item")
            given, truth = desk.item(key, me).given, audited.truth[key]
            if given == truth:
                press(page, "k")
            else:
                press(page, page.get_by_role("button", name=truth).first.get_attribute("data-key"))
        mixed = press(page, "d", "60/40", "Enter")
        unclear, novel = press(page, "u"), press(page, "n")
        named = press(page, "/", "space", "Enter")
        page.keyboard.press("c")
        page.keyboard.type("a comment")
        page.keyboard.press("Enter")
        page.keyboard.press("e")
        page.keyboard.type("major")
        page.keyboard.press("Escape")
        noted = press(page, "k")
        said = {k: desk.item(k, me).mine for k in (mixed, unclear, novel, named, noted)}
        assert [a.kind for a in said.values()] == ["distribution", "unsure", "none", "class", "keep"]
        assert said[mixed].shares == pytest.approx((0.6, 0.4)) and said[named].classes == ("space",)
        assert (said[noted].comment, said[noted].severity) == ("a comment", "major")

        back = press(page, "k")
        page.keyboard.press("z")
        until(page, "key => document.getElementById('work').dataset.item === key", back)
        assert desk.item(back, me).mine is None
        page.wait_for_timeout(200)
        assert press(page, "k") == back

        page.keyboard.press("?")
        page.locator("#keys").wait_for()
        page.keyboard.press("Escape")
        page.locator("#keys").wait_for(state="hidden")

        page.goto(server.url + "/queue?stream=estimation")
        page.wait_for_selector("body.ready")
        for _ in range(8):
            press(page, "k")
        page.reload()
        assert "interval, valid at every look" in page.locator("#progress").inner_text()

        text = page.request.get(server.url + "/export/answers?format=csv").text()
        rows = {row["item"]: row for row in csv.DictReader(io.StringIO(text))}
        assert len(rows) == 12 + 5 + 1 + 8
        assert desk.flush() > 0
    out = tmp_path / "corrected.csv"  # as `labelwright export` writes it
    export_labels(desk.repo, out)
    corrected = {row["item"]: row["label"] for row in csv.DictReader(out.open())}
    wrong = [k for k, a in audited.truth.items() if k in rows and a != desk.item(k, me).given][:5]
    for key in wrong:
        events = desk.repo.show(key).to_pylist()
        if desk.item(key, me).mine.kind == "class":
            assert json.loads(events[-1]["value"]) == desk.item(key, me).mine.classes[0] == corrected[key]
    assert wrong


def test_two_reviewers_at_once_and_an_adjudicator(review_repo, engine, accounts, tab):
    from labelwright.webapp.desk import Desk

    desk = Desk.open(review_repo, engine, overlap=2, flush_every=None)
    with serving(desk, accounts) as server:
        anna, ben = log_in(tab, server.url, "anna"), log_in(tab, server.url, "ben")
        seen = {"anna": set(), "ben": set()}
        for _ in range(6):
            seen["anna"].add(press(anna, "1"))
            seen["ben"].add(press(ben, "k"))
        both = seen["anna"] & seen["ben"]
        assert both and desk.progress().conflicts == len(both)
        assert "Said before" not in anna.content()  # nobody sees the other's answer beforehand
        judy = log_in(tab, server.url, "judy")
        judy.goto(server.url + "/conflicts")
        first = judy.locator("article.card").first
        assert {w.strip() for w in first.locator(".opinion .who").all_inner_texts()} == {"anna", "ben"}
        first.get_by_role("button", name="This one").first.focus()
        judy.keyboard.press("Enter")
        until(judy, "n => document.body.innerText.includes(`${n} item`)", len(both) - 1)
        assert desk.progress().conflicts == len(both) - 1
    desk.close()


def test_answers_survive_a_lost_connection_and_count_once(desk, accounts, tab):
    with serving(desk, accounts, local=accounts.local("me")) as server:
        page = tab(f"{server.url}/?token={TOKEN}")
        page.wait_for_selector("body.ready")
        page.wait_for_timeout(300)
        tries, told = [], []

        def lost(route):  # the first is taken, but its receipt is lost; the next never arrive
            tries.append(route.request.post_data)
            if len(tries) == 1:
                route.fetch()
            return route.continue_() if told and len(tries) > 2 else route.abort()

        page.route("**/queue/answer", lost)
        page.keyboard.press("k")
        until(page, "document.getElementById('saved').textContent.includes('not saved yet')")
        until(page, "document.getElementById('trouble').textContent.includes('sent again')")
        assert page.evaluate("!window.dispatchEvent(new Event('beforeunload', {cancelable: true}))")  # leaving warns
        told.append("sent again")
        until(page, "/^Saved/.test(document.getElementById('saved').textContent)")
        assert len(tries) >= 3 and len(set(tries)) == 1 and desk.progress().answers == 1
        assert page.locator("#trouble").is_hidden()
        assert page.evaluate("window.dispatchEvent(new Event('beforeunload', {cancelable: true}))")
    tab.trouble[:] = [t for t in tab.trouble if "ERR_FAILED" not in t]


def test_pressing_faster_than_the_server_leaves_no_item_behind(desk, accounts, tab):
    me = accounts.local("me")
    with serving(desk, accounts, local=me) as server:
        page = tab(f"{server.url}/?token={TOKEN}")
        page.wait_for_selector("body.ready")
        for _ in range(2):
            for _ in range(25):  # at once, also before the first item behind is here
                page.keyboard.press("k")
            page.wait_for_timeout(300)
            until(page, SAVED + " && !document.body.classList.contains('waiting')")
        shown = page.locator("#work").get_attribute("data-item")
        assert desk.progress().answers >= 2 and desk.item(shown, me).mine is None
        assert desk.next(me).item.item == shown  # nothing is leased before it


def test_wrong_input_is_told_and_keeps_the_item(desk, accounts, tab):
    with serving(desk, accounts, local=accounts.local("me")) as server:
        page = tab(f"{server.url}/?token={TOKEN}")
        page.wait_for_selector("body.ready")
        key = page.locator("#work").get_attribute("data-item")
        for keys, told in (
            (("d", "60/60"), "not to 100"),
            (("/", "spacee"), "no such class"),
            (("/",), "Choose an answer"),
        ):
            page.reload()
            page.wait_for_selector("body.ready")
            for k in keys:
                page.keyboard.type(k)
            page.keyboard.press("Enter")
            until(page, f"document.getElementById('trouble').innerText.includes({told!r})")
        assert page.locator("#work").get_attribute("data-item") == key and desk.progress().answers == 0


def test_without_javascript(desk, accounts, tab):
    with serving(desk, accounts) as server:
        page = tab(server.url + "/login", java_script_enabled=False)
        page.fill("[name=name]", "anna")
        page.fill("[name=password]", PASSWORDS["anna"])
        page.keyboard.press("Enter")
        first = page.locator("#work").get_attribute("data-item")
        page.get_by_role("button", name="Keep").click()
        page.get_by_text("Saved.").wait_for()  # not the blank page between two
        assert page.locator("#work").get_attribute("data-item") != first
        page.get_by_role("button", name="Undo").click()
        page.locator(f'#work[data-item="{first}"]').wait_for()


CONTRAST = """() => {
  const channel = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const parts = css => css.match(/[\\d.]+/g).map(Number);
  const behind = node => { for (; node; node = node.parentElement) { const c = parts(getComputedStyle(node).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  const poor = [];
  for (const node of document.querySelectorAll("body *")) {
    if (![...node.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || !node.offsetParent || node.matches(":disabled, .hidden, kbd, option, svg *")) continue;
    const [a, b] = [light(parts(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) poor.push([node.tagName, node.className, node.textContent.slice(0, 30), (a + 0.05) / (b + 0.05)]);
  }
  return poor; }"""  # noqa: E501


def test_contrast_width_and_names_in_both_themes_and_on_a_phone(desk, accounts, tab):
    with serving(desk, accounts, local=accounts.local("me")) as server:
        for scheme, width in (("light", 1200), ("dark", 1200), ("light", 360), ("dark", 360)):
            page = tab(f"{server.url}/?token={TOKEN}", viewport={"width": width, "height": 740}, color_scheme=scheme)
            for path in (
                "/queue",
                "/items",
                "/people",
                "/classes",
                "/instruction",
                "/systems",
                "/users",
                "/export",
                "/help",
            ):
                page.goto(server.url + path)
                assert page.evaluate(CONTRAST) == [], (path, scheme)
                assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
                nameless = page.evaluate(
                    "[...document.querySelectorAll('input:not([type=hidden]), select, textarea, button, a, summary, iframe, img')]"  # noqa: E501
                    ".filter(n => !(n.labels && n.labels.length) && !n.ariaLabel && !n.title && !n.alt && !n.textContent.trim())"
                    ".map(n => n.outerHTML)"
                )
                assert nameless == [], path


def test_focus_is_visible_and_moves_in_order(desk, accounts, tab):
    with serving(desk, accounts, local=accounts.local("me")) as server:
        page = tab(f"{server.url}/?token={TOKEN}")
        page.wait_for_selector("body.ready")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        tops = []
        for _ in range(6):
            page.keyboard.press("Tab")
            tops.append(page.evaluate("document.activeElement.getBoundingClientRect().top"))
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        assert tops == sorted(tops)
        press(page, "k")
        assert page.evaluate("document.activeElement.id") == "heading"  # a screen reader reads the new item


def test_somebody_logged_out_meanwhile_is_told(desk, accounts, people, tab):
    with serving(desk, accounts) as server:
        page = log_in(tab, server.url, "anna")
        accounts.change(people.anna.id, password="another tram 18")
        page.keyboard.press("k")
        until(page, "document.getElementById('trouble').textContent.includes('logged out')")
    assert desk.progress().answers == 0 and isinstance(people.anna, User)
