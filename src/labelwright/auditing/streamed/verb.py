"""`audit` for probabilities that are read in passes: on one machine, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.auditing._answers import (
    Answers,
    answered_kinds,
    look_at_probabilities,
    read_answers,
    reviewed_error_prob,
    with_answers,
)
from labelwright.auditing._inputs import Inputs, item_keys, look_at_guesses, look_at_labels, space_from
from labelwright.auditing._ranking import largest
from labelwright.auditing._sources import Sources, without_copies
from labelwright.auditing._stacking import MISTAKEN, add_by_label, fit_pool, model_evidence, rows_to_fit, vote_evidence
from labelwright.auditing.duplicates import label_conflicts, near_duplicates
from labelwright.auditing.estimate import estimate_from_reviews, estimate_without_reviews
from labelwright.auditing.flags import flags
from labelwright.auditing.kinds import KINDS, tell_apart_by
from labelwright.auditing.overlap import class_overlap
from labelwright.auditing.result import Audit
from labelwright.auditing.review import review_design
from labelwright.auditing.streamed.passes import FirstPass, Judged, Looked, Model, SecondPass, ThirdPass
from labelwright.auditing.streamed.source import Feed, match
from labelwright.errors import LabelError
from labelwright.labels import HardLabels, LabelSpace, SoftLabels
from labelwright.stream import Rows, checked, chunks, open_rows, run

TOP = 5
"""Classes that are kept of each item's distribution; the rest is kept as one sum."""


def audit_rows(
    labels: Any,
    rows: Rows,
    *,
    space: Any,
    items: Any,
    sources: Callable[[Inputs], Sources],
    reviews: Any,
    goals: dict[str, Any],
    level: float,
    settings: dict[str, Any],
    random_state: int,
    engine: str | None,
    workers: int | None,
    checkpoint: Any,
    progress: Callable[[str, int, int], None],
) -> Audit:
    """See `audit`. Three passes over `rows`; beside the numbers per item, memory holds a few K x K tables and chunks.

    1. thresholds, predicted classes, and the rows that the error model is fitted on;
    2. the confident joint, and what weighs the readings of the error model;
    3. every item's error_prob and its `TOP` likeliest classes.

    sources: gathers neighbours and the like once labels and keys are known.
    """
    given, feed, note = match(labels, rows, space_from(space))
    inputs = Inputs(item_keys(items, len(given)), given, None)
    if not given.known.any():
        raise LabelError(
            found=f"{len(given)} labels, all missing", expected="labels to audit", fix="pass those that are known"
        )
    if len(given.space) < 2:
        raise LabelError(
            found=f"one class only: {given.space.classes[0]!r}",
            expected="at least two classes; with one there is nothing to confuse",
            fix="pass space=LabelSpace([...]) with all the classes an item may have",
        )
    if note:
        inputs.note(note)
    look_at_labels(inputs, given)
    found = sources(inputs)
    k = len(given.space)

    def go(number: int, make: Callable[[], Any], source: Rows, feed: Feed) -> Any:
        return run(
            make, open_rows((given.ids, source)), feed=feed, engine=engine or "threads", workers=workers,
            tasks=_tasks(k), checkpoint=None if checkpoint is None else Path(checkpoint) / f"pass-{number}",
            progress=lambda _, done, total: progress(f"pass {number} of 3", done, total),
        )  # fmt: skip

    sample = rows_to_fit(given.ids, k, random_state)
    looked: Looked = go(1, partial(FirstPass, k, sample), checked(rows, distributions=True), feed)
    look_at_guesses(inputs, given, looked.top, given_probs=True)
    model = _fit(given.ids, looked, sample, without_copies(found.neighbours), given.space, progress)
    looked = looked._replace(sample=looked.sample[:0])  # its work is done
    sampled = len(sample) < int(given.known.sum())
    joint, ambiguity, transition = go(2, partial(SecondPass, looked.thresholds, model, sampled=sampled), rows, feed)
    by_given = np.ascontiguousarray(transition.T)
    cost = None if given.space.structure == "nominal" else given.space.cost()
    judged: Judged = go(3, partial(ThirdPass, model, ambiguity, by_given, cost, min(TOP, k)), rows, feed)
    settings = (
        settings
        | found.described
        | {"pred_probs": f"given, read in passes from {rows.name}", "label_dist": f"top {TOP}"}
    )
    return _answer(inputs, given, found, looked, joint, judged, reviews, goals, level, settings)


