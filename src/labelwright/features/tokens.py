"""Tokens -> sparse vectors of what they and their neighbours look like: enough for a tagger without a download."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.errors import DataError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

BITS = 20  # 2^20 columns before the rare ones are dropped: collisions among some hundred thousand features are few
AFFIX = 4  # longest prefix and suffix, in characters


def tag_vectors(tokens: Sequence[Sequence[str]], *, max_features: int = 100_000) -> csr_matrix:
    """One row per token, sentence after sentence: 1 for every trait that the token or its context has.

    Traits: the lower-cased form, its prefixes and suffixes of up to 4 characters and its shape; form, suffix and shape of
    the tokens beside it; forms two away; the pairs of forms with either neighbour. Hashed, so the traits of a token do
    not depend on the other sentences; then columns that occur once only, and the rarest above `max_features`, go.

    Args:
        tokens: N sentences, each a sequence of T_i strings; empty ones are allowed.
        max_features: most columns.

    Returns:
        (sum T_i, D) CSR float32 of 0 and 1, D <= max_features.

    Raises:
        DataError: a sentence that is one string, a token that is no string.

    Source: the local features of Lafferty et al. 2001 and Ratinov & Roth 2009, without gazetteers and clusters.

    >>> tag_vectors([["the", "cat"], ["the", "dog"]]).shape[0]
    4
    """
    from scipy.sparse import csr_matrix

    lengths = np.array([len(sentence) for sentence in tokens], dtype=np.int64)
    flat = _flat(tokens)
    if not flat:
        return csr_matrix((0, 0), dtype=np.float32)
    forms = sorted({*flat, ""})  # the empty form, number 0, stands beyond either end of a sentence
    number = {token: i for i, token in enumerate(forms)}
    form = np.array([number[token] for token in flat])
    x = _hashed(map(_own, forms))[form]
    for offset in (-2, -1, 1, 2):
        beside = _shifted(form, lengths, offset)
        traits = _beside if abs(offset) == 1 else _far
        x = x + _hashed(traits(f, offset) for f in forms)[beside]
        if abs(offset) == 1:
            pairs, pair = np.unique(np.stack([form, beside]), axis=1, return_inverse=True)
            told = (([f"{offset}&{forms[a].lower()}&{forms[b].lower()}"]) for a, b in pairs.T)
            x = x + _hashed(told)[pair.reshape(-1)]
    x.data[:] = 1  # two traits in one column count once
    return _frequent(x, max_features)


def _flat(tokens: Sequence[Sequence[str]]) -> list[str]:
    flat: list[str] = []
    for i, sentence in enumerate(tokens):
        if isinstance(sentence, str):
            raise DataError(
                found=f"a string as sentence {i}: {sentence[:40]!r}",
                expected="a list of tokens per sentence",
                fix="pass [text.split() for text in texts], cut as the tags are",
            )
        for j, token in enumerate(sentence):
            if not isinstance(token, str):
                raise DataError(
                    found=f"token {j} of sentence {i} is {token!r}", expected="strings", fix="convert with str(token)"
                )
        flat.extend(sentence)
    return flat


def _shifted(form: np.ndarray, lengths: np.ndarray, offset: int) -> np.ndarray:
    """(n,) form `offset` tokens on in the same sentence, 0 beyond its ends."""
    sentence = np.repeat(np.arange(len(lengths)), lengths)
    other = np.arange(len(form)) + offset
    inside = (other >= 0) & (other < len(form))
    inside[inside] = sentence[other[inside]] == sentence[inside]
    return np.where(inside, form[np.where(inside, other, 0)], 0)


def shape_of(token: str) -> str:
    """Upper case as X, lower case as x, digits as d; runs are cut to two.

    >>> shape_of("McDonald's"), shape_of("2017")
    ("XxXxx'x", 'dd')
    """
    told = "".join("X" if c.isupper() else "x" if c.isalpha() else "d" if c.isdigit() else c for c in token)
    return re.sub(r"(.)\1+", r"\1\1", told)


def _own(token: str) -> list[str]:
    low = token.lower()
    affixes = [
        f"{side}{low[:n] if side == '<' else low[-n:]}" for n in range(1, min(AFFIX, len(low)) + 1) for side in "<>"
    ]
    return [f"form={low}", f"shape={shape_of(token)}", *affixes]


def _beside(token: str, offset: int) -> list[str]:
    low = token.lower()
    return [f"{offset}form={low}", f"{offset}shape={shape_of(token)}", f"{offset}>{low[-3:]}"]


def _far(token: str, offset: int) -> list[str]:
    return [f"{offset}form={token.lower()}"]


def _hashed(traits: Iterator[list[str]]) -> Any:
    from sklearn.feature_extraction import FeatureHasher

    return FeatureHasher(1 << BITS, input_type="string", alternate_sign=False, dtype=np.float32).transform(traits)


def _frequent(x: csr_matrix, most: int) -> csr_matrix:
    """The columns with at least two entries, the `most` fullest of them, in their old order."""
    count = np.bincount(x.indices, minlength=x.shape[1])
    keep = np.flatnonzero(count > 1)
    if len(keep) > most:
        keep = np.sort(keep[np.argsort(-count[keep], kind="stable")[:most]])
    return x[:, keep]
