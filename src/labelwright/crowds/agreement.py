"""How far annotators agree beyond chance: Krippendorff's alpha, Fleiss' and Cohen's kappa, Gwet's AC1, each with an interval.

Intervals take the items as drawn from many and the annotators as given. The standard error is the infinitesimal jackknife
over items (each statistic is a smooth function of sums over items); the interval is laid on the scale log(1 - statistic),
with Student's t. In simulations with 20 to 200 items its coverage was nearer to the level than that of a bootstrap of
percentiles (`benchmarks/crowd_agreement.py`). Without a single disagreement the lower end is (tail)^(1 / items), the share of
agreeing items that would leave this sample clean with probability `tail`.

Sources: Krippendorff 2011, "Computing Krippendorff's alpha-reliability"; Fleiss 1971; Cohen 1960, 1968; Fleiss, Cohen and
Everitt 1969; Gwet 2008, 2014 (AC1, unequal numbers of votes).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from labelwright.crowds._distances import CHUNK, Answers, Cells, Distance, distance, metric_of, read
from labelwright.errors import OptionError, check_option, check_whole
from labelwright.labels import LabelSpace, Votes

if TYPE_CHECKING:
    import pyarrow as pa

WEIGHTS = ("nominal", "linear", "quadratic", "space")
MOST_PAIRS = 20_000_000  # pairs of votes that `agreement` looks at


class Estimate(NamedTuple):
    """A statistic with its standard error, interval, and the number of items it rests on. All NaN where it is undefined: no item
    with two votes, or all answers the same."""

    value: float
    se: float
    low: float
    high: float
    items: int


@dataclass(frozen=True, eq=False)
class Agreement:
    """statistics: a row per statistic (statistic, metric, value, se, low, high, items).   pairs: see `cohen_kappa`.
    annotators: see `annotator_agreement`.   level: of the intervals.   notes: what was left out."""

    statistics: pa.Table
    pairs: pa.Table
    annotators: pa.Table
    level: float
    notes: list[str] = field(default_factory=list)

    def __getitem__(self, statistic: str) -> float:
        names = self.statistics.column("statistic").to_pylist()
        check_option("statistic", statistic, names)
        value = self.statistics.column("value")[names.index(statistic)].as_py()
        return float("nan") if value is None else float(value)


def agreement(votes: Votes, *, level: float = 0.9, random_state: int = 0) -> Agreement:
    """All statistics of agreement, with the metric that the label space asks for.

    alpha uses the ordinal metric on ordered spaces, the interval metric on scores, the space's own cost on hierarchies and
    metric spaces. `weighted_kappa` is left out of nominal spaces. Where items have so many votes that more than 20 million
    pairs would be compared, the kappas of pairs come from a random part of the items, and a note says so.

    Args:
        votes: who said what; abstentions and votes of weight 0 are left out, other weights are not used.
        level: of the intervals, in (0, 1).
        random_state: chooses that part of the items.

    Raises:
        OptionError: a level outside (0, 1).

    >>> votes = Votes.from_columns([1, 1, 2, 2, 3, 3], ["ann", "bob"] * 3, ["yes", "yes", "no", "no", "yes", "no"])
    >>> round(agreement(votes)["krippendorff_alpha"], 3)
    0.444
    """
    _check_level(level)
    answers, metric = read(votes), metric_of(votes.space)
    cells = answers.cells()
    nominal = {"observed_agreement": _observed, "fleiss_kappa": _fleiss, "gwet_ac1": _gwet}
    rows = [(name, "nominal", *_estimate(*f(cells), level)) for name, f in nominal.items()]
    for m in dict.fromkeys([metric, "nominal"]):
        name = "krippendorff_alpha" if m == metric else "krippendorff_alpha_nominal"
        rows.append((name, m, *_estimate(*_alpha(cells, votes.space, m), level)))
    part, notes = _thin(answers, random_state)
    weights = {"nominal": "nominal", "space": "space"}.get(metric, "quadratic")
    pairs = _Pairs.of(part, least=5)
    for name, w in {"cohen_kappa": "nominal", "weighted_kappa": weights}.items():
        if name == "cohen_kappa" or w != "nominal":
            rows.append((name, w, *pairs.pooled(_weights(votes.space, w), level)))
    table = pairs.table(votes, _weights(votes.space, weights), level)
    return Agreement(_table(rows), table, annotator_agreement(votes, level=level), level, notes)


def observed_agreement(votes: Votes, *, level: float = 0.9) -> Estimate:
    """Share of the pairs of votes on an item that agree, averaged over the items with two votes or more."""
    _check_level(level)
    return _estimate(*_observed(read(votes).cells()), level)


def krippendorff_alpha(votes: Votes, *, metric: str | None = None, level: float = 0.9) -> Estimate:
    """Krippendorff's alpha; items may have any number of votes.

    Args:
        metric: "nominal", "ordinal", "interval", "ratio", or "space" (`LabelSpace.cost`); None takes the one that the space's
            structure asks for. "interval" on an ordered space counts steps.

    Raises:
        OptionError: an unknown metric.   LabelError: a metric that needs numbers on classes that have none.

    Source: Krippendorff 2011, sections C and D.
    """
    _check_level(level)
    answers = read(votes)
    return _estimate(*_alpha(answers.cells(), votes.space, metric or metric_of(votes.space)), level)


def fleiss_kappa(votes: Votes, *, level: float = 0.9) -> Estimate:
    """Fleiss' kappa. With unequal numbers of votes each item counts the same (Gwet 2014, section 2.4); with equal numbers this
    is Fleiss 1971."""
    _check_level(level)
    return _estimate(*_fleiss(read(votes).cells()), level)


def gwet_ac1(votes: Votes, *, level: float = 0.9) -> Estimate:
    """Gwet's AC1: chance agreement is that of annotators who guess on hard items only, so rare classes do not sink it (2008)."""
    _check_level(level)
    return _estimate(*_gwet(read(votes).cells()), level)


