"""Which boxes are wrong: missed objects, spurious boxes, wrong classes, bad locations, from a detector's own boxes.

How a box looks beside the predictions (scores, overlaps and edge offsets of what was predicted there) means something
else for every detector. So a copy of the given labels is damaged in known ways, a few per cent at a time, and looked at
again. A softmax regression learns the density ratio of each fault to the boxes as given, and Bayes' rule makes it
P(fault). Predictions beside every given box are compared in the same way with those whose box was taken away.

How frequent a fault is follows from the tails: of the given boxes at most the share s(t) / t can have the fault, where
s(t) is their share beyond the upper t-quantile of damaged boxes. The bound is extrapolated to t = 0, where the good
boxes that reach into the tail no longer count. What no data can tell is whether the detector or the person is wrong
where they differ without doubt; BELIEF and LEAN say so, chosen on seeds 100 and 101 of benchmarks/audit_boxes.py.

The damage: class swapped evenly; every edge moved by up to 0.4 of the size, IoU 0.2 to 0.7; a box added elsewhere; a box
removed. Faults that look different are found as far as their evidence is alike.

Sources: Bickel, Brückner & Scheffer 2009 (density ratios by logistic regression); Elkan & Noto 2008 (positive and
unlabelled data); Storey & Tibshirani 2003 (a share extrapolated along its bound); Tkachenko, Thyagarajan & Mueller 2023
("ObjectLab": the faults, without spurious boxes).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from labelwright.auditing.flags import expected_f1_cut
from labelwright.auditing.parts import PartAudit
from labelwright.errors import DataError, LabelError, OptionError, ProbabilityError, check_whole, rows
from labelwright.labels import Boxes

if TYPE_CHECKING:
    import pyarrow as pa

Progress = Callable[[int, int], None]  # called with (done, total)

FAULTS = ("missed object", "spurious box", "wrong class", "bad location")
BELIEF = (1.0, 0.2, 1.0, 0.6)  # P(the person is wrong | evidence that damage alone explains), for each fault
LEAN = 0.3  # on missed objects in the quality of an image: many data sets leave objects unmarked on purpose
LOOSE = 0.4  # times iou: from this overlap on two boxes may be one object, badly placed
COPY = 0.9  # IoU from which a second given box of the same class is a duplicate
DAMAGED, WANTED = 0.06, 2000  # share of the boxes damaged per round and fault; damaged boxes wanted, in 2 to 50 rounds
SCORES = (0.01, 0.999)  # scores are drawn in to these; the first stands for "no prediction"
TOPS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)  # the t above
SURE = 0.98  # no probability of a fault is higher
SHOWN = 0.01  # missed objects less probable are not listed
_PAIRS = 1 << 22  # pairs of boxes looked at in one go
_ROWS = 50_000  # rows a regression is fitted on at most


# -------------------------------------------------------------------------------------------- overlaps and matching
def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of the boxes a (P, 4) and b (P, 4), row by row: (P,) float64 in [0, 1].

    >>> box_iou(np.array([[0, 0, 2, 2]]), np.array([[1, 0, 3, 2]]))
    array([0.33333333])
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    both = (np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])).clip(0).prod(axis=1)
    return both / (_area(a) + _area(b) - both)


def _area(box: np.ndarray) -> np.ndarray:
    return (box[:, 2:] - box[:, :2]).prod(axis=1)


class Overlaps(NamedTuple):
    """Pairs of boxes of the same item that overlap: rows of a (E,), rows of b (E,), their IoU (E,), ordered by a."""

    a: np.ndarray
    b: np.ndarray
    iou: np.ndarray

    def at_least(self, iou: float) -> Overlaps:
        keep = self.iou >= iou
        return Overlaps(self.a[keep], self.b[keep], self.iou[keep])

    def best(self, n: int, value: np.ndarray | None = None, empty: float = 0.0) -> np.ndarray:
        """(n,) the largest `value` (E,) (default: IoU) of each row of a; `empty` where it has no pair."""
        out = np.full(n, empty)
        np.maximum.at(out, self.a, self.iou if value is None else value)
        return out


def overlaps(
    item_a: np.ndarray, box_a: np.ndarray, item_b: np.ndarray, box_b: np.ndarray, *, least: float = 1e-9
) -> Overlaps:
    """Every pair of a box of a (P,), (P, 4) and one of b (Q,), (Q, 4) in the same item with IoU of at least `least`."""
    order = np.argsort(item_b, kind="stable")
    first, last = (np.searchsorted(item_b[order], item_a, side=side) for side in ("left", "right"))
    count = last - first
    end = np.cumsum(count)
    out, start = [Overlaps(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))], 0
    while start < len(count):
        base = end[start] - count[start]
        stop = max(start + 1, int(np.searchsorted(end, base + _PAIRS, side="right")))
        a = np.repeat(np.arange(start, stop), count[start:stop])
        shift = np.repeat(end[start:stop] - count[start:stop] - base - first[start:stop], count[start:stop])
        b = order[np.arange(len(a)) - shift]
        out.append(Overlaps(a, b, box_iou(box_a[a], box_b[b])).at_least(least))
        start = stop
    return Overlaps(*(np.concatenate(column) for column in zip(*out)))


def match(pairs: Overlaps, weight: np.ndarray, n_a: int, n_b: int) -> np.ndarray:
    """(n_a,) the row of b that each box of a is matched with, -1 for none: the one-to-one choice of largest total weight.

    Args:
        pairs: who may be matched with whom.   weight: (E,) > 0.   n_a, n_b: numbers of boxes.

    Exact: pairs that share a box form groups, and every group is an assignment problem of its own (Kuhn 1955).
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    partner = np.full(n_a, -1, dtype=np.int64)
    if not len(pairs.a):
        return partner
    graph = coo_array((np.ones(len(pairs.a)), (pairs.a, n_a + pairs.b)), shape=(n_a + n_b,) * 2)
    group = connected_components(graph, directed=False)[1][pairs.a]
    order = np.argsort(group, kind="stable")
    cuts = np.flatnonzero(np.diff(group[order])) + 1
    size = np.diff(np.r_[0, cuts, len(order)])
    alone = order[np.r_[0, cuts][size == 1]]
    partner[pairs.a[alone]] = pairs.b[alone]
    for edges in np.split(order, cuts):
        if len(edges) > 1:
            a, i = np.unique(pairs.a[edges], return_inverse=True)
            b, j = np.unique(pairs.b[edges], return_inverse=True)
            total = np.zeros((len(a), len(b)))
            total[i, j] = weight[edges]
            i, j = linear_sum_assignment(total, maximize=True)
            real = total[i, j] > 0
            partner[a[i[real]]] = b[j[real]]
    return partner


