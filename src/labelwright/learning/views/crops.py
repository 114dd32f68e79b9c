"""Views of pictures whose crops were labelled before: the stored crops again, crops mixed within a picture, and label maps."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from labelwright.errors import DataError, OptionError, check_whole
from labelwright.learning import mix
from labelwright.learning.context import Context
from labelwright.learning.networks.conv import pictures
from labelwright.learning.parts import Part
from labelwright.learning.targets.roi import pool_labels, pool_sparse
from labelwright.learning.views.mixes import _Mix


class StoredCrops(Part):
    """Cut `n_crops` of the M stored crops of every picture; each crop is an item of the batch from then on.

    Args:
        n_crops: crops per picture and step, drawn without replacement; batches of batch_size pictures become n_crops times as
            large. At most 8 keeps the statistics of batch normalisation sound.
        size: side of the cut pictures; None: the height of the inputs.
        source: the labels of the crops (B, M, K), or "labels": every crop has its picture's label.
        allowed: name of a mask (B, M), crops that may be drawn, such as `Calibration.kept`; a picture with fewer than n_crops
            repeats them. None: all.

    Reads crop_coords (B, M, 4) top, left, height, width as shares of the picture and crop_flips (B, M) bool, which
    `labelwright.annotators.crops.crop_coords` gives. Writes inputs, labels, boxes, flips and items, picture by picture; other
    names keep a row per picture. No part after it may move pixels at random where the labels are a teacher's.

    Source: Shen & Xing 2022 (FKD).
    """

    name = "stored_crops"
    writes = ("inputs", "labels", "boxes", "flips", "items")

    def __init__(
        self, *, n_crops: int = 4, size: int | None = None, source: str = "crop_labels", allowed: str | None = None
    ):
        check_whole("n_crops", n_crops, 1)
        if size is not None:
            check_whole("size", size, 1)
        self.n_crops, self.size, self.source, self.allowed = n_crops, size, source, allowed
        self.reads = ("inputs", "crop_coords", "crop_flips", source, *((allowed,) if allowed else ()))

    def __call__(self, context: Context) -> None:
        """Draw and cut."""
        from labelwright.annotators.crops import crop_and_resize

        x, coords = pictures(context["inputs"]), context["crop_coords"]
        n, stored = coords.shape[:2]
        if self.n_crops > stored:
            raise OptionError(
                found=f"n_crops={self.n_crops} of {stored} stored crops",
                expected="at most as many as are stored",
                fix=f"pass n_crops={stored}, or store more crops",
            )
        allowed = np.ones((n, stored), bool) if self.allowed is None else context[self.allowed].bool().cpu().numpy()
        crop = torch.from_numpy(draw(allowed, self.n_crops, context["rng"])).to(x.device).flatten()
        row = torch.arange(n, device=x.device).repeat_interleave(self.n_crops)
        boxes, flips = coords[row, crop], context["crop_flips"][row, crop].bool()
        labels = context[self.source]
        context["inputs"] = crop_and_resize(x[row].float(), boxes, flips, self.size or x.shape[2])
        context["labels"] = labels[row] if self.source == "labels" else labels[row, crop]
        context["boxes"], context["flips"], context["items"] = boxes, flips, context["items"][row]


def draw(allowed: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """(B, n) int64 crops, of those that are allowed (B, M), without replacement as long as there are any left.

    Raises:
        DataError: a row without any.
    """
    count = allowed.sum(1)
    if (count == 0).any():
        raise DataError(
            found=f"{int((count == 0).sum())} pictures without a crop that may be drawn",
            expected="at least one for each picture",
            fix="take Calibration.kept, which keeps the best crop of every picture",
        )
    order = np.where(allowed, rng.random(allowed.shape), 2.0).argsort(1)
    return np.take_along_axis(order, np.arange(n)[None] % count[:, None], 1)


class SelfMix(_Mix):
    """`selfmix` of the batch: crops of one picture, which have the same number in `items`, mixed with each other.

    kind: "box" pastes as CutMix, "blend" as mixup.   The other options as in `MixUp`.
    """

    name = "selfmix"

    def __init__(
        self,
        *,
        kind: str = "box",
        alpha: float = 1.0,
        per_item: bool = False,
        probability: float = 1.0,
        until: float = 1.0,
    ):
        super().__init__(probability=probability, until=until, kind=kind, alpha=alpha, per_item=per_item)

    def mixed(self, x: torch.Tensor, context: Context) -> mix.Mixed:
        """Crops with a box of another crop of their picture."""
        return mix.selfmix(x, context["labels"], image_id=context["items"].cpu().numpy(), **self._common(context))


class RoiLabels(Part):
    """labels = what the label map of each picture says inside the box that was cut; stands behind the view "crop".

    Args:
        source: name of dense maps (B, K, h, w) of logits; or the three extras NAME_index, NAME_logit (B, h, w, k) and NAME_rest
            (B, h, w) of `LogitMaps`, with sparse=True.   sparse: see there.
        temperature, pool: as in `pool_labels`.   fill: as in `pool_sparse`.
        flip_first: True where the view "flip" stands before "crop", so that the box counts in the mirrored picture. Mirrors
            behind the crop change no label.

    As a view it stands before mixes, which then mix the labels of the crops. The labels that came with the data are not used.

    Source: Yun et al. 2021 (ReLabel).
    """

    name = "roi_labels"
    writes = ("labels",)

    def __init__(
        self,
        *,
        source: str = "maps",
        sparse: bool = False,
        temperature: float = 1.0,
        pool: str = "logits",
        fill: str | float = "rest",
        flip_first: bool = False,
    ):
        self.names = [f"{source}_{part}" for part in ("index", "logit", "rest")] if sparse else [source]
        self.sparse, self.fill, self.flip_first = sparse, fill, flip_first
        self.options: dict[str, Any] = {"temperature": temperature, "pool": pool, "flip_first": flip_first}
        self.reads = (*self.names, "boxes", *(("flips",) if flip_first else ()))
        self._classes = 0

    def begin(self, run: Any) -> None:
        """The classes of the labels."""
        self._classes = run.data.n_classes

    def __call__(self, context: Context) -> None:
        """Pool."""
        flips = context["flips"] if self.flip_first else None
        maps = [context[name] for name in self.names]
        if self.sparse:
            options = {"n_classes": self._classes, "fill": self.fill, **self.options}
            pooled = pool_sparse(maps[0], maps[1], maps[2], context["boxes"], flips, **options)
        else:
            pooled = pool_labels(maps[0], context["boxes"], flips, **self.options)
        context["labels"] = pooled.float()
