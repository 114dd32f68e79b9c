"""Models in which a vote is right with some probability, and whatever is wrong does not depend on the true class.

Then the log-likelihood of class k is a constant of the item plus, for each vote for k, log(chance if right / chance if
wrong). Only classes that were voted for differ, so everything costs one number per vote, however many classes there are.
"""

from __future__ import annotations

import numpy as np

from labelwright.crowds import temper
from labelwright.crowds._candidates import Pairs, class_counts
from labelwright.crowds._starts import share_posterior
from labelwright.crowds.prepared import Prepared

PRIORS = ("even", "fitted")


def posterior(
    votes: Prepared, pairs: Pairs, prior: np.ndarray, log_right: np.ndarray, log_wrong: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Posterior (P,), the rest's (N,), and the log-likelihood of all votes.

    log_right, log_wrong: (V,) log chance of the vote if it names the true class, and if it does not.
    """
    with np.errstate(divide="ignore"):
        left = np.log(pairs.left_prior(prior))
    logit = np.log(prior)[pairs.label] + loglik(votes, pairs, log_right, log_wrong)
    prob, rest, norm = pairs.softmax(logit, left)
    return prob, rest, float(norm.sum() + (votes.weight * log_wrong).sum())


def loglik(votes: Prepared, pairs: Pairs, log_right: np.ndarray, log_wrong: np.ndarray) -> np.ndarray:
    """(P,) log-likelihoods, those of the rest being 0."""
    return np.bincount(pairs.own, votes.weight * (log_right - log_wrong), len(pairs.item))


def shares(pairs: Pairs, prob: np.ndarray, rest: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """(K,) shares of the classes in the posteriors; as a prior, the M step."""
    count = class_counts(pairs, prob, rest, prior)
    return count / count.sum()


def settle(
    votes: Prepared,
    pairs: Pairs,
    prior: np.ndarray,
    log_right: np.ndarray,
    log_wrong: np.ndarray,
    chance: tuple[np.ndarray, np.ndarray],
    dependence: float | None,
    doubt: float,
    seed: int,
) -> temper.Settled:
    """The tempered labels. chance: (V,) probability of each vote if right and if wrong, had its annotator been judged
    without it."""
    sums, none = loglik(votes, pairs, log_right, log_wrong), np.zeros(votes.n_items)
    frame = left_out(votes, pairs, prior, log_right, log_wrong, chance, seed)
    return temper.settle(votes, pairs, prior, sums, none, temper.best_dependence(frame), dependence, doubt)


def left_out(
    votes: Prepared,
    pairs: Pairs,
    prior: np.ndarray,
    log_right: np.ndarray,
    log_wrong: np.ndarray,
    chance: tuple[np.ndarray, np.ndarray],
    seed: int,
) -> temper.LeftOut:
    """Votes with what the others say; chance as in `settle`."""
    sums, chosen = loglik(votes, pairs, log_right, log_wrong), temper.drawn(votes, seed)
    frame, entry, vote = temper.left_out(votes, pairs, chosen, prior, sums, np.zeros(votes.n_items))
    own = entry == pairs.own[vote]
    gain = votes.weight[vote] * (log_right - log_wrong)[vote]
    return frame._replace(
        loglik=frame.loglik - np.where(own, gain, 0.0),
        chance=np.where(own, chance[0][vote], chance[1][vote]),
        rest_chance=chance[1][chosen],
    )


def begin(votes: Prepared, prior: str) -> tuple[Pairs, np.ndarray, np.ndarray, np.ndarray]:
    """Pairs, posterior and rest from the vote shares, and the prior to begin with."""
    pairs = Pairs.voted(votes)
    prob, rest, share = share_posterior(votes, pairs)
    return pairs, prob, rest, share if prior == "fitted" else np.full(len(share), 1 / len(share))


def even_confusion(right: float, n_classes: int) -> np.ndarray:
    """(K, K) of an annotator who is right with one probability and errs evenly."""
    out = np.full((n_classes, n_classes), (1 - right) / max(n_classes - 1, 1))
    np.fill_diagonal(out, right if n_classes > 1 else 1.0)
    return out
