"""Card 42: lines of notes labelled by their headings, a tagger that learns from those gaps and mistakes, and its move to another
source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.systems import _datasets
from labelwright.systems._soap_notes import Notes, note_sets, notes_of
from labelwright.systems.contract import Contract
from labelwright.systems.proof import Arm, Dataset, Proof

PARTS = {
    "rules from headings": "labelwright.annotators.sections.label_sections",
    "chain": "labelwright.learning.crf.crf_loss",
    "tagger and transfer": "labelwright.learning.sequence_tagger.SequenceTagger",
    "label model": "labelwright.crowds.label_model.fit_label_model",
    "end model": "labelwright.annotators.end_model.train_end_model",
}
POOL = 100  # notes of source B that may be labelled by hand; the others are for testing
OPTIONS: dict[str, Any] = {"hidden": 64, "learning_rate": 3e-3, "max_updates": 200, "patience": 4}


@dataclass
class Case:
    """Notes of source A (to train and to test), of B (a pool that may be labelled, and a test); made: fitted taggers."""

    train: Notes
    test: Notes
    pool: Notes
    test_b: Notes
    made: dict[str, Any] = field(default_factory=dict)


# ------------------------------------------------------------------------------------------------------------------ data
def prepare(data: Dataset, seed: int) -> Case:
    """Notes of both sources, their headings read by the rules."""
    vectors = _datasets.vectors_of(data)
    a, b = (notes_of(data, vectors, source, seed) for source in (0, 1))
    cut, pool = round(0.7 * len(a.x)), min(POOL, len(b.x) // 2)
    return Case(
        a.part(range(cut)), a.part(range(cut, len(a.x))), b.part(range(pool)), b.part(range(pool, len(b.x)))
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- arms: the tagger
def macro_f1(predicted: list[np.ndarray], notes: Notes) -> float:
    """Mean F1 of the four roles over all lines."""
    got, true = np.concatenate(predicted), np.concatenate(notes.role)
    hits = [2 * ((got == r) & (true == r)).sum() / max(1, (got == r).sum() + (true == r).sum()) for r in range(4)]
    return float(np.mean(hits))


def guessed(notes: Notes) -> list[np.ndarray]:
    """What the rules say where they must say something: the first class that a section allows."""
    return [np.where(label >= 0, label, sets.argmax(1)) for label, sets in zip(notes.label, notes.sets, strict=True)]


def tagger(what: str, **options: Any) -> Any:
    """An arm: a tagger trained on `what` of the notes, by macro-F1 on the test notes of the same source."""

    def run(case: Case, seed: int) -> float:
        labels = {
            "sets": case.train.sets,
            "labels": case.train.label,
            "guesses": guessed(case.train),
            "truth": case.train.role,
        }[what]
        fitted = _tagger(seed, **options).fit(case.train.x, labels)
        return macro_f1(fitted.predict(case.test.x), case.test)

    return run


def _tagger(seed: int, **options: Any) -> Any:
    from labelwright.learning.sequence_tagger import SequenceTagger

    return SequenceTagger(**{**OPTIONS, "n_classes": 4, "random_state": seed, **options})


def source_tagger(case: Case, seed: int) -> Any:
    """The method's tagger, trained once per case."""
    if "source" not in case.made:
        case.made["source"] = _tagger(seed).fit(case.train.x, case.train.sets)
    return case.made["source"]


def partial_crf(case: Case, seed: int) -> dict[str, float]:
    label = np.concatenate(case.train.label)
    said = label >= 0
    return {
        "macro-F1": macro_f1(source_tagger(case, seed).predict(case.test.x), case.test),
        "lines with one class": float(said.mean()),
        "of these right": float((label == np.concatenate(case.train.role))[said].mean()),
        "on source B": macro_f1(source_tagger(case, seed).predict(case.test_b.x), case.test_b),
    }


def rules_only(case: Case, seed: int) -> float:
    return macro_f1(guessed(case.test), case.test)


def per_line(case: Case, seed: int) -> float:
    """Logistic regression on the lines with one class."""
    from labelwright.annotators.end_model import train_end_model

    label = np.concatenate(case.train.label)
    model = train_end_model(
        np.concatenate(case.train.x), np.eye(4)[np.maximum(label, 0)], covered=label >= 0, n_folds=3
    )
    return macro_f1([model.predict(x) for x in case.test.x], case.test)


# --------------------------------------------------------------------------------------------------------- arms: the transfer
def adapted(n: int) -> Any:
    def run(case: Case, seed: int) -> float:
        few = case.pool.part(range(min(n, len(case.pool.x))))
        source = source_tagger(case, seed)
        return macro_f1((source.adapt(few.x, few.role) if n else source).predict(case.test_b.x), case.test_b)

    return run


