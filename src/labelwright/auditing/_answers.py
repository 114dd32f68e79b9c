"""What reviewers answered, as evidence about the items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from labelwright.auditing._inputs import Inputs
from labelwright.auditing.error_model import recalibrate
from labelwright.errors import DataError, LabelError, nearest
from labelwright.labels import HardLabels, LabelSpace, MultiLabels, as_columns, need

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

    def among(self, rows: slice) -> Answers:
        """Those about items of `rows`, counted from its start."""
        mine = np.flatnonzero((self.index >= rows.start) & (self.index < rows.stop))
        return Answers(
            self.index[mine] - rows.start,
            self.wrong_low[mine],
            self.wrong_high[mine],
            self.accepted[mine],
            self.probability[mine],
        )


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
    if len(item) != len(label) or len(item) == 0:
        raise DataError(
            found=f"{len(item)} items and {len(label)} labels in the reviews",
            expected="at least one reviewed item, with one answer each",
            fix="pass the review sample with its `label` column filled in",
        )
    answered = np.array([not _blank(answer) for answer in label], dtype=bool)
    label = [answer for answer, there in zip(label, answered) if there]
    if not label:
        raise DataError(
            found="reviews without any answer", expected="a class per item", fix="fill in the column `label`"
        )
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


def reviewed_error_prob(prior: np.ndarray, answers: Answers, disagrees: np.ndarray) -> np.ndarray:
    """`recalibrate` with the clear answers; an item about which the reviewer could not tell keeps its own probability."""
    clear = answers.wrong_low == answers.wrong_high
    answer, drawn = answers.wrong_low[clear], answers.probability[clear]
    return recalibrate(prior, answers.index[clear], answer, drawn, disagrees=disagrees)


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
        asked = np.array([_whole(key) for key in asked], dtype=np.int64)
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


def _whole(key: Any) -> int:
    """An item key as an integer; a key that is none matches no item."""
    try:
        return int(str(key).removesuffix(".0"))
    except ValueError:
        return int(np.iinfo(np.int64).min)


def _probabilities(column: Any, n: int) -> np.ndarray:
    if column is None:
        return np.full(n, np.nan)
    try:
        p = np.array([np.nan if v is None or v == "" else float(v) for v in column])
    except (TypeError, ValueError):
        p = np.array([2.0])
    if len(p) != n or (~np.isnan(p) & ~((p > 0) & (p <= 1))).any():
        raise DataError(
            found="a column `probability` that holds something else than numbers in (0, 1]",
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
                    fix=f"nearest is {nearest(str(part), map(str, space.classes))[0]!r}; "
                    f"the classes are {', '.join(map(str, space.classes[:8]))}{', …' if len(space) > 8 else ''}",
                )
            sets[row, names[part]] = True
    return sets, unsure


def _aggregate(
    inverse: np.ndarray, wrong: np.ndarray, unsure: np.ndarray, reviewer: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Probability that each item's given label is wrong, read low and high. A single clear answer is taken at its word;
    several are weighed by how far each reviewer agrees with the others (`_weighed`), so that no one of them decides."""
    n = int(inverse.max()) + 1 if len(inverse) else 0
    said, vote = inverse[~unsure], wrong[~unsure].astype(np.float64)
    clear = np.bincount(said, minlength=n)
    who = np.zeros(len(said), dtype=np.int64)
    if reviewer is not None and len(said):
        who = np.unique(reviewer[~unsure], return_inverse=True)[1].reshape(-1)
    p = np.bincount(said, weights=vote, minlength=n)  # right where there is one answer
    if (clear > 1).any():
        p = np.where(clear == 1, p, _weighed(said, who, vote, n))
    return np.where(clear == 0, 0.0, p), np.where(clear == 0, 1.0, p)


def _weighed(item: np.ndarray, who: np.ndarray, vote: np.ndarray, n: int) -> np.ndarray:
    """(n,) probability of "wrong" from yes-no votes, by EM over the base rate and each reviewer's rate of calling wrong
    labels wrong and right labels right. Both rates start from nine in ten, worth ten votes; together they are at least 1,
    so that a reviewer at odds with all others says nothing, but is not read backwards.

    Source: Dawid & Skene 1979 for two classes, with a beta prior.
    """
    total = np.bincount(item, minlength=n)
    p = np.bincount(item, weights=vote, minlength=n) / np.maximum(total, 1)
    size = int(who.max()) + 1
    for _ in range(100):
        q = p[item]
        seen = np.stack([np.bincount(who, weights=w, minlength=size) for w in (q, 1 - q)])
        right = np.stack([np.bincount(who, weights=w, minlength=size) for w in (q * vote, (1 - q) * (1 - vote))])
        rate = np.clip((right + 9) / (seen + 10), 1e-3, 1 - 1e-3)
        rate /= np.minimum(rate.sum(0), 1)  # together at least 1: at 1 a vote says nothing
        base = (p[total > 0].sum() + 1) / ((total > 0).sum() + 2)
        if_wrong = np.where(vote > 0, rate[0][who], 1 - rate[0][who])
        if_right = np.where(vote > 0, 1 - rate[1][who], rate[1][who])
        odds = np.bincount(item, weights=np.log(if_wrong) - np.log(if_right), minlength=n) + np.log(base / (1 - base))
        before, p = p, 1 / (1 + np.exp(-odds))
        if np.abs(p - before).max() < 1e-9:
            break
    return p


def look_at_probabilities(inputs: Inputs, answers: Answers) -> None:
    """Warn where the recorded probabilities cannot be those of a sample of this data."""
    drawn = answers.probability[~np.isnan(answers.probability)]
    labelled = int(inputs.labels.known.sum()) if isinstance(inputs.labels, HardLabels) else len(inputs.labels)
    stands = float((1 / drawn).sum())
    if len(drawn) and not 0.1 < stands / labelled < 3:
        inputs.note(
            f"the reviewed items stand for {stands:,.0f} items by their inclusion probabilities, but {labelled:,} have a label: "
            "keep the column `probability` that review_sample wrote"
        )


def answered_kinds(kind: np.ndarray, is_issue: np.ndarray, answers: Answers) -> np.ndarray:
    """What the reviewers said of a flagged item goes before what the scores say."""
    accepted = answers.accepted.sum(1)
    told = is_issue[answers.index] & (answers.wrong_low == answers.wrong_high)
    said = np.where(accepted == 0, "novel", np.where(accepted == 1, "error", "ambiguous"))
    out = kind.copy() if kind.dtype == object else kind.astype("<U10")
    out[answers.index[told]] = said[told]
    return out


def with_answers(
    dist: np.ndarray, given: np.ndarray, prior: np.ndarray, error_prob: np.ndarray, answers: Answers
) -> np.ndarray:
    """The label distributions brought in line with the recalibrated error probabilities and with the answers themselves."""
    out = dist.copy()
    rows = np.flatnonzero(given >= 0)
    own = given[rows]
    scale = np.where(prior[rows] > 0, error_prob[rows] / np.where(prior[rows] > 0, prior[rows], 1), 0.0)
    out[rows] *= scale[:, None].astype(out.dtype)
    out[rows, own] = 1 - error_prob[rows]
    accepted = answers.accepted / np.maximum(answers.accepted.sum(1, keepdims=True), 1)
    told = answers.accepted.any(1)
    out[answers.index[told]] = accepted[told]
    total = out.sum(1, keepdims=True)
    return np.where(total > 0, out / np.where(total > 0, total, 1), dist).astype(np.float32)
