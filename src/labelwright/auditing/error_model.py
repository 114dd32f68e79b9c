"""How probable is it that a given label is wrong? One number per item, from model probabilities, neighbours, or both.

Given labels alone cannot say whether an item on which the model wavers is a hard item with a right label, or an
ambiguous one whose label was a guess: both make the same p(given | x). So two readings are fitted, and averaged.

1. *Random mistakes*: labels are wrong independently of how hard the item is. p(true | x) and the transition T are the
   maximum-likelihood fit of `_stacking.fit_pool`; p(true | x, given) ∝ p(true | x) T[true, given] is Bayes' rule.
2. *Mistakes of ambiguity*: where the model wavers the given label says nothing beyond x; the truth follows the pool,
   sharpened, as a class is more nearly a function of x than an opinion is: p(true | x, given) ∝ p(true | x)^SHARPNESS.

Reading 2 weighs belief x (1 - explained); `explained` is the number of errors reading 1 expects over the number of
disagreements between pool and labels: where random mistakes explain the disagreements, no others are called for. The
belief grows from AMBIGUITY to 1 as even the mistakes of reading 1 fall between classes that resemble each other
(`_follow_resemblance`): whoever mixes up cats and dogs on clear pictures guesses on unclear ones. T is averaged over
the readings with the same weights. Nothing in the labels can fix the constants; they were measured
(benchmarks/error_model_cases.py). So on clean labels under a weak model error_prob is too high as a whole, and on very
noisy labels under a strong one too low; its order is not hurt, and a few reviews mend the rest (`recalibrate`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from labelwright.auditing._stacking import (
    MISTAKEN,
    Evidence,
    Pool,
    add_by_label,
    chunks,
    fit_pool,
    model_evidence,
    pooled,
    rows_to_fit,
    transition_from,
    vote_evidence,
)
from labelwright.errors import DataError, LabelError, OptionError, ProbabilityError
from labelwright.labels import PredProbs, as_matrix, check_class_ids, check_pred_probs

SHARPNESS = 1.5  # `_readings` takes this power as q sqrt(q)
AMBIGUITY = 0.4  # belief in reading 2 when the mistakes of reading 1 do not follow the resemblance of the classes
UNTOLD = 1 / 3  # how far they follow it where nothing tells: two classes, or few mistakes
LOGIT_FLOOR = 1e-12  # of an error probability whose log-odds are taken
CURVE_PRIOR = np.array([1.0, 0.5, 0.5, 1.0])  # how far reviews may move a, b, c and d


class ErrorModel(NamedTuple):
    """What `error_model` found.

    error_prob: (N,) float64 P(the given label is wrong); NaN where the label is missing.
    label_dist: (N, K) float32 P(true class | x, given); error_prob[i] = 1 - label_dist[i, given_i].
    expected_errors: sum of error_prob.   transition: (K, K) [true, given] p(given | true).
    weights: exponent of each source: pred_probs, neighbours, log_evidence.   ambiguity: weight of reading 2 in [0, 1].
    loglik: mean log-likelihood of the given labels, one per step of the fit.
    """

    error_prob: np.ndarray
    label_dist: np.ndarray
    expected_errors: float
    transition: np.ndarray
    weights: np.ndarray
    ambiguity: float
    loglik: list[float]


def error_model(
    labels: np.ndarray,
    pred_probs: PredProbs | None = None,
    *,
    neighbours: tuple[np.ndarray, np.ndarray] | None = None,
    log_evidence: np.ndarray | None = None,
    even: bool = False,
    belief: float | None = None,
    n_classes: int | None = None,
    random_state: int = 0,
) -> ErrorModel:
    """The probability that each given label is wrong, and the distribution of the true class.

    Args:
        labels: (N,) given class ids, -1 = missing.
        pred_probs: (N, K) out-of-sample class probabilities, any float type, or top-k rows; zeros are floored at 1e-30.
        neighbours: (index (N, k), similarity (N, k)) of each item's nearest *other* items; cosine, <= 0 abstains.
        log_evidence: (N, K) of one more source, up to a constant per row, that has not seen the item's own label; it is
            weighed like the others. With pred_probs or neighbours only.
        even: one error rate for all classes and every mistake alike; for classes that are ordered, nested or at
            distances, where what people mistake is also what a model cannot tell apart.
        belief: in [0, 1], in reading 2 before `explained` is taken off it; default: AMBIGUITY and more, as above.
        n_classes: K; default the width of pred_probs, else the largest label + 1.
        random_state: seed of the sample that the weights are fitted on where N x K is above 8.4 million.

    Raises: LabelError, ProbabilityError, DataError when an input can't be what it claims.

    >>> P = np.array([[0.9, 0.1]] * 50 + [[0.1, 0.9]] * 50)
    >>> fit = error_model(np.r_[1, np.zeros(49, int), np.ones(50, int)], P)
    >>> int(fit.error_prob.argmax()), bool(fit.error_prob[0] > 0.5 > fit.error_prob[1])
    (0, True)
    """
    p = None if pred_probs is None else as_matrix(pred_probs)
    labels, n_classes = _check(labels, p, neighbours, n_classes)
    if belief is not None and not 0 <= belief <= 1:
        raise OptionError(found=f"belief={belief!r}", expected="a share in [0, 1]", fix="leave it out, or pass 0.1")
    if log_evidence is not None and (log_evidence.shape != (len(labels), n_classes) or np.isnan(log_evidence).any()):
        raise DataError(
            found=f"log_evidence of shape {log_evidence.shape}, {int(np.isnan(log_evidence).sum())} of it NaN",
            expected=f"({len(labels)}, {n_classes}) numbers, one per item and class",
            fix="write 0 where the source says nothing",
        )
    shares = np.bincount(labels[labels >= 0], minlength=n_classes) + 1.0
    shares /= shares.sum()

    alone = neighbours is None and log_evidence is None
    mistaken = 0.0 if alone else MISTAKEN  # alone, a model keeps the order of its surest opinions

    def evidence(part: np.ndarray) -> list[np.ndarray]:
        out = [] if p is None else [model_evidence(p, part, mistaken)]
        out += [] if neighbours is None else [vote_evidence(labels, neighbours, shares, part)]
        return out if log_evidence is None else [*out, log_evidence[part]]

    rows = rows_to_fit(labels, n_classes, random_state)
    pool = fit_pool(evidence, labels, shares, rows=rows, even=even)
    sums = ReadingSums(pool, shares, sampled=len(rows) < (labels >= 0).sum(), belief=belief)
    for part in chunks(np.flatnonzero(labels >= 0), n_classes):
        sums.update((labels[part], evidence(part)))
    return _posterior(evidence, labels, pool, *sums.result())


def _check(
    labels: np.ndarray,
    pred_probs: np.ndarray | None,
    neighbours: tuple[np.ndarray, np.ndarray] | None,
    n_classes: int | None,
) -> tuple[np.ndarray, int]:
    """Labels as int64 (N,) and K; raises unless everything fits together."""
    if pred_probs is None and neighbours is None:
        raise ProbabilityError(
            found="neither pred_probs nor neighbours",
            expected="something that speaks about the items besides their labels",
            fix="pass out-of-fold pred_probs, neighbours=(index, similarity), or both",
        )
    if n_classes is None:
        n_classes = int(np.max(labels, initial=-1)) + 1 if pred_probs is None else pred_probs.shape[-1]
    ids = check_class_ids(labels, n_classes)
    if not (ids >= 0).any():
        raise LabelError(
            found=f"{len(ids)} labels, all of them missing",
            expected="at least one class id 0..K-1",
            fix="pass the labels that are known; there is nothing to audit without any",
        )
    if pred_probs is not None:
        check_pred_probs(pred_probs, n_items=len(ids), n_classes=n_classes)
    if neighbours is not None:
        index, similarity = np.asarray(neighbours[0]), np.asarray(neighbours[1])
        inside = index.dtype.kind in "iu" and (
            index.size == 0 or (0 <= int(index.min()) <= int(index.max()) < len(ids))
        )
        if index.ndim != 2 or len(index) != len(ids) or similarity.shape != index.shape or not inside:
            raise DataError(
                found=f"neighbours of shapes {index.shape} and {similarity.shape} for {len(ids)} labels",
                expected="(N, k) row numbers 0..N-1 of other items, and (N, k) similarities",
                fix="pass (index, similarity) from a search among these same items",
            )
    return ids, n_classes


class ReadingSums:
    """Mergeable statistic: the weight of reading 2, and the transition averaged over the readings.

    A chunk is `(given, evidence)`: labels (rows,) without -1 and one (rows, K) log evidence per source. State: 3 K x K floats.
    """

    def __init__(self, pool: Pool, shares: np.ndarray, *, sampled: bool = False, belief: float | None = None):
        n_classes = len(shares)
        self.pool, self.shares, self.sampled, self.belief = pool, shares, sampled, belief
        self.disagreements = 0
        self.sums = np.zeros((3, n_classes, n_classes))
        """[given, true] of reading 2 and of reading 1, and [likeliest, k] the resemblance of the classes."""
        self._by_given = np.ascontiguousarray(pool.transition.T)

    def update(self, chunk: tuple[np.ndarray, list[np.ndarray]]) -> None:
        given, evidence = chunk
        random, sharp = _readings(evidence, self.pool)
        likeliest = random.argmax(1)
        self.disagreements += int((likeliest != given).sum())
        add_by_label(self.sums[0], sharp, given)
        add_by_label(self.sums[2], random, likeliest)
        random *= self._by_given[given]
        add_by_label(self.sums[1], random / random.sum(1, keepdims=True), given)

    def merge(self, other: ReadingSums) -> None:
        self.disagreements += other.disagreements
        self.sums += other.sums

    def result(self) -> tuple[float, np.ndarray]:
        """The weight of reading 2, and the transition (K, K) [true, given]."""
        joint, mistakes, resemblance = self.sums[0].T, self.sums[1].T.copy(), self.sums[2]
        # a fit on a sample has seen too few of the K x K pairs: one more step of EM, on all rows
        even = self.pool.even
        transition = transition_from(mistakes, self.shares, even=even) if self.sampled else self.pool.transition
        np.fill_diagonal(mistakes, 0)
        explained = min(1.0, float(mistakes.sum()) / max(self.disagreements, 1))
        belief = self.belief
        if belief is None:
            belief = AMBIGUITY + (1 - AMBIGUITY) * _follow_resemblance(mistakes, resemblance, self.shares)
        ambiguity = belief * (1 - explained)
        return ambiguity, (1 - ambiguity) * transition + ambiguity * transition_from(joint, self.shares, even=even)


def _follow_resemblance(mistakes: np.ndarray, resemblance: np.ndarray, shares: np.ndarray) -> float:
    """How far the mistakes fall between classes that resemble each other: 0 not at all, 1 wholly.

    The R^2 of the departure of the mistakes from chance on that of the resemblance, over the pairs of classes weighted
    as in a chi-square. It is drawn to UNTOLD with the weight of the number of pairs; its own weight is the chi-square
    that the mistakes would show if they followed the resemblance exactly: 0 for two classes.

    Args:
        mistakes: (K, K) expected number of items of each [true, given] in reading 1.
        resemblance: (K, K) sum of p(k | x) over the items likeliest of each class; either direction counts.
        shares: (K,) shares of the given labels, > 0.
    """
    pairs = ~np.eye(len(shares), dtype=bool)
    chance = np.outer(shares, shares)[pairs]
    chance /= chance.sum()

    def departure(counts: np.ndarray) -> np.ndarray:
        share = counts[pairs] / max(float(counts[pairs].sum()), 1e-300)
        return np.asarray((share - chance) / np.sqrt(chance))

    made, alike = departure(mistakes), departure(resemblance + resemblance.T)
    r2 = max(0.0, float(made @ alike)) ** 2 / max(float((made @ made) * (alike @ alike)), 1e-300)
    weight = float(mistakes[pairs].sum() * (alike @ alike))
    return (len(chance) * UNTOLD + weight * r2) / max(len(chance) + weight, 1)


def _readings(evidence: list[np.ndarray], pool: Pool) -> tuple[np.ndarray, np.ndarray]:
    """(rows, K) p(true | x) in reading 1, and its sharpened form in reading 2."""
    q = pooled(evidence, pool.weights, pool.biases)
    sharp = q * np.sqrt(q)  # to the power of SHARPNESS, ten times as fast
    return q, sharp / sharp.sum(1, keepdims=True)


def _wrong(weights: np.ndarray, given: np.ndarray) -> np.ndarray:
    """(rows,) share of `weights` (rows, K) off the given class; a sum, not 1 - p: tiny ones keep their order."""
    other = weights.copy()
    other[np.arange(len(given)), given] = 0
    return np.asarray(other.sum(1) / weights.sum(1))


def _posterior(
    evidence: Evidence, labels: np.ndarray, pool: Pool, ambiguity: float, transition: np.ndarray
) -> ErrorModel:
    """Both readings averaged, item by item. One pass."""
    n_items, n_classes = len(labels), len(transition)
    error_prob, label_dist = np.full(n_items, np.nan), np.empty((n_items, n_classes), np.float32)
    by_given = np.ascontiguousarray(transition.T)
    for part in chunks(np.arange(n_items), n_classes):
        error_prob[part], label_dist[part] = posterior(evidence(part), labels[part], pool, ambiguity, by_given)
    expected = float(np.nansum(error_prob))
    return ErrorModel(error_prob, label_dist, expected, transition, pool.weights, ambiguity, pool.loglik)


def posterior(
    evidence: list[np.ndarray], given: np.ndarray, pool: Pool, ambiguity: float, by_given: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(rows,) probability that each label is wrong, NaN where it is missing, and (rows, K) p(true | x, given), float64.

    by_given: the transition as [given, true].
    """
    known = given >= 0
    random, sharp = _readings(evidence, pool)
    random[known] *= by_given[given[known]]
    random /= random.sum(1, keepdims=True)
    mixed = (1 - ambiguity) * random + ambiguity * sharp
    wrong = np.full(len(given), np.nan)
    wrong[known] = np.clip(_wrong(mixed[known], given[known]), 0, 1)
    return wrong, mixed


