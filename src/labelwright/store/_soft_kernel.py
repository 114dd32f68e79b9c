"""Records of a soft-label file made dense in one reading, compiled by Numba where it is there.

Probabilities in integers only ("uint8", dense "uint8" and "uint16"): their sums are exact in any order, so the loops give
the bits that NumPy gives. A row that is out of the ordinary (outside the file, an empty place, no evidence, a class outside
the space, a thin tail) is marked in `left` for NumPy, which mends or refuses it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from labelwright.compiled import compile_loop, read_only
from labelwright.errors import MissingExtra
from labelwright.store._soft_spread import THIN

ENGINES = ("auto", "numpy", "numba")
WORTH_COMPILING = 1 << 26
"""Probabilities of a file (rows x K) from which "auto" takes Numba: small files are read before Numba is imported."""
MOST = 255
"""Classes per record that the loop serves: k + 1 squares of up to 254 add up exactly in float32."""

Loop = Callable[..., None]


def fill_top(raw: Any, rows: Any, k: int, width: int, table: Any, coded: bool, total: Any, out: Any, left: Any) -> None:
    """Dense rows of "uint8" records of k ids of `width` bytes and k + 1 codes, the rest spread by a tail.

    table, total: of a `Tail`; or the table is `coded` as in the file: a quarter of float32, it stays in the cache.
    """
    ids, value = np.empty(k, np.int64), np.empty(k + 1, np.int64)
    for i in range(len(rows)):
        left[i] = not -len(raw) <= rows[i] < len(raw)
        if left[i]:
            continue
        record = raw[rows[i]]
        mass, odd = 0, False
        for j in range(k + 1):
            code = np.int64(record[k * width + j])
            odd |= code == 0
            value[j] = (code - 1) * (code - 1)
            mass += value[j]
        for j in range(k):
            ids[j] = 0
            for byte in range(width):
                ids[j] |= np.int64(record[j * width + byte]) << (8 * byte)
            odd |= ids[j] >= out.shape[1]
        left[i] = odd or mass == 0
        if left[i]:
            continue
        which = ids[0] if len(table) > 1 else 0
        shape, row = table[which], out[i]
        taken = 0.0
        for j in range(k):
            entry = np.float64(shape[ids[j]])
            taken += (entry - 1) * (entry - 1) if coded else entry
        free = total[which] - taken
        if free <= THIN * total[which]:
            left[i] = True
            continue
        scale = np.float32(value[k]) / np.float32(mass) / np.float32(free)
        if coded:
            for j in range(len(row)):
                root = np.float32(shape[j]) - np.float32(1)
                row[j] = root * root * scale
        else:
            for j in range(len(row)):
                row[j] = np.float32(shape[j]) * scale
        for j in range(k):
            row[ids[j]] = np.float32(value[j]) / np.float32(mass)


def fill_all(codes: Any, rows: Any, one: Any, out: Any, left: Any) -> None:
    """Dense rows of K codes each. one: 1 in the type of the codes, which keeps the loops in narrow integers."""
    for i in range(len(rows)):
        left[i] = not -len(codes) <= rows[i] < len(codes)
        if left[i]:
            continue
        code, row = codes[rows[i]], out[i]
        mass = np.uint64(0)
        for j in range(len(code)):
            root = np.uint32(max(code[j], one) - one)
            mass += np.uint64(root * root)
        left[i] = mass == 0
        if left[i]:
            continue
        divisor = np.float32(mass)
        for j in range(len(code)):
            value = np.float32(max(code[j], one) - one)
            row[j] = value * value / divisor


@cache
def compiled(loop: Loop, kind: str) -> Loop | None:
    """`loop` compiled for tables or codes of this dtype, None without Numba. Kept where there is a folder for it."""
    one = np.zeros((1, 2), np.float32), np.zeros(1, bool)
    rows = read_only(np.zeros(1, np.int64))
    if loop is fill_top:
        table = read_only(np.zeros((1, 2), kind)), False, read_only(np.zeros(1))
        example: tuple[Any, ...] = (read_only(np.zeros((1, 3), np.uint8)), rows, 1, 1, *table, *one)
    else:
        example = (read_only(np.zeros((1, 2), kind)), rows, np.dtype(kind).type(1), *one)
    return compile_loop(loop, example, error_model="numpy")


def choose(engine: str, loop: Loop, kind: str, entries: int) -> Loop | None:
    """`loop` compiled for tables or codes of this dtype, None where NumPy does. entries: rows x K of the file.

    Raises:
        MissingExtra: engine="numba" without Numba.
    """
    if engine == "numpy" or (engine == "auto" and entries < WORTH_COMPILING):
        return None
    ready = compiled(loop, kind)
    if ready is None and engine == "numba":
        raise MissingExtra(
            found="engine='numba' without the package numba",
            expected="the extra 'fast'",
            fix='pip install "labelwright[fast]", or leave engine="auto"',
        )
    return ready
