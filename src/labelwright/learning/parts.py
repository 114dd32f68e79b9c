"""Parts of a recipe: what fills a slot, how it is named in a recipe, and how it is made from its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labelwright.errors import OptionError, check_option
from labelwright.learning.context import Context

if TYPE_CHECKING:
    from labelwright.learning.run import Run


class Part:
    """One choice in one slot. Subclasses say what they read from and write to the step's context.

    Every method may stay as it is. State that must survive a checkpoint goes through `state` and `restore`; modules that
    learn or must be saved are given to the run in `begin`: `run.add("projector", module)`.
    """

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()

    def begin(self, run: Run) -> None:
        """Before the first step: sizes are known, modules can be made."""

    def start_round(self, run: Run) -> None:
        """Before each outer round."""

    def start_epoch(self, run: Run) -> None:
        """Before each epoch."""

    def __call__(self, context: Context) -> Any:
        """Do the part's work in one step. Losses return a scalar tensor, samplers and steps have their own form."""

    def after(self, run: Run, context: Context) -> None:
        """After the optimiser's step."""

    def state(self) -> dict[str, Any]:
        """Tensors, arrays and plain values that a checkpoint keeps."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""


@dataclass(frozen=True)
class Spec:
    """A part by name and options, as it stands in a recipe."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> Any:
        """As YAML writes it: the name, or {name: options}."""
        return {self.name: dict(self.options)} if self.options else self.name


def as_spec(value: Any, slot: str) -> Any:
    """`Spec` of a name, a one-entry mapping {name: options} or a pair (name, options); ready parts and callables stay.

    >>> as_spec({"mixup": {"alpha": 0.8}}, "views")
    Spec(name='mixup', options={'alpha': 0.8})
    """
    if isinstance(value, str):
        return Spec(value)
    if isinstance(value, Spec | Part) or (callable(value) and not isinstance(value, type)):
        return value
    pair = (
        list(value.items()) if isinstance(value, Mapping) else [tuple(value)] if isinstance(value, list | tuple) else []
    )
    if len(pair) == 1 and len(pair[0]) == 2 and isinstance(pair[0][0], str) and isinstance(pair[0][1], Mapping | None):
        return Spec(pair[0][0], dict(pair[0][1] or {}))
    raise OptionError(
        found=f"{slot}: {value!r}",
        expected="the name of a part, {name: {option: value}}, or a part itself",
        fix=f"write for example {slot}: {{NAME: {{OPTION: VALUE}}}}",
    )


def make(slot: str, spec: Any, known: Mapping[str, Callable[..., Any]]) -> Any:
    """The part that a spec names, made with its options; ready parts as they are.

    Raises:
        OptionError: an unknown name or option, with the nearest ones.
    """
    if not isinstance(spec, Spec):
        return spec
    check_option(slot, spec.name, tuple(known))
    factory = known[spec.name]
    check_options(slot, spec, factory)
    return factory(**spec.options)


def check_options(slot: str, spec: Spec, factory: Callable[..., Any], also: tuple[str, ...] = ()) -> None:
    """Raise `OptionError` for an option that the factory of a part does not take, or lacks."""
    parameters = inspect.signature(factory).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    allowed = (*parameters, *also)
    for name in spec.options:
        check_option(f"option of {slot} {spec.name!r}", name, allowed)
    missing = [n for n, p in parameters.items() if p.default is p.empty and n not in spec.options] if not also else []
    if missing:
        raise OptionError(
            found=f"{slot} {spec.name!r} without {', '.join(missing)}",
            expected=f"a value for each of {', '.join(missing)}",
            fix=f"write {slot}: {{{spec.name}: {{{missing[0]}: ...}}}}",
        )


def name_of(part: Any) -> str:
    """What to call a part in messages and logs."""
    return str(getattr(part, "name", None) or getattr(part, "__name__", None) or type(part).__name__)
