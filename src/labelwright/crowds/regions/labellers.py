"""What the tasks that an expert checked tell of each labeller.

Source: Estes et al. 2024, arXiv 2412.18483 (mean scores, recall per class, rolling mean of the last five scores). Confusion
matrices over pixels, drawn to those of all labellers, are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.crowds.regions.drawn import DrawnMasks, expert_answers
from labelwright.crowds.regions.skill import TaskScore, confusion_counts, task_score
from labelwright.errors import OptionError

if TYPE_CHECKING:
    import pyarrow as pa

LAST = 5  # scores in the rolling mean: the paper's
SHARED = 1.0  # tasks' worth of the crowd's confusion matrix that each labeller starts with
EVEN = 0.02  # part of each confusion row that is spread evenly, so that no answer excludes a class


@dataclass(frozen=True, eq=False)
class Skills:
    """The skills of A labellers with K classes.

    score: (A,) mean score, NaN without a checked task.   recall: (A, K) mean share of each class's pixels that were drawn as
    such, over the tasks that hold the class; NaN where none does.   counts: (T, K, K + 1) pixels [true, given] of the T checked
    tasks, the last column being "unsure".   task_labeller, task_item: (T,) labeller of each task, position of its item in
    `items`.   items: checked items in order.
    tasks: a row per task: item, labeller, area, fragmentation, edge, categorical, score.
    table: a row per labeller: labeller, tasks, score, low, high (90 % interval of the mean score), rolling (mean of the last
    five), trusted (rolling >= the threshold; null without a task) and recall of each class.
    """

    labellers: list[Any]
    score: np.ndarray
    recall: np.ndarray
    counts: np.ndarray
    task_labeller: np.ndarray
    task_item: np.ndarray
    items: list[Any]
    tasks: pa.Table
    table: pa.Table
    notes: list[str] = field(default_factory=list)

    @property
    def trusted(self) -> np.ndarray:
        """(A,) bool; those without a checked task are not."""
        return np.array([bool(t) for t in self.table["trusted"].to_pylist()])

    def filled(self) -> tuple[np.ndarray, np.ndarray]:
        """score (A,) and recall (A, K) without gaps: the mean of the others where a labeller has none, 1 where nobody has."""
        return _filled(self.score), _filled(self.recall)

    def prior(self) -> np.ndarray:
        """(K,) shares of the classes in the checked masks, each class one pixel more than was seen."""
        seen = self.counts.sum(axis=(0, 2)) + 1.0
        return np.asarray(seen / seen.sum())

    def confusion(self, leave_out: int | None = None) -> np.ndarray:
        """(A, K, K + 1) P(given | true), rows sum to 1, drawn to the pooled rows of all labellers.

        leave_out: position of an item whose tasks are left out, to judge the others' skill on it.
        """
        use = np.ones(len(self.counts), bool) if leave_out is None else self.task_item != leave_out
        n_labellers, (k, answers) = len(self.labellers), self.counts.shape[1:]
        own = np.zeros((n_labellers, k, answers))
        np.add.at(own, self.task_labeller[use], self.counts[use])
        total = own.sum(0)
        even = 0.5 * np.eye(k, answers) + 0.5 / answers  # where no checked pixel has the class
        pooled = (total + even) / (total + even).sum(1, keepdims=True)
        a_task = total.sum(1) / max(int(use.sum()), 1)  # (K,) pixels of each class in one task
        rows = own + SHARED * np.maximum(a_task, 1.0)[:, None] * pooled
        return np.asarray((1 - EVEN) * rows / rows.sum(2, keepdims=True) + EVEN / answers)


def labeller_skills(
    masks: Any,
    expert: Mapping[Any, Any],
    labellers: Any = None,
    *,
    items: Any = None,
    space: Any = None,
    background: int = 0,
    width: int = 3,
    threshold: float = 0.5,
) -> Skills:
    """Scores of each labeller on the items that an expert has drawn too.

    Args:
        masks, labellers, items, space: see `DrawnMasks`. The order of the masks is that of time: the rolling mean is of the last
            five.
        expert: item -> (H, W) class ids, -1 where nothing was checked.
        background, width: see `task_score`.   threshold: of the rolling mean, below which a labeller is not trusted.

    Raises:
        LabelError, DataError: see `DrawnMasks` and `expert_answers`.   OptionError: a threshold outside [0, 1].
    """
    drawn = masks if isinstance(masks, DrawnMasks) else DrawnMasks(masks, labellers, items, space)
    if not 0 <= threshold <= 1:
        raise OptionError(
            found=f"threshold={threshold!r}", expected="a number in [0, 1]", fix="pass threshold=0.5 or another score"
        )
    truth, k = expert_answers(expert, drawn), len(drawn.space)
    checked = [item for item in drawn.items if item in truth]
    scores: list[TaskScore] = []
    counts, who, where = [], [], []
    for place, item in enumerate(checked):
        for labeller, said in zip(*drawn.of(item)):
            floats = np.where(said == -2, 0.5, said)  # back to the form of users
            scores.append(task_score(truth[item], floats, background=background, width=width, n_classes=k))
            counts.append(confusion_counts(truth[item], said, k))
            who.append(int(labeller))
            where.append(place)
    return _summary(drawn, checked, scores, np.array(counts).reshape(-1, k, k + 1), who, where, threshold)


def _summary(
    drawn: DrawnMasks,
    checked: list[Any],
    scores: list[TaskScore],
    counts: np.ndarray,
    who: list[int],
    where: list[int],
    threshold: float,
) -> Skills:
    import pyarrow as pa

    labeller, item = np.array(who, dtype=np.int64), np.array(where, dtype=np.int64)
    values = np.array([s.score for s in scores])
    n, k = len(drawn.labellers), len(drawn.space)
    with np.errstate(invalid="ignore", divide="ignore"):
        heard = counts.sum(2)
        per_task = np.diagonal(counts, axis1=1, axis2=2) / np.where(heard > 0, heard, np.nan)
    of = [values[labeller == a] for a in range(n)]
    recall = np.array([_nanmean(per_task[labeller == a]) for a in range(n)]).reshape(n, k)
    score = np.array([v.mean() if len(v) else np.nan for v in of])
    rolling = np.array([v[-LAST:].mean() if len(v) else np.nan for v in of])
    low, high = np.array([_interval(v) for v in of]).T
    tasks = {
        "item": [checked[i] for i in item],
        "labeller": [drawn.labellers[a] for a in labeller],
        **{name: [getattr(s, name) for s in scores] for name in TaskScore._fields},
    }
    columns = {
        "labeller": drawn.labellers,
        "tasks": [len(v) for v in of],
        **{name: pa.array(v, from_pandas=True) for name, v in (("score", score), ("low", low), ("high", high))},
        "rolling": pa.array(rolling, from_pandas=True),
        "trusted": [None if np.isnan(r) else bool(r >= threshold) for r in rolling],
        **{f"recall_{c}": pa.array(recall[:, j], from_pandas=True) for j, c in enumerate(drawn.space.classes)},
    }
    notes = []
    if not scores:
        notes.append("no expert mask: all labellers count alike, and their skill is not known")
    elif unseen := [drawn.labellers[a] for a in range(n) if not len(of[a])]:
        notes.append(
            f"{len(unseen)} labellers without a checked task (such as {unseen[0]!r}) count as the mean of the others"
        )
    return Skills(
        drawn.labellers, score, recall, counts, labeller, item, checked, pa.table(tasks), pa.table(columns), notes
    )


def _interval(values: np.ndarray, level: float = 0.9) -> tuple[float, float]:
    """Student's interval of a mean, within [0, 1]; all that is possible with fewer than two values."""
    from scipy.special import stdtrit

    if len(values) < 2:
        return (0.0, 1.0) if len(values) else (np.nan, np.nan)
    half = float(stdtrit(len(values) - 1, (1 + level) / 2) * values.std(ddof=1) / np.sqrt(len(values)))
    return max(float(values.mean()) - half, 0.0), min(float(values.mean()) + half, 1.0)


def _nanmean(rows: np.ndarray) -> np.ndarray:
    """(K,) means over the rows, NaN where there is nothing."""
    known = np.isfinite(rows)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, rows, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan))


def _filled(values: np.ndarray) -> np.ndarray:
    mean = np.nan_to_num(_nanmean(values), nan=1.0)
    return np.where(np.isfinite(values), values, mean)
