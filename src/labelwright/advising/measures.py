"""Figures about labels, as plain functions of arrays: agreement, order, nesting, copies, shift."""

from __future__ import annotations

from itertools import permutations
from typing import Any, NamedTuple

import numpy as np

from labelwright.errors import LabelError, check_option

METRICS = ("nominal", "ordinal")


def krippendorff_alpha(counts: Any, *, metric: str = "nominal") -> float:
    """Krippendorff's alpha of U units rated into K categories; NaN where no unit was rated twice or all answers are equal.

    Args:
        counts: (U, K) int, how many raters put unit u into category k; for "ordinal" the categories stand in their order.
        metric: "nominal" (equal or not) or "ordinal" (how many ranks lie between).

    Returns:
        1 for full agreement, 0 for what chance gives, negative below.

    Source: Krippendorff 2011, "Computing Krippendorff's alpha-reliability", section D.

    >>> round(krippendorff_alpha([[2, 0], [0, 2], [1, 1]]), 3)
    0.444
    """
    check_option("metric", metric, METRICS)
    c = np.asarray(counts, dtype=np.float64)
    if c.ndim != 2 or (c < 0).any():
        raise LabelError(
            found=f"counts of shape {c.shape}",
            expected="counts (units, categories), none negative",
            fix="count the votes",
        )
    c = c[c.sum(1) >= 2]
    weight = 1 / (c.sum(1, keepdims=True) - 1)
    o = (c * weight).T @ c - np.diag((c * weight).sum(0))  # coincidences of each pair of categories
    n = o.sum(1)
    expected = np.outer(n, n)
    delta = _distances(n, metric)
    chance = float((expected * delta).sum())
    return float("nan") if chance <= 0 else float(1 - (n.sum() - 1) * (o * delta).sum() / chance)


def _distances(n: np.ndarray, metric: str) -> np.ndarray:
    """(K, K) squared distances between categories with n answers each."""
    if metric == "nominal":
        return 1.0 - np.eye(len(n))
    middle = np.cumsum(n) - n / 2  # ranks: everything below, and half of the own
    return (middle[:, None] - middle[None, :]) ** 2


def interval_alpha(item: np.ndarray, value: np.ndarray) -> float:
    """Krippendorff's alpha with squared differences, for numeric answers: V votes `value` (V,) on items `item` (V,) >= 0.

    Worked from sums and squares, so any number of different values will do. NaN as in `krippendorff_alpha`.
    """
    m = np.bincount(item)[item]
    item, value, m = item[m > 1], np.asarray(value, dtype=np.float64)[m > 1], m[m > 1]
    n = len(value)
    if n < 2 or np.ptp(value) == 0:
        return float("nan")
    value = value - value.mean()
    count = np.bincount(item)
    mean = np.bincount(item, value) / np.maximum(count, 1)
    within = float((2 * (value - mean[item]) ** 2 * m / (m - 1)).sum())  # sum over pairs of (v - w)^2 / (m - 1)
    return 1 - (n - 1) * within / (2 * n * float((value**2).sum()))


def count_votes(item: np.ndarray, label: np.ndarray, n_items: int, n_classes: int) -> np.ndarray:
    """(N, K) votes for each class; abstentions (-1) do not count."""
    said = label >= 0
    flat = item[said] * n_classes + label[said]
    return np.bincount(flat, minlength=n_items * n_classes).reshape(n_items, n_classes)


