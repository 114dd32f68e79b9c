"""What one or several teachers say about this view, asked while the student learns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from labelwright.errors import DataError, OptionError, check_option
from labelwright.learning.context import Context
from labelwright.learning.networks.outputs import read_outputs
from labelwright.learning.parts import Part
from labelwright.learning.run import Run


class Teacher(Part):
    """Frozen teachers, in evaluation mode and without gradients.

    Args:
        models: a module or several: inputs -> logits, as a student's.
        weights: of the teachers, default equal.
        mean: "probs" averages their probabilities (`teacher_logits` are the logarithms of the mean), "logits" their logits.
            Both differ in how sure the mean is.   Or "stack": `teacher_logits` is (M, B, K).
        temperature: of the soft labels that are written as targets.   write_targets: False leaves `targets` to others.
        input: name of what they see.

    Writes teacher_logits, teacher_features where one teacher gives features, and targets = softmax(teacher_logits / temperature).
    """

    name = "teacher"

    def __init__(
        self,
        models: nn.Module | Sequence[nn.Module],
        *,
        weights: Sequence[float] | None = None,
        mean: str = "probs",
        temperature: float = 1.0,
        write_targets: bool = True,
        input: str = "inputs",
    ):
        self.models = [models] if isinstance(models, nn.Module) else list(models)
        check_option("mean", mean, ("probs", "logits", "stack"))
        given = [1.0] * len(self.models) if weights is None else [float(w) for w in weights]
        if not self.models or len(given) != len(self.models) or min(given) < 0 or sum(given) <= 0:
            raise OptionError(
                found=f"{len(self.models)} teachers with weights {weights!r}",
                expected="at least one teacher, a weight of at least 0 for each",
                fix="leave weights out for equal ones",
            )
        if not temperature > 0:
            raise OptionError(
                found=f"temperature={temperature!r}", expected="a number above 0", fix="pass temperature=1.0"
            )
        self.weights = [w / sum(given) for w in given]
        self.mean, self.temperature, self.write_targets, self.input = mean, temperature, write_targets, input
        self.reads = (input,)
        self._run: Run | None = None

    def begin(self, run: Run) -> None:
        """Freeze the teachers, and look whether they have the student's classes."""
        self._run = run
        for i, model in enumerate(self.models):
            run.freeze(f"teacher {i}", model)
        self.writes = ("teacher_logits", *(("targets",) if self.write_targets and self.mean != "stack" else ()))
        context = run.context(torch.arange(min(2, len(run.data))).numpy())
        if self.input not in context:
            return
        self(context)
        self.writes = (*self.writes, *(("teacher_features",) if "teacher_features" in context else ()))
        k = context["teacher_logits"].shape[-1]
        if k != run.data.n_classes:
            raise DataError(
                found=f"a teacher of {k} classes for labels of {run.data.n_classes}",
                expected="the classes of the labels, in their order",
                fix="map the teacher's classes by name first: labelwright.annotators.map_classes",
            )

    @torch.no_grad()
    def __call__(self, context: Context) -> None:
        """Ask them."""
        assert self._run is not None
        out = [read_outputs(self._run.frozen[f"teacher {i}"](context[self.input])) for i in range(len(self.models))]
        context["teacher_logits"] = combine([o["logits"] for o in out], self.weights, self.mean)
        if len(out) == 1 and "features" in out[0]:
            context["teacher_features"] = out[0]["features"]
        if "targets" in self.writes:
            context["targets"] = (context["teacher_logits"] / self.temperature).softmax(-1)


def combine(logits: Sequence[Tensor], weights: Sequence[float], mean: str) -> Tensor:
    """Logits (B, K) of the mean of M teachers, or all of them stacked.

    >>> combine([torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]])], [0.5, 0.5], "logits")
    tensor([[1., 0.]])
    """
    if mean == "stack":
        return torch.stack(list(logits))
    if len(logits) == 1:
        return logits[0]
    shares = torch.tensor(weights, device=logits[0].device)
    if mean == "logits":
        return torch.einsum("m,mbk->bk", shares, torch.stack(list(logits)).float())
    logp = torch.stack([z.float().log_softmax(-1) for z in logits])
    return torch.logsumexp(logp + shares.log()[:, None, None], 0)
