"""`audit`: which labels are wrong, how many, and what they are likelier to be."""

from __future__ import annotations

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
from labelwright.auditing._inputs import Inputs, look_at_predictions, read_inputs
from labelwright.auditing._multi import audit_multi
from labelwright.auditing._sources import Sources, gather, neighbour_probs, without_copies
from labelwright.auditing.confident import confident_joint
from labelwright.auditing.duplicates import label_conflicts, near_duplicates
from labelwright.auditing.error_model import error_model
from labelwright.auditing.estimate import ErrorRate, estimate_from_reviews, estimate_without_reviews
from labelwright.auditing.flags import flags
from labelwright.auditing.kinds import tell_apart
from labelwright.auditing.overlap import class_overlap
from labelwright.auditing.result import Audit, transition
from labelwright.auditing.review import review_design
from labelwright.auditing.streamed import LARGE, as_rows, audit_rows, in_memory
from labelwright.errors import OptionError, check_option, check_whole
from labelwright.labels import HardLabels, LabelSpace
from labelwright.stream import Rows


def audit(
    labels: Any,
    pred_probs: Any = None,
    features: Any = None,
    space: LabelSpace | None = None,
    reviews: Any = None,
    *,
    items: Any = None,
    multi: bool = False,
    groups: Any = None,
    encoder: Any = None,
    estimator: Any = None,
    train: bool = True,
    dynamics: Any = None,
    budget: int | None = None,
    precision: float | None = None,
    recall: float | None = None,
    rank_by: str = "error",
    n_neighbours: int = 20,
    n_folds: int = 5,
    level: float = 0.9,
    random_state: int = 0,
    engine: str | None = None,
    workers: int | None = None,
    checkpoint: Any = None,
    progress: Any = None,
) -> Audit:
    """Audit given labels: how many are wrong (with an interval), which to look at, and what they are likelier to be.

    Args:
        labels: N labels, integers or strings, in any column type (list, NumPy, pandas, polars, pyarrow, HF); missing ones are
            None or NaN. With `multi`, N sets of labels, or a dense or SciPy sparse (N, K) table of 1, 0, -1 (unknown).
        pred_probs: (N, K) out-of-sample class probabilities; with `multi` one probability per class. Never in-sample.
            Also top-k rows (`SoftLabels`), a path or URL of what `stream.open_rows` opens (.npy, Parquet, Arrow, Lance, a
            folder of shards), or `Rows`. Above 67 million entries they are read in three passes and never held in memory;
            label_dist then has the five likeliest classes of each item.
        features: what the items look like: vectors (N, D) dense or sparse, N texts, a data frame, or images.
            Without pred_probs they are predicted out of fold from these. At least one of the two is needed. Image files are
            `pathlib.Path` objects; strings are texts.
        space: the classes, their order and structure (LabelSpace, or a list of names); default: those that occur, sorted.
            Named columns of pred_probs are matched to the classes by name.
        reviews: answers for items that `review_sample` drew: a table (item, label, probability). label is the accepted
            class, several joined by "|", "none of these" or "can't tell"; rows without an answer are left out.
        items: N distinct keys; default: positions.
        groups: (N,) items of one group never stand on both sides of a fold.
        encoder: what turns texts or images into vectors: a name, a path, or what `load_encoder` returned; default: word counts
            and an image descriptor, which need no model.
        estimator: any scikit-learn classifier for the out-of-fold predictions; default: logistic regression.
        train: False leaves the out-of-fold predictions out, so that the neighbours alone speak: no training at all.
        dynamics: (E, N, K) probabilities per training epoch; adds training-dynamics scores.
        budget, precision, recall: what the flags must serve: so many looks, a stated precision, or a stated recall.
            At most one; default: the flags that maximise the expected F1.
        rank_by: "error" (probability of being wrong) or "cost" (expected cost under the structure of the space).
        n_neighbours, n_folds, level: size of a neighbourhood, folds, level of the intervals.
        random_state: seed of folds and draws.
        engine: "threads", "serial", "ray" or "ray://host:port", see `stream.run`; pred_probs are then read in passes
            whatever their size.   workers: how many at a time; default one per processor.
        checkpoint: a folder in which finished parts of the passes are kept, so that a run that was killed goes on.
        progress: called as progress(step, done, total).

    Returns:
        Audit.

    Raises:
        LabelError, ProbabilityError, DataError: what is wrong with the input, where, and how to mend it.
        OptionError: options that exclude each other or do not exist.

    >>> import labelwright as lw
    >>> from sklearn.datasets import load_iris
    >>> x, y = load_iris(return_X_y=True)
    >>> y[[3, 70]] = 2, 0
    >>> lw.audit(y, features=x).issues["row"].to_pylist()[:2]
    [3, 70]
    """
    check_option("rank_by", rank_by, ("error", "cost"))
    for name, share in (("precision", precision), ("recall", recall), ("level", level)):
        if share is not None and not isinstance(share, int | float | np.number):
            raise OptionError(found=f"{name}={share!r}", expected="a fraction between 0 and 1", fix=f"pass {name}=0.9")
    check_whole("random_state", random_state, 0)
    check_whole("n_folds", n_folds, 2)
    check_whole("n_neighbours", n_neighbours, 1)
    goals = {
        name: goal
        for name, goal in (("budget", budget), ("precision", precision), ("recall", recall))
        if goal is not None
    }
    if len(goals) > 1:
        raise OptionError(
            found=" and ".join(f"{name}={goal}" for name, goal in goals.items()),
            expected="at most one of budget, precision and recall",
            fix="choose the one that binds; the effort curve shows the others",
        )
    tell = progress or _silent

    def sources_of(inputs: Inputs, in_passes: bool = False) -> Sources:
        return gather(
            inputs, features, groups=groups, encoder=encoder, estimator=estimator, train=train,
            n_neighbours=n_neighbours, n_folds=n_folds, random_state=random_state, dynamics=dynamics,
            progress=tell, in_passes=in_passes,
        )  # fmt: skip

    described = {
        "n_neighbours": n_neighbours, "n_folds": n_folds, "level": level, "random_state": random_state,
        "rank_by": rank_by, "multi": multi, "goal": goals or "expected F1",
    }  # fmt: skip
    rows = as_rows(
        pred_probs, labels, passes_wanted=any(option is not None for option in (engine, workers, checkpoint))
    )
    if rows is not None and _in_passes(rows, multi, engine, workers, checkpoint):
        return audit_rows(
            labels, rows, space=space, items=items, sources=lambda inputs: sources_of(inputs, True), reviews=reviews,
            goals=goals, level=level, settings=described, random_state=random_state, engine=engine, workers=workers,
            checkpoint=checkpoint, progress=tell,
        )  # fmt: skip
    if rows is not None:
        pred_probs = in_memory(rows)
    inputs = read_inputs(labels, pred_probs, space=space, items=items, multi=multi)
    sources = sources_of(inputs)
    if sources.pred_probs is not None:
        look_at_predictions(inputs, sources.pred_probs)
    settings = described | sources.described
    if multi:
        return audit_multi(inputs, sources, reviews, goals, level, settings)
    return _audit_single(inputs, sources, reviews, goals, level, settings)


