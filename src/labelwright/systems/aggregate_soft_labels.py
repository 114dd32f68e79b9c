"""Card 120: soft labels of a crowd by several models, averaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.systems import _datasets
from labelwright.systems._soft_label_students import calibrated_log_loss, misspelt, pictures, student, words
from labelwright.systems.contract import Contract
from labelwright.systems.proof import Arm, Dataset, Proof

PARTS = {
    "pooled distributions": "labelwright.crowds.pooling.pool",
    "fitted temperatures": "labelwright.crowds.pooling.temperatures",
    "average of seven models": "labelwright.crowds.pooling.fit_average",
}
SETS = ("rte", "dog", "trec", "bluebirds", "face", "adult2", "product", "color", "plot", "ducks")
SINGLES = ("vote_shares", "softmax_shares", "dawid_skene", "mace", "glad", "wawa", "zero_based_skill")


# ---------------------------------------------------------------------------------------------------------- votes
def crowds(folder: Path | None) -> Iterator[Dataset]:
    """A simulated crowd, and real ones whose truth is known."""
    rng = np.random.default_rng(0)
    truth, human = rng.integers(4, size=400), np.full((4, 4), 0.05) + 0.8 * np.eye(4)
    yield Dataset("simulated", dict(zip(("item", "annotator", "label"), ask(human[truth], 6, 40, rng))) | {"y": truth})
    for name in SETS if folder is not None and (folder / "crowd").is_dir() else ():
        assert folder is not None
        z = _datasets.arrays(folder / "crowd" / f"{name}.npz")
        columns = {"item": z["item"], "annotator": z["worker"], "label": z["label"], "y": z["truth"]}
        yield Dataset(name, columns, real=True)


def ask(
    human: np.ndarray, per_item: int, n_annotators: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items, annotators and labels of `per_item` votes on each of N items. An annotator of skill s answers as people do,
    human (N, K), with probability s and anything else; s is uniform in [0.3, 1]."""
    n, k = human.shape
    skill = rng.uniform(0.3, 1.0, n_annotators)
    item = np.repeat(np.arange(n), per_item)
    annotator = np.concatenate([rng.choice(n_annotators, per_item, replace=False) for _ in range(n)])
    said = (human.cumsum(1)[item] < rng.random((len(item), 1))).sum(1).clip(max=k - 1)
    return item, annotator, np.where(rng.random(len(item)) < skill[annotator], said, rng.integers(k, size=len(item)))


def labels_of(votes: Any, plain: bool) -> dict[str, Any]:
    """Soft labels by name: the seven, what they are pooled to, and the majority."""
    from labelwright.crowds.methods import METHODS
    from labelwright.crowds.pooling import HOW, PLAIN, pool

    found = {}
    for name in SINGLES:
        options = dict(PLAIN.get(name, {})) if plain else {}
        found[name] = METHODS[name](votes, **options, **({"restarts": 0} if name == "mace" else {})).labels
    pooled = {how: pool(list(found.values()), how) for how in HOW}
    return found | pooled | {"majority": METHODS["majority"](votes).labels}


def votes_of(item: Any, annotator: Any, label: Any, n: int, k: int) -> Any:
    """`Prepared` votes on n items about k classes."""
    from labelwright.crowds.prepared import prepare
    from labelwright.labels import LabelSpace, Votes

    item, annotator, label = (np.asarray(x).astype(np.int64) for x in (item, annotator, label))
    a = int(annotator.max(initial=-1)) + 1
    return prepare(Votes(item, annotator, label, np.arange(n), np.arange(a), LabelSpace(range(k))))


# --------------------------------------------------------------------------------------------------- label level
class Judged(NamedTuple):
    """losses, hits: by arm, (N,) log loss and whether the likeliest class is right, ties in part.   rows: items to score."""

    losses: dict[str, np.ndarray]
    hits: dict[str, np.ndarray]
    rows: np.ndarray


_JUDGED: dict[
    str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
] = {}  # of each data set: resamples share the fits


def judged(data: Dataset, seed: int) -> Judged:
    """The items with known truth (seed 0), or as many drawn with replacement. Every model is fitted to all votes once."""
    truth = np.asarray(data["y"]).astype(np.int64)
    if data.fingerprint not in _JUDGED:
        k = int(max(truth.max(), np.max(data["label"]))) + 1
        votes = votes_of(data["item"], data["annotator"], data["label"], len(truth), k)
        losses, hits = {}, {}
        for plain in (True, False):
            for name, labels in labels_of(votes, plain).items():
                key = f"{name} {plain}"
                losses[key], hits[key] = _judge(labels.dense().astype(np.float64), truth)
        _JUDGED[data.fingerprint] = losses, hits
    known = np.flatnonzero(truth >= 0)
    rows = np.random.default_rng(seed).choice(known, len(known)) if seed else known
    return Judged(*_JUDGED[data.fingerprint], rows)


