"""Card 20: a student of few kept items learns the soft labels of a teacher that has seen all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.systems import _distilling as distilling
from labelwright.systems import _students
from labelwright.systems._distilling import Part
from labelwright.systems.proof import Arm, Dataset, Proof

PARTS = {
    "kept items": "labelwright.shrinking.prune",
    "hardness": "labelwright.shrinking.el2n",
    "share of the teacher": "labelwright.shrinking.alpha.choose_alpha",
    "kept items, many steps": "labelwright.learning.samplers.Subset",
    "distillation": "labelwright.learning.losses.kd",
}
SIZES = {"digits": 1000, "MNIST": 6000, "CIFAR-10": 8000}  # items in all
TEMPERATURE, STEPS = 4.0, 200
TEACHERS = {
    "small": ("mlp", {"hidden": [32]}),
    "same": distilling.SMALL,
    "large": None,
}  # None: the largest for the data


class Case(NamedTuple):
    """whole: all training items.   valid, test: for choices, for figures.   logits: size of a teacher -> (N, K) on all items.
    n: items to keep.   k: classes.   found: what several arms need, such as the share of the teacher."""

    whole: Part
    valid: Part
    test: Part
    logits: Callable[[str], np.ndarray]
    n: int
    k: int
    found: dict[str, Any]


# ------------------------------------------------------------------------------------------------------------ data
def sets(folder: Path | None) -> Iterator[Dataset]:
    """Digits, MNIST and CIFAR-10, of which little is kept; on MNIST also with a fifth of all labels wrong."""
    every = [_students.digit_pictures(), *_students.mnist(folder), *_students.cifar10(folder)]
    for data in every:
        keep = 0.05 if data.name == "MNIST" else 0.1
        yield Dataset(f"{data.name}, {keep:.0%}", data.arrays, real=data.real, options={"keep": keep})
        if data.name == "MNIST":
            yield Dataset("MNIST, 5%, 20 % wrong", data.arrays, options={"keep": 0.05, "wrong": 0.2})


def shares(folder: Path | None) -> Iterator[Dataset]:
    """MNIST, of which more and more is kept; digits where it is not there."""
    for data in list(_students.mnist(folder)) or [_students.digit_pictures()]:
        for keep in (0.02, 0.1, 0.5):
            yield Dataset(f"{data.name}, {keep:.0%}", data.arrays, real=data.real, options={"keep": keep})


def prepare(data: Dataset, seed: int) -> Case:
    """Teachers of three sizes that have seen all training items, and the labels that they saw."""
    name, wrong = data.name.split(",")[0], float(data.options.get("wrong", 0))
    whole, valid, test = distilling.divided(data, (SIZES.get(name, len(data) * 2 // 3), 400), seed)
    k = int(np.asarray(data["y"]).max()) + 1
    if wrong:
        from labelwright.auditing.noise import symmetric

        whole = whole._replace(y=symmetric(whole.y, wrong, n_classes=k, random_state=seed)[0])
    n = round(float(data.options.get("keep", 0.1)) * len(whole.y))
    key = f"{Dataset('', data.arrays).fingerprint} {wrong} {seed}"

    def teacher(size: str) -> np.ndarray:
        if (key, size) not in _ASKED:
            model = distilling.teacher(data, whole, valid, k, seed=seed, student=TEACHERS[size])
            _ASKED[key, size] = model.logits(whole.x)
        return _ASKED[key, size]

    teacher("large")
    return Case(whole, valid, test, teacher, n, k, {})


_ASKED: dict[tuple[str, str], np.ndarray] = {}  # the teachers are the same for every kept share


# ------------------------------------------------------------------------------------------------------------ arms
def kept(case: Case, rule: str, seed: int) -> np.ndarray:
    """Item numbers by a rule: "random" and "easy" with as many of every class, "hard" by one ranking, or "k_center"."""
    from labelwright.shrinking import el2n, prune

    options: dict[str, Any] = {"keep": case.n, "rule": rule, "balanced": rule != "hard", "random_state": seed}
    if rule == "random":
        return prune(None, case.whole.y, **options).kept
    if rule == "k_center":
        return prune(case.whole.x.reshape(len(case.whole.x), -1), case.whole.y, **options).kept
    if "hardness" not in case.found:
        early = [distilling.fitted(case.whole, case.k, seed=seed + i, steps=60) for i in (300, 301)]
        case.found["hardness"] = el2n([m.predict_proba(case.whole.x) for m in early], case.whole.y)
    return prune(case.found["hardness"], case.whole.y, **options).kept


def student(
    case: Case, items: np.ndarray, alpha: float, seed: int, logits: np.ndarray | None = None, **recipe: Any
) -> Any:
    """A student of the kept items, with the teacher's answers by the items' original numbers."""
    from labelwright.learning.samplers import Subset

    loss = [
        *([{"soft_cross_entropy": {"weight": 1 - alpha}}] if alpha < 1 else []),
        *([{"kd": {"temperature": TEMPERATURE, "weight": alpha}}] if alpha > 0 else []),
    ]
    extra = {"teacher_logits": case.logits("large") if logits is None else logits}
    recipe = {"loss": loss, "steps": STEPS, "sampler": Subset(items)} | recipe
    return distilling.fitted(case.whole, case.k, seed=seed, extra=extra, **recipe)


def chosen(case: Case, seed: int) -> float:
    """The share of the teacher, for random items."""
    from labelwright.shrinking.alpha import choose_alpha

    if "share" not in case.found:
        items = kept(case, "random", seed)

        def score(alpha: float, repeat: int) -> float:
            return distilling.told(student(case, items, alpha, seed + 700), case.valid)["accuracy"]

        case.found["share"] = choose_alpha(score).alpha
    return float(case.found["share"])


def taught(rule: str, alpha: float | None = None, teacher: str = "large") -> Callable[[Case, int], dict[str, float]]:
    """A student of items kept by a rule; alpha: of the teacher, None: chosen.   teacher: its size."""

    def run(case: Case, seed: int) -> dict[str, float]:
        items, share = kept(case, rule, seed), chosen(case, seed) if alpha is None else alpha
        model = student(case, items, share, seed, case.logits(teacher))
        fewest = np.bincount(case.whole.y[items], minlength=case.k).min()
        return distilling.told(model, case.test) | {"alpha": share, "items of the rarest class": float(fewest)}

    return run


def poor_teacher(case: Case, seed: int) -> dict[str, float]:
    """A teacher of the kept items alone, of the student's own kind."""
    items = kept(case, "random", seed)
    part = Part(case.whole.x[items], case.whole.y[items])
    logits = distilling.fitted(part, case.k, seed=seed + 900, steps=STEPS).logits(case.whole.x)
    return distilling.told(student(case, items, chosen(case, seed), seed, logits), case.test)


