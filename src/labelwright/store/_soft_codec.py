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

    def empty(self, codes: np.ndarray) -> np.ndarray:
        """True where a code says that nothing is there."""
        return codes < 0

    def kl_bound(self, entries: int) -> float | None:
        """None: float16 rounds small probabilities to 0, and what that costs depends on the row."""
        return None


Codec = Roots | Floats
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


def spread(
    index: np.ndarray,
    prob: np.ndarray,
    rest: np.ndarray,
    known: np.ndarray,
    tail: np.ndarray | None,
    n_classes: int,
) -> np.ndarray:
    """(n, K) float32 rows of top-k labels whose rest is spread over the classes not listed.

    Args:
        index, prob: (n, k), -1 pads.   rest: (n,).   known: (n,) bool; the other rows become uniform.
        tail: None: evenly. (K,): by this shape. (K, K) float32, rows sum to 1: by the row of the likeliest class.
    """
    at, listed = index, None
    if index.size and index.min() < 0:
        listed = index >= 0
        at = np.where(listed, index, 0)
    out = np.empty((len(at), n_classes), dtype=np.float32)
    _spread_rest(out, at, listed, rest, tail)
    place = at + np.arange(0, out.size, n_classes)[:, None]
    if listed is None:
        out.reshape(-1)[place] = prob
    else:
        out.reshape(-1)[place[listed]] = prob[listed]
        out[~known] = 1 / n_classes
    if index.shape[1] >= n_classes:  # no class may be left open for the rest
        unit(out)
    return out


def _spread_rest(
    out: np.ndarray, at: np.ndarray, listed: np.ndarray | None, rest: np.ndarray, tail: np.ndarray | None
) -> None:
    """Fill `out` with the rest of each row, spread as if no class were listed but scaled so that the open ones sum to
    it; what stands at the listed classes is overwritten later. listed: None where all are."""
    n_classes = out.shape[1]
    if tail is None:
        n_open = n_classes - (at.shape[1] if listed is None else listed.sum(1))
        out[...] = np.divide(rest, np.maximum(n_open, 1), dtype=np.float32)[:, None]
        return
    top = np.ascontiguousarray(at[:, 0])
    place = at if tail.ndim == 1 else at + np.multiply(top, n_classes, dtype=np.int64)[:, None]
    taken = tail.take(place)
    free = 1 - (taken.sum(1) if listed is None else (taken * listed).sum(1))
    scale = np.divide(rest, np.maximum(free, _THIN), dtype=np.float32)
    if tail.ndim == 1:
        np.dot(scale[:, None], tail[None], out=out)
    else:
        tail.take(top, axis=0, out=out, mode="clip")  # "raise" would copy through a buffer
        out *= scale[:, None]
    if free.size and free.min() < _THIN:
        _respread(out, at, listed, rest, tail, free)


def _respread(
    out: np.ndarray,
    at: np.ndarray,
    listed: np.ndarray | None,
    rest: np.ndarray,
    tail: np.ndarray,
    free: np.ndarray,
) -> None:
    """Mend rows that list nearly all of their tail: there 1 minus a sum is rounding. Where none is left: evenly."""
    for i in np.flatnonzero((free < _THIN) & (rest > 0)):
        is_open = np.ones(out.shape[1], dtype=bool)
        is_open[at[i] if listed is None else at[i][listed[i]]] = False
        shape = np.where(is_open, tail if tail.ndim == 1 else tail[at[i, 0]], 0).astype(np.float64)
        shape = shape if shape.sum() > 0 else is_open.astype(np.float64)
        out[i] = rest[i] * shape / max(shape.sum(), 1e-300)


_THIN = 1e-3
