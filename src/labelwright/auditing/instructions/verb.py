"""The labelling instructions that a labelled data set never came with: per class a few examples and phrases, and how well
they define it.

Source: "Thinking Like an Annotator: Generation of Dataset Labeling Instructions", arXiv 2306.14035, as reconstructed by
its card; the choice of pairs is in `exemplars`, the words are in `phrases`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.auditing._report_items import Look, short
from labelwright.auditing.instructions.exemplars import check_weight
from labelwright.auditing.instructions.inputs import check_mask, draw_sample, phrase_source, pick_classes
from labelwright.auditing.instructions.sets import Chosen, Options, Sample, boundary, fit_classes, held_out
from labelwright.auditing.neighbours import ANY
from labelwright.errors import DataError, check_whole
from labelwright.features.neighbours import Neighbours
from labelwright.features.threads import one_blas_thread
from labelwright.features.vectors import check_features
from labelwright.labels.check import check_class_ids, check_pred_probs

if TYPE_CHECKING:
    from jinja2 import Template

    from labelwright.labels.space import LabelSpace

SHOWN = 4  # most borderline items of a class (half on either side of its boundary), and most confusers
DEFINED = 0.5  # of the way from chance to a perfect average precision; below, examples do not define a class well
LOWEST = 0.1  # suspects are among this share of their class
_BLOCK = 8192
_OPEN, _POOR = 12, 12  # classes of a page that stand open, and names of poorly defined ones


@dataclass(frozen=True)
class ClassInstruction:
    """What belongs in one class, and how well that defines it.

    class_id, name: of the class.   n: items labelled so.
    pairs: (row of an example, phrase beside it or None), the one that tells most first.
    borderline: rows of items of the class that lie nearest to its boundary.
    confusers: (row, class name) of items of other classes that look most like this one.
    ap, ap_sd: average precision on held-out items, mean and deviation over folds, NaN = too few items.
    chance: the average precision of a random order, the share of the class in the sample.
    """

    class_id: int
    name: Any
    n: int
    pairs: tuple[tuple[int, str | None], ...]
    borderline: tuple[int, ...]
    confusers: tuple[tuple[int, Any], ...]
    ap: float
    ap_sd: float
    chance: float

    @property
    def well_defined(self) -> bool | None:
        """Whether the average precision is at least half way from chance to 1; None where it is not known."""
        return None if np.isnan(self.ap) else bool(self.ap - self.chance >= DEFINED * (1 - self.chance))

    @property
    def phrases(self) -> list[str]:
        """The phrases of the pairs, each once."""
        return list(dict.fromkeys(phrase for _, phrase in self.pairs if phrase))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "class": self.name,
            "n": self.n,
            "average_precision": _plain(self.ap),
            "average_precision_sd": _plain(self.ap_sd),
            "chance": _plain(self.chance),
            "well_defined": self.well_defined,
            "pairs": [{"row": row, "phrase": phrase} for row, phrase in self.pairs],
            "borderline": list(self.borderline),
            "do_not_confuse_with": [{"row": row, "class": name} for row, name in self.confusers],
        }


@dataclass(frozen=True, eq=False)
class Instructions:
    """What `labelling_instructions` finds.

    classes: by class id; classes that were left out are named in `notes`.
    suspects: rows that their own class's instructions rank low and another's high, the worst first.
    quality: (N,) float32, how much better an item fits its own class's instructions than any other's, relative to the
        boundaries of the classes; low is suspicious, NaN = no label, or its class was left out.
    notes: what was left out, and why.   settings: every option.
    """

    classes: tuple[ClassInstruction, ...]
    suspects: tuple[int, ...]
    quality: np.ndarray
    notes: tuple[str, ...]
    settings: dict[str, Any]

    @property
    def mean_ap(self) -> float:
        """Mean over the classes whose average precision is known, NaN if none is."""
        known = [c.ap for c in self.classes if not np.isnan(c.ap)]
        return float(np.mean(known)) if known else float("nan")

    @property
    def not_well_defined(self) -> list[Any]:
        """Names of the classes that examples do not define well, the worst first: their definition is ambiguous, or the
        vectors do not see what they are about."""
        poor = [c for c in self.classes if c.well_defined is False]
        return [c.name for c in sorted(poor, key=lambda c: c.ap)]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: rows and names, nothing of the items themselves but the phrases."""
        return {
            "mean_average_precision": _plain(self.mean_ap),
            "not_well_defined": self.not_well_defined,
            "classes": [c.to_dict() for c in self.classes],
            "suspects": list(self.suspects),
            "notes": list(self.notes),
            "settings": dict(self.settings),
        }


