"""The review app in a real browser: from the key press to the next item on the screen, with 100,000 items queued.

`python benchmarks/review_latency.py` serves a queue, presses keys in headless Chromium on this machine, and writes
results/review_latency.json. A press counts from the event's own time stamp to the first frame after the item has changed.
`--gap` is the pause between presses; a reviewer who presses faster than the server answers waits for the item after the next.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "review_latency.json"
WATCH = """() => { window.times = []; let pressed = 0;
  document.addEventListener("keydown", event => { pressed = event.timeStamp; }, true);
  document.addEventListener("item-shown", () => { const began = pressed;
    requestAnimationFrame(() => { const channel = new MessageChannel();
      channel.port1.onmessage = () => window.times.push(performance.now() - began); channel.port2.postMessage(0); }); }); }"""


def repository(folder: Path, n: int) -> Any:
    """A label repository with an audit of n texts in 20 classes."""
    import labelwright as lw
    from labelwright.store import Repository

    rng = np.random.default_rng(0)
    names = [f"class {i:02d}" for i in range(20)]
    truth = rng.integers(0, 20, n)
    pred_probs = rng.dirichlet(np.full(20, 0.2), n).astype(np.float32) * 0.5
    pred_probs[np.arange(n), truth] += 0.5
    given = np.where(rng.random(n) < 0.92, truth, rng.integers(0, 20, n))
    words = np.array(["the", "label", "of", "this", "text", "is", "not", "what", "it", "seems"])
    texts = [f"text {i}: {' '.join(rng.choice(words, 40))}" for i in range(n)]
    space = lw.LabelSpace(names)
    audit = lw.audit([names[i] for i in given], pred_probs, space=space, items=[f"item-{i:06d}" for i in range(n)])
    repo = Repository.create(folder / "r.labels", fingerprint="r", source="r.csv", space=json.loads(space.to_json()))
    wanted = ("items.parquet", "review.parquet", "content.parquet", "content.json", "summary.json")
    files = audit.files(content=texts, n_review=10)
    repo.write_audit({name: files[name] for name in wanted if name in files})
    return repo


def measure(n: int, presses: int, gap: float) -> dict[str, Any]:
    """Serve, open, press, and read the times."""
    import uvicorn
    from playwright.sync_api import sync_playwright

    from labelwright.webapp.accounts import Accounts
    from labelwright.webapp.app import create_app
    from labelwright.webapp.database import open_database
    from labelwright.webapp.desk import Desk
    from labelwright.webapp.settings import Settings

    with tempfile.TemporaryDirectory() as temp, sync_playwright() as p:
        folder = Path(temp)
        repo = repository(folder, n)
        engine = open_database(folder / "review.sqlite")
        began = time.perf_counter()
        desk = Desk.open(repo, engine)
        imported = time.perf_counter() - began
        accounts, listening = Accounts(engine), socket.create_server(("127.0.0.1", 0))
        settings = Settings(port=listening.getsockname()[1], token="t")
        app = create_app(desk, accounts, settings, local=accounts.local("bench"))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off"))
        threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True).start()
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{settings.url}/?token=t")
        page.wait_for_selector("body.ready")
        page.wait_for_timeout(1000)
        page.evaluate(WATCH)
        began = time.perf_counter()
        for i in range(presses):
            page.keyboard.press("k1un"[i % 4])
            page.wait_for_timeout(gap)
        whole = time.perf_counter() - began
        page.wait_for_timeout(2000)
        times, saved = page.evaluate("window.times"), desk.progress().answers
        browser.close()
        server.should_exit = True
        desk.close()
        engine.dispose()
    ms = np.array(times)
    return {
        "items": n, "presses": presses, "gap_ms": gap, "shown": len(times), "saved": saved, "import_seconds": round(imported, 2),
        "p50_ms": round(float(np.percentile(ms, 50)), 1), "p95_ms": round(float(np.percentile(ms, 95)), 1),
        "max_ms": round(float(ms.max()), 1), "seconds": round(whole, 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--presses", type=int, default=200)
    parser.add_argument("--gap", type=float, nargs="+", default=[300.0, 100.0], help="milliseconds between presses")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    rows = []
    for gap in options.gap:
        rows.append(measure(options.items, options.presses, gap))
        print(rows[-1])
    machine = {"platform": platform.platform(), "cpus": os.cpu_count(), "python": platform.python_version()}
    options.out.write_text(json.dumps({"machine": machine, "key_to_next_item": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
