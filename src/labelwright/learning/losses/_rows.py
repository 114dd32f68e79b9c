"""What every loss shares: looking at targets, one value per row, and the reduction of the rows.

A target is one of three kinds, told by its type and by `multi_label`, never guessed from its values:
hard ids, integer (...), -1 = ignored; soft, float (..., K), each row a distribution, a row of zeros = no evidence, ignored;
multi-label, (..., K) bool, integer or float in [0, 1], -1 = unknown cell, ignored.
Half precision is widened to float32 before the first exponential, and so are the losses.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad

from labelwright.errors import DataError, LabelError, OptionError, ProbabilityError, check_option, rows

REDUCTIONS = ("mean", "sum", "none")
HALF = (torch.float16, torch.bfloat16)


def wide(x: Tensor) -> Tensor:
    """float32 of half precision; other floats as they are."""
    return x.float() if x.dtype in HALF else x


def wide_dtype(x: Tensor) -> torch.dtype:
    """What `wide` makes of its dtype."""
    return torch.float32 if x.dtype in HALF else x.dtype


def joined(parts: list[Tensor]) -> Tensor:
    """One tensor of blocks of rows."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def log_probs(logits: Tensor) -> Tensor:
    """(..., K) log softmax in at least float32, finite where a logit is -inf, so that 0 * log 0 = 0."""
    logits = wide(logits)
    return logits.log_softmax(-1).clamp_min(torch.finfo(logits.dtype).min)


def reduced(loss: Tensor, counted: Tensor | None, reduction: str) -> Tensor:
    """Rows that do not count are 0; the mean is over the rows that do (0 if none does). None: all count."""
    check_option("reduction", reduction, REDUCTIONS)
    if counted is not None:
        loss = loss.masked_fill(~counted, 0.0)
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if counted is None and loss.numel():
        return loss.mean()
    return loss.sum() / (loss.new_tensor(loss.numel()) if counted is None else counted.sum()).clamp_min(1)


def soft_rows(logits: Tensor, q: Tensor, check: bool = True) -> Tensor:
    """(...) -sum_k q_k log softmax(logits)_k, by torch's own kernel.

    It gives NaN where a logit of -inf meets a target of 0; such rows are looked for, and computed anew. On a device that would
    have to be waited for, with checks off, the logarithms are held finite from the start.
    """
    if not check and logits.device.type != "cpu":
        return -(q * log_probs(logits)).sum(-1)
    if logits.ndim == 2:
        rows = F.cross_entropy(logits, q, reduction="none")
    else:
        k = logits.shape[-1]
        rows = F.cross_entropy(logits.reshape(-1, k), q.reshape(-1, k), reduction="none").reshape(logits.shape[:-1])
    return -(q * log_probs(logits)).sum(-1) if bool(rows.detach().sum().isnan()) else rows


def hard_rows(logits: Tensor, ids: Tensor) -> Tensor:
    """(...) -log softmax(logits) at the ids, 0 at -1."""
    if logits.ndim == 2:
        return F.cross_entropy(logits, ids.long(), ignore_index=-1, reduction="none")
    k = logits.shape[-1]
    rows = F.cross_entropy(logits.reshape(-1, k), ids.reshape(-1).long(), ignore_index=-1, reduction="none")
    return rows.reshape(logits.shape[:-1])


def watched(*tensors: Tensor | None) -> bool:
    """Whether something but plain autograd looks on: torch.func, torch.compile or forward mode. It wants plain operations."""
    return (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or any(x is not None and forward_ad.unpack_dual(x).tangent is not None for x in tensors)  # type: ignore[no-untyped-call]
    )


def entropy(q: Tensor) -> Tensor:
    """(...) -sum_k q_k log q_k, with gradients of every order."""
    if watched(q):
        return -(q * q.clamp_min(torch.finfo(q.dtype).tiny).log()).sum(-1)
    if not (q.requires_grad and torch.is_grad_enabled()):
        return -q.clamp_min(torch.finfo(q.dtype).tiny).log_().mul_(q).sum(-1)
    rows: Tensor = _Entropy.apply(q)  # type: ignore[no-untyped-call]
    return rows