def suppress(order: np.ndarray, among: Overlaps, item: np.ndarray) -> np.ndarray:
    """(Q,) bool: the boxes of `order` that overlap with no better box which is kept itself (greedy suppression).

    Args:
        order: rows of the boxes that take part, by item, best first.   among: pairs of boxes of which one has to go.
        item: (Q,).   All items take their next box at once, so the loop is as long as the fullest item.
    """
    first = np.searchsorted(item[order], item[order], side="left")
    place = np.full(len(item), -1, dtype=np.int64)
    place[order] = np.arange(len(order)) - first
    kept = place >= 0
    live = (place[among.a] >= 0) & (place[among.b] > place[among.a])
    a, b = among.a[live], among.b[live]
    by_turn = np.argsort(place[a], kind="stable")
    for turn in np.split(by_turn, np.flatnonzero(np.diff(place[a[by_turn]])) + 1):
        kept[b[turn[kept[a[turn]]]]] = False
    return kept


# --------------------------------------------------------------------------------------------------------- evidence
class _Scene(NamedTuple):
    """Boxes without scores: item (P,), corners (P, 4) float64, label (P,), -1 unknown."""

    item: np.ndarray
    corners: np.ndarray
    label: np.ndarray


class _Look(NamedTuple):
    """How a scene looks beside the predictions.

    given: (P, F) evidence about its boxes.   partner: (P,) matched prediction or -1.   alone: (C,) predictions beside
    every given box, the best of each place.   missed: (C, G) evidence about those.
    """

    given: np.ndarray
    partner: np.ndarray
    alone: np.ndarray
    missed: np.ndarray


