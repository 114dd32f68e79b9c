"""Inner layers: what they say, and a loss that brings a student's to a teacher's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from labelwright.errors import DataError, OptionError, check_option
from labelwright.learning.context import Context
from labelwright.learning.losses._rows import reduced, wide
from labelwright.learning.networks.outputs import Outputs, read_outputs
from labelwright.learning.run import Run
from labelwright.learning.terms import Weight, WeightedPart

FORMS = ("scores", "probs")


class WithLayers(nn.Module):
    """A model that also gives what some of its inner modules said.

    Args:
        model: inputs -> logits, a dict with logits, or an output of transformers.
        layers: name in the outputs -> path of the module, such as {"low": "blocks.1"}; of a tuple its first tensor counts.

    Raises:
        OptionError: a path that the model does not have, with the nearest ones.

    >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> {name: tuple(said.shape) for name, said in WithLayers(net, {"low": "1"})(torch.zeros(5, 3)).items()}
    {'logits': (5, 2), 'low': (5, 4)}
    """

    def __init__(self, model: nn.Module, layers: Mapping[str, str]):
        super().__init__()
        self.model, self._said = model, Outputs()
        paths = dict(model.named_modules())
        for name, path in layers.items():
            check_option(f"path of layer {name!r}", path, tuple(filter(None, paths)))
            paths[path].register_forward_hook(lambda module, given, said, name=name: self._hear(name, said))

    def _hear(self, name: str, said: Any) -> None:
        self._said[name] = said if isinstance(said, Tensor) else said[0]

    def forward(self, inputs: Any) -> Outputs:
        """The model's outputs, and those of its layers."""
        out = read_outputs(self.model(inputs))
        said, self._said = self._said, Outputs()
        return out | said


def hidden_distance(
    features: Tensor, teacher_features: Tensor, *, mask: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """Mean squared difference of hidden states, of each item over its true places.

    Args:
        features, teacher_features: (B, D) or (B, T, D), one shape.   mask: (B, T) bool, False on padding.
        reduction: "mean" over items with a place, "sum", or "none" (B,).
    """
    if features.shape != teacher_features.shape or (mask is not None and mask.shape != features.shape[:2]):
        raise DataError(
            found=f"features {tuple(features.shape)}, teacher_features {tuple(teacher_features.shape)}, "
            f"mask {None if mask is None else tuple(mask.shape)}",
            expected="features of one shape, (B, D) or (B, T, D), and a mask (B, T)",
            fix="bring the student's states to the teacher's width, as LayerHints does",
        )
    cells = ((wide(features) - wide(teacher_features.detach())) ** 2).mean(-1)
    if mask is None:
        return reduced(cells.flatten(1).mean(1) if cells.ndim > 1 else cells, None, reduction)
    n = mask.sum(1)
    return reduced(cells.masked_fill(~mask, 0.0).sum(1) / n.clamp_min(1), n > 0, reduction)


def attention_distance(
    scores: Tensor,
    teacher_scores: Tensor,
    *,
    mask: Tensor | None = None,
    form: str = "scores",
    reduction: str = "mean",
) -> Tensor:
    """How far attention maps are apart, of each item over heads and true places.

    Args:
        scores, teacher_scores: (B, heads, T, T) before the softmax over the last axis; what stands at padding does not
            matter (-1e4 or -inf).   mask: (B, T) bool, False on padding.
        form: "scores": mean squared difference of the scores (as TinyBERT has it). "probs": KL(teacher || student) of the
            attention of each place, which a shift of all its scores does not change.
        reduction: "mean" over items with a place, "sum", or "none" (B,).

    Source: as recalled from Jiao et al. 2020 (TinyBERT), on which ERNIE-Tiny's latent distillation seems to rest.
    """
    check_option("form", form, FORMS)
    if scores.shape != teacher_scores.shape or scores.ndim != 4 or scores.shape[2] != scores.shape[3]:
        raise DataError(
            found=f"scores {tuple(scores.shape)} and teacher_scores {tuple(teacher_scores.shape)}",
            expected="(B, heads, T, T) with the same number of heads",
            fix="build the student with as many heads as the teacher, or leave attention out",
        )
    z, t = wide(scores), wide(teacher_scores.detach())
    mask = torch.ones(z.shape[0], z.shape[2], dtype=torch.bool, device=z.device) if mask is None else mask
    n = mask.sum(1)
    keys = mask[:, None, None, :].expand_as(z)
    if form == "scores":
        held = keys & mask[:, None, :, None]
        cells = (z.masked_fill(~held, 0.0) - t.masked_fill(~held, 0.0)) ** 2  # masked first: inf - inf is no number
        rows = cells.sum((1, 2, 3)) / (z.shape[1] * n**2).clamp_min(1)
    else:
        low = torch.finfo(z.dtype).min
        logp, logq = (s.masked_fill(~keys, low).log_softmax(-1) for s in (z, t))
        divergence = (logq.exp() * (logq - logp)).masked_fill(~keys, 0.0).sum(-1)
        rows = divergence.masked_fill(~mask[:, None], 0.0).sum((1, 2)) / (z.shape[1] * n).clamp_min(1)
    return reduced(rows, n > 0, reduction)


class LayerHints(WeightedPart):
    """The student's layers brought to the teacher's, all through one learnt map, as a sum over the layers.

    Args:
        on: pairs of names, the student's states (B, D) or (B, T, D) and the teacher's; all of the student have one width,
            and all of the teacher.   attention: pairs of names of scores (B, heads, T, T).   mask: name of (B, T) bool.
        form: as in `attention_distance`.   projector: a map that learnt in an earlier stage; default a new one.
    """

    name = "layer_hints"

    def __init__(
        self,
        *,
        on: Sequence[Sequence[str]],
        attention: Sequence[Sequence[str]] = (),
        mask: str | None = None,
        form: str = "scores",
        projector: nn.Module | None = None,
        weight: Weight = 1.0,
    ):
        super().__init__(weight)
        check_option("form", form, FORMS)
        self.on, self.attention = [tuple(pair) for pair in on], [tuple(pair) for pair in attention]
        if not self.on or any(len(pair) != 2 for pair in (*self.on, *self.attention)):
            raise OptionError(
                found=f"on={on!r}, attention={attention!r}",
                expected="pairs of names, a student's layer and its teacher's",
                fix='pass on=[("low", "teacher_low"), ("high", "teacher_high")]',
            )
        self.mask, self.form, self.projector = mask, form, projector
        names = [name for pair in (*self.on, *self.attention) for name in pair]
        self.reads = (*names, *(() if mask is None else (mask,)))

    def begin(self, run: Run) -> None:
        """Make the map from one example of both."""
        widths = {tuple(run.example[name].shape[-1] for name in pair) for pair in self.on}
        if len(widths) > 1:
            raise OptionError(
                found=f"layers of widths {sorted(widths)} (student, teacher) behind one map",
                expected="one width of the student and one of the teacher",
                fix="use a LayerHints for each width",
            )
        self.projector = self.projector or nn.Linear(*widths.pop())
        run.add(f"layer map {self.on[0][0]}", self.projector)
        self._run = run

    def __call__(self, context: Context) -> Tensor:
        """The sum over the layers."""
        mask = None if self.mask is None else context[self.mask]
        to_teacher = self._run.modules[f"layer map {self.on[0][0]}"]
        hidden = [hidden_distance(to_teacher(context[own]), context[theirs], mask=mask) for own, theirs in self.on]
        looks = [attention_distance(context[a], context[b], mask=mask, form=self.form) for a, b in self.attention]
        return torch.stack([*hidden, *looks]).sum()
