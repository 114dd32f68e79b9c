"""Label maps on disk: the k largest logits of every cell, and what all the others are worth together.

    write_label_maps("train.maps", annotate, n_items=len(images), annotator="resnet50")
    open_label_maps("train.maps")[[3, 14]]        # LogitMaps of two images

Logits, not probabilities, since crops average logits: a probability that was rounded to 0 is a logit of -inf. One file in the
frame of docs/soft-label-files.md (sections, checksums, JSON head); section `records` has, for each image in turn, h w k
class ids (the narrowest unsigned integers), then h w k float16 logits, then h w float16 rests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.errors import DataError, LabelError
from labelwright.labels.maps import LabelMap
from labelwright.labels.space import LabelSpace
from labelwright.store._kinds import parsing
from labelwright.store._soft_codec import id_type
from labelwright.store._soft_head import Frame, FrameWriter, damaged, new_file
from labelwright.store._soft_write import plain_head, write_keys, write_space
from labelwright.store.crop_label_files import Parts

FORMAT = "labelwright.label-maps"
_MOST = 65504.0  # of float16


@dataclass(frozen=True, eq=False)
class LogitMaps:
    """index: (N, h, w, k) int32 class ids.   logit: (N, h, w, k) float32, largest first.   rest: (N, h, w) float32, log of
    the sum of exp(logit) over the classes not listed; -inf where all are."""

    index: np.ndarray
    logit: np.ndarray
    rest: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def label_map(self, space: LabelSpace) -> LabelMap:
        """Probabilities of the listed classes; a LabelMap spreads what is missing evenly."""
        top = np.logaddexp(np.logaddexp.reduce(self.logit.astype(np.float64), axis=-1), self.rest)
        return LabelMap(self.index, np.exp(self.logit - top[..., None]).astype(np.float32), space)


def write_label_maps(
    path: str | os.PathLike[str],
    annotate: Callable[[np.ndarray], LogitMaps],
    n_items: int,
    *,
    space: LabelSpace,
    keys: Iterable[Any] | None = None,
    batch_size: int = 64,
    **provenance: Any,
) -> Path:
    """Ask an annotator for the label map of every image, and write them to a new file.

    Args:
        annotate: gets (b,) int64 items, gives their LogitMaps, all of the same h, w and k.
        n_items: N images.   space: the K classes.
        keys: one per image, all int or all str; optional.
        batch_size: images per call; a killed run loses at most this much: the same call goes on where it stood.
        provenance: annotator=, size= and whatever else the head should say; any JSON values.

    Returns:
        `path`. The head's `errors` has `max_abs_logit` and, over all cells, `mean_kl` in nats from the cell's distribution
        over the k classes and the rest to the stored one.

    Raises:
        DataError: a path that is taken, finished parts of another run, maps of different sizes.   LabelError: class ids
            outside the space, NaN, or logits beyond float16.
    """
    path, n_classes = Path(path), len(space)
    head = plain_head(provenance)
    parts = Parts(path, {"space": space.to_json(), **provenance}, n_items, batch_size)
    parts.finish(lambda items: _part(annotate(items), len(items), n_classes))
    worst, kl, shape = 0.0, 0.0, (0, 0, 0)
    with new_file(path) as f:
        frame = FrameWriter(f)
        for part in parts:
            maps = LogitMaps(part["index"], part["logit"], part["rest"])
            if any(shape) and maps.index.shape[1:] != shape:
                raise DataError(
                    found=f"maps of {maps.index.shape[1:]} after maps of {shape}",
                    expected="the same rows, columns and k for every image",
                    fix=f"resize every image to one square, remove the folder {parts.folder.name} and run again",
                )
            shape = maps.index.shape[1:]
            stored = maps.logit.astype("<f2"), maps.rest.astype("<f2")
            worst = max(worst, float(np.abs(maps.logit - stored[0]).max()))
            kl += _kl(maps, LogitMaps(maps.index, *stored))
            flat = [a.reshape(len(maps), -1).view(np.uint8) for a in (maps.index.astype(id_type(n_classes)), *stored)]
            frame.write("records", np.concatenate(flat, axis=1))
        errors = {"max_abs_logit": worst, "mean_kl": kl / (n_items * shape[0] * shape[1])}
        head |= {"format": FORMAT, "items": n_items, "shape": list(shape), "errors": errors}
        head |= {"space": write_space(frame, space)}
        frame.close(head | {"keys": None if keys is None else write_keys(frame, keys, n_items)})
    parts.remove()
    return path


class LabelMapFile:
    """Label maps of N images in a memory-mapped file, read by item number. Made by `open_label_maps`."""

    def __init__(self, path: Path):
        self.path, self._frame = path, Frame(path)
        self.head = head = self._frame.head
        with parsing(path, "a label-map file"):
            if head["format"] != FORMAT:
                raise damaged(path, f"its format is {head['format']!r}")
            self.h, self.w, self.k = (int(n) for n in head["shape"])
            self.space = LabelSpace.from_json(self._frame.content("space").decode())
            self._ids = id_type(len(self.space))
            self.item_bytes = self.h * self.w * (self.k * (self._ids.itemsize + 2) + 2)
            self._raw = self._frame.section("records", np.uint8, (int(head["items"]), self.item_bytes))

    def __len__(self) -> int:
        return len(self._raw)

    def __reduce__(self) -> tuple[Any, ...]:  # a loader's worker opens the file itself
        return LabelMapFile, (self.path,)

    def __getitem__(self, items: Any) -> LogitMaps:
        """The maps of items: whole numbers, a slice or a mask.

        Raises:
            IndexError: an item outside the file.   DataError: a damaged record.
        """
        raw = self._raw[items if isinstance(items, slice) else np.atleast_1d(np.asarray(items))]
        cells = (len(raw), self.h, self.w)
        a = self.h * self.w * self.k * self._ids.itemsize
        b = a + self.h * self.w * self.k * 2
        index = raw[:, :a].view(self._ids).reshape(*cells, self.k).astype(np.int32)
        if index.size and index.max() >= len(self.space):
            raise damaged(self.path, f"a record names class {index.max()} of {len(self.space)}")
        logit, rest = raw[:, a:b].view("<f2").astype(np.float32), raw[:, b:].view("<f2").astype(np.float32)
        return LogitMaps(index, logit.reshape(*cells, self.k), rest.reshape(cells))

    def verify(self) -> None:
        """Read the whole file and compare it with its checksums.

        Raises:
            DataError: blocks that are not as they were written.
        """
        self._frame.verify()


def open_label_maps(path: str | os.PathLike[str]) -> LabelMapFile:
    """The label maps in a file; reads its head and class names only.

    Raises:
        DataError: not such a file, damaged, or a newer version.
    """
    return LabelMapFile(Path(path))


def _part(maps: LogitMaps, n: int, n_classes: int) -> dict[str, np.ndarray]:
    """What is kept of a batch, after a look at it."""
    index, logit, rest = maps.index, maps.logit, maps.rest
    if index.ndim != 4 or len(index) != n or logit.shape != index.shape or rest.shape != index.shape[:3]:
        raise DataError(
            found=f"index {index.shape}, logit {logit.shape} and rest {rest.shape} for {n} items",
            expected="(b, h, w, k), (b, h, w, k) and (b, h, w)",
            fix="return what labelwright.annotators.label_maps.top_cells gives",
        )
    wrong = ~(np.abs(logit) <= _MOST) | (index < 0) | (index >= n_classes)
    wrong = wrong.any(-1) | ~(rest <= _MOST) | ((rest < -_MOST) & ~np.isneginf(rest))
    if wrong.any():
        raise LabelError(
            found=f"{int(wrong.sum())} cells with ids outside 0 to {n_classes - 1}, NaN, or logits beyond float16",
            expected=f"ids of the space's classes and logits within {_MOST:.0f}",
            fix="pass the annotator's space, and look for overflow in its logits",
        )
    return {"index": index.astype(np.int32), "logit": logit.astype(np.float32), "rest": rest.astype(np.float32)}


def _kl(a: LogitMaps, b: LogitMaps) -> float:
    """Sum over the cells of KL between the distributions over the k classes and the rest."""
    p, q = (np.concatenate([m.logit, m.rest[..., None]], -1, dtype=np.float64) for m in (a, b))
    p, q = (z - np.logaddexp.reduce(z, -1)[..., None] for z in (p, q))
    seen = p > -700
    return float((np.exp(p) * np.subtract(p, q, out=np.zeros_like(p), where=seen)).sum())
