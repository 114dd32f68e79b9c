"""Card 58, confident learning: the joint of given and true labels, the labels it flags, and what people said of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.systems import _datasets
from labelwright.systems.contract import Contract
from labelwright.systems.proof import Arm, Dataset, Proof

PARTS = {
    "out-of-fold probabilities": "labelwright.features.out_of_fold",
    "thresholds": "labelwright.auditing.thresholds.class_thresholds",
    "confident joint": "labelwright.auditing.confident.confident_joint",
    "noise rates": "labelwright.auditing.confident.noise_rates",
    "flags": "labelwright.auditing.filters.find_issues",
    "scores": "labelwright.auditing.scores.label_quality",
    "ensembles": "labelwright.auditing.scores.ensemble_quality",
    "multi-label flags": "labelwright.auditing.multilabel.multilabel_issues",
    "human verdicts": "labelwright.auditing.verdicts.verdicts",
    "benchmark stability": "labelwright.auditing.verdicts.benchmark_stability",
}
LOOKALIKES = {3: 8, 8: 3, 4: 9, 9: 4, 1: 7}


class Case(NamedTuple):
    """given (N,) class ids, p (N, K), true (N,) class ids, wrong (N,) bool."""

    given: np.ndarray
    p: np.ndarray
    true: np.ndarray
    wrong: np.ndarray


class Judged(NamedTuple):
    """given (N,), p (N, K) of the whole set; rows (R,): the judged items, perhaps drawn again; wrong (R,) bool."""

    given: np.ndarray
    p: np.ndarray
    rows: np.ndarray
    wrong: np.ndarray


# ------------------------------------------------------------------------------------------------------------ data
def known_truth(folder: Path | None) -> Iterator[Dataset]:
    """Digits with planted noise, and CIFAR-10N."""
    x, y = _datasets.digits()
    for kind in ("lookalikes 40 %", "symmetric 40 %"):
        yield Dataset(f"digits, {kind}", {"x": x, "y": y}, options={"noise": kind})
    yield from _datasets.cifar10n(folder)


def planted(data: Dataset, seed: int) -> Case:
    """One fifth of the items where given labels and probabilities are there; else noise, folds and predictions of this seed."""
    true = np.asarray(data["y"]).astype(np.int64)
    if "y_given" in data and "pred_probs" in data:
        rows = _datasets.fifth(data, seed)
        given, true = np.asarray(data["y_given"])[rows].astype(np.int64), true[rows]
        return Case(given, np.asarray(data["pred_probs"])[rows].astype(np.float64), true, given != true)
    from labelwright.auditing.noise import asymmetric, symmetric
    from labelwright.features import out_of_fold

    k = int(true.max()) + 1
    if data.options.get("noise", "").startswith("lookalikes"):
        given, _ = asymmetric(true, 0.4, n_classes=k, class_map=LOOKALIKES, random_state=seed)
    else:
        given, _ = symmetric(true, 0.4, n_classes=k, random_state=seed)
    p = out_of_fold(np.asarray(data["x"]), given, n_classes=k, random_state=seed)
    return Case(given, p, true, given != true)


def resampled(data: Dataset, seed: int) -> Judged:
    """The judged items (seed 0), or as many drawn with replacement; scores rest on the whole set."""
    verdict = np.asarray(data["wrong"])
    rows = np.flatnonzero(verdict >= 0)
    if seed:
        rows = np.random.default_rng(seed).choice(rows, len(rows))
    given, p = np.asarray(data["y_given"]), np.asarray(data["pred_probs"])
    return Judged(given, p, rows, verdict[rows] == 1)


# ------------------------------------------------------------------------------------------------------------ joint
def joint_distance(joint: np.ndarray, case: Case) -> float:
    """Sum of absolute differences of the estimated and the true joint distribution of (given, true); 2 at most."""
    true = np.zeros(joint.shape)
    np.add.at(true, (case.given, case.true), 1)
    return float(np.abs(joint / joint.sum() - true / true.sum()).sum())


def confident(case: Case, seed: int) -> float:
    """The calibrated confident joint."""
    from labelwright.auditing.confident import confident_joint

    return joint_distance(confident_joint(case.given, case.p), case)


def argmax_counts(case: Case, seed: int) -> float:
    """Given labels against predictions: the confusion matrix."""
    joint = np.zeros((case.p.shape[1],) * 2)
    np.add.at(joint, (case.given, case.p.argmax(1)), 1)
    return joint_distance(joint, case)


def error_model_counts(case: Case, seed: int) -> float:
    """Expected counts under the audit's own error model."""
    from labelwright.auditing.error_model import error_model

    dist = error_model(case.given, case.p).label_dist
    joint = np.zeros((case.p.shape[1],) * 2)
    np.add.at(joint, case.given, dist)
    return joint_distance(joint, case)


# ------------------------------------------------------------------------------------------------------------ flags
def flagged(filter_by: str) -> Any:
    """F1 of one of the card's filters, with its precision and recall."""

    def run(case: Case, seed: int) -> dict[str, float]:
        from labelwright.auditing.filters import find_issues

        return f1(find_issues(case.given, case.p, filter_by=filter_by), case)

    return run


