"""How dependent labellers are, as far as the sites that an expert checked tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from labelwright.crowds.regions.consensus import bayes_tables, posterior
from labelwright.crowds.regions.drawn import DrawnMasks
from labelwright.crowds.regions.labellers import Skills
from labelwright.crowds.temper import GRID, USUAL

PIXELS = 1000  # of each checked site that the choice rests on
ENOUGH = 3  # checked sites with two labellers or more, below which the usual dependence is taken


def fit_dependence(
    drawn: DrawnMasks, expert: Mapping[Any, np.ndarray], skills: Skills, *, random_state: int = 0
) -> tuple[float, dict[str, float]]:
    """The dependence in [0, 1] with the best mean log-likelihood of the expert's classes, each site judged by skills that were
    learnt on the others; and {"sites": how many, "nll": mean negative log-likelihood per pixel in nats}.

    Labellers err at the same pixels (outlines, things that are hard to see), so two who agree tell less than two independent
    ones. With fewer than 3 sites it is the usual one of crowds (`temper.USUAL`).

    expert: item -> (H, W) from `expert_answers`.   random_state: draws the pixels.
    """
    rng = np.random.default_rng(random_state)
    total, pixels, sites = np.zeros(len(GRID)), 0, 0
    for place, item in enumerate(skills.items):
        who, said = drawn.of(item)
        at = np.flatnonzero(expert[item].ravel() >= 0)
        if len(who) < 2 or not len(at):
            continue
        at = rng.choice(at, PIXELS, replace=False) if len(at) > PIXELS else at
        few, truth = said.reshape(len(who), -1)[:, None, at], expert[item].ravel()[at]
        heard = (few != -1).any(axis=(0, 1))
        tables = bayes_tables(skills.confusion(leave_out=place))
        for g, dependence in enumerate(GRID):
            p = posterior(who, few, tables, skills.prior(), dependence)[0]
            total[g] -= np.log(np.maximum(p[np.arange(len(at)), truth], 1e-12))[heard].sum()
        pixels, sites = pixels + int(heard.sum()), sites + 1
    if sites < ENOUGH or not pixels:
        return USUAL, {"sites": sites, "nll": float("nan")}
    best = int(np.argmin(total))
    return GRID[best], {"sites": sites, "nll": float(total[best] / pixels)}
