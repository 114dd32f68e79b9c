"""Which unlabelled items to learn from: the surest of every class, without copies of the items a model is tested on."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from labelwright.auditing.duplicates import RELATIVE
from labelwright.errors import OptionError, check_whole
from labelwright.features.neighbours import nearest_neighbours
from labelwright.features.vectors import check_features
from labelwright.labels import check_pred_probs
from labelwright.stream.statistic import chunks


class Selected(NamedTuple):
    """items: (M,) int64 row numbers, ascending.   label: (M,) int64, the teacher's class.   score: (M,) float64, its
    probability; kept, so that a floor can be set later.   class_counts: (K,) how many of each class."""

    items: np.ndarray
    label: np.ndarray
    score: np.ndarray
    class_counts: np.ndarray


def top_per_class(pred_probs: Any, k: int, *, floor: float = 0.0, random_state: int = 0) -> Selected:
    """The k items of every class of which a teacher is surest.

    Every item belongs to its likeliest class (the first of equal ones), so a class that the teacher names rarely has fewer than
    k, and in a small pool the last of them may be wrong: `floor` leaves those out.

    Args:
        pred_probs: (N, K) of the teacher.
        k: most items per class, at least 1.
        floor: least probability of the likeliest class, in [0, 1].
        random_state: for equal scores, which are never broken by position in the pool.

    Raises:
        OptionError: a k below 1, a floor outside [0, 1].   ProbabilityError: rows that are no distributions.

    Source: Cui et al. 2021 (SSLD), section on data selection.

    >>> top_per_class(np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.8, 0.2]]), 2).items
    array([0, 2, 3])
    """
    check_whole("k", k, 1)
    if not 0 <= floor <= 1:
        raise OptionError(found=f"floor={floor!r}", expected="a probability in [0, 1]", fix="pass floor=0.5")
    p = check_pred_probs(pred_probs)
    label, score = np.zeros(p.shape[0], np.int64), np.zeros(p.shape[0])
    for block in chunks(*p.shape):
        part = np.asarray(p[block])
        label[block] = part.argmax(1)
        score[block] = part[np.arange(len(part)), label[block]]
    chance = np.random.default_rng(random_state).permutation(len(score))
    order = np.lexsort((chance, -score, label))
    order = order[score[order] >= floor]
    first = np.searchsorted(label[order], label[order])  # where the class begins in the order
    items = np.sort(order[np.arange(len(order)) - first < k])
    return Selected(items, label[items], score[items], np.bincount(label[items], minlength=p.shape[1]))


def leaked(pool: Any, held: Any, *, threshold: float | None = None) -> np.ndarray:
    """(N,) bool: pool items that are copies or near copies of held-out ones, and must not be learnt from.

    Args:
        pool: (N, D) features of the pool, of an encoder or the content itself.   held: (M, D) of validation and test items.
        threshold: least cosine similarity of a copy; None: as `near_duplicates`, within 1.7 % of the median distance between
            held-out items and their nearest other (0.02 at most). Rows that are equal are copies in any case.

    Raises:
        OptionError: a threshold above 1.   DataError: features of another width, NaN, or fewer than two held-out items
            without a threshold.

    Source: as SSLD cleans its pool (by SIFT there).

    >>> leaked(np.array([[1.0, 0.0], [1.0, 2.0]]), np.array([[2.0, 0.0], [0.0, 1.0]]))
    array([ True, False])
    """
    if threshold is not None and threshold > 1:
        raise OptionError(found=f"threshold={threshold}", expected="a similarity, 1 at most", fix="pass threshold=0.99")
    a, b = check_features(pool, name="pool"), check_features(held, name="held")
    if not a.shape[0]:
        return np.zeros(0, bool)
    if threshold is None:
        typical = float(np.median(1.0 - nearest_neighbours(b, 1).similarity[:, 0]))
        threshold = 1.0 - min(max(RELATIVE * typical, 1.2e-7), 0.02)
    near = nearest_neighbours(b, 1, queries=a)
    same = np.zeros(a.shape[0], bool)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):  # a row of zeros has no cosine, yet it has copies
        same = (a == b[near.index[:, 0]]).all(1) | (~a.any(1) & bool((~b.any(1)).any()))
    return np.asarray((near.similarity[:, 0] >= threshold) | same)
