"""Card 43, labelling instructions from labelled items: do a few chosen (example, phrase) pairs find the items of a class?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.systems import _datasets
from labelwright.systems.contract import Contract
from labelwright.systems.proof import Arm, Dataset, Proof

PARTS = {
    "instructions": "labelwright.auditing.instructions.labelling_instructions",
    "candidate examples": "labelwright.auditing.instructions.exemplars.candidate_examples",
    "candidate phrases": "labelwright.auditing.instructions.phrases.class_phrases",
    "choice of pairs": "labelwright.auditing.instructions.exemplars.greedy_pairs",
    "score": "labelwright.auditing.instructions.exemplars.average_precision",
    "agreement of neighbours": "labelwright.auditing.neighbours.suggest",
}
PAIRS, CANDIDATES, WEIGHT, MIN_GAIN, FOLDS = 4, 100, 0.5, 0.002, 5  # the card's
MOST_ITEMS, AUDITED, MOST_CLASSES, NEAR = 3000, 2000, 20, 10  # a seed draws that many items of the largest classes


Encode = Callable[[list[str]], np.ndarray] | None


class Task(NamedTuple):
    """One class in one fold. Queries score items; the candidates are those of the class in the training part.

    examples, phrases: queries (the latter none for images).   own: (E,) training rows of the examples.   medoids: (m,) rows
    of `examples`.   name: the class name, None for images.   prototype: the mean of the class.   y_train, y_held: (n,) bool.
    """

    examples: Any
    phrases: Any
    own: np.ndarray
    medoids: np.ndarray
    name: Any
    prototype: Any
    x_train: np.ndarray
    y_train: np.ndarray
    x_held: np.ndarray
    y_held: np.ndarray


# ------------------------------------------------------------------------------------------------------------ data
def text_sets(folder: Path | None) -> Iterator[Dataset]:
    """Published text sets, with words for their classes; two of them once more for a text encoder where one is installed."""
    for name in ("trec", "ag_news", "dbpedia14", "banking77"):
        found = _datasets.texts_of(folder, name)
        if found is not None:
            columns = {"text": found[0], "y": found[1]}
            yield Dataset(f"{name}, TF-IDF", columns, real=True)
            if name in ("trec", "banking77") and (encoder := _datasets.text_encoder()) is not None:
                yield Dataset(f"{name}, {encoder.name}", columns, real=True, options={"encoder": True})


def image_sets(folder: Path | None) -> Iterator[Dataset]:
    """Digits of scikit-learn, and MNIST."""
    x, y = _datasets.digits()
    yield Dataset("digits", {"x": x, "y": y}, real=True)
    if folder is not None and (folder / "mnist" / "test.npz").is_file():
        found = _datasets.arrays(folder / "mnist" / "test.npz")
        yield Dataset("MNIST test", {"image": found["x"], "y": found["y"].astype(np.int64)}, real=True)


def noisy_sets(folder: Path | None) -> Iterator[Dataset]:
    """The same sets, whose labels `noised` changes, and CIFAR-10 with labels by people."""
    for data in (*image_sets(folder), *text_sets(folder)):
        yield Dataset(data.name, data.arrays, options=data.options)
    if folder is not None and (folder / "cifar10" / "train_first12000.npz").is_file():
        image = _datasets.arrays(folder / "cifar10" / "train_first12000.npz")["x"]
        labels = _datasets.arrays(folder / "cifar_n" / "cifar10n.npz")
        for noise in ("aggregate", "worst"):
            y, given = labels["clean"][: len(image)], labels[noise][: len(image)]
            columns = {"image": image, "y": y.astype(np.int64), "y_given": given.astype(np.int64)}
            yield Dataset(f"CIFAR-10N {noise}", columns, real=True)


def drawn(
    data: Dataset, seed: int, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str] | None, list[Any]]:
    """(rows, vectors (n, D) of length 1, class ids, texts or None, class names) of items in random order."""
    names, ids = np.unique(_plain(data["y"]), return_inverse=True)
    large = np.argsort(-np.bincount(ids), kind="stable")[:MOST_CLASSES]
    rows = np.random.default_rng(seed).permutation(len(ids))
    rows = rows[np.isin(ids[rows], large)][:most]
    kept, y = np.unique(ids[rows], return_inverse=True)
    texts = [str(data["text"][i]) for i in rows] if "text" in data else None
    x = _datasets.vectors_of(data)[rows]
    x = x - x.mean(axis=0)  # as `labelling_instructions` does: what all items share drowns the single queries most
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return rows, np.asarray(x, np.float32), y, texts, names[kept].tolist()


def _plain(labels: Any) -> np.ndarray:
    """Labels that can be sorted: names as strings."""
    found = np.asarray(labels)
    return found.astype(str) if found.dtype.kind == "O" else found


_WORDS: dict[str, np.ndarray] = {}  # phrases come back in every fold


def _encode(words: list[str]) -> np.ndarray:
    if new := [w for w in words if w not in _WORDS]:
        _WORDS.update(zip(new, _datasets.text_encoder().encode(new)))
    return np.stack([_WORDS[w] for w in words])


# ------------------------------------------------------------------------------------------------------- retrieval
def tasks(data: Dataset, seed: int) -> list[Task]:
    """Every class in every fold, with candidates that all arms share; no held-out item or label has a part in them."""
    from labelwright.auditing.instructions.phrases import class_phrases, phrase_table, readable
    from labelwright.auditing.neighbours import suggest
    from labelwright.features import nearest_neighbours
    from labelwright.features.folds import fold_ids

    _, x, y, texts, names = drawn(data, seed, MOST_ITEMS)
    near, fold = nearest_neighbours(x, NEAR), fold_ids(y, n_folds=FOLDS, random_state=seed)
    encode = _encode if data.options.get("encoder") else None
    words = [readable(name) or str(name) for name in names]
    table = None if texts is None else phrase_table(texts, [w for name in words for w in (name, *name.split())])
    out = []
    for f in range(FOLDS):
        train = fold != f
        agreeing = train & (suggest(np.where(train, y, -1), near) == y)
        marks = [] if table is None else class_phrases(table, np.where(train, y, -1), len(names), most=CANDIDATES // 2)
        for c in range(len(names)):
            told = named = None
            if table is not None:
                told = _phrase_vectors(table, [table.phrases[i] for i in marks[c]], x, train, encode)
                named = _name_vector(table, words[c], x, train, encode)
            out.append(_task(x, y == c, train, agreeing, told, named))
    return out


def _phrase_vectors(table: Any, words: list[str], x: np.ndarray, train: np.ndarray, encode: Encode) -> np.ndarray:
    """(P, D) of length 1: by the encoder, or the mean of the training items that contain the phrase."""
    from labelwright.auditing.instructions.phrases import PhraseTable, phrase_vectors

    if encode is not None and words:
        v = encode(words)
        return np.asarray(v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12), np.float32)
    columns = np.array([table.phrases.index(w) for w in words if w in table.phrases], np.int64)
    v = phrase_vectors(PhraseTable([], table.contains[train]), columns, x[train])
    return v[v.any(axis=1)]


def _name_vector(table: Any, name: str, x: np.ndarray, train: np.ndarray, encode: Encode) -> np.ndarray:
    """(1, D) the class name: as a phrase, else the mean of its words, else the mean of everything."""
    for words in ([name], name.split()):
        found = _phrase_vectors(table, words, x, train, encode)
        if len(found):
            return found.mean(axis=0, keepdims=True)
    return x[train].mean(axis=0, keepdims=True)


def _task(x: np.ndarray, own: np.ndarray, train: np.ndarray, agreeing: np.ndarray, told: Any, named: Any) -> Task:
    from labelwright.auditing.instructions.exemplars import candidate_examples, medoids, standardised

    rows = np.flatnonzero(own & agreeing)
    rows = rows if len(rows) else np.flatnonzero(own & train)
    picked = rows[candidate_examples(x[rows], CANDIDATES)]
    middle = rows[medoids(x[rows], min(PAIRS, len(rows)))]
    candidate = np.concatenate([picked, np.setdiff1d(middle, picked)])
    place, x_train = np.cumsum(train) - 1, x[train]
    return Task(
        examples=standardised(x[candidate], x_train),
        phrases=standardised(x[:0] if told is None else told, x_train),
        own=place[candidate],
        medoids=np.flatnonzero(np.isin(candidate, middle)),
        name=None if named is None else standardised(named, x_train),
        prototype=standardised(x[own & train].mean(axis=0, keepdims=True), x_train),
        x_train=x_train, y_train=own[train], x_held=x[~train], y_held=own[~train],
    )  # fmt: skip


def rows_of(queries: Any, rows: Any) -> Any:
    """Some of the queries."""
    return type(queries)(queries.vectors[rows], queries.offset[rows])


def greedy(weight: float, phrases: bool = True) -> Callable[[Task, np.random.Generator], Any]:
    """Pairs chosen by average precision on the training part; weight 1: examples alone, 0: phrases alone."""

    def choose(task: Task, rng: np.random.Generator) -> Any:
        from labelwright.auditing.instructions.exemplars import fused, greedy_pairs

        told = task.phrases if phrases else rows_of(task.phrases, slice(0))
        found = greedy_pairs(
            task.examples.scores(task.x_train), told.scores(task.x_train), task.y_train, task.own,
            pairs=PAIRS, weight=weight, min_gain=MIN_GAIN,
        )  # fmt: skip
        e, p = np.array(found).T
        chosen = rows_of(task.examples, e)
        return chosen if p[0] < 0 else fused(chosen, rows_of(told, p), weight)

    return choose


def random_examples(task: Task, rng: np.random.Generator) -> Any:
    """As many examples, drawn from the same candidates (their neighbours agree)."""
    return rows_of(task.examples, rng.permutation(len(task.own))[:PAIRS])


def random_pairs(task: Task, rng: np.random.Generator) -> Any:
    """As many pairs, drawn from the same candidates."""
    from labelwright.auditing.instructions.exemplars import fused

    chosen = random_examples(task, rng)
    n = len(task.phrases.offset)
    told = rng.choice(n, len(chosen.offset), replace=n < len(chosen.offset)) if n else None
    return chosen if told is None else fused(chosen, rows_of(task.phrases, told), WEIGHT)


def retrieval(choose: Callable[[Task, np.random.Generator], Any]) -> Any:
    """Mean average precision over classes and folds, on held-out items."""

    def run(found: list[Task], seed: int) -> dict[str, float]:
        from labelwright.auditing.instructions.exemplars import average_precision

        rng = np.random.default_rng(seed)
        ap, size, alike = [], [], []
        for task in found:
            queries = choose(task, rng)
            ap.append(average_precision(queries.best(task.x_held)[None], task.y_held)[0])
            size.append(len(queries.offset))
            if size[-1] > 1:
                v = queries.vectors / np.maximum(np.linalg.norm(queries.vectors, axis=1, keepdims=True), 1e-12)
                alike.append(((v @ v.T).sum() - len(v)) / (len(v) * (len(v) - 1)))
        also = {"redundancy": float(np.mean(alike))} if alike else {}
        return {"mAP": float(np.nanmean(ap)), "queries": float(np.mean(size)), **also}

    return run


# ----------------------------------------------------------------------------------------------------------- audit
class Case(NamedTuple):
    """x (n, D), given (n,) class ids, wrong (n,) bool, texts or None, names of the classes, and their encoder if any."""

    x: np.ndarray
    given: np.ndarray
    wrong: np.ndarray
    texts: list[str] | None
    names: list[Any]
    encode: Encode


def noised(data: Dataset, seed: int) -> Case:
    """Up to 2000 items with the labels that people gave, or with one label in ten replaced by another class."""
    from labelwright.auditing.noise import symmetric

    rows, x, y, texts, names = drawn(data, seed, AUDITED)
    encode = _encode if data.options.get("encoder") else None
    if "y_given" not in data:
        given = symmetric(y, 0.1, n_classes=len(names), random_state=seed)[0]
        return Case(x, given, given != y, texts, names, encode)
    number = {name: i for i, name in enumerate(names)}
    given = np.array([number.get(name, -1) for name in _plain(data["y_given"])[rows].tolist()])
    kept = np.flatnonzero(given >= 0)  # a label outside the classes drawn is nobody's example
    texts = None if texts is None else [texts[i] for i in kept]
    return Case(x[kept], given[kept], (given != y)[kept], texts, names, encode)


def by_instructions(case: Case, seed: int) -> dict[str, float]:
    """How much better an item fits the instructions of its class than those of any other; also, how many of the suspects
    are wrong."""
    from labelwright.auditing.instructions import labelling_instructions
    from labelwright.labels import LabelSpace

    found = labelling_instructions(
        case.given, case.x, texts=case.texts, text_vectors=case.encode, space=LabelSpace(case.names), random_state=seed
    )
    hit = float(case.wrong[list(found.suspects)].mean()) if found.suspects else 0.0
    return {"AUROC": auroc(-found.quality, case.wrong), "suspects": len(found.suspects), "suspects wrong": hit}


def by_class_mean(case: Case, seed: int) -> float:
    """How much nearer an item is to the mean of its class (without itself) than to that of any other class."""
    k = len(case.names)
    total = np.stack([case.x[case.given == c].sum(axis=0) for c in range(k)])
    unit = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
    similarity = case.x @ unit.T
    rest = total[case.given] - case.x
    own = (case.x * rest).sum(axis=1) / np.maximum(np.linalg.norm(rest, axis=1), 1e-12)
    similarity[np.arange(len(own)), case.given] = -np.inf
    return auroc(similarity.max(axis=1) - own, case.wrong)


def by_self_confidence(case: Case, seed: int) -> float:
    """Card 58: the out-of-fold probability of the given class."""
    from labelwright.auditing.scores import label_quality
    from labelwright.features import out_of_fold

    p = out_of_fold(case.x, case.given, n_classes=len(case.names), random_state=seed)
    return auroc(-label_quality(case.given, p), case.wrong)


def by_neighbours(case: Case, seed: int) -> float:
    """Card 39: the share of the neighbours with the same label."""
    from labelwright.auditing.neighbours import credibility
    from labelwright.features import nearest_neighbours

    return auroc(-np.nan_to_num(credibility(case.given, nearest_neighbours(case.x, 20)), nan=0.5), case.wrong)


def auroc(score: np.ndarray, wrong: np.ndarray) -> float:
    """Chance that a wrong label scores higher than a right one, ties half."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(wrong, score)) if 0 < wrong.sum() < len(wrong) else 0.5