def _in_passes(rows: Rows, multi: bool, engine: str | None, workers: int | None, checkpoint: Any) -> bool:
    """Whether the probabilities are read in passes: where they are large, or an engine or a checkpoint was asked for."""
    wanted = any(option is not None for option in (engine, workers, checkpoint))
    large = len(rows) * rows.width > LARGE
    if multi and (large or wanted):
        raise OptionError(
            found=f"multi=True with {'engine, workers or checkpoint' if wanted else f'{rows.shape} probabilities'}",
            expected="sets of labels with probabilities that fit into memory",
            fix="audit parts of the items one after the other" if large else "leave engine, workers and checkpoint out",
        )
    return large or wanted


def _silent(step: str, done: int, total: int) -> None:
    """No progress wanted."""


def _audit_single(
    inputs: Inputs, sources: Sources, reviews: Any, goals: dict[str, Any], level: float, settings: dict[str, Any]
) -> Audit:
    labels = inputs.labels
    assert isinstance(labels, HardLabels)
    given, k = labels.ids, len(labels.space)
    model = error_model(
        given, sources.pred_probs, neighbours=without_copies(sources.neighbours),
        even=labels.space.structure != "nominal", n_classes=k, random_state=settings["random_state"],
    )  # fmt: skip
    prior, dist = model.error_prob, model.label_dist
    seen = sources.pred_probs if sources.pred_probs is not None else neighbour_probs(labels, sources.neighbours)
    joint = confident_joint(given, seen)
    error_prob, answers = prior, None
    reviewed = np.zeros(len(given), dtype=bool)
    if reviews is not None:
        answers = read_answers(reviews, inputs.items, labels)
        error_prob = reviewed_error_prob(prior, answers, seen.argmax(1) != given)
        dist = with_answers(dist, given, prior, error_prob, answers)
        reviewed[answers.index] = True
        look_at_probabilities(inputs, answers)
    is_issue = flags(error_prob, goals)
    kinds = tell_apart(given, dist, sources.pred_probs, sources.neighbours, is_issue)
    kind = np.where(labels.known, kinds.kind, "unlabelled")
    if answers is not None:
        kind = answered_kinds(kind, is_issue, answers)
    rate = _rate(prior, given, k, answers, seen, level)
    return Audit(
        items=inputs.items,
        labels=labels,
        error_prob=error_prob,
        prior_error_prob=prior,
        label_dist=dist,
        is_issue=is_issue,
        kind=kind,
        ambiguity=kinds.ambiguity,
        novelty=kinds.novelty,
        error_rate=rate,
        transition=transition(given, dist),
        confident_joint=joint,
        duplicates=label_conflicts(labels, near_duplicates(sources.neighbours), inputs.items),
        overlap=class_overlap(joint, inputs.space),
        reviewed=reviewed,
        pred_probs=sources.pred_probs,
        neighbours=sources.neighbours,
        vectors=sources.vectors,
        dynamics=sources.dynamics,
        notes=inputs.notes,
        settings=settings,
    )


def _rate(
    prior: np.ndarray,
    given: np.ndarray,
    k: int,
    answers: Answers | None,
    p: np.ndarray,
    level: float,
) -> ErrorRate:
    if answers is None:
        disagrees = (p.argmax(1) != given) & (given >= 0)
        return estimate_without_reviews(prior, given, k, pred_disagrees=disagrees, level=level)
    return estimate_from_reviews(
        prior, given, k, answers.index, answers.wrong_low, answers.wrong_high, answers.probability,
        design=review_design(prior), level=level,
    )  # fmt: skip
