"""Every part that a recipe can name, by slot. Your own part joins with one line: `KNOWN["targets"]["mine"] = Mine`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from labelwright.learning.loss_parts import LOSS_PARTS
from labelwright.learning.losses import LOSSES
from labelwright.learning.networks import NETWORKS
from labelwright.learning.optimizing import OPTIMIZERS, SCHEDULES
from labelwright.learning.samplers import SAMPLERS
from labelwright.learning.steps import STEPS
from labelwright.learning.targets import TARGETS
from labelwright.learning.views import VIEWS

KNOWN: dict[str, dict[str, Callable[..., Any]]] = {
    "sampler": SAMPLERS,
    "views": VIEWS,
    "targets": TARGETS,
    "loss": LOSSES | LOSS_PARTS,
    "networks": NETWORKS,
    "step": STEPS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
}
"""slot -> name -> what makes the part from its options."""
