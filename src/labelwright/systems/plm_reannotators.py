"""Card 39: labels judged by their neighbours in an embedding, and softened by them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.systems import _datasets
from labelwright.systems.contract import Contract
from labelwright.systems.proof import Arm, Dataset, Proof

PARTS = {
    "neighbours": "labelwright.features.nearest_neighbours",
    "credibility": "labelwright.auditing.neighbours.credibility",
    "flags": "labelwright.auditing.neighbours.neighbour_issues",
    "correction": "labelwright.auditing.neighbours.suggest",
    "soft labels": "labelwright.auditing.neighbours.kernel_soft_labels",
}
N_NEIGHBOURS = 20


class Case(NamedTuple):
    """x (N, D) for a model, near: the neighbours, given and true (N,), train (N,) bool: the rows whose labels are used."""

    x: Any
    near: Any
    given: np.ndarray
    true: np.ndarray
    train: np.ndarray
    k: int


def planted_sets(folder: Path | None) -> Iterator[Dataset]:
    """Digits and texts with planted noise, CIFAR-10 with the labels of one person each."""
    x, y = _datasets.digits()
    for noise in ("symmetric 20 %", "pairwise 20 %"):
        yield Dataset(f"digits, {noise}", {"x": x, "y": y}, options={"noise": noise})
    if folder is None:
        return
    for name, n in (("trec", 2000), ("ag_news", 2000)):
        text, label, _ = _datasets.texts(folder / "text_classification" / f"{name}.parquet")
        codes = np.unique(label.astype(str), return_inverse=True)[1]
        rows = np.sort(np.random.default_rng(0).permutation(len(text))[:n])
        for noise in ("symmetric 20 %", "pairwise 20 %"):
            yield Dataset(f"{name}, {noise}", {"text": text[rows], "y": codes[rows]}, options={"noise": noise})
    labels, vectors = _datasets.arrays(folder / "cifar_n" / "cifar10n.npz"), _datasets.cifar_images(folder)
    for noise in ("aggregate", "worst"):
        columns = {"x": vectors, "y": labels["clean"][:12000], "y_given": labels[noise][:12000]}
        yield Dataset(f"CIFAR-10N {noise}, image descriptor", columns, real=True)


def prepare(data: Dataset, seed: int) -> Case:
    """Vectors, neighbours among the training rows, and labels: given ones on a fifth of the items, or noise of this seed."""
    from labelwright.auditing.noise import asymmetric, symmetric
    from labelwright.features import item_vectors, nearest_neighbours

    true = np.asarray(data["y"]).astype(np.int64)
    items: Any = data["x"] if "x" in data else list(data["text"])
    k, rng = int(true.max()) + 1, np.random.default_rng([seed, 1])  # not the stream of the noise
    if "y_given" in data:
        rows = _datasets.fifth(data, seed)
        items = items[rows] if isinstance(items, np.ndarray) else [items[i] for i in rows]
        true, given = true[rows], np.asarray(data["y_given"])[rows].astype(np.int64)
    elif str(data.options.get("noise", "")).startswith("pairwise"):
        given, _ = asymmetric(true, 0.2, n_classes=k, random_state=seed)
    else:
        given, _ = symmetric(true, 0.2, n_classes=k, random_state=seed)
    vectors = item_vectors(items)
    train = rng.random(len(true)) < 0.7
    seen = np.flatnonzero(train)
    near = nearest_neighbours(vectors.search[seen], min(N_NEIGHBOURS, len(seen) - 1))
    return Case(vectors.model, near, given, true, train, k)


def credible(k: int) -> Any:
    """AUROC of low credibility among the k nearest."""

    def run(case: Case, seed: int) -> float:
        from labelwright.auditing.neighbours import credibility
        from labelwright.features import Neighbours

        near = Neighbours(case.near.index[:, :k], case.near.similarity[:, :k])
        return _ranked(-np.nan_to_num(credibility(case.given[case.train], near), nan=0.5), case)

    return run


def self_confidence(case: Case, seed: int) -> float:
    """AUROC of card 58's score: a model trained out of fold."""
    from labelwright.auditing.scores import label_quality
    from labelwright.features import out_of_fold

    given = case.given[case.train]
    p = out_of_fold(case.x[np.flatnonzero(case.train)], given, n_classes=case.k, random_state=seed)
    return _ranked(-label_quality(given, p), case)


