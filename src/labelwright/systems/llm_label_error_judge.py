"""Card 40: label errors found by an ensemble of judges, bounded by an audit, flipped or dropped where the audit says so."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.systems import _datasets
from labelwright.systems.contract import Contract
from labelwright.systems.proof import Arm, Dataset, Proof

PARTS = {
    "ensemble": "labelwright.annotators.judges.judge_ensemble",
    "precision by confidence": "labelwright.annotators.judges.precision_by_confidence",
    "lower bound": "labelwright.annotators.judges.error_lower_bound",
    "mitigation": "labelwright.annotators.judges.mitigation_plan",
    "judges as votes": "labelwright.annotators.judges.judge_votes",
}
FAMILIES, SUBSETS = 4, 4
AUDITED = 160  # items, as in the paper
N_AUDITS = 500


class Case(NamedTuple):
    """p (J, N, K) of judges who never saw the labels they judge; given and true (N,); own (N, K): out-of-fold probabilities of
    one model that learned from the given labels and from what the judges learned from; x, x_test, y_test: of the model that is
    trained in the end; audit: the items that experts looked at."""

    p: np.ndarray
    given: np.ndarray
    true: np.ndarray
    own: np.ndarray
    x: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    audit: np.ndarray


# ------------------------------------------------------------------------------------------------------------------ data
def sets(folder: Path | None) -> Iterator[Dataset]:
    """Digits and two sets of texts with planted noise, and pictures with the labels of one person each."""
    x, y = _datasets.digits()
    yield Dataset("digits, planted", {"x": x, "y": y})
    if folder is None:
        return
    for name, n in (("trec", 2400), ("mr", 2400)):
        text, label, _ = _datasets.texts(folder / "text_classification" / f"{name}.parquet")
        codes = np.unique(label.astype(str), return_inverse=True)[1]
        rows = np.sort(np.random.default_rng(0).permutation(len(text))[:n])
        encoder = _datasets.text_encoder() is not None
        yield Dataset(f"{name}, planted", {"text": text[rows], "y": codes[rows]}, options={"encoder": encoder})
    labels, vectors = _datasets.arrays(folder / "cifar_n" / "cifar10n.npz"), _datasets.cifar_images(folder)
    for noise in ("aggregate", "worst"):
        columns = {"x": vectors, "y": labels["clean"][:12000], "y_given": labels[noise][:12000]}
        yield Dataset(f"CIFAR-10N {noise}, image descriptor", columns, real=True)


_MADE: dict[tuple[str, int], Case] = {}  # the three proofs read the same cases


def prepare(data: Dataset, seed: int) -> Case:
    """A third of the items, truly labelled, for the judges; a sixth to test on; the rest carries noise and is judged."""
    key = (data.fingerprint, seed)
    if key not in _MADE:
        while len(_MADE) >= 30:
            del _MADE[next(iter(_MADE))]
        _MADE[key] = _made(data, seed)
    return _MADE[key]


def _made(data: Dataset, seed: int) -> Case:
    from labelwright.features import out_of_fold

    dense, counts = _vectors(data)
    rows = _datasets.fifth(data, seed) if "y_given" in data else np.arange(len(data))
    rng = np.random.default_rng([seed, 1])
    teach, judged, test = np.split(rng.permutation(rows), [len(rows) // 3, 5 * len(rows) // 6])
    y = np.asarray(data["y"]).astype(np.int64)
    k = int(y.max()) + 1
    given = np.asarray(data["y_given"]).astype(np.int64)[judged] if "y_given" in data else _noised(y[judged], k, seed)
    p = np.stack(
        [
            _asked(family, dense, counts, y, teach, judged, k, np.random.default_rng([seed, 2, family, s]))
            for family in range(FAMILIES)
            for s in range(SUBSETS)
        ]
    )
    both = np.concatenate([judged, teach])
    own = out_of_fold(dense[both], np.concatenate([given, y[teach]]), n_classes=k, random_state=seed)[: len(judged)]
    audit = rng.choice(len(judged), min(AUDITED, len(judged) // 2), replace=False)
    return Case(p, given, y[judged], own, dense[judged], dense[test], y[test], audit)


def _vectors(data: Dataset) -> tuple[np.ndarray, Any]:
    """Dense vectors, and non-negative ones for naive Bayes."""
    from labelwright.features import text_vectors

    if "x" in data:
        x = np.asarray(data["x"], np.float32)
        return x, x - x.min(0)
    return _datasets.vectors_of(data), text_vectors(list(data["text"]))


def _noised(true: np.ndarray, k: int, seed: int) -> np.ndarray:
    """10 % anywhere, and another 10 % of every second class to the next one."""
    from labelwright.auditing.noise import asymmetric, symmetric

    given, _ = symmetric(true, 0.1, n_classes=k, random_state=seed)
    pairs = {c: (c + 1) % k for c in range(0, k, 2)}
    return asymmetric(given, 0.1, n_classes=k, class_map=pairs, random_state=seed + 10_000)[0]


def _asked(
    family: int, dense: np.ndarray, counts: Any, y: np.ndarray, teach: np.ndarray, judged: np.ndarray, k: int, rng: Any
) -> np.ndarray:
    """(N, K) of one judge: a family of models on a bootstrap of the teaching rows and half of the columns."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.neighbors import KNeighborsClassifier

    x = counts if family == 1 else dense
    columns = np.sort(rng.permutation(x.shape[1])[: (x.shape[1] + 1) // 2])
    rows = rng.choice(teach, len(teach))
    model = (
        LogisticRegression(C=1.0, max_iter=100),
        MultinomialNB(alpha=0.3),
        KNeighborsClassifier(15, weights="distance"),
        RandomForestClassifier(40, min_samples_leaf=2, random_state=int(rng.integers(2**31))),
    )[family]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a judge that has not quite converged is a judge
        model.fit(x[rows][:, columns], y[rows])
    out = np.full((len(judged), k), 1e-3)
    out[:, model.classes_] += model.predict_proba(x[judged][:, columns])
    return out / out.sum(1, keepdims=True)


# ----------------------------------------------------------------------------------------------------- arms: which are wrong
def f1(flags: np.ndarray, case: Case) -> float:
    wrong = case.given != case.true
    return float(2 * (flags & wrong).sum() / max(1, flags.sum() + wrong.sum()))


def ensemble(case: Case, seed: int) -> dict[str, float]:
    """All judges; also with fewer of them, and whether precision rises with confidence."""
    from scipy.stats import spearmanr

    from labelwright.annotators.judges import judge_ensemble, precision_by_confidence

    found = judge_ensemble(case.p, case.given)
    table = precision_by_confidence(found, np.arange(len(case.given)), case.true)
    order = np.random.default_rng([seed, 3]).permutation(len(case.p))
    wrong = case.given != case.true
    told = {f"F1 of {m}": f1(judge_ensemble(case.p[order[:m]], case.given).flagged, case) for m in (1, 2, 4, 8)}
    rho = float(spearmanr(table["bin"], table["precision"]).statistic)
    suspicion = 1 - found.prob[np.arange(len(wrong)), case.given]
    precision = table["precision"].to_pylist()
    return {
        "F1": f1(found.flagged, case), "AUROC": _datasets.auroc(suspicion, wrong), **told,
        "rank correlation of bins": rho, "precision, lowest bin": precision[0], "precision, highest bin": precision[-1],
        "noise": float(wrong.mean()),
    }  # fmt: skip


def calibrated(case: Case, seed: int) -> float:
    from labelwright.annotators.judges import judge_ensemble

    return f1(judge_ensemble(case.p, case.given, calibrate=True).flagged, case)


def single_judge(case: Case, seed: int) -> float:
    """Mean over the judges of what each would score alone."""
    return float(np.mean([f1(one.argmax(1) != case.given, case) for one in case.p]))


def random_flags(case: Case, seed: int) -> float:
    """As many flags as the ensemble raises."""
    flags = case.p.mean(0).argmax(1) != case.given
    return f1(np.random.default_rng([seed, 4]).permutation(flags), case)


def confident(case: Case, seed: int) -> float:
    """Confident learning on one model out of fold, which saw the judges' lessons and the given labels of the others."""
    from labelwright.auditing.filters import find_issues

    return f1(find_issues(case.given, case.own, filter_by="predicted_neq_given"), case)


def voted(case: Case, seed: int) -> float:
    """Judges as annotators, by Dawid and Skene."""
    from labelwright.annotators.judges import judge_votes
    from labelwright.crowds import aggregate

    labels = aggregate(judge_votes(case.p), method="dawid_skene", random_state=seed).labels
    return f1(labels.dense().argmax(1) != case.given, case)


# ------------------------------------------------------------------------------------------------------- arms: what it is worth
def trained_on(labels: np.ndarray, case: Case) -> float:
    """Test accuracy of a linear model trained on class ids, -1 = left out. What the audit settled is known to every arm."""
    from labelwright.annotators.end_model import train_end_model

    labels = labels.copy()
    labels[case.audit] = case.true[case.audit]
    k = case.p.shape[2]
    soft = np.eye(k)[np.maximum(labels, 0)]
    model = train_end_model(case.x, soft, covered=labels >= 0, strengths=(1.0, 10.0), n_folds=3)
    return float((model.predict(case.x_test) == case.y_test).mean())


def planned(case: Case, seed: int) -> dict[str, float]:
    """Flip or drop by audited precision."""
    from labelwright.annotators.judges import judge_ensemble, mitigation_plan

    found = judge_ensemble(case.p, case.given)
    plan = mitigation_plan(found, case.audit, case.true[case.audit])
    return {
        "test accuracy": trained_on(plan.labels, case), "flipped": float(plan.flip.mean()), "dropped": float(plan.drop.mean()),
    }  # fmt: skip


def flipped_all(case: Case, seed: int) -> float:
    return trained_on(case.p.mean(0).argmax(1), case)


def dropped_all(case: Case, seed: int) -> float:
    return trained_on(np.where(case.p.mean(0).argmax(1) == case.given, case.given, -1), case)


def untouched(case: Case, seed: int) -> float:
    return trained_on(case.given, case)


def random_flips(case: Case, seed: int) -> float:
    """As many labels as the plan flips, replaced by another class at random."""
    from labelwright.annotators.judges import judge_ensemble, mitigation_plan

    plan = mitigation_plan(judge_ensemble(case.p, case.given), case.audit, case.true[case.audit])
    rng, k = np.random.default_rng([seed, 5]), case.p.shape[2]
    at = rng.choice(len(case.given), int(plan.flip.sum()), replace=False)
    labels = case.given.copy()
    labels[at] = (labels[at] + rng.integers(1, k, len(at))) % k
    return trained_on(labels, case)


def on_the_truth(case: Case, seed: int) -> float:
    return trained_on(case.true, case)


# ------------------------------------------------------------------------------------------------------------- arms: how many
@lru_cache(maxsize=100_000)
def _exact(k: int, n: int, n_items: int) -> float:
    from labelwright.annotators.judges import error_lower_bound

    return error_lower_bound(k, n, n_items) / n_items


def _wald(k: int, n: int, n_items: int) -> float:
    return k / n - 1.96 * float(np.sqrt(k / n * (1 - k / n) / n))


def _share(k: int, n: int, n_items: int) -> float:
    return k / n


def bounded(bound: Any, among_flagged: bool = False) -> Any:
    """How often the bound of an audit lies at or below the true rate, over 500 audits; 97.5 % is enough, more is no better."""

    def run(case: Case, seed: int) -> dict[str, float]:
        rng, wrong = np.random.default_rng([seed, 6]), case.given != case.true
        pool = np.flatnonzero(case.p.mean(0).argmax(1) != case.given) if among_flagged else np.arange(len(wrong))
        n = min(AUDITED, len(pool))
        found = [int(wrong[rng.choice(pool, n, replace=False)].sum()) for _ in range(N_AUDITS)]
        low = np.array([bound(k, n, len(wrong)) for k in found])
        held = float((low <= wrong.mean() + 1e-12).mean())
        return {
            "coverage": min(held, 0.975),
            "all coverage": held,
            "bound": float(low.mean()),
            "rate": float(wrong.mean()),
        }

    return run


KEYS = {
    "x|text": "what the items look like: x (N, D) vectors, or text (N,) strings",
    "y": "true classes, (N,) int",
    "y_given?": "given classes, (N,) int; planted where absent",
}
PROOFS = (
    Proof(
        name="flags",
        question="Does an ensemble of judges find more label errors than one judge?",
        metric="F1",
        keys=KEYS,
        datasets=sets,
        prepare=prepare,
        arms=(
            Arm("16 judges, mean", ensemble, "method"),
            Arm("one judge", single_judge, "baseline"),
            Arm("random flags, as many", random_flags, "baseline"),
            Arm("16 judges, calibrated", calibrated, "alternative"),
            Arm("16 judges as annotators", voted, "alternative"),
            Arm("one model out of fold", confident, "alternative"),
        ),
        note="No language model is asked. A judge is one of four kinds of model on a bootstrap of truly labelled items, "
        "which stand for what a language model knows, and half of the columns. One judge: the mean over all sixteen. "
        "On CIFAR-10N a seed is "
        "one of five disjoint fifths of 12,000 pictures.",
    ),
    Proof(
        name="mitigation",
        question="Is a model better for labels that were flipped or dropped as an audit of 160 items advises?",
        metric="test accuracy",
        keys=KEYS,
        datasets=sets,
        prepare=prepare,
        arms=(
            Arm("flip or drop by audited precision", planned, "method"),
            Arm("labels as given", untouched, "baseline"),
            Arm("random flips, as many", random_flips, "baseline"),
            Arm("flip every flagged label", flipped_all, "alternative"),
            Arm("drop every flagged label", dropped_all, "alternative"),
            Arm("true labels", on_the_truth, "bound"),
        ),
        note="Every arm gets the true labels of the audited items. Thresholds are 0.5, as the card argues; they were not tuned. "
        "After a look at one seed the strength of the trained model, which was 1, became the better of 1 and 10 out of fold, "
        "for all arms; and that of the linear judges went from 10 to 1, since some did not converge.",
    ),
    Proof(
        name="bound",
        question="Does the lower bound of the error rate hold in 97.5 % of audits?",
        metric="coverage",
        keys=KEYS,
        datasets=sets,
        prepare=prepare,
        needs_real=False,
        arms=(
            Arm("exact hypergeometric", bounded(_exact), "method"),
            Arm("share found wrong", bounded(_share), "baseline"),
            Arm("exact, only flagged items audited", bounded(_exact, among_flagged=True), "baseline"),
            Arm("Wald, without the finite population", bounded(_wald), "alternative"),
        ),
        note="Coverage above 97.5 % counts as 97.5 %.",
    ),
)


def _flagged(data: dict[str, Any]) -> np.ndarray:
    from labelwright.annotators.judges import judge_ensemble
    from labelwright.labels import check_pred_probs

    p = check_pred_probs(data["pred_probs"])
    found = judge_ensemble([p, p**2 / (p**2).sum(1, keepdims=True)], data["y"])
    return found.confidence * np.where(found.flagged, 1.0, -1.0)


CONTRACTS = (Contract("labelwright.annotators.judges.judge_ensemble", "labels+pred_probs", _flagged),)
