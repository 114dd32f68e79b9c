"""Challenging yet learnable sequences, told by an early checkpoint of a small language model (SALT_DS)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from labelwright.errors import DataError, check_whole
from labelwright.stream.statistic import chunks


class Challenging(NamedTuple):
    """score: (S,) float64, median loss in nats over the counted tokens, -inf where none counts; keep the largest.
    share: (S,) float64, the share of tokens that count (NaN for an empty sequence)."""

    score: np.ndarray
    share: np.ndarray


def in_top(log_probs: Any, tokens: Any, *, k: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """The log-probability of each true token (T,), and whether fewer than k tokens are likelier (T,) bool.

    Args:
        log_probs: (T, V) log-probabilities of the next token, in nats; any float type, read in blocks.
        tokens: (T,) the tokens that came. Leave padding out.   k: 10 in the paper.

    Raises:
        DataError: tokens that are no ids of the V columns, or another number of them.

    >>> in_top(np.log([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]), np.array([1, 2]), k=2)[1]
    array([ True, False])
    """
    check_whole("k", k, 1)
    table, ids = np.asanyarray(log_probs), np.asarray(tokens)
    if table.ndim != 2 or ids.dtype.kind not in "iu" or ids.shape != table.shape[:1]:
        raise DataError(
            found=f"log_probs of shape {table.shape} and tokens of shape {ids.shape} and dtype {ids.dtype}",
            expected="(T, V) log-probabilities and (T,) integer token ids",
            fix="join the sequences: one row per token that is predicted",
        )
    if len(ids) and (ids.min() < 0 or ids.max() >= table.shape[1]):
        raise DataError(
            found=f"token ids {ids.min()} to {ids.max()} for {table.shape[1]} columns",
            expected=f"ids 0 to {table.shape[1] - 1}",
            fix="drop the padding, and use the tokenizer of the model",
        )
    own = table[np.arange(len(ids)), ids]
    inside = np.empty(len(ids), bool)
    for block in chunks(*table.shape):
        inside[block] = (table[block] > own[block, None]).sum(1) < k
    return own.astype(np.float64), inside


def challenging(log_prob: Any, inside: Any, lengths: Any) -> Challenging:
    """Score sequences by the median loss of their learnable tokens.

    Args:
        log_prob: (T,) log-probability of each true token, in nats, the sequences joined one after the other.
        inside: (T,) bool, whether the token counts: it is among the model's likeliest (see `in_top`). The others are
            taken for noise and left out, not set to 0, so that the median keeps its meaning.
        lengths: (S,) int, tokens of each sequence, summing to T.

    Raises:
        DataError: arrays that do not fit together, or log-probabilities above 0 or NaN.

    Source: Rawat et al. 2024 (SALT), data selection; whether masked tokens are dropped there is not known.

    >>> challenging(np.log([0.5, 0.25, 1e-9, 0.125]), np.array([True, True, False, True]), np.array([3, 1])).score.round(3)
    array([1.04 , 2.079])
    """
    loss, counted, length = -np.asarray(log_prob, dtype=np.float64), np.asarray(inside), np.asarray(lengths)
    _check(loss, counted, length)
    sequence = np.repeat(np.arange(len(length)), length)
    n = np.bincount(sequence[counted], minlength=len(length))
    order = np.lexsort((loss[counted], sequence[counted]))
    ordered, first = loss[counted][order], np.cumsum(n) - n
    some = n > 0
    score = np.full(len(length), -np.inf)
    low, high = (first + (n - 1) // 2)[some], (first + n // 2)[some]
    score[some] = (ordered[low] + ordered[high]) / 2
    share = np.divide(n, length, out=np.full(len(length), np.nan), where=length > 0)
    return Challenging(score, share)


def _check(loss: np.ndarray, counted: np.ndarray, length: np.ndarray) -> None:
    whole = length.ndim == 1 and length.dtype.kind in "iu" and bool((length >= 0).all())
    if loss.ndim != 1 or counted.shape != loss.shape or counted.dtype != bool or not whole or length.sum() != len(loss):
        raise DataError(
            found=f"log_prob {loss.shape}, inside {counted.shape} {counted.dtype}, lengths {length.shape} {length.dtype}",
            expected="log_prob (T,), inside (T,) bool, lengths (S,) whole numbers that sum to T",
            fix="join the sequences without padding, and pass the number of tokens of each",
        )
    if len(loss) and not bool((loss >= 0).all()):
        raise DataError(
            found=f"log-probabilities up to {-loss.min():.3g}" if not np.isnan(loss).any() else "NaN log-probabilities",
            expected="logarithms of probabilities, 0 or less",
            fix="pass log_softmax(logits) at the true tokens",
        )
