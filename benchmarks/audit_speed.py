"""Confident learning on large arrays: the reading floor, ours with NumPy and with Numba, and cleanlab, in one run.

    python benchmarks/audit_speed.py --peer-python PYTHON_WITH_CLEANLAB [--big] [--cache SCRATCH]

Floor: own-label probability, top class and top probability by one plain NumPy pass; it decides nothing. Ours: thresholds,
joint, guesses, scores and flags by `confident_core`, and ranks where the case says so. Peer: cleanlab's flags with its
defaults and the same scores or ranks; for the memory-mapped file its batched form, with the scores it ranks by.

Every case runs in a process of its own, floor, ours and peer in turn, REPEAT rounds; the round with the least CPU counts and
all are kept. In a process: a call on 2,000 rows (`first_s`: imports of solvers and compilation), one full call for memory,
then three timed full calls (one where a call takes over 5 s), of which the least counts. CPU seconds are user + system of
the process, its threads and its children, so they mean the same on a busy machine, nearly. Memory is the peak growth of
private resident memory (RssAnon) of the parent process; `returned` is the part that is handed back. Linux only.

Data: softmax rows of a model right nine times in ten; 10 % of the labels wrong, half of them given as the next class.
--big adds 1.28 million x 1000 float32 from a memory map, a file of 5.1 GB in the cache folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

RESULT = Path(__file__).resolve().parent / "results" / "audit_speed.json"
CASES: dict[str, dict[str, Any]] = {
    "50k x 100": {"shape": (50_000, 100), "target": (6, 8)},
    "1M x 10, ranks": {"shape": (1_000_000, 10), "ranks": True, "target": (6, 48)},
    "100k x 1000": {"shape": (100_000, 1000), "target": (4, 32)},
    "100k x 1000, entropy, ranks": {"shape": (100_000, 1000), "ranks": True, "entropy": True, "target": (10, 32)},
    "1.28M x 1000 float32, mapped": {"shape": (1_280_000, 1000), "mapped": True, "target": (3, 256)},
}  # target: times the floor's CPU, MiB beyond what is returned
WHO = ("floor", "numpy", "numba", "peer")


def data(case: dict[str, Any], cache: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """pred_probs, given and true labels of a case; drawn once and kept."""
    n, k = case["shape"]
    mapped = case.get("mapped", False)
    stem = cache / f"probs_{n}_{k}_{'float32' if mapped else 'float64'}"
    files = [stem.with_name(stem.name + end) for end in ("_p.npy", "_given.npy", "_true.npy")]
    if not files[0].exists():
        draw(n, k, "float32" if mapped else "float64", files)
    return np.load(files[0], mmap_mode="r" if mapped else None), np.load(files[1]), np.load(files[2])


def draw(n: int, k: int, dtype: str, files: list[Path]) -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, k, n)
    next_class, any_other = (true + 1) % k, (true + 1 + rng.integers(0, k - 1, n)) % k
    given = np.where(rng.random(n) < 0.1, np.where(rng.random(n) < 0.5, next_class, any_other), true)
    unfinished = files[0].with_suffix(".part")
    out = np.lib.format.open_memmap(unfinished, mode="w+", dtype=dtype, shape=(n, k))
    step = max(1, 4_000_000 // k)
    for a in range(0, n, step):
        rows = np.arange(len(out[a : a + step]))
        z = rng.standard_normal((len(rows), k), dtype=np.float32)
        z[rows, true[a : a + step]] += rng.normal(2.2 + np.sqrt(2 * np.log(k)), 1.6, len(rows)).astype(np.float32)
        z[rows, next_class[a : a + step]] += 1.0
        p = np.exp(z - z.max(1, keepdims=True)).astype(dtype)
        out[a : a + step] = p / p.sum(1, keepdims=True)
    out.flush()
    np.save(files[1], given)
    np.save(files[2], true)
    unfinished.rename(files[0])


# ----------------------------------------------------------------------------------------- each returns (arrays, flags or None)
def floor(p: np.ndarray, labels: np.ndarray, case: dict[str, Any]) -> tuple[Any, None]:
    step = 4096 if case.get("mapped") else len(p)
    kept = []
    for a in range(0, len(p), step):
        block, rows = p[a : a + step], np.arange(len(p[a : a + step]))
        top = block.argmax(1)
        kept.append((block[rows, labels[a : a + step]], top, block[rows, top]))
    return kept, None


def ours(engine: str) -> Callable[..., tuple[Any, np.ndarray]]:
    def run(p: np.ndarray, labels: np.ndarray, case: dict[str, Any]) -> tuple[Any, np.ndarray]:
        from labelwright.auditing.fast import confident_core

        scores = ["self_confidence", "normalized_margin"] + ["confidence_weighted_entropy"] * case.get("entropy", False)
        core = confident_core(labels, p, scores=scores, top="all" if case.get("ranks") else None, engine=engine)
        return [*core[:6], *core.scores.values(), core.is_issue, core.worst], core.is_issue

    return run


def peer(p: np.ndarray, labels: np.ndarray, case: dict[str, Any]) -> tuple[Any, np.ndarray]:
    from cleanlab.experimental.label_issues_batched import find_label_issues_batched
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    if case.get("mapped"):
        rows = find_label_issues_batched(labels, p, verbose=False)
        return [rows], np.isin(np.arange(len(p)), rows)
    flags = find_label_issues(labels, p)
    names = ["self_confidence", "normalized_margin"] + ["confidence_weighted_entropy"] * case.get("entropy", False)
    scores = [get_label_quality_scores(labels, p, method=name) for name in names]
    ranks = [np.argsort(scores[0])] if case.get("ranks") else []
    return [flags, *scores, *ranks], flags


# ------------------------------------------------------------------------------------------------------------ one process
def cpu() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def private_mib() -> float:
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in status if line.startswith("RssAnon"))) / 1024


def peak_growth(call: Callable[[], Any]) -> tuple[float, Any]:
    """MiB by which private memory grew at its highest, looked at every half millisecond, and the result."""
    before = private_mib()
    peak, stop = [before], threading.Event()

    def look() -> None:
        while not stop.wait(0.0005):
            peak[0] = max(peak[0], private_mib())

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    result = call()
    peak[0] = max(peak[0], private_mib())
    stop.set()
    watcher.join()
    return peak[0] - before, result


def nbytes(kept: Any) -> int:
    return sum(nbytes(x) for x in kept) if isinstance(kept, list | tuple) else getattr(kept, "nbytes", 0)


def measure(name: str, who: str, cache: Path) -> dict[str, Any]:
    case = CASES[name]
    p, given, true = data(case, cache)
    run = {"floor": floor, "numpy": ours("numpy"), "numba": ours("numba"), "peer": peer}[who]
    small = np.flatnonzero(given[: 20 * p.shape[1]] < 20)[:2000]  # a few classes, several items each
    start = cpu()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(np.array(p[small]), given[small], case)
    first = cpu() - start
    start = cpu()
    grown, (kept, flags) = peak_growth(lambda: run(p, given, case))
    out: dict[str, Any] = {
        "first_s": first,
        "extra_mib": grown,
        "returned_mib": nbytes(kept) / 2**20,
        **quality(flags, given != true),
    }
    slow = cpu() - start > 5
    del kept, flags
    best = (np.inf, np.inf)
    for _ in range(1 if slow else 3):
        start, wall = cpu(), time.perf_counter()
        run(p, given, case)
        best = min(best, (cpu() - start, time.perf_counter() - wall))
    return out | {"cpu_s": best[0], "wall_s": best[1], "load": os.getloadavg()[0], "numpy": np.__version__}


def quality(flags: np.ndarray | None, wrong: np.ndarray) -> dict[str, Any]:
    if flags is None:
        return {}
    return {"flagged": int(flags.sum()), "f1": float(2 * (flags & wrong).sum() / (flags.sum() + wrong.sum()))}


# --------------------------------------------------------------------------------------------------------------- all of them
def rounds(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """who -> its best round, with the CPU seconds of all."""
    pythons = {"floor": sys.executable, "numpy": sys.executable, "numba": sys.executable, "peer": options.peer_python}
    found: dict[str, list[dict[str, Any]]] = {}
    for turn in range(options.repeat):
        for who in WHO:
            if pythons[who] is None or (who == "peer" and turn and found.get("peer", [{"cpu_s": 99}])[0]["cpu_s"] > 10):
                continue
            command = [pythons[who], __file__, "--one", name, who, "--cache", str(options.cache)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(f"{name}, {who}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}", file=sys.stderr)
                continue
            found.setdefault(who, []).append(json.loads(done.stdout.splitlines()[-1]))
    best = {who: min(runs, key=lambda r: r["cpu_s"]) for who, runs in found.items()}
    return {who: run | {"cpu_all": [r["cpu_s"] for r in found[who]]} for who, run in best.items()}


def show(name: str, found: dict[str, Any]) -> None:
    limit, mib = CASES[name]["target"]
    for who, run in found.items():
        ratio, beyond = run["cpu_s"] / found["floor"]["cpu_s"], run["extra_mib"] - run["returned_mib"]
        target = f"{limit} x, {mib}" if who in ("numpy", "numba") else ""
        print(
            f"| {name} | {who} | {run['cpu_s']:.4f} | {ratio:.1f} | {run['extra_mib']:.1f} | {max(beyond, 0):.1f} | {target} "
            f"| {run['first_s']:.2f} | {run.get('f1', float('nan')):.3f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="a Python with cleanlab; without it the peer is left out")
    parser.add_argument("--big", action="store_true", help="also the memory-mapped file of 5.1 GB")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "labelwright_audit_speed")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("CASE", "WHO"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    if options.one:
        print(json.dumps(measure(*options.one, options.cache)))
        return
    names = [name for name, case in CASES.items() if options.big or not case.get("mapped")]
    print(
        "| case | who | CPU s | x floor | extra MiB | beyond returned | target | first call s | F1 |\n"
        + "| --- " * 9
        + "|"
    )
    results = {}
    for name in names:
        data(CASES[name], options.cache)
        results[name] = rounds(name, options)
        show(name, results[name])
    machine = {"cores": os.cpu_count(), "cpu": platform.machine(), "python": platform.python_version()}
    RESULT.write_text(json.dumps({"machine": machine, "cases": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
