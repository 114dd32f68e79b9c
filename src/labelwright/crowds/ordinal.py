"""Ordered classes: an annotator sees the true class a little shifted and a little blurred, and answers with the nearest class.

    row_a,k is Dirichlet(concentration * curve_a,k),   x = position_k + bias_a,
    curve_a,k(l) = (1 - lapse) [Phi((l + 1/2 - x) / noise_a) - Phi((l - 1/2 - x) / noise_a)] + lapse share_l

The confusion matrices of Dawid and Skene, their rows drawn around discretised normal curves: who voted little is known by two
numbers, and a vote two classes away speaks less for a class than one beside it; who voted much may have habits of its own. The
positions of the classes on the scale of the answers, the lapse and the concentration are shared by all and are learnt.

Source: Dawid & Skene 1979 with the rows of an ordered probit (McKelvey & Zavoina 1975).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labelwright.crowds import temper
from labelwright.crowds._candidates import Pairs, class_counts
from labelwright.crowds._skills import skills
from labelwright.crowds._starts import settled, share_posterior, unsettled, usual_accuracy
from labelwright.crowds.fit import Fit
from labelwright.crowds.prepared import Prepared
from labelwright.errors import OptionError, check_whole

SPREAD_OF_BIAS = 0.5  # classes; standard deviation of the biases around 0
SPREAD_OF_NOISE = 0.5  # of the log noise around what the annotators share
MOST = 50_000_000
"""Most cells annotators x K x K that are held at once."""


def fits_memory(votes: Prepared) -> bool:
    """Whether the confusion matrices of all annotators may be held at once."""
    return votes.n_annotators * votes.n_classes**2 <= MOST


def fit_ordinal(
    votes: Prepared,
    *,
    dependence: float | None = None,
    doubt: float = temper.DOUBT,
    max_iter: int = 200,
    tol: float = 1e-6,
    random_state: int = 0,
) -> Fit:
    """Posteriors of ordered classes; the order is the one in which `votes.space` lists them, from low to high.

    dependence, doubt: see `temper`; with both 0 votes count in full.   tol: EM stops when the objective rises by less than this
    fraction.   random_state: draws the votes that choose the dependence, only where there are more than 10,000.

    Returns:
        Fit; details: bias (A,) in classes, above 0 who answers too high; noise (A,) in classes; position (K,); lapse;
        concentration. An annotator without votes has bias 0 and the shared noise.

    Raises:
        OptionError: a dependence or doubt out of range, or more annotators and classes than fit into memory.
    """
    check_whole("max_iter", max_iter, 1)
    temper.check(dependence, doubt)
    n, k, a = votes.n_items, votes.n_classes, votes.n_annotators
    if not fits_memory(votes):
        raise OptionError(
            found=f"{a:,} annotators and {k} classes", expected=f"at most {MOST:,} cells of confusion matrices",
            fix="merge neighbouring classes, or use fit_scores for answers on a long scale",
        )  # fmt: skip
    pairs = Pairs.every(votes)
    prob, rest, prior = share_posterior(votes, pairs)
    curves = _Curves.start(votes)
    trace: list[float] = []
    for _ in range(max_iter):
        prior = class_counts(pairs, prob, rest, prior)
        prior /= prior.sum()
        count = _counts(votes, prob.reshape(n, k))
        curves.learn(count)
        value, penalty = curves.log_rows(count)
        loglik = _logliks(votes, value)
        prob, rest, norm = pairs.softmax(np.log(prior)[pairs.label] + loglik, np.full(n, -np.inf))
        trace.append(float(norm.sum() + penalty + np.log(prior).mean()))
        if settled(trace, tol):
            break
    fitted = temper.best_dependence(_left_out(votes, pairs, prior, prob, count, curves, loglik, random_state))
    around = count + curves.around()
    table = around / around.sum(2, keepdims=True)
    done = temper.settle(votes, pairs, prior, loglik, np.zeros(n), fitted, dependence, doubt)

    def confusion(annotator: int) -> np.ndarray:
        return np.asarray(table[annotator])

    return Fit(
        "ordinal", done.labels, prior, *skills(votes, prob[pairs.own], usual_accuracy(votes)), confusion,
        temper.foretell(done.foretold, confusion), trace=trace, notes=unsettled(trace, tol, max_iter),
        details=done.details | {
            "bias": curves.bias, "noise": np.exp(curves.log_noise), "position": curves.position, "lapse": curves.lapse,
            "concentration": float(np.exp(curves.log_total)),
        },
    )  # fmt: skip


def _counts(votes: Prepared, prob: np.ndarray) -> np.ndarray:
    """(A, K, K) expected votes, [annotator, true, given]."""
    k, cell = votes.n_classes, votes.annotator.astype(np.int64) * votes.n_classes + votes.label
    size = votes.n_annotators * k
    parts = [np.bincount(cell, votes.weight * prob[votes.item, true], size).reshape(-1, k) for true in range(k)]
    return np.stack(parts, 1)


def _logliks(votes: Prepared, table: np.ndarray) -> np.ndarray:
    """(N * K,) of the classes."""
    parts = [
        np.bincount(votes.item, votes.weight * table[votes.annotator, true, votes.label], votes.n_items)
        for true in range(votes.n_classes)
    ]
    return np.stack(parts, 1).ravel()


def _left_out(
    votes: Prepared,
    pairs: Pairs,
    prior: np.ndarray,
    prob: np.ndarray,
    count: np.ndarray,
    curves: _Curves,
    loglik: np.ndarray,
    seed: int,
) -> temper.LeftOut:
    """Votes with what the others say; the vote is taken out of the counts of its annotator, too (its curve stays)."""
    chosen = temper.drawn(votes, seed)
    frame, entry, vote = temper.left_out(votes, pairs, chosen, prior, loglik, np.zeros(votes.n_items))
    cell = votes.annotator[vote], pairs.label[entry], votes.label[vote]
    own, around = votes.weight[vote] * prob[entry], curves.around()
    whole = np.maximum(count.sum(2)[cell[:2]] - own, 0) + np.exp(curves.log_total)
    return frame._replace(
        loglik=frame.loglik - votes.weight[vote] * curves.log_rows(count)[0][cell],
        chance=(np.maximum(count[cell] - own, 0) + around[cell]) / whole,
    )


@dataclass(eq=False)
class _Curves:
    """position: (K,).   bias, log_noise: (A,).   shared: log noise that annotators are drawn to.   log_total: of the
    concentration."""

    position: np.ndarray
    bias: np.ndarray
    log_noise: np.ndarray
    shared: float
    logit_lapse: float
    log_total: float
    share: np.ndarray  # (K,) answers of who does not look

    @classmethod
    def start(cls, votes: Prepared) -> _Curves:
        k, a = votes.n_classes, votes.n_annotators
        share = np.bincount(votes.label, votes.weight, k) + 1 / k
        noise = np.log(0.5 + 0.1 * k)
        return cls(np.arange(k, dtype=float), np.zeros(a), np.full(a, noise), noise, -3.0, 1.0, share / share.sum())

    @property
    def lapse(self) -> float:
        return float(1 / (1 + np.exp(-self.logit_lapse)))

    def _pack(self) -> np.ndarray:
        return np.concatenate(
            [self.position, self.bias, self.log_noise, [self.shared, self.logit_lapse, self.log_total]]
        )

    def _unpack(self, v: np.ndarray) -> None:
        k, a = len(self.position), len(self.bias)
        self.position, self.bias, self.log_noise = v[:k], v[k : k + a], v[k + a : k + 2 * a]
        self.shared, self.logit_lapse, self.log_total = map(float, v[-3:])

    def around(self) -> np.ndarray:
        """(A, K, K) Dirichlet parameters, [annotator, true, given]."""
        rows = (1 - self.lapse) * self._curve()[0] + self.lapse * self.share
        return np.asarray(np.exp(self.log_total) * rows)

    def log_rows(self, count: np.ndarray) -> tuple[np.ndarray, float]:
        """(A, K, K) expected logs of the rows, and what the annotators add to the objective."""
        from scipy.special import gammaln, psi

        around, total = self.around(), np.exp(self.log_total)
        row = count.sum(2)
        value = psi(count + around) - psi(row + total)[:, :, None]
        added = (gammaln(count + around) - gammaln(around) - count * value).sum()
        return value, float(added + (gammaln(total) - gammaln(row + total)).sum() + self.penalty())

    def _curve(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(A, K, K) of the normal curves alone, and their slopes by position (or bias) and by log noise."""
        from scipy.special import ndtr

        k = len(self.position)
        centre = self.position[None, :] + self.bias[:, None]
        noise = np.exp(self.log_noise)[:, None, None]
        z = (np.arange(k - 1) + 0.5 - centre[:, :, None]) / noise  # (A, K, K - 1) borders between answers
        ends = np.zeros((*centre.shape, 1))
        below = np.concatenate([ends, ndtr(z), ends + 1], 2)
        dense = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
        by_centre = np.concatenate([ends, -dense / noise, ends], 2)
        by_noise = np.concatenate([ends, -dense * z, ends], 2)
        return np.diff(below), np.diff(by_centre), np.diff(by_noise)

    def penalty(self) -> float:
        """Log density of the annotators, of what they share, and of the positions around their classes."""
        gap = self.position - np.arange(len(self.position))
        return float(
            -0.5 * (self.bias**2).sum() / SPREAD_OF_BIAS**2
            - 0.5 * ((self.log_noise - self.shared) ** 2).sum() / SPREAD_OF_NOISE**2
            - 0.5 * (gap @ gap + self.shared**2 + (self.logit_lapse + 3) ** 2 + self.log_total**2 / 4)
        )

    def learn(self, count: np.ndarray, steps: int = 10) -> None:
        """Nearer to what makes the counts (A, K, K) likeliest; never worse than before."""
        from scipy.optimize import minimize
        from scipy.special import gammaln, psi

        begin, row = self._pack(), count.sum(2)

        def loss(v: np.ndarray) -> tuple[float, np.ndarray]:
            self._unpack(v)
            curve, by_centre, by_noise = self._curve()
            lapse = self.lapse
            p, total = (1 - lapse) * curve + lapse * self.share, np.exp(self.log_total)
            around = total * p
            told = gammaln(count + around) - gammaln(around)
            pull = total * (psi(count + around) - psi(around))
            centre = ((1 - lapse) * pull * by_centre).sum(2)
            noise = ((1 - lapse) * pull * by_noise).sum((1, 2))
            gap = self.position - np.arange(len(self.position))
            off = (self.log_noise - self.shared) / SPREAD_OF_NOISE**2
            slope = np.concatenate([
                centre.sum(0) - gap, centre.sum(1) - self.bias / SPREAD_OF_BIAS**2, noise - off,
                [
                    off.sum() - self.shared,
                    lapse * (1 - lapse) * (pull * (self.share - curve)).sum() - self.logit_lapse - 3,
                    (pull * p).sum() - total * (psi(row + total) - psi(total)).sum() - self.log_total / 4,
                ],
            ])  # fmt: skip
            return -float(told.sum() + (gammaln(total) - gammaln(row + total)).sum() + self.penalty()), -slope

        bounds = [(None, None)] * (len(begin) - len(self.bias) - 3) + [(-4.0, 4.0)] * len(self.bias)
        bounds += [(-4.0, 4.0), (-12.0, 3.0), (-5.0, 8.0)]
        found = minimize(loss, begin, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": steps})
        self._unpack(found.x if found.fun <= loss(begin)[0] else begin)
