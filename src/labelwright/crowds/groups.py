"""Groups of items that people answer alike: what the votes know of an item, whether or not its class tells it."""

from __future__ import annotations

from typing import Any

import numpy as np

from labelwright.crowds._accelerate import State, climb, leapt
from labelwright.crowds._candidates import Pairs, class_counts
from labelwright.crowds._starts import unsettled, vote_spread
from labelwright.crowds.fit import Fit
from labelwright.crowds.prepared import Prepared
from labelwright.crowds.shares import clamp, voter_means
from labelwright.errors import OptionError, check_whole

STRENGTH = 4.0
"""An annotator answers a group as its start was answered by all, as if seen in so many votes."""
BLUR = 0.2
"""Share of each item that begins spread over all groups."""
VOTES_WORTH = 2.0
"""The votes of an item count as so many items of its group whose class is known."""
SMALL, PER_VOTE = 1_000_000, 5
"""Numbers in the tables: up to a million, or five per vote, which with what is made of them is below 200 bytes per vote."""


def fits_memory(votes: Prepared, per_class: int = 3) -> bool:
    """Whether the tables are small beside the votes: items by groups, and annotators by answers by groups."""
    return table_size(votes, per_class) <= max(SMALL, PER_VOTE * len(votes))


def table_size(votes: Prepared, per_class: int) -> int:
    """Numbers in those tables."""
    return (votes.n_items + votes.n_annotators * votes.n_classes) * per_class * votes.n_classes


def fit_groups(
    votes: Prepared, *, per_class: int = 3, max_iter: int = 200, tol: float = 1e-5, random_state: int = 0
) -> Fit:
    """Items fall into `per_class` * K groups; each annotator answers each group in a way of its own.

    The groups need not follow the classes: people may take a goose for a duck, and a grebe for one less often. So a group says
    how an item is answered, not what it is. The labels are the shares of the votes, with one vote beside them that is spread as
    the group is answered: no annotator is believed to know better. Items of known class tell what the others of their group are.
    `aggregate` compares how well groups and classes foretell votes.

    per_class: groups that begin with the items of one majority class, parted by how large the majority is.   tol: EM stops when
    the objective rises by less than this fraction.   random_state: every method takes it; nothing here is drawn at random.

    Returns:
        Fit. The skill of an annotator is the mean share that the other votes on its items give its answers. details: groups
        (N, G), the posterior of each item; answers (G, K), how a group is answered.

    Raises:
        OptionError: tables of (N + A K) G numbers that are more than a million, and more than five per vote.

    Source: latent class analysis (Lazarsfeld & Henry 1968) with annotators as items of the questionnaire, as MAP by EM.
    """
    check_whole("per_class", per_class, 1)
    check_whole("max_iter", max_iter, 1)
    k = votes.n_classes
    if not fits_memory(votes, per_class):
        raise OptionError(
            found=f"{votes.n_items:,} items, {votes.n_annotators:,} annotators and {per_class * k:,} groups",
            expected=f"tables of at most {max(SMALL, PER_VOTE * len(votes)):,} numbers, not {table_size(votes, per_class):,}",
            fix="use a lower per_class, or vote_shares",
        )
    group, said, counted = _begin(votes, per_class), _said(votes), _counted(votes)
    around = STRENGTH * _answers(counted, group)
    conf = np.zeros(0)

    def state() -> State:
        return (said.T @ group).ravel(), group.sum(0) + 1 / group.shape[1]

    def step(begin: State) -> tuple[float, State]:
        nonlocal conf, group
        count, mass = begin
        conf = count.reshape(votes.n_annotators, k, -1) + around.T
        conf /= conf.sum(1, keepdims=True)
        value, shares = np.log(conf), np.log(mass / mass.sum())
        group, norm = _posterior(said @ value.reshape(said.shape[1], -1) + shares)
        return float(norm.sum() + (value * around.T).sum() + shares.mean()), state()

    found = climb(step, state(), _leap, tol=tol, max_iter=max_iter)
    return _fit(votes, group, conf, found.trace, unsettled(found.trace, tol, found.steps))


def _leap(s0: State, s1: State, s2: State, length: float) -> State:
    """See `climb`."""
    return np.maximum(leapt(s0[0], s1[0], s2[0], length), 0), np.maximum(leapt(s0[1], s1[1], s2[1], length), 1e-9)