def cohen_kappa(votes: Votes, *, weights: str = "nominal", least: int = 5, level: float = 0.9) -> pa.Table:
    """Cohen's kappa of every two annotators with at least `least` items in common.

    Args:
        weights: "nominal"; "linear" or "quadratic" in the steps of an ordered space, or the values of a score space; "space",
            which weighs by `LabelSpace.cost`.

    Returns:
        A row per pair, most items in common first: a, b (annotators), items, agreement (share of equal answers), kappa, se,
        low, high. kappa is null where both always gave the same one class.

    Raises:
        OptionError: unknown weights.   LabelError: linear or quadratic weights on classes without order.

    Source: Cohen 1960, 1968; standard error: Fleiss, Cohen and Everitt 1969.
    """
    _check_level(level)
    check_whole("least", least, 1)
    return _Pairs.of(read(votes), least).table(votes, _weights(votes.space, weights), level)


def annotator_agreement(votes: Votes, *, metric: str | None = None, level: float = 0.9) -> pa.Table:
    """How far each annotator agrees with the others on the same items.

    Returns:
        A row per annotator: annotator, votes, compared (votes on items that others voted on), agreement (share of those others
        with the same answer) with agreement_low and agreement_high, kappa (1 - distance to the others on the item / distance
        to the others' answers to all items; 0 for random answers, below for contrary ones) with low and high.
    """
    _check_level(level)
    answers = read(votes)
    item, who, label = answers.item, answers.annotator, answers.label
    k, n_who = len(votes.space), votes.n_annotators
    several = answers.votes >= 2
    pool = np.bincount(label[several[item]], minlength=k).astype(np.float64)
    far = distance(votes.space, metric or metric_of(votes.space), pool)
    on = several[item]
    near = _to_others(answers.cells(), answers, Distance())[on]
    apart, item, who, label = _to_others(answers.cells(), answers, far)[on], item[on], who[on], label[on]
    own = np.bincount(who * k + label, minlength=n_who * k).reshape(n_who, k).astype(np.float64)
    others = np.maximum(pool.sum() - own.sum(1), 1)[who]
    chance = (far.to_pool(pool)[label] - far.to_pool(own)[who, label]) / others
    n = np.bincount(who, minlength=n_who)
    columns = {
        "annotator": votes.annotators.tolist(),
        "votes": np.bincount(answers.annotator, minlength=n_who),
        "compared": n,
    }
    for name, seen, ends in (("agreement", near, "agreement_"), ("kappa", apart, "")):
        base = np.ones(len(near)) if name == "agreement" else chance
        with np.errstate(invalid="ignore", divide="ignore"):
            top, below = (np.bincount(who, x, minlength=n_who) for x in (seen, base))
            psi = (seen - (top / below)[who] * base) / below[who]
            se = np.sqrt(np.bincount(who, psi**2, minlength=n_who) * n / (n - 1))
            low, high = interval(1 - top / below, se, n, level)
        columns |= {name: 1 - top / below, f"{ends}low": low, f"{ends}high": high}
    return _nulls(columns)


