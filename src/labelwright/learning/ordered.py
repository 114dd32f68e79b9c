"""How far off predictions of ordered classes are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from labelwright.errors import DataError, LabelError, OptionError, check_whole

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def ordered_figures(
    predicted: ArrayLike,
    labels: ArrayLike,
    *,
    n_classes: int,
    ranks: Sequence[float] | None = None,
    weight: ArrayLike | None = None,
) -> dict[str, float]:
    """accuracy, mae, severity and kappa of predicted classes whose order counts.

    accuracy: share of right predictions, in [0, 1].   mae: mean distance of the ranks.
    severity: mean of (distance - least) / (most - least) over wrong predictions, 0 = all are neighbours, 1 = all confuse the
        ends; 0 where nothing is wrong or there are two classes. A model may lower it by being wrong more often and mildly, so
        read it beside the accuracy.
    kappa: quadratic weighted kappa, 1 = right, 0 = as chance has it; 0 where labels and predictions are one class.

    Args:
        predicted: class ids of any shape.   labels: the same, -1 = missing, not counted.
        ranks: (K,) strictly increasing places of the classes; None: 1 .. n_classes.
        weight: of each entry, at least 0; None: all count alike. The severity of weighted entries is their weighted mean.

    Raises:
        DataError: other shapes, or a negative weight.   LabelError: ids that are no class.   OptionError: ranks that do not rise.

    Source: mistake severity as in "Navigation-Oriented Scene Understanding" (RA-L 2022); Cohen 1968 (kappa).

    >>> ordered_figures([0, 1, 2, 0], [0, 1, 1, 2], n_classes=3)
    {'accuracy': 0.5, 'mae': 0.75, 'severity': 0.5, 'kappa': 0.0}
    """
    check_whole("n_classes", n_classes, 1)
    place = np.arange(1.0, n_classes + 1) if ranks is None else np.asarray(ranks, float)
    if place.shape != (n_classes,) or (np.diff(place) <= 0).any():
        raise OptionError(
            found=f"ranks={place.tolist()} for {n_classes} classes",
            expected="one rank per class, strictly increasing",
            fix="order the classes from lowest to highest, or leave ranks out",
        )
    table = _counts(np.asarray(predicted), np.asarray(labels), n_classes, weight)  # [true, predicted]
    n = table.sum()
    if not n:
        return {"accuracy": float("nan"), "mae": float("nan"), "severity": float("nan"), "kappa": float("nan")}
    apart = np.abs(place[:, None] - place)
    wrong = table * (apart > 0)
    least, most = (float(np.diff(place).min()), float(np.ptp(place))) if n_classes > 1 else (0.0, 0.0)
    far = (apart - least) / (most - least) if most > least else np.zeros_like(apart)
    by_chance = np.outer(table.sum(1), table.sum(0)) / n
    expected = (by_chance * apart**2).sum()
    return {
        "accuracy": float(1 - wrong.sum() / n),
        "mae": float((table * apart).sum() / n),
        "severity": float((wrong * far).sum() / wrong.sum()) if wrong.sum() else 0.0,
        "kappa": float(1 - (table * apart**2).sum() / expected) if expected else 0.0,
    }


def _counts(predicted: np.ndarray, labels: np.ndarray, n_classes: int, weight: ArrayLike | None) -> np.ndarray:
    """(K, K) float64, [true, predicted]: how much weight."""
    w = np.ones(labels.shape) if weight is None else np.asarray(weight, float)
    if predicted.shape != labels.shape or w.shape != labels.shape or (w.size and not w.min() >= 0):
        raise DataError(
            found=f"predicted {predicted.shape}, labels {labels.shape} and weight {w.shape}",
            expected="one shape, and weights of at least 0",
            fix="pass class ids, not probabilities: pred_probs.argmax(-1)",
        )
    known = labels != -1
    true, said = labels[known].astype(np.int64), predicted[known].astype(np.int64)
    for name, ids in (("labels", true), ("predicted", said)):
        if ids.size and (ids.min() < 0 or ids.max() >= n_classes):
            raise LabelError(
                found=f"{name} from {ids.min()} to {ids.max()}",
                expected=f"class ids 0 to {n_classes - 1}",
                fix="encode the classes in their order; -1 is for missing labels only",
            )
    flat = np.bincount(true * n_classes + said, w[known], minlength=n_classes**2)
    return np.asarray(flat.reshape(n_classes, n_classes))
