"""Plant label noise of a known kind and rate, to test whatever claims to find it.

Every function returns `(noisy_labels, flipped)`, both (N,), int64 and bool; missing labels (-1) stay missing, the input
is not touched, and the same seed gives the same answer. Rates hold in expectation over the seed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from labelwright.errors import OptionError, ProbabilityError, check_option, rows

Noisy = tuple[np.ndarray, np.ndarray]


def _rate(rate: float) -> float:
    if not 0 <= rate <= 1:
        raise OptionError(found=f"rate={rate}", expected="a fraction in [0, 1]", fix="pass 0.2 for 20 %")
    return rate


def _classes(n_classes: int) -> int:
    if n_classes < 2:
        raise OptionError(found=f"n_classes={n_classes}", expected="at least 2", fix="pass the number of classes")
    return n_classes


def symmetric(labels: np.ndarray, rate: float, *, n_classes: int, random_state: int | None = None) -> Noisy:
    """Flip each label with probability `rate` to one of the other classes, all alike.

    >>> noisy, flipped = symmetric(np.zeros(6, int), 0.5, n_classes=3, random_state=0)
    >>> noisy
    array([0, 2, 2, 2, 0, 0])
    """
    rng = np.random.default_rng(random_state)
    flipped = (rng.random(len(labels)) < _rate(rate)) & (labels >= 0)
    other = (labels + rng.integers(1, _classes(n_classes), len(labels))) % n_classes
    return np.where(flipped, other, labels).astype(np.int64), flipped


def asymmetric(
    labels: np.ndarray,
    rate: float,
    *,
    n_classes: int,
    class_map: Mapping[int, int] | None = None,
    random_state: int | None = None,
) -> Noisy:
    """Flip labels of class c to `class_map[c]` with probability `rate`.

    Args:
        labels: (N,) int, -1 = missing.
        rate: share of the items *of the mapped classes* that flip.
        n_classes: K.
        class_map: where each class flips to; classes not in it stay clean. None: pairwise, c to c + 1 (mod K).
        random_state: seed.

    Source: Patrini et al. 2017 (class map), Han et al. 2018 (pair flipping).

    >>> asymmetric(np.array([3, 8, 5]), 1.0, n_classes=10, class_map={3: 8, 8: 3})
    (array([8, 3, 5]), array([ True,  True, False]))
    """
    target = (np.arange(_classes(n_classes)) + 1) % n_classes
    if class_map is not None:
        target = np.arange(n_classes)
        for source, to in class_map.items():
            if not (0 <= source < n_classes and 0 <= to < n_classes):
                raise OptionError(
                    found=f"{source}: {to} in class_map",
                    expected=f"class numbers 0..{n_classes - 1}",
                    fix="map class numbers, not names, and pass the right n_classes",
                )
            target[source] = to
    transition = (1 - _rate(rate)) * np.eye(n_classes) + rate * np.eye(n_classes)[target]
    return from_transition(labels, transition, random_state=random_state)


def from_transition(labels: np.ndarray, transition: np.ndarray, *, random_state: int | None = None) -> Noisy:
    """Draw each given label from the row of its true label.

    Args:
        labels: (N,) int true labels, -1 = missing.
        transition: (K, K) [true, given], rows sum to 1.
        random_state: seed.

    Raises:
        ProbabilityError: rows of `transition` that are no distributions.

    >>> from_transition(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]))
    (array([1, 1]), array([ True, False]))
    """
    transition = np.asarray(transition, np.float64)
    bad = np.flatnonzero((transition < 0).any(1) | (np.abs(transition.sum(1) - 1) > 1e-6))
    if len(bad):
        raise ProbabilityError(
            found=f"{len(bad)} rows of `transition` that are no distribution; {rows(bad)}",
            expected="rows [true] >= 0 that sum to 1 over the columns [given]",
            fix="pass `transition / transition.sum(1, keepdims=True)`, or its transpose if it is [given, true]",
        )
    edges = transition.cumsum(1)
    edges[:, -1] = np.inf  # a last edge of 0.9999999 must not be passed
    draw = np.random.default_rng(random_state).random(len(labels))
    noisy = (draw[:, None] >= edges[labels]).sum(1)
    noisy = np.where(labels >= 0, noisy, -1).astype(np.int64)
    return noisy, noisy != labels


def instance_dependent(
    labels: np.ndarray,
    pred_probs: np.ndarray,
    rate: float,
    *,
    form: str = "margin",
    cap: float = 0.9,
    random_state: int | None = None,
) -> Noisy:
    """Flip the items that a clean model finds hard, to the most probable other class.

    Args:
        labels: (N,) int true labels, -1 = missing.
        pred_probs: (N, K) probabilities of a model of the *true* labels, out of sample.
        rate: expected share of labels that flip.
        form: what the chance to flip is proportional to. "margin": (1 - d^2) / 2 with d the difference of the two
            largest probabilities, so that items on a class border flip first. "self_confidence": 1 - P[true] + 0.001.
        cap: no item flips with a higher probability than this.
        random_state: seed.

    Raises:
        OptionError: an unknown form, or a rate that `cap` puts out of reach.

    Source: "margin": Zhang et al. 2021, "Learning with feature-dependent label noise", type I, scaled to the rate.

    >>> p = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    >>> instance_dependent(np.array([0, 0, 1]), p, 0.3, random_state=0)
    (array([0, 1, 1]), array([False,  True, False]))
    """
    check_option("form", form, ("margin", "self_confidence"))
    seen = np.flatnonzero(labels >= 0)
    p = np.asarray(pred_probs[seen], np.float64)
    own = p[np.arange(len(p)), labels[seen]]
    if form == "margin":
        top = np.partition(p, -2, axis=1)[:, -2:]
        weight = (1 - (top[:, 1] - top[:, 0]) ** 2) / 2
    else:
        weight = 1 - own + 1e-3
    p[np.arange(len(p)), labels[seen]] = -np.inf
    chance = scaled_to_mean(weight, _rate(rate), cap)
    flipped = np.zeros(len(labels), bool)
    flipped[seen] = np.random.default_rng(random_state).random(len(seen)) < chance
    noisy = labels.astype(np.int64)
    noisy[seen] = np.where(flipped[seen], p.argmax(1), labels[seen])
    return noisy, flipped


def scaled_to_mean(weight: np.ndarray, mean: float, cap: float) -> np.ndarray:
    """min(c * weight, cap) with the c that gives this mean exactly: what the cap cuts off goes to the others.

    >>> scaled_to_mean(np.array([1.0, 1.0, 8.0]), 0.5, 0.9)
    array([0.3, 0.3, 0.9])
    """
    if len(weight) == 0 or mean == 0:
        return np.zeros(len(weight))
    if mean > cap * (weight > 0).mean():
        raise OptionError(
            found=f"rate={mean} with cap={cap} and {(weight <= 0).sum()} of {len(weight)} items that cannot flip",
            expected=f"a rate of at most {cap * (weight > 0).mean():.3g}",
            fix="lower the rate or raise cap",
        )
    order = np.sort(weight)[::-1]
    rest = order.sum() - np.r_[0.0, order.cumsum()[:-1]]  # rest[n]: weight left when the n largest are at the cap
    scale = (mean * len(weight) - cap * np.arange(len(weight))) / np.where(rest > 0, rest, 1.0)
    n = int(np.argmax((scale * order <= cap * (1 + 1e-12)) & (rest > 0)))  # fewest at the cap
    return np.minimum(np.maximum(scale[n], 0.0) * weight, cap)
