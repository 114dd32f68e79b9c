"""Findings on sets of labels: density, gaps, rare classes, and sets beside one given label."""

from __future__ import annotations

import numpy as np

from labelwright.advising.case import Case, percent, quoted
from labelwright.advising.evidence import Evidence

FEW = 10
MANY = 500  # classes from which methods for very many labels pay


def sets(case: Case) -> None:
    """Everything that multi-labels and candidate labels tell."""
    for e in case.survey.of("multi-labels"):
        if e.role == "given":
            density(case, e)
            rare(case, e)
        elif e.role == "predicted":
            predicted(case, e)
    for e in case.survey.of("candidate labels"):
        candidates(case, e)
    several(case)


def _sizes(e: Evidence) -> np.ndarray:
    return np.diff(e.data.tocsr().indptr)


def density(case: Case, e: Evidence) -> None:
    size = _sizes(e)
    gone = e.detail.get("missing")
    known = size[~gone] if gone is not None else size
    if gone is not None and gone.any():
        share = float(gone.mean())
        case.say(
            "missing labels",
            "high" if share > 0.5 else "medium" if share > 0.05 else "low",
            f"{int(gone.sum()):,} of {e.n:,} items ({percent(share)}) have no entry in {e.name!r}",
            {"missing": int(gone.sum()), "share": share},
        )
    empty, one = float((known == 0).mean()), float((known == 1).mean())
    mean, k = float(known.mean()), len(e.classes)
    figures = {"per_item": mean, "classes": k, "single": one, "empty": empty, "density": mean / max(k, 1)}
    if "only positives" in e.detail:
        case.say(
            "missing tags",
            "medium",
            f"{e.name!r}: {e.detail['only positives']}; {mean:.2f} labels per listed pair, {k} classes",
            figures,
        )
    elif one >= 0.999 and k > 2:
        case.say(
            "missing tags",
            "high",
            f"Every item in {e.name!r} has exactly one of {k} labels although it is a set: the other labels may "
            f"be unknown rather than absent",
            figures,
        )
    elif one >= 0.7 and k >= 5:
        case.say(
            "missing tags",
            "medium",
            f"{percent(one)} of the items in {e.name!r} have a single label ({mean:.2f} of {k} on average): "
            f"check whether further labels were left out",
            figures,
        )
    if empty > 0.01:
        case.say(
            "empty sets",
            "medium" if empty > 0.1 else "low",
            f"{percent(empty)} of the items in {e.name!r} have no label at all: say whether that means none "
            f"fits, or nobody looked",
            figures,
        )
    if k >= MANY:
        case.say("very many tags", "info", f"{e.name!r} has {k:,} classes, {mean:.1f} per item", figures)


def rare(case: Case, e: Evidence) -> None:
    count = np.asarray(e.data.sum(0)).reshape(-1)
    used = count[count > 0]
    few = int((used < FEW).sum())
    if not len(used) or (few == 0 and used.max() < 20 * used.min()):
        return
    top = e.classes[int(count.argmax())]
    severity = "high" if few > 0.2 * len(used) else "medium" if few else "low"
    if used.sum() < 2 * FEW * len(used):
        severity = "low"  # with so few entries per class some must be rare
    case.say(
        "rare tags",
        severity,
        f"Classes of {e.name!r} are uneven: {quoted([top])} on {percent(count.max() / e.n)} of the items, "
        + (
            f"{few:,} of {len(used):,} classes on fewer than {FEW} items"
            if few
            else f"the rarest on {int(used.min()):,} items"
        ),
        {"largest": int(used.max()), "smallest": int(used.min()), "rare": few, "classes": len(used)},
    )
    if len(used) < len(count):
        case.say(
            "unused classes",
            "info",
            f"{len(count) - len(used)} of {len(count)} classes of {e.name!r} never occur",
            {"unused": len(count) - len(used)},
        )


def predicted(case: Case, e: Evidence) -> None:
    given = next((g for g in case.survey.of("multi-labels") if g.role == "given" and g.n == e.n), None)
    if given is None:
        return
    names = {c: i for i, c in enumerate(given.classes)}
    keep = [i for i, c in enumerate(e.classes) if c in names]
    if not keep:
        return
    both = int(
        e.data.tocsc()[:, keep].tocsr().multiply(given.data.tocsr()[:, [names[e.classes[i]] for i in keep]]).sum()
    )
    mine, theirs = int(e.data.sum()), int(given.data.sum())
    case.say(
        "a model's labels",
        "info",
        f"{e.name!r} (a model's labels, by its name) holds {percent(both / max(theirs, 1))} of the labels in "
        f"{given.name!r}, and "
        f"{percent(1 - both / max(mine, 1))} of its own are not among them",
        {"shared": both, "given": theirs, "predicted": mine},
    )


def candidates(case: Case, e: Evidence) -> None:
    size = _sizes(e)
    case.say(
        "candidate labels",
        "info" if (size == 1).mean() > 0.9 else "medium",
        f"{e.name!r} holds sets of possible classes: {size.mean():.1f} of {len(e.classes)} on average, "
        f"{percent(float((size == 1).mean()))} name one only",
        {"size": float(size.mean()), "single": float((size == 1).mean()), "empty": float((size == 0).mean())},
    )


def several(case: Case) -> None:
    """One given label beside the set of all valid labels of the same items."""
    for valid in case.survey.of("multi-labels"):
        given = next((g for g in case.survey.of("hard labels") if g.role == "given" and g.n == valid.n), None)
        if given is None or valid.role != "true" or len(given.classes) != len(valid.classes):
            continue
        size = _sizes(valid)
        judged = (size > 0) & (given.data >= 0)
        table = valid.data.tocsr()
        inside = np.asarray(table[np.flatnonzero(judged), given.data[judged]]).reshape(-1) > 0
        wrong, many = float((~inside).mean()), float((size[judged] > 1).mean())
        case.say(
            "several classes fit",
            "high" if wrong > 0.05 or many > 0.1 else "medium",
            f"{percent(wrong)} of the labels in {given.name!r} are not among the valid ones in {valid.name!r}; "
            f"{percent(many)} of the items have several valid "
            f"labels, {percent(float((size == 0).mean()))} none",
            {"wrong": wrong, "several": many, "none": float((size == 0).mean()), "items": int(judged.sum())},
        )
