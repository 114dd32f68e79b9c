"""Losses forward and backward against torch's own cross_entropy on the same tensors, one thread: time and peak memory.

python benchmarks/losses.py        # writes benchmarks/results/losses.json, about two minutes

The rival of a loss takes the same kind of target: class ids, soft targets, or the softmax of a teacher's logits (computed
inside the rival too, as it is inside ours). Where the mathematics of a loss needs work that cross-entropy has no part in, its
rival does that work in plain torch too: a logarithm or a power per class and item, where the value of the loss has one
("1 log", "2 logs", "power"; without a gradient); the sums of the absolute differences of two distributions; the labels of an
ordinal target, from a table; torch's own label smoothing; the second cross-entropy of a second temperature; both correlations
of dist; the stable argsort of uskd; the discriminator on both logits; the comparison of all pairs by the normal distribution
(fidelity) and the Huber loss of all distances (relational_kd).

All are timed in turn, in a random order that changes every round, so that the machine's moods fall on all alike; the time is
the process's own, the least of all rounds. A large tensor is freed first, as in the trainings of larger networks: from then on
the C library keeps the memory of tensors, where before it gave that of some sizes back and fetched it again. Memory is the most
held at once beyond the inputs by the tensors that torch makes; what a kernel needs within itself is not seen.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from labelwright.learning import losses as L

SIZES = ((256, 10), (4096, 10), (256, 1000), (4096, 1000))
PAIRS = 256  # items up to which losses of pairs are measured
Loss = Callable[[Tensor], Tensor]


class Given:
    """What the losses of n items and k classes are given beside the student's logits."""

    def __init__(self, n: int, k: int):
        torch.manual_seed(0)
        self.teacher, self.weak = torch.randn(2, n, k) * 3
        self.soft, self.ids = (torch.randn(n, k) * 3).softmax(-1), torch.randint(0, k, (n,))
        self.score, self.spread = torch.rand(n) * 4 + 1, torch.rand(n)
        self.judge = L.logit_discriminator(k)
        self.n, self.level = n, torch.arange(1.0, k + 1)


def contenders(n: int, k: int) -> dict[str, tuple[str, Loss]]:
    """name -> (its rival, student logits -> loss)."""
    given = Given(n, k)
    return {name: (name, rival) for name, rival in rivals(given).items()} | of_labels(given) | of_teachers(given)


