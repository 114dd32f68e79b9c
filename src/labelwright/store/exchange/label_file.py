"""`LabelFile`: what was read from a file of labels, as events or as the typed containers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.errors import DataError, LabelError
from labelwright.labels import Boxes, HardLabels, LabelSpace, Masks, MultiLabels, SoftLabels, Spans, Votes
from labelwright.store.exchange._items import Content
from labelwright.store.exchange._parts import Box, Mask, Polygon, Span
from labelwright.store.exchange._said import (
    Said,
    checked_said,
    events_table,
    is_answer,
    is_soft,
    names,
    several_sources,
)

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, eq=False)
class LabelFile:
    """Labels from a file of another tool, or one that `export_labels` wrote.

    format: its name.   space: the classes, None where there is no label.   content: what the file tells of each item.
    source: who speaks where the file does not tell.   said: the labels one by one, in the order of the file.
    """

    format: str
    said: list[Said]
    space: LabelSpace | None
    content: Content
    source: str

    @classmethod
    def of(cls, format: str, said: list[Said], space: LabelSpace | None, content: Content, source: str) -> LabelFile:
        """Checked; labels of items with several annotators become votes."""
        content.add_items(s.item for s in said)
        return cls(format, checked_said(list(several_sources(said)), source), space, content, source)

    @property
    def items(self) -> list[str]:
        """Keys of the items, in the order of the file; also those without a label."""
        return list(self.content)

    def __len__(self) -> int:
        return len(self.said)

    def __repr__(self) -> str:
        return f"LabelFile({self.format}, {len(self.items)} items, {len(self.said)} labels)"

    @cached_property
    def _position(self) -> dict[str, int]:
        return {item: i for i, item in enumerate(self.content)}

    def events(self) -> pa.Table:
        """For `Repository.append`: item, source, kind, value (JSON text), probability, time, event_id.

        The item of a part is a key such as "a.jpg#xywh=10,20,30,40" or "text-7#char=0,5". An id is the one that the file
        carries, else made of what the event says.
        """
        return events_table(self.said, self.source)

    # -- whole items ---------------------------------------------------------------------------------------------
    def _last(self) -> list[Any]:
        """One value per item: the last one said that is a label; None without one."""
        out: list[Any] = [None] * len(self._position)
        for s in self.said:
            if s.part is None and s.kind in ("given", "import", "review") and not is_answer(s.value):
                out[self._position[s.item]] = s.value
        return out

    def hard(self) -> HardLabels:
        """The class of each of `items`; of a distribution, its likeliest. Suggestions and votes do not count.

        Raises:
            LabelError: an item with a set of classes.
        """
        values = self._last()
        for item, value in zip(self.items, values):
            if isinstance(value, list):
                raise LabelError(
                    found=f"a set of classes for item {item!r}", expected="one class per item", fix="use multi()"
                )
        return HardLabels.from_values([_named(v, self._space) for v in values], self._space)

    def multi(self) -> MultiLabels:
        """The set of classes of each of `items`; None where nothing is known."""
        values = self._last()
        sets = [None if v is None else v if isinstance(v, list) else [_named(v, self._space)] for v in values]
        return MultiLabels.from_sets(sets, LabelSpace(self._space.classes, structure="multi"))

    def soft(self) -> SoftLabels:
        """The distribution of each of `items`, scaled to sum to 1: the last one said, suggestions included.

        Raises:
            LabelError: a set of classes, or probabilities that sum to 0.
        """
        dense = np.zeros((len(self._position), len(self._space)))
        for s in self.said:
            if s.part is not None or s.value is None or is_answer(s.value):
                continue
            row = dense[self._position[s.item]]
            row[:] = 0
            weights = s.value if is_soft(s.value) else {_one(s): 1.0}
            for name, p in weights.items():
                row[self._space.id_of(_named(name, self._space))] = p
            if row.sum() <= 0:
                raise LabelError(
                    found=f"the distribution {s.value!r:.80} of {s.item!r}", expected="a sum above 0", fix="mend it"
                )
        total = dense.sum(1, keepdims=True)
        known = total[:, 0] > 0
        dense = np.where(total > 0, dense / np.where(total > 0, total, 1), 1 / dense.shape[1])
        return SoftLabels.from_dense(dense, self._space, known=known)

    def votes(self) -> Votes:
        """Everything that was said of whole items as one class, by whom and when."""
        said = [s for s in self.said if s.part is None and isinstance(s.value, str | int)]
        time = np.array([s.time.timestamp() if s.time else np.nan for s in said])
        who = [s.source or self.source for s in said]
        label = [_named(s.value, self._space) for s in said]
        return Votes.from_columns([s.item for s in said], who, label, self._space, time=time)

    # -- parts ---------------------------------------------------------------------------------------------------
    def spans(self) -> Spans:
        """Stretches of text; `item` is the position in `items`, and that of all parts."""
        item, parts, label, _ = self._parts(Span)
        return Spans.from_columns(item, [p.start for p in parts], [p.stop for p in parts], label, self._space)

    def boxes(self) -> Boxes:
        """Boxes; the score is the probability of a suggestion, else 1."""
        item, parts, label, score = self._parts(Box)
        corners = [[p.x, p.y, p.x + p.width, p.y + p.height] for p in parts]
        return Boxes.from_columns(item, np.array(corners).reshape(-1, 4), label, self._space, score=score)

    def masks(self) -> Masks:
        """Masks, and polygons drawn as masks (Pillow's rule: pixels that the outline touches belong to it).

        Raises:
            DataError: a polygon in an image whose width and height the file does not tell.
        """
        item, parts, label, _ = self._parts(Mask, Polygon)
        pixels = [p if isinstance(p, Mask) else self._drawn(p, self.items[i]) for i, p in zip(item, parts)]
        offset = np.r_[0, np.cumsum([len(p.runs) for p in pixels])].astype(np.int64)
        runs = np.concatenate([np.empty(0, np.int64), *(np.array(p.runs, np.int64) for p in pixels)])
        size = np.array([[p.height, p.width] for p in pixels], np.int64).reshape(-1, 2)
        return Masks(item, label, size, offset, runs, self._space)

    def _parts(self, *kinds: type) -> tuple[np.ndarray, list[Any], np.ndarray, list[float]]:
        said = [s for s in self.said if isinstance(s.part, kinds) and s.value is not None and not is_answer(s.value)]
        label = self._space.encode([_named(_one(s), self._space) for s in said])
        item = np.array([self._position[s.item] for s in said], dtype=np.int64)
        return item, [s.part for s in said], label, [1.0 if s.probability is None else s.probability for s in said]

    def _drawn(self, polygon: Polygon, item: str) -> Mask:
        from PIL import Image, ImageDraw

        size = self.content.size(item)
        if size is None:
            raise DataError(
                found=f"a polygon in {item!r}, of which the file does not tell width and height",
                expected="the size of the image",
                fix="pass content= with the columns item, width and height",
            )
        image = Image.new("1", (int(size[0]), int(size[1])))
        for ring in polygon.rings:
            ImageDraw.Draw(image).polygon(ring, fill=1)
        drawn = Masks.from_arrays([0], [np.array(image)], [0], self._space)
        return Mask(int(size[1]), int(size[0]), tuple(drawn.runs.tolist()))

    @property
    def _space(self) -> LabelSpace:
        if self.space is None:
            raise LabelError(found="a file without a single class", expected="labels", fix="export it with its labels")
        return self.space


def said_from(labels: Any, items: list[str]) -> list[Said]:
    """A typed container as labels of `items`.

    Raises:
        LabelError: another number of items, or multi-labels that are known in part.
    """
    if isinstance(labels, Votes):
        return _said_votes(labels)
    if isinstance(labels, HardLabels):
        return [Said(i, v) for i, v in zip(_all(items, labels), labels.values().tolist())]
    if isinstance(labels, SoftLabels):
        return _said_soft(labels, _all(items, labels))
    if isinstance(labels, MultiLabels):
        dense = labels.dense()
        partly = np.flatnonzero(np.any(dense < 0, axis=1) & np.any(dense >= 0, axis=1))
        if len(partly):
            raise LabelError(
                found=f"{len(partly)} items of which some classes are unknown (first is {partly[0]})",
                expected="sets that are complete, or wholly unknown",
                fix="export votes per class, or fill the gaps first",
            )
        unknown: list[bool] = np.any(dense < 0, axis=1).tolist()
        return [Said(i, None if u else s) for i, s, u in zip(_all(items, labels), labels.sets(), unknown)]
    if len(labels) and int(labels.item.max()) >= len(items):
        raise LabelError(
            found=f"parts of item {int(labels.item.max())} for {len(items)} items", expected="items=", fix="pass all"
        )
    classes = labels.space.decode(labels.label).tolist()
    parts, scores = _parts_of(labels)
    return [
        Said(items[i], c, p, "import" if s is None else "suggestion", probability=s)
        for i, c, p, s in zip(labels.item.tolist(), classes, parts, scores)
    ]


def _parts_of(labels: Any) -> tuple[list[Any], list[float | None]]:
    none: list[float | None] = [None] * len(labels)
    if isinstance(labels, Spans):
        return [Span(a, b) for a, b in zip(labels.start.tolist(), labels.stop.tolist())], none
    if isinstance(labels, Boxes):
        corners = labels.corners.astype(np.float64).tolist()
        parts = [Box(x1, y1, x2 - x1, y2 - y1) for x1, y1, x2, y2 in corners]
        return parts, [None if s == 1 else s for s in labels.score.tolist()]
    edges, runs = labels.offset.tolist(), labels.runs.tolist()
    size = labels.size.tolist()
    return [Mask(size[p][0], size[p][1], tuple(runs[edges[p] : edges[p + 1]])) for p in range(len(labels))], none


def _said_soft(labels: SoftLabels, items: list[str]) -> list[Said]:
    classes = [str(c) for c in labels.space.classes]
    pieces = (labels[i : i + 4096].dense().astype(np.float64) for i in range(0, len(labels), 4096))
    rows = (row for piece in pieces for row in piece)
    out = []
    for item, row, known in zip(items, rows, labels.known.tolist()):
        value = {classes[j]: min(float(row[j]), 1.0) for j in np.flatnonzero(row)} if known else None
        out.append(Said(item, value))
    return out


def _said_votes(votes: Votes) -> list[Said]:
    from datetime import UTC, datetime

    items, who = votes.items[votes.item].tolist(), votes.annotators[votes.annotator].tolist()
    classes = votes.space.decode(votes.label).tolist()
    time = [np.nan] * len(votes) if votes.time is None else votes.time.tolist()
    chance = [np.nan] * len(votes) if votes.probability is None else votes.probability.tolist()
    return [
        Said(
            str(item), value, None, "vote", str(name), None if p != p else p,
            None if t != t else datetime.fromtimestamp(t, UTC),
        )
        for item, value, name, t, p in zip(items, classes, who, time, chance)
        if value is not None
    ]  # fmt: skip


def _all(items: list[str], labels: Any) -> list[str]:
    if len(items) != len(labels):
        raise LabelError(
            found=f"{len(items)} items for {len(labels)} labels", expected="items=, one key per label", fix="pass it"
        )
    return items


def _one(said: Said) -> Any:
    """The one class of a value."""
    if isinstance(said.value, list) and len(said.value) != 1:
        raise LabelError(
            found=f"{len(said.value)} classes for {said.key[:80]!r}",
            expected="one class",
            fix="use events() or multi()",
        )
    return said.value if isinstance(said.value, str | int) else names(said.value)[0]


def _named(value: Any, space: LabelSpace) -> Any:
    """A class as the space spells it: a number or a text."""
    if value is None:
        return None
    value = names(value)[0] if isinstance(value, dict) else value
    return int(value) if isinstance(space.classes[0], int) else str(value)
