"""Losses that own something which learns along: a projector between features, a discriminator of logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from labelwright.learning.context import Context
from labelwright.learning.losses import hint, logit_discriminator, similarity_discriminator
from labelwright.learning.parts import Part
from labelwright.learning.run import Run
from labelwright.learning.terms import Weight, check_weight, weight_at


class WeightedPart(Part):
    """A loss part with a weight that may change over time."""

    def __init__(self, weight: Weight = 1.0):
        self.weight = check_weight(weight)

    def weight_at(self, progress: float) -> float:
        """The weight when this share of training is done."""
        return weight_at(self.weight, progress)


class ProjectedHint(WeightedPart):
    """`hint` behind a learnt linear map from the student's features to the teacher's width.

    Args:
        on: names of the student's and the teacher's features in the context.   normalise: compare directions only.
    """

    name = "projected_hint"

    def __init__(
        self, *, weight: Weight = 1.0, on: tuple[str, str] = ("features", "teacher_features"), normalise: bool = False
    ):
        super().__init__(weight)
        self.reads, self.normalise = tuple(on), normalise
        self._run: Run | None = None

    def begin(self, run: Run) -> None:
        """Make the map from one example of both."""
        shown = run.example
        own, theirs = (shown[name].flatten(1).shape[1] for name in self.reads)
        run.add(f"projector {self.reads[0]}", nn.Linear(own, theirs))
        self._run = run

    def __call__(self, context: Context) -> Tensor:
        """Squared difference per entry, the mean over the batch."""
        assert self._run is not None
        own, theirs = (context[name].flatten(1) for name in self.reads)
        return hint(self._run.modules[f"projector {self.reads[0]}"](own), theirs, normalise=self.normalise)


class SimilarityDiscriminator(WeightedPart):
    """`similarity_discriminator` with its discriminator, which learns with the student.

    Args:
        adversary: weight of the discriminator's loss; 0 = the mean of the teachers alone.   reversal: 1 = the student learns
            to be taken for a teacher, -1 = as in the released code of MEAL V2.
    """

    name = "similarity_discriminator"
    reads = ("logits", "teacher_logits")

    def __init__(self, *, weight: Weight = 1.0, adversary: float = 1.0, reversal: float = 1.0):
        super().__init__(weight)
        self.adversary, self.reversal = adversary, reversal
        self._run: Run | None = None

    def begin(self, run: Run) -> None:
        """Make the discriminator."""
        run.add("discriminator", logit_discriminator(run.data.n_classes))
        self._run = run

    def __call__(self, context: Context) -> Tensor:
        """Similarity plus what the discriminator says."""
        assert self._run is not None
        return similarity_discriminator(
            context["logits"], context["teacher_logits"], discriminator=self._run.modules["discriminator"],
            weight=self.adversary, reversal=self.reversal,
        )  # fmt: skip


LOSS_PARTS: dict[str, Callable[..., Any]] = {
    "projected_hint": ProjectedHint,
    "similarity_discriminator": SimilarityDiscriminator,
}
"""Loss parts by name, for recipes; they take the place of the plain functions of the same name."""
