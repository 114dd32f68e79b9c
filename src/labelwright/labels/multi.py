"""Present, absent or unknown, per item and class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from labelwright.errors import LabelError, check_option
from labelwright.labels._evidence import Evidence, aligned
from labelwright.labels.space import LabelSpace


@dataclass(frozen=True, eq=False)
class MultiLabels(Evidence):
    """Sets of classes, possibly with gaps.

    value: sparse (N, K) int8; a stored 1 is *present*, a stored -1 is the opposite of what is implied by `implicit`.
    implicit: what an entry that is not stored means: "absent" (complete tags; -1 marks unknown)
        or "unknown" (tags with gaps; -1 marks absent).

    >>> tags = MultiLabels.from_sets([["cat", "sofa"], None, []])
    >>> tags.dense().tolist()
    [[1, 1], [-1, -1], [0, 0]]
    """

    value: Any
    implicit: str
    space: LabelSpace
    rows: ClassVar[tuple[str, ...]] = ("value",)

    @classmethod
    def from_dense(cls, y: Any, space: LabelSpace | None = None) -> MultiLabels:
        """From (N, K) of 1 present, 0 absent, -1 or NaN unknown; SciPy sparse works too (not stored = absent)."""
        from scipy.sparse import csr_array, issparse

        if issparse(y):
            value = csr_array(y)
            value.eliminate_zeros()
            entries = value.data
        else:
            dense = np.asarray(y)
            if dense.dtype.kind == "f":
                dense = np.where(np.isnan(dense), -1, dense)
            if dense.ndim != 2:
                raise LabelError(
                    found=f"multi-labels of shape {dense.shape}",
                    expected="(N, K)",
                    fix="use from_sets for lists of names",
                )
            value, entries = csr_array(dense), dense
        if not np.isin(entries, (-1, 0, 1)).all():
            wrong = np.asarray(entries)[~np.isin(entries, (-1, 0, 1))][0]
            raise LabelError(
                found=f"an entry {wrong!r} in multi-labels",
                expected="1 present, 0 absent, -1 unknown",
                fix="for probabilities use pred_probs, for sets of names MultiLabels.from_sets",
            )
        space = space or LabelSpace(range(value.shape[1]), structure="multi")
        _check_columns(value, space)
        return cls(_int8(value), "absent", space)

    @classmethod
    def from_sets(
        cls, sets: Iterable[Iterable[Any] | None], space: LabelSpace | None = None, *, rest: str = "absent"
    ) -> MultiLabels:
        """From one collection of class names per item; None where nothing is known of the item.

        rest: what a class that is not named is: "absent" (the sets are complete) or "unknown" (they have gaps).
        """
        from scipy.sparse import csr_array

        check_option("rest", rest, ("absent", "unknown"))
        rows = [None if s is None else list(s) for s in sets]
        if any(isinstance(s, str) for s in sets if s is not None):
            raise LabelError(
                found="a string where a set of classes was expected", expected="a list per item", fix="[name]"
            )
        names = [name for row in rows if row is not None for name in row]
        space = space or LabelSpace(LabelSpace.from_labels(names).classes, structure="multi")
        ids = space.encode(names) if names else np.empty(0, dtype=np.int64)
        if (ids < 0).any():
            raise LabelError(found="a missing name inside a set", expected="class names", fix="drop None from the sets")
        counts = np.array([0 if row is None else len(row) for row in rows], dtype=np.int64)
        row_of = np.repeat(np.arange(len(rows)), counts)
        pairs = np.unique(np.stack([row_of, ids]), axis=1)
        data = np.ones(pairs.shape[1], dtype=np.int8)
        if rest == "absent":  # whole rows without evidence are stored as unknown
            unknown = np.flatnonzero([row is None for row in rows])
            grid = np.stack([np.repeat(unknown, len(space)), np.tile(np.arange(len(space)), len(unknown))])
            pairs, data = np.hstack([pairs, grid]), np.r_[data, -np.ones(grid.shape[1], dtype=np.int8)]
        value = csr_array((data, (pairs[0], pairs[1])), shape=(len(rows), len(space)))
        return cls(_int8(value), rest, space)

    def dense(self) -> np.ndarray:
        """(N, K) int8: 1 present, 0 absent, -1 unknown."""
        out = np.asarray(self.value.toarray(), dtype=np.int8)
        if self.implicit == "unknown":
            out = np.where(out == 1, 1, np.where(out == 0, -1, 0)).astype(np.int8)
        return out

    def sets(self) -> list[list[Any]]:
        """The names of the classes that are present, per item."""
        names = self.space.decode(np.arange(len(self.space)))
        return [names[np.flatnonzero(row == 1)].tolist() for row in self.dense()]

    def loglik(self, space: LabelSpace | None = None) -> np.ndarray:
        """(N, K, 2) log-likelihood of [absent, present] for each class: 0 for what the evidence says, -inf for the
        opposite, both 0 where unknown."""
        y = self.dense()
        with np.errstate(divide="ignore"):
            out = np.log(np.stack([y != 1, y != 0], axis=1).astype(float))
        return np.moveaxis(aligned(out, self.space, space, 0.0), 1, -1)


def _int8(value: Any) -> Any:
    value = value.astype(np.int8)
    value.sort_indices()
    return value


def _check_columns(value: Any, space: LabelSpace) -> None:
    if value.shape[1] != len(space):
        raise LabelError(
            found=f"{value.shape[1]} columns for {len(space)} classes",
            expected="one column per class, in the order of the space",
            fix="pass the space whose classes are the columns",
        )
