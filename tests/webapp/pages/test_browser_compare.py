"""In a real Chromium: two candidate labels, judged by keyboard."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from .conftest import TOKEN, serving, until

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


def test_two_labels_by_keyboard(review_repo, engine, accounts, tab):
    from labelwright.webapp.desk import Desk

    votes = {"item": ["t000", "t000"], "value": ['"money"', '"space"'], "kind": ["vote"] * 2, "source": ["u", "v"]}
    review_repo.append(pa.table(votes), message="two annotators", source="crowd")
    me = accounts.local("me")
    desk = Desk.open(review_repo, engine, flush_every=None)
    shown = []
    with serving(desk, accounts, local=me) as server:
        page = tab(f"{server.url}/?token={TOKEN}")
        page.goto(server.url + "/compare")
        while page.locator("#work").count() and len(shown) < 60:
            words = page.locator(".opinion .verdict").all_inner_texts()
            token = page.locator("[name=token]").get_attribute("value")
            assert not set(page.locator(".side").inner_text().split()) & {"given", "audit", "u", "v"}  # who said which
            key = "210"[len(shown) % 3]
            shown.append((words[0].strip(), words[1].strip(), key))
            page.keyboard.press(key)
            until(
                page,
                "t => !document.querySelector('[name=token]') || document.querySelector('[name=token]').value !== t",
                token,
            )
        assert "nothing to compare" in page.locator("main").inner_text()
        page.goto(server.url + "/export")
        address = page.get_by_role("link", name="comparisons.jsonl").get_attribute("href")
        lines = [json.loads(line) for line in page.request.get(server.url + address).text().splitlines()]
    told = [(x["a"], x["b"], {x["a"]: "1", x["b"]: "2"}.get(x["preferred"], "0")) for x in lines]
    assert told == shown and len(shown) > 3
    assert {s for x in lines if x["item"] == "t000" for s in (x["a_source"], x["b_source"])} & {"u", "v"}
    desk.flush()
    votes = desk.repo.events(kinds=("vote",)).to_pylist()
    assert sum(e["source"] == "me" for e in votes) == len(shown)