# ------------------------------------------------------------------------------------- value and influence of each item
Influence = tuple[float, np.ndarray]  # the statistic, and (N,) its derivative with respect to the weight of each item


def _observed(cells: Cells) -> Influence:
    share = _share(cells.paired())
    return _mean(share), (share - _mean(share)) / max(len(share), 1)


def _fleiss(cells: Cells) -> Influence:
    """(p - e) / (1 - e) with e the sum of squared class shares."""
    every, pi = _class_shares(cells)
    e, slope = float((pi**2).sum()), 2 * every.per_item(pi[every.label] / every.votes[every.item])
    return _corrected(cells, e, (slope - 2 * e) / max(len(every.votes), 1))


def _gwet(cells: Cells) -> Influence:
    """(p - e) / (1 - e) with e the mean of pi (1 - pi) over K - 1."""
    every, pi = _class_shares(cells)
    rest = max(cells.n_classes - 1, 1)
    e = float((pi * (1 - pi)).sum()) / rest
    slope = every.per_item((1 - 2 * pi[every.label]) / every.votes[every.item]) / rest
    return _corrected(cells, e, (slope - (pi * (1 - 2 * pi)).sum() / rest) / max(len(every.votes), 1))


def _corrected(cells: Cells, e: float, e_slope: np.ndarray) -> Influence:
    """Chance-corrected observed agreement. The mean share uses items with two votes, the chance those with one as well."""
    voted = cells.votes > 0
    p_slope = np.zeros(int(voted.sum()))
    share = _share(cells.paired())
    p = _mean(share)
    p_slope[cells.votes[voted] >= 2] = (share - p) / max(len(share), 1)
    if not len(share) or e >= 1 - 1e-12:
        return float("nan"), p_slope
    return (p - e) / (1 - e), p_slope / (1 - e) - e_slope * (1 - p) / (1 - e) ** 2


def _alpha(cells: Cells, space: LabelSpace, metric: str) -> Influence:
    """1 - (n - 1) * seen / expected, n the votes on items with two or more."""
    cells = cells.paired()
    pool, m = cells.per_class(), cells.votes
    far, n = distance(space, metric, pool), float(m.sum())
    seen_by = far.within(cells) / np.maximum(m - 1, 1)
    to_pool = far.to_pool(pool)
    seen, expected = float(seen_by.sum()), float(to_pool @ pool)
    if expected <= 1e-12 * max(n, 1):
        return float("nan"), np.zeros(len(m))
    seen_slope, expected_slope = seen_by, 2 * cells.per_item(to_pool[cells.label])
    if metric == "ordinal":  # the ranks move with the answers too
        v = far.values
        assert v is not None
        around = cells.per_item(v[cells.label])[cells.item] - v[cells.label]
        met = cells.per_class(around / (m[cells.item] - 1))
        for_seen, for_expected = 4 * (pool * v - met), 4 * pool * (n * v - pool @ v)
        seen_slope = seen_slope + cells.per_item(_ranks_slope(for_seen)[cells.label])
        expected_slope = expected_slope + cells.per_item(_ranks_slope(for_expected)[cells.label])
    slope = seen * m / expected + n * seen_slope / expected - n * seen * expected_slope / expected**2
    return 1 - (n - 1) * seen / expected, -(n - 1) / n * (slope - slope.mean())


def _ranks_slope(by_rank: np.ndarray) -> np.ndarray:
    """(K,) derivative by the number of answers in each class, from that by the middle rank of each class."""
    return by_rank.sum() - np.cumsum(by_rank) + by_rank / 2


def _share(cells: Cells) -> np.ndarray:
    """(N,) share of the pairs of votes that agree."""
    m = cells.votes
    return (cells.per_item(cells.count) - m) / np.maximum(m * (m - 1), 1)


def _mean(x: np.ndarray) -> float:
    return float(x.mean()) if len(x) else float("nan")


def _class_shares(cells: Cells) -> tuple[Cells, np.ndarray]:
    """The items with a vote, renumbered, and (K,) class shares averaged over them."""
    voted = cells.votes > 0
    every = Cells((np.cumsum(voted) - 1)[cells.item], cells.label, cells.count, cells.votes[voted], cells.n_classes)
    return every, every.per_class(1 / every.votes[every.item]) / max(len(every.votes), 1)


