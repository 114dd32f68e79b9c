"""Several classes per item: which are present, when annotators tick what they see and leave out what they miss.

Every class is a question of yes or no: what an annotator did not tick on an item that it annotated is a "no". An annotator ticks
class k with probability `sensitivity` where it is present, 1 - `specificity` where it is not. Both are pooled: the rate of
annotator a on class k is expected where the rate of a over all classes and that of k over all annotators meet (in log odds), and
its own votes move it from there.
Classes occur together: a second stage foretells each class from what is believed of the others (logistic regression, out of
fold over the items) and takes the place of the class's share. It is kept only where held-out ticks are foretold better by it.

Source: binary relevance over Dawid & Skene 1979 with pooled rates; dependence of classes as in classifier chains (Read et al.
2011), on posteriors and out of fold; dependence of votes as in `temper`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.crowds import temper
from labelwright.crowds._starts import settled, unsettled
from labelwright.errors import LabelError, OptionError, check_option, check_whole
from labelwright.labels import LabelSpace, MultiLabels, Votes

if TYPE_CHECKING:
    import pyarrow as pa

OWN = 4.0
"""Votes that the pooled rates are worth beside those of one annotator on one class, or of one annotator, or class."""

LINKED = 64
"""Most classes that the second stage links."""

MOST = 4_000_000
"""Entries annotations x classes that are scored at most; above, as many annotations are drawn."""

FOLDS = 3
STAGES = ("auto", "on", "off")


@dataclass(frozen=True, eq=False)
class MultiAggregation:
    """Classes of N items from the annotations of A annotators.

    prob: (N, K) probability that the class is present.   labels: 1 where that is above a half, -1 (unknown) for items that nobody
    annotated.   space: the classes.
    items: item, annotations, classes (names of those present), least_sure (the class nearest to a half) and its probability,
        expected_errors (of the hard labels).
    annotators: annotator, annotations, ticks, sensitivity and specificity (over all classes and items, weighted by what is
        believed), information (bits that an annotation tells per class, on average).
    sensitivity, specificity: (A, K).   prevalence: (K,).   linked: the second stage is in `prob`.
    settings: counts and seed.
    scores: stage -> {"loglik": mean log probability of a held-out tick or non-tick in nats, "behind", "error"}.
    """

    prob: np.ndarray
    labels: MultiLabels
    items: pa.Table
    annotators: pa.Table
    space: LabelSpace
    sensitivity: np.ndarray
    specificity: np.ndarray
    prevalence: np.ndarray
    linked: bool
    dependence: float
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    trace: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """Every headline figure as plain numbers and strings, ready for JSON."""
        return {
            "items": self.items.num_rows,
            "annotators": self.annotators.num_rows,
            "classes": [str(name) for name in self.space.classes],
            "method": "multi-label",
            "linked": self.linked,
            "scores": self.scores,
            "expected_errors": float(np.minimum(self.prob, 1 - self.prob).sum()),
            "unsure_items": int(((self.prob > 0.2) & (self.prob < 0.8)).any(1).sum()),
            "steps": len(self.trace),
            "notes": self.notes,
            "settings": self.settings,
        }

    def files(self) -> dict[str, Any]:
        """File name -> function that writes it: what a label repository keeps of it. probabilities.parquet has a row per item
        and a column per class."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        from labelwright.crowds.report import ROWS, multi_page

        told = self.summary()
        doubtful = self.items.take(
            np.argsort(-np.asarray(self.items["expected_errors"]), kind="stable")[:ROWS]
        ).to_pylist()
        columns = {"item": self.items["item"]} | {
            str(name): self.prob[:, k] for k, name in enumerate(self.space.classes)
        }
        tables = {"items": self.items, "annotators": self.annotators, "probabilities": pa.table(columns)}
        present = (self.prob > 0.5).sum(0).tolist()
        return {
            f"{name}.parquet": lambda path, table=table: pq.write_table(table, path, compression="zstd")
            for name, table in tables.items()
        } | {
            "report.html": multi_page(told, self.annotators, doubtful, present, self.prevalence).encode(),
            "summary.json": json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False).encode(),
        }


@dataclass(eq=False)
class _Ticks:
    """M annotations. item, annotator: (M,).   said: (M, K) sparse 0/1.   who: (N, A) sparse counts of annotations.   cell, place:
    of each tick, annotator * K + class and item * K + class."""

    item: np.ndarray
    annotator: np.ndarray
    said: Any
    who: Any
    cell: np.ndarray
    place: np.ndarray
    n_items: int
    n_annotators: int
    n_classes: int


