"""Behind `labelling_instructions`: candidates of every class, the chosen pairs, and how well they do on held-out items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from labelwright.auditing.instructions.exemplars import (
    Queries,
    average_precision,
    candidate_examples,
    fused,
    greedy_pairs,
    standardised,
)
from labelwright.auditing.instructions.phrases import PhraseTable, class_phrases, phrase_vectors, spelled
from labelwright.auditing.neighbours import suggest
from labelwright.errors import DataError
from labelwright.features.folds import fold_ids
from labelwright.features.neighbours import Neighbours

Encoder = Callable[[list[str]], np.ndarray]


class Options(NamedTuple):
    """What `fit_classes` must know, see `labelling_instructions`."""

    pairs: int
    candidates: int
    weight: float
    min_gain: float


class Sample(NamedTuple):
    """The items that are looked at, in random order.

    row: (n,) in the data.   x: (n, D) less their mean, of length 1.   centre: (D,) that mean.
    labels: (n,) without -1.   near: their neighbours.
    shown: (n,) False for items that may not be shown.   backed: (n,) False where a model says another class.
    """

    row: np.ndarray
    x: np.ndarray
    centre: np.ndarray
    labels: np.ndarray
    near: Neighbours
    shown: np.ndarray
    backed: np.ndarray

    def unit(self, x: np.ndarray) -> np.ndarray:
        """Items of the data in the same form as `x`: what all of them share says nothing of a class."""
        return unit(x - self.centre)

    def agreeing(self, train: np.ndarray) -> np.ndarray:
        """(n,) bool: most of the item's neighbours among `train` carry its label, and the model does not object."""
        return (suggest(np.where(train, self.labels, -1), self.near) == self.labels) & self.backed


class Chosen(NamedTuple):
    """The pairs of one class.   example: (m,) of the sample.   phrase: m, None without one.   queries: their scores."""

    example: np.ndarray
    phrase: list[str | None]
    queries: Queries


class Phrases:
    """Candidate phrases of every class, as vectors in the space of the items.

    table: of the sampled texts, None without texts.   asked: per class, phrases to try (its name, the user's).
    mine: whether to take phrases from the texts too.   encoder: texts -> vectors; None: the mean of the items that
    contain a phrase.
    """

    def __init__(self, table: PhraseTable | None, asked: list[list[str]], mine: bool, encoder: Encoder | None):
        self.table, self.asked, self.mine, self.encoder = table, asked, mine, encoder
        self.column = {} if table is None else {p: i for i, p in enumerate(table.phrases)}
        self._known: dict[str, np.ndarray] = {}

    @property
    def kind(self) -> str:
        """How phrases are compared with items, in words."""
        return "mean of the items that contain them" if self.encoder is None else "embedded by text_vectors"

    def candidates(
        self, sample: Sample, train: np.ndarray, classes: Sequence[int], most: int
    ) -> list[tuple[list[str], np.ndarray]]:
        """For each of `classes`: its phrases, and their vectors (P, D); only items of `train` are looked at."""
        mined: list[list[str]] = [[] for _ in self.asked]
        if self.mine and self.table is not None:
            usable = np.where(train & sample.shown, sample.labels, -1)  # no phrase from a text that may not be shown
            marks = class_phrases(self.table, usable, len(self.asked), most=most)
            mined = [[self.table.phrases[i] for i in found] for found in marks]
        listed = [list(dict.fromkeys([*self.asked[c], *mined[c]]))[:most] for c in classes]
        if self.encoder is not None:
            return [(words, self._encoded(words, sample.x.shape[1])) for words in listed]
        return [self._means(words, sample, train) for words in listed]

    def _encoded(self, words: list[str], dim: int) -> np.ndarray:
        new = [w for w in words if w not in self._known]
        if new:
            self._known |= dict(zip(new, unit(check_encoded(self.encoder(new), len(new), dim))))  # type: ignore[misc]
        return np.array([self._known[w] for w in words], np.float32).reshape(-1, dim)

    def _means(self, words: list[str], sample: Sample, train: np.ndarray) -> tuple[list[str], np.ndarray]:
        columns = [self.column[s] for w in words if (s := spelled(w)) in self.column]
        if self.table is None or not columns:
            return [], np.zeros((0, sample.x.shape[1]), np.float32)
        seen = train & sample.shown
        vectors = phrase_vectors(PhraseTable([], self.table.contains[seen]), np.array(columns), sample.x[seen])
        met = np.flatnonzero(vectors.any(axis=1))
        return [self.table.phrases[columns[i]] for i in met], vectors[met]


