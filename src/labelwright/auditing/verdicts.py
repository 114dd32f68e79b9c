"""What people said about flagged labels, and whether the ranking of models survives the corrections."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from labelwright.errors import DataError

VOTES = ("given", "guessed", "both", "neither")  # the columns of `votes`


class Verdicts(NamedTuple):
    """error: (R,) bool, the given label is wrong.   corrected: (R,) int64, the given label where it stands, the guessed
    one where that won, -1 elsewhere.   multi: (R,) bool, wrong because both labels hold.   dropped: (R,) bool, wrong,
    and no answer got enough votes, or it is "neither".
    """

    error: np.ndarray
    corrected: np.ndarray
    multi: np.ndarray
    dropped: np.ndarray


def verdicts(votes: np.ndarray, given: np.ndarray, guessed: np.ndarray, *, needed: int = 3) -> Verdicts:
    """Settle reviewed labels: a label is an error unless enough people chose it.

    Args:
        votes: (R, 4) int counts of the answers given, guessed, both, neither (for the published reviews of texts,
            "neutral" goes to both and "off-topic" to neither).
        given, guessed: (R,) int the label under review and the proposed one.
        needed: votes that make an answer win; 3 of the paper's 5. It stays 3 for the few items with more voters, as in
            the published counts; where the given label misses it and several answers reach it, the one with most votes
            wins, and none on a draw.

    Returns:
        `Verdicts`; error = corrected to guessed, multi or dropped.

    Raises:
        DataError: votes of another shape, or negative.

    Source: Northcutt et al. 2021, "Pervasive label errors"; the rule "fewer than 3 of 5" gives the paper's counts.

    >>> votes = np.array([[3, 2, 0, 0], [1, 3, 1, 0], [1, 1, 3, 0], [2, 2, 0, 1]])
    >>> verdicts(votes, given=np.zeros(4), guessed=np.ones(4)).corrected
    array([ 0,  1, -1, -1])
    """
    votes = np.asarray(votes)
    if votes.ndim != 2 or votes.shape[1] != len(VOTES) or (votes < 0).any():
        raise DataError(
            found=f"votes of shape {votes.shape}, with {int((votes < 0).sum())} negative counts",
            expected=f"(R, 4) counts >= 0 of {', '.join(VOTES)}",
            fix="bring the columns into this order",
        )
    error = votes[:, 0] < needed
    others = np.sort(votes[:, 1:], axis=1)
    decided = error & (others[:, -1] >= needed) & (others[:, -1] > others[:, -2])
    winner = np.where(decided, votes[:, 1:].argmax(1) + 1, -1)
    corrected = np.where(~error, given, np.where(winner == 1, guessed, -1)).astype(np.int64)
    return Verdicts(error, corrected, winner == 2, error & (winner != 1) & (winner != 2))


class Stability(NamedTuple):
    """prevalence: (X,) share of mislabelled items.   original, corrected: (M, X) expected accuracy of each model on the
    given and on the corrected labels.   flips: pairs of models whose order on the corrected labels changes, as rows
    (better before, better after) int64 (F, 2), ordered by `flip_at` (F,), the prevalence at which they are level.
    """

    prevalence: np.ndarray
    original: np.ndarray
    corrected: np.ndarray
    flips: np.ndarray
    flip_at: np.ndarray


def benchmark_stability(
    benign: np.ndarray, original: np.ndarray, corrected: np.ndarray, *, prevalence: np.ndarray | None = None
) -> Stability:
    """Accuracy of M models as the share of mislabelled test items grows, and where their ranking flips.

    A test set of prevalence x holds the B benign items and a random part E' of the corrected ones, x = E' / (B + E');
    past E / (B + E) it is benign items that are left out. In expectation over the parts both curves are straight lines
    between the accuracy on the benign and on the corrected items, so flips are found exactly, not on a grid.

    Args:
        benign: (M, B) bool, model right on the items whose label stands.
        original, corrected: (M, E) bool, model right on the mislabelled items by their given and by their corrected
            label.
        prevalence: (X,) fractions in [0, 1]; default 21 from 0 to 1.

    Raises:
        DataError: shapes that do not fit, or no items.

    Source: Northcutt et al. 2021, "Pervasive label errors", on the stability of benchmarks.

    >>> right = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], bool)              # the first model is better...
    >>> s = benchmark_stability(right, right[:, :2], np.array([[0, 0], [1, 0]], bool))
    >>> s.flips, s.flip_at                                                # ...until a third of the labels is wrong
    (array([[0, 1]]), array([0.33333333]))
    """
    arrays = [np.asarray(a) for a in (benign, original, corrected)]
    shapes = [a.shape for a in arrays]
    fits = all(len(s) == 2 and s[0] == shapes[0][0] for s in shapes) and shapes[1] == shapes[2]
    if not fits or 0 in (*shapes[0], *shapes[1]):
        raise DataError(
            found=f"shapes {shapes[0]}, {shapes[1]}, {shapes[2]}",
            expected="(M, B), (M, E) and (M, E), none empty",
            fix="pass one row per model and the same mislabelled items twice",
        )
    x = np.linspace(0, 1, 21) if prevalence is None else np.asarray(prevalence, np.float64)
    clean, wrong, mended = (a.mean(1) for a in arrays)
    lead = clean[:, None] - clean  # of model a over model b
    lead_after = mended[:, None] - mended
    a, b = np.nonzero((lead > 0) & (lead_after < 0))
    at = lead[a, b] / (lead[a, b] - lead_after[a, b])
    order = np.lexsort((b, a, at))
    return Stability(
        prevalence=x,
        original=clean[:, None] * (1 - x) + wrong[:, None] * x,
        corrected=clean[:, None] * (1 - x) + mended[:, None] * x,
        flips=np.stack([a, b], axis=1)[order],
        flip_at=at[order],
    )
