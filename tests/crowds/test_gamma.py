"""psi and log Gamma at once."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import gammaln
from scipy.special import psi as digamma

from labelwright.crowds._gamma import BLOCK, FEW, psi, psi_gammaln


@pytest.mark.parametrize("n", [0, 3, FEW, BLOCK, 2 * BLOCK + 5])
def test_they_are_those_of_scipy(n):
    x = 10 ** np.random.default_rng(n).uniform(-12, 12, n)
    first, second = psi_gammaln(x)
    for found, want in ((first, digamma(x)), (second, gammaln(x))):
        np.testing.assert_allclose(found, want, rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(psi(x), first)


def test_near_their_roots_the_error_stays_that_small():
    x = np.concatenate([root + np.linspace(-1e-6, 1e-6, FEW) for root in (1.0, 1.4616321449683622, 2.0)])
    first, second = psi_gammaln(x)
    np.testing.assert_allclose(first, digamma(x), atol=1e-13)
    np.testing.assert_allclose(second, gammaln(x), atol=1e-13)


def test_the_numbers_are_left_as_they_are():
    x = np.linspace(0.1, 30, FEW)
    before = x.copy()
    psi_gammaln(x)
    np.testing.assert_array_equal(x, before)
