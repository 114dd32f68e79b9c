"""Card 6: classes that cannot be told apart are merged, and another network's view is a second target."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.systems import _students as students
from labelwright.systems._small_tasks import halved, pictures, text_tasks
from labelwright.systems.contract import Contract
from labelwright.systems.proof import Arm, Dataset, Proof

PARTS = {
    "merging": "labelwright.annotators.merging.merge_classes",
    "the threshold of merging": "labelwright.annotators.merging.choose_groups",
    "rows of the confusion table": "labelwright.annotators.merging.soft_labels_from_confusion",
    "calibration before": "labelwright.features.calibration.fit_scaling",
    "second head": "labelwright.learning.networks.Student",
    "second target": "labelwright.learning.losses.kl",
    "training": "labelwright.learning.train",
}
HIDDEN = {"hidden": [128]}
TRAIN = {"epochs": 20, "batch_size": 64, "optimizer": {"adamw": {"lr": 3e-3}}}
FOLDS, SPLIT_CLASSES, THEIRS = 3, 3, 1500


# ------------------------------------------------------------------------------------------------------------ data
def model_of(x: np.ndarray, y: np.ndarray, k: int, seed: int, **options: Any) -> Any:
    """The student of all arms."""
    return students.learnt(x, y, classes=k, seed=seed, **{"student": ("mlp", HIDDEN)} | TRAIN | options)


# -------------------------------------------------------------------------------------------------------- synonyms
class Synonyms(NamedTuple):
    """x, given, meaning: of learnt and of test items (pairs).   group: (K,) meaning of each label.   held_out: (N, K) calibrated
    probabilities of the learnt items by models that did not learn from them."""

    x: tuple[np.ndarray, np.ndarray]
    given: tuple[np.ndarray, np.ndarray]
    group: np.ndarray
    held_out: np.ndarray


def synonyms(folder: Path | None) -> Iterator[Dataset]:
    """The same pictures, marked as planted."""
    for data in pictures(folder):
        yield Dataset(f"{data.name}, three classes with two names", data.arrays, options=data.options)


def plant(data: Dataset, seed: int) -> Synonyms:
    """Three classes get a second name, which half of their items bear by chance."""
    from labelwright.features.calibration import fit_scaling

    x, y = np.asarray(data["x"], np.float32), np.asarray(data["y"]).astype(np.int64)
    rng, k = np.random.default_rng([seed, 6]), int(y.max()) + 1
    twice = np.sort(rng.choice(k, SPLIT_CLASSES, replace=False))
    group = np.concatenate([np.arange(k), twice])
    other = np.full(k, -1)
    other[twice] = k + np.arange(SPLIT_CLASSES)
    given = np.where((other[y] >= 0) & (rng.random(len(y)) < 0.5), other[y], y)
    train, test = students.parts_of(len(y), (int(data.options.get("train", len(y) // 2)),), seed)
    fold, k = rng.permutation(len(train)) % FOLDS, k + SPLIT_CLASSES
    p = np.zeros((len(train), k), np.float32)
    for f in range(FOLDS):
        rest = train[fold != f]
        p[fold == f] = model_of(x[rest], given[rest], k, seed).predict_proba(x[train[fold == f]])
    p = fit_scaling(p, given[train])(p)
    return Synonyms((x[train], x[test]), (given[train], given[test]), group, p)


def of_names(case: Synonyms, p: np.ndarray, groups: Any = None) -> dict[str, float]:
    """From probabilities (N, K) of the names: how often the likeliest one has the right meaning, and its log loss."""
    from sklearn.metrics import adjusted_rand_score

    from labelwright.features.calibration import expected_calibration_error

    given, meaning = case.given[1], case.group[case.given[1]]
    right = case.group[p.argmax(1)] == meaning
    single = np.bincount(case.group)[meaning] == 1
    among = np.stack([p[:, case.group == g].sum(1) for g in range(int(case.group.max()) + 1)], 1)
    found = {
        "accuracy": float(right.mean()),
        "accuracy of classes with one name": float(right[single].mean()),
        "NLL": float(-np.log(np.maximum(p[np.arange(len(p)), given], 1e-12)).mean()),
        "ECE of meanings": expected_calibration_error(among / among.sum(1, keepdims=True), meaning),
    }
    return found if groups is None else found | {"adjusted Rand": float(adjusted_rand_score(case.group, groups.group))}


def chosen(case: Synonyms) -> Any:
    """Groups by the held-out probabilities."""
    from labelwright.annotators.merging import choose_groups

    return choose_groups(case.given[0], case.held_out)


def merged(which: str) -> Any:
    """Train on groups, and share each group's probability evenly among its names."""

    def run(case: Synonyms, seed: int) -> dict[str, float]:
        from labelwright.annotators.merging import Groups

        groups = chosen(case) if which == "chosen" else Groups(case.group)
        model = model_of(case.x[0], groups.to_groups(case.given[0]), groups.n_groups, seed)
        return of_names(case, groups.split(model.predict_proba(case.x[1])), groups)

    return run


