"""Findings on hard labels: gaps, rare classes, spellings, copies, order, trees, and other columns of labels."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import numpy as np

from labelwright.advising._words import ORDERED, plain, scale_of
from labelwright.advising.case import Case, percent, quoted
from labelwright.advising.evidence import Evidence, alike, matched
from labelwright.advising.measures import nests

FEW = 10  # items below which a class is rare
COPIED = 0.995  # agreement from which two sources of labels are one


def classes(case: Case) -> None:
    """Everything that the labels themselves tell."""
    labels = case.survey.main
    if labels is not None and labels.kind == "hard labels":
        missing(case, labels)
        balance(case, labels)
        spellings(case, labels)
        conflicts(case, labels)
        order(case, labels)
        paths(case, labels)
    columns = case.survey.of("hard labels")
    trees(case, columns)
    against_truth(case, columns)
    sources(case, columns)


def missing(case: Case, labels: Evidence) -> None:
    gone = int((labels.data < 0).sum())
    if not gone:
        return
    share = gone / labels.n
    severity = "high" if share > 0.5 else "medium" if share > 0.05 else "low"
    case.say(
        "missing labels",
        severity,
        f"{gone:,} of {labels.n:,} items ({percent(share)}) have no label in {labels.name!r}",
        {"missing": gone, "items": labels.n, "share": share},
    )


def balance(case: Case, labels: Evidence) -> None:
    counts = np.bincount(labels.data[labels.data >= 0], minlength=len(labels.classes))
    used = counts[counts > 0]
    if len(used) < 2:
        what = f"only one class, {quoted([labels.classes[int(counts.argmax())]])}" if len(used) else "no label at all"
        case.say(
            "one class", "high", f"{labels.name!r} holds {what}: there is nothing to confuse", {"classes": len(used)}
        )
        return
    ratio, rare = float(used.max() / used.min()), np.flatnonzero((counts > 0) & (counts < FEW))
    if ratio < 10 and not len(rare):
        return
    severity = "high" if len(rare) > 0.2 * len(used) else "medium" if ratio >= 100 or len(rare) else "low"
    if used.sum() < 2 * FEW * len(used):
        severity = "low"  # with so few items per class some must be rare
    large = quoted([labels.classes[int(counts.argmax())]])
    small = quoted([labels.classes[int(np.where(counts > 0, counts, counts.max() + 1).argmin())]])
    sentence = (
        f"The largest class of {labels.name!r}, {large}, has {ratio:,.0f} times the items of the smallest, {small}"
    )
    if len(rare):
        sentence += f"; {len(rare)} of {len(used)} classes have fewer than {FEW} items"
    case.say(
        "rare classes",
        severity,
        sentence,
        {
            "largest": used.max(),
            "smallest": used.min(),
            "ratio": ratio,
            "rare": len(rare),
            "classes": len(used),
            "share_of_largest": float(used.max() / used.sum()),
        },
    )


def spellings(case: Case, labels: Evidence) -> None:
    """Class names that differ in case, space or punctuation only."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in labels.classes:
        if isinstance(name, str):
            alike[re.sub(r"[\W_]+", " ", name).strip().lower() or name].append(name)
    twice = [names for names in alike.values() if len(names) > 1]
    if twice:
        case.say(
            "spellings",
            "medium",
            f"{len(twice)} classes of {labels.name!r} are spelt in several ways, such as {quoted(twice[0])}: "
            f"make them one",
            {"classes": twice[:10]},
        )


def copies(case: Case, n: int) -> tuple[np.ndarray, str] | None:
    """((N,) number of the first item with the same content, what was compared); None where nothing can be compared."""
    import hashlib

    for kind in ("text", "features", "images"):
        e = case.survey.first(kind, n=n)
        if e is None or e.data is None:
            continue
        if kind == "text":
            keys: list[Any] = [" ".join(t.lower().split()) for t in e.data]
        elif hasattr(e.data, "tocsr"):
            m = e.data.tocsr()
            keys = [
                (m.indices[a:b].tobytes(), m.data[a:b].tobytes()) if b > a else None
                for a, b in zip(m.indptr[:-1], m.indptr[1:])
            ]
        elif isinstance(e.data, np.ndarray):
            keys = [hashlib.blake2b(np.ascontiguousarray(row).tobytes(), digest_size=16).digest() for row in e.data]
        else:
            cells = e.data.to_pylist() if hasattr(e.data, "to_pylist") else e.data
            keys = [
                c["bytes"] if isinstance(c, dict) else c if isinstance(c, bytes) else i for i, c in enumerate(cells)
            ]
        first: dict[Any, int] = {}
        empty = {"", None}
        number = [
            i if key in empty else first.setdefault(key, i) for i, key in enumerate(keys)
        ]  # the empty are no copies
        return np.array(number), {"text": "texts", "features": "vectors", "images": "images"}[kind]
    return None


