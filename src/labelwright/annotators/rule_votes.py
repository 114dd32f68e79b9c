"""What rules said: votes, and for each rule how often it speaks, agrees, fails and is right."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from labelwright.errors import LabelError, OptionError
from labelwright.labels import LabelSpace, Votes

if TYPE_CHECKING:
    import pyarrow as pa


class RuleFailure(NamedTuple):
    """A rule that raised, or voted for a class outside the space. It was silent on those rows.

    rule: its name.   n_rows: rows on which it failed.   row, item: the first of them, by number and key.   error: what happened
    there.
    """

    rule: str
    n_rows: int
    row: int
    item: Any
    error: str

    def __str__(self) -> str:
        return (
            f"rule {self.rule!r} failed on {self.n_rows:,} rows; first row {self.row} (item {self.item}): {self.error}"
        )


@dataclass(frozen=True, eq=False)
class RuleVotes:
    """Answers of M rules about N items.

    matrix: (N, M) int32 class ids, -1 where the rule is silent or failed.   items: (N,) keys.   rules: (M,) names.
    failures: one per rule that failed at all.
    """

    matrix: np.ndarray
    items: np.ndarray
    rules: tuple[str, ...]
    space: LabelSpace
    failures: tuple[RuleFailure, ...] = ()

    def votes(self, *, abstentions: bool = True) -> Votes:
        """As votes, rules being the annotators: N * M rows, or only those in which a rule speaks. All items and all rules are
        listed in either case."""
        said = self.matrix >= 0
        item, rule = np.nonzero(np.ones_like(said) if abstentions else said)
        names = np.array(self.rules, dtype=object).astype(str)
        return Votes(item, rule, self.matrix[item, rule].astype(np.int64), self.items, names, self.space)

    def coverage(self, gold: Any = None, *, level: float = 0.9) -> pa.Table:
        """One row per rule.

        votes, coverage: items on which it speaks, as a number and as a share of all.   overlap: share of all items on which it
        and another rule speak.   conflict: on which another rule says something else.   classes: those it voted for.
        failures: rows on which it failed.
        With gold also: checked (votes on items of known class), accuracy among them, NaN where there are none, and its Wilson
        interval accuracy_low, accuracy_high.

        Args:
            gold: (N,) true classes in the order of the items, None where unknown.   level: of the interval, in (0, 1).

        Raises:
            LabelError: gold of another length.
            OptionError: a level outside (0, 1).
        """
        import pyarrow as pa

        if not 0 < level < 1:
            raise OptionError(found=f"level={level!r}", expected="a share between 0 and 1", fix="pass level=0.9")
        n, k = len(self.matrix), len(self.space)
        said = self.matrix >= 0
        row, rule = np.nonzero(said)
        label = self.matrix[row, rule]
        counts = np.bincount(row * k + label, minlength=n * k).reshape(n, k)
        total = counts.sum(1)
        per_rule = np.bincount(rule, minlength=len(self.rules))
        overlap = np.bincount(rule[total[row] > 1], minlength=len(self.rules))
        conflict = np.bincount(rule[counts[row, label] < total[row]], minlength=len(self.rules))
        votes_for = np.bincount(rule * k + label, minlength=len(self.rules) * k).reshape(-1, k)
        failed = {f.rule: f.n_rows for f in self.failures}
        classes = [[str(self.space.classes[c]) for c in np.flatnonzero(v)] for v in votes_for]
        out: dict[str, Any] = {
            "rule": list(self.rules),
            "classes": pa.array(classes, pa.list_(pa.string())),
            "votes": per_rule,
            "coverage": per_rule / max(n, 1),
            "overlap": overlap / max(n, 1),
            "conflict": conflict / max(n, 1),
            "failures": np.array([failed.get(name, 0) for name in self.rules], dtype=np.int64),
        }  # fmt: skip
        if gold is not None:
            true = self.space.encode(gold)
            if len(true) != n:
                raise LabelError(
                    found=f"gold of {len(true)} items for {n} items",
                    expected="one entry per item, None where unknown",
                    fix="pass the column of the table that the rules were applied to",
                )
            known = true[row] >= 0
            checked = np.bincount(rule[known], minlength=len(self.rules))
            right = np.bincount(rule[known & (true[row] == label)], minlength=len(self.rules))
            low, high = wilson(right, checked, level)
            share = np.where(checked > 0, right / np.maximum(checked, 1), np.nan)
            out |= {"checked": checked, "accuracy": share, "accuracy_low": low, "accuracy_high": high}
        return pa.table(out)


def wilson(right: np.ndarray, n: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Interval of a share, (low, high); (0, 1) where n is 0. Source: Wilson 1927."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    n_ = np.maximum(n, 1)
    centre = (right + z * z / 2) / (n_ + z * z)
    half = z * np.sqrt(right * (n_ - right) / n_ + z * z / 4) / (n_ + z * z)
    some = n > 0
    low, high = np.where(some, centre - half, 0.0), np.where(some, centre + half, 1.0)
    return np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)
