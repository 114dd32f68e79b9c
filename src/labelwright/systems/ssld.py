"""Card 45: a small student and a big teacher, on any items at all: soft labels in place of labels, and a selected pool."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.systems import _distilling as distilling
from labelwright.systems import _students
from labelwright.systems._distilling import Part
from labelwright.systems.contract import Contract
from labelwright.systems.proof import Arm, Dataset, Proof

PARTS = {
    "symmetrised KL": "labelwright.learning.losses.jeffreys",
    "Jensen-Shannon": "labelwright.learning.losses.js",
    "selected pool": "labelwright.annotators.pool.top_per_class",
    "clean pool": "labelwright.annotators.pool.leaked",
    "stored answers": "labelwright.learning.targets.Stored",
}
SIZES = {
    "digits": (500, 100, 700),
    "MNIST": (4000, 300, 4500),
    "CIFAR-10": (5000, 500, 4500),
}  # teacher, labelled, pool
COPIES, STEPS = 20, 300
CE = "soft_cross_entropy"


class Case(NamedTuple):
    """labelled: items with labels.   pool: items, those of a foreign kind marked in `foreign`.   soft: (N, K) the teacher's
    distributions, first of the labelled items, then of the pool.   found: share of the planted copies of test items that
    were found and taken out."""

    labelled: Part
    pool: np.ndarray
    foreign: np.ndarray
    soft: np.ndarray
    test: Part
    k: int
    found: float


# ------------------------------------------------------------------------------------------------------------ data
def sets(folder: Path | None) -> Iterator[Dataset]:
    """Digits and MNIST with a pool of which 30 % are inverted pictures, CIFAR-10 with an even pool and one with a long tail."""
    for data in (_students.digit_pictures(), *_students.mnist(folder)):
        yield Dataset(f"{data.name}, 30 % foreign", data.arrays, options={"foreign": 0.3})
    for data in _students.cifar10(folder):
        yield data
        yield Dataset("CIFAR-10, long tail", data.arrays, options={"tail": 0.1})


def prepare(data: Dataset, seed: int) -> Case:
    """A teacher of many labelled items, few of them for the student, and a pool that was never labelled."""
    from scipy.special import softmax

    name, n = data.name.split(",")[0], len(data)
    sizes = SIZES.get(name, (n // 3, n // 20, n // 3))
    rng, k = np.random.default_rng([seed, 45]), int(np.asarray(data["y"]).max()) + 1
    whole, pool, valid, test = distilling.divided(data, (sizes[0], sizes[2], 300), seed)
    x, foreign = pool_of(data, pool, rng)
    x, foreign, found = cleaned(x, foreign, test.x, rng)
    labelled = Part(whole.x[: sizes[1]], whole.y[: sizes[1]])
    key = data.fingerprint, seed
    if key not in _ASKED:
        teacher = distilling.teacher(data, whole, valid, k, seed=seed)
        _ASKED[key] = softmax(teacher.logits(np.concatenate([labelled.x, x])), 1)
    return Case(labelled, x, foreign, _ASKED[key], test, k, found)


_ASKED: dict[tuple[str, int], np.ndarray] = {}  # both proofs ask the same teachers


def pool_of(data: Dataset, pool: Part, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Its items, and which are foreign: inverted pictures; or a pool whose classes fall from all to a share of their items."""
    foreign = rng.random(len(pool.y)) < float(data.options.get("foreign", 0))
    x = np.where(foreign.reshape(-1, *[1] * (pool.x.ndim - 1)), 1 - pool.x, pool.x)
    if "tail" in data.options:
        k = int(pool.y.max()) + 1
        keep = rng.random(len(x)) < float(data.options["tail"]) ** (pool.y / max(1, k - 1))
        x, foreign = x[keep], foreign[keep]
    return np.asarray(x, np.float32), foreign


