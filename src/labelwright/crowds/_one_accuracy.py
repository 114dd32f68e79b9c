"""EM for one accuracy per source, errors spread evenly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelwright.crowds._accelerate import climb, leapt
from labelwright.crowds._vote_cells import Cells, some_items

Blocks = list[Cells]
Counts = tuple[np.ndarray, ...]

ACCURACY, STRENGTH = 0.8, 30.0
"""A rule starts out right in 80 % of its votes, as if seen in 30 checked votes."""
INFERRED = 0.1
"""What a vote teaches whose truth is inferred, beside one whose truth is known. ACCURACY, STRENGTH and INFERRED were chosen on
the train parts of weak_youtube and weak_trec: full weight lets EM talk itself into one class where most items have one vote."""
CERTAIN = 1 - 1e-9  # reached with one class only, where every vote is right
LARGE = 500.0  # exp of more needs the largest taken off first
SOME = 10_000
"""With four times as many items, EM goes first to where so many of them lead: there a step costs little."""


@dataclass(frozen=True, eq=False)
class State:
    """accuracy: (A,).   prior: (K,).   Per block: prob, (G,) posterior of each cell; rest, (N,) mass of the classes nobody voted
    for.   trace: objective per step, never falling."""

    accuracy: np.ndarray
    prior: np.ndarray
    prob: list[np.ndarray]
    rest: list[np.ndarray]
    trace: list[float]


@dataclass(eq=False)
class _Block:
    """What stays the same from step to step, and the posteriors.

    says: (G, A) weights of the votes.   teaches: (N,), taught: (G,) what the votes of an item, of a cell teach.   known: the
    items of known class.   true: the cells of those classes.   prob, rest: see `State`.
    """

    cells: Cells
    says: Any
    teaches: np.ndarray
    taught: np.ndarray
    known: np.ndarray
    true: np.ndarray
    prob: np.ndarray
    rest: np.ndarray

    @classmethod
    def of(cls, cells: Cells, weight: np.ndarray) -> _Block:
        teaches = np.where(cells.gold >= 0, 1.0, INFERRED)
        known = np.flatnonzero(cells.gold >= 0)
        true = np.flatnonzero(cells.gold[cells.item] == cells.label) if len(known) else known
        none = np.zeros(0)
        return cls(cells, cells.matrix(weight), teaches, cells.spread(teaches[cells.held]), known, true, none, none)


@dataclass(eq=False)
class _Fit:
    """Where the fit stands.   total: (A,) what the votes of a source teach.   learn: whether the prior is learnt."""

    blocks: list[_Block]
    total: np.ndarray
    learn: bool
    accuracy: np.ndarray
    prior: np.ndarray

    @classmethod
    def of(cls, cells: Blocks, weights: list[np.ndarray], learn: bool, accuracy: np.ndarray, prior: np.ndarray) -> _Fit:
        blocks = [_Block.of(*both) for both in zip(cells, weights)]
        total = sum((block.says.T @ block.taught for block in blocks), np.zeros(len(accuracy)))
        fit = cls(blocks, total, learn, accuracy, prior)
        fit.believe()
        return fit

    def believe(self) -> float:
        """Posteriors from the accuracies and the prior; what the items add to the objective."""
        gain, value = log_odds(self.accuracy, len(self.prior)), 0.0
        for block in self.blocks:
            block.prob, block.rest, loglik = _posterior(block, gain, self.prior)
            value += float(block.teaches @ loglik)
        return value

    def counts(self) -> Counts:
        """(A,) right votes by the posteriors, and (K,) shares of the classes."""
        right, prior = np.zeros(len(self.accuracy)), self.prior
        mass = np.ones(len(prior))
        for block in self.blocks:
            taught = block.taught * block.prob
            right += block.says.T @ taught
            if self.learn:
                mass += np.bincount(block.cells.label, taught, len(prior))
                mass += unvoted_mass(block.cells, prior, block.rest, block.teaches)
        return right, mass / mass.sum() if self.learn else prior

    def step(self, counts: Counts) -> tuple[float, Counts]:
        """The accuracies and the prior that are likeliest given the counts; their objective, and new counts."""
        right, self.prior = counts
        k = len(self.prior)
        accuracy = (right + STRENGTH * ACCURACY) / (self.total + STRENGTH)
        self.accuracy = np.clip(accuracy, min(1 / k, CERTAIN), CERTAIN)
        wrong = np.log1p(-self.accuracy) - math.log(max(k - 1, 1))
        penalty = STRENGTH * (ACCURACY * np.log(self.accuracy) + (1 - ACCURACY) * wrong).sum()
        value = self.believe() + self.total @ wrong + penalty + (np.log(self.prior).sum() if self.learn else 0)
        return float(value), self.counts()

    def leap(self, s0: Counts, s1: Counts, s2: Counts, length: float) -> Counts:
        """See `climb`."""
        right = np.clip(leapt(s0[0], s1[0], s2[0], length), 0, self.total)
        prior = np.maximum(leapt(s0[1], s1[1], s2[1], length), 1e-9)
        return right, prior / prior.sum()

    def state(self, trace: list[float]) -> State:
        prob, rest = ([getattr(block, name) for block in self.blocks] for name in ("prob", "rest"))
        return State(self.accuracy, self.prior, prob, rest, trace)


def one_accuracy(
    cells: Blocks,
    weights: list[np.ndarray],
    prior: np.ndarray,
    learn: bool,
    max_iter: int,
    tol: float,
    begin: np.ndarray | None = None,
    *,
    rough: bool = False,
) -> State:
    """MAP by EM, with leaps.

    weights: per block (V,) voices of the votes, in the order of the cells.   prior: (K,); `learn`: to begin with.
    begin: (A,) accuracies to begin with. With many items they come from some of them (`SOME`); the steps that follow, and the
    trace, are over all.   rough: with many items, what some of them tell is enough; the trace is then empty.
    """
    start = ACCURACY if cells[0].n_classes > 1 else CERTAIN
    accuracy = np.full(cells[0].n_sources, start) if begin is None else begin
    step = sum(len(block.gold) for block in cells) // SOME
    if step >= 4:
        chosen = [some_items(block, step) for block in cells]
        votes = [weight[vote] for weight, (_, vote) in zip(weights, chosen)]
        found = one_accuracy([some for some, _ in chosen], votes, prior, learn, max_iter, tol, accuracy)
        accuracy, prior = found.accuracy, found.prior
    fit = _Fit.of(cells, weights, learn, accuracy, prior)
    if rough and step >= 4:
        return fit.state([])
    return fit.state(climb(fit.step, fit.counts(), fit.leap, tol=tol, max_iter=max_iter).trace)


def log_odds(accuracy: np.ndarray, n_classes: int) -> np.ndarray:
    """(A,) what a vote adds to the log-odds of its class."""
    odds: np.ndarray = np.log(accuracy) - np.log1p(-accuracy) + math.log(max(n_classes - 1, 1))
    return odds


def _posterior(items: _Block, gain: np.ndarray, prior: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """prob (G,), rest (N,) and log sum over classes of prior * odds (N,). A class without a vote has odds 1, so only cells are
    computed: Z = 1 + sum over cells of prior * (odds - 1)."""
    cells, n = items.cells, len(items.teaches)
    rest, loglik, prob = np.ones(n), np.zeros(n), np.zeros(len(cells.item))
    odds = prob
    if len(prob):
        odds = items.says @ gain
        top = np.zeros(1)
        if odds.max() > LARGE:
            top = np.maximum(np.maximum.reduceat(odds, cells.first), 0)
            prob = np.exp(odds - cells.spread(top))
        else:
            prob = np.exp(odds)
        even = bool((prior == prior[0]).all())
        share = prior[0] if even else prior[cells.label]
        unvoted = 1 - (prior[0] * cells.size if even else np.add.reduceat(share, cells.first))
        unvoted[unvoted < 1e-12] = 0  # every class has a vote
        prob *= share
        left = unvoted * np.exp(-top)
        z = np.add.reduceat(prob, cells.first) + left
        prob /= cells.spread(z)
        rest[cells.held], loglik[cells.held] = left / z, top + np.log(z)
    if len(items.known):
        gold = cells.gold[items.known]
        prob[cells.gold[cells.item] >= 0], prob[items.true] = 0, 1
        rest[items.known], rest[cells.item[items.true]] = 1, 0
        loglik[items.known] = np.log(prior[gold])
        loglik[cells.item[items.true]] += odds[items.true]
    return prob, rest, loglik


def unvoted_mass(cells: Cells, prior: np.ndarray, rest: np.ndarray, teaches: np.ndarray) -> np.ndarray:
    """(K,) mass of classes nobody voted for: the rest of each item, shared by the prior among the classes without a cell."""
    known = cells.gold >= 0
    share = np.ones(len(rest))
    share[cells.held] = 1 - np.add.reduceat(prior[cells.label], cells.first) if len(cells.item) else 1
    part = np.where(known | (rest <= 0), 0, teaches * rest / np.maximum(share, 1e-300))
    out = prior * (part.sum() - np.bincount(cells.label, part[cells.item], len(prior)))
    return np.maximum(out, 0) + np.bincount(cells.gold[known], rest[known], len(prior))
