"""Intervals of a probability from its mean and variance."""

from __future__ import annotations

import numpy as np


def beta_interval(
    mean: np.ndarray, variance: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, 5 % and 95 % point of the beta distributions with these moments; NaN where not `known`.

    >>> [a.round(2).tolist() for a in beta_interval(np.array([0.9]), np.array([0.01]), np.array([True]))]
    [[0.9], [0.7], [1.0]]
    """
    from scipy.special import betaincinv

    mean = np.clip(np.where(known, mean, 0.5), 1e-9, 1 - 1e-9)
    size = np.maximum(mean * (1 - mean) / np.maximum(variance, 1e-12) - 1, 1e-3)
    low, high = (betaincinv(mean * size, (1 - mean) * size, p) for p in (0.05, 0.95))
    return tuple(np.where(known, a, np.nan) for a in (mean, low, high))  # type: ignore[return-value]
