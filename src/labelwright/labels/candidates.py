"""The set that holds the true class (partial labels)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from labelwright.errors import LabelError, rows
from labelwright.labels._evidence import Evidence, aligned
from labelwright.labels.multi import MultiLabels
from labelwright.labels.soft import SoftLabels
from labelwright.labels.space import LabelSpace


@dataclass(frozen=True, eq=False)
class CandidateLabels(Evidence):
    """For each item the classes among which the true one is; `member` sparse bool (N, K), no row empty.

    An item of which nothing is known has every class as candidate.

    >>> CandidateLabels.from_sets([["cat", "dog"], ["fox"]]).soft().dense().tolist()
    [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]
    """

    member: Any
    space: LabelSpace
    rows: ClassVar[tuple[str, ...]] = ("member",)

    @classmethod
    def from_dense(cls, member: Any, space: LabelSpace | None = None) -> CandidateLabels:
        """From a bool (N, K) array or SciPy sparse.

        Raises:
            LabelError: an item without any candidate.
        """
        from scipy.sparse import csr_array

        value = csr_array(member).astype(bool)
        value.eliminate_zeros()
        value.sort_indices()
        space = space or LabelSpace(range(value.shape[1]))
        if value.shape[1] != len(space):
            raise LabelError(
                found=f"{value.shape[1]} columns for {len(space)} classes",
                expected="one column per class",
                fix="pass the space whose classes are the columns",
            )
        empty = np.flatnonzero(np.diff(value.indptr) == 0)
        if len(empty):
            raise LabelError(
                found=f"{len(empty)} items without any candidate class ({rows(empty)})",
                expected="at least one candidate per item",
                fix="give such items every class as candidate: nothing is known of them",
            )
        return cls(value, space)

    @classmethod
    def from_sets(cls, sets: Iterable[Iterable[Any] | None], space: LabelSpace | None = None) -> CandidateLabels:
        """From one collection of class names per item; None where nothing is known (all classes are candidates)."""
        listed = MultiLabels.from_sets(sets, space, rest="absent")
        space = space or LabelSpace(listed.space.classes)
        return cls.from_dense(listed.dense() != 0, space)

    def dense(self) -> np.ndarray:
        """(N, K) bool."""
        return np.asarray(self.member.toarray(), dtype=bool)

    def soft(self) -> SoftLabels:
        """Even mass on the candidates; items with every class as candidate are unknown."""
        member = self.dense()
        return SoftLabels.from_dense(member / member.sum(1, keepdims=True), self.space, known=~member.all(1))

    def loglik(self, space: LabelSpace | None = None) -> np.ndarray:
        """(N, K): 0 for candidates, -inf for all other classes."""
        with np.errstate(divide="ignore"):
            return aligned(np.log(self.dense().astype(float)), self.space, space, -np.inf)
