"""Exact nearest neighbours: ours against scikit-learn, plain blocked NumPy, and the matrix products alone.

Every case runs in a process of its own; the best of three by CPU seconds (user + system, all threads) is shown, with
the memory it needed beyond inputs and imports (Linux only). `python benchmarks/neighbours_speed.py` prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SIZES = ((10_000, 384, 10), (10_000, 384, 20), (30_000, 384, 10))


def features(n: int, d: int) -> np.ndarray:
    """Ten clusters in d dimensions, 2 % exact copies, like embeddings."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(10, d))[rng.integers(0, 10, n)] + 1.5 * rng.normal(size=(n, d))
    x[rng.integers(0, n, n // 50)] = x[rng.integers(0, n, n // 50)]
    return x.astype(np.float32)


def ours(x: np.ndarray, k: int) -> Any:
    from labelwright.features.neighbours import nearest_neighbours

    return nearest_neighbours(x, k).index


def sklearn(x: np.ndarray, k: int) -> Any:
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=k, metric="cosine").fit(x).kneighbors()[1]


def numpy_blocked(x: np.ndarray, k: int) -> Any:
    """Products and argpartition in blocks of 1,024 rows."""
    z = x / np.linalg.norm(x, axis=1, keepdims=True)
    out = np.empty((len(z), k), np.int64)
    for start in range(0, len(z), 1024):
        score = z[start : start + 1024] @ z.T
        here = np.arange(len(score))
        score[here, start + here] = -2
        best = np.argpartition(-score, k, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(score, best, 1), axis=1)
        out[start : start + 1024] = np.take_along_axis(best, order, 1)
    return out


def products_only(x: np.ndarray, k: int) -> Any:
    z = x / np.linalg.norm(x, axis=1, keepdims=True)
    for start in range(0, len(z), 1024):
        z[start : start + 1024] @ z.T


CASES: dict[str, Callable[[np.ndarray, int], Any]] = {
    "labelwright": ours, "numpy_blocked": numpy_blocked, "sklearn": sklearn, "products_only": products_only,
}  # fmt: skip


def run(name: str, n: int, d: int, k: int) -> dict[str, Any]:
    x = features(n, d)
    CASES[name](x[:600], k)  # imports and thread pools are not counted
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
    before = memory("VmRSS")
    cpu, wall = time.process_time(), time.perf_counter()
    index = CASES[name](x, k)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    extra = memory("VmHWM") - before
    return {"cpu": cpu, "wall": wall, "mib": extra, "recall": None if index is None else recall(x, index)}


def memory(field: str) -> float:
    """MiB of this process: VmRSS now, VmHWM at its highest."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in status if line.startswith(field))) / 1024


def recall(x: np.ndarray, index: np.ndarray) -> float:
    """Share of 200 rows' neighbours that are no farther than the true k-th, in float64."""
    z = x.astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    rows = np.random.default_rng(1).choice(len(z), 200, replace=False)
    score = z[rows] @ z.T
    score[np.arange(200), rows] = -2
    least = np.sort(score, axis=1)[:, -index.shape[1]]
    return float((np.take_along_axis(score, index[rows], 1) >= least[:, None] - 1e-12).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", nargs=4, metavar=("NAME", "N", "D", "K"))
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(run(options.case[0], *map(int, options.case[1:]))))
        return
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    print(f"{os.cpu_count()} cores, OMP_NUM_THREADS {threads}, load {os.getloadavg()[0]:.1f}, NumPy {np.__version__}\n")
    print("| N x D, k | case | CPU s | wall s | extra MiB | recall |\n| --- | --- | ---: | ---: | ---: | ---: |")
    for n, d, k in SIZES:
        for name in CASES:
            command = [sys.executable, __file__, "--case", name, str(n), str(d), str(k)]
            runs = [json.loads(subprocess.check_output(command, text=True)) for _ in range(options.repeat)]
            best = min(runs, key=lambda r: float(r["cpu"]))
            share = "" if best["recall"] is None else f"{best['recall']:.4f}"
            print(f"| {n} x {d}, {k} | {name} | {best['cpu']:.2f} | {best['wall']:.2f} | {best['mib']:.0f} | {share} |")


if __name__ == "__main__":
    main()
