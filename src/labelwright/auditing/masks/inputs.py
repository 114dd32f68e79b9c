"""Label images and their pixel probabilities, read one image at a time and checked as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from labelwright.errors import DataError, LabelError, ProbabilityError
from labelwright.labels import LabelSpace
from labelwright.labels.check import tolerance


class MaskImages:
    """N images, none of them kept: `read(i)` gives the labels and the probabilities of one.

    labels: (N, H, W) integers, or N arrays (H_i, W_i).   pred_probs: (N, K, H, W), N arrays (K, H_i, W_i), or a function
    i -> (K, H_i, W_i).   space: a LabelSpace, class names, or None (classes 0..K-1).   ignore: ids that mean unlabelled.
    """

    def __init__(self, labels: Any, pred_probs: Any, space: Any, ignore: Iterable[int] | int | None):
        self._labels: Sequence[Any] = labels if hasattr(labels, "__getitem__") else list(labels)
        self._probs: Callable[[int], Any] = (
            pred_probs if callable(pred_probs) else self._sequence(pred_probs).__getitem__
        )
        self.ignored = np.unique(np.asarray([] if ignore is None else ignore, dtype=np.int64)).tolist()
        if not len(self._labels):
            raise DataError(
                found="no images", expected="at least one labelled image", fix="check the file or the selection"
            )
        first = np.shape(self._probs(0))
        if len(first) != 3 or first[0] < 2:
            raise ProbabilityError(
                found=f"pred_probs of shape {first} for image 0",
                expected="(K, H, W): one probability per class (at least two) and pixel",
                fix="move the class axis to the front, numpy.moveaxis(p, -1, 0); for two classes stack [1 - p, p]",
            )
        found = LabelSpace(range(first[0])) if space is None else space
        self.space = found if isinstance(found, LabelSpace) else LabelSpace(found)

    def _sequence(self, pred_probs: Any) -> Sequence[Any]:
        probs: Sequence[Any] = pred_probs if hasattr(pred_probs, "__getitem__") else list(pred_probs)
        if len(probs) != len(self._labels):
            raise DataError(
                found=f"pred_probs of {len(probs)} images for the labels of {len(self._labels)}",
                expected="one (K, H, W) array per label image, in the same order",
                fix="pass both for the same images; wrap a single image as labels[None], pred_probs[None]",
            )
        return probs

    def __len__(self) -> int:
        return len(self._labels)

    def read(self, i: int, *, check: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """labels (H, W) int64 with -1 = unlabelled, pred_probs (K, H, W) as given; checked when asked to.

        Raises:
            LabelError, ProbabilityError, DataError: what is wrong in which image and pixel.
        """
        labels, probs = np.asarray(self._labels[i]), np.asarray(self._probs(i))
        if labels.ndim != 2 or labels.dtype.kind not in "iu":
            raise LabelError(
                found=f"labels of shape {labels.shape} and dtype {labels.dtype} for image {i}",
                expected="(H, W) integers, one class id per pixel",
                fix="decode colours to class ids; wrap a single image as labels[None]",
            )
        labels = labels.astype(np.int64)
        labels[np.isin(labels, self.ignored)] = -1
        if check:
            self._check_labels(i, labels)
            self._check_probs(i, probs, labels.shape)
        return labels, probs if probs.dtype.kind == "f" else probs.astype(np.float32)

    def _check_labels(self, i: int, labels: np.ndarray) -> None:
        bad = np.argwhere((labels < -1) | (labels >= len(self.space)))
        if len(bad):
            y, x = bad[0]
            raise LabelError(
                found=f"{len(bad)} pixels of image {i} with an id outside the space; first is {labels[y, x]} at "
                f"row {y}, column {x}",
                expected=f"class ids 0 to {len(self.space) - 1}, -1, or one of `ignore`",
                fix=f"if {labels[y, x]} means unlabelled, pass ignore=[{labels[y, x]}]; else mend the image or the space",
            )

    def _check_probs(self, i: int, probs: np.ndarray, size: tuple[int, ...]) -> None:
        if probs.shape != (len(self.space), *size):
            raise DataError(
                found=f"pred_probs of shape {probs.shape} for image {i}, whose labels are {size[0]} x {size[1]}",
                expected=f"shape {(len(self.space), *size)}: class, row, column",
                fix="resize the probabilities to the labels; name the class of each column with space=[...]",
            )
        total = probs.sum(0, dtype=np.float32)
        slack = tolerance(probs.dtype)
        fine = (probs.min(0) >= -slack) & (probs.max(0) <= 1 + slack) & (np.abs(total - 1) <= slack)
        if not fine.all():  # NaN compares false, so it lands here too
            bad = np.argwhere(~fine)
            y, x = bad[0]
            what = "NaN or infinite" if not np.isfinite(probs[:, y, x]).all() else f"sum {total[y, x]:.4g}"
            raise ProbabilityError(
                found=f"{len(bad)} pixels of image {i} whose pred_probs are no distribution; first is row {y}, "
                f"column {x} ({what}, min {probs[:, y, x].min():.3g}, max {probs[:, y, x].max():.3g})",
                expected=f"values in [0, 1] that sum to 1 over the classes within {slack:g}, at every pixel",
                fix="for logits pass scipy.special.softmax(logits, axis=0) of each image; predict NaN images again",
            )
