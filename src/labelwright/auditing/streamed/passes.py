"""What each of the three passes gathers, as mergeable statistics. A chunk is (row numbers, labels, probabilities)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from labelwright.auditing._extremes import smallest_int
from labelwright.auditing._ranking import largest
from labelwright.auditing._stacking import (
    MISTAKEN,
    Pool,
    add_by_label,
    chunks,
    model_evidence,
    vote_evidence,
)
from labelwright.auditing.confident import ConfidentJoint
from labelwright.auditing.error_model import ReadingSums, posterior
from labelwright.auditing.thresholds import ClassThresholds, row_blocks
from labelwright.stream.rows import digest

Chunk = tuple[slice, np.ndarray, np.ndarray]
State = dict[str, np.ndarray]


class PerRow:
    """Mergeable: columns of one value (or a few) per row, whatever order the rows come in."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, dict[str, np.ndarray]]] = []

    def add(self, start: int, columns: dict[str, np.ndarray]) -> None:
        self._parts.append((start, columns))

    def merge(self, other: PerRow) -> None:
        self._parts += other._parts

    def result(self) -> dict[str, np.ndarray]:
        """The columns in the order of the rows. What was gathered is given away: memory holds it once, and a column more."""
        parts = [columns for _, columns in sorted(self._parts, key=lambda part: part[0])]
        self._parts = []
        return {name: np.concatenate([part.pop(name) for part in parts]) for name in (list(parts[0]) if parts else [])}

    def state(self) -> State:
        first = np.array([first for first, _ in self._parts], np.int64)
        size = np.array([len(next(iter(part.values()))) for _, part in self._parts], np.int64)
        copy = PerRow()  # `result` gives its columns away
        copy._parts = [(i, dict(part)) for i, (_, part) in enumerate(self._parts)]
        return {"first": first, "size": size, **{f"column {name}": c for name, c in copy.result().items()}}

    @classmethod
    def from_state(cls, state: State) -> PerRow:
        self, at = cls(), 0
        columns = {name[7:]: values for name, values in state.items() if name.startswith("column ")}
        for first, size in zip(state["first"].tolist(), state["size"].tolist()):
            self.add(first, {name: values[at : at + size] for name, values in columns.items()})
            at += size
        return self


class Looked(NamedTuple):
    """thresholds (K,); top (N,) predicted class; first, second (N,) float32 its probability and the next largest; sample
    (M, K) the rows to fit on."""

    thresholds: np.ndarray
    top: np.ndarray
    first: np.ndarray
    second: np.ndarray
    sample: np.ndarray


class FirstPass:
    """Class thresholds, the two largest probabilities of each row, and the rows that the error model is fitted on."""

    def __init__(self, n_classes: int, sample: np.ndarray):
        self.thresholds, self.sample = ClassThresholds(n_classes), sample
        self.tops, self.rows = PerRow(), PerRow()

    def update(self, chunk: Chunk) -> None:
        rows, labels, p = chunk
        self.thresholds.update((labels, p))
        n, k = p.shape
        top = np.empty(n, smallest_int(k))
        first, second = np.empty((2, n), np.float32)
        for block in row_blocks(n, k):
            part = p[block].astype(np.float32 if p.dtype == np.float16 else p.dtype)
            at = np.arange(len(part)), part.argmax(1)
            top[block], first[block] = at[1], part[at]
            part[at] = -1
            second[block] = part.max(1)
        self.tops.add(rows.start, {"top": top, "first": first, "second": second})
        low, high = np.searchsorted(self.sample, [rows.start, rows.stop])
        self.rows.add(rows.start, {"sample": p[self.sample[low:high] - rows.start]})

    def merge(self, other: FirstPass) -> None:
        self.thresholds.merge(other.thresholds)
        self.tops.merge(other.tops)
        self.rows.merge(other.rows)

    def result(self) -> Looked:
        return Looked(self.thresholds.result(), **self.tops.result(), **self.rows.result())

    def state(self) -> State:
        return _joined(thresholds=self.thresholds, tops=self.tops, rows=self.rows) | {"sample": self.sample}

    @classmethod
    def from_state(cls, state: State) -> FirstPass:
        self = cls(len(state["thresholds.count"]), state["sample"])
        self.thresholds = ClassThresholds.from_state(_part(state, "thresholds"))
        self.tops, self.rows = (PerRow.from_state(_part(state, name)) for name in ("tops", "rows"))
        return self


