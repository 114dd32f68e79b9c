"""The losses a method must beat: label smoothing, focal loss, margin."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from labelwright.errors import OptionError
from labelwright.learning.losses._blocks import by_blocks, cross_step, dot, largest, softmaxes, through_log_softmax
from labelwright.learning.losses._rows import (
    Mass,
    check_logits,
    check_share,
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
            z if z.ndim == 2 else z.reshape(-1, k),
            targets.reshape(-1).long(),
            ignore_index=-1,
            reduction="none",
            label_smoothing=smoothing,
        )
        return reduced(flat.reshape(targets.shape), counted, reduction)
    mass = Mass(targets, check)
    rows = by_blocks(_smooth, _smooth_step, logits, targets, see=mass.see, share=smoothing, check=check)
    return reduced(rows, mass.known(), reduction)


def _smooth(logits: Tensor, q: Tensor, share: float, check: bool) -> Tensor:
    return soft_rows(logits, q.to(logits.dtype) * (1 - share) + share / q.shape[-1], check)


def _smooth_step(logits: Tensor, q: Tensor, share: float, check: bool, into: Tensor) -> Tensor:
    return cross_step(logits, (q.to(logits.dtype) * (1 - share)).add_(share / q.shape[-1]), into)


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
        if class_weight is not None:
            rows = rows * class_weight.to(rows)[targets.clamp_min(0).long()]
        return reduced(rows, counted, reduction)
    mass = Mass(targets, check)
    factor = None if class_weight is None else class_weight.to(wide(logits[:0]))
    rows = by_blocks(_focal, _focal_step, logits, targets, held=factor, see=mass.see, weight=factor, gamma=gamma)
    return reduced(rows, mass.known(), reduction)


def _focal(logits: Tensor, targets: Tensor, weight: Tensor | None, gamma: float) -> Tensor:
    terms = _focal_terms(logits, targets.to(logits.dtype), gamma)
    return (terms if weight is None else terms * weight).sum(-1)


def _focal_step(logits: Tensor, targets: Tensor, weight: Tensor | None, gamma: float, into: Tensor) -> Tensor:
    p, log_p = softmaxes(logits)
    q = targets.to(p.dtype) if weight is None else targets.to(p.dtype) * weight
    log_p.clamp_min_(torch.finfo(p.dtype).min)
    if gamma == 0:
        through_log_softmax(log_p, q, into).neg_()
        return -dot(q, log_p)
    rest, least = 1 - p, torch.finfo(p.dtype).eps
    if gamma < 1:
        rest.clamp_min_(least)
    low = q.mul(rest if gamma == 2 else rest ** (gamma - 1))  # q (1 - p)^(gamma - 1)
    rows = torch.mul(rest, log_p, out=into).mul_(low).sum(-1).neg_()
    turn = log_p.mul_(p)  # what the factor (1 - p)^gamma adds; nothing where it is held
    if gamma < 1:
        turn.masked_fill_(rest <= least, 0.0)
    slope = turn.mul_(gamma).sub_(rest).mul_(low)
    torch.addcmul(slope, p, slope.sum(-1, keepdim=True), value=-1, out=into)
    return rows


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
        counted = known_ids(targets, z.shape[-1], check)
        rows = by_blocks(_lead, _lead_step, logits, targets.clamp_min(0).long(), held=wanted, wanted=wanted)
        return reduced(rows, counted, reduction)
    mass = Mass(targets, check)
    rows = by_blocks(_hinge, _hinge_step, logits, targets, held=wanted, see=mass.see, wanted=wanted)
    return reduced(rows, mass.known(), reduction)


def _lead(z: Tensor, y: Tensor, wanted: Tensor) -> Tensor:
    rival = z.scatter(-1, y[..., None], torch.finfo(z.dtype).min).max(-1).values
    return (wanted[y] - z.gather(-1, y[..., None])[..., 0] + rival).clamp_min(0.0)


def _lead_step(z: Tensor, y: Tensor, wanted: Tensor, into: Tensor) -> Tensor:
    y = y[:, None]
    rival = largest(torch.scatter(z, -1, y, torch.finfo(z.dtype).min, out=into))
    short = wanted[y] - z.gather(-1, y) + z.gather(-1, rival)
    counts = (short >= 0).to(z.dtype)
    into.zero_().scatter_(-1, y, -counts).scatter_(-1, rival, counts)
    return short[:, 0].clamp_min_(0.0)


def _hinge(z: Tensor, q: Tensor, wanted: Tensor) -> Tensor:
    best, first = z.topk(2, -1)
    rival = best[..., :1].expand_as(z).scatter(-1, first[..., :1], best[..., 1:])  # the best class other than k
    return (q.to(z.dtype) * (wanted - (z - rival)).clamp_min(0.0)).sum(-1)


def _hinge_step(z: Tensor, q: Tensor, wanted: Tensor, into: Tensor) -> Tensor:
    best, first = _two_largest(z)
    lead = (z - best[:, :1]).scatter_(-1, first[:, :1], best[:, :1] - best[:, 1:])
    short = torch.sub(wanted, lead, out=lead)
    lowest = -torch.finfo(
        z.dtype
    ).tiny  # so that a lead of just what is wanted still counts, as it does in the plain form
    torch.ops.aten.threshold_backward.grad_input(q.to(z.dtype), short, lowest, grad_input=into)
    rows = short.mul_(into).sum(-1)
    second = into.gather(-1, first[:, :1])
    pushed = torch.cat([into.sum(-1, keepdim=True).sub_(second), second], -1)
    into.neg_().scatter_add_(-1, first, pushed)
    return rows


def _two_largest(z: Tensor) -> tuple[Tensor, Tensor]:
    """(n, 2) what `topk` gives, and where."""
    first = largest(z)
    first = torch.cat([first, largest(z.scatter(-1, first, torch.finfo(z.dtype).min))], -1)
    return z.gather(-1, first), first
