"""How good a student is on labelled data: log loss, accuracy and calibration, without a gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    from labelwright.features.calibration import expected_calibration_error
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
    p = logits[known].softmax(-1).reshape(-1, logits.shape[-1]).numpy()
    ids = truth[known].reshape(-1).numpy()
    return {
        "nll": float(loss),
        "accuracy": float((p.argmax(1) == ids).mean()) if len(p) else float("nan"),
        "ece": expected_calibration_error(p, ids) if len(p) else float("nan"),
    }


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