def _tasks(n_classes: int) -> int:
    """Fewer where each has large tables to keep."""
    return int(np.clip((1 << 24) // n_classes**2, 16, 64))


def _fit(
    labels: np.ndarray,
    looked: Looked,
    sample: np.ndarray,
    neighbours: Any,
    space: LabelSpace,
    progress: Callable[[str, int, int], None],
) -> Model:
    """The pool of the sources, fitted on the sampled rows (`error_model`)."""
    shares = np.bincount(labels[labels >= 0], minlength=len(space)) + 1.0
    shares /= shares.sum()

    def evidence(part: np.ndarray) -> list[np.ndarray]:
        at = np.searchsorted(sample, part)
        out = [model_evidence(looked.sample, at, 0.0 if neighbours is None else MISTAKEN)]
        return out if neighbours is None else [*out, vote_evidence(labels, neighbours, shares, part)]

    progress("fitting the error model", 0, 1)
    pool = fit_pool(evidence, labels, shares, rows=sample, even=space.structure != "nominal")
    progress("fitting the error model", 1, 1)
    return Model(labels, shares, pool, neighbours)


def _answer(
    inputs: Inputs,
    given: HardLabels,
    found: Sources,
    looked: Looked,
    joint: np.ndarray,
    judged: Judged,
    reviews: Any,
    goals: dict[str, Any],
    level: float,
    settings: dict[str, Any],
) -> Audit:
    k, prior = len(given.space), judged.error_prob
    dist = _soft(judged, given.space)
    error_prob, counts, severity, answers = prior, judged.counts, judged.severity, None
    reviewed = np.zeros(len(prior), dtype=bool)
    if reviews is not None:
        answers = read_answers(reviews, inputs.items, given)
        error_prob = reviewed_error_prob(prior, answers, looked.top != given.ids)
        dist, counts, severity = _reviewed(dist, given, prior, error_prob, answers)
        reviewed[answers.index] = True
    is_issue = flags(error_prob, goals)
    kinds = tell_apart_by(
        given.ids, dist.index[:, 0], dist.prob[:, 0], looked.first, looked.second, k, found.neighbours, is_issue
    )
    kind = np.array(KINDS, dtype=object)[kinds.kind]  # as objects: of each name there is one
    kind[~given.known] = "unlabelled"
    if answers is None:
        disagrees = (looked.top != given.ids) & given.known
        rate = estimate_without_reviews(prior, given.ids, k, pred_disagrees=disagrees, level=level)
    else:
        look_at_probabilities(inputs, answers)
        kind = answered_kinds(kind, is_issue, answers)
        rate = estimate_from_reviews(
            prior, given.ids, k, answers.index, answers.wrong_low, answers.wrong_high, answers.probability,
            design=review_design(prior), level=level,
        )  # fmt: skip
    return Audit(
        items=inputs.items, labels=given, error_prob=error_prob, prior_error_prob=prior, label_dist=dist,
        is_issue=is_issue, kind=kind, ambiguity=kinds.ambiguity, novelty=kinds.novelty, error_rate=rate,
        transition=_rows_of(counts), confident_joint=joint,
        duplicates=label_conflicts(given, near_duplicates(found.neighbours), inputs.items),
        overlap=class_overlap(joint, given.space), reviewed=reviewed, neighbours=found.neighbours, vectors=found.vectors,
        dynamics=found.dynamics, expected_cost=severity, notes=inputs.notes, settings=settings,
    )  # fmt: skip


def _soft(judged: Judged, space: LabelSpace) -> SoftLabels:
    n, top = judged.prob.shape
    rest = np.maximum(1 - judged.prob.sum(1, dtype=np.float64), 0) if top < len(space) else np.zeros(n)
    return SoftLabels(judged.classes, judged.prob, rest.astype(np.float32), None, np.ones(n, dtype=bool), space)


def _reviewed(
    dist: SoftLabels, given: HardLabels, prior: np.ndarray, error_prob: np.ndarray, answers: Answers
) -> tuple[SoftLabels, np.ndarray, np.ndarray | None]:
    """The distributions brought in line with the answers, their sum by given label, and their expected cost."""
    n, k = len(dist), len(dist.space)
    index, prob, counts = dist.index.copy(), dist.prob.copy(), np.zeros((k, k))
    cost = None if dist.space.structure == "nominal" else dist.space.cost()
    severity = None if cost is None else np.full(n, np.nan)
    for rows in chunks(n, k):
        mine = answers.among(rows)
        dense = with_answers(dist[rows].dense(), given.ids[rows], prior[rows], error_prob[rows], mine)
        known = np.flatnonzero(given.known[rows])
        own = given.ids[rows][known]
        add_by_label(counts, dense[known].astype(np.float64), own)
        if cost is not None and severity is not None:
            severity[rows.start + known] = (dense[known] * cost[own]).sum(1)
        index[rows], prob[rows] = largest(dense, index.shape[1])
    judged = Judged(error_prob, index, prob, severity, counts)
    return _soft(judged, dist.space), counts, severity


def _rows_of(counts: np.ndarray) -> np.ndarray:
    """(K, K) [true, given] from the sums (K, K) [given, true]; a class that no item seems to have keeps its own label."""
    total = counts.sum(0)
    return np.where(total[:, None] > 0, counts.T / np.where(total > 0, total, 1)[:, None], np.eye(len(total)))
