"""Where the models of a crowd begin, from the shares of the votes, and whether they arrived."""

from __future__ import annotations

import warnings

import numpy as np

from labelwright.crowds._candidates import Pairs
from labelwright.crowds.prepared import Prepared
from labelwright.errors import LabelwrightWarning


def share_posterior(
    votes: Prepared, pairs: Pairs, share: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vote shares with one vote spread as the crowd votes: (P,) of the pairs, (N,) of the rest, and that spread (K,).

    share: (K,) the spread of a crowd of which `votes` are a part.
    """
    share = vote_spread(np.bincount(votes.label, votes.weight, votes.n_classes)) if share is None else share
    count = np.bincount(pairs.own, votes.weight, len(pairs.item)) + share[pairs.label]
    left = pairs.left_prior(share)
    with np.errstate(divide="ignore"):
        prob, rest, _ = pairs.softmax(np.log(count), np.log(left))
    return prob, rest, share


def vote_spread(count: np.ndarray) -> np.ndarray:
    """(K,) how the crowd votes, from the votes for each class and one more."""
    spread: np.ndarray = (count + 1 / len(count)) / (count.sum() + 1)
    return spread


def usual_accuracy(votes: Prepared, pairs: Pairs | None = None) -> float:
    """The accuracy a that explains how often two votes on an item agree, a^2 + (1 - a)^2 / (K - 1), with one pair that agrees
    by a = 0.8 beside them; within [1/K + 0.01, 0.99].   pairs: of the votes, where they are known."""
    return accuracy_of(*agreeing_pairs(votes, pairs), votes.n_classes)


def agreeing_pairs(votes: Prepared, pairs: Pairs | None = None) -> tuple[float, float]:
    """Ordered pairs of votes on the same item: those that agree, and all."""
    pairs = Pairs.voted(votes) if pairs is None else pairs
    own = np.bincount(pairs.own, minlength=len(pairs.item)).astype(np.float64)
    per_item = np.diff(votes.start).astype(np.float64)
    return float((own * (own - 1)).sum()), float((per_item * (per_item - 1)).sum())


def accuracy_of(agree: float, pairs: float, k: int) -> float:
    """See `usual_accuracy`."""
    if k == 1:
        return 0.99
    usual = 0.8**2 + 0.2**2 / (k - 1)
    share = (agree + usual) / (pairs + 1)
    root = np.sqrt(max((k - 1) * (share * k - 1), 0.0))
    return float(np.clip((1 + root) / k, 1 / k + 0.01, 0.99))


def settled(trace: list[float], tol: float) -> bool:
    """Whether the objective rose by less than the fraction `tol` in the last step."""
    return len(trace) > 1 and trace[-1] - trace[-2] <= tol * abs(trace[-2])


def unsettled(trace: list[float], tol: float, steps: int) -> list[str]:
    """A note, also given as a warning, if the model stopped before it converged."""
    if len(trace) > 1 and trace[-1] - trace[-2] <= tol * abs(trace[-2]):
        return []
    change = trace[-1] - trace[-2] if len(trace) > 1 else float("nan")
    note = f"stopped after {steps} steps before converging; the objective last rose by {change:.2g}. Raise max_iter"
    warnings.warn(note, LabelwrightWarning, stacklevel=4)
    return [note]
