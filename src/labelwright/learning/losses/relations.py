"""Learning from how a teacher relates things: correlations, distances, angles, features, and teachers to be taken for.

No labels. Teacher tensors are detached. A loss that compares items with each other says so: there a row of "none" holds
the row's own share and the whole batch's term, so that its mean is still the loss.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from labelwright.errors import DataError
from labelwright.learning.losses._blocks import (
    Pull,
    blocks,
    by_blocks,
    can_keep,
    dot,
    kept,
    over,
    softmax,
    through_softmax,
)
from labelwright.learning.losses._rows import check_logits, check_positive, reduced, wide, wide_dtype
from labelwright.learning.losses.soft import cross_rows, tempered

EXACT = "donot_use_mm_for_euclid_dist"
CLOSE = 1e-9
"""A square of a distance below this share of the vectors' own has lost more than half of its digits."""


def dist(
    logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 1.0,
    beta: float = 1.0,
    gamma: float = 1.0,
    reduction: str = "mean",
) -> Tensor:
    """Distillation of relations: 1 - correlation between the two softmaxes, along each row and along each class.

    T^2 [beta mean over rows + gamma mean over classes]. Rows or classes that are constant have correlation 0 and no
    gradient. The term along the classes belongs to the whole batch.

    Args:
        logits, teacher_logits: (..., K); all leading axes are items.   temperature: of both.

    Source: Huang et al. 2022 (DIST).
    """
    check_logits(logits, teacher_logits)
    check_positive("temperature", temperature)
    z, t = (x.reshape(-1, x.shape[-1]) for x in (logits, teacher_logits.detach()))

    def plain(z: Tensor, t: Tensor) -> Tensor:
        p, q = (tempered(x, temperature).softmax(-1) for x in (z, t))
        rows, classes = 1 - _correlation(p, q, -1), 1 - _correlation(p, q, 0).mean()
        return temperature**2 * (beta * rows + gamma * classes)

    def make(z: Tensor, t: Tensor) -> tuple[Tensor, Pull]:
        return _correlated(z, t, temperature, beta, gamma)

    keep = can_keep(z, t) and z.requires_grad and torch.is_grad_enabled()
    rows = kept(plain, make, z, t) if keep else plain(z, t)
    return reduced(rows.reshape(logits.shape[:-1]), None, reduction)


def relational_kd(
    features: Tensor,
    teacher_features: Tensor,
    *,
    distance: float = 25.0,
    angle: float = 50.0,
    reduction: str = "mean",
) -> Tensor:
    """Distillation of the geometry of a batch: distances of pairs (over their mean) and angles of triplets, by Huber loss.

    Row i holds the pairs and triplets with item i at their vertex. The angles take (N, N, N) floats of memory; with
    angle=0 they are not computed.

    Args:
        features: (N, D).   teacher_features: (N, any width).   distance, angle: weights, 25 and 50 in the paper.

    Source: Park et al. 2019.
    """
    ours, theirs = _vectors(features, teacher_features)
    rows = ours.new_zeros(len(ours))
    if distance:
        wants = ours.requires_grad and torch.is_grad_enabled()
        fast = wants and ours.dtype == torch.float32 and can_keep(ours, theirs)
        rows = rows + distance * (kept(_stretched, _stretch, ours, theirs) if fast else _stretched(ours, theirs))
    if angle:
        rows = rows + angle * F.smooth_l1_loss(_angles(ours), _angles(theirs), reduction="none").mean((-2, -1))
    return reduced(rows, None, reduction)


def hint(features: Tensor, teacher_features: Tensor, *, normalise: bool = False, reduction: str = "mean") -> Tensor:
    """Mean squared difference between features, averaged over everything but the first axis.

    Args:
        features, teacher_features: (N, ...) of one shape; a layer that brings the student's to the teacher's width is
            the caller's.   normalise: bring each item's features to length 1 first.

    Source: Romero et al. 2015 (FitNets; there a half times the sum; this is the mean).
    """
    if features.shape != teacher_features.shape or not features.ndim:
        raise DataError(
            found=f"features {tuple(features.shape)} and teacher_features {tuple(teacher_features.shape)}",
            expected="one shape, items first",
            fix="put a linear layer or a 1x1 convolution behind the student's features",
        )
    ours, theirs = wide(features).reshape(len(features), -1), wide(teacher_features.detach()).reshape(len(features), -1)
    if normalise:
        ours, theirs = F.normalize(ours, dim=-1), F.normalize(theirs, dim=-1)
    return reduced(by_blocks(_apart, _apart_step, ours, theirs), None, reduction)


def _apart(ours: Tensor, theirs: Tensor) -> Tensor:
    return ((ours - theirs) ** 2).mean(-1)


def _apart_step(ours: Tensor, theirs: Tensor, into: Tensor) -> Tensor:
    torch.sub(ours, theirs, out=into)
    rows = dot(into, into).div_(into.shape[-1])
    into.mul_(2 / into.shape[-1])
    return rows