def _said(votes: Prepared) -> Any:
    """(N, A * K) sparse: the weight with which each annotator gives each answer."""
    from scipy.sparse import csr_matrix

    column = votes.annotator.astype(np.int64) * votes.n_classes + votes.label
    return csr_matrix((votes.weight, column, votes.start), shape=(votes.n_items, votes.n_annotators * votes.n_classes))


def _counted(votes: Prepared) -> np.ndarray:
    """(N, K) votes of each item for each class."""
    n, k = votes.n_items, votes.n_classes
    return np.bincount(votes.item.astype(np.int64) * k + votes.label, votes.weight, n * k).reshape(n, k)


def _answers(counted: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(G, K) how a group is answered, with one vote beside it as the crowd votes."""
    found = group.T @ counted + vote_spread(counted.sum(0))
    out: np.ndarray = found / found.sum(1, keepdims=True)
    return out


def _begin(votes: Prepared, per_class: int) -> np.ndarray:
    """(N, G) where the items begin: with the classes that have most votes, in the part of those items that their share ranks in.

    Equal shares rank equally, and classes that tie share, so that nothing depends on the order of items or classes.
    """
    counted = _counted(votes)
    total = counted.sum(1)
    top = counted.max(1)
    wins = (counted >= top[:, None] * (1 - 1e-9)) & (total > 0)[:, None]
    share = np.round(top / np.where(total > 0, total, 1), 9)
    out = np.zeros((len(counted), votes.n_classes, per_class))
    for c in range(votes.n_classes):
        rows = np.flatnonzero(wins[:, c])
        if len(rows):
            out[rows, c] = _parts(share[rows], per_class) / wins[rows].sum(1)[:, None]
    group = out.reshape(len(counted), -1)
    group[total == 0] = 1 / group.shape[1]
    return (1 - BLUR) * group + BLUR / group.shape[1]


def _parts(share: np.ndarray, parts: int) -> np.ndarray:
    """(n, parts) membership in parts of equal size by rank; between the middles of two parts it goes from one to the other."""
    _, place, count = np.unique(share, return_inverse=True, return_counts=True)
    middle = (np.cumsum(count) - count / 2)[place] / len(share)
    at = np.clip(middle * parts - 0.5, 0, parts - 1)
    return np.maximum(1 - np.abs(at[:, None] - np.arange(parts)), 0)


def _posterior(logit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    top = logit.max(1, keepdims=True)
    prob = np.exp(logit - top)
    total = prob.sum(1, keepdims=True)
    prob /= total
    return prob, (top + np.log(total))[:, 0]


def _known(votes: Prepared, group: np.ndarray) -> np.ndarray:
    """(G, K) items of each group whose class is known."""
    rows = np.flatnonzero(votes.gold >= 0)
    true = np.zeros((len(rows), votes.n_classes))
    true[np.arange(len(rows)), votes.gold[rows]] = 1
    found: np.ndarray = group[rows].T @ true
    return found


def _fit(votes: Prepared, group: np.ndarray, conf: np.ndarray, trace: list[float], notes: list[str]) -> Fit:
    n, k, pairs, count = votes.n_items, votes.n_classes, Pairs.every(votes), _counted(votes)
    answers, total, even = _answers(count, group), count.sum(1), np.full(k, 1 / k)
    usual = group @ answers
    known = _known(votes, group)
    lean = group / (VOTES_WORTH + known.sum(1))
    prob = VOTES_WORTH * lean.sum(1)[:, None] * (count + usual) / (total + 1)[:, None] + lean @ known
    prob, rest = clamp(pairs, prob.ravel(), np.zeros(n))
    prior = class_counts(pairs, prob, rest, even)
    others = count[votes.item, votes.label] - votes.weight + usual[votes.item, votes.label]
    left_out = np.where(votes.gold[votes.item] >= 0, prob[pairs.own], others / (total[votes.item] - votes.weight + 1))

    def vote_prob(items: np.ndarray, annotators: np.ndarray) -> np.ndarray:
        out: np.ndarray = np.einsum("ng,nkg->nk", group[items], conf[annotators])
        return out

    return Fit(
        "groups", pairs.soft(votes, prob, rest, even), prior / prior.sum(), voter_means(votes, left_out),
        vote_prob=vote_prob, trace=trace, notes=notes, details={"groups": group, "answers": answers},
    )  # fmt: skip
