"""Who learns: one student, alone or with heads beside its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from labelwright.errors import DataError, OptionError, check_option
from labelwright.learning.context import Context
from labelwright.learning.networks.conv import ConvNet, ResNet, pictures
from labelwright.learning.networks.mlp import MLP
from labelwright.learning.networks.outputs import read_outputs
from labelwright.learning.networks.unet import UNet
from labelwright.learning.networks.vit import ViT
from labelwright.learning.parts import Part, Spec, check_options
from labelwright.learning.run import Run


def _linear(example: Tensor, n_classes: int, **options: Any) -> nn.Module:
    return MLP(example[0].numel(), n_classes, hidden=(), **options)


def _mlp(example: Tensor, n_classes: int, **options: Any) -> nn.Module:
    return MLP(example[0].numel(), n_classes, **options)


def _pictures_only(made: Callable[..., nn.Module], name: str) -> Callable[..., nn.Module]:
    def make(example: Tensor, n_classes: int, **options: Any) -> nn.Module:
        if example.ndim not in (3, 4):
            raise DataError(
                found=f"inputs of shape {tuple(example.shape[1:])} for the student {name!r}",
                expected="pictures (C, H, W), (H, W, C) or (H, W)",
                fix="use the student 'mlp', or pass pictures",
            )
        shape = pictures(example).shape
        if name == "vit":
            options = {"size": tuple(shape[2:]), **options}
        return made(shape[1], n_classes, **options)

    return make


MODELS: dict[str, tuple[Callable[..., nn.Module], type[nn.Module]]] = {
    "linear": (_linear, MLP),
    "mlp": (_mlp, MLP),
    "cnn": (_pictures_only(ConvNet, "cnn"), ConvNet),
    "resnet": (_pictures_only(ResNet, "resnet"), ResNet),
    "vit": (_pictures_only(ViT, "vit"), ViT),
    "unet": (_pictures_only(UNet, "unet"), UNet),
}
"""Students that are built for the data: name -> (what makes it from an example batch and K, its class)."""


def build(model: str, example: Tensor, n_classes: int, **options: Any) -> nn.Module:
    """A model by name for inputs like `example` (B, ...) and K classes.

    Raises:
        OptionError: an unknown model or option.   DataError: inputs that the model does not take.
    """
    check_option("student", model, tuple(MODELS))
    make, kind = MODELS[model]
    if not isinstance(example, Tensor):
        raise DataError(
            found=f"several inputs per item ({', '.join(example)}) for the student {model!r}",
            expected="one tensor per item",
            fix="pass a model of your own that takes them",
        )
    derived = ("in_features", "n_classes", "channels", "size")
    spec = Spec(model, options)
    for name in options:
        if name in derived[:3]:
            raise OptionError(
                found=f"{name}={options[name]!r}",
                expected="what the data say",
                fix=f"leave {name} out: it is taken from the data",
            )
    check_options("student", spec, kind, also=derived)
    return make(example, n_classes, **options)


class Student(Part):
    """One model that learns.

    Args:
        model: a name of `MODELS`, or a module: inputs -> logits, a dict with logits, or an output of transformers.
        heads: more linear heads on the features, name -> width; they write `NAME_logits`, and are dropped at the end.
        heads_on: the output that the heads read, "features" or "mid".   input: name of the inputs in the context.
        options: of the model.

    Writes logits and whatever else the model gives: features, mid, attention.
    """

    name = "student"

    def __init__(
        self,
        model: str | nn.Module = "mlp",
        *,
        heads: Mapping[str, int] | None = None,
        heads_on: str = "features",
        input: str = "inputs",
        **options: Any,
    ):
        if isinstance(model, str):
            check_option("student", model, tuple(MODELS))
        elif options:
            raise OptionError(
                found=f"a ready model with options {', '.join(options)}",
                expected="options of a model by name",
                fix="leave them out",
            )
        self.model, self.options = model, options
        self.heads, self.heads_on, self.input = dict(heads or {}), heads_on, input
        self.reads = (input,)
        self._run: Run | None = None
        self.built_for: Any = None

    def begin(self, run: Run) -> None:
        """Build the model for the data and let it answer two items, so that its outputs are known."""
        self._run = run
        shown = run.context(torch.arange(min(2, len(run.data))).numpy())
        for view in run.views:  # a view may change the shape, as one that adds a channel does
            view(shown)
        example = shown[self.input]
        self.built_for = example
        model = (
            build(self.model, example, run.data.n_classes, **self.options)
            if isinstance(self.model, str)
            else self.model
        )
        run.add("student", model)
        run.train_mode(False)
        with torch.no_grad():
            out = read_outputs(model(example))
        self._check_classes(out["logits"], run.data.n_classes)
        for name, width in self.heads.items():
            if self.heads_on not in out:
                raise OptionError(
                    found=f"heads on {self.heads_on!r} of a model that gives {', '.join(out)}",
                    expected="an output of the model",
                    fix="let the model return a dict with 'features'",
                )
            run.add(f"head {name}", nn.Linear(out[self.heads_on].shape[-1], width))
        self.writes = (*out, *(f"{name}_logits" for name in self.heads))

    def __call__(self, context: Context) -> None:
        """Ask the model."""
        assert self._run is not None
        out = read_outputs(self._run.modules["student"](context[self.input]))
        context.update(out)
        for name in self.heads:
            context[f"{name}_logits"] = self._run.modules[f"head {name}"](out[self.heads_on])

    def _check_classes(self, logits: Tensor, n_classes: int) -> None:
        if logits.numel() and logits.shape[-1] != n_classes:
            raise DataError(
                found=f"a student whose head has {logits.shape[-1]} classes for labels of {n_classes}",
                expected=f"{n_classes} logits per item",
                fix="give the model a head for these classes, or pass labels in the model's classes",
            )


NETWORKS: dict[str, Callable[..., Any]] = {"student": Student}
"""Networks by name, for recipes."""
