"""The training loop against a bare one, stored labels against hard ones and a teacher asked online, relabelling at full speed.

python benchmarks/training.py        # writes benchmarks/results/training.json, about five minutes

Everything runs in one process, one thread, in turn; the time is the process's own, the least of all rounds where nothing else is
said. The bare loop has the same network, loss, optimiser, order and learning-rate schedule, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from labelwright.annotators import relabel
from labelwright.learning import Recipe, Teacher, TrainData
from labelwright.learning import data as training_data
from labelwright.learning.driver import fit
from labelwright.learning.networks import build
from labelwright.store import open_soft_labels, write_soft_labels

LR = 1e-3
CASES = {  # name -> (student, items, batch, shape of an item, classes)
    "linear, 64 numbers": (("linear", {}), 8192, 64, (64,), 10),
    "mlp 2 x 256, 64 numbers": (("mlp", {"hidden": [256, 256]}), 8192, 128, (64,), 10),
    "mlp 2 x 1024, 256 numbers": (("mlp", {"hidden": [1024, 1024]}), 4096, 256, (256,), 100),
    "cnn, 1 x 28 x 28": (("cnn", {"widths": [16, 32, 64]}), 1024, 64, (1, 28, 28), 10),
}


def in_turn(runs: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each gives in every round."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            found[name].append(run())
    return found


def least(runs: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The least time of each."""
    return {name: min(times) for name, times in in_turn(runs, rounds).items()}


def bare_step(student: Any, x: torch.Tensor, y: torch.Tensor, n_classes: int, batch: int, steps: int) -> float:
    """Seconds per step of a loop with nothing around it."""
    torch.manual_seed(0)
    model = build(student[0], x[:2], n_classes, **student[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.01)
    model.train()
    done, began = 0, time.process_time()
    while done < steps:
        order = torch.from_numpy(np.random.default_rng([0, done]).permutation(len(x)))
        for start in range(0, len(x), batch):
            at = order[start : start + batch]
            for group in optimizer.param_groups:
                group["lr"] = LR * 0.5 * (1 + math.cos(math.pi * done / steps))
            loss = F.cross_entropy(model(x[at])["logits"], y[at])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            done += 1
            if done >= steps:
                break
    return (time.process_time() - began) / steps


def our_step(recipe: Recipe, data: TrainData, steps: int) -> float:
    """Seconds per step of the driver, from the first step to the last."""
    marks: list[float] = []
    fit(recipe.but(steps=steps), data, progress=lambda *_: marks.append(time.process_time()))
    return (marks[-1] - marks[0]) / (len(marks) - 1)


def overhead(rounds: int) -> list[dict[str, Any]]:
    """The loop with nothing but hard labels."""
    lines = []
    for name, (student, n, batch, shape, k) in CASES.items():
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(n, *shape)).astype(np.float32), rng.integers(0, k, n)
        recipe = Recipe(batch_size=batch, networks={"student": {"model": student[0], **student[1]}}, schedule="cosine",
                        optimizer={"adamw": {"lr": LR, "weight_decay": 0.01}})  # fmt: skip
        data = TrainData(x, y, classes=k)
        tx, ty = torch.from_numpy(x), torch.from_numpy(y)
        steps = 300 if len(shape) == 1 else 40
        found = least(
            {
                "bare": lambda tx=tx, ty=ty, s=student, k=k, b=batch, n=steps: bare_step(s, tx, ty, k, b, n),
                "ours": lambda r=recipe, d=data, n=steps: our_step(r, d, n),
            },
            rounds,
        )
        lines.append({"case": name, "bare_ms": found["bare"] * 1e3, "ours_ms": found["ours"] * 1e3})
        print(f"{name:28s} bare {found['bare'] * 1e3:8.3f} ms, ours {found['ours'] * 1e3:8.3f} ms", flush=True)
    return lines


def batch_by_batch(x: np.ndarray, path: Path) -> TrainData:
    """Read as a file is that is too large to be held: a compiled loop decodes each batch."""
    held, training_data.HELD = training_data.HELD, 0
    try:
        return TrainData(x, open_soft_labels(path, engine="numba"))
    finally:
        training_data.HELD = held


