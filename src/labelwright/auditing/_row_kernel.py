"""The one loop that NumPy cannot fuse: three things of each row in a single reading, compiled by Numba where it is there."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from labelwright.compiled import compile_loop, read_only
from labelwright.errors import MissingExtra, check_option

ENGINES = ("auto", "numpy", "numba")
WORTH_COMPILING = 1 << 26
"""Entries from which "auto" takes Numba: below, NumPy needs less time than the import of Numba."""

Scan = Callable[..., None]


def scan(bits: Any, labels: Any, limit: Any, own: Any, other: Any, top: Any) -> None:
    """Own, largest other and top class of each row of `bits`, the floats seen as unsigned integers of their width.

    Non-negative floats order like their bits, and a maximum of integers needs no rule for NaN, so it runs as fast as
    memory delivers. A row with an entry of `limit` (the bits of infinity) or more has a NaN, an infinity or a sign: its
    top is set to -2 for others to look at. Rows without a label get top -1.
    """
    for i in range(len(bits)):
        given = labels[i]
        if given < 0:
            top[i] = -1
            continue
        row = bits[i]
        mine = row[given]
        best = bits.dtype.type(0)
        before, after = row[:given], row[given + 1 :]
        for j in range(len(before)):  # over positions: the compiler makes wide instructions of these two loops only
            best = max(best, before[j])
        for j in range(len(after)):
            best = max(best, after[j])
        own[i], other[i], top[i] = mine, best, given
        if mine >= limit or best >= limit:
            top[i] = -2
        elif best >= mine:  # the first of equals: perhaps the given class itself
            for j in range(len(row)):
                if row[j] == best:
                    top[i] = j
                    break


@cache
def compiled(kind: str) -> Scan | None:
    """`scan` compiled for bits of this dtype, or None without Numba. Takes about a second where no compiled code was kept."""
    one = np.zeros((1, 2), kind)
    example = (
        read_only(one),
        read_only(np.zeros(1, np.int64)),
        one[0, 0],
        one[0].copy(),
        one[0].copy(),
        np.zeros(1, np.int32),
    )
    return compile_loop(scan, example)


def choose(engine: str, pred_probs: np.ndarray) -> Scan | None:
    """The compiled loop that serves these probabilities, None where NumPy does.

    Raises:
        OptionError: an unknown engine. MissingExtra: "numba" without Numba.
    """
    check_option("engine", engine, ENGINES)
    fits = pred_probs.dtype.kind == "f" and pred_probs.dtype.itemsize <= 8 and pred_probs.dtype.isnative
    wanted = engine == "numba" or (engine == "auto" and pred_probs.size >= WORTH_COMPILING)
    if not wanted or not fits or pred_probs.shape[1] < 2:
        return None
    loop = compiled(f"u{pred_probs.dtype.itemsize}")
    if loop is None and engine == "numba":
        raise MissingExtra(
            found="engine='numba' without the package numba",
            expected="the extra 'fast'",
            fix='pip install "labelwright[fast]", or leave engine="auto"',
        )
    return loop
