"""`aggregate`: votes of people, rules, models or LLMs in, one calibrated distribution per item out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from labelwright.crowds import groups
from labelwright.crowds.aggregation import Aggregation, annotator_table, item_table, others_tables
from labelwright.crowds.choose import (
    MIXTURE,
    Compared,
    beside_the_class,
    compare,
    mix,
    mixture_scores,
    weigh,
    without_method,
)
from labelwright.crowds.fit import Fit, Method
from labelwright.crowds.history import HEARS, heard, read_history
from labelwright.crowds.methods import METHODS
from labelwright.crowds.ordinal import fits_memory
from labelwright.crowds.prepared import Prepared, prepare
from labelwright.errors import DataError, LabelError, OptionError, check_option, check_whole, nearest, rows
from labelwright.labels import LabelSpace, Votes, as_columns, need

AUTO = ("vote_shares", "one_coin", "dawid_skene", "glad", "mace", "top_two")
"""What method="auto" mixes."""

QUICK = ("vote_shares", "one_coin", "dawid_skene")
"""The same above `MANY` votes."""

MANY = 1_000_000

CHECK = "groups"
"""Where this model foretells votes so much better that the classes cannot explain them, it takes the place of the mixture."""

ORDERED = ("ordered", "score")
"""Structures of classes for which "ordinal" is mixed in too, where its confusion matrices fit into memory."""


def aggregate(
    votes: Any,
    annotator: Any = None,
    label: Any = None,
    *,
    method: str = "auto",
    gold: Any = None,
    pred_probs: Any = None,
    features: Any = None,
    history: Any = None,
    history_cap: float = 20.0,
    space: LabelSpace | None = None,
    costs: Mapping[Any, float] | None = None,
    random_state: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
    **options: Any,
) -> Aggregation:
    """Who is right, item by item, and who can be believed.

    Args:
        votes: `Votes`; a table with the columns item, annotator and label (and weight, time, … if there); or the column of
            items, with `annotator` and `label` as the other two. A missing label is an abstention.
        method: a name in `METHODS`, or "auto": the mean of the labels of the models in `AUTO` (and "ordinal" where the
            space is ordered), by the weights with which they best foretell votes (and known classes) they have not seen;
            `Aggregation.others` has the weights. Where latent groups of items foretell votes so much better that the classes
            cannot explain them, "groups" stands alone, unless known classes speak against it; a note says so.
        gold: true classes of some items: {item: class}, or a table with the columns item and label. Every method learns
            from them, and these items get them; "auto" also weighs the models by them.
        pred_probs: (N, K) a classifier's probabilities, rows in the order in which the items first occur, columns in that of the
            classes; NaN in a row: none for this item; or `SoftLabels`. The labels are then those of votes and classifier
            together (`fit_with_classifier`), by "one_coin", "dawid_skene", or both ("auto").
        features: (N, D) vectors of the items, from which a classifier is trained on the labels, out of fold, twice over.
        history: earlier work of annotators: {annotator: (right votes, votes)}, or a table with the columns annotator, votes and
            skill, such as `Aggregation.annotators` of an earlier run. "one_coin" and "dawid_skene", alone and in "auto", begin
            from it.   history_cap: votes that the history of one annotator counts as at most.
        space: the classes; default: those that occur, sorted.
        costs: {annotator: price of a vote}, for the column `information_per_cost`; default: 1 for each.
        random_state: seed of the held-out votes and of restarts.   progress: called as progress(step, done, total).
        options: of the method, such as `dependence` (see `crowds.temper`); not with "auto".

    Returns:
        Aggregation.

    Raises:
        LabelError, DataError, ColumnError: votes that are none, gold that contradicts the space or names no item.
        DataError: a history that is none, or of nobody who voted.
        OptionError: an unknown method or option, or a history for a method that hears none.

    >>> import labelwright as lw
    >>> found = lw.aggregate(["t1", "t1", "t1", "t2", "t2"], ["ann", "bob", "eve", "ann", "bob"], ["a", "a", "b", "b", "b"])
    >>> found.labels.hard().values().tolist()
    ['a', 'b']
    """
    check_whole("random_state", random_state, 0)
    check_option("method", method, ("auto", *METHODS))
    if method == "auto" and options:
        raise OptionError(
            found=f"{', '.join(options)} with method='auto'",
            expected="options with the method they belong to",
            fix="name the method, or leave the options out",
        )
    read = _votes(votes, annotator, label, space)
    prepared = prepare(read, _gold(gold, read))
    if len(prepared) == 0 and gold is None:
        raise LabelError(
            found=f"{len(read.item):,} votes, all of them abstentions",
            expected="at least one answer",
            fix="check the labels",
        )
    earlier = read_history(history, history_cap, method, read, prepared.notes)
    fits: dict[str, Fit] = {}
    scores: dict[str, dict[str, float]] = {}
    if pred_probs is not None or features is not None:
        fit = _with_classifier(prepared, method, pred_probs, features, history, random_state, options)
    elif method == "auto":
        fit, fits, scores = _auto(prepared, earlier, random_state, progress)
    else:
        fit = _fit(heard(method, earlier), prepared, random_state, options)
    price = _prices(costs, read)
    others, answers, agree = others_tables(fit, fits, scores, read.items) if fits else (None, None, None)
    return Aggregation(
        labels=fit.labels,
        items=item_table(fit, prepared, read.items, agree),
        annotators=annotator_table(fit, prepared, read.annotators, price),
        method=fit.method,
        trace=fit.trace,
        scores=scores,
        notes=[*prepared.notes, *fit.notes],
        settings={
            "method": fit.method, "chosen": _chosen(prepared, scores), "random_state": random_state,
            "votes": len(prepared), "repeats": prepared.repeats, "abstentions": prepared.abstentions,
            "gold": int((prepared.gold >= 0).sum()),
            **({} if earlier is None else {"history": int((earlier.sum(1) > 0).sum()), "history_cap": history_cap}), **options,
        },
        fit=fit,
        votes=prepared,
        costs=price,
        others=others,
        answers=answers,
    )  # fmt: skip


def _votes(votes: Any, annotator: Any, label: Any, space: LabelSpace | None) -> Votes:
    if isinstance(votes, Votes):
        return votes
    if (annotator is None) != (label is None):
        raise OptionError(
            found="one of annotator and label alone", expected="three columns", fix="pass items, annotators and labels"
        )
    if annotator is None:
        return Votes.from_table(votes, space)
    return Votes.from_columns(votes, annotator, label, space)


def _with_classifier(
    votes: Prepared,
    method: str,
    pred_probs: Any,
    features: Any,
    history: Any,
    random_state: int,
    options: dict[str, Any],
) -> Fit:
    """See `aggregate`; what does not go together is told."""
    from labelwright.crowds.with_classifier import fit_with_classifier, pred_probs_from_features

    if pred_probs is not None and features is not None:
        raise OptionError(
            found="pred_probs and features",
            expected="one of them",
            fix="leave features out: the probabilities are there",
        )
    check_option("method", method, ("auto", *HEARS))
    if history is not None:
        raise OptionError(
            found="a history beside a classifier",
            expected="one of them",
            fix="leave the history out, or the classifier",
        )
    chosen = "both" if method == "auto" else method
    p = pred_probs
    if p is None:
        p = pred_probs_from_features(votes, np.asarray(features), method=chosen, random_state=random_state)
    return fit_with_classifier(votes, p, method=chosen, random_state=random_state, **options)


def _auto(
    votes: Prepared, earlier: np.ndarray | None, random_state: int, progress: Callable[[str, int, int], None] | None
) -> tuple[Fit, dict[str, Fit], dict[str, dict[str, float]]]:
    """The mixture, the models in it, and how well each foretold held-out votes."""
    names: tuple[str, ...] = AUTO if len(votes) <= MANY else QUICK
    if votes.space.structure in ORDERED and len(votes) <= MANY and fits_memory(votes):
        names += ("ordinal",)
    if len(votes) <= MANY and groups.fits_memory(votes):
        names += (CHECK,)
    methods = {name: heard(name, earlier) for name in names}
    found = compare(methods, votes, random_state=random_state, progress=progress)
    if not found.enough:
        votes.notes.append("too few items have two votes to tell models apart: the vote shares are taken")
        return METHODS["vote_shares"](votes, random_state=random_state), {}, {}
    found, trusted = _checked(found, votes)
    weights, trace = weigh(found, trusted)
    fits = {name: methods[name](votes, random_state=random_state) for name in found.names}
    scores = mixture_scores(found, random_state, trusted)
    for name, weight in zip(found.names, weights.tolist()):
        scores.setdefault(name, {})["weight"] = weight
    mixed = mix(list(fits.values()), weights, trace)
    if trusted:
        mixed.details.update(fits[trusted].details)
    return mixed, fits, scores


def _checked(found: Compared, votes: Prepared) -> tuple[Compared, str | None]:
    """What is to be mixed, and `CHECK` where the votes tell more of an item than its class could."""
    if CHECK not in found.names or not len(found.item):
        return without_method(found, CHECK), None
    several, most = np.diff(votes.start)[found.item].mean(), np.log(votes.n_classes)
    told = beside_the_class(found, CHECK, float(several))
    if told <= most:
        return without_method(found, CHECK), None
    votes.notes.append(
        f"the votes tell more of an item beside its class than a class could ({told:.1f} nats, log K is {most:.1f}): people "
        "share ideas that are none of the classes, and agreeing with them is no sign of skill. So all annotators count alike; "
        "gold tells who knows better, or look whether a class is missing"
    )
    return found, CHECK


def _chosen(votes: Prepared, scores: dict[str, dict[str, float]]) -> str:
    """How the method came to be."""
    if MIXTURE not in scores:
        return "by held-out votes" if scores else "by the caller"
    return "weights by held-out votes" + (" and known classes" if (votes.gold >= 0).any() else "")


def _fit(method: Method, votes: Prepared, random_state: int, options: dict[str, Any]) -> Fit:
    try:
        return method(votes, random_state=random_state, **options)
    except TypeError as err:
        unknown = [name for name in options if f"'{name}'" in str(err)]
        if not unknown:
            raise
        raise OptionError(
            found=f"option {unknown[0]!r}", expected="an option of this method", fix="see labelwright.crowds.methods"
        ) from err


def _gold(gold: Any, votes: Votes) -> np.ndarray | None:
    """(N,) class ids, -1 where the truth is not known."""
    if gold is None:
        return None
    if isinstance(gold, Mapping) and not {"item", "label"} <= set(map(str, gold)):
        item, label = list(gold), list(gold.values())
    else:
        columns = as_columns(gold)
        item, label = list(need(columns, "item")), list(need(columns, "label"))
    place = {key: i for i, key in enumerate(votes.items.tolist())}
    text = votes.items.dtype.kind in "US"
    found = [place.get(str(key) if text else key) for key in item]
    unknown = [i for i, at in enumerate(found) if at is None]
    if len(unknown) == len(item) and item:
        close = nearest(str(item[0]), [str(k) for k in list(place)[:5000]])[:3]
        raise DataError(
            found=f"gold for {len(item)} items of which none has a vote (such as {item[0]!r})",
            expected="items of the votes" + (f", such as {', '.join(map(repr, close))}" if close else ""),
            fix="use the same keys in both",
        )
    classes = {name: i for i, name in enumerate(votes.space.classes)} | {
        str(name): i for i, name in enumerate(votes.space.classes)
    }
    strange = [i for i, name in enumerate(label) if name is not None and name == name and name not in classes]
    if strange:
        raise LabelError(
            found=f"gold label {label[strange[0]]!r} in {rows(np.array(strange))}",
            expected=f"one of the classes {', '.join(map(repr, votes.space.classes[:8]))}",
            fix="pass space=LabelSpace([...]) with all classes",
        )
    out = np.full(votes.n_items, -1, np.int32)
    for at, name in zip(found, label):
        if at is None or name is None or name != name:
            continue
        if out[at] >= 0 and out[at] != classes[name]:
            raise DataError(
                found=f"two gold labels for item {votes.items[at]!r}", expected="one true class", fix="drop one of them"
            )
        out[at] = classes[name]
    return out


def _prices(costs: Mapping[Any, float] | None, votes: Votes) -> np.ndarray:
    """(A,) price of a vote."""
    price = np.ones(votes.n_annotators)
    if costs is None:
        return price
    place = {str(key): i for i, key in enumerate(votes.annotators.tolist())}
    for name, cost in costs.items():
        if not isinstance(cost, int | float) or not cost > 0:
            raise OptionError(
                found=f"a cost of {cost!r} for {name!r}", expected="numbers above 0", fix="leave it out for 1"
            )
        if str(name) in place:
            price[place[str(name)]] = cost
    return price
