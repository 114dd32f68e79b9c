"""How many labels look wrong, and which classes overlap: an audit of a sample."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from labelwright.advising._survey_table import readable
from labelwright.advising.case import Case, percent, quoted
from labelwright.advising.evidence import Evidence
from labelwright.advising.measures import order_of_confusions
from labelwright.errors import LabelwrightError

MOST = 4000  # items of a sample
PICTURES = 1500  # of them where each must be opened
WORK = 230_000  # items times classes that are worth waiting for (20 s of one core for short texts)
TAGS = 40  # classes of a multi-label audit
WEAK = 0.7  # below this agreement a model may be at fault as well as the labels
WEAK_SETS = 0.6  # the same for the F1 of label sets


def noise(case: Case) -> None:
    """Audit a sample of the main labels, where the data say anything else about the items."""
    labels = case.survey.main
    if labels is None or labels.kind == "scores":
        return
    what = f"share of wrong labels in {labels.name!r}"
    if len(labels.classes) < 2:
        case.cannot(what, "there is one class only")
        return
    content = _content(case, labels)
    if content is None:
        case.cannot(what, "no text, images, vectors, columns or probabilities of the same items beside them")
        return
    if labels.kind == "multi-labels":
        _many(case, labels, content, what)
    else:
        _one(case, labels, content, what)


def _content(case: Case, labels: Evidence) -> Evidence | None:
    """The strongest thing that tells about the items."""
    for e in case.survey.of("pred_probs"):
        fits = e.n == labels.n and e.data.shape[1] == len(labels.classes) and not e.detail.get("ranked")
        if fits and (labels.kind == "multi-labels" or _tells(case, labels, e)):
            return e
    found = [case.survey.first(kind, n=labels.n) for kind in ("features", "images", "text", "table")]
    return next((e for e in found if e is not None and e.data is not None), None)


def _tells(case: Case, labels: Evidence, p: Evidence) -> bool:
    """Whether probabilities meet the labels more often than the largest class does."""
    known = labels.data >= 0
    agrees = float((np.asarray(p.data).argmax(1) == labels.data)[known].mean()) if known.any() else 0.0
    usual = float(np.bincount(labels.data[known]).max() / known.sum()) if known.any() else 1.0
    if agrees >= min(usual + 0.05, 0.9):
        return True
    told = f"they meet {percent(agrees)} of {labels.name!r}, the largest class alone {percent(usual)}"
    case.cannot(f"wrong labels by {p.name!r}", f"{told}; other classes, or another order of the rows?")
    return False


def features(content: Evidence, rows: np.ndarray) -> Any:
    """The items of these rows as `audit` takes them."""
    data = content.data
    if content.kind == "text":
        return [data[i] for i in rows]
    if content.kind == "images" and not isinstance(data, np.ndarray):
        return [readable(data[int(i)]) for i in rows]
    if content.kind == "table":
        return data.take(rows)
    part = data[rows]
    if content.kind == "features" and not hasattr(part, "tocsr"):
        return np.asarray(part, dtype=np.float32)
    return list(part) if content.kind == "images" else part


def _one(case: Case, labels: Evidence, content: Evidence, what: str) -> None:
    from labelwright.labels import LabelSpace

    known = np.flatnonzero(labels.data >= 0)
    k = len(labels.classes)
    given = content.kind == "pred_probs"
    most = MOST if given else min(MOST, max(1000, WORK // k), PICTURES if content.kind == "images" else MOST)
    rows = case.sample(known, most)
    if not given:
        rows = rows[np.bincount(labels.data[rows], minlength=k)[labels.data[rows]] >= 3]
        if len(rows) < 20 or len(np.unique(labels.data[rows])) < 2 or len(rows) < 4 * k:
            case.cannot(what, f"a sample of {most:,} items has too few of each of the {k} classes")
            return
    seen, ids = np.unique(labels.data[rows], return_inverse=True)
    try:
        if given:
            p = np.asarray(content.data[rows], dtype=np.float64)
            p = np.maximum(p, 0) / np.maximum(p, 0).sum(1, keepdims=True)
            result = _audit(labels.data[rows], p, None, space=LabelSpace(range(k)), random_state=case.random_state)
            seen = np.arange(k)
        else:
            result = _audit(
                ids.reshape(-1),
                None,
                features(content, rows),
                space=LabelSpace(range(len(seen))),
                n_folds=3 if k > 20 else 5,
                random_state=case.random_state,
            )
    except LabelwrightError as error:
        case.cannot(what, f"found {error.found}")
        return
    names = [labels.classes[i] for i in seen]
    agrees = float((result.pred_probs.argmax(1) == result.labels.ids).mean())
    usual = float(np.bincount(result.labels.ids).max() / len(rows))
    if agrees < usual + 0.05 and agrees < 0.9:
        told = f"{_source(content)} meets {percent(agrees)} of the labels, the largest class alone {percent(usual)}"
        case.cannot(what, f"{told}: it cannot tell the classes apart")
        return
    _say_noise(case, labels, content, result, len(rows), agrees)
    if len(names) > 2:
        _say_overlap(case, labels, result, names, weak=agrees < WEAK)
    if k >= 4 and all(isinstance(c, int) for c in labels.classes):
        _order(case, labels, result)


def _audit(labels: Any, pred_probs: Any, content: Any, **options: Any) -> Any:
    from labelwright.auditing import audit

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return audit(labels, pred_probs, content, **options)


def _say_noise(case: Case, labels: Evidence, content: Evidence, result: Any, n: int, agrees: float) -> None:
    rate = result.error_rate
    drawn = f"a sample of {n:,} items" if n < labels.n else f"{n:,} items"
    sentence = (
        f"Between {percent(rate.low)} and {percent(rate.high)} of the labels in {labels.name!r} look wrong "
        f"(best guess {percent(rate.estimate)}), by {drawn} and {_source(content)}"
    )
    if content.kind == "pred_probs" and agrees >= 0.999:
        case.say(
            "in-sample probabilities",
            "high",
            f"{content.name!r} agrees with {labels.name!r} on {agrees:.2%}: "
            "these probabilities were probably made from the very labels, and cannot tell errors",
            {"agreement": agrees},
        )
        return
    severity = _severity(rate.low, rate.estimate)
    each = n / len(result.space)
    if agrees < WEAK:
        severity = "medium" if rate.low >= 0.1 or (content.kind == "pred_probs" and rate.estimate >= 0.2) else "low"
        sentence += f". That model meets only {percent(agrees)} of the labels, so it may well be the model that errs"
        sentence += ": review a sample"
    elif each < 50 and n < labels.n:
        sentence += f". These are about {each:.0f} items per class: an audit of all items is surer"
    figures = {
        "estimate": rate.estimate,
        "low": rate.low,
        "high": rate.high,
        "level": rate.level,
        "sampled": n,
        "flagged": int(result.is_issue.sum()),
        "model_agrees": agrees,
        "content": content.kind,
    }
    commands = case.audit(labels)
    if not commands and content.kind == "pred_probs":
        sentence += f". In Python: lw.audit({labels.name}, pred_probs={content.name})"
    case.say("label errors", severity, sentence, figures, commands=commands)


def _source(content: Evidence) -> str:
    if content.kind == "pred_probs":
        return f"the probabilities in {content.name!r}"
    return (
        "a model of "
        + {"features": "the vectors", "images": "the images", "text": "the texts", "table": "the other columns"}[
            content.kind
        ]
    )


def _severity(low: float, estimate: float) -> str:
    """By what the evidence contradicts surely; a best guess alone may be the model's weakness."""
    if low >= 0.05:
        return "high"
    if low >= 0.01:
        return "medium"
    return "low" if estimate >= 0.005 else "info"


