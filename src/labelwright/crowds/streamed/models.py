"""The models whose EM steps are sums over votes: what a part of the crowd adds, and what all of it makes of the parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from labelwright.crowds import _coins, dawid_skene, one_coin, temper
from labelwright.crowds._accelerate import State
from labelwright.crowds._candidates import Pairs
from labelwright.crowds._cells import Cells
from labelwright.crowds._row_prior import RowPrior
from labelwright.crowds._skills import refit
from labelwright.crowds._starts import accuracy_of, share_posterior, vote_spread
from labelwright.crowds.dawid_skene import COMPLETE
from labelwright.crowds.one_coin import expected_log
from labelwright.crowds.prepared import Prepared
from labelwright.errors import OptionError


class Crowd(NamedTuple):
    """Totals of a crowd: weight of the votes for each class (K,), ordered pairs of votes on an item that agree, and all such
    pairs, and of each annotator (A,) the weight of its votes and how many there are."""

    votes: np.ndarray
    agree: float
    pairs: float
    annotators: np.ndarray
    sizes: np.ndarray

    @property
    def usual(self) -> float:
        """The accuracy to expect of a vote."""
        return accuracy_of(self.agree, self.pairs, len(self.votes))


class Judged(NamedTuple):
    """A part of the crowd under a model: its pairs, posteriors (P,) and rest (N,), the log-likelihoods they rest on, and the
    log-likelihood of the votes."""

    pairs: Pairs
    prob: np.ndarray
    rest: np.ndarray
    loglik: np.ndarray
    rest_loglik: np.ndarray
    total: float


class Model(Protocol):
    """name: in `METHODS`.   prior: (K,) of the posteriors.   shares: (K,) of the classes, once finished."""

    name: str
    prior: np.ndarray
    shares: np.ndarray

    def judge(self, votes: Prepared) -> Judged:
        """The posteriors of some items, from the vote shares before the first `learn`."""

    def counts(self, votes: Prepared, judged: Judged) -> np.ndarray:
        """What these items tell of the annotators; parts add up."""

    def state(self, counts: np.ndarray, classes: np.ndarray) -> State:
        """What the next step begins with.   classes: (K,) expected items per class, and one more."""

    def learn(self, state: State) -> float:
        """New parameters; what they add to the objective."""

    def leap(self, s0: State, s1: State, s2: State, length: float) -> State:
        """See `climb`."""

    def finish(self, counts: np.ndarray, classes: np.ndarray) -> None:
        """What the labels rest on: the parameters that follow from the last posteriors, what annotators share left as it is."""

    def left_out(self, votes: Prepared, judged: Judged, counts: np.ndarray, seed: int) -> temper.LeftOut:
        """Votes with what the others say, as `temper.best_dependence` wants them."""

    def confusions(self, counts: np.ndarray) -> Callable[[int], np.ndarray]:
        """annotator -> (K, K) [true, given]."""

    def keep(self) -> dict[str, np.ndarray]:
        """The parameters, for `restore`."""

    def restore(self, kept: dict[str, np.ndarray]) -> None: ...


class MatrixModel:
    """`fit_dawid_skene` with its defaults, up to 16 classes; counts are (A * K * K,) [annotator, given, true]."""

    name = "dawid_skene"

    def __init__(self, crowd: Crowd):
        self.a, self.k = len(crowd.annotators), len(crowd.votes)
        if self.k > COMPLETE:
            raise OptionError(
                found=f"dawid_skene for {self.k} classes of votes that are read in passes",
                expected=f"at most {COMPLETE} classes, as every annotator has a matrix",
                fix="pass method='one_coin'",
            )
        self.share = vote_spread(crowd.votes)
        self.prior = self.share
        self.cells = Cells.all_of(self.a, self.k)
        self.rows = RowPrior.fitted(self.cells, crowd.usual, self.k)
        self.value: np.ndarray | None = None
        self.final: np.ndarray | None = None  # what the labels rest on: one step ahead of the posteriors

    def _matrix(self, votes: Prepared) -> Any:
        from scipy.sparse import csr_matrix

        spoken = votes.annotator * np.int64(self.k) + votes.label
        return csr_matrix((votes.weight, spoken, votes.start), shape=(votes.n_items, self.a * self.k))

    def judge(self, votes: Prepared) -> Judged:
        pairs, none = Pairs.every(votes), np.zeros(votes.n_items)
        if self.value is None:
            prob, rest, _ = share_posterior(votes, pairs, self.share)
            return Judged(pairs, prob, rest, prob, none, 0.0)
        matrix = self._matrix(votes)
        loglik = (matrix @ self.value.reshape(-1, self.k)).ravel()
        prob, rest, norm = pairs.softmax(np.log(self.prior)[pairs.label] + loglik, np.full(votes.n_items, -np.inf))
        if self.final is not None:
            loglik = (matrix @ self.final.reshape(-1, self.k)).ravel()
        return Judged(pairs, prob, rest, loglik, none, float(norm.sum()))

    def counts(self, votes: Prepared, judged: Judged) -> np.ndarray:
        found: np.ndarray = (self._matrix(votes).T @ judged.prob.reshape(-1, self.k)).ravel()
        return found

    def state(self, counts: np.ndarray, classes: np.ndarray) -> State:
        return counts, classes, self.rows.around

    def leap(self, s0: State, s1: State, s2: State, length: float) -> State:
        return dawid_skene.leap(self.rows, s0, s1, s2, length)

    def learn(self, state: State) -> float:
        counts, classes, self.rows.around = state
        self.prior = classes / classes.sum()
        row = self.cells.rows(counts)
        self.rows.refit(counts, row)
        self.value, penalty = self.rows.expected_log(counts, row)
        return penalty + float(np.log(self.prior).mean())

    def finish(self, counts: np.ndarray, classes: np.ndarray) -> None:
        self.final, _ = self.rows.expected_log(counts, self.cells.rows(counts))
        self.shares = self.prior

    def left_out(self, votes: Prepared, judged: Judged, counts: np.ndarray, seed: int) -> temper.LeftOut:
        assert self.final is not None
        chosen = temper.drawn(votes, seed)
        frame, entry, vote = temper.left_out(votes, judged.pairs, chosen, self.prior, judged.loglik, judged.rest_loglik)
        learnt = (counts, self.cells.rows(counts), self.final)
        said, chance = self.rows.without(votes, judged.pairs, learnt, entry, vote, judged.prob)
        return frame._replace(loglik=frame.loglik - said, chance=chance, rest_chance=np.ones(len(chosen)))

    def confusions(self, counts: np.ndarray) -> Callable[[int], np.ndarray]:
        return self.rows.confusions(counts, self.a)

    def keep(self) -> dict[str, np.ndarray]:
        return {
            "prior": self.prior,
            "around": self.rows.around,
            "value": np.zeros(0) if self.value is None else self.value,
        }

    def restore(self, kept: dict[str, np.ndarray]) -> None:
        self.prior, self.rows.around = kept["prior"], kept["around"]
        self.value = kept["value"] if len(kept["value"]) else None


class CoinModel:
    """`fit_one_coin` with its defaults; counts are (A,) expected right votes."""

    name = "one_coin"

    def __init__(self, crowd: Crowd):
        self.k, self.total = len(crowd.votes), crowd.annotators
        self.share, self.prior = vote_spread(crowd.votes), np.full(self.k, 1 / self.k)
        self.around = self.base = 2.0 * np.array([crowd.usual, 1 - crowd.usual])
        self.value: np.ndarray | None = None
        self.right = np.zeros_like(self.total)  # of the annotators' votes, when the value was learnt

    def _logs(self, votes: Prepared) -> tuple[np.ndarray, np.ndarray]:
        assert self.value is not None
        wrong = self.value[votes.annotator, 1] - np.log(max(self.k - 1, 1))
        return self.value[votes.annotator, 0], wrong

    def judge(self, votes: Prepared) -> Judged:
        pairs, none = Pairs.voted(votes), np.zeros(votes.n_items)
        if self.value is None:
            prob, rest, _ = share_posterior(votes, pairs, self.share)
            return Judged(pairs, prob, rest, prob, none, 0.0)
        logs = self._logs(votes)
        prob, rest, total = _coins.posterior(votes, pairs, self.prior, *logs)
        return Judged(pairs, prob, rest, _coins.loglik(votes, pairs, *logs), none, total)

    def counts(self, votes: Prepared, judged: Judged) -> np.ndarray:
        return np.bincount(votes.annotator, votes.weight * judged.prob[judged.pairs.own], votes.n_annotators)

    def state(self, counts: np.ndarray, classes: np.ndarray) -> State:
        return counts, self.prior, self.around

    def leap(self, s0: State, s1: State, s2: State, length: float) -> State:
        return one_coin.leap(self.total, s0, s1, s2, length)

    def learn(self, state: State) -> float:
        counts, self.prior, self.around = state
        self.right = counts
        count = np.stack([counts, np.maximum(self.total - counts, 0)], 1)
        self.around = refit(self.around, self.base, count)
        self.value, penalty = expected_log(self.around, self.base, count)
        return penalty + float(np.log(self.prior).mean())

    def finish(self, counts: np.ndarray, classes: np.ndarray) -> None:
        self.shares = classes / classes.sum()

    def left_out(self, votes: Prepared, judged: Judged, counts: np.ndarray, seed: int) -> temper.LeftOut:
        who, own = votes.annotator, votes.weight * judged.prob[judged.pairs.own]
        right = (np.maximum(self.right[who] - own, 0) + self.around[0]) / (
            np.maximum(self.total[who] - votes.weight, 0) + self.around.sum()
        )
        wrong = (1 - right) / max(self.k - 1, 1)
        return _coins.left_out(votes, judged.pairs, self.prior, *self._logs(votes), (right, wrong), seed)

    def confusions(self, counts: np.ndarray) -> Callable[[int], np.ndarray]:
        mean = (self.right + self.around[0]) / (self.total + self.around.sum())
        return lambda annotator: _coins.even_confusion(float(mean[annotator]), self.k)

    def keep(self) -> dict[str, np.ndarray]:
        value = np.zeros((0, 2)) if self.value is None else self.value
        return {"around": self.around, "value": value, "right": self.right}

    def restore(self, kept: dict[str, np.ndarray]) -> None:
        self.around, self.right = kept["around"], kept["right"]
        self.value = kept["value"] if len(kept["value"]) else None


MODELS: dict[str, Callable[[Crowd], Model]] = {"one_coin": CoinModel, "dawid_skene": MatrixModel}
"""What can be fitted in passes, simple ones first."""
