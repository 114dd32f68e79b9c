"""Several judges who each give a probability per class: label errors, how sure, how many at least, and what to do with them.

The judges are any models that were not trained on the labels they judge: LLMs under several prompts, classifiers of other
data. A judge who says nothing on an item (NaN) is left out there. Source: "Are LLMs Better than Reported?", 2024 (arXiv
2410.18889). How agreement among judges who share training data should count is left to `judge_votes` and the
models of `aggregate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from labelwright.annotators.rule_votes import wilson
from labelwright.errors import DataError, LabelError, OptionError, ProbabilityError, check_whole, rows
from labelwright.labels import LabelSpace, Votes, check_class_ids, check_pred_probs

if TYPE_CHECKING:
    import pyarrow as pa

FLIP, FILTER = 0.5, 0.5
"""A label is replaced where the judges' class is right in more than half of the cases; else dropped where it is wrong in
more than half of them. With two classes the second never happens at these values."""


@dataclass(frozen=True, eq=False)
class Judgement:
    """What J judges make of N given labels in K classes.

    prob: (N, K) float64, mean over the judges who spoke; NaN where none did.   given: (N,) class ids, -1 = missing.
    predicted: (N,) int64, the likeliest class, -1 where no judge spoke.   confidence: (N,) its probability, NaN there.
    support: (N,) share of the judges who spoke whose own likeliest class is `predicted`.
    flagged: (N,) bool, predicted differs from given.   bins: (N,) int64, for flagged items 0 (least confident) to n_bins - 1,
    as equal in count as ties allow; -1 elsewhere.   n_bins: of them.
    """

    prob: np.ndarray
    given: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    support: np.ndarray
    flagged: np.ndarray
    bins: np.ndarray
    n_bins: int

    @property
    def ranked(self) -> np.ndarray:
        """Numbers of the flagged items, the most confident first."""
        found = np.flatnonzero(self.flagged)
        return found[np.argsort(-self.confidence[found], kind="stable")]


def judge_ensemble(p: Any, given: Any, *, n_bins: int = 5, calibrate: bool = False) -> Judgement:
    """Flags and confidence from the mean of several judges.

    Args:
        p: (J, N, K) probabilities, or a list of J arrays (N, K). A row of NaN: that judge abstains on that item.
        given: (N,) class ids, -1 = missing (judged, never flagged).
        n_bins: of the flagged items by confidence; fewer where there are fewer flags.
        calibrate: scale every judge to the given labels by one temperature, so that no overconfident judge outweighs the others.

    Raises:
        ProbabilityError: judges of different shapes, none at all, rows that are no distributions.
        LabelError: labels that do not fit.   OptionError: no bins.

    Source: the same paper: plain mean over models and prompts, flags where it disagrees.

    >>> p = [[[0.9, 0.1], [0.6, 0.4]], [[0.7, 0.3], [0.2, 0.8]]]
    >>> found = judge_ensemble(p, [1, 1])
    >>> found.prob.round(2).tolist(), found.flagged.tolist()
    ([[0.8, 0.2], [0.4, 0.6]], [True, False])
    """
    check_whole("n_bins", n_bins, 1)
    judges = _judges(p)
    n, k = judges.shape[1:]
    labels = check_class_ids(np.asarray(given), k, n_items=n)
    if calibrate:
        judges = np.stack([_calibrated(one, labels) for one in judges])
    spoke = ~np.isnan(judges[:, :, 0])
    count = spoke.sum(0)
    prob = np.where(count[:, None] > 0, np.nansum(judges, 0) / np.maximum(count, 1)[:, None], np.nan)
    predicted = np.where(count > 0, np.nan_to_num(prob).argmax(1), -1)
    confidence = np.where(count > 0, np.nan_to_num(prob).max(1), np.nan)
    agree = (np.nan_to_num(judges).argmax(2) == predicted) & spoke
    support = np.where(count > 0, agree.sum(0) / np.maximum(count, 1), np.nan)
    flagged = (predicted >= 0) & (labels >= 0) & (predicted != labels)
    bins, used = _bins(confidence, flagged, n_bins)
    return Judgement(prob, labels, predicted, confidence, support, flagged, bins, used)


def judge_votes(p: Any, *, names: Sequence[str] | None = None, space: LabelSpace | None = None) -> Votes:
    """Every judge's likeliest class as a vote, for `aggregate`; a row of NaN is an abstention.

    Args:
        p: as in `judge_ensemble`.   names: of the judges; default: "judge 1", ….   space: default: classes 0..K-1.

    Raises:
        ProbabilityError: as `judge_ensemble`.   LabelError: another number of names or classes.
    """
    judges = _judges(p)
    j, n, k = judges.shape
    names = [f"judge {i + 1}" for i in range(j)] if names is None else list(names)
    space = space or LabelSpace(range(k))
    if len(names) != j or len(set(names)) != j or len(space) != k:
        raise LabelError(
            found=f"{len(set(names))} distinct names and {len(space)} classes for {j} judges and {k} columns",
            expected="a name per judge and a class per column",
            fix="leave names and space out, or pass them in the order of the arrays",
        )
    label = np.where(np.isnan(judges[:, :, 0]), -1, np.nan_to_num(judges).argmax(2)).astype(np.int64)
    item, judge = np.tile(np.arange(n), j), np.repeat(np.arange(j), n)
    return Votes(item, judge, label.ravel(), np.arange(n), np.array(names), space)


def rating_flags(ratings: Any, given: Any, *, tolerance: float = 1.0) -> np.ndarray:
    """(N,) bool: the judges' mean rating lies more than `tolerance` from the given one.

    Args:
        ratings: (J, N) numbers, NaN = abstains.   given: (N,) ratings.

    Raises:
        DataError: shapes that do not fit.

    >>> rating_flags([[1, 4], [2, 5]], [3, 4]).tolist()
    [True, False]
    """
    r, g = np.asarray(ratings, dtype=np.float64), np.asarray(given, dtype=np.float64)
    if r.ndim != 2 or g.shape != r.shape[1:]:
        raise DataError(
            found=f"ratings of shape {r.shape} for given of shape {g.shape}", expected="(J, N) and (N,)", fix="stack the judges"
        )  # fmt: skip
    spoke = ~np.isnan(r)
    mean = np.where(spoke, r, 0).sum(0) / np.maximum(spoke.sum(0), 1)
    return np.asarray(spoke.any(0) & (np.abs(mean - g) > tolerance))


# -------------------------------------------------------------------------------------------------------- after a review
def precision_by_confidence(found: Judgement, index: Any, true: Any, *, level: float = 0.9) -> pa.Table:
    """One row per confidence bin of the flagged items, the least confident first.

    bin, low, high (confidence), flagged (items), reviewed (of them), wrong (labels found wrong), precision (wrong / reviewed, NaN
    where none), precision_low, precision_high (Wilson), judge_right (reviewed items where the judges' class is the true one).

    Args:
        index: (R,) numbers of reviewed items, each once.   true: (R,) their class ids as the reviewers settled them.
        level: of the interval.

    Raises:
        LabelError, DataError: reviews that do not fit.   OptionError: a level outside (0, 1).
    """
    import pyarrow as pa

    _check_level(level)
    at, y = _reviews(found, index, true)
    at, y = at[found.flagged[at]], y[found.flagged[at]]
    b = found.bins[at]
    flagged, reviewed, wrong, right = (
        np.bincount(v, minlength=found.n_bins)
        for v in (found.bins[found.flagged], b, b[y != found.given[at]], b[y == found.predicted[at]])
    )
    edges = [found.confidence[found.bins == i] for i in range(found.n_bins)]
    low, high = wilson(wrong, reviewed, level)
    return pa.table(
        {
            "bin": np.arange(found.n_bins), "low": [float(e.min()) for e in edges], "high": [float(e.max()) for e in edges],
            "flagged": flagged, "reviewed": reviewed, "wrong": wrong,
            "precision": np.where(reviewed > 0, wrong / np.maximum(reviewed, 1), np.nan),
            "precision_low": low, "precision_high": high, "judge_right": right,
        }
    )  # fmt: skip


def error_lower_bound(k: int, n: int, n_items: int, *, level: float = 0.025) -> int:
    """The least number of wrong labels among `n_items` that is compatible with k found in a uniform sample of n.

    The smallest E with P(X >= k | n_items, E, n) >= level, X hypergeometric: exact, one-sided; below the truth with probability
    1 - level at least. Divide by `n_items` for a rate.

    Args:
        k: wrong labels in the sample.   n: sample size, drawn without replacement, every item as likely.   n_items: N.
        level: chance of being above the truth, in (0, 1).

    Raises:
        OptionError: a level outside (0, 1), or counts that are no k <= n <= n_items.

    Source: Buonaccorsi 1987 (exact confidence limits for a finite population).

    >>> error_lower_bound(27, 160, 640), error_lower_bound(0, 160, 640)
    (78, 0)
    """
    from scipy.stats import hypergeom

    check_whole("k", k, 0)
    check_whole("n", n, max(k, 1))
    check_whole("n_items", n_items, n)
    _check_level(level)
    low, high = int(k), int(n_items - (n - k))  # E is at least what was found, and leaves n - k right labels
    while low < high:  # P(X >= k) grows with E
        middle = (low + high) // 2
        if hypergeom.sf(k - 1, n_items, middle, n) >= level * (1 - 1e-9):  # ties up to rounding
            high = middle
        else:
            low = middle + 1
    return low


class Plan(NamedTuple):
    """keep, flip, drop: (N,) bool, one of them True per item.   labels: (N,) class ids to train on, -1 where dropped.
    wrong, judge_right: (n_bins,) fitted probability per confidence bin that the label is wrong, and that the judges' class is
    right; they never fall with confidence."""

    keep: np.ndarray
    flip: np.ndarray
    drop: np.ndarray
    labels: np.ndarray
    wrong: np.ndarray
    judge_right: np.ndarray


def mitigation_plan(
    found: Judgement, index: Any, true: Any, *, flip_above: float = FLIP, drop_above: float = FILTER
) -> Plan:
    """What to do with each flagged label, by the precision that a review found at its confidence.

    Per bin, reviewed shares are smoothed by half a verdict on either side and made monotone in confidence. A bin without a review
    takes the value of the next less confident reviewed one. Flip where the judges' class is right with more than `flip_above`;
    else drop where the label is wrong with more than `drop_above`; else keep. Reviewed items get the reviewers' class.

    Args:
        index, true: as in `precision_by_confidence`; unflagged items may be among them.
        flip_above, drop_above: probabilities in [0, 1]; 1 never flips, or never drops.

    Raises:
        LabelError, DataError: reviews that do not fit.   OptionError: a threshold outside [0, 1].
    """
    for name, value in (("flip_above", flip_above), ("drop_above", drop_above)):
        if not 0 <= value <= 1:
            raise OptionError(found=f"{name}={value!r}", expected="a probability in [0, 1]", fix=f"pass {name}=0.5")
    at, y = _reviews(found, index, true)
    flagged = found.flagged[at]
    b, reviewed, truth = found.bins[at[flagged]], at[flagged], y[flagged]
    wrong = _monotone(b, truth != found.given[reviewed], found.n_bins)
    right = _monotone(b, truth == found.predicted[reviewed], found.n_bins)
    flip, drop = np.zeros_like(found.flagged), np.zeros_like(found.flagged)
    items = np.flatnonzero(found.flagged)
    flip[items] = right[found.bins[items]] > flip_above
    drop[items] = ~flip[items] & (wrong[found.bins[items]] > drop_above)
    labels = np.where(flip, found.predicted, np.where(drop, -1, found.given))
    labels[at] = y
    flip[at], drop[at] = y != found.given[at], False
    return Plan(~(flip | drop), flip, drop, labels, wrong, right)


def _monotone(bins: np.ndarray, hit: np.ndarray, n_bins: int) -> np.ndarray:
    """(n_bins,) shares that never fall; 0 before the first bin with a review."""
    from sklearn.isotonic import IsotonicRegression

    count = np.bincount(bins, minlength=n_bins)
    share = (np.bincount(bins, hit, n_bins) + 0.5) / (count + 1)
    some = np.flatnonzero(count)
    out = np.zeros(n_bins)
    if len(some):
        out[some] = IsotonicRegression().fit_transform(some, share[some], sample_weight=count[some])
    return np.maximum.accumulate(out)


# ----------------------------------------------------------------------------------------------------------- what came in
def _judges(p: Any) -> np.ndarray:
    """(J, N, K) float64; a row with any NaN is all NaN."""
    parts = [np.asarray(one) for one in p]
    if not parts or any(one.ndim != 2 or one.shape != parts[0].shape for one in parts):
        raise ProbabilityError(
            found=f"judges of shapes {sorted({one.shape for one in parts})}",
            expected="at least one array (N, K), all of one shape",
            fix="fill items that a judge was not asked about with NaN",
        )
    for number, one in enumerate(parts):
        silent = np.isnan(one).all(1) if one.dtype.kind == "f" else np.zeros(len(one), dtype=bool)
        try:
            check_pred_probs(one[~silent])
        except ProbabilityError as error:
            raise ProbabilityError(
                found=f"in judge {number}: {error.found} (rows of abstentions not counted)",
                expected=error.expected,
                fix="renormalise over the label tokens; a judge without them abstains: a row of NaN, never of even shares",
            ) from None
    return np.stack(parts).astype(np.float64)


def _calibrated(one: np.ndarray, labels: np.ndarray) -> np.ndarray:
    from labelwright.features.calibration import fit_scaling

    spoke = ~np.isnan(one[:, 0])
    out = one.copy()
    out[spoke] = fit_scaling(one[spoke], labels[spoke])(one[spoke])
    return out


def _bins(confidence: np.ndarray, flagged: np.ndarray, n_bins: int) -> tuple[np.ndarray, int]:
    """(N,) bin of each flagged item, equal confidences together, and the number of bins that occur."""
    out = np.full(len(confidence), -1)
    at = np.flatnonzero(flagged)
    if not len(at):
        return out, 0
    first = np.searchsorted(np.sort(confidence[at]), confidence[at])
    _, out[at] = np.unique(first * min(n_bins, len(at)) // len(at), return_inverse=True)
    return out, int(out.max()) + 1


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise OptionError(
            found=f"level={level!r}", expected="a share between 0 and 1", fix="pass level=0.025 or the like"
        )


def _reviews(found: Judgement, index: Any, true: Any) -> tuple[np.ndarray, np.ndarray]:
    at = np.asarray(index)
    if at.ndim != 1 or (len(at) and at.dtype.kind not in "iu") or len(np.unique(at)) != len(at):
        raise DataError(
            found=f"index of shape {at.shape} and type {at.dtype}, or an item that is reviewed twice",
            expected="(R,) numbers of different items",
            fix="settle repeated reviews first",
        )
    at = at.astype(np.int64)
    outside = np.flatnonzero((at < 0) | (at >= len(found.given)))
    if len(outside):
        raise DataError(
            found=f"reviews of items that do not exist, in {rows(outside)}",
            expected=f"0 to {len(found.given) - 1}",
            fix="pass positions, not keys",
        )
    y = check_class_ids(np.asarray(true), found.prob.shape[1], n_items=len(at))
    if (y < 0).any():
        raise LabelError(found="a review without a class", expected="the true class", fix="leave unsettled items out")
    return at, y
