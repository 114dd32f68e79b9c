"""Which items to keep: the hardest, the easiest, the middling, a cover of feature space, or chance."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from labelwright.errors import DataError, OptionError, check_option, rows
from labelwright.labels import check_class_ids
from labelwright.shrinking.covers import class_distance, herding, k_center

RULES = ("random", "hard", "easy", "moderate")
"""Rules for scores (N,); "random" and "moderate" take features as well."""

FEATURE_RULES = ("random", "k_center", "herding", "moderate")
"""Rules for features (N, D)."""


class Pruned(NamedTuple):
    """What is kept: kept: (M,) int64 item numbers, ascending.   class_counts: (K,) how many of each class.
    class_totals: (K,) how many there were. A class that lost nearly all its items shows here."""

    kept: np.ndarray
    class_counts: np.ndarray
    class_totals: np.ndarray


def prune(
    values: Any, labels: Any, *, keep: float, rule: str = "hard", balanced: bool = True, random_state: int = 0
) -> Pruned:
    """Keep a share of the items.

    Args:
        values: (N,) scores, larger = harder (see `labelwright.shrinking.scores`), or (N, D) features; None with
            rule="random".
        labels: (N,) int, -1 = missing; an item without a label is never kept.
        keep: a float in (0, 1] is the share of the labelled items, an int the number of items.
        rule: "hard" keeps the largest scores, "easy" the smallest, "moderate" those nearest the median; with features,
            "moderate" means the distance to the class mean, "k_center" and "herding" choose a cover. "random" ignores
            the values.
        balanced: as many items of every class (all of a class that has fewer; the rest goes to the others), each class
            pruned alone. False: one ranking over all, which can empty a class under "hard".
        random_state: for "random", and for equal scores, which are never broken by position in the file.

    Returns:
        `Pruned`. Soft labels of the kept items are indexed by `kept`: teacher_probs[pruned.kept].

    A teacher that labels the kept items has seen all of them: this saves training, it is no learning from few labels.

    Raises:
        OptionError: an unknown rule, or one that does not fit the values; keep outside its range, or below the number
            of classes.
        DataError: NaN scores of labelled items, or values of other items.

    Source: rules and the balance option as compared by Ben-Baruch et al. 2024, "Distilling the knowledge in data pruning".

    >>> prune(np.array([0.1, 0.9, 0.2, 0.8]), np.array([0, 0, 1, 1]), keep=0.5, rule="hard").kept
    array([1, 3])
    """
    given = check_class_ids(labels, np.iinfo(np.int64).max)
    table = _values(values, rule, given)
    n_classes = int(given.max(initial=-1)) + 1
    totals = np.bincount(given[given >= 0], minlength=n_classes)
    n = _wanted(keep, totals)
    if balanced:
        groups = [(np.flatnonzero(given == c), m) for c, m in enumerate(equal_quotas(totals, n)) if m]
    else:
        groups = [(np.flatnonzero(given >= 0), n)]
    rng = np.random.default_rng(random_state)
    kept = np.sort(np.concatenate([members[_choose(table, members, m, rule, rng)] for members, m in groups]))
    return Pruned(kept, np.bincount(given[kept], minlength=n_classes), totals)


def equal_quotas(totals: np.ndarray, n: int) -> np.ndarray:
    """(K,) how many of each class: as equal as the totals allow, summing to n <= sum(totals); odd ones to the largest.

    >>> equal_quotas(np.array([10, 2, 9]), 9)
    array([4, 2, 3])
    """
    order = np.argsort(-totals, kind="stable")
    quotas, left = np.zeros(len(totals), np.int64), n
    for place in range(len(totals) - 1, -1, -1):  # the smallest class first: what it cannot give goes to the others
        quotas[order[place]] = min(totals[order[place]], left // (place + 1))
        left -= quotas[order[place]]
    return quotas


def _choose(table: np.ndarray | None, members: np.ndarray, n: int, rule: str, rng: np.random.Generator) -> np.ndarray:
    """(n,) places in `members`."""
    if rule == "random":
        return rng.choice(len(members), n, replace=False)
    assert table is not None
    part = table[members]
    if rule in ("k_center", "herding"):
        return (k_center if rule == "k_center" else herding)(part, n)
    if rule == "moderate":
        part = np.abs(part - np.median(part))
    chance = rng.permutation(len(members))  # settles equal scores, of which forgetting has many
    return np.lexsort((chance, -part if rule == "hard" else part))[:n]


def _values(values: Any, rule: str, labels: np.ndarray) -> np.ndarray | None:
    """Scores (N,) or features (N, D) that fit the rule; None if it needs none."""
    check_option("rule", rule, dict.fromkeys(RULES + FEATURE_RULES))
    if values is None and rule == "random":
        return None
    table = np.asarray(values)
    if table.ndim not in (1, 2) or table.dtype.kind not in "biuf" or len(table) != len(labels):
        raise DataError(
            found=f"values of shape {table.shape} and dtype {table.dtype} for {len(labels)} labels",
            expected="scores (N,) or dense features (N, D) of the same items",
            fix="pass one number or one row of numbers per label",
        )
    fits = RULES if table.ndim == 1 else FEATURE_RULES
    if rule not in fits:
        raise OptionError(
            found=f"rule={rule!r} with {'scores' if table.ndim == 1 else 'features'} of shape {table.shape}",
            expected=f"one of {', '.join(map(repr, fits))}",
            fix="score the items first, for example with el2n" if table.ndim == 2 else "pass features (N, D)",
        )
    if table.ndim == 2:
        return class_distance(table, labels) if rule == "moderate" else table
    table = table.astype(np.float64)
    bad = np.flatnonzero(np.isnan(table) & (labels >= 0))
    if len(bad):
        raise DataError(
            found=f"NaN scores of {len(bad)} labelled items ({rows(bad)})",
            expected="a score for every item that has a label",
            fix="set the labels of these items to -1, or score them again",
        )
    return table


def _wanted(keep: float, totals: np.ndarray) -> int:
    """The number of items to keep."""
    labelled, n_classes = int(totals.sum()), int((totals > 0).sum())
    whole = hasattr(keep, "__index__") and not isinstance(keep, bool)
    n = int(keep) if whole else round(float(keep) * labelled) if 0 < keep <= 1 and not isinstance(keep, bool) else -1
    if not 0 < n <= labelled:
        raise OptionError(
            found=f"keep={keep!r} of {labelled} labelled items",
            expected=f"a share in (0, 1] as a float, or a number 1 to {labelled} as an int",
            fix="pass keep=0.3 for 30 percent",
        )
    if n < n_classes:
        raise OptionError(
            found=f"keep={keep!r}, which is {n} of {labelled} items, for {n_classes} classes",
            expected="at least one item per class",
            fix=f"pass keep={n_classes} or more",
        )
    return n
