"""Which of two annotations is better: judges asked in both orders, and only what survives the swap counts.

Source: Label Critic (ISBI 2025), dual confirmation; the closed form of accuracy and coverage under independent orders is ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from labelwright.errors import OptionError
from labelwright.labels import Comparisons

if TYPE_CHECKING:
    import pyarrow as pa

PSEUDO = 4.0  # pseudo-answers with which a judge's own shares are drawn to those of all judges


class Verdicts(NamedTuple):
    """pairs: a row per item and pair of classes (item, a, b, better, probability, judges, confirmed, contradicted), by item;
    better is null where the judges do not decide: that is the review queue.   judges: a row per judge (judge, swapped, coverage,
    first, second, accuracy_first, accuracy_second, accuracy).   coverage: share of the pairs that are decided."""

    pairs: pa.Table
    judges: pa.Table
    coverage: float


def better_annotation(
    comparisons: Comparisons, *, confirm: bool = False, conservative: bool = False, accuracy: float = 0.8
) -> Verdicts:
    """The better of two candidate classes per item, as far as the judges' answers decide it.

    A judge who saw a pair in both orders speaks only if both answers name the same class; the same place twice is a
    contradiction and counts for nothing. One answer beside a tie counts, unless `conservative`. The pair goes to the class that
    more judges name; equal numbers leave it open.

    From the share of pairs in which a judge named the first place twice, the second place twice, or one class, follow the judge's
    accuracies when the better class is shown first (p) and second (q), supposing that the two answers err independently:
    coverage = p q + (1 - p)(1 - q), accuracy where confirmed = p q / coverage. `probability` multiplies the odds of the judges.
    Judges who err together, or on the same items, make it too sure.

    Args:
        confirm: a judge who saw only one order says nothing; otherwise that one answer counts.
        conservative: an answer beside a tie does not count.
        accuracy: of one answer of judges who never saw a pair in both orders, in (0.5, 1).

    Returns:
        See `Verdicts`. judges: coverage is the share of their swapped pairs with one class named; first and second the shares of
        the same place twice; accuracy is that of confirmed answers. Null for judges without a swapped pair.

    Raises:
        OptionError: an accuracy outside (0.5, 1).

    >>> c = Comparisons.from_columns(["t"] * 2, ["llm"] * 2, ["cat", "dog"], ["dog", "cat"], ["dog", "dog"])
    >>> better_annotation(c).pairs["better"].to_pylist()
    ['dog']
    """
    if not 0.5 < accuracy < 1:
        raise OptionError(found=f"accuracy={accuracy!r}", expected="a number in (0.5, 1)", fix="pass accuracy=0.8")
    low, high = np.minimum(comparisons.a, comparisons.b), np.maximum(comparisons.a, comparisons.b)
    case, at_case = np.unique(np.stack([comparisons.item, low, high]), axis=1, return_inverse=True)
    judged, row = np.unique(np.stack([at_case.reshape(-1), comparisons.annotator]), axis=1, return_inverse=True)
    forward, backward, both = _answers(comparisons, row.reshape(-1), judged.shape[1])
    verdict = _confirmed(forward, backward, both, confirm, conservative)
    quality = _quality(judged[1], forward, backward, both, len(comparisons.annotators))
    odds = _log_odds(judged[1], forward, backward, both, verdict, quality, accuracy)
    n = case.shape[1]
    balance, total = (np.bincount(judged[0], x, minlength=n) for x in (verdict, odds))
    better = np.where(balance > 0, case[1], np.where(balance < 0, case[2], -1))
    contradicted = both & (forward * backward < 0)
    pairs = {
        "item": comparisons.items[case[0]].tolist(),
        "a": comparisons.space.decode(case[1]).tolist(),
        "b": comparisons.space.decode(case[2]).tolist(),
        "better": comparisons.space.decode(better).tolist(),
        "probability": np.where(balance == 0, 0.5, 0.5 * (1 + np.tanh(np.sign(balance) * total / 2))),
        "judges": np.bincount(judged[0], minlength=n),
        "confirmed": np.bincount(judged[0], both & (verdict != 0), minlength=n).astype(np.int64),
        "contradicted": np.bincount(judged[0], contradicted, minlength=n).astype(np.int64),
    }
    return Verdicts(_table(pairs), _judges(comparisons, quality), float((balance != 0).mean()) if n else float("nan"))


def _answers(c: Comparisons, row: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per judged pair: the answer when the smaller class id was first, and when it was second (1 names the smaller id, -1 the
    larger, 0 neither or both as often); and whether both orders were seen."""
    value = np.where(c.preferred < 0, 0, np.where(c.preferred == np.minimum(c.a, c.b), 1.0, -1.0))
    sums, seen = [], []
    for order in (c.a < c.b, c.a > c.b):
        sums.append(np.sign(np.bincount(row[order], value[order], minlength=n)))
        seen.append(np.bincount(row[order], minlength=n) > 0)
    return sums[0], sums[1], seen[0] & seen[1]


