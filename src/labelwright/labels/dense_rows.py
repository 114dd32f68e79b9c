"""Top-k rows that read like the matrix they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from labelwright.labels.soft import SoftLabels

_BLOCK = 1 << 16  # entries written out at a time where single ones are asked for


class DenseRows:
    """The (N, K) float32 matrix of soft labels, written out only where it is read: bit by bit what `SoftLabels.dense()` holds.

    Reads like a NumPy array by rows (a slice, numbers or a mask) and by entries (`matrix[rows, columns]`, both (n,) int);
    there is no copy of the whole unless NumPy is given the whole (`np.asarray(matrix)`).

    >>> from labelwright.labels import SoftLabels
    >>> matrix = SoftLabels.from_dense([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], k=1).dense_rows()
    >>> matrix.shape, matrix[1:].tolist() == [[0.10000000149011612, 0.10000000149011612, 0.800000011920929]]
    ((2, 3), True)
    """

    ndim = 2
    dtype = np.dtype(np.float32)

    def __init__(self, soft: SoftLabels):
        self._soft = soft

    def dense_rows(self) -> DenseRows:
        """Itself, as of soft labels."""
        return self

    @property
    def shape(self) -> tuple[int, int]:
        return len(self._soft), len(self._soft.space)

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]

    def __len__(self) -> int:
        return len(self._soft)

    def __getitem__(self, at: Any) -> np.ndarray:
        if not isinstance(at, tuple):
            dense: np.ndarray = self._soft[at].dense()
            return dense[0] if isinstance(at, int | np.integer) else dense
        rows, columns = (np.asarray(part) for part in at)
        rows, columns = np.broadcast_arrays(rows, columns)
        out = np.empty(len(rows), np.float32)
        step = max(1, _BLOCK // self.shape[1])
        for start in range(0, len(rows), step):
            block = slice(start, start + step)
            dense = self._soft[rows[block]].dense()
            out[block] = dense[np.arange(len(dense)), columns[block]]
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        dense = self._soft.dense()
        return dense if dtype is None else dense.astype(dtype)
