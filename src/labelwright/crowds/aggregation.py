"""Aggregation: what the votes say of the items, and of those who cast them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.crowds.fit import Fit
from labelwright.crowds.prepared import Prepared
from labelwright.labels import LabelSpace, SoftLabels

if TYPE_CHECKING:
    import pyarrow as pa

SURE = 0.95
"""The probability up to which `more_votes` counts."""


@dataclass(frozen=True, eq=False)
class Aggregation:
    """Labels of N items from the votes of A annotators.

    labels: distributions of the true class, calibrated, in the order in which the items first occur.
    items: one row per item: item, label (likeliest class), probability, second (the class it is confused with) and its
        probability, votes, entropy in nats, difficulty (null where the method has none), more_votes (how many more votes of
        usual quality it takes to be 95 % sure; null beyond 99, or where more votes of this kind do not help), gold, methods_agree
        (share of the mixed methods whose likeliest class is the label; null where one method was named).
    annotators: one row per annotator: annotator, votes, skill (probability that a vote is right), low and high (90 %), agreement
        (share of votes that are the label in the end), information (bits that a vote tells about the class), cost,
        information_per_cost, spammer (tells next to nothing, and enough votes say so).
    method: its name, "mixture" for method="auto".   trace: its objective per step.   scores: how well each method foretold
        held-out votes, and its weight in the mixture, empty where none were compared.   others: one row per method that was
        mixed: method, weight, loglik, behind and error (see `scores`), agreement (share of items on which its likeliest class
        is the label), differs (number of the other items).   answers: one row per item: item, and the likeliest class of each
        method. Both are None where one method was named.   notes: what the user should know.
    settings: options, counts and seed.
    """

    labels: SoftLabels
    items: pa.Table
    annotators: pa.Table
    method: str
    trace: list[float]
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    fit: Fit | None = None
    votes: Prepared | None = None
    costs: np.ndarray | None = None
    others: pa.Table | None = None
    answers: pa.Table | None = None

    @property
    def space(self) -> LabelSpace:
        """The classes."""
        return self.labels.space

    def confusion(self, annotator: Any) -> np.ndarray:
        """(K, K) [true, given] of one annotator, by key; rows sum to 1.

        Raises:
            KeyError: nobody of that name voted.   TypeError: the method has no confusions.
        """
        assert self.fit is not None
        if self.fit.confusion is None:
            raise TypeError(f"{self.method} has no confusion matrices: use method='dawid_skene' or 'one_coin'")
        names = self.annotators["annotator"].to_pylist()
        if annotator not in names:
            raise KeyError(f"no annotator {annotator!r} among {len(names)}")
        return self.fit.confusion(names.index(annotator))

    def summary(self) -> dict[str, Any]:
        """Every headline figure as plain numbers and strings, ready for JSON."""
        probability = np.asarray(self.items["probability"])
        return {
            "items": self.items.num_rows,
            "annotators": self.annotators.num_rows,
            "classes": [str(name) for name in self.space.classes],
            "method": self.method,
            "scores": self.scores,
            "others": [] if self.others is None else self.others.to_pylist(),
            "expected_accuracy": float(probability.mean()) if len(probability) else None,
            "unsure_items": int((probability < 0.8).sum()),
            "spammers": int(np.asarray(self.annotators["spammer"]).sum()),
            "steps": len(self.trace),
            "notes": self.notes,
            "settings": self.settings,
        }

    def files(self) -> dict[str, Any]:
        """File name -> function that writes it: what a label repository keeps of an aggregation."""
        import pyarrow.parquet as pq

        from labelwright.crowds.report import render

        extra = {"others": self.others, "answers": self.answers}
        return {
            f"{name}.parquet": lambda path, table=table: pq.write_table(table, path, compression="zstd")
            for name, table in extra.items()
            if table is not None
        } | {
            "items.parquet": lambda path: pq.write_table(self.items, path, compression="zstd"),
            "annotators.parquet": lambda path: pq.write_table(self.annotators, path, compression="zstd"),
            "labels.npz": lambda path: self.labels.save(path),
            "report.html": lambda path: path.write_text(render(self), encoding="utf-8"),
            "summary.json": lambda path: path.write_text(
                json.dumps(self.summary(), indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8"
            ),
        }

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write what `files` names into a new folder.

        Raises:
            FileExistsError: the folder exists.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=False)
        for name, write in self.files().items():
            write(folder / name)
        return folder

    def __repr__(self) -> str:
        told = self.summary()
        return (
            f"Aggregation({told['items']:,} items, {told['annotators']:,} annotators, {self.method}: "
            f"{told['unsure_items']:,} items below 80 %, {told['spammers']} spammers)"
        )


def annotator_table(fit: Fit, votes: Prepared, keys: np.ndarray, costs: np.ndarray) -> pa.Table:
    """See `Aggregation.annotators`."""
    import pyarrow as pa

    n, k = votes.n_annotators, votes.n_classes
    count = np.bincount(votes.annotator, minlength=n)
    final = fit.labels.index[:, 0]
    agrees = np.bincount(votes.annotator, final[votes.item] == votes.label, minlength=n)
    information = np.full(n, np.nan)
    for annotator in np.flatnonzero(count) if k <= 200 or n <= 200 else ():
        information[annotator] = mutual_information(_confusion(fit, int(annotator), k), fit.prior)
    low = np.full(n, np.nan) if fit.skill_low is None else fit.skill_low
    high = np.full(n, np.nan) if fit.skill_high is None else fit.skill_high
    most = entropy_bits(fit.prior)
    # next to nothing: under a twentieth of what a perfect vote tells, from at least ten votes
    spammer = (count >= 10) & (np.nan_to_num(information, nan=np.inf) < 0.05 * most)
    return pa.table(
        {
            "annotator": keys,
            "votes": count,
            "skill": pa.array(fit.skill, from_pandas=True),
            "low": pa.array(low, from_pandas=True),
            "high": pa.array(high, from_pandas=True),
            "agreement": pa.array(np.where(count > 0, agrees / np.maximum(count, 1), np.nan), from_pandas=True),
            "information": pa.array(information, from_pandas=True),
            "cost": costs,
            "information_per_cost": pa.array(information / costs, from_pandas=True),
            "spammer": spammer,
        }
    )


def item_table(fit: Fit, votes: Prepared, keys: np.ndarray, agree: np.ndarray | None = None) -> pa.Table:
    """See `Aggregation.items`. agree: (N,) share of the mixed methods."""
    import pyarrow as pa

    first, second, p_first, p_second = top_two(fit.labels)
    names = fit.labels.space
    count = np.diff(votes.start)
    usual = usual_evidence(fit.skill, np.bincount(votes.annotator, minlength=votes.n_annotators), votes.n_classes)
    needed = more_votes(p_first, count, usual, float(fit.details.get("dependence", 0.0)))
    columns = {
        "item": keys,
        "label": names.decode(first).tolist(),
        "probability": p_first,
        "second": names.decode(second).tolist(),
        "second_probability": p_second,
        "votes": count,
        "entropy": blockwise_entropy(fit.labels),
        "difficulty": pa.nulls(len(keys), pa.float64()) if fit.difficulty is None else fit.difficulty,
        "more_votes": pa.array(needed, from_pandas=True).cast("int64"),
        "gold": pa.array(names.decode(votes.gold.astype(np.int64)).tolist()),
        "methods_agree": pa.nulls(len(keys), pa.float64()) if agree is None else agree,
    }
    return pa.table(columns)


def others_tables(
    fit: Fit, fits: dict[str, Fit], scores: dict[str, dict[str, float]], keys: np.ndarray
) -> tuple[pa.Table, pa.Table, np.ndarray]:
    """See `Aggregation.others` and `Aggregation.answers`; and (N,) the share of the methods that agree with the label."""
    import pyarrow as pa

    label = top_two(fit.labels)[0]
    best = {name: top_two(one.labels)[0] for name, one in fits.items()}
    same = np.stack([found == label for found in best.values()])
    columns: dict[str, Any] = {"method": list(fits)}
    for name in ("weight", "loglik", "behind", "error"):
        columns[name] = pa.array([scores[method].get(name) for method in fits], pa.float64())
    columns["agreement"] = same.mean(1) if len(label) else np.ones(len(fits))
    columns["differs"] = (~same).sum(1)
    names = fit.labels.space
    answers = {"item": keys} | {name: names.decode(found).tolist() for name, found in best.items()}
    return pa.table(columns), pa.table(answers), same.mean(0)


def top_two(labels: SoftLabels) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ids and probabilities (N,) of the two likeliest classes."""
    n, k = len(labels), len(labels.space)
    first, second = np.zeros((2, n), np.int64)
    p_first, p_second = np.zeros((2, n))
    step = max(1, (1 << 20) // k)
    for at in range(0, n, step):
        rows = slice(at, min(n, at + step))
        p = labels[rows].dense()
        order = np.argsort(-p, axis=1, kind="stable")[:, :2]
        first[rows], second[rows] = order[:, 0], order[:, -1]
        p_first[rows] = p[np.arange(len(p)), order[:, 0]]
        p_second[rows] = p[np.arange(len(p)), order[:, -1]] if k > 1 else 0.0
    return first, second, p_first, p_second


def blockwise_entropy(labels: SoftLabels) -> np.ndarray:
    """(N,) nats."""
    step = max(1, (1 << 20) // len(labels.space))
    parts = [labels[at : at + step].entropy() for at in range(0, len(labels), step)]
    return np.concatenate(parts) if parts else np.zeros(0)


def mutual_information(confusion: np.ndarray, prior: np.ndarray) -> float:
    """Bits that a vote with confusion (K, K) [true, given] tells about a class drawn from prior (K,)."""
    joint = prior[:, None] * confusion
    given = joint.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = joint * np.log2(joint / (prior[:, None] * given))
    return float(max(np.nansum(terms), 0.0))


def entropy_bits(p: np.ndarray) -> float:
    """Bits."""
    return float(-(p[p > 0] * np.log2(p[p > 0])).sum())


def more_votes(
    probability: np.ndarray, count: np.ndarray, evidence: float, dependence: float = 0.0, sure: float = SURE
) -> np.ndarray:
    """(N,) float: how many more votes of usual quality an item needs; NaN beyond 99, or where no number is enough.

    n votes count as n / (1 + (n - 1) dependence) independent ones, each of which adds `evidence` nats to the log-odds.

    >>> more_votes(np.array([0.99, 0.5]), np.array([3, 3]), 1.0), more_votes(np.array([0.5]), np.array([3]), 1.0, 0.4)
    (array([0., 3.]), array([nan]))
    """
    p = np.clip(probability, 1e-12, 1 - 1e-12)
    missing = np.maximum(np.log(sure / (1 - sure)) - np.log(p / (1 - p)), 0)
    now = count / (1 + np.maximum(count - 1, 0) * dependence)
    wanted = now + missing / max(evidence, 1e-9)
    room = 1 - wanted * dependence  # votes that depend on each other are never worth more than 1 / dependence
    needed = np.where(room > 0, np.ceil(wanted * (1 - dependence) / np.where(room > 0, room, 1) - count - 1e-9), np.nan)
    needed = np.where(missing > 0, needed, 0)
    return np.where(needed <= 99, np.maximum(needed, 0), np.nan)


def usual_evidence(skill: np.ndarray, count: np.ndarray, n_classes: int) -> float:
    """Nats that a vote adds on average to the log-odds of the true class, counted as in the labels: a vote of mean skill.

    skill, count: (A,) of the annotators and their votes.
    """
    seen = count > 0
    mean = float(np.average(np.nan_to_num(skill[seen], nan=0.5), weights=count[seen])) if seen.any() else 0.5
    k = max(n_classes, 2)
    mean = float(np.clip(mean, 1 / k + 1e-3, 1 - 1e-3))
    odds = np.log(mean * (k - 1) / (1 - mean))
    return float(max(mean * odds - (1 - mean) * odds / (k - 1), 1e-3))


def _confusion(fit: Fit, annotator: int, k: int) -> np.ndarray:
    if fit.confusion is not None:
        return fit.confusion(annotator)
    skill = float(np.nan_to_num(fit.skill[annotator], nan=1 / k))
    table = np.full((k, k), (1 - skill) / max(k - 1, 1))
    np.fill_diagonal(table, skill)
    return table