def similarity_discriminator(
    logits: Tensor,
    teacher_logits: Tensor,
    *,
    discriminator: Callable[[Tensor], Tensor],
    weight: float = 1.0,
    reversal: float = 1.0,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy to the mean of the teachers' probabilities, plus a discriminator that tells student from teachers.

    Args:
        logits: (N, K).   teacher_logits: (N, K), or (M, N, K) of M teachers; the discriminator sees the mean of their logits.
        discriminator: (N, K) -> (N, 2); `logit_discriminator` makes one. Its parameters get their gradient from here.
        weight: of the discriminator's loss.
        reversal: the student gets the discriminator's gradient times -reversal: 1 = it learns to be taken for a
            teacher (paper), -1 = as in the released code (it learns to be told apart), 0 = it does not feel it.

    Source: Shen & Savvides 2020 (MEAL V2).
    """
    check_logits(logits, teacher_logits[0] if teacher_logits.ndim == logits.ndim + 1 else teacher_logits)
    z, t = wide(logits), wide(teacher_logits.detach())
    t = t[None] if t.ndim == z.ndim else t
    similarity = cross_rows(z, t.softmax(-1).mean(0) if len(t) > 1 else t[0].softmax(-1))
    seen = [discriminator(_felt(z, -reversal)), discriminator(t.mean(0) if len(t) > 1 else t[0])]
    if any(s.shape != (*z.shape[:-1], 2) for s in seen):
        raise DataError(
            found=f"a discriminator that gives {tuple(seen[0].shape)} for logits of shape {tuple(z.shape)}",
            expected=f"{(*z.shape[:-1], 2)}, one score for student and one for teacher",
            fix="use logit_discriminator(n_classes)",
        )
    told = [
        F.binary_cross_entropy_with_logits(wide(s), torch.tensor(truth).to(z).expand(s.shape), reduction="none").mean(
            -1
        )
        for s, truth in zip(seen, ([1.0, 0.0], [0.0, 1.0]))
    ]
    rows = similarity + weight * 0.5 * (told[0] + told[1])
    return reduced(rows, None, reduction)


def logit_discriminator(n_classes: int) -> torch.nn.Module:
    """K -> K/8 -> K/64 -> 2 with ReLU between, hidden layers at least 8 wide; no ReLU behind the last."""
    first, second = max(8, n_classes // 8), max(8, n_classes // 64)
    nn = torch.nn
    return nn.Sequential(
        nn.Linear(n_classes, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(), nn.Linear(second, 2)
    )  # fmt: skip


def _felt(z: Tensor, share: float) -> Tensor:
    """The value of z, exactly; of the gradient only its share."""
    if can_keep(z) and z.requires_grad and torch.is_grad_enabled():
        out = z.view_as(z)
        out.register_hook(lambda grad: None if grad is None else grad * share)  # type: ignore[no-untyped-call]
        return out
    return z.detach() + share * (z - z.detach())


def _correlated(z: Tensor, t: Tensor, temperature: float, beta: float, gamma: float) -> tuple[Tensor, Pull]:
    """The rows of `dist`, and their gradient: that of a correlation for its one side is a line in both sides."""
    (n, k), dtype = z.shape, wide_dtype(z)
    p, q = torch.empty(n, k, dtype=dtype), torch.empty(n, k, dtype=dtype)
    by_row, even = torch.empty(3, n, dtype=dtype), torch.tensor(1 / k, dtype=dtype)  # what a softmax is on average
    for ours, theirs, row, *logits in blocks(p, q, by_row.T, z, t):
        for into, x in zip((ours, theirs), logits):
            softmax(over(x, temperature), into)
        a, b = (x - x.mean(-1, keepdim=True) for x in (ours, theirs))
        row.copy_(torch.stack(_line(dot(a, a), dot(b, b), dot(a, b), even, even, k), -1))
    middle = p.mean(0), q.mean(0)
    sums = torch.zeros(3, k, dtype=dtype)
    for ours, theirs in blocks(p, q):
        a, b = ours - middle[0], theirs - middle[1]
        sums += torch.stack([(x * y).sum(0) for x, y in ((a, a), (b, b), (a, b))])
    by_class = _line(sums[0], sums[1], sums[2], *middle, n)
    rows = temperature**2 * (beta * (1 - by_row[0]) + gamma * (1 - by_class[0].mean()))

    def pull(grad: Tensor) -> Tensor:
        each = grad * (-beta * temperature)
        whole = grad.sum() * (-gamma * temperature / k)
        to_p, to_q = ((whole * c) for c in by_class[1:])
        level = to_p * middle[0] + to_q * middle[1]
        for ours, theirs, share, row in blocks(p, q, each[:, None], by_row.T):
            slope = (share * row[:, 2:] + to_q).mul_(theirs)
            slope.addcmul_(ours, share * row[:, 1:2] + to_p).sub_(level)
            through_softmax(ours, slope, ours)
        return p

    return rows, pull


def _line(
    aa: Tensor, bb: Tensor, ab: Tensor, mean_a: Tensor, mean_b: Tensor, n: int
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """A correlation from centred sums of products, and the slope for centred a: the second times a plus the third times b."""
    size = aa.sqrt(), bb.sqrt()
    noise = 4 * torch.finfo(aa.dtype).eps
    moves = (size[0] > noise * (aa + n * mean_a**2).sqrt()) & (size[1] > noise * (bb + n * mean_b**2).sqrt())
    whole = size[0] * size[1] + 1e-8
    out = ab / whole, -(ab / whole) * (size[1] / whole) / size[0], 1 / whole
    first, second, third = (torch.where(moves, x, 0.0) for x in out)
    return first, second, third


def _correlation(a: Tensor, b: Tensor, dim: int) -> Tensor:
    """Pearson's, along `dim`; 0 without a gradient where either is constant up to rounding."""
    scale = a.norm(dim=dim), b.norm(dim=dim)
    a, b = a - a.mean(dim, keepdim=True), b - b.mean(dim, keepdim=True)
    size = a.norm(dim=dim), b.norm(dim=dim)
    noise = 4 * torch.finfo(a.dtype).eps
    moves = (size[0] > noise * scale[0]) & (size[1] > noise * scale[1])
    return torch.where(moves, (a * b).sum(dim) / (size[0] * size[1] + 1e-8), 0.0)


def _vectors(features: Tensor, teacher_features: Tensor) -> tuple[Tensor, Tensor]:
    if features.ndim != 2 or teacher_features.ndim != 2 or len(features) != len(teacher_features):
        raise DataError(
            found=f"features {tuple(features.shape)} and teacher_features {tuple(teacher_features.shape)}",
            expected="(N, D) and (N, any width) of the same N items",
            fix="pool or flatten to one vector per item: features.flatten(1)",
        )
    return wide(features), wide(teacher_features.detach())


def _stretched(ours: Tensor, theirs: Tensor) -> Tensor:
    """(N,) mean Huber loss of the distances of each item, over the mean of those above 0."""
    u, v = (d / _usual(d) for d in (torch.cdist(x, x, compute_mode=EXACT) for x in (ours, theirs)))
    return F.smooth_l1_loss(u, v, reduction="none").mean(-1)


def _usual(d: Tensor) -> Tensor:
    """The mean of the distances above 0."""
    return (d.sum() / (d > 0).sum().clamp_min(1)).clamp_min(torch.finfo(d.dtype).tiny)


def _stretch(ours: Tensor, theirs: Tensor) -> tuple[Tensor, Pull]:
    """`_stretched` of float32, and its gradient, by products of matrices in float64."""
    (x, d), (_, of_teacher) = _precisely(ours), _precisely(theirs)
    usual, n = _usual(d), len(d)
    u = d / usual
    apart = u - of_teacher / _usual(of_teacher)

    def pull(grad: Tensor) -> Tensor:
        slope = apart.clamp(-1, 1).mul_(grad.double()[:, None] / (n * usual))  # for u, over the mean
        slope -= (slope * u).sum() / (d > 0).sum().clamp_min(1)  # the mean moves, too
        pulls = torch.where(d > 0, slope / d, 0.0)
        pulls = pulls + pulls.T
        return torch.addmm(pulls.sum(1, keepdim=True) * x, pulls, x, alpha=-1).to(ours.dtype)

    return F.smooth_l1_loss(apart, torch.zeros_like(apart), reduction="none").mean(-1).to(ours.dtype), pull


def _precisely(x: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors in float64 about their middle, and their distances (N, N).

    |a|^2 + |b|^2 - 2 a b loses the distance of what lies close together, beside its size; such pairs are taken one by one.
    """
    x = x.to(torch.float64, copy=True)
    x -= x.mean(0)
    size = torch.linalg.vecdot(x, x)
    size = size[:, None] + size
    square = size - 2 * torch.from_numpy(x.numpy() @ x.numpy().T)  # NumPy sees that it is symmetric: half the work
    first, second = torch.triu(square <= CLOSE * size, 1).nonzero().T
    if len(first) > 4 * len(x):
        return x, torch.cdist(x, x, compute_mode=EXACT)
    d = square.clamp_min_(0).sqrt_().fill_diagonal_(0)
    d[first, second] = d[second, first] = (x[first] - x[second]).norm(dim=1)
    return x, d


def _angles(x: Tensor) -> Tensor:
    """(N, N, N) cosine of the angle at item a between b and c; 0 where b or c lies on a."""
    toward = F.normalize(x[None] - x[:, None], dim=-1)  # [a, b] from a to b
    return toward @ toward.transpose(1, 2)
