"""Why a label looks wrong: another class fits (error), several fit (ambiguous), or none does (novel).

The item alone cannot tell: a model wavers on a picture between two classes, and on one of neither. Its surroundings
can. An ambiguous item is undecided amid items that are explained well; a novel one lives among items that are
unexplained themselves, however sure the model is; a mere error is explained well, and so are the items around it.

    doubt[i]  = (1 - max_c label_dist[i, c]) K / (K - 1)            0 = settled, 1 = uniform
    W         = neighbours weighted by max(similarity, 0) (alike where all are 0), rows summing to 1
    mix[i]    = mean of pred_probs[i] and (W label_dist)[i]         what fits item i, its own label unread
    balance   = second largest / largest entry of mix               1 = two classes fit equally well
    ambiguity = balance / (balance + (W doubt) + MARGIN)            2/3: balance is twice the doubt around it and MARGIN
    novelty   = share of ordinary items with a smaller (W^3 doubt)  1 - a conformal p-value, equal ones counted half

Ordinary items are those with a label that was not flagged. Three steps along the neighbours, as one is noisy and a
class outside the space is a region of many items. Measured and left out: a lower similarity than the neighbours' own
(local density) is no help on a whole class and takes mixtures for novelties; percentiles per class hide novel items
that make up much of a class. Out of reach: a class outside the space whose items nearly all got the same label, as that
is just a wide class (dbpedia14: AUROC 0.55 for one class of which 77 % did, 0.97 and more for nine others).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from labelwright.auditing.thresholds import row_blocks
from labelwright.errors import DataError, LabelError, ProbabilityError
from labelwright.labels import PredProbs, as_matrix

KINDS = ("ok", "error", "ambiguous", "novel")
HOPS = 3
MARGIN = 0.05  # indecision that is nothing to speak of, on the scale of doubt and balance
FLOOR = 0.1  # less doubt than this is no novelty, however rare
NOVEL = 0.9  # as odd as the oddest tenth of the ordinary items
AMBIGUOUS = 2 / 3  # at least twice as undecided as the items around it


class Kinds(NamedTuple):
    """ambiguity, novelty: (N,) float64 in [0, 1].   kind: (N,) str, one of `KINDS`; "ok" for what is not flagged."""

    ambiguity: np.ndarray
    novelty: np.ndarray
    kind: np.ndarray


def tell_apart(
    labels: np.ndarray,
    label_dist: np.ndarray,
    pred_probs: PredProbs | None,
    neighbours: tuple[np.ndarray, np.ndarray] | None,
    is_issue: np.ndarray,
) -> Kinds:
    """How ambiguous and how novel each item is, and what is the matter with the flagged ones.

    A flagged item is "novel" if its novelty is at least 0.9 and the doubt that was ranked at least 0.1, else
    "ambiguous" if its ambiguity is at least 2/3, else an "error". Novelty goes first: where nothing fits, two classes
    often misfit equally. Novelty is a rank, so a tenth of the ordinary items reach 0.9 even if nothing is novel; the
    second condition keeps the well explained ones among them out. The constants are the same for all data.

    Without neighbours the surroundings of an item are the ordinary items with the same most probable class: their mean
    doubt stands in for W doubt, `mix` is pred_probs, and novelty ranks 1 - max pred_probs. That score is too weak to call
    an item "novel" (AUROC 0.62 to 0.79 against errors), so no item is. Without pred_probs `mix` is W label_dist alone.

    Args:
        labels: (N,) int, -1 = missing: such an item has scores, but its kind is "ok".
        label_dist: (N, K) float, P(true class | everything, the given label included), as `error_model` returns it.
        pred_probs: (N, K) float out-of-sample probabilities, or top-k rows, or None.
        neighbours: (index (N, k) int, similarity (N, k) float) of each item's nearest *other* items, or None.
        is_issue: (N,) bool, the flagged items.

    Returns:
        `Kinds`. Where every item is flagged or has no label, novelty ranks among all of them.

    Raises:
        LabelError, ProbabilityError, DataError: arrays that do not fit together, or neither pred_probs nor neighbours.

    Source: ours; the percentile is that of Laxhammar & Falkman 2010, "Conformal prediction for distribution-independent
    anomaly detection in streaming vessel data", with a neighbourhood's doubt as the non-conformity measure.

    >>> p = np.array([[0.96, 0.02, 0.02]] * 3 + [[0.02, 0.96, 0.02], [0.48, 0.48, 0.04], [0.35, 0.33, 0.32]])
    >>> tell_apart(np.array([0, 0, 0, 0, 0, 1]), p, p, None, np.array([0, 0, 0, 1, 0, 1], bool)).kind
    array(['ok', 'ok', 'ok', 'error', 'ok', 'ambiguous'], dtype='<U9')
    """
    p = None if pred_probs is None else as_matrix(pred_probs)
    _check(labels, label_dist, p, neighbours, is_issue)
    if len(labels) == 0:
        return Kinds(np.zeros(0), np.zeros(0), np.zeros(0, "<U9"))
    first, second = (None, None) if p is None else top_two(p)
    best, n_classes = label_dist.argmax(1), label_dist.shape[1]
    balance = None if neighbours is None else _balance(label_dist, p, neighbours)
    found = tell_apart_by(
        labels, best, label_dist.max(1), first, second, n_classes, neighbours, is_issue, balance=balance
    )
    return found._replace(kind=np.array(KINDS)[found.kind])


def tell_apart_by(
    labels: np.ndarray,
    best: np.ndarray,
    settled: np.ndarray,
    first: np.ndarray | None,
    second: np.ndarray | None,
    n_classes: int,
    neighbours: tuple[np.ndarray, np.ndarray] | None,
    is_issue: np.ndarray,
    *,
    balance: np.ndarray | None = None,
) -> Kinds:
    """`tell_apart` from a few numbers per item, where the distributions themselves are too many to hold.

    Args:
        best, settled: (N,) the most probable class of label_dist, and its probability.
        first, second: (N,) the two largest pred_probs; None only if `balance` is given.
        n_classes: K.
        balance: (N,) as in the module's docstring; default second / first, what pred_probs alone say.
        labels, neighbours, is_issue: as in `tell_apart`.

    Returns:
        `Kinds`, its kind (N,) int8 positions in `KINDS`: names would take more room than all else.
    """
    flagged = is_issue & (labels >= 0)
    ordinary = ~is_issue & (labels >= 0)
    if not ordinary.any():
        ordinary = np.ones(len(labels), bool)
    doubt = _doubt(settled, n_classes)
    if balance is None:
        assert first is not None and second is not None
        balance = np.clip(second.astype(np.float64) / first, 0, 1)
    if neighbours is None:
        assert first is not None
        around, strangeness = _by_class(doubt, best, ordinary, n_classes), _doubt(first, n_classes)
    else:
        index, weight = neighbours[0], _weights(neighbours[1])
        strangeness = doubt
        hops = [strangeness := _mean_around(strangeness, index, weight) for _ in range(HOPS)]
        around = hops[0]
    ambiguity = balance / (balance + around + MARGIN)
    novelty = _share_below(strangeness, strangeness[ordinary])
    kind = np.full(len(labels), KINDS.index("error"), np.int8)
    kind[ambiguity >= AMBIGUOUS] = KINDS.index("ambiguous")
    if neighbours is not None:  # probabilities alone take every hard item for a strange one
        kind[(novelty >= NOVEL) & (strangeness >= FLOOR)] = KINDS.index("novel")
    kind[~flagged] = KINDS.index("ok")
    return Kinds(ambiguity, novelty, kind)


def top_two(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) float64 the largest and (N,) the second largest entry of each row of p (N, K)."""
    out = np.empty((2, len(p)))
    for block in row_blocks(*p.shape):
        out[:, block] = np.partition(p[block].astype(np.float64), p.shape[1] - 2, axis=1)[:, :-3:-1].T
    return out[0], out[1]


