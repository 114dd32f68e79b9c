"""Labels of parts of an item: stretches of text, boxes and masks in images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from labelwright.errors import LabelError
from labelwright.labels._evidence import Evidence
from labelwright.labels.check import check_class_ids
from labelwright.labels.hard import HardLabels
from labelwright.labels.space import LabelSpace


class Parts(Protocol):
    """What every container of labelled parts offers: P parts, each of one item, each with one class."""

    item: np.ndarray  # (P,) int64, position of the item
    label: np.ndarray  # (P,) int64, class id, -1 unknown
    space: LabelSpace

    def __len__(self) -> int: ...
    def hard(self) -> HardLabels: ...
    def loglik(self, space: LabelSpace | None = None) -> np.ndarray: ...


class _Parts(Evidence):
    """Each part is evidence about its own latent class."""

    label: np.ndarray

    def hard(self) -> HardLabels:
        """The classes of the parts, (P,)."""
        return HardLabels(self.label, self.space)

    def loglik(self, space: LabelSpace | None = None) -> np.ndarray:
        """(P, K): as HardLabels.loglik, one row per part."""
        return self.hard().loglik(space)


@dataclass(frozen=True, eq=False)
class Spans(_Parts):
    """Stretches [start, stop) of tokens or characters. item, start, stop, label: (P,) int64."""

    item: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    label: np.ndarray
    space: LabelSpace
    rows: ClassVar[tuple[str, ...]] = ("item", "start", "stop", "label")

    @classmethod
    def from_columns(cls, item: Any, start: Any, stop: Any, label: Any, space: LabelSpace) -> Spans:
        """From equally long integer columns; `label` as class ids.

        Raises:
            LabelError: an empty or negative span.
        """
        a, b = np.asarray(start, dtype=np.int64), np.asarray(stop, dtype=np.int64)
        _refuse((a < 0) | (b <= a), "spans with start < 0 or stop <= start", "0 <= start < stop")
        return cls(_items(item, len(a)), a, b, check_class_ids(label, len(space), n_items=len(a)), space)


@dataclass(frozen=True, eq=False)
class Boxes(_Parts):
    """Boxes in images. corners: (P, 4) float32 x1, y1, x2, y2 in pixels; score: (P,) float32, 1 for people."""

    item: np.ndarray
    corners: np.ndarray
    label: np.ndarray
    score: np.ndarray
    space: LabelSpace
    rows: ClassVar[tuple[str, ...]] = ("item", "corners", "label", "score")

    @classmethod
    def from_columns(cls, item: Any, corners: Any, label: Any, space: LabelSpace, *, score: Any = None) -> Boxes:
        """From (P,) items, (P, 4) corners, (P,) class ids and optional scores.

        Raises:
            LabelError: corners in the wrong order or not finite.
        """
        c = np.asarray(corners, dtype=np.float32).reshape(-1, 4)
        broken = ~np.isfinite(c).all(1) | (c[:, 2] <= c[:, 0]) | (c[:, 3] <= c[:, 1])
        _refuse(broken, "boxes without area", "x1 < x2 and y1 < y2, in pixels (convert from x, y, width, height)")
        s = np.ones(len(c), dtype=np.float32) if score is None else np.asarray(score, dtype=np.float32)
        return cls(_items(item, len(c)), c, check_class_ids(label, len(space), n_items=len(c)), s, space)


@dataclass(frozen=True, eq=False)
class Masks(_Parts):
    """Pixel masks, run-length coded so that P masks of any size are three flat arrays.

    size: (P, 2) int64 height, width; offset: (P + 1,) int64, mask p owns runs[offset[p]:offset[p + 1]];
    runs: int64 lengths that alternate outside, inside, outside, ... in C order.
    """

    item: np.ndarray
    label: np.ndarray
    size: np.ndarray
    offset: np.ndarray
    runs: np.ndarray
    space: LabelSpace
    rows: ClassVar[tuple[str, ...]] = ("item", "label", "size")

    @classmethod
    def from_arrays(cls, item: Any, masks: list[np.ndarray], label: Any, space: LabelSpace) -> Masks:
        """From one bool array (H, W) per part."""
        coded = [_encode(np.asarray(m, dtype=bool)) for m in masks]
        offset = np.r_[0, np.cumsum([len(r) for r in coded])].astype(np.int64)
        runs = np.concatenate(coded) if coded else np.empty(0, dtype=np.int64)
        size = np.array([np.shape(m) for m in masks], dtype=np.int64).reshape(-1, 2)
        ids = check_class_ids(label, len(space), n_items=len(masks))
        return cls(_items(item, len(masks)), ids, size, offset, runs, space)

    def __getitem__(self, rows: Any) -> Masks:
        chosen = np.atleast_1d(np.arange(len(self))[rows])
        runs = [self.runs[self.offset[p] : self.offset[p + 1]] for p in chosen]
        return self._rebuilt(
            item=self.item[chosen],
            label=self.label[chosen],
            size=self.size[chosen],
            offset=np.r_[0, np.cumsum([len(r) for r in runs])].astype(np.int64),
            runs=np.concatenate(runs) if runs else np.empty(0, dtype=np.int64),
            space=self.space,
        )

    def array(self, part: int) -> np.ndarray:
        """(H, W) bool of one part."""
        runs = self.runs[self.offset[part] : self.offset[part + 1]]
        inside = np.arange(len(runs)) % 2 == 1
        return np.repeat(inside, runs).reshape(self.size[part])


def _encode(mask: np.ndarray) -> np.ndarray:
    flat = mask.ravel()
    edges = np.flatnonzero(np.diff(np.r_[False, flat].astype(np.int8)))
    return np.diff(np.r_[0, edges, len(flat)]).astype(np.int64)


def _items(item: Any, n: int) -> np.ndarray:
    a = np.asarray(item)
    if a.shape != (n,) or a.dtype.kind not in "iu" or (n and a.min() < 0):
        raise LabelError(
            found=f"items of shape {a.shape} and dtype {a.dtype} for {n} parts",
            expected="the position of the item of every part, integers >= 0",
            fix="pass one item per part",
        )
    return a.astype(np.int64)


def _refuse(broken: np.ndarray, what: str, expected: str) -> None:
    if broken.any():
        bad = np.flatnonzero(broken)
        raise LabelError(
            found=f"{len(bad)} {what} (first is part {bad[0]})", expected=expected, fix="mend or drop these parts"
        )
