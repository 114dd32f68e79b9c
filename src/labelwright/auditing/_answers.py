"""What reviewers answered, as evidence about the items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from labelwright.errors import DataError, LabelError
from labelwright.labels import HardLabels, LabelSpace, MultiLabels, Votes, as_columns, need

UNSURE = ("?", "can't tell", "cannot tell", "unsure")
NONE_FITS = ("none of these", "none")


@dataclass(frozen=True)
class Answers:
    """One row per reviewed item, several reviewers already aggregated.

    index: (R,) position of the item.   wrong_low, wrong_high: (R,) in [0, 1], the probability that the given label is
    outside the accepted set; they differ where a reviewer could not tell.   accepted: (R, K) bool, classes accepted by most.
    probability: (R,) inclusion probability, NaN where the item was chosen by hand.
    """

    index: np.ndarray
    wrong_low: np.ndarray
    wrong_high: np.ndarray
    accepted: np.ndarray
    probability: np.ndarray

    def __len__(self) -> int:
        return len(self.index)


def read_answers(reviews: Any, items: np.ndarray, labels: HardLabels | MultiLabels) -> Answers:
    """Read a table (item, label[, probability][, reviewer]) against the audited items.

    An error is a given label outside the accepted set; for multi-labels, a given set that is not the accepted one.

    label: the class the reviewer accepts, a list of them or names joined by "|" (several fit), "none of these" (no class
    fits), or "can't tell" (also "?"). A row whose label is missing or empty was not answered and is left out.

    Raises:
        ColumnError: a column is missing.   DataError: an item that was not audited; one item with two probabilities.
        LabelError: an answer that names no class.
    """
    columns, space = as_columns(reviews), labels.space
    item, label = need(columns, "item"), need(columns, "label")
    answered = np.array([not _blank(answer) for answer in label], dtype=bool)
    label = [answer for answer, there in zip(label, answered) if there]
    position = _positions(np.asarray(item)[answered], items)
    probability = _probabilities(columns.get("probability"), len(answered))[answered]
    sets, unsure = _accepted(label, space)
    index, inverse = np.unique(position, return_inverse=True)
    per_item = np.full(len(index), np.nan)
    per_item[inverse] = probability
    clash = ~np.isclose(per_item[inverse], probability, equal_nan=True)
    if clash.any():
        raise DataError(
            found=f"item {items[position[clash][0]]!r} with two different inclusion probabilities",
            expected="one probability per item: the one it was drawn with",
            fix="keep the column that review_sample wrote",
        )
    labelled, outside = _outside(labels, position, sets)
    wrong = outside & ~unsure
    low, high = _aggregate(inverse, wrong, unsure, _who(columns, answered))
    share = np.zeros((len(index), len(space)))
    np.add.at(share, inverse[~unsure], sets[~unsure])
    clear = np.bincount(inverse, weights=~unsure, minlength=len(index))
    keep = labelled[index]  # an item without a label cannot be wrong
    return Answers(
        index[keep], low[keep], high[keep], (share * 2 > np.maximum(clear, 1)[:, None])[keep], per_item[keep]
    )


def _outside(labels: HardLabels | MultiLabels, position: np.ndarray, sets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) items that have a label, and (R,) answers that exclude the given label."""
    if isinstance(labels, HardLabels):
        return labels.known, ~sets[np.arange(len(position)), labels.ids[position]]
    y = labels.dense()
    return np.asarray((y >= 0).any(1)), ((sets != (y[position] == 1)) & (y[position] >= 0)).any(1)


def _blank(answer: Any) -> bool:
    if isinstance(answer, list | tuple | set | np.ndarray):
        return False
    return answer is None or answer != answer or str(answer).strip() == ""


def _who(columns: dict[str, Any], answered: np.ndarray) -> np.ndarray | None:
    column = columns.get("reviewer", columns.get("annotator"))
    return None if column is None else np.asarray(column, dtype=object)[answered].astype(str)


