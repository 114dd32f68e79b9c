"""Probabilities that mean what they say: temperature and vector scaling, fitted on folds that leave the item out."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from labelwright.errors import LabelError, check_option, check_whole
from labelwright.features.folds import fold_ids
from labelwright.labels import PredProbs, as_matrix
from labelwright.labels.check import check_class_ids, check_pred_probs

METHODS = ("temperature", "vector")
FIT_ROWS = 50_000  # K + 1 numbers are known well enough from these
FLOOR = 1e-12  # below this a probability is a rounding error


class Scaling(NamedTuple):
    """p' = softmax(log p / temperature + bias)."""

    temperature: float
    bias: np.ndarray  # (K,)

    def __call__(self, pred_probs: np.ndarray) -> np.ndarray:
        """(N, K) float32."""
        score = _log(pred_probs) / self.temperature + self.bias
        score -= score.max(axis=1, keepdims=True)
        p = np.exp(score)
        return np.asarray(p / p.sum(axis=1, keepdims=True), np.float32)


def calibrate(
    pred_probs: PredProbs,
    labels: np.ndarray,
    *,
    method: str = "temperature",
    folds: np.ndarray | None = None,
    n_folds: int = 5,
    random_state: int = 0,
) -> np.ndarray:
    """`pred_probs` scaled to the given labels; the scaling of an item is fitted on the labels of the other folds only.

    (The predictions of those other folds come from models that saw the item's label; through one temperature for
    thousands of items that is far below the noise, and only nested cross-validation would remove it.)

    Args:
        pred_probs: (N, K) out-of-sample probabilities, or top-k rows.
        labels: (N,) class ids, -1 = missing: scaled like the rest, not fitted on.
        method: "temperature" (one number; keeps the order of classes) or "vector" (and a bias per class).
        folds: (N,) fold of each item, -1 = in none; None deals `n_folds` stratified folds with seed `random_state`.

    Returns:
        (N, K) float32, rows sum to 1.

    Raises:
        ProbabilityError, LabelError, OptionError.

    Source: Guo et al. 2017, section 4.2 (here with a Gaussian prior on log temperature and bias, worth one
    observation).
    """
    check_option("method", method, METHODS)
    p = check_pred_probs(pred_probs)
    labels = check_class_ids(labels, p.shape[1], n_items=len(p))
    if folds is None:
        folds = fold_ids(labels, n_folds=n_folds, random_state=random_state)
    elif np.shape(folds) != labels.shape:
        raise LabelError(
            found=f"`folds` of shape {np.shape(folds)}", expected=f"{labels.shape}", fix="pass one fold id per item"
        )
    out = np.empty(p.shape, np.float32)
    for f in np.unique(folds):
        scaling = fit_scaling(p, np.where(folds == f, -1, labels) if f >= 0 else labels, method=method)
        held = np.flatnonzero(folds == f)
        step = max(1, 2**20 // p.shape[1])
        for s in range(0, len(held), step):
            out[held[s : s + step]] = scaling(p[held[s : s + step]])
    return out


def fit_scaling(pred_probs: PredProbs, labels: np.ndarray, *, method: str = "temperature") -> Scaling:
    """The `Scaling` of least penalised log-loss on the labelled items (on FIT_ROWS of them at most)."""
    from scipy.optimize import minimize

    check_option("method", method, METHODS)
    matrix = as_matrix(pred_probs)
    known = np.flatnonzero(labels >= 0)
    known = known[:: -(-len(known) // FIT_ROWS)] if len(known) else known
    n, k = len(known), matrix.shape[1]
    logp, y, here = _log(matrix[known]), labels[known], np.arange(n)
    free = method == "vector"

    def loss(v: np.ndarray) -> tuple[float, np.ndarray]:
        beta = np.exp(v[0])  # 1 / temperature
        score = beta * logp + v[1:] if free else beta * logp
        score -= score.max(axis=1, keepdims=True)
        p = np.exp(score)
        total = p.sum(axis=1)
        nll = np.log(total).sum() - score[here, y].sum() + 0.5 * v @ v
        p /= total[:, None]
        p[here, y] -= 1.0
        return float(nll), v + np.concatenate([[beta * np.vdot(p, logp)], p.sum(axis=0) if free else []])

    start = np.zeros(1 + k * free)
    bounds = [(-4.0, 4.0)] + [(None, None)] * (k * free)
    v = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x if n else start
    return Scaling(float(np.exp(-v[0])), v[1:] if free else np.zeros(k))


def expected_calibration_error(pred_probs: PredProbs, labels: np.ndarray, *, n_bins: int = 15) -> float:
    """Mean gap between top probability and accuracy over `n_bins` equal bins, weighted by items; 0 is calibrated.

    Source: Guo et al. 2017, eq. 3.

    >>> expected_calibration_error(np.array([[0.75, 0.25]] * 4), np.array([0, 0, 0, 1]))
    0.0
    """
    p = check_pred_probs(pred_probs)
    labels = check_class_ids(labels, p.shape[1], n_items=len(p))
    known = np.flatnonzero(labels >= 0)
    if len(known) == 0:
        raise LabelError(found="no labelled item", expected="labels to compare with", fix="pass at least one label")
    bins = CalibrationBins(n_bins)
    step = max(1, 2**20 // p.shape[1])
    for s in range(0, len(known), step):
        part = known[s : s + step]
        bins.update((labels[part], p[part]))
    return bins.result().error


class Calibration(NamedTuple):
    """Bins of equal width of the top probability, (B,) each: items, how many were right, and the sum of the probabilities.
    error: the expected calibration error."""

    items: np.ndarray
    right: np.ndarray
    claimed: np.ndarray

    @property
    def error(self) -> float:
        """Mean gap between claim and accuracy, weighted by items; NaN without any."""
        total = self.items.sum()
        return float(np.abs(self.claimed - self.right).sum() / total) if total else float("nan")


class CalibrationBins:
    """Mergeable statistic behind `expected_calibration_error` and a reliability diagram; a chunk is `(labels, pred_probs)`.

    Counts are whole numbers; the sums of probabilities depend on the cut in the last digits only.

    >>> from labelwright.stream import run
    >>> labels, p = np.array([0, 0, 0, 1]), np.array([[0.75, 0.25]] * 4)
    >>> run(CalibrationBins, (labels, p)).error
    0.0
    """

    def __init__(self, n_bins: int = 15):
        check_whole("n_bins", n_bins, 1)
        self.count, self.right, self.claimed = np.zeros(n_bins, np.int64), np.zeros(n_bins, np.int64), np.zeros(n_bins)

    def update(self, chunk: tuple[np.ndarray, Any]) -> None:
        labels, p = chunk
        known = np.flatnonzero(labels >= 0)
        rows = as_matrix(p)[known]
        top = rows.max(axis=1).astype(np.float64) if len(rows) else np.zeros(0)
        n = len(self.count)
        at = np.minimum((top * n).astype(np.int64), n - 1)
        self.count += np.bincount(at, minlength=n)
        self.right += np.bincount(at[rows.argmax(axis=1) == labels[known]], minlength=n)
        self.claimed += np.bincount(at, top, n)

    def merge(self, other: CalibrationBins) -> None:
        self.count += other.count
        self.right += other.right
        self.claimed += other.claimed

    def result(self) -> Calibration:
        return Calibration(self.count, self.right, self.claimed)

    def state(self) -> dict[str, np.ndarray]:
        return {"count": self.count, "right": self.right, "claimed": self.claimed}

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray]) -> CalibrationBins:
        self = cls(len(state["count"]))
        self.count, self.right, self.claimed = (state[name].copy() for name in ("count", "right", "claimed"))
        return self


def _log(pred_probs: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(pred_probs.astype(np.float64), FLOOR))
