"""Rows that are looked at as they pass: a bad value stops the run and is named by shard and row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from labelwright.errors import DataError, ProbabilityError
from labelwright.labels.check import tolerance
from labelwright.stream.rows import Chunk, Rows

_BLOCK = 1 << 16  # entries per look: scratch that stays in cache


def checked(rows: Rows, *, distributions: bool = False) -> Rows:
    """The same rows; every chunk is checked when it is read, none is skipped. Costs one look at each value, no pass more.

    Args:
        rows: see `open_rows`. Top-k rows are checked by their type already; tables only for nulls in float columns.
        distributions: every float matrix (n, K) must hold distributions: values in [0, 1] that sum to 1 within 1e-4
            (float16: 2e-3).

    Raises:
        DataError: on reading, NaN or infinite values. ProbabilityError: rows that are no distribution.

    >>> from labelwright.stream import open_rows
    >>> list(checked(open_rows(np.array([0.5, np.nan]))).chunks())
    Traceback (most recent call last):
    ...
    labelwright.errors.DataError: found NaN or infinite values in 1 of 2 rows, first in row 1; expected finite values. Fix: ...
    """
    return _Checked(rows, distributions)


class _Checked(Rows):
    def __init__(self, rows: Rows, distributions: bool):
        self._rows, self._distributions = rows, distributions
        self.name, self.shape, self.dtype, self.schema = rows.name, rows.shape, rows.dtype, rows.schema
        self.classes, self.pieces = rows.classes, rows.pieces

    def _read(self, rows: int, start: int, stop: int | None) -> Iterator[Chunk]:
        for chunk in self._rows.chunks(rows, start=start, stop=stop):
            for part in chunk.data if isinstance(chunk.data, tuple) else (chunk.data,):
                if isinstance(part, np.ndarray) and part.dtype.kind == "f":
                    self._look(part.reshape(len(part), -1), chunk, self._distributions and part.ndim == 2)
                elif hasattr(part, "column_names"):
                    for name, column in zip(part.column_names, part.columns):
                        if _holds_floats(column):
                            self._look(column.to_numpy().astype(np.float64)[:, None], chunk, False, f" of {name!r}")
            yield chunk

    def _look(self, values: np.ndarray, chunk: Chunk, distributions: bool, column: str = "") -> None:
        step = max(1, _BLOCK // max(1, values.shape[1]))
        for at in range(0, len(values), step):
            block = values[at : at + step]
            bad = np.flatnonzero(~np.isfinite(block).all(1))
            if len(bad):
                raise DataError(
                    found=f"NaN or infinite values{column} in {len(bad)} of {len(block)} rows, "
                    f"first in {chunk.where(at + int(bad[0]))}",
                    expected="finite values",
                    fix="find out why the model failed there; predict these rows again, or drop them everywhere",
                )
            if distributions:
                self._sum_up(block, at, chunk)

    def _sum_up(self, block: np.ndarray, at: int, chunk: Chunk) -> None:
        total, slack = block.sum(1, dtype=np.float64), tolerance(block.dtype)
        low, high = block.min(1, initial=0), block.max(1, initial=0)
        bad = np.flatnonzero((np.abs(total - 1) > slack) | (low < -slack) | (high > 1 + slack))
        if len(bad):
            i = int(bad[0])
            raise ProbabilityError(
                found=f"{len(bad)} of {len(block)} rows that are no distribution, first {chunk.where(at + i)} "
                f"(sum {total[i]:.4g}, min {low[i]:.3g}, max {high[i]:.3g})",
                expected=f"values in [0, 1] that sum to 1 within {slack:g}",
                fix="pass probabilities: a softmax of logits, percentages / 100, rows divided by their sum",
            )

    def fingerprint(self) -> str:
        return self._rows.fingerprint()


def _holds_floats(column: Any) -> bool:
    import pyarrow.types as t

    return bool(t.is_floating(column.type))
