"""Losses that own something which learns along: a projector between features, a discriminator of logits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from labelwright.errors import DataError, OptionError
from labelwright.learning.context import Context
from labelwright.learning.graph_parts import HyperedgeAgreement
from labelwright.learning.layers import LayerHints
from labelwright.learning.losses import hint, kd, logit_discriminator, similarity_discriminator
from labelwright.learning.losses._rows import check_positive
from labelwright.learning.run import Run
from labelwright.learning.terms import Weight, WeightedPart
from labelwright.learning.verticals import VerticalKD


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


class SourceHeads(WeightedPart):
    """What models of other tasks say, each learnt by a head of its own: sum over sources of w_s T^2 KL(source || head).

    Args:
        weights: source -> its weight, 0 or more (`annotators.sources.source_weights`); sources of weight 0 are left out.
        temperature: T of both sides.   per_class: divide each divergence by log of the source's number of classes, so that
            sources with many classes do not outweigh the others.

    Reads NAME_logits (`Student(heads={NAME: classes})`) and NAME_teacher (logits stored with the data) of each source. No
    labels: items without one count as much. All weights 0: the loss is 0.

    Raises (when training begins):
        DataError: a head of another width than its source.   OptionError: a weight below 0.

    Source: DistillWeighted (ICCV 2023), without its released code; per_class is not from the paper.
    """

    name = "source_heads"

    def __init__(
        self,
        *,
        weights: Mapping[str, float],
        temperature: float = 1.0,
        per_class: bool = False,
        weight: Weight = 1.0,
    ):
        super().__init__(weight)
        wrong = [name for name, w in weights.items() if not 0 <= float(w) < math.inf]
        if wrong:
            raise OptionError(
                found=f"weights { ({n: weights[n] for n in wrong}) }",
                expected="finite weights of 0 or more",
                fix="pass dict(zip(names, source_weights(scores)))",
            )
        check_positive("temperature", temperature)
        self.weights = {name: float(w) for name, w in weights.items() if w > 0}
        self.temperature, self.per_class = temperature, per_class
        self.reads = ("logits", *(f"{name}_{what}" for name in self.weights for what in ("logits", "teacher")))

    def begin(self, run: Run) -> None:
        """Look whether each head is as wide as its source."""
        for name in self.weights:
            head, source = (run.example.get(f"{name}_{what}") for what in ("logits", "teacher"))
            if head is not None and source is not None and head.shape != source.shape:
                raise DataError(
                    found=f"a head {name!r} of {head.shape[-1]} classes for a source of {source.shape[-1]}",
                    expected="one class each",
                    fix=f"pass heads={{{name!r}: {source.shape[-1]}}} to the student",
                )

    def __call__(self, context: Context) -> Tensor:
        """The weighted sum, each divergence the mean over the batch."""
        total = 0.0 * context["logits"].sum()
        for name, weight in self.weights.items():
            own, theirs = context[f"{name}_logits"], context[f"{name}_teacher"]
            scale = math.log(theirs.shape[-1]) if self.per_class and theirs.shape[-1] > 1 else 1.0
            total = total + weight / scale * kd(own, theirs, temperature=self.temperature)
        return total


LOSS_PARTS: dict[str, Callable[..., Any]] = {
    "hyperedge_agreement": HyperedgeAgreement,
    "layer_hints": LayerHints,
    "projected_hint": ProjectedHint,
    "similarity_discriminator": SimilarityDiscriminator,
    "source_heads": SourceHeads,
    "vertical_kd": VerticalKD,
}
"""Loss parts by name, for recipes; they take the place of the plain functions of the same name."""
