"""LabelSpace: the classes, their order and their structure. The one authority on class names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelwright.errors import LabelError, check_option, nearest
from labelwright.labels.hierarchy import Hierarchy, Name

STRUCTURES = ("nominal", "multi", "ordered", "score", "hierarchy", "metric")


@dataclass(frozen=True, eq=False)
class LabelSpace:
    """K classes and how they relate.

    classes: K distinct names, strings or integers; the class id is the position.
    structure: `nominal` (no relation), `multi` (an item has a set of classes), `ordered` (listed from low to high),
        `score` (each class is a number in `values`), `hierarchy` (tree or DAG: `parents`), `metric` (`distances`).
    values: (K,) float, the numbers of a `score` space.
    parents: ((node, parent), ...) pairs of a `hierarchy`; inner nodes need not be classes.
    distances: (K, K) float, symmetric, zero diagonal, of a `metric` space.

    The structure decides what an error costs (`cost`), so which class a distribution stands for (`SoftLabels.decide`)
    and which of two errors is worse (`severity` in an audit).

    >>> LabelSpace(["low", "mid", "high"], structure="ordered").cost()
    array([[0., 1., 2.],
           [1., 0., 1.],
           [2., 1., 0.]])
    """

    classes: tuple[Name, ...]
    structure: str = "nominal"
    values: np.ndarray | None = None
    parents: tuple[tuple[Name, Name], ...] | None = None
    distances: np.ndarray | None = None

    def __init__(
        self,
        classes: Iterable[Any],
        *,
        structure: str = "nominal",
        values: Sequence[float] | np.ndarray | None = None,
        parents: Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None = None,
        distances: Any = None,
    ):
        check_option("structure", structure, STRUCTURES)
        names = tuple(_name(c) for c in classes)
        _check_names(names)
        needs = {"score": values, "hierarchy": parents, "metric": distances}
        if structure in needs and needs[structure] is None:
            argument = {"score": "values", "hierarchy": "parents", "metric": "distances"}[structure]
            raise LabelError(
                found=f"structure={structure!r} without `{argument}`",
                expected=f"`{argument}` beside structure={structure!r}",
                fix=f"pass {argument}=..., or structure='nominal' if the classes have no such relation",
            )
        object.__setattr__(self, "classes", names)
        object.__setattr__(self, "structure", structure)
        object.__setattr__(self, "values", None if values is None else _values(values, len(names)))
        object.__setattr__(self, "parents", None if parents is None else _parents(parents))
        object.__setattr__(self, "distances", None if distances is None else _distances(distances, len(names)))
        if structure == "hierarchy":
            self._hierarchy()  # refuses cycles and classes outside

    # -- names and ids -------------------------------------------------------------------------------------------
    @classmethod
    def from_labels(cls, labels: Any, **structure: Any) -> LabelSpace:
        """The classes that occur in `labels`, sorted: numbers by value (also "2" before "10"), other names by alphabet;
        missing entries ignored.

        >>> LabelSpace.from_labels(["dog", "cat", None, "dog"]).classes
        ('cat', 'dog')
        """
        values, known = clean_labels(labels)
        found = np.unique(values[known])
        if not len(found):
            raise LabelError(
                found="no label at all" if len(values) == 0 else "only missing labels",
                expected="at least one item with a class",
                fix="check the label column, or pass space=LabelSpace([...]) with the classes",
            )
        names = found.tolist()
        if all(isinstance(n, str) and n.isdecimal() for n in names):
            names.sort(key=lambda n: (int(n), n))
        return cls(names, **structure)

    @classmethod
    def in_order(cls, order: str | Sequence[Any], labels: Any) -> LabelSpace:
        """The ordered space of classes listed from low to high, each spelled as the labels spell it.

        Args:
            order: names, or one text with commas between them; "sorted" takes the classes of the labels as they sort.
            labels: what the space is for; a class need not occur, but what occurs must be listed.

        >>> LabelSpace.in_order("low,mid,high", ["mid", "low"]).classes
        ('low', 'mid', 'high')
        """
        found = cls.from_labels(labels).classes
        if order == "sorted":
            return cls(found, structure="ordered")
        spelled = {str(c): c for c in found}
        listed = [part.strip() for part in order.split(",")] if isinstance(order, str) else [str(c) for c in order]
        missing = [name for name in spelled if name not in listed]
        if missing:
            raise LabelError(
                found=f"the classes {', '.join(map(repr, missing[:5]))} that the order does not list",
                expected="all classes from low to high",
                fix="list them where they belong, or pass 'sorted' where they sort as they should",
            )
        numbers = all(isinstance(c, int) for c in found)
        return cls([spelled.get(n, int(n) if numbers and n.isdecimal() else n) for n in listed], structure="ordered")

    def __len__(self) -> int:
        return len(self.classes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LabelSpace) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.classes[:6])) + (", …" if len(self) > 6 else "")
        return f"LabelSpace({len(self)} classes: {shown}; {self.structure})"

    def id_of(self, name: Any) -> int:
        """The id of one class; `LabelError` with the nearest names when there is no such class."""
        try:
            return self.classes.index(_name(name))
        except ValueError:
            close = nearest(str(name), map(str, self.classes))[:3]
            raise LabelError(
                found=f"class {name!r}",
                expected=f"one of the {len(self)} classes of the space",
                fix=f"nearest are {', '.join(close)}",
            ) from None

    def encode(self, labels: Any) -> np.ndarray:
        """Class ids (N,) int64 of a column of labels; missing entries (None, NaN, NaT, pandas.NA, masked) become -1.

        Raises:
            LabelError: a label outside the space, a float that is no class, an array that is not one-dimensional.
        """
        values, known = clean_labels(labels)
        ids = np.full(len(values), -1, dtype=np.int64)
        if not known.any():
            return ids
        numeric = isinstance(self.classes[0], int)
        if numeric != (values.dtype.kind in "iu"):
            kind = "integers" if numeric else "strings"
            raise LabelError(
                found=f"labels like {values[known][0]!r} for a space of {kind} {self.classes[:3]!r}",
                expected=f"labels that are {kind}, as the classes are",
                fix="convert the labels, or build the space with LabelSpace.from_labels(labels)",
            )
        names = np.array(self.classes)
        order = np.argsort(names, kind="stable")
        position = np.minimum(np.searchsorted(names, values[known], sorter=order), len(names) - 1)
        found = order[position]
        bad = names[found] != values[known]
        if bad.any():
            row = int(np.flatnonzero(known)[bad][0])
            shown = ", ".join(map(repr, self.classes[:8])) + (", …" if len(self) > 8 else "")
            raise LabelError(
                found=f"{int(bad.sum())} of {len(values)} labels outside the space; "
                f"first is {values[row].item()!r} in row {row}",
                expected=f"one of the {len(self)} classes {shown}",
                fix="mend the label, set it to None (missing), or add the class to the space",
            )
        ids[known] = found
        return ids

    def decode(self, ids: Any) -> np.ndarray:
        """Names (N,) of class ids; an object array with None for -1.

        >>> LabelSpace(["a", "b"]).decode([1, -1, 0]).tolist()
        ['b', None, 'a']
        """
        ids = np.asarray(ids)
        names = np.empty(len(self) + 1, dtype=object)
        names[:-1] = self.classes
        names[-1] = None
        return names[ids]

    # -- structure -----------------------------------------------------------------------------------------------
    def cost(self) -> np.ndarray:
        """(K, K) float64: what taking class j for class i costs; zero on the diagonal.

        nominal and multi: 1 off the diagonal; ordered: steps apart; score: difference of values;
        hierarchy: edges on the shortest path between the two; metric: the given distances.
        """
        k = len(self)
        if self.structure == "ordered":
            return np.abs(np.subtract.outer(np.arange(k), np.arange(k))).astype(float)
        if self.structure == "score":
            assert self.values is not None
            return np.abs(np.subtract.outer(self.values, self.values))
        if self.structure == "hierarchy":
            return self._hierarchy().distance.astype(float)
        if self.structure == "metric":
            assert self.distances is not None
            return self.distances.copy()
        return 1.0 - np.eye(k)

    def _hierarchy(self) -> Hierarchy:
        above: dict[Name, list[Name]] = {}
        for child, parent in self.parents or ():
            above.setdefault(child, []).append(parent)
        return Hierarchy(above, self.classes)

    # -- storage -------------------------------------------------------------------------------------------------
    def to_json(self) -> str:
        """One JSON object, keys sorted: equal spaces give equal text."""
        head: dict[str, Any] = {"classes": list(self.classes), "structure": self.structure}
        if self.values is not None:
            head["values"] = self.values.tolist()
        if self.parents is not None:
            head["parents"] = [list(edge) for edge in self.parents]
        if self.distances is not None:
            head["distances"] = self.distances.tolist()
        return json.dumps(head, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> LabelSpace:
        """The space that `to_json` wrote."""
        head = json.loads(text)
        if "parents" in head:
            head["parents"] = [tuple(edge) for edge in head["parents"]]
        return cls(head.pop("classes"), **head)


def clean_labels(labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """(values (N,), known (N,) bool) of any column of labels: an array, list, pandas, polars or pyarrow column.

    values is an integer or a string array; entries where `known` is False hold a filler.

    Raises:
        LabelError: not one-dimensional; numbers with a fraction; a mixture of numbers and names.
    """
    if hasattr(labels, "to_pylist"):  # pyarrow
        labels = labels.to_pylist()
    elif hasattr(labels, "to_numpy") and not isinstance(labels, np.ndarray):  # pandas, polars
        labels = labels.to_numpy()
    try:
        array = labels if isinstance(labels, np.ndarray) else _as_array(list(labels))
    except TypeError:
        raise LabelError(
            found=f"labels of type {type(labels).__name__}",
            expected="one label per item",
            fix="pass a list or a column",
        ) from None
    mask = np.ma.getmaskarray(array) if isinstance(array, np.ma.MaskedArray) else np.zeros(array.shape, dtype=bool)
    array = np.asarray(array)
    if array.ndim != 1:
        raise LabelError(
            found=f"labels of shape {array.shape}",
            expected="one label per item, shape (N,)",
            fix="for distributions use SoftLabels.from_dense, for sets of classes MultiLabels.from_dense",
        )
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise LabelError(
            found=f"label {array.max()}", expected="integers of 64 bits with a sign", fix="pass str labels"
        )
    if array.dtype.kind in "iu":
        return array.astype(np.int64, copy=False), ~mask
    if array.dtype.kind == "b":
        return array.astype("U5"), ~mask
    if array.dtype.kind == "f":
        return _whole_numbers(array, ~mask)
    if array.dtype.kind in "SU":
        return array.astype(str), ~mask
    if array.dtype.kind != "O":
        raise LabelError(
            found=f"labels of dtype {array.dtype}",
            expected="integers or strings",
            fix="convert the label column to str or int",
        )
    known = ~mask & np.array([not _is_missing(v) for v in array], dtype=bool)
    return _objects(array, known), known


def _as_array(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    for i, v in enumerate(values):
        array[i] = v
    return array


def _objects(array: np.ndarray, known: np.ndarray) -> np.ndarray:
    entries = [_name(v) for v in array[known]]
    numbers = [isinstance(v, int) for v in entries]
    if entries and all(numbers):
        if max(map(abs, entries)) > np.iinfo(np.int64).max:  # type: ignore[arg-type]
            raise LabelError(found="a label of more than 64 bits", expected="smaller integers", fix="pass str labels")
        out = np.zeros(len(array), dtype=np.int64)
    elif not any(numbers):
        out = np.full(len(array), "", dtype=f"U{max((len(str(v)) for v in entries), default=1) or 1}")
    else:
        row = np.flatnonzero(known)[numbers.index(True)]
        raise LabelError(
            found=f"numbers and names mixed in the labels (row {row} is {array[row]!r})",
            expected="all integers or all strings",
            fix="convert with str() so that every label is a name",
        )
    out[known] = entries
    return out


def _whole_numbers(array: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Floats are classes only where a table had to store missing integers as NaN."""
    known = known & ~np.isnan(array)
    broken = known & (array != np.round(np.where(np.isfinite(array), array, 0.5)))
    if broken.any() or known.all():
        row = int(np.flatnonzero(broken)[0]) if broken.any() else 0
        what = f"row {row} is {array[row]!r}" if len(array) else "an empty float array"
        raise LabelError(
            found=f"labels of dtype {array.dtype} ({what})",
            expected="classes: integers or strings",
            fix="use labels.astype(int) if these are class ids, or SoftLabels.from_dense for distributions",
        )
    return np.where(known, array, 0).astype(np.int64), known


