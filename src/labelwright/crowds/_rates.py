"""The label model in which silence speaks: p(vote or silence | class) of each source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from labelwright.crowds.fit import Fit
from labelwright.crowds.prepared import Prepared
from labelwright.labels import SoftLabels

FLOOR = 1e-6  # no rate is 0: one vote never settles an item


class Start(NamedTuple):
    """prob: (N, K) posteriors to begin with.   weight: (V,) voices of each vote, in the order of the votes.   prior: (K,).
    learn: whether the prior is learnt.   accuracy, strength: the rates a source begins with, in checked votes.
    teaches: (N,) what each item counts."""

    prob: np.ndarray
    weight: np.ndarray
    prior: np.ndarray
    learn: bool
    accuracy: float
    strength: float
    teaches: np.ndarray


@dataclass(frozen=True, eq=False)
class Rates:
    """Claims are the (source, class) pairs that occur, P of them.

    source, label: (P,).   vote: (P, K) p(the source says label | true class).   silent: (A, K).   voice: (A,) mean weight.
    """

    source: np.ndarray
    label: np.ndarray
    vote: np.ndarray
    silent: np.ndarray
    voice: np.ndarray

    def gain(self) -> np.ndarray:
        """(P, K) what a claim adds to the log-likelihood of an item beyond the silence of its source."""
        voice = self.voice[self.source][:, None]
        gain: np.ndarray = voice * (np.log(self.vote) - np.log(self.silent[self.source]))
        return gain

    def base(self) -> np.ndarray:
        """(K,) log-likelihood of an item on which all sources are silent."""
        base: np.ndarray = (self.voice[:, None] * np.log(self.silent)).sum(0)
        return base


def fit_rates(votes: Prepared, start: Start, max_iter: int, tol: float, details: dict[str, Any]) -> Fit:
    """MAP by EM. A source counts as its votes do on average, also where it is silent, so that n copies of a source are one
    source. The Dirichlet prior of its rates: `strength` votes, right with `accuracy`, errors even, at its own frequency."""
    import scipy.sparse as sp

    n, m, k = votes.n_items, votes.n_annotators, votes.n_classes
    claims, column = np.unique(votes.annotator.astype(np.int64) * k + votes.label, return_inverse=True)
    source, label = claims // k, claims % k
    number = np.bincount(votes.annotator, minlength=m)
    voice = np.bincount(votes.annotator, start.weight, m) / np.maximum(number, 1)
    says = sp.csr_matrix((np.ones(len(votes)), (votes.item, column.reshape(-1))), shape=(n, len(claims)))
    taught = (says.T @ sp.diags(start.teaches)).tocsr()
    expected, quiet = _expected(np.asarray(says.sum(0)).ravel() / max(n, 1), source, label, m, k, start.accuracy)
    items = (
        start.strength * k / np.maximum(number / max(n, 1), 1e-12)
    )  # pseudo-items that hold `strength` votes per class
    mass_vote, mass_quiet = items[source][:, None] * expected, items[:, None] * quiet

    prob, prior, trace = _clamped(votes, start.prob), start.prior, [-np.inf]
    while True:
        heard, counted = taught @ prob, start.teaches @ prob
        by_source = _by_source(heard, source, m)
        spoken = voice[source][:, None] * heard + mass_vote
        unsaid = np.maximum(voice[:, None] * (counted - by_source), 0) + mass_quiet
        total = _by_source(spoken, source, m) + unsaid
        rates = Rates(source, label, spoken / total[source], unsaid / total, np.where(number > 0, voice, 0.0))
        if start.learn:
            prior = (counted + 1) / (counted + 1).sum()
        score = says @ rates.gain() + rates.base() + np.log(prior)
        prob, loglik = _normalised(votes, score)
        penalty = (mass_vote * np.log(rates.vote)).sum() + (mass_quiet * np.log(rates.silent))[number > 0].sum()
        objective = float((start.teaches * loglik).sum() + penalty + (np.log(prior).sum() if start.learn else 0))
        done = len(trace) > max_iter or objective - trace[-1] <= tol * abs(objective)
        trace.append(objective)
        if done:
            break
    skill = np.bincount(votes.annotator, prob[votes.item, votes.label], m) / np.maximum(number, 1)
    labels = SoftLabels.from_dense(prob, votes.space, known=np.ones(n, dtype=bool))
    confusion, vote_prob = _readers(votes, rates, says, prior, column.reshape(-1))
    return Fit(
        "label_model", labels, prior, np.where(number > 0, skill, np.nan), confusion=confusion, vote_prob=vote_prob,
        trace=trace[1:], notes=list(votes.notes), details=details,
    )  # fmt: skip


def _expected(
    share: np.ndarray, source: np.ndarray, label: np.ndarray, n_sources: int, k: int, accuracy: float
) -> tuple[np.ndarray, np.ndarray]:
    """Rates before any evidence, (P, K) and of silence (A, K): right with `accuracy` if the classes were even."""
    rate = np.repeat((share * k * (1 - accuracy) / max(k - 1, 1))[:, None], k, axis=1)
    rate[np.arange(len(share)), label] = share * (k * accuracy if k > 1 else 1.0)
    rate = np.maximum(rate, FLOOR)
    most = _by_source(rate, source, n_sources).max(1, initial=0)
    rate *= np.minimum(1.0, 0.95 / np.maximum(most, 1e-12))[source][
        :, None
    ]  # a frequent rule cannot fire more than always
    return rate, 1 - _by_source(rate, source, n_sources)


def _by_source(table: np.ndarray, source: np.ndarray, n_sources: int) -> np.ndarray:
    """(A, K): rows of claims added up per source."""
    return np.stack([np.bincount(source, column, n_sources) for column in table.T], 1)


def _clamped(votes: Prepared, prob: np.ndarray) -> np.ndarray:
    known = votes.gold >= 0
    if known.any():
        prob = prob.copy()
        prob[known] = np.eye(prob.shape[1])[votes.gold[known]]
    return prob


def _normalised(votes: Prepared, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posteriors (N, K) and log-likelihoods (N,); known items count as their class."""
    top = score.max(1, keepdims=True)
    prob = np.exp(score - top)
    z = prob.sum(1, keepdims=True)
    loglik = (np.log(z) + top)[:, 0]
    known = np.flatnonzero(votes.gold >= 0)
    loglik[known] = score[known, votes.gold[known]]
    return _clamped(votes, prob / z), loglik