def _to_others(cells: Cells, answers: Answers, far: Distance) -> np.ndarray:
    """(V,) mean distance of each answer to the others on its item; 0 where there are none."""
    m, item, label = answers.votes, answers.item, answers.label
    k = cells.n_classes
    if far.values is not None:
        v = far.values[cells.label]
        first, second = cells.per_item(v)[item], cells.per_item(v**2)[item]
        own = far.values[label]
        total = m[item] * own**2 - 2 * own * first + second
    else:
        at = np.searchsorted(cells.item * k + cells.label, item * k + label)
        total = (m[item] - cells.count[at]) if far.matrix is None else _met(cells, far.matrix)[at]
    return np.maximum(total, 0) / np.maximum(m[item] - 1, 1)


def _met(cells: Cells, matrix: np.ndarray) -> np.ndarray:
    """(C,) sum of the distances between the class of a cell and all answers to its item."""
    from scipy.sparse import csr_array

    table = csr_array((cells.count, (cells.item, cells.label)), shape=(len(cells.votes), cells.n_classes))
    out, step = np.empty(len(cells.item)), max(CHUNK // cells.n_classes, 1)
    for start in range(0, len(cells.votes), step):
        part = slice(*np.searchsorted(cells.item, [start, start + step]))
        out[part] = (table[start : start + step] @ matrix)[cells.item[part] - start, cells.label[part]]
    return out


# ----------------------------------------------------------------------------------------------------- pairs of annotators
@dataclass(frozen=True, eq=False)
class _Pairs:
    """Q answers of two annotators to one item, sorted by pair. a, b: (P,) the annotators.   start: (P + 1,).
    x, y: (Q,) their answers.   item: (Q,)."""

    a: np.ndarray
    b: np.ndarray
    start: np.ndarray
    x: np.ndarray
    y: np.ndarray
    item: np.ndarray
    n_classes: int

    @classmethod
    def of(cls, answers: Answers, least: int) -> _Pairs:
        first, second = _two_of_an_item(answers.votes)
        who = answers.annotator
        other = who[first] != who[second]  # one who answered an item twice is not compared with himself
        first, second = first[other], second[other]
        key = who[first] * answers.n_annotators + who[second]
        order = np.argsort(key, kind="stable")
        pair, number, count = np.unique(key[order], return_inverse=True, return_counts=True)
        keep = count >= least
        order = order[keep[number]]
        first, second = first[order], second[order]
        a, b = np.divmod(pair[keep], answers.n_annotators)
        start = np.append(0, np.cumsum(count[keep]))
        label = answers.label
        return cls(a, b, start, label[first], label[second], answers.item[first], len(answers.space))

    def parts(self, far: Distance) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(seen (P,), expected (P,)) mean distances; and per answer (Q,) the distance and its expected counterpart, whose mean
        is 2 * expected."""
        k, n = self.n_classes, np.diff(self.start)
        number = np.repeat(np.arange(len(n)), n)
        d = far.between(self.x, self.y)
        expected, to_margin = np.empty(len(n)), np.empty(len(d))
        step = max(CHUNK // k, 1)
        for p in range(0, len(n), step):
            part = slice(self.start[p], self.start[min(p + step, len(n))])
            size, row = min(step, len(n) - p), number[part] - p
            margins = [
                np.bincount(row * k + z[part], minlength=size * k).reshape(size, k) / n[p : p + size, None]
                for z in (self.x, self.y)
            ]
            away = [far.to_pool(margin) for margin in margins]
            expected[p : p + size] = (away[0] * margins[1]).sum(1)
            to_margin[part] = away[1][row, self.x[part]] + away[0][row, self.y[part]]
        return np.add.reduceat(d, self.start[:-1]) / n if len(n) else d, expected, d, to_margin

    def kappas(self, far: Distance) -> tuple[np.ndarray, np.ndarray]:
        """kappa (P,), and (Q,) its derivative by the weight of each common item."""
        seen, expected, d, to_margin = self.parts(far)
        n = np.diff(self.start)
        with np.errstate(invalid="ignore", divide="ignore"):
            expected = np.where(expected > 1e-12, expected, np.nan)
            ratio, e, s, m = (np.repeat(z, n) for z in (seen / expected, expected, seen, n))
            return 1 - seen / expected, -((d - s) / e - ratio * (to_margin - 2 * e) / e) / m

    def pooled(self, far: Distance, level: float) -> Estimate:
        """Mean kappa over the pairs, weighted by common items."""
        kappa, slope = self.kappas(far)
        n = np.diff(self.start) * np.isfinite(kappa)
        if not n.sum():
            return _estimate(float("nan"), np.zeros(0), level)
        share = np.repeat(n / n.sum(), np.diff(self.start))
        _, item = np.unique(self.item, return_inverse=True)
        psi = np.bincount(item, np.where(share > 0, np.nan_to_num(slope) * share, 0))
        return _estimate(float(np.nansum(kappa * n) / n.sum()), psi, level)

    def table(self, votes: Votes, far: Distance, level: float) -> pa.Table:
        kappa, slope = self.kappas(far)
        n = np.diff(self.start)
        sums = [np.add.reduceat(z, self.start[:-1]) if len(n) else z for z in (slope**2, (self.x == self.y) * 1.0)]
        with np.errstate(invalid="ignore", divide="ignore"):
            se = np.sqrt(sums[0] * n / (n - 1))
            low, high = interval(kappa, se, n, level)
        order = np.argsort(-n, kind="stable")
        columns = {
            "items": n,
            "agreement": sums[1] / np.maximum(n, 1),
            "kappa": kappa,
            "se": se,
            "low": low,
            "high": high,
        }
        names = {"a": votes.annotators[self.a][order].tolist(), "b": votes.annotators[self.b][order].tolist()}
        return _nulls(names | {name: c[order] for name, c in columns.items()})


def _two_of_an_item(votes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions (first, second) of every two answers to one item, first < second."""
    rank = np.arange(int(votes.sum())) - np.repeat(np.cumsum(votes) - votes, votes)
    later = np.repeat(votes, votes) - rank - 1
    first = np.repeat(np.arange(len(later)), later)
    step = np.arange(len(first)) - np.repeat(np.cumsum(later) - later, later)
    return first, first + 1 + step


def _thin(answers: Answers, random_state: int) -> tuple[Answers, list[str]]:
    """A random part of the items, with no more than MOST_PAIRS pairs of votes."""
    pairs = answers.votes * (answers.votes - 1) // 2
    if pairs.sum() <= MOST_PAIRS:
        return answers, []
    order = np.random.default_rng(random_state).permutation(len(pairs))
    chosen = np.zeros(len(pairs), dtype=bool)
    chosen[order[np.cumsum(pairs[order]) <= MOST_PAIRS]] = True
    on = chosen[answers.item]
    part = Answers(
        answers.item[on], answers.annotator[on], answers.label[on], answers.votes * chosen,
        answers.n_annotators, answers.space,
    )  # fmt: skip
    return part, [f"kappas of pairs come from {int(chosen.sum()):,} of {len(pairs):,} items, drawn at random"]


def _weights(space: LabelSpace, weights: str) -> Distance:
    check_option("weights", weights, WEIGHTS)
    if weights in ("nominal", "space"):
        return distance(space, weights, np.zeros(0))
    squared = distance(space, "interval", np.zeros(0))
    assert squared.values is not None
    return (
        squared
        if weights == "quadratic"
        else Distance(matrix=np.abs(np.subtract.outer(squared.values, squared.values)))
    )


# --------------------------------------------------------------------------------------------------------------- intervals
def interval(value: np.ndarray, se: np.ndarray, n: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) for statistics `value` <= 1 with standard errors `se` from `n` items; see the top of this file."""
    from scipy.special import stdtrit

    tail = (1 - level) / 2
    gap = 1 - np.asarray(value, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        t = stdtrit(np.maximum(n - 1, 1), 1 - tail)
        reach = t * se / np.where(gap > 1e-12, gap, np.nan)
        low, high = 1 - gap * np.exp(reach), 1 - gap * np.exp(-reach)
        clean = np.abs(gap) <= 1e-12
        return np.where(clean, tail ** (1 / np.maximum(n, 1)), low), np.where(clean, 1.0, high)


def _estimate(value: float, slope: np.ndarray, level: float) -> Estimate:
    n = len(slope)
    if not np.isfinite(value):
        return Estimate(float("nan"), float("nan"), float("nan"), float("nan"), n)
    se = float(np.sqrt((slope**2).sum() * n / (n - 1))) if n > 1 else float("nan")
    low, high = interval(np.array([value]), np.array([se]), np.array([n]), level)
    return Estimate(value, se, float(low[0]), float(high[0]), n)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise OptionError(found=f"level={level!r}", expected="a number between 0 and 1", fix="pass level=0.9")


def _table(rows: list[tuple[object, ...]]) -> pa.Table:
    names = ("statistic", "metric", "value", "se", "low", "high", "items")
    return _nulls({name: [row[i] for row in rows] for i, name in enumerate(names)})


def _nulls(columns: dict[str, object]) -> pa.Table:
    """A table in which NaN is null."""
    import pyarrow as pa

    return pa.table({name: pa.array(np.asarray(c) if name not in ("a", "b", "annotator") else c, from_pandas=True)
                     for name, c in columns.items()})  # fmt: skip