def _is_missing(value: Any) -> bool:
    if value is None:
        return True
    if type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _name(value: Any) -> Name:
    """A class name as str or int; anything else is refused."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str | int):
        return value
    raise LabelError(
        found=f"class {value!r} of type {type(value).__name__}",
        expected="a string or an integer",
        fix="give classes names: str(value)",
    )


def _check_names(names: tuple[Name, ...]) -> None:
    if not names:
        raise LabelError(found="no classes", expected="at least one class", fix="pass the class names")
    if len({isinstance(n, int) for n in names}) > 1:
        raise LabelError(
            found=f"classes that are numbers and names: {names[:5]!r}",
            expected="all integers or all strings",
            fix="convert with str()",
        )
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise LabelError(found=f"class {twice!r} twice", expected="distinct classes", fix="remove the repeated name")


def _values(values: Any, k: int) -> np.ndarray:
    v = np.asarray(values, dtype=float)
    if v.shape != (k,) or not np.isfinite(v).all():
        raise LabelError(
            found=f"values of shape {v.shape}", expected=f"{k} finite numbers, one per class", fix="pass values=[...]"
        )
    return v


def _distances(distances: Any, k: int) -> np.ndarray:
    d = np.asarray(distances, dtype=float)
    ok = d.shape == (k, k) and np.isfinite(d).all() and (d >= 0).all() and (np.diag(d) == 0).all()
    if not ok or not np.allclose(d, d.T):
        raise LabelError(
            found=f"distances of shape {d.shape} that are no distance matrix",
            expected=f"({k}, {k}), finite, non-negative, symmetric, zero diagonal",
            fix="pass distances as (d + d.T) / 2 with numpy.fill_diagonal(d, 0)",
        )
    return d


def _parents(parents: Mapping[Any, Any] | Iterable[tuple[Any, Any]]) -> tuple[tuple[Name, Name], ...]:
    if isinstance(parents, Mapping):
        edges = [
            (child, p) for child, ps in parents.items() for p in (ps if isinstance(ps, list | tuple | set) else [ps])
        ]
    else:
        edges = [(child, parent) for child, parent in parents]
    return tuple(sorted({(_name(c), _name(p)) for c, p in edges}, key=str))