def flat(*, loss: Any = "soft_cross_entropy", rows: bool = False, afterwards: bool = False) -> Any:
    """Train on the names; `rows`: as rows of the held-out confusion table; `afterwards`: even out each found group."""

    def run(case: Synonyms, seed: int) -> dict[str, float]:
        from labelwright.annotators.merging import soft_labels_from_confusion

        labels: np.ndarray = case.given[0]
        if rows:
            confusion = np.zeros((len(case.group),) * 2, np.int64)
            np.add.at(confusion, (labels, case.held_out.argmax(1)), 1)
            labels = soft_labels_from_confusion(labels, confusion)
        p = model_of(case.x[0], labels, len(case.group), seed, loss=loss).predict_proba(case.x[1])
        if not afterwards:
            return of_names(case, p)
        groups = chosen(case)
        return of_names(case, groups.split(groups.to_groups(p)), groups)

    return run


# ------------------------------------------------------------------------------------------------------- soft code
class Other(NamedTuple):
    """x, y: of learnt and of test items (pairs).   says: name -> (N, E) what another network says about the learnt items.
    features: its hidden layer for both."""

    x: tuple[np.ndarray, np.ndarray]
    y: tuple[np.ndarray, np.ndarray]
    says: dict[str, np.ndarray]
    features: tuple[np.ndarray, np.ndarray]


def few_labels(folder: Path | None) -> Iterator[Dataset]:
    """Few labels of classes 0 to 4, with classes 5 to 9 as the other task; news with an encyclopedia as the other task."""
    for data in pictures(folder):
        for n in (10, 200) if data.name == "MNIST" else (10,):
            columns = dict(data.arrays) | {"other": np.asarray(data["y"]) >= 5}
            yield Dataset(f"{data.name}, {n} per class", columns, real=data.real, options={"labelled": n})
    found = text_tasks(folder, ("ag_news", 3000), ("dbpedia14", 4000))
    if found is not None:
        columns = {"x": found["x"], "y": found["y"], "other": found["task"] == 1}
        yield Dataset("AG News by DBpedia, 20 per class", columns, real=True, options={"labelled": 20})


def other_network(data: Dataset, seed: int) -> Other:
    """A network of the other task, trained on many of its items, and few labels of this one."""
    import torch

    from labelwright.learning.losses import soften

    x, y, other = np.asarray(data["x"], np.float32), np.asarray(data["y"]), np.asarray(data["other"], bool)
    rng = np.random.default_rng([seed, 61])
    theirs = rng.permutation(np.flatnonzero(other))[:THEIRS]
    label = np.unique(y[theirs], return_inverse=True)[1]
    network = model_of(x[theirs], label, int(label.max()) + 1, seed)
    untrained = model_of(x[theirs[:64]], label[:64], int(label.max()) + 1, seed, steps=1)
    groups = [rng.permutation(np.flatnonzero((y == c) & ~other)) for c in np.unique(y[~other])]
    n = int(data.options.get("labelled", 10))
    train, test = np.concatenate([g[:n] for g in groups]), np.concatenate([g[n:] for g in groups])
    own = np.searchsorted(np.unique(y[~other]), y)
    said = network.predict_proba(x[train])
    random = untrained.logits(x[train])
    random = soften(
        torch.from_numpy(random * network.logits(x[train]).std() / random.std())
    ).numpy()  # as sure as the other
    says = {"trained": said, "shuffled": said[rng.permutation(len(said))], "untrained": random}
    return Other(
        (x[train], x[test]), (own[train], own[test]), says, (hidden(network, x[train]), hidden(network, x[test]))
    )


def hidden(model: Any, x: np.ndarray) -> np.ndarray:
    """(N, 128) hidden layer of a model."""
    import torch

    with torch.no_grad():
        return np.asarray(model.module.eval()(torch.from_numpy(x))["features"])


