"""How many labels are wrong, told after every answer: a confidence sequence for stratified sampling without replacement.

A fixed-size interval holds at one look. Who looks after each answer, and stops when it pleases, needs bounds that hold at all
looks together. For one stratum of N labels, M of them wrong, the ratio of the chance of the answers under a beta-binomial prior
to that under M is a martingale that starts at 1 (the prior-posterior ratio). Answers of different strata are independent, so
the product of their ratios is one as well, and by Ville's inequality it passes 1 / alpha at some look with probability alpha at
most. The interval holds every total that some split over the strata keeps below that.

Source: Waudby-Smith & Ramdas 2020, "Confidence sequences for sampling without replacement", theorem 1; the product over strata
as in Spertus & Stark 2022, "Sweeter than SUITE". The linear program over splits and its dual are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

WEIGHT = 2.0
"""How many answers the prior of a stratum is worth; its mean is the suspicion. It moves the width, never the coverage."""

ASSUMPTION = (
    "The answers are right, and the items came in the order drawn beforehand. The interval holds at every look together, so you "
    "may stop when you like; the final estimate, for one look, is narrower."
)


class Stratum(NamedTuple):
    """size: labels in it.   n: answered, from the start of its order.   wrong_least, wrong_most: wrong ones among them, an answer
    that could not tell counted as right and as wrong.   mean: suspicion before any answer, in [0, 1]."""

    size: int
    n: int
    wrong_least: int
    wrong_most: int
    mean: float = 0.5


def live_interval(strata: Sequence[Stratum], *, level: float = 0.9) -> tuple[float, float]:
    """Bounds of the share of wrong labels in all strata together, valid at every look with probability `level`.

    >>> live_interval([Stratum(1000, 0, 0, 0)])
    (0.0, 1.0)
    >>> low, high = live_interval([Stratum(1000, 100, 10, 10)])
    >>> 0.02 < low < 0.1 < high < 0.25
    True
    """
    total = sum(s.size for s in strata)
    if total == 0:
        return 0.0, 1.0
    limit = -math.log(1 - level)
    wrong = least_total([(s.size, s.n, s.wrong_least, s.mean) for s in strata], limit)
    right = least_total([(s.size, s.n, s.n - s.wrong_most, 1 - s.mean) for s in strata], limit)
    return wrong / total, 1 - right / total


def least_total(strata: Sequence[tuple[int, int, int, float]], limit: float) -> int:
    """The smallest sum of M_h whose log-ratios together stay below `limit`, or a little less (the bound of weak duality).

    strata: (size, answered, hits among them, prior mean) each.
    """
    known = sum(hits for _, _, hits, _ in strata)
    if all(n == size for size, n, _, _ in strata):
        return known

    def dual(log_price: float) -> float:
        price = math.exp(log_price)
        worth = 0.0
        for stratum in strata:
            m = _best(*stratum[:3], price)
            worth += m + price * log_ratio(m, *stratum)
        return worth - price * limit

    best = _highest(dual, -10.0, math.log(sum(s[0] for s in strata)) + 10)
    return max(known, math.ceil(best - 1e-6))


def log_ratio(m: int, size: int, n: int, hits: int, mean: float) -> float:
    """Log of the prior-posterior ratio of M = m: the answers' chance under the prior over that under m.

    m: in [hits, size - (n - hits)].
    """
    mean = min(max(mean, 0.02), 0.98)
    a, b = WEIGHT * mean, WEIGHT * (1 - mean)
    misses = n - hits
    prior = _log_beta(a + hits, b + misses) - _log_beta(a, b)
    return prior + _falling(size, n) - _falling(m, hits) - _falling(size - m, misses)


def _best(size: int, n: int, hits: int, price: float) -> int:
    """The m that makes m + price * log_ratio(m) least; its differences grow with m."""
    misses = n - hits
    low, high = hits, size - misses
    while low < high:
        m = (low + high) // 2
        step = math.log((size - m) / (size - m - misses)) if misses else 0.0
        step -= math.log((m + 1) / (m + 1 - hits)) if hits else 0.0
        if 1 + price * step >= 0:
            high = m
        else:
            low = m + 1
    return low


def _falling(n: int, k: int) -> float:
    """log(n (n - 1) ... (n - k + 1))."""
    return math.lgamma(n + 1) - math.lgamma(n - k + 1)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _highest(f: object, low: float, high: float) -> float:
    """The greatest value of a function with one peak that the golden section finds; any value that it finds is a bound."""
    assert callable(f)
    golden = (math.sqrt(5) - 1) / 2
    a, b = low, high
    c, d = b - golden * (b - a), a + golden * (b - a)
    fc, fd = f(c), f(d)
    best: float = max(fc, fd)
    for _ in range(40):
        if fc >= fd:
            b, d, fd = d, c, fc
            c = b - golden * (b - a)
            fc = f(c)
        else:
            a, c, fc = c, d, fd
            d = a + golden * (b - a)
            fd = f(d)
        best = max(best, fc, fd)
    return best


def wilson(right: int, n: int, *, z: float = 1.6449) -> tuple[float, float]:
    """90 % interval of a share (Wilson 1927).

    >>> [round(v, 2) for v in wilson(9, 10)]
    [0.65, 0.98]
    """
    p, q = right / n, z * z / n
    middle, half = p + q / 2, z * math.sqrt(p * (1 - p) / n + q / n / 4)
    return (middle - half) / (1 + q), (middle + half) / (1 + q)
