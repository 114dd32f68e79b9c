"""Votes as the models of a crowd read them: abstentions and repeats taken out, sorted by item."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from labelwright.labels import LabelSpace, Votes


@dataclass(frozen=True, eq=False)
class Prepared:
    """V answers on N items by A annotators about K classes, sorted by item, then annotator, then class.

    item, annotator, label: (V,) int32.   weight: (V,) float64 > 0.   start: (N + 1,) int64, the votes of item i are
    start[i]:start[i + 1].   gold: (N,) int32 true class where it is known, else -1: evidence for every model.
    repeats: how many votes said again what the same annotator had said of the same item; counted once.   abstentions: how many
    said nothing.
    """

    item: np.ndarray
    annotator: np.ndarray
    label: np.ndarray
    weight: np.ndarray
    start: np.ndarray
    n_annotators: int
    space: LabelSpace
    gold: np.ndarray
    repeats: int = 0
    abstentions: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def n_items(self) -> int:
        return len(self.start) - 1

    @property
    def n_classes(self) -> int:
        return len(self.space)

    def __len__(self) -> int:
        return len(self.item)


def prepare(votes: Votes, gold: np.ndarray | None = None) -> Prepared:
    """See `Prepared`. gold: (N,) class ids by position in votes.items, -1 unknown; default: none is known.

    Votes of weight 0 say nothing, as abstentions do. Of a repeated vote the largest weight counts.
    """
    n_items, n_classes, n_annotators = votes.n_items, len(votes.space), votes.n_annotators
    weight = np.ones(len(votes.item)) if votes.weight is None else votes.weight.astype(np.float64)
    says = (votes.label >= 0) & (weight > 0)
    item, annotator, label = votes.item, votes.annotator, votes.label
    if not says.all():
        item, annotator, label, weight = item[says], annotator[says], label[says], weight[says]
    again = np.zeros(len(item), dtype=bool)
    if not _in_order(item, annotator):
        order = np.lexsort((-weight, label, annotator, item))
        item, annotator, label, weight = item[order], annotator[order], label[order], weight[order]
        again[1:] = (item[1:] == item[:-1]) & (annotator[1:] == annotator[:-1]) & (label[1:] == label[:-1])
        item, annotator, label, weight = item[~again], annotator[~again], label[~again], weight[~again]
    prepared = Prepared(
        item.astype(np.int32),
        annotator.astype(np.int32),
        label.astype(np.int32),
        weight,
        np.searchsorted(item, np.arange(n_items + 1)),
        n_annotators,
        votes.space,
        np.full(n_items, -1, np.int32) if gold is None else np.asarray(gold, np.int32),
        repeats=int(again.sum()),
        abstentions=int((~says).sum()),
    )
    _say(prepared, n_classes)
    return prepared


def _in_order(item: np.ndarray, annotator: np.ndarray) -> bool:
    """Whether the votes are sorted by item, then annotator, and nobody votes twice on an item."""
    later = item[1:] > item[:-1]
    later |= (item[1:] == item[:-1]) & (annotator[1:] > annotator[:-1])
    return bool(later.all())


def _say(prepared: Prepared, n_classes: int) -> None:
    """What cannot be known from these votes."""
    votes = np.diff(prepared.start)
    if prepared.repeats:
        prepared.notes.append(
            f"{prepared.repeats:,} votes repeat what their annotator had said of the item; counted once"
        )
    if len(prepared) and prepared.annotator.min() == prepared.annotator.max():
        prepared.notes.append("one annotator only: nothing tells how good these votes are, unless gold does")
    elif len(votes) and votes.max() <= 1:
        prepared.notes.append("no item has two votes: nothing tells how good the annotators are, unless gold does")
    if (votes == 0).any():
        prepared.notes.append(f"{int((votes == 0).sum()):,} items have no vote")
