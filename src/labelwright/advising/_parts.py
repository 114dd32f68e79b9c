"""Findings on scores, spans, boxes, masks, comparisons, proportions and graphs."""

from __future__ import annotations

from typing import Any

import numpy as np

from labelwright.advising._survey_parts import opened
from labelwright.advising._words import TRUE, plain
from labelwright.advising.case import Case, percent, quoted
from labelwright.advising.evidence import Evidence
from labelwright.advising.measures import homophily

PICTURES = 100  # masks opened


def others(case: Case) -> None:
    """Everything that the remaining kinds of evidence tell."""
    tell = {
        "scores": scores,
        "spans": spans,
        "boxes": boxes,
        "masks": masks,
        "comparisons": comparisons,
        "label proportions": proportions,
        "graph": graph,
    }
    for e in case.survey.evidence:
        if e.kind in tell and e.role != "predicted":
            tell[e.kind](case, e)
    ranked(case)


def scores(case: Case, e: Evidence) -> None:
    known = e.data[np.isfinite(e.data)]
    gone = e.n - len(known)
    if gone:
        case.say(
            "missing labels",
            "medium" if gone > 0.05 * e.n else "low",
            f"{gone:,} of {e.n:,} items have no number in {e.name!r}",
            {"missing": gone},
        )
    if len(known) < 20 or np.ptp(known) == 0:
        return
    count, _ = np.histogram(known, bins=10)
    thin = int((count < 0.1 * count.max()).sum())
    case.say(
        "scores",
        "info",
        f"{e.name!r} holds numbers: median {np.median(known):g}, from {known.min():g} to {known.max():g}; "
        "errors have sizes here, and a class audit does not fit",
        {"median": float(np.median(known)), "low": known.min(), "high": known.max()},
    )
    if thin >= 3:
        case.say(
            "rare values",
            "medium" if thin >= 5 else "low",
            f"The values of {e.name!r} are uneven: {thin} of 10 equal ranges hold less than a tenth of what the "
            f"fullest holds",
            {"counts": count, "thin": thin},
        )


def spans(case: Case, e: Evidence) -> None:
    count = np.bincount(e.data[e.data >= 0], minlength=len(e.classes))
    outside = [i for i, c in enumerate(e.classes) if c in ("O", "0", 0)]
    names = [str(c) for c in e.classes]
    coded = sum(n.startswith(("B-", "I-", "E-", "S-", "L-", "U-")) for n in names) >= len(names) - 1 and bool(outside)
    figures = {
        "tokens": len(e.data),
        "tags": len(e.classes),
        "outside": float(count[outside].sum() / max(count.sum(), 1)),
    }
    few = int(((count > 0) & (count < 10)).sum())
    sentence = f"{len(e.data):,} tokens in {e.n:,} sentences carry {len(e.classes)} tags in {e.name!r}"
    if coded:
        broken = _broken(e, names)
        sentence += f"; {percent(figures['outside'])} are outside of any entity; {broken:,} continue an entity that did not begin"
        figures["broken"] = broken
        case.say("token tags", "medium" if broken else "low" if figures["outside"] > 0.9 else "info", sentence, figures)
    else:
        case.say("token tags", "info", sentence + (f"; {few} tags on fewer than 10 tokens" if few else ""), figures)
    case.cannot(
        f"share of wrong tags in {e.name!r}", "a tag depends on its sentence, and no command audits token tags yet"
    )
    words = e.detail["words"]
    mixed = _mixed(words, e.data)
    if plain(e.name) not in TRUE and mixed is not None:
        case.say(
            "words with several tags",
            "info",
            f"{percent(mixed)} of the words that occur five times or more carry several tags",
            {"share": mixed},
        )


def _broken(e: Evidence, names: list[str]) -> int:
    """I- tags that follow neither B- nor I- of the same kind in their sentence."""
    kind = np.array([n[2:] if n[1:2] == "-" else "" for n in names])
    inside = np.array([n.startswith("I-") for n in names])
    starts = np.zeros(len(e.data), dtype=bool)
    first = np.cumsum([0, *e.detail["lengths"]])[:-1]
    starts[first[first < len(e.data)]] = True
    before = np.r_[-1, e.data[:-1]]
    return int((inside[e.data] & (starts | (kind[before] != kind[e.data]))).sum())


def _mixed(words: list[str], ids: np.ndarray) -> float | None:
    tags: dict[str, set[int]] = {}
    times: dict[str, int] = {}
    for word, tag in zip(words, ids.tolist()):
        tags.setdefault(word, set()).add(tag)
        times[word] = times.get(word, 0) + 1
    often = [w for w, n in times.items() if n >= 5]
    return float(np.mean([len(tags[w]) > 1 for w in often])) if often else None


def boxes(case: Case, e: Evidence) -> None:
    item, c, ids = e.data
    area = (c[:, 2] - c[:, 0]) * (c[:, 3] - c[:, 1])
    flat = int(((c[:, 2] <= c[:, 0]) | (c[:, 3] <= c[:, 1])).sum())
    _, times = np.unique(np.column_stack([item, c, ids]), axis=0, return_counts=True)
    twice = int((times - 1).sum())
    count = np.bincount(ids[ids >= 0], minlength=len(e.classes))
    top = int(count.argmax())
    per = np.bincount(item)
    problems = [f"{flat} have no area"] * bool(flat) + [f"{twice} repeat another box"] * bool(twice)
    sentence = (
        f"{len(item):,} boxes in {e.n:,} images ({np.median(per):.0f} per image), {len(e.classes)} classes; "
        f"{percent(count[top] / max(count.sum(), 1))} are "
        f"{quoted([e.classes[top]])}" + ("; " + ", ".join(problems) if problems else "; none without area, none twice")
    )
    figures = {
        "boxes": len(item),
        "images": e.n,
        "without_area": flat,
        "repeated": twice,
        "counts": count,
        "median_area": float(np.median(area)),
    }
    case.say("boxes", "medium" if flat or twice else "info", sentence, figures)
    used = count[count > 0]
    if len(used) > 1 and used.max() >= 10 * used.min():
        case.say(
            "rare boxes",
            "low",
            f"{quoted([e.classes[top]])} has {used.max() / used.min():.0f} times the boxes of the rarest class",
            {"counts": count},
        )
    case.cannot(f"forgotten and misplaced boxes in {e.name!r}", "no command audits boxes yet")