def _say_overlap(case: Case, labels: Evidence, result: Any, names: list[Any], *, weak: bool) -> None:
    """The pairs of classes that the confident joint mixes."""
    pairs = [p for p in result.overlap.slice(0, 5).to_pylist() if p["overlap"] >= 0.1 and p["items"] >= 5]
    if not pairs:
        return
    shown = [
        f"{quoted([names[int(p['class_a'])]])} and {quoted([names[int(p['class_b'])]])} ({percent(p['overlap'])})"
        for p in pairs[:3]
    ]
    figures = [
        {"class_a": str(names[int(p["class_a"])]), "class_b": str(names[int(p["class_b"])]), "overlap": p["overlap"]}
        for p in pairs
    ]
    case.say(
        "ambiguous classes",
        "medium" if pairs[0]["overlap"] >= 0.2 and not weak else "low",
        f"Classes of {labels.name!r} that are mixed up most, as shares of both: {', '.join(shown)}. Look "
        f"whether both definitions fit such items",
        {"pairs": figures},
    )


def _order(case: Case, labels: Evidence, result: Any) -> None:
    """Whether a model confuses neighbouring numbers more than far ones."""
    k = len(result.space)
    given, p = result.labels.ids, result.pred_probs
    confusions = np.zeros((k, k))
    np.add.at(confusions, given, p)
    seen, shuffled, chance = order_of_confusions(confusions, random_state=case.random_state)
    if chance < 0.02 and seen < 0.97 * shuffled:
        case.say(
            "ordered classes",
            "info",
            f"The classes of {labels.name!r} are numbers, and a model confuses near ones most (mean distance "
            f"{seen:.2f}, "
            f"{shuffled:.2f} in random order): they look ordered; pass space=LabelSpace(classes, structure='ordered')",
            {"distance": seen, "shuffled": shuffled, "p_value": chance},
        )