class Agreement(NamedTuple):
    """Of each annotator, (A,): votes on items that others voted on too; the share of those others that agree; the share that
    would agree by chance, had the others' answers been shuffled; the standard error of the difference of the two."""

    votes: np.ndarray
    observed: np.ndarray
    chance: np.ndarray
    error: np.ndarray

    @property
    def lift(self) -> np.ndarray:
        """0 at chance, 1 at full agreement; NaN where there is nothing to compare."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return (self.observed - self.chance) / (1 - self.chance)

    def contrary(self, least: int = 20) -> np.ndarray:
        """(A,) bool: with `least` votes or more, surely (two standard errors) less than a third as far above chance as the
        typical annotator."""
        above = self.observed - self.chance
        known = np.isfinite(above)
        if not known.any():
            return known
        most = np.nan_to_num(above + 2 * self.error)
        return known & (self.votes >= least) & (most < np.median(above[known]) / 3)


def annotator_agreement(item: np.ndarray, annotator: np.ndarray, label: np.ndarray) -> Agreement:
    """How far each annotator agrees with the others on the same items. item, annotator, label: (V,) ids, label -1 left out."""
    said = label >= 0
    item, annotator, label = item[said], annotator[said], label[said]
    n, k, a = (int(x.max()) + 1 if len(x) else 0 for x in (item, label, annotator))
    if not len(item):
        return Agreement(*(np.zeros(0) for _ in range(4)))
    counts = count_votes(item, label, n, k)
    others = counts.sum(1)[item] - 1
    share = np.where(others > 0, (counts[item, label] - 1) / np.maximum(others, 1), 0.0)
    pool = counts[counts.sum(1) > 1].sum(0)
    pool = pool / max(pool.sum(), 1)
    voted = np.bincount(annotator, others > 0, minlength=a)
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = np.bincount(annotator, share, minlength=a) / voted
        chance = np.bincount(annotator, pool[label] * (others > 0), minlength=a) / voted
        square = np.bincount(annotator, (share - pool[label]) ** 2 * (others > 0), minlength=a) / voted
        spread = np.maximum(square - (observed - chance) ** 2, 0.01)  # a few equal shares are no certainty
    return Agreement(voted, observed, chance, np.sqrt(spread / np.maximum(voted, 1)))


def ties(counts: np.ndarray) -> tuple[int, int]:
    """(items with a tie for the first place, items with two votes or more)."""
    several = counts[counts.sum(1) >= 2]
    if not several.size:
        return 0, 0
    top = several.max(1)
    return int(((several == top[:, None]).sum(1) > 1).sum()), len(several)


def order_of_confusions(pairs: np.ndarray, *, random_state: int = 0, draws: int = 500) -> tuple[float, float, float]:
    """Whether classes that lie near in their order are confused most: (mean distance, mean under shuffled orders, p-value).

    Each pair of classes counts by how many times more often it is confused than the sizes of both let expect.

    Args:
        pairs: (K, K) counts of each pair, the diagonal (no confusion) among them.
        draws: random orders to compare with; up to six classes, all orders are.
    """
    c = np.asarray(pairs, dtype=np.float64)
    expected = np.outer(c.sum(1), c.sum(0))
    c = np.where(expected > 0, c / np.where(expected > 0, expected, 1), 0.0)
    c = c + c.T
    np.fill_diagonal(c, 0)
    k, total = len(c), c.sum()
    if total == 0 or k < 3:
        return float("nan"), float("nan"), 1.0
    place = np.arange(k)
    rng = np.random.default_rng(random_state)
    orders = [np.array(p) for p in permutations(range(k))] if k <= 6 else [rng.permutation(k) for _ in range(draws)]

    def distance(order: np.ndarray) -> float:
        return float((c * np.abs(order[:, None] - order[None, :])).sum() / total)

    seen = distance(place)
    shuffled = np.array([distance(order) for order in orders])
    own = 0 if k <= 6 else 1  # all orders hold the seen one; drawn ones do not
    return seen, float(shuffled.mean()), float((own + (shuffled <= seen + 1e-12).sum()) / (own + len(orders)))


def nests(fine: np.ndarray, coarse: np.ndarray) -> float:
    """Share of the items whose coarse class is the usual one of their fine class; 1 where the classes nest."""
    known = (fine >= 0) & (coarse >= 0)
    f, c = fine[known], coarse[known]
    if not len(f):
        return 0.0
    table = np.bincount(f * (int(c.max()) + 1) + c, minlength=(int(f.max()) + 1) * (int(c.max()) + 1))
    return float(table.reshape(-1, int(c.max()) + 1).max(1).sum() / len(f))


def shift(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """(total variation distance, p-value of a chi-square test) of two class counts (K,)."""
    from scipy.stats import chi2_contingency

    table = np.stack([a, b])[:, (a + b) > 0].astype(float)
    if table.shape[1] < 2 or (table.sum(1) == 0).any():
        return 0.0, 1.0
    share = table / table.sum(1, keepdims=True)
    return float(0.5 * np.abs(share[0] - share[1]).sum()), float(chi2_contingency(table)[1])


def homophily(edges: np.ndarray, ids: np.ndarray) -> float:
    """Share of the edges (2, E) between two labelled nodes that join nodes of one class; NaN without such edges."""
    a, b = ids[edges[0]], ids[edges[1]]
    known = (a >= 0) & (b >= 0)
    return float((a == b)[known].mean()) if known.any() else float("nan")