def _judge(p: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    here = np.arange(len(p)), np.maximum(truth, 0)
    top = p >= p.max(1, keepdims=True) - 1e-6
    return -np.log(np.clip(p[here], 1e-6, 1)), top[here] / top.sum(1)


def labelled(name: str, plain: bool) -> Callable[[Judged, int], dict[str, float]]:
    """Log loss and accuracy of one kind of label."""

    def run(case: Judged, seed: int) -> dict[str, float]:
        key = f"{name} {plain}"
        return {
            "log loss": float(case.losses[key][case.rows].mean()),
            "accuracy": float(case.hits[key][case.rows].mean()),
        }

    return run


# ------------------------------------------------------------------------------------------------- training level
def training_sets(folder: Path | None) -> Iterator[Dataset]:
    """Digits; words of tweets with the tags of a real crowd; pictures on which some fifty people voted each."""
    x, y = _datasets.digits()
    yield Dataset("digits", {"image": x.reshape(-1, 8, 8), "y": y})
    if folder is None:
        return
    import pyarrow.parquet as pq

    z = _datasets.arrays(folder / "crowd_pos" / "votes.npz")
    table = pq.read_table(folder / "crowd_pos" / "tokens.parquet")
    columns = {
        "item": z["item"], "annotator": z["worker"], "label": z["label"], "y": z["truth"],
        "text": np.array(table["token"].to_pylist(), dtype=object), "group": table["sentence"].to_numpy(),
    }  # fmt: skip
    yield Dataset("tags of words in tweets", columns, real=True)
    counts = _datasets.arrays(folder / "cifar10h" / "cifar10h.npz")["counts"][:3000]
    image = _datasets.arrays(folder / "cifar10" / "test.npz")["x"][:3000] / np.float32(255)
    yield Dataset(
        "CIFAR-10H pictures",
        {"image": image, "human": counts / counts.sum(1, keepdims=True), "y": counts.argmax(1)},
    )


class Task(NamedTuple):
    """x: vectors of the training items.   labels: by name, (n, K).   tests: vectors of the test items, as they are first and
    then shifted.   y: (m,) their classes.   kept: scores of the students trained so far."""

    x: Any
    labels: dict[str, np.ndarray]
    tests: list[Any]
    y: np.ndarray
    kept: dict[str, dict[str, float]]


def task(data: Dataset, seed: int) -> Task:
    """A third of the items (of the sentences, where items have a group) to train on, at most 1,500, the others to test."""
    rng, y = np.random.default_rng(seed), np.asarray(data["y"]).astype(np.int64)
    group = np.asarray(data["group"]) if "group" in data else np.arange(len(y))
    order = rng.permutation(group.max() + 1)
    some = np.isin(group, order[: min(len(order) // 3, 1500)])
    train, test = np.flatnonzero(some), np.flatnonzero(~some)[:4000]
    k = int(y.max()) + 1
    if "item" in data:
        mine = np.isin(data["item"], train)
        columns = [np.asarray(data[key])[mine] for key in ("item", "annotator", "label")]
        item, annotator, label = np.searchsorted(train, columns[0]), columns[1], columns[2]
    else:
        human = np.asarray(data["human"]) if "human" in data else np.eye(k)[y]
        item, annotator, label = ask(human[train], 5, 60, rng)
    votes = votes_of(item, annotator, label, len(train), k)
    labels = {f"{name} {plain}": found.dense().astype(np.float64) for plain in (True, False)
              for name, found in labels_of(votes, plain).items()}  # fmt: skip
    labels["truth"] = np.eye(k)[y[train]]
    if "text" in data:
        views = [words(np.asarray(data["text"]), group), words(misspelt(np.asarray(data["text"]), seed), group)]
    else:
        views = pictures(np.asarray(data["image"]).tobytes(), np.asarray(data["image"]).shape)
    return Task(views[0][train], labels, [view[test] for view in views], y[test], {})


def trained(name: str) -> Callable[[Task, int], dict[str, float]]:
    """What a student learns from one kind of label, tested on shifted items."""

    def run(case: Task, seed: int) -> dict[str, float]:
        if name not in case.kept:
            predict = student(case.x, case.labels[name])
            p = [predict(x) for x in case.tests]
            losses = [calibrated_log_loss(q, case.y, seed) for q in p]
            right = [float((q.argmax(1) == case.y).mean()) for q in p]
            case.kept[name] = {
                "calibrated log loss": float(np.mean(losses[1:])), "without shift": losses[0],
                "accuracy": float(np.mean(right[1:])), "accuracy without shift": right[0],
            }  # fmt: skip
        return case.kept[name]

    return run


def median_of_singles(case: Task, seed: int) -> dict[str, float]:
    """Of what students learn from the seven, figure by figure."""
    told = [trained(f"{name} True")(case, seed) for name in SINGLES]
    return {key: float(np.median([t[key] for t in told])) for key in told[0]}


# ---------------------------------------------------------------------------------------------------------- proofs
NAMES = {
    "vote_shares": "vote shares", "softmax_shares": "softmax shares", "dawid_skene": "Dawid-Skene", "mace": "MACE",
    "glad": "GLAD", "wawa": "Wawa", "zero_based_skill": "zero-based skill",
}  # fmt: skip
POOLED = {
    "js_centroid": "centroid", "conflation": "conflation", "temperature": "temperatures", "hybrid": "temperatures, centroid",
}  # fmt: skip
VOTES = {
    "item": "item of each vote, (V,) int from 0",
    "annotator": "annotator of each vote, (V,) int from 0",
    "label": "class of each vote, (V,) int from 0",
    "y": "true class of each item, (N,) int, -1 unknown",
}


def label_arms(plain: bool) -> tuple[Arm, ...]:
    """The average against each of the seven, and the other ways to pool."""
    return (
        Arm("average", labelled("average", plain), "method"),
        *(Arm(title, labelled(name, plain)) for name, title in NAMES.items()),
        *(Arm(title, labelled(name, plain), "alternative") for name, title in POOLED.items()),
        Arm("majority", labelled("majority", plain), "alternative"),
        Arm("average of " + ("our models" if plain else "plain models"), labelled("average", not plain), "alternative"),
    )


PROOFS = (
    Proof(
        name="labels",
        question="Is the average of seven kinds of label, as their papers have them, nearer the truth than each?",
        metric="log loss",
        higher_is_better=False,
        keys=VOTES,
        datasets=crowds,
        prepare=judged,
        interval="bootstrap",
        seeds=300,
        arms=label_arms(True),
        note="Probabilities are cut at 1e-6. Every model is fitted once to all votes, without truth; the interval is over the "
        "items. Dawid-Skene, MACE (begun from the vote shares only) and GLAD count votes in full here. Single sets differ: on "
        "colour and ducks some single kinds of label are better, and on five of the ten real sets (most on bluebirds, where "
        "Dawid-Skene has 0.90) the best of them is right on more items than the average by over 0.01.",
    ),
    Proof(
        name="tempered labels",
        question="Does averaging still help where the models are tempered, as they are in this package?",
        metric="log loss",
        higher_is_better=False,
        keys=VOTES,
        datasets=crowds,
        prepare=judged,
        interval="bootstrap",
        seeds=300,
        arms=label_arms(False),
        note="As before. How far models are tempered was chosen on product, dog, rte, trec and ducks, with truth. The average "
        "is best over all sets, but on most single sets some model is better: Dawid-Skene where it suits the crowd.",
    ),
    Proof(
        name="training",
        question="Does a student of the average foretell shifted items better than the median student of the seven?",
        metric="calibrated log loss",
        higher_is_better=False,
        keys={
            "image|text": "pictures in [0, 1], (N, H, W) or (N, H, W, 3) float32; or words, (N,) strings",
            "y": "true class of each item, (N,) int",
            "human?": "how people answer, (N, K), of which votes are drawn; else from y",
            "item?": "item of each vote, (V,) int; annotator and label go with it",
            "group?": "sentence of each word, (N,) int",
        },
        datasets=training_sets,
        prepare=task,
        arms=(
            Arm("average", trained("average True"), "method"),
            Arm("median of the seven", median_of_singles),
            *(Arm(title, trained(f"{name} True"), "alternative") for name, title in NAMES.items()),
            Arm("centroid", trained("js_centroid True"), "alternative"),
            Arm("majority", trained("majority True"), "alternative"),
            Arm("average of our models", trained("average False"), "alternative"),
            Arm("true labels", trained("truth"), "bound"),
        ),
        note="A linear student. The votes on words are those of a real crowd; on digits and pictures five votes per item were "
        "drawn, on pictures from the answers of some fifty people, and given to sixty made-up annotators of uneven skill. "
        "The shift is planted: noise, blur and low contrast; lower case and missing letters. On the words, the one "
        "real set, the average is better than the median but behind vote shares, Wawa and zero-based skill; on the others behind "
        "MACE and GLAD, the models by which their votes were drawn.",
    ),
)


def _labels(data: dict[str, Any]) -> np.ndarray:
    from labelwright.crowds.pooling import fit_average

    n = int(data["item"].max()) + 1 if len(data["item"]) else 0
    votes = votes_of(data["item"], data["annotator"], data["label"], n, data["n_classes"])
    return np.asarray(fit_average(votes, random_state=data["seed"]).labels.dense())


CONTRACTS = (
    Contract(
        "labelwright.crowds.pooling.fit_average",
        "votes",
        _labels,
        answers="distributions",
        exempt={
            "duplication": "twice as many votes tell more of each annotator",
            "nan": "a vote without a label is an abstention and says nothing",
        },
    ),
)
