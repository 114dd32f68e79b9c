"""Losses: pure functions on tensors, `name(logits, targets, *, ..., reduction="mean") -> Tensor`.

Targets are hard ids (-1 = ignored), soft (..., K), or multi-label with `multi_label=True`; each docstring says which.
They work in any loop: no hidden state, no device, half precision widened where it matters.
"""

from __future__ import annotations

from collections.abc import Callable

from labelwright.errors import MissingExtra

try:
    from torch import Tensor
except ImportError as missing:
    raise MissingExtra(
        found="no torch", expected="torch for the losses", fix='pip install "labelwright[learn]"'
    ) from missing

from labelwright.learning.losses.controls import focal, label_smoothing, margin
from labelwright.learning.losses.dense import border_weights, jaccard_metric, sauna_targets, stable_focal_l1
from labelwright.learning.losses.distill import decoupled_kd, kd, nkd, uskd
from labelwright.learning.losses.ordinal import expected_score, fidelity, ordinal_loss, ordinal_targets, score_targets
from labelwright.learning.losses.relations import (
    dist,
    hint,
    logit_discriminator,
    relational_kd,
    similarity_discriminator,
)
from labelwright.learning.losses.soft import jeffreys, js, kl, reverse_kl, soft_cross_entropy, soften, temper
from labelwright.learning.losses.spatial import channel_wise, draw_consistency

LOSSES: dict[str, Callable[..., Tensor]] = {
    "soft_cross_entropy": soft_cross_entropy,  # cross-entropy to hard, soft or multi-labels
    "kl": kl,  # KL(targets || predictions)
    "reverse_kl": reverse_kl,  # KL(predictions || targets)
    "jeffreys": jeffreys,  # the mean of both; SSLD's loss
    "js": js,  # Jensen-Shannon, at most log 2
    "kd": kd,  # Hinton's distillation from teacher logits
    "nkd": nkd,  # target class, and the others normalised among themselves
    "uskd": uskd,  # own confidence and a weak head's ranking, no teacher
    "decoupled_kd": decoupled_kd,  # target or not, and which other, weighted apart
    "dist": dist,  # correlation with the teacher along rows and classes
    "relational_kd": relational_kd,  # distances and angles among the items of a batch
    "hint": hint,  # squared difference of features
    "similarity_discriminator": similarity_discriminator,  # mean of teachers, and a discriminator to be fooled
    "ordinal_loss": ordinal_loss,  # KL to labels that fall with the distance between ordered classes
    "fidelity": fidelity,  # pairs of scored items in the right order
    "jaccard_metric": jaccard_metric,  # overlap with soft masks
    "stable_focal_l1": stable_focal_l1,  # distance to signed certainty maps
    "channel_wise": channel_wise,  # where a teacher sees each class in a picture
    "draw_consistency": draw_consistency,  # the same between two showings of a batch
    "label_smoothing": label_smoothing,  # cross-entropy to a label mixed with the even one
    "focal": focal,  # cross-entropy that forgets what is learnt
    "margin": margin,  # hinge on the lead of the target
}
"""Every loss by its name, for recipes."""

__all__ = [
    "LOSSES",
    "border_weights",
    "channel_wise",
    "decoupled_kd",
    "dist",
    "draw_consistency",
    "expected_score",
    "fidelity",
    "focal",
    "hint",
    "jaccard_metric",
    "jeffreys",
    "js",
    "kd",
    "kl",
    "label_smoothing",
    "logit_discriminator",
    "margin",
    "nkd",
    "ordinal_loss",
    "ordinal_targets",
    "relational_kd",
    "reverse_kl",
    "sauna_targets",
    "score_targets",
    "similarity_discriminator",
    "soft_cross_entropy",
    "soften",
    "stable_focal_l1",
    "temper",
    "uskd",
]
