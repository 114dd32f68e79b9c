"""Items and the evidence about their labels, as the driver reads them: any batch of item numbers, at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from labelwright.errors import DataError, LabelError
from labelwright.labels import HardLabels, LabelSpace, MultiLabels, SoftLabels
from labelwright.labels.check import check_distributions

HELD = 1 << 26
"""Probabilities of a soft-label file (rows x K) from which its rows are decoded batch by batch: 256 MiB would be held."""


@runtime_checkable
class Source(Protocol):
    """Anything that gives the values of items by number: a file, a folder of pictures, a generator with a seed."""

    def __len__(self) -> int: ...
    def fetch(self, items: np.ndarray) -> Any:
        """A tensor (B, ...) or a dict of tensors for (B,) int64 item numbers."""


class TrainData:
    """What a student learns from.

    Args:
        inputs: (N, ...) array or tensor, a dict of them, or a `Source`.
        labels: class ids (N,) with -1 = missing, soft labels (N, K), `HardLabels`, `SoftLabels`, `MultiLabels`, an open
            soft-label file (rows that fill up to 256 MiB are decoded once, more of them batch by batch), or None where no
            part reads labels. A float (N, K) array is soft; pass `multi_label=True` for 0/1 entries with -1 = unknown.
        classes: names of the classes, or how many; default: taken from the labels.
        extra: more values per item, by the name under which parts read them: arrays, tensors or `Source`s of N items.

    Raises:
        DataError: another number of labels or extras than items.   LabelError, ProbabilityError: labels that are none.
    """

    def __init__(
        self,
        inputs: Any,
        labels: Any = None,
        *,
        classes: Any = None,
        multi_label: bool = False,
        extra: Mapping[str, Any] | None = None,
    ):
        self.inputs = _fetcher(inputs, "inputs")
        self._n = _length(inputs)
        self.multi_label = multi_label or isinstance(labels, MultiLabels)
        self.space = _space(labels, classes, self.multi_label)
        self.n_classes = len(self.space)
        self.labels = None if labels is None else _labels(labels, self.n_classes, self.multi_label)
        if labels is not None:
            self._check_length("labels", len(labels))
        self.extra = {name: _fetcher(values, name) for name, values in (extra or {}).items()}
        for name, values in (extra or {}).items():
            self._check_length(name, _length(values))

    def __len__(self) -> int:
        return self._n

    def fetch(self, items: np.ndarray) -> dict[str, Any]:
        """inputs, labels and every extra of these items."""
        found = {"inputs": self.inputs(items)}
        if self.labels is not None:
            found["labels"] = self.labels(items)
        for name, fetch in self.extra.items():
            found[name] = fetch(items)
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """What `fetch` gives."""
        return ("inputs", *(("labels",) if self.labels is not None else ()), *self.extra)

    def hard_labels(self) -> np.ndarray | None:
        """(N,) int64, the likeliest class of each item, -1 = missing; None for several classes per item or no labels."""
        if self.labels is None or self.multi_label:
            return None
        found = self.labels(np.arange(len(self)))
        if found.ndim == 1:
            return found.numpy()
        return np.where(found.sum(1).numpy() > 0, found.argmax(1).numpy(), -1)

    def _check_length(self, name: str, n: int) -> None:
        if n != self._n:
            raise DataError(
                found=f"{n} {name} for {self._n} items",
                expected="one for each item, in the same order",
                fix="match both by the items' keys; mark items without a label as missing (-1, or a row of NaN)",
            )


def _length(values: Any) -> int:
    if isinstance(values, Mapping):
        lengths = {name: len(v) for name, v in values.items()}
        if len(set(lengths.values())) != 1:
            raise DataError(
                found=f"inputs of several lengths: {lengths}", expected="one row per item in each", fix="cut them alike"
            )
        return next(iter(lengths.values()))
    return len(values)


def _fetcher(values: Any, name: str) -> Callable[[np.ndarray], Any]:
    if isinstance(values, Mapping):
        each = {key: _fetcher(v, f"{name}[{key!r}]") for key, v in values.items()}
        return lambda items: {key: fetch(items) for key, fetch in each.items()}
    if hasattr(values, "fetch"):
        return values.fetch
    if isinstance(values, Tensor):
        return lambda items: _taken(values, items)
    array = np.asarray(values)
    if array.dtype.kind not in "fiub" or array.ndim < 1:
        raise DataError(
            found=f"{name} of dtype {array.dtype} and shape {array.shape}",
            expected="numbers, one row per item",
            fix="turn texts or pictures into arrays first: labelwright.features.encode, or a tokenizer",
        )
    if isinstance(values, np.memmap):
        return lambda items: torch.from_numpy(np.asarray(array[items]))
    tensor = torch.from_numpy(array.astype(np.float32) if array.dtype == np.float64 else array.copy())
    return lambda items: _taken(tensor, items)


def _taken(rows: Tensor, items: np.ndarray) -> Tensor:
    """rows[items]; for rows of many numbers, torch copies them three times as fast this way."""
    return rows.index_select(0, torch.from_numpy(items).to(rows.device))


def _space(labels: Any, classes: Any, multi_label: bool) -> LabelSpace:
    if isinstance(classes, LabelSpace):
        return classes
    own = getattr(labels, "space", None)
    if classes is not None:
        return LabelSpace(range(classes) if isinstance(classes, int) else classes)
    if isinstance(own, LabelSpace):
        return own
    if labels is None:
        raise LabelError(
            found="neither labels nor classes",
            expected="the classes of the student",
            fix="pass classes=K or their names",
        )
    array = np.asarray(labels)
    if array.ndim == 2:
        return LabelSpace(range(array.shape[1]))
    return LabelSpace(range(int(array.max(initial=0)) + 1))


def _labels(labels: Any, n_classes: int, multi_label: bool) -> Callable[[np.ndarray], Tensor]:
    """A function from item numbers to labels as the losses take them."""
    if isinstance(labels, SoftLabels):
        return _soft(labels, n_classes)
    if hasattr(labels, "dense") and hasattr(labels, "head"):  # an open soft-label file
        return _stored(labels, n_classes)
    if isinstance(labels, MultiLabels):
        return _multi(labels)
    array = labels.ids if isinstance(labels, HardLabels) else np.asarray(labels)
    if array.ndim == 1:
        if array.dtype.kind not in "iu" or array.min(initial=0) < -1 or array.max(initial=0) >= n_classes:
            raise LabelError(
                found=f"labels of dtype {array.dtype} from {array.min(initial=0)} to {array.max(initial=0)}",
                expected=f"class ids 0 to {n_classes - 1}, -1 where the label is missing",
                fix="encode them with HardLabels.from_values(values), or pass classes=",
            )
        ids = torch.from_numpy(array.astype(np.int64))
        return lambda items: _taken(ids, items)
    _check_classes(array.shape[1], n_classes)
    if multi_label:
        known = (array == -1) | ((array >= 0) & (array <= 1))
        if not known.all():
            raise LabelError(
                found="multi-label entries outside 0 to 1", expected="0 to 1, -1 = unknown", fix="write present as 1"
            )
        rows = torch.from_numpy(array.astype(np.float32))
    else:
        missing = np.isnan(array).all(1) | (array == 0).all(1)
        checked = array.copy()
        checked[missing] = 1 / n_classes
        checked = check_distributions(checked, "labels").astype(np.float32)
        checked[missing] = 0
        rows = torch.from_numpy(checked)
    return lambda items: _taken(rows, items)


def _stored(file: Any, n_classes: int) -> Callable[[np.ndarray], Tensor]:
    """Rows of a soft-label file, unknown ones as zeros: decoded batch by batch, or all at once where they are few."""
    _check_classes(file.n_classes, n_classes)
    known = None
    if file.head["unknown_rows"]:
        known = np.concatenate([file[start : start + 65536].known for start in range(0, len(file), 65536)])

    def decoded(items: np.ndarray) -> Tensor:
        rows = file.dense(items)
        return torch.from_numpy(rows if known is None else rows * known[items, None])

    if len(file) * n_classes >= HELD:
        return decoded
    rows = decoded(np.arange(len(file)))
    return lambda items: _taken(rows, items)


def _check_classes(found: int, n_classes: int) -> None:
    if found != n_classes:
        raise LabelError(
            found=f"labels over {found} classes for {n_classes} classes",
            expected="a column per class, in the order of the classes",
            fix="pass classes= in the order of the columns",
        )


def _soft(labels: SoftLabels, n_classes: int) -> Callable[[np.ndarray], Tensor]:
    """Top-k rows are written out batch by batch: K columns of all items may not fit."""
    _check_classes(len(labels.space), n_classes)
    padded = np.where(labels.index < 0, n_classes, labels.index).astype(np.int64)  # column K takes the padding
    index, prob = torch.from_numpy(padded), torch.from_numpy(labels.prob.astype(np.float32))
    rest = torch.from_numpy(np.asarray(labels.rest, np.float32))
    known = torch.from_numpy(labels.known)
    prob = prob * known[:, None]
    if labels.index.shape[1] < n_classes and bool((labels.rest[labels.known] > 0).any()):
        tail = None if labels.tail is None else torch.from_numpy(np.asarray(labels.tail, np.float32))
        return lambda items: _spread(torch.from_numpy(items), index, prob, rest * known, tail, n_classes)

    def dense(items: np.ndarray) -> Tensor:
        at = torch.from_numpy(items)
        out = torch.zeros(len(items), n_classes + 1)
        return out.scatter_(1, index[at], prob[at])[:, :n_classes]

    return dense


def _spread(at: Tensor, index: Tensor, prob: Tensor, rest: Tensor, tail: Tensor | None, n_classes: int) -> Tensor:
    """Listed probabilities, and the rest over the other classes by the tail's shape."""
    listed = index[at]
    shape = torch.ones(n_classes + 1) if tail is None else torch.cat([tail, tail.new_zeros(1)])
    out = shape.expand(len(at), -1).clone().scatter_(1, listed, 0.0)
    out[:, n_classes] = 0
    out *= (rest[at] / out.sum(1).clamp_min(1e-12))[:, None]
    return out.scatter_(1, listed, prob[at])[:, :n_classes]


def _multi(labels: MultiLabels) -> Callable[[np.ndarray], Tensor]:
    rows = torch.from_numpy(np.asarray(labels.dense(), np.float32))
    return lambda items: _taken(rows, items)
