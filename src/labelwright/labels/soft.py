"""A distribution over the classes per item, and the algebra of distributions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from labelwright.errors import LabelError
from labelwright.labels._evidence import Evidence, aligned
from labelwright.labels.check import check_distributions
from labelwright.labels.dense_rows import DenseRows
from labelwright.labels.hard import HardLabels
from labelwright.labels.space import LabelSpace


@dataclass(frozen=True, eq=False)
class SoftLabels(Evidence):
    """Distributions of N items over the K classes of a space; each row keeps its k largest entries.

    index: (N, k) int32 class ids, -1 pads.   prob: (N, k) float32, largest first, ties by class id.
    rest: (N,) float32, mass not listed.   tail: (K,) shape of the rest over the classes not listed, None = even.
    known: (N,) bool, False where there is no evidence at all (not the same as uniform).

    >>> soft = SoftLabels.from_dense([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], k=1)
    >>> soft.index.tolist(), soft.dense()[0]
    ([[0], [2]], array([0.7 , 0.15, 0.15], dtype=float32))
    """

    index: np.ndarray
    prob: np.ndarray
    rest: np.ndarray
    tail: np.ndarray | None
    known: np.ndarray
    space: LabelSpace
    rows: ClassVar[tuple[str, ...]] = ("index", "prob", "rest", "known")

    @classmethod
    def from_dense(
        cls,
        p: Any,
        space: LabelSpace | None = None,
        *,
        k: int | None = None,
        known: Any = None,
        tail: Any = None,
    ) -> SoftLabels:
        """From (N, K) probabilities; `k` keeps the k largest per row (None: all), `known` marks rows with evidence.

        Rows that are all NaN count as unknown. Rows may be off by 1e-4 and are rescaled; more is refused.
        """
        dense = np.asarray(p)
        if dense.ndim != 2:
            raise LabelError(
                found=f"distributions of shape {dense.shape}",
                expected="(N, K)",
                fix="one row per item, one column per class",
            )
        seen: np.ndarray = ~np.isnan(dense).all(1) if dense.dtype.kind == "f" else np.ones(len(dense), dtype=bool)
        if known is not None:
            seen = seen & np.asarray(known, dtype=bool)
        n_classes = dense.shape[1]
        space = space or LabelSpace(range(n_classes))
        if n_classes != len(space):
            raise LabelError(
                found=f"{n_classes} columns for {len(space)} classes",
                expected="one column per class, in the order of the space",
                fix="pass the space whose classes are the columns",
            )
        dense = np.where(seen[:, None], dense, 1 / n_classes)
        dense = np.maximum(check_distributions(dense, "p"), 0).astype(np.float64)
        dense /= dense.sum(1, keepdims=True)
        k = n_classes if k is None else min(int(k), n_classes)
        if k < 1:
            raise LabelError(found=f"k={k}", expected="k of at least 1", fix="pass k=None to keep every class")
        order = top_k(dense, k)
        prob = np.take_along_axis(dense, order, axis=1)
        rest = np.maximum(1 - prob.sum(1), 0) if k < n_classes else np.zeros(len(dense))
        index = np.where(seen[:, None], order, -1).astype(np.int32)
        return cls(
            index=index,
            prob=np.where(seen[:, None], prob, 0).astype(np.float32),
            rest=np.where(seen, rest, 0).astype(np.float32),
            tail=None if tail is None else _tail(tail, n_classes),
            known=seen,
            space=space,
        )

    @classmethod
    def from_topk(
        cls, index: Any, prob: Any, space: LabelSpace, *, rest: Any = None, tail: Any = None, known: Any = None
    ) -> SoftLabels:
        """From top-k rows: ids (N, k), -1 pads, and probabilities (N, k); what they leave below 1 is `rest`."""
        ids = np.asarray(index)
        p = np.where(ids >= 0, np.asarray(prob, dtype=np.float64), 0.0)
        seen = np.asarray((ids >= 0).any(1) if known is None else known, dtype=bool)
        left = np.where(seen, 1 - p.sum(1), 0.0) if rest is None else np.asarray(rest, dtype=np.float64)
        order = np.lexsort((ids, -p), axis=1)
        ids, p = np.take_along_axis(ids, order, 1), np.take_along_axis(p, order, 1)
        total = np.where(seen, p.sum(1) + left, 1.0)
        twice = np.sort(ids, 1)
        broken = (ids >= len(space)).any(1) | (ids < -1).any(1) | (p < 0).any(1) | (left < -1e-4)
        broken |= (np.abs(total - 1) > 1e-4) | ((twice[:, 1:] == twice[:, :-1]) & (twice[:, 1:] >= 0)).any(1)
        if broken.any():
            i = int(np.flatnonzero(broken)[0])
            raise LabelError(
                found=f"{int(broken.sum())} rows that are no top-k distribution; first is row {i}: "
                f"ids {ids[i].tolist()}, probabilities {p[i].tolist()}",
                expected=f"distinct ids 0 to {len(space) - 1} (or -1), probabilities >= 0 that sum to at most 1",
                fix="rescale the row, or pass `rest` so that everything sums to 1",
            )
        return cls(
            index=ids.astype(np.int32),
            prob=p.astype(np.float32),
            rest=np.maximum(left, 0).astype(np.float32),
            tail=None if tail is None else _tail(tail, len(space)),
            known=seen,
            space=space,
        )

    # -- reading -------------------------------------------------------------------------------------------------
    def dense(self) -> np.ndarray:
        """(N, K) float32, rows sum to 1; the rest is spread over the classes not listed; unknown rows are uniform."""
        n, k = len(self), len(self.space)
        spread = np.tile(np.ones(k) if self.tail is None else self.tail, (n, 1))
        row = np.repeat(np.arange(n), self.index.shape[1])
        col = self.index.ravel()
        listed = col >= 0
        spread[row[listed], col[listed]] = 0.0
        total = spread.sum(1)
        # a tail without mass on the open classes falls back to an even one
        empty = (total <= 0) & (self.rest > 0)
        if empty.any():
            spread[empty] = 1.0
            hit = listed & empty[row]
            spread[row[hit], col[hit]] = 0.0
            total = spread.sum(1)
        out = spread * (self.rest / np.where(total > 0, total, 1))[:, None]
        out[row[listed], col[listed]] = self.prob.ravel()[listed]
        out[~self.known] = 1.0
        return (out / out.sum(1, keepdims=True)).astype(np.float32)

    def dense_rows(self) -> DenseRows:
        """The same matrix, written out only where it is read."""
        return DenseRows(self)

    def hard(self) -> HardLabels:
        """The likeliest class per item, missing where nothing is known."""
        return HardLabels(np.where(self.known, self.index[:, 0], -1).astype(np.int64), self.space)

    def decide(self) -> HardLabels:
        """The class of least expected cost under the structure of the space (`LabelSpace.cost`): the mode for nominal
        classes, the median for ordered ones, the centre of the distribution for scores, hierarchies and metrics."""
        cost = self.dense().astype(np.float64) @ self.space.cost()
        return HardLabels(np.where(self.known, cost.argmin(1), -1), self.space)

    def entropy(self) -> np.ndarray:
        """(N,) nats; NaN where nothing is known."""
        p = self.dense().astype(np.float64)
        h = -(p * np.log(np.where(p > 0, p, 1))).sum(1)
        return np.where(self.known, h, np.nan)

    def loglik(self, space: LabelSpace | None = None) -> np.ndarray:
        """(N, K) log probabilities, read as likelihood under a flat prior; unknown rows are 0."""
        with np.errstate(divide="ignore"):
            out = aligned(np.log(self.dense().astype(np.float64)), self.space, space, -np.inf)
        out[~self.known] = 0.0
        return out

    # -- algebra -------------------------------------------------------------------------------------------------
    def temper(self, temperature: float) -> SoftLabels:
        """p ** (1 / temperature), renormalised: above 1 softens, below 1 sharpens."""
        if not temperature > 0:
            raise LabelError(found=f"temperature={temperature}", expected="a number above 0", fix="1 changes nothing")
        p = self.dense().astype(np.float64)
        p = (p / p.max(1, keepdims=True)) ** (1 / temperature)
        return self._like(p / p.sum(1, keepdims=True), self.known)

    def top(self, k: int) -> SoftLabels:
        """Only the k largest entries of each row; the rest is kept as mass."""
        return SoftLabels.from_dense(self.dense(), self.space, k=k, known=self.known, tail=self.tail)

    def _like(self, p: np.ndarray, known: np.ndarray) -> SoftLabels:
        return SoftLabels.from_dense(p, self.space, known=known)


PredProbs = np.ndarray | DenseRows | SoftLabels
"""Out-of-sample class probabilities of N items: a float array (N, K), or top-k rows."""


def average(labels: list[SoftLabels], weights: Any = None) -> SoftLabels:
    """The weighted mean of several distributions per item (a mixture); sources that do not know an item do not count.

    weights: (M,) or (M, N), non-negative.
    """
    p, w = _stack(labels, weights)
    total = w.sum(0)
    mean = (w[:, :, None] * p).sum(0) / np.where(total > 0, total, 1)[:, None]
    mean[total <= 0] = 1 / mean.shape[1]
    return SoftLabels.from_dense(mean, labels[0].space, known=total > 0)


def conflate(labels: list[SoftLabels], weights: Any = None) -> SoftLabels:
    """The normalised product of several distributions per item, each to the power of its weight (independent evidence
    multiplies). Sources that know nothing of an item do not count.

    Raises:
        LabelError: sources that exclude each other (the product is zero everywhere).
    """
    p, w = _stack(labels, weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        logp = np.where(w[:, :, None] > 0, w[:, :, None] * np.log(p), 0.0).sum(0)
    top = logp.max(1)
    if np.isneginf(top).any():
        bad = np.flatnonzero(np.isneginf(top))
        raise LabelError(
            found=f"{len(bad)} items whose sources exclude each other (first is row {bad[0]})",
            expected="at least one class that every source allows",
            fix="soften the sources with .temper(T) or average them",
        )
    out = np.exp(logp - top[:, None])
    return SoftLabels.from_dense(out / out.sum(1, keepdims=True), labels[0].space, known=(w > 0).any(0))


def kl_divergence(p: SoftLabels, q: SoftLabels) -> np.ndarray:
    """(N,) KL(p || q) in nats; infinite where q excludes what p allows, NaN where either knows nothing."""
    _stack([p, q], None)
    return np.where(p.known & q.known, _kl(p.dense().astype(float), q.dense().astype(float)), np.nan)


def js_divergence(p: SoftLabels, q: SoftLabels) -> np.ndarray:
    """(N,) Jensen-Shannon divergence in nats, symmetric, at most log 2; NaN where either knows nothing."""
    _stack([p, q], None)
    a, b = p.dense().astype(float), q.dense().astype(float)
    m = (a + b) / 2
    return np.where(p.known & q.known, (_kl(a, m) + _kl(b, m)) / 2, np.nan)


def _kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        ratio = np.log(np.where(p > 0, p, 1)) - np.where(p > 0, np.log(q), 0)
    total: np.ndarray = np.where(p > 0, p * ratio, 0).sum(1)
    return total


def _stack(labels: list[SoftLabels], weights: Any) -> tuple[np.ndarray, np.ndarray]:
    sizes = {(len(s), s.space.classes) for s in labels}
    if len(sizes) != 1:
        raise LabelError(
            found=f"soft labels of {len(sizes)} different sizes or spaces",
            expected="the same items and the same classes in each",
            fix="select the same rows, and recode to one LabelSpace",
        )
    p = np.stack([s.dense().astype(np.float64) for s in labels])
    w = np.ones(len(labels)) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape[0] != len(labels) or (w < 0).any():
        raise LabelError(
            found=f"weights of shape {w.shape}",
            expected=f"{len(labels)} non-negative weights",
            fix="one weight per source",
        )
    w = np.broadcast_to(w[:, None] if w.ndim == 1 else w, p.shape[:2])
    return p, w * np.stack([s.known for s in labels])


def _tail(tail: Any, k: int) -> np.ndarray:
    t = np.asarray(tail, dtype=np.float32)
    if t.shape != (k,) or not np.isfinite(t).all() or (t < 0).any() or t.sum() <= 0:
        raise LabelError(
            found=f"a tail of shape {t.shape}",
            expected=f"{k} non-negative numbers, not all zero",
            fix="tail=None is even",
        )
    return t / t.sum()


def top_k(p: np.ndarray, k: int) -> np.ndarray:
    """(n, k) column numbers of the k largest entries of each row, largest first, ties by column."""
    if k >= p.shape[1]:
        return np.argsort(-p, axis=1, kind="stable")
    part = np.argpartition(-p, k - 1, axis=1)[:, :k]
    value = np.take_along_axis(p, part, axis=1)
    index = np.take_along_axis(part, np.lexsort((part, -value), axis=1), axis=1)
    # where an entry left out equals the least one taken, the partition chose by chance
    tied = np.flatnonzero((p >= value.min(1, keepdims=True)).sum(1) > k)
    index[tied] = np.argsort(-p[tied], axis=1, kind="stable")[:, :k]
    return index
