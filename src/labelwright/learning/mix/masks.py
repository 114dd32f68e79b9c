"""MaskMix: two images on a coarse grid that is aligned with the network's patches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from labelwright.errors import OptionError, check_whole
from labelwright.learning.mix.attention import weigh_by_attention, weigh_progressively
from labelwright.learning.mix.records import (
    How,
    Mixed,
    Seed,
    checked,
    draw_partner,
    draw_shares,
    mix_targets,
    own_share,
    replay,
)


def maskmix(
    images: Tensor,
    targets: Tensor,
    *,
    seed: Seed,
    cell: int,
    patch: int,
    look: Callable[[Tensor], tuple[Tensor, Tensor | None]] | None = None,
    smoothing: float = 0.1,
    alpha: float = 1.0,
    partner: str = "random",
    n_classes: int | None = None,
    multi_label: bool = False,
    check: bool = True,
) -> Mixed:
    """Each image keeps a random set of grid cells and shows another's in the rest.

    Args:
        images: (N, ..., H, W).   targets: hard ids (give n_classes), soft, or multi-label.
        cell: side of a cell in pixels, a multiple of `patch`, the network's (56 and 14 or 16 in the paper at 224).
        look: mixed images -> (attention, logits): the labels are then weighed progressively (`weigh_progressively`), or by
            attention alone where the logits are None. Without it the labels are weighed by pixels. In a training loop that
            needs one pass only, call those functions yourself.
        smoothing: of the label in the progress.   alpha: the share of own cells is Beta(alpha, alpha), one for the batch,
            rounded up.

    Source: Zhao et al. 2023 (MixPro).
    """
    check_whole("patch", patch, 1)
    check_whole("cell", cell, 1)
    if cell % patch:
        raise OptionError(found=f"cell={cell} and patch={patch}", expected="a multiple", fix=f"pass cell={patch * 4}")
    k = checked(images, targets, n_classes, multi_label, check=check)
    n, (height, width) = len(images), images.shape[-2:]
    rng = np.random.default_rng(seed)
    grid = -(-height // cell), -(-width // cell)
    kept = int(np.ceil(grid[0] * grid[1] * draw_shares(1, alpha, False, rng)[0]))
    masks = rng.random((n, grid[0] * grid[1])).argsort(1).argsort(1) < kept
    other, blank = draw_partner(n, partner, rng), np.zeros(n)
    how = How("grid", other, blank, blank, k, multi_label, masks=masks.reshape(n, *grid), cell=cell)
    mixed = replay(images, targets, own_share(how, height, width))
    if look is None:
        return mixed
    attention, logits = look(mixed.images)
    if logits is None:
        how = weigh_by_attention(mixed.how, attention, height, width, attention_share=1.0)
    else:
        how = weigh_progressively(mixed.how, attention, logits, targets, height, width, smoothing=smoothing)
    return Mixed(mixed.images, mix_targets(targets, how), how)
