"""Soft labels for training on disk: flat records in a memory-mapped file, read at random, with their errors stated.

    write_soft_labels("teacher.soft", pred_probs, k=5, teacher="resnet50")
    open_soft_labels("teacher.soft")[[3, 14, 15]].dense()

The format is described byte by byte in docs/soft-label-files.md.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.errors import DataError, OptionError, check_option, check_whole
from labelwright.labels.maps import LabelMap
from labelwright.labels.soft import SoftLabels
from labelwright.labels.space import LabelSpace
from labelwright.store._soft_codec import PRECISIONS
from labelwright.store._soft_crops import CropPlan
from labelwright.store._soft_file import SoftLabelFile, StoredSoftLabels
from labelwright.store._soft_head import FrameWriter, new_file
from labelwright.store._soft_rows import chunks
from labelwright.store._soft_write import RecordWriter, plain_head, write_keys, write_space

__all__ = ["CropPlan", "SoftLabelFile", "StoredSoftLabels", "open_soft_labels", "write_soft_labels"]
TAILS = ("auto", "class", "shared", "even")


def write_soft_labels(
    path: str | os.PathLike[str],
    soft_labels: Any,
    k: int | None = 5,
    *,
    precision: str = "auto",
    tail: str = "auto",
    space: LabelSpace | None = None,
    keys: Iterable[Any] | None = None,
    crops: CropPlan | None = None,
    boxes: Any = None,
    flips: Any = None,
    teacher: str | None = None,
    temperature: float | None = None,
    **provenance: Any,
) -> Path:
    """Write soft labels to a new file; one pass over them, in memory that does not grow with their number.

    Args:
        soft_labels: SoftLabels, a LabelMap (one record per cell), an (N, K) array of probabilities, or an iterator of
            one of these. Rows may be off 1 by 1e-4 (float16: 2e-3) and are rescaled.
        k: classes kept per row; None keeps all K in class order ("dense"). SoftLabels with fewer keep what they have.
        precision: of the probabilities: "uint8" or "uint16" (square roots, see docs), "float16", "float32" (exact);
            "auto" is "uint8", and "uint16" for k=None.
        tail: where the mass outside the k classes lies when rows are made dense: "class" (a mean shape per likeliest
            class), "shared" (one mean shape) or "even"; "auto" takes the smallest of these tables that is within 2 %
            of the best in KL to full rows that the tables were not learnt from, never one larger than the records.
            Labels that are cut already keep their own tail.
        space: classes of arrays; the default is 0 to K-1.
        keys: one key per item, all int or all str; optional. They are held in memory.
        crops: rows are crops of items (item 0 crop 0, item 0 crop 1, ...) that this plan makes again.
        boxes, flips: or the crops are stored: (N, 4) fractions of the image (top, left, height, width) in [0, 1] and
            (N,) bool; arrays, sliced as the rows go by.
        teacher, temperature, provenance: kept in the head; any JSON values.

    Returns:
        `path`. Killed at any moment, the file is there whole or not at all.

    Raises:
        OptionError, LabelError, DataError: an option, rows or a path that will not do; nothing is left behind then.
    """
    path = Path(path)
    check_option("precision", precision, ("auto", *PRECISIONS))
    check_option("tail", tail, TAILS)
    if k is not None:
        check_whole("k", k, 1)
    if temperature is not None and not 0 < temperature < float("inf"):
        raise OptionError(found=f"temperature={temperature}", expected="a number above 0", fix="1 is plain softmax")
    if crops is not None and (boxes is not None or flips is not None):
        raise OptionError(found="crops and boxes", expected="one of them", fix="pass crops=, or boxes= and flips=")
    provenance = {"teacher": teacher, "temperature": temperature, **provenance}
    inner: dict[str, Any] = {"kind": "row", "shape": []}
    if isinstance(soft_labels, LabelMap):
        inner = {"kind": "cell", "shape": list(soft_labels.index.shape[1:3])}
    elif crops is not None:
        inner = {"kind": "crop", "shape": [crops.n_crops]}
    width = soft_labels.index.shape[-1] if isinstance(soft_labels, SoftLabels | LabelMap) else None
    if k is not None and width is not None and width > 0:
        _check_k(k, len(soft_labels.space))
        k = min(k, width)
    stream = chunks(soft_labels, k, space)
    first = next(stream)
    if k is not None:
        _check_k(k, len(first.space))
    head = plain_head(provenance)
    geometry = _Boxes(boxes, flips)
    with new_file(path) as f:
        frame = FrameWriter(f)
        writer = RecordWriter(frame, first, k, precision, tail)
        for chunk in itertools.chain([first], stream):
            writer.add(chunk, *geometry.take(len(chunk.known)))
        geometry.check_end()
        n_items = _items(writer.rows, inner["shape"])
        head |= writer.close_tail()
        head |= {
            "space": write_space(frame, first.space),
            "rows": writer.rows,
            "unknown_rows": writer.unknown,
            "inner": inner,
            "record": {"bytes": writer.record_bytes, "precision": writer.precision, "boxes": boxes is not None},
            "crops": None if crops is None else crops.to_json(),
            "keys": None if keys is None else write_keys(frame, keys, n_items),
        }
        frame.close(head)
    return path


def open_soft_labels(
    path: str | os.PathLike[str], *, space: LabelSpace | None = None, engine: str = "auto"
) -> SoftLabelFile:
    """The soft labels in a file; reads its head only.

    Args:
        space: the classes that are expected, in order; optional. Names are read when they are first needed.
        engine: of `SoftLabelFile.dense`: "numpy", "numba" (extra "fast"; compiled on first use), or "auto": Numba for
            files of more than 67 million probabilities where it is installed. The bits are the same. The compiled loops
            read "uint8" records of up to 255 classes, and dense "uint8" and "uint16"; NumPy reads all else.

    Raises:
        DataError: not such a file, damaged, a newer version, or other classes than expected. Records are compared with
            their checksums by `SoftLabelFile.verify`, which reads everything. OptionError: an unknown engine.
    """
    return SoftLabelFile(Path(path), space, engine)


class _Boxes:
    """Stored crops, taken slice by slice as the rows go by."""

    def __init__(self, boxes: Any, flips: Any):
        self.boxes, self.flips, self.at = boxes, flips, 0
        if (boxes is None) != (flips is None) or (boxes is not None and len(boxes) != len(flips)):
            raise DataError(
                found="boxes without flips" if flips is None else "flips without as many boxes",
                expected="both: (N, 4) fractions and (N,) bool",
                fix="pass flips=numpy.zeros(N, bool) if no crop is flipped",
            )

    def take(self, n: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        if self.boxes is None:
            return None, None
        box = np.asarray(self.boxes[self.at : self.at + n], dtype=np.float64)
        inside = box.shape == (n, 4) and bool(((box >= 0) & (box <= 1)).all())
        if not inside or not (box[:, :2] + box[:, 2:] <= 1 + 1e-6).all():
            raise DataError(
                found=f"boxes of rows {self.at} to {self.at + n} of shape {box.shape} that do not lie in the image",
                expected="(N, 4) fractions top, left, height, width in [0, 1], one box per row",
                fix="divide pixels by the image's height and width",
            )
        flip = np.asarray(self.flips[self.at : self.at + n], dtype=bool)
        self.at += n
        return box, flip

    def check_end(self) -> None:
        if self.boxes is not None and self.at != len(self.boxes):
            raise DataError(
                found=f"{len(self.boxes)} boxes for {self.at} rows", expected="one box per row", fix="pass their boxes"
            )


def _check_k(k: int, n_classes: int) -> None:
    if k > n_classes:
        raise OptionError(
            found=f"k={k} with {n_classes} classes",
            expected=f"at most {n_classes}",
            fix=f"pass k={n_classes}, or k=None to keep every class in order",
        )


def _items(n_rows: int, shape: list[int]) -> int:
    per_item = int(np.prod(shape, dtype=int))
    if per_item == 0 or n_rows % per_item:
        raise DataError(
            found=f"{n_rows} rows of {per_item} crops per item",
            expected="all crops of every item",
            fix="pass n_crops rows per item, the crops of one item one after the other",
        )
    return n_rows // per_item
