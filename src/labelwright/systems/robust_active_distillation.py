"""Card 7: which items to send to a teacher that is sometimes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.systems import _datasets
from labelwright.systems import _students as students
from labelwright.systems._small_tasks import pictures
from labelwright.systems.contract import Contract
from labelwright.systems.proof import Arm, Dataset, Proof

PARTS = {
    "gain": "labelwright.annotators.asking.student_gain",
    "whom to ask about": "labelwright.annotators.asking.asking_probs",
    "drawing": "labelwright.annotators.asking.draw_asked",
    "where the teacher errs": "labelwright.annotators.asking.teacher_reliability",
    "core set": "labelwright.shrinking.k_center",
    "training": "labelwright.learning.train",
}
STUDENT = {
    "student": ("mlp", {"hidden": [64]}),
    "steps": 200,
    "batch_size": 32,
    "optimizer": {"adamw": {"lr": 3e-3}},
}
VALID = 100  # labelled items on which the teacher's errors are counted


class Case(NamedTuple):
    """What the arms of a seed share.

    start, valid, pool, test: x of the labelled items, of those that judge the teacher, of the pool, of the test.
    start_y, valid_y, pool_y, test_y: true classes.   said, valid_said: (N, K) the teacher's labels of pool and validation.
    first: (N, K) the student's probabilities of the pool before anything is asked.   budget: questions in all.
    """

    start: np.ndarray
    valid: np.ndarray
    pool: np.ndarray
    test: np.ndarray
    start_y: np.ndarray
    valid_y: np.ndarray
    pool_y: np.ndarray
    test_y: np.ndarray
    said: np.ndarray
    valid_said: np.ndarray
    first: Any
    budget: int


# ------------------------------------------------------------------------------------------------------------ data
def teachers(folder: Path | None) -> Iterator[Dataset]:
    """Digits and MNIST with networks of few labels, MNIST with a planted enemy, CIFAR-10 with one person's answers."""
    for data in pictures(folder):
        if data.name == "digits":
            sizes = {"start": 25, "learnt": 100, "pool": 1000, "budget": 80}
            yield Dataset("digits, network of 100 labels", data.arrays, options=sizes)
        elif data.name == "MNIST":
            sizes = {"start": 50, "learnt": 300, "pool": 2500, "budget": 200}
            yield Dataset("MNIST, network of 300 labels", data.arrays, real=True, options=sizes)
            yield Dataset("MNIST, wrong where the student is unsure", data.arrays, options=sizes | {"enemy": 0.1})
        else:
            people = _datasets.arrays(folder / "cifar_n" / "cifar10n.npz")["random1"] if folder is not None else None
            if people is not None:
                columns = dict(data.arrays) | {"y_given": people[: len(data)].astype(np.int64)}
                sizes = {"start": 100, "learnt": 0, "pool": 3000, "budget": 400}
                yield Dataset("CIFAR-10, one person", columns, real=True, options=sizes)