def audit_flags(case: Case, seed: int) -> dict[str, float]:
    """The flags of `labelwright audit`: largest expected F1 under its error model."""
    from labelwright.auditing.error_model import error_model
    from labelwright.auditing.flags import expected_f1_cut

    return f1(expected_f1_cut(error_model(case.given, case.p).error_prob), case)


def f1(flag: np.ndarray, case: Case) -> dict[str, float]:
    hit = int((flag & case.wrong).sum())
    return {
        "F1": 2 * hit / max(1, int(flag.sum() + case.wrong.sum())),
        "precision": hit / max(1, int(flag.sum())),
        "recall": hit / max(1, int(case.wrong.sum())),
    }


# --------------------------------------------------------------------------------------------------------- verdicts
def scored(score: str) -> Any:
    """AUROC of a quality score against the verdicts."""

    def run(case: Judged, seed: int) -> float:
        from labelwright.auditing.scores import label_quality

        quality = label_quality(case.given[case.rows].astype(np.int64), case.p[case.rows], score=score)
        return _datasets.auroc(-quality, case.wrong)

    return run


def entropy(case: Judged, seed: int) -> float:
    """How unsure the model is, whatever the label."""
    p = np.maximum(case.p[case.rows].astype(np.float64), 1e-30)
    return _datasets.auroc(-(p * np.log(p)).sum(1), case.wrong)


def error_probability(case: Judged, seed: int) -> float:
    """The audit's own error model, fitted to the whole set."""
    return _datasets.auroc(_fitted(case)[case.rows], case.wrong)


_last: dict[int, Any] = {}


def _fitted(case: Judged) -> np.ndarray:
    """Error probabilities of the set at hand: the same for every resample of its judged items."""
    from labelwright.auditing.error_model import error_model

    if _last.get(0) is not case.p:
        p = case.p.astype(np.float64)
        fitted = error_model(case.given.astype(np.int64), p / p.sum(1, keepdims=True))
        _last.clear()
        _last.update({0: case.p, 1: fitted.error_prob})
    found: np.ndarray = _last[1]
    return found


TRUTH = {
    "y": "true classes, (N,) int",
    "y_given|x": "y_given: given classes, (N,) int, together with pred_probs; or x: (N, D) vectors, then noise is planted",
    "pred_probs?": "out-of-sample probabilities of the given classes, (N, K)",
}
PROOFS = (
    Proof(
        name="joint",
        question="Is the joint of given and true labels nearer the truth than the confusion matrix of labels and predictions?",
        metric="L1 distance",
        higher_is_better=False,
        keys=TRUTH,
        datasets=known_truth,
        prepare=planted,
        arms=(
            Arm("calibrated confident joint", confident, "method"),
            Arm("labels against predictions", argmax_counts, "baseline"),
            Arm("error model of the audit", error_model_counts, "alternative"),
        ),
        note="On the real sets a seed is one of five disjoint fifths of the items.",
    ),
    Proof(
        name="flags",
        question="Do the flagged items hold the wrong labels better than the rule that prediction and label differ?",
        metric="F1",
        keys=TRUTH,
        datasets=known_truth,
        prepare=planted,
        arms=(
            Arm("prune by noise rate", flagged("prune_by_noise_rate"), "method"),
            Arm("prediction is another class", flagged("predicted_neq_given"), "baseline"),
            Arm("prune by class", flagged("prune_by_class"), "alternative"),
            Arm("both", flagged("both"), "alternative"),
            Arm("off the diagonal", flagged("confident_learning"), "alternative"),
            Arm("flags of the audit", audit_flags, "alternative"),
        ),
        note="On the real sets a seed is one of five disjoint fifths of the items. The joint counts fewer human mistakes than "
        "there are (models agree with them), and each pair of classes is pruned by its count, so fewer are found. Use the "
        "flags of `labelwright audit`.",
    ),
    Proof(
        name="verdicts",
        question="Do the scores put the labels that people found wrong before those they found right?",
        metric="AUROC",
        keys={
            "y_given": "given classes, (N,) int",
            "pred_probs": "out-of-sample probabilities, (N, K)",
            "wrong": "what people said of the label: 1 wrong, 0 right, -1 not judged",
        },
        datasets=_datasets.human_verdicts,
        prepare=resampled,
        interval="bootstrap",
        seeds=300,
        arms=(
            Arm("normalized margin", scored("normalized_margin"), "method"),
            Arm("entropy of the prediction", entropy, "baseline"),
            Arm("self-confidence", scored("self_confidence"), "alternative"),
            Arm("error model of the audit", error_probability, "alternative"),
        ),
        note="Of the judged sets only items that confident learning had flagged were judged, so the AUROC is among those; the "
        "last set was labelled whole. Scores and error model rest on the whole sets.",
    ),
)


def _quality(data: dict[str, Any]) -> np.ndarray:
    from labelwright.auditing.scores import label_quality

    return label_quality(data["y"], data["pred_probs"], score="normalized_margin")


def _flags(data: dict[str, Any]) -> np.ndarray:
    from labelwright.auditing.filters import find_issues

    return find_issues(data["y"], data["pred_probs"])


CONTRACTS = (
    Contract("labelwright.auditing.scores.label_quality", "labels+pred_probs", _quality),
    Contract(
        "labelwright.auditing.filters.find_issues",
        "labels+pred_probs",
        _flags,
        exempt={"duplication": "it flags a whole number of items per pair of classes, and of two copies perhaps one"},
    ),
)
