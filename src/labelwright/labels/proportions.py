"""Class shares of bags of items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from labelwright.errors import LabelError
from labelwright.labels._evidence import Evidence, aligned
from labelwright.labels.check import check_distributions
from labelwright.labels.space import LabelSpace


@dataclass(frozen=True, eq=False)
class LabelProportions(Evidence):
    """For each of B bags the share of every class among its items.

    bag: (N,) int64, the bag of each item, -1 for none.   share: (B, K) float64, rows sum to 1.

    >>> bags = LabelProportions.from_shares([0, 0, 0, 0], [[0.75, 0.25]])
    >>> bags.counts().tolist()
    [[3, 1]]
    """

    bag: np.ndarray
    share: np.ndarray
    space: LabelSpace
    rows: ClassVar[tuple[str, ...]] = ("bag",)

    @classmethod
    def from_shares(cls, bag: Any, share: Any, space: LabelSpace | None = None) -> LabelProportions:
        """From bag ids (N,) in -1..B-1 and shares (B, K)."""
        table = check_distributions(np.atleast_2d(np.asarray(share, dtype=np.float64)), "share")
        ids = np.asarray(bag)
        if ids.ndim != 1 or ids.dtype.kind not in "iu" or (len(ids) and (ids.min() < -1 or ids.max() >= len(table))):
            raise LabelError(
                found=f"bag ids of dtype {ids.dtype} up to {ids.max() if ids.size else 'none'} for {len(table)} bags",
                expected=f"integers 0 to {len(table) - 1}, or -1 for items in no bag",
                fix="number the bags as the rows of `share`",
            )
        space = space or LabelSpace(range(table.shape[1]))
        if table.shape[1] != len(space):
            raise LabelError(
                found=f"{table.shape[1]} columns for {len(space)} classes",
                expected="one per class",
                fix="pass the space",
            )
        return cls(ids.astype(np.int64), table / table.sum(1, keepdims=True), space)

    @property
    def size(self) -> np.ndarray:
        """(B,) number of items in each bag."""
        return np.bincount(self.bag[self.bag >= 0], minlength=len(self.share))

    def counts(self) -> np.ndarray:
        """(B, K) int64: whole numbers of items per class that come nearest to the shares (largest remainder, ties to
        the lower class id); rows sum to the bag's size. This is the factor that joint inference over a bag uses."""
        exact = self.share * self.size[:, None]
        low = np.floor(exact + 1e-9).astype(np.int64)
        missing = self.size - low.sum(1)
        rank = np.argsort(np.argsort(-(exact - low), axis=1, kind="stable"), axis=1)
        return low + (rank < missing[:, None])

    def loglik(self, space: LabelSpace | None = None) -> np.ndarray:
        """(N, K) log share of the item's bag: the bag's evidence about one item when the others are summed out.
        Items in no bag get 0."""
        with np.errstate(divide="ignore"):
            out = aligned(np.log(self.share)[self.bag], self.space, space, -np.inf)
        out[self.bag < 0] = 0.0
        return out
