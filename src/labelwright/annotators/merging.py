"""Classes that a model cannot tell apart, merged into groups, and the way back from groups to classes.

Accuracy over groups and accuracy over classes are different numbers: compare each with its own kind only.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelwright.errors import DataError, LabelwrightWarning, OptionError, ProbabilityError, check_option, check_whole
from labelwright.labels import check_class_ids, check_pred_probs

LINKAGES = ("average", "single", "complete")
WEIGHTS = ("rows", "counts")
SPLITS = ("equal", "prior", "within")
CANDIDATES = (0.5, 0.4, 0.35, 0.3, 0.25, 0.225, 0.2, 0.175, 0.15, 0.125, 0.1, 0.075, 0.05)


@dataclass(frozen=True, eq=False)
class Groups:
    """A partition of K classes. group: (K,) int64 group of each class, numbered 0..G-1 by their first class."""

    group: np.ndarray

    @property
    def n_groups(self) -> int:
        """How many groups there are."""
        return int(self.group.max()) + 1

    @property
    def members(self) -> list[list[int]]:
        """The classes of each group."""
        return [np.flatnonzero(self.group == g).tolist() for g in range(self.n_groups)]

    def to_groups(self, labels: Any) -> np.ndarray:
        """Class ids (N,) as group ids, -1 kept; or class probabilities (N, K) summed to group probabilities (N, G).

        >>> groups = Groups(np.array([0, 1, 0]))
        >>> groups.to_groups(np.array([2, -1, 1])), groups.to_groups([[0.5, 0.25, 0.25]])
        (array([ 0, -1,  1]), array([[0.75, 0.25]]))
        """
        given = np.asarray(labels)
        if given.ndim == 1:
            ids = check_class_ids(given, len(self.group))
            return np.where(ids >= 0, self.group[ids], -1)
        p = check_pred_probs(given, n_classes=len(self.group))
        return np.stack([p[:, classes].sum(1, dtype=np.float64) for classes in self.members], axis=1)

    def split(self, group_probs: Any, *, rule: str = "equal", prior: Any = None, within: Any = None) -> np.ndarray:
        """Class probabilities (N, K) from group probabilities (N, G).

        Args:
            group_probs: (N, G), rows sum to 1.
            rule: "equal" shares a group's probability evenly among its classes. "prior": by `prior`. "within": by
                `within`, item by item. Where the shares of a group are all 0, evenly.
            prior: (K,) class shares or counts, 0 or more.
            within: (N, K) class probabilities of a second classifier on the same items.

        Raises:
            ProbabilityError: rows that are no distributions, or a prior with negative values.
            OptionError: an unknown rule, or one without its shares.

        Source: equal split as recalled from Wang et al. 2017, not checked there; the others are ours.

        >>> Groups(np.array([0, 1, 0])).split([[0.8, 0.2]], rule="prior", prior=[3, 5, 1])
        array([[0.6, 0.2, 0.2]])
        """
        check_option("rule", rule, SPLITS)
        p = check_pred_probs(group_probs, n_classes=self.n_groups).astype(np.float64)
        share = self._shares(rule, len(p), prior, within)
        total = np.stack([share[:, classes].sum(1) for classes in self.members], axis=1)[:, self.group]
        size = np.bincount(self.group)[self.group]
        even = np.broadcast_to(1 / size, total.shape).copy()
        return p[:, self.group] * np.divide(share, total, out=even, where=total > 0)

    def _shares(self, rule: str, n_items: int, prior: Any, within: Any) -> np.ndarray:
        """(1 or N, K) shares, not yet normalised in their groups."""
        k = len(self.group)
        given = {"prior": prior, "within": within}
        if any((value is not None) != (name == rule) for name, value in given.items()):
            told = ", ".join(name for name, value in given.items() if value is not None)
            raise OptionError(
                found=f"rule={rule!r} with {told or 'no shares'}",
                expected="`prior` with 'prior', `within` with 'within', none with 'equal'",
                fix=f"pass {rule}=..." if rule != "equal" else f"pass rule={told.split(',')[0]!r}",
            )
        if rule == "within":
            return check_pred_probs(within, n_items=n_items, n_classes=k).astype(np.float64)
        shares = np.ones(k) if rule == "equal" else np.asarray(prior, dtype=np.float64)
        if shares.shape != (k,) or not bool((np.isfinite(shares) & (shares >= 0)).all()):
            raise ProbabilityError(
                found=f"prior of shape {shares.shape} with values from {shares.min(initial=np.inf):.3g}",
                expected=f"({k},) finite shares of 0 or more",
                fix="pass numpy.bincount(labels, minlength=K)",
            )
        return shares[None]


def merge_classes(
    confusion: Any,
    *,
    min_confusion: float | None = None,
    n_groups: int | None = None,
    linkage: str = "average",
    weights: str = "rows",
    z: float = 1.64,
    max_size: int | None = None,
) -> Groups:
    """Merge the most confused classes, bottom up.

    Args:
        confusion: (K, K) counts [true, predicted] on *held-out* items; on training items there is next to no confusion.
        min_confusion: groups are joined while their similarity, a rate in [0, 1], is above this.
        n_groups: joined until so many are left instead; give one of the two. Groups with similarity 0 are never joined:
            a warning tells if more are left.
        linkage: similarity of two groups: "average", the largest ("single", which chains) or the smallest ("complete")
            of their pairs of classes.
        weights: similarity of two classes. "rows": (P(j | i) + P(i | j)) / 2, where a rare class counts as much as a
            frequent one. "counts": errors between the two over all items of both; a rare class joins a frequent one
            hardly ever.
        z: take the lower end of the Wilson interval of these rates, z standard errors below (1.64: 95 percent sure,
            one-sided), so that three items of a rare class prove nothing. 0: the rates themselves, as in the paper.
        max_size: most classes in one group; None: no limit.

    Returns:
        `Groups`. Equal similarities: the pair with the lowest class numbers first.

    Raises:
        DataError: no square table of counts.   OptionError: both or none of min_confusion and n_groups, unknown options.

    Source: Wang et al. 2017, "Knowledge guided disambiguation", section on confusion merging; linkage and the other
        options are not from the paper.

    >>> merge_classes([[50, 50, 0], [40, 60, 0], [0, 1, 2]], min_confusion=0.2).group
    array([0, 0, 1])
    """
    count = _check_counts(confusion)
    check_option("linkage", linkage, LINKAGES)
    check_option("weights", weights, WEIGHTS)
    k = len(count)
    _check_end(min_confusion, n_groups, k)
    if max_size is not None:
        check_whole("max_size", max_size, 1)
    if not 0 <= z < np.inf:
        raise OptionError(found=f"z={z!r}", expected="0 or more standard errors", fix="pass z=1.64")
    near = _similarity(count, weights, z)
    size, root = np.ones(k), np.arange(k)
    np.fill_diagonal(near, -np.inf)
    floor, left = min_confusion or 0.0, k
    while left > (n_groups or 1):
        room = near if max_size is None else np.where(size[:, None] + size > max_size, -np.inf, near)
        a, b = divmod(int(room.argmax()), k)
        if not room[a, b] > floor:
            break
        near[a] = _joined(near[a], near[b], size[a], size[b], linkage)
        near[:, a] = near[a]
        near[b] = near[:, b] = near[a, a] = -np.inf
        size[a] += size[b]
        root[root == b] = a
        left -= 1
    if n_groups is not None and left > n_groups:
        warnings.warn(
            f"{left} groups are left, not {n_groups}: no others are confused, or max_size forbids it. "
            "Pass z=0 or linkage='average' to join on weaker evidence",
            LabelwrightWarning,
            stacklevel=2,
        )
    return Groups(np.unique(root, return_inverse=True)[1].astype(np.int64))


def choose_groups(
    labels: Any, pred_probs: Any, *, candidates: Sequence[float] = CANDIDATES, linkage: str = "average", z: float = 1.64
) -> Groups:
    """`merge_classes` with the threshold that suits held-out labels best; nothing is merged where nothing helps.

    Args:
        labels: (N,) int class ids, -1 = missing (left out).
        pred_probs: (N, K) of models that did not learn from these labels (`out_of_fold`). Calibrate them first: for a model
            that is far too sure, any merging looks good.
        candidates: thresholds (`min_confusion`) to try.   linkage, z: as in `merge_classes`.

    Chosen is the least mean log loss of the labels after the classes of each group share its probability evenly. Classes that
    can be told apart lose by that, synonyms win: their shares are noise. Of equal ones the fewest merges.

    Raises:
        DataError: no labelled items.   OptionError: a candidate that is no rate.   ProbabilityError: as `check_pred_probs`.
    """
    p = check_pred_probs(pred_probs)
    k = p.shape[1]
    y = check_class_ids(labels, k, n_items=len(p))
    p, y = p[y >= 0].astype(np.float64), y[y >= 0]
    if not len(y):
        raise DataError(
            found="no labelled items", expected="held-out labels", fix="pass labels of the items of pred_probs"
        )
    confusion = np.zeros((k, k), np.int64)
    np.add.at(confusion, (y, p.argmax(1)), 1)
    best, least = Groups(np.arange(k)), _log_loss(p, y)
    for threshold in sorted(candidates, reverse=True):
        groups = merge_classes(confusion, min_confusion=threshold, linkage=linkage, z=z)
        loss = _log_loss(groups.split(groups.to_groups(p)), y)
        if loss < least - 1e-12:
            best, least = groups, loss
    return best


def _log_loss(p: np.ndarray, y: np.ndarray) -> float:
    return float(-np.log(np.maximum(p[np.arange(len(y)), y], 1e-12)).mean())


def soft_labels_from_confusion(labels: Any, confusion: Any) -> np.ndarray:
    """(N, K) float64: each label as its row of the confusion table, P(predicted | true = label).

    Args:
        labels: (N,) int; -1 = missing gives a row of zeros.
        confusion: (K, K) counts [true, predicted] on held-out items. A class without items stays one-hot.

    Raises:
        DataError: no square table of counts.   LabelError: labels outside its classes.

    >>> soft_labels_from_confusion(np.array([1, -1]), [[4, 0], [1, 3]])
    array([[0.25, 0.75], [0.  , 0.  ]])
    """
    count = _check_counts(confusion)
    ids = check_class_ids(labels, len(count))
    total = count.sum(1, keepdims=True)
    rates = np.divide(count, total, out=np.eye(len(count)), where=total > 0)
    return np.where(ids[:, None] >= 0, rates[ids], 0.0)


def _similarity(count: np.ndarray, weights: str, z: float) -> np.ndarray:
    """(K, K) how often classes are taken for each other, symmetric."""
    total = count.sum(1)
    if weights == "counts":
        return _rate(count + count.T, (total[:, None] + total).astype(np.float64), z)
    rate = _rate(count, np.broadcast_to(total[:, None], count.shape), z)
    return (rate + rate.T) / 2


def _rate(hits: np.ndarray, n: np.ndarray, z: float) -> np.ndarray:
    """Lower end of the Wilson interval of hits / n, 0 without a hit (hits / n for z = 0)."""
    safe = np.where(n > 0, n, 1.0)
    p = hits / safe
    low = (p + z**2 / (2 * safe) - z * np.sqrt(p * (1 - p) / safe + z**2 / (4 * safe**2))) / (1 + z**2 / safe)
    return np.where(hits > 0, low if z else p, 0.0)  # no hits: rounding may leave `low` a little above 0


def _joined(a: np.ndarray, b: np.ndarray, size_a: float, size_b: float, linkage: str) -> np.ndarray:
    """Similarity of the union of two groups to every other group."""
    if linkage == "single":
        return np.maximum(a, b)
    if linkage == "complete":
        return np.minimum(a, b)
    return (size_a * a + size_b * b) / (size_a + size_b)


def _check_counts(confusion: Any) -> np.ndarray:
    count = np.asarray(confusion)
    square = count.ndim == 2 and count.shape[0] == count.shape[1] > 0 and count.dtype.kind in "iuf"
    if not square or not bool((np.isfinite(count) & (count >= 0)).all()):
        raise DataError(
            found=f"confusion of shape {count.shape} and dtype {count.dtype}" + (", with bad values" if square else ""),
            expected="(K, K) counts [true, predicted], finite and 0 or more",
            fix="pass sklearn.metrics.confusion_matrix(true, predicted) of held-out items",
        )
    return count.astype(np.float64)


def _check_end(min_confusion: float | None, n_groups: int | None, k: int) -> None:
    if (min_confusion is None) == (n_groups is None):
        raise OptionError(
            found=f"min_confusion={min_confusion!r} and n_groups={n_groups!r}",
            expected="one of the two",
            fix="pass min_confusion=0.1, or the number of groups you want",
        )
    if n_groups is not None:
        check_whole("n_groups", n_groups, 1)
        if n_groups > k:
            raise OptionError(
                found=f"n_groups={n_groups} for {k} classes", expected=f"1 to {k}", fix=f"pass {k} or less"
            )
    elif not 0 <= float(min_confusion or 0) <= 1:
        raise OptionError(
            found=f"min_confusion={min_confusion!r}", expected="a rate in [0, 1]", fix="pass min_confusion=0.1"
        )
