"""Losses that keep their gradient instead of a graph, made on blocks of rows that stay in the processor's cache.

With a thousand classes each temporary of a plain formula is a walk through main memory, forward and backward. So a loss may
have, beside the plain formula of its rows, a step: rows and gradient of a block together, by hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labelwright.learning.losses._rows import joined, watched, wide, wide_dtype

BLOCK = 1 << 18  # numbers in a block, for each thread: a few temporaries of this size fit the cache
SMALL = 1 << 14  # up to here the work is in the calls, not in the numbers, and autograd makes fewer
NARROW = 128  # below so many classes, torch takes most of its softmax for the starts of rows
LOG2_E = 1.4426950408889634

Pull = Callable[[Tensor], Tensor]


def by_blocks(
    plain: Callable[..., Tensor],
    step: Callable[..., Tensor],
    logits: Tensor,
    *others: Tensor,
    temperature: float = 1.0,
    held: Tensor | None = None,
    see: Callable[[Tensor], None] | None = None,
    **options: Any,
) -> Tensor:
    """(...) plain(logits / temperature, *others, **options), row by row, with its gradient for the logits.

    Args:
        plain: ((n, K) wide logits over the temperature, *others, **options) -> (n,), which autograd can follow.
        step: the same, and writes the gradient of its rows into the keyword `into` (n, K). Autograd does not see it, and it
            may take the first tensor as its own only where the temperature is not 1.
        logits: (..., K).   others: (..., any), with the leading axes of the logits.
        held: a tensor among the options; where it wants a gradient, autograd does the work.
        see: is shown all of others[0], block by block, before it is worked on.
    """
    lead = logits.shape[:-1]
    if len(lead) != 1:
        others = tuple(x.reshape(-1, *x.shape[len(lead) :]) for x in others)
        logits = logits.reshape(-1, logits.shape[-1])

    def whole(z: Tensor, *rest: Tensor) -> Tensor:
        return plain(over(z, temperature), *rest, **options)

    def make(z: Tensor, *rest: Tensor) -> tuple[Tensor, Pull]:
        rows, slopes = [], torch.empty(z.shape, dtype=wide_dtype(z))
        for into, part, *more in blocks(slopes, z, *rest):
            show(more)
            rows.append(step(over(part, temperature), *more, into=into, **options))
        return joined(rows), lambda grad: slopes.mul_((grad if temperature == 1 else grad / temperature)[:, None])

    def show(more: Sequence[Tensor]) -> None:
        if see:
            see(more[0])

    if not can_keep(logits, *others, held):
        show(others)
        rows = whole(logits, *others)
    elif torch.is_grad_enabled() and logits.requires_grad:
        rows = kept(whole, make, logits, *others)
    else:
        parts = []
        for part, *more in blocks(logits, *others):
            show(more)
            parts.append(whole(part, *more))
        rows = joined(parts)
    return rows if len(lead) == 1 else rows.reshape(lead)


def can_keep(logits: Tensor, *others: Tensor | None) -> bool:
    """Whether only the logits may want a gradient, of the usual kind, on the CPU; else autograd has to see the formula.

    All floats must widen to one dtype: steps do not promote.
    """
    floats = [x for x in others if x is not None and x.is_floating_point()]
    return (
        logits.device.type == "cpu"
        and type(logits) in (Tensor, torch.nn.Parameter)
        and logits.numel() > SMALL
        and all(wide_dtype(x) == wide_dtype(logits) for x in floats)
        and not (torch.is_grad_enabled() and any(x.requires_grad for x in floats))
        and not watched(logits, *floats)
    )


def kept(
    plain: Callable[..., Tensor], make: Callable[..., tuple[Tensor, Pull]], logits: Tensor, *others: Tensor
) -> Tensor:
    """plain(logits, *others), by `make`, which gives the value, and from the value's gradient that of the logits.

    What `make` holds serves one backward pass, which may overwrite it; for another one it is made again. A gradient that
    is to be differentiated itself is that of `plain`.
    """
    value: Tensor = _Kept.apply(plain, make, logits, *others)  # type: ignore[no-untyped-call]
    return value


class _Kept(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plain: Any, make: Any, logits: Tensor, *others: Tensor) -> Tensor:
        ctx.save_for_backward(logits, *others)
        ctx.plain, ctx.make, ctx.dtype = plain, make, logits.dtype
        value: Tensor
        value, ctx.pull = make(logits, *others)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        pull, ctx.pull = ctx.pull, None
        if torch.is_grad_enabled():
            logits, *others = ctx.saved_tensors
            (slope,) = torch.autograd.grad(ctx.plain(logits, *others), logits, grads[0], create_graph=True)
        else:
            slope = (pull or ctx.make(*ctx.saved_tensors)[1])(grads[0]).to(ctx.dtype)
        return None, None, slope, *(None for _ in ctx.needs_input_grad[3:])


def blocks(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """The same rows of each tensor, as views: as many as make a block."""
    size = max(1, BLOCK * torch.get_num_threads() // max(x[0].numel() for x in tensors))
    if size >= len(tensors[0]):
        return [tensors]
    return list(zip(*(x.split(size) for x in tensors)))  # type: ignore[no-untyped-call]


def over(logits: Tensor, temperature: float) -> Tensor:
    """Wide logits over a temperature."""
    return wide(logits) if temperature == 1 else wide(logits) / temperature


# ------------------------------------------------------------------------------------- what steps have in common
def softmaxes(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(n, K) softmax and its logarithm, for the price of one: powers of 2 are cheap, and both need the same."""
    log_p = logits - logits.amax(-1, keepdim=True)
    p = (log_p * LOG2_E).exp2_()
    total = p.sum(-1, keepdim=True)
    return p.div_(total), log_p.sub_(total.log())


