"""Annotators that are learnt beside some other evidence about the items: from posteriors to the likelihood of each class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from labelwright.crowds import _coins, temper
from labelwright.crowds._candidates import Pairs
from labelwright.crowds._cells import Cells
from labelwright.crowds._row_prior import RowPrior
from labelwright.crowds._skills import refit
from labelwright.crowds._starts import share_posterior, usual_accuracy
from labelwright.crowds.dawid_skene import wrong_votes
from labelwright.crowds.one_coin import expected_log
from labelwright.crowds.prepared import Prepared


class People(Protocol):
    """Annotators to be learnt: loglik (P,) and rest (N,) are the log-likelihoods of the votes that they stand for."""

    loglik: np.ndarray
    rest: np.ndarray

    def learn(self, prob: np.ndarray) -> float:
        """From posteriors (P,); what the annotators add to the objective."""

    def without(
        self, frame: temper.LeftOut, entry: np.ndarray, vote: np.ndarray, chosen: np.ndarray, prob: np.ndarray
    ) -> temper.LeftOut:
        """`frame` with each chosen vote taken out of its item and of its annotator."""

    def confusion(self, annotator: int) -> np.ndarray:
        """(K, K) [true, given]."""


class Confusions:
    """The annotators of `fit_dawid_skene`, with fitted rows."""

    loglik: np.ndarray
    rest: np.ndarray

    def __init__(self, votes: Prepared, pairs: Pairs):
        right, share = usual_accuracy(votes), share_posterior(votes, pairs)[2]
        self.votes, self.pairs, self.cells = votes, pairs, Cells.of(votes, pairs)
        self.rows = RowPrior.fitted(self.cells, right, votes.n_classes)
        self.wrong = wrong_votes(right, share)
        self.rest = np.zeros(votes.n_items)
        if not pairs.complete:
            self.rest = np.bincount(votes.item, votes.weight * self.wrong[votes.label], votes.n_items)

    def learn(self, prob: np.ndarray) -> float:
        self.count = self.cells.scatter(prob)
        self.row = self.cells.rows(self.count)
        self.rows.refit(self.count, self.row)
        self.value, penalty = self.rows.expected_log(self.count, self.row)
        self.loglik = self.cells.gather(self.value)
        return penalty

    def without(
        self, frame: temper.LeftOut, entry: np.ndarray, vote: np.ndarray, chosen: np.ndarray, prob: np.ndarray
    ) -> temper.LeftOut:
        votes, pairs = self.votes, self.pairs
        said, chance = self.rows.without(votes, pairs, (self.count, self.row, self.value), entry, vote, prob)
        wrong = self.wrong[votes.label[chosen]]
        return frame._replace(
            loglik=frame.loglik - said,
            chance=chance,
            rest_loglik=frame.rest_loglik - (0.0 if pairs.complete else votes.weight[chosen] * wrong),
            rest_chance=np.exp(wrong),
        )

    def confusion(self, annotator: int) -> np.ndarray:
        return self.rows.confusions(self.count, self.votes.n_annotators)(annotator)


@dataclass(eq=False)
class Coins:
    """The annotators of `fit_one_coin`."""

    votes: Prepared
    pairs: Pairs

    def __post_init__(self) -> None:
        usual = usual_accuracy(self.votes)
        self.around = self.base = 2.0 * np.array([usual, 1 - usual])
        self.total = np.bincount(self.votes.annotator, self.votes.weight, self.votes.n_annotators)
        self.rest = np.zeros(self.votes.n_items)
        self.loglik = np.zeros(len(self.pairs.item))

    def learn(self, prob: np.ndarray) -> float:
        votes, who = self.votes, self.votes.annotator
        right = np.bincount(who, votes.weight * prob[self.pairs.own], votes.n_annotators)
        self.count = np.stack([right, np.maximum(self.total - right, 0)], 1)
        self.around = refit(self.around, self.base, self.count)
        value, penalty = expected_log(self.around, self.base, self.count)
        self.log_right, self.log_wrong = value[who, 0], value[who, 1] - np.log(max(votes.n_classes - 1, 1))
        self.loglik = _coins.loglik(votes, self.pairs, self.log_right, self.log_wrong)
        return penalty + float((votes.weight * self.log_wrong).sum())

    def without(
        self, frame: temper.LeftOut, entry: np.ndarray, vote: np.ndarray, chosen: np.ndarray, prob: np.ndarray
    ) -> temper.LeftOut:
        votes, who = self.votes, self.votes.annotator[chosen]
        own = votes.weight[chosen] * prob[self.pairs.own[chosen]]
        right = (np.maximum(self.count[who, 0] - own, 0) + self.around[0]) / (
            np.maximum(self.total[who] - votes.weight[chosen], 0) + self.around.sum()
        )
        wrong = (1 - right) / max(votes.n_classes - 1, 1)
        size, speaks = np.diff(frame.start), entry == self.pairs.own[vote]
        gain = votes.weight[vote] * (self.log_right - self.log_wrong)[vote]
        return frame._replace(
            loglik=frame.loglik - np.where(speaks, gain, 0.0),
            chance=np.where(speaks, np.repeat(right, size), np.repeat(wrong, size)),
            rest_chance=wrong,
        )

    def confusion(self, annotator: int) -> np.ndarray:
        right = (self.count[annotator, 0] + self.around[0]) / (self.total[annotator] + self.around.sum())
        return _coins.even_confusion(float(right), self.votes.n_classes)
