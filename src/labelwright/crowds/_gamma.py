"""log Gamma and its derivative of many numbers, both at once: three times faster than one after the other."""

from __future__ import annotations

import math

import numpy as np

BLOCK = 1 << 13  # so that what is in between stays in fast memory
FEW = 2000  # below this SciPy is as fast

PSI = (511 / 67584, -127 / 30720, 31 / 8064, -7 / 960, 1 / 24)
"""psi(z + 1/2) = log z + sum of PSI[-n] / z^(2 n)."""

LOG_GAMMA = (-511 / 608256, 127 / 215040, -31 / 40320, 7 / 2880, -1 / 24)
"""log Gamma(z + 1/2) = z log z - z + log(2 pi) / 2 + sum of LOG_GAMMA[-n] / z^(2 n - 1)."""


def psi(x: np.ndarray) -> np.ndarray:
    """(C,) the first of `psi_gammaln`."""
    if len(x) < FEW:
        from scipy.special import psi as digamma

        return np.asarray(digamma(x))
    out = np.empty_like(x)
    for at in range(0, len(x), BLOCK):
        part = slice(at, at + BLOCK)
        _psi(x[part], out[part])
    return out


def psi_gammaln(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(C,) psi and log Gamma of numbers (C,) float64 > 0, each within 1e-13 of its size (of 1, where it is smaller).

    Source: Abramowitz & Stegun 6.1.15, 6.3.5 (recurrences); DLMF 5.11.8 with h = 1/2 (asymptotic series).

    >>> psi, log_gamma = psi_gammaln(np.array([1.0, 5.0]))
    >>> psi.round(6).tolist(), np.exp(log_gamma).round(6).tolist()
    ([-0.577216, 1.506118], [1.0, 24.0])
    """
    if len(x) < FEW:
        from scipy.special import gammaln

        return psi(x), gammaln(x)
    out, log_gamma = np.empty_like(x), np.empty_like(x)
    for at in range(0, len(x), BLOCK):
        part = slice(at, at + BLOCK)
        _log_gamma(_psi(x[part], out[part]), log_gamma[part])
    return out, log_gamma


Parts = tuple[np.ndarray, ...]


def _psi(x: np.ndarray, out: np.ndarray) -> Parts:
    """The series at x + 10, brought down by the product of x (x + 1) ... (x + 9), of which pairs x + i and x + 9 - i are
    u + i (9 - i) with u = x (x + 9). Gives what log Gamma needs of it: z, 1 / z, 1 / z^2, log z and the product."""
    odd = x + 9
    u = x * odd
    odd += x  # derivative of u
    product, slope = u + 8, 2 * u
    slope += 8  # of u (u + 8)
    product *= u
    term = np.empty_like(x)
    for shift in (14, 18, 20):
        np.add(u, shift, out=term)
        slope *= term
        slope += product
        product *= term
    slope /= product
    slope *= odd
    z = np.add(x, 9.5, out=u)
    inverse = np.divide(1, z, out=odd)
    square = np.multiply(inverse, inverse, out=term)
    log = np.log(z)
    _series(PSI, square, out)
    out *= square
    out += log
    out -= slope
    return z, inverse, square, log, product


def _log_gamma(parts: Parts, out: np.ndarray) -> None:
    """From what `_psi` gives, which it overwrites."""
    z, inverse, square, log, product = parts
    _series(LOG_GAMMA, square, out)
    out *= inverse
    log -= 1
    log *= z
    out += log
    out -= np.log(product, out=product)
    out += 0.5 * math.log(2 * math.pi)


def _series(factors: tuple[float, ...], square: np.ndarray, out: np.ndarray) -> None:
    np.multiply(square, factors[0], out=out)
    for factor in factors[1:-1]:
        out += factor
        out *= square
    out += factors[-1]
