"""How many labels are wrong, with an interval: from reviews drawn with known probabilities, or from a model alone.

The estimators themselves are in `_rates`; here stands which of them fits the way the items were drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from labelwright.auditing._rates import Reading, stratified, weighted
from labelwright.auditing.review import ReviewDesign, Reviews, check_error_prob, check_reviews, suspicion_strata
from labelwright.errors import DataError, LabelError, OptionError, rows

_SAME = 1e-9  # probabilities closer than this are equal
_MAX_GROUPS = 20  # more distinct probabilities than this are weighted one by one

_ASSUME_RANDOM = (
    "The answers are right, and the items with a recorded probability were drawn at random with it. "
    "Nothing is assumed of the model: its suspicion steered the drawing and is a weak prior that the answers overrule."
)
_ASSUME_CLASSES = " Per class, classes with few reviews borrow from the others."
_ASSUME_NOTHING = (
    "All reviewed items were chosen by hand, so they say nothing about the others: the interval is what logic allows, "
    "and the estimate trusts the model for the others. Reviews drawn at random replace it."
)
SURE = 0.9  # an error probability from which on a label counts as contradicted whatever else may be off
_ASSUME_MODEL = (
    "Nobody has checked: the estimate trusts the model to be calibrated. The interval runs from the labels that the evidence "
    "contradicts at 90 % or more to all labels that the model would not predict; whether model or label is at fault in "
    "between, only reviews can tell."
)


class PerClass(NamedTuple):
    """Share of wrong labels among the items given each class, (K,) floats each; NaN where no item has the class."""

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, eq=False)
class ErrorRate:
    """Share of labels that are wrong, in [0, 1], with an interval that holds the truth with probability `level`.

    per_class: the same per given class.   assumption: what has to be true for this, in plain words.
    n_reviewed: reviews it rests on.
    """

    estimate: float
    low: float
    high: float
    per_class: PerClass
    assumption: str
    n_reviewed: int
    level: float = 0.9


# ---------------------------------------------------------------------------------------------------- what came in
def _check_level(level: float) -> float:
    if not 0 < level < 1:
        raise OptionError(
            found=f"level={level!r}", expected="a fraction between 0 and 1, ends excluded", fix="pass level=0.9"
        )
    return float(level)


def _check_population(error_prob: np.ndarray, labels: np.ndarray, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(error_prob float64, labels int64), both (N,); every item with an error_prob has a label."""
    p, given = check_error_prob(error_prob), np.asarray(labels)
    if given.shape != p.shape or given.dtype.kind not in "iu":
        raise LabelError(
            found=f"labels of shape {given.shape} and type {given.dtype} beside error_prob of shape {p.shape}",
            expected="one class id (an integer) per item",
            fix="pass the labels as an int array of the same length, -1 for missing",
        )
    bad = np.flatnonzero(~np.isnan(p) & ((given < 0) | (given >= n_classes)))
    if len(bad):
        raise LabelError(
            found=f"{len(bad)} of {len(p)} items with an error_prob but no class in 0..{n_classes - 1}, in {rows(bad)}",
            expected="a label for every item that has an error_prob",
            fix="set error_prob to NaN where the label is missing",
        )
    if np.isnan(p).all():
        raise DataError(
            found=f"no labelled item among {len(p)}", expected="labels to judge", fix="pass at least one labelled item"
        )
    return p, given.astype(np.int64)


# ------------------------------------------------------------------------------- which reviews speak for whom
def _census(p: np.ndarray, reviews: Reviews) -> np.ndarray:
    """(R,) bool: reviews that speak for their own item only.

    Those chosen by hand; and, where somebody chose by hand, everything more suspicious than the most suspicious item
    left. Who reviews all flagged items after a random sample leaves none of that kind, so the drawn ones among them
    have nobody to speak for, and would exaggerate the rate of the rest.
    """
    by_hand = np.isnan(reviews.probability)
    if not by_hand.any():
        return by_hand
    left = ~np.isnan(p)
    left[reviews.index] = False
    return by_hand | (p[reviews.index] > (p[left].max() if left.any() else -1.0))


