"""How far predictions are from soft labels: cross-entropy, the divergences, and temperature.

All take hard ids (...) with -1 = ignored, soft targets (..., K), or with `multi_label=True` targets (..., K) with one
two-class problem per class, summed over the known classes. All divide the logits by `temperature` and do *not* multiply
the loss by its square; `distill.kd` does. Gradients reach soft targets too (for labels that are learned).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from labelwright.errors import DataError
from labelwright.learning.losses._blocks import (
    by_blocks,
    cross_step,
    dot,
    expected_gap,
    log,
    log_,
    log_softmax,
    over,
    softmax,
    through_log_softmax,
    through_softmax,
)
from labelwright.learning.losses._rows import (
    Mass,
    check_positive,
    entropy,
    hard_rows,
    is_hard,
    known_ids,
    log_probs,
    per_class_pairs,
    reduced,
    soft_rows,
    spread,
    wide,
)

LOG_2 = math.log(2)
FLOOR = 1e-12  # added inside the logarithms of reverse_kl and jeffreys, which are unbounded without it


def soft_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    class_weight: Tensor | None = None,
    multi_label: bool = False,
    reduction: str = "mean",
    check: bool = True,
) -> Tensor:
    """Cross-entropy from labels to predictions, -sum_k q_k log p_k, in nats.

    Args:
        logits: (..., K) unnormalised scores; -inf where the target is 0 is fine.
        targets: hard ids, soft, or multi-label (see the top of this file).
        temperature: divides the logits.
        class_weight: (K,) factor of each class's term. The mean still divides by the number of rows.
        multi_label: targets are one yes or no per class.
        reduction: "mean" over the rows that count, "sum", or "none" (...).
        check: look for targets that are no distribution and ids that are no class.

    Raises:
        DataError: shapes or types that do not fit.   ProbabilityError: rows that are no distribution.
        LabelError: ids that are no class.   OptionError: an unknown reduction, a temperature that is not positive.

    Source: Hinton et al. 2015, eq. 2.

    >>> soft_cross_entropy(torch.zeros(2, 4), torch.full((2, 4), 0.25), reduction="none")
    tensor([1.3863, 1.3863])
    """
    scaled = tempered(logits, temperature)
    weight = None if class_weight is None else class_weight.to(scaled)
    if weight is not None and weight.shape != scaled.shape[-1:]:
        raise DataError(
            found=f"class_weight of shape {tuple(weight.shape)} for {scaled.shape[-1]} classes",
            expected=f"({scaled.shape[-1]},)",
            fix="pass one weight per class",
        )
    if multi_label:
        z, q, known = per_class_pairs(scaled, targets, check)
        cells = -(q * log_probs(z)).sum(-1).masked_fill(~known, 0.0)
        return reduced((cells if weight is None else cells * weight).sum(-1), known.any(-1), reduction)
    if is_hard(scaled, targets):
        counted = known_ids(targets, scaled.shape[-1], check)
        rows = hard_rows(scaled, targets)
        return reduced(rows if weight is None else rows * weight[targets.clamp_min(0).long()], counted, reduction)
    mass = Mass(targets, check)
    rows = cross_rows(logits, targets, temperature=temperature, weight=weight, check=check, see=mass.see)
    return reduced(rows, mass.known(), reduction)


def kl(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    multi_label: bool = False,
    reduction: str = "mean",
    check: bool = True,
) -> Tensor:
    """KL(targets || predictions) = sum_k q_k (log q_k - log p_k), in nats: 0 where they agree.

    The gradient is that of `soft_cross_entropy`; with hard ids so is the value. Arguments and errors as there.

    >>> kl(torch.tensor([[0.8, 0.2]]).log(), torch.tensor([[0.8, 0.2]])).abs() < 1e-6
    tensor(True)
    """
    if not multi_label and is_hard(logits, targets):
        return soft_cross_entropy(logits, targets, temperature=temperature, reduction=reduction, check=check)
    return _divergence((_kl, _kl_step), logits, targets, temperature, multi_label, reduction, check)


def reverse_kl(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    multi_label: bool = False,
    reduction: str = "mean",
    check: bool = True,
) -> Tensor:
    """KL(predictions || targets), with 1e-12 inside the logarithms: at most about 28 nats, where a target is 0.

    Arguments and errors as `soft_cross_entropy`.
    """
    return _divergence((_reverse_kl, _reverse_kl_step), logits, targets, temperature, multi_label, reduction, check)


def jeffreys(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    multi_label: bool = False,
    reduction: str = "mean",
    check: bool = True,
) -> Tensor:
    """The mean of both directions of KL, [KL(p || q) + KL(q || p)] / 2, with 1e-12 inside the logarithms.

    Arguments and errors as `soft_cross_entropy`. Source: Cui et al. 2021 (SSLD), who call it Jensen-Shannon.
    """
    return _divergence((_jeffreys, _jeffreys_step), logits, targets, temperature, multi_label, reduction, check)


def js(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    multi_label: bool = False,
    reduction: str = "mean",
    check: bool = True,
) -> Tensor:
    """Jensen-Shannon divergence, [KL(p || m) + KL(q || m)] / 2 with m = (p + q) / 2: between 0 and log 2.

    Bounded, so that a wrong label can only do so much; symmetric. Arguments and errors as `soft_cross_entropy`.
    Source: Lin 1991; as a loss for noisy labels Englesson & Azizpour 2021.

    >>> round(float(js(torch.tensor([[1e4, -1e4]]), torch.tensor([1]))), 4)  # log 2: as far apart as can be
    0.6931
    """
    if not multi_label and is_hard(logits, targets):  # only p(y) matters then
        counted = known_ids(targets, logits.shape[-1], check)
        rows = hard_rows(tempered(logits, temperature), targets)
        p = (-rows).exp()
        return reduced(0.5 * (LOG_2 * (1 - p) - (1 + p) * torch.log1p(0.5 * (p - 1)) - p * rows), counted, reduction)
    return _divergence((_js, _js_step), logits, targets, temperature, multi_label, reduction, check)


def soften(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """(..., K) softmax(logits / temperature) in at least float32: a teacher's soft labels."""
    return tempered(logits, temperature).softmax(-1)


