"""Which models of a crowd to believe, and how far: as far as they foretell votes, and known classes, that they have not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from labelwright.crowds.fit import Fit, Method
from labelwright.crowds.prepared import Prepared

ENOUGH = 2000
"""Held-out votes that tell models apart: rounds are added, up to `FOLDS`, until so many are scored."""

MOST = 20_000
"""Votes held out per round at most."""

FOLDS = 5
"""A round holds out one vote in five of each item, and hides one known class in five."""

FEW = 30
"""Below so many held-out votes and hidden classes nothing is told apart."""

KNOWN = 10.0
"""The weights that held-out votes give count as so many known classes, when known classes correct them."""

MIXTURE = "mixture"
"""Name of the mean of the models' labels by these weights."""


class Compared(NamedTuple):
    """What each of M methods foretold.

    votes: (H, M) probability of each held-out vote.   item: (H,) its item.   truth: (G, M) probability of the true class of
    items whose class is known, hidden from the fit.
    """

    names: tuple[str, ...]
    votes: np.ndarray
    item: np.ndarray
    truth: np.ndarray

    @property
    def enough(self) -> bool:
        """Whether models can be told apart."""
        return len(self.names) > 0 and len(self.votes) + len(self.truth) >= FEW


def held_out(votes: Prepared, random_state: int) -> list[np.ndarray]:
    """Masks (V,), one per round: one vote in five of each item of unknown class that has several, each vote in one round.

    At most `MOST` per round; no round after `ENOUGH` are held out. An item keeps at least one vote in every round.
    """
    rng = np.random.default_rng(random_state)
    company = ((np.diff(votes.start) > 1) & (votes.gold < 0))[votes.item]
    turn = np.arange(len(votes)) - votes.start[votes.item] + rng.integers(FOLDS, size=votes.n_items)[votes.item]
    rounds, scored = [], 0
    for number in range(FOLDS):
        chosen = np.flatnonzero((turn % FOLDS == number) & company)
        if len(chosen) == 0 or scored >= ENOUGH:
            continue
        if len(chosen) > MOST:
            chosen = rng.choice(chosen, MOST, replace=False)
        mask = np.zeros(len(votes), dtype=bool)
        mask[chosen] = True
        rounds.append(mask)
        scored += len(chosen)
    return rounds


def hidden(votes: Prepared, random_state: int) -> list[np.ndarray]:
    """Items (n,) of known class that have votes, one array per round: a fifth each, until `ENOUGH` are hidden."""
    known = np.flatnonzero((votes.gold >= 0) & (np.diff(votes.start) > 0))
    order = np.random.default_rng(random_state).permutation(known)
    parts = [part for part in np.array_split(order, FOLDS) if len(part)]
    before = np.cumsum([0, *map(len, parts)])
    return [part for part, seen in zip(parts, before) if seen < ENOUGH]


def without(votes: Prepared, left_out: np.ndarray, unknown: np.ndarray | None = None) -> Prepared:
    """The votes less those that are held out; items and annotators stay, with fewer votes or none.

    unknown: items whose class is hidden.
    """
    kept = ~left_out
    item, gold = votes.item[kept], votes.gold.copy()
    if unknown is not None:
        gold[unknown] = -1
    return replace(
        votes, item=item, annotator=votes.annotator[kept], label=votes.label[kept], weight=votes.weight[kept],
        start=np.searchsorted(item, np.arange(votes.n_items + 1)), gold=gold, notes=[],
    )  # fmt: skip


