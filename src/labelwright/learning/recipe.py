"""Recipes: a way of training as data. Five slots, one step, and how long; a dataclass in Python, a YAML file on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from labelwright.errors import DataError, OptionError, check_option, check_whole
from labelwright.learning.parts import Spec, as_spec, check_options

SLOTS = ("views", "targets", "loss")
"""Slots with several parts, called in the order in which they stand."""
_ALSO = {"loss": ("weight", "on", "also"), "optimizer": ("params",)}  # arguments that are no options of the part itself
PRECISIONS = ("no", "bf16", "fp16")


@dataclass(frozen=True)
class Recipe:
    """How a student learns. A part is its name, {name: options}, or an object made in Python.

    sampler: which items, how often.   views: how inputs and labels are changed together, in this order.
    targets: what the label is now, in this order.   loss: terms that are added up.   networks: who learns.
    step: how the slots play together; "default" is views, networks, targets, loss.
    optimizer, schedule: {"adamw": {"lr": 0.001}} and so on; see `optimizing`.
    epochs: passes of the sampler.   steps: so many steps in place of epochs.   rounds: how often the epochs are repeated,
        each begun with the parts' `start_round`.
    batch_size: items per step and process.   accumulate: batches per step of the optimiser.
    precision: "no" (float32), "bf16" or "fp16".   clip: largest norm of the gradient.
    validate_every: epochs between looks at the validation data.   keep: "last" or "best" weights, by `monitor` there.
    monitor: "nll", "accuracy", or, of several classes per item, "map".   patience: stop after so many looks without gain.
    checkpoint_every: epochs between checkpoints, where there is a folder for them.
    seed: of everything random.
    """

    sampler: Any = "all"
    views: tuple[Any, ...] = ()
    targets: tuple[Any, ...] = ("stored",)
    loss: tuple[Any, ...] = ("soft_cross_entropy",)
    networks: Any = "student"
    step: Any = "default"
    optimizer: Any = dataclasses.field(default_factory=lambda: {"adamw": {"lr": 1e-3, "weight_decay": 0.01}})
    schedule: Any = dataclasses.field(default_factory=lambda: {"cosine": {"warmup": 0.05}})
    epochs: int = 30
    steps: int | None = None
    rounds: int = 1
    batch_size: int = 128
    accumulate: int = 1
    precision: str = "no"
    clip: float | None = None
    validate_every: int = 1
    keep: str = "last"
    monitor: str = "nll"
    patience: int | None = None
    checkpoint_every: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for slot in SLOTS:
            given = getattr(self, slot)
            parts = tuple(given) if isinstance(given, list | tuple) else (given,)
            object.__setattr__(self, slot, tuple(as_spec(part, slot) for part in parts))
        for slot in ("sampler", "networks", "step", "optimizer", "schedule"):
            object.__setattr__(self, slot, as_spec(getattr(self, slot), slot))
        for name in ("epochs", "rounds", "batch_size", "accumulate", "validate_every", "checkpoint_every"):
            check_whole(name, getattr(self, name), 1)
        for name in ("steps", "patience"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), 1)
        check_whole("seed", self.seed, 0)
        check_option("precision", self.precision, PRECISIONS)
        check_option("keep", self.keep, ("last", "best"))
        check_option("monitor", self.monitor, ("nll", "accuracy", "map"))
        if self.clip is not None and not self.clip > 0:
            raise OptionError(
                found=f"clip={self.clip!r}", expected="a norm above 0", fix="leave it out, or pass clip=1.0"
            )
        self._check_parts()

    def _check_parts(self) -> None:
        """Names and options of every part, so that a mistake is told before anything is loaded."""
        from labelwright.learning.registry import KNOWN

        for slot, known in KNOWN.items():
            value = getattr(self, slot)
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, Spec):
                    check_option(slot, part.name, tuple(known))
                    check_options(slot, part, known[part.name], also=_ALSO.get(slot, ()))

    def but(self, **changes: Any) -> Recipe:
        """The same recipe with other choices.

        >>> Recipe().but(epochs=3, loss="kl").epochs
        3
        """
        for name in changes:
            check_option("recipe entry", name, [f.name for f in dataclasses.fields(self)])
        return dataclasses.replace(self, **changes)

    # -- as data ---------------------------------------------------------------------------------------------------
    def plain(self) -> dict[str, Any]:
        """Plain values, as YAML and JSON write them; parts made in Python by their class and `<...>`, which no file reads."""

        def told(value: Any) -> Any:
            if isinstance(value, tuple):
                return [told(v) for v in value]
            if isinstance(value, Spec):
                return _plain(value.plain())
            return value if isinstance(value, int | float | str | None) else f"<{_name(value)}>"

        return {f.name: told(getattr(self, f.name)) for f in dataclasses.fields(self)}

    def to_yaml(self) -> str:
        """The recipe as a YAML text; entries as `from_yaml` reads them.

        Raises:
            OptionError: parts that were made in Python, which a file cannot hold.
        """
        import yaml

        plain = self.plain()
        for slot, value in plain.items():
            for part in value if isinstance(value, list) else [value]:
                if "'<" in repr(part):
                    raise OptionError(
                        found=f"{slot}: {part}, made in Python",
                        expected="parts by name and plain options",
                        fix="keep this recipe in your program, or give the part a name in the registry",
                    )
        return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))

    @classmethod
    def from_yaml(cls, text: str, *, name: str = "recipe") -> Recipe:
        """Read what `to_yaml` writes; entries that are left out keep their defaults.

        Raises:
            DataError: no YAML mapping.   OptionError: unknown entries, parts or options, with the nearest names.
        """
        import yaml

        try:
            found = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise DataError(
                found=f"{name} that is no YAML: {str(error).splitlines()[0]}",
                expected="entries such as `epochs: 30`",
                fix="see docs: Training, the recipe as a file",
            ) from None
        if not isinstance(found, dict):
            raise DataError(
                found=f"{name} with {type(found).__name__} in place of entries",
                expected="a mapping of entries such as `epochs: 30`",
                fix="start from `labelwright train --show-recipe NAME`",
            )
        return cls().but(**{str(key): _spelt(key, value) for key, value in found.items()})

    def digest(self) -> str:
        """A name for this recipe, other for every other choice but how long it runs between looks."""
        text = json.dumps(self.plain(), sort_keys=True, default=repr)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _spelt(key: Any, value: Any) -> Any:
    if key in SLOTS:
        return tuple(value) if isinstance(value, list) else (value,)
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if isinstance(value, int | float | str | None) else f"<{_name(value)}>"


def _name(value: Any) -> str:
    from labelwright.learning.parts import name_of

    return name_of(value)


def recipe_names() -> list[str]:
    """Recipes that come with the package."""
    folder = resources.files("labelwright.learning") / "recipes"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(which: str | os.PathLike[str] | Recipe | None) -> Recipe:
    """A recipe by name or from a YAML file; None is the plain one, a recipe itself stays.

    Raises:
        OptionError: neither a name nor a file.   DataError: a file that holds no recipe.
    """
    if isinstance(which, Recipe):
        return which
    if which is None:
        return Recipe()
    path = Path(which)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise DataError(
                found=f"no file {path}", expected="a recipe in YAML", fix=f"or a name: {', '.join(recipe_names())}"
            )
        return Recipe.from_yaml(path.read_text(encoding="utf-8"), name=path.name)
    check_option("recipe", str(which), recipe_names())
    text = (resources.files("labelwright.learning") / "recipes" / f"{which}.yaml").read_text(encoding="utf-8")
    return Recipe.from_yaml(text, name=str(which))
