"""In a real Chromium: items with several classes, by keyboard, from the file to the corrected sets."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelwright.auditing.files import audit_file
from labelwright.store import Repository

from .conftest import TOKEN, serving, until
from .test_browser import press

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

WORDS = {"sport": "goal match team player", "money": "bank share price market", "space": "orbit rocket planet star"}


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """A repository of texts about one or two things, made as the command does; and the true sets."""
    rng, folder, names = np.random.default_rng(0), tmp_path_factory.mktemp("sets"), list(WORDS)
    rows, truth = [], {}
    for i in range(90):
        about = sorted(rng.choice(names, rng.integers(1, 3), replace=False))
        given = about if i % 9 else [name for name in names if name != about[0]]
        text = " ".join(word for name in about for word in rng.choice(WORDS[name].split(), 4))
        rows.append({"id": f"s{i:02d}", "text": f"{text} {i}", "label": "|".join(given)})
        truth[f"s{i:02d}"] = about
    pq.write_table(pa.Table.from_pylist(rows), folder / "topics.parquet")
    options = {"id": "id", "text": "text", "label": "label", "multi": True, "out": folder / "topics.labels"}
    audit_file(folder / "topics.parquet", **options)
    return Repository.open(folder / "topics.labels"), truth


def tick(page, wanted):
    """Bring the boxes to `wanted` by their number keys."""
    for box in page.locator("#work label.check").all():
        name, field = box.locator("bdi").inner_text(), box.locator("input")
        if field.is_checked() != (name in wanted):
            page.keyboard.press(field.get_attribute("data-key"))
            assert field.is_checked() == (name in wanted)


def test_sets_by_keyboard_to_the_corrected_labels(sets, engine, accounts, tab, tmp_path):
    from labelwright.store.exchange import export_labels, import_labels
    from labelwright.webapp.desk import Desk

    repo, truth = sets
    me = accounts.local("me")
    gold = {"s00": truth["s00"]}
    desk = Desk.open(repo, engine, gold=gold, flush_every=None)
    with serving(desk, accounts, local=me) as server:
        page = tab(f"{server.url}/?token={TOKEN}")
        page.wait_for_selector("body.ready")
        seen = []
        for _ in range(8):
            key = page.locator("#work").get_attribute("data-item")
            tick(page, truth[key])
            seen.append(press(page, "Enter"))
        kept = press(page, "k")
        none = press(page, *_untick(page), "Enter")
        typed = press(page, *_untick(page), "/", "money|space", "Enter")
        assert desk.item(none, me).mine.classes == () and desk.item(none, me).mine.kind == "classes"
        assert set(desk.item(typed, me).mine.classes) == {"money", "space"}
        page.keyboard.press("z")
        until(page, "key => document.getElementById('work').dataset.item === key", typed)
        assert desk.item(typed, me).mine is None
        press(page, "k")
        page.goto(server.url + "/item?key=s00")
        tick(page, truth["s00"])
        page.keyboard.press("Enter")
        page.wait_for_selector("text=Saved")
        text = page.request.get(server.url + "/export/answers?format=jsonl").text()
    rows = {row["item"]: row for row in map(json.loads, text.splitlines())}
    assert {key: rows[key]["value"] for key in seen} == {key: truth[key] for key in seen}
    assert rows[kept]["value"] == list(desk.item(kept, me).given) and rows[none]["value"] == []
    assert desk.people()[0].gold_right == 1.0 and desk.progress().answers == len(set(seen) | {kept, none, typed, "s00"})
    desk.flush()
    path = export_labels(repo, tmp_path / "corrected.csv")
    back = import_labels(path)
    corrected = dict(zip(back.items, back.multi().sets()))
    assert all(sorted(corrected[key]) == truth[key] for key in seen)
    assert sorted(corrected[typed]) == sorted(desk.item(typed, me).given)
    assert any(sorted(desk.item(key, me).given) != truth[key] for key in seen)


def _untick(page):
    """The keys that take every tick away."""
    fields = page.locator("#work label.check input")
    return [fields.nth(i).get_attribute("data-key") for i in range(fields.count()) if fields.nth(i).is_checked()]
