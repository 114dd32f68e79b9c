"""Counts of (annotator, true, given), kept only where they can be above zero."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from labelwright.crowds._candidates import Pairs, members, numbered
from labelwright.crowds.prepared import Prepared


class Live(NamedTuple):
    """Some cells. at: what picks them from a (C,) array.   table: their places in a pooled matrix; None if all are meant."""

    at: Any
    table: np.ndarray | None


ALL = Live(slice(None), None)


@dataclass(frozen=True, eq=False)
class Cells:
    """C cells, ordered by annotator, given, true.

    key: (C,) (annotator * K + given) * K + true, None where all A * K * K are kept.   row: (C,) number of the row (annotator,
    true) among R rows; row_annotator, row_true: (R,).   table: (C,) true * K + given, the place in a pooled matrix.
    matrix: sparse, weights of the votes; all cells kept: (N, A * K), else (P, C).
    """

    key: np.ndarray | None
    row: np.ndarray
    row_annotator: np.ndarray
    row_true: np.ndarray
    table: np.ndarray
    matrix: Any
    n_classes: int

    @classmethod
    def of(cls, votes: Prepared, pairs: Pairs) -> Cells:
        """All cells where that costs little, else those of a vote and a class that its item may have."""
        if pairs.complete and votes.n_annotators * votes.n_classes**2 <= 4 * len(votes) + 10_000:
            return cls._all(votes)
        return cls._seen(votes, pairs)

    @classmethod
    def _all(cls, votes: Prepared) -> Cells:
        from scipy.sparse import csr_matrix

        k, a = votes.n_classes, votes.n_annotators
        spoken = votes.annotator * np.int64(k) + votes.label
        return cls.all_of(a, k, csr_matrix((votes.weight, spoken, votes.start), shape=(votes.n_items, a * k)))

    @classmethod
    def all_of(cls, n_annotators: int, n_classes: int, matrix: Any = None) -> Cells:
        """All A * K * K cells; without a matrix they only say where counts belong."""
        k = n_classes
        cell, row = np.arange(n_annotators * k * k), np.arange(n_annotators * k)
        annotator, given, true = cell // (k * k), cell // k % k, cell % k
        return cls(None, annotator * k + true, row // k, row % k, true * k + given, matrix, k)

    @classmethod
    def _seen(cls, votes: Prepared, pairs: Pairs) -> Cells:
        from scipy.sparse import csr_matrix

        k = votes.n_classes
        vote, begin = members(votes.start, pairs.item)
        true = np.repeat(pairs.label, np.diff(begin))
        key = (votes.annotator[vote].astype(np.int64) * k + votes.label[vote]) * k + true
        keys, cell = numbered(key)
        annotator, given, true = keys // (k * k), keys // k % k, keys % k
        rows, row = numbered(annotator * k + true)
        matrix = csr_matrix((votes.weight[vote], cell, begin), shape=(len(pairs.item), len(keys)))
        return cls(keys, row, rows // k, rows % k, true * k + given, matrix, k)

    def gather(self, values: np.ndarray) -> np.ndarray:
        """(P,) sum over the votes of an item of weight * value of the cell (annotator, class of the pair, given)."""
        if self.key is None:
            return (self.matrix @ values.reshape(-1, self.n_classes)).ravel()
        return np.asarray(self.matrix @ values)

    def scatter(self, prob: np.ndarray) -> np.ndarray:
        """(C,) expected counts when the classes have these probabilities (P,)."""
        if self.key is None:
            return (self._turned @ prob.reshape(-1, self.n_classes)).ravel()
        return np.asarray(self._turned @ prob)

    @cached_property
    def _turned(self) -> Any:
        """The matrix transposed, a view."""
        return self.matrix.T

    def find(self, votes: Prepared, pairs: Pairs, entry: np.ndarray, vote: np.ndarray) -> np.ndarray:
        """(E,) the cells of these votes, each with the class of a pair (E,) of its item."""
        if self.key is not None:
            within = vote - votes.start[votes.item[vote]]
            return np.asarray(self.matrix.indices[self.matrix.indptr[entry] + within])
        spoken = votes.annotator[vote] * np.int64(self.n_classes) + votes.label[vote]
        return np.asarray(spoken * self.n_classes + pairs.label[entry])

    def border(self, n_annotators: int) -> np.ndarray:
        """(A + 1,) where the cells of each annotator begin."""
        begin = np.arange(n_annotators + 1) * self.n_classes**2
        return begin if self.key is None else np.searchsorted(self.key, begin)

    def rows(self, values: np.ndarray) -> np.ndarray:
        """(R,) sums of a (C,) array over the given classes."""
        if self.key is None:
            k = self.n_classes
            found: np.ndarray = values.reshape(-1, k * k) @ np.tile(
                np.eye(k), (k, 1)
            )  # faster than a sum along short rows
            return found.ravel()
        return np.bincount(self.row, values, len(self.row_true)).astype(
            np.float64, copy=False
        )  # of nothing: whole numbers

    def above(self, count: np.ndarray, least: float) -> Live:
        """The cells whose counts (C,) are larger; all, where all are kept: there most are."""
        if self.key is None:
            return ALL
        at = np.flatnonzero(count > least)
        return Live(at, self.table[at])

    def per_table(self, values: np.ndarray, live: Live = ALL) -> np.ndarray:
        """What cells have of a pooled matrix (K * K,)."""
        if self.key is None:
            k = self.n_classes
            return np.tile(values.reshape(k, k).T.ravel(), len(self.row_true) // k)
        return values[self.table if live.table is None else live.table]

    def table_sums(self, values: np.ndarray, live: Live = ALL) -> np.ndarray:
        """(K * K,) sums of an array over cells, by their places in a pooled matrix."""
        k = self.n_classes
        if self.key is None:
            return values.reshape(-1, k * k).sum(0).reshape(k, k).T.ravel()
        return np.bincount(self.table if live.table is None else live.table, values, k * k)

    def less_rows(self, values: np.ndarray, less: np.ndarray) -> None:
        """Take a (R,) array from a (C,) array, in place."""
        values -= less[self.row]

    def table_counts(self, live: Live) -> np.ndarray | int:
        """How many of these cells have each place in a pooled matrix."""
        if live.table is None:
            return len(self.row_true) // self.n_classes
        return np.bincount(live.table, minlength=self.n_classes**2)

    def per_row(self, values: np.ndarray) -> np.ndarray:
        """(R,) of an array (K,) over the true classes."""
        return values[self.row_true]

    def row_sums(self, values: np.ndarray) -> np.ndarray:
        """(K,) sums of a (R,) array over the rows of each true class."""
        return np.bincount(self.row_true, values, self.n_classes)

    @cached_property
    def n_rows(self) -> np.ndarray:
        """(K,) rows of each true class."""
        return np.bincount(self.row_true, minlength=self.n_classes)

    def said(self, values: np.ndarray) -> np.ndarray:
        """Sums of a (C,) array over the true classes, one per (annotator, given)."""
        if self.key is None:
            found: np.ndarray = values.reshape(-1, self.n_classes) @ np.ones(self.n_classes)
            return found
        return np.bincount(self._pair, values)

    def per_said(self, values: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """(C,) values times a factor per (annotator, given), in the order of `said`."""
        if self.key is None:
            return (values.reshape(-1, self.n_classes) * factor[:, None]).ravel()
        return values * factor[self._pair]

    @cached_property
    def _pair(self) -> np.ndarray:
        """(C,) number of the pair (annotator, given) of a cell, where not all are kept."""
        assert self.key is not None
        return numbered(self.key // self.n_classes)[1]
