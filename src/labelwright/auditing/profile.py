"""What each column of a table holds: its type, its values as plain arrays, and its statistics."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.auditing._profile_read import ENCODERS, Encoded, infer, read_table
from labelwright.errors import DataError, OptionError, check_option, check_whole
from labelwright.labels import need

if TYPE_CHECKING:
    import pyarrow as pa

SCALARS = ("continuous", "discrete", "ordinal", "nominal", "date", "text", "identifier")
TYPES = (*SCALARS, "image", "vector", "other")
BINS, TOP, NAME = 12, 10, 60  # bins of a histogram, values listed, characters of a value


@dataclass(frozen=True, eq=False)
class Column:
    """One column as the label reads it.

    type: one of `TYPES`.
    values: (N,) float64 with NaN for missing: continuous, discrete, date (days since 1970), ordinal (place in the order).
    codes: (N,) int64, -1 = missing. Into `names`: nominal, ordinal; ids of equal content: text, identifier, image,
        vector (all 0 where there are too many bytes to compare). Other types: 0 present, -1 missing.
    unparsed: (N,) bool, cells of a numeric column that hold text instead.   detail: sizes of images, lengths of vectors.
    given: the type was told, not inferred.
    """

    name: str
    type: str
    values: np.ndarray
    codes: np.ndarray
    names: tuple[str, ...] = ()
    unparsed: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    detail: Mapping[str, Any] = field(default_factory=dict)
    given: bool = False

    @property
    def numeric(self) -> bool:
        """Whether its values have an order and can be ranked."""
        return self.type in ("continuous", "discrete", "ordinal", "date")

    @property
    def nominal(self) -> bool:
        """Whether it has categories without an order."""
        return self.type == "nominal"

    @property
    def known(self) -> np.ndarray:
        """(N,) bool: there is a value that fits the type."""
        return ~np.isnan(self.values) if self.numeric else self.codes >= 0

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: np.ndarray) -> Column:
        """The same column with these rows; details such as the sizes of images stay those of the whole."""
        return replace(self, values=self.values[rows], codes=self.codes[rows], unparsed=self.unparsed[rows])


def read_columns(table: Any, types: Mapping[str, str | Sequence[str]] | None = None) -> list[Column]:
    """Every column of any data frame, in its order, with an inferred type.

    Numbers as text are read as numbers where at least 80 % of the cells are; codes such as zip numbers, booleans and whole
    numbers of at most two values are nominal; unique short strings and running numbers are identifiers. Long cells of
    many words are text. Pictures (bytes, Hugging Face structs, file names) and lists of numbers have types of their own.

    Args:
        table: pandas, polars, pyarrow, Hugging Face data set, or mapping of columns.
        types: column -> one of `TYPES`, or the ordered list of its values (ordinal), where the guess is wrong.

    Raises:
        DataError: no rows, no columns, or two columns of one name.   ColumnError: an override of a column that is not there.
        OptionError: an unknown type, or one that cannot hold the column.

    >>> [(c.name, c.type) for c in read_columns({"size": [1.5, 2, 3], "colour": ["red", "red", "blue"], "zip": [1, 2, 3]})]
    [('size', 'continuous'), ('colour', 'nominal'), ('zip', 'nominal')]
    """
    arrow = read_table(table)
    for name, wanted in (types or {}).items():
        need(dict.fromkeys(arrow.column_names), name)
        if isinstance(wanted, str):
            check_option(f"types[{name!r}]", wanted, TYPES)
    told = types or {}
    return [_column(name, data, told.get(name)) for name, data in zip(arrow.column_names, arrow.columns)]


def _column(name: str, data: pa.ChunkedArray, wanted: str | Sequence[str] | None) -> Column:
    guess = infer(name, data)
    order: Sequence[str] | None = guess.order
    kind = guess.type
    if wanted is not None:
        order = order if isinstance(wanted, str) else [str(v) for v in wanted]
        kind = wanted if isinstance(wanted, str) else "ordinal"
        if (kind in SCALARS) != (guess.type in SCALARS) and kind != "other":
            raise OptionError(
                found=f"types[{name!r}]={kind!r} for a column of {data.type}, which looks like {guess.type!r}",
                expected=f"one of {', '.join(SCALARS if guess.type in SCALARS else (guess.type, 'other'))}",
                fix="leave this column out of types, or convert it first",
            )
    encoded: Encoded = ENCODERS[kind](data, order)
    n = len(data)
    return Column(
        name,
        kind,
        encoded.values if encoded.values is not None else np.full(n, np.nan),
        encoded.codes if encoded.codes is not None else np.where(np.isnan(encoded.values), -1, 0),  # type: ignore[arg-type]
        tuple(encoded.names),
        encoded.unparsed if encoded.unparsed is not None else np.zeros(n, bool),
        encoded.detail or {},
        wanted is not None,
    )


# --------------------------------------------------------------------------------------------------------- statistics
def statistics(column: Column, *, min_cell: int = 5) -> dict[str, Any]:
    """Count, missing, distinct values and what fits the type, ready for JSON.

    Nothing is told of fewer than `min_cell` rows: rarer values are pooled, small bins are None, and `min` and `max` are
    the values that at least `min_cell` rows reach (there are none below 2 min_cell - 1 values). With min_cell=1 all is exact.

    Raises:
        OptionError: min_cell is no whole number of at least 1.
    """
    check_whole("min_cell", min_cell, 1)
    known = column.known
    n = int(known.sum())
    out: dict[str, Any] = {
        "type": column.type,
        "type_origin": "given" if column.given else "inferred",
        "count": n,
        "missing": len(column) - n,
        "missing_share": float(1 - n / len(column)),
    }
    if column.unparsed.any():
        out["not_a_number"] = int(column.unparsed.sum())
    ends = column.type in ("continuous", "discrete", "date")  # which need min_cell rows on either side
    least = 2 * min_cell - 1 if ends else min_cell
    if n < least:
        return out | {"suppressed": f"fewer than {least} values"}
    if column.type in ("continuous", "discrete"):
        return out | _numeric(column.values[known], min_cell)
    if column.type == "date":
        return out | _dates(column.values[known], min_cell)
    if column.type in ("nominal", "ordinal"):
        return out | _categories(column, min_cell)
    if column.type in ("text", "identifier"):
        out["unique"] = len(np.unique(column.codes[known]))
    return out | {k: v for k, v in column.detail.items() if not isinstance(v, np.ndarray)}


def shown(counts: np.ndarray, min_cell: int) -> np.ndarray:
    """(C,) bool: cells that may be told. Hidden ones hold 1 to min_cell - 1 rows, or are the smallest others that must hide
    with them so that the total does not give them away.

    >>> shown(np.array([90, 8, 2, 0]), 5)
    array([ True, False, False,  True])
    """
    counts = np.asarray(counts)
    hide = (counts > 0) & (counts < min_cell)
    while hide.any() and counts[hide].sum() < min_cell and (~hide & (counts > 0)).any():
        rest = np.flatnonzero(~hide & (counts > 0))
        hide[rest[np.argmin(counts[rest])]] = True
    return ~hide


def _bounds(values: np.ndarray, min_cell: int) -> tuple[float, float]:
    """The smallest and largest value that at least `min_cell` of 2 min_cell - 1 or more rows reach."""
    at = min_cell - 1
    ends = np.partition(values, [at, len(values) - 1 - at])
    return float(ends[at]), float(ends[len(values) - 1 - at])


def _numeric(values: np.ndarray, min_cell: int) -> dict[str, Any]:
    low, high = _bounds(values, min_cell)
    unique, counts = np.unique(values, return_counts=True)
    first, median, third = np.clip(np.quantile(values, [0.25, 0.5, 0.75]), low, high)
    zeros = int((values == 0).sum())
    common = int(np.argmax(counts))
    return {
        "unique": len(unique),
        "most_frequent": float(unique[common]) if counts[common] >= min_cell else None,
        "most_frequent_count": int(counts[common]) if counts[common] >= min_cell else None,
        "zeros": zeros if zeros == 0 or zeros >= min_cell else None,
        "min": low,
        "quartile_1": float(first),
        "median": float(median),
        "quartile_3": float(third),
        "max": high,
        "mean": float(values.mean()),
        "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
        "histogram": histogram(values, unique, low, high, min_cell),
    }


def histogram(values: np.ndarray, unique: np.ndarray, low: float, high: float, min_cell: int) -> dict[str, Any]:
    """Edges and counts of at most `BINS` bins from low to high, values beyond them in the last ones; None = too few rows."""
    whole = len(unique) <= BINS and bool((unique == np.round(unique)).all()) and high - low < BINS
    edges = np.arange(low - 0.5, high + 1) if whole else np.linspace(low, high, BINS + 1)
    if not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
        edges = np.array([low, high])
    inside = np.clip(values, edges[0], edges[-1])
    counts = np.histogram(inside, edges)[0] if edges[-1] > edges[0] else np.array([len(values)])
    visible = shown(counts, min_cell)
    return {"edges": edges.tolist(), "counts": [int(c) if v else None for c, v in zip(counts, visible)]}


def _dates(days: np.ndarray, min_cell: int) -> dict[str, Any]:
    low, high = _bounds(days, min_cell)
    unique = np.unique(days)
    return {
        "unique": len(unique),
        "min": _day(low),
        "median": _day(float(np.clip(np.median(days), low, high))),
        "max": _day(high),
        "histogram": histogram(days, unique, low, high, min_cell),
    }


def _day(days: float) -> str:
    return str(np.datetime64("1970-01-01") + np.timedelta64(int(np.floor(days)), "D"))


def _categories(column: Column, min_cell: int) -> dict[str, Any]:
    """Values with their counts: by count, or in their own order where there is one."""
    counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.names))
    visible = shown(counts, min_cell) & (counts > 0)
    by_count = sorted(np.flatnonzero(visible), key=lambda c: (-counts[c], column.names[c]))
    listed = by_count[:TOP]
    if column.type == "ordinal":
        listed = sorted(listed)
    least = by_count[-1] if by_count else None
    told = sum(int(counts[c]) for c in listed)
    out: dict[str, Any] = {
        "unique": int((counts > 0).sum()),
        "values": [{"value": cut(column.names[c]), "count": int(counts[c])} for c in listed],
        "other_values": int((counts > 0).sum()) - len(listed),
        "other_count": int(counts.sum()) - told,
        "least_frequent": None if least is None else {"value": cut(column.names[least]), "count": int(counts[least])},
        "hidden_values": int(((counts > 0) & ~visible).sum()),
    }
    if column.type == "ordinal":
        middle = np.sort(column.codes[column.codes >= 0])[(int(counts.sum()) - 1) // 2]
        out["median"] = cut(column.names[middle]) if visible[middle] else None
    return out


def cut(name: str) -> str:
    """At most `NAME` characters on one line."""
    line = re.sub(r"\s+", " ", str(name))
    return line if len(line) <= NAME else line[: NAME - 1] + "…"


def row_sample(n: int, size: int, random_state: int) -> np.ndarray:
    """Sorted row numbers, at most `size` of n, drawn without replacement.

    Raises:
        OptionError: size is no whole number of at least 1.   DataError: there are no rows.
    """
    check_whole("sample", size, 1)
    if n < 1:
        raise DataError(
            found="a table of 0 rows", expected="at least one row", fix="pass the table that holds the data"
        )
    if n <= size:
        return np.arange(n)
    return np.sort(np.random.default_rng(random_state).choice(n, size, replace=False))
