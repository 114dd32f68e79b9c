from __future__ import annotations

import numpy as np

from labelwright.crowds.regions.calibration import fit_dependence
from labelwright.crowds.regions.drawn import DrawnMasks, expert_answers
from labelwright.crowds.regions.labellers import labeller_skills
from labelwright.crowds.temper import USUAL


def sites(n: int, copies: bool, seed: int = 0) -> tuple[DrawnMasks, dict[int, np.ndarray]]:
    """Four people with one pixel in five wrong: each their own, or all the same."""
    rng = np.random.default_rng(seed)
    masks, truth = {}, {}
    for i in range(n):
        true = rng.integers(0, 2, (20, 20))
        same = rng.random(true.shape) < 0.2
        masks[i] = {a: np.where(same if copies else rng.random(true.shape) < 0.2, 1 - true, true) for a in range(4)}
        truth[i] = true
    return DrawnMasks(masks), truth


def fitted(n: int, copies: bool) -> tuple[float, dict[str, float]]:
    drawn, truth = sites(n, copies)
    return fit_dependence(drawn, expert_answers(truth, drawn), labeller_skills(drawn, truth))


def test_copies_are_told_from_independent_people() -> None:
    alone, copied = fitted(8, False), fitted(8, True)
    assert alone[0] <= 0.03 and copied[0] >= 0.8
    h = -(0.2 * np.log(0.2) + 0.8 * np.log(0.8))
    assert abs(copied[1]["nll"] - h) < 0.03  # four copies tell no more than one of them


def test_few_sites_take_the_usual() -> None:
    assert fitted(2, True)[0] == USUAL and np.isnan(fitted(2, True)[1]["nll"])