def prepare(data: Dataset, seed: int) -> Case:
    """Parts of the data, the teacher's answers, and the student before any question."""
    x, y, k = np.asarray(data["x"], np.float32), np.asarray(data["y"]).astype(np.int64), int(np.max(data["y"])) + 1
    size = {name: int(data.options.get(name, 0)) for name in ("start", "learnt", "pool", "budget")}
    start, learnt, valid, pool, test = students.parts_of(
        len(y), (size["start"], size["learnt"], VALID, size["pool"] or len(y) // 2), seed
    )
    first = student(x[start], y[start], k, seed)
    parts = (pool, valid)
    if "y_given" in data:
        said = tuple(np.eye(k, dtype=np.float32)[np.asarray(data["y_given"])[rows]] for rows in parts)
    elif data.options.get("enemy"):
        said = tuple(enemy(first.predict_proba(x[rows]), y[rows], float(data.options["enemy"])) for rows in parts)
    else:
        teacher = student(x[learnt], y[learnt], k, seed + 500)
        said = tuple(teacher.predict_proba(x[rows]) for rows in parts)
    return Case(
        *(x[start], x[valid], x[pool], x[test]),
        *(y[start], y[valid], y[pool], y[test]),
        *(said[0], said[1]),
        first,
        size["budget"] or len(pool) // 10,
    )


def enemy(pred_probs: np.ndarray, y: np.ndarray, share: float) -> np.ndarray:
    """(N, K) right labels, but for the share of items where the student is least sure: there the likeliest wrong class."""
    two = np.sort(pred_probs, 1)[:, -2:]
    unsure = np.argsort(two[:, 1] - two[:, 0])[: round(share * len(y))]
    label, other = y.copy(), pred_probs.copy()
    other[np.arange(len(y)), y] = -1
    label[unsure] = other[unsure].argmax(1)
    return np.asarray(0.95 * np.eye(pred_probs.shape[1])[label] + 0.05 / pred_probs.shape[1], np.float32)


def student(x: np.ndarray, labels: np.ndarray, k: int, seed: int) -> Any:
    """The student of every arm and round: hard labels, or soft ones."""
    return students.learnt(x, labels, classes=k, seed=seed, **STUDENT)


# ------------------------------------------------------------------------------------------------------------ arms
Rule = Callable[[Case, Any, np.ndarray, int, np.random.Generator], np.ndarray]
"""(case, the student, pool items not yet asked about, how many, random numbers) -> places among these items."""


def asked(rule: Rule | None, rounds: int, *, truth: bool = False) -> Any:
    """The student after all questions, in so many rounds, each with a student trained anew. None asks nothing."""

    def run(case: Case, seed: int) -> dict[str, float]:
        k = case.said.shape[1]
        said = np.eye(k, dtype=np.float32)[case.pool_y] if truth else case.said
        left, bought, model = np.arange(len(case.pool)), np.zeros(0, np.int64), case.first
        for r in range(rounds if rule is not None else 0):
            n = case.budget * (r + 1) // rounds - case.budget * r // rounds
            assert rule is not None
            found = left[rule(case, model, left, n, np.random.default_rng([seed, r, 7]))]
            bought, left = np.concatenate([bought, found]), np.setdiff1d(left, found)
            labels = np.concatenate([np.eye(k, dtype=np.float32)[case.start_y], said[bought]])
            model = student(np.concatenate([case.start, case.pool[bought]]), labels, k, seed)
        right = said[bought].argmax(1) == case.pool_y[bought]
        told = students.told(model, case.test, case.test_y)
        return told | ({"right labels bought": float(right.mean())} if len(bought) else {})

    return run


def robust(*, wrong: float = 1.0, reliability: bool = False) -> Rule:
    """RAD. The teacher's errors are counted on the validation items; `wrong` times as many are feared."""

    def rule(case: Case, model: Any, left: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
        from labelwright.annotators.asking import asking_probs, draw_asked, teacher_reliability

        p, fine = model.predict_proba(case.pool[left]), case.valid_said.argmax(1) == case.valid_y
        feared = min(round(wrong * (1 - fine.mean()) * len(left)), len(left) - 1)
        sure = teacher_reliability(model.predict_proba(case.valid), fine, p) if reliability else None
        q = asking_probs(p, wrong=feared, budget=n, reliability=sure)
        return draw_asked(q, n, random_state=int(rng.integers(2**31))).index

    return rule


def by_chance(case: Case, model: Any, left: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Any."""
    return rng.choice(len(left), n, replace=False)


def by_gain(sign: float) -> Rule:
    """The least sure by the margin (1), or the surest (-1)."""

    def rule(case: Case, model: Any, left: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
        from labelwright.annotators.asking import student_gain

        return np.argsort(-sign * student_gain(model.predict_proba(case.pool[left])), kind="stable")[:n]

    return rule


def by_entropy(case: Case, model: Any, left: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """The largest entropy of the student."""
    p = model.predict_proba(case.pool[left])
    return np.argsort((p * np.log(np.maximum(p, 1e-12))).sum(1), kind="stable")[:n]


def weighted(case: Case, model: Any, left: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Drawn in proportion to the gain, as uncertainty-weighted distillation does."""
    from labelwright.annotators.asking import draw_asked, student_gain

    gain = student_gain(model.predict_proba(case.pool[left]))
    return draw_asked(gain / gain.sum(), n, random_state=int(rng.integers(2**31))).index


def core_set(case: Case, model: Any, left: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """The items farthest from all that are labelled, in the student's hidden layer."""
    import torch

    from labelwright.shrinking import k_center

    gone = np.setdiff1d(np.arange(len(case.pool)), left)
    x = np.concatenate([case.pool[left], case.start, case.pool[gone]])
    with torch.no_grad():
        features = model.module.eval()(torch.from_numpy(x))["features"].numpy()
    return k_center(features, n, start=range(len(left), len(x)))


KEYS = {
    "x": "items as vectors, (N, D)",
    "y": "true classes, (N,) int",
    "y_given?": "the teacher's answers, (N,) int; a network of few labels where absent",
}
NOTE = (
    "The errors of the teacher are counted on 100 labelled items, which no arm learns from. Teachers: a network trained on some "
    "hundred labels; the truth made wrong on the tenth of the items where the first student is least sure (planted); one person "
    "per picture (CIFAR-10N, random1; hard labels). Rate and steps of the student were set once for all arms on other seeds. "
)
PROOFS = (
    Proof(
        name="four rounds",
        question="Does the student become better by asking about the items that RAD draws?",
        metric="accuracy",
        keys=KEYS,
        datasets=teachers,
        prepare=prepare,
        arms=(
            Arm("RAD", asked(robust(), 4), "method"),
            Arm("at random", asked(by_chance, 4), "baseline"),
            Arm("least margin", asked(by_gain(1), 4), "baseline"),
            Arm("largest entropy", asked(by_entropy, 4), "baseline"),
            Arm("core set", asked(core_set, 4), "baseline"),
            Arm("drawn by gain", asked(weighted, 4), "alternative"),
            Arm("RAD, twice the errors feared", asked(robust(wrong=2.0), 4), "alternative"),
            Arm("RAD, errors by margin", asked(robust(reliability=True), 4), "alternative"),
            Arm("least margin, teacher always right", asked(by_gain(1), 4, truth=True), "bound"),
        ),
        note=NOTE
        + "The gain over the least margin comes from the planted enemy alone: with the other teachers asking where the "
        "student is least sure is as good, on digits better. Drawing in proportion to the gain, 1 - margin, needs no count of "
        "errors and is as good as RAD in four rounds.",
    ),
    Proof(
        name="one round",
        question="And when all questions are asked at once?",
        metric="accuracy",
        keys=KEYS,
        datasets=teachers,
        prepare=prepare,
        arms=(
            Arm("RAD", asked(robust(), 1), "method"),
            Arm("at random", asked(by_chance, 1), "baseline"),
            Arm("least margin", asked(by_gain(1), 1), "baseline"),
            Arm("core set", asked(core_set, 1), "baseline"),
            Arm("drawn by gain", asked(weighted, 1), "alternative"),
            Arm("surest", asked(by_gain(-1), 1), "alternative"),
            Arm("no question", asked(None, 1), "alternative"),
        ),
        note=NOTE + "At once, the least margin asks the planted enemy for wrong labels only.",
    ),
)


def _asking(data: dict[str, Any]) -> np.ndarray:
    from labelwright.annotators.asking import asking_probs

    return asking_probs(data["pred_probs"], wrong=round(0.2 * len(data["pred_probs"])))


CONTRACTS = (
    Contract(
        "labelwright.annotators.asking.asking_probs",
        "labels+pred_probs",
        _asking,
        exempt={"duplication": "chances sum to 1, so twice the items have half the chance each"},
    ),
)