STEPS = 250


def second_head(which: str = "trained", weight: float = 0.25) -> Any:
    """Cross-entropy, and on a second head KL to what another network says; the head is dropped."""

    def run(case: Other, seed: int) -> dict[str, float]:
        from labelwright.learning import TrainData

        says = case.says[which]
        k = int(case.y[0].max()) + 1
        data = TrainData(case.x[0], case.y[0], classes=k, extra={"object_probs": says})
        second = {"kl": {"on": {"logits": "object_logits", "targets": "object_probs"}, "weight": weight}}
        who = ("mlp", HIDDEN | {"heads": {"object": says.shape[1]}})
        model = model_of_few(data, None, seed, student=who, loss=("soft_cross_entropy", second))
        return students.told(model, case.x[1], case.y[1])

    return run


def model_of_few(x: Any, y: Any, seed: int, **options: Any) -> Any:
    """As many steps for few labels as for many."""
    return students.learnt(x, y, seed=seed, **{"student": ("mlp", HIDDEN)} | TRAIN | {"steps": STEPS} | options)


def one_head(loss: Any = "soft_cross_entropy") -> Any:
    """The labels alone."""

    def run(case: Other, seed: int) -> dict[str, float]:
        k = int(case.y[0].max()) + 1
        return students.told(model_of_few(case.x[0], case.y[0], seed, classes=k, loss=loss), case.x[1], case.y[1])

    return run


def on_their_features(case: Other, seed: int) -> dict[str, float]:
    """The same student on the inputs and the hidden layer of the other network, which it needs for ever."""
    k = int(case.y[0].max()) + 1
    train, test = (np.concatenate([x, f / (case.features[0].std() + 1e-6)], 1) for x, f in zip(case.x, case.features))
    return students.told(model_of_few(train, case.y[0], seed, classes=k), test, case.y[1])


# ----------------------------------------------------------------------------------------------------- resolutions
class Resolutions(NamedTuple):
    """logits: of the test items by two networks at the full and one at half the resolution.   y: (N,)."""

    logits: dict[str, np.ndarray]
    y: np.ndarray


def two_sizes(folder: Path | None) -> Iterator[Dataset]:
    """Digits, MNIST and CIFAR-10 as pictures."""
    from labelwright.systems import _datasets

    digits = students.digit_pictures()
    yield Dataset("digits", digits.arrays, options={"train": 900})
    for data in students.mnist(folder, 6000):
        yield Dataset("MNIST", data.arrays, real=True, options={"train": 1000})
    if folder is not None and (folder / "cifar10" / "train_first12000.npz").is_file():
        z = _datasets.arrays(folder / "cifar10" / "train_first12000.npz")
        columns = {"image": z["x"][:4000], "y": z["y"][:4000].astype(np.int64)}
        yield Dataset("CIFAR-10", columns, real=True, options={"train": 1000})


