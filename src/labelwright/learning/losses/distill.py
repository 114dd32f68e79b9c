"""Learning from a teacher's logits, or from the student's own. Teacher tensors are detached: no gradient reaches them.

Targets, where a loss takes them, are hard ids (-1 = ignored) or soft: a mixed label counts by its largest class, in
`uskd` by its two largest. nkd, decoupled_kd and uskd are added to the task's own loss, they do not replace it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from labelwright.errors import check_option
from labelwright.learning.losses._blocks import (
    blocks,
    by_blocks,
    can_keep,
    cross,
    dot,
    expected_gap,
    largest,
    log_softmax,
    over,
    softmax,
    softmaxes,
    through_log_softmax,
)
from labelwright.learning.losses._rows import (
    check_logits,
    check_positive,
    check_share,
    entropy,
    hard_rows,
    is_hard,
    known_rows,
    log_probs,
    reduced,
    soft_rows,
    top_class,
    wide,
    wide_dtype,
)
from labelwright.learning.losses.controls import label_smoothing
from labelwright.learning.losses.soft import tempered


def kd(logits: Tensor, teacher_logits: Tensor, *, temperature: float = 1.0, reduction: str = "mean") -> Tensor:
    """T^2 KL(teacher || student), both softened by the temperature T; no labels.

    Args:
        logits, teacher_logits: (..., K).

    Source: Hinton et al. 2015; T^2 keeps the size of the gradient.
    """
    check_logits(logits, teacher_logits)
    check_positive("temperature", temperature)
    rows = by_blocks(_kd, _kd_step, logits, teacher_logits.detach(), temperature=temperature, theirs=temperature)
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
    rows = by_blocks(_nkd, _nkd_step, logits, teacher_logits.detach(), y, heat=temperature, gamma=gamma)
    return reduced(rows, counted, reduction)


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
    check_positive("temperature", temperature)
    weights: dict[str, Any] = {"theirs": temperature, "alpha": alpha, "beta": beta}
    rows = by_blocks(
        _decoupled, _decoupled_step, logits, teacher_logits.detach(), y, temperature=temperature, **weights
    )  # fmt: skip
    return reduced(rows * temperature**2, counted, reduction)


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
    counted = known_rows(logits, targets, check)
    if is_hard(logits, targets):
        column, value = targets[..., None].clamp_min(0).long(), (targets >= 0)[..., None].to(wide_dtype(logits))
    else:
        value, column = targets.to(wide_dtype(logits)).topk(2, -1)
    held, width = value > 0, value.shape[-1]
    with torch.no_grad():
        squares = (-2 * _surprise(logits, column)).exp()
        flat = squares.masked_fill(~held, 0.0).reshape(-1, width).sum(0)
        label = squares + value - flat / held.reshape(-1, width).sum(0).clamp_min(1)
        label = alpha * label.masked_fill(~held, 0.0)
    parts = logits, weak_logits.detach(), column, held, label
    rows = by_blocks(_own, _own_step, *parts, beta=beta, rank_on=rank_on)
    weak = label_smoothing(weak_logits, targets, smoothing=smoothing, reduction="none", check=False)
    return reduced(rows + mu * weak, counted, reduction)


def _kd(z: Tensor, t: Tensor, theirs: float) -> Tensor:
    target = tempered(t, theirs).softmax(-1)
    return soft_rows(z, target) - entropy(target)


def _kd_step(z: Tensor, t: Tensor, theirs: float, into: Tensor) -> Tensor:
    log_p, (q, log_q) = log_softmax(z), softmaxes(over(t, theirs))
    through_log_softmax(log_p, q, into).neg_()
    return expected_gap(q, log_q, log_p)


def _nkd(z: Tensor, t: Tensor, y: Tensor, heat: float, gamma: float) -> Tensor:
    t = wide(t)
    at_target = (-hard_rows(t, y)).exp() * hard_rows(z, y)
    others = soft_rows(_without(z / heat, y), _without(t / heat, y).softmax(-1))
    return at_target + gamma * heat**2 * others


def _nkd_step(z: Tensor, t: Tensor, y: Tensor, heat: float, gamma: float, into: Tensor) -> Tensor:
    t, at = wide(t), y[:, None]
    rest = _without(z, y)
    if heat == 1:
        log_p, others = log_softmax(rest), _without(t, y)
        q, most = softmax(others), largest(rest)
        margin = _margin(z.gather(-1, at), rest, log_p.gather(-1, most), most)
        first = largest(others)
        theirs = _margin(t.gather(-1, at), others, q.gather(-1, first).log_(), first).sigmoid_()
    else:
        log_p, q = log_softmax(_without(z / heat, y)), softmax(_without(t / heat, y))
        p, theirs, most = softmax(rest), softmax(t).gather(-1, at)[:, 0], largest(rest)
        margin = _margin(z.gather(-1, at), rest, p.gather(-1, most).log_(), most)
    at_target = theirs * F.logsigmoid(margin)
    push = theirs.mul_((-margin).sigmoid_())[:, None]  # p_T(y) (1 - p_S(y)), to y from the others
    torch.mul(q, -gamma * heat, out=into)
    if heat == 1:  # log p has no say at y: what stands there is taken from the others by their shares
        through_log_softmax(log_p, into.scatter_(-1, at, -push), into)
    else:
        through_log_softmax(log_p, into, into).addcmul_(p, push).scatter_add_(-1, at, -push)
    return cross(q, log_p).mul_(gamma * heat**2).sub_(at_target)


def _decoupled(z: Tensor, t: Tensor, y: Tensor, theirs: float, alpha: float, beta: float) -> Tensor:
    (margin, log_p), (margin_t, log_q) = _split(z, y), _split(tempered(t, theirs), y)
    others = (log_q.exp() * (log_q - log_p)).sum(-1)
    return alpha * _binary(margin, margin_t) + beta * others


def _decoupled_step(
    z: Tensor, t: Tensor, y: Tensor, theirs: float, alpha: float, beta: float, into: Tensor
) -> Tensor:  # fmt: skip
    t, y = over(t, theirs), y[:, None]
    at_y, rests = [x.gather(-1, y) for x in (z, t)], []
    for x in (z, t):
        low = torch.finfo(x.dtype).min
        rests.append(x.scatter(-1, y, low) if theirs == 1 else x.scatter_(-1, y, low))  # divided, they are our own
    log_p, (q, log_q), most = log_softmax(rests[0]), softmaxes(rests[1]), [largest(x) for x in rests]
    logs = [log.gather(-1, first) for log, first in zip((log_p, log_q), most)]
    margin, margin_t = (_margin(at_y[i], rests[i], logs[i], most[i]) for i in (0, 1))
    rows = expected_gap(q, log_q, log_p).mul_(beta).add_(_binary(margin, margin_t), alpha=alpha)
    push = (margin.sigmoid() - margin_t.sigmoid()).mul_(alpha)[:, None]
    slope = q.mul_(-beta).scatter_(-1, y, push)  # log p has no say at y: that is taken from the others
    through_log_softmax(log_p, slope, into)
    return rows


def _binary(margin: Tensor, margin_t: Tensor) -> Tensor:
    """KL of target or not."""
    yes, no, t_yes, t_no = (F.logsigmoid(m) for m in (margin, -margin, margin_t, -margin_t))
    return t_yes.exp() * (t_yes - yes) + t_no.exp() * (t_no - no)


def _margin(at_y: Tensor, rest: Tensor, log_most: Tensor, most: Tensor) -> Tensor:
    """(n,) log of p(y) / (1 - p(y)) as in `_split`, from columns (n, 1): the logit at y; of the likeliest of the rest, the log of
    its share, and where it is."""
    ends = torch.finfo(rest.dtype)
    return (at_y - rest.gather(-1, most) + log_most)[:, 0].clamp_(ends.min, ends.max)


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


def _surprise(logits: Tensor, column: Tensor) -> Tensor:
    """(..., targets) -log p of the targets."""
    rows, columns = logits.reshape(-1, logits.shape[-1]), column.reshape(-1, column.shape[-1])
    parts = blocks(rows, columns) if can_keep(rows, columns) else [(rows, columns)]
    return -torch.cat([log_probs(z).gather(-1, c) for z, c in parts]).reshape(column.shape)


def _own(
    z: Tensor, weak: Tensor, column: Tensor, held: Tensor, label: Tensor, beta: float, rank_on: str
) -> Tensor:  # fmt: skip
    log_p = log_probs(z)
    with torch.no_grad():
        own = log_p if rank_on == "logprob" else log_p.exp()
        zipf = _zipf(
            _scores(wide(weak).softmax(-1), own, column, held).argsort(dim=-1, descending=True, stable=True), z.dtype
        )
        zipf = _normalised(_put(zipf, column, held, 0.0))
    rest = log_probs(_put(z, column, held, torch.finfo(z.dtype).min))
    return -(label * log_p.gather(-1, column)).sum(-1) - beta * (zipf * rest).sum(-1)


def _own_step(
    z: Tensor, weak: Tensor, column: Tensor, held: Tensor, label: Tensor, beta: float, rank_on: str, into: Tensor
) -> Tensor:  # fmt: skip
    p, log_p = softmaxes(z)
    floored = log_p.clamp_min_(torch.finfo(z.dtype).min)
    order = _order(_scores(softmax(wide(weak)), floored if rank_on == "logprob" else p, column, held))
    zipf = _normalised(_put(_zipf(order, z.dtype), column, held, 0.0))
    rest = log_softmax(_put(z, column, held, torch.finfo(z.dtype).min))
    through_log_softmax(rest, zipf, into).mul_(-beta)
    into.addcmul_(p, label.sum(-1, keepdim=True)).scatter_add_(-1, column, -label)
    return cross(zipf, rest).mul_(beta).sub_(dot(label, floored.gather(-1, column)))


def _put(x: Tensor, column: Tensor, held: Tensor, value: float) -> Tensor:
    """x with the value at the targets."""
    return x.scatter(-1, column, x.gather(-1, column).masked_fill(held, value))


def _scores(weak: Tensor, own: Tensor, column: Tensor, held: Tensor) -> Tensor:
    """What the classes are ranked by: both heads' shares, each over what it leaves to the others."""
    left = [1 - (x.gather(-1, column) * held).sum(-1, keepdim=True) + 1e-6 for x in (weak, own)]
    return weak / left[0] + own / left[1]


def _order(scores: Tensor) -> Tensor:
    """(n, K) classes by falling score, the first of equal ones first.

    Whole numbers of 64 bits, the score above and the class below, are sorted ten times as fast as floats with an index.
    """
    if scores.dtype != torch.float32:
        return scores.argsort(dim=-1, descending=True, stable=True)
    bits = (scores + 0.0).numpy().view(np.int32)  # 0 added: -0 and 0 are equal scores
    rising = ~(bits ^ ((bits >> 31) & 0x7FFFFFFF))
    key = (rising.astype(np.int64) << 32) | np.arange(bits.shape[-1])
    key.sort(-1)
    key &= 0xFFFFFFFF
    return torch.from_numpy(key)


def _zipf(order: Tensor, dtype: torch.dtype) -> Tensor:
    """(n, K) 1 / rank."""
    share = 1.0 / torch.arange(1, order.shape[-1] + 1, dtype=dtype, device=order.device)
    return torch.empty_like(order, dtype=dtype).scatter_(-1, order, share.expand_as(order))


def _normalised(label: Tensor) -> Tensor:
    return label / label.sum(-1, keepdim=True).clamp_min(torch.finfo(label.dtype).tiny)
