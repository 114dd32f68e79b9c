"""Intervals of the skill of annotators."""

from __future__ import annotations

import numpy as np

from labelwright.crowds.prepared import Prepared

LEAST = 0.05  # of the votes of an annotator that count for its interval, however little the others tell of them


def resolved(votes: Prepared, own: np.ndarray) -> np.ndarray:
    """(A,) how much of the variance of "this vote is right" the posteriors resolve: what a vote is worth for the interval of
    its annotator, compared with a vote on an item whose class is known (the missing information of Louis 1982).

    own: (V,) posterior probability that the vote is right.
    """
    total = np.bincount(votes.annotator, votes.weight, votes.n_annotators)
    mean = np.bincount(votes.annotator, votes.weight * own, votes.n_annotators) / np.where(total > 0, total, 1)
    open_ = np.bincount(votes.annotator, votes.weight * own * (1 - own), votes.n_annotators)
    whole = total * mean * (1 - mean)
    return np.maximum(1 - open_ / np.where(whole > 0, whole, 1), LEAST)


def skills(votes: Prepared, own: np.ndarray, usual: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A,) probability that a vote of the annotator is right, and a 90 % interval; NaN where it never voted.

    The expected right votes of each annotator are binomial, the accuracies Beta with parameters fitted to all annotators
    (50 Minka steps from `usual`), and a vote counts for the interval as much as `resolved` says.

    own: (V,) posterior probability that the vote is right.   usual: accuracy to expect of an annotator.
    """
    from scipy.special import betaincinv

    total = np.bincount(votes.annotator, votes.weight, votes.n_annotators)
    right = np.bincount(votes.annotator, votes.weight * own, votes.n_annotators)
    count = np.stack([right, np.maximum(total - right, 0)], 1)
    around = base = 2.0 * np.array([usual, 1 - usual])
    for _ in range(50):
        around = refit(around, base, count)
    mean = (right + around[0]) / (total + around.sum())
    size = total * resolved(votes, own) + around.sum()
    low, high = (betaincinv(mean * size, (1 - mean) * size, p) for p in (0.05, 0.95))
    mean, low, high = (np.where(total > 0, x, np.nan) for x in (mean, low, high))
    return mean, low, high


def refit(around: np.ndarray, base: np.ndarray, count: np.ndarray) -> np.ndarray:
    """One Minka step for the Dirichlet parameters (2,) of counts (A, 2), with a Gamma density of mode `base`."""
    from scipy.special import psi

    seen = (psi(count + around) - psi(around)).sum(0)
    return (base + around * seen) / (1 + (psi(count.sum(1) + around.sum()) - psi(around.sum())).sum())
