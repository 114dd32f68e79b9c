"""Ordered classes and human scores: soft labels that know the order, and losses on them."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from labelwright.errors import DataError, OptionError, check_option
from labelwright.learning.losses._blocks import by_blocks, cross_step
from labelwright.learning.losses._rows import (
    check_ids,
    check_logits,
    check_positive,
    entropy,
    is_hard,
    known_ids,
    known_mass,
    reduced,
    soft_rows,
    wide,
)
from labelwright.learning.losses.soft import divergence_rows

DISTANCES = ("l1", "l2", "logl2")
GRID = 60  # halvings when a tilt is sought: below the rounding of float64 on any bracket in use


def ordinal_targets(
    targets: Tensor,
    *,
    ranks: Tensor | None = None,
    n_classes: int | None = None,
    distance: str = "l2",
    alpha: float = 1.0,
    check: bool = True,
) -> Tensor:
    """(..., K) soft labels that fall with the distance from the given class: softmax_k(-distance(r_y, r_k)).

    Args:
        targets: hard ids (...); -1 gives a row of zeros, which every loss here ignores. Or soft (..., K): the mixture.
        ranks: (K,) strictly increasing places of the classes; None: 1 .. n_classes.
        distance: "l1" alpha |a - b|, "l2" alpha^2 (a - b)^2, "logl2" (alpha (log a - log b))^2, for ranks above 0.
        alpha: larger is sharper.

    Source: Díaz & Marathe 2019 (SORD).

    >>> ordinal_targets(torch.tensor([0]), n_classes=3)
    tensor([[0.7214, 0.2654, 0.0132]])
    """
    table = _ordinal_table(ranks, n_classes, distance, alpha)[0].to(targets.device)
    k = table.shape[1]
    if targets.is_floating_point():
        if targets.shape[-1:] != (k,):
            raise DataError(
                found=f"soft targets of shape {tuple(targets.shape)} for {k} ranks",
                expected=f"(..., {k})",
                fix="give one rank per class",
            )
        known_mass(targets, check)
        return wide(targets) @ table[:k].to(wide(targets).dtype)
    if check:
        check_ids(targets, k)
    return table[targets.long()]


def ordinal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    ranks: Tensor | None = None,
    distance: str = "l2",
    alpha: float = 1.0,
    weight: Tensor | None = None,
    reduction: str = "mean",
    check: bool = True,
) -> Tensor:
    """KL from `ordinal_targets` to predictions; the mean divides by the rows that count, not by their weights.

    Args:
        logits: (..., K).   targets: hard ids (-1 = ignored) or soft.   weight: (...) factor of each row, optional.
        ranks, distance, alpha: of `ordinal_targets`.

    Source: Díaz & Marathe 2019 (SORD); weights per row as in "Navigation-Oriented Scene Understanding" (RA-L 2022).
    """
    k = logits.shape[-1]
    if is_hard(logits, targets):
        table, spare = (x.to(wide(logits[:0])) for x in _ordinal_table(ranks, k, distance, alpha))
        counted = known_ids(targets, k, check)
        rows = by_blocks(_ordinal, _ordinal_step, logits, targets, table=table, entropies=spare, check=check)
    else:
        q = ordinal_targets(targets, ranks=ranks, n_classes=k, distance=distance, alpha=alpha, check=check)
        counted = known_mass(targets, check=False)
        rows = divergence_rows(logits, q)
    return reduced(rows if weight is None else rows * weight.to(rows), counted, reduction)


def score_targets(
    mean: Tensor,
    std: Tensor,
    *,
    low: float = 1.0,
    high: float = 5.0,
    levels: int = 5,
    method: str = "tilt",
    raw: str = "cdf",
) -> Tensor:
    """(..., levels) soft labels over ordered levels, lowest first, from the mean and spread of human scores.

    Args:
        mean, std: (...) on the data set's own scale from `low` to `high`. std = 0 is fine.
        method: "tilt" multiplies the raw label by exp(c k) so that its mean is right; "affine" is the paper's a p + b, cut
            at 0 (a mean in the middle of the scale gives an even label there); "linear" splits between the two
            levels beside the mean and knows no spread. All fall back to linear where the spread is under 0.2 of a level
            or the mean would be off by more than 0.1.
        raw: "cdf" takes the normal's mass around each level, "pdf" its density at the level.

    Source: You et al. 2025 (DeQA-Score); the tilt is ours.

    >>> score_targets(torch.tensor([3.0]), torch.tensor([0.0]))
    tensor([[0., 0., 1., 0., 0.]])
    """
    check_option("method", method, ("tilt", "affine", "linear"))
    check_option("raw", raw, ("cdf", "pdf"))
    if not high > low or levels < 2:
        raise OptionError(
            found=f"low={low!r}, high={high!r}, levels={levels!r}",
            expected="low below high and two levels or more",
            fix="pass the ends of the scale that the scores were given on",
        )
    mu, sigma = ((x.double() - base) * (levels - 1) / (high - low) for x, base in ((mean, low), (std, 0.0)))
    if mean.shape != std.shape or not ((mu >= 0) & (mu <= levels - 1) & (sigma >= 0)).all():
        raise DataError(
            found=f"mean {tuple(mean.shape)} and std {tuple(std.shape)}, or a mean outside {low} to {high}, or a std below 0",
            expected=f"one mean within {low} to {high} and one std of at least 0 per item",
            fix="pass low and high of the scale of this data set",
        )
    level = torch.arange(levels, dtype=torch.float64, device=mean.device)
    linear = (1 - (level - mu[..., None]).abs()).clamp_min(0.0)
    if method == "linear":
        return linear.float()
    p = _raw(mu[..., None], sigma[..., None].clamp_min(1e-3), level, raw)
    p = _tilted(p, mu, level) if method == "tilt" else _affine(p, mu, level)
    off = ((p * level).sum(-1) - mu).abs() > 0.1
    return torch.where(((sigma < 0.2) | off)[..., None], linear, p).float()


def expected_score(logits: Tensor, *, scores: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(...) mean and variance of the score under softmax(logits); `scores` (K,) of the levels, None: 1 .. K."""
    check_logits(logits)
    p = wide(logits).softmax(-1)
    place = torch.arange(1, p.shape[-1] + 1) if scores is None else scores
    place = place.to(p)
    mean = (p * place).sum(-1)
    return mean, (p * (place - mean[..., None]) ** 2).sum(-1)


