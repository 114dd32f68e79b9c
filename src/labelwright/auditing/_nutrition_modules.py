"""What stands in the modules of a nutrition label that are counted, not told: statistics, pairs, model, reference, labels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.auditing._profile_read import read_table
from labelwright.auditing.dependence import adjust, all_pairs, linear_correlation
from labelwright.auditing.likelihood import row_likelihood
from labelwright.auditing.profile import Column, cut, read_columns, shown, statistics
from labelwright.errors import ColumnError, DataError

if TYPE_CHECKING:
    from labelwright.auditing.result import Audit

PAIR_COLUMNS, PAIR_ROWS, PAIRS, PLOTS, CELLS = 50, 5000, 100, 6, 8
MODEL_COLUMNS, MODEL_ROWS, UNLIKELY, SIMULATED = 40, 10_000, 10, 1000
_HASHED = 1 << 30  # bytes of a file up to which its checksum is made
Built = tuple[dict[str, Any], str, str]  # content, status, why


def file_facts(source: Any) -> dict[str, Any]:
    """Name, format, bytes and SHA-256 of the file that `source` names; else the words themselves. Never a folder's name."""
    if source is None:
        return {}
    path = Path(os.fspath(source)) if isinstance(source, str | os.PathLike) else None
    if path is None or not path.is_file():
        return {"source": str(source)[:500]}
    facts: dict[str, Any] = {"file": path.name, "format": path.suffix.lstrip(".").lower(), "bytes": path.stat().st_size}
    if facts["bytes"] <= _HASHED:
        with path.open("rb") as file:
            facts["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return facts


# ---------------------------------------------------------------------------------------------------- 4 and 5
def statistics_module(columns: Sequence[Column], min_cell: int) -> Built:
    """Every column's statistics, in the order of the table."""
    content = {c.name: statistics(c, min_cell=min_cell) for c in columns}
    hidden = [name for name, told in content.items() if "suppressed" in told]
    why = f"{len(hidden)} columns have too few values to tell" if hidden else ""
    return {"columns": content}, "partial" if hidden else "ok", why


def pair_module(columns: Sequence[Column], min_cell: int, random_state: int) -> Built:
    """The strongest pairs with Holm-adjusted p-values, and a picture of the first few."""
    usable = [c for c in columns if (c.numeric or c.nominal) and len(np.unique(_arrays(c))) > 1]
    used = usable[:PAIR_COLUMNS]
    if len(used) < 2:
        return {}, "not applicable", "fewer than two nominal or numeric columns that vary"
    rows = np.linspace(0, len(used[0]) - 1, min(len(used[0]), PAIR_ROWS)).astype(np.int64)
    taken = [c.take(rows) for c in used]
    found = all_pairs(taken, random_state=random_state)
    sure = adjust([d.p_value for _, _, d in found])
    pairs = [
        {"a": taken[i].name, "b": taken[j].name, **d._asdict(), "p_adjusted": float(p)}
        for (i, j, d), p in zip(found[:PAIRS], sure)
    ]
    plots = [pair_plot(taken[i], taken[j], min_cell) for i, j, d in found[:PLOTS] if d.strength > 0]
    content = {"tested": len(found), "rows": len(rows), "adjusted_by": "holm", "pairs": pairs, "plots": plots}
    left = len(usable) - len(used)
    return content, "partial" if left else "ok", f"the first {PAIR_COLUMNS} columns; {left} more" if left else ""


def _arrays(c: Column) -> np.ndarray:
    return c.values[c.known] if c.numeric else c.codes[c.known]


def pair_plot(a: Column, b: Column, min_cell: int) -> dict[str, Any]:
    """Two numbers: a grid of 8 x 8; two categories: a grid of the 8 commonest; both: quartiles per category.

    Cells of a grid hold shades from 0 (no row) to 9 (most rows), no counts; None where there are fewer than min_cell.
    """
    if a.numeric and b.nominal:
        a, b = b, a
    if a.nominal and b.numeric:
        return {"kind": "box", "x": a.name, "y": b.name, "boxes": _boxes(a, b, min_cell)}
    (x, x_names), (y, y_names) = _cells(a, min_cell), _cells(b, min_cell)
    both = (x >= 0) & (y >= 0)
    counts = np.bincount(y[both] * len(x_names) + x[both], minlength=len(x_names) * len(y_names))
    visible = shown(counts, min_cell)
    shade = np.ceil(9 * counts / max(counts.max(), 1)).astype(int)
    grid = [
        [int(s) if v else None for s, v in zip(*r)]
        for r in zip(*(m.reshape(len(y_names), -1) for m in (shade, visible)))
    ]
    return {"kind": "heat", "x": a.name, "y": b.name, "x_cells": x_names, "y_cells": y_names, "shades": grid}


def _cells(c: Column, min_cell: int) -> tuple[np.ndarray, list[str]]:
    """(N,) cell of each row, -1 = none, and the names of the cells."""
    if c.nominal:
        counts = np.bincount(c.codes[c.codes >= 0], minlength=len(c.names))
        top = sorted(np.argsort(-counts, kind="stable")[:CELLS])
        place = np.full(len(c.names) + 1, -1)
        place[top] = np.arange(len(top))
        return place[c.codes], [cut(c.names[k]) for k in top]
    values = c.values[c.known]
    low, high = np.quantile(values, [0.01, 0.99])
    edges = np.linspace(low, high, CELLS + 1)[1:-1] if high > low else np.zeros(0)
    cells = np.where(c.known, np.searchsorted(edges, np.where(c.known, c.values, 0.0), side="right"), -1)
    return cells, [f"from {v:.4g}" for v in [float(low), *edges.tolist()]]


def _boxes(a: Column, b: Column, min_cell: int) -> list[dict[str, Any]]:
    cells, names = _cells(a, min_cell)
    out = []
    for k, name in enumerate(names):
        values = b.values[(cells == k) & b.known]
        if len(values) >= max(min_cell, 4):
            q = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
            out.append({"category": name, "n": len(values), "quartile_1": q[0], "median": q[1], "quartile_3": q[2]})
    return out


# ---------------------------------------------------------------------------------------------------- 6
def model_module(
    columns: Sequence[Column], rows: np.ndarray, label: str | None, min_cell: int, random_state: int
) -> Built:
    """The rows that are least likely under a mixture model of the table, which cells make them so, and simulated means."""
    usable = [c for c in columns if c.numeric or c.nominal]
    if label is not None:
        usable.sort(key=lambda c: c.name != label)  # the label is always among them
    used = usable[:MODEL_COLUMNS]
    at = np.linspace(0, len(rows) - 1, min(len(rows), MODEL_ROWS)).astype(np.int64)
    try:
        found = row_likelihood([c.take(at) for c in used], min_cell=min_cell, random_state=random_state)
    except DataError as error:
        return {}, "not applicable", error.found
    order = np.argsort(found.log_likelihood, kind="stable")[:UNLIKELY]
    unlikely = [
        {
            "row": int(rows[at[i]]),
            "log_likelihood": float(found.log_likelihood[i]),
            "odd": _odd(found.surprise[i], found.columns),
        }
        for i in order
    ]
    content = {
        "model": "mixture of Gaussians with category factors",
        "components": len(found.model.weight),
        "rows": len(at),
        "columns": list(found.columns),
        "median_log_likelihood": float(np.median(found.log_likelihood)),
        "unlikely_rows": unlikely,
        "simulated": _simulated(found.model, used, label, min_cell, random_state),
    }
    left = len(usable) - len(used)
    return content, "partial" if left else "ok", f"{MODEL_COLUMNS} columns; {left} more are left out" if left else ""


def _odd(surprise: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """The three oddest cells: how many standard deviations they are from what the rest of the row says."""
    top = np.argsort(-surprise, kind="stable")[:3]
    return [{"column": names[j], "deviations": float(surprise[j])} for j in top if surprise[j] > 2]


def _simulated(
    model: Any, columns: Sequence[Column], label: str | None, min_cell: int, seed: int
) -> list[dict[str, Any]]:
    """Means of six number columns in rows simulated for each of the commonest values of the label (or first category)."""
    nominal = [c for c in columns if c.name in model.categories]
    given = next((c for c in nominal if c.name == label), nominal[0] if nominal and label is None else None)
    if given is None or not model.numbers:
        return []
    counts = np.bincount(given.codes[given.codes >= 0], minlength=len(given.names))
    common = [k for k in np.argsort(-counts, kind="stable")[:CELLS] if counts[k] >= min_cell]
    out = []
    for k in sorted(common):
        if given.names[k] in model.names[model.categories.index(given.name)]:
            rows = model.sample(SIMULATED, given={given.name: given.names[k]}, random_state=seed)
            means = {name: float(rows[name].mean()) for name in model.numbers[:6]}
            out.append({"given": given.name, "value": cut(given.names[k]), "means": means})
    return out


# ---------------------------------------------------------------------------------------------------- 7
def reference_module(table: Any, columns: Sequence[Column], reference: Any, min_cell: int) -> Built:
    """Linear correlations of number columns with those of a reference table, one point per key."""
    if reference is None:
        return {}, "missing", "no reference table was given"
    told = reference if isinstance(reference, dict) and "table" in reference else {"table": reference}
    other = read_table(told["table"])
    key = told.get("key") or _shared_key(table.column_names, other.column_names)
    for where, names in (("the table", table.column_names), ("the reference", other.column_names)):
        if key not in names:
            raise ColumnError(
                found=f"no key {key!r} in {where}", expected=f"one of {', '.join(names)}", fix="pass key="
            )
    keys, place = _keys(table[key]), {}
    for row, value in enumerate(_keys(other[key])):
        if value is not None and value in place:
            raise DataError(
                found=f"the key {key!r} twice in the reference", expected="one row per key", fix="aggregate it first"
            )
        place[value] = row
    group = np.array([place.get(k, -1) if k is not None else -1 for k in keys])
    rows = [
        (c, r)
        for c in columns
        if c.name != key and c.numeric
        for r in read_columns(other)
        if r.name != key and r.numeric
    ]
    found = [_correlated(c, r, group, min_cell) for c, r in rows]
    listed = [f for f in found if f is not None]
    for one, p in zip(listed, adjust([f["p_value"] for f in listed])):
        one["p_adjusted"] = float(p)
    listed.sort(key=lambda f: (-abs(f["correlation"]), f["column"], f["reference"]))
    content = {
        "key": key,
        "keys_joined": len(set(group[group >= 0].tolist())),
        "rows_without_reference": int((group < 0).sum()),
        "source": told.get("source"),
        "date": told.get("date"),
        "adjusted_by": "holm",
        "tested": len(listed),
        "correlations": listed[:PAIRS],
    }
    unsaid = [name for name in ("source", "date") if not told.get(name)]
    if not listed:
        return content, "missing", "no number column could be joined over at least 4 keys"
    return (
        content,
        "partial" if unsaid else "ok",
        f"the reference's {' and '.join(unsaid)} is not said" if unsaid else "",
    )


def _shared_key(mine: Sequence[str], others: Sequence[str]) -> str:
    shared = [name for name in mine if name in set(others)]
    if len(shared) != 1:
        raise DataError(
            found=f"{len(shared)} columns that table and reference share ({', '.join(shared[:5])})",
            expected="one, the key",
            fix='pass reference={"table": ..., "key": "region", "source": ..., "date": ...}',
        )
    return shared[0]


def _keys(data: Any) -> list[str | None]:
    return [
        None if v is None or v != v else str(int(v) if isinstance(v, float) and v.is_integer() else v)
        for v in data.to_pylist()
    ]


def _correlated(c: Column, r: Column, group: np.ndarray, min_cell: int) -> dict[str, Any] | None:
    """Means of the column per key (of at least min_cell rows) against the reference's value; None below 4 keys."""
    rows = c.known & (group >= 0)
    counts = np.bincount(group[rows], minlength=len(r))
    sums = np.bincount(group[rows], c.values[rows], minlength=len(r))
    use = (counts >= min_cell) & r.known
    n = int(use.sum())
    if n < 4:
        return None
    found = linear_correlation(sums[use] / counts[use], r.values[use])
    half = 1.96 / np.sqrt(n - 3)
    at = np.arctanh(np.clip(found.value, -0.999999, 0.999999))
    low, high = np.tanh([at - half, at + half])
    return {
        "column": c.name, "reference": r.name, "correlation": found.value, "low": float(low), "high": float(high),
        "n": n, "p_value": found.p_value,
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------------- 8
def quality_module(label: Column | None, audit: Audit | None, min_cell: int) -> Built:
    """How far the labels can be trusted: an audit's figures, and the balance of the classes."""
    content: dict[str, Any] = {}
    if label is not None:
        content["column"] = label.name
        content["balance"] = statistics(label, min_cell=min_cell)
    if audit is None:
        if label is None:
            return {}, "not applicable", "no label column was named"
        return content, "partial", "no audit was given: how many labels are wrong is not known"
    content |= _audited(audit, min_cell)
    reviewed = content["review"]["reviewed"]
    why = "" if reviewed else "nobody has reviewed labels: the noise rate rests on a model alone"
    return content, "ok" if reviewed else "partial", why


def _audited(audit: Audit, min_cell: int) -> dict[str, Any]:
    told = audit.summary()
    labelled = ~np.isnan(audit.error_prob)
    counts = _class_counts(audit)
    per_class = [
        row if n >= min_cell else {"class": row["class"], "estimate": None, "low": None, "high": None}
        for row, n in zip(told["per_class"], counts)
    ]
    order = sorted(range(len(counts)), key=lambda k: (-counts[k], k))[:PAIR_COLUMNS]
    return {
        "items": told["items"],
        "labelled": told["labelled"],
        "noise_rate": told["error_rate"],
        "noise_per_class": [per_class[k] for k in order],
        "class_counts": [
            {"class": told["classes"][k], "count": int(counts[k]) if counts[k] >= min_cell else None} for k in order
        ],
        "mistakes": _mistakes(audit, min_cell),
        "multi_label_share": _share(audit, labelled),
        "labels_per_item": float(counts.sum() / max(told["labelled"], 1)) if audit.multi else None,
        "flagged": told["issues"],
        "conflicting_duplicates": told["conflicting_duplicates"],
        "overlapping_classes": told["overlapping_classes"],
        "review": {"reviewed": int(audit.reviewed.sum()), "debiased": told["error_rate"]["n_reviewed"] > 0},
        "notes": list(told["notes"])[:10],
    }


def _share(audit: Audit, labelled: np.ndarray) -> float | None:
    """Share of the labelled items that are flagged because several classes fit."""
    return None if audit.multi or not labelled.any() else float((audit.kind[labelled] == "ambiguous").mean())


def _class_counts(audit: Audit) -> np.ndarray:
    if audit.multi:
        return (audit.labels.dense() == 1).sum(0)  # type: ignore[union-attr]
    ids = audit.labels.ids  # type: ignore[union-attr]
    return np.bincount(ids[ids >= 0], minlength=len(audit.space))


def _mistakes(audit: Audit, min_cell: int) -> list[dict[str, Any]]:
    """The commonest cells off the diagonal of the confident joint; none that holds fewer than min_cell labels."""
    if audit.multi:
        return []
    joint, names = np.asarray(audit.confident_joint), [str(c) for c in audit.space.classes]
    off = joint * (1 - np.eye(len(joint), dtype=joint.dtype))
    cells = [(int(off[g, t]), int(g), int(t)) for g, t in zip(*np.nonzero(off >= max(min_cell, 1)))]
    top = sorted(cells, key=lambda c: (-c[0], c[1], c[2]))[:20]
    return [
        {"given": names[g], "true": names[t], "count": n, "p_given_true": float(audit.transition[t, g])}
        for n, g, t in top
    ]
