"""Learning from imperfect labels: losses, mixing, targets, networks, recipes, and the one training loop."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "Part": "parts",
    "Recipe": "recipe",
    "SoftLabelClassifier": "estimator",
    "Source": "data",
    "Student": "networks",
    "Teacher": "targets",
    "TrainData": "data",
    "TrainedModel": "model",
    "evaluate": "evaluation",
    "load_recipe": "recipe",
    "recipe_names": "recipe",
    "train": "verb",
}

__all__ = list(_PUBLIC)

if TYPE_CHECKING:
    from labelwright.learning.data import Source as Source
    from labelwright.learning.data import TrainData as TrainData
    from labelwright.learning.estimator import SoftLabelClassifier as SoftLabelClassifier
    from labelwright.learning.evaluation import evaluate as evaluate
    from labelwright.learning.model import TrainedModel as TrainedModel
    from labelwright.learning.networks import Student as Student
    from labelwright.learning.parts import Part as Part
    from labelwright.learning.recipe import Recipe as Recipe
    from labelwright.learning.recipe import load_recipe as load_recipe
    from labelwright.learning.recipe import recipe_names as recipe_names
    from labelwright.learning.targets import Teacher as Teacher
    from labelwright.learning.verb import train as train


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        try:
            value = getattr(importlib.import_module(f"labelwright.learning.{_PUBLIC[name]}"), name)
        except ImportError as missing:
            from labelwright.errors import MissingExtra

            if isinstance(missing, MissingExtra) or getattr(missing, "name", None) not in (
                "torch",
                "accelerate",
                "yaml",
            ):
                raise
            raise MissingExtra(
                found=f"no {missing.name}", expected="the extra 'learn'", fix='pip install "labelwright[learn]"'
            ) from missing
        globals()[name] = value
        return value
    raise AttributeError(f"module 'labelwright.learning' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
