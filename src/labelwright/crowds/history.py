"""What annotators did before, as evidence about their votes now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from labelwright.crowds.fit import Fit, Method
from labelwright.crowds.methods import METHODS
from labelwright.crowds.prepared import Prepared
from labelwright.errors import DataError, OptionError
from labelwright.labels import Votes, as_columns, need

HEARS = ("one_coin", "dawid_skene")
"""The methods that hear an annotator's history."""

SPREAD = 16
"""Most classes over which a history is spread."""


def read_history(history: Any, cap: float, method: str, votes: Votes, notes: list[str]) -> np.ndarray | None:
    """(A, 2) right and wrong votes of earlier, at most `cap` per annotator."""
    if history is None:
        return None
    if not (isinstance(cap, int | float) and 0 < cap < np.inf):
        raise OptionError(
            found=f"history_cap={cap!r}", expected="a number above 0", fix="pass history_cap=20, or history=None"
        )
    if method != "auto" and method not in HEARS:
        raise OptionError(
            found=f"a history with method={method!r}",
            expected=f"one of {', '.join(map(repr, HEARS))} or 'auto'",
            fix="leave the history out, or change the method",
        )
    told = _told(history)
    place = {str(key): i for i, key in enumerate(votes.annotators.tolist())}
    unknown = [name for name in told if name not in place]
    if len(unknown) == len(told):
        raise DataError(
            found=f"a history of {len(told)} annotators of whom none voted" + (f" (such as {unknown[0]!r})" if unknown else ""),
            expected="annotators of the votes, such as " + ", ".join(map(repr, list(place)[:3])),
            fix="use the same keys in both",
        )  # fmt: skip
    if unknown:
        names = ", ".join(map(repr, unknown[:5])) + (", …" if len(unknown) > 5 else "")
        notes.append(f"{len(unknown)} annotators of the history did not vote and are left out: {names}")
    out = np.zeros((votes.n_annotators, 2))
    for name, (right, count) in told.items():
        if name in place and count > 0:
            out[place[name]] = np.array([right, count - right]) * min(1.0, cap / count)
    return out


def _told(history: Any) -> dict[str, tuple[float, float]]:
    """Annotator -> right votes, votes. Rows of a table without a skill are skipped."""
    if isinstance(history, Mapping) and not {"annotator", "votes", "skill"} <= set(map(str, history)):
        rows_ = [(name, value) for name, value in history.items()]
    else:
        columns = as_columns(history)
        names, count, skill = (list(need(columns, name)) for name in ("annotator", "votes", "skill"))
        known = [i for i, value in enumerate(skill) if value is not None and value == value]
        rows_ = [(names[i], (skill[i] * count[i], count[i])) for i in known]
    out: dict[str, tuple[float, float]] = {}
    for name, value in rows_:
        pair = tuple(value) if isinstance(value, tuple | list | np.ndarray) else ()
        if len(pair) != 2 or not all(np.isfinite(x) for x in pair) or not 0 <= pair[0] <= pair[1]:
            raise DataError(
                found=f"a history of {value!r} for {name!r}",
                expected="(right votes, votes) with 0 <= right <= votes",
                fix="pass {annotator: (right, votes)}, or a table with the columns annotator, votes and skill",
            )
        out[str(name)] = float(pair[0]), float(pair[1])
    return out


def heard(name: str, earlier: np.ndarray | None) -> Method:
    """The method, which hears of `earlier` (A, 2) if it can."""
    return METHODS[name] if earlier is None or name not in HEARS else partial(_fit_heard, METHODS[name], earlier)


def _fit_heard(method: Method, earlier: np.ndarray, votes: Prepared, **options: Any) -> Fit:
    fit = method(with_history(votes, earlier), **options)
    return replace(fit, labels=fit.labels[np.arange(votes.n_items)])


def with_history(votes: Prepared, earlier: np.ndarray) -> Prepared:
    """The votes, and behind them one item of known class per class (at most `SPREAD`) on which the annotators of a history
    voted as it says: right with its right votes, and evenly wrong with its wrong ones, as weights.

    earlier: (A, 2) right and wrong votes.

    A model reads the usual accuracy of a crowd from how often votes on an item agree, whatever their weight, so the weight
    of the right votes is cut into as many as make right and wrong ones as frequent as the history has them.
    """
    who = np.flatnonzero(earlier.sum(1) > 0)
    classes = np.sort(np.argsort(-np.bincount(votes.label, minlength=votes.n_classes), kind="stable")[:SPREAD])
    n, others = len(classes), max(len(classes) - 1, 1)
    skill = earlier[who, 0].sum() / max(earlier[who].sum(), 1e-12)
    cut = int(np.clip(round(others * skill / max(1 - skill, 1e-3)), 1, 10 * others))
    # [class, annotator, vote]: `cut` right ones, then one for each other class
    given = np.stack([np.concatenate([np.repeat(own, cut), classes[classes != own]]) for own in classes])
    label = np.repeat(given[:, None], len(who), axis=1)
    weight = np.concatenate(
        [np.repeat(earlier[who, :1] / cut, cut, axis=1), np.repeat(earlier[who, 1:] / others, n - 1, axis=1)], axis=1
    )
    weight = np.broadcast_to(weight / n, label.shape)
    item = np.broadcast_to(votes.n_items + np.arange(n)[:, None, None], label.shape)
    annotator = np.broadcast_to(who[:, None], label.shape)
    kept = weight > 0
    item, order = item[kept], np.lexsort((label[kept], annotator[kept], item[kept]))
    item = np.concatenate([votes.item, item[order].astype(np.int32)])
    return replace(
        votes,
        item=item,
        annotator=np.concatenate([votes.annotator, annotator[kept][order].astype(np.int32)]),
        label=np.concatenate([votes.label, label[kept][order].astype(np.int32)]),
        weight=np.concatenate([votes.weight, weight[kept][order]]),
        start=np.searchsorted(item, np.arange(votes.n_items + n + 1)),
        gold=np.concatenate([votes.gold, classes.astype(np.int32)]),
    )