def _is_prefix(design: ReviewDesign, index: np.ndarray, population: np.ndarray) -> bool:
    """Whether the items are, in each stratum, the first of the design's order (whatever left the population apart)."""
    order = design.order[population[design.order]]
    order = order[np.argsort(design.stratum[order], kind="stable")]
    stratum = design.stratum[order]
    first = np.searchsorted(stratum, stratum)
    taken = np.bincount(design.stratum[index], minlength=len(design.size))
    return bool(np.isin(order[np.arange(len(order)) - first < taken[stratum]], index).all())


def _constant(probability: np.ndarray, stratum: np.ndarray) -> bool:
    """Whether the probabilities agree inside every stratum."""
    order = np.argsort(stratum, kind="stable")
    same = np.diff(stratum[order]) == 0
    return bool(np.allclose(np.diff(probability[order])[same], 0, atol=_SAME))


def _known_strata(
    p: np.ndarray, given: np.ndarray, random: Reviews, population: np.ndarray, design: ReviewDesign | None
) -> np.ndarray | None:
    """(N,) strata inside which the reviews are a simple random sample of the population, None where none are known."""
    if design is not None and (
        _constant(random.probability, design.stratum[random.index]) or _is_prefix(design, random.index, population)
    ):
        return design.stratum
    if np.ptp(random.probability) < _SAME:
        return suspicion_strata(p)
    reviewed_classes, count = np.unique(given[random.index], return_counts=True)
    all_seen = len(reviewed_classes) == len(np.unique(given[population]))
    return given if all_seen and count.min() >= 2 and _constant(random.probability, given[random.index]) else None


