"""What is summed in a pass over sorted votes. Each is a mergeable statistic whose chunks are `VotePart`s."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.crowds import temper
from labelwright.crowds._candidates import class_counts
from labelwright.crowds._skills import Right
from labelwright.crowds._starts import agreeing_pairs
from labelwright.crowds.streamed.models import Crowd, Model
from labelwright.crowds.streamed.sorted_votes import VotePart
from labelwright.stream import Lowest


class Totals:
    """`Crowd` of all votes."""

    def __init__(self, n_annotators: int, n_classes: int):
        self.votes, self.annotators = np.zeros(n_classes), np.zeros(n_annotators)
        self.count = np.zeros(n_annotators, np.int64)
        self.agree = self.pairs = 0.0

    def update(self, part: VotePart) -> None:
        votes = part.prepared
        self.votes += np.bincount(votes.label, votes.weight, len(self.votes))
        self.annotators += np.bincount(votes.annotator, votes.weight, len(self.annotators))
        self.count += np.bincount(votes.annotator, minlength=len(self.count))
        agree, pairs = agreeing_pairs(votes)
        self.agree += agree
        self.pairs += pairs

    def merge(self, other: Totals) -> None:
        self.votes += other.votes
        self.annotators += other.annotators
        self.count += other.count
        self.agree += other.agree
        self.pairs += other.pairs

    def result(self) -> Crowd:
        return Crowd(self.votes, self.agree, self.pairs, self.annotators, self.count)


class Expected(NamedTuple):
    """counts: what the posteriors tell of the annotators.   classes: (K,) expected items per class, and one more.
    right: of each annotator.   loglik: of all votes."""

    counts: np.ndarray
    classes: np.ndarray
    right: Right
    loglik: float


class Expectation:
    """The E step of a model: `Expected` of all votes."""

    def __init__(self, model: Model):
        self.model, self._sum = model, None

    _sum: Expected | None

    def update(self, part: VotePart) -> None:
        votes = part.prepared
        judged = self.model.judge(votes)
        # one more item is added once for all, in the result
        classes = class_counts(judged.pairs, judged.prob, judged.rest, self.model.prior) - 1 / votes.n_classes
        right = Right.of(votes, judged.prob[judged.pairs.own])
        self._add(Expected(self.model.counts(votes, judged), classes, right, judged.total))

    def _add(self, more: Expected) -> None:
        if self._sum is None:
            self._sum = more
            return
        right = Right(*(a + b for a, b in zip(self._sum.right, more.right)))
        mine = self._sum
        self._sum = Expected(mine.counts + more.counts, mine.classes + more.classes, right, mine.loglik + more.loglik)

    def merge(self, other: Expectation) -> None:
        if other._sum is not None:
            self._add(other._sum)

    def result(self) -> Expected:
        assert self._sum is not None, "no votes"
        return self._sum._replace(classes=self._sum.classes + 1 / len(self._sum.classes))


class Written(NamedTuple):
    """agrees: (A,) votes of each annotator that are the label in the end.   items: per class, how many have it as their
    likeliest.   certain: sum of the labels' probabilities.   unsure: items below 0.8.   doubtful: numbers of the least certain
    items."""

    agrees: np.ndarray
    items: np.ndarray
    certain: float
    unsure: int
    doubtful: np.ndarray


class Writing:
    """The last pass: labels of each part into files of their own, and what is told of all of them."""

    def __init__(self, model: Model, dependence: float, usual: float, keys: Any, folder: Path, doubtful: int):
        self.model, self.dependence, self.usual = model, dependence, usual
        self.keys, self.folder, self.size = keys, folder, doubtful
        self.agrees = self.items = np.zeros(0, np.int64)
        self.certain, self.unsure, self.lowest = 0.0, 0, Lowest(doubtful)

    def update(self, part: VotePart) -> None:
        from labelwright.crowds.streamed.tables import write_part

        votes = part.prepared
        judged = self.model.judge(votes)
        done = temper.settle(
            votes, judged.pairs, self.model.prior, judged.loglik, judged.rest_loglik, self.dependence, self.dependence,
            temper.DOUBT,
        )  # fmt: skip
        first, probability = write_part(
            done.labels, votes, part.first, self.keys, self.dependence, self.usual, self.folder
        )
        hits = np.bincount(votes.annotator, first[votes.item] == votes.label, votes.n_annotators).astype(np.int64)
        self._add(hits, np.bincount(first, minlength=votes.n_classes))
        self.certain += float(probability.sum())
        self.unsure += int((probability < 0.8).sum())
        self.lowest.update((slice(part.first, part.first + votes.n_items), probability))

    def _add(self, agrees: np.ndarray, items: np.ndarray) -> None:
        first = not len(self.items)
        self.agrees, self.items = (agrees, items) if first else (self.agrees + agrees, self.items + items)

    def merge(self, other: Writing) -> None:
        if len(other.items):
            self._add(other.agrees, other.items)
        self.certain += other.certain
        self.unsure += other.unsure
        self.lowest.merge(other.lowest)

    def result(self) -> Written:
        return Written(self.agrees, self.items, self.certain, self.unsure, self.lowest.result())
