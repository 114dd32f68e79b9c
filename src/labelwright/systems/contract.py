"""What every registered system promises besides its numbers; the tests hold each to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

PROMISES = {
    "permutation": "permuted items give permuted answers",
    "duplication": "every item twice gives every answer twice",
    "relabelling": "renamed classes give renamed answers",
    "one class": "a label space of one class gives answers or an error of ours",
    "empty": "no items give an error of ours or no answers",
    "nan": "NaN is refused with an error of ours",
    "seed": "the same seed gives the same answers, bit for bit",
}


@dataclass(frozen=True)
class Contract:
    """One public function of a system, in the form in which promises can be checked.

    part: what is held to it, dotted name.
    kind: which inputs it takes; the tests make them: "labels+pred_probs" (y (N,), pred_probs (N, K)), "labels+features"
        (y (N,), x (N, D)), "votes" (item, annotator, label columns), "features" (x (N, D)).
    run: inputs (a dict with those keys, `n_classes` and `seed`) -> (N,) or (N, K) answers in item order.
    answers: how answers depend on the class names: "scores" (not at all), "distributions" (columns follow the classes) or
        "classes" (they are class ids).
    exempt: promises that do not apply -> why, in words.
    """

    part: str
    kind: Literal["labels+pred_probs", "labels+features", "votes", "features"]
    run: Callable[[dict[str, Any]], np.ndarray]
    answers: Literal["scores", "distributions", "classes"] = "scores"
    exempt: Mapping[str, str] = field(default_factory=dict)