def aggregate_multi(
    votes: Any,
    annotator: Any = None,
    label: Any = None,
    *,
    space: LabelSpace | None = None,
    link: str = "auto",
    dependence: float | None = None,
    max_iter: int = 200,
    tol: float = 1e-6,
    random_state: int = 0,
) -> MultiAggregation:
    """Which classes are present in each item, and how well each annotator sees them.

    Args:
        votes: `Votes`, a table with the columns item, annotator and label, or the column of items with `annotator` and `label` as
            the other two. One row per tick; a missing label says that the annotator looked and ticked nothing (beside other ticks
            of the same annotator on the item it says nothing). Weights are not used.
        space: the classes; default: those that were ticked.
        link: "auto" keeps the second stage where it foretells held-out ticks better by more than a standard error, "on", "off".
        dependence: as in `temper`; None chooses it, but at least `temper.USUAL`.
        random_state: seed of the folds, and of the annotations that are scored where there are very many.

    Raises:
        LabelError, ColumnError: votes that are none.   OptionError: an unknown link, or a dependence out of range.

    >>> found = aggregate_multi(["a", "a", "b", "b"], ["x", "y", "x", "y"], ["cat", "cat", "dog", "dog"], link="off")
    >>> found.labels.sets()
    [['cat'], ['dog']]
    """
    from labelwright.crowds.verb import _votes

    check_option("link", link, STAGES)
    check_whole("max_iter", max_iter, 1)
    check_whole("random_state", random_state, 0)
    temper.check(dependence, 0.0)
    read = _votes(votes, annotator, label, space)
    ticks = _ticks(read)
    if link == "on" and (ticks.n_classes < 2 or ticks.n_classes > LINKED):
        raise OptionError(
            found=f"link='on' with {ticks.n_classes} classes", expected=f"2 to {LINKED} classes", fix="pass link='off'"
        )
    rates, trace = _learn(ticks, max_iter, tol)
    loglik, prior = rates.loglik(ticks), np.log(rates.share / (1 - rates.share))
    rng = np.random.default_rng(random_state)
    chosen = np.arange(len(ticks.item))
    if len(chosen) * ticks.n_classes > MOST:
        chosen = np.sort(rng.choice(chosen, max(1, MOST // ticks.n_classes), replace=False))
    left = _LeftOut.of(ticks, rates, loglik, chosen)
    fitted = max(temper.GRID, key=lambda d: left.score(prior, d).mean()) if left.any else 0.0
    used = max(float(fitted), temper.USUAL) if dependence is None else dependence
    scores: dict[str, dict[str, float]] = {}
    final, linked = prior + _worth(ticks, used)[:, None] * loglik, False
    if link != "off" and 2 <= ticks.n_classes <= LINKED and left.any:
        fold = rng.integers(0, FOLDS, ticks.n_items)
        models = _Links.fit(_logistic(final), fold)
        alone = left.score(prior, fitted)
        rows = left.item
        together = left.score(models.prior(left.logit(prior, fitted), fold[rows]), fitted)
        scores = _compare(alone, together)
        linked = link == "on" or scores["alone"]["behind"] > scores["alone"]["error"]
        if linked:
            final = models.prior(final, fold) + _worth(ticks, used)[:, None] * loglik
    prob = np.clip(_logistic(final), 1e-6, 1 - 1e-6)
    found = _result(read, ticks, rates, prob, linked, used, scores, trace, unsettled(trace, tol, max_iter))
    settings = {
        "votes": int((read.label >= 0).sum()), "annotations": len(ticks.item), "link": link, "dependence": used,
        "random_state": random_state,
    }  # fmt: skip
    return replace(found, settings=settings)


def _ticks(votes: Votes) -> _Ticks:
    from scipy.sparse import csr_array

    n, a, k = votes.n_items, votes.n_annotators, len(votes.space)
    if len(votes.item) == 0:
        raise LabelError(found="no votes", expected="at least one annotation", fix="check the table")
    pair, row = np.unique(votes.item * np.int64(a) + votes.annotator, return_inverse=True)
    said = votes.label >= 0
    tick = np.unique(row[said] * np.int64(k) + votes.label[said])
    row, label = tick // k, tick % k
    item, annotator = pair // a, pair % a
    return _Ticks(
        item, annotator, csr_array((np.ones(len(tick)), (row, label)), shape=(len(pair), k)),
        csr_array((np.ones(len(pair)), (item, annotator)), shape=(n, a)),
        annotator[row] * k + label, item[row] * k + label, n, a, k,
    )  # fmt: skip


@dataclass(eq=False)
class _Rates:
    """Log odds of a tick, (A, K): `present` if the class is there, `absent` if not.   share: (K,) of items that have it."""

    present: np.ndarray
    absent: np.ndarray
    share: np.ndarray

    def loglik(self, ticks: _Ticks) -> np.ndarray:
        """(N, K) log p(ticks | present) - log p(ticks | absent)."""
        size = (ticks.n_items, ticks.n_classes)
        silent = np.logaddexp(0, self.absent) - np.logaddexp(0, self.present)  # of a "no"
        gain = (self.present - self.absent).ravel()[ticks.cell]  # a tick in place of a "no"
        ticked = np.bincount(ticks.place, gain, size[0] * size[1]).reshape(size)
        return np.asarray(ticks.who @ silent + ticked)


def _learn(ticks: _Ticks, max_iter: int, tol: float) -> tuple[_Rates, list[float]]:
    """EM, beginning with the shares of the annotators who ticked a class."""
    n, k = ticks.n_items, ticks.n_classes
    per_item = np.bincount(ticks.item, minlength=n)[:, None]
    count = np.bincount(ticks.place, minlength=n * k).reshape(n, k)
    usual = count.sum(0) / max(len(ticks.item), 1)
    q = (count + 0.5 * usual) / (per_item + 0.5)
    trace: list[float] = []
    best: _Rates | None = None
    for _ in range(max_iter):
        rates = _rates(ticks, q)
        logit = np.log(rates.share / (1 - rates.share)) + rates.loglik(ticks)
        quiet = -(ticks.who @ np.logaddexp(0, rates.absent)).sum() + rates.absent.ravel()[ticks.cell].sum()
        value = float(quiet + (np.logaddexp(0, logit) + np.log(1 - rates.share)).sum())
        # the pooled rates move with the posteriors, so the likelihood may fall near the end: the best step counts
        if best is None or value > trace[-1]:
            best = rates
            trace.append(value)
        else:
            trace.append(trace[-1])
        q = _logistic(logit)
        if settled(trace, tol):
            break
    assert best is not None
    return best, trace


def _rates(ticks: _Ticks, q: np.ndarray) -> _Rates:
    a, k = ticks.n_annotators, ticks.n_classes
    there = np.asarray(ticks.who.T @ q)  # (A, K) annotations of items that have the class
    whole = np.asarray(ticks.who.sum(0)).reshape(-1, 1)
    hit = np.bincount(ticks.cell, q.ravel()[ticks.place], a * k).reshape(a, k)
    ticked = np.bincount(ticks.cell, minlength=a * k).reshape(a, k)
    share = (q.sum(0) + 0.5) / (len(q) + 1)
    return _Rates(_pooled(hit, there, 0.7), _pooled(ticked - hit, whole - there, 0.1), share)


def _pooled(yes: np.ndarray, total: np.ndarray, usual: float) -> np.ndarray:
    """(A, K) log odds of rates; `usual` with weight `OWN` where there is nothing at all."""
    overall = (yes.sum() + OWN * usual) / (total.sum() + OWN)
    by_annotator = (yes.sum(1) + OWN * overall) / (total.sum(1) + OWN)
    by_class = (yes.sum(0) + OWN * overall) / (total.sum(0) + OWN)
    expected = _logistic(_odds(by_annotator)[:, None] + _odds(by_class) - _odds(np.array(overall)))
    return _odds((yes + OWN * expected) / (total + OWN))


def _odds(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(p / (1 - p)))


def _logistic(x: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    return np.asarray(expit(x))


def _worth(ticks: _Ticks, dependence: float) -> np.ndarray:
    return temper.power(np.bincount(ticks.item, minlength=ticks.n_items), dependence)


@dataclass(eq=False)
class _LeftOut:
    """Annotations taken out, (M, K) each. loglik: of the others on the item.   said: what it ticked.   others: (M,).
    hit, false: log odds of its ticks.   any: some item has company."""

    item: np.ndarray
    loglik: np.ndarray
    said: np.ndarray
    others: np.ndarray
    hit: np.ndarray
    false: np.ndarray
    any: bool

    @classmethod
    def of(cls, ticks: _Ticks, rates: _Rates, loglik: np.ndarray, chosen: np.ndarray) -> _LeftOut:
        count = np.bincount(ticks.item, minlength=ticks.n_items)
        chosen = chosen[count[ticks.item[chosen]] > 1]
        item, who = ticks.item[chosen], ticks.annotator[chosen]
        said = ticks.said[chosen].toarray() if len(chosen) else np.zeros((0, ticks.n_classes))
        hit, false = rates.present[who], rates.absent[who]
        own = said * (hit - false) + np.logaddexp(0, false) - np.logaddexp(0, hit)
        return cls(item, loglik[item] - own, said, count[item] - 1, hit, false, len(chosen) > 0)

    def logit(self, prior: np.ndarray, dependence: float) -> np.ndarray:
        """(M, K) log odds that the class is present; prior: (K,) or (M, K)."""
        return np.asarray(prior + temper.power(self.others, dependence)[:, None] * self.loglik)

    def score(self, prior: np.ndarray, dependence: float) -> np.ndarray:
        """(M,) mean log probability of the ticks and non-ticks of each annotation."""
        present = _logistic(self.logit(prior, dependence))
        ticked = present * _logistic(self.hit) + (1 - present) * _logistic(self.false)
        p = np.where(self.said > 0, ticked, 1 - ticked)
        return np.asarray(np.log(np.maximum(p, 1e-12)).mean(1))


@dataclass(eq=False)
class _Links:
    """Per fold and class, weights of the other classes: log odds of class k = offset + weights @ (what the others are)."""

    weight: np.ndarray  # (FOLDS, K, K), the diagonal is 0
    offset: np.ndarray  # (FOLDS, K)

    @classmethod
    def fit(cls, q: np.ndarray, fold: np.ndarray) -> _Links:
        """Ridge logistic regressions on soft targets, each on the items of the other folds."""
        from sklearn.linear_model import LogisticRegression

        k = q.shape[1]
        weight, offset = np.zeros((FOLDS, k, k)), np.zeros((FOLDS, k))
        for f in range(FOLDS):
            train = q[fold != f]
            for c in range(k):
                others = np.delete(np.arange(k), c)
                x = np.concatenate([train[:, others], train[:, others]]) - 0.5
                y = np.repeat([1, 0], len(train))
                w = np.concatenate([train[:, c], 1 - train[:, c]])
                if len(train) == 0:
                    continue
                model = LogisticRegression(C=1.0, max_iter=200).fit(x, y, sample_weight=np.maximum(w, 1e-9))
                weight[f, c, others], offset[f, c] = model.coef_[0], model.intercept_[0]
        return cls(weight, offset)

    def prior(self, logit: np.ndarray, fold: np.ndarray) -> np.ndarray:
        """(n, K) log odds of each class from the others, for rows of log odds (n, K) in these folds (n,)."""
        q, out = _logistic(logit) - 0.5, np.empty_like(logit)
        for f in range(FOLDS):
            rows = fold == f
            out[rows] = q[rows] @ self.weight[f].T + self.offset[f]
        return out


def _compare(alone: np.ndarray, together: np.ndarray) -> dict[str, dict[str, float]]:
    gap = together - alone
    error = float(gap.std(ddof=1) / len(gap) ** 0.5) if len(gap) > 1 else float("inf")
    return {
        "alone": {"loglik": float(alone.mean()), "behind": max(float(gap.mean()), 0.0), "error": error},
        "linked": {"loglik": float(together.mean()), "behind": max(-float(gap.mean()), 0.0), "error": error},
    }


def _result(
    votes: Votes, ticks: _Ticks, rates: _Rates, prob: np.ndarray, linked: bool, dependence: float,
    scores: dict[str, dict[str, float]], trace: list[float], notes: list[str],
) -> MultiAggregation:  # fmt: skip
    import pyarrow as pa

    space = LabelSpace(votes.space.classes, structure="multi")
    labels = MultiLabels.from_dense((prob > 0.5).astype(np.int8), space)
    count = np.bincount(ticks.item, minlength=ticks.n_items)
    least = np.abs(prob - 0.5).argmin(1)
    if count.max(initial=0) <= 1:
        notes = [*notes, "no item has two annotators: nothing tells how good they are"]
    items = pa.table({
        "item": votes.items, "annotations": count, "classes": pa.array(labels.sets(), pa.list_(pa.infer_type(space.classes))),
        "least_sure": space.decode(least).tolist(), "probability": prob[np.arange(len(prob)), least],
        "expected_errors": np.minimum(prob, 1 - prob).sum(1),
    })  # fmt: skip
    sensitivity, specificity = _logistic(rates.present), _logistic(-rates.absent)
    there = np.asarray(ticks.who.T @ prob)
    away = np.asarray(ticks.who.sum(0)).reshape(-1, 1) - there
    annotators = pa.table({
        "annotator": votes.annotators, "annotations": np.bincount(ticks.annotator, minlength=ticks.n_annotators),
        "ticks": np.bincount(ticks.cell // ticks.n_classes, minlength=ticks.n_annotators),
        "sensitivity": (sensitivity * there).sum(1) / np.maximum(there.sum(1), 1e-12),
        "specificity": (specificity * away).sum(1) / np.maximum(away.sum(1), 1e-12),
        "information": _information(sensitivity, specificity, rates.share).mean(1),
    })  # fmt: skip
    return MultiAggregation(
        prob, labels, items, annotators, space, sensitivity, specificity, rates.share, linked, dependence, scores, trace, notes
    )  # fmt: skip


def _information(sensitivity: np.ndarray, specificity: np.ndarray, share: np.ndarray) -> np.ndarray:
    """(A, K) bits that a tick or its absence tells about the class."""
    ticked = share * sensitivity + (1 - share) * (1 - specificity)
    given = share * _entropy(sensitivity) + (1 - share) * _entropy(specificity)
    return np.maximum(_entropy(ticked) - given, 0)


def _entropy(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-12, 1 - 1e-12)
    return np.asarray(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)))
