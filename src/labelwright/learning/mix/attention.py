"""Labels of mixed images weighed by where the network looks: TransMix, and progressive attention labelling.

Attention comes from the network's pass over the mixed images: softmax of the last block before dropout, mean over heads,
from the class token to the patches, (N, P) or (N, gh, gw). It is detached, and so is all that is made of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import isqrt

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from labelwright.errors import DataError
from labelwright.learning.losses._rows import check_logits, check_share
from labelwright.learning.mix.pairs import cutmix
from labelwright.learning.mix.records import How, Mixed, Seed, mix_targets, pixel_masks


def transmix(
    images: Tensor,
    targets: Tensor,
    *,
    attention: Tensor | Callable[[Tensor], Tensor],
    seed: Seed,
    attention_share: float = 0.5,
    alpha: float = 1.0,
    partner: str = "reverse",
    n_classes: int | None = None,
    multi_label: bool = False,
    check: bool = True,
) -> Mixed:
    """`cutmix` whose labels are weighed half by area and half by the attention that falls on each image's patches.

    Args:
        images: (N, C, H, W).   targets: hard ids (give n_classes), soft, or multi-label.
        attention: from the mixed images, or a function that gives it for them. In a training loop that needs one pass only,
            call `cutmix`, the network, then `weigh_by_attention` and `mix_targets`.
        attention_share: 0.5 as released, 1.0 as in the paper's formula, 0.0 is `cutmix`.

    Source: Chen et al. 2022.
    """
    mixed = cutmix(
        images, targets, seed=seed, alpha=alpha, partner=partner, n_classes=n_classes, multi_label=multi_label, check=check
    )  # fmt: skip
    seen = attention if isinstance(attention, Tensor) else attention(mixed.images)
    how = weigh_by_attention(mixed.how, seen, *images.shape[-2:], attention_share=attention_share)
    return Mixed(mixed.images, mix_targets(targets, how), how)


def weigh_by_attention(
    how: How, attention: Tensor, height: int, width: int, *, attention_share: float | np.ndarray = 0.5
) -> How:
    """The record with lam = (1 - share) * pixel share + share * attention on the own image.

    Args:
        how: of boxes or a grid.   attention: (N, P) with P square, or (N, gh, gw); not negative, any scale.
        height, width: of the images.   attention_share: one number, or (N,).

    A patch that both images share counts for both by its pixels, so that a small box does not vanish. Items whose attention
    is 0 everywhere keep the pixel share.

    Raises:
        DataError: attention of another batch, negative, or of no grid.
    """
    a = attention.detach().double().cpu().numpy()
    if a.ndim == 2 and isqrt(a.shape[1]) ** 2 == a.shape[1]:
        a = a.reshape(len(a), isqrt(a.shape[1]), -1)
    if a.ndim != 3 or len(a) != len(how.partner) or not np.isfinite(a).all() or a.min() < 0:
        raise DataError(
            found=f"attention of shape {tuple(attention.shape)} for {len(how.partner)} images, or values below 0",
            expected="(N, P) of a square grid or (N, gh, gw), 0 or more",
            fix="take the class token's row, drop class and distillation tokens, reshape to the grid",
        )
    shares = np.unique(np.asarray(attention_share, float))
    for share in (shares[0], shares[-1]):
        check_share("attention_share", float(share))
    own = torch.as_tensor(pixel_masks(how, height, width), dtype=torch.float64)[:, None]
    patches = F.adaptive_avg_pool2d(own, a.shape[1:])[:, 0].numpy()
    total = a.sum((1, 2))
    seen = np.where(total > 0, (patches * a).sum((1, 2)) / np.where(total > 0, total, 1), how.pixels)
    return replace(how, lam=(1 - attention_share) * how.pixels + attention_share * seen)


def weigh_progressively(
    how: How, attention: Tensor, logits: Tensor, targets: Tensor, height: int, width: int, *, smoothing: float = 0.1
) -> How:
    """`weigh_by_attention`, with each item's share the cosine of its prediction and its mixed label by area.

    Early, predictions are even and area counts; later, attention does.

    Args:
        logits: (N, K) of the mixed images.   targets: before mixing.   smoothing: of the label in the cosine only.

    Source: Zhao et al. 2023 (MixPro), progressive attention labelling; the released code lets a gradient through the cosine.
    """
    check_logits(logits)
    y = mix_targets(targets, replace(how, lam=how.pixels)).to(logits.device)
    if y.shape != logits.shape:
        raise DataError(
            found=f"logits {tuple(logits.shape)} for labels {tuple(y.shape)}", expected="one shape",
            fix="give the logits of the mixed images over the same classes",
        )  # fmt: skip
    check_share("smoothing", smoothing)
    z = logits.detach().double()
    p = z.sigmoid() if how.multi_label else z.softmax(-1)
    even = smoothing * (0.5 if how.multi_label else 1 / y.shape[1])
    label = y.double().clamp_min(0) * (1 - smoothing) + even
    progress = F.cosine_similarity(p, label, dim=-1).clamp(0, 1).cpu().numpy()
    return weigh_by_attention(how, attention, height, width, attention_share=progress)
