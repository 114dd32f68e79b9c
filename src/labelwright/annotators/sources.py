"""Which source model suits a target task: transfer scores from a small labelled probe, and teacher weights from them.

Scores compare sources on one target; scores of different targets are not comparable. The probe is labelled target data,
so it must come from the training split.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from labelwright.errors import DataError, LabelwrightWarning, OptionError, check_option, check_whole
from labelwright.features.vectors import check_features
from labelwright.labels import check_class_ids, check_pred_probs

FEW = 100
"""Below this many probe items a PARC score is mostly chance."""


def parc(features: Any, labels: Any, *, pca: int | None = 32, max_items: int = 2000, random_state: int = 0) -> float:
    """PARC in [-100, 100]: do items of one class look alike to the source? Larger is better.

    Spearman's correlation, times 100, between the distances (1 - Pearson) of all pairs of items by the source's features
    and by their one-hot labels; equal distances share ranks.

    Args:
        features: (n, D) of the source on the probe; columns are standardised, constant columns become 0.
        labels: (n,) int, -1 = missing (left out).
        pca: dimensions kept before (exact, not randomised); None: all.
        max_items: a larger probe is cut to a random subset: memory grows with its square.
        random_state: for that subset.

    Items whose standardised features are all equal have no correlation and are dropped. 0.0 if all pairs are alike.

    Raises:
        DataError: fewer than 2 classes or 3 items that can be used, features of other items.

    Source: Bolya et al. 2021, "Scalable diverse model selection"; steps as in their code.

    >>> parc(np.array([[0, 0, 1.0], [0, 0, 2.0], [1, 0, 0.0], [2, 0, 0.0]] * 30), np.array([0, 0, 1, 1] * 30), pca=None) > 50
    True
    """
    from scipy.stats import rankdata

    x, y = _probe(features, labels)
    check_whole("max_items", max_items, 3)
    if len(x) > max_items:
        chosen = np.sort(np.random.default_rng(random_state).choice(len(x), max_items, replace=False))
        x, y = x[chosen], y[chosen]
    if pca is not None:
        x = _principal(x, pca)
    x = x - x.mean(0)
    spread = x.std(0)
    x = np.divide(x, spread, out=np.zeros_like(x), where=spread > 1e-12 * np.abs(x).max(initial=0))
    x = x - x.mean(1, keepdims=True)
    length = np.sqrt((x**2).sum(1))
    usable = length > 1e-9
    x, y = x[usable] / length[usable, None], y[usable]
    _check_classes(y, 3)
    if len(x) < FEW:
        warnings.warn(
            f"PARC of {len(x)} probe items: scores of fewer than {FEW} are mostly chance. Label more of the target",
            LabelwrightWarning,
            stacklevel=2,
        )
    pair = np.triu_indices(len(x), 1)
    apart = (y[:, None] != y)[pair]  # the correlation of two one-hot rows is 1 or -1 / (K - 1): only the order counts
    near = np.clip(x @ x.T, -1.0, 1.0)[pair]
    rank = rankdata(-np.round(near, 12))  # equal pairs stay equal in spite of rounding
    rank -= rank.mean()
    other = apart - apart.mean()
    scale = np.sqrt((rank**2).sum() * (other**2).sum())
    return float(100 * (rank @ other) / scale) if scale > 0 else 0.0


def cka(features: Any, labels: Any) -> float:
    """Linear centred kernel alignment of features (n, D) and one-hot labels, in [0, 1]; larger is better.

    Raises:
        DataError: fewer than 2 classes, features of other items.

    Source: Kornblith et al. 2019, eq. 4 with linear kernels.

    >>> round(cka(np.array([[1.0], [1.0], [-1.0], [-1.0]]), np.array([0, 0, 1, 1])), 6)
    1.0
    """
    x, y = _probe(features, labels)
    target = _one_hot(y)
    x, target = x - x.mean(0), target - target.mean(0)
    across = float(((x.T @ target) ** 2).sum())
    own = _gram_norm(x) * _gram_norm(target)
    return across / own if own > 0 else 0.0


def leep(source_probs: Any, labels: Any) -> float:
    """LEEP in nats, 0 or less; larger is better: mean log-likelihood of the labels read through the source's own classes.

    Args:
        source_probs: (n, Z) softmax of the source over *its* classes on the probe.   labels: (n,) int, -1 = missing.

    Raises:
        ProbabilityError: rows that are no distributions.   DataError: fewer than 2 classes.

    Source: Nguyen et al. 2020, eq. 1 and 2.

    >>> round(leep(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1])), 6)
    0.0
    """
    p = check_pred_probs(source_probs)
    y = check_class_ids(labels, np.iinfo(np.int64).max, n_items=len(p))
    p, y = p[y >= 0].astype(np.float64), y[y >= 0]
    target = _one_hot(_check_classes(y, 2))
    joint = target.T @ p
    given_source = np.divide(joint, joint.sum(0), out=np.zeros_like(joint), where=joint.sum(0) > 0)
    likelihood = np.einsum("nk,kz,nz->n", target, given_source, p, optimize=True)
    return float(np.log(likelihood).mean())


def logme(features: Any, labels: Any, *, max_iter: int = 100, tol: float = 1e-8) -> float:
    """LogME in nats per item; larger is better: the largest evidence of a Bayesian linear model of each one-hot column.

    Args:
        features: (n, D) of the source on the probe.   labels: (n,) int, -1 = missing.
        max_iter, tol: fixed-point steps for the two precisions, and the relative change of alpha / beta that ends them.

    The mean over classes. No intercept, as in the paper. A column fitted without any error has its noise floored.

    Raises:
        DataError: fewer than 2 classes, features of other items.

    Source: You et al. 2021, algorithm 1 and 3.
    """
    x, y = _probe(features, labels)
    n, d = x.shape
    u, singular, _ = np.linalg.svd(x, full_matrices=False)
    square = singular**2
    evidence = []
    for column in _one_hot(y).T:
        part = (u.T @ column) ** 2
        outside = max(float(column @ column - part.sum()), 0.0)  # what no linear model can reach
        alpha = beta = 1.0
        for _ in range(max_iter):
            ratio = alpha / beta
            gamma = float((square / (square + ratio)).sum())
            weights = float((square * part / (square + ratio) ** 2).sum())
            residual = float((part * (ratio / (square + ratio)) ** 2).sum()) + outside
            alpha, beta = max(gamma, 1e-12) / max(weights, 1e-12), max(n - gamma, 1e-12) / max(residual, 1e-12)
            if abs(alpha / beta - ratio) <= tol * ratio:
                break
        ratio = alpha / beta
        weights = float((square * part / (square + ratio) ** 2).sum())
        residual = float((part * (ratio / (square + ratio)) ** 2).sum()) + outside
        log_det = float(np.log(alpha + beta * square).sum()) + (d - len(square)) * np.log(alpha)
        evidence.append(
            0.5 * (n * np.log(beta / (2 * np.pi)) + d * np.log(alpha) - log_det - beta * residual - alpha * weights)
        )
    return float(np.mean(evidence) / n)


def source_weights(scores: Any, *, power: float = 8.0, scale: str = "clip") -> np.ndarray:
    """(S,) float64 weights of source models, sum 1: score^power, normalised; all 0, with a warning, if no score is above 0.

    Args:
        scores: (S,) transfer scores of one target, larger = better.
        power: 0 weighs all usable sources evenly, inf takes the best alone (DistillNearest; the first of equal ones).
        scale: "clip" sets scores below 0 to 0 first (PARC, CKA). "minmax" moves the worst to 0 and the best to 1, for
            scores that are negative throughout (LEEP, LogME).

    Sources that are copies of each other are counted twice: drop all but one.

    Raises:
        DataError: no scores, or NaN among them.   OptionError: an unknown scale, a power below 0.

    Source: DistillWeighted, "Distilling from similar tasks for transfer learning on a budget", ICCV 2023; the default
    power is not from the paper.

    >>> source_weights([40.0, 20.0, -5.0], power=1.0)
    array([0.66666667, 0.33333333, 0.        ])
    """
    check_option("scale", scale, ("clip", "minmax"))
    e = np.asarray(scores, dtype=np.float64)
    if e.ndim != 1 or not len(e) or not np.isfinite(e).all():
        raise DataError(
            found=f"scores of shape {e.shape}" + ("" if np.isfinite(e).all() else " with NaN or infinite values"),
            expected="one finite number per source",
            fix="leave out the sources that could not be scored",
        )
    if not power >= 0:
        raise OptionError(found=f"power={power!r}", expected="0 or more", fix="pass power=8.0")
    if scale == "minmax":
        width = np.ptp(e)
        e = (e - e.min()) / width if width > 0 else np.ones_like(e)
    e = np.maximum(e, 0.0)
    if e.max() <= 0:
        warnings.warn(
            "no source scores above 0: all weights are 0. Train on the labels alone, or find other sources",
            LabelwrightWarning,
            stacklevel=2,
        )
        return e
    if np.isinf(power):
        return np.eye(len(e))[int(e.argmax())]
    w = np.where(e > 0, (e / e.max()) ** power, 0.0)
    return np.asarray(w / w.sum())


def _probe(features: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Labelled rows as float64, and their labels."""
    x = check_features(features, name="features")
    y = check_class_ids(labels, np.iinfo(np.int64).max, n_items=x.shape[0])
    known = np.flatnonzero(y >= 0)
    part = x[known]
    dense = part.toarray() if hasattr(part, "toarray") else part
    return dense.astype(np.float64), _check_classes(y[known], 2)


def _check_classes(y: np.ndarray, least: int) -> np.ndarray:
    n_classes = len(np.unique(y))
    if n_classes < 2 or len(y) < least:
        raise DataError(
            found=f"{len(y)} usable probe items of {n_classes} classes",
            expected=f"at least {least} items of at least 2 classes",
            fix="label more of the target, at best 100 to 500 items of all classes",
        )
    return y


def _one_hot(y: np.ndarray) -> np.ndarray:
    """(n, C) for the classes that occur."""
    classes, code = np.unique(y, return_inverse=True)
    return np.eye(len(classes))[code]


def _gram_norm(x: np.ndarray) -> float:
    """Frobenius norm of x x^T, by the smaller of the two products."""
    return float(np.linalg.norm(x @ x.T if len(x) < x.shape[1] else x.T @ x))


def _principal(x: np.ndarray, dimensions: int) -> np.ndarray:
    """Scores on the first principal components; those without variance stay away."""
    check_whole("pca", dimensions, 2)
    u, singular, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    rank = int((singular > singular.max(initial=0) * 1e-10).sum())
    k = min(dimensions, max(rank, 1))
    return u[:, :k] * singular[:k]
