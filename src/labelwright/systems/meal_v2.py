"""Card 23: a trained student is tuned on the mean answer of several teachers and a discriminator, without any label."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.systems import _distilling as distilling
from labelwright.systems import _students
from labelwright.systems._distilling import Part
from labelwright.systems.proof import Arm, Dataset, Proof

PARTS = {
    "mean of teachers and discriminator": "labelwright.learning.losses.similarity_discriminator",
    "discriminator that learns": "labelwright.learning.loss_parts.SimilarityDiscriminator",
    "stored answers of several teachers": "labelwright.learning.targets.StoredTeachers",
    "teachers asked on the fly": "labelwright.learning.targets.Teacher",
}
SIZES = {"digits": (800, 200), "MNIST": (4000, 1000), "CIFAR-10": (6000, 1500)}  # of the teachers, of the student
BEFORE, STEPS = 600, 300
CE = "soft_cross_entropy"


class Case(NamedTuple):
    """train: the student's items; no arm but those that say so reads the labels.   valid, test: for choices, for figures.
    student: trained on these labels.   logits: (N, 3, K) of the teachers.   k: classes."""

    train: Part
    valid: Part
    test: Part
    student: Any
    logits: np.ndarray
    k: int


def sets(folder: Path | None) -> Iterator[Dataset]:
    """Digits, MNIST and CIFAR-10."""
    yield _students.digit_pictures()
    yield from _students.mnist(folder)
    yield from _students.cifar10(folder)


_MADE: dict[tuple[str, int], Case] = {}  # both proofs begin with the same students and teachers


def prepare(data: Dataset, seed: int) -> Case:
    """Three teachers of more items and other shapes, and a student trained to the end on the labels of its own."""
    key = data.fingerprint, seed
    if key not in _MADE:
        sizes = SIZES.get(data.name, (len(data) // 2, len(data) // 8))
        whole, valid, test = distilling.divided(data, (sizes[0], 400), seed)
        k = int(np.asarray(data["y"]).max()) + 1
        train = Part(whole.x[: sizes[1]], whole.y[: sizes[1]])
        shapes = [distilling.teacher_of(data), ("mlp", {"hidden": [512]}), ("mlp", {"hidden": [128, 128, 128]})]
        asked = [
            distilling.teacher(data, whole, valid, k, seed=seed + i, student=shape, steps=300).logits(train.x)
            for i, shape in enumerate(shapes)
        ]
        student = distilling.fitted(train, k, seed=seed, steps=BEFORE).module
        _MADE[key] = Case(train, valid, test, student, np.stack(asked, 1), k)
    return _MADE[key]


def tuned(
    loss: Any, *, mean: str = "probs", scratch: bool = False, decay: float = 0.0
) -> Callable[[Case, int], dict[str, float]]:
    """The student after more steps. mean: how the teachers are joined, "labels": not at all.   scratch: begin anew.   decay: of
    the weights."""

    def run(case: Case, seed: int) -> dict[str, float]:
        start = distilling.SMALL if scratch else copy.deepcopy(case.student)
        model = distilling.fitted(
            case.train, case.k, seed=seed + 500, student=start, loss=loss, steps=STEPS,
            extra={"stored_logits": case.logits},
            targets="stored" if mean == "labels" else ["stored", {"stored_teachers": {"mean": mean}}],
            optimizer={"sgd": {"lr": 0.03, "weight_decay": decay}},
        )  # fmt: skip
        return distilling.told(model, case.test)

    return run


def as_it_was(case: Case, seed: int) -> dict[str, float]:
    """The student before."""
    from labelwright.labels import LabelSpace
    from labelwright.learning import TrainedModel

    return distilling.told(TrainedModel(case.student, LabelSpace(range(case.k))), case.test)


def best_teacher(case: Case, seed: int) -> dict[str, float]:
    """One teacher: the one whose student is best on the validation items."""
    found = []
    for i in range(case.logits.shape[1]):
        one = case._replace(logits=case.logits[:, i : i + 1])
        chosen = tuned(CE)(one._replace(test=case.valid), seed)["accuracy"]
        found.append((chosen, i))
    best = max(found)[1]
    return tuned(CE)(case._replace(logits=case.logits[:, best : best + 1]), seed)


def adversary(reversal: float) -> Any:
    """Mean of the teachers, and the discriminator."""
    return {"similarity_discriminator": {"reversal": reversal}}


WITH_LABELS = [{CE: {"weight": 0.5, "on": {"targets": "labels"}}}, {CE: {"weight": 0.5}}]
KEYS = {"x|image": "vectors (N, D) or pictures (N, H, W)", "y": "true classes, (N,) int"}
NOTE = (
    f"A network of two layers of 64, trained for {BEFORE} steps on its labels, is trained for {STEPS} steps more by "
    "SGD with momentum 0.9 and no weight decay. Of the rates 0.01, 0.03 and 0.1, 0.03 was best for the labels on "
    "another seed; all arms have it. Three teachers of other shapes have learnt from four times its items. Nothing is "
    "augmented, so their answers are stored. What gains is the soft answer; the discriminator adds nothing here in "
    "either direction, so leave it out (adversary=0), and one teacher does nearly as well as three. "
)
PROOFS = (
    Proof(
        name="tuning",
        question="Does a trained student gain by the mean answer of teachers, without labels?",
        metric="accuracy",
        keys=KEYS,
        datasets=sets,
        prepare=prepare,
        arms=(
            Arm("three teachers, discriminator", tuned(adversary(1.0), mean="stack"), "method"),
            Arm("labels, as many more steps", tuned(CE, mean="labels"), "baseline"),
            Arm("student as it was", as_it_was, "baseline"),
            Arm("label smoothing", tuned("label_smoothing", mean="labels"), "alternative"),
            Arm("teachers and labels, half each", tuned(WITH_LABELS), "alternative"),
            Arm("best single teacher", best_teacher, "alternative"),
            Arm("from scratch", tuned(adversary(1.0), mean="stack", scratch=True), "alternative"),
        ),
        note=NOTE,
    ),
    Proof(
        name="parts",
        question="What does the discriminator add to the mean of the teachers?",
        metric="accuracy",
        keys=KEYS,
        datasets=sets,
        prepare=prepare,
        arms=(
            Arm("with discriminator", tuned(adversary(1.0), mean="stack"), "method"),
            Arm("without", tuned(CE), "baseline"),
            Arm("as in the released code", tuned(adversary(-1.0), mean="stack"), "alternative"),
            Arm("without, mean of logits", tuned(CE, mean="logits"), "alternative"),
            Arm(
                "with discriminator, weight decay 1e-4", tuned(adversary(1.0), mean="stack", decay=1e-4), "alternative"
            ),
        ),
        note=NOTE,
    ),
)
