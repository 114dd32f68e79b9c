"""Cohen's kappa of every two annotators, plain and weighted.

Sources: Cohen 1960, 1968; standard error: Fleiss, Cohen and Everitt 1969.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from labelwright.crowds._distances import CHUNK, Answers, Distance, distance, read
from labelwright.crowds._intervals import Estimate, Influence, check_level, estimate, interval, nulls
from labelwright.errors import check_option, check_whole
from labelwright.labels import LabelSpace, Votes

if TYPE_CHECKING:
    import pyarrow as pa

WEIGHTS = ("nominal", "linear", "quadratic", "space")


def cohen_kappa(votes: Votes, *, weights: str = "nominal", least: int = 5, level: float = 0.9) -> pa.Table:
    """Cohen's kappa of every two annotators with at least `least` items in common.

    Args:
        weights: "nominal"; "linear" or "quadratic" in the steps of an ordered space, or the values of a score space; "space",
            which weighs by `LabelSpace.cost`.

    Returns:
        A row per pair, most items in common first: a, b (annotators), items, agreement (share of equal answers), kappa, se,
        low, high. kappa is null where both always gave the same one class.

    Raises:
        OptionError: unknown weights.   LabelError: linear or quadratic weights on classes without order.

    Source: Cohen 1960, 1968; standard error: Fleiss, Cohen and Everitt 1969.
    """
    check_level(level)
    check_whole("least", least, 1)
    return Pairs.of(read(votes), least).table(votes, weights_of(votes.space, weights), level)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Q answers of two annotators to one item, sorted by pair. a, b: (P,) the annotators.   start: (P + 1,).
    x, y: (Q,) their answers.   item: (Q,)."""

    a: np.ndarray
    b: np.ndarray
    start: np.ndarray
    x: np.ndarray
    y: np.ndarray
    item: np.ndarray
    n_classes: int

    @classmethod
    def of(cls, answers: Answers, least: int) -> Pairs:
        first, second = two_of_an_item(answers.votes)
        who = answers.annotator
        other = who[first] != who[second]  # one who answered an item twice is not compared with himself
        first, second = first[other], second[other]
        key = who[first] * answers.n_annotators + who[second]
        order = np.argsort(key, kind="stable")
        pair, number, count = np.unique(key[order], return_inverse=True, return_counts=True)
        keep = count >= least
        order = order[keep[number]]
        first, second = first[order], second[order]
        a, b = np.divmod(pair[keep], answers.n_annotators)
        start = np.append(0, np.cumsum(count[keep]))
        label = answers.label
        return cls(a, b, start, label[first], label[second], answers.item[first], len(answers.space))

    def parts(self, far: Distance) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(seen (P,), expected (P,)) mean distances; and per answer (Q,) the distance and its expected counterpart, whose mean
        is 2 * expected."""
        k, n = self.n_classes, np.diff(self.start)
        number = np.repeat(np.arange(len(n)), n)
        d = far.between(self.x, self.y)
        expected, to_margin = np.empty(len(n)), np.empty(len(d))
        step = max(CHUNK // k, 1)
        for p in range(0, len(n), step):
            part = slice(self.start[p], self.start[min(p + step, len(n))])
            size, row = min(step, len(n) - p), number[part] - p
            margins = [
                np.bincount(row * k + z[part], minlength=size * k).reshape(size, k) / n[p : p + size, None]
                for z in (self.x, self.y)
            ]
            away = [far.to_pool(margin) for margin in margins]
            expected[p : p + size] = (away[0] * margins[1]).sum(1)
            to_margin[part] = away[1][row, self.x[part]] + away[0][row, self.y[part]]
        return np.add.reduceat(d, self.start[:-1]) / n if len(n) else d, expected, d, to_margin

    def kappas(self, far: Distance) -> tuple[np.ndarray, np.ndarray]:
        """kappa (P,), and (Q,) its derivative by the weight of each common item."""
        seen, expected, d, to_margin = self.parts(far)
        n = np.diff(self.start)
        with np.errstate(invalid="ignore", divide="ignore"):
            expected = np.where(expected > 1e-12, expected, np.nan)
            ratio, e, s, m = (np.repeat(z, n) for z in (seen / expected, expected, seen, n))
            return 1 - seen / expected, -((d - s) / e - ratio * (to_margin - 2 * e) / e) / m

    def pooled(self, far: Distance, level: float) -> Estimate:
        """Mean kappa over the pairs, weighted by common items."""
        kappa, slope = self.kappas(far)
        n = np.diff(self.start) * np.isfinite(kappa)
        if not n.sum():
            return estimate(Influence(float("nan"), np.zeros(0)), level)
        share = np.repeat(n / n.sum(), np.diff(self.start))
        _, item = np.unique(self.item, return_inverse=True)
        psi = np.bincount(item, np.where(share > 0, np.nan_to_num(slope) * share, 0))
        different = float((self.parts(Distance())[1] * n).sum() / n.sum())
        return estimate(Influence(float(np.nansum(kappa * n) / n.sum()), psi, different), level)

    def table(self, votes: Votes, far: Distance, level: float) -> pa.Table:
        kappa, slope = self.kappas(far)
        n = np.diff(self.start)
        sums = [np.add.reduceat(z, self.start[:-1]) if len(n) else z for z in (slope**2, (self.x == self.y) * 1.0)]
        with np.errstate(invalid="ignore", divide="ignore"):
            se = np.sqrt(sums[0] * n / (n - 1))
            low, high = interval(kappa, se, n, level, self.parts(Distance())[1])
        order = np.argsort(-n, kind="stable")
        columns = {
            "items": n,
            "agreement": sums[1] / np.maximum(n, 1),
            "kappa": kappa,
            "se": se,
            "low": low,
            "high": high,
        }
        names = {"a": votes.annotators[self.a][order].tolist(), "b": votes.annotators[self.b][order].tolist()}
        return nulls(names | {name: c[order] for name, c in columns.items()})


def two_of_an_item(votes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions (first, second) of every two answers to one item, first < second."""
    rank = np.arange(int(votes.sum())) - np.repeat(np.cumsum(votes) - votes, votes)
    later = np.repeat(votes, votes) - rank - 1
    first = np.repeat(np.arange(len(later)), later)
    step = np.arange(len(first)) - np.repeat(np.cumsum(later) - later, later)
    return first, first + 1 + step


def weights_of(space: LabelSpace, weights: str) -> Distance:
    check_option("weights", weights, WEIGHTS)
    if weights in ("nominal", "space"):
        return distance(space, weights, np.zeros(0))
    squared = distance(space, "interval", np.zeros(0))
    assert squared.values is not None
    return (
        squared
        if weights == "quadratic"
        else Distance(matrix=np.abs(np.subtract.outer(squared.values, squared.values)))
    )