def fit_classes(
    sample: Sample, train: np.ndarray, classes: Sequence[int], phrases: Phrases | None, options: Options
) -> list[Chosen | None]:
    """The chosen pairs of each class, from the items `train` (n,) bool alone; None for a class with nothing to show."""
    agreeing = sample.agreeing(train) & sample.shown
    x, labels = sample.x[train], sample.labels[train]
    place = np.cumsum(train) - 1  # of an item among those of `train`
    most = (options.candidates + 1) // 2
    told = [([], x[:0])] * len(classes) if phrases is None else phrases.candidates(sample, train, classes, most)
    out: list[Chosen | None] = []
    for c, (words, vectors) in zip(classes, told):
        own = np.flatnonzero(train & sample.shown & (sample.labels == c))
        own = own[agreeing[own]] if agreeing[own].any() else own
        if not len(own):
            out.append(None)
            continue
        candidate = own[candidate_examples(sample.x[own], options.candidates)]
        examples, texts = standardised(sample.x[candidate], x), standardised(vectors, x)
        pairs = greedy_pairs(
            examples.scores(x), texts.scores(x), labels == c, place[candidate],
            pairs=options.pairs, weight=options.weight, min_gain=options.min_gain,
        )  # fmt: skip
        e, p = np.array(pairs).T
        queries = Queries(examples.vectors[e], examples.offset[e])
        if len(words):
            queries = fused(queries, Queries(texts.vectors[p], texts.offset[p]), options.weight)
        out.append(Chosen(candidate[e], [words[i] if i >= 0 else None for i in p], queries))
    return out


def held_out(
    sample: Sample, classes: Sequence[int], phrases: Phrases | None, options: Options, n_folds: int, random_state: int
) -> np.ndarray:
    """(F, C) average precision on each fold's held-out items of pairs chosen without them; NaN where a fold has none."""
    fold = fold_ids(sample.labels, n_folds=n_folds, random_state=random_state)
    out = np.full((int(fold.max()) + 1, len(classes)), np.nan)
    for f in range(len(out)):
        held = fold == f
        for i, chosen in enumerate(fit_classes(sample, ~held, classes, phrases, options)):
            if chosen is not None:
                score = chosen.queries.best(sample.x[held])
                out[f, i] = average_precision(score[None], sample.labels[held] == classes[i])[0]
    return out


def boundary(score: np.ndarray, own: np.ndarray) -> float:
    """The score above which there are as many items as the class has, where precision equals recall; 0 without items."""
    n = int(own.sum())
    return float(np.partition(score, len(score) - n)[len(score) - n]) if n else 0.0


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of length 1, float32; rows of zeros stay."""
    x = np.asarray(x, np.float32)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, length, out=np.zeros_like(x), where=length > 0)


def check_encoded(vectors: object, n: int, dim: int) -> np.ndarray:
    """What an encoder gave for `n` phrases, as (n, dim) floats; `DataError` if it is nothing of the kind."""
    found = np.asarray(vectors, np.float32)
    if found.shape != (n, dim) or not np.isfinite(found).all():
        wrong = f"shape {found.shape}" if found.shape != (n, dim) else "NaN or infinite values"
        raise DataError(
            found=f"`text_vectors` that gives {wrong} for {n} phrases",
            expected=f"finite vectors ({n}, {dim}), of the same space as `vectors`",
            fix="embed items and phrases with the same joint encoder, or leave text_vectors out and pass texts",
        )
    return found