def _positions(item: Any, items: np.ndarray) -> np.ndarray:
    asked = np.asarray(item)
    if items.dtype.kind in "iu":
        try:
            asked = asked.astype(np.int64)
        except (TypeError, ValueError):
            asked = np.full(len(asked), np.iinfo(np.int64).min)
    else:
        asked = asked.astype(str)
        items = items.astype(str)
    order = np.argsort(items, kind="stable")
    place = np.minimum(np.searchsorted(items, asked, sorter=order), len(items) - 1)
    found = order[place]
    lost = np.flatnonzero(items[found] != asked)
    if len(lost):
        raise DataError(
            found=f"{len(lost)} reviewed items that are not in the data; first is {np.asarray(item)[lost[0]]!r}",
            expected="items of the audited data, by the key of their `item` column",
            fix="audit with the same --id column as when the sample was drawn",
        )
    return found


def _probabilities(column: Any, n: int) -> np.ndarray:
    if column is None:
        return np.full(n, np.nan)
    p = np.array([np.nan if v is None else v for v in column], dtype=np.float64)
    if (~np.isnan(p) & ~((p > 0) & (p <= 1))).any():
        raise DataError(
            found="an inclusion probability outside (0, 1]",
            expected="the probability with which the item was drawn, or nothing where it was chosen by hand",
            fix="keep the column that review_sample wrote",
        )
    return p


def _accepted(label: Any, space: LabelSpace) -> tuple[np.ndarray, np.ndarray]:
    """(R, K) accepted classes and (R,) True where the reviewer could not tell."""
    names: dict[Any, int] = {name: i for i, name in enumerate(space.classes)}
    names |= {str(name): i for name, i in names.items()}
    sets = np.zeros((len(label), len(space)), dtype=bool)
    unsure = np.zeros(len(label), dtype=bool)
    for row, answer in enumerate(label):
        if isinstance(answer, np.generic):
            answer = answer.item()
        if isinstance(answer, float) and answer.is_integer():
            answer = int(answer)  # integers with gaps come as floats
        if isinstance(answer, list | tuple | set | np.ndarray):
            parts = list(answer)
        elif answer in names:
            parts = [answer]
        elif str(answer).strip().lower() in UNSURE:
            unsure[row] = True
            continue
        elif str(answer).strip().lower() in NONE_FITS:
            continue
        else:
            parts = [part.strip() for part in str(answer).split("|")]
        for part in parts:
            if part not in names:
                raise LabelError(
                    found=f"answer {answer!r} in row {row} of the reviews",
                    expected="a class of the data, several joined by '|', 'none of these', or 'can't tell'",
                    fix=f"the classes are {', '.join(map(str, space.classes[:8]))}{', …' if len(space) > 8 else ''}",
                )
            sets[row, names[part]] = True
    return sets, unsure


def _aggregate(
    inverse: np.ndarray, wrong: np.ndarray, unsure: np.ndarray, reviewer: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Probability that each item's given label is wrong, read low and high. One clear answer is taken at its word; several
    are weighed as votes whose accuracy is read off how often reviewers agree, so that one slip does not decide."""
    n = int(inverse.max()) + 1 if len(inverse) else 0
    clear = np.bincount(inverse, weights=~unsure, minlength=n)
    who = np.arange(len(inverse)) if reviewer is None else reviewer
    votes = Votes.from_columns(
        inverse, who, [None if doubt else int(bad) for doubt, bad in zip(unsure, wrong)], LabelSpace([0, 1])
    )
    loglik = votes.loglik()[np.argsort(votes.items)] if n else np.zeros((0, 2))
    p = 1 / (1 + np.exp(loglik[:, 0] - loglik[:, 1]))
    single = np.bincount(inverse, weights=wrong & ~unsure, minlength=n)
    p = np.where(clear == 1, single, p)
    nothing = clear == 0
    return np.where(nothing, 0.0, p), np.where(nothing, 1.0, p)
