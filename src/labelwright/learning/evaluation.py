"""`evaluate`: how good a model is on labelled items, and how far that can be told from so many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from labelwright.errors import DataError, LabelError
from labelwright.labels import HardLabels, LabelSpace, SoftLabels

if TYPE_CHECKING:
    import pyarrow as pa

    from labelwright.learning.model import TrainedModel

BINS = 15
_BLOCK = 1 << 24  # weights of resamples held at a time


class Figure(NamedTuple):
    """A number with its interval: value, low, high."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluate` found.

    figures: accuracy, macro_f1, nll (nats) and ece, and people_nll against soft labels, each with its interval; of several
        classes per item: map, micro_f1, nll.
    classes: table of class, items, precision, recall, f1.   confusion: (K, K) [true, predicted] counts, None for several classes.
    n: labelled items.   level: of the intervals.   space: the classes.
    """

    figures: dict[str, Figure]
    classes: pa.Table
    confusion: np.ndarray | None
    n: int
    level: float
    space: LabelSpace

    def summary(self) -> dict[str, Any]:
        """Plain values: every figure as {value, low, high}, and the number of items."""
        return {
            "items": self.n,
            "level": self.level,
            "figures": {name: figure._asdict() for name, figure in self.figures.items()},
            "classes": self.classes.to_pylist(),
        }


def evaluate(
    model: TrainedModel | Any,
    inputs: Any,
    labels: Any,
    *,
    level: float = 0.95,
    n_resamples: int = 1000,
    random_state: int = 0,
) -> Evaluation:
    """Accuracy, log loss and calibration of a model, with intervals from resampled items.

    Args:
        model: a `TrainedModel`, or (N, K) probabilities in its place; then `inputs` is the `LabelSpace` or None.
        inputs: what the model takes.
        labels: `HardLabels`, (N,) class ids with -1 = missing, (N, K) soft labels or `SoftLabels`; of several classes per
            item (N, K) with -1 = unknown.
        level: of the intervals (percentiles of the bootstrap over items).

    An interval tells what other items of the same kind would say. It knows nothing of labels that are wrong: audit the test
    labels first.

    Raises:
        LabelError: labels of other items or classes.   DataError: no labelled item.
    """
    multi, space, p = _answers(model, inputs)
    if multi:
        return _several(p, np.asarray(labels), space, level, n_resamples, random_state)
    if isinstance(labels, HardLabels):
        labels = labels.ids
    soft = labels.dense() if isinstance(labels, SoftLabels) else np.asarray(labels) if np.ndim(labels) == 2 else None
    ids = _ids(labels, soft)
    if len(ids) != len(p) or (soft is not None and soft.shape[1] != p.shape[1]) or ids.max(initial=-1) >= p.shape[1]:
        raise LabelError(
            found=f"labels of shape {np.shape(labels)} up to class {ids.max(initial=-1)} for probabilities {p.shape}",
            expected="a label for each item, in the model's classes",
            fix="match labels and items, and map the classes by name",
        )
    known = np.flatnonzero(ids >= 0)
    if not len(known):
        raise DataError(found="no labelled item", expected="at least one", fix="pass items with labels")
    p, ids = p[known], ids[known]
    k, top = p.shape[1], p.argmax(1)
    loss = -np.log(np.maximum(p[np.arange(len(p)), ids], 1e-12))
    measures: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "accuracy": _mean(top == ids),
        "macro_f1": lambda w: _macro_f1(w, ids, top, k),
        "nll": _mean(loss),
        "ece": _calibration(p.max(1), top == ids),
    }
    if soft is not None:
        measures["people_nll"] = _mean(-(soft[known] * np.log(np.maximum(p, 1e-12))).sum(1))
    figures = resampled(measures, len(p), level, n_resamples, random_state)
    confusion = np.bincount(ids * k + top, minlength=k * k).reshape(k, k)
    return Evaluation(figures, _class_table(confusion, space), confusion, len(p), level, space)


def resampled(
    measures: dict[str, Callable[[np.ndarray], np.ndarray]], n: int, level: float, n_resamples: int, random_state: int
) -> dict[str, Figure]:
    """Each measure on the items, and between the percentiles of resamples.

    measures: weights (R, N), how often each item is drawn -> (R,) values.
    """
    rng = np.random.default_rng(random_state)
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in measures}
    size = max(1, min(n_resamples, _BLOCK // n))
    for start in range(0, n_resamples, size):
        rows = min(size, n_resamples - start)
        weights = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(rows)]).astype(np.float64)
        for name, measure in measures.items():
            drawn[name].append(measure(weights))
    tail = 50 * (1 - level)
    out = {}
    for name, measure in measures.items():
        low, high = np.percentile(np.concatenate(drawn[name]), [tail, 100 - tail])
        out[name] = Figure(float(measure(np.ones((1, n)))[0]), float(low), float(high))
    return out


def _answers(model: Any, inputs: Any) -> tuple[bool, LabelSpace, np.ndarray]:
    if hasattr(model, "predict_proba"):
        return bool(model.multi_label), model.space, model.predict_proba(inputs)
    p = np.asarray(model, np.float64)
    return False, inputs if isinstance(inputs, LabelSpace) else LabelSpace(range(p.shape[1])), p


def _ids(labels: Any, soft: np.ndarray | None) -> np.ndarray:
    if isinstance(labels, SoftLabels):
        return np.where(labels.known, labels.dense().argmax(1), -1)
    if soft is not None:
        return np.where(np.nan_to_num(soft).sum(1) > 0, np.nan_to_num(soft).argmax(1), -1)
    return np.asarray(labels, np.int64)


def _mean(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    numbers = np.asarray(values, np.float64)
    return lambda w: np.asarray(w @ numbers / w.sum(1))


def _calibration(confidence: np.ndarray, right: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Expected calibration error over bins of equal width (Guo et al. 2017)."""
    which = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gap = np.zeros((len(which), BINS))
    gap[np.arange(len(which)), which] = confidence - right
    return lambda w: np.asarray(np.abs(w @ gap).sum(1) / w.sum(1))


