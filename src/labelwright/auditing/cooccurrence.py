"""What the other labels of an item say about each of its classes: a second opinion where items carry several labels.

A model may treat every class as a question of its own; the labels do not. With r = given - p the surprise at each entry
(0 where nothing is given), the surprise at one class is predicted from those at all others, by a ridge regression whose
coefficients for all classes lie in one inverse matrix: with W = (R'R + ridge I)^-1 on standardised surprises,
s_k = -sum_{j != k} r_j W_jk / W_kk. So a class's own label never speaks for itself through its row, and the regression
is fitted on other items.
"""

from __future__ import annotations

import numpy as np

FOLDS = 5
RIDGES = (10.0, 100.0, 1000.0)  # items' worth of no dependence; the one that predicts unseen items best is taken
MOST_CLASSES = 2000  # the inverse costs K^3: of more classes the commonest hear each other


def others_say(labels: np.ndarray, pred_probs: np.ndarray, *, random_state: int = 0) -> np.ndarray:
    """(N, K) float64, roughly the log-odds of each class that the item's other labels add; 0 where they say nothing.

    Args:
        labels: (N, K) 1 present, 0 absent, -1 unknown.   pred_probs: (N, K) P(present), out of sample, in [0, 1].
        random_state: seed of the folds.

    Memory: two (N, K') floats with K' = min(K, 2000). Time: N K'^2, and K'^3 per fold and ridge.

    Source: coefficients of all regressions from the inverse covariance, Dempster 1972.

    >>> rng = np.random.default_rng(0)
    >>> together = np.repeat(rng.random((500, 1)) < 0.5, 2, axis=1).astype(int)  # two classes that always come together
    >>> heard = others_say(together, np.full((500, 2), 0.5))
    >>> bool(((heard[:, 0] > 1) == (together[:, 1] == 1)).all())
    True
    """
    heard = np.zeros(labels.shape)
    common = np.sort(np.argsort(-(labels == 1).sum(0), kind="stable")[:MOST_CLASSES])
    given = labels[:, common]
    surprise = np.where(given >= 0, given - pred_probs[:, common].astype(np.float64), 0.0)
    spread = np.sqrt((surprise**2).sum(0) / np.maximum((given >= 0).sum(0), 1))
    varies = spread > 1e-6
    surprise[:, varies] /= spread[varies]
    surprise[:, ~varies] = 0.0
    if len(labels) < 2 * FOLDS or varies.sum() < 2:
        return heard
    heard[:, common] = _predicted(surprise, given >= 0, random_state) / np.where(varies, spread, 1.0)
    return heard


def _predicted(surprise: np.ndarray, known: np.ndarray, random_state: int) -> np.ndarray:
    """(N, K) surprise at each class predicted from the others, every item by a fit to the other folds."""
    fold = np.random.default_rng(random_state).permutation(len(surprise)) % FOLDS
    parts = [surprise[fold == f].T @ surprise[fold == f] for f in range(FOLDS)]
    whole = np.sum(parts, axis=0)
    best, least = np.zeros_like(surprise), float((surprise[known] ** 2).sum())
    for ridge in RIDGES:
        tried = np.empty_like(surprise)
        for f, part in enumerate(parts):
            tried[fold == f] = surprise[fold == f] @ _coefficients(whole - part, ridge)
        loss = float(((surprise - tried)[known] ** 2).sum())
        if loss < least:
            best, least = tried, loss
    return best


def _coefficients(gram: np.ndarray, ridge: float) -> np.ndarray:
    """(K, K) [from, to] coefficients of every class on all others; 0 on the diagonal."""
    inverse = np.linalg.inv(gram + ridge * np.eye(len(gram)))
    out = -inverse / np.diagonal(inverse)
    np.fill_diagonal(out, 0.0)
    return np.asarray(out)