def three_networks(data: Dataset, seed: int) -> Resolutions:
    """The same MLP on pixels of two resolutions (colour pictures: on their descriptors), twice on the full one."""
    image, y = np.asarray(data["image"]), np.asarray(data["y"]).astype(np.int64)
    k = int(y.max()) + 1
    train, test = students.parts_of(len(y), (int(data.options.get("train", len(y) // 2)),), seed)
    sizes = views(data.name, image)
    logits = {}
    for name, x, other in (("full", sizes[0], 0), ("full again", sizes[0], 1000), ("half", sizes[1], 2000)):
        logits[name] = model_of(x[train], y[train], k, seed + other).logits(x[test])
    return Resolutions(logits, y[test])


_VIEWS: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # descriptors of the last set, which every seed needs


def views(name: str, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of the pictures as they are and at half the resolution."""
    from labelwright.features import image_vectors

    if image.ndim == 3:
        scaled = image.astype(np.float32) / max(float(image.max()), 1e-6)
        return scaled.reshape(len(image), -1), halved(scaled).reshape(len(image), -1)
    if name not in _VIEWS:
        _VIEWS.clear()
        small = halved(image.astype(np.float32)).round().astype(np.uint8)
        full, half = (students.standardised(image_vectors(pictures)) for pictures in (image, small))
        _VIEWS[name] = full, half
    return _VIEWS[name]


def averaged(*names: str) -> Any:
    """The mean of the probabilities of some networks."""

    def run(case: Resolutions, seed: int) -> dict[str, float]:
        import torch

        from labelwright.learning.looking import figures
        from labelwright.learning.targets import combine

        logits = [torch.from_numpy(case.logits[name]) for name in names]
        found = figures(combine(logits, [1 / len(names)] * len(names), "probs"), torch.from_numpy(case.y))
        return {"accuracy": found["accuracy"], "NLL": found["nll"], "ECE": found["ece"]}

    return run


VECTORS = {"x": "items as vectors, (N, D)", "y": "true classes, (N,) int"}
WHERE = "Students are MLPs with one hidden layer; their rate and epochs were set once for all arms on other seeds. "
PROOFS = (
    Proof(
        name="synonyms",
        question="Are names that mean the same found, and does a network trained on the merged classes predict better?",
        metric="NLL",
        keys=VECTORS,
        datasets=synonyms,
        prepare=plant,
        higher_is_better=False,
        needs_real=False,
        arms=(
            Arm("merged, equal shares", merged("chosen"), "method"),
            Arm("cross-entropy on the names", flat(), "baseline"),
            Arm("label smoothing", flat(loss={"label_smoothing": {}}), "alternative"),
            Arm("rows of the confusion table", flat(rows=True), "alternative"),
            Arm("merged after training", flat(afterwards=True), "alternative"),
            Arm("true groups", merged("true"), "bound"),
        ),
        note=WHERE
        + "NLL is of the names, by all arms over the same classes; accuracy counts a name as right that means the same. "
        "NLL was made the metric after first runs on other seeds, where accuracy hardly moved. The threshold is chosen on "
        "out-of-fold predictions of the learnt items. On CIFAR-10 the networks are far too sure, and label smoothing does more "
        "for the log loss than merging. Planted, because real synonyms come without a true grouping.",
    ),
    Proof(
        name="second head",
        question="Does the view of a network with other classes, as a second target, help where labels are few?",
        metric="accuracy",
        keys=VECTORS | {"other": "True for the items of the other task, (N,) bool"},
        datasets=few_labels,
        prepare=other_network,
        arms=(
            Arm("soft code, weight 0.25", second_head(), "method"),
            Arm("cross-entropy", one_head(), "baseline"),
            Arm("label smoothing", one_head({"label_smoothing": {}}), "alternative"),
            Arm("soft code, weight 1", second_head(weight=1.0), "alternative"),
            Arm("soft code shuffled among items", second_head("shuffled"), "alternative"),
            Arm("soft code shuffled, weight 1", second_head("shuffled", weight=1.0), "alternative"),
            Arm("soft code of an untrained network", second_head("untrained"), "alternative"),
            Arm("their hidden layer as inputs", on_their_features, "alternative"),
        ),
        note=WHERE
        + "The other networks are as small as the student and see the same vectors; the paper's learnt from a million pictures. "
        "At the paper's weight the second head changes nothing that can be measured, be it right, shuffled or untrained. Weight "
        "1 helps a little on news, but as much with shuffled answers: it only holds the student back. To profit from another "
        "network's classes, ask it about unlabelled items too (DistillWeighted).",
    ),
    Proof(
        name="two resolutions",
        question="Is the mean of a network at full and one at half the resolution better than either?",
        metric="accuracy",
        keys={"image": "pictures, (N, H, W) or (N, H, W, C), even height and width", "y": "true classes, (N,) int"},
        datasets=two_sizes,
        prepare=three_networks,
        arms=(
            Arm("full and half", averaged("full", "half"), "method"),
            Arm("full resolution", averaged("full"), "baseline"),
            Arm("half resolution", averaged("half"), "baseline"),
            Arm("full twice", averaged("full", "full again"), "alternative"),
        ),
        note=WHERE
        + "Pixels of digits, descriptors of CIFAR-10. It helps where both resolutions are about as good; where half the "
        "resolution loses detail, two networks at the full one are better.",
    ),
)


def _groups(data: dict[str, Any]) -> np.ndarray:
    from labelwright.annotators.merging import choose_groups
    from labelwright.labels import check_pred_probs

    groups = choose_groups(data["y"], data["pred_probs"])
    return groups.split(groups.to_groups(check_pred_probs(data["pred_probs"])))


CONTRACTS = (
    Contract(
        "labelwright.annotators.merging.choose_groups",
        "labels+pred_probs",
        _groups,
        answers="distributions",
        exempt={"duplication": "twice the items make confusion twice as certain, so that more may be merged"},
    ),
)