@dataclass(frozen=True)
class Model:
    """All that the second and third pass need of the fit. neighbours: (index, similarity), or None."""

    labels: np.ndarray
    shares: np.ndarray
    pool: Pool
    neighbours: Any

    def evidence(self, first: int, p: np.ndarray, at: np.ndarray) -> list[np.ndarray]:
        """Log evidence of rows `at`, counted from row `first` of all, at which `p` begins."""
        out = [model_evidence(p, at, 0.0 if self.neighbours is None else MISTAKEN)]
        if self.neighbours is not None:
            out.append(vote_evidence(self.labels, self.neighbours, self.shares, first + at))
        return out

    @cached_property
    def digest(self) -> np.ndarray:
        """Tells this fit from another, for checkpoints."""
        near = [] if self.neighbours is None else [np.asarray(part) for part in self.neighbours]
        text = digest(self.shares, self.pool.weights, self.pool.biases, self.pool.transition.T, *near)
        return np.frombuffer(text.encode(), np.uint8)


class SecondPass:
    """The confident joint, and what weighs the two readings of the error model."""

    def __init__(self, thresholds: np.ndarray, model: Model, *, sampled: bool):
        self.joint = ConfidentJoint(thresholds)
        self.readings = ReadingSums(model.pool, model.shares, sampled=sampled)
        self.model = model
        self._options = {"sampled": np.array(sampled), "fit": model.digest}

    def update(self, chunk: Chunk) -> None:
        rows, labels, p = chunk
        self.joint.update((labels, p))
        for at in chunks(np.flatnonzero(labels >= 0), p.shape[1]):
            self.readings.update((labels[at], self.model.evidence(rows.start, p, at)))

    def merge(self, other: SecondPass) -> None:
        self.joint.merge(other.joint)
        self.readings.merge(other.readings)

    def result(self) -> tuple[np.ndarray, float, np.ndarray]:
        """The confident joint, the weight of reading 2, and the transition [true, given]."""
        return self.joint.result(), *self.readings.result()

    def state(self) -> State:
        sums = {"sums": self.readings.sums, "disagreements": np.array(self.readings.disagreements)}
        return _joined(joint=self.joint) | sums | self._options

    @classmethod
    def from_state(cls, state: State) -> SecondPass:
        self = cls.__new__(cls)  # a finished part: it is only ever merged into one that knows the model
        self.joint = ConfidentJoint.from_state(_part(state, "joint"))
        self.readings = ReadingSums.__new__(ReadingSums)
        self.readings.sums, self.readings.disagreements = state["sums"], int(state["disagreements"])
        self._options = {name: state[name] for name in ("sampled", "fit")}
        return self


class Judged(NamedTuple):
    """error_prob (N,) float64; classes, prob (N, k) the likeliest classes; severity (N,) expected cost, or None where it is
    error_prob; counts (K, K) [given, true] the sum of all distributions."""

    error_prob: np.ndarray
    classes: np.ndarray
    prob: np.ndarray
    severity: np.ndarray | None
    counts: np.ndarray


class ThirdPass:
    """Of each row how probably its label is wrong, and its likeliest true classes."""

    def __init__(self, model: Model, ambiguity: float, by_given: np.ndarray, cost: np.ndarray | None, top: int):
        self.model, self.ambiguity, self.by_given, self.cost, self.top = model, ambiguity, by_given, cost, top
        self.counts = np.zeros_like(self.by_given)
        self.rows = PerRow()
        self._options = {"ambiguity": np.array(ambiguity), "top": np.array(top), "fit": model.digest}

    def update(self, chunk: Chunk) -> None:
        rows, labels, p = chunk
        n, k = p.shape
        wrong, severity = np.full((2, n), np.nan)
        index, prob = np.empty((n, self.top), np.int32), np.empty((n, self.top), np.float32)
        for at in chunks(np.arange(n), k):
            given, known = labels[at], labels[at] >= 0
            wrong[at], dist = posterior(
                self.model.evidence(rows.start, p, at), given, self.model.pool, self.ambiguity, self.by_given
            )
            add_by_label(self.counts, dist[known], given[known])
            if self.cost is not None:
                severity[at] = np.where(known, (dist * self.cost[given]).sum(1), np.nan)
            index[at], prob[at] = largest(dist, self.top)
        found = {"error_prob": wrong, "classes": index, "prob": prob}
        self.rows.add(rows.start, found if self.cost is None else found | {"severity": severity})

    def merge(self, other: ThirdPass) -> None:
        self.counts += other.counts
        self.rows.merge(other.rows)

    def result(self) -> Judged:
        columns = self.rows.result()
        return Judged(columns["error_prob"], columns["classes"], columns["prob"], columns.get("severity"), self.counts)

    def state(self) -> State:
        return _joined(rows=self.rows) | {"counts": self.counts} | self._options

    @classmethod
    def from_state(cls, state: State) -> ThirdPass:
        self = cls.__new__(cls)
        self.counts, self.rows = state["counts"], PerRow.from_state(_part(state, "rows"))
        self._options = {name: state[name] for name in ("ambiguity", "top", "fit")}
        return self


def _joined(**parts: Any) -> State:
    return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state().items()}


def _part(state: State, name: str) -> State:
    return {key[len(name) + 1 :]: value for key, value in state.items() if key.startswith(name + ".")}
