"""Card 89: which labels to check first, by how far predictions lie from them in the tree of classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.systems import _datasets
from labelwright.systems.contract import Contract
from labelwright.systems.proof import Arm, Dataset, Proof

PARTS = {
    "class tree": "labelwright.labels.Hierarchy",
    "ranking": "labelwright.auditing.hierarchy.hierarchy_rank",
    "order with seeded ties": "labelwright.auditing.hierarchy.review_order",
    "effort": "labelwright.auditing.hierarchy.budget_curve",
}
BUDGET = 0.05  # of the items
N_MODELS = 5


class Case(NamedTuple):
    """given (N,), wrong (N,) bool, predicted (N, M), confidence (N, M), p (N, K) their mean, tree."""

    given: np.ndarray
    wrong: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray | None
    p: np.ndarray | None
    tree: Any


# ------------------------------------------------------------------------------------------------------------ data
def planted_sets(folder: Path | None) -> Iterator[Dataset]:
    """Digits under a made-up tree, and TREC questions under their own two levels."""
    x, y = _datasets.digits()
    groups = np.array([0, 1, 2, 2, 1, 2, 0, 1, 0, 1])[y]  # round, straight, open
    for noise in ("siblings", "far", "both"):
        yield Dataset(f"digits in three groups, {noise}", {"x": x, "y": y, "group": groups}, options={"noise": noise})
    if folder is None:
        return
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "text_classification" / "trec.parquet").slice(0, 3000)
    fine = np.array(table["fine_label"].to_pylist())
    _, codes, counts = np.unique(fine, return_inverse=True, return_counts=True)
    keep = counts[codes] >= 20
    codes = np.unique(fine[keep], return_inverse=True)[1]
    coarse = np.unique([n.split(":")[0] for n in fine[keep]], return_inverse=True)[1]
    text = np.array(table["text"].to_pylist(), dtype=object)[keep]
    for noise in ("siblings", "far", "both"):
        yield Dataset(
            f"TREC in six groups, {noise}", {"text": text, "y": codes, "group": coarse}, options={"noise": noise}
        )


def judged_sets(folder: Path | None) -> Iterator[Dataset]:
    """CIFAR-100 test labels that people judged, one model's predictions, and the twenty super-classes."""
    if folder is None:
        return
    found, tree = (
        _datasets.arrays(folder / "label_errors" / "cifar100.npz"),
        _datasets.arrays(folder / "cifar_n" / "cifar100n.npz"),
    )
    coarse = np.zeros(100, dtype=np.int64)
    coarse[tree["clean"]] = tree["clean_coarse"]
    wrong = np.full(len(found["given"]), -1)
    wrong[found["id"]] = found["votes"][:, 0] < 3
    rows = np.flatnonzero((wrong >= 0) & (found["given"] != found["pred"]))
    given = found["given"][rows].astype(np.int64)
    columns = {"y_given": given, "pred": found["pred"][rows], "wrong": wrong[rows], "group": coarse[given]}
    yield Dataset("CIFAR-100, judged test labels", columns, real=True, options={"coarse": tuple(coarse.tolist())})


def tree_of(groups: np.ndarray) -> Any:
    """Two levels: class k lies in group groups[k]."""
    from labelwright.labels import Hierarchy

    return Hierarchy({int(k): f"group {g}" for k, g in enumerate(groups)}, list(range(len(groups))))


