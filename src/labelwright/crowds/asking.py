"""Which items deserve another vote, and whose, for a given budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.crowds.aggregation import _confusion
from labelwright.errors import OptionError

if TYPE_CHECKING:
    import pyarrow as pa

    from labelwright.crowds.aggregation import Aggregation

BEST = 30
"""Annotators that are considered: those whose votes tell most for their price."""

PER_VOTE = 20
"""Items that are considered for each vote the budget may buy: the least certain."""


def next_votes(found: Aggregation, budget: float, *, annotators: Any = None) -> pa.Table:
    """The votes to ask for next: one per item, those that lower the chance of a wrong label most for their price.

    Args:
        found: what `aggregate` returned; its `costs` are the prices.
        budget: how much may be spent.
        annotators: keys of those who can be asked; default: all.

    Returns:
        item, annotator, cost, gain (how much the probability of a wrong label is expected to fall), the best for its price
        first. Nobody is asked about an item twice. Ask, add the answers to the votes, and aggregate again.

    Raises:
        OptionError: a budget below every price, annotators who never voted.

    Source: one step of expected-error reduction; a vote on an item that has n counts as much as n + 1 dependent votes count more
    than n (see `temper`).
    """
    import pyarrow as pa

    fit, votes, costs = found.fit, found.votes, found.costs
    assert fit is not None and votes is not None and costs is not None
    who = _who(found, annotators)
    if not budget >= costs[who].min():
        raise OptionError(
            found=f"budget={budget}", expected=f"at least {costs[who].min():g}, the lowest price", fix="raise it"
        )
    information = np.nan_to_num(found.annotators["information_per_cost"].to_numpy(zero_copy_only=False).astype(float))
    who = who[np.argsort(-information[who], kind="stable")[:BEST]]
    probability = np.asarray(found.items["probability"])
    most = max(PER_VOTE, int(PER_VOTE * budget / costs[who].min()))
    items = np.argsort(probability, kind="stable")[:most]
    items = items[votes.gold[items] < 0]
    count = np.diff(votes.start)[items]
    worth = marginal_worth(count, float(fit.details.get("dependence", 0.0)))
    p = found.labels[items].dense().astype(np.float64)
    gain = np.stack([expected_gain(p, _confusion(fit, int(a), len(fit.prior)), worth) for a in who], axis=1)
    place = np.full(votes.n_items, -1)
    place[items] = np.arange(len(items))
    column = np.full(votes.n_annotators, -1)
    column[who] = np.arange(len(who))
    asked = (place[votes.item] >= 0) & (column[votes.annotator] >= 0)
    gain[place[votes.item[asked]], column[votes.annotator[asked]]] = -1.0
    best = (gain / costs[who]).argmax(1)
    value = gain[np.arange(len(items)), best]
    rows, spent = [], 0.0
    for i in np.argsort(-value / costs[who[best]], kind="stable"):
        price = float(costs[who[best[i]]])
        if value[i] <= 0 or spent + price > budget + 1e-9:
            continue
        spent += price
        rows.append(int(i))
    chosen = np.array(rows, dtype=np.int64)
    return pa.table(
        {
            "item": found.items["item"].take(pa.array(items[chosen])),
            "annotator": found.annotators["annotator"].take(pa.array(who[best[chosen]])),
            "cost": costs[who[best[chosen]]],
            "gain": value[chosen],
        }
    )


def marginal_worth(count: np.ndarray, dependence: float) -> np.ndarray:
    """What one more vote is worth on an item that has `count`, in independent votes.

    >>> marginal_worth(np.array([0, 1, 10]), 0.0).tolist(), marginal_worth(np.array([0, 4]), 1.0).tolist()
    ([1.0, 1.0, 1.0], [1.0, 0.0])
    """

    def counts_as(n: np.ndarray) -> np.ndarray:
        return np.where(n > 0, n / (1 + np.maximum(n - 1, 0) * dependence), 0.0)

    return counts_as(count + 1) - counts_as(count)


def expected_gain(p: np.ndarray, confusion: np.ndarray, worth: np.ndarray) -> np.ndarray:
    """(n,) how much the probability of the likeliest class is expected to rise by one vote.

    Args:
        p: (n, K) distributions.   confusion: (K, K) [true, given].   worth: (n,) power to which the vote's likelihood counts.
    """
    best = np.zeros(len(p))
    with np.errstate(divide="ignore"):
        logs = np.log(np.maximum(confusion, 1e-12))
    for given in range(confusion.shape[1]):
        after = p * np.exp(worth[:, None] * logs[:, given])
        after /= np.maximum(after.sum(1, keepdims=True), 1e-300)
        best += (p @ confusion[:, given]) * after.max(1)
    return np.maximum(best - p.max(1), 0.0)


def _who(found: Aggregation, annotators: Any) -> np.ndarray:
    names = found.annotators["annotator"].to_pylist()
    if annotators is None:
        return np.flatnonzero(np.asarray(found.annotators["votes"]) > 0)
    place = {name: i for i, name in enumerate(names)}
    strange = [name for name in annotators if name not in place]
    if strange:
        raise OptionError(
            found=f"annotator {strange[0]!r}",
            expected="people who have voted",
            fix="nothing is known of others: leave them out",
        )
    return np.array([place[name] for name in annotators], dtype=np.int64)
