"""Card 93: pictures mixed on a grid of patches, and attention believed as far as prediction and label agree."""

from __future__ import annotations

from typing import Any

from labelwright.systems import _canvases
from labelwright.systems.proof import Arm, Proof

PARTS = {
    "view": "labelwright.learning.mix.maskmix",
    "weights": "labelwright.learning.mix.weigh_progressively",
    "target": "labelwright.learning.targets.AttentionLabels",
    "bound": "labelwright.learning.targets.RegionLabels",
}
CUTMIX: list[Any] = [{"cutmix": {"per_item": True}}]
MASKMIX: list[Any] = [{"maskmix": {"cell": _canvases.PATCH, "patch": _canvases.PATCH}}]  # 4 x 4 cells, as in the paper
COARSE: list[Any] = [{"maskmix": {"cell": 2 * _canvases.PATCH, "patch": _canvases.PATCH}}]
PROGRESSIVE = {"attention_labels": {"kind": "progressive"}}

PROOFS = (
    Proof(
        name="label weights",
        question="Are progressive weights nearer to the share of ink that shows than area, and than half the attention?",
        metric="gap",
        keys=_canvases.KEYS,
        datasets=_canvases.digit_sets,
        prepare=_canvases.watched(MASKMIX),
        arms=(
            Arm("attention as far as it agrees", _canvases.gap("progressive"), "method"),
            Arm("area", _canvases.gap("area"), "baseline"),
            Arm("half area, half attention", _canvases.gap("half"), "baseline"),
            Arm("attention alone", _canvases.gap("attention"), "alternative"),
        ),
        higher_is_better=False,
        note=_canvases.GAP_NOTE,
    ),
    Proof(
        name="students",
        question="Does a transformer learn more from MaskMix with progressive labels than from CutMix or MaskMix by area?",
        metric="accuracy",
        keys=_canvases.KEYS,
        datasets=_canvases.digit_sets,
        prepare=_canvases.prepare,
        arms=(
            Arm("MaskMix, progressive labels", _canvases.trained(MASKMIX, PROGRESSIVE), "method"),
            Arm("MaskMix, labels by area", _canvases.trained(MASKMIX), "baseline"),
            Arm("CutMix, half attention", _canvases.trained(CUTMIX, "attention_labels"), "baseline"),
            Arm("MaskMix of 2 x 2 cells, progressive", _canvases.trained(COARSE, PROGRESSIVE), "alternative"),
            Arm("labels by the ink that shows", _canvases.trained(MASKMIX, "ink"), "bound"),
        ),
        note="Steps, learning rate and canvases are those of card 109's proof, set before any arm of this one ran. A mix "
        "on every batch, 4 x 4 cells as in the paper. Even labels by the ink gain nothing clear over area here, so no "
        "way to weigh can: a random set of cells shows about its share of the ink. Take MaskMix by area where a "
        "training is short; attention needs a network that has settled. The digits are found, the canvases made.",
    ),
)
