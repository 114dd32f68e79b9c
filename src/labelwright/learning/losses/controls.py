"""The losses a method must beat: label smoothing, focal loss, margin."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from labelwright.errors import OptionError
from labelwright.learning.losses._rows import (
    check_logits,
    check_share,
    distributions,
    hard_rows,
    is_hard,
    known_ids,
    log_probs,
    per_class_pairs,
    reduced,
    soft_rows,
    wide,
)


def label_smoothing(
    logits: Tensor,
    targets: Tensor,
    *,
    smoothing: float = 0.1,
    multi_label: bool = False,
    reduction: str = "mean",
    check: bool = True,
) -> Tensor:
    """Cross-entropy to (1 - smoothing) target + smoothing / K; with `multi_label` each class goes towards 1/2.

    Args:
        targets: hard ids, soft, or multi-label.   smoothing: share of the even label, in [0, 1].

    Source: Szegedy et al. 2016.
    """
    check_share("smoothing", smoothing)
    if multi_label:
        z, q, known = per_class_pairs(logits, targets, check)
        cells = -((q * (1 - smoothing) + smoothing / 2) * log_probs(z)).sum(-1)
        return reduced(cells.masked_fill(~known, 0.0).sum(-1), known.any(-1), reduction)
    if is_hard(logits, targets):
        z, k = wide(logits), logits.shape[-1]
        counted = known_ids(targets, k, check)
        flat = F.cross_entropy(
            z.reshape(-1, k), targets.reshape(-1).long(), ignore_index=-1, reduction="none", label_smoothing=smoothing
        )
        return reduced(flat.reshape(targets.shape), counted, reduction)
    q, counted = distributions(logits, targets, check)
    return reduced(soft_rows(wide(logits), q * (1 - smoothing) + smoothing / q.shape[-1], check), counted, reduction)


def focal(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: float = 2.0,
    class_weight: Tensor | None = None,
    multi_label: bool = False,
    reduction: str = "mean",
    check: bool = True,
) -> Tensor:
    """Cross-entropy whose terms shrink as they are learnt, -sum_k q_k (1 - p_k)^gamma log p_k.

    Args:
        targets: hard ids, soft, or multi-label (then it is the sigmoid form, summed over the classes).
        gamma: 0 is the cross-entropy.   class_weight: (K,) factor of each class.

    Source: Lin et al. 2017.
    """
    if not gamma >= 0:
        raise OptionError(found=f"gamma={gamma!r}", expected="0 or more", fix="pass gamma=2.0")
    if multi_label:
        z, q, known = per_class_pairs(logits, targets, check)
        cells = _focal_terms(z, q, gamma).sum(-1).masked_fill(~known, 0.0)
        return reduced(
            (cells if class_weight is None else cells * class_weight.to(cells)).sum(-1), known.any(-1), reduction
        )
    if is_hard(logits, targets):  # only p(y) matters
        counted = known_ids(targets, logits.shape[-1], check)
        rows = hard_rows(wide(logits), targets)
        rows = _unsure(-rows, gamma) * rows
        weight = 1.0 if class_weight is None else class_weight.to(rows)[targets.clamp_min(0).long()]
        return reduced(rows * weight, counted, reduction)
    q, counted = distributions(logits, targets, check)
    terms = _focal_terms(wide(logits), q, gamma)
    return reduced((terms if class_weight is None else terms * class_weight.to(terms)).sum(-1), counted, reduction)


def _focal_terms(logits: Tensor, q: Tensor, gamma: float) -> Tensor:
    log_p = log_probs(logits)
    return -q * _unsure(log_p, gamma) * log_p


def _unsure(log_p: Tensor, gamma: float) -> Tensor | float:
    """(1 - p)^gamma; where gamma is below 1, 1 - p is held above 0, as the power has no slope there."""
    if gamma == 0:
        return 1.0
    rest = 1 - log_p.exp()
    return rest**gamma if gamma >= 1 else rest.clamp_min(torch.finfo(rest.dtype).eps) ** gamma


def margin(
    logits: Tensor,
    targets: Tensor,
    *,
    margin: float | Tensor = 1.0,
    reduction: str = "mean",
    check: bool = True,
) -> Tensor:
    """Hinge on the lead of the target over the best other class, max(0, margin - (z_y - max_{j != y} z_j)).

    Args:
        logits: (..., K) with K >= 2.
        targets: hard ids, or soft (the hinge of each class, weighted by its probability).
        margin: one number, or (K,) of the target's class.

    Source: Crammer & Singer 2001; margins per class as in Cao et al. 2019.
    """
    check_logits(logits, least=2)
    z = wide(logits)
    wanted = torch.as_tensor(margin, dtype=z.dtype, device=z.device).expand(z.shape[-1])
    if is_hard(logits, targets):
        counted, y = known_ids(targets, z.shape[-1], check), targets.clamp_min(0).long()[..., None]
        rival = z.scatter(-1, y, torch.finfo(z.dtype).min).max(-1).values
        return reduced((wanted[y[..., 0]] - z.gather(-1, y)[..., 0] + rival).clamp_min(0.0), counted, reduction)
    q, counted = distributions(logits, targets, check)
    best, first = z.topk(2, -1)
    rival = best[..., :1].expand_as(z).scatter(-1, first[..., :1], best[..., 1:])  # the best class other than k
    return reduced((q * (wanted - (z - rival)).clamp_min(0.0)).sum(-1), counted, reduction)
