"""The confusion rows of all annotators, each drawn around a row that they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from labelwright.crowds._candidates import Pairs
from labelwright.crowds._cells import Cells, Live
from labelwright.crowds._gamma import psi, psi_gammaln
from labelwright.crowds.prepared import Prepared

NOTHING = 1e-12
"""A count below this share of the least entry of `around` changes nothing: with many classes that is most of them."""


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
        pooled = (cells.table_sums(count) + _even(right, k).ravel()).reshape(k, k)
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
        if self.base is None:
            return
        cells, total = self.cells, self.total
        live = self._live(count)
        seen = cells.table_sums(psi(count[live.at] + cells.per_table(self.around, live)), live)
        seen = seen - cells.table_counts(live) * psi(self.around)
        rows = cells.row_sums(psi(row + cells.per_row(total))) - cells.n_rows * psi(total)
        self.around = (self.pull * self.base + self.around * seen) / (self.pull + np.repeat(rows, len(total)))

    def expected_log(self, count: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, float]:
        """(C,) expected log of each kept cell, and what the annotators add to the objective."""
        from scipy.special import gammaln

        if self.base is None:
            return self._log(count, row)
        cells, total = self.cells, self.total
        live, counted = self._live(count), cells.n_rows @ gammaln(total)
        at_zero, log_at_zero = psi_gammaln(self.around)
        value, log_gamma = psi_gammaln(count[live.at] + cells.per_table(self.around, live))
        every, log_every = psi_gammaln(row + cells.per_row(total))
        penalty = log_gamma.sum() - (cells.table_counts(live) * log_at_zero).sum() - count[live.at] @ value
        penalty += row @ every + counted - log_every.sum()
        if live.table is not None:
            value, some = cells.per_table(at_zero), value
            value[live.at] = some
        cells.less_rows(value, every)
        return value, float(penalty + self.pull * (self.base * np.log(self.around) - self.around).sum())

    def _live(self, count: np.ndarray) -> Live:
        """The cells whose counts (C,) are worth a look."""
        return self.cells.above(count, NOTHING * float(self.around.min()))

    def _log(self, count: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, float]:
        """`expected_log` where rows are modes."""
        cells, whole = self.cells, row + self.cells.per_row(self.total)
        around = cells.per_table(self.around)
        value, log_whole = np.log(count + around), np.log(whole)
        penalty = (around * (value - np.log(around))).sum() - (cells.per_row(self.total) * log_whole).sum()
        cells.less_rows(value, log_whole)
        return value, float(penalty)

    def without(
        self,
        votes: Prepared,
        pairs: Pairs,
        learnt: tuple[np.ndarray, np.ndarray, np.ndarray],
        entry: np.ndarray,
        vote: np.ndarray,
        prob: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """(E,) what a vote adds to the log-likelihood of a pair (`entry`) of its item, and its probability under that class, had
        its annotator been judged without it.

        learnt: counts (C,), their row sums (R,) and the expected logs (C,).   prob: (P,) posteriors that the counts are from.
        """
        (count, row, value), cells, k = learnt, self.cells, self.cells.n_classes
        if cells.key is None and pairs.width:  # whole rows of tables
            one = vote[::k]
            who, given = votes.annotator[one], votes.label[one]
            cell = who * np.int64(k) + given
            tables = ((prob, votes.item[one]), (count, cell), (value, cell), (row, who))
            own, seen, said, whole = (np.take(table.reshape(-1, k), at, 0).ravel() for table, at in tables)
            around, total = np.take(self.around.reshape(k, k).T, given, 0).ravel(), np.tile(self.total, len(one))
            weight = np.repeat(votes.weight[one], k)
        else:
            cell, weight, own = cells.find(votes, pairs, entry, vote), votes.weight[vote], prob[entry]
            seen, said, whole = count[cell], value[cell], row[cells.row[cell]]
            around, total = self.around[cells.table[cell]], self.total[pairs.label[entry]]
        own *= weight
        said *= weight
        for known, shared in ((seen, around), (whole, total)):
            known -= own
            np.maximum(known, 0, out=known)
            known += shared
        seen /= whole
        return said, seen

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
