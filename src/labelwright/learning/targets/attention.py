"""Labels of mixed images by where the student looks."""

from __future__ import annotations

from labelwright.errors import check_option
from labelwright.learning.context import Context
from labelwright.learning.mix import mix_targets, weigh_by_attention, weigh_progressively
from labelwright.learning.parts import Part


class AttentionLabels(Part):
    """targets of a mixed batch weighed by attention; batches that were not mixed, or blended, pass.

    Args:
        kind: "share": (1 - share) of the area and `share` of the attention (TransMix); "progressive": as much attention as
            label and prediction agree (MixPro).
        share: for "share": 0.5 as TransMix was released, 1.0 as in its formula.   smoothing: of the label, for "progressive".

    Source: Chen et al. 2022 (TransMix); Zhao et al. 2023 (MixPro).
    """

    name = "attention_labels"
    reads = ("labels", "logits", "attention")
    writes = ("targets",)

    def __init__(self, *, kind: str = "share", share: float = 0.5, smoothing: float = 0.1):
        check_option("kind", kind, ("share", "progressive"))
        self.kind, self.share, self.smoothing = kind, share, smoothing

    def __call__(self, context: Context) -> None:
        """Weigh the two labels of each image again."""
        context["targets"] = context["labels"]
        how = context.get("how")
        if how is None or how.kind == "blend":
            return
        size = context["inputs"].shape[-2:]
        if self.kind == "share":
            how = weigh_by_attention(how, context["attention"], *size, attention_share=self.share)
        else:
            how = weigh_progressively(
                how,
                context["attention"],
                context["logits"].detach(),
                context["unmixed"],
                *size,
                smoothing=self.smoothing,
            )
        context["how"] = how
        context["targets"] = mix_targets(context["unmixed"], how)
