"""Sentences of tags, tokens and probabilities: read, checked and laid end to end, once, before any work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from labelwright.auditing._inputs import Inputs, item_keys
from labelwright.errors import DataError, LabelError, LabelwrightError, ProbabilityError, nearest
from labelwright.labels import HardLabels, LabelSpace, check_pred_probs
from labelwright.labels.space import clean_labels


class Sentences(NamedTuple):
    """inputs: keys of the N sentences, the labels of all tokens end to end, pred_probs (sum T, K) or None, notes.
    lengths: (N,) int64 tokens per sentence.   tokens: N lists of strings, or None."""

    inputs: Inputs
    lengths: np.ndarray
    tokens: list[list[str]] | None

    @property
    def given(self) -> np.ndarray:
        assert isinstance(self.inputs.labels, HardLabels)
        return self.inputs.labels.ids


def read_sentences(tags: Any, pred_probs: Any, *, tokens: Any, space: Any, items: Any) -> Sentences:
    """Raises LabelError, ProbabilityError or DataError, which name the sentence and the token."""
    if pred_probs is None and tokens is None:
        raise DataError(
            found="neither pred_probs nor tokens",
            expected="something that speaks about the tags besides themselves",
            fix="pass out-of-sample pred_probs, or tokens=[['a', 'list', 'of', 'strings'], ...] to have them predicted here",
        )
    given = _lists(tags, "tags")
    lengths = np.array([len(sentence) for sentence in given], dtype=np.int64)
    if not lengths.sum():
        raise DataError(
            found=f"{len(given)} sentences without any token",
            expected="at least one tagged token",
            fix="check the file or the selection",
        )
    words = None if tokens is None else _lists(tokens, "tokens")
    if words is not None:
        _same_lengths(words, lengths, "tokens")
    p = None if pred_probs is None else _end_to_end(pred_probs, lengths)
    labels = _labels([tag for sentence in given for tag in sentence], lengths, _space(space), p)
    if p is not None:
        _check_probabilities(p, lengths, len(labels.space))
    inputs = Inputs(item_keys(items, len(lengths)), labels, p)
    missing = int((~labels.known).sum())
    if missing:
        inputs.notes.append(f"{missing} tokens have no tag; they are predicted but never flagged")
    return Sentences(inputs, lengths, words)


def place(row: int, lengths: np.ndarray) -> str:
    """Where a row of the tokens laid end to end is.

    >>> place(3, np.array([2, 0, 4]))
    'token 1 of sentence 2'
    """
    sentence = int(np.searchsorted(np.cumsum(lengths), row, side="right"))
    return f"token {row - int(lengths[:sentence].sum())} of sentence {sentence}"


def _space(space: Any) -> LabelSpace | None:
    return space if space is None or isinstance(space, LabelSpace) else LabelSpace(space)


def _lists(column: Any, name: str) -> list[list[Any]]:
    """A column of lists as a list of lists; a missing list is refused."""
    for method in ("to_pylist", "to_list", "tolist"):  # pyarrow; pandas, polars; NumPy
        if hasattr(column, method):
            column = getattr(column, method)()
            break
    out = []
    for i, sentence in enumerate(column):
        entries = sentence.tolist() if isinstance(sentence, np.ndarray) else sentence
        if isinstance(entries, str) or not isinstance(entries, Sequence):
            raise DataError(
                found=f"{sentence!r:.60} as sentence {i} of `{name}`",
                expected="a list per sentence, empty ones allowed",
                fix="pass one list of entries per sentence, [None] * T for T tokens without a tag",
            )
        out.append(list(entries))
    return out


def _same_lengths(other: Sequence[Any], lengths: np.ndarray, name: str) -> None:
    if len(other) != len(lengths):
        raise DataError(
            found=f"{len(other)} sentences in `{name}` for {len(lengths)} in `tags`",
            expected="the same sentences in the same order",
            fix="select the sentences that the tags belong to",
        )
    bad = [i for i, sentence in enumerate(other) if len(sentence) != lengths[i]]
    if bad:
        raise DataError(
            found=f"{len(bad)} sentences whose `{name}` and `tags` differ in length; first is sentence {bad[0]} with "
            f"{len(other[bad[0]])} for {lengths[bad[0]]} tags",
            expected="one entry per tag",
            fix="a tokenizer that splits words needs one row per word: keep that of the first piece",
        )


def _end_to_end(pred_probs: Any, lengths: np.ndarray) -> np.ndarray:
    """(sum T, K) of one matrix, or of one (T_i, K) array per sentence."""
    if isinstance(pred_probs, np.ndarray) and pred_probs.ndim == 2 and pred_probs.dtype != object:
        if len(pred_probs) != lengths.sum():
            raise ProbabilityError(
                found=f"{len(pred_probs)} rows of pred_probs for {lengths.sum()} tags in {len(lengths)} sentences",
                expected="one row per tag, sentence after sentence",
                fix="pass a list of (T_i, K) arrays to be told which sentence differs",
            )
        return pred_probs
    parts = [np.asarray(part) for part in pred_probs]
    _same_lengths(parts, lengths, "pred_probs")
    full = [i for i, n in enumerate(lengths) if n]
    width = parts[full[0]].shape[-1] if parts[full[0]].ndim == 2 else 0
    bad = [i for i in full if parts[i].ndim != 2 or parts[i].shape[1] != width or parts[i].dtype.kind not in "fiu"]
    if bad:
        raise ProbabilityError(
            found=f"pred_probs of shape {parts[bad[0]].shape} and dtype {parts[bad[0]].dtype} for sentence {bad[0]}",
            expected=f"numbers ({lengths[bad[0]]}, K), with the same K in every sentence",
            fix="pass one row per token and one column per tag of the space",
        )
    return np.concatenate([parts[i] for i in full])


def _labels(flat: list[Any], lengths: np.ndarray, space: LabelSpace | None, p: np.ndarray | None) -> HardLabels:
    try:
        values, known = clean_labels(flat)
        found = space or _default_space(values[known], p)
    except LabelwrightError as error:
        raise LabelError(
            found=f"in the tags of all sentences: {error.found}", expected=error.expected, fix=error.fix
        ) from None
    if not known.any():
        raise LabelError(
            found=f"{len(flat)} tokens, none of them with a tag",
            expected="at least one known tag",
            fix="pass the tags that are known; there is nothing to audit without any",
        )
    by_number = values.dtype.kind in "iu" and isinstance(found.classes[0], str)  # class ids beside a space of names
    allowed = set(range(len(found)) if by_number else found.classes)
    strange = [int(i) for i in np.flatnonzero(known) if values[i].item() not in allowed]
    if strange:
        close = ", ".join(map(repr, nearest(str(values[strange[0]]), map(str, found.classes))[:3]))
        raise LabelError(
            found=f"{len(strange)} tags outside the space; first is {values[strange[0]].item()!r}, {place(strange[0], lengths)}",
            expected=f"one of its {len(found)} tags" + (f", or their ids 0 to {len(found) - 1}" if by_number else ""),
            fix=f"mend it (nearest are {close}), set it to None (no tag), or add it to the space",
        )
    if len(found) < 2:
        raise LabelError(
            found=f"one tag only: {found.classes[0]!r}",
            expected="at least two; with one there is nothing to confuse",
            fix="pass space=LabelSpace([...]) with all the tags a token may have",
        )
    return HardLabels(np.where(known, values, -1), found) if by_number else HardLabels.from_values(flat, found)


def _default_space(values: np.ndarray, p: np.ndarray | None) -> LabelSpace:
    """The tags that occur, sorted; integers that count columns of pred_probs mean the columns."""
    if not len(values):
        return LabelSpace(["O"])
    if p is not None and values.dtype.kind in "iu" and values.min() >= 0 and values.max() < p.shape[1]:
        return LabelSpace(range(p.shape[1]))
    return LabelSpace.from_labels(values)


def _check_probabilities(p: np.ndarray, lengths: np.ndarray, n_classes: int) -> None:
    try:
        check_pred_probs(p, n_classes=n_classes)
    except ProbabilityError as error:
        where = ""
        if p.ndim == 2 and p.shape[1] == n_classes and p.dtype.kind == "f":
            with np.errstate(invalid="ignore"):
                off = np.abs(p.sum(1, dtype=np.float64) - 1)
                good = np.isfinite(p).all(1) & (p >= -1e-4).all(1) & (off <= (2e-3 if p.dtype == np.float16 else 1e-4))
            where = "" if good.all() else f"; that is {place(int(np.argmin(good)), lengths)}"
        raise ProbabilityError(found=error.found + where, expected=error.expected, fix=error.fix) from None
