"""The event table of a label repository: a million labels in and out, one item's history, opening, and killed writers.

`python benchmarks/store_speed.py` measures each case in a process of its own, prints what it found and writes
results/store.json; `--only CASE` runs one, `--kills N` says how often a writer is killed. Memory is Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "store.json"
DATA: dict[str, Any] = {"fingerprint": "f", "source": "x.csv", "space": {}}
N, COMMITS, TIMED = 1_000_000, 10_000, 300


def memory(field: str) -> float:
    """MiB of this process: VmRSS now, VmHWM at its highest."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in status if line.startswith(field))) / 1024


def labels_in_and_out(folder: Path) -> dict[str, Any]:
    """Commit N labels with their ids, and export the current labels, then all events, to Parquet."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from labelwright.store import Repository
    from labelwright.store.events import event_ids, json_values, schema

    classes = np.array([f"class {i}" for i in range(100)])
    item = pa.array([f"item {i:07d}" for i in range(N)])
    value = json_values(classes[np.random.default_rng(0).integers(0, 100, N)].tolist())
    table = pa.table({"event_id": event_ids("given", item), "item": item, "value": value})
    warm = Repository.create(folder / "warm.labels", **DATA)
    warm.append(table.slice(0, 100), message="imports and pools are not counted", source="bench")
    pq.write_table(warm.labels(), folder / "warm.parquet")
    del item, value
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
    before, marks = memory("VmRSS"), [time.perf_counter()]
    repo = Repository.create(folder / "r.labels", **DATA)
    repo.append(table, message="a million labels", source="bench")
    marks.append(time.perf_counter())
    pq.write_table(repo.labels(), folder / "labels.parquet")
    marks.append(time.perf_counter())
    extra = memory("VmHWM") - before
    with pq.ParquetWriter(folder / "events.parquet", schema()) as out:
        for batch in repo.event_table.batches():
            out.write_batch(batch)
    marks.append(time.perf_counter())
    extra_all = memory("VmHWM") - before
    assert repo.append(table, message="again", source="bench") == 1
    marks.append(time.perf_counter())
    assert pq.read_metadata(folder / "labels.parquet").num_rows == N
    seconds = [b - a for a, b in zip(marks, marks[1:])]
    size = sum(p.stat().st_size for p in (repo.path / "events").rglob("*") if p.is_file())
    return {
        "labels": N,
        "commit_s": seconds[0],
        "export_labels_s": seconds[1],
        "commit_and_export_s": seconds[0] + seconds[1],
        "extra_mib": extra,
        "export_events_s": seconds[2],
        "extra_mib_with_events": extra_all,
        "same_again_s": seconds[3],
        "on_disk_mib": size / 2**20,
    }


def history(folder: Path, base: int) -> dict[str, Any]:
    """`show` of one item after COMMITS commits of one review each, above `base` events."""
    from labelwright.store import Repository
    from labelwright.store.events import json_values

    repo = Repository.create(folder / "r.labels", **DATA)
    if base:
        items = [f"item {i:07d}" for i in range(base)]
        repo.append({"item": items, "value": json_values(["cat"] * base)}, message="given", source="given")
    cat, times = json_values(["cat"]), []
    sync, os.fsync = (
        os.fsync,
        lambda fd: None,
    )  # the history is made without waiting for the disk; commits are timed with it
    for i in range(COMMITS):
        if i == COMMITS - TIMED:
            os.fsync = sync
        event = {"item": [f"item {(i * 7919) % 2000:07d}"], "value": cat, "kind": ["review"]}
        if i >= COMMITS - TIMED:
            event["event_id"] = [f"r{i}"]  # is looked for among all events
        start = time.perf_counter()
        repo.append(event, message="review", source="anna")
        times.append(time.perf_counter() - start)
    times = times[-TIMED:]
    shown = []
    for i in range(50):
        start = time.perf_counter()
        assert repo.show(f"item {i * 37:07d}").num_rows == COMMITS // 2000 + (base > 0)
        shown.append(time.perf_counter() - start)
    start = time.perf_counter()
    fresh = Repository.open(folder / "r.labels")
    opened = time.perf_counter() - start
    fresh.show("item 0000000")
    cold = time.perf_counter() - start
    start = time.perf_counter()
    assert fresh.log().num_rows == COMMITS + (base > 0)
    logged = time.perf_counter() - start
    code = "import sys; from labelwright.store import Repository; "
    spent = []
    for use in ("Repository.open(sys.argv[1])", "Repository.open(sys.argv[1]).show('item 0000000')"):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code + use, str(repo.path)], check=True)
        spent.append(time.perf_counter() - start)
    ms = 1000
    return {
        "events": base + COMMITS,
        "commits": COMMITS,
        "commit_ms_median": ms * statistics.median(times),
        "commit_ms_p95": ms * sorted(times)[int(0.95 * TIMED)],
        "show_ms_median": ms * statistics.median(shown),
        "show_ms_max": ms * max(shown),
        "show_ms_fresh_handle": ms * cold,
        "log_ms": ms * logged,
        "open_ms": ms * opened,
        "open_in_new_process_s": spent[0],
        "show_in_new_process_s": spent[1],
        "files": sum(1 for p in (repo.path / "events").rglob("*") if p.is_file()),
    }


CASES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "a_million_labels": labels_in_and_out,
    "ten_thousand_commits": lambda folder: history(folder, 0),
    "ten_thousand_commits_over_a_million": lambda folder: history(folder, N),
}


def measured(case: str, kills: int) -> dict[str, Any]:
    """The result of one case from a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        if case == "killed_writers":
            command = [str(HERE / "store_kills.py"), folder, str(kills)]
        else:
            command = [str(HERE / "store_speed.py"), "--inside", folder, "--only", case]
        done = subprocess.run([sys.executable, *command], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in found.items()}


def main() -> None:
    """Run the cases asked for; the others keep their recorded numbers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=[*CASES, "killed_writers"])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(CASES[options.only](options.inside)))
        return
    import lance

    results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    results["machine"] = {"cpus": os.cpu_count(), "python": platform.python_version(), "lance": lance.__version__}
    for case in [options.only] if options.only else [*CASES, "killed_writers"]:
        results[case] = measured(case, options.kills)
        print(case, json.dumps(results[case], indent=1))
        RESULT.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