class _Entropy(torch.autograd.Function):
    """One temporary where plain operations would keep four, which is most of the time for a thousand classes."""

    @staticmethod
    def forward(ctx: Any, q: Tensor) -> Tensor:
        ctx.save_for_backward(q)
        return -q.clamp_min(torch.finfo(q.dtype).tiny).log_().mul_(q).sum(-1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (q,) = ctx.saved_tensors
        slope = q.clamp_min(torch.finfo(q.dtype).tiny)
        if torch.is_grad_enabled():  # the gradient will be differentiated
            return -(slope.log() + 1) * grads[0][..., None]
        return slope.log_().add_(1).mul_(-grads[0][..., None])


def is_hard(logits: Tensor, targets: Tensor) -> bool:
    """Whether `targets` are class ids (True) or distributions (False), by type and shape.

    Raises:
        DataError: logits that are no floats with a class axis, or targets of another shape or type.
    """
    check_logits(logits)
    floats = targets.is_floating_point()
    if floats and targets.shape == logits.shape:
        return False
    if not floats and targets.dtype != torch.bool and targets.shape == logits.shape[:-1]:
        return True
    lead, k = tuple(logits.shape[:-1]), logits.shape[-1]
    if floats and targets.shape == logits.shape[:-1]:
        fix = "class ids are integers: pass targets.long()"
    elif not floats and targets.shape == logits.shape:
        fix = "pass multi_label=True where the loss has it, or targets.float() if every row sums to 1"
    else:
        fix = "make logits and targets from the same items, the classes in the last axis"
    raise DataError(
        found=f"targets of shape {tuple(targets.shape)} and dtype {targets.dtype} for logits of shape {tuple(logits.shape)}",
        expected=f"integer class ids {lead} or float distributions {(*lead, k)}",
        fix=fix,
    )


def check_logits(logits: Tensor, other: Tensor | None = None, name: str = "teacher_logits", least: int = 1) -> None:
    """Raise `DataError` unless `logits` are floats (..., K) with K >= least, and `other` has their shape."""
    if not logits.is_floating_point() or logits.ndim < 1 or logits.shape[-1] < least:
        raise DataError(
            found=f"logits of shape {tuple(logits.shape)} and dtype {logits.dtype}",
            expected=f"floats (..., K) with K of at least {least}",
            fix="pass the raw scores of the network, one per class",
        )
    if other is not None and (other.shape != logits.shape or not other.is_floating_point()):
        raise DataError(
            found=f"{name} of shape {tuple(other.shape)} and dtype {other.dtype} for logits of shape {tuple(logits.shape)}",
            expected="floats of the same shape",
            fix="match the classes of teacher and student by name, and give both the same items",
        )


def known_ids(targets: Tensor, n_classes: int, check: bool) -> Tensor | None:
    """Which class ids count; None: all of them, as a check has found."""
    if check and targets.numel() and check_ids(targets, n_classes) >= 0:
        return None
    return targets >= 0


def check_ids(targets: Tensor, n_classes: int) -> int:
    """The least id. Raises `LabelError` for ids outside -1 .. K-1."""
    if not targets.numel():
        return -1
    low, high = (int(end) for end in targets.aminmax())
    if low < -1 or high >= n_classes:
        wrong = ((targets < -1) | (targets >= n_classes)).flatten().nonzero()[:, 0]
        raise LabelError(
            found=f"{len(wrong)} targets that are no class, {rows(wrong[:6].tolist())} ({low} to {high})",
            expected=f"class ids 0 to {n_classes - 1}, or -1 = ignored",
            fix="encode the labels in the order of the logits, and write other ignore values as -1",
        )
    return low


def known_mass(targets: Tensor, check: bool) -> Tensor | None:
    """Which soft rows count (those that are not all zeros); None: all of them, as a check has found.

    Raises:
        ProbabilityError: a row that is neither a distribution nor all zeros.
    """
    mass = Mass(targets, check)
    mass.see(targets)
    return mass.known()


class Mass:
    """`known_mass` of targets that are seen block by block."""

    def __init__(self, targets: Tensor, check: bool) -> None:
        self.targets, self.check, self.least, self.sums = targets, check, 0.0, list[Tensor]()

    def see(self, part: Tensor) -> None:
        part = part.detach()
        self.sums.append(part.sum(-1, dtype=wide_dtype(part)))
        if self.check and part.numel():
            self.least = min(self.least, float(part.amin()))

    def known(self) -> Tensor | None:
        """See `known_mass`; once all targets were seen."""
        targets = self.targets
        mass = joined(self.sums).reshape(targets.shape[:-1])
        if not self.check or not targets.numel():
            return mass != 0
        near = 1e-2 if targets.dtype in HALF else 1e-3
        least, most = (float(end) for end in mass.aminmax())
        if self.least >= 0 and most <= 1 + near and least >= 0:
            if least >= 1 - near:
                return None
            if bool((((mass - 1).abs() <= near) | (mass == 0)).all()):
                return mass != 0
        fine = (((mass - 1).abs() <= near) | (mass == 0)) & (targets >= 0).all(-1)
        wrong = (~fine).flatten().nonzero()[:, 0]
        first = targets.detach().reshape(-1, targets.shape[-1])[wrong[0]].float()
        raise ProbabilityError(
            found=f"{len(wrong)} rows of targets are no distribution, {rows(wrong[:6].tolist())} "
            f"(first: sum {float(first.sum()):.3g}, least {float(first.min()):.3g})",
            expected=f"every row >= 0 and summing to 1 within {near:g}, or all zeros where nothing is known",
            fix="divide by targets.sum(-1, keepdim=True); for several classes per item pass multi_label=True",
        )


def known_rows(logits: Tensor, targets: Tensor, check: bool) -> Tensor | None:
    """Which rows count, of ids or distributions (None: all)."""
    if is_hard(logits, targets):
        return known_ids(targets, logits.shape[-1], check)
    return known_mass(targets, check)


def spread(logits: Tensor, targets: Tensor) -> Tensor:
    """Checked targets as (..., K) distributions in the dtype of the (wide) logits, zeros at -1."""
    if targets.is_floating_point():
        return targets.to(logits.dtype)
    y = targets[..., None].long()
    return torch.zeros_like(logits).scatter_(-1, y.clamp_min(0), (y >= 0).to(logits.dtype))


def distributions(logits: Tensor, targets: Tensor, check: bool) -> tuple[Tensor, Tensor | None]:
    """Targets as (..., K) distributions in the dtype of the wide logits, and which rows count (None: all)."""
    dtype = wide_dtype(logits)
    if not is_hard(logits, targets):
        return targets.to(dtype), known_mass(targets, check)
    counted = known_ids(targets, logits.shape[-1], check)
    out = torch.zeros(logits.shape, dtype=dtype, device=logits.device)
    one = torch.ones_like(targets, dtype=dtype) if counted is None else counted.to(dtype)
    return out.scatter_(-1, targets.clamp_min(0)[..., None].long(), one[..., None]), counted


def top_class(logits: Tensor, targets: Tensor, check: bool) -> tuple[Tensor, Tensor | None]:
    """(...) the class of each row (the largest of a soft row, the first of equal ones), and which rows count (None: all)."""
    if is_hard(logits, targets):
        return targets.clamp_min(0).long(), known_ids(targets, logits.shape[-1], check)
    return targets.argmax(-1), known_mass(targets, check)


def per_class_pairs(logits: Tensor, targets: Tensor, check: bool) -> tuple[Tensor, Tensor, Tensor]:
    """A multi-label problem as K problems of two classes: logits and targets (..., K, 2), and known cells (..., K)."""
    check_logits(logits)
    if targets.shape != logits.shape:
        raise DataError(
            found=f"multi-label targets of shape {tuple(targets.shape)} for logits of shape {tuple(logits.shape)}",
            expected="one target per item and class",
            fix="encode the labels of each item as a row of 0 and 1 over all classes",
        )
    logits = wide(logits)
    y = targets.to(logits.dtype)
    known = y != -1
    if check and not (((y >= 0) & (y <= 1)) | ~known).all():
        raise LabelError(
            found=f"multi-label targets from {float(y.min()):.3g} to {float(y.max()):.3g}",
            expected="0 to 1 per class, or -1 where it is unknown",
            fix="write present as 1 and absent as 0",
        )
    y = y.masked_fill(~known, 0.0)
    return torch.stack([logits, torch.zeros_like(logits)], -1), torch.stack([y, 1 - y], -1), known


def check_positive(name: str, value: float) -> None:
    """Raise `OptionError` unless `value` is a finite number above 0."""
    if not 0 < value < float("inf"):
        raise OptionError(found=f"{name}={value!r}", expected="a finite number above 0", fix=f"pass {name}=1.0")


def check_share(name: str, value: float) -> None:
    """Raise `OptionError` unless `value` lies in [0, 1]."""
    if not 0 <= value <= 1:
        raise OptionError(found=f"{name}={value!r}", expected="a share in [0, 1]", fix=f"pass {name}=0.1")
