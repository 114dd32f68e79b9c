"""Labels of parts of items in a table: token tags, boxes, masks, relations."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from labelwright.advising._columns import Free
from labelwright.advising._words import LABEL, MASK, TRUE, plain
from labelwright.advising.evidence import Survey, codes

_CORNERS = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
    ("x", "y", "width", "height"),
    ("x", "y", "w", "h"),
)
_TAGS = {"tags", "ner_tags", "pos_tags", "labels", "bio", "tag", "ner", "pos", "entities"}


def parts(free: Free, survey: Survey) -> None:
    """Take every column that belongs to labelled parts."""
    boxes(free, survey)
    token_lists(free, survey)
    token_rows(free, survey)
    relations(free, survey)
    masks(free, survey)


def boxes(free: Free, survey: Survey) -> None:
    lower = {plain(n): n for n in free.names if free.is_number(n)}
    names = next(([lower[c] for c in corners] for corners in _CORNERS if all(c in lower for c in corners)), None)
    if names is None:
        return
    corners = np.column_stack([free.array(n) for n in names])
    if plain(names[2]) in ("width", "w"):
        corners[:, 2:] += corners[:, :2]
    label = next((n for n in free.names if plain(n) in LABEL), None)
    image = next((n for n in free.called(("image", "image", "img", "file", "filename", "picture", "path"))), None)
    ids, classes = codes(free.array(label)) if label else (np.zeros(len(corners), dtype=np.int64), ("object",))
    item = codes(free.array(image))[0] if image else np.arange(len(corners))
    n = int(item.max()) + 1
    how = f"columns {', '.join(names)} are corners of {len(corners):,} boxes in {n:,} images"
    survey.add("boxes", label or names[0], how, n, (item, corners, ids), classes=classes)
    free.take([*names, *([label] if label else []), *([image] if image else [])])


def token_lists(free: Free, survey: Survey) -> None:
    """A list of words and a list of tags of the same lengths."""
    lists = [n for n in free.names if free.inner_is_text(n) or (free.is_list(n) and plain(n) in _TAGS)]
    tags = [n for n in lists if plain(n) in _TAGS]
    for tag in tags:
        words = [
            n for n in lists if n not in tags and free.inner_is_text(n) and plain(n) in ("tokens", "words", "token")
        ]
        same = next((w for w in words if np.array_equal(free.lengths(w), free.lengths(tag))), None)
        if same is None:
            continue
        ids, classes = codes(free.flat(tag))
        how = f"the lists in {tag!r} are as long as those in {same!r}: one tag per token"
        detail = {"lengths": free.lengths(tag), "words": free.flat(same)}
        survey.add("spans", tag, how, free.table.num_rows, ids, classes=classes, detail=detail)
        free.take([tag, same])


def token_rows(free: Free, survey: Survey) -> None:
    """One token per row: a word, a sentence number that rises, and a tag."""
    word = next((n for n in free.names if plain(n) in ("token", "word") and free.is_text(n)), None)
    sentence = next(
        (n for n in free.names if plain(n).removesuffix("_id") in ("sentence", "sent", "doc", "document")), None
    )
    tag = next((n for n in free.names if plain(n) in LABEL | TRUE | {"pos", "ner"} and free.is_text(n)), None)
    if word is None or sentence is None or tag is None or free.distinct(sentence) * 2 > free.table.num_rows:
        return
    ids, classes = codes(free.array(tag))
    number = codes(free.array(sentence))[0]
    how = f"one token per row: {word!r}, its sentence {sentence!r} and its tag {tag!r}"
    detail = {"lengths": np.bincount(number), "words": list(free.array(word))}
    survey.add("spans", tag, how, int(number.max()) + 1, ids, classes=classes, detail=detail)
    free.take([word, sentence, tag])


def relations(free: Free, survey: Survey) -> None:
    """Parallel lists head, tail, relation: labels of pairs of entities, of which only the present ones are listed."""
    lower = {plain(n): n for n in free.names if free.is_list(n)}
    for names in (("h", "t", "r"), ("head", "tail", "relation"), ("subject", "object", "predicate")):
        if not all(n in lower for n in names):
            continue
        head, tail, name = (lower[n] for n in names)
        if not (
            np.array_equal(free.lengths(head), free.lengths(tail))
            and np.array_equal(free.lengths(head), free.lengths(name))
        ):
            continue
        document = np.repeat(np.arange(free.table.num_rows), free.lengths(head))
        keys = list(zip(document.tolist(), free.flat(head), free.flat(tail)))
        numbers: dict[Any, int] = {}
        pair = np.array([numbers.setdefault(key, len(numbers)) for key in keys])
        ids, classes = codes(free.flat(name))
        how = f"lists {head!r}, {tail!r}, {name!r} run in parallel: relations of {len(numbers):,} pairs of entities"
        detail = {"only positives": "pairs without a relation are not listed, so a missing relation looks like none"}
        survey.add("multi-labels", name, how, len(numbers), _sets(pair, ids, len(numbers), len(classes)), classes=classes,
                   detail=detail)  # fmt: skip
        free.take([head, tail, name])


def _sets(row: np.ndarray, column: np.ndarray, n: int, k: int) -> Any:
    from scipy.sparse import csr_array

    table = csr_array((np.ones(len(row), dtype=np.int8), (row, column)), shape=(n, k))
    table.sum_duplicates()
    table.data[:] = 1
    return table


def masks(free: Free, survey: Survey) -> None:
    names = [n for n in free.names if MASK.search(plain(n)) and free.is_picture(n)]
    for name in names:
        n = free.table.num_rows
        column = free.table[name]
        survey.add("masks", name, f"column {name!r} holds pictures and is named like masks", n, column)
        free.take([name])


def opened(cell: Any) -> Any:
    """A cell with a picture as an open file."""
    value = cell.as_py() if hasattr(cell, "as_py") else cell
    return io.BytesIO(value["bytes"] if isinstance(value, dict) else value)
