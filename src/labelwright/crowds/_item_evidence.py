"""What a classifier says of the items, on the classes that each item may have, scaled so that it means what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from labelwright.crowds._candidates import Pairs
from labelwright.crowds.prepared import Prepared
from labelwright.errors import ProbabilityError
from labelwright.labels import SoftLabels, as_matrix, check_pred_probs

FLOOR = 1e-12  # below this a probability is a rounding error
ROWS = 1 << 20  # entries of pred_probs looked at in one go


def check_rows(pred_probs: Any, votes: Prepared) -> tuple[np.ndarray, np.ndarray]:
    """`pred_probs` as a float array (N, K), not copied, and (N,) bool: which rows are there (not NaN throughout; of top-k rows,
    `SoftLabels`, those that are known).

    Raises:
        ProbabilityError: another shape, or rows that are neither distributions nor NaN throughout.
    """
    p = as_matrix(pred_probs)
    if p.ndim != 2 or p.dtype.kind != "f" or p.shape != (votes.n_items, votes.n_classes):
        raise ProbabilityError(
            found=f"pred_probs of shape {p.shape} and dtype {p.dtype}",
            expected=f"a float array ({votes.n_items}, {votes.n_classes}): a row per item and a column per class, "
            "in the order of the votes' items and space",
            fix="sort the rows by votes.items and the columns by votes.space.classes",
        )
    seen = np.ones(len(p), dtype=bool)
    step = max(1, ROWS // p.shape[1])
    for at in range(0, len(p), step):
        part = p[at : at + step]
        seen[at : at + step] = ~np.isnan(part).all(1)
        check_pred_probs(part[seen[at : at + step]])
    if isinstance(pred_probs, SoftLabels):
        seen &= pred_probs.known
    if not seen.any():
        raise ProbabilityError(
            found="pred_probs that are NaN in every row",
            expected="predictions for some items",
            fix="use aggregate(votes), which needs no classifier",
        )
    return p, seen


def candidates(votes: Prepared, pred_probs: np.ndarray, seen: np.ndarray, top: int) -> Pairs:
    """The classes that somebody voted for, the `top` likeliest of the classifier and the known class, for each item."""
    n, k = votes.n_items, votes.n_classes
    known = np.flatnonzero(votes.gold >= 0)
    own = votes.item.astype(np.int64) * k + votes.label
    keys = [own, known * k + votes.gold[known]]
    step = max(1, ROWS // k)
    for at in range(0, n, step):
        rows = at + np.flatnonzero(seen[at : at + step])
        best = (
            np.argpartition(-pred_probs[rows], top - 1, axis=1)[:, :top]
            if top < k
            else np.tile(np.arange(k), (len(rows), 1))
        )
        keys.append((rows[:, None] * np.int64(k) + best).ravel())
    pairs, place = np.unique(np.concatenate(keys), return_inverse=True)
    gold = np.full(n, -1, np.int64)
    gold[known] = place[len(own) : len(own) + len(known)]
    item = (pairs // k).astype(np.int32)
    start = np.searchsorted(item, np.arange(n + 1))
    return Pairs(item, (pairs % k).astype(np.int32), start, place[: len(own)], gold, bool(len(pairs) == n * k))


@dataclass(eq=False)
class ItemEvidence:
    """c = softmax(log p / temperature + bias) on P pairs, one `rest` per item for the classes not listed, which share its
    probability evenly.

    log_p: (P,).   rest_log_p: (N,) log probability of one unlisted class.   n_rest: (N,) unlisted classes.   seen: (N,) False
    where the classifier says nothing: the shares of the classes, `prior` (K,), take its place.
    scale: 1 / temperature.   bias: (K,), all 0 unless every class is listed for every item.
    """

    pairs: Pairs
    log_p: np.ndarray
    rest_log_p: np.ndarray
    n_rest: np.ndarray
    seen: np.ndarray
    prior: np.ndarray
    scale: float
    bias: np.ndarray

    @classmethod
    def of(cls, pred_probs: np.ndarray, seen: np.ndarray, pairs: Pairs, prior: np.ndarray) -> ItemEvidence:
        """Unscaled. prior: (K,) to begin with."""
        p = pred_probs[pairs.item, pairs.label].astype(np.float64)
        p = np.where(seen[pairs.item], np.maximum(p, FLOOR), 1.0)
        n_rest = len(prior) - np.diff(pairs.start)
        left = np.maximum(1 - pairs.total(p), FLOOR) / np.maximum(n_rest, 1)
        return cls(pairs, np.log(p), np.log(left), n_rest, seen, prior, 1.0, np.zeros(len(prior)))

    def log_prior(self, weight: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """(P,) log c and (N,) log of its sum over the unlisted classes; with a weight, of c ** weight, normalised."""
        score, rest = self._scores(weight * self.scale, weight * self.bias)
        norm = log_sum(self.pairs, score, rest)
        return score - norm[self.pairs.item], rest - norm

    def _scores(self, scale: float, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pairs, seen = self.pairs, self.seen
        with np.errstate(divide="ignore"):
            plain = np.log(pairs.left_prior(self.prior))
            rest = np.where(seen, np.log(self.n_rest) + scale * self.rest_log_p, plain)
        score = np.where(seen[pairs.item], scale * self.log_p + bias[pairs.label], np.log(self.prior)[pairs.label])
        return score, rest

    @property
    def penalty(self) -> float:
        """Log density of the scaling: log scale and bias are standard normal, worth one observation."""
        return float(-0.5 * (np.log(self.scale) ** 2 + self.bias @ self.bias))

    def refit(self, prob: np.ndarray, rest: np.ndarray, steps: int = 5) -> None:
        """Scale and bias nearer to what makes posteriors (P,), (N,) likeliest; never worse than before."""
        from scipy.optimize import minimize

        pairs, k = self.pairs, len(self.bias)
        inside = self.seen[pairs.item]
        free = pairs.complete
        label, log_p = pairs.label, np.where(inside, self.log_p, 0.0)
        rest_log_p = np.where(self.n_rest > 0, self.rest_log_p, 0.0)

        def loss(v: np.ndarray) -> tuple[float, np.ndarray]:
            scale = np.exp(v[0])
            score, left = self._scores(scale, v[1:] if free else self.bias)
            norm = log_sum(pairs, score, left)
            gap = np.where(inside, np.exp(score - norm[pairs.item]) - prob, 0.0)
            rest_gap = np.where(self.seen, np.exp(left - norm) - rest, 0.0)
            told = (prob * score)[inside].sum() + (rest * np.where(np.isfinite(left), left, 0.0))[self.seen].sum()
            value = norm[self.seen].sum() - told + 0.5 * v @ v
            slope = scale * (gap @ log_p + rest_gap @ rest_log_p)
            return float(value), v + np.concatenate([[slope], np.bincount(label, gap, k) if free else []])

        begin = np.concatenate([[np.log(self.scale)], self.bias if free else []])
        bounds = [(-4.0, 4.0)] + [(None, None)] * (len(begin) - 1)
        found = minimize(loss, begin, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": steps})
        if found.fun <= loss(begin)[0]:
            self.scale = float(np.exp(found.x[0]))
            self.bias = found.x[1:] if free else self.bias


def log_sum(pairs: Pairs, score: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """(N,) log of the sum of exp over the pairs of an item and its rest."""
    top = rest.copy()
    some = np.diff(pairs.start) > 0
    if some.any():
        top[some] = np.maximum(top[some], np.maximum.reduceat(score, pairs.start[:-1][some]))
    return np.asarray(top + np.log(pairs.total(np.exp(score - top[pairs.item])) + np.exp(rest - top)))
