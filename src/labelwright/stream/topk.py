"""The lowest values of a stream, as of the items to review first."""

from __future__ import annotations

import numpy as np

from labelwright.errors import check_whole

_SLACK = 1 << 16  # values held beyond twice the size before they are sorted out


class Lowest:
    """Mergeable statistic: the rows of the `size` lowest values of a stream, lowest first, ties to the lower row.

    A chunk is `(rows, values)`: rows a slice or (n,) int, values (n,); NaN is passed over. Any cut and order of the
    stream gives the same rows. Holds at most 2 `size` + 65,536 values beside a chunk.

    >>> lowest = Lowest(2)
    >>> lowest.update((slice(10, 13), np.array([0.3, 0.1, 0.2])))
    >>> lowest.result()
    array([11, 12])
    """

    def __init__(self, size: int):
        check_whole("size", size, 0)
        self.size = size
        self._rows = np.zeros(0, np.int64)
        self._values = np.zeros(0)
        self._cutoff = np.inf  # values above can no longer be among the lowest

    def update(self, chunk: tuple[slice | np.ndarray, np.ndarray]) -> None:
        rows, values = chunk
        low = np.flatnonzero(values <= self._cutoff)
        self._rows = np.concatenate([self._rows, low + rows.start if isinstance(rows, slice) else rows[low]])
        self._values = np.concatenate([self._values, values[low]])
        if len(self._rows) > 2 * self.size + _SLACK:
            self._compact()

    def _compact(self) -> None:
        if len(self._rows) > self.size:
            kth = np.partition(self._values, self.size - 1)[self.size - 1] if self.size else -np.inf
            self._cutoff = float(kth)
            low = np.flatnonzero(self._values <= kth)
            self._rows, self._values = self._rows[low], self._values[low]
        order = np.lexsort((self._rows, self._values))[: self.size]
        self._rows, self._values = self._rows[order], self._values[order]

    def merge(self, other: Lowest) -> None:
        self.update((other._rows, other._values))

    def result(self) -> np.ndarray:
        self._compact()
        return self._rows

    def values(self) -> np.ndarray:
        """The lowest values, in the order of `result`."""
        self._compact()
        return self._values

    def state(self) -> dict[str, np.ndarray]:
        self._compact()
        return {"size": np.array(self.size), "rows": self._rows, "values": self._values}

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray]) -> Lowest:
        self = cls(int(state["size"]))
        self._rows, self._values = state["rows"], state["values"]
        return self
