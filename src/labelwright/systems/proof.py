"""Proofs: a method against its paper's baseline and the obvious alternative, on the same data and seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from labelwright.errors import DataError

Role = Literal["method", "baseline", "alternative", "bound"]


@dataclass(frozen=True)
class Dataset:
    """Named arrays that a proof reads.

    arrays: by key: x, text, image, y (true), y_given, votes, pred_probs, split, ...
    real: it holds the noise, votes or shift that the system is about, as found in the world; False where that was planted.
    options: what `prepare` must know beside the arrays, such as the kind of noise to plant.
    """

    name: str
    arrays: Mapping[str, Any]
    real: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Any:
        return self.arrays[key]

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def __len__(self) -> int:
        return max((len(a) for a in self.arrays.values() if np.ndim(a)), default=0)

    @property
    def fingerprint(self) -> str:
        """Hash of every array, so that a repeated proof can tell whether it saw the same data."""
        digest = hashlib.blake2b(repr(sorted(self.options.items())).encode(), digest_size=8)
        for key in sorted(self.arrays):
            array = np.asarray(self.arrays[key])
            digest.update(f"{key}{array.shape}{array.dtype}".encode())
            plain = not array.dtype.hasobject
            digest.update(np.ascontiguousarray(array).tobytes() if plain else repr(array.tolist()).encode())
        return digest.hexdigest()


Run = Callable[[Any, int], float | Mapping[str, float]]
"""What an arm does: called with what `prepare` returned and the seed; returns the metric, or several by name, the proof's own
metric among them."""


@dataclass(frozen=True)
class Arm:
    """One way to do the job. role: "method" (the system, the first arm), "baseline" (what its paper compares with; the state
    of the system rests on these), "alternative" (the obvious simpler or stronger choice) or "bound" (what cannot be beaten,
    such as training on the true labels)."""

    name: str
    run: Run
    role: Role = "baseline"


@dataclass(frozen=True)
class Proof:
    """One question, answered by numbers.

    name: plain word or two.   question: what is shown, one sentence.   metric: its name.
    keys: what a data set must hold, key (alternatives joined by "|", a trailing "?" for optional ones) -> meaning.
    datasets: called with the folder of real data sets or None; yields those it can load; bundled data always.
    prepare: called with (data set, seed); its result goes to every arm, so that all see the same noise and folds.
    arms: the method first.
    seeds: how many.   interval: "t" where a seed draws new noise, folds or starting points; "bootstrap" where `prepare`
        draws a resample of the items with its seed (seed 0 is the sample itself): then the interval is that of percentiles.
    higher_is_better: of the metric.   needs_real: whether data sets with the real thing exist, so that the state "works" needs
        one of them.   note: what a reader should know.
    """

    name: str
    question: str
    metric: str
    keys: Mapping[str, str]
    datasets: Callable[[Path | None], Iterable[Dataset]]
    prepare: Callable[[Dataset, int], Any]
    arms: tuple[Arm, ...]
    seeds: int = 5
    interval: Literal["t", "bootstrap"] = "t"
    higher_is_better: bool = True
    needs_real: bool = True
    note: str = ""

    def check(self, data: Dataset) -> None:
        """Raise `DataError` unless the data set holds the keys of this proof, all of one length."""
        missing = [
            key for key in self.keys if not key.endswith("?") and not any(part in data for part in key.split("|"))
        ]
        if missing:
            raise DataError(
                found=f"{data.name} with {', '.join(sorted(data.arrays)) or 'nothing'}, without {', '.join(missing)}",
                expected="; ".join(f"{key}: {meaning}" for key, meaning in self.keys.items()),
                fix="store the missing arrays under these names (see --data-format)",
            )


def paired(
    method: np.ndarray, other: np.ndarray, interval: str, higher_is_better: bool = True
) -> tuple[float, float, float]:
    """(mean, low, high) of the paired difference over seeds, 95 %.

    "t": Student's interval of the mean; a single seed has none (low, high are NaN).
    "bootstrap": entry 0 belongs to the sample itself and is the estimate; the others are resamples, whose 2.5 and 97.5
    percentiles are the interval.
    """
    d = (method - other) * (1 if higher_is_better else -1)
    if interval == "bootstrap":
        low, high = np.percentile(d[1:], [2.5, 97.5]) if len(d) > 20 else (np.nan, np.nan)
        return float(d[0]), float(low), float(high)
    if len(d) < 2:
        return float(d.mean()), float("nan"), float("nan")
    from scipy.stats import t

    half = float(t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d)))
    return float(d.mean()), float(d.mean() - half), float(d.mean() + half)
