"""Soft labels on a grid inside each item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from labelwright.errors import LabelError
from labelwright.labels._evidence import Evidence, aligned
from labelwright.labels.soft import SoftLabels
from labelwright.labels.space import LabelSpace


@dataclass(frozen=True, eq=False)
class LabelMap(Evidence):
    """The k likeliest classes of every cell of an h x w grid laid over each item.

    index: (N, h, w, k) int32, -1 pads.   prob: (N, h, w, k) float32; what is missing to 1 is spread evenly over the
    classes not listed. A cell with only -1 has no evidence.
    """

    index: np.ndarray
    prob: np.ndarray
    space: LabelSpace
    rows: ClassVar[tuple[str, ...]] = ("index", "prob")

    @classmethod
    def from_dense(cls, p: Any, space: LabelSpace | None = None, *, k: int = 5) -> LabelMap:
        """From (N, h, w, K) probabilities, keeping the k largest per cell; cells that are all NaN are unknown."""
        dense = np.asarray(p)
        if dense.ndim != 4:
            raise LabelError(found=f"a map of shape {dense.shape}", expected="(N, h, w, K)", fix="add the missing axes")
        cells = SoftLabels.from_dense(dense.reshape(-1, dense.shape[-1]), space, k=k)
        shape = (*dense.shape[:3], cells.index.shape[1])
        return cls(cells.index.reshape(shape), cells.prob.reshape(shape), cells.space)

    def cells(self) -> SoftLabels:
        """Every cell as a row of SoftLabels, in C order (N * h * w rows)."""
        k = self.index.shape[-1]
        return SoftLabels.from_topk(self.index.reshape(-1, k), self.prob.reshape(-1, k), self.space)

    def pooled(self) -> SoftLabels:
        """One distribution per item: the mean over the cells that have evidence."""
        n, h, w, _ = self.index.shape
        cells = self.cells()
        known = cells.known.reshape(n, h * w)
        p = cells.dense().astype(np.float64).reshape(n, h * w, -1) * known[:, :, None]
        total = known.sum(1)
        mean = p.sum(1) / np.maximum(total, 1)[:, None]
        mean[total == 0] = 1 / mean.shape[1]
        return SoftLabels.from_dense(mean, self.space, known=total > 0)

    def loglik(self, space: LabelSpace | None = None) -> np.ndarray:
        """(N, h, w, K) log probabilities of each cell; 0 where a cell has no evidence."""
        out = self.cells().loglik()
        return aligned(out.reshape(*self.index.shape[:3], -1), self.space, space, -np.inf)
