"""How far annotators agree beyond chance: Krippendorff's alpha, Fleiss' and Cohen's kappa, Gwet's AC1, each with an interval.

Sources: Krippendorff 2011, "Computing Krippendorff's alpha-reliability"; Fleiss 1971;
Gwet 2008, 2014 (AC1, unequal numbers of votes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from labelwright.crowds._distances import Answers, Distance, distance, metric_of, read, to_others
from labelwright.crowds._influence import alpha, fleiss, gwet, observed
from labelwright.crowds._intervals import Estimate, check_level, estimate, interval, nulls
from labelwright.crowds._pairs import Pairs, cohen_kappa, weights_of
from labelwright.errors import check_option
from labelwright.labels import Votes

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Agreement", "Estimate", "agreement", "annotator_agreement", "cohen_kappa", "fleiss_kappa", "gwet_ac1",
    "krippendorff_alpha", "observed_agreement",
]  # fmt: skip
MOST_PAIRS = 5_000_000  # pairs of votes that `agreement` looks at


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
    metric spaces. `weighted_kappa` is left out of nominal spaces. Where items have so many votes that more than 5 million
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
    check_level(level)
    answers, metric = read(votes), metric_of(votes.space)
    cells = answers.cells()
    nominal = {"observed_agreement": observed, "fleiss_kappa": fleiss, "gwet_ac1": gwet}
    rows = [(name, "nominal", *estimate(f(cells), level)) for name, f in nominal.items()]
    for m in dict.fromkeys([metric, "nominal"]):
        name = "krippendorff_alpha" if m == metric else "krippendorff_alpha_nominal"
        rows.append((name, m, *estimate(alpha(cells, votes.space, m), level)))
    part, notes = _thin(answers, random_state)
    weights = {"nominal": "nominal", "space": "space"}.get(metric, "quadratic")
    pairs = Pairs.of(part, least=5)
    for name, w in {"cohen_kappa": "nominal", "weighted_kappa": weights}.items():
        if name == "cohen_kappa" or w != "nominal":
            rows.append((name, w, *pairs.pooled(weights_of(votes.space, w), level)))
    table = pairs.table(votes, weights_of(votes.space, weights), level)
    return Agreement(_table(rows), table, annotator_agreement(votes, level=level), level, notes)


def observed_agreement(votes: Votes, *, level: float = 0.9) -> Estimate:
    """Share of the pairs of votes on an item that agree, averaged over the items with two votes or more."""
    check_level(level)
    return estimate(observed(read(votes).cells()), level)


def krippendorff_alpha(votes: Votes, *, metric: str | None = None, level: float = 0.9) -> Estimate:
    """Krippendorff's alpha; items may have any number of votes.

    Args:
        metric: "nominal", "ordinal", "interval", "ratio", or "space" (`LabelSpace.cost`); None takes the one that the space's
            structure asks for. "interval" on an ordered space counts steps.

    Raises:
        OptionError: an unknown metric.   LabelError: a metric that needs numbers on classes that have none.

    Source: Krippendorff 2011, sections C and D.
    """
    check_level(level)
    answers = read(votes)
    return estimate(alpha(answers.cells(), votes.space, metric or metric_of(votes.space)), level)


def fleiss_kappa(votes: Votes, *, level: float = 0.9) -> Estimate:
    """Fleiss' kappa. With unequal numbers of votes each item counts the same (Gwet 2014, section 2.4); with equal numbers this
    is Fleiss 1971."""
    check_level(level)
    return estimate(fleiss(read(votes).cells()), level)


def gwet_ac1(votes: Votes, *, level: float = 0.9) -> Estimate:
    """Gwet's AC1: chance agreement is that of annotators who guess on hard items only, so rare classes do not sink it (2008)."""
    check_level(level)
    return estimate(gwet(read(votes).cells()), level)


def annotator_agreement(votes: Votes, *, metric: str | None = None, level: float = 0.9) -> pa.Table:
    """How far each annotator agrees with the others on the same items.

    Returns:
        A row per annotator: annotator, votes, compared (votes on items that others voted on), agreement (share of those others
        with the same answer) with agreement_low and agreement_high, kappa (1 - distance to the others on the item / distance
        to the others' answers to all items; 0 for random answers, below for contrary ones) with low and high.
    """
    check_level(level)
    answers = read(votes)
    item, who, label = answers.item, answers.annotator, answers.label
    k, n_who = len(votes.space), votes.n_annotators
    several = answers.votes >= 2
    pool = np.bincount(label[several[item]], minlength=k).astype(np.float64)
    far = distance(votes.space, metric or metric_of(votes.space), pool)
    on = several[item]
    near = to_others(answers, Distance())[on]
    apart, item, who, label = to_others(answers, far)[on], item[on], who[on], label[on]
    own = np.bincount(who * k + label, minlength=n_who * k).reshape(n_who, k).astype(np.float64)
    others = np.maximum(pool.sum() - own.sum(1), 1)[who]
    chance = (far.to_pool(pool)[label] - far.to_pool(own)[who, label]) / others
    away = pool @ (pool.sum() - pool) / max(pool.sum(), 1) ** 2
    agree, agree_low, agree_high = _of_each(who, near, np.ones(len(near)), n_who, level, 1.0, 0.0)
    kappa, low, high = _of_each(who, apart, chance, n_who, level, away, -1.0)
    columns = {
        "votes": np.bincount(answers.annotator, minlength=n_who),
        "compared": np.bincount(who, minlength=n_who),
        "agreement": agree, "agreement_low": agree_low, "agreement_high": agree_high,
        "kappa": kappa, "low": low, "high": high,
    }  # fmt: skip
    return nulls({"annotator": votes.annotators.tolist(), **columns})


def _of_each(
    who: np.ndarray, seen: np.ndarray, chance: np.ndarray, n_who: int, level: float, different: float, least: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A,) 1 - sum of `seen` / sum of `chance` over each annotator's votes, and its interval."""
    n, top, below = (np.bincount(who, x, minlength=n_who) for x in (None, seen, chance))
    with np.errstate(invalid="ignore", divide="ignore"):
        value = 1 - top / below
        psi = (seen - (top / below)[who] * chance) / below[who]
        se = np.sqrt(np.bincount(who, psi**2, minlength=n_who) * n / (n - 1))
    low, high = interval(value, se, n, level, different, least)
    return value, low, high


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


def _table(rows: Sequence[tuple[object, ...]]) -> pa.Table:
    names = ("statistic", "metric", "value", "se", "low", "high", "items")
    return nulls({name: [row[i] for row in rows] for i, name in enumerate(names)})
