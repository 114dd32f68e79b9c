"""Everything an audit is given, read and checked once, before any work."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labelwright.errors import DataError, LabelError, LabelwrightWarning, rows
from labelwright.labels import HardLabels, LabelSpace, MultiLabels, as_arrow, check_pred_probs

IN_SAMPLE_ACCURACY = 0.999
"""Above this agreement with the given labels, probabilities were almost surely made from those very labels."""


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


def read_inputs(labels: Any, pred_probs: Any, *, space: LabelSpace | None, items: Any, multi: bool) -> Inputs:
    """Read and check labels, pred_probs and item keys; the errors are those of the bad-input table in the docs."""
    columns = None if pred_probs is None else np.shape(_matrix(pred_probs))[-1]
    given = _multi(labels, space, columns) if multi else _hard(labels, space, columns)
    n, k = len(given), len(given.space)
    if n == 0:
        raise DataError(found="no items", expected="at least one labelled item", fix="check the file or the selection")
    if k < 2 and not multi:
        raise LabelError(
            found=f"one class only: {given.space.classes[0]!r}",
            expected="at least two classes; with one there is nothing to confuse",
            fix="pass space=LabelSpace([...]) with all the classes an item may have",
        )
    p = None if pred_probs is None else _marginals(pred_probs, n, k) if multi else _probabilities(pred_probs, n, k)
    inputs = Inputs(_keys(items, n), given, p)
    if isinstance(given, HardLabels):
        _look_closer(inputs, given)
    return inputs


def _matrix(pred_probs: Any) -> Any:
    return pred_probs.to_numpy() if hasattr(pred_probs, "to_numpy") else pred_probs


def _probabilities(pred_probs: Any, n: int, k: int) -> np.ndarray:
    if type(pred_probs).__module__.startswith("pyarrow"):
        pred_probs = np.column_stack([c.to_numpy() for c in as_arrow(pred_probs).columns])
    return check_pred_probs(_matrix(pred_probs), n_items=n, n_classes=k)


def _hard(labels: Any, space: LabelSpace | None, columns: int | None) -> HardLabels:
    if isinstance(labels, HardLabels):
        return labels
    given = HardLabels.from_values(labels, space or _counted(labels, columns))
    if columns is not None and columns != len(given.space) and space is None:
        raise LabelError(
            found=f"{len(given.space)} classes in the labels and {columns} columns of pred_probs",
            expected="to know which class each column stands for",
            fix="pass space=LabelSpace([...]) with the class of each column, in column order",
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


def _multi(labels: Any, space: LabelSpace | None, columns: int | None) -> MultiLabels:
    if isinstance(labels, MultiLabels):
        return labels
    if hasattr(labels, "tocsr") or (isinstance(labels, np.ndarray) and labels.ndim == 2):
        return MultiLabels.from_dense(labels, space)
    if hasattr(labels, "to_pylist"):
        labels = labels.to_pylist()
    return MultiLabels.from_sets(labels, space)


def _marginals(pred_probs: Any, n: int, k: int) -> np.ndarray:
    p = np.asarray(_matrix(pred_probs))
    if p.shape != (n, k) or p.dtype.kind != "f":
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


def _keys(items: Any, n: int) -> np.ndarray:
    """Item keys (N,). Arrays without keys are identified by position, the only identity they have."""
    if items is None:
        return np.arange(n)
    keys = np.asarray(items.to_pylist() if hasattr(items, "to_pylist") else items)
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


def _look_closer(inputs: Inputs, given: HardLabels) -> None:
    """Warn where going on is right but the user should know."""
    counts = np.bincount(given.ids[given.known], minlength=len(given.space))
    names = given.space.classes
    if (~given.known).any():
        inputs.notes.append(f"{int((~given.known).sum())} items have no label; they are predicted but never flagged")
    for few, what in ((counts == 0, "no given label"), ((counts > 0) & (counts < 5), "fewer than 5 given labels")):
        if few.any():
            listed = ", ".join(repr(names[c]) for c in np.flatnonzero(few)[:5])
            inputs.note(f"{int(few.sum())} classes have {what} ({listed}): what is said about them is a guess")
    p = inputs.pred_probs
    if p is None:
        return
    guess = p.argmax(1)
    unseen = np.flatnonzero((np.bincount(guess, minlength=len(names)) == 0) & (counts > 0))
    if len(unseen):
        listed = ", ".join(repr(names[c]) for c in unseen[:5])
        inputs.note(f"no item is predicted as {listed}: errors towards these classes cannot be found")
    agreement = (guess == given.ids)[given.known].mean() if given.known.any() else 0.0
    if agreement > IN_SAMPLE_ACCURACY and given.known.sum() >= 100:
        inputs.note(
            f"pred_probs agree with {agreement:.2%} of the given labels, which is implausibly perfect: a model must not "
            "have seen an item's label when it predicts it. Use out-of-fold probabilities (labelwright.out_of_fold)"
        )