def _strata_of_design(
    p: np.ndarray,
    given: np.ndarray,
    n_classes: int,
    random: Reviews,
    population: np.ndarray,
    design: ReviewDesign | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Stratum of each review (R,), sizes by class (H, K), mean suspicion (H,); None: each review has its own weight."""
    known = _known_strata(p, given, random, population, design)
    if known is not None:
        n_strata = int(known.max()) + 1
        size = np.bincount(known[population] * n_classes + given[population], minlength=n_strata * n_classes)
        size = size.reshape(n_strata, n_classes).astype(float)
        mean = np.bincount(known[population], p[population], minlength=n_strata) / np.maximum(size.sum(1), 1)
        return known[random.index], size, mean
    chance, stratum, count = np.unique(random.probability.round(9), return_inverse=True, return_counts=True)
    if len(chance) > _MAX_GROUPS or count.min() < 2:
        return None
    weight = (count / chance) * (population.sum() / (count / chance).sum())
    # how the classes spread over the groups is known from the reviews alone: fit their table to both margins
    seen = np.bincount(stratum * n_classes + given[random.index], minlength=len(chance) * n_classes)
    table, of_class = seen.reshape(-1, n_classes) + 1 / n_classes, np.bincount(given[population], minlength=n_classes)
    for _ in range(20):
        table *= of_class / table.sum(0)
        table *= (weight / table.sum(1))[:, None]
    return stratum, table, np.bincount(stratum, p[random.index]) / count


def _readings(
    given: np.ndarray, n_classes: int, stratum: np.ndarray, size: np.ndarray, reviews: Reviews, census: np.ndarray
) -> list[Reading]:
    """The answers as they stand, in the lowest and in the highest reading (one reading where every answer is clear).

    As they stand, what is unclear of an answer counts as not reviewed. stratum: of each random review, size: (H, K) of
    the population.
    """
    own, random = reviews.where(census), reviews.where(~census)

    def table(values: np.ndarray) -> np.ndarray:
        flat = stratum * n_classes + given[random.index]
        return np.bincount(flat, values, minlength=size.size).reshape(size.shape).astype(float)

    def reading(of_own: np.ndarray, wrong: np.ndarray, seen: np.ndarray) -> Reading:
        known = np.bincount(given[own.index], of_own, minlength=n_classes) + table(wrong).sum(0)
        return Reading(known, table(wrong), table(seen), np.maximum(size - table(seen), 0))

    whole = np.ones(len(random.index))
    stands = reading((own.low + own.high) / 2, random.low, whole - (random.high - random.low))
    if np.array_equal(reviews.low, reviews.high):
        return [stands]
    return [stands, reading(own.low, random.low, whole), reading(own.high, random.high, whole)]


def _unstratified(
    p: np.ndarray, given: np.ndarray, n_classes: int, reviews: Reviews, census: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Counts (3,) and (3, K) from reviews with a probability each; without random ones the bounds that logic gives."""
    own, random = reviews.where(census), reviews.where(~census)
    left = ~np.isnan(p)
    left[own.index] = False

    def count(items: np.ndarray, of_own: np.ndarray, of_random: np.ndarray) -> np.ndarray:
        mine, drawn = own.where(of_own), random.where(of_random)
        known = np.array([((mine.low + mine.high) / 2).sum(), mine.low.sum(), mine.high.sum()])
        n = int(items.sum())
        share = weighted(drawn, n - len(drawn), level) if len(drawn) else np.array([p[items].sum() / max(n, 1), 0, 1])
        least, most = drawn.low.sum(), n - (1 - drawn.high).sum()
        return known + np.clip(n * share, least, most)

    by_class = [count(left & (given == k), given[own.index] == k, given[random.index] == k) for k in range(n_classes)]
    overall = count(left, np.ones(len(own), dtype=bool), np.ones(len(random), dtype=bool))
    return overall, np.stack(by_class, axis=1)


# ------------------------------------------------------------------------------------------------------- in public
def _error_rate(
    overall: np.ndarray, by_class: np.ndarray, n_given: np.ndarray, assumption: str, n_reviewed: int, level: float
) -> ErrorRate:
    """The counts as shares, the estimate inside its interval."""
    of_class = np.divide(by_class, n_given, out=np.full(by_class.shape, np.nan), where=n_given > 0)
    estimate, low, high = np.clip(overall / n_given.sum(), 0, 1)
    middle, bottom, top = np.clip(of_class, 0, 1)
    return ErrorRate(
        estimate=float(np.clip(estimate, low, high)),
        low=float(low),
        high=float(high),
        per_class=PerClass(np.clip(middle, bottom, top), bottom, top),
        assumption=assumption,
        n_reviewed=n_reviewed,
        level=level,
    )


def estimate_from_reviews(
    error_prob: np.ndarray,
    labels: np.ndarray,
    n_classes: int,
    index: np.ndarray,
    wrong_low: np.ndarray,
    wrong_high: np.ndarray,
    probability: np.ndarray,
    *,
    design: ReviewDesign | None = None,
    level: float = 0.9,
) -> ErrorRate:
    """The share of wrong labels, from reviews of items that were drawn with known probabilities.

    Reviews of `design` (any first part of its order), of a simple random sample, or of a sample stratified by given
    class are taken in strata of known size; those of another design with few distinct probabilities in one stratum for
    each; with many, each review is weighted by its own.

    Args:
        error_prob: (N,) in [0, 1] from before the reviews, NaN = no label. It may be badly off (see the module's
            docstring).
        labels: (N,) int given class in 0..K-1 (anything where error_prob is NaN).
        n_classes: K.
        index: (R,) int, the reviewed items, each once.
        wrong_low, wrong_high: (R,) in [0, 1], the label is wrong: 1 and 1; right: 0 and 0; can't tell: 0 and 1, and
            then the interval holds under both readings. Shares come from several reviewers.
        probability: (R,) in (0, 1], the chance with which the item was drawn; NaN: chosen by hand, speaks for itself
            only.
        design: the design whose order was reviewed.
        level: of the interval, in (0, 1).

    Returns:
        `ErrorRate`; its interval is exact (no width) where every label was reviewed. About 50 ms.

    Raises:
        ProbabilityError, LabelError, DataError, OptionError: an argument is not as described.

    Source: sample design Särndal, Swensson & Wretman 1992; beta-binomial strata with a regression for their means as in
    Rao & Molina 2015, "Small Area Estimation", chapter 10; weighted case Korn & Graubard 1998.

    >>> p = np.repeat([0.02, 0.8], [900, 100])
    >>> from labelwright.auditing.review import review_design
    >>> index, probability = (design := review_design(p)).sample(60)
    >>> wrong = (index >= 920).astype(float)
    >>> rate = estimate_from_reviews(p, np.zeros(1000, int), 1, index, wrong, wrong, probability, design=design)
    >>> rate.low < 0.08 < rate.high
    True
    """
    level = _check_level(level)
    p, given = _check_population(error_prob, labels, n_classes)
    reviews = check_reviews(p, index, wrong_low, wrong_high, probability)
    if design is not None and design.stratum.shape != p.shape:
        raise DataError(
            found=f"a design of {len(design.stratum)} items beside error_prob of {len(p)}",
            expected="the design made from this data",
            fix="pass the review_design(error_prob) that the items were drawn with",
        )
    census = _census(p, reviews)
    random, population = reviews.where(~census), ~np.isnan(p)
    n_given = np.bincount(given[population], minlength=n_classes)
    population[reviews.index[census]] = False
    strata = _strata_of_design(p, given, n_classes, random, population, design) if len(random) else None
    if strata is None:
        overall, by_class = _unstratified(p, given, n_classes, reviews, census, level)
        assumption = _ASSUME_RANDOM if len(random) else _ASSUME_NOTHING
    else:
        stratum, size, suspicion = strata
        overall, by_class = stratified(_readings(given, n_classes, stratum, size, reviews, census), suspicion, level)
        assumption = _ASSUME_RANDOM + _ASSUME_CLASSES
    return _error_rate(overall, by_class, n_given, assumption, len(reviews), level)


def estimate_without_reviews(
    error_prob: np.ndarray,
    labels: np.ndarray,
    n_classes: int,
    *,
    pred_disagrees: np.ndarray,
    level: float = 0.9,
) -> ErrorRate:
    """The share of wrong labels as a model sees it, with an interval over the plausible ways to read the model.

    The estimate is the sum of error_prob. The interval runs from the expected errors among the labels with an error_prob
    of at least `SURE` to the count of labels that differ from the prediction, and adds the sampling error of a sum of
    independent errors. Between these two the labels themselves cannot tell a weak model from wrong labels. (Confident
    learning's count is no lower end: under a weak model it counts the model's mistakes.)

    Args:
        error_prob: (N,) in [0, 1], NaN = no label.
        labels: (N,) int given class in 0..K-1 (anything where error_prob is NaN).
        n_classes: K.
        pred_disagrees: (N,) bool, the prediction is not the given label.
        level: of the sampling error, in (0, 1).

    Returns:
        `ErrorRate` with n_reviewed = 0. Its coverage is not guaranteed: see `assumption`.

    Raises:
        ProbabilityError, LabelError, DataError, OptionError: an argument is not as described.

    >>> p = np.array([0.9, 0.1, 0.1, 0.1])
    >>> rate = estimate_without_reviews(p, np.zeros(4, int), 1, pred_disagrees=p > 0.5)
    >>> round(rate.estimate, 3)
    0.3
    """
    from scipy.stats import norm

    level = _check_level(level)
    p, given = _check_population(error_prob, labels, n_classes)
    disagrees = np.asarray(pred_disagrees)
    if disagrees.shape != p.shape or disagrees.dtype != bool:
        raise DataError(
            found=f"pred_disagrees of shape {disagrees.shape} and type {disagrees.dtype}",
            expected=f"a bool per item, shape {p.shape}",
            fix="pass pred_probs.argmax(1) != labels",
        )
    labelled = ~np.isnan(p)
    given, p, disagrees = given[labelled], p[labelled], disagrees[labelled]

    def counts(values: np.ndarray) -> np.ndarray:
        """Sums over all (first) and over each class: (1 + K,)."""
        return np.concatenate([[values.sum()], np.bincount(given, values, minlength=n_classes)])

    n, point = counts(np.ones(len(p))), counts(p)
    readings = np.stack([point, counts(np.where(p >= SURE, p, 0.0)), counts(disagrees.astype(float))])
    error = norm.ppf((1 + level) / 2) * np.sqrt(counts(p * (1 - p)))
    table = np.stack([point, np.maximum(readings.min(0) - error, 0), np.minimum(readings.max(0) + error, n)])
    return _error_rate(table[:, 0], table[:, 1:], n[1:].astype(int), _ASSUME_MODEL, 0, level)