def masks(case: Case, e: Evidence) -> None:
    """Class shares and the share of pixels beside another class, from at most 100 masks."""
    total, border, size, read = np.zeros(256), 0, 0, 0
    for row in case.sample(np.arange(e.n), PICTURES):
        a = _pixels(e.data[int(row)])
        if a is None or a.ndim != 2 or a.dtype != np.uint8:
            problem = "cannot be opened" if a is None else f"has shape {a.shape}, not one class number per pixel"
            case.cannot(f"pixel classes of {e.name!r}", f"the mask in row {row} {problem}")
            return
        total += np.bincount(a.ravel(), minlength=256)
        edge = np.zeros(a.shape, dtype=bool)
        edge[:, 1:] |= a[:, 1:] != a[:, :-1]
        edge[1:] |= a[1:] != a[:-1]
        border, size, read = border + int(edge.sum()), size + a.size, read + 1
    used = np.flatnonzero(total)
    rarest, largest = used[total[used].argmin()], int(total.argmax())
    case.say(
        "masks",
        "medium" if total[rarest] < 0.01 * size else "info",
        f"{len(used)} pixel classes in {e.name!r} ({read:,} of {e.n:,} masks read): class {largest} covers "
        f"{percent(total[largest] / size)}, class {rarest} {percent(total[rarest] / size)}; {percent(border / size)} of "
        f"the pixels lie beside another class, where masks are least certain",
        {"share": {str(k): total[k] / size for k in used}, "border": border / size, "masks": read},
    )
    case.cannot(f"wrong masks in {e.name!r}", "no command audits masks yet")


def _pixels(cell: Any) -> np.ndarray | None:
    """The pixels of a cell, None where there is no picture in it."""
    from PIL import Image

    try:
        with Image.open(opened(cell)) as picture:
            return np.asarray(picture)
    except (OSError, ValueError, TypeError, Image.DecompressionBombError):
        return None


def comparisons(case: Case, e: Evidence) -> None:
    case.say(
        "comparisons",
        "info",
        f"{e.n:,} comparisons in {e.name!r}: evidence on a scale of preference, not on classes",
        {"rows": e.n},
    )


def proportions(case: Case, e: Evidence) -> None:
    case.say(
        "label proportions",
        "medium",
        f"Only shares per bag are known in {e.name!r} ({e.n:,} bags): the labels of single items must be inferred",
        {"bags": e.n},
    )


def graph(case: Case, e: Evidence) -> None:
    hyper = e.detail.get("hyper")
    labels = next((g for g in case.survey.of("hard labels") if g.n == e.n and g.role == "given"), None)
    if hyper:
        size = np.diff(e.data.tocsr().indptr)
        what, figures = (
            f"{e.data.shape[0]:,} hyperedges of {size.mean():.1f} nodes",
            {"hyperedges": e.data.shape[0], "nodes": e.n},
        )
    else:
        what, figures = f"{e.data.shape[1]:,} edges", {"edges": e.data.shape[1], "nodes": e.n}
    sentence = f"{e.n:,} nodes are joined by {what}"
    if labels is not None and not hyper:
        same = homophily(e.data, labels.data)
        share = np.bincount(labels.data[labels.data >= 0]) / max((labels.data >= 0).sum(), 1)
        chance = float(share @ share)
        figures |= {"homophily": same, "chance": chance}
        sentence += (
            f"; {percent(same)} of the edges join nodes of one class ({percent(chance)} by chance): the edges "
            + ("tell" if same > 2 * chance else "hardly tell")
            + " about the labels"
        )
    case.say("graph", "info", sentence, figures)


def ranked(case: Case) -> None:
    """A model's ranked guesses against the given labels of the same items."""
    guesses = [e for e in case.survey.of("pred_probs") if e.detail.get("ranked")]
    for e in guesses:
        given = next((g for g in case.survey.of("hard labels") if g.n == e.n and g.role == "given"), None)
        if given is None:
            continue
        known = (given.data >= 0) & (e.data[:, 0] >= 0)
        if not known.any():
            continue
        first = float((e.data[known, 0] == given.data[known]).mean())
        any_of = float((e.data[known] == given.data[known, None]).any(1).mean())
        case.say(
            "a model's labels",
            "info",
            f"The first guess in {e.name!r} is the label in {given.name!r} on {percent(first)} of "
            f"{int(known.sum()):,} items, one of its guesses on {percent(any_of)}",
            {"first": first, "any": any_of, "items": int(known.sum())},
        )
    if len(guesses) > 1 and len({e.n for e in guesses}) == 1:
        tops = np.stack([e.data[:, 0] for e in guesses])
        same = float((tops == tops[0]).all(0).mean())
        case.say(
            "a model's labels",
            "info",
            f"{len(guesses)} models' first guesses are all the same on {percent(same)} of {guesses[0].n:,} items",
            {"all_agree": same},
        )