Confusion = Callable[[int], np.ndarray]
VoteProb = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _readers(
    votes: Prepared, rates: Rates, says: Any, prior: np.ndarray, column: np.ndarray
) -> tuple[Confusion, VoteProb]:
    k, gain, base = votes.n_classes, rates.gain(), rates.base()

    def confusion(annotator: int) -> np.ndarray:
        """p(class | true class, the source speaks)."""
        mine = np.flatnonzero(rates.source == annotator)
        out = np.zeros((k, k)) if len(mine) else np.full((k, k), 1 / k)
        out[:, rates.label[mine]] = rates.vote[mine].T
        table: np.ndarray = out / out.sum(1, keepdims=True)
        return table

    def vote_prob(items: np.ndarray, annotators: np.ndarray) -> np.ndarray:
        """The source itself, speaking or silent, is left out of the posterior; the weights of the others stay."""
        own = rates.voice[annotators][:, None] * np.log(rates.silent[annotators])
        score = says[items] @ gain + base - own + np.log(prior)
        row, vote = votes_on(votes, items)
        mine = votes.annotator[vote] == annotators[row]
        np.subtract.at(score, row[mine], gain[column[vote[mine]]])
        p = true_class(votes, items, score)
        for annotator in np.unique(annotators):
            asked = annotators == annotator
            p[asked] = p[asked] @ confusion(int(annotator))
        return p

    return confusion, vote_prob


def votes_on(votes: Prepared, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(row, vote) of every vote on items[row]."""
    size = votes.start[items + 1] - votes.start[items]
    row = np.repeat(np.arange(len(items)), size)
    return row, np.arange(len(row)) - np.repeat(np.cumsum(size) - size, size) + votes.start[items][row]


def true_class(votes: Prepared, items: np.ndarray, score: np.ndarray) -> np.ndarray:
    """(n, K) posteriors of log scores (n, K); where gold is known, it is the posterior."""
    p = np.exp(score - score.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    known = votes.gold[items] >= 0
    p[known] = np.eye(p.shape[1])[votes.gold[items[known]]]
    return p
