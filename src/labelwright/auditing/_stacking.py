"""Several out-of-sample opinions about an item's class, weighed by how well they predict the given labels.

p(true = k | x) ∝ exp(sum_m w_m log e_m(x)_k + b_k)          weights w, class biases b: a logistic pool of the sources
p(given = s | x) = sum_k p(true = k | x) T[k, s]             T: the transition, for mistakes that do not depend on x

Maximum likelihood of the given labels, by EM, fixes w, b and T together, without any truth: the sources have not seen
an item's own label (out of fold; neighbours exclude the item itself), so the labels are honest supervision. A sharper
pool with noisier labels and a blunter pool with cleaner ones differ in the *shape* of p(given | x): mistakes put a
floor under it.

Every step is a sum over items, gathered chunk by chunk (`Sums.merge` adds them).
Source: the noise layer of Goldberger & Ben-Reuven 2017 over the logarithmic opinion pool of Genest & Zidek 1986.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

CHUNK_CELLS = 1 << 16  # rows per chunk x classes: a chunk stays in the processor's cache
FIT_CELLS = 1 << 23  # labelled rows x classes that the fit looks at: of more it takes a sample
PROB_FLOOR = 1e-30  # an exact zero of a model is no proof, but small probabilities keep their order
MISTAKEN = 0.01  # chance that a model is wholly mistaken about an item, heard where other sources can contradict it
VOTE_POWER = 2.0  # of the similarity: half as alike, a quarter of a vote
VOTE_PRIOR = 1.0  # neighbours' worth of the label shares added to every vote
WEIGHT_PRIOR = 10.0  # items' worth of information that holds every weight near 1 / n_sources
# The same for the class biases, near 0: constant, and per labelled item, as a flaw of the model moves them however many
BIAS_PRIOR = (1.0, 0.01)
TRANSITION_PRIOR = 10.0  # items' worth, per true class, of the error rate of all classes

Evidence = Callable[[np.ndarray], list[np.ndarray]]  # rows -> one (rows, K) array of log evidence per source


class Pool(NamedTuple):
    """weights (M,), biases (K,), transition (K, K) [true, given]; loglik: mean over labelled items, one per step; even: the
    transition has one number, see `transition_from`."""

    weights: np.ndarray
    biases: np.ndarray
    transition: np.ndarray
    loglik: list[float]
    even: bool = False


class Sums(NamedTuple):
    """What one EM step needs from a chunk besides the joint: log-likelihood, gradients and curvatures of w and b."""

    loglik: float
    weight_grad: np.ndarray
    weight_curve: np.ndarray
    bias_grad: np.ndarray
    bias_curve: np.ndarray

    def merge(self, other: Sums) -> Sums:
        pairs: list[tuple[Any, Any]] = list(zip(self, other, strict=True))
        return Sums(*(a + b for a, b in pairs))


def model_evidence(pred_probs: np.ndarray, rows: np.ndarray, mistaken: float = 0.0) -> np.ndarray:
    """(rows, K) log probabilities, floored and renormalised; with `mistaken`, of their mixture with the uniform
    distribution: no opinion then counts for more than log((K - mistaken (K - 1)) / mistaken), however sure it sounds."""
    p = np.maximum(pred_probs[rows].astype(np.float64), PROB_FLOOR)
    p /= p.sum(1, keepdims=True)
    return np.log((1 - mistaken) * p + mistaken / p.shape[1])


def vote_evidence(
    labels: np.ndarray, neighbours: tuple[np.ndarray, np.ndarray], shares: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """(rows, K) log shares of the neighbours' labels, each weighing its similarity, smoothed with the label shares.

    Neighbours without a label, or with a similarity <= 0, abstain.
    """
    index, similarity = neighbours
    n_classes, vote = len(shares), labels[index[rows]]
    weight = np.maximum(similarity[rows].astype(np.float64), 0.0) ** VOTE_POWER
    cell = np.where(vote < 0, n_classes, vote) + np.arange(len(rows))[:, None] * (n_classes + 1)
    count = np.bincount(cell.ravel(), weight.ravel(), minlength=len(rows) * (n_classes + 1))
    count = count.reshape(len(rows), -1)[:, :n_classes]
    return np.asarray(np.log((count + VOTE_PRIOR * shares) / (count.sum(1, keepdims=True) + VOTE_PRIOR)))


def chunks(rows: np.ndarray, n_classes: int) -> Iterator[np.ndarray]:
    step = max(1, CHUNK_CELLS // n_classes)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def pooled(evidence: list[np.ndarray], weights: np.ndarray, biases: np.ndarray) -> np.ndarray:
    """(rows, K) p(true | x)."""
    z = sum((w * e for w, e in zip(weights, evidence, strict=True)), start=biases)
    z = np.exp(z - z.max(1, keepdims=True))
    return np.asarray(z / z.sum(1, keepdims=True))


def add_by_label(total: np.ndarray, values: np.ndarray, labels: np.ndarray) -> None:
    """Add row i of `values` (rows, C) to row labels[i] of `total` (K, C), whose other rows are not touched."""
    if len(labels) == 0:
        return
    order = np.argsort(labels, kind="stable")
    present, first = np.unique(labels[order], return_index=True)
    total[present] += np.add.reduceat(values[order], first, axis=0)


def chunk_sums(
    evidence: list[np.ndarray], given: np.ndarray, pool: Pool, joint: np.ndarray, by_given: np.ndarray
) -> Sums:
    """The E step on one chunk, and the derivatives of its expected log-likelihood.

    joint: (K, K) [given, true], to which the expected counts are added.   by_given: the transition as (K, K) [given, true],
    its rows lying together in memory.
    """
    q = pooled(evidence, pool.weights, pool.biases)
    posterior = q * by_given[given]
    likelihood = posterior.sum(1)
    posterior /= likelihood[:, None]
    residual = posterior - q
    centred = [e - (q * e).sum(1, keepdims=True) for e in evidence]
    add_by_label(joint, posterior, given)
    return Sums(
        loglik=float(np.log(likelihood).sum()),
        weight_grad=np.array([(residual * e).sum() for e in evidence]),
        weight_curve=np.array([[np.einsum("nk,nk,nk->", q, a, b) for b in centred] for a in centred]),
        bias_grad=residual.sum(0),
        bias_curve=(q * (1 - q)).sum(0),
    )


def transition_from(joint: np.ndarray, shares: np.ndarray, *, even: bool = False, unseen: float = 1e-9) -> np.ndarray:
    """(K, K) [true, given]: rows of the expected counts; each row's error rate is drawn towards that of all rows, and its
    mistakes towards the label shares with the weight of `unseen` items.

    even: one error rate for all, every other class alike. Where classes are ordered or nested, close ones are what people
    mistake and also what a model cannot tell apart, so that learnt mistakes would explain the model's own away."""
    off = joint * (1 - np.eye(len(joint)))
    rate = off.sum() / max(joint.sum(), 1e-12)
    if even:
        out = np.full(joint.shape, rate / max(len(joint) - 1, 1))
        np.fill_diagonal(out, 1 - rate)
        return out
    row_rate = (off.sum(1) + TRANSITION_PRIOR * rate) / (joint.sum(1) + TRANSITION_PRIOR)
    other = np.where(np.eye(len(joint), dtype=bool), 0.0, shares)
    off += unseen * other / np.maximum(other.sum(1, keepdims=True), 1e-300)  # a class nobody was seen to mistake
    out = row_rate[:, None] * off / np.maximum(off.sum(1, keepdims=True), 1e-300)
    np.fill_diagonal(out, 1 - out.sum(1))
    return np.asarray(out)