def smoothed(case: Case, seed: int) -> dict[str, float]:
    """Label smoothing on random items."""
    return distilling.told(student(case, kept(case, "random", seed), 0.0, seed, loss="label_smoothing"), case.test)


def all_items(case: Case, seed: int) -> dict[str, float]:
    """Every item and its label, as many steps."""
    return distilling.told(student(case, np.arange(len(case.whole.y)), 0.0, seed), case.test)


KEYS = {"x|image": "vectors (N, D) or pictures (N, H, W)", "y": "true classes, (N,) int"}
NOTE = (
    f"All arms: a network of two layers of 64, {STEPS} steps of AdamW at 3e-3 with 64 items however few are kept, as "
    "for card 2. The teacher (a convolutional network on MNIST, two layers of 256 elsewhere) has seen every item with "
    f"its label: this saves training, it is no learning from few labels. Its temperature is {TEMPERATURE:g}, its share "
    "chosen from 0, 0.25, 0.5, 0.75, 1 on 400 validation items with another start, for random items; the other rules "
    "take the same share. Wrong labels are the teacher's too. The hardest are taken without regard to class, which "
    "leaves some classes nearly empty. In short: keep random items, as many of every class; a share of 0.5 does as "
    "well as a chosen one; a teacher of the student's own kind is worth most where least is kept; with half of the "
    "items kept, labels alone do. "
)
PROOFS = (
    Proof(
        name="pruned set",
        question="Do soft labels of a teacher win back what pruning has lost?",
        metric="accuracy",
        keys=KEYS,
        datasets=sets,
        prepare=prepare,
        arms=(
            Arm("random, teacher", taught("random"), "method"),
            Arm("random, labels", taught("random", 0.0), "baseline"),
            Arm("hardest, labels", taught("hard", 0.0), "baseline"),
            Arm("random, label smoothing", smoothed, "alternative"),
            Arm("random, teacher of the kept items", poor_teacher, "alternative"),
            Arm("hardest, teacher", taught("hard"), "alternative"),
            Arm("easiest of each class, teacher", taught("easy"), "alternative"),
            Arm("k-center, teacher", taught("k_center"), "alternative"),
            Arm("all items, labels", all_items, "bound"),
        ),
        note=NOTE,
    ),
    Proof(
        name="share of the teacher",
        question="Is the share that is chosen on validation items better than one for all?",
        metric="accuracy",
        keys=KEYS,
        datasets=shares,
        prepare=prepare,
        arms=(
            Arm("chosen", taught("random"), "method"),
            Arm("0.5", taught("random", 0.5), "baseline"),
            Arm("1", taught("random", 1.0), "alternative"),
            Arm("0, labels alone", taught("random", 0.0), "baseline"),
        ),
        note=NOTE,
    ),
    Proof(
        name="size of the teacher",
        question="Is a teacher like the student better than a larger one?",
        metric="accuracy",
        keys=KEYS,
        datasets=shares,
        prepare=prepare,
        arms=(
            Arm("teacher like the student", taught("random", 1.0, "same"), "method"),
            Arm("convolutional teacher", taught("random", 1.0), "baseline"),
            Arm("teacher of one layer of 32", taught("random", 1.0, "small"), "alternative"),
            Arm("labels alone", taught("random", 0.0), "baseline"),
        ),
        note=NOTE
        + "The share of the teacher is 1 here. This question was asked after another seed had shown the difference.",
    ),
)
