"""Numbers of a soft-label file: how probabilities become codes, and codes probabilities again.

A row of probabilities is stored relative to its largest entry, as the rounded square root: c = 1 + round(S sqrt(p / max)).
Read back, the row is (c - 1)^2 divided by its sum. The square root spends the steps evenly in Hellinger distance, so
the error in nats is bounded for every row (`Roots.kl_bound`), small probabilities included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

PRECISIONS = ("uint8", "uint16", "float16", "float32")


@dataclass(frozen=True)
class Roots:
    """Square roots in unsigned integers of `bits` bits; code 0 means "nothing here", code 1 a probability of 0.

    A positive probability never becomes 0: it gets code 2 at least.
    """

    bits: int

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"<u{self.bits // 8}")

    @property
    def steps(self) -> int:
        return int((1 << self.bits) - 2)

    def encode(self, p: np.ndarray, present: np.ndarray) -> np.ndarray:
        """(n, m) codes of rows `p` (n, m) >= 0; entries outside `present` get code 0."""
        p = np.where(present, p, 0.0).astype(np.float64)
        top = p.max(1, keepdims=True)
        root = np.rint(np.sqrt(p / np.where(top > 0, top, 1)) * self.steps)
        code = np.where(p > 0, np.maximum(root, 1), 0) + 1
        return np.where(present, code, 0).astype(self.dtype)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """(n, m) float32, rows not yet divided by their sums; 0 where nothing is."""
        if self.bits == 8:
            return _SQUARES.take(codes)
        value = codes.astype(np.float32)
        value -= 1
        np.maximum(value, 0, out=value)
        value *= value
        return value

    def squares(self, codes: np.ndarray) -> np.ndarray:
        """(n, m) uint16: `decode` of codes of 8 bits in half the memory, exactly; 254 squared is 64516."""
        root = np.maximum(codes, 1).astype(np.uint16)
        root -= 1
        root *= root
        return root

    def dense(self, codes: np.ndarray) -> np.ndarray:
        """(n, m) float32 rows divided by their sums, rows of zeros as they are; the sums are exact, whatever m is."""
        out, step = np.empty(codes.shape, dtype=np.float32), max(1, _BLOCK // max(codes.shape[1], 1))
        for start in range(0, len(out), step):
            part, root = out[start : start + step], np.maximum(codes[start : start + step], 1)
            root -= 1
            wide = root.astype(np.float64)
            total = np.einsum("ij,ij->i", wide, wide).astype(np.float32)
            part[...] = root
            part *= part
            part /= np.where(total > 0, total, 1)[:, None]
        return out

    def empty(self, codes: np.ndarray) -> np.ndarray:
        """True where a code says that nothing is there."""
        return codes == 0

    def kl_bound(self, entries: int) -> float | None:
        """KL(p || stored) in nats of any row of `entries` numbers is at most this.

        With a = sqrt(p / max), one entry exact and the others off by half a step e = 1 / (2 S): the generalised KL of a
        stored entry is at most (a^2 - c^2)^2 / c^2 = (a - c)^2 (a + c)^2 / c^2 <= e^2 2.5^2, since c >= 2e; an entry
        raised to one step costs at most its size 4 e^2. Dividing by the row sums, which are >= 1, only lowers it.
        """
        return 6.25 * (entries - 1) / (2 * self.steps) ** 2


@dataclass(frozen=True)
class Floats:
    """Probabilities as they are, in float16 or float32; -1 means "nothing here"."""

    bits: int

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"<f{self.bits // 8}")

    def encode(self, p: np.ndarray, present: np.ndarray) -> np.ndarray:
        """(n, m) codes of rows `p` (n, m) >= 0; entries outside `present` get -1."""
        return np.where(present, p, -1).astype(self.dtype)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """(n, m) float32; 0 where nothing is."""
        if self.bits == 32:
            return np.maximum(codes, 0)
        # NumPy converts float16 one number at a time; shifting its bits into a float32 and mending the exponent is the
        # same for every number >= 0, and six times quicker. Seen as int16, what is below 0 is what has a sign.
        bits = np.maximum(codes.view("<i2"), 0).astype(np.uint32)
        bits <<= 13
        value = bits.view(np.float32)
        value *= 2.0**112
        return value

    def dense(self, codes: np.ndarray) -> np.ndarray:
        """(n, m) float32 rows; float16 is divided by the sums, rows of zeros stay."""
        return self.decode(codes) if self.bits == 32 else unit(self.decode(codes))

    def empty(self, codes: np.ndarray) -> np.ndarray:
        """True where a code says that nothing is there."""
        return codes < 0

    def kl_bound(self, entries: int) -> float | None:
        """None: float16 rounds small probabilities to 0, and what that costs depends on the row."""
        return None


Codec = Roots | Floats
TAIL_CODEC = Roots(8)  # of a tail per class
_BLOCK = 1 << 16  # numbers handled in one go: they stay in the cache of one core
_SQUARES = np.maximum(np.arange(256, dtype=np.float32) - 1, 0) ** 2


def codec(precision: str) -> Codec:
    """The codec of a precision ("uint8", "uint16", "float16" or "float32")."""
    kind = Roots if precision.startswith("uint") else Floats
    return kind(int(precision.removeprefix("uint").removeprefix("float")))


def id_type(n_classes: int) -> np.dtype[Any]:
    """The narrowest unsigned integers that hold every class id."""
    return np.dtype("<u1" if n_classes <= 1 << 8 else "<u2" if n_classes <= 1 << 16 else "<u4")


def unit(values: np.ndarray) -> np.ndarray:
    """Rows divided by their sums in place; rows of zeros stay."""
    total = values.sum(1, keepdims=True)
    if not total.all():
        total[total == 0] = 1
    values /= total
    return values
