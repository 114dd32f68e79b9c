"""What training itself says about a label: margins, forgetting, confidence and loss over the epochs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from labelwright.auditing.thresholds import row_blocks
from labelwright.errors import DataError

_TINY = 1e-38  # stands for a probability of 0 in logarithms


class TrainingDynamics(NamedTuple):
    """All (N,), NaN (False, 0) for missing labels; low `quality` is suspicious.

    aum: area under the margin, mean over epochs of logit[given] - largest other logit, in nats.   forgetting: int64,
    times an item went from right to wrong.   learned: bool, right at least once (never-learned items have 0 forgetting
    events, and are the most suspicious).   confidence, variability: mean and standard deviation of P[given] over
    epochs.   loss: mean cross-entropy in nats.   quality: in [0, 1], the logistic function of `aum`: how the given
    label stands against its strongest rivals. Averaging in ranks of the other scores lowered AUROC on digits (0.946 to
    0.936 with pair noise), so they are left for the reader.
    """

    aum: np.ndarray
    forgetting: np.ndarray
    learned: np.ndarray
    confidence: np.ndarray
    variability: np.ndarray
    loss: np.ndarray
    quality: np.ndarray


class EpochScores:
    """Mergeable statistic behind `training_dynamics`; a chunk is one epoch's (N, K) array, in epoch order.

    `merge(other)` appends later epochs of the same items. State: 8 values per item, whatever the number of epochs.
    """

    def __init__(self, labels: np.ndarray, *, from_logits: bool = False):
        self.labels, self.from_logits, self.epochs = labels, from_logits, 0
        self._margin, self._own, self._own_squared, self._loss = np.zeros((4, len(labels)))
        self._forgetting = np.zeros(len(labels), np.int64)
        self._learned, self._first_right, self._last_right = np.zeros((3, len(labels)), bool)

    def update(self, outputs: np.ndarray) -> None:
        if outputs.ndim != 2 or len(outputs) != len(self.labels):
            raise DataError(
                found=f"an epoch of shape {outputs.shape}",
                expected=f"({len(self.labels)}, K), one row per label",
                fix="keep the items in one order: sort each epoch's outputs by item number before passing them",
            )
        right = np.zeros(len(self.labels), bool)
        for block in row_blocks(*outputs.shape):
            seen = np.flatnonzero(self.labels[block] >= 0)
            given, at = self.labels[block][seen], (np.arange(len(seen)), self.labels[block][seen])
            z = outputs[block][seen].astype(np.float64)
            logp = _log_softmax(z) if self.from_logits else np.log(np.maximum(z, _TINY))
            own = logp[at]
            right[block.start + seen] = logp.argmax(1) == given
            logp[at] = -np.inf
            i = block.start + seen
            self._margin[i] += own - logp.max(1)
            self._loss[i] -= own
            self._own[i] += np.exp(own)
            self._own_squared[i] += np.exp(2 * own)
        if self.epochs == 0:
            self._first_right = right
        else:
            self._forgetting += self._last_right & ~right
        self._learned |= right
        self._last_right = right
        self.epochs += 1

    def merge(self, other: EpochScores) -> None:
        """Append the epochs of `other`, which came after these."""
        if other.epochs == 0:
            return
        if self.epochs == 0:
            self._first_right = other._first_right.copy()
        else:
            self._forgetting += self._last_right & ~other._first_right
        self._forgetting += other._forgetting
        self._margin += other._margin
        self._own += other._own
        self._own_squared += other._own_squared
        self._loss += other._loss
        self._learned |= other._learned
        self._last_right = other._last_right.copy()
        self.epochs += other.epochs

    def result(self) -> TrainingDynamics:
        if self.epochs == 0:
            raise DataError(
                found="no epoch",
                expected="the outputs of at least one",
                fix="call update once per epoch, or pass a longer `epochs`",
            )
        known = self.labels >= 0
        aum, confidence, squared, loss = (
            np.where(known, total / self.epochs, np.nan)
            for total in (self._margin, self._own, self._own_squared, self._loss)
        )
        variability = np.sqrt(np.maximum(squared - confidence**2, 0.0))
        logistic = np.exp(-np.logaddexp(0.0, -np.where(known, aum, 0.0)))  # in the form that cannot overflow
        quality = np.where(known, logistic, np.nan)
        return TrainingDynamics(
            aum, self._forgetting.copy(), self._learned.copy(), confidence, variability, loss, quality
        )


def _log_softmax(z: np.ndarray) -> np.ndarray:
    z = z - z.max(1, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(1, keepdims=True)))


def training_dynamics(
    labels: np.ndarray, epochs: Iterable[np.ndarray], *, from_logits: bool = False
) -> TrainingDynamics:
    """Score labels by how a model learned them.

    Args:
        labels: (N,) int, 0..K-1, -1 = missing: the labels the model was trained on.
        epochs: (E, N, K), or an iterable of (N, K) arrays in epoch order, float16/32/64; only one is held at a time.
            These are outputs on the *training* items during training (in-sample, unlike everywhere else in auditing).
        from_logits: the arrays are logits; else probabilities. The area under the margin is the same for both, since
            the difference of two log-probabilities is that of their logits, but for probabilities that were rounded to
            0.

    Returns:
        `TrainingDynamics`.

    Raises:
        DataError: no epoch, or epochs whose rows are not the labels'.

    Source: Pleiss et al. 2020 (area under the margin, eq. 1-2); Toneva et al. 2019 (forgetting events, definition 2);
        Swayamdipta et al. 2020 (confidence and variability).

    >>> p = np.array([[[0.6, 0.4], [0.6, 0.4]], [[0.8, 0.2], [0.4, 0.6]]])          # two epochs of two items
    >>> training_dynamics(np.array([0, 0]), p).forgetting
    array([0, 1])
    """
    statistic = EpochScores(labels, from_logits=from_logits)
    for outputs in epochs:
        statistic.update(outputs)
    return statistic.result()
