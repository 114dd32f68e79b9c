"""The BIO scheme: which tag is what, which sequences are illegal, tags -> spans and back.

B-x begins an entity of type x, I-x continues one, O is outside (IOB2: every entity begins with B-). Names "B" and "I" alone
are entities of one type without a name.
Source: Ramshaw & Marcus 1995; Tjong Kim Sang & Veenstra 1999 (IOB2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from labelwright.errors import LabelError
from labelwright.labels import LabelSpace, Spans

OUTSIDE, BEGIN, INSIDE = 0, 1, 2


class Scheme(NamedTuple):
    """Every class of a BIO space: part (K,) OUTSIDE, BEGIN or INSIDE; type (K,) position in `types`, -1 for O;
    twin (K,) id of I-x for B-x and the other way round, -1 where there is none."""

    part: np.ndarray
    type: np.ndarray
    twin: np.ndarray
    types: tuple[str, ...]

    def legal(self) -> np.ndarray:
        """(K, K) bool [tag, next tag]: I-x follows B-x or I-x only."""
        continues = (self.part == INSIDE)[None, :]
        return ~continues | (self.type[:, None] == self.type[None, :])


def scheme_of(space: LabelSpace) -> Scheme | None:
    """The scheme of the names of a space; None unless every name is O, B, I, B-x or I-x, and one begins or continues.

    >>> scheme_of(LabelSpace(["O", "B-person", "I-person"])).types
    ('person',)
    >>> scheme_of(LabelSpace(["NOUN", "VERB"])) is None
    True
    """
    names = [str(name) for name in space.classes]
    heads = [name.partition("-")[0] for name in names]
    if not set(heads) <= {"O", "B", "I"} or not {"B", "I"} & set(heads) or any(n.startswith("O-") for n in names):
        return None
    types = tuple(sorted({n.partition("-")[2] for n, head in zip(names, heads, strict=True) if head != "O"}))
    part = np.array(["OBI".index(head) for head in heads])
    kind = np.array(
        [-1 if head == "O" else types.index(n.partition("-")[2]) for n, head in zip(names, heads, strict=True)]
    )
    place = {(int(p), int(t)): k for k, (p, t) in enumerate(zip(part, kind, strict=True))}
    twin = [place.get((BEGIN + INSIDE - int(p), int(t)), -1) if t >= 0 else -1 for p, t in zip(part, kind, strict=True)]
    return Scheme(part, kind, np.array(twin), types)


def first_of_sentence(lengths: np.ndarray) -> np.ndarray:
    """(sum T,) bool, True at the first token of every sentence that has one."""
    first = np.zeros(int(lengths.sum()), dtype=bool)
    first[(np.cumsum(lengths) - lengths)[lengths > 0]] = True
    return first


def illegal_tokens(tags: np.ndarray, lengths: np.ndarray, scheme: Scheme) -> np.ndarray:
    """(sum T,) bool: I-x that follows neither B-x nor I-x. After a token without a tag (-1) nothing is illegal."""
    first = first_of_sentence(lengths)
    before = np.where(first, -1, np.roll(tags, 1)) if len(tags) else tags
    continues = (tags >= 0) & (scheme.part[tags] == INSIDE)
    same = (before >= 0) & (scheme.type[before] == scheme.type[tags])
    return np.asarray(continues & ~same & (first | (before >= 0)))


def span_ids(tags: np.ndarray, lengths: np.ndarray, scheme: Scheme | None) -> np.ndarray:
    """(sum T,) number of the span each token is in, growing by one; a token outside all spans is one by itself."""
    if scheme is None:
        return np.arange(len(tags))
    continues = (tags >= 0) & (scheme.part[tags] == INSIDE) & ~illegal_tokens(tags, lengths, scheme)
    before = np.roll(tags, 1)
    continues &= (before >= 0) & ~first_of_sentence(lengths)
    return np.asarray(np.cumsum(~continues) - 1)


def entity_spans(tags: Sequence[Sequence[str | None]]) -> Spans:
    """The entities of N sentences of BIO tags as spans of tokens; I-x where no x can go on begins a span, None is outside.

    Returns:
        Spans: item = sentence, [start, stop) = tokens, label = type; its space holds the types, sorted.

    Raises:
        LabelError: a tag that is not O, B-x or I-x; no entity at all (so no space of types).

    >>> spans = entity_spans([["O", "B-person", "I-person"], [], ["B-place"]])
    >>> spans.item.tolist(), spans.start.tolist(), spans.stop.tolist(), spans.hard().values().tolist()
    ([0, 2], [1, 0], [3, 1], ['person', 'place'])
    """
    flat = [tag if tag is not None else "O" for sentence in tags for tag in sentence]
    names = sorted(set(flat))
    scheme = scheme_of(LabelSpace([*names, "O"] if "O" not in names else names))
    if scheme is None:
        raise LabelError(
            found=f"the tags {', '.join(map(repr, names[:6]))}",
            expected="BIO tags with an entity among them: O, B-x and I-x",
            fix="write tags as 'B-person', 'I-person' and 'O'",
        )
    lengths = np.array([len(sentence) for sentence in tags], dtype=np.int64)
    ids = np.array([names.index(tag) for tag in flat])
    number = span_ids(ids, lengths, scheme)
    start, size = np.unique(number, return_index=True, return_counts=True)[1:]
    entity = scheme.part[ids[start]] != OUTSIDE
    start, size = start[entity], size[entity]
    sentence = np.repeat(np.arange(len(lengths)), lengths)[start]
    at = start - (np.cumsum(lengths) - lengths)[sentence]
    return Spans.from_columns(sentence, at, at + size, scheme.type[ids[start]], LabelSpace(scheme.types))


def span_tags(spans: Spans, lengths: Sequence[int]) -> list[list[str]]:
    """BIO tags of N sentences of the given lengths: `entity_spans` undone.

    Raises:
        LabelError: spans that overlap or run out of their sentence, or without a class.

    >>> span_tags(entity_spans([["O", "B-person", "I-person"]]), [3])
    [['O', 'B-person', 'I-person']]
    """
    tags = [["O"] * n for n in lengths]
    for item, start, stop, label in zip(spans.item, spans.start, spans.stop, spans.label, strict=True):
        free = item < len(tags) and stop <= len(tags[item]) and set(tags[item][start:stop]) == {"O"}
        if not free or label < 0:
            raise LabelError(
                found=f"span [{start}, {stop}) of sentence {item} that overlaps another, ends too late or has no class",
                expected="spans with a class that share no token and end within their sentence",
                fix="drop or mend it: one tag per token cannot tell nested entities",
            )
        name = str(spans.space.classes[label])
        tail = f"-{name}" if name else ""
        tags[item][start:stop] = [f"B{tail}", *[f"I{tail}"] * (stop - start - 1)]
    return tags
