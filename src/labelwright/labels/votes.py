"""Answers of annotators: people, rules, models or LLMs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from labelwright.errors import LabelError
from labelwright.labels._evidence import Evidence, aligned
from labelwright.labels._tables import as_columns, need
from labelwright.labels.soft import SoftLabels
from labelwright.labels.space import LabelSpace


@dataclass(frozen=True, eq=False)
class Votes(Evidence):
    """V answers. `item` and `annotator` are positions in `items` (N,) and `annotators` (A,), whose keys stand in
    first-seen order; `label` holds class ids, -1 for an abstention.

    Optional, one per vote: weight (float >= 0), probability (inclusion probability of the item when it was drawn),
    time (float, seconds since 1970), source and comment (strings).

    >>> votes = Votes.from_columns(["t1", "t1", "t2"], ["ann", "bob", "ann"], ["yes", "no", "yes"])
    >>> votes.n_items, votes.soft().dense().tolist()
    (2, [[0.5, 0.5], [0.0, 1.0]])
    """

    item: np.ndarray
    annotator: np.ndarray
    label: np.ndarray
    items: np.ndarray
    annotators: np.ndarray
    space: LabelSpace
    weight: np.ndarray | None = None
    probability: np.ndarray | None = None
    time: np.ndarray | None = None
    source: np.ndarray | None = None
    comment: np.ndarray | None = None
    rows: ClassVar[tuple[str, ...]] = (
        "item", "annotator", "label", "weight", "probability", "time", "source", "comment",
    )  # fmt: skip

    @classmethod
    def from_columns(
        cls, item: Any, annotator: Any, label: Any, space: LabelSpace | None = None, **optional: Any
    ) -> Votes:
        """From equally long columns; `optional` takes weight, probability, time, source and comment."""
        space = space or LabelSpace.from_labels(label)
        item_code, items = _codes(item, "item")
        annotator_code, annotators = _codes(annotator, "annotator")
        ids = space.encode(label)
        sizes = {"item": len(item_code), "annotator": len(annotator_code), "label": len(ids)}
        extra = {name: _optional(name, column) for name, column in optional.items() if column is not None}
        sizes |= {name: len(column) for name, column in extra.items()}
        if len(set(sizes.values())) > 1:
            raise LabelError(
                found="vote columns of different lengths: " + ", ".join(f"{k} {v}" for k, v in sizes.items()),
                expected="one entry per vote in each column",
                fix="take the columns from one table",
            )
        return cls(item_code, annotator_code, ids, items, annotators, space, **extra)

    @classmethod
    def from_table(
        cls,
        table: Any,
        space: LabelSpace | None = None,
        *,
        item: str = "item",
        annotator: str = "annotator",
        label: str = "label",
    ) -> Votes:
        """From any data frame with columns item, annotator and label; weight, probability, time, source and comment are
        taken where they exist."""
        columns = as_columns(table)
        chosen = {role: need(columns, name) for role, name in
                  (("item", item), ("annotator", annotator), ("label", label))}  # fmt: skip
        names = ("weight", "probability", "time", "source", "comment")
        return cls.from_columns(**chosen, space=space, **{n: columns[n] for n in names if n in columns})

    @property
    def n_items(self) -> int:
        """Number of distinct items, N."""
        return len(self.items)

    @property
    def n_annotators(self) -> int:
        """Number of distinct annotators, A."""
        return len(self.annotators)

    def counts(self) -> np.ndarray:
        """(N, K) float64: total weight of the votes for each class; abstentions do not count."""
        out = np.zeros((self.n_items, len(self.space)))
        said = self.label >= 0
        np.add.at(out, (self.item[said], self.label[said]), 1.0 if self.weight is None else self.weight[said])
        return out

    def soft(self) -> SoftLabels:
        """Vote shares per item; items with abstentions only are unknown."""
        counts = self.counts()
        total = counts.sum(1, keepdims=True)
        share = np.where(total > 0, counts / np.where(total > 0, total, 1), 1 / counts.shape[1])
        return SoftLabels.from_dense(share, self.space, known=total[:, 0] > 0)

    def loglik(self, space: LabelSpace | None = None, *, confusion: np.ndarray | None = None) -> np.ndarray:
        """(N, K): sum over an item's votes of weight * log p(vote | true class).

        confusion: (K, K) or (A, K, K), confusion[annotator, true, given]. Without it every annotator is right with one
        accuracy and errs evenly, and that accuracy is read off how often two votes on an item agree
        (`agreement_accuracy`). Abstentions say nothing.
        """
        k = len(self.space)
        if confusion is None:
            accuracy = self.agreement_accuracy()
            confusion = np.full((k, k), (1 - accuracy) / max(k - 1, 1))
            np.fill_diagonal(confusion, accuracy)
        table = np.broadcast_to(confusion, (self.n_annotators, k, k))
        said = self.label >= 0
        with np.errstate(divide="ignore"):
            terms = np.log(table[self.annotator[said], :, self.label[said]])
        if self.weight is not None:
            with np.errstate(invalid="ignore"):
                terms = np.where(self.weight[said, None] > 0, self.weight[said, None] * terms, 0.0)
        out = np.zeros((self.n_items, k))
        np.add.at(out, self.item[said], terms)
        # a class that the annotators could not choose is as likely as the average of those they could
        return aligned(out, self.space, space, out.mean(1))

    def agreement_accuracy(self) -> float:
        """The accuracy a that explains how often two votes on the same item agree, a^2 + (1-a)^2/(K-1); within
        [1/K + 0.01, 0.99]. With no item voted on twice, 0.8."""
        k = len(self.space)
        said = self.label >= 0
        counts = np.zeros((self.n_items, k))
        np.add.at(counts, (self.item[said], self.label[said]), 1.0)
        n = counts.sum(1)
        pairs = (n * (n - 1)).sum()
        if pairs == 0 or k == 1:
            return 0.8
        agree = (counts * (counts - 1)).sum() / pairs
        root = max((k - 1) * (agree * k - 1), 0.0) ** 0.5
        return float(np.clip((1 + root) / k, 1 / k + 0.01, 0.99))


def _codes(column: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Positions and keys in first-seen order."""
    values = np.asarray(column.to_pylist() if hasattr(column, "to_pylist") else column)
    if values.dtype == object:
        missing = [i for i, v in enumerate(values) if v is None or v != v]
        if missing:
            raise LabelError(
                found=f"{len(missing)} votes without {name} (first is row {missing[0]})",
                expected=f"a key in every row of `{name}`",
                fix="drop these rows, or name the unknown with a key of its own",
            )
        values = values.astype(str) if any(isinstance(v, str) for v in values) else values.astype(np.int64)
    keys, first, code = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank[code.reshape(-1)], keys[order]


def _optional(name: str, column: Any) -> np.ndarray:
    values = np.asarray(column.to_pylist() if hasattr(column, "to_pylist") else column)
    if name in ("source", "comment"):
        return np.array(["" if v is None or v != v else str(v) for v in values], dtype=str)
    if name == "time" and values.dtype.kind == "M":
        return values.astype("datetime64[us]").astype(np.int64) / 1e6
    out = values.astype(np.float64)
    if name == "weight" and (~np.isfinite(out) | (out < 0)).any():
        raise LabelError(found="a weight that is negative or NaN", expected="weights >= 0", fix="drop such votes")
    if name == "probability" and (~((out > 0) & (out <= 1)) & ~np.isnan(out)).any():
        raise LabelError(
            found="an inclusion probability outside (0, 1]",
            expected="the probability with which the item was drawn; NaN where it was chosen by hand",
            fix="keep the column that review_sample wrote",
        )
    return out
