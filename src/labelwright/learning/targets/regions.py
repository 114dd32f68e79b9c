"""Labels of mixed images by how much of each image's known foreground shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from labelwright.errors import DataError
from labelwright.learning.context import Context
from labelwright.learning.mix import How, mix_targets, pixel_masks
from labelwright.learning.parts import Part


def weigh_by_regions(how: How, regions: Tensor) -> How:
    """The record with lam = what shows of the own image's regions, as a share of what shows of both images' regions.

    Args:
        how: of boxes or a grid.   regions: (N, H, W) of the images before mixing: a mask of the foreground, or how much each
            pixel says about the class (saliency, a class activation map); 0 or more, each image on its own scale.

    Items where nothing of either image's regions shows keep the share of pixels.

    Raises:
        DataError: regions of another batch, or below 0.
    """
    r = regions.detach().double().cpu().numpy()
    if r.ndim != 3 or len(r) != len(how.partner) or not np.isfinite(r).all() or r.min(initial=0) < 0:
        raise DataError(
            found=f"regions of shape {tuple(regions.shape)} for {len(how.partner)} images, or values below 0",
            expected="(N, H, W), 0 or more, of the images before mixing",
            fix="pass masks as 0 and 1, and clip saliency at 0",
        )
    own = pixel_masks(how, *r.shape[1:])
    mine, theirs = (r * own).sum((1, 2)), (r[how.partner] * ~own).sum((1, 2))
    total = mine + theirs
    return replace(how, lam=np.where(total > 0, mine / np.where(total > 0, total, 1), how.pixels))


class RegionLabels(Part):
    """targets of a mixed batch weighed by `weigh_by_regions`; batches that were not mixed, or blended, pass.

    Args:
        source: name of the regions (B, H, W), which come with the data: `TrainData(..., extra={"regions": masks})`.

    No view before the mix may move pixels, since the regions would stay where they were.
    """

    name = "region_labels"
    writes = ("targets",)

    def __init__(self, *, source: str = "regions"):
        self.source, self.reads = source, ("labels", source)

    def __call__(self, context: Context) -> None:
        """Weigh the two labels of each image again."""
        context["targets"] = context["labels"]
        how = context.get("how")
        if how is None or how.kind == "blend":
            return
        context["how"] = weigh_by_regions(how, torch.as_tensor(context[self.source]))
        context["targets"] = mix_targets(context["unmixed"], context["how"])
