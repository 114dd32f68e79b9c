"""Steps: how the slots play together. A recipe whose mathematics needs another order brings its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from labelwright.learning.context import Context
from labelwright.learning.parts import Part
from labelwright.learning.run import Run


class DefaultStep(Part):
    """views, networks, targets, loss: inputs and labels are changed together, the student answers, the label is settled,
    and the terms of the loss are added up."""

    name = "default"

    def __call__(self, run: Run, context: Context) -> Tensor:  # type: ignore[override]
        """The loss of one batch."""
        for view in run.views:
            view(context)
        run.networks(context)
        for target in run.targets:
            target(context)
        return run.total_loss(context)


STEPS: dict[str, Callable[..., Any]] = {"default": DefaultStep}
"""Steps by name, for recipes. A step is called as step(run, context) and returns the loss; one that makes its own backward
passes and optimiser steps returns None."""
