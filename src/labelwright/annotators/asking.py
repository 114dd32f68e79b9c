"""Which items to send to an expensive teacher that is sometimes wrong (RAD).

Asking where the student is least sure is asking where teachers err; asking where it is sure teaches nothing. The teacher
is given `wrong` errors to place where they hurt most, and the best answer to that is known in closed form.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from labelwright.errors import DataError, LabelwrightWarning, OptionError, ProbabilityError, check_whole, rows
from labelwright.labels import check_pred_probs
from labelwright.stream.statistic import chunks

LEAST_GAIN = 1e-6
"""Floor of a gain, so that 1 / gain stays finite."""

_CERTAIN = 1 - 1e-9  # an inclusion probability this near to 1 is 1: no rounding may skip or repeat the item
_STEPS = 200  # halvings of the interval of the search, by 2/3 each: beyond float64


class Asked(NamedTuple):
    """index: (b,) int64 distinct item numbers, ascending.   inclusion: (N,) float64, the exact chance of each item to be
    drawn; 1 / inclusion of the drawn items are Horvitz-Thompson weights."""

    index: np.ndarray  # type: ignore[assignment]  # hides tuple.index
    inclusion: np.ndarray


def student_gain(pred_probs: Any) -> np.ndarray:
    """(N,) float64 in [1e-6, 1]: what a correct label of each item is worth, 1 - (largest - second probability).

    >>> student_gain(np.array([[0.5, 0.5], [0.75, 0.25]]))
    array([1. , 0.5])
    """
    p = check_pred_probs(pred_probs)
    gain = np.full(len(p), LEAST_GAIN)
    if p.shape[1] < 2:
        return gain
    for block in chunks(*p.shape):
        top = np.partition(p[block].astype(np.float64), -2, axis=1)[:, -2:]
        gain[block] = np.clip(1.0 - (top[:, 1] - top[:, 0]), LEAST_GAIN, 1.0)
    return gain


def asking_probs(
    pred_probs: Any, *, wrong: int, cost: bool = False, budget: int = 1, reliability: Any = None
) -> np.ndarray:
    """(N,) float64 q >= 0, sum 1: how to spread questions over a pool, against the worst placed teacher errors.

    Args:
        pred_probs: (N, K) of the student on the unlabelled pool.
        wrong: items *of the pool* (not of the batch) that the teacher would label wrongly, for example
            round((1 - accuracy on labelled validation items) * N). 0 asks the least sure item only; the larger, the
            more the questions move to sure items.
        cost: a wrong label costs as much as a right one brings; else it is worth 0.
        budget: questions that will be drawn with `draw_asked`; no item may then get more than 1 / budget. 1: no limit.
        reliability: (N,) in [0, 1], chance that the teacher is right on each item; multiplies the gain. Teachers err
            where students are unsure, so give it if validation data allow.

    With so many errors that no spread has a value above 0, q is even, with a warning: do not buy from that teacher.

    Raises:
        ProbabilityError: pred_probs that are no distributions.
        OptionError: wrong below 0, a budget above N.   DataError: no items, reliability of another shape or range.

    Source: Active learning "RAD" (robust active distillation, ICLR 2023); gain and closed form as in `asking_game`.

    >>> asking_probs(np.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0]]), wrong=1).round(3)
    array([0.333, 0.667, 0.   ])
    """
    gain = student_gain(pred_probs)
    if reliability is not None:
        r = np.asarray(reliability, dtype=np.float64)
        if r.shape != gain.shape or not bool(((r >= 0) & (r <= 1)).all()):
            raise DataError(
                found=f"reliability of shape {r.shape}, {int((~((r >= 0) & (r <= 1))).sum())} values outside [0, 1]",
                expected=f"({len(gain)},) chances in [0, 1]",
                fix="pass the chance that the teacher is right, one per row of pred_probs",
            )
        gain = np.maximum(gain * r, LEAST_GAIN)
    return asking_game(gain, wrong=wrong, cost=cost, budget=budget)[0]


def asking_game(gain: np.ndarray, *, wrong: int, cost: bool = False, budget: int = 1) -> tuple[np.ndarray, float]:
    """The learner's best q (N,) and its value: max over q of min over sets S of `wrong` items of the gain outside S.

    Args:
        gain: (N,) above 0, what a right label brings.   wrong, cost, budget: as in `asking_probs`. With `cost`, the
            gain inside S is taken away as well.

    Without a limit (budget=1): sort gains descending, H_k = sum of 1 / gain over the first k; q = 1 / (gain H_k) on the k
    that maximises (k - m) / H_k, m = wrong, twice that with cost. On its support every item contributes equally, so
    less unsure items get more. With a limit the contributions are capped; the value is concave in the largest
    contribution the teacher leaves untouched, and a search over it finds the optimum.

    >>> asking_game(np.array([1.0, 0.5]), wrong=1)
    (array([0.33..., 0.66...]), 0.33...)
    """
    g = np.asarray(gain, dtype=np.float64)
    if g.ndim != 1 or not len(g) or not bool((np.isfinite(g) & (g > 0)).all()):
        raise DataError(
            found=f"gains of shape {g.shape}, {int((~(np.isfinite(g) & (g > 0))).sum())} not above 0",
            expected="at least one item, finite gains above 0",
            fix=f"pass numpy.maximum(gain, {LEAST_GAIN:g}) of a pool with items",
        )
    check_whole("wrong", wrong, 0)
    _check_budget(budget, len(g), least=1)
    order = np.argsort(-g, kind="stable")
    m = wrong * (2 if cost else 1)
    q, value = _closed(g[order], m) if budget == 1 else _capped(g[order], wrong, cost, 1 / budget)
    if value <= 0:
        warnings.warn(
            f"wrong={wrong} of {len(g)} items leaves no gain in asking: q is even. Use a better teacher",
            LabelwrightWarning,
            stacklevel=3,
        )
        q, value = np.full(len(g), 1 / len(g)), min(value, 0.0)
    out = np.empty(len(g))
    out[order] = q
    return out, float(value)


def draw_asked(q: Any, budget: int, *, random_state: int = 0) -> Asked:
    """Draw `budget` distinct items, item i with the chance min(1, c q_i) exactly, c such that the chances sum to `budget`.

    Items with budget * q_i above 1 are certain, and the others share the rest in proportion. Systematic sampling in
    random order: one uniform number settles all.

    Args:
        q: (N,) >= 0, sum 1 (see `asking_probs`).   budget: items to draw, 0 or more.   random_state: the seed.

    Raises:
        ProbabilityError: q with NaN or negative values, or another sum.
        OptionError: a budget below 0, above N, or above the number of items with q > 0.

    >>> draw_asked(np.array([0.8, 0.1, 0.1, 0.0]), 2).inclusion
    array([1. , 0.5, 0.5, 0. ])
    """
    p = np.asarray(q, dtype=np.float64)
    if p.ndim != 1 or not len(p) or not bool((p >= 0).all()) or abs(p.sum() - 1) > 1e-6:
        bad = np.flatnonzero(~(p >= 0)) if p.ndim == 1 else np.arange(0)
        raise ProbabilityError(
            found=f"q of shape {p.shape} with sum {p.sum():.4g}"
            + (f" and values below 0 or NaN in {rows(bad)}" if len(bad) else ""),
            expected="(N,) values of 0 or more that sum to 1",
            fix="pass what asking_probs returned, or weights / weights.sum()",
        )
    _check_budget(budget, len(p), least=0)
    possible = int(np.count_nonzero(p))
    if budget > possible:
        raise OptionError(
            found=f"budget={budget} for {possible} items with q > 0",
            expected=f"at most {possible}",
            fix=f"call asking_probs(..., budget={budget}), which spreads q over enough items",
        )
    inclusion = _inclusion(p, budget)
    certain = inclusion == 1
    rng = np.random.default_rng(random_state)
    order = rng.permutation(np.flatnonzero((inclusion > 0) & ~certain))
    n = budget - int(certain.sum())
    drawn = order[:0]
    if n:
        total = np.cumsum(inclusion[order])
        total *= n / total[-1]
        points = np.minimum(rng.random() + np.arange(n), np.nextafter(float(n), 0.0))
        drawn = order[np.searchsorted(total, points, side="right")]
    return Asked(np.sort(np.concatenate([np.flatnonzero(certain), drawn])), inclusion)


def teacher_reliability(pred_probs: Any, teacher_right: Any, pool_pred_probs: Any) -> np.ndarray:
    """(N,) chance that the teacher is right on each pool item, read from validation items where the student is as sure.

    Args:
        pred_probs: (M, K) of the student on labelled validation items.   teacher_right: (M,) bool, was the teacher right.
        pool_pred_probs: (N, K) of the student on the pool.

    The validation items are cut by the student's margin into groups of at least 25 (at most 20 groups); their accuracies,
    each with two items of the overall accuracy added, are made to rise with the margin (isotonic regression) and
    interpolated. With fewer than 50 items that is the overall accuracy.

    Raises:
        DataError: teacher_right is not one bool per validation item.
    """
    from sklearn.isotonic import IsotonicRegression

    sure, right = 1 - student_gain(pred_probs), np.asarray(teacher_right)
    if right.dtype != bool or right.shape != sure.shape or not len(right):
        raise DataError(
            found=f"teacher_right of shape {right.shape} and dtype {right.dtype} for {len(sure)} items",
            expected=f"({len(sure)},) bool of at least one item",
            fix="pass teacher_labels == labels of the validation items",
        )
    parts = np.array_split(np.argsort(sure, kind="stable"), max(1, min(20, len(sure) // 25)))
    size = np.array([len(part) for part in parts])
    accuracy = (np.array([right[part].sum() for part in parts]) + 2 * right.mean()) / (size + 2)
    middle = np.array([sure[part].mean() for part in parts])
    curve = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(middle, accuracy, sample_weight=size)
    return np.clip(curve.predict(1 - student_gain(pool_pred_probs)), 0.0, 1.0)


def _closed(g: np.ndarray, m: int) -> tuple[np.ndarray, float]:
    """q and value without a limit; gains descending."""
    harmonic = np.cumsum(1 / g)
    value = (np.arange(1, len(g) + 1) - m) / harmonic
    k = int(value.argmax()) + 1
    q = np.zeros(len(g))
    q[:k] = 1 / (g[:k] * harmonic[k - 1])
    return q, float(value[k - 1])


def _capped(g: np.ndarray, m: int, cost: bool, cap: float) -> tuple[np.ndarray, float]:
    """q and value with q <= cap; gains descending.

    The teacher takes the m largest contributions q g, and again as much with cost: their sum is the least over t of
    m t + sum of (q g - t)+. For a fixed t the learner fills items in the order of their slopes: first up to t (slope g,
    large first), then, if questions are left, above t, where one more brings 0 (or costs g, small first).
    """
    factor = 2 if cost else 1

    def play(t: float) -> tuple[np.ndarray, float]:
        below = np.minimum(t / g, cap)
        above = (cap - below)[::-1]
        filled = np.diff(np.minimum(np.cumsum(np.concatenate([below, above])), 1.0), prepend=0.0)
        first, then = filled[: len(g)], filled[len(g) :][::-1]
        return first + then, float((g * (first + (1 - factor) * then)).sum() - factor * m * t)

    low, high = 0.0, float(g[0] * cap)
    for _ in range(_STEPS):  # the value is concave in t
        left, right = low + (high - low) / 3, high - (high - low) / 3
        low, high = (left, high) if play(left)[1] < play(right)[1] else (low, right)
    q, value = play((low + high) / 2)
    return q / q.sum(), value


def _inclusion(q: np.ndarray, budget: int) -> np.ndarray:
    """(N,) min(1, c q) with sum `budget`."""
    certain = np.zeros(len(q), bool)
    while True:
        left = budget - int(certain.sum())
        share = np.where(certain, 0.0, q)
        total = share.sum()
        chance = share * (left / total) if total > 0 else share
        more = chance > _CERTAIN
        if not more.any():
            return np.where(certain, 1.0, chance)
        certain |= more


def _check_budget(budget: int, n_items: int, least: int) -> None:
    check_whole("budget", budget, least)
    if budget > n_items:
        raise OptionError(
            found=f"budget={budget} for {n_items} items",
            expected=f"{least} to {n_items}",
            fix=f"pass budget={n_items} or less",
        )
