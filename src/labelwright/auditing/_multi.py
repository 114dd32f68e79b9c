"""The audit of multi-labels: every class is a yes-no label of its own, the item is wrong if any of them is."""

from __future__ import annotations

from typing import Any

import numpy as np

from labelwright.auditing._answers import Answers, read_answers, reviewed_error_prob
from labelwright.auditing._inputs import Inputs
from labelwright.auditing._sources import Sources
from labelwright.auditing.cooccurrence import others_say
from labelwright.auditing.duplicates import label_conflicts, near_duplicates
from labelwright.auditing.error_model import AMBIGUITY, UNTOLD, error_model
from labelwright.auditing.estimate import SURE, ErrorRate, PerClass, estimate_from_reviews, estimate_without_reviews
from labelwright.auditing.flags import flags
from labelwright.auditing.multilabel import multilabel_joints
from labelwright.auditing.overlap import class_overlap
from labelwright.auditing.result import Audit, transition
from labelwright.auditing.review import review_design
from labelwright.labels import HardLabels, LabelSpace, MultiLabels


def audit_multi(
    inputs: Inputs, sources: Sources, reviews: Any, goals: dict[str, Any], level: float, settings: dict[str, Any]
) -> Audit:
    """See `audit`; `pred_probs` are marginals (N, K)."""
    labels, p = inputs.labels, sources.pred_probs
    assert isinstance(labels, MultiLabels) and p is not None
    y = labels.dense()
    wrong, present = _entries(y, p, settings["random_state"])
    prior = _any(wrong, y)
    error_prob, answers = prior, None
    reviewed = np.zeros(len(y), dtype=bool)
    if reviews is not None:
        answers = read_answers(reviews, inputs.items, labels)
        error_prob = reviewed_error_prob(prior, answers, (((p >= 0.5) != (y == 1)) & (y >= 0)).any(1))
        told = answers.wrong_low == answers.wrong_high
        present[answers.index[told]] = answers.accepted[told]
        reviewed[answers.index] = True
    is_issue = flags(error_prob, goals)
    joints = multilabel_joints(y, p)
    pairs = [
        transition(y[:, k].astype(np.int64), np.stack([1 - present[:, k], present[:, k]], 1)) for k in range(y.shape[1])
    ]
    sets = HardLabels(np.unique(y, axis=0, return_inverse=True)[1].reshape(-1), LabelSpace(range(len(y))))
    return Audit(
        items=inputs.items,
        labels=labels,
        error_prob=error_prob,
        prior_error_prob=prior,
        label_dist=present.astype(np.float32),
        is_issue=is_issue,
        kind=np.where(np.isnan(prior), "unlabelled", np.where(is_issue, "error", "ok")),
        ambiguity=np.zeros(len(y)),
        novelty=np.zeros(len(y)),
        error_rate=_rate(prior, wrong, y, p, answers, level),
        transition=np.stack(pairs),
        confident_joint=joints,
        duplicates=label_conflicts(sets, near_duplicates(sources.neighbours), inputs.items),
        overlap=class_overlap(np.zeros((len(labels.space),) * 2, dtype=np.int64), labels.space),
        reviewed=reviewed,
        pred_probs=p,
        neighbours=sources.neighbours,
        vectors=sources.vectors,
        notes=inputs.notes,
        settings=settings,
    )


def _entries(y: np.ndarray, p: np.ndarray, random_state: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, K) probability that each entry is wrong (NaN where unknown), and that each class is present.

    One error model for the entries of all classes: how often a present class is left out, and an absent one added, is
    told far better by all entries together than by the few of each class. The item's other labels are a second source
    beside the probabilities (benchmarks/audit_structures.py).
    """
    pair = np.stack([1 - p, p], axis=2).reshape(-1, 2)
    others = others_say(y, p, random_state=random_state).reshape(-1)
    model = error_model(
        y.reshape(-1).astype(np.int64),
        pair,
        log_evidence=np.stack([np.zeros_like(others), others], axis=1),
        belief=_belief(y, p),
        n_classes=2,
        random_state=random_state,
    )
    return model.error_prob.reshape(y.shape), model.label_dist[:, 1].reshape(y.shape).astype(np.float64)


def _belief(y: np.ndarray, p: np.ndarray) -> float:
    """In labels that were guessed (`error_model`): that of two classes, times the cube of the F1 of the predicted tags.

    A weak model seldom foresees a tag that is there, so that its doubt says little. The cube brought the counts of planted faults
    near the truth, under weak models (benchmarks/audit_structures.py) and strong ones.
    """
    said, there = (p >= 0.5) & (y >= 0), y == 1
    agreement = 2 * float((said & there).sum()) / max(float(said.sum() + there.sum()), 1.0)
    return (AMBIGUITY + (1 - AMBIGUITY) * UNTOLD) * agreement**3


def _any(wrong: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(N,) probability that at least one known entry is wrong, entries taken as independent given the item."""
    right = np.where(y >= 0, 1 - wrong, 1.0).prod(1)
    return np.where((y >= 0).any(1), 1 - right, np.nan)


def _rate(
    prior: np.ndarray,
    wrong: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    answers: Answers | None,
    level: float,
) -> ErrorRate:
    """Share of items whose set is wrong; per class, the share of entries the model holds for wrong."""
    one = np.where(np.isnan(prior), -1, 0)
    if answers is None:
        disagrees = (((p >= 0.5) != (y == 1)) & (y >= 0)).any(1)
        rate = estimate_without_reviews(prior, one, 1, pred_disagrees=disagrees, level=level)
    else:
        rate = estimate_from_reviews(
            prior, one, 1, answers.index, answers.wrong_low, answers.wrong_high, answers.probability,
            design=review_design(prior), level=level,
        )  # fmt: skip
    known = np.maximum((y >= 0).sum(0), 1)
    share = np.where(y >= 0, wrong, 0).sum(0) / known
    low = np.where((y >= 0) & (wrong >= SURE), wrong, 0).sum(0) / known
    high = np.maximum(share, (((p >= 0.5) != (y == 1)) & (y >= 0)).sum(0) / known)
    return ErrorRate(
        estimate=rate.estimate, low=rate.low, high=rate.high,
        per_class=PerClass(share, low, high),
        assumption=rate.assumption + " Per class: share of entries, from the model alone.",
        n_reviewed=rate.n_reviewed, level=rate.level,
    )  # fmt: skip