def compare(
    methods: Mapping[str, Method],
    votes: Prepared,
    *,
    random_state: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Compared:
    """What each method that can foretell votes says of votes and of known classes that it has not seen."""
    masks, unknowns = held_out(votes, random_state), hidden(votes, random_state)
    rounds, nothing = max(len(masks), len(unknowns)), np.zeros(0, np.int64)
    said: dict[str, list[np.ndarray]] = {}
    true: dict[str, list[np.ndarray]] = {}
    for number in range(rounds):
        mask = masks[number] if number < len(masks) else np.zeros(len(votes), dtype=bool)
        items = unknowns[number] if number < len(unknowns) else nothing
        rest = without(votes, mask, items)
        for done, (name, method) in enumerate(methods.items()):
            if progress:
                progress("comparing models", number * len(methods) + done, rounds * len(methods))
            fit: Fit = method(rest, random_state=random_state)
            if fit.vote_prob is None:
                continue
            p = fit.vote_prob(votes.item[mask], votes.annotator[mask]) if mask.any() else np.zeros((0, votes.n_classes))
            said.setdefault(name, []).append(p[np.arange(len(p)), votes.label[mask]])
            right = fit.labels[items].dense()[np.arange(len(items)), votes.gold[items]]
            true.setdefault(name, []).append(right.astype(np.float64))
    if progress and rounds:
        progress("comparing models", rounds * len(methods), rounds * len(methods))
    if not said:
        return Compared((), np.zeros((0, 0)), nothing, np.zeros((0, 0)))
    item = np.concatenate([nothing, *(votes.item[mask] for mask in masks)])
    # no vote and no class is impossible
    columns = [np.stack([np.concatenate(part) for part in found.values()], axis=1) for found in (said, true)]
    return Compared(tuple(said), np.maximum(columns[0], 1e-12), item, np.maximum(columns[1], 1e-12))


def foretold(
    methods: Mapping[str, Method],
    votes: Prepared,
    *,
    random_state: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, dict[str, float]]:
    """How well each method foretells votes that it has not seen.

    Returns:
        See `figures`. Empty where fewer than `FEW` votes can be held out.
    """
    found = compare(methods, votes, random_state=random_state, progress=progress)
    return figures(found.names, found.votes, found.item) if len(found.votes) >= FEW else {}


def figures(names: tuple[str, ...], probability: np.ndarray, item: np.ndarray) -> dict[str, dict[str, float]]:
    """name -> {"loglik": mean log probability of a held-out vote, in nats, "behind": how far it is behind the best, "error":
    standard error of that difference, votes on the same item taken together}.

    probability: (H, M) of the held-out votes.   item: (H,) their items.
    """
    values = np.log(probability)
    gaps = values[:, [int(values.mean(0).argmax())]] - values
    _, of = np.unique(item, return_inverse=True)
    out: dict[str, dict[str, float]] = {}
    for column, name in enumerate(names):
        gap = gaps[:, column]
        error = float(np.sqrt((np.bincount(of, gap - gap.mean()) ** 2).sum()) / len(gap))
        out[name] = {"loglik": float(values[:, column].mean()), "behind": float(gap.mean()), "error": error}
    return out


def best_of(scores: dict[str, dict[str, Any]], order: tuple[str, ...]) -> str:
    """The best method; of those within one standard error of it, the first in `order`, which lists simple ones first."""
    close = [name for name in order if name in scores and scores[name]["behind"] <= scores[name]["error"]]
    return close[0] if close else min(scores, key=lambda name: float(scores[name]["behind"]))


def stack(
    probability: np.ndarray, prior: np.ndarray, *, max_iter: int = 2000, tol: float = 1e-9
) -> tuple[np.ndarray, list[float]]:
    """Weights (M,) of the mixture under which H observations are likeliest, and the objective per step, never falling.

    probability: (H, M) > 0 of each observation under each model.   prior: (M,) > 0, observations that each model is credited
        with beforehand (Dirichlet with mode prior / sum).   tol: stop when the objective rises by less than this fraction.

    The objective, sum log(probability @ weights) + prior @ log(weights), has one maximum; EM goes there.

    Source: Yao, Vehtari, Simpson & Gelman 2018, "Using stacking to average Bayesian predictive distributions", eq. 4.

    >>> stack(np.array([[0.9, 0.1]] * 98), np.ones(2))[0].round(2).tolist()
    [0.99, 0.01]
    """
    weights = prior / prior.sum()
    trace: list[float] = []
    for _ in range(max_iter):
        joint = probability * weights
        total = joint.sum(1, keepdims=True)
        trace.append(float(np.log(total).sum() + prior @ np.log(weights)))
        if len(trace) > 1 and trace[-1] - trace[-2] <= tol * abs(trace[-2]):
            break
        weights = (joint / total).sum(0) + prior
        weights = weights / weights.sum()
    return weights, trace


def weigh(found: Compared, trusted: str | None = None) -> tuple[np.ndarray, list[float]]:
    """Weights (M,) of the methods, and the objective per step.

    Each is credited with one vote beforehand. Where classes are known, they decide, and the weights that the votes give count
    as `KNOWN` of them: votes cannot show an error that all annotators share, known classes do.

    trusted: the method that gets all held-out votes, however well the others foretold them.
    """
    credit = np.ones(len(found.names))
    if trusted is None:
        weights, trace = stack(found.votes, credit)
    else:
        credit[found.names.index(trusted)] += len(found.votes)
        weights = credit / credit.sum()
        trace = [float(np.log(found.votes @ weights).sum())]
    return stack(found.truth, KNOWN * weights) if len(found.truth) else (weights, trace)


def beside_the_class(found: Compared, other: str, votes_per_item: float) -> float:
    """Nats by which `other` knows the votes of an item better than the mixture of the methods that look for its class.

    More than log K says that what people see in an item is, for the greater part, not its class.
    """
    classes = without_method(found, other)
    mixture = classes.votes @ weigh(classes._replace(truth=classes.truth[:0]))[0]
    return float(np.log(found.votes[:, found.names.index(other)] / mixture).mean() * votes_per_item)


def without_method(found: Compared, name: str) -> Compared:
    kept = [column for column, one in enumerate(found.names) if one != name]
    names = tuple(found.names[column] for column in kept)
    return found._replace(names=names, votes=found.votes[:, kept], truth=found.truth[:, kept])


def mixture_scores(found: Compared, random_state: int, trusted: str | None = None) -> dict[str, dict[str, float]]:
    """`figures` of the methods and of their mixture, its weights learnt on one half of the items and scored on the other; of
    hidden classes where no vote was held out."""
    voted = len(found.votes) > 0
    seen, item = (found.votes, found.item) if voted else (found.truth, np.arange(len(found.truth)))
    half = np.random.default_rng(random_state).permutation(int(item.max()) + 1)[item] % 2 == 1
    mixed = np.empty(len(seen))
    for part in (half, ~half):
        others = found._replace(votes=seen[~part]) if voted else found._replace(truth=seen[~part])
        mixed[part] = seen[part] @ weigh(others, trusted)[0]
    return figures((*found.names, MIXTURE), np.column_stack([seen, mixed]), item)


def mix(fits: list[Fit], weights: np.ndarray, trace: list[float]) -> Fit:
    """The mean of the models' labels by weight. Skills and confusions are the mean of those of the models that have them.

    weights: (M,), sum 1, above 0 for at least one model that has confusions.
    """
    from labelwright.crowds.pooling import pool

    able = [(fit, w) for fit, w in zip(fits, weights) if fit.confusion is not None and fit.skill_low is not None]
    total = sum(w for _, w in able)

    def mean(value: Callable[[Fit], Any]) -> np.ndarray:
        return np.asarray(sum(w / total * value(fit) for fit, w in able))

    def confusion(annotator: int) -> np.ndarray:
        return mean(lambda fit: fit.confusion(annotator))  # type: ignore[misc]

    def vote_prob(items: np.ndarray, annotators: np.ndarray) -> np.ndarray:
        return np.asarray(sum(w * fit.vote_prob(items, annotators) for fit, w in zip(fits, weights) if fit.vote_prob))

    labels = pool([fit.labels for fit in fits], weights=weights)
    prior = np.asarray(sum(w * fit.prior for fit, w in zip(fits, weights)))
    return Fit(
        MIXTURE, labels, prior,
        mean(lambda fit: fit.skill), mean(lambda fit: fit.skill_low), mean(lambda fit: fit.skill_high),
        confusion, vote_prob, trace=trace, notes=list(dict.fromkeys(note for fit in fits for note in fit.notes)),
        details={"dependence": float(mean(lambda fit: fit.details.get("dependence", 0.0)))},
    )  # fmt: skip
