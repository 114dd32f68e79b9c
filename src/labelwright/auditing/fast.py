"""All of confident learning at once, at the speed at which memory delivers the probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from labelwright.auditing._extremes import Chunk, row_extremes
from labelwright.auditing._ranking import lowest_first
from labelwright.auditing.confident import guesses
from labelwright.auditing.filters import FILTERS, PRUNE, flag_rows, prune_counts, prune_rows, warn_of_skipped
from labelwright.auditing.scores import SCORES, normalized_margin, row_entropy, self_confidence, weigh_entropy
from labelwright.auditing.thresholds import row_blocks
from labelwright.errors import OptionError, ProbabilityError, check_option, check_whole
from labelwright.labels import PredProbs, as_matrix
from labelwright.stream.topk import Lowest

_ENTROPY_BLOCK = 2**15  # entries: with its two scratch arrays it stays in the cache of one core


class Core(NamedTuple):
    """What `confident_core` finds.

    thresholds: (K,) float64, see `class_thresholds`.
    joint: (K, K) int64 [given, true], calibrated.   raw_joint: the same as counted, its diagonal at least 1.
    counts: (K,) int64 items per given label.
    guess: (N,) confident guess, -1 where there is none.   top: (N,) arg max. Both in the smallest integer type that fits,
        and -1 where the label is missing.
    scores: name -> (N,) label quality in [0, 1], NaN where the label is missing: what `label_quality` gives, bit by bit.
        "self_confidence" of float16 and float32 is float32, which holds it exactly; all else is float64.
    is_issue: (N,) bool, what `find_issues` gives.
    worst: item numbers by the first score, lowest first, ties by number: the first `top`, all labelled ones, or None.
    """

    thresholds: np.ndarray
    joint: np.ndarray
    raw_joint: np.ndarray
    counts: np.ndarray
    guess: np.ndarray
    top: np.ndarray
    scores: dict[str, np.ndarray]
    is_issue: np.ndarray
    worst: np.ndarray | None


def confident_core(
    labels: np.ndarray,
    pred_probs: PredProbs,
    *,
    thresholds: np.ndarray | None = None,
    scores: Sequence[str] = ("self_confidence", "normalized_margin"),
    filter_by: str = "prune_by_noise_rate",
    top: int | str | None = None,
    threads: int | None = None,
    engine: str = "auto",
    progress: Callable[[str, int, int], None] | None = None,
) -> Core:
    """Thresholds, joint, guesses, scores, flags and ranks of given labels in one pass over the probabilities.

    The pass keeps three numbers of each row; they settle the guess and the score of almost every item. Then single rows
    are read again where the guess depends on more classes than the top two, and single entries for the pruning rules.
    No copy of `pred_probs` is made; memory maps are read from front to back. The same bits come out for either engine,
    any number of threads and any memory layout.

    Args:
        labels: (N,) int, 0..K-1, -1 = missing (skipped).
        pred_probs: (N, K) float16/32/64, K > 1, rows sum to 1, out of sample; may be a memory map. Or top-k rows
            (`SoftLabels`), written out chunk by chunk.
        thresholds: (K,) to use instead of the class means, for example those of a larger set.
        scores: which of `SCORES` to return; the first one ranks. "confidence_weighted_entropy" takes a logarithm of every
            entry, about three times the work of all else.
        filter_by: rule of `find_issues`.
        top: how many items `worst` lists, "all" for every labelled one, None for no ranking.
        threads: default one per processor that this process may use.
        engine: "numpy", "numba" (extra "fast"; compiles for about a second on first use), or "auto": Numba for
            more than 67 million entries where it is installed.
        progress: called as progress(step, done, total) after each chunk.

    Returns:
        Core.

    Raises:
        ProbabilityError: NaN or infinite entries beside a label (with the row number), wrong shapes.
        LabelError: labels that are no column numbers. OptionError: unknown or impossible options.
        MissingExtra: engine="numba" without Numba.

    Warns:
        LabelwrightWarning: classes with one item only, which the pruning rules leave alone.

    Source: Northcutt et al. 2021, "Confident Learning".

    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.1, 0.9]])
    >>> core = confident_core(np.array([0, 0, 0, 1, 1]), p, top=2)
    >>> core.is_issue, core.worst
    (array([False, False,  True, False, False]), array([2, 1]))
    """
    labels, p = np.asarray(labels), as_matrix(pred_probs)
    _check_options(scores, filter_by, top)
    _check_shape(p, thresholds)
    if thresholds is not None:
        thresholds = np.asarray(thresholds, np.float64)
    entropy = [EntropyScores(len(labels))] if "confidence_weighted_entropy" in scores else []
    extremes = row_extremes(labels, p, also=entropy, engine=engine, threads=threads, progress=progress)
    found = guesses(labels, p, extremes, thresholds)
    joint, counts = found.joint.result(), found.joint.label_counts
    if filter_by in PRUNE:
        allowed = counts > 1
        is_issue = prune_rows(labels, p, extremes, filter_by, prune_counts(joint), allowed)
        warn_of_skipped(np.flatnonzero(~allowed & (counts > 0)), 1, stacklevel=3)
    else:
        is_issue = flag_rows(labels, p, extremes, filter_by, found)
    made = {}
    if "normalized_margin" in scores:  # the scores take the place of the extremes; this one needs them both
        made["normalized_margin"] = normalized_margin(extremes, spend=True)
    if entropy:
        made["confidence_weighted_entropy"] = entropy[0].result()
    if "self_confidence" in scores:
        made["self_confidence"] = self_confidence(extremes, spend=True)
    return Core(
        thresholds=found.thresholds,
        joint=joint,
        raw_joint=found.joint.raw(),
        counts=counts,
        guess=found.guess,
        top=extremes.top,
        scores={name: made[name] for name in scores},
        is_issue=is_issue,
        worst=None if top is None else _worst(labels, made[scores[0]], top),
    )


class EntropyScores:
    """Mergeable statistic: "confidence_weighted_entropy" of every item; a chunk is `(rows, labels, pred_probs)`.

    `rows` is a slice of item numbers; chunks of different items may be given by several threads at once.
    """

    def __init__(self, n_items: int):
        self.score = np.empty(n_items)
        self._rows: list[slice] = []

    def update(self, chunk: Chunk) -> None:
        rows, labels, pred_probs = chunk
        n_items, n_classes = pred_probs.shape
        size = max(1, min(n_items, _ENTROPY_BLOCK // n_classes))
        scratch, logs = np.empty((2, size, n_classes))
        entropy = np.empty(n_items)
        for start in range(0, n_items, size):
            p = pred_probs[start : start + size]
            entropy[start : start + size] = row_entropy(p, scratch[: len(p)], logs[: len(p)])
        own = pred_probs[np.arange(n_items), labels].astype(np.float64)
        score = np.clip(weigh_entropy(entropy, own, n_classes), 0.0, 1.0)
        self.score[rows] = np.where(labels >= 0, score, np.nan)
        self._rows.append(rows)

    def merge(self, other: EntropyScores) -> None:
        for rows in other._rows:
            self.score[rows] = other.score[rows]
        self._rows += other._rows

    def result(self) -> np.ndarray:
        return self.score


def _worst(labels: np.ndarray, score: np.ndarray, top: int | str) -> np.ndarray:
    if top == "all":
        labelled = np.flatnonzero(labels >= 0)
        order = lowest_first(score if len(labelled) == len(labels) else score[labelled])
        return order if len(labelled) == len(labels) else labelled[order]
    lowest = Lowest(int(top))
    for block in row_blocks(len(score), 1):
        lowest.update((np.arange(block.start, block.stop), score[block]))
    return lowest.result()


def _check_options(scores: Sequence[str], filter_by: str, top: int | str | None) -> None:
    check_option("filter_by", filter_by, FILTERS)
    if isinstance(scores, str):
        raise OptionError(found=f"scores={scores!r}", expected="a list of names", fix=f"pass scores=[{scores!r}]")
    for name in scores:
        check_option("scores", name, SCORES)
    if isinstance(top, str):
        check_option("top", top, ("all",))
    elif top is not None:
        check_whole("top", top, 0)
    if top is not None and not scores:
        raise OptionError(
            found=f"top={top!r} without scores", expected="a score to rank by", fix='pass scores=["self_confidence"]'
        )


def _check_shape(pred_probs: np.ndarray, thresholds: Any) -> None:
    if pred_probs.ndim != 2 or pred_probs.shape[1] < 2 or pred_probs.dtype.kind != "f":
        raise ProbabilityError(
            found=f"pred_probs of shape {pred_probs.shape} and dtype {pred_probs.dtype}",
            expected="a float array (N, K), K > 1: a row per item and a column per class",
            fix="stack the rows with numpy.stack; for two classes pass numpy.column_stack([1 - p, p])",
        )
    if thresholds is not None and np.shape(thresholds) != (pred_probs.shape[1],):
        raise OptionError(
            found=f"thresholds of shape {np.shape(thresholds)}",
            expected=f"one per class, ({pred_probs.shape[1]},)",
            fix="pass what class_thresholds returned for these classes",
        )
