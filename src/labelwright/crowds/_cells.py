"""Counts of (annotator, true, given), kept only where they can be above zero."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from labelwright.crowds._candidates import Pairs, members
from labelwright.crowds.prepared import Prepared


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
        keys, cell = np.unique(key, return_inverse=True)
        annotator, given, true = keys // (k * k), keys // k % k, keys % k
        rows, row = np.unique(annotator * k + true, return_inverse=True)
        matrix = csr_matrix((votes.weight[vote], cell, begin), shape=(len(pairs.item), len(keys)))
        return cls(keys, row, rows // k, rows % k, true * k + given, matrix, k)

    def gather(self, values: np.ndarray) -> np.ndarray:
        """(P,) sum over the votes of an item of weight * value of the cell (annotator, class of the pair, given)."""
        if self.key is None:
            return (self.matrix @ values.reshape(-1, self.n_classes)).ravel()
        return self.matrix @ values

    def scatter(self, prob: np.ndarray) -> np.ndarray:
        """(C,) expected counts when the classes have these probabilities (P,)."""
        if self.key is None:
            return (self.matrix.T @ prob.reshape(-1, self.n_classes)).ravel()
        return self.matrix.T @ prob

    def find(self, annotator: np.ndarray, given: np.ndarray, true: np.ndarray) -> np.ndarray:
        """Numbers of cells that are kept."""
        key = (annotator.astype(np.int64) * self.n_classes + given) * self.n_classes + true
        return key if self.key is None else np.searchsorted(self.key, key)

    def border(self, n_annotators: int) -> np.ndarray:
        """(A + 1,) where the cells of each annotator begin."""
        begin = np.arange(n_annotators + 1) * self.n_classes**2
        return begin if self.key is None else np.searchsorted(self.key, begin)

    def rows(self, values: np.ndarray) -> np.ndarray:
        """(R,) sums of a (C,) array over the given classes."""
        return np.bincount(self.row, values, len(self.row_true))

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
        return np.unique(self.key // self.n_classes, return_inverse=True)[1]

    def pooled(self, values: np.ndarray) -> np.ndarray:
        """(K * K,) sums of a (C,) array over the annotators, [true, given]."""
        return np.bincount(self.table, values, self.n_classes**2)
