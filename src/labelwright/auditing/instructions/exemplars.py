"""Which few examples, each with a phrase, find the items of a class: candidates, scores and a greedy choice.

Source: "Thinking Like an Annotator: Generation of Dataset Labeling Instructions", arXiv 2306.14035 (steps 3 to 6 of the
card, which reconstructs them from the abstract: fusion, candidates and stopping rule are ours).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from labelwright.errors import DataError, OptionError, check_whole


class Queries(NamedTuple):
    """Linear scores: row c scores item x with vectors[c] @ x + offset[c]."""

    vectors: np.ndarray  # (C, D) float32
    offset: np.ndarray  # (C,) float32

    def scores(self, x: np.ndarray) -> np.ndarray:
        """(C, n) float32 scores of the items x (n, D)."""
        return np.asarray(self.vectors @ x.T + self.offset[:, None], np.float32)

    def best(self, x: np.ndarray) -> np.ndarray:
        """(n,) score of a set of queries, the largest of its members'."""
        return np.asarray(self.scores(x).max(axis=0))


def standardised(vectors: np.ndarray, x: np.ndarray) -> Queries:
    """Similarity to each vector, scaled to mean 0 and deviation 1 over the items `x`.

    Without it the similarities of two kinds of queries (examples, phrases) cannot be added: cosines of texts and images
    lie around .25, those of images around .75. A vector that is equally like all items scores 0.

    Args:
        vectors: (C, D).   x: (n, D), n >= 1.

    >>> standardised(np.eye(2), np.array([[1.0, 0.0], [0.0, 1.0]])).scores(np.array([[1.0, 0.0]])).ravel()
    array([ 1., -1.], dtype=float32)
    """
    similarity = vectors @ x.T
    mean, deviation = similarity.mean(axis=1), similarity.std(axis=1)
    scale = np.where(deviation > 1e-6, 1 / np.maximum(deviation, 1e-6), 0.0)
    return Queries(np.asarray(vectors * scale[:, None], np.float32), np.asarray(-mean * scale, np.float32))


def fused(examples: Queries, phrases: Queries, weight: float) -> Queries:
    """weight * score of the example + (1 - weight) * score of the phrase, pair by pair (late fusion)."""
    w = np.float32(weight)
    return Queries(
        w * examples.vectors + (1 - w) * phrases.vectors, w * examples.offset + (1 - w) * phrases.offset
    )  # fmt: skip


