"""Which regions of a segmentation carry the wrong class, and which images to look at first.

Pixels are pooled to regions, regions to images. *Pixels*: the log likelihood ratio of "another class" to "the given class",
counted over all images (`pixels.py`). *Regions*: `regions.py`. *Images*: an image is right if all its regions are, and no two of
its classes were taken for each other.

The peer in benchmarks/audit_masks.py: Lad & Mueller 2023, "Estimating label quality and errors in semantic segmentation data
via any model".
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelwright.auditing._inputs import item_keys
from labelwright.auditing.flags import expected_f1_cut
from labelwright.auditing.masks.inputs import MaskImages
from labelwright.auditing.masks.pixels import FEW_IMAGES, PixelEvidence, pixel_doubt
from labelwright.auditing.masks.regions import (
    Region,
    class_scales,
    find_regions,
    mutual_error_prob,
    region_error_prob,
)
from labelwright.auditing.parts import PartAudit
from labelwright.errors import LabelError, LabelwrightWarning, check_whole
from labelwright.labels import LabelSpace, Masks


@dataclass(frozen=True, eq=False, kw_only=True)
class MaskAudit(PartAudit):
    """`PartAudit` of label images, with the regions themselves.

    regions: Masks, one per row of `parts`, with the suggested class; `regions.array(r)` is the (H, W) bool of row r.
    sizes: (N, 2) int64, height and width of the images.
    """

    regions: Masks
    sizes: np.ndarray

    def pixel_errors(self, image: int) -> np.ndarray:
        """(H, W) float32 in [0, 1]: P(the pixel lies in a wrong region), 0 outside the regions, to draw over the image."""
        rows = np.flatnonzero(self.parts["row"].to_numpy() == image)
        out = np.zeros(self.sizes[image], np.float32)
        for row, quality in zip(rows, self.parts["quality"].to_numpy()[rows]):
            out[self.regions.array(int(row))] = 1 - quality
        return out


def audit_masks(
    labels: Any,
    pred_probs: Any,
    *,
    space: Any = None,
    items: Any = None,
    ignore: Iterable[int] | int | None = None,
    min_pixels: int = 16,
    progress: Any = None,
) -> MaskAudit:
    """Audit the pixel classes of N images: which images and which regions to look at first. Two passes, image by image.

    Args:
        labels: (N, H, W) integer class ids, or N arrays (H_i, W_i) (list, memory map); -1 = unlabelled.
        pred_probs: (N, K, H, W) out-of-sample probabilities, float16/32/64, or N arrays (K, H_i, W_i), or a function
            i -> (K, H_i, W_i), called twice per image. Only one image at a time is read and up-cast.
        space: LabelSpace or names of the K classes; default 0..K-1.
        items: N distinct keys; default: positions.
        ignore: further ids that mean unlabelled, such as 255.
        min_pixels: smaller regions are not reported; at least 1.
        progress: called as progress(step, done, total).

    Returns:
        MaskAudit with what="masks". quality: (N,) P(no region of the image is wrong and no two classes are exchanged), NaN
        where all pixels are unlabelled. parts: one row per doubted region: item, row (image), x1, y1, x2, y2 (x1 <= x < x2),
        pixels, given, suggested (class names), quality = P(the region is right), problem ("wrong class": at least half of a
        connected piece of the given class; "bad boundary": a band along the suggested class; "missed region": anything else
        inside another class), is_issue (best expected F1). `regions` holds their masks, `pixel_errors(image)` the map to draw.

    Raises:
        LabelError, ProbabilityError, DataError: what is wrong in which image and pixel.   OptionError: min_pixels < 1.

    Warns:
        LabelwrightWarning: classes that are given in fewer than 5 images.

    >>> labels = np.zeros((8, 20, 20), int)
    >>> labels[:, :, 10:] = 1
    >>> p = np.stack([1 - 0.9 * labels - 0.05, 0.9 * labels + 0.05], 1)
    >>> labels[3, 5:12, 2:8] = 1                                              # a patch of class 0 given as class 1
    >>> audit_masks(labels, p).issues.select(["row", "x1", "y1", "x2", "y2", "suggested"]).to_pylist()
    [{'row': 3, 'x1': 2, 'y1': 5, 'x2': 8, 'y2': 12, 'suggested': 0}]
    """
    check_whole("min_pixels", min_pixels, 1)
    images = MaskImages(labels, pred_probs, space, ignore)
    n, n_classes, progress = len(images), len(images.space), progress or _silent
    keys = item_keys(items, n)
    evidence, sizes, pixels = _calibrate(images, progress)
    found: list[Region] = []
    rows: list[int] = []
    table = evidence.result()
    for i in range(n):
        given, probs = images.read(i)
        found += find_regions(given, pixel_doubt(given, probs, table), min_pixels)
        rows += [i] * (len(found) - len(rows))
        progress("regions", i + 1, n)
    row, given = np.array(rows, np.int64), np.array([r.given for r in found], np.int64)
    strength = np.array([r.strength for r in found], np.float64)
    scales = class_scales(given, strength, n_classes, n)
    error = region_error_prob(strength / scales[given])
    log_right = np.bincount(row, _log_right(error), n) + _log_right(mutual_error_prob(found, row, scales, n))
    return MaskAudit(
        what="masks",
        items=keys,
        quality=np.where(pixels > 0, np.exp(log_right), np.nan),
        parts=_parts(found, row, keys, error, images.space),
        notes=_notes(evidence, pixels, images.space),
        settings={"classes": n_classes, "ignore": images.ignored, "min_pixels": min_pixels, "goal": "expected F1"},
        space=images.space,
        regions=_masks(found, row, sizes, images.space),
        sizes=sizes,
    )


def _log_right(error: np.ndarray) -> np.ndarray:
    return np.log1p(-np.minimum(error, 1 - 1e-15))


def _calibrate(images: MaskImages, progress: Any) -> tuple[PixelEvidence, np.ndarray, np.ndarray]:
    """First pass, with all checks: the evidence, (N, 2) sizes and (N,) numbers of labelled pixels."""
    evidence = PixelEvidence(len(images.space))
    sizes, pixels = np.empty((len(images), 2), np.int64), np.empty(len(images), np.int64)
    for i in range(len(images)):
        labels, probs = images.read(i, check=True)
        evidence.update((labels, probs))
        sizes[i], pixels[i] = labels.shape, (labels >= 0).sum()
        progress("calibration", i + 1, len(images))
    if not pixels.any():
        raise LabelError(
            found=f"{len(images)} images without a labelled pixel",
            expected="at least one pixel with a class",
            fix="check `ignore` and the ids; without labels there is nothing to audit",
        )
    return evidence, sizes, pixels


def _parts(found: list[Region], row: np.ndarray, keys: np.ndarray, error: np.ndarray, space: LabelSpace) -> Any:
    """The pyarrow table of `PartAudit.parts`."""
    import pyarrow as pa

    names = np.array(space.classes)
    given, other, pixels = np.array([(r.given, r.other, r.pixels) for r in found], np.int64).reshape(-1, 3).T
    box = np.array([r.box for r in found], np.int64).reshape(-1, 4).T
    is_issue = expected_f1_cut(error)
    problem = np.where(is_issue, np.array([r.problem for r in found], dtype=str), "")
    columns = {"item": keys[row], "row": row} | dict(zip(("x1", "y1", "x2", "y2"), box))
    columns |= {"pixels": pixels, "given": names[given], "suggested": names[other]}
    columns |= {"quality": 1 - error, "problem": problem, "is_issue": is_issue}
    return pa.table({name: pa.array(column) for name, column in columns.items()})


def _masks(found: list[Region], row: np.ndarray, sizes: np.ndarray, space: LabelSpace) -> Masks:
    """The regions as `Masks` with the suggested class."""
    runs = [r.runs for r in found]
    offset = np.cumsum([0] + [len(r) for r in runs], dtype=np.int64)
    other = np.array([r.other for r in found], np.int64)
    return Masks(row, other, sizes[row], offset, np.concatenate([*runs, np.empty(0, np.int64)]), space)


def _notes(evidence: PixelEvidence, pixels: np.ndarray, space: LabelSpace) -> list[str]:
    """What the user should know; of rare classes and of a model that knows nothing also as warnings."""
    notes = [] if pixels.all() else [f"{int((pixels == 0).sum())} images have no labelled pixel; their quality is NaN"]
    rare = np.flatnonzero(evidence.images < FEW_IMAGES)
    if len(rare):
        names = ", ".join(repr(space.classes[k]) for k in rare[:5]) + (", …" if len(rare) > 5 else "")
        notes.append(
            f"{len(rare)} classes are given in fewer than {FEW_IMAGES:.0f} images ({names}): the model's probabilities are "
            "taken almost at their word there"
        )
        warnings.warn(notes[-1], LabelwrightWarning, stacklevel=3)
    return notes


def _silent(step: str, done: int, total: int) -> None:
    pass
