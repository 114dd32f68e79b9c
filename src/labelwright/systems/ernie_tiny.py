"""Card 47: a network compressed for one task in four stages that each change one thing: teacher, data or loss."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.systems import _datasets, _students
from labelwright.systems.proof import Arm, Dataset, Proof

PARTS = {
    "what layers say": "labelwright.learning.layers.WithLayers",
    "latent distillation": "labelwright.learning.layers.LayerHints",
    "attention maps": "labelwright.learning.layers.attention_distance",
    "soft loss": "labelwright.learning.losses.kd",
    "hard loss": "labelwright.learning.losses.soft_cross_entropy",
    "stages": "labelwright.learning.stages.train_stages",
}
TEACHER, STUDENT = (
    (128, 128, 128, 128),
    (48, 48),
)  # widths; the student's layers take after the teacher's second and fourth
STEPS = 900  # of the student, whatever its stages
RECIPE: dict[str, Any] = {"batch_size": 64, "optimizer": {"adamw": {"lr": 3e-3}}}


class Said(NamedTuple):
    """What a teacher says of n items: its second and fourth layer (n, 128) and its logits (n, K)."""

    low: np.ndarray
    high: np.ndarray
    logits: np.ndarray

    def scaled(self, low: float, high: float) -> Said:
        """Layers over these sizes: what LayerNorm does in a transformer, so that no layer outweighs the labels."""
        return Said(self.low / low, self.high / high, self.logits)


class Case(NamedTuple):
    """general: (N, D) items without labels.   x, y: the task's.   pre, fine: what the pretrained and the fine-tuned teacher
    say of the general items.   task: what the fine-tuned one says of the task's.   test, truth: to judge.
    k: classes.   own: the teacher's figures."""

    general: np.ndarray
    x: np.ndarray
    y: np.ndarray
    pre: Said
    fine: Said
    task: Said
    test: np.ndarray
    truth: np.ndarray
    k: int
    own: dict[str, float]


# ------------------------------------------------------------------------------------------------------------ data
def sets(folder: Path | None) -> Iterator[Dataset]:
    """Digits, where teacher and student see the same; kinds of questions and the intents of a bank's customers, where the
    general texts are news and articles of an encyclopedia."""
    x = _students.digit_pictures()
    yield Dataset("digits", {"x": x["image"].reshape(len(x), -1), "y": x["y"]}, options={"labels": 100})
    if _datasets.text_encoder() is None:
        return
    other = [found[0][:3000] for name in ("ag_news", "dbpedia14") if (found := _datasets.texts_of(folder, name))]
    for name, labels in (("trec", 500), ("banking77", 1500)):
        found = _datasets.texts_of(folder, name)
        if found is not None and other:
            columns = {
                "text": found[0],
                "y": np.unique(found[1].astype(str), return_inverse=True)[1],
                "general": np.concatenate(other),
            }
            yield Dataset(name, columns, real=True, options={"labels": labels})