def fidelity(
    logits: Tensor,
    targets: Tensor,
    *,
    std: Tensor,
    group: Tensor | None = None,
    scores: Tensor | None = None,
    predicted_spread: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """How well pairs are ordered: 1 - sqrt(P Q) - sqrt((1 - P)(1 - Q)), P and Q the chances that one beats the other.

    Args:
        logits: (N, K) of the levels.   targets: (N,) mean human scores.   std: (N,) their spreads, on the same scale.
        group: (N,) data set of each item; only pairs within one are compared. None: one data set.
        scores: (K,) of the levels, None: 1 .. K.
        predicted_spread: divide by the predicted spreads; False takes both variances as 1, as the released code does.
        reduction: "mean" over the pairs, "sum", or "none" (pairs,), in the order of torch.triu_indices.

    1e-8 stands under each root for the sake of the gradient, so that a loss may lie 1e-4 below 0.

    Source: You et al. 2025 (DeQA-Score); Tsai et al. 2007.
    """
    check_option("reduction", reduction, ("mean", "sum", "none"))
    check_logits(logits)
    n = len(logits)
    if logits.ndim != 2 or any(x.shape != (n,) for x in (targets, std) + (() if group is None else (group,))):
        raise DataError(
            found=f"logits {tuple(logits.shape)}, targets {tuple(targets.shape)} and std {tuple(std.shape)}",
            expected="(N, K), (N,) and (N,), and (N,) groups",
            fix="pass one mean score and one spread per item",
        )
    first, second = torch.triu_indices(n, n, 1, device=logits.device)
    if group is not None:
        same = group[first] == group[second]
        first, second = first[same], second[same]
    score, var = expected_score(logits, scores=scores)
    means, stds = wide(targets.detach()).to(score), wide(std.detach()).to(score)

    def higher(mean: Tensor, var: Tensor | None) -> Tensor:
        """Probability that the first of a pair is the higher one; index_select, as its gradient is quick."""
        gap = mean.index_select(0, first) - mean.index_select(0, second)
        spread = 2.0**0.5 if var is None else (var.index_select(0, first) + var.index_select(0, second) + 1e-8).sqrt()
        return 0.5 * torch.erfc(gap / (-(2.0**0.5) * spread))

    ours, theirs = higher(score, var if predicted_spread else None), higher(means, stds**2)
    rows = 1 - (ours * theirs + 1e-8).sqrt() - ((1 - ours) * (1 - theirs) + 1e-8).sqrt()
    return reduced(rows, None, reduction)


def _ordinal(logits: Tensor, ids: Tensor, table: Tensor, entropies: Tensor, check: bool) -> Tensor:
    return soft_rows(logits, table[ids.long()], check) - entropies[ids.long()]


def _ordinal_step(
    logits: Tensor, ids: Tensor, table: Tensor, entropies: Tensor, check: bool, into: Tensor
) -> Tensor:  # fmt: skip
    ids = ids.long().masked_fill(ids < 0, len(table) - 1)
    return cross_step(logits, table.index_select(0, ids), into).sub_(entropies.index_select(0, ids))


def _ordinal_table(ranks: Tensor | None, n_classes: int | None, distance: str, alpha: float) -> tuple[Tensor, Tensor]:
    """(K + 1, K) float32, [given class, level], the row at -1 zeros; and the entropy of each row."""
    check_option("distance", distance, DISTANCES)
    check_positive("alpha", alpha)
    if ranks is None and n_classes is None:
        raise OptionError(found="neither ranks nor n_classes", expected="one of them", fix="pass n_classes=K")
    r = tuple(range(1, int(n_classes or 0) + 1)) if ranks is None else tuple(ranks.tolist())
    if not r or any(b <= a for a, b in zip(r, r[1:])) or (n_classes is not None and len(r) != n_classes):
        raise OptionError(
            found=f"ranks={list(r)} for {n_classes or len(r)} classes",
            expected="one rank per class, strictly increasing",
            fix="order the classes from lowest to highest, or leave ranks out",
        )
    if distance == "logl2" and r[0] <= 0:
        raise OptionError(found=f"ranks from {r[0]:g}", expected="above 0 for logl2", fix="start the ranks at 1")
    return _table(r, distance, alpha)


@lru_cache(maxsize=8)
def _table(ranks: tuple[float, ...], distance: str, alpha: float) -> tuple[Tensor, Tensor]:
    """The same for every step of a training, so it is made once. Never written to."""
    with torch.inference_mode(False):  # what is kept must serve a later training
        r = torch.tensor(ranks, dtype=torch.float64)
        r = r.log() if distance == "logl2" else r
        apart = alpha * (r[:, None] - r).abs()
        table = F.pad((-(apart if distance == "l1" else apart**2)).softmax(-1), (0, 0, 0, 1))
        return table.float(), entropy(table).float()


def _raw(mu: Tensor, sigma: Tensor, level: Tensor, raw: str) -> Tensor:
    if raw == "cdf":
        return torch.special.ndtr((level + 0.5 - mu) / sigma) - torch.special.ndtr((level - 0.5 - mu) / sigma)
    return torch.exp(-0.5 * ((level - mu) / sigma) ** 2) / (sigma * (2 * torch.pi) ** 0.5)


def _affine(p: Tensor, mu: Tensor, level: Tensor) -> Tensor:
    """a p + b with sum 1 and mean mu, cut at 0 and not normalised again, as released."""
    middle = (len(level) - 1) / 2
    total, first = p.sum(-1), (p * level).sum(-1)
    a = (mu - middle) / (first - middle * total + 1e-9)
    b = (1 - a * total) / len(level)
    return (a[..., None] * p + b[..., None]).clamp_min(0.0)


def _tilted(p: Tensor, mu: Tensor, level: Tensor) -> Tensor:
    """p exp(c k), normalised, with the c whose mean is mu: the mean rises with c, so halving finds it."""
    log_p = p.clamp_min(1e-300).log()
    low, high = torch.full_like(mu, -50.0), torch.full_like(mu, 50.0)
    for _ in range(GRID):
        c = 0.5 * (low + high)
        above = ((log_p + c[..., None] * level).softmax(-1) * level).sum(-1) > mu
        low, high = torch.where(above, low, c), torch.where(above, c, high)
    return (log_p + (0.5 * (low + high))[..., None] * level).softmax(-1)
