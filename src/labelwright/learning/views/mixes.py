"""Mixes as parts of a recipe: the batch is mixed with itself, inputs and labels alike."""

from __future__ import annotations

from typing import Any

import torch

from labelwright.errors import OptionError
from labelwright.learning import mix
from labelwright.learning.context import Context
from labelwright.learning.networks.conv import pictures
from labelwright.learning.parts import Part
from labelwright.learning.run import Run


class _Mix(Part):
    """Reads inputs and labels; writes both, mixed, `how` they were mixed, and the labels before as `unmixed`."""

    reads = ("inputs", "labels")
    writes = ("inputs", "labels", "how", "unmixed")

    def __init__(self, *, probability: float = 1.0, until: float = 1.0, **options: Any):
        if not 0 <= probability <= 1 or not 0 <= until <= 1:
            raise OptionError(
                found=f"probability={probability!r}, until={until!r}",
                expected="both from 0 to 1",
                fix="pass probability=0.5 for every other batch, until=0.9 to stop for the last tenth",
            )
        self.probability, self.until, self.options = probability, until, options
        self._classes, self._multi = 0, False

    def begin(self, run: Run) -> None:
        """The classes of the labels."""
        self._classes, self._multi = run.data.n_classes, run.data.multi_label

    def __call__(self, context: Context) -> None:
        """Mix, unless the dice or the end of training say no."""
        if context["progress"] >= self.until or (self.probability < 1 and context["rng"].random() >= self.probability):
            return
        x = context["inputs"] if context["inputs"].ndim == 2 else pictures(context["inputs"])
        mixed = self.mixed(x.float(), context)
        context["unmixed"] = context["labels"]
        context["inputs"], context["labels"], context["how"] = mixed.images, mixed.targets, mixed.how

    def mixed(self, x: torch.Tensor, context: Context) -> mix.Mixed:
        """The mix of one batch."""
        raise TypeError(f"{type(self).__name__} needs a `mixed`")  # a bug of its author

    def _common(self, context: Context) -> dict[str, Any]:
        return {"seed": context["rng"], "n_classes": self._classes, "multi_label": self._multi, **self.options}


class MixUp(_Mix):
    """`mixup` of the batch.

    probability: share of batches.   until: share of training with mixes.   alpha (None: the mix's own default), per_item,
    partner: of `mixup`.
    """

    name = "mixup"
    way = staticmethod(mix.mixup)

    def __init__(
        self,
        *,
        alpha: float | None = None,
        per_item: bool = False,
        partner: str = "random",
        probability: float = 1.0,
        until: float = 1.0,
    ):
        given = {} if alpha is None else {"alpha": alpha}
        super().__init__(probability=probability, until=until, per_item=per_item, partner=partner, **given)

    def mixed(self, x: torch.Tensor, context: Context) -> mix.Mixed:
        """Pairs of the batch, mixed."""
        return self.way(x, context["labels"], **self._common(context))


class CutMix(MixUp):
    """`cutmix` of the batch; options as in `MixUp`."""

    name = "cutmix"
    way = staticmethod(mix.cutmix)


class MaskMix(_Mix):
    """`maskmix` of the batch, labels weighed by pixels; the target 'attention_labels' weighs them by attention."""

    name = "maskmix"

    def __init__(
        self,
        *,
        cell: int,
        patch: int,
        alpha: float = 1.0,
        partner: str = "random",
        probability: float = 1.0,
        until: float = 1.0,
    ):
        super().__init__(probability=probability, until=until, cell=cell, patch=patch, alpha=alpha, partner=partner)

    def mixed(self, x: torch.Tensor, context: Context) -> mix.Mixed:
        """Images that show another's cells."""
        return mix.maskmix(x, context["labels"], **self._common(context))