def _confirmed(
    forward: np.ndarray, backward: np.ndarray, both: np.ndarray, confirm: bool, conservative: bool
) -> np.ndarray:
    """The judge's verdict in {1, 0, -1}."""
    one = forward + backward  # with one order, or a tie in the other, this is the answer itself
    if conservative:
        one = np.where(both & (forward * backward == 0), 0, one)
    return np.sign(np.where(both, one, 0 if confirm else one))


class _Quality(NamedTuple):
    """(A,) each. swapped: pairs answered without a tie in both orders.   coverage, first, second: shares of them.
    p, q: accuracy of an answer when the better class is first, and second."""

    swapped: np.ndarray
    coverage: np.ndarray
    first: np.ndarray
    second: np.ndarray
    p: np.ndarray
    q: np.ndarray


def _quality(judge: np.ndarray, forward: np.ndarray, backward: np.ndarray, both: np.ndarray, n_judges: int) -> _Quality:
    clear = both & (forward != 0) & (backward != 0)
    kinds = [clear & (forward == backward), clear & (forward > backward), clear & (forward < backward)]
    counts = np.stack([np.bincount(judge, kind, minlength=n_judges) for kind in kinds])
    n = counts.sum(0)
    pool = counts.sum(1, keepdims=True) / max(counts.sum(), 1)
    with np.errstate(invalid="ignore"):
        _, first, second = (counts + PSEUDO * pool) / np.where(n > 0, n + PSEUDO, np.nan)
        gap = first - second  # = p - q; and first + second = p + q - 2 p q
        total = 1 + np.sqrt(np.maximum(1 - 2 * (first + second) + gap**2, 0))
        p, q = (np.clip((total + s * gap) / 2, 0.01, 0.99) for s in (1, -1))
        shares = counts / np.where(n > 0, n, np.nan)
    return _Quality(n, shares[0], shares[1], shares[2], p, q)


def _log_odds(
    judge: np.ndarray,
    forward: np.ndarray,
    backward: np.ndarray,
    both: np.ndarray,
    verdict: np.ndarray,
    quality: _Quality,
    accuracy: float,
) -> np.ndarray:
    """(R,) log-odds that the smaller class id is the better, from each judged pair."""
    p, q = (np.where(np.isfinite(x), x, accuracy)[judge] for x in (quality.p, quality.q))
    twice = np.log(p * q) - np.log((1 - p) * (1 - q))
    named_first = np.where(forward != 0, forward, -backward) > 0  # with one answer: it named what was shown first
    once = np.where(named_first, np.log(p) - np.log1p(-q), np.log(q) - np.log1p(-p))
    return verdict * np.where(both & (forward * backward > 0), twice, once)


def _judges(c: Comparisons, quality: _Quality) -> pa.Table:
    confirmed = quality.p * quality.q
    return _table(
        {
            "judge": c.annotators.tolist(),
            "swapped": quality.swapped.astype(np.int64),
            "coverage": quality.coverage,
            "first": quality.first,
            "second": quality.second,
            "accuracy_first": quality.p,
            "accuracy_second": quality.q,
            "accuracy": confirmed / (confirmed + (1 - quality.p) * (1 - quality.q)),
        }
    )


def _table(columns: dict[str, object]) -> pa.Table:
    import pyarrow as pa

    return pa.table({name: pa.array(column, from_pandas=True) for name, column in columns.items()})
