"""Several distributions per item pooled into one, and the average of several models of a crowd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from labelwright.crowds._candidates import LISTED
from labelwright.crowds.dawid_skene import fit_dawid_skene
from labelwright.crowds.fit import Fit
from labelwright.crowds.glad import fit_glad
from labelwright.crowds.mace import fit_mace
from labelwright.crowds.one_coin import fit_one_coin
from labelwright.crowds.prepared import Prepared
from labelwright.crowds.shares import fit_softmax_shares, fit_vote_shares, fit_wawa, fit_zero_based_skill
from labelwright.errors import LabelError, OptionError, check_option
from labelwright.labels import SoftLabels

HOW = ("average", "conflation", "temperature", "js_centroid", "hybrid")
FLOOR = 1e-6
"""Least probability where logarithms are taken, so that no source can rule a class out."""

ROWS = 20_000
"""Most items on which temperatures are fitted: above, every so-manieth."""

MANY = 1_000_000
"""Votes above which `fit_average` leaves out the slow models."""


def pool(
    distributions: Sequence[Any], how: str = "average", *, weights: Any = None, floor: float = FLOOR
) -> SoftLabels:
    """One distribution per item from M of them.

    Args:
        distributions: M of `SoftLabels` or (N, K) arrays with rows that sum to 1, over the same items and classes. A source that
            does not know an item (`known` False, or a row of NaN) does not count there.
        how: "average", the mixture; "conflation", the normalised product; "temperature", the average after one temperature per
            source has been fitted so that they agree (`temperatures`); "js_centroid", the distribution of least mean
            Jensen-Shannon divergence to the sources; "hybrid", the centroid after the temperatures.
        weights: (M,) non-negative, of the sources; default: all the same.
        floor: least probability of a class before logarithms are taken; "average" needs none.

    Returns:
        SoftLabels; above 64 classes the 64 likeliest of each item, and the rest.

    Raises:
        LabelError: no distributions, or of different items or classes.   OptionError: an unknown `how`, weights or floor out of
        range.

    To train on all M labels with the mean of their divergences is the same as to train on the average: the mean over m of
    KL(D_m || p) is KL(mean || p) and a constant.

    Source: Dai et al. 2025, "Aggregating soft labels from crowd annotations improves uncertainty estimation under distribution
    shift"; Nielsen 2020, "On a generalization of the Jensen-Shannon divergence", for the centroid.

    >>> pool([[[0.9, 0.1]], [[0.5, 0.5]]], "conflation").dense().round(3).tolist()
    [[0.8999999761581421, 0.10000000149011612]]
    """
    check_option("how", how, HOW)
    if not 0 < floor < 0.1:
        raise OptionError(
            found=f"floor={floor!r}", expected="a probability above 0 and below 0.1", fix="pass floor=1e-6"
        )
    sources = _sources(distributions)
    weight = _weights(weights, len(sources))
    heat = temperatures(sources, floor=floor) if how in ("temperature", "hybrid") else np.ones(len(sources))
    rule: Callable[[np.ndarray, np.ndarray], np.ndarray] = {
        "average": _average, "temperature": _average, "conflation": _conflation,
        "js_centroid": js_centroid, "hybrid": js_centroid,
    }[how]  # fmt: skip
    space, n, parts = sources[0].space, len(sources[0]), []
    step = max(1, (1 << 20) // len(space))
    for at in range(0, max(n, 1), step):
        rows = slice(at, min(n, at + step))
        p = np.stack([s[rows].dense().astype(np.float64) for s in sources])
        if how != "average":
            p = _floored(p, floor)
        if how in ("temperature", "hybrid"):
            p = _heated(np.log(p), 1 / heat)
        known = np.stack([s.known[rows] for s in sources])
        share = weight[:, None] * known
        total = share.sum(0)
        share = np.where(total > 0, share / np.where(total > 0, total, 1), 1 / len(sources))
        parts.append(SoftLabels.from_dense(rule(p, share), space, k=min(len(space), LISTED), known=total > 0))
    return _joined(parts)


def js_centroid(p: np.ndarray, share: np.ndarray, *, tol: float = 1e-10, max_iter: int = 1000) -> np.ndarray:
    """(N, K) distributions of least weighted mean Jensen-Shannon divergence to the sources.

    p: (M, N, K) > 0, rows sum to 1.   share: (M, N), sums to 1 over the sources.   tol: of the L1 change of a row.

    The centroid is the normalised geometric mean of its midpoints to the sources; repeating that never raises the mean
    divergence. (The paper writes it with the log-odds against the last class, which drop out.)
    """
    centre = np.einsum("mnk,mn->nk", p, share)
    open_ = np.arange(p.shape[1])
    for _ in range(max_iter):
        now = centre[open_]
        logs = np.einsum("mnk,mn->nk", np.log((now + p[:, open_]) / 2), share[:, open_])
        new = np.exp(logs - logs.max(1, keepdims=True, initial=-np.inf))
        new /= new.sum(1, keepdims=True)
        centre[open_] = new
        open_ = open_[np.abs(new - now).sum(1) > tol]
        if len(open_) == 0:
            break
    return centre


def temperatures(distributions: Sequence[Any], *, penalty: float = 1e-3, floor: float = FLOOR) -> np.ndarray:
    """(M,) one temperature per source, in [0.1, 100], such that softmax(log D_m / T_m) agree.

    Least is the Jensen-Shannon divergence of two sources, averaged over pairs and items, and penalty * sum of T^2; without the
    penalty all would end even. Begun at 1.5; on 20,000 items at most, every so-manieth above.

    Source: as `pool`, with L-BFGS on the log of the temperatures.
    """
    from scipy.optimize import minimize

    sources = _sources(distributions)
    known = np.flatnonzero(np.all([s.known for s in sources], axis=0))
    rows = known[:: max(1, -(-len(known) // ROWS))]
    if len(rows) == 0 or len(sources) < 2:
        return np.ones(len(sources))
    logp = np.log(_floored(np.stack([s[rows].dense().astype(np.float64) for s in sources]), floor))

    def loss(log_t: np.ndarray) -> tuple[float, np.ndarray]:
        t = np.exp(log_t)
        value, slope = disagreement(logp, 1 / t)
        return value + penalty * float((t**2).sum()), 2 * penalty * t**2 - slope / t

    bounds = [(np.log(0.1), np.log(100.0))] * len(sources)
    found = minimize(loss, np.full(len(sources), np.log(1.5)), jac=True, method="L-BFGS-B", bounds=bounds)
    return np.asarray(np.exp(found.x))


def disagreement(logp: np.ndarray, sharpness: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean Jensen-Shannon divergence in nats over pairs of softmax(sharpness_m * logp_m) and items, and its gradient (M,).

    logp: (M, N, K).   sharpness: (M,) inverse temperatures.
    """
    p = _heated(logp, sharpness)
    m, n = len(p), max(p.shape[1], 1)
    logq = np.log(np.maximum(p, 1e-300))
    by = p * (logp - (p * logp).sum(2, keepdims=True))  # dp / dsharpness
    value, slope = 0.0, np.zeros(m)
    for a in range(m):
        for b in range(a):
            middle = np.log(np.maximum((p[a] + p[b]) / 2, 1e-300))
            value += 0.5 * float((p[a] * (logq[a] - middle)).sum() + (p[b] * (logq[b] - middle)).sum())
            for one in (a, b):
                slope[one] += 0.5 * float((by[one] * (logq[one] - middle)).sum())
    pairs = m * (m - 1) / 2
    return value / pairs / n, slope / pairs / n