_DRAWN = (
    f"A seed draws up to {MOST_ITEMS} items of the {MOST_CLASSES} largest classes, {FOLDS} folds and the candidates. "
)
PROOFS = (
    Proof(
        name="text",
        question="Do chosen (example, phrase) pairs find the texts of a class better than its name or pairs at random?",
        metric="mAP",
        keys={
            "text": "the items, N strings",
            "y": "their classes, names or numbers; a name in words is a baseline's query",
        },
        datasets=text_sets,
        prepare=tasks,
        arms=(
            Arm("greedy pairs", retrieval(greedy(WEIGHT)), "method"),
            Arm("class name only", retrieval(lambda task, rng: task.name), "baseline"),
            Arm("random pairs", retrieval(random_pairs), "baseline"),
            Arm("random examples", retrieval(random_examples), "baseline"),
            Arm("medoid examples", retrieval(lambda task, rng: rows_of(task.examples, task.medoids)), "alternative"),
            Arm("greedy phrases only", retrieval(greedy(0.0)), "alternative"),
            Arm("greedy examples only", retrieval(greedy(1.0, phrases=False)), "alternative"),
            Arm("mean of the class", retrieval(lambda task, rng: task.prototype), "alternative"),
        ),
        note=_DRAWN
        + "Labels are the published ones. The mean of the items is taken from all vectors: decided on mr and "
        "sst5, after a first look at one seed of these sets. The mean of a class, which nobody can read, is no bound.",
    ),
    Proof(
        name="image",
        question="Do chosen examples alone find the images of a class better than examples at random?",
        metric="mAP",
        keys={"x|image": "x: (N, D) vectors, or image: (N, H, W[, 3]) uint8", "y": "their classes, names or numbers"},
        datasets=image_sets,
        prepare=tasks,
        arms=(
            Arm("greedy examples", retrieval(greedy(1.0)), "method"),
            Arm("random examples", retrieval(random_examples), "baseline"),
            Arm("medoid examples", retrieval(lambda task, rng: rows_of(task.examples, task.medoids)), "alternative"),
            Arm("mean of the class", retrieval(lambda task, rng: task.prototype), "alternative"),
        ),
        note=_DRAWN + "Phrases would need a joint encoder of images and texts.",
    ),
    Proof(
        name="audit",
        question="Do items that fit the instructions of another class better have wrong labels?",
        metric="AUROC",
        keys={
            "x|image|text": "x: (N, D) vectors, or image: (N, H, W[, 3]) uint8, or text: N strings",
            "y": "true classes, names or numbers",
            "y_given?": "given classes; without them one label in ten is changed",
        },
        datasets=noisy_sets,
        prepare=noised,
        arms=(
            Arm("instructions", by_instructions, "method"),
            Arm("nearest class mean", by_class_mean, "baseline"),
            Arm("self-confidence, out of fold", by_self_confidence, "alternative"),
            Arm("neighbours", by_neighbours, "alternative"),
        ),
        note="Planted noise is one label in ten, another class at random; CIFAR-10N has the labels of people (no encoder). "
        "Why it loses is not settled: 12 or 30 pairs (one draw) narrow the gap on some sets and not on others.",
    ),
)


def _quality(data: dict[str, Any]) -> np.ndarray:
    from labelwright.auditing.instructions import labelling_instructions

    return labelling_instructions(data["y"], data["x"], random_state=data["seed"]).quality


_BY_PLACE = "candidates are drawn by the place of an item, and a copy of an item takes the place of another one"
CONTRACTS = (
    Contract(
        "labelwright.auditing.instructions.labelling_instructions",
        "labels+features",
        _quality,
        exempt={"permutation": _BY_PLACE, "duplication": _BY_PLACE},
    ),
)
