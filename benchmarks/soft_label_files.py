"""Soft-label files: bytes per row, loss in nats, and random reads against a plain packed-record file in the same run.

python benchmarks/soft_label_files.py --data FOLDER      # writes benchmarks/results/soft_labels.json, about a minute

Without Numba only the readers in NumPy are timed.

Teachers: cross-validated ResNet-18 on CIFAR-10N "worst" (50,000 x 10, FOLDER/cifar_n), and two made ones of 40,000 x
1000: "imagenet-like" (mean top-1 about 0.8, four confusable neighbours, a tail without structure) and "hierarchy" (the
tail lies mostly in the 50 classes of the likeliest one's group). KL is from the teacher's full rows to what is read,
over 2,000 rows; "unseen" are rows that are not in the file, cut exactly and given the file's tail.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.labels.soft import SoftLabels
from labelwright.labels.space import LabelSpace
from labelwright.store._soft_spread import spread
from labelwright.store.soft_labels import SoftLabelFile, open_soft_labels, write_soft_labels

K, BATCH, CHECK = 5, 256, 2000


def imagenet_like(n: int, rng: np.random.Generator, k: int = 1000) -> np.ndarray:
    z = rng.normal(0, 1.4, (n, k)).astype(np.float32)
    y, row = rng.integers(0, k, n), np.arange(n)
    z[row, y] += rng.normal(11.0, 2.0, n)
    for step in range(1, 5):
        z[row, (y + step) % k] += rng.normal(5.5, 2.0, n)
    return softmax(z)


def hierarchy(n: int, rng: np.random.Generator, k: int = 1000, group: int = 50) -> np.ndarray:
    z = rng.normal(0, 1.4, (n, k)).astype(np.float32)
    y, row = rng.integers(0, k, n), np.arange(n)
    z += 4.0 * (np.arange(k) // group == (y // group)[:, None])
    z[row, y] += rng.normal(8.0, 2.0, n)
    return softmax(z)


def softmax(z: np.ndarray) -> np.ndarray:
    z -= z.max(1, keepdims=True)
    np.exp(z, z)
    z /= z.sum(1, keepdims=True)
    return z


def kl(p: np.ndarray, q: np.ndarray) -> float:
    p, q = p.astype(float), np.maximum(q.astype(float), 1e-12)
    return float(np.where(p > 0, p * (np.log(np.maximum(p, 1e-300)) - np.log(q)), 0).sum(1).mean())


def fidelity(p: np.ndarray, unseen: np.ndarray, folder: Path, name: str) -> list[dict[str, Any]]:
    """One line per tail and precision."""
    rows = np.random.default_rng(1).choice(len(p), CHECK, replace=False)
    exact = SoftLabels.from_dense(p[rows], k=K)
    new = SoftLabels.from_dense(unseen, k=K)
    out = []
    for tail, precision in (
        ("even", "uint8"),
        ("shared", "uint8"),
        ("class", "uint8"),
        ("class", "uint16"),
        ("class", "float16"),
    ):
        path = folder / f"{name}-{tail}-{precision}"
        start = time.perf_counter()
        write_soft_labels(path, p, K, tail=tail, precision=precision)
        wrote = time.perf_counter() - start
        file = open_soft_labels(path)
        table = file._records.tail
        stored, cut = file[rows], spread(exact.index, exact.prob, exact.rest, exact.known, table, p.shape[1])
        both = np.column_stack([exact.prob, exact.rest]), np.column_stack([stored.prob, stored.rest])
        out.append(
            {
                "teacher": name, "tail": tail, "precision": precision,
                "record_bytes": file.head["record"]["bytes"], "file_bytes_per_row": path.stat().st_size / len(p),
                "quantisation_kl": kl(*both), "quantisation_max_abs": float(np.abs(both[0] - both[1]).max()),
                "kl_full_exact_top5": kl(p[rows], cut), "kl_full_stored": kl(p[rows], stored.dense()),
                "kl_unseen": kl(unseen, spread(new.index, new.prob, new.rest, new.known, table, p.shape[1])),
                "write_rows_per_s": len(p) / wrote, "head_mean_kl": file.head["errors"]["mean_kl"],
                "head_mean_kl_unseen": file.head["errors"].get("mean_kl_unseen", {}), "auto_takes": "",
            }
        )  # fmt: skip
        print(out[-1], flush=True)
    chosen = open_soft_labels(write_soft_labels(folder / f"{name}-auto", p, K)).head["tail"]
    print(name, "auto takes", chosen, flush=True)
    return [line | {"auto_takes": chosen} for line in out]


def packed_reader(p: np.ndarray, folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The plain way: a structured .npy of uint16 ids and float16 probabilities, mapped; the rest spread evenly."""
    soft = SoftLabels.from_dense(p, k=K)
    record = np.zeros(len(p), dtype=[("i", np.uint16, (K,)), ("v", np.float16, (K,))])
    record["i"], record["v"] = soft.index, soft.prob
    np.save(folder / "packed.npy", record)
    mapped, n_classes = np.load(folder / "packed.npy", mmap_mode="r"), p.shape[1]

    def read(rows: np.ndarray) -> np.ndarray:
        r = mapped[rows]
        v = r["v"].astype(np.float32)
        rest = np.clip(1 - v.sum(1, keepdims=True), 0, None) / (n_classes - K)
        out = np.broadcast_to(rest, (len(v), n_classes)).copy()
        np.put_along_axis(out, r["i"].astype(np.int64), v, 1)
        return out

    return read


