"""How good a student is on labelled data: log loss, accuracy and calibration, without a gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from labelwright.learning.data import TrainData
    from labelwright.learning.run import Run

LOOK_BATCH = 512  # items


def answers(run: Run, data: TrainData) -> tuple[Tensor, Tensor]:
    """(logits, labels) of all items, on the processor."""
    run.train_mode(False)
    logits, labels = [], []
    own, run.data = run.data, data
    try:
        with torch.no_grad(), run.accelerator.autocast():
            for start in range(0, len(data), LOOK_BATCH):
                context = run.context(np.arange(start, min(start + LOOK_BATCH, len(data))))
                run.networks(context)
                logits.append(context["logits"].float().cpu())
                labels.append(context["labels"].cpu())
    finally:
        run.data = own
        run.train_mode(True)
    return torch.cat(logits), torch.cat(labels)


def look(run: Run, data: TrainData) -> dict[str, float]:
    """nll, accuracy and ece of hard and soft labels; nll and map of several classes per item.

    nll of soft labels is the cross-entropy to them; accuracy compares the likeliest classes.
    """
    logits, labels = answers(run, data)
    return figures(logits, labels, multi_label=data.multi_label)


def figures(logits: Tensor, labels: Tensor, *, multi_label: bool = False) -> dict[str, float]:
    """The same from logits (N, ..., K) and labels.

    >>> figures(torch.tensor([[9.0, 0.0], [0.0, 9.0]]), torch.tensor([0, 0]))["accuracy"]
    0.5
    """
    from labelwright.learning.losses import soft_cross_entropy

    if multi_label:
        return {
            "nll": float(soft_cross_entropy(logits, labels, multi_label=True)),
            "map": mean_average_precision(logits, labels),
        }
    loss = soft_cross_entropy(logits, labels)
    if labels.is_floating_point():
        known, truth = labels.sum(-1) > 0, labels.argmax(-1)
    else:
        known, truth = labels >= 0, labels
    p = logits[known].softmax(-1)
    sure, top = p.max(-1)
    right = (top == truth[known]).double()
    return {
        "nll": float(loss),
        "accuracy": float(right.mean()),
        "ece": expected_calibration_error(sure.numpy(), right.numpy()),
    }


def expected_calibration_error(confidence: Any, right: Any, bins: int = 15) -> float:
    """Mean gap of confidence and accuracy over bins of equal width, weighed by their items (Guo et al. 2017).

    >>> round(expected_calibration_error([0.9, 0.9], [1, 0]), 3)
    0.4
    """
    confidence, right = np.asarray(confidence, float), np.asarray(right, float)
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    n = np.bincount(which, minlength=bins)
    gap = np.abs(np.bincount(which, confidence, bins) - np.bincount(which, right, bins))
    return float(gap[n > 0].sum() / max(len(right), 1))


def mean_average_precision(logits: Tensor, labels: Tensor) -> float:
    """Mean over classes of the average precision, of entries that are known; classes without a present item are left out."""
    from sklearn.metrics import average_precision_score

    found = []
    for k in range(labels.shape[1]):
        known = labels[:, k] >= 0
        y = (labels[known, k] > 0.5).numpy()
        if y.any():
            found.append(float(average_precision_score(y, logits[known, k].numpy())))
    return float(np.mean(found)) if found else float("nan")
