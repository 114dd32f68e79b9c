"""What to re-annotate first when classes form a tree: labels that are far from the predictions."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from labelwright.errors import DataError, LabelError, OptionError, check_option, rows
from labelwright.labels import Hierarchy

STRATEGIES = ("gp", "gl", "disagreement", "signed_confidence")
BUDGETS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


def read_hierarchy(path: str | Path, class_names: Sequence[str | int]) -> Hierarchy:
    """A hierarchy from a file: JSON `{child: parent or [parents]}`, or CSV with two columns, child and parent.

    Args:
        path: ends in .json or .csv. A first CSV line `child,parent` is a heading; a node with several parents has
            several lines; a root has an empty parent, or none.
        class_names: (K,) names in the order of the class ids; each must occur in the file (the class 3 as "3").

    Raises:
        DataError: a file that cannot be read so.   LabelError: a cycle, a class that is not in the hierarchy.
    """
    path = Path(path)
    if path.suffix.lower() not in (".json", ".csv"):
        raise DataError(
            found=f"the file {path.name!r}", expected="a name ending in .json or .csv", fix="rename or convert it"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            found=f"{path} that cannot be read ({error})", expected="a UTF-8 text file", fix="check path and encoding"
        ) from error
    found = _parse_json(path, text) if path.suffix.lower() == ".json" else _parse_csv(path, text)
    name = {str(c): c for c in class_names}
    parents = {name.get(child, child): [name.get(p, p) for p in up] for child, up in found.items()}
    return Hierarchy(parents, class_names)


def _parse_json(path: Path, text: str) -> dict[str, list[str]]:
    form = 'an object such as {"cat": "animal", "dog": ["animal", "pet"]}'
    try:
        found = json.loads(text)
    except ValueError as error:
        raise DataError(
            found=f"{path.name}, which is no JSON ({error})", expected=form, fix="check the file"
        ) from error
    if not isinstance(found, dict):
        raise DataError(found=f"{path.name} holding a {type(found).__name__}", expected=form, fix="map child to parent")
    parents = {}
    for child, up in found.items():
        up = [] if up is None else [up] if isinstance(up, str) else up
        if not isinstance(up, list) or not all(isinstance(p, str) for p in up):
            raise DataError(found=f"{child!r}: {up!r} in {path.name}", expected=form, fix="name parents by strings")
        parents[child] = up
    return parents


def _parse_csv(path: Path, text: str) -> dict[str, list[str]]:
    parents: dict[str, list[str]] = {}
    for number, line in enumerate(csv.reader(text.splitlines()), 1):
        cells = [cell.strip() for cell in line]
        if not any(cells) or (number == 1 and [c.lower() for c in cells] == ["child", "parent"]):
            continue
        if len(cells) != 2 or not cells[0]:
            raise DataError(
                found=f"line {number} of {path.name} with cells {cells}",
                expected="two columns, child and parent",
                fix="quote names that hold a comma",
            )
        known = parents.setdefault(cells[0], [])
        if cells[1] and cells[1] not in known:
            known.append(cells[1])
    return parents


def hierarchy_rank(
    labels: np.ndarray,
    predictions: np.ndarray,
    confidences: np.ndarray | None,
    hierarchy: Hierarchy,
    *,
    strategy: str = "gp",
    tie_break: str | None = "confidence",
) -> np.ndarray:
    """Score items for re-annotation from the predictions of M models; high is suspicious. Order with `review_order`.

    On TACRED "gp" with the confidence tie-break was best at 5 % budget, but hardly better than "disagreement" or
    "signed_confidence"; "gl" was clearly worse, and puts items labelled with a shallow class last.

    Args:
        labels: (N,) int given class ids.
        predictions: (N, M) int predicted class ids, out of fold.
        confidences: (N, M) top probability of each prediction in [0, 1], or None.
        hierarchy: of the K classes.
        strategy: "gp": mean distance from label to prediction. "gl": mean distance from label to their deepest common
            ancestor. "disagreement": number of models that predict another class. "signed_confidence": mean confidence,
            negative where prediction and label agree.
        tie_break: "confidence": equal scores are ordered by signed confidence (without effect where `confidences` is
            None). The score then has this as its fraction: it never changes the order of unequal scores. None: leave
            the ties.

    Returns:
        (N,) float64.

    Raises:
        LabelError: class ids outside the hierarchy (missing labels too: there is nothing to check). OptionError: an
        unknown option, or "signed_confidence" without confidences. DataError: shapes that do not fit.

    Source: Parekh et al. 2021 (arXiv 2112.13320), section 3.

    >>> h = Hierarchy({"cat": "animal", "dog": "animal", "animal": "thing", "car": "thing"}, ["cat", "dog", "car"])
    >>> hierarchy_rank(np.array([0, 0, 0]), np.array([[0, 0], [1, 1], [2, 2]]), None, h)
    array([0., 2., 3.])
    """
    check_option("strategy", strategy, STRATEGIES)
    if tie_break is not None:
        check_option("tie_break", tie_break, ("confidence",))
    _check_ids("labels", labels, hierarchy)
    _check_ids("predictions", predictions, hierarchy)
    wrong_shape = predictions.ndim != 2 or len(predictions) != len(labels) or predictions.shape[1] == 0
    if wrong_shape or (confidences is not None and confidences.shape != predictions.shape):
        raise DataError(
            found=f"predictions {predictions.shape}, confidences {None if confidences is None else confidences.shape}",
            expected=f"({len(labels)}, M) class ids of at least one model, confidences alike",
            fix="pass `predictions[:, None]` for one model",
        )
    other = predictions != labels[:, None]
    signed = None if confidences is None else np.where(other, confidences, -np.asarray(confidences)).mean(1)
    if strategy == "signed_confidence":
        if signed is None:
            raise OptionError(
                found="strategy='signed_confidence' without confidences",
                expected="(N, M) top probabilities",
                fix="pass confidences, or use strategy='disagreement'",
            )
        return np.asarray(signed, np.float64)
    table = {"gp": hierarchy.distance, "gl": hierarchy.to_lca, "disagreement": 1 - np.eye(len(hierarchy.distance))}
    total = table[strategy][labels[:, None], predictions].sum(1).astype(np.float64)  # whole numbers
    if tie_break is not None and signed is not None:
        total += 0.999 * (signed + 1) / 2  # in [0, 1), so below the next whole number
    return np.asarray(total if strategy == "disagreement" else total / predictions.shape[1])


def _check_ids(name: str, ids: np.ndarray, hierarchy: Hierarchy) -> None:
    bad = np.argwhere((ids < 0) | (ids >= len(hierarchy.class_names)))
    if len(bad):
        first = ids[tuple(bad[0])]
        raise LabelError(
            found=f"{len(bad)} {name} outside the hierarchy, the first {first}; {rows(np.unique(bad[:, 0]).tolist())}",
            expected=f"class ids 0..{len(hierarchy.class_names) - 1}",
            fix="leave unlabelled items out, and add the missing classes to the hierarchy",
        )


def review_order(score: np.ndarray, ids: np.ndarray | None = None) -> np.ndarray:
    """(N,) rows to review, highest score first; equal scores by id (default: row number).

    >>> review_order(np.array([0.5, 2.0, 0.5]))
    array([1, 0, 2])
    """
    return np.lexsort((np.arange(len(score)) if ids is None else ids, -score))


class BudgetCurve(NamedTuple):
    """All (B,): budget, share of the items reviewed; reviewed, their number; caught, errors among them; precision,
    caught per reviewed; recall, caught per error.
    """

    budget: np.ndarray
    reviewed: np.ndarray
    caught: np.ndarray
    precision: np.ndarray
    recall: np.ndarray


def budget_curve(order: np.ndarray, is_error: np.ndarray, *, budgets: Sequence[float] = BUDGETS) -> BudgetCurve:
    """Errors found among the first items of a review list.

    Args:
        order: (N,) rows, most suspicious first, from `review_order`.
        is_error: (N,) bool, by row. Renamed or merged classes are no errors: leave such items out of both.
        budgets: fractions of the N items in (0, 1]; part of an item is not reviewed, but at least one is.

    >>> budget_curve(np.array([2, 0, 1, 3]), np.array([False, False, True, False]), budgets=[0.25, 0.5]).precision
    array([1. , 0.5])
    """
    budget = np.asarray(budgets, np.float64)
    if (~(budget > 0) | (budget > 1)).any() or len(order) == 0:
        raise OptionError(
            found=f"budgets={budget.tolist()} of {len(order)} items",
            expected="fractions in (0, 1] of at least one item",
            fix="pass 0.05 for 5 %",
        )
    reviewed = np.maximum(np.floor(budget * len(order) + 1e-9), 1).astype(np.int64)
    caught = np.cumsum(is_error[order])[reviewed - 1].astype(np.int64)
    return BudgetCurve(budget, reviewed, caught, caught / reviewed, caught / max(1, int(is_error.sum())))


def jaccard(first: np.ndarray, second: np.ndarray, n: int) -> float:
    """Overlap of the first `n` rows of two review lists, in [0, 1]; 1 less this is how novel one is beside the other.

    >>> jaccard(np.array([0, 1, 2]), np.array([1, 3, 0]), 2)
    0.3333333333333333
    """
    common = len(np.intersect1d(first[:n], second[:n]))
    union = len(np.union1d(first[:n], second[:n]))
    return common / union if union else 1.0