def conflicts(case: Case, labels: Evidence) -> None:
    """Copies of one item under different labels."""
    found = copies(case, labels.n)
    if found is None:
        return
    number, what = found
    known = labels.data >= 0
    group, size = np.unique(number[known], return_counts=True)
    several = np.isin(number, group[size > 1]) & known
    if not several.any():
        return
    pairs = np.unique(np.stack([number[several], labels.data[several]]), axis=1)
    mixed = np.flatnonzero(np.bincount(pairs[0]) > 1)
    items = int(np.isin(number[several], mixed).sum())
    if not items:
        return
    severity = "high" if items > 0.02 * labels.n else "medium" if items > 0.002 * labels.n else "low"
    case.say(
        "conflicting copies",
        severity,
        f"{items:,} items have exactly the same {what} as others with another label in {labels.name!r} "
        f"({len(mixed):,} group{'s' * (len(mixed) > 1)})",
        {"items": items, "groups": len(mixed), "copies": int(several.sum())},
        commands=case.audit(labels),
    )


def order(case: Case, labels: Evidence) -> None:
    """Words of one scale, or numbers under a name that says they are levels."""
    scale = scale_of(labels.classes)
    if scale is not None:
        case.say(
            "ordered classes",
            "info",
            f"The classes of {labels.name!r} are steps of a scale: {' < '.join(scale)}",
            {"order": list(scale)},
        )
    elif labels.detail.get("numbers") and len(labels.classes) > 2 and set(plain(labels.name).split("_")) & ORDERED:
        case.say(
            "ordered classes",
            "info",
            f"{labels.name!r} holds numbers from {labels.classes[0]} to {labels.classes[-1]} and is named like a "
            "scale: its classes have an order",
            {"classes": len(labels.classes)},
        )


def paths(case: Case, labels: Evidence) -> None:
    """Class names that are paths: comp.graphics, comp.windows."""
    names = [str(c) for c in labels.classes if isinstance(c, str)]
    if len(names) < 4 or len(names) < len(labels.classes):
        return
    for mark in "/>:.|":
        parts = [n.split(mark, 1)[0].strip() for n in names if mark in n.strip(mark) and not re.fullmatch(r"[\d.]+", n)]
        heads, sizes = np.unique(parts, return_counts=True)
        if len(parts) >= 0.6 * len(names) and 2 <= len(heads) <= 0.7 * len(names) and (sizes > 1).sum() >= 2:
            case.say(
                "class tree",
                "info",
                f"The class names of {labels.name!r} are paths with {mark!r} ({quoted(names, 2)}): {len(heads)} "
                f"groups over {len(names)} classes",
                {"groups": len(heads), "classes": len(names)},
            )
            return


def trees(case: Case, columns: list[Evidence]) -> None:
    """Two label columns of which one nests in the other."""
    for fine in sorted(columns, key=lambda e: e.role != "given"):
        for coarse in columns:
            k = len(coarse.classes)
            if (
                fine is coarse
                or fine.n != coarse.n
                or not 2 <= k < len(fine.classes) <= fine.n // 5
                or "predicted" in (fine.role, coarse.role)
            ):
                continue
            share = nests(fine.data, coarse.data)
            top = np.bincount(coarse.data[coarse.data >= 0]).max() / max((coarse.data >= 0).sum(), 1)
            if share >= 0.995 and top < 0.95:
                case.say(
                    "class tree",
                    "info",
                    f"{fine.name!r} ({len(fine.classes)} classes) nests in {coarse.name!r} ({k} classes): a "
                    f"tree of classes",
                    {"fine": fine.name, "coarse": coarse.name, "share": share},
                )
                return


def against_truth(case: Case, columns: list[Evidence]) -> None:
    """Given labels beside a column that is held for the truth; a model's labels beside the given ones."""
    for e in columns:
        if e.role not in ("given", "predicted"):
            continue
        other = "true" if e.role == "given" else "given"
        same = next((t for t in columns if t.role == other and alike(t, e)), None)
        if same is None:
            continue
        ids = matched(e, same.classes)
        known = (ids != -1) & (same.data >= 0)
        differs = float((ids != same.data)[known].mean()) if known.any() else 0.0
        figures = {"differs": differs, "items": int(known.sum())}
        if e.role == "given":
            severity = "high" if differs > 0.1 else "medium" if differs > 0.02 else "low"
            told = f"{e.name!r} differs from {same.name!r}, which is named like the truth, on {percent(differs)} of the items"
            case.say("known errors", severity, told, figures)
        else:
            told = f"{e.name!r}, by its name the labels of a model or method, differs from {same.name!r} on {percent(differs)}"
            case.say("a model's labels", "info", f"{told} of {int(known.sum()):,} items", figures)


def sources(case: Case, columns: list[Evidence]) -> None:
    """Label columns that repeat each other are one source, not two."""
    given = [e for e in columns if e.role in ("given", "other")]
    for i, a in enumerate(given):
        for b in given[i + 1 :]:
            same = float((matched(a, b.classes) == b.data).mean()) if alike(a, b) else 0.0
            if same >= COPIED:
                told = f"{a.name!r} and {b.name!r} agree on {percent(same)} of the items: count them as one source"
                case.say("copied labels", "medium", told, {"agreement": same})
    for v in [v for v in case.survey.of("votes") if "matrix" in v.detail and v.detail["annotators"] <= 10]:
        for e in given:
            inside = float((v.detail["matrix"] == matched(e, v.classes)[:, None]).any(1).mean()) if alike(e, v) else 0.0
            if inside >= COPIED:
                told = f"{e.name!r} is one of the answers in {v.name} on {percent(inside)} of the items"
                told += ": it was made from them, so it is no further evidence"
                case.say("copied labels", "low", told, {"inside": inside})
