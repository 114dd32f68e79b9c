"""Which labels to flag, and what reviewing them is expected to give, from each label's probability of being wrong.

Every function takes error_prob (N,), the probability in [0, 1] that the given label is wrong; NaN is an item without a
label, which is never flagged. Flags always are the most suspicious items, equal ones in the order of their rows. The
expectations are as good as error_prob is calibrated; `achieved_curve` puts what people found beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from labelwright.auditing.review import check_error_prob
from labelwright.errors import DataError, OptionError, check_option

_SLACK = 1e-9  # so that ten items of 0.9 reach precision 0.9 although their floating sum does not
_GRID = 200


class EffortCurve(NamedTuple):
    """What reviewing the n most suspicious labels gives, for G growing values of n.

    n_reviewed: (G,) int.   errors_found: (G,) wrong labels among them.   precision: (G,) their share; 1 for n = 0.
    recall: (G,) share of all wrong labels; 1 where there is none.
    """

    n_reviewed: np.ndarray
    errors_found: np.ndarray
    precision: np.ndarray
    recall: np.ndarray


def ranking(error_prob: np.ndarray) -> np.ndarray:
    """Rows of the labelled items, most suspicious first, equal ones by row: (n_labelled,) int64."""
    order = np.argsort(-error_prob, kind="stable")  # NaN sorts last
    return order[: int(np.isfinite(error_prob).sum())]


def _top(error_prob: np.ndarray, order: np.ndarray, n: int) -> np.ndarray:
    flag = np.zeros(len(error_prob), dtype=bool)
    flag[order[:n]] = True
    return flag


def _share(name: str, value: float) -> float:
    if not 0 < value <= 1:
        raise OptionError(
            found=f"{name}={value!r}",
            expected="a fraction above 0 and at most 1",
            fix=f"pass {name}={value / 100:g}" if 1 < value <= 100 else f"pass for example {name}=0.9",
        )
    return float(value)


def expected_f1_cut(error_prob: np.ndarray) -> np.ndarray:
    """The flags whose expected F1 is largest; of equally good sets the smallest.

    F1 is 2 * found / (flagged + wrong); its numerator and denominator are replaced by their expectations, and then the
    best set of m items holds the m most suspicious. Where less than half an error is expected in all, nothing is flagged.

    Args:
        error_prob: (N,) in [0, 1], NaN = no label.

    Returns:
        (N,) bool.

    Raises:
        ProbabilityError: error_prob is no (N,) array of probabilities (as in every function here).

    Source: Lipton, Elkan & Naryanaswamy 2014, "Optimal thresholding of classifiers to maximize F1", section 4.

    >>> expected_f1_cut(np.array([0.9, 0.4, 0.1, np.nan]))
    array([ True,  True, False, False])
    """
    error_prob = check_error_prob(error_prob)
    order = ranking(error_prob)
    found = np.cumsum(error_prob[order])
    if not len(order) or found[-1] < 0.5:
        return np.zeros(len(error_prob), dtype=bool)
    f1 = 2 * found / (np.arange(1, len(order) + 1) + found[-1])
    return _top(error_prob, order, int(np.argmax(f1 >= f1.max() - _SLACK)) + 1)


def flag_for_precision(error_prob: np.ndarray, precision: float) -> np.ndarray:
    """The largest set of flags of which at least `precision` are expected to be wrong labels; empty where none is.

    Args:
        error_prob: (N,) in [0, 1], NaN = no label.
        precision: fraction in (0, 1].

    Returns:
        (N,) bool.

    Raises:
        OptionError: precision outside (0, 1].

    >>> flag_for_precision(np.array([0.9, 0.7, 0.1]), 0.8)
    array([ True,  True, False])
    """
    error_prob, precision = check_error_prob(error_prob), _share("precision", precision)
    order = ranking(error_prob)
    mean = np.cumsum(error_prob[order]) / np.arange(1, len(order) + 1)  # never rises, so the good sets come first
    return _top(error_prob, order, int((mean >= precision - _SLACK).sum()))


def flag_for_recall(error_prob: np.ndarray, recall: float) -> np.ndarray:
    """The smallest set of flags expected to hold at least `recall` of all wrong labels.

    Args:
        error_prob: (N,) in [0, 1], NaN = no label.
        recall: fraction in (0, 1].

    Returns:
        (N,) bool.

    Raises:
        OptionError: recall outside (0, 1].

    >>> flag_for_recall(np.array([0.1, 0.6, 0.3]), 0.9)
    array([False,  True,  True])
    """
    error_prob, recall = check_error_prob(error_prob), _share("recall", recall)
    order = ranking(error_prob)
    found = np.cumsum(error_prob[order])
    wanted = recall * (1 - _SLACK) * found[-1] if len(order) else 0.0
    return _top(error_prob, order, int((found < wanted).sum()) + 1 if wanted > 0 else 0)


def flag_for_budget(error_prob: np.ndarray, budget: int) -> np.ndarray:
    """The `budget` most suspicious labels (all of them where there are fewer).

    Args:
        error_prob: (N,) in [0, 1], NaN = no label.
        budget: number of labels that can be looked at, at least 0.

    Returns:
        (N,) bool.

    Raises:
        OptionError: budget is no integer of at least 0.

    >>> flag_for_budget(np.array([0.1, 0.6, 0.3]), 1)
    array([False,  True, False])
    """
    error_prob = check_error_prob(error_prob)
    if isinstance(budget, bool) or not isinstance(budget, int | np.integer) or budget < 0:
        raise OptionError(
            found=f"budget={budget!r}",
            expected="a whole number of reviews, 0 or more",
            fix="pass for example budget=200, or use flag_for_recall for a share of the errors",
        )
    return _top(error_prob, ranking(error_prob), int(budget))


def flags(error_prob: np.ndarray, goals: Mapping[str, float]) -> np.ndarray:
    """The flags that serve a goal: {"precision": p}, {"recall": r} or {"budget": n}; without one, the best expected F1.

    Args:
        error_prob: (N,) in [0, 1], NaN = no label.
        goals: at most one entry.

    Returns:
        (N,) bool.

    Raises:
        OptionError: another goal, more than one, or a value out of its range.

    >>> flags(np.array([0.9, 0.7, 0.1]), {"budget": 1})
    array([ True, False, False])
    """
    for goal in goals:
        check_option("goal", goal, _BY_GOAL)
    if len(goals) > 1:
        raise OptionError(
            found=f"the goals {', '.join(goals)}",
            expected="at most one goal",
            fix="choose the one that binds; effort_curve shows what it means for the others",
        )
    for goal, value in goals.items():
        return _BY_GOAL[goal](error_prob, value)
    return expected_f1_cut(error_prob)


_BY_GOAL: dict[str, Callable[..., np.ndarray]] = {
    "precision": flag_for_precision,
    "recall": flag_for_recall,
    "budget": flag_for_budget,
}


def _curve(errors: np.ndarray, items: np.ndarray) -> EffortCurve:
    """The curve over growing n, from the running sums (n + 1,) of wrong labels and of items."""
    n = len(errors) - 1
    # half the points evenly, half by equal ratios: small budgets are where people choose
    even = np.linspace(0, n, min(n, _GRID // 2) + 1)
    points = np.concatenate([even, np.geomspace(1, n, _GRID // 2 - 1)]) if n else even
    grid = np.unique(points.round().astype(np.int64))
    found, total = errors[grid], errors[-1]
    precision = np.divide(found, items[grid], out=np.ones(len(grid)), where=items[grid] > 0)
    recall = found / total if total > 0 else np.ones(len(grid))
    return EffortCurve(grid, found, precision, recall)


def effort_curve(error_prob: np.ndarray) -> EffortCurve:
    """What reviewing the n most suspicious labels is expected to give, on at most 200 values of n from 0 to all.

    >>> curve = effort_curve(np.array([0.1, 0.6, 0.3]))
    >>> curve.n_reviewed, curve.errors_found
    (array([0, 1, 2, 3]), array([0. , 0.6, 0.9, 1. ]))
    """
    error_prob = check_error_prob(error_prob)
    found = np.cumsum(error_prob[ranking(error_prob)])
    return _curve(np.concatenate([[0.0], found]), np.arange(len(found) + 1, dtype=float))


def achieved_curve(
    error_prob: np.ndarray, index: np.ndarray, wrong: np.ndarray, probability: np.ndarray | None = None
) -> EffortCurve:
    """The same curve as people's answers show it: each review stands for 1 / probability labels of its suspicion.

    Args:
        error_prob: (N,) in [0, 1], NaN = no label; only its order is used.
        index: (R,) reviewed items.
        wrong: (R,) in [0, 1]: the label was found wrong.
        probability: (R,) in (0, 1], the chance with which each was drawn; NaN or no array: stands for itself alone.

    Returns:
        `EffortCurve`, its numbers estimated for all labelled items (exact where everything was reviewed).

    Raises:
        DataError: the three arrays do not fit together, or a review is of an item without a label.

    >>> achieved_curve(np.array([0.9, 0.2, 0.6]), np.array([0, 1, 2]), np.array([1, 0, 1])).recall
    array([0. , 0.5, 1. , 1. ])
    """
    error_prob = check_error_prob(error_prob)
    index, wrong = np.asarray(index, dtype=np.int64), np.asarray(wrong, dtype=np.float64)
    chance = np.ones(len(index)) if probability is None else np.asarray(probability, dtype=np.float64)
    fits = index.ndim == 1 and index.shape == wrong.shape == chance.shape
    if not fits or (len(index) and (index.min() < 0 or index.max() >= len(error_prob))):
        raise DataError(
            found=f"index {index.shape}, wrong {wrong.shape}, probability {chance.shape} for {len(error_prob)} items",
            expected="one row number, one answer and one probability per review",
            fix="pass three arrays of one length, with row numbers of error_prob in `index`",
        )
    if np.isnan(error_prob[index]).any():
        raise DataError(
            found=f"{int(np.isnan(error_prob[index]).sum())} reviews of items whose error_prob is NaN",
            expected="reviews of labelled items",
            fix="drop the reviews of items that have no label",
        )
    order = ranking(error_prob)
    rank = np.empty(len(error_prob), dtype=np.int64)
    rank[order] = np.arange(len(order))
    weight = 1 / np.where(np.isnan(chance), 1.0, chance)
    errors, items = (np.bincount(rank[index], w, minlength=len(order)).cumsum() for w in (weight * wrong, weight))
    return _curve(np.concatenate([[0.0], errors]), np.concatenate([[0.0], items]))
