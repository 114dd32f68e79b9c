"""The live interval covers at every look, is exact at the end, and the answers of a pair move the others like it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.auditing.review import review_design
from labelwright.webapp.progress import Stratum, least_total, live_interval, log_ratio, wilson
from labelwright.webapp.settling import shift


def naive_interval(strata: list[Stratum], level: float) -> tuple[float, float]:
    """Every split of wrong labels over the strata, one by one (clear answers only)."""
    limit = -math.log(1 - level)
    ratios = [
        {
            m: log_ratio(m, s.size, s.n, s.wrong_least, s.mean)
            for m in range(s.wrong_least, s.size - s.n + s.wrong_least + 1)
        }
        for s in strata
    ]
    kept = {0: 0.0}
    for of_stratum in ratios:
        least: dict[int, float] = {}
        for total, worth in kept.items():
            for m, ratio in of_stratum.items():
                least[total + m] = min(least.get(total + m, math.inf), worth + ratio)
        kept = least
    totals = [total for total, worth in kept.items() if worth < limit]
    size = sum(s.size for s in strata)
    return min(totals) / size, max(totals) / size


def test_the_ratio_is_the_chance_under_the_prior_over_that_under_m():
    size, n, hits, mean = 12, 5, 2, 0.3
    a, b = 2 * mean, 2 * (1 - mean)

    def under(m: int) -> float:  # of one order of the answers: misses first
        chance, wrong, right = 1.0, m, size - m
        for answer in (0, 0, 0, 1, 1):
            chance *= (wrong if answer else right) / (wrong + right)
            wrong, right = wrong - answer, right - (1 - answer)
        return chance

    def beta(x: float, y: float) -> float:
        return math.gamma(x) * math.gamma(y) / math.gamma(x + y)

    prior = [math.comb(size, m) * beta(a + m, b + size - m) / beta(a, b) for m in range(size + 1)]
    assert sum(prior) == pytest.approx(1)
    whole = sum(w * under(m) for m, w in enumerate(prior))
    for m in range(hits, size - (n - hits) + 1):
        assert log_ratio(m, size, n, hits, mean) == pytest.approx(math.log(whole / under(m)))


@given(
    st.lists(st.tuples(st.integers(1, 25), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=3)
)
def test_the_bounds_hold_all_that_every_split_allows(rows):
    strata = []
    for size, share, wrong, mean in rows:
        n = round(share * size)
        hits = round(wrong * n)
        strata.append(Stratum(size, n, hits, hits, mean))
    low, high = live_interval(strata, level=0.9)
    exact = naive_interval(strata, 0.9)
    size = sum(s.size for s in strata)
    assert low <= exact[0] + 1e-9 and exact[1] <= high + 1e-9
    slack = 2 * len(strata) / size  # weak duality: at most about one label per stratum
    assert exact[0] - low <= slack + 1e-9 and high - exact[1] <= slack + 1e-9


def test_everything_answered_is_exact_and_nothing_answered_says_nothing():
    assert live_interval([Stratum(50, 50, 7, 7), Stratum(10, 10, 1, 1)]) == pytest.approx((8 / 60, 8 / 60))
    assert live_interval([Stratum(50, 0, 0, 0), Stratum(10, 0, 0, 0)]) == (0.0, 1.0)
    assert live_interval([]) == (0.0, 1.0)
    assert least_total([(50, 50, 7, 0.5)], 2.3) == 7


@given(st.integers(2, 60), st.data())
def test_an_unclear_answer_widens_to_both_readings(size, data):
    n = data.draw(st.integers(1, size))
    least = data.draw(st.integers(0, n))
    most = data.draw(st.integers(least, n))
    low, high = live_interval([Stratum(size, n, least, most)])
    for wrong in range(least, most + 1):
        inside = live_interval([Stratum(size, n, wrong, wrong)])
        assert low <= inside[0] + 1e-9 and inside[1] <= high + 1e-9


def covered_at_every_look(rate: float, seed: int, n: int = 400, looks: int = 150) -> bool:
    """One review of a simulated data set, looked at after every third answer."""
    rng = np.random.default_rng(seed)
    suspicion = rng.beta(0.4, 4, n)
    wrong = rng.random(n) < np.clip(suspicion * rate, 0, 1)
    design = review_design(suspicion, seed=seed)
    truth = wrong.mean()
    mean = np.bincount(design.stratum, suspicion) / design.size
    for look in range(3, looks, 3):
        index = design.order[:look]
        taken = np.bincount(design.stratum[index], minlength=len(design.size))
        hits = np.bincount(design.stratum[index], wrong[index], minlength=len(design.size)).astype(int)
        low, high = live_interval(
            [Stratum(*map(int, row[:4]), row[4]) for row in zip(design.size, taken, hits, hits, mean)]
        )
        if not low - 1e-12 <= truth <= high + 1e-12:
            return False
    return True


@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_coverage_at_all_looks_together(rate):
    held = sum(covered_at_every_look(rate, seed) for seed in range(40))
    assert held >= 34  # 40 at a coverage of 0.9: fewer than 34 have a chance of 10 %; measured: at least 39


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.1, 0.3, 1.0, 3.0])
def test_coverage_of_many_reviews(rate):
    assert np.mean([covered_at_every_look(rate, seed, looks=300) for seed in range(1000)]) >= 0.9


def test_the_interval_shrinks_with_answers():
    widths = []
    for n in (20, 80, 320, 1280):
        low, high = live_interval([Stratum(10_000, n, n // 10, n // 10, 0.1)])
        assert low < 0.1 < high
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True) and widths[-1] < 0.06


def test_wilson_against_its_equation():
    low, high = wilson(3, 20)
    for p in (low, high):  # its ends solve |x - p| = z * sqrt(p (1 - p) / n)
        assert abs(3 / 20 - p) == pytest.approx(1.6449 * math.sqrt(p * (1 - p) / 20))
    assert wilson(5, 5)[1] == pytest.approx(1) and wilson(0, 5)[0] == pytest.approx(0)


def test_answers_of_a_pair_move_its_log_odds():
    assert shift(0, 0, 0) == 0
    assert shift(8, 4, 4.0) == pytest.approx(0)  # as expected: nothing moves
    # by hand: prior 0.5 worth four answers, 8 of 8 wrong: (2 + 8) / 12 = 5/6, odds 5 against 1
    assert shift(8, 8, 4.0) == pytest.approx(math.log(5))
    assert shift(8, 0, 4.0) == pytest.approx(-math.log(5))
    assert shift(800, 0, 400.0) < shift(80, 0, 40.0) < shift(8, 0, 4.0) < 0