def recalibrate(
    error_prob: np.ndarray,
    reviewed: np.ndarray,
    is_error: np.ndarray,
    probability: np.ndarray,
    *,
    disagrees: np.ndarray | None = None,
) -> np.ndarray:
    """error_prob (N,) after a review: sigmoid(a + b l + c tanh(2 l) + d v) of its log-odds l; reviewed items: their answer.

    a and b shift and stretch, c bends the curve at even odds, where the two readings of `error_model` part; d hears the
    model's own verdict v, 1/2 where its prediction is not the given label, else -1/2. All four are held near the
    identity (0, 1, 0, 0) by a normal prior, so few reviews change little and none change nothing.

    Args:
        error_prob: (N,) from `error_model`; NaN stays NaN unless reviewed.
        reviewed: (R,) item numbers.   is_error: (R,) bool, or the reviewers' probability in [0, 1].
        probability: (R,) chance in (0, 1] with which each item was drawn; answers weigh 1 / probability, scaled to sum
            to their number, so that the curve fits the whole set even where its form does not. NaN: chosen by hand, so
            the answer is about that item only.
        disagrees: (N,) bool, the prediction is not the given label; None leaves the verdict out.

    Raises: DataError when the three review arrays do not fit.
    Source: Platt 1999, with a prior; weights of Horvitz & Thompson 1952.

    >>> recalibrate(np.array([0.9, 0.5, 0.1]), np.array([1]), np.array([True]), np.array([1.0])).round(2)
    array([0.93, 1.  , 0.14])
    """
    reviewed, answer, drawn = (
        np.asarray(reviewed),
        np.asarray(is_error, np.float64),
        np.asarray(probability, np.float64),
    )
    _check_review(len(error_prob), reviewed, answer, drawn)
    p = np.clip(np.asarray(error_prob, np.float64), LOGIT_FLOOR, 1 - LOGIT_FLOOR)
    logit = np.log(p) - np.log1p(-p)
    verdict = np.zeros(len(logit)) if disagrees is None else np.where(disagrees, 0.5, -0.5)
    terms = np.stack([np.ones(len(logit)), logit, np.tanh(2 * logit), verdict], 1)
    heard = np.isfinite(logit[reviewed]) & ~np.isnan(drawn)
    curve = _fit_curve(terms[reviewed][heard], answer[heard], 1 / drawn[heard])
    out = 1 / (1 + np.exp(-(terms @ curve)))
    out[reviewed] = answer
    return np.asarray(out)


