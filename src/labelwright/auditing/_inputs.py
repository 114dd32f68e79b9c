"""Everything an audit is given, read and checked once, before any work."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labelwright.auditing._named import aligned_columns, matrix_and_names, needs_as_many, space_of
from labelwright.errors import DataError, LabelError, LabelwrightWarning, rows
from labelwright.labels import HardLabels, LabelSpace, MultiLabels, check_pred_probs

IN_SAMPLE_ACCURACY = 0.999
"""Above this agreement with the given labels, probabilities were almost surely made from those very labels."""


WEAK_ACCURACY = 0.7
"""Below this agreement the user is told that the model, not the labels, may be at fault."""


@dataclass(frozen=True)
class Inputs:
    """items: (N,) keys; labels: HardLabels or MultiLabels; pred_probs: (N, K) or None; notes: what the user should know."""

    items: np.ndarray
    labels: HardLabels | MultiLabels
    pred_probs: np.ndarray | None
    notes: list[str] = field(default_factory=list)

    @property
    def space(self) -> LabelSpace:
        return self.labels.space

    def note(self, message: str) -> None:
        """Keep `message` for the report, and warn."""
        self.notes.append(message)
        warnings.warn(message, LabelwrightWarning, stacklevel=4)


def read_inputs(labels: Any, pred_probs: Any, *, space: Any, items: Any, multi: bool) -> Inputs:
    """Read and check labels, pred_probs and item keys; the errors are those of the bad-input table in the docs."""
    matrix, names = (None, None) if pred_probs is None else matrix_and_names(pred_probs)
    space = space_from(space)
    if isinstance(labels, Iterator):
        labels = list(labels)
    given = (
        _multi(labels, space)
        if multi
        else hard_labels(labels, space, None if matrix is None else matrix.shape[1], names)
    )
    n, k = len(given), len(given.space)
    if n == 0:
        raise DataError(found="no items", expected="at least one labelled item", fix="check the file or the selection")
    if k < 2 and not multi:
        raise LabelError(
            found=f"one class only: {given.space.classes[0]!r}",
            expected="at least two classes; with one there is nothing to confuse",
            fix="pass space=LabelSpace([...]) with all the classes an item may have",
        )
    note = None
    if matrix is not None:
        matrix, note = aligned_columns(matrix, names, given.space)
        matrix = _marginals(matrix, n, k) if multi else check_pred_probs(matrix, n_items=n, n_classes=k)
    inputs = Inputs(item_keys(items, n), given, matrix)
    if note:
        inputs.note(note)
    if isinstance(given, HardLabels):
        look_at_labels(inputs, given)
    return inputs


def space_from(space: Any) -> LabelSpace | None:
    """A space, or a list of names as one."""
    if space is None or isinstance(space, LabelSpace):
        return space
    return LabelSpace(space)  # a list of names will do


def hard_labels(labels: Any, space: LabelSpace | None, columns: int | None, names: list[str] | None) -> HardLabels:
    """Labels of one class each; the columns of pred_probs, their number and names, help to tell the classes."""
    if isinstance(labels, HardLabels):
        return labels
    found = space or _counted(labels, columns)
    if space is None and names is not None and found is not None and len(found) != columns:
        found = space_of(names, found) or found
    given = HardLabels.from_values(labels, found)
    if columns is not None and space is None:
        needs_as_many(columns, given.space)
    known = given.ids[given.known]
    if space is None and len(known) >= 10 and len(np.unique(known)) == len(known):
        raise LabelError(
            found=f"{len(known)} labels, no two of them alike",
            expected="classes that several items share",
            fix="this looks like a column of ids or texts: name the column of the labels",
        )
    return given


def _counted(labels: Any, columns: int | None) -> LabelSpace | None:
    """Integer labels 0..K-1 beside K columns mean the columns, even if some class never occurs."""
    if columns is None:
        return None
    found = LabelSpace.from_labels(labels)
    numbers = [c for c in found.classes if isinstance(c, int)]
    if not numbers:
        return found
    if min(numbers) < 0 or (max(numbers) >= columns and len(found) != columns):
        raise LabelError(
            found=f"label {min(numbers) if min(numbers) < 0 else max(numbers)} for {columns} columns of pred_probs",
            expected=f"class ids 0 to {columns - 1}; a missing label is None or NaN",
            fix="set missing labels to None, or pass space=LabelSpace([...]) with the class of each column",
        )
    return LabelSpace(range(columns)) if max(numbers) < columns else found


def _multi(labels: Any, space: LabelSpace | None) -> MultiLabels:
    if isinstance(labels, MultiLabels):
        return labels
    if hasattr(labels, "columns") and hasattr(labels, "to_numpy"):  # a data frame of 0 and 1, one column per class
        space = space or LabelSpace([str(c) for c in labels.columns], structure="multi")
        labels = labels.to_numpy()
    if hasattr(labels, "tocsr") or (isinstance(labels, np.ndarray) and labels.ndim == 2):
        return MultiLabels.from_dense(labels, space)
    if hasattr(labels, "to_pylist"):
        labels = labels.to_pylist()
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "iufb":
        raise LabelError(
            found=f"multi-labels of shape {labels.shape} and dtype {labels.dtype}",
            expected="a set of classes per item, or a table (N, K) of 1, 0 and -1",
            fix="pass [[label] for label in labels], or leave multi=True out",
        )
    return MultiLabels.from_sets(labels, space)


def _marginals(p: np.ndarray, n: int, k: int) -> np.ndarray:
    if p.shape != (n, k):
        raise DataError(
            found=f"pred_probs of shape {p.shape} and dtype {p.dtype}",
            expected=f"({n}, {k}) probabilities of each class on its own",
            fix="predict one probability per item and class",
        )
    bad = np.flatnonzero(~((p >= -1e-4) & (p <= 1 + 1e-4)).all(1))
    if len(bad):
        raise DataError(
            found=f"{len(bad)} rows of pred_probs outside [0, 1] or NaN ({rows(bad)})",
            expected="a probability in [0, 1] per item and class",
            fix="for logits pass scipy.special.expit(logits)",
        )
    return np.clip(p, 0, 1)


def item_keys(items: Any, n: int) -> np.ndarray:
    """Item keys (N,). Arrays without keys are identified by position, the only identity they have."""
    if items is None:
        return np.arange(n)
    keys = np.asarray(items.to_pylist() if hasattr(items, "to_pylist") else items)
    missing = (
        []
        if keys.dtype.kind != "O" and keys.dtype.kind != "f"
        else [i for i, v in enumerate(keys) if v is None or v != v]
    )
    if missing:
        raise DataError(
            found=f"{len(missing)} items without a key ({rows(missing)})",
            expected="a key for every item",
            fix="fill them in, or leave items=... out",
        )
    keys = keys.astype(str) if keys.dtype.kind == "O" and any(isinstance(v, str) for v in keys) else keys
    if keys.shape != (n,):
        raise DataError(
            found=f"{keys.shape} item keys for {n} labels", expected="one key per item", fix="pass the id column"
        )
    unique, _first, count = np.unique(keys, return_index=True, return_counts=True)
    if len(unique) < n:
        twice = unique[count > 1]
        where = np.flatnonzero(keys == twice[0])
        raise DataError(
            found=f"{len(twice)} item keys that occur more than once; first is {twice[0].item()!r} in {rows(where)}",
            expected="a different key for every item",
            fix="choose a column that is unique, or leave the keys out",
        )
    return keys


def look_at_labels(inputs: Inputs, given: HardLabels) -> None:
    """Warn where going on is right but the user should know."""
    counts = np.bincount(given.ids[given.known], minlength=len(given.space))
    names = given.space.classes
    if (~given.known).any():
        inputs.notes.append(f"{int((~given.known).sum())} items have no label; they are predicted but never flagged")
    if -1 in names and min(c for c in names if isinstance(c, int)) == -1:
        inputs.note("label -1 is taken for a class; if it stands for a missing label, pass None")
    joined = np.mean(["|" in str(name) for name in names])
    if joined > 0.3:
        inputs.note(f"{joined:.0%} of the classes hold a '|': if items have several labels, pass multi=True (--multi)")
    for few, what in ((counts == 0, "no given label"), ((counts > 0) & (counts < 5), "fewer than 5 given labels")):
        if few.any():
            listed = ", ".join(repr(names[c]) for c in np.flatnonzero(few)[:5])
            inputs.note(f"{int(few.sum())} classes have {what} ({listed}): what is said about them is a guess")


def look_at_predictions(inputs: Inputs, pred_probs: np.ndarray) -> None:
    """Warn of classes that nobody predicts, of a fit too good to be out of sample, and of predictions that know nothing."""
    if isinstance(inputs.labels, MultiLabels):
        _look_at_sets(inputs, inputs.labels, pred_probs)
    else:
        look_at_guesses(inputs, inputs.labels, pred_probs.argmax(1), given_probs=inputs.pred_probs is not None)


def look_at_guesses(inputs: Inputs, given: HardLabels, guess: np.ndarray, *, given_probs: bool) -> None:
    """The same from the predicted classes (N,); `given_probs`: the probabilities came from the user."""
    if not given.known.any():
        return
    names = given.space.classes
    known = given.ids[given.known]
    counts = np.bincount(known, minlength=len(names))
    unseen = np.flatnonzero((np.bincount(guess, minlength=len(names)) == 0) & (counts > 0))
    if len(unseen):
        listed = ", ".join(repr(names[c]) for c in unseen[:5])
        inputs.note(f"no item is predicted as {listed}: errors towards these classes cannot be found")
    agreement, commonest = float((guess[given.known] == known).mean()), counts.max() / len(known)
    if agreement > IN_SAMPLE_ACCURACY and len(known) >= 100 and given_probs:
        inputs.note(
            f"pred_probs agree with {agreement:.2%} of the given labels, which is implausibly perfect: a model must not "
            "have seen an item's label when it predicts it. Use out-of-fold probabilities (labelwright.out_of_fold)"
        )
    if agreement < commonest + (commonest * (1 - commonest) / len(known)) ** 0.5:
        inputs.note(
            f"the predictions agree with {agreement:.0%} of the labels, no more than always answering the commonest class "
            f"({commonest:.0%}): they know nothing about the labels, or their columns are in another order than the classes. "
            "Do not trust the count or the flags"
        )
    elif agreement < WEAK_ACCURACY:
        inputs.note(
            f"the predictions agree with only {agreement:.0%} of the labels. Under so weak a model most disagreements may be its "
            "own mistakes: let a review decide, and take the flags as an order to look in, not as errors"
        )


def _look_at_sets(inputs: Inputs, given: MultiLabels, pred_probs: np.ndarray) -> None:
    """Warn where most labels of the sets would not be predicted."""
    present = given.dense() == 1
    found = float((pred_probs[present] >= 0.5).mean()) if present.any() else 1.0
    if found < WEAK_ACCURACY:
        inputs.note(
            f"the predictions find only {found:.0%} of the labels in the sets. Under so weak a model most disagreements may be "
            "its own mistakes: let a review decide, and take the flags as an order to look in, not as errors"
        )