def prepare(data: Dataset, seed: int) -> Case:
    """A teacher that learnt to fill gaps in the general items, the same fine-tuned to the task, and what both say."""
    y, n = np.asarray(data["y"]).astype(np.int64), int(data.options.get("labels", 500))
    k, (seen, x) = int(y.max()) + 1, views(data)
    task, test, rest = _students.parts_of(len(y), (n, min(2000, len(y) // 3)), seed)
    general = np.concatenate([rest[:3000], np.arange(len(y), len(x))])
    model = filled_gaps(layered(seen.shape[1], TEACHER, k, seed), seen[general], k, seed)
    pre = said(model, seen[general])
    fine = _students.learnt(seen[task], y[task], classes=k, seed=seed, student=model, steps=300, **RECIPE)
    own, (fine_general, fine_task) = (
        _students.told(fine, seen[test], y[test]),
        (said(model, seen[i]) for i in (general, task)),
    )
    pre, fine_general, fine_task = (one.scaled(pre.low.std(), pre.high.std()) for one in (pre, fine_general, fine_task))
    return Case(x[general], x[task], y[task], pre, fine_general, fine_task, x[test], y[test], k, own)


def views(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """What the teacher sees and what the student sees of all items, the general ones last.

    Of texts the teacher sees the vectors of the installed encoder, the student counts of words and pairs of words in 1,024
    drawers.
    """
    if "x" in data:
        parts = [np.asarray(data[key], np.float32) for key in ("x", "general") if key in data]
        return (np.concatenate(parts),) * 2
    if data.fingerprint not in _VIEWS:
        from sklearn.feature_extraction.text import HashingVectorizer

        text = np.concatenate([data[key] for key in ("text", "general") if key in data])
        whole = Dataset(data.name, {"text": text}, options={"encoder": True})
        counts = HashingVectorizer(n_features=1024, ngram_range=(1, 2)).transform(text).toarray()
        _VIEWS[data.fingerprint] = (
            _students.standardised(_datasets.vectors_of(whole)),
            np.asarray(counts * 10, np.float32),
        )
    return _VIEWS[data.fingerprint]


_VIEWS: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # every seed needs them


def layered(features: int, widths: tuple[int, ...], k: int, seed: int) -> Any:
    """A perceptron that also gives its lower and its highest layer, made with the seed."""
    import torch

    from labelwright.learning.layers import WithLayers
    from labelwright.learning.networks import MLP

    half, last = len(widths) // 2 - 1, len(widths) - 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return WithLayers(MLP(features, k, hidden=widths), {"low": f"blocks.{half}", "high": f"blocks.{last}"})


def filled_gaps(model: Any, x: np.ndarray, k: int, seed: int) -> Any:
    """The model after it learnt to give back whole items of which it sees 70 percent of the entries."""
    import torch

    from labelwright.learning import Student, TrainData
    from labelwright.learning.losses import hint
    from labelwright.learning.terms import LossTerm

    def gaps(context: Any) -> None:
        kept = torch.from_numpy(context["rng"].random(tuple(context["inputs"].shape)) < 0.7)
        context["inputs"] = context["inputs"] * kept

    whole = LossTerm(hint, on={"features": "whole_logits", "teacher_features": "whole"})
    data = TrainData(x, None, classes=k, extra={"whole": x})
    networks = Student(model, heads={"whole": x.shape[1]})
    _students.learnt(data, None, seed=seed, student=networks, views=gaps, targets=(), loss=whole, steps=600, **RECIPE)
    return model


def said(model: Any, x: np.ndarray) -> Said:
    """Layers and logits of a teacher."""
    import torch

    with torch.no_grad():
        out = model.eval()(torch.from_numpy(x))
    return Said(*(out[name].numpy() for name in ("low", "high", "logits")))


# ------------------------------------------------------------------------------------------------------------ arms
STAGES = {"specific": 3}  # how their steps are to each other, 1 where not said


def staged(*names: str) -> Any:
    """These stages one after the other, in STEPS steps together."""

    def run(case: Case, seed: int) -> dict[str, float]:
        from labelwright.learning.layers import LayerHints

        hints = LayerHints(on=[("low", "teacher_low"), ("high", "teacher_high")])
        known = {
            "general": {"data": items(case, case.general, case.pre), "loss": hints},
            "enhanced": {"data": items(case, case.general, case.fine), "loss": hints},
            "adaptive": {"data": items(case, case.x, case.task), "loss": hints},
            "specific": {"data": items(case, case.x, case.task, case.y), "loss": (hints, *SOFT, *HARD)},
            "soft, general": {"data": items(case, case.general, case.fine), "loss": SOFT},
            "soft": {"data": items(case, case.x, case.task, case.y), "loss": (*SOFT, *HARD)},
            "labels": {"data": items(case, case.x, case.task, case.y), "loss": HARD},
        }
        parts = [STAGES.get(name, 1) for name in names]
        steps = [round(STEPS * part / sum(parts)) for part in parts]
        return learnt(case, [known[name] | {"steps": n} for name, n in zip(names, steps)], seed)

    return run


def at_once(case: Case, seed: int) -> dict[str, float]:
    """All losses together on all items, the task's as often as the others; labels where there are any."""
    from labelwright.learning.layers import LayerHints

    x, y = np.concatenate([case.general, case.x]), np.concatenate([np.full(len(case.general), -1), case.y])
    both = Said(*(np.concatenate(pair) for pair in zip(case.fine, case.task)))
    hints = LayerHints(on=[("low", "teacher_low"), ("high", "teacher_high")])
    data = items(case, x, both, y)
    rng = np.random.default_rng([seed, 3])
    half = STEPS * RECIPE["batch_size"] // 2
    n = len(case.general)
    chosen = np.concatenate([rng.integers(0, n, half), n + rng.integers(0, len(case.x), half)])
    stage = {"data": data, "loss": (hints, *SOFT, *HARD), "steps": STEPS, "sampler": ("subset", {"items": chosen})}
    return learnt(case, [stage], seed)


SOFT = ("kd",)
HARD = (("soft_cross_entropy", {"on": {"targets": "labels"}}),)


def items(case: Case, x: np.ndarray, teacher: Said, y: np.ndarray | None = None) -> Any:
    """Items with what a teacher says of them."""
    from labelwright.learning import TrainData

    extra = {"teacher_low": teacher.low, "teacher_high": teacher.high, "teacher_logits": teacher.logits}
    return TrainData(x, y, classes=case.k, extra=extra)


def learnt(case: Case, stages: list[dict[str, Any]], seed: int) -> dict[str, float]:
    """Figures of a student after these stages, and how much of the teacher's accuracy it has."""
    import torch

    from labelwright.learning.stages import train_stages

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        student = layered(case.x.shape[1], STUDENT, case.k, seed + 50)
        model = train_stages(student, stages, seed=10 * seed, targets=(), **RECIPE)
    finally:
        torch.set_num_threads(before)
    found = _students.told(model, case.test, case.truth)
    return found | {"share of the teacher's accuracy": found["accuracy"] / case.own["accuracy"]}


PROOFS = (
    Proof(
        name="stages",
        question="Is a small student better for four stages that change teacher, data and loss one at a time?",
        metric="accuracy",
        keys={
            "x|text": "what the items look like: x (N, D) vectors, or text (N,) strings",
            "y": "classes, (N,) int",
            "general?": "more items like x or text, without labels",
        },
        datasets=sets,
        prepare=prepare,
        arms=(
            Arm(
                "general, enhanced, adaptive, specific", staged("general", "enhanced", "adaptive", "specific"), "method"
            ),
            Arm("general, adaptive, specific", staged("general", "adaptive", "specific")),
            Arm("general, specific", staged("general", "specific")),
            Arm("soft and hard labels of the task alone", staged("soft")),
            Arm("general, enhanced, specific", staged("general", "enhanced", "specific"), "alternative"),
            Arm("enhanced, adaptive, specific", staged("enhanced", "adaptive", "specific"), "alternative"),
            Arm(
                "enhanced, general, adaptive, specific",
                staged("enhanced", "general", "adaptive", "specific"),
                "alternative",
            ),
            Arm("all losses at once", at_once, "alternative"),
            Arm("soft labels of general items, then of the task", staged("soft, general", "soft"), "alternative"),
            Arm("hard labels alone", staged("labels"), "alternative"),
        ),
        note="Perceptrons in the place of transformers: teacher 4 x 128, student 2 x 48, no attention maps; every arm has 900 "
        "steps, half of them in the last stage where there are four (chosen on seed 50). Texts: the teacher reads the "
        "vectors of an installed encoder, the student counts of words. General items: the task's own without their labels "
        "(3,000 at most), and of texts 6,000 news and encyclopedia articles. Layers are divided by their spread, as "
        "LayerNorm does. On trec the second stage brings what the paper says it brings; but the inner layers of this "
        "teacher teach less than its soft labels. Ask the fine-tuned teacher about unlabelled items of all kinds, learn "
        "from its answers, then from the task: better than any order of stages on both text sets, at the same cost.",
    ),
)