def softmax(logits: Tensor, into: Tensor | None = None) -> Tensor:
    """(n, K), in a new tensor or a given one."""
    if logits.shape[-1] >= NARROW:
        return torch.softmax(logits, -1) if into is None else torch.softmax(logits, -1, out=into)
    p = softmaxes(logits)[0]
    return p if into is None else into.copy_(p)


def log_softmax(logits: Tensor) -> Tensor:
    """(n, K)."""
    return logits.log_softmax(-1) if logits.shape[-1] >= NARROW else softmaxes(logits)[1]


def through_softmax(p: Tensor, slope: Tensor, into: Tensor) -> Tensor:
    """The gradient for the logits of p = softmax(logits), from that for p: p (slope - sum p slope)."""
    if p.shape[-1] >= NARROW:
        return torch._softmax_backward_data(slope, p, -1, p.dtype, grad_input=into)
    return torch.mul(slope - dot(p, slope)[:, None], p, out=into)


def through_log_softmax(log_p: Tensor, slope: Tensor, into: Tensor) -> Tensor:
    """The same for log p = log softmax(logits): slope - p sum slope."""
    if log_p.shape[-1] >= NARROW:
        return torch._log_softmax_backward_data(slope, log_p, -1, log_p.dtype, out=into)
    p = (log_p * LOG2_E).exp2_()
    return torch.addcmul(slope, p, slope.sum(-1, keepdim=True), value=-1, out=into)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """(n,) the sum of products."""
    return (a * b).sum(-1)


def largest(x: Tensor) -> Tensor:
    """(n, 1) where the largest of each row is; NumPy is ten times as fast here as torch."""
    return torch.from_numpy(x.numpy().argmax(-1))[:, None]


def log_(x: Tensor) -> Tensor:
    """The logarithm of numbers above 0, in place. NumPy's takes half the time of torch's on one thread, as precisely."""
    if torch.get_num_threads() > 2:
        return x.log_()
    with np.errstate(invalid="ignore"):  # labels that are none are told by their check, not here
        np.log(x.numpy(), out=x.numpy())
    return x


def log(q: Tensor) -> Tensor:
    """The logarithm, finite at 0."""
    return log_(q.clamp_min(torch.finfo(q.dtype).tiny))


def expected_gap(q: Tensor, log_q: Tensor, log_p: Tensor) -> Tensor:
    """(n,) sum_k q_k (log q_k - log p_k), where 0 times an infinite logarithm is 0; log_q is overwritten."""
    return _total(log_q.sub_(log_p).mul_(q), q)


def cross(q: Tensor, log_p: Tensor) -> Tensor:
    """(n,) -sum_k q_k log p_k, where 0 times an infinite logarithm is 0; log_p is overwritten."""
    return _total(log_p.mul_(q), q).neg_()


def _total(terms: Tensor, q: Tensor) -> Tensor:
    rows = terms.sum(-1)
    return terms.masked_fill_(q == 0, 0.0).sum(-1) if math.isnan(rows.sum()) else rows


def cross_step(logits: Tensor, q: Tensor, into: Tensor) -> Tensor:
    """(n,) cross-entropy to q, and its gradient."""
    log_p = log_softmax(logits)
    through_log_softmax(log_p, q, into).neg_()
    return cross(q, log_p)