class _Evidence:
    """The detector and what is usual for it: learnt from the labels as given, the same for every damaged copy."""

    def __init__(self, given: _Scene, predicted: _Scene, score: np.ndarray, n_classes: int, iou: float):
        self.predicted, self.iou, self.n_classes = predicted, iou, n_classes
        self.z = _logit(np.clip(score, *SCORES))
        self.order = np.lexsort([-score, predicted.item])
        self.among = overlaps(predicted.item, predicted.corners, predicted.item, predicted.corners, least=iou)
        partner = self._match(given, self._pairs(given))
        rows_ = np.flatnonzero((partner >= 0) & (given.label >= 0))
        rows_ = rows_[predicted.label[partner[rows_]] == given.label[rows_]]
        rows_ = rows_[box_iou(given.corners[rows_], predicted.corners[partner[rows_]]) >= iou]
        known = given.label >= 0
        hits, marked = (np.bincount(given.label[r], minlength=n_classes) for r in (rows_, known))
        pooled = (hits.sum() + 1) / (marked.sum() + 2)
        self.recall = _logit(np.append((hits + 5 * pooled) / (marked + 5), pooled))
        told = np.bincount(predicted.label, minlength=n_classes)
        self.precision = _logit((hits + 0.5) / (np.maximum(told, hits) + 1))
        self.size = _usual(np.log(_area(given.corners[known])), given.label[known], n_classes, least=0.1)
        offset = _offsets(given.corners[rows_], predicted.corners[partner[rows_]])
        self.offset = _usual(offset, given.label[rows_], n_classes, least=0.01)

    def look(self, scene: _Scene) -> _Look:
        pairs = self._pairs(scene)
        partner = self._match(scene, pairs)
        alone = self._alone(pairs, partner)
        return _Look(self._given(scene, pairs, partner), partner, alone, self._missed(pairs, alone))

    def likeliest(self, scene: _Scene) -> np.ndarray:
        """(P,) the class other than its own that the best prediction on a box has, -1 for none."""
        pairs = self._pairs(scene).at_least(LOOSE * self.iou)
        pairs = Overlaps(*(c[self.predicted.label[pairs.b] != scene.label[pairs.a]] for c in pairs))
        order = np.argsort(self.z[pairs.b] + 9 * (pairs.iou >= self.iou), kind="stable")  # of two values the last stays
        out = np.full(len(scene.item), -1, dtype=np.int64)
        out[pairs.a[order]] = self.predicted.label[pairs.b[order]]
        return out

    def _pairs(self, scene: _Scene) -> Overlaps:
        return overlaps(scene.item, scene.corners, self.predicted.item, self.predicted.corners)

    def _match(self, scene: _Scene, pairs: Overlaps) -> np.ndarray:
        """The most boxes with the most overlap; among like overlaps the same class and the better score."""
        near = pairs.at_least(LOOSE * self.iou)
        same = self.predicted.label[near.b] == scene.label[near.a]
        weight = near.iou + 0.2 + 0.1 * same + self.z[near.b] / 140
        return match(near, weight, len(scene.item), len(self.predicted.item))

    def _alone(self, pairs: Overlaps, partner: np.ndarray) -> np.ndarray:
        free = np.ones(len(self.predicted.item), dtype=bool)
        free[partner[partner >= 0]] = False
        free[pairs.at_least(self.iou).b] = False
        return np.flatnonzero(suppress(self.order[free[self.order]], self.among, self.predicted.item))

    def _given(self, scene: _Scene, pairs: Overlaps, partner: np.ndarray) -> np.ndarray:
        n, label, none = len(scene.item), scene.label, float(_logit(SCORES[0]))
        same = (self.predicted.label[pairs.b] == label[pairs.a]) | (label[pairs.a] < 0)
        z, strict = self.z[pairs.b], pairs.iou >= self.iou
        z_same = pairs.best(n, np.where(same & strict, z, none), none)
        z_other = pairs.best(n, np.where(~same & strict, z, none), none)
        support = pairs.iou / (1 + np.exp(-z))
        best = [pairs.best(n, value) for value in (pairs.iou * same, support * same, support)]
        has, p = partner >= 0, np.maximum(partner, 0)
        there = self.predicted.corners[p]
        u, z_pair = np.where(has, box_iou(scene.corners, there), 0.0), np.where(has, self.z[p], none)
        off = (_offsets(scene.corners, there) - self.offset[0][label]) / self.offset[1][label]
        far = np.where(has, np.log1p(np.sqrt((off**2).mean(axis=1))), 0.0)
        own = overlaps(scene.item, scene.corners, scene.item, scene.corners)
        crowd = Overlaps(*(c[own.a != own.b] for c in own)).best(n)
        size = self._size(scene.corners, label)
        columns = [~has, ~has * self.recall[label], ~has * size, np.abs(size), has & (u < self.iou), z_same, z_other]
        columns += [(z_other - z_same).clip(0), z_pair, far, far**2, far * z_pair, u, *best, crowd, crowd**2]
        return np.stack(columns, axis=1).astype(np.float64)

    def _missed(self, pairs: Overlaps, alone: np.ndarray) -> np.ndarray:
        label, over = self.predicted.label[alone], np.zeros(len(self.z))
        np.maximum.at(over, pairs.b, pairs.iou)
        z, over, usual = self.z[alone], over[alone], self.precision[label]
        size = self._size(self.predicted.corners[alone], label)
        return np.stack([z, z**2, usual, z * usual, over, over**2, np.abs(size), size], axis=1)

    def _size(self, corners: np.ndarray, label: np.ndarray) -> np.ndarray:
        middle, spread = self.size
        return ((np.log(_area(corners)) - middle[label]) / spread[label]).clip(-6, 6)


