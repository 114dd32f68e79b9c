"""Card 68: label maps of an annotator, pooled over each training crop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from labelwright.systems import _canvases, _crowded_canvases, _students
from labelwright.systems.proof import Arm, Proof

PARTS = {
    "label maps": "labelwright.annotators.label_maps.label_maps",
    "on disk": "labelwright.store.label_map_files.write_label_maps",
    "labels of crops": "labelwright.learning.views.RoiLabels",
    "pooling": "labelwright.learning.targets.roi.pool_sparse",
}
STUDENT = ("cnn", {"widths": [8, 16, 32]})
AREA, KEPT, STEPS = [0.15, 0.6], 5, 250


def student(kind: str, *, fill: str | float = "rest") -> Callable[[_crowded_canvases.Case, int], dict[str, float]]:
    """An arm: a small CNN on random crops. kind: "given", "smoothed", "whole", "crop", "crop, axes swapped", "truth"."""

    def run(case: _crowded_canvases.Case, seed: int) -> dict[str, float]:
        import torch

        from labelwright.annotators.label_maps import top_cells
        from labelwright.learning import TrainData

        k = case.sets.shape[1]
        labels: Any = case.given
        extra: dict[str, Any] = {}
        views: list[Any] = [{"crop": {"area": AREA}}]
        if kind == "smoothed":
            labels = np.full((len(case.given), k), 0.1 / k, np.float32)
            labels[np.arange(len(labels)), case.given] += 0.9
        elif kind == "whole":
            labels = case.extra["whole"]
        elif kind == "truth":
            extra, views = {"maps": case.extra["true_maps"]}, [*views, "roi_labels"]
        elif kind != "given":
            maps = case.extra["maps"].swapaxes(2, 3) if kind == "crop, axes swapped" else case.extra["maps"]
            kept = top_cells(torch.from_numpy(maps), KEPT)
            extra = {f"maps_{name}": getattr(kept, name) for name in ("index", "logit", "rest")}
            views = [*views, {"roi_labels": {"sparse": True, "fill": fill}}]
        data = TrainData(case.pictures, labels, classes=k, extra=extra)
        model = _students.learnt(
            data, None, seed=seed, student=STUDENT, steps=STEPS, batch_size=64, views=views, optimizer=_crowded_canvases.FAST
        )  # fmt: skip
        found = _students.told(model, case.one, case.y)
        top = model.logits(case.many).argmax(1)
        shown = float(case.sets[np.arange(len(top)), top].mean())
        return found | {"accuracy on many": shown, "annotator": case.annotator}

    return run


PROOFS = (
    Proof(
        name="labels of crops",
        question="Does a student learn more from labels of its crops than from one label per picture of several things?",
        metric="accuracy",
        keys={"image": "digits, (N, 8, 8) in [0, 1]", "y": "classes, (N,) int"},
        datasets=_canvases.digit_sets,
        prepare=_crowded_canvases.prepare,
        seeds=4,
        arms=(
            Arm("label map, pooled over the crop", student("crop"), "method"),
            Arm("given label", student("given"), "baseline"),
            Arm("given label, smoothed by 0.1", student("smoothed"), "baseline"),
            Arm("label map, pooled over the picture", student("whole"), "alternative"),
            Arm("pooled with swapped axes", student("crop, axes swapped"), "alternative"),
            Arm("classes not kept count 0", student("crop", fill=0.0), "alternative"),
            Arm("true map", student("truth"), "bound"),
        ),
        note="500 canvases of 24 x 24 pixels with four digits on a 3 x 3 grid; the given label is one of the four. Crops "
        "of 0.15 to 0.6 of the area, five classes of ten kept per cell. The annotator sees windows of a third of the "
        "side and has learnt from other digits; it is right on 93 % (digits) and 79 % (MNIST) of single ones, less "
        "than the card asks for. Tested on enlarged single digits; 'accuracy on many' is the share of canvases whose "
        "likeliest class is shown there. On whole canvases the maps gain little over the given label, and swapped "
        "axes lose nothing for the bundled digits; on single ones swapped axes lose much, so the gain is that of "
        "places, not of softness. Steps (250) and learning rate are those of card 13 and were not tuned. Four seeds. "
        "The digits are found, the canvases made.",
    ),
)
