"""Linear-chain conditional random field in torch: pure functions, for whole and for partial labels.

score(y) = start[y_1] + sum_t emissions[t, y_t] + sum_t transitions[y_t-1, y_t] + end[y_T];   p(y | x) = exp(score(y)) / Z.

Shapes: B sequences, T steps of the longest, K classes. A mask (B, T) is True on real steps, which come first; what stands on
the other steps has no influence. Everything is computed in log space.
Source: Lafferty, McCallum & Pereira 2001; partial labels: Tsuboi et al. 2008, eq. 4; Rabiner 1989 (forward, Viterbi).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelwright.errors import DataError, LabelError

if TYPE_CHECKING:
    from torch import Tensor


def log_partition(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, mask: Tensor, allowed: Tensor | None = None
) -> Tensor:
    """(B,) log of the summed exp(score) over all class sequences, or over those inside `allowed`.

    Args:
        emissions: (B, T, K) scores of each class at each step.
        transitions: (K, K) [class, next class]; -inf forbids a pair.   start, end: (K,) of the first and last class.
        mask: (B, T) bool.
        allowed: (B, T, K) bool, the classes that a step may have; None: all. This is the forward pass of partial labels.

    Raises:
        DataError: shapes that do not fit, a mask whose real steps do not come first, a sequence without a step.
        LabelError: a real step with no class allowed.

    >>> import torch
    >>> zero = torch.zeros(2)
    >>> log_z = log_partition(torch.zeros(1, 3, 2), torch.zeros(2, 2), zero, zero, torch.ones(1, 3, dtype=torch.bool))
    >>> round(float(log_z.exp()), 3)  # 2^3 sequences, each of weight 1
    8.0
    """
    import torch

    _check(emissions, transitions, start, end, mask)
    if allowed is not None:
        emissions = _inside(emissions, mask, allowed)
    alpha = start + emissions[:, 0]
    for t in range(1, emissions.shape[1]):
        grown = torch.logsumexp(alpha[:, :, None] + transitions, 1) + emissions[:, t]
        alpha = torch.where(mask[:, t, None], grown, alpha)
    return torch.logsumexp(alpha + end, 1)


def crf_loss(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, mask: Tensor, allowed: Tensor
) -> Tensor:
    """(B,) -log p(the sequence lies inside `allowed`), in nats: logZ - logZ of the allowed sequences.

    With one class allowed per step it is the usual loss of a CRF; with all classes allowed everywhere it is 0.

    Args and Raises: as `log_partition`; `allowed_from_labels` makes `allowed` from class ids.
    """
    everything = log_partition(emissions, transitions, start, end, mask)
    return everything - log_partition(emissions, transitions, start, end, mask, allowed)


def marginals(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, mask: Tensor, allowed: Tensor | None = None
) -> Tensor:
    """(B, T, K) p(y_t | x), given also that the sequence lies inside `allowed`; 0 on the steps outside the mask.

    They are the gradient of logZ with respect to the emissions, so no backward pass is written by hand. The result is
    detached.

    Args and Raises: as `log_partition`.
    """
    import torch

    with torch.enable_grad():
        scores = emissions.detach().requires_grad_()
        fixed = (transitions.detach(), start.detach(), end.detach())
        total = log_partition(scores, *fixed, mask, allowed).sum()
        return torch.autograd.grad(total, scores)[0]


def viterbi(emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, mask: Tensor) -> Tensor:
    """(B, T) int64 classes of the best-scoring sequence, -1 outside the mask.

    Args and Raises: as `log_partition`.
    """
    import torch

    _check(emissions, transitions, start, end, mask)
    best = start + emissions[:, 0]
    own = torch.arange(emissions.shape[2], device=emissions.device).expand_as(best)
    came_from = []
    for t in range(1, emissions.shape[1]):
        score, previous = (best[:, :, None] + transitions).max(1)
        here = mask[:, t, None]
        best = torch.where(here, score + emissions[:, t], best)
        came_from.append(torch.where(here, previous, own))  # outside the mask the path stands still
    state = (best + end).argmax(1)
    path = [state]
    for previous in reversed(came_from):
        state = previous.gather(1, state[:, None])[:, 0]
        path.append(state)
    return torch.stack(path[::-1], 1).masked_fill(~mask, -1)


def allowed_from_labels(labels: Tensor, n_classes: int) -> Tensor:
    """(B, T, K) bool from class ids (B, T): the class itself, every class where the id is -1.

    >>> import torch
    >>> allowed_from_labels(torch.tensor([[1, -1]]), 2)
    tensor([[[False,  True],
             [ True,  True]]])
    """
    import torch

    return (labels[..., None] == torch.arange(n_classes, device=labels.device)) | (labels < 0)[..., None]


def _inside(emissions: Tensor, mask: Tensor, allowed: Tensor) -> Tensor:
    """Emissions with -inf on classes that are not allowed; steps outside the mask stay as they are."""
    if allowed.shape != emissions.shape:
        raise DataError(
            found=f"allowed of shape {tuple(allowed.shape)} for emissions of shape {tuple(emissions.shape)}",
            expected="one flag per emission",
            fix="make it with allowed_from_labels",
        )
    nothing = mask & ~allowed.any(-1)
    if nothing.any():
        row, step = nothing.nonzero()[0].tolist()
        raise LabelError(
            found=f"{int(nothing.sum())} steps with no class allowed, first is step {step} of sequence {row}",
            expected="at least one class for every step",
            fix="allow every class where nothing is known",
        )
    return emissions.masked_fill(~(allowed | ~mask[..., None]), -float("inf"))


def _check(emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, mask: Tensor) -> None:
    if emissions.ndim != 3 or emissions.shape[:2] != mask.shape:
        raise DataError(
            found=f"emissions of shape {tuple(emissions.shape)} and a mask of shape {tuple(mask.shape)}",
            expected="(B, T, K) and (B, T)",
            fix="stack the sequences, padded to the length of the longest",
        )
    k = emissions.shape[2]
    if transitions.shape != (k, k) or start.shape != (k,) or end.shape != (k,):
        raise DataError(
            found=f"transitions {tuple(transitions.shape)}, start {tuple(start.shape)}, end {tuple(end.shape)}",
            expected=f"({k}, {k}), ({k},) and ({k},), as the emissions have {k} classes",
            fix="make them for the same classes",
        )
    if not mask.shape[1] or not bool(mask[:, 0].all()) or bool((mask[:, 1:] & ~mask[:, :-1]).any()):
        raise DataError(
            found="a mask with a sequence of no steps, or with padding before a real step",
            expected="True on the first steps of every sequence, at least one",
            fix="pad at the end, and leave empty sequences out",
        )
