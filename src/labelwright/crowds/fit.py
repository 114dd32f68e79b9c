"""What a model of a crowd has learnt: posteriors of the items, reliability of the annotators, and how it would vote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from labelwright.crowds.prepared import Prepared
from labelwright.labels import SoftLabels


@dataclass(frozen=True, eq=False)
class Fit:
    """One model fitted to one crowd.

    method: its name in `METHODS`.   labels: distributions of the true class, over the items in order (sparse: only classes
    with mass are listed, the rest is kept as `rest`).   prior: (K,) shares of the true classes.
    skill: (A,) probability that a vote of the annotator is right, averaged over the classes; NaN where it never voted.
    skill_low, skill_high: (A,) a 90 % interval, None where the model gives none.
    confusion: annotator number -> (K, K) [true, given], rows sum to 1; None where the model has no such thing.
    vote_prob: (items, annotators) -> (n, K) probability of each answer of that annotator to that item, given the other votes on
        the item that the fit has seen: what held-out votes are scored by. None where the model cannot say.
    difficulty: (N,) where the model has one, larger is harder.   trace: objective per step, never falling.
    """

    method: str
    labels: SoftLabels
    prior: np.ndarray
    skill: np.ndarray
    skill_low: np.ndarray | None = None
    skill_high: np.ndarray | None = None
    confusion: Callable[[int], np.ndarray] | None = None
    vote_prob: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    difficulty: np.ndarray | None = None
    trace: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)


class Method(Protocol):
    """A model: `fit(votes, random_state=0)`. It never touches global random state and does not depend on the order of rows."""

    def __call__(self, votes: Prepared, *, random_state: int = 0) -> Fit: ...
