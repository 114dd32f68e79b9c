"""What stands in a report beside the audit's own figures: the labelling instruction and the nutrition label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.errors import DataError, LabelError
from labelwright.labels import HardLabels, MultiLabels

if TYPE_CHECKING:
    from labelwright.auditing.instructions import Instructions
    from labelwright.auditing.nutrition import NutritionLabel
    from labelwright.auditing.result import Audit


@dataclass(frozen=True)
class Companions:
    """instructions: what belongs to each class, in examples and phrases (card 43); None where `no_instructions` says why.
    nutrition: the data set's nutrition label (card 26)."""

    instructions: Instructions | None
    no_instructions: str
    nutrition: NutritionLabel


def companions(
    audit: Audit, *, content: Any = None, table: Any = None, label: str | None = None, name: str | None = None
) -> Companions:
    """Both, from what the audit knows of the items.

    Args:
        audit: the result.   content: N texts, rows or images, as `Audit.report` takes them.
        table: the data set's table, with `label` the name of its label column; None: a table of what `content` holds.
        name: of the data set.
    """
    from labelwright.auditing.nutrition import nutrition_label

    if table is None:
        table, label = _table(audit, content)
    seed = int(audit.settings.get("random_state", 0))
    instructions, why = _instructions(audit, content, seed)
    return Companions(instructions, why, nutrition_label(table, label=label, audit=audit, name=name, random_state=seed))


def _instructions(audit: Audit, content: Any, seed: int) -> tuple[Instructions | None, str]:
    from labelwright.auditing.instructions import labelling_instructions

    if audit.vectors is None:
        return None, "This needs features, and only probabilities were given."
    try:
        return labelling_instructions(
            _one_class(audit.labels),
            audit.vectors.search,
            texts=content if _are_texts(content, len(audit.items)) else None,
            space=audit.space,
            pred_probs=None if audit.multi else audit.pred_probs,
            neighbours=audit.neighbours,
            exclude=audit.is_issue,
            random_state=seed,
        ), ""
    except LabelError as error:
        return None, f"There are too few items that were not flagged: {error.found}."


def _one_class(labels: HardLabels | MultiLabels) -> np.ndarray:
    """(N,) class ids; of sets those with exactly one class, which are its purest examples, -1 for the others."""
    if isinstance(labels, HardLabels):
        return labels.ids
    present = labels.dense() == 1
    return np.where(present.sum(1) == 1, present.argmax(1), -1)


def _are_texts(content: Any, n: int) -> bool:
    if content is None or isinstance(content, str | bytes) or len(content) != n:
        return False
    values = [content[i] for i in range(0, n, max(1, n // 100))]
    return all(isinstance(v, str | None) for v in values)


def _table(audit: Audit, content: Any) -> tuple[dict[str, Any], str]:
    """Labels, and what there is to show, as columns."""
    labels: Any = audit.labels.sets() if isinstance(audit.labels, MultiLabels) else list(audit.labels.values())
    n, columns = len(audit.items), dict[str, Any]()
    if _are_texts(content, n):
        columns["text"] = list(content)
    elif content is not None and n and isinstance(content[0], dict):
        names = list(dict.fromkeys(key for row in content for key in row))
        columns.update({str(key): [row.get(key) for row in content] for key in names})
    name = "label"
    while name in columns:
        name += "_"
    if isinstance(audit.labels, MultiLabels):
        labels = ["|".join(map(str, names)) for names in labels]
    return {**columns, name: labels}, name


def check_table(table: Any, n: int) -> None:
    """Raise `DataError` unless the table has one row per item."""
    rows = getattr(table, "num_rows", None)
    if rows is not None and rows != n:
        raise DataError(
            found=f"a table of {rows} rows for {n} items",
            expected="one row per item",
            fix="pass the table that was audited",
        )
