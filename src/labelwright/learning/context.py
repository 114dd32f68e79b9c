"""What one training step knows, by name. Every part of a recipe reads from it and writes to it.

| name | meaning | written by |
|---|---|---|
| items | (B,) int64 numbers of the items | sampler |
| inputs | tensor (B, ...) or dict of tensors | data |
| labels | class ids (B,), -1 = missing; soft (B, K), zeros = missing; or multi-label (B, K), -1 = unknown | data |
| any key of `TrainData.extra` | what else is known of each item | data |
| targets | what the loss compares with | targets |
| logits, features, mid, attention | what the student says; only logits are certain | networks |
| teacher_logits, teacher_features | what a teacher says | data or targets |
| weights | (B,) weight of each item in the loss, optional | sampler or targets |
| epoch, step, progress, rng | counters from 0, the share of training done in [0, 1), the step's own random generator | driver |
"""

from __future__ import annotations

from typing import Any

import numpy as np

from labelwright.errors import OptionError

DRIVER_WRITES = ("items", "inputs", "epoch", "step", "progress", "rng")


class Context(dict[str, Any]):
    """Names and values of one step; a name that nobody wrote is told with those that are there."""

    def __missing__(self, name: str) -> Any:
        if name == "rng":  # made when first asked for: most steps draw nothing
            self["rng"] = np.random.default_rng([self["seed"], self["step"], 1])
            return self["rng"]
        raise OptionError(
            found=f"a part that reads {name!r}, which nobody wrote in this step",
            expected=f"one of {', '.join(sorted(self))}",
            fix=f"add the part that writes {name!r}, or pass it with the data: extra={{{name!r}: ...}}",
        )
