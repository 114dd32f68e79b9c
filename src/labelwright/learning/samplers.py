"""Samplers: which items a student sees, in which order, how often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from labelwright.errors import DataError, OptionError, check_whole
from labelwright.learning.parts import Part
from labelwright.learning.run import Run


class Sampler(Part):
    """Gives the items of every epoch. All draws come from (seed, epoch), so that a resumed run sees the same order."""

    writes = ("items",)

    def order(self, run: Run, epoch: int, rng: np.random.Generator) -> np.ndarray:
        """(M,) int64 item numbers of this epoch; the driver cuts them into batches."""
        raise TypeError(f"{type(self).__name__} needs an `order`")  # a sampler without one is a bug of its author


class All(Sampler):
    """Every item once, in random order."""

    def order(self, run: Run, epoch: int, rng: np.random.Generator) -> np.ndarray:
        """A permutation of all items."""
        return rng.permutation(len(run.data))


class Subset(Sampler):
    """These items only, in random order: a pruned set, a fold.

    Args:
        items: item numbers, or a mask over all items.   repeat: how often each comes in an epoch, so that few items make
            as many steps as many.
    """

    def __init__(self, items: Any, *, repeat: float = 1.0):
        given = np.asarray(items)
        self.items = np.flatnonzero(given) if given.dtype == bool else given.astype(np.int64)
        self.repeat = repeat
        if not len(self.items) or repeat <= 0:
            raise OptionError(
                found=f"{len(self.items)} items, repeat={repeat!r}",
                expected="items, and repeat above 0",
                fix="choose items",
            )

    def order(self, run: Run, epoch: int, rng: np.random.Generator) -> np.ndarray:
        """`repeat` permutations of the items, the last one cut."""
        if self.items.max() >= len(run.data) or self.items.min() < 0:
            raise DataError(
                found=f"item number {self.items.max()} of {len(run.data)} items",
                expected="numbers of items of this data set",
                fix="choose the items from the data that is passed to train",
            )
        wanted = max(1, round(self.repeat * len(self.items)))
        rounds = [rng.permutation(self.items) for _ in range(-(-wanted // len(self.items)))]
        return np.concatenate(rounds)[:wanted]


class FirstThenAll(Sampler):
    """Some items alone in the first steps, all items afterwards.

    Args:
        items: item numbers, or a mask over all items: those that come first.   steps: for how many steps.
    """

    def __init__(self, items: Any, *, steps: int):
        check_whole("steps", steps, 0)
        self.first, self.steps = Subset(items), steps

    def order(self, run: Run, epoch: int, rng: np.random.Generator) -> np.ndarray:
        """A permutation of all items, whose first places are taken by permutations of the first ones."""
        n, step = len(run.data), run.recipe.batch_size * run.recipe.accumulate * run.accelerator.num_processes
        places = min(max(self.steps * step - epoch * n, 0), n)
        rounds = [self.first.order(run, epoch, rng) for _ in range(-(-places // len(self.first.items)))]
        order = rng.permutation(n)
        if places:
            order[:places] = np.concatenate(rounds)[:places]
        return order


class Balanced(Sampler):
    """Every class equally often: as many items in an epoch as there are, drawn anew where a class has too few.

    Items without a class are left out.
    """

    def order(self, run: Run, epoch: int, rng: np.random.Generator) -> np.ndarray:
        """Permutations of each class's items, cut or repeated to the same number."""
        labels = run.data.hard_labels()
        if labels is None:
            raise DataError(
                found="no single class per item", expected="hard or soft labels", fix="use the sampler 'all'"
            )
        groups = [np.flatnonzero(labels == c) for c in np.unique(labels[labels >= 0])]
        share = -(-sum(map(len, groups)) // len(groups))
        drawn = [np.concatenate([rng.permutation(g) for _ in range(-(-share // len(g)))])[:share] for g in groups]
        return rng.permutation(np.concatenate(drawn))


SAMPLERS: dict[str, Callable[..., Any]] = {
    "all": All,
    "balanced": Balanced,
    "subset": Subset,
    "first_then_all": FirstThenAll,
}
"""Samplers by name, for recipes."""
