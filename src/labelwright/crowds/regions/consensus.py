"""One mask out of several, with the risk of each pixel.

Two forms. *share*: votes weighted by skill times the recall of the class drawn. It is a share of votes and not a probability: the
weights are a rule of thumb, and three labellers who agree give a risk of 0. *bayes*: the posterior of each pixel's class given
what was drawn there and the labellers' confusion matrices, votes counting as fewer the more they depend on each other.

Source: Estes et al. 2024, arXiv 2412.18483 (share, for two classes); naive Bayes over annotators: Dawid & Skene 1979 with known
confusion matrices; n dependent votes count as n / (1 + (n - 1) dependence) as in `crowds.temper`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from labelwright.crowds.regions.labellers import Skills
from labelwright.crowds.temper import power

TIE = 1e-7  # a later class must lead by this much: ties go to the smaller id, so to the background


@dataclass(frozen=True, eq=False)
class Consensus:
    """What the labellers of one image say together.

    probability: (H, W) float32 of class 1 where there are two classes, else (H, W, K); NaN where nobody says anything. With
        method "share" it is a share of weighted votes.
    label: (H, W) int64, -1 where nobody says anything.   risk: (H, W) float32, 1 - the largest probability: how likely the label
        is wrong, if the probability is one.   labellers: who drew it.   method: "share" or "bayes".
    """

    probability: np.ndarray
    label: np.ndarray
    risk: np.ndarray
    labellers: tuple[Any, ...]
    method: str

    def dense(self) -> np.ndarray:
        """(H, W, K), also where there are two classes."""
        p = self.probability
        return p if p.ndim == 3 else np.stack([1 - p, p], axis=-1)


def share_tables(skills: Skills) -> np.ndarray:
    """(A, K + 2, K) weight that each answer of each labeller gives to each class; rows K and K + 1 are "unsure" (the labeller's
    mean weight, spread evenly) and "nothing" (no weight). Weights that are all zero become all one."""
    score, recall = skills.filled()
    weight = score[:, None] * recall  # (A, K)
    if not weight.any():
        weight = np.ones_like(weight)
    n, k = weight.shape
    table = np.zeros((n, k + 2, k))
    table[:, np.arange(k), np.arange(k)] = weight
    table[:, k] = weight.mean(1, keepdims=True) / k
    return table


def bayes_tables(confusion: np.ndarray) -> np.ndarray:
    """(A, K + 2, K) log-likelihood of each answer under each true class, 0 for "nothing"; confusion: (A, K, K + 1)."""
    n, k, _ = confusion.shape
    return np.concatenate([np.log(confusion).transpose(0, 2, 1), np.zeros((n, 1, k))], axis=1)


def weighted_share(who: np.ndarray, said: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """(H, W, K) C_k = sum_i w_i 1[L_i = k] / sum_i w_i, NaN where nobody says anything.

    who: (n,) labellers.   said: (n, H, W) int16 answers.   tables: from `share_tables`.
    """
    total = _summed(who, said, tables)
    heard = total.sum(-1, keepdims=True)
    unweighted = (heard == 0) & (said != -1).any(0)[..., None]
    if unweighted.any():  # only people without any skill at these pixels: they count alike
        k = tables.shape[2]
        alike = np.zeros_like(tables)
        alike[:, np.arange(k), np.arange(k)], alike[:, k] = 1.0, 1 / k
        total = np.where(unweighted, _summed(who, said, alike), total)
        heard = total.sum(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / np.where(heard > 0, heard, np.nan))


def posterior(
    who: np.ndarray, said: np.ndarray, tables: np.ndarray, prior: np.ndarray, dependence: float
) -> np.ndarray:
    """(H, W, K) P(class | answers): prior times the answers' likelihoods, tempered; NaN where nobody says anything.

    tables: from `bayes_tables`.   prior: (K,).   dependence: in [0, 1].
    """
    heard = (said != -1).sum(0)
    logit = np.log(prior) + power(heard, dependence)[..., None] * _summed(who, said, tables)
    p = np.exp(logit - logit.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    p[heard == 0] = np.nan
    return np.asarray(p)


def consensus_of(p: np.ndarray, labellers: tuple[Any, ...], method: str) -> Consensus:
    """From (H, W, K) float64."""
    known = np.isfinite(p[..., 0])
    best = np.max(p, axis=-1)
    label = np.where(known, (p >= (best - TIE)[..., None]).argmax(-1), -1)
    shown = p[..., 1] if p.shape[-1] == 2 else p
    return Consensus(shown.astype(np.float32), label, (1 - best).astype(np.float32), labellers, method)


def _summed(who: np.ndarray, said: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """(H, W, K) sum of the labellers' table rows; answers -1 and -2 are the last two rows, so they index them as they are."""
    out = np.zeros((*said.shape[1:], tables.shape[2]))
    for labeller, answer in zip(who, said):
        out += tables[labeller][np.where(answer == -2, tables.shape[1] - 2, answer)]
    return out