def rivals(given: Given) -> dict[str, Loss]:
    """torch's cross-entropy to the same kind of target, and with the work in plain torch that a loss needs beside it."""
    q, y, t, n = given.soft, given.ids, given.teacher, given.n
    other = torch.randn_like(q).softmax(-1)
    table = (-((given.level[:, None] - given.level) ** 2)).softmax(-1)
    truth = torch.tensor([1.0, 0.0, 0.0, 1.0]).reshape(2, 1, 2).expand(2, n, 2).reshape(2 * n, 2)

    def ids(z: Tensor) -> Tensor:
        return F.cross_entropy(z, y)

    def soft(z: Tensor) -> Tensor:
        return F.cross_entropy(z, q)

    def teacher(z: Tensor) -> Tensor:
        return F.cross_entropy(z, t.softmax(-1))

    def beside(plain: Loss, *work: Callable[[], Tensor]) -> Loss:
        """The loss, and work whose result nobody needs."""
        return lambda z: [plain(z), *(made() for made in work)][0]

    def ranked(z: Tensor) -> Tensor:
        (given.weak.softmax(-1) + z.detach().softmax(-1)).argsort(dim=-1, descending=True, stable=True)
        return teacher(z)

    def judged(z: Tensor) -> Tensor:
        told = torch.cat([given.judge(z), given.judge(t)])
        return teacher(z) + F.binary_cross_entropy_with_logits(told, truth)

    def correlated(z: Tensor) -> Tensor:
        p, q = z.softmax(-1), t.softmax(-1)
        alike = [F.cosine_similarity(p - p.mean(d, True), q - q.mean(d, True), dim=d) for d in (0, 1)]
        return F.cross_entropy(z, q) - alike[0].mean() - alike[1].mean()

    def paired(z: Tensor) -> Tensor:
        mean, score, var = z.softmax(-1) @ given.level, given.score, given.spread**2
        first, second = torch.triu_indices(n, n, 1)
        ours = torch.special.ndtr(mean[first] - mean[second])
        theirs = torch.special.ndtr((score[first] - score[second]) / (var[first] + var[second]).sqrt())
        return F.binary_cross_entropy(ours, theirs)

    out: dict[str, Loss] = {
        "torch, ids": ids,
        "torch, soft": soft,
        "torch, teacher": teacher,
        "torch, smoothed": lambda z: F.cross_entropy(z, y, label_smoothing=0.1),
        "torch, teacher twice": lambda z: teacher(z) + F.cross_entropy(z / 3, (t / 3).softmax(-1)),
        "torch, ids, 1 log": beside(ids, q.log),
        "torch, soft, 1 log": beside(soft, q.log),
        "torch, soft, 2 logs": beside(soft, q.log, q.log),
        "torch, teacher, 1 log": beside(teacher, q.log),
        "torch, soft, power": beside(soft, lambda: (1 - q) ** 2),
        "torch, soft, overlap": beside(soft, lambda: (other - q).abs().sum(0) + other.sum(0) + q.sum(0)),
        "torch, table": lambda z: F.cross_entropy(z, table[y]),
        "torch, correlations": correlated,
        "torch, sort": ranked,
        "torch, discriminator": judged,
    }
    if n <= PAIRS:
        out["torch, pairs"] = paired
        out["torch, distances"] = lambda z: F.smooth_l1_loss(torch.cdist(z, z), torch.cdist(t, t))
    return out


def of_labels(given: Given) -> dict[str, tuple[str, Loss]]:
    """Our losses of class ids and of soft targets."""
    q, y = given.soft, given.ids
    needs = {  # name -> beside the cross-entropy to ids, to soft targets
        "soft_cross_entropy": ("", ""),
        "kl": ("", ", 1 log"),
        "js": ("", ", 2 logs"),
        "reverse_kl": (", 1 log", ", 1 log"),
        "jeffreys": (", 1 log", ", 1 log"),
        "label_smoothing": ("", ""),
        "focal": ("", ", power"),
        "margin": ("", ""),
    }
    out: dict[str, tuple[str, Loss]] = {}
    for name, (by_id, softly) in needs.items():
        loss = L.LOSSES[name]
        rival = "torch, smoothed" if name == "label_smoothing" else f"torch, ids{by_id}"
        out[f"{name}, ids"] = (rival, lambda z, loss=loss: loss(z, y))
        out[f"{name}, soft"] = (f"torch, soft{softly}", lambda z, loss=loss: loss(z, q))
    return out | {
        "soft_cross_entropy, soft, unchecked": ("torch, soft", lambda z: L.soft_cross_entropy(z, q, check=False)),
        "kl, soft, unchecked": ("torch, soft, 1 log", lambda z: L.kl(z, q, check=False)),
        "ordinal_loss, ids": ("torch, table", lambda z: L.ordinal_loss(z, y)),
        "jaccard_metric of classes, soft": ("torch, soft, overlap", lambda z: L.jaccard_metric(z, q, kind="classes")),
    }


def of_teachers(given: Given) -> dict[str, tuple[str, Loss]]:
    """Our losses that read a teacher's logits, a weak head's or people's scores."""
    y, t, w = given.ids, given.teacher, given.weak
    out: dict[str, tuple[str, Loss]] = {
        "kd": ("torch, teacher, 1 log", lambda z: L.kd(z, t, temperature=4.0)),
        "nkd": ("torch, teacher", lambda z: L.nkd(z, y, teacher_logits=t)),
        "nkd at 3": ("torch, teacher twice", lambda z: L.nkd(z, y, teacher_logits=t, temperature=3.0)),
        "decoupled_kd": ("torch, teacher, 1 log", lambda z: L.decoupled_kd(z, y, teacher_logits=t)),
        "dist": ("torch, correlations", lambda z: L.dist(z, t)),
        "uskd": ("torch, sort", lambda z: L.uskd(z, y, weak_logits=w)),
        "similarity_discriminator": (
            "torch, discriminator",
            lambda z: L.similarity_discriminator(z, t, discriminator=given.judge),
        ),
        "hint": ("torch, soft", lambda z: L.hint(z, t)),
    }
    if given.n <= PAIRS:
        out["relational_kd, distances"] = ("torch, distances", lambda z: L.relational_kd(z, t, angle=0.0))
        out["fidelity"] = ("torch, pairs", lambda z: L.fidelity(z, given.score, std=given.spread))
    return out


