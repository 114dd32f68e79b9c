"""How far to trust a teacher on a pruned set: the share of its soft labels in the loss, chosen on validation items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from labelwright.errors import DataError, OptionError, check_whole

GRID = (0.0, 0.25, 0.5, 0.75, 1.0)


class Alpha(NamedTuple):
    """alpha: the chosen share.   grid: (G,) the shares tried, ascending.   scores: (G, R) what each scored in each repeat."""

    alpha: float
    grid: np.ndarray
    scores: np.ndarray


def choose_alpha(
    score: Callable[[float, int], float],
    *,
    grid: Sequence[float] = GRID,
    repeats: int = 1,
    higher_is_better: bool = True,
) -> Alpha:
    """The share alpha of the teacher in (1 - alpha) CE(label) + alpha T^2 KL(teacher || student) that validates best.

    The best share depends on how much is kept: near 1 on small sets, whose labels say little, lower where much is kept. Choose
    it with a cheap student; equal scores go to the larger share.

    Args:
        score: called as score(alpha, repeat), trains a student and returns its score on validation items, never on test items.
        grid: shares in [0, 1].
        repeats: students per share; their mean counts.
        higher_is_better: False for a log loss.

    Raises:
        OptionError: shares outside [0, 1], or none.   DataError: a score that is no number.

    Source: Ben-Baruch et al. 2024, "Distilling the knowledge in data pruning": alpha by the kept share; the grid is ours.

    >>> choose_alpha(lambda alpha, repeat: -abs(alpha - 0.7)).alpha
    0.75
    """
    check_whole("repeats", repeats, 1)
    shares = np.unique(np.asarray(grid, np.float64))
    if not len(shares) or not ((shares >= 0) & (shares <= 1)).all():
        raise OptionError(
            found=f"grid={grid!r}", expected="shares in [0, 1]", fix="leave grid out for 0, 0.25, 0.5, 0.75, 1"
        )
    scores = np.array([[float(score(float(a), r)) for r in range(repeats)] for a in shares])
    if np.isnan(scores).any():
        bad = float(shares[int(np.isnan(scores).any(1).argmax())])
        raise DataError(
            found=f"a score of NaN at alpha={bad:g}",
            expected="numbers",
            fix="look at what score(alpha, repeat) returns",
        )
    mean = scores.mean(1) * (1 if higher_is_better else -1)
    return Alpha(float(shares[np.flatnonzero(mean == mean.max())[-1]]), shares, scores)