def labelling_instructions(
    labels: np.ndarray,
    vectors: np.ndarray,
    *,
    text_vectors: Callable[[list[str]], np.ndarray] | None = None,
    texts: Sequence[str | None] | None = None,
    phrases: Mapping[Any, Sequence[str]] | Sequence[Sequence[str]] | None = None,
    space: LabelSpace | None = None,
    pred_probs: np.ndarray | None = None,
    neighbours: Neighbours | None = None,
    pairs: int = 4,
    candidates: int = 100,
    weight: float = 0.5,
    min_gain: float = 0.002,
    n_folds: int = 5,
    sample: int = 5000,
    max_classes: int = 50,
    exclude: np.ndarray | None = None,
    random_state: int = 0,
) -> Instructions:
    """Examples and phrases that define each class, borderline items, items of other classes to watch, and their quality.

    For every class up to `pairs` (example, phrase) pairs are chosen, one after the other, such that a ranking of the
    items by likeness to the nearest pair has the largest average precision. How well that does is measured on items that
    had no part in it (`n_folds` folds).

    Args:
        labels: (N,) class ids, -1 = missing.
        vectors: (N, D) features; the cosine of two items, less the mean of all, says how alike they are.
        text_vectors: embeds phrases into the same space, list of M strings -> (M, D) (a joint encoder such as CLIP, or
            the sentence encoder of the items). Without one a phrase is the mean of the items whose text contains it.
        texts: N strings or None; phrases are taken from them. Without texts and `text_vectors`: examples only.
        phrases: per class (by name, or one list per class), phrases to use instead of those in the texts. The class
            name is always tried.
        space: class names; None: the ids are the names.
        pred_probs: (N, K) out of sample; an item for which they say another class is no example.
        neighbours: of all items; used where all have labels and no sample has to be drawn, else made anew.
        pairs: most per class.   candidates: examples tried per class, and half as many phrases.
        weight: of the example against the phrase, in [0, 1].   min_gain: of average precision that a further pair needs.
        sample: most items looked at: half dealt evenly over the classes, half as they come. Only these are shown.
        max_classes: most classes described: those with most doubtful labels where `pred_probs` or `neighbours` tell,
            else the largest.
        exclude: (N,) bool, items that are never shown, nor read for phrases (private, or flagged).

    Returns:
        Instructions.

    Raises:
        LabelError: no class with two items, labels that do not fit. DataError: NaN, vectors or phrases that do not fit,
        an empty list of phrases. OptionError: an impossible option.

    Source: arXiv 2306.14035; the sampling, the boundary and the suspects are ours.

    >>> x = np.random.default_rng(0).normal(size=(40, 2)) + np.repeat([[9, 0], [0, 9]], 20, axis=0)
    >>> [round(c.ap, 2) for c in labelling_instructions(np.repeat([0, 1], 20), x).classes]
    [1.0, 1.0]
    """
    for option, value, least in (("candidates", candidates, 1), ("sample", sample, 2), ("max_classes", max_classes, 1)):
        check_whole(option, value, least)
    check_whole("pairs", pairs, 1)
    check_weight(weight)
    x = check_features(vectors, name="vectors")
    if not isinstance(x, np.ndarray):
        raise DataError(found="sparse vectors", expected="dense ones", fix="pass item_vectors(items).search")
    names = list(space.classes) if space is not None else None
    labels = check_class_ids(labels, ANY if names is None else len(names), n_items=len(x))
    names = names if names is not None else list(range(int(labels.max(initial=-1)) + 1))
    if pred_probs is not None:
        pred_probs = check_pred_probs(pred_probs, n_items=len(x), n_classes=len(names))
    hidden = check_mask(exclude, len(x))
    notes: list[str] = []
    classes = pick_classes(labels, names, hidden, pred_probs, neighbours, max_classes, notes)
    with one_blas_thread():
        looked = draw_sample(x, labels, classes, hidden, pred_probs, neighbours, sample, random_state, notes)
        source = phrase_source(looked, names, texts, phrases, text_vectors, classes, len(x), notes)
        options = Options(pairs, candidates, weight, min_gain)
        ap = held_out(looked, classes, source, options, n_folds, random_state)
        every = np.ones(len(looked.row), bool)
        chosen = fit_classes(looked, every, classes, source, options)
        told, edges = _describe(looked, labels, names, classes, chosen, ap)  # type: ignore[arg-type]
        quality, suspects = _audit(x, labels, looked, classes, chosen, edges)  # type: ignore[arg-type]
    settings = {
        "items": len(x), "sample": len(looked.row), "phrases": "none" if source is None else source.kind,
        "pairs": pairs, "candidates": candidates, "weight": weight, "min_gain": min_gain, "n_folds": n_folds,
        "max_classes": max_classes, "random_state": random_state,
    }  # fmt: skip
    return Instructions(told, suspects, quality, tuple(notes), settings)