def _fit_curve(terms: np.ndarray, answer: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(4,) coefficients by Newton's method; every step is cut to length 2, so the first ones can't run away."""
    centre, precision = np.array([0.0, 1.0, 0.0, 0.0]), np.diag(CURVE_PRIOR**-2)
    weight = weight * len(weight) / max(float(weight.sum()), 1e-300)
    curve = centre.copy()
    for _ in range(100):
        fitted = 1 / (1 + np.exp(-(terms @ curve)))
        grad = terms.T @ (weight * (answer - fitted)) - precision @ (curve - centre)
        step = np.linalg.solve((terms * (weight * fitted * (1 - fitted))[:, None]).T @ terms + precision, grad)
        longest = float(np.abs(step).max())
        curve += step * min(1.0, 2.0 / max(longest, 1e-12))
        if longest < 1e-9:
            break
    return curve


def _check_review(n_items: int, reviewed: np.ndarray, answer: np.ndarray, drawn: np.ndarray) -> None:
    fits = reviewed.ndim == 1 and reviewed.shape == answer.shape == drawn.shape
    known = reviewed.size == 0 or (reviewed.dtype.kind in "iu" and 0 <= reviewed.min() <= reviewed.max() < n_items)
    if not (
        fits
        and known
        and ((answer >= 0) & (answer <= 1)).all()
        and ((drawn > 0) & (drawn <= 1) | np.isnan(drawn)).all()
    ):
        raise DataError(
            found=f"reviewed {reviewed.shape}, is_error {answer.shape}, probability {drawn.shape} for {n_items} items",
            expected=f"(R,) item numbers 0..{n_items - 1}, answers in [0, 1] and inclusion probabilities in (0, 1] or NaN",
            fix="pass one answer and one inclusion probability per reviewed item",
        )