def stored(rounds: int) -> dict[str, dict[str, float]]:
    """One student of 1000 classes: hard labels, stored top-5 labels, and the teacher asked at every step.

    The machine drifts by more than they differ, so what is told of them is the median over the rounds of the ratio to hard
    labels in the same round.
    """
    rng, n, k, d = np.random.default_rng(0), 20_000, 1000, 256
    x, y = rng.normal(size=(n, d)).astype(np.float32), rng.integers(0, k, n)
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(d, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, k))
    common = {"batch_size": 256, "networks": {"student": {"model": "mlp", "hidden": [512, 512]}}}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        rows = (teacher(torch.from_numpy(x[i : i + 1000])).mul(8).softmax(-1).numpy() for i in range(0, n, 1000))
        write_soft_labels(Path(folder) / "t.soft", rows, 5)
        file = open_soft_labels(Path(folder) / "t.soft")
        with torch.enable_grad():
            hard, soft = TrainData(x, y, classes=k), TrainData(x, file)
            large, dense = batch_by_batch(x, Path(folder) / "t.soft"), TrainData(x, file.dense())
            unlabelled = TrainData(x, classes=k)
            online = Recipe(targets=(Teacher(teacher),), **common)
            times = in_turn(
                {
                    "hard": lambda: our_step(Recipe(**common), hard, 60),
                    "stored top 5": lambda: our_step(Recipe(**common), soft, 60),
                    "stored top 5, batch by batch": lambda: our_step(Recipe(**common), large, 60),
                    "dense in memory": lambda: our_step(Recipe(**common), dense, 60),
                    "teacher online": lambda: our_step(online, unlabelled, 60),
                },
                rounds,
            )
            began = time.process_time()
            for start in range(0, 5120, 256):
                with torch.no_grad():
                    teacher(torch.from_numpy(x[start : start + 256]))
            times["the teacher alone, per batch"] = [(time.process_time() - began) / 20]
    ms = {name: min(found) * 1e3 for name, found in times.items()}
    ratio = {name: float(np.median(np.divide(found, times["hard"]))) for name, found in times.items()}
    for name, value in ms.items():
        print(f"{name:28s} {value:8.3f} ms per step, {ratio[name] - 1:+.1%}", flush=True)
    return {"labels_ms": ms, "labels_to_hard": ratio}


def relabelling(rounds: int) -> dict[str, Any]:
    """Items per second of a teacher in a bare loop, and through `relabel` to a file; their ratio as in `stored`."""
    n, d, k = 20_000, 256, 100
    x = np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(d, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, k))

    @torch.no_grad()
    def teacher(items: np.ndarray) -> np.ndarray:
        return net(torch.from_numpy(items)).softmax(-1).numpy()

    def alone() -> float:
        began = time.process_time()
        for start in range(0, n, 256):
            teacher(x[start : start + 256])
        return time.process_time() - began

    def whole() -> float:
        from labelwright.store.crop_label_files import Parts

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "t.soft"
            began = time.process_time()
            found = relabel(x, teacher, classes=range(k), topk=5, batch_size=256, parts=Parts(path, {}, n, 256))
            write_soft_labels(path, found.labels, 5, tail="even")
            return time.process_time() - began

    times = in_turn({"teacher alone": alone, "relabel": whole}, rounds)
    rate = {name: n / min(found) for name, found in times.items()}
    share = float(np.median(np.divide(times["teacher alone"], times["relabel"])))
    print(
        f"teacher alone {rate['teacher alone']:.0f}, relabel {rate['relabel']:.0f} items per second, {share:.1%}",
        flush=True,
    )
    return {"items_per_second": rate, "relabel_to_teacher": share}


def main() -> None:
    """Run all three and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="times that each is timed (default 5)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "training.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "torch": torch.__version__, "threads": 1}
    told = {
        "machine": machine,
        "overhead": overhead(options.rounds),
        **stored(4 * options.rounds),
        **relabelling(2 * options.rounds),
    }
    options.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