def temper(pred_probs: Tensor, temperature: float) -> Tensor:
    """(..., K) distributions at another temperature, p^(1/T) / sum: what the softmax at T gives, from that at 1.

    Rows of zeros stay zeros. Labels cut to their k largest entries cannot be tempered exactly.

    >>> temper(torch.tensor([0.8, 0.2, 0.0]), 2.0)
    tensor([0.6667, 0.3333, 0.0000])
    """
    check_positive("temperature", temperature)
    p = wide(pred_probs)
    raised = (p / p.amax(-1, keepdim=True).clamp_min(torch.finfo(p.dtype).tiny)) ** (1 / temperature)
    return raised / raised.sum(-1, keepdim=True).clamp_min(torch.finfo(p.dtype).tiny)


def tempered(logits: Tensor, temperature: float) -> Tensor:
    """Wide logits over the temperature."""
    check_positive("temperature", temperature)
    return over(logits, temperature)


def cross_rows(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    weight: Tensor | None = None,
    check: bool = True,
    see: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """(...) cross-entropy to distributions, each class's term times its weight.   see: of `by_blocks`."""
    return by_blocks(
        _cross, _cross_step, logits, targets, temperature=temperature, held=weight, see=see, weight=weight, check=check
    )


def divergence_rows(logits: Tensor, targets: Tensor, *, temperature: float = 1.0) -> Tensor:
    """(...) KL(targets || predictions)."""
    return by_blocks(_kl, _kl_step, logits, targets, temperature=temperature)


def _divergence(
    formula: tuple[Callable[..., Tensor], Callable[..., Tensor]],
    logits: Tensor,
    targets: Tensor,
    temperature: float,
    multi_label: bool,
    reduction: str,
    check: bool,
) -> Tensor:
    """The rows of `formula`, a plain one and its step, over the classes or over each class against its absence."""
    check_positive("temperature", temperature)
    if multi_label:
        z, q, known = per_class_pairs(tempered(logits, temperature), targets, check)
        return reduced(by_blocks(*formula, z, q).masked_fill(~known, 0.0).sum(-1), known.any(-1), reduction)
    if is_hard(logits, targets):
        counted = known_ids(targets, logits.shape[-1], check)
        return reduced(by_blocks(*formula, logits, targets, temperature=temperature), counted, reduction)
    mass = Mass(targets, check)
    rows = by_blocks(*formula, logits, targets, temperature=temperature, see=mass.see)
    return reduced(rows, mass.known(), reduction)


def _cross(logits: Tensor, targets: Tensor, weight: Tensor | None, check: bool) -> Tensor:
    q = targets.to(logits.dtype)
    return soft_rows(logits, q if weight is None else q * weight, check)


def _cross_step(logits: Tensor, targets: Tensor, weight: Tensor | None, check: bool, into: Tensor) -> Tensor:
    q = targets.to(logits.dtype)
    return cross_step(logits, q if weight is None else q * weight, into)


def _kl(logits: Tensor, targets: Tensor) -> Tensor:
    q = spread(logits, targets)
    return soft_rows(logits, q) - entropy(q)


def _kl_step(logits: Tensor, targets: Tensor, into: Tensor) -> Tensor:
    log_p, q = log_softmax(logits), spread(logits, targets)
    through_log_softmax(log_p, q, into).neg_()
    return expected_gap(q, log(q), log_p)


def _reverse_kl(logits: Tensor, targets: Tensor) -> Tensor:
    p, q = logits.softmax(-1), spread(logits, targets)
    return (p * ((p + FLOOR).log() - (q + FLOOR).log())).sum(-1)


def _reverse_kl_step(logits: Tensor, targets: Tensor, into: Tensor) -> Tensor:
    p = softmax(logits)
    floored = p + FLOOR
    apart = log_(floored / spread(p, targets).add(FLOOR))  # one logarithm for both
    rows = dot(p, apart)
    through_softmax(p, apart.addcdiv_(p, floored), into)
    return rows


def _jeffreys(logits: Tensor, targets: Tensor) -> Tensor:
    p, q = logits.softmax(-1), spread(logits, targets)
    return 0.5 * ((p - q) * ((p + FLOOR).log() - (q + FLOOR).log())).sum(-1)


def _jeffreys_step(logits: Tensor, targets: Tensor, into: Tensor) -> Tensor:
    p, q = softmax(logits), spread(logits, targets)
    floored, excess = p + FLOOR, p - q
    apart = log_(floored / q.add(FLOOR)).mul_(0.5)
    rows = dot(excess, apart)
    through_softmax(p, apart.addcdiv_(excess, floored, value=0.5), into)
    return rows


def _js(logits: Tensor, targets: Tensor) -> Tensor:
    p, q = logits.softmax(-1), spread(logits, targets)
    return entropy(0.5 * (p + q)) - 0.5 * (entropy(p) + entropy(q))


def _js_step(logits: Tensor, targets: Tensor, into: Tensor) -> Tensor:
    p, q = softmax(logits), spread(logits, targets)
    tiny = torch.finfo(p.dtype).tiny
    middle = torch.lerp(p, q, 0.5).clamp_min_(tiny)  # exactly p where q is p: there the loss is 0
    ours = log_((p / middle).clamp_min_(tiny))
    theirs = log_(torch.div(q, middle, out=middle).clamp_min_(tiny))
    rows = (dot(p, ours) + dot(q, theirs)).mul_(0.5)
    through_softmax(p, ours.mul_(0.5), into)
    return rows
