"""Findings on answers of several annotators, on vote counts, and on rules."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from labelwright.advising._words import ORDERED, plain, scale_of
from labelwright.advising.case import Case, percent, quoted
from labelwright.advising.evidence import Evidence, alike, matched
from labelwright.advising.measures import (
    Agreement,
    annotator_agreement,
    count_votes,
    interval_alpha,
    krippendorff_alpha,
    order_of_confusions,
    ties,
)

MOST_RULES = 200  # compared with each other
LEAST = 10  # answers below which nothing is said of an annotator


def answers(case: Case) -> None:
    """Everything that votes, vote counts and rules tell."""
    for e in case.survey.of("votes"):
        votes(case, e)
    for e in case.survey.of("soft labels"):
        (verdicts if _reviewed(e) else counted)(case, e)
    for e in case.survey.of("rules"):
        rules(case, e)


# --------------------------------------------------------------------------------------------------------------- votes
def votes(case: Case, e: Evidence) -> None:
    item, annotator, label = e.data
    numeric = "values" in e.detail
    if numeric:
        alpha, metric, counts = interval_alpha(item, e.detail["values"]), "interval", None
        per_item = np.bincount(item, minlength=e.n)
    else:
        counts = _in_order(e, count_votes(item, label, e.n, len(e.classes)))
        ordered = _ordered(case, e, counts)
        metric = "ordinal" if ordered else "nominal"
        alpha = krippendorff_alpha(counts, metric=metric)
        per_item = counts.sum(1)
    voted = per_item[per_item > 0]
    if not len(voted) or voted.max() < 2:
        case.cannot(f"agreement in {e.name!r}", "no item has two answers")
        return
    _agreement(case, e, alpha, metric, voted)
    if counts is not None:
        if not ordered:
            _ties(case, e, counts)
        _annotators(case, e, annotator_agreement(item, annotator, label))
        if "truth" in e.detail:
            _majority(case, e, count_votes(item, label, e.n, len(e.classes)))


def _agreement(case: Case, e: Evidence, alpha: float, metric: str, voted: np.ndarray) -> None:
    if np.isnan(alpha):
        case.cannot(f"agreement in {e.name!r}", "all answers are the same")
        return
    severity = "high" if alpha < 0.4 else "medium" if alpha < 0.667 else "low" if alpha < 0.8 else "info"
    word = {"high": "weakly", "medium": "moderately", "low": "fairly well", "info": "well"}[severity]
    single = float((voted == 1).mean())
    sentence = (
        f"{e.detail['annotators']:,} annotators agree {word} in {e.name!r}: Krippendorff's alpha {alpha:.2f} "
        f"({metric}; 1 = full, 0 = chance), "
        f"{np.median(voted):.0f} answers per item (median, {voted.min()} to {voted.max()})"
    )
    if single:
        sentence += f"; {percent(single)} of the items have one answer only"
    figures = {
        "alpha": alpha,
        "metric": metric,
        "annotators": e.detail["annotators"],
        "items": len(voted),
        "answers_per_item": float(np.median(voted)),
        "single_answer": single,
    }
    case.say(
        "disagreement",
        severity,
        sentence,
        figures,
        without=("toptwo",) if len(e.classes) < 3 or metric != "nominal" else (),
    )


def _ties(case: Case, e: Evidence, counts: np.ndarray) -> None:
    tied, several = ties(counts)
    if several and tied / several >= 0.02:
        share = tied / several
        case.say(
            "tied votes",
            "medium" if share >= 0.1 else "low",
            f"{tied:,} of {several:,} items in {e.name!r} ({percent(share)}) have a tie for the first place: a "
            f"majority vote is a coin toss there",
            {"tied": tied, "items": several, "share": share},
            without=("toptwo",) if len(e.classes) < 3 else (),
        )


def _annotators(case: Case, e: Evidence, agreement: Agreement) -> None:
    votes_of = agreement.votes
    idle = int(((votes_of > 0) & (votes_of < LEAST)).sum())
    contrary = np.flatnonzero(agreement.contrary())
    total = int((votes_of > 0).sum())
    if len(contrary):
        keys = [str(e.detail["keys"][i]) if "keys" in e.detail else f"column {i + 1}" for i in contrary]
        share = float(votes_of[contrary].sum() / votes_of.sum())
        top = float(np.bincount(e.data[2][e.data[2] >= 0]).max() / (e.data[2] >= 0).sum())
        easy = (
            f". {percent(top)} of all answers are one class, so some may be right by always giving it"
            if top > 0.8
            else ""
        )
        case.say(
            "contrary annotators",
            "high" if share > 0.1 else "medium",
            f"{len(contrary)} of {total:,} annotators in {e.name!r} agree with the others hardly more than "
            f"chance (they gave {percent(share)} of the "
            f"answers); among them {quoted(keys)}{easy}",
            {"annotators": keys[:50], "share_of_answers": share, "lift": agreement.lift[contrary[:50]]},
            without=("toptwo",) if len(e.classes) < 3 else (),
        )
    if idle > 0.2 * total:
        case.say(
            "annotators with few answers",
            "low",
            f"{idle:,} of {total:,} annotators in {e.name!r} gave fewer than {LEAST} answers that can be "
            f"compared: little can be said of each",
            {"few": idle, "annotators": total},
        )


def _majority(case: Case, e: Evidence, counts: np.ndarray) -> None:
    """How often the majority is right, ties counting their share, where the truth is there."""
    truth = np.nan_to_num(np.asarray(e.detail["truth"], dtype=float)[: len(counts)], nan=-1).astype(np.int64)
    known = (truth >= 0) & (counts.sum(1) > 0) & (truth < counts.shape[1])
    if not known.any():
        return
    top = counts[known] == counts[known].max(1, keepdims=True)
    right = float((top / top.sum(1, keepdims=True))[np.arange(known.sum()), truth[known]].mean())
    severity = "high" if right < 0.8 else "medium" if right < 0.95 else "low"
    case.say(
        "majority errors",
        severity,
        f"The majority in {e.name!r} is wrong on {percent(1 - right)} of the {int(known.sum()):,} items whose "
        f"truth is there (ties shared)",
        {"majority_right": right, "items": int(known.sum())},
        without=("toptwo",) if len(e.classes) < 3 else (),
    )


def _in_order(e: Evidence, counts: np.ndarray) -> np.ndarray:
    """The columns of the classes in the order of their scale, where they have one."""
    scale = scale_of(e.classes)
    if scale is None:
        return counts
    place = {str(c): i for i, c in enumerate(e.classes)}
    return counts[:, [place[name] for name in scale]]


def _ordered(case: Case, e: Evidence, counts: np.ndarray) -> bool:
    """Whether the answers have an order: words of a scale, numbers under a name that says so, or near answers to one item."""
    k = len(e.classes)
    scale = scale_of(e.classes)
    if k < 3:
        return False
    numbers = all(isinstance(c, int) for c in e.classes)
    name = {re.sub(r"\d+$", "", x) for x in plain(e.name.split(",")[0].split(" …")[0]).split("_")}
    if scale is not None:
        case.say(
            "ordered classes",
            "info",
            f"The answers in {e.name!r} are steps of a scale: {' < '.join(scale)}",
            {"order": list(scale)},
        )
        return True
    if numbers and name & ORDERED:
        case.say(
            "ordered classes",
            "info",
            f"The answers in {e.name} are numbers from {e.classes[0]} to {e.classes[-1]} under a name for "
            f"levels: they have "
            "an order",
            {"classes": k},
        )
        return True
    if k < 4:
        return False
    seen, shuffled, chance = order_of_confusions((counts.T @ counts).astype(float), random_state=case.random_state)
    if chance < 0.02 and seen < 0.97 * shuffled:
        case.say(
            "ordered classes",
            "info",
            f"Answers to one item in {e.name!r} lie near each other in the order of the classes (mean distance "
            f"{seen:.2f}, {shuffled:.2f} in random "
            f"order): {quoted(e.classes, 4)} may be levels; agreement is given as for classes without order",
            {"distance": seen, "shuffled": shuffled, "p_value": chance},
        )
    return False


# -------------------------------------------------------------------------------------------------------------- counts
def _reviewed(e: Evidence) -> bool:
    """Whether the counted answers are verdicts on a given label."""
    return "given" in e.classes and len(e.classes) <= 8


def verdicts(case: Case, e: Evidence) -> None:
    counts = np.asarray(e.data, dtype=float)
    total = counts.sum(1)
    judged = total > 0
    own = counts[judged][:, e.classes.index("given")] / total[judged]
    wrong = float((own < 0.5).mean())
    sentence = (
        f"{int(judged.sum()):,} items were reviewed ({np.median(total[judged]):.0f} verdicts each): fewer than "
        f"half chose the given label on "
        f"{int((own < 0.5).sum()):,} ({percent(wrong)})"
    )
    sentence += ". They tell the rate of all items only if they were drawn at random: nothing here says so"
    figures = {"reviewed": int(judged.sum()), "rejected": int((own < 0.5).sum()), "share": wrong}
    for name, key in (("both", "both"), ("neither", "neither")):
        if name in e.classes:
            figures[key] = float((counts[judged][:, e.classes.index(name)] / total[judged] >= 0.5).mean())
    case.say("review verdicts", "high" if wrong > 0.3 else "medium", sentence, figures)


def counted(case: Case, e: Evidence) -> None:
    """Shares of answers: how undecided the items are, and whether the published label follows the majority."""
    counts = np.asarray(e.data, dtype=float)
    total = np.maximum(counts.sum(1, keepdims=True), 1e-12)
    share = counts / total
    split = float((share.max(1) < 0.5).mean())
    unsure = float((share.max(1) < 0.8).mean())
    alpha = (
        krippendorff_alpha(np.round(counts), metric="ordinal" if e.detail.get("numbered") else "nominal")
        if total.max() >= 2
        else float("nan")
    )
    metric = "ordinal" if e.detail.get("numbered") else "nominal"
    severity = "medium" if unsure > 0.2 else "low" if unsure > 0.05 else "info"
    agreed = "" if np.isnan(alpha) else f", Krippendorff's alpha {alpha:.2f} ({metric})"
    case.say(
        "vote counts",
        severity,
        f"{e.name!r} holds about {np.median(counts.sum(1)):.0f} answers per item: on {percent(unsure)} of the "
        f"items fewer than 80 % agree, on {percent(split)} "
        f"no answer has half{agreed}. Keep them as soft labels",
        {"unsure": unsure, "no_half": split, "alpha": alpha, "answers": float(np.median(counts.sum(1)))},
        without=() if e.detail.get("numbered") else ("deqa-score",),
    )
    if e.detail.get("numbered") and counts.shape[1] > 2:
        case.say(
            "ordered classes",
            "info",
            f"The answers in {e.name!r} are numbered 1 to {counts.shape[1]}: levels with an order",
            {"classes": counts.shape[1]},
        )
    _published(case, e, share)


def _published(case: Case, e: Evidence, share: np.ndarray) -> None:
    """The given label against the majority of the counted answers, matched by name or by number."""
    for given in case.survey.of("hard labels"):
        if given.n != e.n or given.role == "predicted":
            continue
        by_name = {str(c).lower(): i for i, c in enumerate(e.classes)}
        column = np.array([by_name.get(str(c).lower(), -1) for c in given.classes] + [-1])[given.data]
        known = column >= 0
        if known.mean() < 0.9:
            continue
        own = share[known, column[known]]
        beaten = float((own < share[known].max(1)).mean())
        severity = "high" if beaten > 0.1 else "medium" if beaten > 0.01 else "low"
        doubted = next((p for p in case.survey.of("hard labels") if p.role == "predicted" and p.n == e.n), None)
        chosen = doubted is not None and not set(zip(_names(doubted), _names(given))) & {(c, c) for c in given.classes}
        caveat = (
            f". Every item has another proposal in {doubted.name!r}, so they look chosen for doubt"
            if doubted and chosen
            else ""
        )
        case.say(
            "known errors",
            severity,
            f"On {percent(beaten)} of {int(known.sum()):,} items another class has more answers than the label "
            f"in {given.name!r}; on "
            f"{percent(float((own < 0.5).mean()))} fewer than half chose that label{caveat}",
            {"beaten": beaten, "under_half": float((own < 0.5).mean()), "items": int(known.sum())},
        )


def _names(e: Evidence) -> list[Any]:
    return [e.classes[i] if i >= 0 else None for i in e.data]


# --------------------------------------------------------------------------------------------------------------- rules
def rules(case: Case, e: Evidence) -> None:
    v: Any = e.data
    fires = v >= 0
    covered, several = fires.any(1), fires.sum(1) > 1
    low = np.where(fires, v, np.iinfo(v.dtype).max).min(1)
    clash = several & (low != v.max(1))
    silent = int((~fires.any(0)).sum())
    sentence = (
        f"{v.shape[1]} rules in {e.name!r} speak on {percent(float(covered.mean()))} of {len(v):,} items; where "
        f"two or more speak, they contradict each other "
        f"on {percent(float(clash.sum() / max(several.sum(), 1)))}"
    )
    figures: dict[str, Any] = {
        "rules": v.shape[1],
        "covered": float(covered.mean()),
        "conflict": float(clash.sum() / max(several.sum(), 1)),
        "silent": silent,
    }
    if silent:
        sentence += f"; {silent} never speak"
    truth = next((t for t in case.survey.of("hard labels") if t.role != "predicted" and alike(t, e)), None)
    if truth is not None:
        ids = matched(truth, e.classes)
        right = [float((v[:, r] == ids)[fires[:, r]].mean()) for r in range(v.shape[1]) if fires[:, r].sum() >= LEAST]
        if right:
            figures["accuracy"] = right
            span = f"{percent(min(right))} to {percent(max(right))}"
            sentence += f". Against {truth.name!r}, single rules are right on {span} of what they speak on"
    share = float(covered.mean())
    case.say(
        "rules",
        "high" if share < 0.3 else "medium" if share < 0.9 or figures["conflict"] > 0.1 else "low",
        sentence,
        figures,
    )
    repeated(case, v, fires)


def repeated(case: Case, v: np.ndarray, fires: np.ndarray) -> None:
    """Pairs of rules that say the same wherever one of them speaks."""
    same = []
    for a in range(min(v.shape[1], MOST_RULES)):
        for b in range(a + 1, min(v.shape[1], MOST_RULES)):
            either = fires[:, a] | fires[:, b]
            if either.sum() >= 2 * LEAST and (v[:, a] == v[:, b])[either].mean() >= 0.95:
                same.append((a, b))
    if same:
        case.say(
            "copied labels",
            "medium",
            f"{len(same)} pairs of rules say the same wherever they speak (first: columns {same[0][0] + 1} and "
            f"{same[0][1] + 1}): count each pair as one",
            {"pairs": same[:20]},
        )
