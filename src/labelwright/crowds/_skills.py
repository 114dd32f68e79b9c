"""Intervals of the skill of annotators."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from labelwright.crowds.prepared import Prepared

LEAST = 0.05  # of the votes of an annotator that count for its interval, however little the others tell of them


class Right(NamedTuple):
    """Of each annotator, (A,): the weight of its votes, of those that are right by the posteriors, and the variance of "this
    vote is right" that the posteriors leave open. Sums, so parts of a crowd add up."""

    total: np.ndarray
    right: np.ndarray
    open: np.ndarray

    @classmethod
    def of(cls, votes: Prepared, own: np.ndarray) -> Right:
        """own: (V,) posterior probability that the vote is right."""
        weights = votes.weight, votes.weight * own, votes.weight * own * (1 - own)
        return cls(*(np.bincount(votes.annotator, weight, votes.n_annotators) for weight in weights))

    def resolved(self) -> np.ndarray:
        """(A,) how much of the variance of "this vote is right" the posteriors resolve: what a vote is worth for the interval
        of its annotator, compared with a vote on an item whose class is known (the missing information of Louis 1982)."""
        mean = self.right / np.where(self.total > 0, self.total, 1)
        whole = self.total * mean * (1 - mean)
        share: np.ndarray = np.maximum(1 - self.open / np.where(whole > 0, whole, 1), LEAST)
        return share

    def skills(self, usual: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `skills`."""
        from scipy.special import betaincinv

        around = base = 2.0 * np.array([usual, 1 - usual])
        count = np.stack([self.right, np.maximum(self.total - self.right, 0)])
        whole = count.sum(0)
        for _ in range(50):
            around = _refit(around, base, count, whole)
        mean = (self.right + around[0]) / (self.total + around.sum())
        size = self.total * self.resolved() + around.sum()
        low, high = (betaincinv(mean * size, (1 - mean) * size, p) for p in (0.05, 0.95))
        mean, low, high = (np.where(self.total > 0, x, np.nan) for x in (mean, low, high))
        return mean, low, high


def skills(votes: Prepared, own: np.ndarray, usual: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A,) probability that a vote of the annotator is right, and a 90 % interval; NaN where it never voted.

    The expected right votes of each annotator are binomial, the accuracies Beta with parameters fitted to all annotators
    (50 Minka steps from `usual`), and a vote counts for the interval as much as `Right.resolved` says.

    own: (V,) posterior probability that the vote is right.   usual: accuracy to expect of an annotator.
    """
    return Right.of(votes, own).skills(usual)


def refit(around: np.ndarray, base: np.ndarray, count: np.ndarray) -> np.ndarray:
    """One Minka step for the Dirichlet parameters (2,) of counts (A, 2), with a Gamma density of mode `base`."""
    return _refit(around, base, np.ascontiguousarray(count.T), count.sum(1))


def _refit(around: np.ndarray, base: np.ndarray, count: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """The same of counts (2, A) and their sums (A,), which do not change from step to step."""
    from scipy.special import psi

    n, total = count.shape[1], around.sum()
    seen = psi(count + around[:, None]).sum(1) - n * psi(around)
    return np.asarray((base + around * seen) / (1 + psi(whole + total).sum() - n * psi(total)))