def speed(p: np.ndarray, folder: Path, name: str, rounds: int = 60, inner: int = 10) -> dict[str, Any]:
    """Random batches to dense float32, every reader in turn, so that the machine's moods fall on all alike."""
    paths = {t: folder / f"{name}-{t}-uint8" for t in ("even", "shared", "class")}
    for precision in ("uint16", "float16", "float32"):
        paths[f"dense {precision}"] = write_soft_labels(folder / precision, p[:4000], None, precision=precision)
    files: dict[str, SoftLabelFile] = {label: open_soft_labels(path, engine="numpy") for label, path in paths.items()}
    if find_spec("numba"):
        for label in ("even", "shared", "class", "dense uint16"):
            files[f"{label}, numba"] = open_soft_labels(paths[label], engine="numba")
            files[f"{label}, numba"].dense([0])  # compiles
    readers: dict[str, Callable[[np.ndarray], np.ndarray]] = {"packed records": packed_reader(p, folder)}
    readers |= {label: file.dense for label, file in files.items()}
    rng, took = np.random.default_rng(2), {label: [] for label in readers}  # type: ignore[var-annotated]
    for _ in range(rounds):
        for label, read in readers.items():
            limit = len(files[label]) if label in files else len(p)
            for i, rows in enumerate(rng.integers(0, limit, (inner + 1, BATCH))):
                start = time.perf_counter()
                dense = read(rows)
                if i:  # the first one finds the caches filled by another reader
                    took[label].append(time.perf_counter() - start)
                assert dense.shape == (BATCH, p.shape[1]) and dense.dtype == np.float32
    rate = {label: BATCH / float(np.median(t)) for label, t in took.items()}
    opens = []
    for _ in range(20):
        start = time.perf_counter()
        open_soft_labels(folder / f"{name}-class-uint8")
        opens.append(time.perf_counter() - start)
    wide = open_wide(folder)
    start = time.perf_counter()
    files["class"].verify()
    return {
        "rows_per_s": rate,
        "times_packed": {label: r / rate["packed records"] for label, r in rate.items()},
        "open_ms_first": opens[0] * 1e3, "open_ms_median": float(np.median(opens)) * 1e3,
        "open_65536_ms_first": wide[0], "open_65536_ms_median": float(np.median(wide)),
        "verify_mb_per_s": files["class"].path.stat().st_size / (time.perf_counter() - start) / 1e6,
    }  # fmt: skip


def open_wide(folder: Path) -> list[float]:
    """Milliseconds to open a file of 65,536 named classes, ten times."""
    space = LabelSpace(f"class number {i}" for i in range(65536))
    path = write_soft_labels(folder / "wide", SoftLabels.from_topk([[7, 65535]], [[0.6, 0.3]], space))
    took = []
    for _ in range(10):
        start = time.perf_counter()
        open_soft_labels(path)
        took.append((time.perf_counter() - start) * 1e3)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=40_000)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        real = np.load(options.data / "cifar_n" / "cv_worst_resnet18.npz")["pyx"]
        lines = fidelity(real[:45_000], real[45_000:47_000], folder, "cifar10n")
        lines += fidelity(hierarchy(options.rows, rng), hierarchy(CHECK, rng), folder, "hierarchy")
        p = imagenet_like(options.rows, rng)
        lines += fidelity(p, imagenet_like(CHECK, rng), folder, "imagenet-like")
        reading = speed(p, folder, "imagenet-like")
    print(json.dumps(reading, indent=1))
    machine = {
        "numpy": np.__version__, "numba": version("numba") if find_spec("numba") else None,
        "python": platform.python_version(), "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"), "load": round(os.getloadavg()[0], 1), "batch": BATCH,
    }  # fmt: skip
    path = Path(__file__).parent / "results" / "soft_labels.json"
    path.write_text(json.dumps({"machine": machine, "fidelity": lines, "reading": reading}, indent=1) + "\n")


if __name__ == "__main__":
    main()
