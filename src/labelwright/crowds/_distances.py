"""Votes as cells (item, class, count), and how far two answers lie apart: what the agreement statistics share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labelwright.errors import LabelError, check_option
from labelwright.labels import LabelSpace, Votes

METRICS = ("nominal", "ordinal", "interval", "ratio", "space")
CHUNK = 1 << 22  # entries of a dense block


@dataclass(frozen=True, eq=False)
class Answers:
    """V answers sorted by item, then annotator: abstentions, votes of weight 0 and repeats of one's own answer left out.

    item, annotator, label: (V,) int64.   votes: (N,) answers per item.
    """

    item: np.ndarray
    annotator: np.ndarray
    label: np.ndarray
    votes: np.ndarray
    n_annotators: int
    space: LabelSpace

    def cells(self) -> Cells:
        """The same answers by item and class, without who gave them."""
        k = len(self.space)
        key, count = np.unique(self.item * k + self.label, return_counts=True)
        item, label = np.divmod(key, k)
        return Cells(item, label, count.astype(np.float64), self.votes.astype(np.float64), k)


@dataclass(frozen=True, eq=False)
class Cells:
    """item, label, count: (C,) how many answers to the item named the class; counts > 0.   votes: (N,) answers per item."""

    item: np.ndarray
    label: np.ndarray
    count: np.ndarray
    votes: np.ndarray
    n_classes: int

    def paired(self) -> Cells:
        """Only the items with two answers or more, renumbered."""
        keep = self.votes >= 2
        number = np.cumsum(keep) - 1
        on = keep[self.item]
        return Cells(
            number[self.item[on]], self.label[on], self.count[on], self.votes[keep], self.n_classes
        )  # fmt: skip

    def per_class(self, weight: np.ndarray | None = None) -> np.ndarray:
        """(K,) answers for each class; with `weight` (C,), the sum of count * weight."""
        worth = self.count if weight is None else self.count * weight
        return np.bincount(self.label, worth, minlength=self.n_classes)

    def per_item(self, value: np.ndarray) -> np.ndarray:
        """(N,) sum over the item's answers of `value` (C,)."""
        return np.bincount(self.item, self.count * value, minlength=len(self.votes))


def read(votes: Votes) -> Answers:
    """See `Answers`."""
    says = votes.label >= 0 if votes.weight is None else (votes.label >= 0) & (votes.weight > 0)
    item, annotator, label = (x[says].astype(np.int64) for x in (votes.item, votes.annotator, votes.label))
    a, k = max(votes.n_annotators, 1), len(votes.space)
    if votes.n_items * a * k < 2**62:  # one sort of packed keys is ten times faster than a sort by three columns
        key = np.sort((item * a + annotator) * k + label)
        key = key[np.append(True, key[1:] != key[:-1])] if len(key) else key
        rest, label = np.divmod(key, k)
        item, annotator = np.divmod(rest, a)
    else:
        item, annotator, label = np.unique(np.stack([item, annotator, label]), axis=1)
    return Answers(item, annotator, label, np.bincount(item, minlength=votes.n_items), a, votes.space)


@dataclass(frozen=True, eq=False)
class Distance:
    """Distance of two classes: squared difference of `values` (K,), an entry of `matrix` (K, K), or else 1 if they differ."""

    values: np.ndarray | None = None
    matrix: np.ndarray | None = None

    def between(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Elementwise, for class ids `a` and `b`."""
        if self.values is not None:
            return (self.values[a] - self.values[b]) ** 2
        return (a != b).astype(np.float64) if self.matrix is None else self.matrix[a, b]

    def to_pool(self, counts: np.ndarray) -> np.ndarray:
        """(..., K): for each class, the sum of its distances to a pool of `counts` (..., K) answers."""
        if self.values is not None:
            v = self.values
            total, first, second = (counts @ np.stack([v**0, v, v**2], axis=1)).T[..., None]
            return total * v**2 - 2 * first * v + second
        return counts.sum(-1, keepdims=True) - counts if self.matrix is None else counts @ self.matrix

    def within(self, cells: Cells) -> np.ndarray:
        """(N,): sum of the distances of all ordered pairs of answers to an item."""
        if self.values is not None:
            v = self.values[cells.label]
            mean = cells.per_item(v) / np.maximum(cells.votes, 1)
            return 2 * cells.votes * cells.per_item((v - mean[cells.item]) ** 2)
        if self.matrix is None:
            return cells.votes**2 - cells.per_item(cells.count)
        return cells.per_item(_met(cells, self.matrix))


def metric_of(space: LabelSpace) -> str:
    """The metric that a space asks for."""
    by = {"ordered": "ordinal", "score": "interval", "hierarchy": "space", "metric": "space"}
    return by.get(space.structure, "nominal")


def distance(space: LabelSpace, metric: str, pool: np.ndarray) -> Distance:
    """`metric` on the classes of `space`; `pool` (K,) holds the answers that place the ranks of "ordinal".

    Raises:
        OptionError: an unknown metric.   LabelError: "interval" or "ratio" without numbers, "ratio" with negative ones.
    """
    check_option("metric", metric, METRICS)
    if metric == "nominal":
        return Distance()
    if metric == "space":
        return Distance(matrix=space.cost())
    if metric == "ordinal":  # the middle rank of a class; differences are Krippendorff's sums of margins
        return Distance(values=np.cumsum(pool) - pool / 2)
    values = np.arange(len(space), dtype=np.float64) if space.structure == "ordered" else space.values
    if values is None or (metric == "ratio" and (space.structure != "score" or (values < 0).any())):
        raise LabelError(
            found=f"metric={metric!r} for a space of structure {space.structure!r}"
            + ("" if values is None else f" with values from {values.min():g}"),
            expected="classes that are numbers" + (", none negative" if metric == "ratio" else ""),
            fix="build the space with LabelSpace(classes, structure='score', values=[...]), or pass metric='nominal'",
        )
    if metric == "interval":
        return Distance(values=values)
    total = np.add.outer(values, values)
    return Distance(matrix=(np.subtract.outer(values, values) / np.where(total > 0, total, 1)) ** 2)


def to_others(answers: Answers, far: Distance) -> np.ndarray:
    """(V,) mean distance of each answer to the others on its item; 0 where there are none."""
    cells, m, item, label = answers.cells(), answers.votes, answers.item, answers.label
    if far.values is not None:
        own = far.values[label]
        mean = cells.per_item(far.values[cells.label]) / np.maximum(m, 1)
        spread = cells.per_item((far.values[cells.label] - mean[cells.item]) ** 2)
        total = spread[item] + m[item] * (own - mean[item]) ** 2
    else:
        at = np.searchsorted(cells.item * cells.n_classes + cells.label, item * cells.n_classes + label)
        total = (m[item] - cells.count[at]) if far.matrix is None else _met(cells, far.matrix)[at]
    return total / np.maximum(m[item] - 1, 1)


def _met(cells: Cells, matrix: np.ndarray) -> np.ndarray:
    """(C,) sum of the distances between the class of a cell and all answers to its item."""
    from scipy.sparse import csr_array

    table = csr_array((cells.count, (cells.item, cells.label)), shape=(len(cells.votes), cells.n_classes))
    out, step = np.empty(len(cells.item)), max(CHUNK // cells.n_classes, 1)
    for start in range(0, len(cells.votes), step):
        first, last = np.searchsorted(cells.item, [start, start + step])
        rows = (table[start : start + step] @ matrix)[cells.item[first:last] - start, cells.label[first:last]]
        out[first:last] = rows
    return out