# ------------------------------------------------------------------------------------------------------- what to tell
def _describe(
    looked: Sample,
    labels: np.ndarray,
    names: list[Any],
    classes: list[int],
    chosen: list[Chosen],
    ap: np.ndarray,
) -> tuple[tuple[ClassInstruction, ...], np.ndarray]:
    """The instructions, and the boundary of every class."""
    agreeing = looked.agreeing(np.ones(len(looked.row), bool)) & looked.shown
    told, edges = [], np.zeros(len(classes))
    for i, (c, found) in enumerate(zip(classes, chosen)):
        score, own = found.queries.best(looked.x), looked.labels == c
        others = np.ones(len(score), bool)
        others[found.example] = False  # an example ranks itself first
        edges[i] = edge = boundary(score[others], own[others])
        mine, foreign = np.flatnonzero(own & others & agreeing), np.flatnonzero(~own & agreeing & (score >= edge))
        mine = mine[np.argsort(score[mine], kind="stable")]
        inside = int(np.searchsorted(score[mine], edge))
        near_edge = mine[max(0, inside - SHOWN // 2) : inside + SHOWN // 2]
        hard = foreign[np.argsort(-score[foreign], kind="stable")[:SHOWN]]
        measured = ap[~np.isnan(ap[:, i]), i]
        told.append(
            ClassInstruction(
                class_id=c,
                name=names[c],
                n=int((labels == c).sum()),
                pairs=tuple((int(looked.row[e]), phrase) for e, phrase in zip(found.example, found.phrase)),
                borderline=tuple(looked.row[near_edge].tolist()),
                confusers=tuple((int(looked.row[j]), names[looked.labels[j]]) for j in hard),
                ap=float(measured.mean()) if len(measured) else float("nan"),
                ap_sd=float(measured.std(ddof=1)) if len(measured) > 1 else float("nan"),
                chance=float(own.mean()),
            )
        )
    return tuple(told), edges


def _audit(
    x: np.ndarray, labels: np.ndarray, looked: Sample, classes: list[int], chosen: list[Chosen], edges: np.ndarray
) -> tuple[np.ndarray, tuple[int, ...]]:
    """How much better every item fits its own class than the best other one, and those that do not."""
    place = np.full(int(max(labels.max(), max(classes))) + 1, -1)
    place[classes] = np.arange(len(classes))
    mine = np.where(labels >= 0, place[labels], -1)
    own, other = np.full(len(x), np.nan, np.float32), np.full(len(x), np.nan, np.float32)
    itself = {int(looked.row[e]): (found, j) for found in chosen for j, e in enumerate(found.example)}
    for start in range(0, len(x), _BLOCK):
        z = looked.unit(x[start : start + _BLOCK])
        score = np.stack([found.queries.best(z) - edge for found, edge in zip(chosen, edges)], axis=1)
        judged = np.flatnonzero(mine[start : start + _BLOCK] >= 0)
        column = mine[start + judged]
        own[start + judged] = score[judged, column]
        score[judged, column] = -np.inf
        other[start + judged] = score[judged].max(axis=1) if len(classes) > 1 else 0.0
    for row, (found, j) in itself.items():  # an example must not vouch for itself
        rest = np.delete(found.queries.scores(looked.unit(x[[row]]))[:, 0], j)
        own[row] = rest.max() - edges[mine[row]] if len(rest) else 0.0
    low = np.full(len(classes), -np.inf)
    for i in range(len(classes)):
        low[i] = np.quantile(own[mine == i], LOWEST)
    quality = own - other
    doubtful = np.flatnonzero((mine >= 0) & (own <= low[mine]) & (own < 0) & (other >= 0) & (len(classes) > 1))
    return quality, tuple(doubtful[np.argsort(quality[doubtful], kind="stable")].tolist())


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


# ------------------------------------------------------------------------------------------------------- how to tell
def instructions_html(
    instructions: Instructions, look: Callable[[int], Look | None], name: Callable[[Any], tuple[str, str | None]]
) -> str:
    """The instructions as a section of the report: one article per class, in the classes' order.

    Args:
        instructions: what to tell.
        look: row -> what the item looks like, None to name its row only (`Budget.look` of a page).
        name: class name -> (printed, in full where that is longer) (`Page.name`).

    Returns:
        HTML without script or style, `id="instructions"`; it uses the style of report.html.j2, and everything that comes
        from the data is escaped.
    """
    poor = instructions.not_well_defined
    return _template().render(
        classes=[_view(c, look, name) for c in instructions.classes],
        told=any(c.phrases for c in instructions.classes),
        poor=[name(n) for n in poor[:_POOR]],
        more_poor=max(0, len(poor) - _POOR),
        n_suspects=len(instructions.suspects),
        notes=[short(note, 500) for note in instructions.notes],
        open=_OPEN,
    )


def _view(
    c: ClassInstruction, look: Callable[[int], Look | None], name: Callable[[Any], tuple[str, str | None]]
) -> dict[str, Any]:
    def entry(row: int, phrase: str | None = None, of: Any = None) -> dict[str, Any]:
        told = None if phrase is None else short(phrase, 60)
        return {"row": row, "look": look(row), "phrase": told, "name": None if of is None else name(of)}

    return {
        "name": name(c.name), "n": c.n, "well_defined": c.well_defined, "ap": _plain(c.ap), "sd": _plain(c.ap_sd),
        "chance": c.chance, "phrases": [short(p, 60) for p in c.phrases],
        "pairs": [entry(row, phrase) for row, phrase in c.pairs],
        "borderline": [entry(row) for row in c.borderline],
        "confusers": [entry(row, of=other) for row, other in c.confusers],
    }  # fmt: skip


@lru_cache(maxsize=1)
def _template() -> Template:
    from jinja2 import DictLoader, Environment, StrictUndefined

    from labelwright.auditing.report import chance, counted

    source = resources.files("labelwright.auditing.instructions").joinpath("instructions.html.j2").read_text("utf-8")
    environment = Environment(
        loader=DictLoader({"page": source}), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"chance": chance, "counted": counted}
    return environment.get_template("page")