def scratch(n: int) -> Any:
    def run(case: Case, seed: int) -> float:
        few = case.pool.part(range(min(n, len(case.pool.x))))
        return macro_f1(_tagger(seed).fit(few.x, few.role).predict(case.test_b.x), case.test_b)

    return run


# -------------------------------------------------------------------------------------------------------- the rules of others
TREC = {
    "ENTITY": "ENTY",
    "DESCRIPTION": "DESC",
    "HUMAN": "HUM",
    "LOCATION": "LOC",
    "NUMERIC": "NUM",
    "ABBREVIATION": "ABBR",
}


def rule_sets(folder: Path | None) -> Iterator[Dataset]:
    """Two sets of texts with the rules that people wrote for them."""
    if folder is None:
        return
    import pyarrow.parquet as pq

    z, t = (
        _datasets.arrays(folder / "weak_youtube" / "weak_votes.npz"),
        pq.read_table(folder / "weak_youtube" / "text.parquet"),
    )
    text = np.array(t["text"].to_pylist(), object)
    split = np.array(t["split"].to_pylist())
    yield Dataset(
        "YouTube comments",
        {"text": text, "rules": z["weak"].astype(np.int32), "y": z["label"], "split": split},
        real=True,
    )
    t, names = (
        pq.read_table(folder / "weak_trec" / "text.parquet"),
        _datasets.arrays(folder / "weak_trec" / "rules.npz")["classes"],
    )
    text, split, classes = np.array(t["text"].to_pylist(), object), np.array(t["split"].to_pylist()), names.tolist()
    y = np.array([classes.index(c) for c in t["label"].to_pylist()])
    yield Dataset(
        "TREC questions", {"text": text, "rules": _trec_votes(folder, text, classes), "y": y, "split": split}, real=True
    )


@lru_cache(maxsize=1)
def _trec_rules(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line]


def _trec_votes(folder: Path, text: np.ndarray, classes: list[str]) -> np.ndarray:
    from labelwright.annotators import apply_rules, pattern
    from labelwright.labels import LabelSpace

    lines = _trec_rules(folder / "weak_trec" / "rules.txt")
    rules = [pattern({TREC[c]: expression}, column="text", name=f"{i}") for i, (c, expression, _) in enumerate(lines)]
    return apply_rules(rules, {"text": text}, space=LabelSpace(classes)).matrix


@dataclass
class Answers:
    """p: per arm (N, K) on the test items; y (N,), drawn again for every seed but the first."""

    p: dict[str, np.ndarray]
    y: np.ndarray
    rows: np.ndarray


_ANSWERS: dict[str, tuple[dict[str, np.ndarray], np.ndarray]] = {}


def answered(data: Dataset, seed: int) -> Answers:
    """Everything is fitted once on the train part; a seed draws the test items again."""
    if data.fingerprint not in _ANSWERS:
        _ANSWERS[data.fingerprint] = _answers(data)
    p, y = _ANSWERS[data.fingerprint]
    rows = np.random.default_rng(seed).integers(0, len(y), len(y)) if seed else np.arange(len(y))
    return Answers(p, y, rows)


