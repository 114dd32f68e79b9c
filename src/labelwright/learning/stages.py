"""Training in stages: the same student, and another teacher, other data or other losses each time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from labelwright.errors import OptionError
from labelwright.learning.model import TrainedModel
from labelwright.learning.verb import train


def train_stages(
    student: nn.Module, stages: Sequence[Mapping[str, Any]], *, seed: int = 0, **common: Any
) -> TrainedModel:
    """A student that went through several trainings, each begun with the weights of the last and with a new optimiser.

    Args:
        student: a module; it is trained in place.
        stages: one after the other: `data` (what `train` takes) and any entries of the recipe, such as loss and steps. Parts
            that own modules (LayerHints and its projector) carry them on where the same projector is given to each.
        seed: of the first stage; each later one has the next number.
        common: entries of the recipe for every stage; a stage's own come before them.

    Returns:
        TrainedModel of the last stage. Its history holds the rows of all, with the number of the stage from 1 as "stage".

    Raises:
        OptionError: no stage, or one without data.   Whatever `train` raises.

    Source: Su et al. 2021 (ERNIE-Tiny), which changes one of teacher, data and loss from stage to stage.
    """
    rows: list[dict[str, Any]] = []
    model = None
    for i, stage in enumerate(stages):
        if "data" not in stage:
            raise OptionError(
                found=f"stage {i + 1} with {', '.join(stage) or 'nothing'}",
                expected="data, and entries of the recipe",
                fix='write each stage as {"data": TrainData(...), "loss": ..., "steps": ...}',
            )
        entries = common | dict(stage)
        model = train(entries.pop("data"), student=student, seed=seed + i, **entries)
        rows += [{"stage": i + 1, **row} for row in model.history]
    if model is None:
        raise OptionError(found="no stages", expected="at least one", fix="pass [{'data': ..., ...}, ...]")
    model.history = rows
    return model
