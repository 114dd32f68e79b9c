"""Rules as voters: how often each is right, read off the others, with rules that say the same thing counted once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from labelwright.crowds._rates import Start, fit_rates, true_class, votes_on
from labelwright.crowds._voices import Cells, Copies, State, copying, overlaps, sort_cells, spread, voices
from labelwright.crowds.fit import Fit
from labelwright.crowds.prepared import Prepared
from labelwright.errors import LabelError, OptionError, check_option
from labelwright.labels import SoftLabels

ACCURACY, STRENGTH = 0.8, 30.0
"""A rule starts out right in 80 % of its votes, as if seen in 30 checked votes."""
INFERRED = 0.1
"""What a vote teaches whose truth is inferred, beside one whose truth is known. ACCURACY, STRENGTH and INFERRED were chosen on
the train parts of weak_youtube and weak_trec: full weight lets EM talk itself into one class where most items have one vote."""
CERTAIN = 1 - 1e-9  # reached with one class only, where every vote is right
ROUNDS = 2  # of fitting, then weighing


def fit_label_model(
    votes: Prepared,
    *,
    dependencies: str | None = "learn",
    abstentions: str = "ignored",
    prior: Any = None,
    max_iter: int = 200,
    tol: float = 1e-7,
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
    cells = sort_cells(votes)
    weight, pairs = cells.weight, Copies(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    state = _one_coin(votes, cells, weight, shares, learn, max_iter, tol)
    if dependencies == "learn" and len(votes):
        shared = overlaps(votes, cells)
        for _ in range(ROUNDS):
            pairs = copying(votes, cells, shared, state)
            counts = cells.weight * voices(cells, pairs)
            if not np.array_equal(counts, weight):
                weight = counts
                state = _one_coin(votes, cells, weight, shares, learn, max_iter, tol)
    back = np.empty(len(votes))
    back[cells.order] = weight
    details = {"weight": back, "pairs": list(zip(pairs.a.tolist(), pairs.b.tolist(), pairs.r.tolist()))}
    fit = _report(votes, cells, state, back, details)
    if abstentions == "informative":
        teaches = np.where(votes.gold >= 0, 1.0, INFERRED)
        begin = Start(fit.labels.dense().astype(np.float64), back, state.prior, learn, ACCURACY, STRENGTH, teaches)
        return fit_rates(votes, begin, max_iter, tol, details)
    return fit


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


# -- one accuracy per source ------------------------------------------------------------------------------------------
def _log_odds(accuracy: np.ndarray, n_classes: int) -> np.ndarray:
    return np.log(accuracy) - np.log1p(-accuracy) + math.log(max(n_classes - 1, 1))


def _one_coin(
    votes: Prepared, cells: Cells, weight: np.ndarray, prior: np.ndarray, learn: bool, max_iter: int, tol: float
) -> State:
    """MAP by EM. Each step is a maximum over (accuracy, prior) given the posteriors, so the objective never falls."""
    k, n_sources = votes.n_classes, votes.n_annotators
    known = votes.gold >= 0
    teaches = np.where(known, 1.0, INFERRED)
    heard = weight * teaches[cells.item][cells.cell]
    total = np.bincount(cells.source, heard, n_sources)
    accuracy, trace = np.full(n_sources, ACCURACY if k > 1 else CERTAIN), [-np.inf]
    while True:
        prob, rest, loglik = _posterior(votes, cells, weight, accuracy, prior)
        wrong = np.log1p(-accuracy) - math.log(max(k - 1, 1))
        penalty = STRENGTH * (ACCURACY * np.log(accuracy) + (1 - ACCURACY) * wrong).sum()
        objective = (teaches * loglik).sum() + (total * wrong).sum() + penalty + (np.log(prior).sum() if learn else 0)
        done = len(trace) > max_iter or objective - trace[-1] <= tol * abs(objective)
        trace.append(float(objective))
        if done:
            return State(accuracy, prior, prob, rest, trace[1:])
        right = np.bincount(cells.source, heard * prob[cells.cell], n_sources)
        accuracy = np.clip((right + STRENGTH * ACCURACY) / (total + STRENGTH), min(1 / k, CERTAIN), CERTAIN)
        if learn:
            mass = np.bincount(cells.label, teaches[cells.item] * prob, k) + spread(votes, cells, prior, rest, teaches)
            prior = (mass + 1) / (mass + 1).sum()


def _posterior(
    votes: Prepared, cells: Cells, weight: np.ndarray, accuracy: np.ndarray, prior: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """prob (G,), rest (N,) and log sum over classes of prior * odds (N,). A class without a vote has odds 1, so only cells are
    computed: Z = 1 + sum over cells of prior * (odds - 1)."""
    n = votes.n_items
    rest, loglik = np.ones(n), np.zeros(n)
    prob = np.zeros(len(cells.item))
    if len(prob):
        odds = np.add.reduceat(weight * _log_odds(accuracy, votes.n_classes)[cells.source], cells.start)
        share, held, first = prior[cells.label], cells.held, cells.first
        top = np.zeros(n)
        top[held] = np.maximum(np.maximum.reduceat(odds, first), 0)
        unvoted = np.ones(n)
        unvoted[held] = 1 - np.add.reduceat(share, first)
        unvoted[unvoted < 1e-12] = 0  # every class has a vote
        terms = share * np.exp(odds - top[cells.item])
        rest = unvoted * np.exp(-top)
        z = rest.copy()
        z[held] += np.add.reduceat(terms, first)
        prob, rest, loglik = terms / z[cells.item], rest / z, top + np.log(z)
    _clamp(votes, cells, prob, rest)
    known = np.flatnonzero(votes.gold >= 0)
    loglik[known] = np.log(prior[votes.gold[known]])
    if len(prob) and len(known):
        true = cells.label == votes.gold[cells.item]
        loglik[cells.item[true]] += odds[true]
    return prob, rest, loglik


def _clamp(votes: Prepared, cells: Cells, prob: np.ndarray, rest: np.ndarray) -> None:
    """Where gold is known, it is the posterior."""
    if (votes.gold >= 0).any():
        gold = votes.gold[cells.item]
        prob[gold >= 0] = (gold == cells.label)[gold >= 0]
        rest[votes.gold >= 0] = 1
        rest[cells.item[(gold >= 0) & (gold == cells.label)]] = 0


def _report(votes: Prepared, cells: Cells, state: State, weight: np.ndarray, details: dict[str, Any]) -> Fit:
    k, accuracy = votes.n_classes, state.accuracy
    spoke = np.bincount(votes.annotator, minlength=votes.n_annotators) > 0
    gain = _log_odds(accuracy, k)

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


def _labels(votes: Prepared, cells: Cells, state: State) -> SoftLabels:
    """Voted classes are listed; the rest has the shape of the prior."""
    n = votes.n_items
    count = np.bincount(cells.item, minlength=n)
    silent = np.flatnonzero((votes.gold >= 0) & (state.rest > 0))  # the truth is a class that nobody voted for
    width = max(int((count + (np.bincount(silent, minlength=n) if len(silent) else 0)).max(initial=0)), 1)
    index, prob = np.full((n, width), -1), np.zeros((n, width))
    place = np.arange(len(cells.item)) - np.repeat(cells.first, count[cells.held])
    index[cells.item, place], prob[cells.item, place] = cells.label, state.prob
    index[silent, count[silent]], prob[silent, count[silent]] = votes.gold[silent], 1.0
    rest = np.where(votes.gold >= 0, 0.0, state.rest)
    return SoftLabels.from_topk(index, prob, votes.space, rest=rest, tail=state.prior, known=np.ones(n, dtype=bool))


def _notes(votes: Prepared, details: dict[str, Any]) -> list[str]:
    said = [f"{len(details['pairs'])} pairs of sources agree beyond their accuracies; together they count less"]
    return [*votes.notes, *(said if details["pairs"] else [])]
