"""The state of one training: networks, optimiser, counters, and the parts that play together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from labelwright.errors import OptionError, TrainingError
from labelwright.learning.context import DRIVER_WRITES, Context
from labelwright.learning.parts import Part, make, name_of

if TYPE_CHECKING:
    from accelerate import Accelerator

    from labelwright.learning.data import TrainData
    from labelwright.learning.recipe import Recipe


class Run:
    """What parts see of a training.

    recipe, data, device: what was asked for, and where tensors live.
    modules: name -> module that learns or is saved; add yours in `begin` with `add`.
    frozen: name -> module that neither learns nor is saved, such as a teacher.
    epoch, step: counters from 0.   n_steps: of the whole training.   progress: share done.
    """

    def __init__(self, recipe: Recipe, data: TrainData, accelerator: Accelerator):
        from labelwright.learning.registry import KNOWN
        from labelwright.learning.terms import make_term

        self.recipe, self.data, self.accelerator = recipe, data, accelerator
        self.device = accelerator.device
        # one process in float32 needs none of accelerate's wrappers, which cost more than a small step
        self._plain = accelerator.num_processes == 1 and recipe.precision == "no"
        self.modules: dict[str, nn.Module] = {}
        self.frozen: dict[str, nn.Module] = {}
        self.optimizer: Any = None
        self.epoch = self.step = self.round = self.n_steps = 0
        self.sampler = make("sampler", recipe.sampler, KNOWN["sampler"])
        self.views = [make("views", spec, KNOWN["views"]) for spec in recipe.views]
        self.networks = make("networks", recipe.networks, KNOWN["networks"])
        self.targets = [make("targets", spec, KNOWN["targets"]) for spec in recipe.targets]
        self.terms = [make_term(spec) for spec in recipe.loss]
        self.step_part = make("step", recipe.step, KNOWN["step"])
        self.losses: dict[str, Tensor] = {}
        self._example: Context | None = None

    # -- before the first step -------------------------------------------------------------------------------------
    @property
    def parts(self) -> list[Any]:
        """Every part, in the order in which they begin."""
        return [self.sampler, *self.views, self.networks, *self.targets, *self.terms, self.step_part]

    def begin(self) -> None:
        """Let every part make its modules, look whether each name that is read is written, and make the optimiser."""
        for part in self.parts:
            if isinstance(part, Part):
                part.begin(self)
        self._check_names()
        self._prepare()

    def add(self, name: str, module: nn.Module, *, learns: bool = True) -> nn.Module:
        """Give a module to the run: it moves to the device, learns where `learns`, and is saved with every checkpoint."""
        if name in self.modules:
            raise OptionError(
                found=f"two modules called {name!r}",
                expected="one of each name",
                fix="give one of the parts another name",
            )
        for parameter in module.parameters():
            parameter.requires_grad_(learns and parameter.requires_grad)
        self.modules[name] = module.to(self.device)
        return module

    def freeze(self, name: str, module: nn.Module) -> nn.Module:
        """Give a module to the run that stays as it is, in evaluation mode."""
        self.frozen[name] = module.to(self.device).eval().requires_grad_(False)
        return module

    @property
    def example(self) -> Context:
        """The context of two items after the networks, for parts that must know sizes in `begin`."""
        if self._example is None:
            items = np.arange(min(2, len(self.data)))
            context = self.context(items)
            for view in self.views:
                view(context)
            with torch.no_grad():
                self.networks(context)
                for target in self.targets:
                    if "teacher_features" in target.writes:
                        target(context)
            self._example = context
        return self._example

    def context(self, items: np.ndarray) -> Context:
        """The context of these items, as every step begins."""
        context = Context(
            items=torch.from_numpy(items),
            epoch=self.epoch,
            step=self.step,
            progress=self.progress,
            seed=self.recipe.seed,
        )
        context.update({name: self.to_device(value) for name, value in self.data.fetch(items).items()})
        context["items"] = self.to_device(context["items"])
        return context

    def to_device(self, value: Any) -> Any:
        """Tensors, dicts of tensors and arrays on the device; other values as they are."""
        if isinstance(value, Tensor):
            return value if value.device == self.device else value.to(self.device, non_blocking=True)
        if isinstance(value, dict):
            return {key: self.to_device(v) for key, v in value.items()}
        return self.to_device(torch.from_numpy(value)) if isinstance(value, np.ndarray) else value

    def _check_names(self) -> None:
        """Whether what each part reads is written by then."""
        there = {*DRIVER_WRITES, *self.data.names}
        for part in [*self.views, self.networks, *self.targets, *self.terms]:
            missing = [name for name in getattr(part, "reads", ()) if name not in there]
            if missing and name_of(self.step_part) == "default":
                raise OptionError(
                    found=f"{name_of(part)!r} reads {', '.join(map(repr, missing))}, which nothing before it writes",
                    expected=f"one of {', '.join(sorted(there))}",
                    fix=f"add a part that writes {missing[0]!r} (the target 'teacher' writes teacher_logits), "
                    f"or pass it with the data: extra={{{missing[0]!r}: ...}}",
                )
            there |= set(getattr(part, "writes", ()))

    def _prepare(self) -> None:
        from labelwright.learning.optimizing import OPTIMIZERS, SCHEDULES

        learning = [p for module in self.modules.values() for p in module.parameters() if p.requires_grad]
        if not learning:
            raise OptionError(
                found="networks without a parameter that learns",
                expected="a student that learns",
                fix="unfreeze its head",
            )
        spec = self.recipe.optimizer
        self.optimizer = OPTIMIZERS[spec.name](learning, **spec.options) if hasattr(spec, "plain") else spec(learning)
        if not self._plain:
            self.optimizer = self.accelerator.prepare(self.optimizer)
        if self.accelerator.num_processes > 1:
            for name, module in self.modules.items():
                if any(p.requires_grad for p in module.parameters()):
                    self.modules[name] = self.accelerator.prepare(module)
        self._lrs = [group["lr"] for group in self.optimizer.param_groups]
        spec = self.recipe.schedule
        self._schedule = SCHEDULES[spec.name](**spec.options) if hasattr(spec, "plain") else spec

    # -- one step --------------------------------------------------------------------------------------------------
    @property
    def progress(self) -> float:
        """Share of the steps done."""
        return self.step / self.n_steps if self.n_steps else 0.0

    def total_loss(self, context: Context) -> Tensor:
        """The weighted sum of the terms; each one is kept in `losses` for the log."""
        total: Tensor | None = None
        for term in self.terms:
            weight = term.weight_at(context["progress"]) if hasattr(term, "weight_at") else 1.0
            if weight == 0:
                continue
            value = term(context)
            self.losses[name_of(term)] = value.detach()
            value = value if weight == 1 else weight * value
            total = value if total is None else total + value
        if total is None:
            raise OptionError(
                found=f"no term with a weight above 0 at {context['progress']:.0%} of training",
                expected="at least one",
                fix="give one term a constant weight, or end training earlier",
            )
        return total

    def learn(self, loss: Tensor, *, last: bool = True) -> None:
        """Backward; with `last` (the last batch of a step) also the optimiser's step."""
        loss = loss / self.recipe.accumulate if self.recipe.accumulate > 1 else loss
        if self._plain:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self.accelerator.backward(loss)
        if not last:
            return
        factor = self._schedule(self.progress)
        for group, lr in zip(self.optimizer.param_groups, self._lrs):
            group["lr"] = lr * factor
        if self.recipe.clip is not None:
            learning = [p for module in self.modules.values() for p in module.parameters() if p.requires_grad]
            self.accelerator.clip_grad_norm_(learning, self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def check_finite(self, context: Context, loss: Tensor) -> None:
        """Raise `TrainingError` for a loss that is no number, and say which part gave it."""
        if torch.isfinite(loss).all():
            return
        bad = [name for name, value in self.losses.items() if not torch.isfinite(value).all()] or ["their sum"]
        logits = context.get("logits")
        where = "the student's logits are finite" if logits is not None and torch.isfinite(logits).all() else (
            "the student's logits are not finite either"
        )  # fmt: skip
        items = context["items"][:5].tolist()
        raise TrainingError(
            found=f"a loss of {float(loss.detach().mean()):g} in step {self.step} (epoch {self.epoch + 1}), from "
            f"{', '.join(bad)}; {where}; the batch begins with items {items}",
            expected="a finite loss",
            fix="lower the learning rate, pass clip=1.0, or look at these items; the last checkpoint is as it was",
        )

    def train_mode(self, on: bool) -> None:
        """Training or evaluation mode for all modules that learn."""
        for module in self.modules.values():
            module.train(on and any(p.requires_grad for p in module.parameters()))

    def bare(self, name: str) -> nn.Module:
        """A module without what several processes wrap around it."""
        return (
            self.modules[name]
            if self.accelerator.num_processes == 1
            else self.accelerator.unwrap_model(self.modules[name])
        )