def _answers(data: Dataset) -> tuple[dict[str, np.ndarray], np.ndarray]:
    from labelwright.annotators import RuleVotes
    from labelwright.annotators.end_model import train_end_model
    from labelwright.crowds.label_model import fit_label_model
    from labelwright.crowds.prepared import prepare as prepare_votes
    from labelwright.features import text_vectors
    from labelwright.labels import LabelSpace

    rules, y = np.asarray(data["rules"]), np.asarray(data["y"]).astype(np.int64)
    train, test = (np.flatnonzero(np.asarray(data["split"]) == name) for name in ("train", "test"))
    k = int(max(y.max(), rules.max())) + 1
    said = RuleVotes(rules, np.arange(len(y)), tuple(map(str, range(rules.shape[1]))), LabelSpace(range(k)))
    model = fit_label_model(prepare_votes(said.votes())).labels.dense().astype(np.float64)  # looks at no label
    counts = np.stack([(rules == c).sum(1) for c in range(k)], 1)
    shares = (counts + 1e-3 * counts.sum(0) / counts.sum()) / (counts.sum(1, keepdims=True) + 1e-3)
    x = text_vectors(list(data["text"]))
    heard = np.array([row for row in train if (rules[row] >= 0).any()])

    def ended(soft: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return train_end_model(x[rows], soft[rows]).predict_proba(x[test])

    p = {
        "end": ended(model, heard), "majority": shares[test], "label model": model[test], "end of shares": ended(shares, heard),
        "truth": ended(np.eye(k)[y], train),
    }  # fmt: skip
    return p, y[test]


def arm(name: str) -> Any:
    def run(case: Answers, seed: int) -> dict[str, float]:
        p, y = case.p[name][case.rows], case.y[case.rows]
        loss = -np.log(np.maximum(p[np.arange(len(y)), y], 1e-3)).mean()
        return {"test accuracy": float((p.argmax(1) == y).mean()), "log loss": float(loss)}

    return run


NOTE_KEYS = {
    "text": "lines, (N,) strings",
    "role": "0 to 3: subjective, objective, assessment, plan",
    "source": "0: where the headings are, 1: where the tagger moves to",
}
PROOFS = (
    Proof(
        name="tagger",
        question="Does a tagger that learns from heading rules with gaps label lines better than the rules?",
        metric="macro-F1",
        keys=NOTE_KEYS,
        datasets=note_sets,
        prepare=prepare,
        needs_real=False,
        arms=(
            Arm("BiLSTM, partial CRF", partial_crf, "method"),
            Arm("rules only", rules_only, "baseline"),
            Arm("logistic regression per line", per_line, "baseline"),
            Arm("BiLSTM", tagger("labels", chain=False), "baseline"),
            Arm("BiLSTM-CRF, gaps filled by the rules", tagger("guesses"), "alternative"),
            Arm("partial CRF without BiLSTM", tagger("sets", hidden=0), "alternative"),
            Arm("true roles", tagger("truth"), "bound"),
        ),
        note="Pseudo-notes: no clinical text is at hand. Of the headings 15 % are missing, 10 % wrong, 10 % not in the lexicon, "
        "30 % of assessments and plans stand under one heading; 10 % of the lines stand in the wrong section. A first run had "
        "half as many lines (see the next proof): there the gain over the BiLSTM was +0.049 [-0.040, +0.138].",
    ),
    Proof(
        name="transfer",
        question="Is a tagger better for having learned elsewhere, with five labelled notes of the new source?",
        metric="macro-F1",
        keys=NOTE_KEYS,
        datasets=note_sets,
        prepare=prepare,
        needs_real=False,
        arms=(
            Arm("adapted, 5 notes", adapted(5), "method"),
            Arm("from scratch, 5 notes", scratch(5), "baseline"),
            Arm("source tagger, 0 notes", adapted(0), "baseline"),
            Arm("adapted, 20 notes", adapted(20), "alternative"),
            Arm("from scratch, 20 notes", scratch(20), "alternative"),
            Arm("adapted, 100 notes", adapted(100), "alternative"),
            Arm("from scratch, 100 notes", scratch(100), "alternative"),
        ),
        note="The sections of the new source come in another order. A first run with half as many lines had no 100 notes to "
        "give; the number of lines was doubled with its results in sight, and nothing else was changed. There the gain over "
        "five notes from scratch was +0.025 [-0.019, +0.069], so that this verdict rests on the made-up words.",
    ),
    Proof(
        name="end model",
        question="Does a model trained on what rules said beat the majority of the rules?",
        metric="test accuracy",
        keys={
            "text": "(N,) strings", "rules": "(N, M) class ids, -1 = silent", "y": "true classes, (N,)",
            "split": "train or test",
        },
        datasets=rule_sets,
        prepare=answered,
        interval="bootstrap",
        seeds=400,
        arms=(
            Arm("end model of the label model", arm("end"), "method"),
            Arm("majority of the rules", arm("majority"), "baseline"),
            Arm("label model alone", arm("label model"), "alternative"),
            Arm("end model of the vote shares", arm("end of shares"), "alternative"),
            Arm("true labels of the train part", arm("truth"), "bound"),
        ),
        note="Texts as TF-IDF. The first 256 directions of it were tried before and given up with the results in sight: "
        "the bound itself fell from 0.92 to 0.73 on TREC. No label of the train part is read, but for the bound.",
    ),
)  # fmt: skip


def _ended(data: dict[str, Any]) -> np.ndarray:
    from labelwright.annotators.end_model import train_end_model

    soft = np.eye(data["n_classes"])[data["y"]] * 0.8 + 0.2 / data["n_classes"]
    return train_end_model(data["x"], soft, strengths=(1.0,)).predict_proba(data["x"])


CONTRACTS = (
    Contract(
        "labelwright.annotators.end_model.train_end_model",
        "labels+features",
        _ended,
        answers="distributions",
        exempt={
            "permutation": "the minimum is found up to 1e-4 of the gradient, and the order of the sums moves it by as much",
            "duplication": "twice the items outweigh the penalty on the weights",
            "relabelling": "the minimum is found up to 1e-4 of the gradient, as for permutations",
        },
    ),
)
