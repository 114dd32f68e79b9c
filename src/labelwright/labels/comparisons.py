"""Which of two candidate labels of an item is the better one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from labelwright.errors import LabelError
from labelwright.labels._evidence import Evidence, aligned
from labelwright.labels._tables import as_columns, need
from labelwright.labels.space import LabelSpace
from labelwright.labels.votes import _codes


@dataclass(frozen=True, eq=False)
class Comparisons(Evidence):
    """C judgements: for an item, an annotator saw classes `a` and `b` and preferred one of them.

    item, annotator: positions in `items`, `annotators`; a, b: class ids; preferred: class id (a or b), -1 for a tie.

    >>> c = Comparisons.from_columns(["t1"], ["ann"], ["cat"], ["dog"], ["dog"])
    >>> c.loglik(accuracy=0.9).round(2).tolist()
    [[-2.3, -0.11]]
    """

    item: np.ndarray
    annotator: np.ndarray
    a: np.ndarray
    b: np.ndarray
    preferred: np.ndarray
    items: np.ndarray
    annotators: np.ndarray
    space: LabelSpace
    rows: ClassVar[tuple[str, ...]] = ("item", "annotator", "a", "b", "preferred")

    @classmethod
    def from_columns(
        cls, item: Any, annotator: Any, a: Any, b: Any, preferred: Any, space: LabelSpace | None = None
    ) -> Comparisons:
        """From equally long columns of names; `preferred` is None for a tie.

        Raises:
            LabelError: a preference that is neither candidate; a class compared with itself; different lengths.
        """
        space = space or LabelSpace.from_labels([*list(a), *list(b)])
        (item_code, items), (annotator_code, annotators) = _codes(item, "item"), _codes(annotator, "annotator")
        first, second, chosen = space.encode(a), space.encode(b), space.encode(preferred)
        if len({len(x) for x in (item_code, annotator_code, first, second, chosen)}) > 1:
            raise LabelError(
                found="comparison columns of different lengths",
                expected="one entry per comparison in each column",
                fix="take the columns from one table",
            )
        bad = np.flatnonzero(((chosen != first) & (chosen != second) & (chosen >= 0)) | (first == second) | (first < 0))
        if len(bad):
            raise LabelError(
                found=f"{len(bad)} comparisons that are none; first is row {bad[0]}",
                expected="two different candidates, of which one is preferred (or None for a tie)",
                fix="drop or mend these rows",
            )
        return cls(item_code, annotator_code, first, second, chosen, items, annotators, space)

    @classmethod
    def from_table(cls, table: Any, space: LabelSpace | None = None) -> Comparisons:
        """From any data frame with columns item, annotator, a, b, preferred."""
        columns = as_columns(table)
        names = ("item", "annotator", "a", "b", "preferred")
        return cls.from_columns(**{n: need(columns, n) for n in names}, space=space)

    def loglik(self, space: LabelSpace | None = None, *, accuracy: float = 0.8) -> np.ndarray:
        """(N, K): if the true class is one of the two, it is preferred with probability `accuracy`, in (0, 1); if it
        is neither, either choice is as likely. Ties say nothing."""
        out = np.zeros((len(self.items), len(self.space)))
        clear = self.preferred >= 0
        lost = np.where(self.preferred == self.a, self.b, self.a)
        others = np.log(0.5)
        for ids, value in ((self.preferred, np.log(accuracy)), (lost, np.log1p(-accuracy))):
            np.add.at(out, (self.item[clear], ids[clear]), value - others)
        out += others * np.bincount(self.item[clear], minlength=len(self.items))[:, None]
        return aligned(out, self.space, space, others * np.bincount(self.item[clear], minlength=len(self.items)))