def cleaned(x: np.ndarray, foreign: np.ndarray, test: np.ndarray, rng: np.random.Generator) -> tuple[Any, Any, float]:
    """The pool with copies of test items planted, without what is found to be a copy; and the share of the planted found."""
    from labelwright.annotators.pool import leaked

    planted = test[rng.choice(len(test), COPIES, replace=False)]
    planted[COPIES // 2 :] += rng.normal(0, 1e-3, planted[COPIES // 2 :].shape).astype(np.float32)
    x = np.concatenate([x, planted])
    copies = leaked(x.reshape(len(x), -1), test.reshape(len(test), -1))
    keep = ~copies
    return x[keep], np.concatenate([foreign, np.zeros(COPIES, bool)])[keep], float(copies[-COPIES:].mean())


# ------------------------------------------------------------------------------------------------------------ pools
def nothing(case: Case, seed: int) -> np.ndarray:
    """The labelled items alone."""
    return np.zeros(0, np.int64)


def per_class(case: Case, seed: int) -> np.ndarray:
    """The surest of every class, half the pool if the classes were even."""
    from labelwright.annotators.pool import top_per_class

    p = case.soft[len(case.labelled.y) :]
    return top_per_class(p, max(1, len(p) // (2 * case.k)), random_state=seed).items


def sure(case: Case, seed: int) -> np.ndarray:
    """As many as `per_class` finds, the surest of all."""
    top = case.soft[len(case.labelled.y) :].max(1)
    return np.argsort(-top, kind="stable")[: len(per_class(case, seed))]


def at_random(case: Case, seed: int) -> np.ndarray:
    """As many as `per_class` finds, drawn."""
    return np.random.default_rng([seed, 46]).choice(len(case.pool), len(per_class(case, seed)), replace=False)


def everything(case: Case, seed: int) -> np.ndarray:
    """The whole pool."""
    return np.arange(len(case.pool))


# ------------------------------------------------------------------------------------------------------------ arms
def distilled(
    pick: Callable[[Case, int], np.ndarray], loss: Any = "jeffreys", *, labels: bool = False, tuned: bool = False
) -> Callable[[Case, int], dict[str, float]]:
    """A student of the labelled items and the picked ones; labels: hard ones, the teacher's class where there is none;
    tuned: the last quarter of the steps on the labelled items alone, at a third of the rate."""

    def run(case: Case, seed: int) -> dict[str, float]:
        chosen = pick(case, seed)
        n = len(case.labelled.y)
        x, soft = np.concatenate([case.labelled.x, case.pool[chosen]]), case.soft[np.r_[:n, n + chosen]]
        hard = soft.argmax(1)
        hard[:n] = case.labelled.y
        target = Part(x, hard if labels else soft)
        # the log of the soft labels is a teacher's logits, up to a constant
        extra = {"teacher_logits": np.log(soft + 1e-12)} if labels else None
        fit = {"seed": seed, "loss": loss, "extra": extra}
        model = distilling.fitted(target, case.k, steps=STEPS * 3 // 4 if tuned else STEPS, **fit)
        if tuned:
            more = {"student": model.module, "optimizer": {"adamw": {"lr": 1e-3}}, "steps": STEPS // 4}
            model = distilling.fitted(Part(case.labelled.x, soft[:n]), case.k, **fit, **more)
        foreign = {"foreign share": float(case.foreign[chosen].mean())} if len(chosen) else {}
        return distilling.told(model, case.test) | foreign | {"copies found": case.found}

    return run


KD = [{CE: {"weight": 0.5}}, {"kd": {"weight": 0.5}}]
KEYS = {"x|image": "vectors (N, D) or pictures (N, H, W)", "y": "true classes, (N,) int"}
NOTE = (
    f"All arms: a network of two layers of 64 and {STEPS} steps of AdamW at 3e-3 with 64 items, as for card 2. The "
    "teacher has learnt from five to thirteen times the student's labelled items; the pool's labels are used by "
    "nobody. Foreign items are inverted pictures of the same kind; the long tail falls to a tenth. Per class, half of "
    f"an even pool is kept, not tuned. {COPIES} copies of test items, half of them with a little noise, were planted "
    "in every pool; the share found is told, and what is found is taken out for every arm. What gains is the pool, "
    "whichever way it is picked: the selection keeps foreign items out (6 to 10 % are left of 30), but the whole pool "
    "with its soft labels is as good, and better where classes are rare. The plain KL is as good as the symmetric "
    "one. "
)
PROOFS = (
    Proof(
        name="pool",
        question="Is a student better for soft labels and a selected pool, without any label?",
        metric="accuracy",
        keys=KEYS,
        datasets=sets,
        prepare=prepare,
        arms=(
            Arm("SSLD, surest per class", distilled(per_class), "method"),
            Arm("labels alone", distilled(nothing, CE, labels=True), "baseline"),
            Arm("KD, no pool", distilled(nothing, KD, labels=True), "baseline"),
            Arm("SSLD, no pool", distilled(nothing), "baseline"),
            Arm("SSLD, whole pool", distilled(everything), "alternative"),
            Arm("SSLD, surest of all", distilled(sure), "alternative"),
            Arm("SSLD, random", distilled(at_random), "alternative"),
            Arm("SSLD, fine-tuned", distilled(per_class, tuned=True), "alternative"),
        ),
        note=NOTE,
    ),
    Proof(
        name="loss",
        question="Is the symmetric divergence a better loss than the plain one?",
        metric="accuracy",
        keys=KEYS,
        datasets=sets,
        prepare=prepare,
        arms=(
            Arm("both directions of KL", distilled(per_class), "method"),
            Arm("KL from the teacher", distilled(per_class, "kl"), "baseline"),
            Arm("KL from the student", distilled(per_class, "reverse_kl"), "alternative"),
            Arm("Jensen-Shannon", distilled(per_class, "js"), "alternative"),
            Arm("hard labels of the teacher", distilled(per_class, CE, labels=True), "baseline"),
        ),
        note=NOTE,
    ),
)


def _selected(data: dict[str, Any]) -> np.ndarray:
    """1 for the items that are kept."""
    from labelwright.annotators.pool import top_per_class

    kept = np.zeros(len(data["y"]))
    kept[top_per_class(data["pred_probs"], 10).items] = 1
    return kept


CONTRACTS = (
    Contract(
        "labelwright.annotators.pool.top_per_class",
        "labels+pred_probs",
        _selected,
        exempt={"duplication": "copies take places among the k of their class"},
    ),
)
