"""Findings on splits: items in two of them, and class shares that differ."""

from __future__ import annotations

import numpy as np

from labelwright.advising._classes import copies
from labelwright.advising.case import Case, percent, quoted
from labelwright.advising.measures import shift


def splits(case: Case) -> None:
    """Leakage and shift, where the data name splits."""
    split = case.survey.split
    if split is None:
        return
    leakage(case, split.data)
    class_shift(case, split.data)


def leakage(case: Case, split: np.ndarray) -> None:
    """Items of other parts with the same content as one of the training part."""
    found = copies(case, len(split))
    if found is None:
        return
    number, what = found
    train = np.array([s.lower().startswith(("train", "exemplar")) for s in split])
    if not train.any() or train.all():
        return
    inside = np.isin(number, number[train]) & ~train
    share = float(inside.sum() / (~train).sum())
    if inside.any():
        case.say(
            "leakage",
            "high" if share > 0.05 else "medium" if share > 0.005 else "low",
            f"{int(inside.sum()):,} of {int((~train).sum()):,} items outside of the training part "
            f"({percent(share)}) have exactly the same {what} as one inside it",
            {"items": int(inside.sum()), "share": share},
        )


def class_shift(case: Case, split: np.ndarray) -> None:
    labels = case.survey.main
    if labels is None or labels.kind != "hard labels" or labels.n != len(split):
        return
    names = list(dict.fromkeys(split.tolist()))
    k = len(labels.classes)
    counts = {s: np.bincount(labels.data[(split == s) & (labels.data >= 0)], minlength=k) for s in names}
    base = max(names, key=lambda s: counts[s].sum())
    for name in names:
        if name == base or counts[name].sum() < 5 * k:
            continue
        distance, chance = shift(counts[base], counts[name])
        if chance < 0.001 and distance >= 0.05:
            share = {s: counts[s] / counts[s].sum() for s in (base, name)}
            most = int(np.abs(share[base] - share[name]).argmax())
            case.say(
                "class shift",
                "medium" if distance >= 0.1 else "low",
                f"Class shares of {name!r} differ from those of {base!r} by {percent(distance)} (total "
                f"variation): {quoted([labels.classes[most]])} is "
                f"{percent(share[name][most])} of {name!r} and {percent(share[base][most])} of {base!r}",
                {"distance": distance, "p_value": chance, "parts": [base, name]},
            )
