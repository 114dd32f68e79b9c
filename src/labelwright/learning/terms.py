"""Loss terms: a loss function bound to the names it reads in the step's context, with a weight that may change over time."""

from __future__ import annotations

import inspect
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from labelwright.errors import OptionError, check_option
from labelwright.learning.context import Context
from labelwright.learning.losses import LOSSES
from labelwright.learning.parts import Part, Spec

Weight = float | Sequence[Sequence[float]]


class LossTerm(Part):
    """weight * loss(...): the arguments without a default are read from the context under their own names.

    Args:
        loss: a function on tensors, such as those in `labelwright.learning.losses`.
        weight: a number, or points [[progress, weight], ...] joined by lines; two points at one progress make a step.
        on: argument -> the name to read in its place, e.g. {"targets": "labels"}.
        also: optional arguments that are read from the context too, e.g. ("group",).
        options: keyword options of the loss.
    """

    def __init__(
        self,
        loss: Callable[..., Tensor],
        *,
        weight: Weight = 1.0,
        on: Mapping[str, str] | None = None,
        also: Sequence[str] = (),
        name: str | None = None,
        **options: Any,
    ):
        self.loss, self.weight, self.options = loss, check_weight(weight), options
        self.name = name or getattr(loss, "__name__", type(loss).__name__)
        needed = [n for n, p in inspect.signature(loss).parameters.items() if p.default is p.empty and n not in options]
        for argument in on or {}:
            check_option(f"`on` of loss {self.name!r}", argument, (*needed, *also))
        self._from = {argument: (on or {}).get(argument, argument) for argument in (*needed, *also)}
        self.reads = tuple(self._from.values())
        self._weighted = "reduction" in inspect.signature(loss).parameters

    def __call__(self, context: Context) -> Tensor:
        """The weighted mean over the batch; items are weighed by `weights` where the context has them."""
        arguments = {argument: context[name] for argument, name in self._from.items()}
        if self._weighted and "weights" in context and "reduction" not in self.options:
            rows = self.loss(**arguments, **self.options, reduction="none")
            weights = context["weights"].to(rows.dtype)
            return (rows * weights).sum() / weights.sum().clamp_min(1e-12)
        return self.loss(**arguments, **self.options)

    def weight_at(self, progress: float) -> float:
        """The weight when this share of training is done."""
        return weight_at(self.weight, progress)


class WeightedPart(Part):
    """A loss part with a weight that may change over time."""

    def __init__(self, weight: Weight = 1.0):
        self.weight = check_weight(weight)

    def weight_at(self, progress: float) -> float:
        """The weight when this share of training is done."""
        return weight_at(self.weight, progress)


def check_weight(weight: Weight) -> Weight:
    """A number, or points with progress in [0, 1] that does not fall."""
    if isinstance(weight, int | float):
        return float(weight)
    points = [tuple(map(float, point)) for point in weight]
    if (
        not points
        or any(len(p) != 2 or not 0 <= p[0] <= 1 for p in points)
        or points != sorted(points, key=lambda p: p[0])
    ):
        raise OptionError(
            found=f"weight {weight!r}",
            expected="a number, or points [[progress, weight], ...] with progress in 0 to 1 that does not fall",
            fix="write for example weight: [[0, 1], [0.2, 1], [0.2, 0]] for a weight that drops to 0 after a fifth",
        )
    return points


def weight_at(weight: Weight, progress: float) -> float:
    """The weight at a share of training; of two points at one progress the later holds.

    >>> [weight_at([(0, 1), (0.5, 1), (0.5, 0)], p) for p in (0.2, 0.5, 0.9)]
    [1.0, 0.0, 0.0]
    """
    if isinstance(weight, int | float):
        return float(weight)
    places = [p[0] for p in weight]
    i = bisect_right(places, progress)
    if i == 0 or i == len(weight):
        return float(weight[max(i - 1, 0)][1])
    (x0, w0), (x1, w1) = weight[i - 1], weight[i]
    return w0 + (w1 - w0) * (progress - x0) / (x1 - x0)


def make_term(spec: Any) -> Any:
    """The term of a spec, whose name and options the recipe has checked, of a ready part, or of a plain function."""
    if isinstance(spec, Spec):
        from labelwright.learning.loss_parts import LOSS_PARTS

        if spec.name in LOSS_PARTS:
            return LOSS_PARTS[spec.name](**spec.options)
        return LossTerm(LOSSES[spec.name], name=spec.name, **spec.options)
    return spec if isinstance(spec, Part) else LossTerm(spec)
