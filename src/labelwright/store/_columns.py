"""Which column plays which role: the caller's choices are checked, the rest is guessed and explained."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from labelwright.errors import ColumnError, DataError, OptionError, nearest
from labelwright.store._guess import Roles
from labelwright.store._roles import Facts

if TYPE_CHECKING:
    import pyarrow as pa

Names = str | Sequence[str] | None


@dataclass(frozen=True)
class Columns:
    """The role of each column of a table. A role that nothing plays is None or ().

    label: the given labels; `multi`: one cell holds several classes; `separator`: they are written in one string.
    id: unique keys. text, image: content. features, pred_probs: numbers, as one list column or one column per number.
    tabular: other numeric or categorical columns. group: items that must stay together in cross-validation.
    left_out: columns with no role. explanation: one sentence per role, for people.
    """

    label: str | None = None
    multi: bool = False
    separator: str | None = None
    id: str | None = None
    text: tuple[str, ...] = ()
    image: str | None = None
    features: tuple[str, ...] = ()
    pred_probs: tuple[str, ...] = ()
    tabular: tuple[str, ...] = ()
    group: str | None = None
    left_out: tuple[str, ...] = ()
    explanation: tuple[str, ...] = field(default=(), compare=False)

    @property
    def content(self) -> tuple[str, ...]:
        """The columns that make an item what it is: text, image, features and tabular, for `item_keys`."""
        return (*self.text, *([self.image] if self.image else []), *self.features, *self.tabular)


def guess_columns(
    table: pa.Table,
    *,
    label: str | None = None,
    id: str | None = None,
    text: Names = None,
    image: str | None = None,
    features: Names = None,
    pred_probs: Names = None,
    group: str | None = None,
    multi: bool = False,
) -> Columns:
    """The roles of the columns of `table`. What the caller names is checked and taken; the rest is guessed.

    Args:
        table: at least one row.
        label, id, image, group: one column name each.
        text: one name or several.
        features, pred_probs: one list column, several numeric columns, or a pattern such as "feat_*".
        multi: cells of the label column hold several classes, written "a|b", "a;b" or "a,b". List columns are
            multi-label without it.

    A label is guessed by its name, else only where a single column looks like one. Columns that count the rows, look
    like a second label, or name a split are never taken for content: they would leak.

    Raises:
        ColumnError: a column that is not there; the nearest names are listed.
        OptionError: one column in two roles.
        DataError: a column that cannot play its role, an id that repeats.
    """
    facts = Facts(table)
    roles = Roles(facts)
    chosen = {
        "label": _named(table, "label", label),
        "id": _named(table, "id", id),
        "group": _named(table, "group", group),
        "pred_probs": _named(table, "pred_probs", pred_probs),
        "features": _named(table, "features", features),
        "image": _named(table, "image", image),
        "text": _named(table, "text", text),
    }
    for role, names in chosen.items():
        roles.choose(role, names)
    roles.guess_rest()
    is_multi, separator = _multi(facts, roles.one("label"), multi)
    if is_multi:
        how = f"separated by {separator!r}" if separator else "as lists"
        roles.say.append(f"label: several classes per item, {how}")
    return Columns(
        label=roles.one("label"),
        multi=is_multi,
        separator=separator,
        id=roles.one("id"),
        text=tuple(roles.taken["text"]),
        image=roles.one("image"),
        features=tuple(roles.taken["features"]),
        pred_probs=tuple(roles.taken["pred_probs"]),
        tabular=tuple(roles.taken["tabular"]),
        group=roles.one("group"),
        left_out=tuple(roles.left),
        explanation=tuple(roles.say),
    )


def label_lists(table: pa.Table, columns: Columns) -> pa.ChunkedArray:
    """The multi-label column as one list of classes per item.

    Separated strings are split, parts stripped, empty parts dropped. An empty cell is missing (null), which is not
    the same as an empty list. A class that stands twice counts once.
    """
    import pyarrow as pa

    if columns.label is None or not columns.multi:
        raise OptionError(found="columns without a multi-label column", expected="multi=True", fix="pass multi=True")
    column = table[columns.label]
    if columns.separator is None:
        return column
    lists = [
        None
        if cell is None
        else list(dict.fromkeys(part.strip() for part in cell.split(columns.separator) if part.strip()))
        for cell in column.to_pylist()
    ]
    return pa.chunked_array([pa.array(lists, pa.list_(pa.string()))])


def _named(table: pa.Table, role: str, names: Names) -> list[str]:
    """The columns that the caller named; patterns are expanded, numbered columns put in order."""
    out: list[str] = []
    for name in [names] if isinstance(names, str) else list(names or []):
        if name in table.column_names:
            out.append(name)
            continue
        matches = fnmatch.filter(table.column_names, name) if role in ("features", "pred_probs") else []
        if not matches:
            close = nearest(name, table.column_names)
            more = ", …" if len(close) > 8 else ""
            raise ColumnError(
                found=f"no column {name!r} for {role}",
                expected=f"one of {', '.join(map(repr, close[:8]))}{more}",
                fix=f"did you mean {role}={close[0]!r}?",
            )
        out += sorted(matches, key=lambda n: [int(s) if s.isdigit() else s for s in re.split(r"(\d+)", n)])
    return out


def _multi(facts: Facts, label: str | None, multi: bool) -> tuple[bool, str | None]:
    """Whether the label column is multi-label, and the separator in its strings."""
    if label is None:
        return False, None
    if facts.is_list(label):
        return True, None
    if not multi:
        return False, None
    if not facts.is_string(label):
        raise DataError(
            found=f"label column {label!r} of type {facts.table[label].type} with multi=True",
            expected='lists, or strings such as "a|b"',
            fix="leave multi out: such a column holds one class per item",
        )
    counts = {s: facts.count_substring(label, s) for s in "|;,"}
    return True, max(counts, key=lambda s: counts[s])
