"""In a real Chromium: boxes drawn over their pictures, judged by keyboard, and the corrected boxes."""

from __future__ import annotations

import pytest

from labelwright.store import Repository
from labelwright.store.exchange import export_labels, import_labels

from ..picture_boxes import drawn_audit, masks_audit
from .conftest import TOKEN, serving, until
from .test_browser import press

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

DRAWN = """name => {
  const box = document.querySelector(`.marks .${name}.over`).getBoundingClientRect();
  const image = document.querySelector(".stage img");
  const seen = image.getBoundingClientRect();
  const scale = Math.min(seen.width / image.naturalWidth, seen.height / image.naturalHeight);
  const left = seen.left + (seen.width - scale * image.naturalWidth) / 2;
  const top = seen.top + (seen.height - scale * image.naturalHeight) / 2;
  return [box.left - left, box.top - top, box.right - left, box.bottom - top].map(v => v / scale); }"""
"""Where a box is drawn, in pixels of the picture, however large that is shown."""
LOADED = "document.querySelector('.stage img')?.naturalWidth > 0"


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    pictures, audit = drawn_audit()
    audit.save(folder / "b.labels", images=pictures)
    pictures, audit = masks_audit()
    audit.save(folder / "m.labels", images=pictures)
    return folder


def test_boxes_by_keyboard_to_the_corrected_boxes(parts, engine, accounts, tab, tmp_path):
    from labelwright.webapp.desk import Desk

    repo, me = Repository.open(parts / "b.labels"), accounts.local("me")
    desk = Desk.open(repo, engine, flush_every=None)
    said, keys = {}, {"wrong class": "1", "bad location": "m", "missed object": "1"}
    with serving(desk, accounts, local=me) as server:
        page = tab(f"{server.url}/?token={TOKEN}")
        page.wait_for_selector("body.ready")
        for _ in range(14):
            key = page.locator("#work").get_attribute("data-item")
            part = desk.item(key, me).content.part
            until(page, LOADED)
            assert page.evaluate(DRAWN, "doubted") == pytest.approx(part.box, abs=1)
            if part.moved:
                assert page.evaluate(DRAWN, "moved") == pytest.approx(part.moved, abs=1)
            assert page.locator(".verdict .tag").all_inner_texts() == ([part.problem] if part.problem else [])
            said[press(page, keys.get(part.problem, "n"))] = part.problem
        assert set(said.values()) >= set(keys)
        page.keyboard.press("z")
        until(page, "key => document.getElementById('work').dataset.item === key", key)
        assert desk.item(key, me).mine is None
        page.keyboard.press("h")
        assert not page.locator(".marks").is_visible()
        page.keyboard.press("h")
        page.keyboard.press("+")
        until(page, "document.querySelector('.picture').dataset.zoom === '2'")
        assert page.evaluate(DRAWN, "doubted") == pytest.approx(desk.item(key, me).content.part.box, abs=1)
        press(page, "n")
        said[key] = "removed"
        page.goto(server.url + "/compare")
        token = page.locator("[name=token]").get_attribute("value")
        page.keyboard.press("1")
        until(page, "t => document.querySelector('[name=token]')?.value !== t", token)
        page.goto(server.url + "/items?kind=bad+location")
        assert page.locator("tbody tr").count() >= 2
    assert desk.progress().answers == 14
    desk.flush()
    back = import_labels(export_labels(repo, tmp_path / "corrected.json", format="coco"))
    found = back.boxes()

    def label_at(picture, corners):
        """The class of the box at that place; None where there is none."""
        near = [
            found.space.classes[k]
            for i, c, k in zip(found.item, found.corners, found.label)
            if back.items[i] == picture and max(abs(c - corners)) < 0.05
        ]
        return near[0] if near else None

    for key, problem in said.items():
        item, picture = desk.item(key, me), key.split("#")[0]
        part = item.content.part
        if problem == "bad location":
            assert label_at(picture, part.box) is None and label_at(picture, part.moved) == item.given
        elif problem in ("wrong class", "missed object"):
            assert label_at(picture, part.box) == item.mine.classes[0] == item.suggested[0][0]
        else:
            assert label_at(picture, part.box) is None


def test_a_region_is_drawn_and_answered(parts, engine, accounts, tab):
    from labelwright.webapp.desk import Desk

    me = accounts.local("me")
    desk = Desk.open(Repository.open(parts / "m.labels"), engine, flush_every=None)
    with serving(desk, accounts, local=me) as server:
        for scheme in ("light", "dark"):
            page = tab(f"{server.url}/?token={TOKEN}", color_scheme=scheme)
            page.wait_for_selector("body.ready")
            until(page, LOADED)
            key = page.locator("#work").get_attribute("data-item")
            part = desk.item(key, me).content.part
            assert page.evaluate(DRAWN.replace(".over", ""), "area") == pytest.approx(part.box, abs=0.5)
            press(page, "1")
            assert desk.item(key, me).mine.classes == (desk.item(key, me).suggested[0][0],)
