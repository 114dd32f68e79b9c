"""Distillation of where each class is: its scores over all pixels of a picture, as a distribution over places."""

from __future__ import annotations

import torch
from torch import Tensor

from labelwright.errors import DataError, check_whole
from labelwright.learning.losses._rows import check_logits, entropy, reduced, soft_rows
from labelwright.learning.losses.soft import tempered


def channel_wise(
    logits: Tensor, teacher_logits: Tensor, *, temperature: float = 4.0, reduction: str = "mean"
) -> Tensor:
    """T^2 KL(teacher || student) of the softmax over the places of each class, the mean over the classes; no labels.

    What counts is where in the picture a class is likelier than elsewhere; a constant added to a whole class changes nothing.
    Every pixel counts, labelled or not.

    Args:
        logits, teacher_logits: (N, ..., K), the same places for both.   temperature: T of both.
        reduction: of the N pictures.

    Raises:
        DataError: other shapes, or no axis of places.

    Source: Shu et al. 2021 (channel-wise distillation).
    """
    check_logits(logits, teacher_logits)
    if logits.ndim < 3:
        raise DataError(
            found=f"logits of shape {tuple(logits.shape)}",
            expected="(N, places ..., K), such as (N, H, W, K)",
            fix="pass the logits of all pixels of each picture; for logits of items use `kd`",
        )
    ours, theirs = (tempered(z, temperature).flatten(1, -2).movedim(1, -1) for z in (logits, teacher_logits.detach()))
    target = theirs.softmax(-1)
    rows = (soft_rows(ours, target) - entropy(target)).mean(-1)
    return reduced(rows * temperature**2, None, reduction)


def draw_consistency(logits: Tensor, *, draws: int = 2, temperature: float = 4.0) -> Tensor:
    """Sum of `channel_wise` over the ordered pairs of draws of one batch, each time with the second one as the teacher.

    Args:
        logits: (draws * N, ..., K): the batch as the first draw shows it, then as the second does, and so on.

    Raises:
        DataError: a batch that cannot be cut into so many draws.   OptionError: fewer than two draws.

    Source: "Make a Strong Teacher with Label Assistance" (ECCV 2024).
    """
    check_whole("draws", draws, 2)
    if len(logits) % draws:
        raise DataError(
            found=f"{len(logits)} rows for {draws} draws",
            expected="a multiple of the draws",
            fix=f"show the batch {draws} times, with the view label_channel and draws={draws}",
        )
    parts = logits.chunk(draws)
    pairs = [channel_wise(a, b, temperature=temperature) for a in parts for b in parts if a is not b]
    return torch.stack(pairs).sum() if len(logits) else logits.sum()
