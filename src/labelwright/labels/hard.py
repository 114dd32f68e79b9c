"""One class per item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from labelwright.labels._evidence import Evidence, aligned
from labelwright.labels.check import check_class_ids
from labelwright.labels.space import LabelSpace

if TYPE_CHECKING:
    from labelwright.labels.soft import SoftLabels


@dataclass(frozen=True, eq=False)
class HardLabels(Evidence):
    """One class per item; `ids` (N,) int64, -1 where the label is missing.

    >>> labels = HardLabels.from_values(["cat", None, "dog"])
    >>> labels.ids.tolist(), labels.known.tolist(), labels.space.classes
    ([0, -1, 1], [True, False, True], ('cat', 'dog'))
    """

    ids: np.ndarray
    space: LabelSpace
    rows: ClassVar[tuple[str, ...]] = ("ids",)

    @classmethod
    def from_values(cls, labels: Any, space: LabelSpace | None = None) -> HardLabels:
        """From a column of names or numbers; without `space`, the classes are those that occur, sorted."""
        space = space or LabelSpace.from_labels(labels)
        return cls(space.encode(labels), space)

    @classmethod
    def from_ids(cls, ids: Any, space: LabelSpace) -> HardLabels:
        """From class ids (N,) int, -1 for missing."""
        return cls(check_class_ids(ids, len(space)), space)

    @property
    def known(self) -> np.ndarray:
        """(N,) bool, False where the label is missing."""
        return self.ids >= 0

    def values(self) -> np.ndarray:
        """(N,) object array of class names, None where missing."""
        return self.space.decode(self.ids)

    def loglik(self, space: LabelSpace | None = None, *, transition: np.ndarray | None = None) -> np.ndarray:
        """(N, K) log-likelihood of each true class: log transition[true, given]; without a transition, 0 for the given
        class and -inf for the others. Rows of missing labels are 0: they say nothing."""
        k = len(self.space)
        t = np.eye(k) if transition is None else np.asarray(transition, dtype=float)
        with np.errstate(divide="ignore"):
            table = np.log(np.vstack([t.T, np.ones(k)]))  # the last row serves -1
        out = aligned(table[self.ids], self.space, space, -np.inf)
        out[~self.known] = 0.0
        return out

    def soft(self) -> SoftLabels:
        """All mass on the given class."""
        from labelwright.labels.soft import SoftLabels

        known = self.known
        return SoftLabels(
            index=self.ids[:, None].astype(np.int32),
            prob=known[:, None].astype(np.float32),
            rest=np.zeros(len(self), dtype=np.float32),
            tail=None,
            known=known,
            space=self.space,
        )
