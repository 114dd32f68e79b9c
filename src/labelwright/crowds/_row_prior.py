"""The confusion rows of all annotators, each drawn around a row that they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from labelwright.crowds._cells import Cells


@dataclass(eq=False)
class RowPrior:
    """Row k of an annotator is Dirichlet(around[k]).

    cells: where counts (C,) of (annotator, true, given) belong.   around: (K * K,) [true, given].
    base: (K * K,) what `around` is drawn to when it is fitted; None: it stays, and rows are modes.
    """

    cells: Cells
    around: np.ndarray
    base: np.ndarray | None

    @classmethod
    def fitted(cls, cells: Cells, right: float, k: int) -> RowPrior:
        """`around` is to be fitted, from annotators who are right with probability `right` and err evenly."""
        base = 2.0 * _even(right, k).ravel()
        return cls(cells, base.copy(), base)

    @classmethod
    def around_pooled(
        cls, cells: Cells, count: np.ndarray, right: float, concentration: float, smoothing: float
    ) -> RowPrior:
        """`around` is the pooled row of the counts (C,), times `concentration`, plus `smoothing`."""
        k = cells.n_classes
        pooled = (cells.pooled(count) + _even(right, k).ravel()).reshape(k, k)
        around = concentration * pooled / pooled.sum(1, keepdims=True) + smoothing
        return cls(cells, around.ravel(), None)

    @property
    def total(self) -> np.ndarray:
        """(K,) sums of the rows of `around`."""
        k = self.cells.n_classes
        return self.around.reshape(k, k).sum(1)

    @property
    def pull(self) -> float:
        """Weight of `base`."""
        return max(1.0, self.cells.n_classes / 10)

    def refit(self, count: np.ndarray, row: np.ndarray) -> None:
        """One Minka step for `around`, which never lowers the Dirichlet-multinomial likelihood of the counts.

        count: (C,), row: (R,) their sums.   `base` acts as Gamma densities, exp(pull * (base log x - x)): they keep every
        entry above 0 and say what one annotator would, with many classes more, as each row then has fewer votes.
        """
        from scipy.special import psi

        if self.base is None:
            return
        cells, total = self.cells, self.total
        seen = cells.pooled(psi(count + self.around[cells.table]) - psi(self.around)[cells.table])
        rows = np.bincount(cells.row_true, psi(row + total[cells.row_true]) - psi(total)[cells.row_true], len(total))
        self.around = (self.pull * self.base + self.around * seen) / (self.pull + np.repeat(rows, len(total)))

    def expected_log(self, count: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, float]:
        """(C,) expected log of each kept cell, and what the annotators add to the objective."""
        from scipy.special import gammaln, psi

        cells, total = self.cells, self.total
        around, whole = self.around[cells.table], total[cells.row_true]
        if self.base is None:
            value = np.log(count + around)
            penalty = (around * (value - np.log(around))).sum() - (whole * np.log(row + whole)).sum()
            return value - np.log(row + whole)[cells.row], float(penalty)
        value = psi(count + around) - psi(row + whole)[cells.row]
        penalty = (gammaln(count + around) - gammaln(self.around)[cells.table] - count * value).sum()
        penalty += (gammaln(total)[cells.row_true] - gammaln(row + whole)).sum()
        return value, float(penalty + self.pull * (self.base * np.log(self.around) - self.around).sum())

    def confusions(self, count: np.ndarray, n_annotators: int) -> Callable[[int], np.ndarray]:
        """annotator -> (K, K) [true, given], rows sum to 1."""
        k, cells = self.cells.n_classes, self.cells
        around, border = self.around.reshape(k, k), cells.border(n_annotators)

        def confusion(annotator: int) -> np.ndarray:
            part = slice(border[annotator], border[annotator + 1])
            out = around.copy()
            out.ravel()[cells.table[part]] += count[part]
            return out / out.sum(1, keepdims=True)

        return confusion


def _even(right: float, k: int) -> np.ndarray:
    out = np.full((k, k), (1 - right) / max(k - 1, 1))
    np.fill_diagonal(out, right if k > 1 else 1.0)
    return out
