"""Learning from a teacher's logits, or from the student's own. Teacher tensors are detached: no gradient reaches them.

Targets, where a loss takes them, are hard ids (-1 = ignored) or soft: a mixed label counts by its largest class, in
`uskd` by its two largest. nkd, decoupled_kd and uskd are added to the task's own loss, they do not replace it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from labelwright.errors import check_option
from labelwright.learning.losses._rows import (
    check_logits,
    check_positive,
    check_share,
    distributions,
    entropy,
    hard_rows,
    log_probs,
    reduced,
    soft_rows,
    top_class,
    wide,
)
from labelwright.learning.losses.soft import tempered


def kd(logits: Tensor, teacher_logits: Tensor, *, temperature: float = 1.0, reduction: str = "mean") -> Tensor:
    """T^2 KL(teacher || student), both softened by the temperature T; no labels.

    Args:
        logits, teacher_logits: (..., K).

    Source: Hinton et al. 2015; T^2 keeps the size of the gradient.
    """
    check_logits(logits, teacher_logits)
    target = tempered(teacher_logits.detach(), temperature).softmax(-1)
    rows = soft_rows(tempered(logits, temperature), target) - entropy(target)
    return reduced(rows * temperature**2, None, reduction)


def nkd(
    logits: Tensor,
    targets: Tensor,
    *,
    teacher_logits: Tensor,
    temperature: float = 1.0,
    gamma: float = 1.5,
    reduction: str = "mean",
    check: bool = True,
) -> Tensor:
    """Normalised distillation: the target class, and the other classes as a distribution among themselves.

    -p_T(y) log p_S(y) at temperature 1, plus gamma T^2 times the cross-entropy of the softmaxes without class y.
    With K = 2 the second term is 0.

    Args:
        logits, teacher_logits: (..., K) with K >= 2.   targets: hard ids or soft.
        temperature: of the other classes.   gamma: their weight. The paper has 1.0 and 1.5 on ImageNet, 3.0 and 3.5 on CIFAR-100.

    Source: Yang et al. 2023 (NKD).
    """
    check_logits(logits, teacher_logits, least=2)
    check_positive("temperature", temperature)
    y, counted = top_class(logits, targets, check)
    z, t = wide(logits), wide(teacher_logits.detach())
    at_target = (-hard_rows(t, y)).exp() * hard_rows(z, y)
    others = soft_rows(_without(z / temperature, y), _without(t / temperature, y).softmax(-1))
    return reduced(at_target + gamma * temperature**2 * others, counted, reduction)


def decoupled_kd(
    logits: Tensor,
    targets: Tensor,
    *,
    teacher_logits: Tensor,
    temperature: float = 4.0,
    alpha: float = 1.0,
    beta: float = 8.0,
    reduction: str = "mean",
    check: bool = True,
) -> Tensor:
    """Distillation in two parts with weights of their own: T^2 [alpha KL(target or not) + beta KL(among the others)].

    Args:
        logits, teacher_logits: (..., K) with K >= 2.   targets: hard ids or soft.
        temperature, alpha, beta: 4, 1, 8 on CIFAR-100 and 1, 1, 0.5 on ImageNet in the paper.

    Source: Zhao et al. 2022, eq. 7. With beta = 1 - p_T(y) per row it is `kd`.
    """
    check_logits(logits, teacher_logits, least=2)
    y, counted = top_class(logits, targets, check)
    z, t = tempered(logits, temperature), tempered(teacher_logits.detach(), temperature)
    (margin, log_p), (margin_t, log_q) = _split(z, y), _split(t, y)
    yes, no, t_yes, t_no = (F.logsigmoid(m) for m in (margin, -margin, margin_t, -margin_t))
    target = t_yes.exp() * (t_yes - yes) + t_no.exp() * (t_no - no)
    others = (log_q.exp() * (log_q - log_p)).sum(-1)
    return reduced(temperature**2 * (alpha * target + beta * others), counted, reduction)


def uskd(
    logits: Tensor,
    targets: Tensor,
    *,
    weak_logits: Tensor,
    alpha: float = 1.0,
    beta: float = 0.1,
    mu: float = 0.005,
    smoothing: float = 0.1,
    rank_on: str = "prob",
    reduction: str = "mean",
    check: bool = True,
) -> Tensor:
    """Distillation without a teacher: soft labels from the student's own confidence and from a weak head's ranking.

    Args:
        logits, weak_logits: (..., K); the weak logits come from one linear layer on features of the stage before the last.
        targets: hard ids or soft; of a soft row the two largest classes are its targets.
        alpha: weight of the target classes, whose label is p^2 + value - the batch's mean of p^2.
        beta: weight of the other classes, whose labels fall with their rank like 1, 1/2, 1/3, ...
        mu: weight of the weak head's own cross-entropy to the smoothed label.
        rank_on: "prob" ranks the weak head's and the student's probabilities (paper), "logprob" takes the student's log
            probabilities in the same formula (released code).

    The labels are detached. The paper has (1, 0.1, 0.005) on ImageNet and (0.1, 0.1, 0.1) on CIFAR-100. Every row depends
    on the batch through the mean of p^2, taken over rows that have such a target.

    Source: Yang et al. 2023 (USKD).
    """
    check_share("smoothing", smoothing)
    check_option("rank_on", rank_on, ("prob", "logprob"))
    check_logits(logits, weak_logits, "weak_logits", least=2)
    q, counted = distributions(logits, targets, check)
    logits, weak = wide(logits), wide(weak_logits)
    log_p, log_w = log_probs(logits), log_probs(weak)
    value, column = q.topk(2, -1)
    held = value > 0
    with torch.no_grad():
        squares = log_p.gather(-1, column).exp() ** 2
        flat = squares.masked_fill(~held, 0.0).reshape(-1, 2).sum(0)
        mean = flat / held.reshape(-1, 2).sum(0).clamp_min(1)
        label = (squares + value - mean).masked_fill(~held, 0.0)
        is_target = torch.zeros_like(q).scatter(-1, column, held.to(q.dtype)).bool()
        zipf = _zipf(log_w.exp(), log_p if rank_on == "logprob" else log_p.exp(), is_target)
    at_target = -(label * log_p.gather(-1, column)).sum(-1)
    others = -(zipf * log_probs(logits.masked_fill(is_target, torch.finfo(logits.dtype).min))).sum(-1)
    smooth = (1 - smoothing) * q + smoothing / q.shape[-1]
    return reduced(alpha * at_target + beta * others - mu * (smooth * log_w).sum(-1), counted, reduction)


def _without(z: Tensor, y: Tensor) -> Tensor:
    """Logits with the lowest finite number at y, so that its share is 0 and 0 times its logarithm is 0."""
    return z.scatter(-1, y[..., None], torch.finfo(z.dtype).min)


def _split(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(...) log of p(y) / (1 - p(y)), without forming 1 - p(y), which would cancel; (..., K) log softmax of the rest."""
    rest = _without(z, y)
    log_p = log_probs(rest)
    y, first = y[..., None], log_p.argmax(-1, keepdim=True)
    margin = (
        z.gather(-1, y) - rest.gather(-1, first) + log_p.gather(-1, first)
    )  # log sum exp is the largest less its share
    ends = torch.finfo(z.dtype)
    return margin[..., 0].clamp(ends.min, ends.max), log_p


def _zipf(weak: Tensor, own: Tensor, is_target: Tensor) -> Tensor:
    """(..., K) labels of the other classes, 1 / rank over all classes, normalised; 0 on the targets."""
    scores = [s / (1 - (s * is_target).sum(-1, keepdim=True) + 1e-6) for s in (weak, own)]
    order = (scores[0] + scores[1]).argsort(dim=-1, descending=True, stable=True)
    share = 1.0 / torch.arange(1, weak.shape[-1] + 1, dtype=weak.dtype, device=weak.device)
    label = torch.zeros_like(weak).scatter(-1, order, share.expand_as(weak)).masked_fill(is_target, 0.0)
    return label / label.sum(-1, keepdim=True).clamp_min(torch.finfo(weak.dtype).tiny)