def _many(case: Case, labels: Evidence, content: Evidence, what: str) -> None:
    """A multi-label audit of the most frequent classes."""
    present = np.asarray(labels.data.sum(0)).reshape(-1)
    classes = np.flatnonzero(present >= 20)
    classes = np.sort(classes[np.argsort(-present[classes], kind="stable")][:TAGS])
    missing = labels.detail.get("missing")
    known = np.flatnonzero(~missing) if missing is not None else np.arange(labels.n)
    rows = case.sample(
        known, min(MOST, max(800, 24_000 // max(len(classes), 1)), PICTURES if content.kind == "images" else MOST)
    )
    if content.kind == "pred_probs":
        case.cannot(what, "the probabilities sum to 1 per item, so they are not one per class")
        return
    table = np.asarray(labels.data[rows][:, classes].toarray(), dtype=np.int8) if len(classes) else np.zeros((0, 0))
    keep = (table.sum(0) >= 5) & (table.sum(0) <= len(rows) - 5) if table.size else np.zeros(0, dtype=bool)
    if keep.sum() < 2 or len(rows) < 50:
        case.cannot(what, f"a sample of {len(rows):,} items has too few of each class")
        return
    try:
        result = _audit(
            table[:, keep], None, features(content, rows), multi=True, n_folds=3, random_state=case.random_state
        )
    except LabelwrightError as error:
        case.cannot(what, f"found {error.found}")
        return
    _say_sets(case, labels, content, result, table[:, keep], what)


def _say_sets(case: Case, labels: Evidence, content: Evidence, result: Any, table: np.ndarray, what: str) -> None:
    each, k, total = result.error_rate.per_class, table.shape[1], len(labels.classes)
    y, found = table == 1, result.pred_probs >= 0.5
    f1 = float(2 * (y & found).sum() / max(y.sum() + found.sum(), 1))
    sure, best, most = (float(np.nanmean(v)) for v in (each.low, each.estimate, each.high))
    density = float(np.mean(y))
    if f1 < 0.1:
        case.cannot(what, f"{_source(content)} finds hardly any of the labels (F1 {f1:.2f})")
        return
    part = "" if k == total else f", looking at {k} of the {total:,} classes"
    drawn = f"a sample of {len(table):,} items" if len(table) < labels.n else f"{len(table):,} items"
    sentence = (
        f"Between {percent(sure)} and {percent(most)} of the single entries in {labels.name!r} look wrong "
        f"(best guess {percent(best)}; {percent(density)} are present), by {drawn} and {_source(content)}{part}"
    )
    severity = (
        "high" if sure > 0.1 * density else "medium" if sure > 0.03 * density else "low"
    )  # among the present ones
    if f1 < WEAK_SETS:
        severity = "low"
        sentence += (
            f". That model meets the sets with F1 {f1:.2f} only, so it may well be the model that errs: review a sample"
        )
    figures = {
        "estimate": best,
        "low": sure,
        "high": most,
        "present": density,
        "model_f1": f1,
        "sampled": len(table),
        "classes": k,
    }
    case.say("tag errors", severity, sentence, figures, commands=case.audit(labels))
