"""Mergeable statistics: what must scale is an `update` per chunk, a `merge` of halves and a `result` at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

import numpy as np

R = TypeVar("R", covariant=True)

CHUNK_ENTRIES = 1 << 20
"""Default size of a chunk of an (N, K) array, in entries: a few MiB of scratch whatever N and K are."""


@runtime_checkable
class Statistic(Protocol[R]):
    """A summary of rows that does not depend on how the rows were cut into chunks or in which order halves were merged:
    bitwise where it counts in integers, to 1e-6 where it adds floats."""

    def update(self, chunk: Any) -> None:
        """Take in some rows."""

    def merge(self, other: Self) -> None:
        """Take in what another instance has seen."""

    def result(self) -> R:
        """The value of the statistic over all rows seen so far."""


@runtime_checkable
class Stateful(Protocol):
    """A statistic that can be kept in a file and read back, so that a killed run goes on (`run(..., checkpoint=...)`)."""

    def state(self) -> dict[str, np.ndarray]:
        """All it has seen and its options, as arrays of numbers or text."""

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray]) -> Self:
        """What `state` came from."""


def chunks(n_rows: int, n_columns: int = 1, *, entries: int = CHUNK_ENTRIES) -> Iterator[slice]:
    """Slices that cut `n_rows` rows of `n_columns` entries each into pieces of about `entries` entries.

    >>> list(chunks(5, 2, entries=4))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = max(1, entries // max(1, n_columns))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def fold(statistic: Statistic[R], parts: Iterable[Any]) -> R:
    """`statistic.result()` after one pass over `parts`."""
    for part in parts:
        statistic.update(part)
    return statistic.result()
