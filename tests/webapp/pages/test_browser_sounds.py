"""In a real Chromium: recordings played by keyboard, and HTML items that stay text until they are asked to be a page."""

from __future__ import annotations

import wave

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelwright.auditing.files import audit_file
from labelwright.features.recordings import holds_recordings
from labelwright.store import Repository

from .conftest import TOKEN, serving, until
from .test_browser import press

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


def write_clips(folder, n: int = 40):
    """Tones as WAV files, and a table that names them: low ones and high ones, with two numbers each."""
    rng, rows = np.random.default_rng(0), []
    (folder / "clips").mkdir()
    for i in range(n):
        high = i % 2
        tone = np.sin(np.arange(16_000) * 2 * np.pi * (880 if high else 440) / 8000) * 3000
        with wave.open(str(folder / "clips" / f"{i}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(tone.astype("<i2").tobytes())
        numbers = {f"f{j}": float(v) for j, v in enumerate(rng.normal(high, 0.3, 2))}
        rows.append({"id": f"c{i:02d}", "clip": f"clips/{i}.wav", "label": ("low", "high")[high], **numbers})
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, folder / "clips.parquet")
    return table


def test_recordings_of_a_column_by_keyboard(tmp_path, engine, accounts, tab):
    from labelwright.webapp.desk import Desk

    table = write_clips(tmp_path)
    assert holds_recordings(table, "clip", tmp_path) and not holds_recordings(table, "clip", tmp_path / "clips")
    assert not holds_recordings(table, "label", tmp_path) and not holds_recordings(table, "f0", tmp_path)
    path, options = tmp_path / "clips.parquet", {"id": "id", "label": "label", "features": "f"}
    audited = audit_file(path, out=tmp_path / "c.labels", n_folds=3, **options)
    assert "(recording" in (audited.folder / "report.html").read_text()
    me = accounts.local("me")
    desk = Desk.open(Repository.open(tmp_path / "c.labels"), engine, flush_every=None)
    with serving(desk, accounts, local=me) as server:
        page = tab(f"{server.url}/?token={TOKEN}")
        page.wait_for_selector("body.ready")
        for _ in range(2):
            until(page, "document.querySelector('audio').readyState >= 3")
            assert page.evaluate("document.querySelector('audio').duration") == pytest.approx(2, abs=0.01)
            page.keyboard.press("p")
            until(page, "!document.querySelector('audio').paused && document.querySelector('audio').currentTime > 0.1")
            page.keyboard.press("p")
            until(page, "document.querySelector('audio').paused")
            page.keyboard.press("a")
            until(page, "!document.querySelector('audio').paused")
            key = press(page, "k")
            assert desk.item(key, me).content.kind == "audio" and desk.media(key)[1] == "audio/wav"
        part = page.request.get(f"{server.url}/media?key={key}", headers={"range": "bytes=0-3"})
        assert part.status == 206 and part.body() == b"RIFF" and part.headers["content-type"] == "audio/wav"


HOSTILE = """<!doctype html><html><head><title>x</title><script>window.hit = 1</script></head>
<body onload="window.hit = 2"><p>A review of <b>{i}</b></p><img src=x onerror="parent.hit = 3">
<iframe srcdoc="<script>top.hit=4</script>"></iframe><form action="/logout" method=post><button>win</button></form>
<a href="javascript:top.hit=5">go</a>
<meta http-equiv=refresh content="0;url=/users"></body></html>"""


def test_html_is_text_and_as_a_page_it_runs_nothing(tmp_path, engine, accounts, tab):
    import json

    import labelwright as lw
    from labelwright.webapp.desk import Desk

    labels = ["good", "bad"] * 30
    p = np.where(np.arange(60)[:, None] % 2 == [0, 1], 0.9, 0.1)
    audit = lw.audit(labels, p, items=[f"h{i:02d}" for i in range(60)])
    texts = [HOSTILE.replace("{i}", str(i)) if i else "1 < 2 and a <b but no markup" for i in range(60)]
    space = json.loads(audit.space.to_json())
    repo = Repository.create(tmp_path / "h.labels", fingerprint="h", source="h", space=space)
    repo.write_audit(audit.files(content=texts, n_review=10))
    me = accounts.local("me")
    desk = Desk.open(repo, engine, flush_every=None)
    assert desk.item("h00", me).content.kind == "text" and desk.item("h01", me).content.kind == "html"
    with serving(desk, accounts, local=me) as server:
        page = tab(f"{server.url}/?token={TOKEN}")
        page.wait_for_selector("body.ready")
        page.goto(server.url + "/item?key=h07")
        assert "<script>window.hit = 1</script>" in page.locator(".seen .text").inner_text()
        assert page.locator("main script, .seen form, .seen img").count() == 0
        assert page.frames[1].url == ""
        page.keyboard.press("v")
        until(page, "document.querySelector('details.page').open")
        page.frame_locator("iframe.html").locator("p").wait_for()
        frame = page.frames[1]
        assert frame.evaluate("document.querySelector('p').textContent") == "A review of 7"
        assert frame.evaluate("window.origin") == "null" and frame.evaluate("window.hit || 0") == 0
        assert page.evaluate("window.hit || 0") == 0 and page.url.endswith("/item?key=h07")
        attribute = page.locator("iframe.html").get_attribute("sandbox")
        policy = page.request.get(server.url + "/frame?key=h07").headers["content-security-policy"]
        assert attribute == "" and policy.startswith("sandbox; default-src 'none'") and "script-src" not in policy
    tab.trouble[:] = [t for t in tab.trouble if "olicy" not in t and "andbox" not in t and "Blocked" not in t]
