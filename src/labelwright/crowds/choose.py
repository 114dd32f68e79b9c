"""Which model of a crowd: the one that foretells votes it has not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from labelwright.crowds.fit import Fit, Method
from labelwright.crowds.prepared import Prepared

ENOUGH = 2000
"""Held-out votes that tell models apart: rounds are added, up to one per fold, until so many are scored."""

MOST = 20_000
"""Votes held out per round at most."""

FOLDS = 5
"""Parts of the items; a round holds out one vote of each item of a part."""

FEW = 30
"""Below so many held-out votes nothing is told apart."""


def held_out(votes: Prepared, random_state: int) -> list[np.ndarray]:
    """Masks (V,), one per round: one vote of each item of a part, of items that have several."""
    rng = np.random.default_rng(random_state)
    count = np.diff(votes.start)
    items = rng.permutation(np.flatnonzero(count > 1))
    rounds, scored = [], 0
    for part in np.array_split(items, FOLDS):
        if len(part) == 0 or scored >= ENOUGH:
            continue
        chosen = part[:MOST]
        mask = np.zeros(len(votes), dtype=bool)
        mask[votes.start[chosen] + (rng.random(len(chosen)) * count[chosen]).astype(np.int64)] = True
        rounds.append(mask)
        scored += len(chosen)
    return rounds


def without(votes: Prepared, left_out: np.ndarray) -> Prepared:
    """The votes less those that are held out; items and annotators stay, with fewer votes or none."""
    kept = ~left_out
    item = votes.item[kept]
    return replace(
        votes, item=item, annotator=votes.annotator[kept], label=votes.label[kept], weight=votes.weight[kept],
        start=np.searchsorted(item, np.arange(votes.n_items + 1)), notes=[],
    )  # fmt: skip


def foretold(
    methods: dict[str, Method],
    votes: Prepared,
    *,
    random_state: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, dict[str, float]]:
    """How well each method foretells votes that it has not seen.

    Returns:
        name -> {"loglik": mean log probability of a held-out vote, in nats, "behind": how far it is behind the best, "error":
        standard error of that difference, vote by vote}. Empty where fewer than `FEW` votes can be held out.
    """
    rounds = held_out(votes, random_state)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in methods}
    done = 0
    for left_out in rounds:
        rest, said = without(votes, left_out), votes.label[left_out]
        where = votes.item[left_out], votes.annotator[left_out]
        for name, method in methods.items():
            if progress:
                progress("comparing models", done, len(rounds) * len(methods))
            done += 1
            fit: Fit = method(rest, random_state=random_state)
            if fit.vote_prob is not None:
                p = fit.vote_prob(*where)[np.arange(len(said)), said]
                parts[name].append(np.log(np.maximum(p, 1e-12)))
    if progress and rounds:
        progress("comparing models", done, done)
    scores = {name: np.concatenate(found) for name, found in parts.items() if found}
    if not scores or len(next(iter(scores.values()))) < FEW:
        return {}
    best = max(scores, key=lambda name: float(scores[name].mean()))
    out: dict[str, dict[str, float]] = {}
    for name, values in scores.items():
        gap = scores[best] - values
        error = float(gap.std(ddof=1) / len(gap) ** 0.5)
        out[name] = {"loglik": float(values.mean()), "behind": float(gap.mean()), "error": error}
    return out


def best_of(scores: dict[str, dict[str, Any]], order: tuple[str, ...]) -> str:
    """The best method; of those within one standard error of it, the first in `order`, which lists simple ones first."""
    close = [name for name in order if name in scores and scores[name]["behind"] <= scores[name]["error"]]
    return close[0] if close else min(scores, key=lambda name: float(scores[name]["behind"]))