def rows_to_fit(labels: np.ndarray, n_classes: int, random_state: int = 0) -> np.ndarray:
    """(M,) numbers of the labelled rows that the fit looks at, ascending: all, or a random sample of about FIT_CELLS entries.

    Two numbers and K biases are fitted; more rows would only cost time. The transition, which has K x K numbers, is taken
    from all rows afterwards (`ReadingSums`)."""
    rows = np.flatnonzero(labels >= 0)
    most = max(1000, FIT_CELLS // n_classes)
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(random_state).choice(rows, most, replace=False))


def fit_pool(
    evidence: Evidence,
    labels: np.ndarray,
    shares: np.ndarray,
    *,
    rows: np.ndarray | None = None,
    even: bool = False,
    max_iter: int = 150,
    tol: float = 1e-6,
) -> Pool:
    """Weights, biases and transition that make the given labels likeliest.

    Args:
        evidence: rows -> (rows, K) log evidence per source.   labels: (N,), -1 = missing.
        shares: (K,) shares of the given labels, > 0.
        even: one error rate for all classes (`transition_from`).
        rows: labelled rows to fit on; default all. After a fit on a sample the transition is kept from ruling out a
            mistake that merely does not occur in it.

    Each step: expected joint counts (E), the transition from them and one damped Newton step on w and b (M).
    One pass over the rows per step; ends when the mean log-likelihood gains less than `tol`.
    """
    n_classes, labelled = len(shares), int((labels >= 0).sum())
    rows = np.flatnonzero(labels >= 0) if rows is None else rows
    n_sources = len(evidence(rows[:1]))
    centre = np.full(n_sources, 1 / n_sources)
    bias_prior = BIAS_PRIOR[0] + BIAS_PRIOR[1] * len(rows)
    # A model that has learnt the mistakes leaves the data undecided between them and ambiguity: the fit starts on the side
    # of mistakes (sharp pool, noisy labels) and leaves it only where the likelihood says so.
    pool = Pool(2 * centre, np.zeros(n_classes), 0.8 * np.eye(n_classes) + 0.2 * shares, [], even)
    joint = np.zeros((n_classes, n_classes))
    for _ in range(max_iter):
        joint[:], by_given = 0, np.ascontiguousarray(pool.transition.T)
        parts = (chunk_sums(evidence(part), labels[part], pool, joint, by_given) for part in chunks(rows, n_classes))
        total = next(parts)
        for part in parts:
            total = total.merge(part)
        pool.loglik.append(total.loglik / len(rows))
        if len(pool.loglik) > 6 and abs(pool.loglik[-1] - pool.loglik[-2]) < tol:
            break
        grad = total.weight_grad - WEIGHT_PRIOR * (pool.weights - centre)
        step = np.linalg.solve(total.weight_curve + WEIGHT_PRIOR * np.eye(n_sources), grad)
        biases = pool.biases + 0.7 * (total.bias_grad - bias_prior * pool.biases) / (total.bias_curve + bias_prior)
        pool = Pool(
            np.clip(pool.weights + 1.5 * step, 0.01, 20.0),  # 1.5: EM's Newton step is short, the label is half known
            biases - biases.mean(),
            transition_from(joint.T, shares, even=even),
            pool.loglik,
            even,
        )
    if len(rows) < labelled:
        pool = pool._replace(transition=transition_from(joint.T, shares, even=even, unseen=TRANSITION_PRIOR))
    return pool._replace(transition=np.asfortranarray(pool.transition))  # read by given label from here on
