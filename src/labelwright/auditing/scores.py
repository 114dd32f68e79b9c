"""How plausible each given label is, in [0, 1]; low is suspicious."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from labelwright.auditing._extremes import RowExtremes, row_extremes
from labelwright.auditing.thresholds import class_thresholds, refuse_nan, row_blocks
from labelwright.errors import LabelError, OptionError, check_option
from labelwright.labels import PredProbs, as_matrix

_TINY = float(np.finfo(np.float64).tiny)
_TEMPERATURES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 200.0)


def _self_confidence(p: np.ndarray, own: np.ndarray, given: np.ndarray) -> np.ndarray:
    return own


def _normalized_margin(p: np.ndarray, own: np.ndarray, given: np.ndarray) -> np.ndarray:
    rest = p.copy()
    rest[np.arange(len(p)), given] = -np.inf
    return (own - rest.max(1) + 1) / 2


def _confidence_weighted_entropy(p: np.ndarray, own: np.ndarray, given: np.ndarray) -> np.ndarray:
    return weigh_entropy(row_entropy(p, p, np.empty_like(p)), own, p.shape[1])  # p is not needed again


def row_entropy(p: np.ndarray, scratch: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """Entropy of each row in nats, (n,).   p: (n, K) floats.   scratch, logs: (n, K) float64, overwritten."""
    np.maximum(p, _TINY, out=scratch, dtype=np.float64)  # 0 log 0 is 0, and a sum in which 1e-305 is not seen
    np.log(scratch, out=logs)
    np.multiply(logs, scratch, out=logs)
    return -logs.sum(1)


def weigh_entropy(entropy: np.ndarray, own: np.ndarray, n_classes: int) -> np.ndarray:
    """The score "confidence_weighted_entropy" from the entropy of the row and the probability of its label."""
    # log(1 + z) / z with z = (H / log K) / own, in its limits: own -> 0 gives z -> inf and score 0, and z -> 0 gives 1.
    # Clipping own and z at 1e-6 instead, as is common, scores [1, 0] given as 0 with 0 and [1e-9, 1] given as 0 with
    # 0.98.
    z = np.maximum(entropy, 0.0) / np.log(n_classes) / np.where(own > 0, own, 1.0)
    score = np.where(z > 0, np.log1p(z) / np.where(z > 0, z, 1.0), 1.0)
    return np.where(own > 0, score, 0.0)


_SCORES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "self_confidence": _self_confidence,
    "normalized_margin": _normalized_margin,
    "confidence_weighted_entropy": _confidence_weighted_entropy,
}
SCORES = tuple(_SCORES)


def label_quality(
    labels: np.ndarray, pred_probs: PredProbs, *, score: str = "self_confidence", adjust: bool = False
) -> np.ndarray:
    """Score every given label; one pass, two with `adjust`.

    Args:
        labels: (N,) int, 0..K-1, -1 = missing.
        pred_probs: (N, K) float16/32/64, up-cast block by block, or top-k rows; rows sum to 1, out of sample.
        score: "self_confidence": P[given]. "normalized_margin": (P[given] - largest other + 1) / 2.
            "confidence_weighted_entropy": log(1 + z) / z with z = normalised entropy / P[given].
        adjust: first move each class by its threshold, P - t + max(t), and renormalise: for models whose confidence
            differs between classes. Off by default: it hurt on CIFAR-10 (AUROC 0.73 against 0.85).

    Returns:
        (N,) float64 in [0, 1], NaN where the label is missing.

    Raises:
        OptionError: an unknown score, or `adjust` with "confidence_weighted_entropy".
        ProbabilityError: NaN or infinite probabilities.

    Source: Northcutt et al. 2021; Kuan & Mueller 2022, "Model-agnostic label quality scoring".

    >>> label_quality(np.array([0, 0]), np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]]), score="normalized_margin")
    array([0.75, 0.2 ])
    """
    check_option("score", score, SCORES)
    if adjust and score == "confidence_weighted_entropy":
        raise OptionError(
            found="adjust=True with score='confidence_weighted_entropy'",
            expected="it with 'self_confidence' or 'normalized_margin'",
            fix="drop adjust, or choose one of these scores",
        )
    matrix = as_matrix(pred_probs)
    shift = None
    if adjust:
        thresholds = class_thresholds(labels, matrix)
        shift = thresholds.max() - thresholds
    if shift is None and score == "self_confidence":
        return _clipped_own(labels, matrix)
    if shift is None and score == "normalized_margin" and matrix.shape[1] > 1:
        return normalized_margin(row_extremes(labels, matrix))
    quality = np.full(len(labels), np.nan)
    for block in row_blocks(*matrix.shape):
        seen = np.flatnonzero(labels[block] >= 0)
        given = labels[block][seen]
        p = matrix[block][seen].astype(np.float64)
        if shift is not None:
            p += shift
            p /= p.sum(1, keepdims=True)
        values = _SCORES[score](p, p[np.arange(len(p)), given], given)
        refuse_nan(values)
        quality[block.start + seen] = np.clip(values, 0.0, 1.0)
    return quality


def _clipped_own(labels: np.ndarray, pred_probs: np.ndarray) -> np.ndarray:
    quality = np.full(len(labels), np.nan)
    for block in row_blocks(len(labels), 1):
        seen = block.start + np.flatnonzero(labels[block] >= 0)
        own = pred_probs[seen, labels[seen]].astype(np.float64)
        refuse_nan(own)
        quality[seen] = np.clip(own, 0.0, 1.0)
    return quality


def self_confidence(extremes: RowExtremes, *, spend: bool = False) -> np.ndarray:
    """The score of that name from the extremes of the rows, (N,) in their type. `spend` overwrites `extremes.own`."""
    return np.clip(extremes.own, 0.0, 1.0, out=extremes.own if spend else None)


def normalized_margin(extremes: RowExtremes, *, spend: bool = False) -> np.ndarray:
    """The score of that name from the extremes of the rows, (N,) float64. `spend` may overwrite `extremes.other`."""
    in_place = spend and extremes.other.dtype == np.float64
    margin = extremes.other if in_place else np.empty(len(extremes.other))
    np.subtract(extremes.own, extremes.other, out=margin, dtype=np.float64)
    margin += 1
    margin /= 2
    return np.clip(margin, 0.0, 1.0, out=margin)


def ensemble_quality(
    labels: np.ndarray,
    pred_probs: Sequence[PredProbs],
    *,
    weights: str | np.ndarray = "accuracy",
    score: str = "self_confidence",
    adjust: bool = False,
) -> np.ndarray:
    """Weighted mean of the label quality under M models.

    Args:
        labels: (N,) int, 0..K-1, -1 = missing.
        pred_probs: M of them, (N, K) arrays or top-k rows, out of sample.
        weights: "accuracy": agreement with the given labels. "log_loss": exp(-T * log loss), T from 1e-4 to 200 chosen
            for the lowest log loss of the weighted mean prediction. Or (M,) non-negative numbers, scaled to sum 1.
        score, adjust: as in `label_quality`.

    Returns:
        (N,) float64 in [0, 1], NaN where the label is missing.

    Raises:
        LabelError: no label or no model at all. OptionError: unknown or impossible weights.

    >>> p = np.array([[0.8, 0.2], [0.4, 0.6]])
    >>> ensemble_quality(np.array([0, 1]), [p, 1 - p], weights=np.array([3.0, 1.0]))
    array([0.65, 0.55])
    """
    seen = np.flatnonzero(labels >= 0)
    if len(seen) == 0 or len(pred_probs) == 0:
        raise LabelError(
            found=f"{len(seen)} labelled items and {len(pred_probs)} models",
            expected="at least one of each",
            fix="pass a list of (N, K) pred_probs and labels that are not all missing",
        )
    share = ensemble_weights(labels, pred_probs, weights)
    total = np.zeros(len(labels))
    for weight, p in zip(share, pred_probs):
        total += weight * label_quality(labels, p, score=score, adjust=adjust)
    return total


def ensemble_weights(
    labels: np.ndarray, pred_probs: Sequence[PredProbs], weights: str | np.ndarray = "accuracy"
) -> np.ndarray:
    """(M,) weights that sum to 1, see `ensemble_quality`."""
    models = [as_matrix(p) for p in pred_probs]
    if isinstance(weights, str):
        check_option("weights", weights, ("accuracy", "log_loss"))
        raw = _accuracy(labels, models) if weights == "accuracy" else _log_loss_weights(labels, models)
    else:
        raw = np.asarray(weights, np.float64)
        if raw.shape != (len(pred_probs),) or not np.isfinite(raw).all() or (raw < 0).any() or raw.sum() == 0:
            raise OptionError(
                found=f"weights={raw.tolist()}",
                expected=f"{len(pred_probs)} non-negative numbers, one per model, not all 0",
                fix="pass one weight per array of pred_probs",
            )
    return raw / raw.sum() if raw.sum() > 0 else np.full(len(raw), 1 / len(raw))


def _accuracy(labels: np.ndarray, pred_probs: Sequence[np.ndarray]) -> np.ndarray:
    hits = np.zeros(len(pred_probs))
    for m, p in enumerate(pred_probs):
        for block in row_blocks(*p.shape):
            hits[m] += ((p[block].argmax(1) == labels[block]) & (labels[block] >= 0)).sum()
    return hits / (labels >= 0).sum()


def _log_loss_weights(labels: np.ndarray, pred_probs: Sequence[np.ndarray]) -> np.ndarray:
    seen = np.flatnonzero(labels >= 0)
    own = np.stack([p[seen, labels[seen]].astype(np.float64) for p in pred_probs])  # (M, N)
    own = np.maximum(own, 1e-6)  # one item at 0 must not decide
    loss = -np.log(own).mean(1)
    best, best_loss = np.ones(len(own)), np.inf
    for temperature in _TEMPERATURES:
        weight = np.exp(-temperature * (loss - loss.min()))  # less the minimum: the same shares, no underflow of all
        mixed = (weight / weight.sum()) @ own
        mixed_loss = -np.log(mixed).mean()
        if mixed_loss < best_loss:
            best, best_loss = weight, mixed_loss
    return best