def _doubt(largest: np.ndarray, n_classes: int) -> np.ndarray:
    """(N,) float64 in [0, 1] from the largest probability: 0 where one class has everything, 1 where all have the same."""
    return np.clip((1 - largest.astype(np.float64)) * n_classes / (n_classes - 1), 0, 1)


def _weights(similarity: np.ndarray) -> np.ndarray:
    """(N, k) float64 weights of the neighbours, rows summing to 1."""
    weight = np.maximum(similarity.astype(np.float64), 0)
    total = weight.sum(1, keepdims=True)
    return np.where(total > 0, weight / np.where(total > 0, total, 1), 1 / weight.shape[1])


def _mean_around(values: np.ndarray, index: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(N,) weighted mean of `values` (N,) over the neighbours."""
    return (weight * values[index]).sum(1)


def _by_class(doubt: np.ndarray, best: np.ndarray, ordinary: np.ndarray, n_classes: int) -> np.ndarray:
    """(N,) mean doubt of the ordinary items with the same most probable class; of all of them where there is none."""
    count = np.bincount(best[ordinary], minlength=n_classes)
    total = np.bincount(best[ordinary], doubt[ordinary], minlength=n_classes)
    mean = np.where(count > 0, total / np.maximum(count, 1), doubt[ordinary].mean())
    return mean[best]


def _balance(
    label_dist: np.ndarray, pred_probs: np.ndarray | None, neighbours: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """(N,) second largest over largest entry of the neighbours' label_dist, or of the mean of that and pred_probs."""
    n_items, n_classes = label_dist.shape
    balance = np.empty(n_items)
    for block in row_blocks(n_items, n_classes * neighbours[0].shape[1]):
        mix = np.zeros((len(balance[block]), n_classes))
        mix += np.einsum("nk,nkc->nc", _weights(neighbours[1][block]), label_dist[neighbours[0][block]])
        if pred_probs is not None:
            mix += pred_probs[block]
        second, first = np.partition(mix, n_classes - 2, axis=1)[:, -2:].T
        balance[block] = np.clip(second / first, 0, 1)
    return balance


def _share_below(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(N,) share of `reference` below each value, equal ones (up to the rounding of sums) counted half."""
    values, reference = np.round(values, 9), np.sort(np.round(reference, 9))
    below, up_to = (np.searchsorted(reference, values, side) for side in ("left", "right"))
    return (below + up_to) / (2 * len(reference))


def _check(
    labels: np.ndarray,
    label_dist: np.ndarray,
    pred_probs: np.ndarray | None,
    neighbours: tuple[np.ndarray, np.ndarray] | None,
    is_issue: np.ndarray,
) -> None:
    """Raise unless shapes, types and row numbers fit together; the values of probabilities are trusted."""
    n = len(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or is_issue.shape != (n,) or is_issue.dtype != bool:
        raise LabelError(
            found=f"labels {labels.shape} {labels.dtype} and is_issue {is_issue.shape} {is_issue.dtype}",
            expected="(N,) integers and (N,) bool",
            fix="encode the classes as 0..K-1 and the missing ones as -1; pass is_issue=error_prob > 0.5 or the like",
        )
    if pred_probs is None and neighbours is None:
        raise DataError(
            found="neither pred_probs nor neighbours",
            expected="something that speaks about the items besides their labels",
            fix="pass out-of-fold pred_probs, neighbours=(index, similarity), or both",
        )
    shape, other = label_dist.shape, None if pred_probs is None else pred_probs.shape
    if len(shape) != 2 or shape[0] != n or shape[1] < 2 or other not in (None, shape):
        raise ProbabilityError(
            found=f"label_dist {shape} and pred_probs {other} for {n} labels",
            expected=f"({n}, K) with the same K >= 2 classes",
            fix="pass one row per label and one column per class in both",
        )
    if neighbours is not None:
        index, similarity = neighbours
        if (
            index.ndim != 2
            or index.shape != similarity.shape
            or len(index) != n
            or index.dtype.kind not in "iu"
            or (n > 0 and not (index.shape[1] and 0 <= index.min() <= index.max() < n))
        ):
            raise DataError(
                found=f"neighbours of shapes {index.shape} and {similarity.shape}, index of type {index.dtype}",
                expected=f"two ({n}, k) arrays with k >= 1, row numbers 0..{n - 1} in the first",
                fix="pass (index, similarity) from a search among these same items",
            )