MEMBERS: dict[str, Callable[..., Fit]] = {
    "vote_shares": fit_vote_shares,
    "softmax_shares": fit_softmax_shares,
    "dawid_skene": fit_dawid_skene,
    "mace": fit_mace,
    "glad": fit_glad,
    "wawa": fit_wawa,
    "zero_based_skill": fit_zero_based_skill,
}
"""The seven soft labels that the paper averages."""

QUICK = ("vote_shares", "softmax_shares", "dawid_skene", "one_coin", "wawa")
"""What is averaged above `MANY` votes."""

PLAIN: dict[str, dict[str, Any]] = {
    "vote_shares": {"pseudo_count": 1e-9},
    "dawid_skene": {"concentration": 0.0, "dependence": 0.0, "doubt": 0.0},
    "mace": {"dependence": 0.0, "doubt": 0.0},
    "glad": {"dependence": 0.0, "doubt": 0.0},
    "one_coin": {"dependence": 0.0, "doubt": 0.0},
}
"""Options with which the models are those of their papers."""


def fit_average(votes: Prepared, *, how: str = "average", plain: bool = False, random_state: int = 0) -> Fit:
    """The labels of seven models, pooled: vote shares, softmax shares, Dawid-Skene, MACE, GLAD, Wawa and zero-based skill.

    how: see `pool`.   plain: True takes the models as their papers have them, with votes that count in full; by default they
    are tempered as everywhere here (see `temper`).

    Above a million votes the quick ones are pooled (`QUICK`); `Fit.notes` says so. MACE is begun from the vote shares only. The
    skill of an annotator is the mean probability of its votes. `details`: "members", the names, and "agreement", the share of
    items on which all members have the same likeliest class.

    Source: Dai et al. 2025 (see `pool`).
    """
    check_option("how", how, HOW)
    names = tuple(MEMBERS) if len(votes) <= MANY else QUICK
    known = {**MEMBERS, "one_coin": fit_one_coin}
    extra = {name: dict(PLAIN.get(name, {})) if plain else {} for name in names}
    if "mace" in extra:
        extra["mace"]["restarts"] = 0
    fits = [known[name](votes, random_state=random_state, **extra[name]) for name in names]
    labels = pool([f.labels for f in fits], how)
    gold = np.flatnonzero(votes.gold >= 0)
    if len(gold) and how != "average":
        labels = _settled(labels, gold, votes.gold)
    own = _own(labels, votes)
    total = np.bincount(votes.annotator, votes.weight, votes.n_annotators)
    right = np.bincount(votes.annotator, votes.weight * own, votes.n_annotators)
    able = [f.vote_prob for f in fits if f.vote_prob is not None]

    def vote_prob(items: np.ndarray, annotators: np.ndarray) -> np.ndarray:
        return np.asarray(np.mean([foretell(items, annotators) for foretell in able], axis=0))

    notes = [note for f in fits for note in f.notes]
    if len(votes) > MANY:
        notes.append(f"more than {MANY:,} votes: the average is of {', '.join(names)} only")
    prior = _shares(labels)
    tops = np.stack([f.labels.index[:, 0] for f in fits])
    same = (tops == tops[0]).all(0)[labels.known]
    return Fit(
        "average", labels, prior, np.where(total > 0, right / np.where(total > 0, total, 1), np.nan), vote_prob=vote_prob,
        notes=notes, details={"members": names, "agreement": float(same.mean()) if len(same) else 1.0},
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------- distributions
def _sources(distributions: Sequence[Any]) -> list[SoftLabels]:
    given = list(distributions)
    space = next((d.space for d in given if isinstance(d, SoftLabels)), None)
    sources = [d if isinstance(d, SoftLabels) else SoftLabels.from_dense(np.asarray(d), space) for d in given]
    if len({(len(s), s.space.classes) for s in sources}) != 1:
        raise LabelError(
            found=f"{len(sources)} distributions of {len({(len(s), s.space.classes) for s in sources})} sizes or spaces",
            expected="at least one, all over the same items and classes",
            fix="select the same rows, and recode to one LabelSpace",
        )
    return sources


def _weights(weights: Any, n: int) -> np.ndarray:
    given = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    if given.shape != (n,) or not np.isfinite(given).all() or (given < 0).any() or given.sum() <= 0:
        raise OptionError(
            found=f"weights={given.tolist()!r}",
            expected=f"{n} numbers >= 0, not all 0",
            fix="pass one weight per source, or weights=None",
        )
    return given / given.sum()


def _floored(p: np.ndarray, floor: float) -> np.ndarray:
    p = np.maximum(p, floor)
    return np.asarray(p / p.sum(-1, keepdims=True))


def _heated(logp: np.ndarray, sharpness: np.ndarray) -> np.ndarray:
    score = logp * sharpness[:, None, None]
    out = np.exp(score - score.max(2, keepdims=True))
    return np.asarray(out / out.sum(2, keepdims=True))


def _average(p: np.ndarray, share: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("mnk,mn->nk", p, share))


def _conflation(p: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The product of M sources, each to the power of M times its share (equal weights: 1)."""
    count = (share > 0).sum(0)
    logs = np.einsum("mnk,mn->nk", np.log(p), share * count)
    out = np.exp(logs - logs.max(1, keepdims=True))
    return np.asarray(out / out.sum(1, keepdims=True))


def _joined(parts: list[SoftLabels]) -> SoftLabels:
    if len(parts) == 1:
        return parts[0]
    index, prob, rest, known = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("index", "prob", "rest", "known")
    )
    return SoftLabels(index, prob, rest, None, known, parts[0].space)


def _settled(labels: SoftLabels, rows: np.ndarray, gold: np.ndarray) -> SoftLabels:
    """Known classes have everything."""
    index, prob, rest = labels.index.copy(), labels.prob.copy(), labels.rest.copy()
    index[rows, 1:], prob[rows, 1:], rest[rows] = -1, 0.0, 0.0
    index[rows, 0], prob[rows, 0] = gold[rows], 1.0
    return SoftLabels(index, prob, rest, labels.tail, labels.known, labels.space)


def _own(labels: SoftLabels, votes: Prepared) -> np.ndarray:
    """(V,) probability of the class that each vote names."""
    hit = labels.index[votes.item] == votes.label[:, None]
    return np.asarray((labels.prob[votes.item] * hit).sum(1))


def _shares(labels: SoftLabels) -> np.ndarray:
    """(K,) mean probability of the classes, with one item spread evenly beside them."""
    k = len(labels.space)
    listed = (labels.index >= 0) & labels.known[:, None]
    count = np.bincount(labels.index[listed], labels.prob[listed], k) + (1 + labels.rest.sum()) / k
    return np.asarray(count / count.sum())