def _offsets(given: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(P, 4) edges of `predicted` minus those of `given`, in units of the mean width and height."""
    size = (given[:, 2:] - given[:, :2] + predicted[:, 2:] - predicted[:, :2]) / 2
    return (predicted - given) / np.tile(size, 2)


def _usual(value: np.ndarray, label: np.ndarray, n_classes: int, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Median and robust standard deviation (K + 1, ...) per class; where few, drawn to those of all, which come last."""

    def robust(v: np.ndarray) -> np.ndarray:
        middle = np.median(v, axis=0)
        return np.stack([middle, 1.4826 * np.median(np.abs(v - middle), axis=0)])

    common = robust(value) if len(value) else np.zeros((2, *value.shape[1:]))
    told = []
    for own in (value[label == k] for k in range(n_classes)):
        weight = len(own) / (len(own) + 20)
        told.append(weight * robust(own) + (1 - weight) * common if len(own) else common)
    middle, spread = np.stack([*told, common], axis=1)
    return middle, np.maximum(spread, least)


def _logit(p: Any) -> np.ndarray:
    return np.log(p) - np.log1p(-np.asarray(p))


# ---------------------------------------------------------------------------------------------- damage and learning
def _damage(
    given: _Scene, n_items: int, n_classes: int, rng: np.random.Generator
) -> tuple[_Scene, np.ndarray, np.ndarray]:
    """A damaged copy: the scene, the fault of each of its boxes (position in FAULTS, 0 = none), the rows removed."""
    n = len(given.item)
    turn = (rng.permutation(n) + rng.random(n)) / n
    swap = np.flatnonzero((turn < DAMAGED) & (given.label >= 0) & (n_classes > 1))
    move = np.flatnonzero((turn >= DAMAGED) & (turn < 2 * DAMAGED))
    removed = np.flatnonzero((turn >= 2 * DAMAGED) & (turn < 3 * DAMAGED))
    fault, corners, label = np.zeros(n, np.int64), given.corners.copy(), given.label.copy()
    fault[swap], fault[move] = 2, 3
    label[swap] = (label[swap] + rng.integers(1, max(n_classes, 2), len(swap))) % n_classes
    corners[move] = _moved(given.corners[move], rng)
    stay, extra = np.setdiff1d(np.arange(n), removed), _elsewhere(given, n_items, rng)
    scene = _Scene(*(np.concatenate(c) for c in zip((given.item[stay], corners[stay], label[stay]), extra)))
    return scene, np.r_[fault[stay], np.ones(len(extra.item), np.int64)], removed


def _moved(box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every edge moved by up to 0.4 of the size: the first of 12 draws with IoU 0.2 to 0.7, else the last."""
    size, out = np.tile(box[:, 2:] - box[:, :2], 2), box.copy()
    again = np.arange(len(box))
    for _ in range(12):
        out[again] = box[again] + rng.uniform(-0.4, 0.4, (len(again), 4)) * size[again]
        iou = box_iou(out[again], box[again])
        again = again[(iou < 0.2) | (iou > 0.7)]
    return out


def _elsewhere(given: _Scene, n_items: int, rng: np.random.Generator) -> _Scene:
    """Boxes put anywhere into any item, where they do not cover a given box."""
    extent = np.tile(given.corners[:, 2:].max(axis=0), (n_items, 1))  # of an item without boxes: the largest
    for axis in (0, 1):
        furthest = np.zeros(n_items)
        np.maximum.at(furthest, given.item, given.corners[:, 2 + axis])
        extent[:, axis] = np.where(furthest > 0, furthest, extent[:, axis])
    model = rng.choice(len(given.item), max(1, round(1.5 * DAMAGED * len(given.item))))
    item = rng.integers(n_items, size=len(model))
    size = given.corners[model, 2:] - given.corners[model, :2]
    corner = rng.uniform(0, 1, size.shape) * np.maximum(extent[item] - size, 1)
    box = np.concatenate([corner, corner + size], axis=1)
    free = overlaps(item, box, given.item, given.corners).best(len(item)) < 0.4
    return _Scene(item[free], box[free], given.label[model[free]])


def _learn(
    evidence: _Evidence, given: _Scene, first: _Look, n_items: int, rng: np.random.Generator, progress: Progress | None
) -> tuple[np.ndarray, np.ndarray]:
    """P(fault) of every given box (P, 4), column 0 empty, and P(missed object) of every lone prediction (C,)."""
    n_rounds = int(np.clip(np.ceil(WANTED / (DAMAGED * len(given.item))), 2, 50))
    x, y, gone = [first.given[:0]], [np.empty(0, np.int64)], [first.missed[:0]]
    for i in range(n_rounds):
        scene, fault, removed = _damage(given, n_items, evidence.n_classes, rng)
        look = evidence.look(scene)
        x.append(look.given[fault > 0])
        y.append(fault[fault > 0])
        gone.append(look.missed[np.isin(look.alone, first.partner[removed])])
        if progress:
            progress(i + 1, n_rounds)
    wrong = _posteriors(first.given, np.concatenate(x), np.concatenate(y), rng)
    lost = np.concatenate(gone)
    missed = _posteriors(first.missed, lost, np.zeros(len(lost), np.int64), rng)[:, 0]
    return wrong, missed


def _posteriors(x: np.ndarray, damaged: np.ndarray, fault: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """P(fault | evidence) (P, 4) of the rows x (P, F) as given, from damaged rows and the fault of each; at most SURE."""
    from sklearn.linear_model import LogisticRegression

    out = np.zeros((len(x), len(FAULTS)))
    if not len(x) or not len(damaged):
        return out
    as_given = rng.permutation(len(x))[:_ROWS]
    some = rng.permutation(len(damaged))[:_ROWS]
    rows_ = np.concatenate([x[as_given], damaged[some]])
    middle, scale = rows_.mean(axis=0), rows_.std(axis=0) + 1e-9
    which = np.r_[np.full(len(as_given), -1), fault[some]]
    model = LogisticRegression(max_iter=1000).fit(((rows_ - middle) / scale).clip(-10, 10), which)
    count = np.array([(which == k).sum() for k in model.classes_])

    def ratio(z: np.ndarray) -> np.ndarray:
        score = model.decision_function(((z - middle) / scale).clip(-10, 10))
        score = (
            np.stack([np.zeros_like(score), score], axis=1) if score.ndim == 1 else score
        )  # of two classes, one column
        score = score - np.log(count)
        return (score - score[:, :1]).clip(-12, 12)

    given_ratio, damaged_ratio = ratio(x), ratio(damaged)
    for column, k in enumerate(model.classes_[1:], start=1):
        own = given_ratio[:, column]
        share = _share(own, damaged_ratio[fault == k, column])
        out[:, k] = BELIEF[k] * np.minimum(share * np.exp(own), 1)
    return out * (SURE / np.maximum(out.sum(axis=1, keepdims=True), SURE))


def _share(ratio: np.ndarray, damaged: np.ndarray) -> float:
    """The share of a fault among the boxes as given, from log density ratios of those and of damaged boxes.

    Never below a tenth of the bound, so that the most suspicious boxes keep an order.
    """
    tops = np.array(TOPS)
    bound = ((ratio >= np.quantile(damaged, 1 - tops)[:, None]).sum(axis=1) + 1) / (len(ratio) * tops)
    at_zero = np.polyfit(tops, bound, 1, w=np.sqrt(tops))[1]  # fewer boxes, more noise
    return float(np.clip(at_zero, 0.1 * bound.min(), bound.min()))


# --------------------------------------------------------------------------------------------------------- the verb
def audit_boxes(
    given: Boxes,
    predicted: Boxes,
    *,
    items: Sequence[Any] | np.ndarray | None = None,
    n_items: int | None = None,
    iou: float = 0.5,
    random_state: int = 0,
    progress: Progress | None = None,
) -> PartAudit:
    """Which given boxes are probably wrong, and where an object has no box.

    Args:
        given: P boxes of people; a class of -1 is unknown.
        predicted: Q boxes of a detector that did not learn from these images, with scores in [0, 1], low ones (down to
            about 0.05) included; classes are mapped by name.
        items: N keys of the items; default their positions.
        n_items: N; default len(items), else the largest position + 1.
        iou: overlap from which two boxes are the same object, in [0.2, 0.9].
        random_state: seed of the damage.
        progress: called with (done, total) after every round of damage.

    Returns:
        `PartAudit` of "boxes". parts: the P given boxes in their order, then missed objects (box is null there); columns
        item, row, box, x1, y1, x2, y2, given, suggested (null = no object), corners (suggested, where the place is
        what should change), quality, problem, is_issue. A problem is named where flagged or more probable than not;
        "duplicate box" is a second box of a class on the same place. quality of an item: how probably none of its
        labels is wrong, tempered so that one strong suspicion outweighs many weak ones; 1 where nothing is given and
        nothing predicted.

    Raises:
        DataError, LabelError, ProbabilityError, OptionError: see the messages.

    >>> from labelwright.labels import LabelSpace
    >>> space = LabelSpace(["cat", "dog"])
    >>> corners = [[10 * i, 0, 10 * i + 8, 8] for i in range(60)]
    >>> predicted = Boxes.from_columns(np.arange(60), corners, np.arange(60) % 2, space, score=np.full(60, 0.9))
    >>> given = Boxes.from_columns(np.arange(59), corners[:59], np.r_[1, np.arange(1, 59) % 2], space)
    >>> audit_boxes(given, predicted, n_items=60).issues.select(["row", "given", "suggested", "problem"]).to_pylist()[:2]
    [{'row': 0, 'given': 'dog', 'suggested': 'cat', 'problem': 'wrong class'},
     {'row': 59, 'given': None, 'suggested': 'dog', 'problem': 'missed object'}]
    """
    items, label = _check(given, predicted, items, n_items, iou)
    marked = _Scene(given.item, given.corners.astype(np.float64), given.label)
    found = _Scene(predicted.item, predicted.corners.astype(np.float64), label)
    evidence = _Evidence(marked, found, predicted.score.astype(np.float64), len(given.space), iou)
    first = evidence.look(marked)
    wrong, missed = _learn(evidence, marked, first, len(items), np.random.default_rng(random_state), progress)
    copy = _copies(marked, wrong.sum(axis=1))
    wrong[copy] = 0.0
    error = np.where(copy, SURE, wrong.sum(axis=1))
    log_good = np.bincount(given.item, np.log1p(-(error**2)), minlength=len(items))
    log_good += np.bincount(found.item[first.alone], np.log1p(-((LEAN * missed) ** 2)), minlength=len(items))
    wrong[:, 2] *= evidence.likeliest(marked) >= 0  # a fault is named only where another class can be
    fault = np.where(copy, "duplicate box", np.array(FAULTS)[wrong[:, 1:].argmax(axis=1) + 1])
    fault = np.r_[fault, np.full(len(missed), FAULTS[0])]
    parts = _table(given, marked, evidence, first, np.r_[error, missed], items, fault)
    settings = {"iou": iou, "random_state": random_state, "n_predicted": len(predicted)}
    return PartAudit("boxes", items, np.exp(log_good), parts, _notes(given, predicted), settings, given.space)


def _check(
    given: Boxes, predicted: Boxes, items: Sequence[Any] | np.ndarray | None, n_items: int | None, iou: float
) -> tuple[np.ndarray, np.ndarray]:
    """The keys of the items, and the predicted classes as ids of the given space."""
    for name, boxes, what in (("given", given, "labels to audit"), ("predicted", predicted, "a detector's boxes")):
        if not isinstance(boxes, Boxes) or not len(boxes):
            raise DataError(
                found=f"no boxes in `{name}` ({type(boxes).__name__})",
                expected=what,
                fix=f"pass {name}=Boxes.from_columns(item, corners, label, space)",
            )
    if not 0.2 <= iou <= 0.9:
        raise OptionError(found=f"iou={iou!r}", expected="an overlap in [0.2, 0.9]", fix="pass for example iou=0.5")
    bad = np.flatnonzero(~((predicted.score >= 0) & (predicted.score <= 1)))
    if len(bad):
        raise ProbabilityError(
            found=f"{len(bad)} of {len(predicted)} predicted boxes with a score outside [0, 1] or NaN ({rows(bad)})",
            expected="scores that are probabilities",
            fix="pass the detector's confidences, 1 / (1 + exp(-logit)) of logits",
        )
    if n_items is not None:
        check_whole("n_items", n_items, 1)
    least = int(max(given.item.max(), predicted.item.max())) + 1
    n = n_items if n_items is not None else least if items is None else len(items)
    if items is not None and len(items) != n:
        raise DataError(
            found=f"{len(items)} items for n_items={n}", expected="one key per item", fix="pass one of the two, or mend"
        )
    if least > n:
        raise DataError(
            found=f"a box of item {least - 1} where there are {n} items",
            expected=f"items 0 to {n - 1}",
            fix="pass all items (or a larger n_items), or drop the boxes of other items",
        )
    return np.arange(n) if items is None else np.asarray(items), _mapped(given, predicted)


def _mapped(given: Boxes, predicted: Boxes) -> np.ndarray:
    if (predicted.label < 0).any():
        raise LabelError(
            found=f"{int((predicted.label < 0).sum())} predicted boxes without a class",
            expected="a class for every predicted box",
            fix="drop these boxes",
        )
    names = given.space.classes
    lost = [predicted.space.classes[k] for k in np.unique(predicted.label) if predicted.space.classes[k] not in names]
    if lost:
        raise LabelError(
            found=f"predicted boxes of the class {lost[0]!r}, which the given boxes do not know",
            expected=f"classes among {', '.join(map(repr, names[:8]))}",
            fix="drop the predictions of other classes, or rename the classes of the detector",
        )
    ids = [names.index(name) if name in names else -1 for name in predicted.space.classes]
    return np.array(ids)[predicted.label]


def _copies(marked: _Scene, error: np.ndarray) -> np.ndarray:
    """(P,) bool: another box of the class lies on the same place and is less suspicious (of equals the first stays)."""
    pairs = overlaps(marked.item, marked.corners, marked.item, marked.corners, least=COPY)
    a, b = pairs.a, pairs.b
    better = (error[b] < error[a]) | ((error[b] == error[a]) & (b < a))
    copy = np.zeros(len(marked.item), dtype=bool)
    copy[a[(a != b) & (marked.label[a] == marked.label[b]) & better]] = True
    return copy


def _table(
    given: Boxes,
    marked: _Scene,
    evidence: _Evidence,
    look: _Look,
    error: np.ndarray,
    items: np.ndarray,
    fault: np.ndarray,
) -> pa.Table:
    """`PartAudit.parts`, from P(wrong) (P + C,) and the name of the likeliest fault (P + C,) of boxes and suggestions."""
    import pyarrow as pa

    shown = np.flatnonzero((np.arange(len(error)) < len(given)) | (error >= SHOWN))
    lone = look.alone[shown[len(given) :] - len(given)]
    error, found = error[shown], evidence.predicted
    flag = expected_f1_cut(error)
    problem = np.where(flag | (error > 0.5), fault[shown], "").astype(str)
    other = evidence.likeliest(marked)
    want = np.where((given.label < 0) | (problem[: len(given)] == "wrong class"), other, given.label)
    want[np.isin(problem[: len(given)], ("spurious box", "duplicate box"))] = -1
    where = np.r_[np.where(problem[: len(given)] == "bad location", look.partner, -1), lone]
    box = np.concatenate([given.corners, found.corners[lone]]).astype(np.float32)
    names = np.array([*given.space.classes, None], dtype=object)
    kind = pa.int64() if isinstance(given.space.classes[0], int) else pa.string()
    row = np.r_[given.item, found.item[lone]]
    return pa.table(
        {
            "item": pa.array(items[row]),
            "row": row,
            "box": pa.array([*range(len(given)), *[None] * len(lone)], pa.int64()),
            **dict(zip(("x1", "y1", "x2", "y2"), box.T)),
            "given": pa.array(names[np.r_[given.label, np.full(len(lone), -1)]], kind),
            "suggested": pa.array(names[np.r_[want, found.label[lone]]], kind),
            "corners": pa.array([found.corners[i].tolist() if i >= 0 else None for i in where], pa.list_(pa.float32())),
            "quality": 1 - error,
            "problem": pa.array(problem),
            "is_issue": flag,
        }
    )


def _notes(given: Boxes, predicted: Boxes) -> list[str]:
    notes = []
    if len(given) < 200:
        notes.append(f"only {len(given)} given boxes: the probabilities are rough")
    if predicted.score.min() > 0.3:
        notes.append("no prediction with a score below 0.3: low-score boxes help to tell spurious from hard boxes")
    return notes