def _ranked(score: np.ndarray, case: Case) -> float:
    return _datasets.auroc(score, (case.given != case.true)[case.train])


def trained(mix: float) -> Any:
    """Test accuracy of a linear model trained on soft labels, `mix` of which is the neighbours' opinion."""

    def run(case: Case, seed: int) -> float:
        from labelwright.auditing.neighbours import kernel_soft_labels

        soft = kernel_soft_labels(case.given[case.train], case.near, case.k, mix=mix)
        return _test_accuracy(soft, case)

    return run


def on_the_truth(case: Case, seed: int) -> float:
    """The same model trained on the true labels."""
    return _test_accuracy(np.eye(case.k, dtype=np.float32)[case.true[case.train]], case)


def _test_accuracy(soft: np.ndarray, case: Case) -> float:
    """Multinomial logistic regression on distributions: every row once per class, weighted by its probability."""
    from sklearn.linear_model import LogisticRegression

    row, label = np.nonzero(soft > 1e-3)
    x = case.x[np.flatnonzero(case.train)]
    model = LogisticRegression(C=1.0, max_iter=200).fit(x[row], label, sample_weight=soft[row, label])
    test = np.flatnonzero(~case.train)
    return float((model.predict(case.x[test]) == case.true[test]).mean())


KEYS = {
    "x|text": "what the items look like: x (N, D) vectors, or text (N,) strings",
    "y": "true classes, (N,) int",
    "y_given?": "given classes, (N,) int; planted where absent",
}
PROOFS = (
    Proof(
        name="credibility",
        question="Do the nearest neighbours tell wrong labels, without any training?",
        metric="AUROC",
        keys=KEYS,
        datasets=planted_sets,
        prepare=prepare,
        arms=(
            Arm("credibility, 20 neighbours", credible(20), "method"),
            Arm("1-NN agreement", credible(1), "baseline"),
            Arm("self-confidence out of fold", self_confidence, "alternative"),
        ),
        note="Texts are compared by TF-IDF and image pixels by the built-in descriptor; with a good encoder credibility gains "
        "most. On CIFAR-10N a seed is one of five disjoint fifths of 12,000 pictures.",
    ),
    Proof(
        name="soft labels",
        question="Is a linear model better for being trained on labels softened by the neighbours?",
        metric="test accuracy",
        keys=KEYS,
        datasets=planted_sets,
        prepare=prepare,
        arms=(
            Arm("neighbours' share 0.6", trained(0.6), "method"),
            Arm("given labels", trained(0.0), "baseline"),
            Arm("neighbours' share 0.3", trained(0.3), "alternative"),
            Arm("neighbours alone", trained(1.0), "alternative"),
            Arm("true labels", on_the_truth, "bound"),
        ),
        note="The share 0.6 is the card's. Test rows keep their true labels and take part in nothing. The card's distant-peer "
        "loss, which it expects to add 0 to 2 points, is no part of this proof.",
    ),
)


def _credibility(data: dict[str, Any]) -> np.ndarray:
    from labelwright.auditing.neighbours import credibility
    from labelwright.features import nearest_neighbours

    return credibility(data["y"], nearest_neighbours(data["x"], 10))


def _soft(data: dict[str, Any]) -> np.ndarray:
    from labelwright.auditing.neighbours import kernel_soft_labels
    from labelwright.features import nearest_neighbours

    return kernel_soft_labels(data["y"], nearest_neighbours(data["x"], 10), data["n_classes"])


_COPIES = {"duplication": "copies take places among the ten nearest and then abstain, so fewer others are heard"}
CONTRACTS = (
    Contract("labelwright.auditing.neighbours.credibility", "labels+features", _credibility, exempt=_COPIES),
    Contract(
        "labelwright.auditing.neighbours.kernel_soft_labels",
        "labels+features",
        _soft,
        answers="distributions",
        exempt=_COPIES,
    ),
)
