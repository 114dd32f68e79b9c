"""Which items to review, with known probabilities, so that a few answers tell how many labels are wrong.

The suspicion of each label steers the drawing and nothing else: items of like suspicion form a stratum, a stratum where
the answer is less certain gets more reviews, and inside a stratum the order is random. So a useful suspicion makes the
estimate sharper, and a useless one leaves it valid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labelwright.errors import DataError, OptionError, ProbabilityError, rows

# Found by simulation (benchmarks/count_with_reviews.py): five gave intervals up to 8 % narrower on large
# sets, but 10 % wider where few labels are wrong, and covered less where the suspicion was distorted.
N_STRATA = 3
_MIN_STRATUM = 25  # labelled items per stratum, so that small data gets few strata
_FLOOR = 0.005  # suspicion is drawn in to [0.005, 0.995]: a label called certainly right may be wrong
_EVEN = 0.2  # share of the reviews that goes by size alone: a wrong suspicion can starve no stratum
_EARLY = 2  # every stratum gets this many first


@dataclass(frozen=True, eq=False)
class ReviewDesign:
    """A fixed order in which to review; however many of it are answered, the chances are known.

    stratum: (N,) int64, 0 = least suspicious, -1 = no label.   size: (H,) int64, labelled items per stratum.
    order: (M,) int64, all labelled items; the strata take turns in a fixed way, and inside each the items are shuffled.
    """

    stratum: np.ndarray
    size: np.ndarray
    order: np.ndarray

    def __len__(self) -> int:
        return len(self.order)

    def sample(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """The first n of the order (all of it where there are fewer): index (n,), and probability (n,) in (0, 1].

        The probability of an item is the share of its stratum that is drawn. sample(n) is part of sample(n + 1).
        Raises OptionError where n is no integer of at least 0.
        """
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 0:
            raise OptionError(
                found=f"n={n!r}", expected="a whole number of reviews, 0 or more", fix="pass for example n=200"
            )
        index = self.order[:n]
        stratum = self.stratum[index]
        taken = np.bincount(stratum, minlength=len(self.size))
        return index, (taken / np.maximum(self.size, 1))[stratum]


@dataclass(frozen=True, eq=False)
class Reviews:
    """Answers of people, one row per reviewed item.

    index: (R,) items.   low, high: (R,) in [0, 1], the two readings of each answer, equal where it is clear.
    probability: (R,) the chance with which each item was drawn, NaN = chosen by hand.
    """

    index: np.ndarray
    low: np.ndarray
    high: np.ndarray
    probability: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def where(self, keep: np.ndarray) -> Reviews:
        return Reviews(self.index[keep], self.low[keep], self.high[keep], self.probability[keep])


def check_error_prob(error_prob: np.ndarray) -> np.ndarray:
    """error_prob as float64 (N,), or a ProbabilityError unless each is in [0, 1] or NaN (no label)."""
    p = np.asarray(error_prob, dtype=np.float64)
    if p.ndim != 1:
        raise ProbabilityError(
            found=f"error_prob of shape {p.shape}", expected="one number per item, (N,)", fix="pass a 1-d array"
        )
    bad = np.flatnonzero(~(((p >= 0) & (p <= 1)) | np.isnan(p)))
    if len(bad):
        raise ProbabilityError(
            found=f"{len(bad)} of {len(p)} error_prob outside [0, 1], in {rows(bad)} (first {p[bad[0]]:g})",
            expected="the probability that the given label is wrong, or NaN where there is no label",
            fix="scale the scores to [0, 1], for example by rank / N",
        )
    return p


def check_reviews(
    p: np.ndarray, index: np.ndarray, low: np.ndarray, high: np.ndarray, probability: np.ndarray
) -> Reviews:
    """The reviews as one table: one row per item, answers ordered and in [0, 1], probabilities in (0, 1] or NaN."""
    index = np.asarray(index)
    columns = [index, *(np.asarray(a, dtype=np.float64) for a in (low, high, probability))]
    if index.ndim != 1 or len({a.shape for a in columns}) > 1 or not len(index):
        raise DataError(
            found=f"index, wrong_low, wrong_high, probability of shapes {[a.shape for a in columns]}",
            expected="four arrays of one length, at least 1",
            fix="pass one entry per reviewed item; without reviews use estimate_without_reviews",
        )
    r = Reviews(index.astype(np.int64), *columns[1:])
    outside = (r.index < 0) | (r.index >= len(p))
    if outside.any() or np.isnan(p[r.index]).any():
        bad = np.flatnonzero(outside) if outside.any() else np.flatnonzero(np.isnan(p[r.index]))
        raise DataError(
            found=f"{len(bad)} reviews of items that are not there or have no label, in {rows(bad)}",
            expected=f"row numbers of labelled items, 0..{len(p) - 1}",
            fix="drop those reviews",
        )
    if len(np.unique(r.index)) < len(r.index):
        raise DataError(
            found=f"{len(r.index) - len(np.unique(r.index))} items reviewed more than once",
            expected="one answer per item",
            fix="merge the answers of several reviewers first; shares between 0 and 1 are fine",
        )
    bad = np.flatnonzero(~((r.low >= 0) & (r.low <= r.high) & (r.high <= 1)))
    if len(bad):
        raise DataError(
            found=f"{len(bad)} answers that are not 0 <= wrong_low <= wrong_high <= 1, in {rows(bad)}",
            expected="(1, 1) for wrong, (0, 0) for right, (0, 1) for can't tell",
            fix="leave items without an answer out of the reviews",
        )
    bad = np.flatnonzero(~((r.probability > 0) & (r.probability <= 1) | np.isnan(r.probability)))
    if len(bad):
        raise ProbabilityError(
            found=f"{len(bad)} of {len(r.index)} inclusion probabilities outside (0, 1], in {rows(bad)}",
            expected="the chance with which each reviewed item was drawn, or NaN if chosen by hand",
            fix="record the probability when the item is drawn, as ReviewDesign.sample gives it",
        )
    return r


def suspicion_strata(error_prob: np.ndarray, *, n_strata: int = N_STRATA) -> np.ndarray:
    """Strata of like suspicion that add about the same uncertainty each: (N,) int64 from 0, -1 where error_prob is NaN.

    The running sum of sqrt(p (1 - p)) over the items by p is cut into equal parts, which makes equal numbers of reviews
    per stratum near optimal. Equal p stay together, so the strata depend on the values alone. Few items give few strata
    (at least 25 items each on average).

    Source: the equal aggregate sigma rule, Särndal, Swensson & Wretman 1992, section 12.4.

    >>> suspicion_strata(np.repeat([0.0, 0.3, 0.9], [80, 10, 10]), n_strata=3).tolist()[::10]
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 2]
    """
    p = check_error_prob(error_prob)
    if isinstance(n_strata, bool) or not isinstance(n_strata, int | np.integer) or n_strata < 1:
        raise OptionError(
            found=f"n_strata={n_strata!r}", expected="a whole number of at least 1", fix=f"leave it at {N_STRATA}"
        )
    labelled = ~np.isnan(p)
    stratum = np.full(len(p), -1, dtype=np.int64)
    if not labelled.any():
        return stratum
    value, inverse, count = np.unique(p[labelled], return_inverse=True, return_counts=True)
    n_strata = int(min(n_strata, max(1, count.sum() // _MIN_STRATUM)))
    weight = count * _spread(value)
    middle = (np.cumsum(weight) - weight / 2) / weight.sum()
    cut = np.unique(np.minimum((middle * n_strata).astype(np.int64), n_strata - 1), return_inverse=True)[1]
    stratum[labelled] = cut[inverse]
    return stratum


def _spread(p: np.ndarray) -> np.ndarray:
    """Standard deviation of right/wrong at suspicion p, never near zero."""
    p = _FLOOR + (1 - 2 * _FLOOR) * p
    return np.sqrt(p * (1 - p))


def _turns(size: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """(sum(size),) the stratum that each further review goes to.

    The j-th review of stratum h has priority w_h / sqrt(j (j - 1)); taking them by priority gives for every n the
    allocation in whole numbers of least variance, and it only ever grows. w_h = N_h S_h (Neyman), mixed with N_h.

    Source: Wright 2012, "The equivalence of Neyman optimum allocation for sampling and equal proportions for
    apportioning the U.S. House of Representatives".
    """
    neyman = size * spread
    weight = (1 - _EVEN) * neyman / neyman.sum() + _EVEN * size / size.sum()
    stratum = np.repeat(np.arange(len(size)), size)
    j = np.arange(len(stratum)) - np.repeat(np.cumsum(size) - size, size) + 1
    early = np.minimum(j, _EARLY + 1)  # 1, 2 come before everything
    priority = weight[stratum] / np.sqrt(j * np.maximum(j - 1, 1))
    return stratum[np.lexsort((stratum, -priority, early))]


def review_design(error_prob: np.ndarray, *, n_strata: int = N_STRATA, seed: int = 0) -> ReviewDesign:
    """The order in which to review labels so that any number of answers says how many labels are wrong.

    Args:
        error_prob: (N,) in [0, 1], the suspicion that each label is wrong, from before any review; NaN = no label. It
            may be badly off: a poor one costs precision, not validity.
        n_strata: strata at most; fewer on small data and where suspicions tie.
        seed: of the random order inside the strata. Strata and turns do not depend on it.

    Returns:
        `ReviewDesign`; about 10 ms for 50,000 items.

    Raises:
        ProbabilityError: error_prob is no (N,) array of probabilities.
        OptionError: n_strata below 1.
        DataError: no item has a label.

    >>> design = review_design(np.linspace(0, 1, 200))
    >>> index, probability = design.sample(20)
    >>> len(index), round(float(sum(1 / probability)))
    (20, 200)
    """
    p = check_error_prob(error_prob)
    stratum = suspicion_strata(p, n_strata=n_strata)
    labelled = np.flatnonzero(stratum >= 0)
    if not len(labelled):
        raise DataError(
            found=f"no labelled item among {len(p)}",
            expected="a label to review",
            fix="pass an error_prob that is not NaN for labelled items",
        )
    size = np.bincount(stratum[labelled])
    turns = _turns(size, _spread(np.bincount(stratum[labelled], p[labelled]) / size))
    shuffled = np.random.default_rng(seed).permutation(labelled)
    order = np.empty(len(labelled), dtype=np.int64)
    # the k-th turn of a stratum takes the k-th of its shuffled items
    order[np.argsort(turns, kind="stable")] = shuffled[np.argsort(stratum[shuffled], kind="stable")]
    return ReviewDesign(stratum, size, order)
