"""What `labelling_instructions` looks at: which classes, which items, and where phrases come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from labelwright.auditing.instructions.phrases import name_phrases, phrase_table
from labelwright.auditing.instructions.sets import Encoder, Phrases, Sample, unit
from labelwright.auditing.neighbours import suggest
from labelwright.errors import DataError, LabelError
from labelwright.features.neighbours import Neighbours, nearest_neighbours

NEAR = 10  # neighbours whose labels vouch for a candidate


def check_mask(exclude: np.ndarray | None, n: int) -> np.ndarray:
    if exclude is None:
        return np.zeros(n, bool)
    mask = np.asarray(exclude)
    if mask.shape != (n,) or mask.dtype != bool:
        raise DataError(
            found=f"`exclude` of shape {mask.shape} and dtype {mask.dtype} for {n} items",
            expected=f"a bool array ({n},)",
            fix="pass True for every item that must not be shown",
        )
    return mask


def pick_classes(
    labels: np.ndarray,
    names: list[Any],
    hidden: np.ndarray,
    p: np.ndarray | None,
    neighbours: Neighbours | None,
    most: int,
    notes: list[str],
) -> list[int]:
    """The ids of the classes to describe, in order."""
    known = np.flatnonzero(labels >= 0)
    size = np.bincount(labels[known], minlength=len(names))
    showable = np.bincount(labels[known[~hidden[known]]], minlength=len(names))
    ready = np.flatnonzero((size >= 2) & (showable >= 1))
    if not len(ready):
        raise LabelError(
            found=f"{len(known)} labels, and no class with two items of which one may be shown",
            expected="at least one such class",
            fix="pass more labelled items" if not (size >= 2).any() else "exclude fewer items",
        )
    few, unseen = np.flatnonzero((size > 0) & (size < 2)), np.flatnonzero((size >= 2) & (showable < 1))
    if len(few):
        notes.append(f"Left out, with a single item: {_listed(names, few)}.")
    if len(unseen):
        notes.append(f"Left out, because none of its items may be shown: {_listed(names, unseen)}.")
    if len(ready) > most:
        doubt, why = size.astype(float), "the largest"
        if p is not None:
            own = 1.0 - p[known, labels[known]].astype(float)
            doubt, why = np.bincount(labels[known], own, minlength=len(names)), "those with most doubtful labels"
        elif neighbours is not None:
            other = known[suggest(labels, _nearest(neighbours))[known] != labels[known]]
            doubt, why = (
                np.bincount(labels[other], minlength=len(names)),
                "those whose items have most foreign neighbours",
            )
        notes.append(f"Described are {most:,} of {len(ready):,} classes, {why}.")
        ready = np.sort(ready[np.argsort(-doubt[ready], kind="stable")[:most]])
    return ready.tolist()


def _listed(names: list[Any], ids: np.ndarray) -> str:
    return ", ".join(str(names[i])[:60] for i in ids[:5]) + (f" and {len(ids) - 5:,} more" if len(ids) > 5 else "")


def _nearest(neighbours: Neighbours) -> Neighbours:
    return Neighbours(neighbours.index[:, :NEAR], neighbours.similarity[:, :NEAR])


def draw_sample(
    x: np.ndarray,
    labels: np.ndarray,
    classes: list[int],
    hidden: np.ndarray,
    p: np.ndarray | None,
    neighbours: Neighbours | None,
    most: int,
    random_state: int,
    notes: list[str],
) -> Sample:
    """Up to `most` labelled items in random order, half of them dealt evenly over the classes."""
    known = np.random.default_rng(random_state).permutation(len(labels))
    known = known[labels[known] >= 0]
    row, near = known, None
    if len(known) > most:
        quota = max(2, most // (2 * len(classes)))
        members = [known[labels[known] == c] for c in classes]
        # of each class at least two that may be shown, however few those are
        even = np.unique(np.concatenate([part for m in members for part in (m[:quota], m[~hidden[m]][:2])]))
        rest = known[~np.isin(known, even)]
        kept = np.concatenate([even, rest[: max(0, most - len(even))]])
        row = known[np.isin(known, kept)]
        notes.append(
            f"Chosen and measured on {len(row):,} of {len(known):,} labelled items, half of them dealt evenly over the "
            "classes; all items were scored for the list of suspects."
        )
    elif neighbours is not None and len(known) == len(x):
        place = np.empty(len(x), np.int64)
        place[row] = np.arange(len(row))
        near = Neighbours(place[neighbours.index[row, :NEAR]], neighbours.similarity[row, :NEAR])
    centre = x[row].mean(axis=0, dtype=np.float64).astype(np.float32)
    z = unit(x[row] - centre)
    near = nearest_neighbours(z, min(NEAR, len(z) - 1)) if near is None else near
    backed = np.ones(len(row), bool) if p is None else p[row].argmax(axis=1) == labels[row]
    return Sample(row, z, centre, labels[row], near, ~hidden[row], backed)


def phrase_source(
    looked: Sample,
    names: list[Any],
    texts: Sequence[str | None] | None,
    given: Mapping[Any, Sequence[str]] | Sequence[Sequence[str]] | None,
    encoder: Encoder | None,
    classes: list[int],
    n: int,
    notes: list[str],
) -> Phrases | None:
    """Where candidate phrases come from; None where nothing can be said of any."""
    if texts is not None and len(texts) != n:
        raise DataError(found=f"{len(texts)} texts for {n} items", expected="one per item", fix="pass None for none")
    asked = [name_phrases(name) for name in names]
    if given is not None:
        lists = [given.get(name) for name in names] if isinstance(given, Mapping) else list(given)
        if len(lists) != len(names) or any(not lists[c] or isinstance(lists[c], str) for c in classes):
            raise DataError(
                found=f"`phrases` with an empty or missing list of candidates for some of {len(names)} classes",
                expected="a list of phrases for every class, by name or in the order of the space",
                fix="pass at least the class name in words, or leave phrases out",
            )
        asked = [list(dict.fromkeys([*own, *(more or [])])) for own, more in zip(asked, lists)]
        if encoder is None and texts is None:
            raise DataError(
                found="`phrases` without `text_vectors` and without `texts`",
                expected="a way to compare a phrase with the items",
                fix="pass the text side of the items' encoder as text_vectors, or the items' texts",
            )
    if encoder is None and texts is None:
        notes.append("Examples only: there are neither texts nor an encoder for phrases.")
        return None
    table = None
    if texts is not None:
        read = [texts[i] if ok else None for i, ok in zip(looked.row, looked.shown)]
        table = phrase_table(read, [phrase for c in classes for phrase in asked[c]])
    return Phrases(table, asked, mine=given is None, encoder=encoder)
