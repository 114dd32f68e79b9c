"""What is wrong with a table before anybody models it: ten kinds of defects, each told in words with its figures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from labelwright.auditing._defects_rows import swapped_blocks, unit_factor
from labelwright.auditing.dependence import LEAST, adjust, cramers_v, dependence, eta_squared, ranks
from labelwright.errors import DataError
from labelwright.labels import need

if TYPE_CHECKING:
    from labelwright.auditing.profile import Column

CODES = {
    "constant": "one value in every row, or none",
    "missing": "many cells are missing",
    "missing_not_at_random": "which cells are missing depends on other columns",
    "duplicates": "the same row stands there more than once",
    "unit_change": "part of the rows seems to be in another unit",
    "out_of_range": "a few values lie far from all others, or outside the allowed range",
    "target_leak": "a column all but says the label",
    "proxy": "a column stands in for a sensitive attribute",
    "swapped_labels": "a block of rows carries the labels of others",
    "split_overlap": "the same rows stand in two parts of the split",
    "text_in_numbers": "a column of numbers holds text",
}
SEVERITIES = ("note", "warning", "serious")
SENSITIVE = re.compile(
    r"(?:^|[_\W])(?:sex|gender|race|ethnicity|ethnic|religion|nationality|disability|disabled|marital|marital_status|"
    r"sexual_orientation|pregnant|citizenship|skin_colou?r)(?:$|[_\W])",
    re.I,
)
_MISSING, _MANY = 0.05, 0.20  # shares of missing cells that are looked into, and that are told whatever the reason
_LEAK, _PROXY = 0.93, 0.75  # strength of dependence
_FAR = 3.0  # times the distance from the median to the 5th or 95th percentile, beyond that percentile
_FAR_LOG = 2.0  # the same on the logarithmic scale: 4.9 standard deviations of a log-normal column
_SENTINELS = {float(s * v) for v in (9, 99, 999, 9999, 99999, 999999) for s in (1, -1)} | {-1.0}
_COPIES = 0.01  # of a row that chance may be expected to make for a copy to count
_PAIR_ROWS = 5000  # rows that dependence is measured on


class TableWarning(NamedTuple):
    """code: one of `CODES`.   columns: names, the one at fault first.   message: plain words with the figures.
    severity: "note", "warning" or "serious"."""

    code: str
    columns: tuple[str, ...]
    message: str
    severity: str


def table_warnings(
    columns: Sequence[Column],
    *,
    label: str | None = None,
    split: str | None = None,
    sensitive: Iterable[str] | None = None,
    allowed: Mapping[str, tuple[float | None, float | None]] | None = None,
    whole: Sequence[Column] | None = None,
    min_cell: int = 5,
) -> list[TableWarning]:
    """The defects of a table, the serious ones first, then by column.

    Args:
        columns: of `read_columns`, perhaps a sample of rows in their order.
        label: name of the label column (target leaks, swapped blocks).   split: name of the column that tells train and test.
        sensitive: names of sensitive attributes; None takes columns named sex, gender, race, religion and the like.
        allowed: column -> (least, greatest) allowed value, either may be None.
        whole: the columns with all rows, for duplicates and overlap; None = `columns`.
        min_cell: values that fewer rows have are not printed.

    Raises:
        ColumnError: a name that is no column.   DataError: no columns.
    """
    if not columns:
        raise DataError(found="no columns", expected="at least one column", fix="pass read_columns(table)")
    by_name = {c.name: c for c in columns}
    for name in [*filter(None, (label, split)), *(sensitive or ()), *(allowed or ())]:
        need(by_name, name)
    found: list[TableWarning] = []
    for c in columns:
        found += filter(None, (constant(c), text_in_numbers(c), out_of_range(c, (allowed or {}).get(c.name), min_cell)))
        found += missing(c, columns)
    leaks: list[str] = []
    if label is not None:
        told = target_leaks(by_name[label], columns, leave_out={split})
        leaks = [w.columns[0] for w in told]
        found += told
    features = [c for c in columns if c.name not in {label, split, *leaks}]
    named = [c.name for c in features if SENSITIVE.search(c.name)] if sensitive is None else list(sensitive)
    found += proxies([by_name[name] for name in named], features)
    found += unit_changes([c for c in columns if c.name not in {split, *leaks}])
    if label is not None:
        found += swapped_labels(by_name[label], features)
    found += repeated(whole or columns, label, split)
    place = {c.name: i for i, c in enumerate(columns)}
    return sorted(found, key=lambda w: (-SEVERITIES.index(w.severity), list(CODES).index(w.code), place[w.columns[0]]))


# ---------------------------------------------------------------------------------------------------- one column
def constant(c: Column) -> TableWarning | None:
    """One value everywhere, or none at all."""
    known = int(c.known.sum())
    if known and (len(c) < 2 or c.type in ("image", "vector", "other")):
        return None
    values = np.unique(c.values[c.known] if c.numeric else c.codes[c.known])
    if len(values) > 1 or (known < len(c) and len(values) == 1):
        return None
    what = f"has the same value in all {len(c):,} rows" if known else f"has no value in any of {len(c):,} rows"
    return TableWarning("constant", (c.name,), f"Column {c.name!r} {what}; it can tell nothing.", "warning")


def text_in_numbers(c: Column) -> TableWarning | None:
    """Cells of a column of numbers or dates that hold something else."""
    bad = int(c.unparsed.sum())
    if not bad:
        return None
    message = (
        f"Column {c.name!r} holds {'dates' if c.type == 'date' else 'numbers'}, but {bad:,} of its {len(c):,} cells "
        f"({bad / len(c):.1%}) hold text; they count as missing."
    )
    return TableWarning("text_in_numbers", (c.name,), message, "warning")


def out_of_range(
    c: Column, allowed: tuple[float | None, float | None] | None = None, min_cell: int = 5
) -> TableWarning | None:
    """Few values far outside of the others, codes such as -999 for missing, or values that are not allowed.

    Far: beyond the 5th or 95th percentile by three times its distance to the median, and where values are not negative,
    by twice that distance on the logarithmic scale too, so that long tails are no defect.
    """
    if c.type not in ("continuous", "discrete"):
        return None
    x = c.values[c.known]
    low, high = allowed or (None, None)
    if low is not None or high is not None:
        bad = int(((x < (-np.inf if low is None else low)) | (x > (np.inf if high is None else high))).sum())
        if bad:
            ends = f"{'any' if low is None else f'{low:g}'} to {'any' if high is None else f'{high:g}'}"
            message = f"{bad:,} of {len(x):,} values of {c.name!r} lie outside of the allowed range, {ends}."
            return TableWarning("out_of_range", (c.name,), message, "serious")
    if len(x) < 30 or len(np.unique(x)) < 4:
        return None
    far = _far(x)
    rest = x[~far]
    if far.any() and far.mean() <= 0.05 and len(np.unique(rest)) > 1:
        values, counts = np.unique(x[far], return_counts=True)
        top = int(counts.argmax())
        code = f"; {values[top]:g} stands there {counts[top]:,} times" if counts[top] >= max(min_cell, 2) else ""
        first, last = np.quantile(rest, [0.05, 0.95])
        where = "above" if (x[far] > last).all() else "below" if (x[far] < first).all() else "above or below"
        message = (
            f"{int(far.sum()):,} of {len(x):,} values of {c.name!r} lie far {where} the others, "
            f"of which 90 % are between {first:.4g} and {last:.4g}{code}."
        )
        return TableWarning("out_of_range", (c.name,), message, "warning")
    return None


def _far(x: np.ndarray) -> np.ndarray:
    """(N,) bool: far from the others; repeated codes such as -999 need a smaller distance."""
    far = _beyond(x, _FAR)
    positive = x > 0
    if (x >= 0).mean() >= 0.95 and positive.any():  # long tails are short on the logarithmic scale, where zero is not
        far[positive] &= _beyond(np.log(x[positive]), _FAR_LOG)
    values, counts = np.unique(x, return_counts=True)
    for v, n in zip(values[[0, -1]], counts[[0, -1]]):
        rest = x[x != v]
        gap = float(np.abs(rest - v).min()) if len(rest) else 0.0
        if v in _SENTINELS and 2 <= n <= 0.05 * len(x) and gap >= 0.25 * np.ptp(rest) and gap > 1:
            far |= x == v
    return far


def _beyond(x: np.ndarray, factor: float) -> np.ndarray:
    low, middle, high = np.quantile(x, [0.05, 0.5, 0.95])
    above, below = high - middle, middle - low
    above, below = above or below, below or above  # half of the values may be equal
    return (x > high + factor * above) | (x < low - factor * below)


def missing(c: Column, columns: Sequence[Column]) -> list[TableWarning]:
    """Whether the rows without a value differ from the others in some column (rank or chi-square tests, Holm-adjusted)."""
    gone = ~c.known & (~c.unparsed if len(c.unparsed) else True)
    share = float(gone.mean())
    if share < _MISSING or share == 1:
        return []
    tests = []
    for other in columns:
        rows = other.known
        if other is c or not (other.numeric or other.nominal) or rows.sum() < LEAST or len(np.unique(gone[rows])) < 2:
            continue
        if other.numeric:
            tests.append((eta_squared(gone[rows], ranks(other.values[rows])), other.name))
        else:
            tests.append((cramers_v(gone[rows].astype(np.int64), other.codes[rows]), other.name))
    sure = adjust([d.p_value for d, _ in tests])
    linked = sorted(((-d.strength, name) for (d, name), p in zip(tests, sure) if p < 0.01 and d.strength >= 0.1))
    if linked:
        strength, name = linked[0]
        message = (
            f"{share:.1%} of {c.name!r} is missing, and not at random: whether it is missing goes with {name!r} "
            f"(strength {-strength:.2f}) and {len(linked) - 1} other columns. Leaving these rows out shifts the rest."
        )
        return [TableWarning("missing_not_at_random", (c.name, name), message, "serious")]
    if share >= _MANY:
        message = f"{share:.1%} of {c.name!r} is missing; no column was seen to go with it."
        return [TableWarning("missing", (c.name,), message, "warning")]
    return []


# ---------------------------------------------------------------------------------------------------- two columns
def target_leaks(label: Column, columns: Sequence[Column], leave_out: Iterable[str | None] = ()) -> list[TableWarning]:
    """Columns of which one alone gives the label away: strength of dependence of at least 0.93."""
    out = []
    skip = {label.name, *leave_out}
    for c in columns:
        if c.name in skip or not _comparable(c, label):
            continue
        d = dependence(*_few(c, label))
        if d.strength >= _LEAK and d.p_value < 1e-3:
            message = (
                f"{c.name!r} all but gives {label.name!r} away ({d.measure}, strength {d.strength:.2f} of 1, n = {d.n:,}): "
                "was it known before the label?"
            )
            out.append(TableWarning("target_leak", (c.name, label.name), message, "serious"))
    return out


def proxies(sensitive: Sequence[Column], columns: Sequence[Column]) -> list[TableWarning]:
    """Columns from which a sensitive attribute can be told: strength of dependence of at least 0.75."""
    out = []
    names = {s.name for s in sensitive}
    for s in sensitive:
        for c in columns:
            if c.name in names or not _comparable(c, s):
                continue
            d = dependence(*_few(c, s))
            if d.strength >= _PROXY and d.p_value < 1e-3:
                message = (
                    f"{c.name!r} stands in for the sensitive {s.name!r} ({d.measure}, strength {d.strength:.2f} of 1, "
                    f"n = {d.n:,}): leaving {s.name!r} out does not hide it."
                )
                out.append(TableWarning("proxy", (c.name, s.name), message, "warning"))
    return out


def _comparable(a: Column, b: Column) -> bool:
    return all((c.numeric or c.nominal) and c.known.any() for c in (a, b))


def _few(a: Column, b: Column) -> tuple[Column, Column]:
    step = np.linspace(0, len(a) - 1, min(len(a), _PAIR_ROWS)).astype(np.int64)
    return a.take(step), b.take(step)


# ---------------------------------------------------------------------------------------------------- rows
def unit_changes(columns: Sequence[Column]) -> list[TableWarning]:
    """Columns of which part of the rows is larger by a known conversion factor.

    A column in two units makes others that depend on it look odd, so each finding must hold without the larger ones.
    """
    numbers = [c for c in columns if c.type in ("continuous", "discrete")]
    first = [(unit_factor(c, [o for o in columns if o is not c]), c) for c in numbers]
    suspects = sorted(((-f[0], i) for i, (f, _) in enumerate(first) if f is not None))
    out: list[TableWarning] = []
    sure: list[str] = []
    for _, i in suspects:
        c = first[i][1]
        found = unit_factor(c, [o for o in columns if o is not c and o.name not in sure]) if sure else first[i][0]
        if found is None:
            continue
        factor, share, block = found
        sure.append(c.name)
        where = "one block of rows" if block else "rows spread over the table"
        message = (
            f"{share:.0%} of the values of {c.name!r} are larger by a factor of about {factor:g} ({where}): "
            "are there two units in this column?"
        )
        out.append(TableWarning("unit_change", (c.name,), message, "serious"))
    return out


def swapped_labels(label: Column, features: Sequence[Column]) -> list[TableWarning]:
    """Blocks of rows whose labels do not go with their features while those around them do."""
    out = []
    for start, stop, inside, outside in swapped_blocks(label, features):
        message = (
            f"From about row {start:,} to row {stop:,} the labels {label.name!r} do not go with the other columns "
            f"({inside:.0%} fit worse than a random label there, {outside:.0%} elsewhere): "
            "were labels of blocks of rows exchanged?"
        )
        out.append(TableWarning("swapped_labels", (label.name,), message, "serious"))
    return out


def row_keys(columns: Sequence[Column]) -> np.ndarray:
    """(N,) uint64: equal for rows of equal cells (64-bit hashes)."""
    out = np.zeros(len(columns[0]), dtype=np.uint64)
    for c in columns:
        cells = np.where(c.known, c.values + 0.0, np.nan).view(np.uint64) if c.numeric else c.codes.astype(np.uint64)
        out = _mixed(out ^ _mixed(cells + np.uint64(0x9E3779B97F4A7C15)))
    return out


def _mixed(h: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64."""
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