def once(loss: Loss, z: Tensor) -> None:
    z.grad = None
    loss(z).backward()


def times(made: dict[str, tuple[str, Loss]], z: Tensor, rounds: int) -> dict[str, float]:
    """Seconds of one step, the least of the rounds."""
    inner = max(1, min(20, 200_000 // z.numel()))
    best = dict.fromkeys(made, float("inf"))
    order = random.Random(0)
    for _ in range(rounds):
        for name in order.sample(list(made), len(made)):
            loss = made[name][1]
            once(loss, z)
            once(loss, z)
            start = time.process_time()
            for _ in range(inner):
                once(loss, z)
            best[name] = min(best[name], (time.process_time() - start) / inner)
    return best


class Held(TorchDispatchMode):
    """Counts the bytes of the tensors that torch made and still holds, after each of its operations."""

    def __init__(self) -> None:
        super().__init__()
        tensors = [x for x in gc.get_objects() if type(x) in (Tensor, torch.nn.Parameter)]
        self.refs = [StorageWeakRef(x.untyped_storage()) for x in tensors]
        self.inputs = {ref.cdata for ref in self.refs}
        self.live: dict[int, tuple[StorageWeakRef, int]] = {}
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves((args, out)):
            if isinstance(x, Tensor):
                ref = StorageWeakRef(x.untyped_storage())
                if ref.cdata not in self.inputs:
                    self.live[ref.cdata] = (ref, x.untyped_storage().nbytes())
        self.live = {key: (ref, size) for key, (ref, size) in self.live.items() if not ref.expired()}
        self.most = max(self.most, sum(size for _, size in self.live.values()))
        return out


def peak_bytes(loss: Loss, z: Tensor) -> int:
    """The most memory held at once during a step, the gradient of the logits included, the inputs not."""
    once(loss, z)
    z.grad = None
    with Held() as held:
        loss(z).backward()
    return held.most


def main() -> None:
    """Time every loss at every size, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=24, help="times that each loss is timed (default 24)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "losses.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.zeros(31 << 18)  # and freed, see above
    lines = []
    for n, k in SIZES:
        made, z = contenders(n, k), torch.randn(n, k, requires_grad=True)
        rounds = options.rounds if n * k < 1_000_000 else max(2, options.rounds // 2)
        took = times(made, z, rounds)
        for name, (rival, _) in made.items():
            memory = {label: peak_bytes(made[label][1], z) for label in (name, rival)}
            lines.append(
                {
                    "n": n, "k": k, "loss": name, "rival": rival, "microseconds": took[name] * 1e6,
                    "ratio": took[name] / took[rival], "peak_bytes": memory[name],
                    "peak_ratio": memory[name] / max(memory[rival], 1),
                }
            )  # fmt: skip
            line: dict[str, Any] = lines[-1]
            print(
                f"{n:5d} x {k:<5d} {name:36s} {line['microseconds']:10.0f} us  {line['ratio']:6.2f} of {rival:20s}"
                f" {line['peak_bytes'] / 2**20:8.2f} MiB, {line['peak_ratio']:5.2f}",
                flush=True,
            )
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "torch": torch.__version__, "threads": 1}
    options.out.write_text(json.dumps({"machine": machine, "rounds": options.rounds, "losses": lines}, indent=1) + "\n")


if __name__ == "__main__":
    main()