def average_precision(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Average precision of each ranking: the mean, over the positive items, of the share of positives down to them.

    Ties count against the ranking: of items with equal scores the negative ones come first.

    Args:
        scores: (C, n) float32, finite; -inf leaves an item out of that ranking.
        positive: (n,) bool.

    Returns:
        (C,) float64 in [0, 1], NaN where no positive item is left.

    >>> average_precision(np.array([[4.0, 3.0, 2.0, 1.0]], np.float32), np.array([True, False, True, False]))
    array([0.83333333])
    """
    s = np.array(scores, np.float32, order="C")
    s += np.float32(0)  # -0 becomes 0: equal scores have equal bits
    out = np.isneginf(s)
    hidden, n_out = (out & positive).sum(axis=1), out.sum(axis=1)
    bits = s.view(np.int32)
    bits ^= (bits >> 31) & 0x7FFFFFFF  # integers in the order of the floats: they sort ten times as fast
    bits &= ~1
    bits |= ~positive  # the last bit, whose rounding is no loss, says of which kind the item is
    bits.sort(axis=1)
    hit = (bits & 1) == 0
    hit &= np.arange(s.shape[1]) >= n_out[:, None]  # what was left out lies at the low end, behind every other item
    row, column = np.nonzero(hit)
    count = positive.sum() - hidden
    first = np.cumsum(count) - count
    nth = count[row] - (np.arange(len(row)) - first[row])  # ascending order: the last positive is number 1
    precision = nth / (s.shape[1] - column)
    total = np.bincount(row, weights=precision, minlength=len(s))
    return np.divide(total, count, out=np.full(len(s), np.nan), where=count > 0)


def medoids(x: np.ndarray, k: int, *, n_iter: int = 10) -> np.ndarray:
    """Rows nearest to the centres of spherical k-means, which starts from the first k rows.

    Args:
        x: (n, D) rows of length 1, in random order.   k: 1 <= k <= n.   n_iter: rounds.

    Returns:
        (m,) row numbers, m <= k (an empty cluster has none), those of the largest clusters first.

    Source: Dhillon & Modha 2001.
    """
    centre, cluster = x[:k], np.zeros(len(x), np.int64)
    for _ in range(n_iter):
        moved = (x @ centre.T).argmax(axis=1)
        if (moved == cluster).all():
            break
        cluster = moved
        total = np.asarray(cluster[None, :] == np.arange(k)[:, None], x.dtype) @ x
        length = np.linalg.norm(total, axis=1, keepdims=True)
        centre = np.where(length > 1e-9, total / np.maximum(length, 1e-9), centre)
    nearness = np.einsum("nd,nd->n", x, centre[cluster])
    order = np.lexsort((np.arange(len(x)), -nearness, cluster))
    _, at, size = np.unique(cluster[order], return_index=True, return_counts=True)
    return np.asarray(order[at[np.argsort(-size, kind="stable")]])


def candidate_examples(x: np.ndarray, most: int) -> np.ndarray:
    """Up to `most` rows of `x` (n, D), given in random order: medoids for variety, and the first ones, which are random.

    Returns:
        (m,) distinct row numbers, m = min(most, n).
    """
    if len(x) <= most:
        return np.arange(len(x))
    typical = medoids(x, (most + 1) // 2)
    others = np.setdiff1d(np.arange(len(x)), typical)
    return np.concatenate([typical, others[: most - len(typical)]])


def greedy_pairs(
    examples: np.ndarray,
    phrases: np.ndarray,
    positive: np.ndarray,
    own: np.ndarray,
    *,
    pairs: int = 4,
    weight: float = 0.5,
    min_gain: float = 0.002,
) -> list[tuple[int, int]]:
    """The (example, phrase) pairs that rank the items of a class best, one after the other.

    An item's score is the largest over the chosen pairs. Each round adds the pair with the largest gain in average
    precision; it looks for the best phrase, the best example beside it, and the best phrase beside that, not at all
    E * P pairs. An item never ranks itself: examples leave the ranking.

    Args:
        examples: (E, n) scores of the items for each example, from `standardised`.
        phrases: (P, n) for each phrase; P = 0: examples alone.
        positive: (n,) bool, the items of the class.
        own: (E,) the column in which each example is itself.
        pairs: most to choose.   weight: of the example in [0, 1].   min_gain: stop below this gain.

    Returns:
        pairs (row of `examples`, row of `phrases`, or -1 where P = 0), at least one; no example twice.

    Raises:
        DataError: no example, or arrays that do not fit. OptionError: pairs < 1, weight outside [0, 1].
    """
    check_whole("pairs", pairs, 1)
    check_weight(weight)
    if len(examples) == 0 or not examples.shape[1] == phrases.shape[1] == len(positive) or len(own) != len(examples):
        raise DataError(
            found=f"examples {examples.shape}, phrases {phrases.shape}, positive {positive.shape}, own {own.shape}",
            expected="(E, n), (P, n), (n,) and (E,), with E > 0",
            fix="pass the scores of the same n items, and at least one candidate example",
        )
    w = np.float32(weight if len(phrases) else 1.0)
    told = phrases if len(phrases) else np.zeros((1, len(positive)), np.float32)
    best, chosen, reached = np.full(len(positive), -np.inf, np.float32), list[tuple[int, int]](), 0.0
    while len(chosen) < min(pairs, len(examples)):
        e, p, ap = _best_pair(examples, told, positive, own, best, [e for e, _ in chosen], w)
        if chosen and not ap - reached >= min_gain:
            break
        best = np.maximum(best, w * examples[e] + (1 - w) * told[p])
        chosen.append((e, p if len(phrases) else -1))
        reached = ap if ap == ap else 0.0
    return chosen


def _best_pair(
    examples: np.ndarray,
    phrases: np.ndarray,
    positive: np.ndarray,
    own: np.ndarray,
    best: np.ndarray,
    used: list[int],
    w: np.float32,
) -> tuple[int, int, float]:
    """The pair to add to a set that scores `best`, and the average precision with it."""

    def judged(scores: np.ndarray, itself: np.ndarray | None) -> np.ndarray:
        scores = np.maximum(scores, best)
        scores[:, own[used]] = -np.inf
        if itself is not None:
            scores[np.arange(len(scores)), itself] = -np.inf
        return np.nan_to_num(average_precision(scores, positive), nan=-1.0)  # nothing left to rank: no better, no worse

    p = int(judged((1 - w) * phrases, None).argmax()) if len(phrases) > 1 else 0
    ap = judged(w * examples + (1 - w) * phrases[p], own)
    ap[used] = -2.0
    e = int(ap.argmax())
    if len(phrases) == 1:
        return e, p, float(ap[e])
    ap = judged(w * examples[e] + (1 - w) * phrases, np.repeat(own[e], len(phrases)))
    p = int(ap.argmax())
    return e, p, float(ap[p])


def check_weight(weight: float) -> None:
    """Raise `OptionError` unless the share of the examples lies in [0, 1]."""
    if not 0 <= weight <= 1:
        raise OptionError(found=f"weight={weight}", expected="a share of the examples in [0, 1]", fix="pass weight=0.5")