def repeated(columns: Sequence[Column], label: str | None, split: str | None) -> list[TableWarning]:
    """Rows that are there twice, and rows of one part of the split that are in another, identifiers left out.

    Rows of common values repeat by nature: only those count of which fewer than 0.01 copies would be expected, were the
    columns independent.
    """
    out = []
    same = [c for c in columns if c.type not in ("identifier", "other") and c.name != split]
    if same:
        n = len(same[0])
        keys = np.unique(row_keys(same)[_rare(same)], return_counts=True)[1]
        extra = int((keys - 1).sum())
        if extra >= max(2, 0.002 * n):
            message = f"{extra:,} of {n:,} rows ({extra / n:.1%}) repeat an earlier row in every column."
            out.append(TableWarning("duplicates", (same[0].name,), message, "warning"))
    features = [c for c in same if c.name != label]
    if split is not None and features:
        out += _overlap(features, next(c for c in columns if c.name == split))
    return out


def _overlap(features: Sequence[Column], split: Column) -> list[TableWarning]:
    parts = split.codes if not split.numeric else np.unique(split.values, return_inverse=True)[1]
    known = np.flatnonzero(split.known)
    if len(np.unique(parts[known])) < 2:
        return []
    keys = np.unique(row_keys(features), return_inverse=True)[1][known]
    n_parts = int(parts[known].max()) + 1
    there = np.unique(keys * n_parts + parts[known]) // n_parts
    shared = np.bincount(there, minlength=int(keys.max()) + 1) > 1
    largest = int(np.bincount(parts[known]).argmax())  # the part to train on, most likely
    outside = parts[known] != largest
    n, of = int((shared[keys] & outside & _rare(features)[known]).sum()), int(outside.sum())
    if not n:
        return []
    name = repr(split.names[largest]) if split.names else "that is largest"
    message = (
        f"{n:,} of {of:,} rows ({n / of:.1%}) outside of the part {name} also stand in another part of {split.name!r}: "
        "a score on them is too good."
    )
    return [TableWarning("split_overlap", (split.name,), message, "serious")]


def _rare(columns: Sequence[Column]) -> np.ndarray:
    """(N,) bool: fewer than 0.01 other rows would be equal if the columns were independent."""
    n = len(columns[0])
    expected = np.full(n, float(np.log(n)))
    for c in columns:
        cells: Any = c.values if c.numeric else c.codes
        _, code, counts = np.unique(cells, return_inverse=True, return_counts=True)
        expected += np.log(counts[code] / n)
    return expected < np.log(_COPIES)
