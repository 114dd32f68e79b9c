"""Words that describe a class: those of its name, and the phrases that its texts have and others lack."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from labelwright.errors import DataError, check_whole, rows

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

READ = 2_000  # characters of a text that are looked at
COMMONER = 2.0  # a phrase of a class is at least this many times as common there as in the other classes
_TOKEN = r"(?u)\b\w+\b"
_LETTER = re.compile(r"[^\W\d_]")


class PhraseTable(NamedTuple):
    """Which items contain which phrase.   phrases: P strings of lower-case words.   contains: (N, P) CSR of 0 and 1."""

    phrases: list[str]
    contains: csr_matrix


def readable(name: Any) -> str:
    """A class name as lower-case words; empty for a number or a sign, which say nothing.

    >>> readable("card_arrival"), readable("OfficeHolder"), readable("Sci/Tech"), readable(3)
    ('card arrival', 'office holder', 'sci tech', '')
    """
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", str(name))
    words = re.findall(r"[^\W_]+", apart.lower())
    return " ".join(words) if _LETTER.search(apart) else ""


def name_phrases(name: Any) -> list[str]:
    """The class name in words, then each of its words of three letters or more.

    >>> name_phrases("card_arrival"), name_phrases("World"), name_phrases("7")
    (['card arrival', 'card', 'arrival'], ['world'], [])
    """
    whole = readable(name)
    return list(dict.fromkeys(p for p in [whole, *(w for w in whole.split() if len(w) > 2)] if p))


def phrase_table(
    texts: Sequence[str | None], extra: Iterable[str] = (), *, longest: int = 2, min_items: int = 3, most: int = 20_000
) -> PhraseTable:
    """The phrases of 1 to `longest` words that several texts have, and `extra` ones, with the items that contain them.

    Single characters and mere numbers are no phrases.

    Args:
        texts: N strings, read up to 2,000 characters; None is empty.
        extra: phrases to look up, however long and however rare.
        longest: words of a mined phrase.   min_items: texts that must contain it, so that no phrase points at one item.
        most: phrases kept, those in most texts.

    Raises:
        DataError: texts that are no strings.

    >>> table = phrase_table(["a red car", "red car", "the red car"])
    >>> table.phrases, table.contains.sum(axis=0).tolist()
    (['car', 'red', 'red car'], [[3.0, 3.0, 3.0]])
    """
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import CountVectorizer

    check_whole("longest", longest, 1)
    bad = [i for i, t in enumerate(texts) if not (t is None or isinstance(t, str))]
    if bad:
        raise DataError(
            found=f"{len(bad)} of {len(texts)} texts that are no strings: {rows(bad)}",
            expected="strings, None for a missing text",
            fix="convert them with str() first",
        )
    clean = [(t or "")[:READ] for t in texts]
    options = {"token_pattern": _TOKEN, "binary": True, "dtype": np.float32}
    vectorizer = CountVectorizer(ngram_range=(1, longest), **options)
    try:
        counts = vectorizer.fit_transform(clean).tocsr()
        found = vectorizer.get_feature_names_out()
    except ValueError:  # not a single word in all texts
        counts, found = csr_matrix((len(clean), 0), dtype=np.float32), np.array([], dtype=object)
    n_items = np.bincount(counts.indices, minlength=len(found))
    often = np.flatnonzero(n_items >= min_items)
    often = often[[_says_something(p) for p in found[often]]]
    keep = np.sort(often[np.argsort(-n_items[often], kind="stable")[:most]])
    mined = found[keep].tolist()
    asked = set(map(spelled, extra)) - set(mined)
    place = {p: i for i, p in enumerate(found)}
    rare = sorted(asked & place.keys())
    long = sorted(p for p in asked if len(p.split()) > longest)
    columns = np.concatenate([keep, np.array([place[p] for p in rare], np.int64)])
    table = PhraseTable(mined + rare, counts[:, columns].tocsr())
    if not long:
        return table
    spaced = [f" {spelled(t)} " for t in clean]
    looked_up = csr_matrix(np.array([[f" {p} " in t for p in long] for t in spaced], np.float32))
    return PhraseTable(table.phrases + long, hstack([table.contains, looked_up], format="csr"))


def _says_something(phrase: str) -> bool:
    return any(len(word) > 1 and _LETTER.search(word) for word in phrase.split())


def spelled(phrase: str) -> str:
    """A phrase as the table spells it: lower-case words, one blank between them."""
    return " ".join(re.findall(_TOKEN, phrase.lower()))


def class_phrases(table: PhraseTable, labels: np.ndarray, n_classes: int, *, most: int = 50) -> list[np.ndarray]:
    """For every class the phrases that mark it: class-based TF-IDF, best first.

    A class is taken as one long document: W = share of the phrase among all the phrases of the class, times
    log(1 + A / f), f the phrase's count over all classes and A the mean count of phrases per class. A phrase counts once
    per item. Only phrases at least twice as common among the items of the class as among the others are listed.

    Args:
        table: of N items.   labels: (N,) class ids, -1 = not looked at.   n_classes: K.   most: per class.

    Returns:
        K arrays of columns of `table`; empty for a class without such phrases.

    Source: Grootendorst 2022 (BERTopic), eq. 2; the threshold is ours (it does what a list of stop words does, in every
    language, and keeps "how many" where that marks a class).
    """
    from scipy.sparse import csr_matrix

    known = np.flatnonzero(labels >= 0)
    member = csr_matrix((np.ones(len(known), np.float32), (labels[known], known)), shape=(n_classes, len(labels)))
    count = np.asarray((member @ table.contains).toarray(), np.float64)
    size = np.bincount(labels[known], minlength=n_classes).astype(float)[:, None]
    total, n = count.sum(axis=0), float(len(known))
    inside = count / np.maximum(size, 1)
    outside = (total - count) / np.maximum(n - size, 1)
    rarity = np.log1p(count.sum() / max(1, n_classes) / np.maximum(total, 1))
    share = count / np.maximum(count.sum(axis=1, keepdims=True), 1)
    score = np.where((inside >= COMMONER * outside) & (count > 0), share * rarity, 0.0)
    order = np.argsort(-score, axis=1, kind="stable")[:, :most]
    return [row[score[c, row] > 0] for c, row in enumerate(order)]


def phrase_vectors(table: PhraseTable, columns: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(P, D) float32 phrases in the space of the items: the mean of those that contain them, of length 1.

    A phrase that no item contains is a row of zeros.

    Args:
        table: of the items `x` (n, D).   columns: (P,) of the table.
    """
    total = np.asarray(table.contains[:, columns].T @ x, np.float32)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.divide(total, length, out=np.zeros_like(total), where=length > 1e-9)
