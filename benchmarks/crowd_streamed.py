"""Votes beyond memory: Dawid-Skene read in passes, against the same in memory; CPU seconds and private memory.

    python -m benchmarks votes [--votes 10000000] [--annotators 50000] [--cache SCRATCH]

Each arm runs in a process of its own. Memory is the peak of the resident set less what the process had at the start; pages of
mapped files, which the system takes back at will, are left out (RssAnon).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

RESULT = Path(__file__).parent / "results" / "crowd_streamed.json"
K, PER_ITEM = 5, 5


def make(path: Path, votes: int, annotators: int, seed: int = 0) -> None:
    """Votes of annotators with skills from 0.4 to 0.95, in random order, as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(seed)
    n = votes // PER_ITEM
    truth, skill = rng.integers(0, K, n).astype(np.int8), rng.uniform(0.4, 0.95, annotators)
    with pq.ParquetWriter(
        path, pa.schema([("item", pa.int64()), ("annotator", pa.int32()), ("label", pa.string())])
    ) as out:
        names = pa.array([f"class {k}" for k in range(K)])
        for start in range(0, votes, 1 << 20):
            size = min(1 << 20, votes - start)
            item = rng.integers(0, n, size)
            who = rng.integers(0, annotators, size).astype(np.int32)
            wrong = (truth[item] + rng.integers(1, K, size)) % K
            label = np.where(rng.random(size) < skill[who], truth[item], wrong).astype(np.int32)
            out.write_table(pa.table({"item": item, "annotator": who, "label": names.take(pa.array(label))}))
    np.save(path.with_suffix(".truth.npy"), truth)


def anonymous() -> int:
    """Bytes of the resident set that no file stands behind."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0


def measured(work) -> dict:
    """CPU seconds, seconds by the clock, and the peak of `anonymous` beyond the start."""
    before, peak, done = anonymous(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], anonymous())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    start, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    out = work()
    now = resource.getrusage(resource.RUSAGE_SELF)
    done.set()
    thread.join()
    return out | {
        "seconds": time.perf_counter() - start,
        "cpu_s": now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime,
        "memory": peak[0] - before,
    }


def streamed(path: Path) -> dict:
    import pyarrow.parquet as pq

    import labelwright.crowds.streamed as streamed_crowds

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        found = {}

        def work() -> dict:
            done = streamed_crowds.aggregate_rows(path, Path(folder) / "out", method="dawid_skene")
            found["folder"] = done.folder
            return {"steps": len(done.trace), "objective": done.trace[-1], "passes": done.settings["passes"]}

        told = measured(work)
        items = pq.read_table(found["folder"] / "items", columns=["item", "label"])
        return told | {"accuracy": accuracy(path, items["item"].to_numpy(), items["label"].to_pylist())}


def in_memory(path: Path) -> dict:
    import pyarrow.parquet as pq

    import labelwright as lw

    found = {}

    def work() -> dict:
        done = lw.aggregate(pq.read_table(path), method="dawid_skene")
        found["items"] = done.items
        return {"steps": len(done.trace), "objective": done.trace[-1]}

    told = measured(work)
    items = found["items"]
    return told | {"accuracy": accuracy(path, items["item"].to_numpy(), items["label"].to_pylist())}


def accuracy(path: Path, item: np.ndarray, label: list[str]) -> float:
    truth = np.load(path.with_suffix(".truth.npy"))
    return float((np.array([int(name[6:]) for name in label]) == truth[item]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--votes", type=int, default=10_000_000)
    parser.add_argument("--annotators", type=int, default=50_000)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "labelwright_votes")
    parser.add_argument("--arm", choices=("streamed", "in memory"))
    parser.add_argument("--skip-memory", action="store_true", help="leave the arm in memory out")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    path = args.cache / f"votes-{args.votes}-{args.annotators}.parquet"
    if args.arm:
        print(json.dumps((streamed if args.arm == "streamed" else in_memory)(path)))
        return
    if not path.exists():
        make(path, args.votes, args.annotators)
    arms = ("streamed",) if args.skip_memory else ("streamed", "in memory")
    told = {"votes": args.votes, "annotators": args.annotators, "classes": K, "file": path.stat().st_size, "arms": {}}
    for arm in arms:
        call = [
            sys.executable,
            __file__,
            "--arm",
            arm,
            "--votes",
            str(args.votes),
            "--annotators",
            str(args.annotators),
        ]
        run = subprocess.run([*call, "--cache", str(args.cache)], capture_output=True, text=True)
        if run.returncode:
            raise SystemExit(run.stderr)
        told["arms"][arm] = json.loads(run.stdout.splitlines()[-1])
        one = told["arms"][arm]
        print(
            f"{arm:>10}: {one['cpu_s']:.1f} CPU s, {one['seconds']:.1f} s, {one['memory'] / 1e6:,.0f} MB "
            f"({one['memory'] / args.votes:.0f} bytes per vote), {one['steps']} steps, accuracy {one['accuracy']:.4f}"
        )
    args.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
