"""Rules as voters: how often each is right, read off the others, with rules that say the same thing counted once."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from labelwright.crowds._candidates import largest_first
from labelwright.crowds._one_accuracy import ACCURACY, INFERRED, STRENGTH, Blocks, State, log_odds, one_accuracy
from labelwright.crowds._rates import Start, fit_rates, true_class, votes_on
from labelwright.crowds._voices import Copies, copying, overlaps, voices
from labelwright.crowds._vote_cells import blocks_of, fires_of, sort_cells
from labelwright.crowds.fit import Fit
from labelwright.crowds.prepared import Prepared
from labelwright.errors import LabelError, OptionError, check_option
from labelwright.labels import SoftLabels

ROUNDS = 2  # of fitting, then weighing


def fit_label_model(
    votes: Prepared,
    *,
    dependencies: str | None = "learn",
    abstentions: str = "ignored",
    prior: Any = None,
    max_iter: int = 200,
    tol: float = 1e-6,
    random_state: int = 0,
) -> Fit:
    """Soft labels from rules (or any voters) by the accuracies that explain how they agree.

    Args:
        votes: V votes of A sources on N items.
        dependencies: "learn" counts sources that agree more often than their accuracies explain as fewer voices; None
            takes all sources for independent given the class.
        abstentions: "ignored": a silent source says nothing; one accuracy per source, errors spread evenly. "informative":
            p(vote or silence | class) is learnt per source, so that silence counts too; needs N x K memory.
        prior: shares of the classes. None: even. "learn": from the votes, which is safe only where sources can vote for every
            class; rules for one class each tell their own frequency, not that of the class. Or (K,) shares.
        max_iter, tol: EM stops when the objective changes by less than tol, relative to its size.
        random_state: every method takes it; nothing here is drawn at random.

    Returns:
        Fit. Without gold, accuracies are kept at or above chance (1 / K), so that unanimous votes are not contradicted.
        `details`: weight (V,), what each vote counted in the order of `votes`; pairs: (source, source, share of their common
        votes that copying explains). Intervals of skill are None: EM gives points.

    Raises:
        OptionError: an unknown value of dependencies, abstentions or prior.
        LabelError: a prior that is no distribution over the classes.

    Source: one-coin Dawid & Skene 1979 as used by Ratner et al. 2016 (data programming); copying as in Dong et al. 2009;
    weights are the optimal linear ones for correlated votes, R w = 1 with w >= 0.
    """
    check_option("abstentions", abstentions, ("ignored", "informative"))
    if dependencies is not None:
        check_option("dependencies", dependencies, ("learn",))
    learn, shares = _read_prior(prior, votes.n_classes)
    parts = blocks_of(votes)
    cells, fires = [sort_cells(part) for part in parts], fires_of(parts)
    plain = weights = [block.weight for block in cells]
    pairs = Copies(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    fit_accuracies = partial(one_accuracy, cells, prior=shares, learn=learn, max_iter=max_iter, tol=tol)
    state = None
    if dependencies == "learn" and len(votes):
        shared = overlaps(cells, fires)
        if np.isnan(shared.chance).any():
            state = fit_accuracies(plain, rough=True)
        for _ in range(ROUNDS):
            known, pairs = pairs, copying(cells, shared, state)
            if all(np.array_equal(old, new) for old, new in zip(known, pairs)):
                break
            weights = [voices(block, pairs) for block in cells]
            for weight, block in zip(weights, cells):
                weight *= block.weight
            state = fit_accuracies(weights, begin=state.accuracy if state else None)
    if state is None or not state.trace:
        state = fit_accuracies(weights, begin=state.accuracy if state else None)
    back = _in_order(votes, cells, weights)
    details = {"weight": back, "pairs": list(zip(pairs.a.tolist(), pairs.b.tolist(), pairs.r.tolist()))}
    fit = _report(votes, cells, state, back, fires.sum(1) > 0, details)
    if abstentions == "informative":
        teaches = np.where(votes.gold >= 0, 1.0, INFERRED)
        begin = Start(fit.labels.dense().astype(np.float64), back, state.prior, learn, ACCURACY, STRENGTH, teaches)
        return fit_rates(votes, begin, max_iter, tol, details)
    return fit


def _in_order(votes: Prepared, blocks: Blocks, values: list[np.ndarray]) -> np.ndarray:
    """(V,) in the order of the votes, of values in that of the cells."""
    out, at = np.empty(len(votes)), 0
    for cells, value in zip(blocks, values):
        out[at : at + len(value)][cells.order] = value
        at += len(value)
    return out


def _read_prior(prior: Any, n_classes: int) -> tuple[bool, np.ndarray]:
    even = np.full(n_classes, 1 / n_classes)
    if prior is None:
        return False, even
    if isinstance(prior, str):
        if prior != "learn":
            raise OptionError(
                found=f"prior={prior!r}",
                expected="None, 'learn' or the shares of the classes",
                fix="did you mean 'learn'?",
            )
        return True, even
    shares = np.asarray(prior, dtype=np.float64)
    if shares.shape != (n_classes,) or not (np.isfinite(shares).all() and (shares > 0).all()):
        raise LabelError(
            found=f"prior={prior!r}",
            expected=f"{n_classes} shares above 0, one per class of the space",
            fix="give a class that may occur a small share, such as 0.001",
        )
    return False, shares / shares.sum()


def _report(
    votes: Prepared, cells: Blocks, state: State, weight: np.ndarray, spoke: np.ndarray, details: dict[str, Any]
) -> Fit:
    k, accuracy = votes.n_classes, state.accuracy
    gain = log_odds(accuracy, k)

    def confusion(source: int) -> np.ndarray:
        out = np.full((k, k), (1 - accuracy[source]) / max(k - 1, 1))
        np.fill_diagonal(out, accuracy[source] if k > 1 else 1.0)
        return out

    def vote_prob(items: np.ndarray, annotators: np.ndarray) -> np.ndarray:
        row, vote = votes_on(votes, items)
        others = votes.annotator[vote] != annotators[row]
        row, vote = row[others], vote[others]
        score = np.tile(np.log(state.prior), (len(items), 1))
        np.add.at(score, (row, votes.label[vote]), weight[vote] * gain[votes.annotator[vote]])
        right = accuracy[annotators][:, None]
        p = true_class(votes, items, score)
        return p * right + (1 - p) * (1 - right) / (k - 1) if k > 1 else p

    return Fit(
        "label_model", _labels(votes, cells, state), state.prior, np.where(spoke, accuracy, np.nan), confusion=confusion,
        vote_prob=vote_prob, trace=state.trace, notes=_notes(votes, details), details=details,
    )  # fmt: skip


def _labels(votes: Prepared, blocks: Blocks, state: State) -> SoftLabels:
    """Voted classes are listed; the rest has the shape of the prior."""
    n, rest = votes.n_items, np.concatenate(state.rest)
    count, at = np.zeros(n, np.int64), 0
    for cells in blocks:
        count[at + cells.held] = cells.size
        at += len(cells.gold)
    silent = np.flatnonzero((votes.gold >= 0) & (rest > 0))  # the truth is a class that nobody voted for
    width = max(int((count + (np.bincount(silent, minlength=n) if len(silent) else 0)).max(initial=0)), 1)
    kept = np.empty((n, width), np.int32), np.empty((n, width), np.float32)
    at = 0
    for cells, found in zip(blocks, state.prob):
        of = slice(at, at + len(cells.gold))
        index, prob = np.full((len(cells.gold), width), -1, np.int32), np.zeros((len(cells.gold), width))
        listed = np.arange(width) < count[of, None]
        index[listed], prob[listed] = cells.label, found
        mine = silent[(silent >= at) & (silent < of.stop)]
        index[mine - at, count[mine]], prob[mine - at, count[mine]] = votes.gold[mine], 1.0
        kept[0][of], kept[1][of] = largest_first(index, prob)
        at = of.stop
    rest, tail = np.where(votes.gold >= 0, 0.0, rest).astype(np.float32), state.prior.astype(np.float32)
    return SoftLabels(*kept, rest, tail / tail.sum(), np.ones(n, dtype=bool), votes.space)


def _notes(votes: Prepared, details: dict[str, Any]) -> list[str]:
    said = [f"{len(details['pairs'])} pairs of sources agree beyond their accuracies; together they count less"]
    return [*votes.notes, *(said if details["pairs"] else [])]