def planted(data: Dataset, seed: int) -> Case:
    """10 % of the labels moved within or out of their group, and five models' predictions out of fold."""
    from labelwright.features import item_vectors, out_of_fold

    true, k = np.asarray(data["y"]).astype(np.int64), int(np.max(data["y"])) + 1
    groups = np.zeros(k, dtype=np.int64)
    groups[true] = np.asarray(data["group"]).astype(np.int64)
    given, tree = _moved(true, groups, str(data.options.get("noise", "both")), seed), tree_of(groups)
    x = item_vectors(data["x"] if "x" in data else list(data["text"])).model
    rng, model = np.random.default_rng([seed, 2]), _model(x)
    models = []
    for fold_seed in range(N_MODELS):  # each sees another half of the columns, so that they differ as models do
        columns = np.sort(rng.permutation(x.shape[1])[: (x.shape[1] + 1) // 2])
        models.append(out_of_fold(x[:, columns], given, n_classes=k, estimator=model, random_state=fold_seed))
    p = np.stack(models, 1)
    return Case(given, given != true, p.argmax(2), p.max(2), p.mean(1), tree)


def _model(x: Any) -> Any:
    """A quick classifier: naive Bayes for word counts, logistic regression for vectors."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import MultinomialNB

    return MultinomialNB(alpha=0.1) if hasattr(x, "tocsr") else LogisticRegression(max_iter=100)


def _moved(true: np.ndarray, groups: np.ndarray, noise: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    given = true.copy()
    for row in np.flatnonzero(rng.random(len(true)) < 0.1):
        near = np.flatnonzero((groups == groups[true[row]]) & (np.arange(len(groups)) != true[row]))
        far = np.flatnonzero(groups != groups[true[row]])
        choices = {"siblings": near, "far": far}.get(noise, near if rng.random() < 0.5 else far)
        if len(choices):
            given[row] = rng.choice(choices)
    return given


def judged(data: Dataset, seed: int) -> Case:
    """The judged items (seed 0), or as many drawn with replacement."""
    given = np.asarray(data["y_given"]).astype(np.int64)
    rows = np.random.default_rng(seed).integers(0, len(given), len(given)) if seed else np.arange(len(given))
    groups = np.asarray(data.options.get("coarse") or _groups(data))
    predicted = np.asarray(data["pred"])[rows].astype(np.int64)
    return Case(given[rows], np.asarray(data["wrong"])[rows] == 1, predicted[:, None], None, None, tree_of(groups))


def _groups(data: Dataset) -> np.ndarray:
    out = np.zeros(int(max(np.max(data["y_given"]), np.max(data["pred"]))) + 1, dtype=np.int64)
    out[np.asarray(data["y_given"])] = np.asarray(data["group"])
    return out


# ------------------------------------------------------------------------------------------------------------ arms
def ranked(strategy: str, tie_break: str | None = "confidence") -> Any:
    """Errors found in the budget, and the precision there."""

    def run(case: Case, seed: int) -> dict[str, float]:
        from labelwright.auditing.hierarchy import hierarchy_rank

        score = hierarchy_rank(
            case.given, case.predicted, case.confidence, case.tree, strategy=strategy, tie_break=tie_break
        )
        return found(score, case, seed)

    return run


def at_random(case: Case, seed: int) -> dict[str, float]:
    """A random order."""
    return found(np.zeros(len(case.given)), case, seed)


def error_probability(case: Case, seed: int) -> dict[str, float]:
    """The audit's error model on the models' mean probabilities."""
    from labelwright.auditing.error_model import error_model

    return found(error_model(case.given, case.p).error_prob, case, seed)


def found(score: np.ndarray, case: Case, seed: int) -> dict[str, float]:
    """Share of all wrong labels among the first 5 % of the items; precision there. Ties in a seeded random order."""
    order = np.lexsort(
        (np.random.default_rng([seed, 1]).random(len(score)), -score)
    )  # not the stream that planted them
    first = case.wrong[order[: max(1, round(BUDGET * len(order)))]]
    return {"errors found": float(first.sum() / max(1, case.wrong.sum())), "precision": float(first.mean())}


def told_apart(strategy: str) -> Any:
    """AUROC of the score against the verdicts."""

    def run(case: Case, seed: int) -> float:
        from labelwright.auditing.hierarchy import hierarchy_rank

        return _datasets.auroc(
            hierarchy_rank(case.given, case.predicted, None, case.tree, strategy=strategy), case.wrong
        )

    return run


PROOFS = (
    Proof(
        name="budget",
        question="How many of the wrong labels are among the 5 % of the items that are reviewed first?",
        metric="errors found",
        keys={
            "x|text": "what the items look like: x (N, D) vectors, or text (N,) strings",
            "y": "true classes, (N,) int; 10 % are made wrong",
            "group": "the group of each item's true class in a tree of two levels, (N,) int",
        },
        datasets=planted_sets,
        prepare=planted,
        needs_real=False,
        arms=(
            Arm("gold to prediction, ties by confidence", ranked("gp"), "method"),
            Arm("random order", at_random, "baseline"),
            Arm("signed confidence", ranked("signed_confidence"), "baseline"),
            Arm("number of models that disagree", ranked("disagreement", None), "alternative"),
            Arm("gold to common ancestor", ranked("gl", None), "alternative"),
            Arm("error probability of the audit", error_probability, "alternative"),
        ),
        note="Five models, each on half of the columns. The tree helps where mistakes are far from the truth and hurts where "
        "they are among siblings, as the card's own replay on TACRED says: hardly better than disagreement or confidence.",
    ),
    Proof(
        name="verdicts",
        question="Among labels that a model contradicts, does the distance in the tree tell those that people found wrong?",
        metric="AUROC",
        keys={
            "y_given": "given classes, (N,) int",
            "pred": "a model's classes, (N,) int",
            "wrong": "what people said of the label: 1 wrong, 0 right",
            "group": "the group of each given class, (N,) int",
        },
        datasets=judged_sets,
        prepare=judged,
        interval="bootstrap",
        seeds=400,
        arms=(
            Arm("gold to prediction", told_apart("gp"), "method"),
            Arm("disagreement", told_apart("disagreement"), "baseline"),
        ),
        note="One model's predicted classes are all there is for this set, so disagreement says nothing more (0.5).",
    ),
)


def _rank(data: dict[str, Any]) -> np.ndarray:
    from labelwright.auditing.hierarchy import hierarchy_rank
    from labelwright.labels import check_pred_probs

    p = check_pred_probs(data["pred_probs"])
    tree = tree_of(np.zeros(data["n_classes"], dtype=np.int64))
    return hierarchy_rank(data["y"], p.argmax(1)[:, None], p.max(1)[:, None], tree)


CONTRACTS = (Contract("labelwright.auditing.hierarchy.hierarchy_rank", "labels+pred_probs", _rank),)
