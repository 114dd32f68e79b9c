"""What several teachers said before the training, kept with the data: no teacher runs while the student learns."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from labelwright.errors import DataError, OptionError, check_option
from labelwright.learning.context import Context
from labelwright.learning.parts import Part
from labelwright.learning.run import Run
from labelwright.learning.targets.teachers import combine


class StoredTeachers(Part):
    """Stored logits (B, M, K) of M teachers, joined as `Teacher` joins those it asks.

    The inputs must be those that the teachers saw: a view that changes them asks for `Teacher`.

    Args:
        source: name of the logits in the context, `TrainData(..., extra={"stored_logits": (N, M, K)})`.
        weights: of the teachers, default equal.
        mean: "probs" (`teacher_logits` are the logarithms of the mean probabilities), "logits", or "stack": (M, B, K).

    Writes teacher_logits, and unless stacked targets, their softmax.

    Raises:
        DataError: stored logits of another shape.   OptionError: weights that are no weights of these teachers.
    """

    name = "stored_teachers"

    def __init__(self, *, source: str = "stored_logits", weights: Sequence[float] | None = None, mean: str = "probs"):
        check_option("mean", mean, ("probs", "logits", "stack"))
        if weights is not None and (not weights or min(weights) < 0 or sum(weights) <= 0):
            raise OptionError(
                found=f"weights {weights!r}",
                expected="a weight of at least 0 for each teacher, one above 0",
                fix="leave weights out for equal ones",
            )
        self.source, self.weights, self.mean = source, weights, mean
        self.reads = (source,)
        self.writes = ("teacher_logits", *(() if mean == "stack" else ("targets",)))

    def begin(self, run: Run) -> None:
        """Look whether the stored logits have the student's classes, and as many teachers as there are weights."""
        found = run.context(torch.arange(min(2, len(run.data))).numpy())[self.source]
        k = run.data.n_classes
        if found.ndim != 3 or found.shape[2] != k or not found.is_floating_point():
            raise DataError(
                found=f"{self.source!r} of shape (N, {', '.join(map(str, found.shape[1:]))}) and dtype {found.dtype}",
                expected=f"floats (N, teachers, {k})",
                fix="stack the logits of the teachers: numpy.stack([z1, z2], axis=1)",
            )
        if self.weights is not None and len(self.weights) != found.shape[1]:
            raise OptionError(
                found=f"{len(self.weights)} weights for {found.shape[1]} teachers",
                expected="one each",
                fix="leave weights out for equal ones",
            )

    def __call__(self, context: Context) -> None:
        """Join them."""
        said = context[self.source].unbind(1)
        given = [1.0] * len(said) if self.weights is None else list(self.weights)
        context["teacher_logits"] = combine(said, [w / sum(given) for w in given], self.mean)
        if "targets" in self.writes:
            context["targets"] = context["teacher_logits"].softmax(-1)