def _macro_f1(w: np.ndarray, ids: np.ndarray, top: np.ndarray, k: int) -> np.ndarray:
    """Mean F1 of the classes that have items."""
    out = np.empty(len(w))
    for r, row in enumerate(w):
        hit = np.bincount(ids, row * (ids == top), k)
        there, said = np.bincount(ids, row, k), np.bincount(top, row, k)
        f1 = np.divide(2 * hit, there + said, out=np.zeros(k), where=there + said > 0)
        out[r] = f1[there > 0].mean()
    return out


def _class_table(confusion: np.ndarray, space: LabelSpace) -> pa.Table:
    import pyarrow as pa

    hit, there, said = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    with np.errstate(invalid="ignore"):
        precision, recall, f1 = hit / said, hit / there, 2 * hit / (there + said)
    names = [str(c) for c in space.classes]
    return pa.table({"class": names, "items": there, "precision": precision, "recall": recall, "f1": f1})


def _several(
    p: np.ndarray, y: np.ndarray, space: LabelSpace, level: float, n_resamples: int, random_state: int
) -> Evaluation:
    """Several classes per item."""
    import pyarrow as pa
    from sklearn.metrics import average_precision_score

    if y.shape != p.shape:
        raise LabelError(
            found=f"labels of shape {y.shape} for probabilities {p.shape}",
            expected="(N, K), -1 = unknown",
            fix="write one row per item",
        )
    known, present = y >= 0, y == 1
    if not known.any():
        raise DataError(found="no known entry", expected="at least one", fix="pass items with labels")
    said = p > 0.5
    terms = np.where(known, -np.where(present, np.log(np.maximum(p, 1e-12)), np.log(np.maximum(1 - p, 1e-12))), 0)
    hit, there, called = ((known & a).sum(1) for a in (present & said, present, said))
    measures = {
        "micro_f1": lambda w: 2 * (w @ hit) / np.maximum(w @ there + w @ called, 1),
        "nll": lambda w: (w @ terms.sum(1)) / (w @ known.sum(1)),
    }
    figures = resampled(measures, len(p), level, n_resamples, random_state)
    rows, found = [], []
    for c, name in enumerate(space.classes):
        k = known[:, c]
        n, h, s = (
            int((present & known)[:, c].sum()),
            int((present & said & known)[:, c].sum()),
            int((said & known)[:, c].sum()),
        )
        ap = float(average_precision_score(present[k, c], p[k, c])) if n else float("nan")
        found += [ap] if n else []
        rows.append({"class": str(name), "items": n, "precision": h / s if s else None, "recall": h / n if n else None,
                     "f1": 2 * h / (n + s) if n + s else None, "average_precision": ap})  # fmt: skip
    mean = float(np.mean(found)) if found else float("nan")
    figures = {"map": Figure(mean, float("nan"), float("nan"))} | figures
    return Evaluation(figures, pa.Table.from_pylist(rows), None, int(known.any(1).sum()), level, space)
